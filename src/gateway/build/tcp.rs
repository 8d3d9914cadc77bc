//! Routes of protocols that are not HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use rustls::pki_types::ServerName;

use super::route::{DEFAULT_FAILURES, UpstreamTls, parsed, staleness, upstream_tls};
use super::{BuildError, Server, Surroundings, setting};
use crate::config::settings::{Settings, TcpRouteSettings};
use crate::gateway::certificate_rule::CertificateRules;
use crate::gateway::limits::Concurrency;
use crate::gateway::tcp::{Announced, TcpPlace, TcpRoute, TcpUpstream};
use crate::gateway::upstreams::{HealthRules, Upstreams};
use crate::resource::RevocationCheck;

/// Every route by its name. `taken` are the names of the other routes, which metrics and events tell apart by them too.
pub(super) fn build_tcp_routes(
    settings: &Settings,
    servers: &BTreeMap<&str, Server>,
    taken: &BTreeSet<&str>,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, Arc<TcpRoute>>, BuildError> {
    let mut routes = BTreeMap::new();
    for written in &settings.tcp_route {
        let name = &written.name;
        let route = build_tcp_route(settings, written, servers, surroundings)?;
        if taken.contains(name.as_str()) || routes.insert(name.clone(), Arc::new(route)).is_some() {
            return Err(setting("tcp_route.name", format!("two routes are named `{name}`")));
        }
    }
    let hosts = settings.listener.iter().flat_map(|listener| &listener.host);
    match hosts.filter_map(|host| host.tcp_route.as_ref()).find(|name| !routes.contains_key(*name)) {
        Some(name) => Err(setting("listener.host.tcp_route", format!("there is no [[tcp_route]] named `{name}`"))),
        None => Ok(routes),
    }
}

fn build_tcp_route(
    settings: &Settings,
    written: &TcpRouteSettings,
    servers: &BTreeMap<&str, Server>,
    surroundings: &Surroundings,
) -> Result<TcpRoute, BuildError> {
    let at = |member: &str| format!("tcp_route.{}.{member}", written.name);
    if let Some(name) = written.anchor_set.as_ref().filter(|name| surroundings.anchors.load().get(name).is_none()) {
        return Err(setting(at("anchor_set"), format!("there is no `[anchor_set.{name}]`")));
    }
    let places = places(settings, written)?;
    let certificate_rules = CertificateRules {
        names: parsed(&written.certificate_names, &at("certificate_names"))?,
        issuers: parsed(&written.certificate_issuers, &at("certificate_issuers"))?,
        keys: parsed(&written.certificate_keys, &at("certificate_keys"))?,
    };
    if written.idle_seconds == 0 {
        return Err(setting(at("idle_seconds"), "must be at least 1"));
    }
    if written.max_concurrent == Some(0) {
        return Err(setting(at("max_concurrent"), "must be at least 1; leave it out for no limit"));
    }
    Ok(TcpRoute {
        name: written.name.clone(),
        places,
        upstreams: upstreams(written, surroundings)?,
        connect: Duration::from_secs(written.upstream_connect_seconds.into()),
        anchor_set: written.anchor_set.clone(),
        certificate_rules,
        addresses: parsed(&written.addresses, &at("addresses"))?,
        revocations: revocations(written, servers)?,
        idle: Duration::from_secs(written.idle_seconds.into()),
        concurrency: written.max_concurrent.map(Concurrency::new),
        announced: if written.send_proxy_protocol { Announced::Yes } else { Announced::No },
    })
}

/// Where clients find a route, and whose certificates count there.
fn places(settings: &Settings, written: &TcpRouteSettings) -> Result<Vec<TcpPlace>, BuildError> {
    let mut places = Vec::new();
    for listener in &settings.listener {
        for host in listener.host.iter().filter(|host| host.tcp_route.as_ref() == Some(&written.name)) {
            let sets: Vec<String> =
                [&listener.anchor_set, &host.anchor_set, &written.anchor_set].into_iter().flatten().cloned().collect();
            let port = listener.address.port();
            let names = host.names.iter().map(|name| format!("{name}:{port}"));
            if sets.is_empty() {
                let problem = "is missing, and so is that of the host and of the listener: no certificate would be accepted";
                return Err(setting(format!("tcp_route.{}.anchor_set", written.name), problem));
            }
            places.extend(names.map(|name| TcpPlace { name, anchor_sets: sets.clone() }));
        }
    }
    if places.is_empty() {
        let problem = format!("`{}` is named by no host: write `tcp_route` in a [[listener.host]]", written.name);
        return Err(setting("tcp_route.name", problem));
    }
    Ok(places)
}

/// Whose revocations count.
fn revocations(written: &TcpRouteSettings, servers: &BTreeMap<&str, Server>) -> Result<Vec<RevocationCheck>, BuildError> {
    let staleness = staleness(written.stale_revocations, written.max_revocation_staleness_seconds);
    let refused = |problem: String| setting(format!("tcp_route.{}.authorization_server", written.name), problem);
    let check = |name: &String| {
        let server = servers.get(name.as_str()).ok_or_else(|| refused(format!("there is no `[authorization_server.{name}]`")))?;
        let revocations = server.revocations.as_ref();
        let revocations = revocations.ok_or_else(|| refused(format!("`{name}` says nothing without `revocation_feed`")))?;
        Ok(RevocationCheck { revocations: Arc::clone(revocations), staleness })
    };
    written.authorization_server.iter().map(check).collect()
}

/// Where connections go.
fn upstreams(written: &TcpRouteSettings, surroundings: &Surroundings) -> Result<Upstreams<TcpUpstream>, BuildError> {
    let of = format!("tcp_route.{}", written.name);
    let at = |member: &str| format!("{of}.{member}");
    if written.upstream_connect_seconds == 0 || written.upstream_rest_seconds == 0 {
        return Err(setting(at("upstream_connect_seconds"), "and `upstream_rest_seconds` must be at least 1"));
    }
    let tls = written.upstream_ca_file.as_ref().map(|authorities| UpstreamTls {
        of: &of,
        authorities,
        certificate: written.upstream_certificate_file.as_ref(),
        key: written.upstream_key_file.as_ref(),
        keys: &written.upstream_keys,
    });
    let tls = tls.map(|tls| upstream_tls(tls, surroundings)).transpose()?;
    let only_for_tls = [
        ("upstream_certificate_file", written.upstream_certificate_file.is_some()),
        ("upstream_key_file", written.upstream_key_file.is_some()),
        ("upstream_server_name", written.upstream_server_name.is_some()),
        ("upstream_keys", !written.upstream_keys.is_empty()),
    ];
    if let (None, Some((name, _))) = (&tls, only_for_tls.iter().find(|(_, is_set)| *is_set)) {
        return Err(setting(at(name), "is for upstreams that speak TLS, which need `upstream_ca_file`"));
    }
    let mut members = Vec::with_capacity(written.upstream.len());
    for text in &written.upstream {
        let place: Option<Authority> = text.parse().ok();
        let place = place.filter(|place| place.port_u16().is_some() && !place.host().is_empty() && !text.contains('@'));
        let place = place.ok_or_else(|| setting(at("upstream"), format!("`{text}` is not `HOST:PORT`")))?;
        let tls = match &tls {
            None => None,
            Some(tls) => {
                let name = written.upstream_server_name.as_deref().unwrap_or_else(|| place.host());
                let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
                let proven = ServerName::try_from(bare.to_owned())
                    .map_err(|_| setting(at("upstream_server_name"), format!("`{name}` is not a server name")))?;
                Some((Arc::clone(tls), proven))
            }
        };
        members.push((TcpUpstream { place: text.clone(), tls }, 1));
    }
    if members.is_empty() {
        return Err(setting(at("upstream"), "must name at least one"));
    }
    let rules = HealthRules {
        failures: written.upstream_failures.or((members.len() > 1).then_some(DEFAULT_FAILURES)).filter(|failures| *failures > 0),
        rest: Duration::from_secs(written.upstream_rest_seconds.into()),
        check: None,
    };
    Ok(Upstreams::new(members, rules, Arc::clone(&surroundings.clock)))
}
