//! The signed word of the gateway for the upstream: who calls, with which token, proven how.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::domain::{ClientId, Cnf, Lifetime, Randomness, RandomnessUnavailable, Scope, Subject, Thumbprint, Timestamp, TokenId};
use crate::event::Reason;
use crate::jose::jwk::JwkSet;
use crate::jose::sign::{SignError, SigningKey};
use crate::resource::Admission;

/// `typ` of an assertion: no other kind of JWT can be taken for one, and it for no other.
pub const TYPE: &str = "symbolon-assertion+jwt";
/// The longest life of an assertion.
pub const MAX_LIFETIME: Lifetime = Lifetime::from_seconds(60);
/// Assertions kept for reuse.
const KEPT: usize = 20_000;

/// Why an assertion was not made. A fault of ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AssertError {
    /// No randomness for `jti`.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// It was not signed.
    #[error("{0}")]
    Sign(#[from] SignError),
    /// Its claims were not written, or not as a header value. Cannot happen.
    #[error("the assertion could not be written")]
    Encoding,
}

impl AssertError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Randomness(_) => Reason::RandomnessUnavailable,
            Self::Sign(error) => error.reason(),
            Self::Encoding => Reason::Defect,
        }
    }
}

/// What an assertion is for, besides the token: reused only where all of it is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Purpose {
    token: [u8; 32],
    certificate: Option<Thumbprint>,
    /// The route fixes the audience.
    route: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    value: HeaderValue,
    reuse_until: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: Timestamp,
    exp: Timestamp,
    jti: &'a TokenId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a Subject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: &'a Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Cnf>,
}

/// Makes assertions with the gateway's own key.
#[derive(Debug)]
pub struct Asserter {
    key: SigningKey,
    issuer: String,
    header: HeaderName,
    lifetime: Lifetime,
    kept: quick_cache::sync::Cache<Purpose, Kept>,
}

impl Asserter {
    /// An asserter that signs as `issuer`. `lifetime` beyond [`MAX_LIFETIME`] is cut.
    pub fn new(key: SigningKey, issuer: String, header: HeaderName, lifetime: Lifetime) -> Self {
        Self { key, issuer, header, lifetime: lifetime.min(MAX_LIFETIME), kept: quick_cache::sync::Cache::new(KEPT) }
    }

    /// The header that carries the assertion.
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The keys that verify its assertions, as a JWK Set document.
    pub fn jwks(&self) -> Bytes {
        JwkSet::from_keys(vec![self.key.public_jwk().clone()]).to_json().into()
    }

    /// The assertion for one admitted request. One made before is reused in the first half of its life, for the same token, the same
    /// certificate and the same route.
    ///
    /// # Errors
    /// Faults of ours.
    pub fn assert(
        &self,
        admission: &Admission,
        certificate: Option<Thumbprint>,
        route: usize,
        audience: &str,
        now: Timestamp,
        randomness: &dyn Randomness,
    ) -> Result<HeaderValue, AssertError> {
        let purpose = Purpose { token: *admission.token().digest(), certificate, route };
        if let Some(kept) = self.kept.get(&purpose)
            && now < kept.reuse_until
        {
            return Ok(kept.value);
        }
        let facts = admission.facts();
        // Never longer than what it rests on.
        let expires = now.plus(self.lifetime).min(admission.deadline());
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            iat: now,
            exp: expires,
            jti: &TokenId::random(randomness)?,
            sub: facts.subject.as_ref(),
            client_id: facts.client_id.as_ref(),
            scope: &facts.scope,
            cnf: facts.cnf.as_ref(),
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| AssertError::Encoding)?;
        let assertion = self.key.sign_compact(TYPE, &payload)?;
        let mut value = HeaderValue::try_from(assertion).map_err(|_| AssertError::Encoding)?;
        value.set_sensitive(true);
        let half = u32::try_from(expires.seconds_since(now) / 2).unwrap_or_default();
        self.kept.insert(purpose, Kept { value: value.clone(), reuse_until: now.plus(Lifetime::from_seconds(half)) });
        Ok(value)
    }
}
