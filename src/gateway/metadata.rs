//! What the gateway says about the resources behind it, to anybody (RFC 9728).

use std::collections::BTreeMap;

use bytes::Bytes;
use url::Url;

use super::Route;
use super::route::RouteHost;
use crate::binding::Policy;
use crate::resource::{ResourceMetadata, WELL_KNOWN};
use crate::wire::{Authority, Target};

/// The metadata of every resource whose identifier is a URL on the host of its route.
#[derive(Debug, Default)]
pub struct PublishedMetadata {
    /// By authority and path.
    documents: BTreeMap<(String, String), Bytes>,
}

/// Where the metadata of the resource `audience` lie, as authority and path, where that is on the host of its route.
fn place(audience: &str, host: &RouteHost) -> Option<(String, String)> {
    let url =
        Url::parse(audience).ok().filter(|url| url.scheme() == "https" && url.query().is_none() && url.fragment().is_none())?;
    if url.as_str().trim_end_matches('/') != audience.trim_end_matches('/') || !url.username().is_empty() {
        return None;
    }
    let text = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str()?.to_owned(),
    };
    let authority = Authority::parse(&text).ok()?;
    host.takes(&authority)?;
    let path = if audience.ends_with('/') && url.path() == "/" { "" } else { url.path().trim_start_matches('/') };
    let path = if path.is_empty() { WELL_KNOWN.to_owned() } else { format!("{WELL_KNOWN}/{path}") };
    Some((authority.as_str().to_owned(), path))
}

/// The URL of the metadata of the resource `audience`, where they are published.
pub(super) fn url(audience: &str, host: &RouteHost) -> Option<String> {
    place(audience, host).map(|(authority, path)| format!("https://{authority}{path}"))
}

impl PublishedMetadata {
    /// The documents for these routes: one for each resource, whose routes together say what it takes.
    pub(super) fn new<'a>(routes: impl IntoIterator<Item = (&'a RouteHost, &'a Route)>) -> Self {
        let mut resources: BTreeMap<(String, String), Vec<&Route>> = BTreeMap::new();
        for (host, route) in routes {
            if let Some(place) = place(route.protection.requirements.audience.as_str(), host) {
                resources.entry(place).or_default().push(route);
            }
        }
        let documents = resources.into_iter().filter_map(|(place, routes)| Some((place, document(&routes)?)));
        Self { documents: documents.collect() }
    }

    /// The document that a request is for.
    pub fn find(&self, target: &Target) -> Option<Bytes> {
        let path = target.path.as_str();
        if !path.starts_with(WELL_KNOWN) {
            return None;
        }
        self.documents.get(&(target.authority.as_str().to_owned(), path.to_owned())).cloned()
    }
}

fn document(routes: &[&Route]) -> Option<Bytes> {
    let protections = || routes.iter().map(|route| &route.protection);
    let mut algorithms: Vec<&'static str> = vec![];
    for algorithm in
        protections().filter_map(|protection| protection.accepts_dpop()).flat_map(|dpop| &dpop.dpop.rules().algorithms)
    {
        if !algorithms.contains(&algorithm.name()) {
            algorithms.push(algorithm.name());
        }
    }
    let document = ResourceMetadata {
        resource: protections().next()?.requirements.audience.as_str(),
        authorization_servers: protections()
            .flat_map(|protection| &protection.issuers)
            .map(|issuer| issuer.verifier.issuer().as_str())
            .collect(),
        scopes_supported: protections()
            .flat_map(|protection| protection.requirements.scopes.tokens().chain(protection.requirements.any_scopes.tokens()))
            .collect(),
        bearer_methods_supported: ["header"],
        tls_client_certificate_bound_access_tokens: protections().any(|protection| protection.binding.takes_certificates()),
        dpop_signing_alg_values_supported: algorithms,
        dpop_bound_access_tokens_required: protections().all(|protection| protection.binding == Policy::Dpop),
    };
    serde_json::to_vec(&document).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_lie_on_the_host_of_their_route_or_nowhere() {
        let host = RouteHost::parse("api.example").expect("a host");
        let with_port = RouteHost::parse("api.example:8443").expect("a host");
        let table = [
            (&host, "https://api.example", Some("https://api.example/.well-known/oauth-protected-resource")),
            (&host, "https://api.example/", Some("https://api.example/.well-known/oauth-protected-resource")),
            (&host, "https://api.example/a/b", Some("https://api.example/.well-known/oauth-protected-resource/a/b")),
            (&host, "https://api.example:8443/a", Some("https://api.example:8443/.well-known/oauth-protected-resource/a")),
            (&with_port, "https://api.example:8443/a", Some("https://api.example:8443/.well-known/oauth-protected-resource/a")),
            (&with_port, "https://api.example/a", None),
            (&host, "https://other.example/a", None),
            (&host, "http://api.example/a", None),
            (&host, "https://api.example/a?b", None),
            (&host, "urn:api", None),
            (&host, "https://api.example/a/../b", None),
        ];
        for (host, audience, expected) in table {
            assert_eq!(url(audience, host).as_deref(), expected, "{audience}");
        }
    }
}
