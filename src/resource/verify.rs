//! From a presented token to what its issuer says in it.

use std::sync::Arc;

use super::introspection::{Introspection, IntrospectionError};
use super::keys::{IssuerKeys, KeysError, SignatureError};
use super::moment::Moment;
use crate::binding::Bound;
use crate::domain::{Cnf, Issuer, Lifetime};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::jose::jws::{Compact, JwsError};
use crate::token::{TokenError, TokenFacts, jwt};

/// Tokens whose claims are remembered.
const CACHED_CLAIMS: usize = 20_000;

/// How tokens are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// JWTs with the issuer's keys; anything else by introspection, where that is set up.
    #[default]
    Auto,
    /// JWTs alone.
    Jwt,
    /// Every token by introspection.
    Introspection,
}

/// Where a token's facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its signature, with the issuer's keys.
    Signature,
    /// The issuer's word, asked for.
    Introspection,
}

/// A token whose issuer stands by what it says. Not yet looked at: whether it is in date, for us, revoked, and whether the presenter
/// holds its key. Made only by [`TokenVerifier::verify`].
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    facts: Arc<TokenFacts>,
    digest: [u8; 32],
    source: Source,
    leeway: Lifetime,
}

impl VerifiedToken {
    /// What it says.
    pub const fn facts(&self) -> &Arc<TokenFacts> {
        &self.facts
    }

    /// The SHA-256 of the whole token as it was presented: a name for it that is no secret.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Where the facts come from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// By how much the issuer's clock may differ from ours.
    pub const fn leeway(&self) -> Lifetime {
        self.leeway
    }
}

impl Bound for VerifiedToken {
    fn cnf(&self) -> Option<&Cnf> {
        self.facts.cnf.as_ref()
    }
}

/// Why a token was not verified.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// Not a JWS that we read, or not signed by the issuer.
    #[error("{0}")]
    Jws(JwsError),
    /// Its claims are not an access token's.
    #[error("{0}")]
    Token(Arc<TokenError>),
    /// Another issuer's, or nobody's.
    #[error("the token is another issuer's")]
    Issuer,
    /// Not a JWT, and nobody to ask.
    #[error("the token is not a JWT")]
    NotAJwt,
    /// The issuer says that it is not active.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// No keys to verify it with.
    #[error("{0}")]
    Keys(KeysError),
    /// No answer about it.
    #[error("{0}")]
    Introspection(IntrospectionError),
}

impl VerifyError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Jws(error) => error.reason(),
            Self::Token(error) => error.reason(),
            Self::Issuer => Reason::TokenIssuer,
            Self::NotAJwt => Reason::TokenMalformed,
            Self::Inactive => Reason::TokenInactive,
            Self::Keys(_) => Reason::IssuerKeysUnavailable,
            Self::Introspection(IntrospectionError::Overloaded) => Reason::Overloaded,
            Self::Introspection(_) => Reason::IntrospectionUnavailable,
        }
    }
}

impl From<SignatureError> for VerifyError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Jws(error) => Self::Jws(error),
            SignatureError::Keys(error) => Self::Keys(error),
        }
    }
}

#[derive(Clone, Debug)]
struct CachedClaims {
    facts: Arc<TokenFacts>,
    /// The keys that verified it. Under others it is verified again.
    generation: u64,
}

/// Whether a token has the three parts of a JWS in its compact form (RFC 7515 §7.1).
pub(super) fn looks_like_jws(token: &str) -> bool {
    memchr::memchr_iter(b'.', token.as_bytes()).take(3).count() == 2
}

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub struct TokenVerifier {
    issuer: Issuer,
    keys: IssuerKeys,
    introspection: Option<Introspection>,
    leeway: Lifetime,
    layout: jwt::Layout,
    /// Claims under the SHA-256 of the whole token, so that an altered signature is another entry. No certificate and no verdict is
    /// in key or value: those are computed for each request.
    claims: quick_cache::sync::Cache<[u8; 32], CachedClaims>,
}

