//! TLS policies, told apart by server name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{DistinguishedName, ServerConfig};

use crate::domain::Clock;
use crate::pki::pem::PemFileError;

use super::verifier::PossessionVerifier;
use super::{ClockTime, SuiteProfile};

/// Sessions that a host remembers for TLS 1.2 clients that resume by id. Each holds a client's whole chain.
const REMEMBERED_SESSIONS: usize = 256;

/// Bytes of authorities' names that clients are told. The message holds no more than 65,535 in all; a host with more tells none.
const HINT_BYTES: usize = 32_768;

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

/// A certificate chain and its key, as a host shows them.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The certificate first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
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
    /// The anchor set that client certificates here must come from, by name.
    pub anchor_set: Option<String>,
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
    anchor_set: Option<String>,
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
    /// A certificate and key that do not fit, or that TLS cannot use.
    #[error("host `{host}`: {}", identity_problem(error))]
    Identity {
        /// The host's first name.
        host: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// Versions, suites, tickets.
    #[error("cannot set TLS up: {0}")]
    Setup(#[source] rustls::Error),
}

fn identity_problem(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key in `key_file` is not that of the certificate in `certificate_file`".to_owned()
        }
        error => format!("its certificate and key cannot be used: {error}"),
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
        if spec.anchor_set.is_some() && spec.client_certificate == ClientCertificateMode::None {
            return Err(PolicyError::UnusedAnchorSet(id));
        }
        let provider = spec.suites.provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
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
        let mut config = builder
            .with_single_cert(spec.identity.chain, spec.identity.key)
            .map_err(|error| PolicyError::Identity { host: id.clone(), error })?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // rustls resumes whatever its ticketer and storage know, whichever policy they came from.
        config.ticketer = Ticketer::new().map_err(PolicyError::Setup)?;
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
        Ok(Self {
            id,
            names,
            client_certificate: spec.client_certificate,
            anchor_set: spec.anchor_set,
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

    /// The anchor set that client certificates here must come from, by name.
    pub fn anchor_set(&self) -> Option<&str> {
        self.anchor_set.as_deref()
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
        let policies: Vec<Arc<HostPolicy>> = policies.into_iter().map(Arc::new).collect();
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

    /// Reads the hosts of a listener. `hints` has the encoded subjects of every anchor set, by name; `epoch` must differ from that
    /// of any set of policies these replace.
    ///
    /// # Errors
    /// Files that cannot be read, and as [`PolicySet::new`] and [`HostPolicy::new`].
    #[cfg(feature = "server")]
    pub fn load(
        hosts: &[crate::config::settings::HostSettings],
        base_dir: &std::path::Path,
        hints: &std::collections::BTreeMap<String, Vec<Vec<u8>>>,
        epoch: u64,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, PolicyError> {
        use crate::config::settings::ClientCertificateSetting as Setting;
        use crate::pki::pem;
        let mut policies = Vec::with_capacity(hosts.len());
        for host in hosts {
            let chain = pem::load_certificates(&base_dir.join(&host.certificate_file))?;
            let hints = match &host.anchor_set {
                None => Vec::new(),
                Some(name) => hints.get(name).cloned().ok_or_else(|| PolicyError::UnknownAnchorSet {
                    host: host.names.first().cloned().unwrap_or_default(),
                    anchor_set: name.clone(),
                })?,
            };
            let spec = HostPolicySpec {
                names: host.names.clone(),
                identity: ServerIdentity {
                    chain: chain.iter().map(|certificate| certificate.der().clone()).collect(),
                    key: pem::load_private_key(&base_dir.join(&host.key_file))?,
                },
                client_certificate: match host.client_certificate {
                    Setting::None => ClientCertificateMode::None,
                    Setting::Request => ClientCertificateMode::Request,
                    Setting::Require => ClientCertificateMode::Require,
                },
                anchor_set: host.anchor_set.clone(),
                hints,
                suites: host.suites.into(),
            };
            policies.push(HostPolicy::new(spec, epoch, Arc::clone(clock))?);
        }
        Self::new(policies)
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

fn written(name: &HostName) -> String {
    match name {
        HostName::Exact(name) => name.clone(),
        HostName::Wildcard(suffix) => format!("*.{suffix}"),
        HostName::Ip(ip) => ip.to_string(),
        HostName::Any => "*".into(),
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
