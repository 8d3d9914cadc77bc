use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::envelope::Purpose;
use super::{SealError, SealKeyId};
use crate::domain::{Redacted, Timestamp};

/// A key of the ring as it is stored, unwrapped.
#[derive(Clone, Debug)]
pub struct DataKey {
    /// Its name.
    pub id: SealKeyId,
    /// 32 random bytes.
    pub key: Redacted<[u8; 32]>,
}

/// The keys that seal a deployment's state: one seals, all of them open. Beside them stands the lasting key, which never changes.
///
/// Everyone in the process shares one ring; [`KeyRing::replace`] changes its keys under them.
pub struct KeyRing {
    keys: ArcSwap<Keys>,
    lasting: Arc<RingKey>,
    index: Hmac<Sha256>,
    purpose: Hmac<Sha256>,
}

struct Keys {
    active: Arc<RingKey>,
    others: Vec<Arc<RingKey>>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = &Arc<RingKey>> {
        std::iter::once(&self.active).chain(&self.others)
    }
}

/// What is derived from one key. The key itself is not kept.
pub(super) struct RingKey {
    pub(super) id: SealKeyId,
    pub(super) row: Redacted<[u8; 32]>,
    bearer: [Redacted<[u8; 32]>; Purpose::ALL.len()],
    audience: Hmac<Sha256>,
    /// When the last bearer that this process sealed with it expires, in seconds; 0 before the first.
    bearers_expire: AtomicI64,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl KeyRing {
    /// A ring: the key that seals, others that open, and the lasting key.
    pub fn new(active: &DataKey, others: &[DataKey], lasting: &DataKey) -> Self {
        let ring_key = |key: &DataKey| Arc::new(RingKey::new(key));
        let keys = Keys { active: ring_key(active), others: others.iter().map(ring_key).collect() };
        Self {
            keys: ArcSwap::from_pointee(keys),
            index: keyed(&derive(&lasting.key, "blind-index")),
            purpose: keyed(&derive(&lasting.key, "purpose")),
            lasting: ring_key(lasting),
        }
    }

    /// Puts other keys in force: the one that seals, and those that open.
    pub fn replace(&self, active: &DataKey, others: &[DataKey]) {
        let present = self.keys.load();
        // A key that stays keeps what it knows of its bearers.
        let ring_key = |key: &DataKey| match present.all().find(|known| known.id == key.id) {
            Some(known) => known.clone(),
            None => Arc::new(RingKey::new(key)),
        };
        self.keys.store(Arc::new(Keys { active: ring_key(active), others: others.iter().map(ring_key).collect() }));
    }

    /// A ring of these keys, the sealing one first.
    #[cfg(test)]
    pub fn from_keys(keys: Vec<(SealKeyId, Redacted<[u8; 32]>)>) -> Option<Self> {
        let keys: Vec<DataKey> = keys.into_iter().map(|(id, key)| DataKey { id, key }).collect();
        let (active, others) = keys.split_first()?;
        let id = "lasting".parse().ok()?;
        Some(Self::new(active, others, &DataKey { id, key: Redacted::new([0x1d; 32]) }))
    }

    /// The name of the key that seals.
    pub fn active_key_id(&self) -> SealKeyId {
        self.keys.load().active.id.clone()
    }

    /// The names of all keys, the sealing one first.
    pub fn key_ids(&self) -> Vec<SealKeyId> {
        self.keys.load().all().map(|key| key.id.clone()).collect()
    }

    /// For each key under which this process has sealed bearers: when the last of them expires.
    pub fn bearers_expire(&self) -> Vec<(SealKeyId, Timestamp)> {
        let expiry = |key: &Arc<RingKey>| match key.bearers_expire.load(Ordering::Relaxed) {
            i64::MIN => None,
            seconds => Some((key.id.clone(), Timestamp::from_seconds(seconds))),
        };
        self.keys.load().all().filter_map(expiry).collect()
    }

    /// A keyed digest of `value`, to find a sealed value by without storing it in the clear. It is made with the lasting key, so
    /// that what was stored before a change of keys is found after it.
    pub fn blind_index(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        mac(&self.index, purpose, value)
    }

    /// The digests under which `value` may be stored. There is one lasting key, so there is one.
    pub fn blind_indexes(&self, purpose: &str, value: &[u8]) -> Vec<[u8; 32]> {
        vec![self.blind_index(purpose, value)]
    }

    /// Keys for what is neither sealed nor indexed, such as nonces that every replica recognises: the one in use first. There is one
    /// lasting key, so there is one.
    pub fn purpose_keys(&self, purpose: &str) -> Vec<Redacted<[u8; 32]>> {
        vec![self.lasting_key(purpose)]
    }

    /// A key for hashes that are kept as long as the deployment lives.
    pub fn lasting_key(&self, purpose: &str) -> Redacted<[u8; 32]> {
        Redacted::new(mac(&self.purpose, purpose, b""))
    }

    pub(super) fn lasting(&self) -> &RingKey {
        &self.lasting
    }

    pub(super) fn active(&self) -> Arc<RingKey> {
        self.keys.load().active.clone()
    }

    pub(super) fn key(&self, id: &SealKeyId) -> Option<Arc<RingKey>> {
        self.key_named(id.as_str()).ok()
    }

    /// The key of this name, as it stands in a sealed value.
    ///
    /// # Errors
    /// [`SealError::KeyUnknown`], or [`SealError::Malformed`] when no key can have this name.
    pub(super) fn key_named(&self, name: &str) -> Result<Arc<RingKey>, SealError> {
        let found = self.keys.load().all().chain([&self.lasting]).find(|key| key.id.as_str() == name).cloned();
        found.ok_or_else(|| name.parse().map_or(SealError::Malformed, SealError::KeyUnknown))
    }
}

impl RingKey {
    fn new(key: &DataKey) -> Self {
        let bearer = |purpose: Purpose| derive(&key.key, &format!("bearer {}", purpose.label()));
        Self {
            row: derive(&key.key, "row"),
            bearer: Purpose::ALL.map(bearer),
            audience: keyed(&derive(&key.key, "audience")),
            bearers_expire: AtomicI64::new(i64::MIN),
            id: key.id.clone(),
        }
    }

