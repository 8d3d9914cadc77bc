//! What a token is minted with.

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

    /// The claim.
    pub const fn cnf(&self) -> Cnf {
        self.0
    }
}

/// Whether a client's tokens must be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingPolicy {
    /// No token without a proven key (`tls_client_certificate_bound_access_tokens`, RFC 8705 §3.4).
    #[default]
    Required,
    /// Plain bearer tokens (`tls_client_certificate_bound_access_tokens` false): whoever has one can use it.
    Unbound,
}

/// Leave to mint a token that is bound to nothing.
#[derive(Debug)]
pub struct Unbound(());

/// The client's tokens must be bound, and no key was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this client's tokens must be bound to a certificate, and the connection has none")]
pub struct BindingRequired;

impl BindingRequired {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        Reason::BindingRequired
    }
}

impl Unbound {
    /// Leave to mint without a proof, where the policy gives it.
    pub fn by_policy(policy: BindingPolicy) -> Result<Self, BindingRequired> {
        match policy {
            BindingPolicy::Required => Err(BindingRequired),
            BindingPolicy::Unbound => Ok(Self(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_policy_makes_an_unbound_token() {
        assert_eq!(Unbound::by_policy(BindingPolicy::Required).err(), Some(BindingRequired));
        assert!(Unbound::by_policy(BindingPolicy::Unbound).is_ok());
        assert_eq!(BindingPolicy::default(), BindingPolicy::Required);
    }
}
