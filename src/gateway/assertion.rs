//! The signed word of the gateway for the upstream: who calls, with which token, proven how.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::Value;

use crate::domain::{ClientId, Cnf, Lifetime, Randomness, RandomnessUnavailable, Scope, Subject, Thumbprint, Timestamp, TokenId};
use crate::event::Reason;
use crate::jose::jwk::JwkSet;
use crate::jose::sign::{SignError, SigningKey};
use crate::resource::{ASSERTION_TYPE, Admission};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Purpose {
    token: [u8; 32],
    certificate: Option<Thumbprint>,
    cnf: Option<Cnf>,
    /// The route fixes the audience and the set of claims.
    route: usize,
    method: Method,
}

/// How assertions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// With a `typ` of their own.
    #[default]
    Symbolon,
    /// As upstreams of Pomerium expect them.
    Pomerium,
}

/// Whether an assertion may be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// In the first half of its life.
    #[default]
    Allowed,
    /// Never.
    Never,
}

/// What a route wants of assertions.
#[derive(Clone, Debug)]
pub struct AssertionTerms {
    /// `aud`.
    pub audience: String,
    /// Claims of the token to repeat.
    pub claims: Vec<String>,
    /// Whether one may be used again.
    pub reuse: Reuse,
}

/// The claims that are our own: none of a token's can take their place.
pub const OWN_CLAIMS: &[&str] =
    &["aud", "client_id", "cnf", "exp", "iat", "iss", "jti", "method", "nbf", "route", "scope", "sub", "user"];

/// What an assertion is made for.
#[derive(Clone, Copy, Debug)]
pub struct Asserted<'a> {
    /// The route's place in the settings.
    pub index: usize,
    /// The route's name.
    pub route: &'a str,
    /// What the route wants.
    pub terms: &'a AssertionTerms,
    /// The request's method.
    pub method: &'a Method,
    /// The connection's certificate.
    pub certificate: Option<Thumbprint>,
    /// What the caller was proven to hold: the token's `cnf`, or what its session is bound to.
    pub cnf: Option<Cnf>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a Subject>,
    method: &'a str,
    route: &'a str,
    #[serde(flatten)]
    chosen: BTreeMap<&'a str, &'a Value>,
}

/// Makes assertions with the gateway's own key.
#[derive(Debug)]
pub struct Asserter {
    key: SigningKey,
    issuer: String,
    header: HeaderName,
    lifetime: Lifetime,
    style: Style,
    kept: quick_cache::sync::Cache<Purpose, Kept>,
}

impl Asserter {
    /// An asserter that signs as `issuer`. `lifetime` beyond [`MAX_LIFETIME`] is cut.
    pub fn new(key: SigningKey, issuer: String, header: HeaderName, lifetime: Lifetime, style: Style) -> Self {
        let issuer = match style {
            Style::Symbolon => issuer,
            // The default of what it imitates.
            Style::Pomerium => issuer.trim_start_matches("https://").to_owned(),
        };
        let kept = quick_cache::sync::Cache::new(KEPT);
        Self { key, issuer, header, lifetime: lifetime.min(MAX_LIFETIME), style, kept }
    }

    /// How its assertions are written.
    pub const fn style(&self) -> Style {
        self.style
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
    /// certificate, the same route and the same method, where the route allows it.
    ///
    /// # Errors
    /// Faults of ours.
    pub fn assert(
        &self,
        admission: &Admission,
        asserted: &Asserted<'_>,
        now: Timestamp,
        randomness: &dyn Randomness,
    ) -> Result<HeaderValue, AssertError> {
        let Asserted { index, route, terms, method, certificate, cnf } = *asserted;
        let purpose = Purpose { token: *admission.token().digest(), certificate, cnf, route: index, method: method.clone() };
        if terms.reuse == Reuse::Allowed
            && let Some(kept) = self.kept.get(&purpose)
            && now < kept.reuse_until
        {
            return Ok(kept.value);
        }
        let facts = admission.facts();
        // Never longer than what it rests on.
        let expires = now.plus(self.lifetime).min(admission.deadline());
        let claims = Claims {
            iss: &self.issuer,
            aud: &terms.audience,
            iat: now,
            exp: expires,
            jti: &TokenId::random(randomness)?,
            sub: facts.subject.as_ref(),
            client_id: facts.client_id.as_ref(),
            scope: &facts.scope,
            cnf: cnf.as_ref(),
            user: facts.subject.as_ref().filter(|_| self.style == Style::Pomerium),
            method: method.as_str(),
            route,
            chosen: terms.claims.iter().filter_map(|name| Some((name.as_str(), facts.others.get(name)?))).collect(),
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| AssertError::Encoding)?;
        let assertion = match self.style {
            Style::Symbolon => self.key.sign_compact(ASSERTION_TYPE, &payload)?,
            Style::Pomerium => self.key.sign_compact("JWT", &payload)?,
        };
        let mut value = HeaderValue::try_from(assertion).map_err(|_| AssertError::Encoding)?;
        value.set_sensitive(true);
        if terms.reuse == Reuse::Never {
            return Ok(value);
        }
        let half = u32::try_from(expires.seconds_since(now) / 2).unwrap_or_default();
        self.kept.insert(purpose, Kept { value: value.clone(), reuse_until: now.plus(Lifetime::from_seconds(half)) });
        Ok(value)
    }
}
