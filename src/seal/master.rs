//! The configured keys. They wrap the ring's keys and the canary, and nothing else.

use std::fmt;

use super::envelope::{self, RowContext};
use super::key_source::{KeySource, KeySourceError};
use super::ring::derive;
use super::{Plaintext, SealError, SealKeyId};
use crate::domain::Redacted;

/// Why there are no master keys.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeysError {
    /// No key.
    #[error("no master key is configured: name one in `seal.key`")]
    Empty,
    /// Two keys of one name.
    #[error("two master keys are called `{0}`")]
    DuplicateName(SealKeyId),
    /// A key cannot be had from its source.
    #[error("master key `{name}`: {problem}")]
    Source {
        /// The key.
        name: SealKeyId,
        /// Why not.
        #[source]
        problem: KeySourceError,
    },
}

/// The master keys. The first wraps; all of them unwrap.
pub struct MasterKeys {
    active: MasterKey,
    others: Vec<MasterKey>,
}

/// What is derived from one master key. The master key itself is not kept.
struct MasterKey {
    id: SealKeyId,
    wrap: Redacted<[u8; 32]>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl MasterKeys {
    /// Fetches the keys from their sources. `environment` looks a variable up.
    ///
    /// # Errors
    /// See [`MasterKeysError`]: each names the key, the source and the remedy.
    pub fn load(keys: &[(SealKeyId, KeySource)], environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, MasterKeysError> {
        let read = |(name, source): &(SealKeyId, KeySource)| match source.read(environment) {
            Ok(key) => Ok((name.clone(), key)),
            Err(problem) => Err(MasterKeysError::Source { name: name.clone(), problem }),
        };
        Self::from_keys(keys.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// These keys, the wrapping one first.
    ///
    /// # Errors
    /// [`MasterKeysError::Empty`] and [`MasterKeysError::DuplicateName`].
    pub fn from_keys(keys: Vec<(SealKeyId, Redacted<[u8; 32]>)>) -> Result<Self, MasterKeysError> {
        let mut derived: Vec<MasterKey> = Vec::with_capacity(keys.len());
        for (id, master) in keys {
            if derived.iter().any(|key| key.id == id) {
                return Err(MasterKeysError::DuplicateName(id));
            }
            derived.push(MasterKey { wrap: derive(&master, "wrap"), id });
        }
        let mut derived = derived.into_iter();
        let active = derived.next().ok_or(MasterKeysError::Empty)?;
        Ok(Self { active, others: derived.collect() })
    }

    /// The name of the key that wraps.
    pub fn active_key_id(&self) -> &SealKeyId {
        &self.active.id
    }

    /// The names of all keys, the wrapping one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.keys().map(|key| &key.id)
    }

    /// Wraps a column's value.
    ///
    /// # Errors
    /// [`SealError::Randomness`] and [`SealError::TooLong`].
    pub fn wrap(&self, context: &RowContext<'_>, value: &[u8]) -> Result<Vec<u8>, SealError> {
        envelope::seal_column(envelope::WRAPPED, &self.active.id, &self.active.wrap, context, value, &envelope::nonce()?)
    }

    /// Unwraps a column's value.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::KeyUnknown`], [`SealError::Broken`].
    pub fn unwrap(&self, context: &RowContext<'_>, wrapped: &[u8]) -> Result<Plaintext, SealError> {
        let (id, header_length) = envelope::read_header(envelope::WRAPPED, wrapped)?;
        let key = self.keys().find(|key| key.id == id).ok_or(SealError::KeyUnknown(id))?;
        envelope::open_column(&key.id, &key.wrap, header_length, context, wrapped)
    }

    /// Whether a value was wrapped by another key than the one that wraps now.
    pub fn needs_rewrap(&self, wrapped: &[u8]) -> bool {
        !envelope::read_header(envelope::WRAPPED, wrapped).is_ok_and(|(id, _)| id == self.active.id)
    }

    fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.active).chain(&self.others)
    }
}