    pub(super) fn bearer(&self, purpose: Purpose) -> &Redacted<[u8; 32]> {
        let [
            access,
            refresh,
            interaction,
            logout,
            second_factor,
            certificate_sign_in,
            provider_sign_in,
            gateway_session,
            gateway_sign_in,
        ] = &self.bearer;
        match purpose {
            Purpose::AccessToken => access,
            Purpose::RefreshToken => refresh,
            Purpose::Interaction => interaction,
            Purpose::Logout => logout,
            Purpose::SecondFactor => second_factor,
            Purpose::CertificateSignIn => certificate_sign_in,
            Purpose::ProviderSignIn => provider_sign_in,
            Purpose::GatewaySession => gateway_session,
            Purpose::GatewaySignIn => gateway_sign_in,
        }
    }

    pub(super) fn audience(&self, issuer: &str, audience: &str) -> [u8; 32] {
        mac(&self.audience, issuer, audience.as_bytes())
    }

    /// Notes that a bearer lives until then.
    pub(super) fn note_bearer(&self, expires: Timestamp) {
        // Mostly it changes once a second, so that reading suffices.
        if self.bearers_expire.load(Ordering::Relaxed) < expires.seconds() {
            self.bearers_expire.fetch_max(expires.seconds(), Ordering::Relaxed);
        }
    }
}

/// HKDF-SHA256 (RFC 5869) of a key of 32 random bytes, without salt.
#[allow(clippy::expect_used, reason = "32 bytes are a length that HKDF-SHA256 gives, whatever the input")]
pub(super) fn derive(key: &Redacted<[u8; 32]>, label: &str) -> Redacted<[u8; 32]> {
    let mut output = [0u8; 32];
    let info = [b"symbolon seal 1 ".as_slice(), label.as_bytes()];
    Hkdf::<Sha256>::new(None, key.expose()).expand_multi_info(&info, &mut output).expect("32 bytes");
    Redacted::new(output)
}

#[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed(key: &Redacted<[u8; 32]>) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.expose()).expect("a key")
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
