//! Who this process is where it opens connections, and whom it believes there: from files, which are read again while it runs.
//!
//! Nobody keeps a configuration made of them: whoever does would go on with a certificate that was taken away. What is made of one, such
//! as a pool of connections, follows it ([`OutboundTls::follow`]) and is made anew.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::client::{ClientIdentity, ClientTlsError, client_config, pin_server_keys, public_client_config};
use crate::domain::{Clock, Thumbprint};
use crate::jose::digest::sha256;
use crate::pki::Certificate;
use crate::pki::pem;

/// The files of outbound connections, and what else is asked of their servers.
#[derive(Clone, Debug, Default)]
pub struct OutboundSpec {
    /// PEM files with the servers' authorities.
    pub authorities: Vec<PathBuf>,
    /// Whether Mozilla's public roots count too, which are built in.
    pub public_roots: bool,
    /// PEM files with the certificate to show, with its intermediates, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// SHA-256 of the public keys of which a server must have one, where there are any.
    pub keys: Vec<Thumbprint>,
}

/// What the files said when they were last read.
#[derive(Clone, Debug)]
pub struct OutboundState {
    config: Arc<ClientConfig>,
    certificate: Option<Certificate>,
    /// Of all that was read, so that what did not change is left alone.
    digest: [u8; 32],
}

impl OutboundState {
    /// How connections are opened.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The certificate that is shown.
    pub const fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

type Follower = Box<dyn Fn(&OutboundState) + Send + Sync>;

/// One TLS identity of outbound connections.
pub struct OutboundTls {
    name: String,
    spec: OutboundSpec,
    clock: Arc<dyn Clock>,
    state: ArcSwap<OutboundState>,
    followers: Mutex<Vec<Follower>>,
}

impl fmt::Debug for OutboundTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundTls").field("name", &self.name).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl OutboundTls {
    /// How connections are opened now.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.state.load().config()
    }

    /// What is in force now.
    pub fn state(&self) -> Arc<OutboundState> {
        self.state.load_full()
    }

    /// Whose identity this is, as settings name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `follower` is told of every later state, before anybody is answered who asked for it.
    pub fn follow(&self, follower: impl Fn(&OutboundState) + Send + Sync + 'static) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(follower));
    }

    fn put_in_force(&self, state: OutboundState) {
        // Followers first: what opens a connection by itself afterwards finds both as they are now.
        for follower in self.followers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            follower(&state);
        }
        self.state.store(Arc::new(state));
    }
}

/// Files of an outbound identity that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{name}`: {error}")]
pub struct OutboundError {
    name: String,
    #[source]
    error: ClientTlsError,
}

/// Every outbound identity of a process.
#[derive(Debug)]
pub struct OutboundRegister {
    clock: Arc<dyn Clock>,
    all: Mutex<Vec<Arc<OutboundTls>>>,
}

/// A state that was read and is not in force yet.
#[derive(Debug)]
#[must_use]
pub struct OutboundRenewal {
    of: Arc<OutboundTls>,
    state: OutboundState,
}

impl OutboundRenewal {
    /// Puts it in force: the next connection is opened by it.
    pub fn put_in_force(self) {
        self.of.put_in_force(self.state);
    }
}

impl OutboundRegister {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, all: Mutex::default() }
    }

    /// Reads the files of one identity, which `name` tells from others in messages, and keeps it in mind.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub fn load(&self, name: impl Into<String>, spec: OutboundSpec) -> Result<Arc<OutboundTls>, ClientTlsError> {
        let state = ArcSwap::from_pointee(read(&spec, &self.clock)?);
        let loaded = OutboundTls { name: name.into(), spec, clock: self.clock.clone(), state, followers: Mutex::default() };
        let loaded = Arc::new(loaded);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(loaded.clone());
        Ok(loaded)
    }

    /// Every identity.
    pub fn all(&self) -> Vec<Arc<OutboundTls>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads every file again. What comes of those that have changed is put in force by the caller, when everything else has been read
    /// too.
    ///
    /// # Errors
    /// The first file that cannot be read or used. Nothing is changed by that.
    pub fn read_again(&self) -> Result<Vec<OutboundRenewal>, OutboundError> {
        let mut renewals = Vec::new();
        for of in self.all() {
            let state = read(&of.spec, &of.clock).map_err(|error| OutboundError { name: of.name.clone(), error })?;
            if state.digest != of.state.load().digest {
                renewals.push(OutboundRenewal { of, state });
            }
        }
        Ok(renewals)
    }
}

fn read(spec: &OutboundSpec, clock: &Arc<dyn Clock>) -> Result<OutboundState, ClientTlsError> {
    let mut authorities: Vec<CertificateDer<'static>> = Vec::new();
    for file in &spec.authorities {
        authorities.extend(pem::load_certificates(file)?.iter().map(|certificate| certificate.der().clone()));
    }
    let (mut identity, mut certificate) = (None, None);
    if let Some((certificate_file, key_file)) = &spec.identity {
        let chain = pem::load_certificates(certificate_file)?;
        let key = pem::load_private_key(key_file)?;
        certificate = chain.first().cloned();
        identity = Some(ClientIdentity { chain: chain.iter().map(|certificate| certificate.der().clone()).collect(), key });
    }
    let digest = digest(&authorities, identity.as_ref());
    let with_file = |error| match (error, &spec.identity) {
        (ClientTlsError::Identity { error, .. }, Some((file, _))) => ClientTlsError::Identity { path: Some(file.clone()), error },
        (error, _) => error,
    };
    let config = match spec.public_roots {
        true => public_client_config(authorities, identity, clock.clone()).map_err(with_file)?,
        false => {
            let config = client_config(authorities.iter().cloned(), identity, &[], clock.clone()).map_err(with_file)?;
            if spec.keys.is_empty() { config } else { pin_server_keys(config, authorities, spec.keys.clone())? }
        }
    };
    Ok(OutboundState { config, certificate, digest })
}

fn digest(authorities: &[CertificateDer<'_>], identity: Option<&ClientIdentity>) -> [u8; 32] {
    let of_all = |all: &[CertificateDer<'_>]| -> Vec<u8> { all.iter().flat_map(|one| sha256(one)).collect() };
    let mut parts = sha256(&of_all(authorities)).to_vec();
    if let Some(identity) = identity {
        let key = match &identity.key {
            PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
            PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
            PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der(),
            _ => &[],
        };
        parts.extend(sha256(&of_all(&identity.chain)));
        parts.extend(sha256(key));
    }
    sha256(&parts)
}
