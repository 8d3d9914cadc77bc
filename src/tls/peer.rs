use std::fmt;
use std::net::IpAddr;

use rustls::CommonState;
use rustls::pki_types::CertificateDer;

use crate::domain::Thumbprint;
use crate::event::Reason;
use crate::pki::proxy_header::HeaderError;
use crate::pki::{Certificate, CertificateError};
#[cfg(feature = "server")]
use crate::telemetry::audit::Shown;

/// A certificate whose key the peer has shown to hold. Nothing says who signed it or whether it is in date.
///
/// Made only from a finished handshake, or from the word of a proxy that is trusted.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    leaf: Certificate,
    chain: Vec<CertificateDer<'static>>,
    possession: Possession,
}

/// How the peer has shown that it holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possession {
    /// By the `CertificateVerify` of this connection's handshake, or of the one that this connection's session comes from.
    Handshake,
    /// To a proxy in front, whose word is trusted.
    AttestedBy(TrustedHop),
}

/// A proxy whose word about its clients' certificates is trusted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedHop(Trusted);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has proxies in front"))]
enum Trusted {
    Address(IpAddr),
    Certificate(Thumbprint),
    UnixSocket,
}

#[cfg(feature = "server")]
impl TrustedHop {
    /// Its address is one that the listener names. Only whoever has compared it makes one.
    pub(crate) const fn by_address(address: IpAddr) -> Self {
        Self(Trusted::Address(address))
    }

    /// It came by the Unix socket that is there for it. Only whoever listens there makes one.
    pub(crate) const fn by_unix_socket() -> Self {
        Self(Trusted::UnixSocket)
    }

    /// Its certificate is one that the listener's anchor set accepts. Only whoever has judged it makes one.
    pub(crate) const fn by_certificate(certificate: Thumbprint) -> Self {
        Self(Trusted::Certificate(certificate))
    }
}

impl fmt::Display for TrustedHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Trusted::Address(address) => write!(f, "the proxy at {address}"),
            Trusted::Certificate(certificate) => write!(f, "the proxy with certificate {certificate}"),
            Trusted::UnixSocket => f.write_str("the proxy at the Unix socket"),
        }
    }
}

/// The thumbprint of a certificate whose key a client has shown to a trusted proxy to hold, where the proxy does not pass the certificate
/// on: it can prove that a token is bound to it, and says nothing of who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerThumbprint {
    thumbprint: Thumbprint,
    hop: TrustedHop,
}

impl PeerThumbprint {
    /// As the proxy tells it.
    #[cfg(feature = "server")]
    pub(crate) const fn attested(thumbprint: Thumbprint, hop: TrustedHop) -> Self {
        Self { thumbprint, hop }
    }

    /// SHA-256 of the certificate.
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whose word it is.
    pub const fn hop(&self) -> TrustedHop {
        self.hop
    }
}

/// How much a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// Certificates in its chain, its own included.
    pub chain_certificates: usize,
    /// Bytes of one certificate.
    pub certificate_bytes: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self { chain_certificates: 10, certificate_bytes: 16_384 }
    }
}

/// Why the certificate of a finished handshake is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerCertificateError {
    /// The handshake is not finished, so nothing has been shown.
    #[error("the handshake is not finished")]
    Unfinished,
    /// More certificates than allowed.
    #[error("the chain has {count} certificates, more than {limit}")]
    TooMany {
        /// How many came.
        count: usize,
        /// How many may come.
        limit: usize,
    },
    /// A certificate larger than allowed.
    #[error("a certificate has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// The peer's own certificate cannot be read.
    #[error("the certificate is malformed: {0}")]
    Malformed(#[from] CertificateError),
    /// What a trusted proxy says of the certificate cannot be read in one way.
    #[error("the proxy's header field: {0}")]
    Header(#[from] HeaderError),
}

impl PeerCertificateError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unfinished => Reason::Defect,
            Self::TooMany { .. } | Self::TooLarge { .. } => Reason::CertificateTooLarge,
            Self::Malformed(error) => error.reason(),
            Self::Header(_) => Reason::ProxyHeaderMalformed,
        }
    }
}

impl PeerCertificate {
    /// The certificate of a connection to one of our servers, `None` when the peer has shown none.
    ///
    /// # Errors
    /// A chain beyond `limits`, a certificate that cannot be read. The peer has one, and it is of no use: this is not the same as
    /// having none.
    pub fn from_connection(connection: &CommonState, limits: &PeerLimits) -> Result<Option<Self>, PeerCertificateError> {
        if connection.is_handshaking() {
            return Err(PeerCertificateError::Unfinished);
        }
        let Some([leaf, chain @ ..]) = connection.peer_certificates() else { return Ok(None) };
        check_sizes(leaf, chain, limits)?;
        let leaf = Certificate::from_der(leaf.clone().into_owned())?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Some(Self { leaf, chain, possession: Possession::Handshake }))
    }

    /// The certificate whose key a client has shown to a trusted proxy to hold.
    ///
    /// # Errors
    /// A chain beyond `limits`.
    #[cfg(feature = "server")]
    pub(crate) fn attested(
        leaf: Certificate,
        chain: Vec<CertificateDer<'static>>,
        hop: TrustedHop,
        limits: &PeerLimits,
    ) -> Result<Self, PeerCertificateError> {
        check_sizes(leaf.der(), &chain, limits)?;
        Ok(Self { leaf, chain, possession: Possession::AttestedBy(hop) })
    }

    /// The peer's certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// What the peer sent after its certificate: perhaps intermediates, perhaps anything.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// All of it, for the memory of refusals.
    #[cfg(feature = "server")]
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown { leaf: self.leaf.der(), chain: &self.chain }
    }

    /// How the peer has shown that it holds the key.
    pub fn possession(&self) -> Possession {
        self.possession
    }

    /// SHA-256 of the certificate: `x5t#S256` (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> Thumbprint {
        self.leaf.thumbprint()
    }

    /// As if a handshake had been.
    #[cfg(test)]
    #[allow(dead_code, reason = "tests without the server feature may have no certificates to give it")]
    pub(crate) fn for_test(leaf: Certificate, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { leaf, chain, possession: Possession::Handshake }
    }
}

fn check_sizes(leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>], limits: &PeerLimits) -> Result<(), PeerCertificateError> {
    let count = chain.len().saturating_add(1);
    if count > limits.chain_certificates {
        return Err(PeerCertificateError::TooMany { count, limit: limits.chain_certificates });
    }
    match [leaf].into_iter().chain(chain).find(|certificate| certificate.len() > limits.certificate_bytes) {
        Some(large) => Err(PeerCertificateError::TooLarge { bytes: large.len(), limit: limits.certificate_bytes }),
        None => Ok(()),
    }
}
