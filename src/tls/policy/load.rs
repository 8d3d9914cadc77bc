//! Policies from their settings and files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::{
    AnchorHints, CertificateSource, ClientCertificateMode, HostPolicy, HostPolicySpec, PolicyError, PolicySet, ServerIdentity,
    Stapling, TcpPolicy,
};
use crate::config::settings::{
    CertificateModeSetting, CertificateSourceSetting, ClientCertificateSetting, HostSettings, ListenerSettings,
};
use crate::domain::Clock;
use crate::jose::digest::sha256;
use crate::pki::{Certificate, pem};

impl PolicySet {
    /// Reads the hosts of a listener. `anchors` has every anchor set, by name; `epoch` must differ from that of any set of policies
    /// these replace.
    ///
    /// A host of which nothing has changed since `previous` keeps its policy, and with it its TLS sessions. What changed, be it the
    /// authorities of a set that it names, gets a policy of its own, under which no session from before is resumed.
    ///
    /// # Errors
    /// Files that cannot be read, and as [`PolicySet::new`] and [`HostPolicy::new`].
    pub fn load(
        listener: &ListenerSettings,
        base_dir: &Path,
        anchors: &BTreeMap<String, AnchorHints>,
        previous: Option<&Self>,
        epoch: u64,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, PolicyError> {
        let mut policies = Vec::with_capacity(listener.host.len());
        for host in &listener.host {
            let spec = spec(listener, host, base_dir, anchors)?;
            let named = |error| match error {
                PolicyError::Identity { host: name, error, .. } => {
                    let files = Some(Box::new((host.certificate_file.clone(), host.key_file.clone())));
                    PolicyError::Identity { host: name, files, error }
                }
                error => error,
            };
            let known = previous.and_then(|previous| previous.policies.iter().find(|policy| policy.mark == spec.mark));
            policies.push(match known {
                Some(known) => Arc::clone(known),
                None => {
                    let stapling = stapling(host, &spec)?;
                    Arc::new(HostPolicy { stapling, ..HostPolicy::new(spec, epoch, Arc::clone(clock)).map_err(named)? })
                }
            });
        }
        Self::of_shared(policies)
    }
}

/// Whom to ask about the host's certificate, where that is wanted.
fn stapling(host: &HostSettings, spec: &HostPolicySpec) -> Result<Option<Stapling>, PolicyError> {
    if !host.ocsp_stapling {
        return Ok(None);
    }
    let problem = |problem| PolicyError::Stapling { host: host.names.first().cloned().unwrap_or_default(), problem };
    let read = |der: &CertificateDer<'static>| Certificate::from_der(der.clone());
    let chain: Result<Vec<_>, _> = spec.identity.chain.iter().map(read).collect();
    Stapling::of(&chain.map_err(|_| problem("its certificate cannot be read"))?).map(Some).map_err(problem)
}

fn spec(
    listener: &ListenerSettings,
    host: &HostSettings,
    base_dir: &Path,
    anchors: &BTreeMap<String, AnchorHints>,
) -> Result<HostPolicySpec, PolicyError> {
    let chain = pem::load_certificates(&base_dir.join(&host.certificate_file))?;
    let key = pem::load_private_key(&base_dir.join(&host.key_file))?;
    let client_certificate = match host.client_certificate {
        ClientCertificateSetting::None => ClientCertificateMode::None,
        ClientCertificateSetting::Request => ClientCertificateMode::Request,
        ClientCertificateSetting::Require => ClientCertificateMode::Require,
    };
    // The listener's sets and modes are for those of its hosts that ask.
    let certificate_source = match listener.certificate_source {
        CertificateSourceSetting::Handshake => CertificateSource::Handshake,
        CertificateSourceSetting::TrustedProxyHeader => CertificateSource::Proxy,
    };
    let asks = client_certificate != ClientCertificateMode::None || certificate_source == CertificateSource::Proxy;
    let of_listener = listener.anchor_set.as_ref().filter(|_| asks);
    let anchor_sets: Vec<String> = of_listener.into_iter().chain(&host.anchor_set).cloned().collect();
    let mut mark = Mark::default();
    let mut hints = Vec::new();
    for name in &anchor_sets {
        let set = anchors.get(name).ok_or_else(|| PolicyError::UnknownAnchorSet {
            host: host.names.first().cloned().unwrap_or_default(),
            anchor_set: name.clone(),
        })?;
        // The host's set, which comes last, is the narrower one.
        hints.clone_from(&set.subjects);
        mark.add(name.as_bytes());
        mark.add(&set.mark);
    }
    // Whoever shakes hands is a proxy: it is told whose certificates count for proxies.
    if certificate_source == CertificateSource::Proxy {
        hints = match listener.trusted_proxy.as_ref().and_then(|proxy| proxy.anchor_set.as_ref()) {
            Some(name) => {
                let set = anchors.get(name).ok_or_else(|| PolicyError::UnknownAnchorSet {
                    host: host.names.first().cloned().unwrap_or_default(),
                    anchor_set: name.clone(),
                })?;
                mark.add(name.as_bytes());
                mark.add(&set.mark);
                set.subjects.clone()
            }
            None => Vec::new(),
        };
    }
    mark.end();
    host.names.iter().for_each(|name| mark.add(name.as_bytes()));
    mark.end();
    chain.iter().for_each(|certificate| mark.add(certificate.der()));
    mark.end();
    mark.add(key.secret_der());
    let certificate_mode = host.certificate_mode.or(listener.certificate_mode).map(Into::into);
    let stapling = host.ocsp_stapling;
    let rest = format!("{client_certificate:?} {:?} {certificate_mode:?} {certificate_source:?} {stapling}", host.suites);
    mark.add(rest.as_bytes());
    let tcp = tcp(host)?;
    mark.add(format!("{tcp:?}").as_bytes());
    Ok(HostPolicySpec {
        names: host.names.clone(),
        identity: ServerIdentity { chain: chain.iter().map(|certificate| certificate.der().clone()).collect(), key },
        client_certificate,
        certificate_source,
        anchor_sets,
        certificate_mode,
        tcp,
        mark: mark.digest(),
        hints,
        suites: host.suites.into(),
    })
}

/// The route of a host that is not for HTTP.
fn tcp(host: &HostSettings) -> Result<Option<TcpPolicy>, PolicyError> {
    let problem = |problem| PolicyError::Tcp { host: host.names.first().cloned().unwrap_or_default(), problem };
    let Some(route) = &host.tcp_route else {
        return if host.alpn.is_empty() {
            Ok(None)
        } else {
            Err(problem("`alpn` is for hosts with a `tcp_route`: take it away"))
        };
    };
    if host.certificate_mode.is_some_and(|mode| mode != CertificateModeSetting::Enforce) {
        return Err(problem("every connection of a `tcp_route` needs a good certificate: take `certificate_mode` away"));
    }
    Ok(Some(TcpPolicy { route: route.clone(), alpn: host.alpn.iter().map(|name| name.as_bytes().to_vec()).collect() }))
}

/// Digests of parts, so that no part can be taken for another; not one byte of a key is kept.
#[derive(Default)]
struct Mark(Vec<u8>);

impl Mark {
    fn add(&mut self, part: &[u8]) {
        self.0.extend(sha256(part));
    }

    fn end(&mut self) {
        self.0.extend(sha256(b"end of list"));
    }

    fn digest(self) -> [u8; 32] {
        sha256(&self.0)
    }
}
