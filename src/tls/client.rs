//! Connections that we open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
#[cfg(feature = "server")]
use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::WebPkiServerVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{ServerName, UnixTime},
};
use rustls::{ClientConfig, RootCertStore};

use crate::domain::Clock;
#[cfg(feature = "server")]
use crate::domain::Thumbprint;
#[cfg(feature = "server")]
use crate::pki::Certificate;
use crate::pki::pem::{self, PemFileError};

use super::{ClockTime, suites};

/// A certificate chain and its key, to be shown to servers that ask for one.
#[derive(Debug)]
pub struct ClientIdentity {
    /// The certificate first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Why connections cannot be opened with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A PEM file.
    #[error(transparent)]
    Pem(#[from] PemFileError),
    /// No authority: nobody would be trusted. The system's roots are never used.
    #[error("no certification authority is named for the server: its certificate could never be accepted")]
    NoAuthority,
    /// An authority's certificate that cannot be used.
    #[error("a certification authority's certificate cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// The certificate and key.
    #[error("{}the client certificate and its key cannot be used: {error}", file(path.as_deref()))]
    Identity {
        /// The certificate's file, when it came from one.
        path: Option<PathBuf>,
        /// What is wrong.
        #[source]
        error: rustls::Error,
    },
    /// Versions and suites.
    #[error("cannot set TLS up: {0}")]
    Setup(#[source] rustls::Error),
}

fn file(path: Option<&Path>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

/// How to open TLS connections to servers whose certificates come from `authorities`: TLS 1.2 and 1.3 with AEAD suites. `alpn` is in
/// order of preference and may be empty.
///
/// # Errors
/// No authority, or an authority or identity that cannot be used.
pub fn client_config(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    identity: Option<ClientIdentity>,
    alpn: &[&[u8]],
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(ClientTlsError::Authority)?;
    }
    if roots.is_empty() {
        return Err(ClientTlsError::NoAuthority);
    }
    config_for(roots, identity, alpn, clock)
}

/// The same for whoever trusts no server at all, and fetches over `http` what is signed: every handshake fails.
///
/// # Errors
/// When TLS cannot be set up.
#[cfg(feature = "server")]
pub fn distrusting_client_config(clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, ClientTlsError> {
    config_for(RootCertStore::empty(), None, &[], clock)
}

fn config_for(
    roots: RootCertStore,
    identity: Option<ClientIdentity>,
    alpn: &[&[u8]],
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let builder = ClientConfig::builder_with_details(suites::client_provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(suites::VERSIONS)
        .map_err(ClientTlsError::Setup)?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|error| ClientTlsError::Identity { path: None, error })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The same, for servers whose certificate must also have one of these public keys (SHA-256 of SubjectPublicKeyInfo), whichever of the
/// authorities issued it.
///
/// # Errors
/// As [`client_config`].
#[cfg(feature = "server")]
pub(super) fn pin_server_keys(
    config: Arc<ClientConfig>,
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    keys: Vec<Thumbprint>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(ClientTlsError::Authority)?;
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), suites::client_provider())
        .build()
        .map_err(|_| ClientTlsError::NoAuthority)?;
    let mut config = Arc::unwrap_or_clone(config);
    // What is verified is more than by default, never less.
    config.dangerous().set_certificate_verifier(Arc::new(Pinned { inner, keys }));
    Ok(Arc::new(config))
}

/// A server that must have one of a few keys, beside everything else.
#[cfg(feature = "server")]
#[derive(Debug)]
struct Pinned {
    inner: Arc<WebPkiServerVerifier>,
    keys: Vec<Thumbprint>,
}

#[cfg(feature = "server")]
impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let refused = || rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let leaf = Certificate::from_der(end_entity.clone().into_owned()).map_err(|_| refused())?;
        let key = leaf.spki_sha256();
        if self.keys.iter().any(|one| one.matches(&key)) { Ok(verified) } else { Err(refused()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Mozilla's roots as they are built in: for servers that anybody may run. Not the system's, which differ from machine to machine.
#[cfg(feature = "server")]
pub fn public_client_config(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    identity: Option<ClientIdentity>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for authority in authorities {
        roots.add(authority).map_err(ClientTlsError::Authority)?;
    }
    config_for(roots, identity, &[], clock)
}

/// A configuration that shows a certificate whatever key it is given, also one that is not the certificate's: for showing that a
/// server notices.
///
/// # Errors
/// As [`client_config`].
#[cfg(feature = "server")]
pub fn danger_unmatched_client_config(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    identity: ClientIdentity,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    use rustls::client::ResolvesClientCert;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    let mut config = Arc::unwrap_or_clone(client_config(authorities, None, &[], clock)?);
    let key = config
        .crypto_provider()
        .key_provider
        .load_private_key(identity.key)
        .map_err(|error| ClientTlsError::Identity { path: None, error })?;
    let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(CertifiedKey::new(identity.chain, key)));
    config.client_auth_cert_resolver = resolver;
    Ok(Arc::new(config))
}

/// The same from PEM files: the authorities', and the certificate and key to show.
///
/// # Errors
/// As [`client_config`], and files that cannot be read.
pub fn load_client_config(
    authority_file: &Path,
    identity_files: Option<(&Path, &Path)>,
    alpn: &[&[u8]],
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let authorities = pem::load_certificates(authority_file)?;
    let identity = match identity_files {
        None => None,
        Some((certificate_file, key_file)) => {
            let chain = pem::load_certificates(certificate_file)?.iter().map(|certificate| certificate.der().clone()).collect();
            Some(ClientIdentity { chain, key: pem::load_private_key(key_file)? })
        }
    };
    let authorities = authorities.iter().map(|certificate| certificate.der().clone());
    client_config(authorities, identity, alpn, clock).map_err(|error| match (error, identity_files) {
        (ClientTlsError::Identity { error, .. }, Some((certificate_file, _))) => {
            ClientTlsError::Identity { path: Some(certificate_file.to_owned()), error }
        }
        (error, _) => error,
    })
}
