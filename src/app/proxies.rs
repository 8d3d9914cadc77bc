//! Proxies in front that end the clients' TLS and tell the clients' certificates in a header field.
//!
//! The field is taken away from the requests of every connection of such a listener, and read only where the connection is a trusted
//! proxy's. There the certificate of the connection itself is the proxy's: it never stands for a client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::config::settings::{
    CertificateSourceSetting, ClientCertificateSetting, LimitSettings, ListenerSettings, OriginalRequestSetting,
    ProxyPresetSetting, ServiceSetting, Settings,
};
use crate::domain::Clock;
use crate::event::CertificateOrigin;
use crate::fetch::AddressRange;
use crate::gateway::forward_auth::Dialect;
use crate::jose::digest::sha256;
use crate::pki::proxy_header::{HeaderError, Notation, Said, decode};
use crate::tls::{PeerCertificate, PeerCertificateError, PeerLimits, PeerThumbprint, TrustedHop};
use crate::trust::{AnchorSets, CurrentAnchors, PeerTrust};
use crate::web::{Peer, Told};

/// Certificates of clients whose paths are remembered, so that their signatures are verified once; and bytes of them in all.
const REMEMBERED: usize = 4_096;
const REMEMBERED_BYTES: u64 = 16 << 20;
/// Bytes that one of them takes beside its chain.
const OVERHEAD: usize = 2_048;

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Whoever has this address.
    Address(SocketAddr),
    /// Whoever may open the listener's Unix socket.
    UnixSocket,
}

/// What a listener takes from proxies.
#[derive(Debug)]
pub struct Proxies {
    dialect: Dialect,
    preset: &'static str,
    notation: Notation,
    field: HeaderName,
    chain: Option<ChainField>,
    addresses: Vec<AddressRange>,
    anchor_set: Option<String>,
    limits: PeerLimits,
    anchors: Arc<CurrentAnchors>,
    clock: Arc<dyn Clock>,
    known: Cache<[u8; 32], Arc<PeerTrust>, Bytes>,
}