impl TokenVerifier {
    /// A verifier of `issuer`'s tokens with its `keys`. `leeway` is by how much its clock may differ from ours.
    pub fn new(issuer: Issuer, keys: IssuerKeys, introspection: Option<Introspection>, leeway: Lifetime) -> Self {
        let claims = quick_cache::sync::Cache::new(CACHED_CLAIMS);
        Self { issuer, keys, introspection, leeway, layout: jwt::Layout::default(), claims }
    }

    /// The same for JWTs of an issuer that writes its tokens so.
    pub fn with_layout(self, layout: jwt::Layout) -> Self {
        Self { layout, ..self }
    }

    /// How it asks its issuer about tokens, if it does.
    pub const fn introspection(&self) -> Option<&Introspection> {
        self.introspection.as_ref()
    }

    /// The issuer.
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Its keys, to keep them fresh with [`IssuerKeys::run`].
    pub const fn keys(&self) -> &IssuerKeys {
        &self.keys
    }

    /// Verifies a token. For a JWT seen before this takes one hash, no signature and no I/O.
    ///
    /// # Errors
    /// The token's fault or ours; see [`VerifyError`].
    pub async fn verify(&self, token: &str, how: Verification, moment: Moment) -> Result<VerifiedToken, VerifyError> {
        let digest = sha256(token.as_bytes());
        let verified = |facts, source| VerifiedToken { facts, digest, source, leeway: self.leeway };
        let looks_like_jws = looks_like_jws(token);
        match (how, &self.introspection) {
            (Verification::Introspection, None) => Err(VerifyError::NotAJwt),
            (Verification::Introspection, Some(introspection)) => {
                self.introspect(introspection, token, digest, moment).await.map(|facts| verified(facts, Source::Introspection))
            }
            (Verification::Auto, Some(introspection)) if !looks_like_jws => {
                self.introspect(introspection, token, digest, moment).await.map(|facts| verified(facts, Source::Introspection))
            }
            (Verification::Auto | Verification::Jwt, _) if !looks_like_jws => Err(VerifyError::NotAJwt),
            (Verification::Auto | Verification::Jwt, _) => {
                self.read_jwt(token, digest, moment).await.map(|facts| verified(facts, Source::Signature))
            }
        }
    }

    async fn read_jwt(&self, token: &str, digest: [u8; 32], moment: Moment) -> Result<Arc<TokenFacts>, VerifyError> {
        if let Some(cached) = self.claims.get(&digest)
            && self.keys.generation(moment) == Some(cached.generation)
        {
            return Ok(cached.facts);
        }
        let jws = Compact::parse(token).map_err(VerifyError::Jws)?;
        let (verified, generation) = self.keys.verify(&jws, moment).await?;
        let facts = jwt::read_as(&verified, &self.layout).map_err(|error| VerifyError::Token(Arc::new(error)))?;
        if facts.issuer != self.issuer {
            return Err(VerifyError::Issuer);
        }
        let facts = Arc::new(facts);
        self.claims.insert(digest, CachedClaims { facts: Arc::clone(&facts), generation });
        Ok(facts)
    }

    async fn introspect(
        &self,
        introspection: &Introspection,
        token: &str,
        digest: [u8; 32],
        moment: Moment,
    ) -> Result<Arc<TokenFacts>, VerifyError> {
        match introspection.ask(token, digest, moment).await {
            Ok(facts) => facts.ok_or(VerifyError::Inactive),
            // What the server says of the token is clear and not for us; any other answer that cannot be read is the server's fault.
            Err(IntrospectionError::Claims(error)) if matches!(*error, TokenError::Cnf(_) | TokenError::Issuer) => {
                Err(VerifyError::Token(error))
            }
            Err(error) => Err(VerifyError::Introspection(error)),
        }
    }
}
