//! TLS policies, told apart by server name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, ServerConfig};

use crate::domain::Clock;
use crate::pki::Certificate;
use crate::pki::pem::PemFileError;

use staple::OwnKey;
#[cfg(feature = "server")]
pub use staple::{Staple, StapleError, Stapling};

use super::verifier::PossessionVerifier;
use super::{ClockTime, SuiteProfile};

/// Sessions that a host remembers for TLS 1.2 clients that resume by id. Each holds a client's whole chain.
const REMEMBERED_SESSIONS: usize = 256;

/// Bytes of authorities' names that clients are told. The message holds no more than 65,535 in all; a host with more tells none.
const HINT_BYTES: usize = 32_768;

/// Bytes of the name of a protocol, at most: it is told to upstreams.
const ALPN_BYTES: usize = 32;

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// Never, so that no browser shows a prompt.
    #[default]
    None,
    /// Asked; a client without one is served.
    Request,
    /// Asked; the handshake fails without one, and only for that.
    Require,
}

/// What the gateway does with a certificate that is not good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateMode {
    /// The certificate that a token is bound to must be good; others are not looked at.
    #[default]
    Bound,
    /// Nobody is let through without a good certificate.
    Enforce,
    /// Everybody is let through, and told of.
    Permissive,
}

#[cfg(feature = "server")]
impl From<crate::config::settings::CertificateModeSetting> for CertificateMode {
    fn from(setting: crate::config::settings::CertificateModeSetting) -> Self {
        use crate::config::settings::CertificateModeSetting as S;
        match setting {
            S::Bound => Self::Bound,
            S::Enforce => Self::Enforce,
            S::Permissive => Self::Permissive,
        }
    }
}

/// What a host needs to know of an anchor set.
#[derive(Clone, Debug, Default)]
pub struct AnchorHints {
    /// The encoded subjects of its authorities, without their outer SEQUENCE.
    pub subjects: Vec<Vec<u8>>,
    /// SHA-256 over all that the set is: another mark is another set.
    pub mark: [u8; 32],
}

/// Where the certificates come from that stand for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateSource {
    /// Their own handshakes.
    #[default]
    Handshake,
    /// The word of a trusted proxy, which may have a certificate of its own.
    Proxy,
}

/// A certificate chain and its key, as a host shows them.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The certificate first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Of a host whose connections are not HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPolicy {
    /// The route that they take.
    pub route: String,
    /// Protocols that clients may agree on (ALPN, RFC 7301). A client that offers others alone is refused in the handshake.
    pub alpn: Vec<Vec<u8>>,
}

/// What a host's policy is made from.
#[derive(Debug)]
pub struct HostPolicySpec {
    /// Names as in the configuration: exact, `*.suffix`, an IP address, or `*`.
    pub names: Vec<String>,
    /// The certificate to show.
    pub identity: ServerIdentity,
    /// Whether clients are asked for theirs.
    pub client_certificate: ClientCertificateMode,
    /// Where clients' certificates come from.
    pub certificate_source: CertificateSource,
    /// The anchor sets that client certificates here must come from, all of them, by name.
    pub anchor_sets: Vec<String>,
    /// What the gateway does with one that is not good, where this host says so.
    pub certificate_mode: Option<CertificateMode>,
    /// What is served instead of HTTP, where it is something else.
    pub tcp: Option<TcpPolicy>,
    /// Digest of everything this policy is made from. Sessions are resumed under a later policy only where it is the same one.
    pub mark: [u8; 32],
    /// The authorities that clients are told of: encoded subjects without their outer SEQUENCE. None: a client shows what it has.
    pub hints: Vec<Vec<u8>>,
    /// Versions and suites.
    pub suites: SuiteProfile,
}

/// The TLS policy of one or more server names.
#[derive(Debug)]
pub struct HostPolicy {
    id: String,
    names: Vec<HostName>,
    client_certificate: ClientCertificateMode,
    anchor_sets: Vec<String>,
    certificate_mode: Option<CertificateMode>,
    tcp_route: Option<String>,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a reload compares marks"))]
    mark: [u8; 32],
    own: Option<Certificate>,
    #[cfg(feature = "server")]
    own_key: Arc<OwnKey>,
    #[cfg(feature = "server")]
    stapling: Option<Stapling>,
    epoch: u64,
    server_config: Arc<ServerConfig>,
}

