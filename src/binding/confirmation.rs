//! What a token is minted with.

use super::dpop::ProvenDpop;
use crate::domain::Cnf;
use crate::event::Reason;
use crate::tls::PeerCertificate;

/// The key that a requester has proven to hold: a token minted with it is bound to that key. Made only from a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation(Cnf);

impl Confirmation {
    /// Bound to the certificate of this connection, whose key the handshake has proven (RFC 8705 §3).
    pub fn certificate(peer: &PeerCertificate) -> Self {
        Self(Cnf::certificate(peer.thumbprint()))
    }

    /// Bound to the key of a DPoP proof (RFC 9449 §6.1).
    pub const fn dpop(proof: &ProvenDpop) -> Self {
        Self(Cnf::dpop(*proof.thumbprint()))
    }

    /// Bound to both, which no standard speaks of: an extension of ours. Whoever uses the token must prove both.
    pub fn certificate_and_dpop(peer: &PeerCertificate, proof: &ProvenDpop) -> Self {
        Self(Cnf::certificate_and_dpop(peer.thumbprint(), *proof.thumbprint()))
    }

    /// The claim.
    pub const fn cnf(&self) -> Cnf {
        self.0
    }
}

/// To what a client's tokens must be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingPolicy {
    /// To the certificate of the connection (`tls_client_certificate_bound_access_tokens`, RFC 8705 §3.4).
    #[default]
    Certificate,
    /// To the key of a DPoP proof (`dpop_bound_access_tokens`, RFC 9449 §5.2).
    Dpop,
    /// To both (both of the above): an extension of ours.
    CertificateAndDpop,
    /// Plain bearer tokens (both of the above false): whoever has one can use it. A request with a DPoP proof gets a token that is
    /// bound to its key all the same (RFC 9449 §5).
    Unbound,
}

/// What a token is bound to: a key that was proven, or nothing because a policy says so.
#[derive(Debug)]
pub enum Binding {
    /// Proven with this request.
    Confirmed(Confirmation),
    /// The registration wants plain bearer tokens.
    Unbound(Unbound),
}

impl Binding {
    /// The claim, if there is to be one.
    pub const fn cnf(&self) -> Option<Cnf> {
        match self {
            Self::Confirmed(confirmation) => Some(confirmation.cnf()),
            Self::Unbound(_) => None,
        }
    }
}

/// Leave to mint a token that is bound to nothing. Made only by [`BindingPolicy::confirm`].
#[derive(Debug)]
pub struct Unbound(());

/// Why no token can be minted for a client by what was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// No certificate, where tokens must be bound to one.
    #[error("this client's tokens must be bound to a certificate, and the connection has none")]
    CertificateAbsent,
    /// No DPoP proof, where tokens must be bound to its key.
    #[error("this client's tokens must be bound to a DPoP key, and the request has no proof")]
    ProofAbsent,
    /// A DPoP proof of a client whose tokens are bound to its certificate alone: to ignore it would leave the client to believe that
    /// its token has the type `DPoP`.
    #[error("this client's tokens are bound to a certificate alone, and the request has a DPoP proof")]
    ProofUnexpected,
}

impl ConfirmError {
    /// The reason for log and audit trail.
    pub const fn reason(self) -> Reason {
        match self {
            Self::CertificateAbsent => Reason::BindingRequired,
            Self::ProofAbsent => Reason::DpopProofAbsent,
            Self::ProofUnexpected => Reason::DpopNotAllowed,
        }
    }
}

impl BindingPolicy {
    /// What a token will be bound to, from what was proven: the certificate of the connection and the proof of the request.
    ///
    /// # Errors
    /// When what the policy demands was not proven.
    pub fn confirm(self, certificate: Option<&PeerCertificate>, proof: Option<&ProvenDpop>) -> Result<Binding, ConfirmError> {
        let certificate = || certificate.ok_or(ConfirmError::CertificateAbsent);
        let confirmation = match (self, proof) {
            (Self::Certificate, None) => Confirmation::certificate(certificate()?),
            (Self::Certificate, Some(_)) => return Err(ConfirmError::ProofUnexpected),
            (Self::Dpop | Self::CertificateAndDpop, None) => return Err(ConfirmError::ProofAbsent),
            (Self::Dpop | Self::Unbound, Some(proof)) => Confirmation::dpop(proof),
            (Self::CertificateAndDpop, Some(proof)) => Confirmation::certificate_and_dpop(certificate()?, proof),
            (Self::Unbound, None) => return Ok(Binding::Unbound(Unbound(()))),
        };
        Ok(Binding::Confirmed(confirmation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Thumbprint;
    use crate::pki::fixture;

    #[test]
    fn a_token_is_bound_as_the_policy_wants_or_not_minted() {
        use BindingPolicy::*;
        let peer = PeerCertificate::for_test(fixture::self_signed("alice").certificate, vec![]);
        let proof = ProvenDpop::for_test(Thumbprint::from_bytes([9; 32]));
        let (x5t, jkt) = (peer.thumbprint(), *proof.thumbprint());
        let certificate = Ok(Some(Cnf::certificate(x5t)));
        let (dpop, both) = (Ok(Some(Cnf::dpop(jkt))), Ok(Some(Cnf::certificate_and_dpop(x5t, jkt))));
        let (no_certificate, no_proof) = (Err(ConfirmError::CertificateAbsent), Err(ConfirmError::ProofAbsent));
        let unexpected = Err(ConfirmError::ProofUnexpected);
        // Nothing proven, the certificate, the key, both.
        let table = [
            (Certificate, [no_certificate, certificate, unexpected, unexpected]),
            (Dpop, [no_proof, no_proof, dpop, dpop]),
            (CertificateAndDpop, [no_proof, no_proof, no_certificate, both]),
            (Unbound, [Ok(None), Ok(None), dpop, dpop]),
        ];
        for (policy, expected) in table {
            let proven = [(None, None), (Some(&peer), None), (None, Some(&proof)), (Some(&peer), Some(&proof))];
            let found = proven.map(|(peer, proof)| policy.confirm(peer, proof).map(|binding| binding.cnf()));
            assert_eq!(found, expected, "{policy:?}");
        }
        assert_eq!(BindingPolicy::default(), Certificate);
    }
}
