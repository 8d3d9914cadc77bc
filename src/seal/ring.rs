use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::envelope::Purpose;
use super::key_source::{KeySource, KeySourceError};
use crate::domain::Redacted;

/// The name of a master key, written beside everything it seals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKeyId(String);

/// Not a name for a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a seal key is 1 to 32 characters of `a-z`, `0-9`, `-`")]
pub struct SealKeyIdError;

impl SealKeyId {
    pub(super) const MAX_LENGTH: usize = 32;

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SealKeyId {
    type Err = SealKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=Self::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if valid { Ok(Self(text.to_owned())) } else { Err(SealKeyIdError) }
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// No key.
    #[error("no master key is configured: name one in `seal.key`")]
    Empty,
    /// Two keys of one name.
    #[error("two master keys are called `{0}`")]
    DuplicateName(SealKeyId),
    /// Keys could not be derived from it. HKDF does not fail for keys of 32 bytes, so this is never seen.
    #[error("no keys can be derived from the master key `{0}`")]
    Derivation(SealKeyId),
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

/// The master keys. The first seals; all of them open.
pub struct KeyRing {
    active: RingKey,
    others: Vec<RingKey>,
}

/// What is derived from one master key. The master key itself is not kept.
pub(super) struct RingKey {
    pub(super) id: SealKeyId,
    pub(super) row: Redacted<[u8; 32]>,
    bearer: [Redacted<[u8; 32]>; Purpose::ALL.len()],
    audience: Hmac<Sha256>,
    blind_index: Hmac<Sha256>,
    purpose: Hmac<Sha256>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl KeyRing {
    /// Fetches the keys from their sources. `environment` looks a variable up.
    ///
    /// # Errors
    /// See [`KeyRingError`]: each names the key, the source and the remedy.
    pub fn load(keys: &[(SealKeyId, KeySource)], environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, KeyRingError> {
        let read = |(name, source): &(SealKeyId, KeySource)| match source.read(environment) {
            Ok(key) => Ok((name.clone(), key)),
            Err(problem) => Err(KeyRingError::Source { name: name.clone(), problem }),
        };
        Self::from_keys(keys.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// A ring of these master keys.
    ///
    /// # Errors
    /// [`KeyRingError::Empty`] and [`KeyRingError::DuplicateName`].
    pub fn from_keys(keys: Vec<(SealKeyId, Redacted<[u8; 32]>)>) -> Result<Self, KeyRingError> {
        let mut ring: Vec<RingKey> = Vec::with_capacity(keys.len());
        for (id, master) in keys {
            if ring.iter().any(|key| key.id == id) {
                return Err(KeyRingError::DuplicateName(id));
            }
            let Some(derived) = RingKey::derive(&id, &master) else { return Err(KeyRingError::Derivation(id)) };
            ring.push(derived);
        }
        let mut ring = ring.into_iter();
        let active = ring.next().ok_or(KeyRingError::Empty)?;
        Ok(Self { active, others: ring.collect() })
    }

    /// The name of the key that seals.
    pub fn active_key_id(&self) -> &SealKeyId {
        &self.active.id
    }

    /// The names of all keys, the sealing one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.keys().map(|key| &key.id)
    }

    /// A keyed digest of `value`, to find a sealed value by without storing it in the clear. Made with the sealing key: after a
    /// change of keys look for all of [`KeyRing::blind_indexes`].
    pub fn blind_index(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        self.active.blind_index(purpose, value)
    }

    /// The digests of `value` under every key, the sealing one's first.
    pub fn blind_indexes(&self, purpose: &str, value: &[u8]) -> Vec<[u8; 32]> {
        self.keys().map(|key| key.blind_index(purpose, value)).collect()
    }

    /// A key of its own for each purpose, from every master key, the sealing one's first: for what is neither sealed nor indexed, such
    /// as nonces that every replica recognises.
    pub fn purpose_keys(&self, purpose: &str) -> Vec<Redacted<[u8; 32]>> {
        self.keys().map(|key| Redacted::new(mac(&key.purpose, purpose, b""))).collect()
    }

    pub(super) fn active(&self) -> &RingKey {
        &self.active
    }

    pub(super) fn key(&self, id: &SealKeyId) -> Option<&RingKey> {
        self.keys().find(|key| key.id == *id)
    }

    fn keys(&self) -> impl Iterator<Item = &RingKey> {
        std::iter::once(&self.active).chain(&self.others)
    }
}

impl RingKey {
    fn derive(id: &SealKeyId, master: &Redacted<[u8; 32]>) -> Option<Self> {
        let hkdf = Hkdf::<Sha256>::new(None, master.expose());
        let key = |label: &str| {
            let mut output = [0u8; 32];
            hkdf.expand_multi_info(&[b"symbolon seal 1 ", label.as_bytes()], &mut output).ok()?;
            Some(Redacted::new(output))
        };
        let mac = |label| Hmac::new_from_slice(key(label)?.expose()).ok();
        let [access, refresh, interaction] = Purpose::ALL.map(|purpose| key(&format!("bearer {}", purpose.label())));
        Some(Self {
            row: key("row")?,
            bearer: [access?, refresh?, interaction?],
            audience: mac("audience")?,
            blind_index: mac("blind-index")?,
            purpose: mac("purpose")?,
            id: id.clone(),
        })
    }

    pub(super) fn bearer(&self, purpose: Purpose) -> &Redacted<[u8; 32]> {
        let [access, refresh, interaction] = &self.bearer;
        match purpose {
            Purpose::AccessToken => access,
            Purpose::RefreshToken => refresh,
            Purpose::Interaction => interaction,
        }
    }

    pub(super) fn audience(&self, issuer: &str, audience: &str) -> [u8; 32] {
        mac(&self.audience, issuer, audience.as_bytes())
    }

    fn blind_index(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        mac(&self.blind_index, purpose, value)
    }
}

/// HMAC-SHA256 over both parts, each preceded by its length.
fn mac(keyed: &Hmac<Sha256>, first: &str, second: &[u8]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in [first.as_bytes(), second] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
