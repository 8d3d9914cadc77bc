use rustls::CommonState;
use rustls::pki_types::CertificateDer;

use crate::domain::Thumbprint;
use crate::event::Reason;
use crate::pki::{Certificate, CertificateError};

/// A certificate whose key the peer has shown to hold. Nothing says who signed it or whether it is in date.
///
/// Made only from a finished handshake.
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
}

impl PeerCertificateError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unfinished => Reason::Defect,
            Self::TooMany { .. } | Self::TooLarge { .. } => Reason::CertificateTooLarge,
            Self::Malformed(error) => error.reason(),
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
        let count = chain.len().saturating_add(1);
        if count > limits.chain_certificates {
            return Err(PeerCertificateError::TooMany { count, limit: limits.chain_certificates });
        }
        if let Some(large) = [leaf].into_iter().chain(chain).find(|certificate| certificate.len() > limits.certificate_bytes) {
            return Err(PeerCertificateError::TooLarge { bytes: large.len(), limit: limits.certificate_bytes });
        }
        let leaf = Certificate::from_der(leaf.clone().into_owned())?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Some(Self { leaf, chain, possession: Possession::Handshake }))
    }

    /// The peer's certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// What the peer sent after its certificate: perhaps intermediates, perhaps anything.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
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
