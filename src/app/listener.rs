//! Listeners: an address, the TLS policies of its server names, and what is served there.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UnixListener};

use super::passthrough::Passthrough;
use crate::config::settings::{LimitSettings, ListenerSettings, ServiceSetting};
use crate::domain::{Clock, Holder};
use crate::fetch::AddressRange;
use crate::tls::{AcceptLimits, Acceptor, PolicySet};
use crate::trust::{AnchorSets, CurrentAnchors};

use super::proxies::Proxies;
use super::unix_socket;

/// The epoch of the policies that a process starts with.
pub const FIRST_EPOCH: u64 = 1;

/// Its user and its group.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// One bound address.
#[derive(Debug)]
pub struct Listener {
    /// For logs and metrics.
    pub name: String,
    /// The bound socket.
    pub socket: TcpListener,
    /// The Unix socket for trusted proxies, and its path.
    pub unix_socket: Option<(UnixListener, PathBuf)>,
    /// What is served here.
    pub services: BTreeSet<Service>,
    /// How TLS is spoken; absent on a plain listener for metrics.
    pub tls: Option<ListenerTls>,
    /// What is passed on unread.
    pub passthrough: Option<Arc<Passthrough>>,
    /// Addresses whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<AddressRange>,
    /// What is taken from proxies in front.
    pub proxies: Option<Arc<Proxies>>,
}

/// Connections, shared out by address.
#[derive(Debug)]
pub struct Places {
    /// What one address may have, at least 1.
    share: u32,
    taken: Mutex<HashMap<Holder, u32>>,
}

/// A place of one address, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    holder: Holder,
}

impl Places {
    /// With this many for one address.
    pub fn new(share: u32) -> Arc<Self> {
        Arc::new(Self { share: share.max(1), taken: Mutex::default() })
    }

    /// A place for a peer; `None` when its address has its share.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let holder = Holder::of(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(holder).or_default();
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), holder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The endpoints of the authorization server.
    AuthorizationServer,
    /// The resource gateway.
    Gateway,
    /// `/metrics`, `/livez`, `/readyz`.
    Metrics,
    /// The administration API.
    Admin,
    /// The gateway's word to proxies in front.
    ForwardAuth,
}

/// The TLS side of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The policies in force; swapped by a reload.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Shakes hands under them.
    pub acceptor: Acceptor,
}

impl Listener {
    /// Reads the files a listener needs and binds its address.
    pub async fn bind(
        written: &ListenerSettings,
        limits: &LimitSettings,
        base: &Path,
        anchors: &Arc<CurrentAnchors>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let services: BTreeSet<_> = written.services.iter().map(service).collect();
        if services.is_empty() {
            bail!("listener `{}`: `services` is empty: name what is served at {}", written.name, written.address);
        }
        let proxy_protocol = proxy_protocol(written)?;
        let proxies = super::proxies::build(written, limits, anchors, clock)?;
        let tls = match policies(written, base, &anchors.load(), None, FIRST_EPOCH, clock)? {
            Some(policies) => {
                let policies = Arc::new(ArcSwap::from_pointee(policies));
                let acceptor = Acceptor::new(policies.clone(), AcceptLimits::from(limits));
                Some(ListenerTls { policies, acceptor })
            }
            None if services.iter().all(|service| *service == Service::Metrics) => None,
            None => bail!(
                "listener `{}`: `host` is empty: only metrics can be served without TLS; name a certificate for the rest",
                written.name
            ),
        };
        let passthrough = passthrough(written, clock)?;
        let socket = bind(written.address)
            .await
            .with_context(|| format!("listener `{}`: cannot listen on {}", written.name, written.address))?;
        let unix_socket = match super::proxies::unix_socket(written) {
            Some(path) => {
                let path = base.join(path);
                let bound = unix_socket::bind(&path, UNIX_SOCKET_MODE, "trusted_proxy.unix_socket");
                let bound = bound.with_context(|| format!("listener `{}`: {}", written.name, path.display()))?;
                Some((bound, path))
            }
            None => None,
        };
        Ok(Self { name: written.name.clone(), socket, unix_socket, services, tls, passthrough, proxy_protocol, proxies })
    }
}

/// The addresses whose connections must begin with a PROXY protocol header.
pub fn proxy_protocol(written: &ListenerSettings) -> anyhow::Result<Vec<AddressRange>> {
    let ranges = written.proxy_protocol.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    ranges.with_context(|| format!("listener `{}`: `proxy_protocol`", written.name))
}

/// What a listener passes on unread. Names are told apart by TLS, so that it must have a host of its own.
pub fn passthrough(written: &ListenerSettings, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<Passthrough>>> {
    let passthrough = Passthrough::of(written, clock)?;
    if passthrough.is_some() && written.host.is_empty() {
        bail!("listener `{}`: `passthrough` needs at least one `host`: names are told apart by TLS", written.name);
    }
    Ok(passthrough)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("port {} is taken: stop the program that holds it, or choose another port", address.port())
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {} may not be used by this user: choose one above 1023", address.port())
        }
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!("{} is not an address of this machine", address.ip()),
        _ => error.into(),
    })
}

/// The TLS policies of a listener, from its settings and the files they name.
///
/// `epoch` counts the readings. What has not changed since `previous` stays, with its TLS sessions; sessions of what has are not
/// resumed.
pub fn policies(
    written: &ListenerSettings,
    base: &Path,
    anchors: &AnchorSets,
    previous: Option<&PolicySet>,
    epoch: u64,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<PolicySet>> {
    if written.host.is_empty() {
        return Ok(None);
    }
    let names_mode = written.certificate_mode.is_some() || written.host.iter().any(|host| host.certificate_mode.is_some());
    let serves = |service| written.services.contains(&service);
    if names_mode && !serves(ServiceSetting::Gateway) && !serves(ServiceSetting::ForwardAuth) {
        bail!("listener `{}`: `certificate_mode` is for the gateway, which is not served here: take it away", written.name);
    }
    if written.host.iter().any(|host| host.tcp_route.is_some()) && !serves(ServiceSetting::Gateway) {
        bail!("listener `{}`: `tcp_route` is for the gateway, which is not served here: take it away", written.name);
    }
    let policies = PolicySet::load(written, base, &anchors.hints(), previous, epoch, clock)
        .with_context(|| format!("listener `{}`", written.name))?;
    Ok(Some(policies))
}

const fn service(written: &ServiceSetting) -> Service {
    match written {
        ServiceSetting::AuthorizationServer => Service::AuthorizationServer,
        ServiceSetting::Gateway => Service::Gateway,
        ServiceSetting::Metrics => Service::Metrics,
        ServiceSetting::Admin => Service::Admin,
        ServiceSetting::ForwardAuth => Service::ForwardAuth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let places = Places::new(2);
        let take = |address: &str| places.take(address.parse().expect("an address"));
        let (first, second) = (take("192.0.2.1").expect("one"), take("::ffff:192.0.2.1").expect("two"));
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").expect("another's share is its own");
        drop(first);
        let again = take("192.0.2.1").expect("given back");
        // An IPv6 host may use any address of its /64.
        let _six = (take("2001:db8::1").expect("one"), take("2001:db8::2").expect("two"));
        assert!(take("2001:db8::ffff:0:0:3").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        drop((second, again));
        assert_eq!(places.taken.lock().expect("not poisoned").len(), 2, "nobody is remembered for ever");
    }
}
