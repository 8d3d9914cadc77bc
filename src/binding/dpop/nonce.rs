//! Nonces that a server hands out for its clients' proofs (RFC 9449 §8, §9). None is stored: each says when it was made and carries a
//! tag that only its maker can make.
//!
//! ```text
//! version[1] origin[8] seconds[8] tag[16]     in base64url
//! ```

use subtle::ConstantTimeEq as _;

use crate::domain::{Lifetime, Randomness, RandomnessUnavailable, Redacted, Timestamp};
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::jose::tag::MacKey;

const VERSION: u8 = 1;
const ORIGIN: usize = 8;
const TAG: usize = 16;

/// By how much the clocks of replicas that accept each other's nonces may differ.
const REPLICA_SKEW: Lifetime = Lifetime::from_seconds(30);

/// Why a nonce is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not one of ours: made by another server, or by this gateway before it was started again, or by nobody.
    #[error("the nonce was not made here")]
    Foreign,
    /// One of ours, and too old.
    #[error("the nonce is too old")]
    Expired,
}

/// When a good nonce was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoodNonce {
    pub(super) made: Timestamp,
}

/// Makes and recognises nonces.
#[derive(Debug)]
pub struct Nonces {
    origin: [u8; ORIGIN],
    /// The first makes tags, all recognise them.
    keys: Vec<MacKey>,
    lifetime: Lifetime,
}

impl Nonces {
    /// Those of a server whose replicas share `keys`: every one accepts the nonces of every other. The first key makes them.
    pub fn shared(issuer: &str, keys: &[Redacted<[u8; 32]>], lifetime: Lifetime) -> Self {
        Self::new(&[issuer.as_bytes()], keys.iter().map(|key| MacKey::new(key.expose())).collect(), lifetime)
    }

    /// Those of one process: nobody else's are taken, nor those of the same gateway before it was started again, which remembers no
    /// proof from then.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn of_process(name: &str, randomness: &dyn Randomness, lifetime: Lifetime) -> Result<Self, RandomnessUnavailable> {
        let (mut boot, mut key) = ([0u8; 16], zeroize::Zeroizing::new([0u8; 32]));
        randomness.fill(&mut boot)?;
        randomness.fill(&mut *key)?;
        Ok(Self::new(&[name.as_bytes(), &boot], vec![MacKey::new(&key)], lifetime))
    }

    fn new(names: &[&[u8]], keys: Vec<MacKey>, lifetime: Lifetime) -> Self {
        let named: Vec<u8> = names.iter().flat_map(|name| sha256(name)).collect();
        let mut origin = [0u8; ORIGIN];
        origin.copy_from_slice(sha256(&named).split_at(ORIGIN).0);
        Self { origin, keys, lifetime }
    }

    /// How long a nonce is taken.
    pub const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// A nonce made at `now`; `None` without a key, which no constructor leaves.
    pub fn make(&self, now: Timestamp) -> Option<String> {
        let mut nonce = vec![VERSION];
        nonce.extend_from_slice(&self.origin);
        nonce.extend_from_slice(&now.seconds().to_be_bytes());
        let tag = self.keys.first()?.tag(&[PURPOSE, &nonce]);
        nonce.extend_from_slice(tag.split_at(TAG).0);
        Some(base64url::encode(nonce))
    }

    /// Whether a nonce is ours and still good at `now`.
    pub(super) fn check(&self, nonce: &str, now: Timestamp) -> Result<GoodNonce, NonceError> {
        let bytes = base64url::decode(nonce).map_err(|_| NonceError::Foreign)?;
        let (said, tag) = bytes.split_at_checked(1 + ORIGIN + 8).ok_or(NonceError::Foreign)?;
        let (start, seconds) = said.split_at(1 + ORIGIN);
        let seconds = <[u8; 8]>::try_from(seconds).map_err(|_| NonceError::Foreign)?;
        let ours = start.first() == Some(&VERSION) && start.get(1..) == Some(&self.origin[..]) && tag.len() == TAG;
        let is_made_here = |key: &MacKey| bool::from(key.tag(&[PURPOSE, said]).split_at(TAG).0.ct_eq(tag));
        if !ours || !self.keys.iter().any(is_made_here) {
            return Err(NonceError::Foreign);
        }
        let made = Timestamp::from_seconds(i64::from_be_bytes(seconds));
        if now > made.plus(self.lifetime) || made > now.plus(REPLICA_SKEW) {
            return Err(NonceError::Expired);
        }
        Ok(GoodNonce { made })
    }
}

const PURPOSE: &[u8] = b"symbolon dpop nonce";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::random::SystemRandomness;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const LIFETIME: Lifetime = Lifetime::from_seconds(300);

    fn shared(issuer: &str, keys: &[u8]) -> Nonces {
        let keys: Vec<_> = keys.iter().map(|byte| Redacted::new([*byte; 32])).collect();
        Nonces::shared(issuer, &keys, LIFETIME)
    }

    #[test]
    fn replicas_take_each_others_nonces_also_while_keys_change() {
        let (old, new) = (shared("https://as.example", &[1]), shared("https://as.example", &[2, 1]));
        let nonce = old.make(NOW).expect("a nonce");
        assert_eq!(nonce.len(), 44);
        assert_eq!(old.check(&nonce, NOW), Ok(GoodNonce { made: NOW }));
        assert_eq!(shared("https://as.example", &[1]).check(&nonce, NOW), Ok(GoodNonce { made: NOW }));
        assert_eq!(new.check(&nonce, NOW), Ok(GoodNonce { made: NOW }));
        assert_eq!(old.check(&new.make(NOW).expect("a nonce"), NOW), Err(NonceError::Foreign));
        assert_eq!(shared("https://other.example", &[1]).check(&nonce, NOW), Err(NonceError::Foreign));
    }

    #[test]
    fn a_gateway_takes_only_the_nonces_of_this_very_process() {
        let process = |name: &str| Nonces::of_process(name, &SystemRandomness, LIFETIME).expect("randomness");
        let (gateway, other, again) = (process("a"), process("b"), process("a"));
        let nonce = gateway.make(NOW).expect("a nonce");
        assert_eq!(gateway.check(&nonce, NOW), Ok(GoodNonce { made: NOW }));
        assert_eq!(other.check(&nonce, NOW), Err(NonceError::Foreign));
        assert_eq!(again.check(&nonce, NOW), Err(NonceError::Foreign));
    }

    #[test]
    fn a_nonce_is_good_for_its_time_and_unaltered() {
        let nonces = shared("https://as.example", &[1]);
        let nonce = nonces.make(NOW).expect("a nonce");
        let at = |seconds: i64| Timestamp::from_seconds(NOW.seconds() + seconds);
        for (seconds, verdict) in
            [(0, Ok(())), (300, Ok(())), (301, Err(NonceError::Expired)), (-30, Ok(())), (-31, Err(NonceError::Expired))]
        {
            assert_eq!(nonces.check(&nonce, at(seconds)).map(drop), verdict, "{seconds}");
        }
        let bytes = base64url::decode(&nonce).expect("base64url");
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            assert_eq!(nonces.check(&base64url::encode(altered), NOW), Err(NonceError::Foreign), "byte {index}");
        }
        for text in ["", "x", &nonce[..40], &format!("{nonce}AAAA"), &format!("{nonce}=")] {
            assert_eq!(nonces.check(text, NOW), Err(NonceError::Foreign), "{text}");
        }
    }
}
