//! The life of the authorization server's signing keys: next, current, retired, deleted.
//!
//! The data plane reads an immutable [`SigningKeys`] snapshot; it is loaded again when the change feed tells of a signing key. For
//! every algorithm one key is current and signs. [`Keeper`] makes the next one early enough that every verifier has seen it
//! when it begins to sign, and deletes a retired one when nothing that it signed can be alive.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::{KeyId, Timestamp};
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::adapter::{KeySigner, TokenSigner};
use crate::jose::jwk::{JwkSet, PublicJwk};
use crate::jose::jws::{Compact, JwsError};
use crate::jose::sign::{SignError, SigningKey};
use crate::jose::verify::{VerifiedJws, VerifyingKeys};
use crate::store::{SigningKeyState, Store, StoreError};
use crate::token;

mod keeper;
#[cfg(test)]
mod tests;

pub use keeper::{Keeper, KeyPlan, PlanError, RETENTION};

/// The signing keys at one moment.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    signing: Vec<CurrentKey>,
    lives: Vec<KeyLife>,
    set: Arc<JwkSet>,
    verifying: VerifyingKeys,
    jwks: Bytes,
}

/// A key that signs now, ready for every type of token.
#[derive(Clone, Debug)]
struct CurrentKey {
    key: Arc<SigningKey>,
    signers: [Arc<TokenSigner>; TokenType::ALL.len()],
}

/// What is signed: it decides the `typ` of the header, so that a token of one type never passes as another (RFC 8725 §3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` (RFC 9068 §2.1).
    AccessToken,
    /// `JWT`: ID tokens, and userinfo answers (OpenID Connect Core §2, §5.3.2).
    Jwt,
    /// `logout+jwt` (OpenID Connect Back-Channel Logout §2.4).
    LogoutToken,
    /// `token-introspection+jwt` (RFC 9701 §5).
    Introspection,
}

impl TokenType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::AccessToken, Self::Jwt, Self::LogoutToken, Self::Introspection];

    /// The value of `typ`.
    pub const fn typ(self) -> &'static str {
        match self {
            Self::AccessToken => token::jwt::TYPE,
            Self::Jwt => "JWT",
            Self::LogoutToken => "logout+jwt",
            Self::Introspection => "token-introspection+jwt",
        }
    }
}

/// A key in its life, for people and for the [`Keeper`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLife {
    /// Its RFC 7638 thumbprint.
    pub key_id: KeyId,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: SigningKeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to sign.
    pub activated: Option<Timestamp>,
    /// When it stopped.
    pub retired: Option<Timestamp>,
}

/// Why there are no signing keys to use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed, or a sealed key did not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key could not be made.
    #[error("a signing key could not be made: {0}")]
    Make(SignError),
    /// No key of this algorithm is current.
    #[error("no signing key for {0} is current: start `symbolon serve` once to make one")]
    Absent(Algorithm),
    /// The plan has no keys for this algorithm.
    #[error("no keys are kept for {algorithm}: the configuration names {kept}")]
    Unplanned {
        /// What was asked for.
        algorithm: Algorithm,
        /// What there is.
        kept: String,
    },
    /// A stored key is not what its row says.
    #[error("the stored signing key {key_id} is not what its row says ({problem}): restore a backup")]
    Corrupt {
        /// The row.
        key_id: KeyId,
        /// What is wrong.
        problem: String,
    },
}

impl KeysError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => error.reason(),
            Self::Make(error) => error.reason(),
            Self::Absent(_) => Reason::SigningKeyAbsent,
            Self::Unplanned { .. } => Reason::ParameterMalformed,
            Self::Corrupt { .. } => Reason::Defect,
        }
    }
}

impl SigningKeys {
    /// The deployment's keys, as they are stored.
    pub async fn load(store: &Store) -> Result<Self, KeysError> {
        let (mut signing, mut lives, mut published) = (Vec::new(), Vec::new(), Vec::new());
        let mut records = store.signing_keys().await?;
        // Of two that were made in the same second the one that is further in its life is the older one.
        let left = |state| match state {
            SigningKeyState::Retired => 0,
            SigningKeyState::Current => 1,
            SigningKeyState::Next => 2,
        };
        records.sort_by_key(|record| (record.created, left(record.state)));
        for record in records {
            let corrupt = |problem: String| KeysError::Corrupt { key_id: record.key_id.clone(), problem };
            let algorithm = record.algorithm.parse::<Algorithm>().map_err(|error| corrupt(error.to_string()))?;
            let public = PublicJwk::from_json(record.public_jwk.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
            if public.key_id() != Some(record.key_id.as_str()) {
                return Err(corrupt("its public half has another `kid`".into()));
            }
            if record.state != SigningKeyState::Retired {
                let key = SigningKey::from_pkcs8(&record.private_pkcs8, algorithm).map_err(|error| corrupt(error.to_string()))?;
                if *key.public_jwk() != public {
                    return Err(corrupt("its private half belongs to another key".into()));
                }
                if record.state == SigningKeyState::Current {
                    signing.push(CurrentKey::new(Arc::new(key))?);
                }
            }
            published.push(public);
            let (created, activated, retired) = (record.created, record.activated, record.retired);
            lives.push(KeyLife { key_id: record.key_id, algorithm, state: record.state, created, activated, retired });
        }
        let set = JwkSet::from_keys(published);
        let jwks = Bytes::from(set.to_json());
        let verifying = VerifyingKeys::new(&set, &Algorithm::ALL);
        Ok(Self { signing, lives, set: Arc::new(set), verifying, jwks })
    }

    /// Signs tokens of a type with the current key of an algorithm. None where there is none.
    pub fn signer(&self, algorithm: Algorithm, typ: TokenType) -> Option<&TokenSigner> {
        self.current(algorithm)?.signers.get(typ as usize).map(AsRef::as_ref)
    }

    /// The algorithms that a key signs with now.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.signing.iter().map(|current| current.key.algorithm())
    }

    /// The id of the key that signs with an algorithm now.
    pub fn current_key_id(&self, algorithm: Algorithm) -> Option<&KeyId> {
        self.current(algorithm).map(|current| current.key.key_id())
    }

    /// Every key in its life, oldest first.
    pub fn lives(&self) -> &[KeyLife] {
        &self.lives
    }

    /// The public halves of every key whose tokens may be alive, or that will sign next.
    pub fn public_keys(&self) -> &Arc<JwkSet> {
        &self.set
    }

    /// Verifies a token of ours with the key that its `kid` names.
    ///
    /// # Errors
    /// No such key, or a signature that is not its own.
    pub fn verify(&self, jws: &Compact<'_>) -> Result<VerifiedJws, JwsError> {
        self.verifying.verify(jws)
    }

    /// The JWKS document (RFC 7517 §5), as it is served.
    pub fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    fn current(&self, algorithm: Algorithm) -> Option<&CurrentKey> {
        self.signing.iter().find(|current| current.key.algorithm() == algorithm)
    }
}

impl CurrentKey {
    fn new(key: Arc<SigningKey>) -> Result<Self, KeysError> {
        let signer = |typ: TokenType| {
            TokenSigner::new(Box::new(KeySigner::new(key.clone())), typ.typ()).map(Arc::new).map_err(KeysError::Make)
        };
        let [access_token, jwt, logout_token, introspection] = TokenType::ALL;
        let signers = [signer(access_token)?, signer(jwt)?, signer(logout_token)?, signer(introspection)?];
        Ok(Self { key, signers })
    }
}