/// Why a listener's policies cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A PEM file.
    #[error(transparent)]
    Pem(#[from] PemFileError),
    /// No host at all.
    #[error("a listener needs at least one `host`")]
    NoHost,
    /// A host without a name.
    #[error("a host needs at least one name: a server name, an IP address, or `*`")]
    NoName,
    /// Not a server name, a wildcard or an address.
    #[error("`{0}` is not a server name: write `name.example`, `*.example`, an IP address, or `*`, without scheme and port")]
    Name(String),
    /// Two policies for one name.
    #[error("`{0}` is named by two hosts of one listener")]
    DuplicateName(String),
    /// A host that names an anchor set that is not there.
    #[error("host `{host}` names the anchor set `{anchor_set}`, which does not exist")]
    UnknownAnchorSet {
        /// The host's first name.
        host: String,
        /// The set's name.
        anchor_set: String,
    },
    /// A host that names an anchor set and asks for no certificate.
    #[error("host `{0}` names an anchor set but asks for no client certificate: set `client_certificate`")]
    UnusedAnchorSet(String),
    /// A host that lets nobody through without a certificate and asks for none.
    #[error("host `{0}` has `certificate_mode = \"enforce\"` but asks for no client certificate: set `client_certificate`")]
    UnusedMode(String),
    /// A certificate and key that do not fit, or that TLS cannot use.
    #[error("host `{host}`: {}", identity_problem(error, files.as_deref()))]
    Identity {
        /// The host's first name.
        host: String,
        /// The certificate's file and the key's, where they came from files.
        files: Option<Box<(PathBuf, PathBuf)>>,
        /// What is wrong.
        error: rustls::Error,
    },
    /// A host of a route that is not for HTTP, and cannot be.
    #[error("host `{host}`: {problem}")]
    Tcp {
        /// The host's first name.
        host: String,
        /// What is wrong, and what to write.
        problem: &'static str,
    },
    /// A host whose certificate nobody can be asked about.
    #[error("host `{host}`: `ocsp_stapling`: {problem}")]
    Stapling {
        /// The host's first name.
        host: String,
        /// What is missing.
        problem: &'static str,
    },
    /// Versions, suites, tickets.
    #[error("cannot set TLS up: {0}")]
    Setup(#[source] rustls::Error),
}

fn identity_problem(error: &rustls::Error, files: Option<&(PathBuf, PathBuf)>) -> String {
    // The settings by name, for whoever looks up where they stand; the files beside them.
    let file = |path: Option<&PathBuf>| path.map(|path| format!(" ({})", path.display())).unwrap_or_default();
    let (certificate, key) = (file(files.map(|(certificate, _)| certificate)), file(files.map(|(_, key)| key)));
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key in `key_file`{key} is not that of the certificate in `certificate_file`{certificate}")
        }
        error => format!("its certificate{certificate} and key{key} cannot be used: {error}"),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostName {
    /// Lower case, without a trailing dot.
    Exact(String),
    /// The part after `*.`, lower case.
    Wildcard(String),
    Ip(IpAddr),
    Any,
}

impl HostName {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let invalid = || PolicyError::Name(text.to_owned());
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(ip) = address(text) {
            return Ok(Self::Ip(ip));
        }
        let name = normal_name(text);
        let (labels, is_wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name.as_str(), false),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > 253 || !labels.split('.').all(is_label) {
            return Err(invalid());
        }
        Ok(if is_wildcard { Self::Wildcard(labels.to_owned()) } else { Self::Exact(labels.to_owned()) })
    }
}

/// Tickets of one policy and of one epoch. A resumed connection is judged as a new one is, so what the clock of its keys says decides nothing.
#[allow(clippy::disallowed_methods, reason = "its keys roll by the machine's clock, and resumption carries no verdict")]
fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, PolicyError> {
    Ticketer::new().map_err(PolicyError::Setup)
}

fn address(text: &str) -> Option<IpAddr> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    unbracketed.parse().ok()
}

fn normal_name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

