//! What an access token says: the claims of a JWT (RFC 9068 §2.2), of an opaque token and of an introspection answer (RFC 7662 §2.2),
//! written and read in one place.
//!
//! [`AccessToken`] is what we mint; [`TokenFacts`] is what was read from a token whose signature, seal or introspection was good. Facts
//! are not permission: dates, audience, scope, revocation and binding are judged elsewhere, by everyone who is asked.

mod claims;
mod dates;
pub mod introspection;
pub mod jwt;
#[cfg(feature = "server")]
pub mod opaque;

pub use dates::{InDate, check_dates};

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::{
    Actors, Audience, ClientId, Cnf, CnfError, FamilyId, Issuer, KeyId, Scope, Subject, Thumbprint, Timestamp, TokenId,
};
use crate::event::Reason;

/// What every opaque token of ours begins with, so that people, log filters and secret scanners recognise it.
pub const OPAQUE_PREFIX: &str = "sy_at_";

/// An access token to be: everything it will say. Only a binding may be left out, and only by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`.
    pub issuer: Issuer,
    /// `sub`.
    pub subject: Subject,
    /// `client_id` (RFC 8693 §4.3).
    pub client_id: ClientId,
    /// `jti`.
    pub token_id: TokenId,
    /// `family_id`: ours. The grant that this token descends from.
    pub family: FamilyId,
    /// `aud`.
    pub audience: Vec<Audience>,
    /// `scope`; left out when empty.
    pub scope: Scope,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// `cnf` (RFC 8705 §3.1).
    pub cnf: Option<Cnf>,
    /// `act` (RFC 8693 §4.1); left out when nobody acts.
    pub actors: Actors,
}

impl AccessToken {
    /// The claims as JSON, the same for a JWT and an opaque token.
    pub fn to_jwt_payload(&self) -> Vec<u8> {
        claims::write(self)
    }

    /// What a reader will make of it.
    pub fn facts(&self, key_id: Option<KeyId>) -> TokenFacts {
        TokenFacts {
            issuer: self.issuer.clone(),
            subject: Some(self.subject.clone()),
            client_id: Some(self.client_id.clone()),
            token_id: Some(self.token_id.clone()),
            family: Some(self.family.clone()),
            key_id,
            audience: self.audience.clone(),
            scope: self.scope.clone(),
            issued_at: Some(self.issued_at),
            not_before: None,
            expires: self.expires,
            cnf: self.cnf,
            actors: self.actors.clone(),
            others: Arc::default(),
        }
    }
}

/// What a token says, read from one that is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// `iss`.
    pub issuer: Issuer,
    /// `sub`.
    pub subject: Option<Subject>,
    /// `client_id`.
    pub client_id: Option<ClientId>,
    /// `jti`.
    pub token_id: Option<TokenId>,
    /// `family_id`, in tokens of ours.
    pub family: Option<FamilyId>,
    /// The key that signed or sealed the token: `kid`, or the name of the seal key.
    pub key_id: Option<KeyId>,
    /// `aud`; empty when the token has none.
    pub audience: Vec<Audience>,
    /// `scope`; empty when the token has none.
    pub scope: Scope,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
    /// `exp`.
    pub expires: Timestamp,
    /// `cnf`.
    pub cnf: Option<Cnf>,
    /// `act`: who acts for the subject.
    pub actors: Actors,
    /// Every other claim, as it stands: nothing here has been judged.
    pub others: Arc<Map<String, Value>>,
}

impl TokenFacts {
    /// A claim by its name, as it stands, for rules of the operator's own: `sub`, or one of [`TokenFacts::others`].
    pub fn claim(&self, name: &str) -> Option<Cow<'_, Value>> {
        match name {
            "sub" => self.subject.as_ref().map(|subject| Cow::Owned(Value::from(subject.as_str()))),
            _ => self.others.get(name).map(Cow::Borrowed),
        }
    }

    /// The certificate the token is bound to.
    pub fn certificate(&self) -> Option<&Thumbprint> {
        self.cnf.as_ref().and_then(Cnf::x5t_s256)
    }
}

/// Why a genuine token cannot be used, or a sealed one is not genuine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not in the syntax of its format.
    #[error("not a token of this format")]
    Malformed,
    /// `typ` is missing or another one. An ID token or an assertion is not an access token (RFC 9068 §4).
    #[error("the header's `typ` is not an access token's (RFC 9068 §2.1)")]
    Type,
    /// An ID token, by what it says of itself, whatever its `typ`.
    #[error("this is an ID token: `{0}` says so")]
    IdToken(&'static str),
    /// A required claim is missing.
    #[error("the claim `{0}` is missing")]
    ClaimAbsent(&'static str),
    /// A claim has the wrong type or a value outside its syntax.
    #[error("the claim `{0}` has the wrong type or a value outside its syntax")]
    Claim(&'static str),
    /// `cnf` cannot be honoured.
    #[error("{0}")]
    Cnf(#[from] CnfError),
    /// `iss` is not the issuer that was asked.
    #[error("the token is of another issuer")]
    Issuer,
    /// A sealed token whose key we do not have.
    #[error("the token was sealed with a key we do not have")]
    KeyUnknown,
    /// A sealed token that does not open.
    #[error("the token's seal is broken")]
    Seal,
    /// `exp` has passed.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// `nbf`, or `iat`, lies in the future.
    #[error("the token is not valid before {0}")]
    NotYetValid(Timestamp),
}

impl TokenError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed => Reason::TokenMalformed,
            Self::Type | Self::IdToken(_) => Reason::TokenType,
            Self::ClaimAbsent("iss") | Self::Issuer => Reason::TokenIssuer,
            Self::ClaimAbsent("aud") => Reason::TokenAudience,
            Self::ClaimAbsent(_) | Self::Claim(_) => Reason::TokenClaim,
            Self::Cnf(CnfError::UnknownMember(_)) => Reason::CnfUnknown,
            Self::Cnf(CnfError::NotAnObject | CnfError::Empty | CnfError::Thumbprint(_)) => Reason::CnfMalformed,
            Self::KeyUnknown => Reason::TokenKeyUnknown,
            Self::Seal => Reason::TokenSignature,
            Self::Expired(_) => Reason::TokenExpired,
            Self::NotYetValid(_) => Reason::TokenNotYetValid,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