/// Where the chain stands.
#[derive(Clone, Debug)]
struct ChainField {
    name: HeaderName,
    lines: Lines,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    One,
    /// It is a list of structured fields (RFC 9440 §2.3).
    Several,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<[u8; 32], Arc<PeerTrust>> for Bytes {
    fn weight(&self, _: &[u8; 32], trust: &Arc<PeerTrust>) -> u64 {
        let peer = trust.peer();
        let bytes: usize = [peer.leaf().der()].into_iter().chain(peer.chain()).map(|der| der.len()).sum();
        bytes.saturating_add(OVERHEAD) as u64
    }
}

/// The Unix socket that a listener's section names for its proxies.
pub fn unix_socket(written: &ListenerSettings) -> Option<&PathBuf> {
    written.trusted_proxy.as_ref().and_then(|proxy| proxy.unix_socket.as_ref())
}

/// Checks a listener's section; `None` where clients shake hands themselves.
pub fn build(
    written: &ListenerSettings,
    limits: &LimitSettings,
    anchors: &Arc<CurrentAnchors>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<Proxies>>> {
    let section = || format!("listener `{}`: `trusted_proxy`", written.name);
    if written.services.contains(&ServiceSetting::ForwardAuth) {
        if written.services.len() > 1 {
            bail!("listener `{}`: `forward_auth` is a service of its own: give it a listener of its own", written.name);
        }
        if written.trusted_proxy.is_none() {
            bail!("listener `{}`: `forward_auth` is for trusted proxies: say in `trusted_proxy` which those are", written.name);
        }
    }
    let proxy = match (written.certificate_source, &written.trusted_proxy) {
        (CertificateSourceSetting::Handshake, None) => return Ok(None),
        (CertificateSourceSetting::Handshake, Some(_)) => {
            bail!("{} needs `certificate_source = \"trusted_proxy_header\"`", section())
        }
        (CertificateSourceSetting::TrustedProxyHeader, None) => {
            bail!("{} is missing: say which proxies are trusted, and what they send", section())
        }
        (CertificateSourceSetting::TrustedProxyHeader, Some(proxy)) => proxy,
    };
    if proxy.addresses.is_empty() && proxy.anchor_set.is_none() && proxy.unix_socket.is_none() {
        bail!("{} needs `addresses`, `anchor_set` or `unix_socket`: nobody would be trusted", section());
    }
    if let Some(name) = &proxy.anchor_set {
        if anchors.load().get(name).is_none() {
            bail!("{}: there is no [anchor_set.{name}]", section());
        }
        if let Some(host) = written.host.iter().find(|host| host.client_certificate == ClientCertificateSetting::None) {
            bail!("{}: host `{}` must ask for certificates (`client_certificate`)", section(), host.names.join(", "));
        }
    }
    if proxy.original_request.is_some() && !written.services.contains(&ServiceSetting::ForwardAuth) {
        bail!("{}: `original_request` is for listeners with the service `forward_auth`", section());
    }
    let dialect = match (proxy.original_request, proxy.preset) {
        (Some(OriginalRequestSetting::XOriginal), _) | (None, ProxyPresetSetting::Nginx) => Dialect::Original,
        (Some(OriginalRequestSetting::XForwarded), _) | (None, _) => Dialect::Forwarded,
    };
    let addresses = proxy.addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    let (field, chain_field, notation) = fields(proxy.preset);
    let named = |name: &Option<String>| {
        let parsed = name.as_ref().map(|name| HeaderName::try_from(name.as_str()));
        parsed.transpose().with_context(section)
    };
    let field = named(&proxy.header)?.unwrap_or(HeaderName::from_static(field));
    let chain_field = named(&proxy.chain_header)?.or(chain_field.map(HeaderName::from_static));
    if chain_field.as_ref() == Some(&field) || [Some(&field), chain_field.as_ref()].into_iter().flatten().any(is_taken) {
        bail!("{}: these names of fields are taken, or one is named twice", section());
    }
    let lines = match proxy.preset {
        ProxyPresetSetting::Rfc9440 | ProxyPresetSetting::Caddy => Lines::Several,
        _ => Lines::One,
    };
    Ok(Some(Arc::new(Proxies {
        dialect,
        preset: proxy.preset.name(),
        notation,
        field,
        chain: chain_field.map(|name| ChainField { name, lines }),
        addresses: addresses.with_context(section)?,
        anchor_set: proxy.anchor_set.clone(),
        limits: PeerLimits {
            chain_certificates: limits.chain_certificates as usize,
            certificate_bytes: limits.certificate_bytes as usize,
        },
        anchors: anchors.clone(),
        clock: clock.clone(),
        known: Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, Bytes),
    })))
}

/// Checks that no client's certificate makes a proxy of it: where a proxy is told by its certificate alone, none of its authorities is one
/// that accepts clients or people, of a host, a listener, a route, the sign-in with certificates, or whatever a registration may name.
pub fn check_apart(settings: &Settings, anchors: &AnchorSets) -> anyhow::Result<()> {
    let set_of = |listener: &ListenerSettings| listener.trusted_proxy.as_ref().and_then(|proxy| proxy.anchor_set.clone());
    let for_proxies: Vec<String> = settings.listener.iter().filter_map(set_of).collect();
    let listeners = settings.listener.iter().flat_map(|listener| {
        let hosts = listener.host.iter().map(|host| &host.anchor_set);
        hosts.chain([&listener.anchor_set]).flatten()
    });
    let people = settings.certificate_sign_in.anchor_set.iter();
    let for_clients: Vec<&String> =
        listeners.chain(settings.route.iter().filter_map(|route| route.anchor_set.as_ref())).chain(people).collect();
    for listener in &settings.listener {
        let Some(proxy) = &listener.trusted_proxy else { continue };
        let Some(set) = proxy.anchor_set.as_ref().filter(|_| proxy.addresses.is_empty()) else { continue };
        let Some(proxies) = anchors.get(set) else { continue };
        let judges = |name: &String| for_clients.contains(&name) || !for_proxies.contains(name);
        for clients in anchors.iter().filter(|other| judges(&other.name().to_owned())) {
            if let Some(shared) = proxies.accepts_authority_of(clients) {
                bail!(
                    "listener `{}`: `trusted_proxy`: [anchor_set.{set}] accepts `{}`, an authority of [anchor_set.{}]: a client could pose as \
                     the proxy. Give the proxies an authority of their own, or name their `addresses` too",
                    listener.name,
                    shared.subject(),
                    clients.name()
                );
            }
        }
    }
    Ok(())
}

/// Fields whose meaning is another: they would be taken away from every request.
fn is_taken(name: &HeaderName) -> bool {
    use http::header::{
        ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, ORIGIN, TRANSFER_ENCODING,
    };
    [ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, ORIGIN, TRANSFER_ENCODING].contains(name)
}

/// The names under which each proxy tells the certificate and its chain.
const fn fields(preset: ProxyPresetSetting) -> (&'static str, Option<&'static str>, Notation) {
    use Notation::{Certificate, CommaSeparated, Xfcc};
    match preset {
        ProxyPresetSetting::Rfc9440 | ProxyPresetSetting::Caddy => ("client-cert", Some("client-cert-chain"), Certificate),
        ProxyPresetSetting::Nginx | ProxyPresetSetting::Apache => ("ssl-client-cert", None, Certificate),
        ProxyPresetSetting::Haproxy => ("x-ssl-client-der", Some("x-ssl-client-chain-der"), Certificate),
        ProxyPresetSetting::Xfcc => ("x-forwarded-client-cert", None, Xfcc),
        ProxyPresetSetting::Traefik => ("x-forwarded-tls-client-cert", None, CommaSeparated),
        ProxyPresetSetting::Alb => ("x-amzn-mtls-clientcert-leaf", None, Certificate),
        ProxyPresetSetting::AlbPassthrough => ("x-amzn-mtls-clientcert", None, Certificate),
        ProxyPresetSetting::Azure => ("x-arr-clientcert", None, Certificate),
        ProxyPresetSetting::Cloudflare => ("cf-client-cert-der-base64", None, Certificate),
        ProxyPresetSetting::XSslClientCert => ("x-ssl-client-cert", None, Certificate),
    }
}

impl Proxies {
    /// How they tell the requests that they ask about.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whom a request comes from, with proof that a trusted proxy says so, where one does. The header fields are taken away, whoever sent
    /// them.
    pub fn client(&self, connection: &Peer, neighbour: Neighbour, headers: &mut HeaderMap) -> (Peer, Option<TrustedHop>) {
        let values = taken(headers, &self.field);
        let chain = self.chain.as_ref().map(|field| taken(headers, &field.name)).unwrap_or_default();
        let hop = self.hop(connection, neighbour);
        let preset = self.preset;
        let (told, origin) = match hop {
            Some(hop) => (self.told(&values, &chain, hop), CertificateOrigin::ProxyHeader { preset, proxy: hop.to_string() }),
            None => (Ok(Told::Nothing), CertificateOrigin::UntrustedProxy { preset }),
        };
        (connection.behind_proxy(told, origin), hop)
    }