impl HostPolicy {
    /// Sets a policy up, with tickets and remembered sessions of its own: none from before is honoured, and none of another policy.
    ///
    /// # Errors
    /// Names that are none, a certificate and key that do not fit, no randomness.
    pub fn new(spec: HostPolicySpec, epoch: u64, clock: Arc<dyn Clock>) -> Result<Self, PolicyError> {
        let id = spec.names.first().ok_or(PolicyError::NoName)?.clone();
        let names = spec.names.iter().map(|name| HostName::parse(name)).collect::<Result<Vec<_>, _>>()?;
        if spec.client_certificate == ClientCertificateMode::None && spec.certificate_source == CertificateSource::Handshake {
            if !spec.anchor_sets.is_empty() {
                return Err(PolicyError::UnusedAnchorSet(id));
            }
            if spec.certificate_mode == Some(CertificateMode::Enforce) {
                return Err(PolicyError::UnusedMode(id));
            }
        }
        if let Some(tcp) = &spec.tcp {
            check_tcp(tcp, &spec, &names).map_err(|problem| PolicyError::Tcp { host: id.clone(), problem })?;
        }
        let own = spec.identity.chain.first().and_then(|der| Certificate::from_der(der.clone()).ok());
        let provider = spec.suites.provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(spec.suites.versions())
            .map_err(PolicyError::Setup)?;
        let builder = match spec.client_certificate {
            ClientCertificateMode::None => builder.with_no_client_auth(),
            mode @ (ClientCertificateMode::Request | ClientCertificateMode::Require) => {
                let hints = if spec.hints.iter().map(Vec::len).sum::<usize>() > HINT_BYTES { &[][..] } else { &spec.hints };
                let hints = hints.iter().map(|subject| DistinguishedName::in_sequence(subject)).collect();
                let is_mandatory = mode == ClientCertificateMode::Require;
                builder.with_client_cert_verifier(Arc::new(PossessionVerifier::new(algorithms, hints, is_mandatory)))
            }
        };
        let key = CertifiedKey::from_der(spec.identity.chain, spec.identity.key, builder.crypto_provider());
        let key = key.map_err(|error| PolicyError::Identity { host: id.clone(), files: None, error })?;
        let own_key = Arc::new(OwnKey::new(key, clock));
        let mut config = builder.with_cert_resolver(own_key.clone());
        config.ignore_client_order = true;
        config.alpn_protocols = match &spec.tcp {
            None => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            // A name that no client can offer: whoever offers any is refused then.
            Some(tcp) if tcp.alpn.is_empty() => vec![Vec::new()],
            Some(tcp) => tcp.alpn.clone(),
        };
        // rustls resumes whatever its ticketer and storage know, whichever policy they came from.
        config.ticketer = ticketer()?;
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
        Ok(Self {
            id,
            names,
            client_certificate: spec.client_certificate,
            anchor_sets: spec.anchor_sets,
            certificate_mode: spec.certificate_mode,
            tcp_route: spec.tcp.map(|tcp| tcp.route),
            mark: spec.mark,
            own,
            #[cfg(feature = "server")]
            own_key,
            #[cfg(feature = "server")]
            stapling: None,
            epoch,
            server_config: Arc::new(config),
        })
    }

    /// The first of its names, for logs.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its names, in their normal form.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(written)
    }

    /// Whether clients are asked for a certificate.
    pub fn client_certificate(&self) -> ClientCertificateMode {
        self.client_certificate
    }

    /// The anchor sets that client certificates here must come from, all of them, by name.
    pub fn anchor_sets(&self) -> &[String] {
        &self.anchor_sets
    }

    /// What the gateway does with a certificate that is not good, where this host or its listener says so.
    pub fn certificate_mode(&self) -> Option<CertificateMode> {
        self.certificate_mode
    }

    /// The route that connections take, where they are not HTTP.
    pub fn tcp_route(&self) -> Option<&str> {
        self.tcp_route.as_deref()
    }

    /// The certificate that it shows.
    pub fn own_certificate(&self) -> Option<&Certificate> {
        self.own.as_ref()
    }

    /// Whom to ask by OCSP about the certificate that it shows, where that is wanted.
    #[cfg(feature = "server")]
    pub fn stapling(&self) -> Option<&Stapling> {
        self.stapling.as_ref()
    }

    /// Shows an answer beside the certificate from now on, for as long as it holds; or none.
    #[cfg(feature = "server")]
    pub fn staple(&self, staple: Option<&Staple>) {
        self.own_key.staple(staple);
    }

    /// The epoch that its sessions belong to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The configuration of its handshakes.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server_config
    }
}

