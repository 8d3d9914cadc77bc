//! Public keys that a client signs with, and that it is answered under: a JWK Set (RFC 7517 §5).

use serde_json::{Map, Value};

use crate::jose::Algorithm;
use crate::jose::jwe::KeyManagement;
use crate::jose::jwk::{JwkError, JwkSet, PublicJwk};
use crate::jose::jws::{Compact, JwsError};
use crate::jose::verify::{VerifiedJws, VerifyingKeys};

/// The keys of one client, ready to verify: at least one, at most [`RegisteredKeys::MAX`].
#[derive(Clone, Debug)]
pub struct RegisteredKeys {
    set: JwkSet,
    verifying: VerifyingKeys,
}

/// Why keys cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisteredKeysError {
    /// None, or too many.
    #[error("`jwks` must have 1 to {} keys", RegisteredKeys::MAX)]
    Number,
    /// One key cannot be used.
    #[error("key {number} of `jwks`: {problem}")]
    Key {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        problem: JwkError,
    },
    /// A key for something that this server does not do.
    #[error("key {0} of `jwks` verifies no signature and encrypts nothing, by its `alg`, `use` or `key_ops`")]
    Useless(usize),
}

impl RegisteredKeys {
    /// The most keys that one client may have.
    pub const MAX: usize = 20;

    /// Reads the members of `keys`, each of which must be usable.
    ///
    /// # Errors
    /// See [`RegisteredKeysError`].
    pub fn from_jwks(keys: &[&Map<String, Value>]) -> Result<Self, RegisteredKeysError> {
        let mut read = Vec::with_capacity(keys.len());
        for (index, members) in keys.iter().enumerate() {
            let number = index + 1;
            let key = PublicJwk::from_members(members).map_err(|problem| RegisteredKeysError::Key { number, problem })?;
            if !is_useful(&key) {
                return Err(RegisteredKeysError::Useless(number));
            }
            read.push(key);
        }
        Self::of(JwkSet::from_keys(read)).ok_or(RegisteredKeysError::Number)
    }

    /// The usable keys of a document that a client publishes; others are passed over (RFC 7517 §5). `None` when there are none, or too
    /// many.
    pub fn of(set: JwkSet) -> Option<Self> {
        let verifying = VerifyingKeys::new(&set, &Algorithm::ALL);
        let usable = set.keys().iter().any(is_useful) && set.keys().len() <= Self::MAX;
        usable.then_some(Self { set, verifying })
    }

    /// Whether one of the keys verifies `algorithm`.
    pub fn fit(&self, algorithm: Algorithm) -> bool {
        self.set.keys().iter().any(|key| key.fits(algorithm))
    }

    /// Whether one of the keys verifies any signature.
    pub fn verify_something(&self) -> bool {
        !self.verifying.is_empty()
    }

    /// The key that content is encrypted to with `alg`: the first that says it is for encryption, else the first that serves.
    pub fn encryption_key(&self, alg: KeyManagement) -> Option<&PublicJwk> {
        let serving = || self.set.keys().iter().filter(|key| key.encrypts(alg));
        serving().find(|key| key.is_for_encryption()).or_else(|| serving().next())
    }

    /// Verifies a signature with the key that `kid` names; without a `kid`, with those that fit.
    ///
    /// # Errors
    /// Those of [`VerifyingKeys::verify`].
    pub fn verify(&self, jws: &Compact<'_>) -> Result<VerifiedJws, JwsError> {
        self.verifying.verify(jws)
    }

    /// The set, as a registration shows it.
    pub fn to_jwks(&self) -> Value {
        let keys = self.set.keys().iter().map(|key| Value::Object(key.to_members())).collect();
        Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(keys))]))
    }
}

fn is_useful(key: &PublicJwk) -> bool {
    let verifies = Algorithm::ALL.into_iter().any(|algorithm| key.fits(algorithm));
    verifies || KeyManagement::ALL.into_iter().any(|alg| key.encrypts(alg))
}

impl PartialEq for RegisteredKeys {
    fn eq(&self, other: &Self) -> bool {
        self.set.keys() == other.set.keys()
    }
}

impl Eq for RegisteredKeys {}
