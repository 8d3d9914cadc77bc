//! Names to checked addresses, and connections to these.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

use super::OutboundPolicy;

/// The system's resolver. Under a policy it hands out nothing that may not be connected to.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    system: GaiResolver,
    policy: Option<Arc<OutboundPolicy>>,
}

impl Resolver {
    pub(super) fn new(policy: Option<Arc<OutboundPolicy>>) -> Self {
        Self { system: GaiResolver::new(), policy }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.system.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (host, policy) = (name.as_str().to_owned(), self.policy.clone());
        let resolving = self.system.call(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await?.collect();
            let Some(policy) = policy else { return Ok(found.into_iter()) };
            checked(&policy, &host, found).map(Vec::into_iter)
        })
    }
}

/// Those addresses that may be connected to; there must be one.
fn checked(policy: &OutboundPolicy, host: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let (mut allowed, mut refusal) = (Vec::new(), None);
    for address in found {
        match policy.check_address(host, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(refused) => refusal = Some(refused),
        }
    }
    match refusal {
        Some(refusal) if allowed.is_empty() => Err(io::Error::other(refusal)),
        _ => Ok(allowed),
    }
}

/// Checks the host itself. An address in the place of a name is never resolved, so it is checked here.
pub(super) fn check_uri(policy: Option<&OutboundPolicy>, uri: &Uri) -> io::Result<()> {
    let (Some(policy), Some(host)) = (policy, uri.host()) else { return Ok(()) };
    policy.check_host(host).map_err(io::Error::other)?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => policy.check_address(host, address).map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_public_ones_are_left() {
        let policy = OutboundPolicy::default();
        let at = |text: &str| SocketAddr::new(text.parse().expect("an address"), 443);
        let mixed = vec![at("127.0.0.1"), at("93.184.216.34"), at("::1")];
        assert_eq!(checked(&policy, "rebound.example", mixed).expect("one is public"), [at("93.184.216.34")]);
        let error = checked(&policy, "rebound.example", vec![at("10.0.0.1"), at("::ffff:127.0.0.1")]).expect_err("inside");
        assert!(error.to_string().contains("rebound.example"), "{error}");
        assert_eq!(checked(&policy, "empty.example", vec![]).expect("no address is the connector's to tell"), []);
    }

    #[test]
    fn an_address_in_the_place_of_a_name_is_checked_too() {
        let policy = OutboundPolicy::default();
        for uri in ["https://127.0.0.1/", "https://[::1]:8443/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest"] {
            assert!(check_uri(Some(&policy), &uri.parse().expect(uri)).is_err(), "{uri}");
        }
        // The URL parser has written other spellings of an address the usual way before.
        for (text, host) in
            [("https://2130706433/", "127.0.0.1"), ("https://0x7f.1/", "127.0.0.1"), ("https://0177.0.0.1/", "127.0.0.1")]
        {
            assert_eq!(url::Url::parse(text).expect(text).host_str(), Some(host));
        }
        assert!(check_uri(Some(&policy), &"https://8.8.8.8/".parse().expect("a URI")).is_ok());
        assert!(check_uri(None, &"https://127.0.0.1/".parse().expect("a URI")).is_ok());
    }
}