/// The policies of one listener.
#[derive(Debug)]
pub struct PolicySet {
    policies: Vec<Arc<HostPolicy>>,
    by_name: HashMap<HostName, Arc<HostPolicy>>,
    /// For clients that send no name: `*`, or else the only policy that names an address.
    nameless: Option<Arc<HostPolicy>>,
}

impl PolicySet {
    /// Puts policies together.
    ///
    /// # Errors
    /// No policy, or one name in two.
    pub fn new(policies: impl IntoIterator<Item = HostPolicy>) -> Result<Self, PolicyError> {
        Self::of_shared(policies.into_iter().map(Arc::new).collect())
    }

    fn of_shared(policies: Vec<Arc<HostPolicy>>) -> Result<Self, PolicyError> {
        if policies.is_empty() {
            return Err(PolicyError::NoHost);
        }
        let mut by_name: HashMap<HostName, Arc<HostPolicy>> = HashMap::new();
        for policy in &policies {
            for name in &policy.names {
                match by_name.insert(name.clone(), Arc::clone(policy)) {
                    Some(other) if !Arc::ptr_eq(&other, policy) => return Err(PolicyError::DuplicateName(written(name))),
                    _ => {}
                }
            }
        }
        let mut addressed = policies.iter().filter(|policy| policy.names.iter().any(|name| matches!(name, HostName::Ip(_))));
        let nameless = match (by_name.get(&HostName::Any), addressed.next(), addressed.next()) {
            (Some(any), _, _) => Some(Arc::clone(any)),
            (None, Some(only), None) => Some(Arc::clone(only)),
            _ => None,
        };
        Ok(Self { policies, by_name, nameless })
    }

    /// Every policy.
    pub fn policies(&self) -> &[Arc<HostPolicy>] {
        &self.policies
    }

    /// The policy for the server name that a client asks for (SNI, RFC 6066 §3), or for one that asks for none, as those do that
    /// connect to an address. An exact name goes before a wildcard, a wildcard (one label) before `*`.
    pub fn for_server_name(&self, name: Option<&str>) -> Option<&Arc<HostPolicy>> {
        match name {
            Some(name) => self.for_authority(name),
            None => self.nameless.as_ref(),
        }
    }

    /// The policy that a request's host (without its port) belongs to. When it is not the connection's own, the request has come
    /// the wrong way: 421 (RFC 9110 §15.5.20).
    pub fn for_authority(&self, host: &str) -> Option<&Arc<HostPolicy>> {
        let found = match address(host) {
            Some(ip) => self.by_name.get(&HostName::Ip(ip)),
            None => {
                let name = normal_name(host);
                let suffix = name.split_once('.').map(|(_, suffix)| suffix.to_owned());
                let wildcard = || suffix.and_then(|suffix| self.by_name.get(&HostName::Wildcard(suffix)));
                self.by_name.get(&HostName::Exact(name)).or_else(wildcard)
            }
        };
        found.or_else(|| self.by_name.get(&HostName::Any))
    }
}

/// What a host must be whose connections are not HTTP.
fn check_tcp(tcp: &TcpPolicy, spec: &HostPolicySpec, names: &[HostName]) -> Result<(), &'static str> {
    if spec.certificate_source != CertificateSource::Handshake {
        return Err("a `tcp_route` has no header fields: `certificate_source` of its listener must be `handshake`");
    }
    if spec.client_certificate == ClientCertificateMode::None {
        return Err("a `tcp_route` lets nobody through without a certificate: set `client_certificate`");
    }
    if names.iter().any(|name| matches!(name, HostName::Any | HostName::Ip(_))) {
        return Err("a `tcp_route` is for server names: an address and `*` are asked for without one");
    }
    if tcp.alpn.iter().any(|name| name.is_empty() || name.len() > ALPN_BYTES) {
        return Err("each of `alpn` must have 1 to 32 bytes");
    }
    Ok(())
}

fn written(name: &HostName) -> String {
    match name {
        HostName::Exact(name) => name.clone(),
        HostName::Wildcard(suffix) => format!("*.{suffix}"),
        HostName::Ip(ip) => ip.to_string(),
        HostName::Any => "*".into(),
    }
}

#[cfg(feature = "server")]
mod load;
mod staple;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
