//! What may be used once: the `jti` of a client assertion (RFC 7523 §3) and of a DPoP proof (RFC 9449 §11.1).
//!
//! Whoever keeps the memory implements [`Replay`]: the authorization server in its database, so that replicas agree; a gateway that
//! has none in its own process.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::domain::{ClientId, Thumbprint, Timestamp};

/// The longest `jti` that is remembered, in bytes. Longer ones are to be refused before.
pub const MAX_JTI_BYTES: usize = 256;

/// What is claimed: an identifier within the space of those who may choose it, so that nobody uses up another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplayKey {
    purpose: &'static str,
    value: Vec<u8>,
}

impl ReplayKey {
    /// The `jti` of an assertion, which is the client's to choose.
    pub fn client_assertion(client_id: &ClientId, jti: &str) -> Self {
        Self::of("client-assertion", &[client_id.as_str().as_bytes(), jti.as_bytes()])
    }

    /// The `jti` of an authorization grant (RFC 7523 §2.1), which is the choice of the issuer that signed it.
    pub fn authorization_grant(issuer: &str, jti: &str) -> Self {
        Self::of("authorization-grant", &[issuer.as_bytes(), jti.as_bytes()])
    }

    /// The `jti` of a JWT that binds a refresh token to the certificate of this thumbprint, which is the choice of whoever has its key.
    pub fn certificate_rebinding(certificate: &Thumbprint, jti: &str) -> Self {
        Self::of("certificate-rebinding", &[certificate.as_bytes(), jti.as_bytes()])
    }

    /// The `jti` of a DPoP proof, which is the choice of whoever has the key of this thumbprint.
    pub fn dpop_proof(key: &Thumbprint, jti: &str) -> Self {
        Self::of("dpop-proof", &[key.as_bytes(), jti.as_bytes()])
    }

    /// The `jti` of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6), which is its issuer's choice.
    pub fn logout_token(issuer: &str, jti: &str) -> Self {
        Self::of("logout-token", &[issuer.as_bytes(), jti.as_bytes()])
    }

    /// Parts are preceded by their length, so that two lists never give one value.
    fn of(purpose: &'static str, parts: &[&[u8]]) -> Self {
        let mut value = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            value.extend_from_slice(&(part.len() as u64).to_be_bytes());
            value.extend_from_slice(part);
        }
        Self { purpose, value }
    }

    /// Among which identifiers it is unique.
    pub const fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// The identifier with whose it is.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// What became of a claim. Only [`Claim::First`] may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Claim {
    /// Nobody used it before.
    First,
    /// It was used before: a replay.
    Seen,
    /// Nobody can say. To be answered as a fault of ours, never as if it were the first.
    Unavailable,
}

/// A memory of what was used.
pub trait Replay: fmt::Debug + Send + Sync {
    /// Claims a key; it is remembered until `until` at least, the last moment at which what it names would be taken.
    fn claim<'a>(&'a self, key: &'a ReplayKey, until: Timestamp) -> BoxFuture<'a, Claim>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_one_purpose_and_one_owner() {
        let client = |text: &str| text.parse::<ClientId>().expect("a client id");
        let key = ReplayKey::client_assertion(&client("ab"), "c");
        assert_eq!(key, ReplayKey::client_assertion(&client("ab"), "c"));
        assert_ne!(key, ReplayKey::client_assertion(&client("a"), "bc"), "lengths count");
        let thumbprint = Thumbprint::from_bytes([7; 32]);
        assert_ne!(ReplayKey::dpop_proof(&thumbprint, "c"), ReplayKey::dpop_proof(&Thumbprint::from_bytes([8; 32]), "c"));
        assert_ne!(key.purpose(), ReplayKey::dpop_proof(&thumbprint, "c").purpose());
    }
}