    /// Proof that a connection is a trusted proxy's: by every means that the listener names.
    fn hop(&self, connection: &Peer, neighbour: Neighbour) -> Option<TrustedHop> {
        let by_place = match neighbour {
            Neighbour::UnixSocket => Some(TrustedHop::by_unix_socket()),
            Neighbour::Address(address) => {
                let is_named = self.addresses.iter().any(|range| range.contains(address.ip()));
                is_named.then(|| TrustedHop::by_address(address.ip()))
            }
        };
        let Some(name) = &self.anchor_set else { return by_place };
        if by_place.is_none() && !self.addresses.is_empty() {
            return None;
        }
        let now = self.clock.now().ok()?;
        let anchors = self.anchors.load();
        let trusted = connection.trust()?.judge(&[anchors.get(name)?], now).ok()?;
        Some(TrustedHop::by_certificate(trusted.certificate().thumbprint()))
    }

    fn told(&self, values: &[HeaderValue], chain: &[HeaderValue], hop: TrustedHop) -> Result<Told, PeerCertificateError> {
        let value = match values {
            [] => "",
            [value] => text(value)?,
            _ => return Err(HeaderError::Several.into()),
        };
        if chain.len() > 1 && self.chain.as_ref().is_some_and(|field| field.lines == Lines::One) {
            return Err(HeaderError::Several.into());
        }
        let chain = chain.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(",");
        let key = sha256(format!("{hop:?}\n{value}\n{chain}").as_bytes());
        if let Some(known) = self.known.get(&key) {
            return Ok(Told::Certificate(known));
        }
        let said = match decode(self.notation, value, Some(&chain))? {
            Said::Nothing => return Ok(Told::Nothing),
            Said::Thumbprint(thumbprint) => return Ok(Told::Thumbprint(PeerThumbprint::attested(thumbprint, hop))),
            Said::Certificate(said) => said,
        };
        let peer = PeerCertificate::attested(said.leaf, said.chain, hop, &self.limits)?;
        let trust = Arc::new(PeerTrust::new(Arc::new(peer)));
        self.known.insert(key, Arc::clone(&trust));
        Ok(Told::Certificate(trust))
    }
}

fn taken(headers: &mut HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    match headers.entry(name) {
        http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
        http::header::Entry::Vacant(_) => Vec::new(),
    }
}

fn text(value: &HeaderValue) -> Result<&str, HeaderError> {
    value.to_str().map_err(|_| HeaderError::Text)
}
