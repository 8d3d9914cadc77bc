//! Client secrets (RFC 6749 §2.3.1): long and random, so that one fast digest keeps them as well as a slow one would.
//!
//! A client that sends its secret (`client_secret_basic`, `client_secret_post`) is checked against a keyed hash, and nothing more is kept;
//! one that authenticates assertions with it (`client_secret_jwt`) needs the secret itself here too. The hash is fast, HMAC with SHA-256, since
//! nobody guesses 32 random characters, however many he tries; keyed, so that who reads it in a backup or in memory cannot even find out
//! whether a secret that he has is this one; of the client's name too, so that it is nobody else's. Either is sealed in the database besides:
//! a dump does not tell what kind it is, and what is put into another client's row does not open there.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::secrets::Kept;
use crate::domain::{ClientId, Randomness, RandomnessUnavailable, Redacted};
use crate::event::Reason;
use crate::jose::base64url;
use crate::jose::mac::MacAlgorithm;
use crate::store::{SecretKey, SecretRecord};

/// Random bytes in a generated secret: enough for HMAC with SHA-512 (RFC 7518 §3.2).
const GENERATED_BYTES: usize = 64;
/// The shortest secret that is taken, in characters.
const LEAST: usize = 32;
/// The longest.
const MOST: usize = 256;
/// The fewest different characters: a random secret of the least length has more, but for one in a million million.
const LEAST_VARIETY: usize = 10;

/// What [`SecretRecord`] holds, told by its first byte. 3 is a list of these; 1 was a digest without a key.
const SHARED: u8 = 2;
const HASHED: u8 = 4;

/// Makes a secret: 86 characters of base64url.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn generate_secret(randomness: &dyn Randomness) -> Result<Zeroizing<String>, RandomnessUnavailable> {
    let mut bytes = Zeroizing::new([0u8; GENERATED_BYTES]);
    randomness.fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(base64url::encode(bytes.as_slice())))
}

/// Why a given secret is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Too short to be beyond guessing.
    #[error("is too short: it must have {LEAST} to {MOST} characters, such as `openssl rand -base64 48` prints")]
    Short,
    /// Too long.
    #[error("is too long: it must have {LEAST} to {MOST} characters")]
    Long,
    /// A character outside printable ASCII.
    #[error("may only have printable ASCII characters (RFC 6749 Appendix A.2)")]
    Character,
    /// Too few different characters.
    #[error("is too regular to be random: it must have at least {LEAST_VARIETY} different characters")]
    Regular,
    /// Too short for the registered algorithm.
    #[error("is too short for {0}: it must have at least {least} bytes (RFC 7518 §3.2)", least = .0.least_secret_bytes())]
    ShortFor(MacAlgorithm),
}

fn check(secret: &str) -> Result<(), SecretError> {
    if !secret.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err(SecretError::Character);
    }
    match secret.len() {
        ..LEAST => return Err(SecretError::Short),
        LEAST..=MOST => {}
        _ => return Err(SecretError::Long),
    }
    let different: std::collections::BTreeSet<u8> = secret.bytes().collect();
    if different.len() < LEAST_VARIETY { Err(SecretError::Regular) } else { Ok(()) }
}

/// A secret as it is checked against: its keyed hash, in one client's own space.
#[derive(Clone)]
pub struct SecretHash {
    key: SecretKey,
    hash: Redacted<[u8; 32]>,
}

/// The secret is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client secret is another one")]
pub struct SecretMismatch;

impl SecretMismatch {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        Reason::ClientSecretMismatch
    }
}

/// Proof that the registered secret was presented.
#[derive(Clone, Copy, Debug)]
pub struct SecretKnown(());

impl SecretHash {
    /// The hash of a secret that is strong enough.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn of(client_id: &ClientId, secret: &str, key: &SecretKey) -> Result<Self, SecretError> {
        check(secret)?;
        Ok(Self { key: key.clone(), hash: Redacted::new(hash_of(client_id, secret, key)) })
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// When it is another secret.
    pub fn check(&self, client_id: &ClientId, presented: &str) -> Result<SecretKnown, SecretMismatch> {
        let presented = Zeroizing::new(hash_of(client_id, presented, &self.key));
        match bool::from(self.hash.expose().ct_eq(&*presented)) {
            true => Ok(SecretKnown(())),
            false => Err(SecretMismatch),
        }
    }
}

fn hash_of(client_id: &ClientId, secret: &str, key: &SecretKey) -> [u8; 32] {
    let mut bytes = Zeroizing::new(b"symbolon client secret 1 ".to_vec());
    bytes.extend_from_slice(&(client_id.as_str().len() as u64).to_be_bytes());
    bytes.extend_from_slice(client_id.as_str().as_bytes());
    bytes.extend_from_slice(secret.as_bytes());
    key.hash(&bytes)
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.hash.expose().ct_eq(other.hash.expose()).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A secret that is needed itself.
#[derive(Clone)]
pub struct SharedSecret(Redacted<Vec<u8>>);

impl SharedSecret {
    /// A secret that is strong enough for `algorithm`; without one, for the least.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn new(secret: &str, algorithm: Option<MacAlgorithm>) -> Result<Self, SecretError> {
        check(secret)?;
        Self(Redacted::new(secret.as_bytes().to_vec())).for_algorithm(algorithm)
    }

    fn for_algorithm(self, algorithm: Option<MacAlgorithm>) -> Result<Self, SecretError> {
        match algorithm {
            Some(algorithm) if self.expose().len() < algorithm.least_secret_bytes() => Err(SecretError::ShortFor(algorithm)),
            _ => Ok(self),
        }
    }

    /// The secret's own bytes: those of its text (OpenID Connect Core §10.1).
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// For a client that sends its secret: from a hash, or from a secret that was kept whole. `None` when the record is neither.
pub(super) fn hash(record: &SecretRecord, client_id: &ClientId, key: &SecretKey) -> Option<Result<SecretHash, SecretError>> {
    match record.expose().split_first() {
        Some((&HASHED, hash)) => hash.try_into().ok().map(|hash| Ok(SecretHash { key: key.clone(), hash: Redacted::new(hash) })),
        Some((&SHARED, secret)) => std::str::from_utf8(secret).ok().map(|secret| SecretHash::of(client_id, secret, key)),
        _ => None,
    }
}

/// For a client that authenticates assertions. `None` when only a hash was kept.
pub(super) fn shared(record: &SecretRecord, algorithm: Option<MacAlgorithm>) -> Option<Result<SharedSecret, SecretError>> {
    match record.expose().split_first() {
        Some((&SHARED, secret)) => Some(SharedSecret(Redacted::new(secret.to_vec())).for_algorithm(algorithm)),
        _ => None,
    }
}

impl Kept for SecretHash {
    fn to_bytes(&self) -> Vec<u8> {
        [&[HASHED][..], self.hash.expose()].concat()
    }

    fn key(&self) -> Option<&SecretKey> {
        Some(&self.key)
    }
}

impl Kept for SharedSecret {
    fn to_bytes(&self) -> Vec<u8> {
        [&[SHARED][..], self.expose()].concat()
    }

    fn key(&self) -> Option<&SecretKey> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::random::SystemRandomness;

    #[test]
    fn weak_secrets_are_refused() {
        let alice = "alice".parse().expect("a client id");
        let generated = generate_secret(&SystemRandomness).expect("random");
        assert_eq!(generated.len(), 86);
        for algorithm in MacAlgorithm::ALL {
            assert!(SharedSecret::new(&generated, Some(algorithm)).is_ok(), "{algorithm}");
        }
        let long = "abcdefghijklmnop".repeat(17);
        let key = SecretKey::new(Redacted::new([1; 32]));
        let table = [
            ("", SecretError::Short),
            ("correct horse battery staple", SecretError::Short),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", SecretError::Regular),
            ("123123123123123123123123123123123123", SecretError::Regular),
            ("abcdefghijklmnopqrstuvwxyz012345\u{e4}", SecretError::Character),
            ("abcdefghijklmnopqrstuvwxyz012345\n", SecretError::Character),
            (&long, SecretError::Long),
        ];
        for (secret, expected) in table {
            assert_eq!(SecretHash::of(&alice, secret, &key).err(), Some(expected), "{secret}");
            assert_eq!(SharedSecret::new(secret, None).err(), Some(expected), "{secret}");
        }
        let short = "abcdefghijklmnopqrstuvwxyz012345";
        assert_eq!(SharedSecret::new(short, Some(MacAlgorithm::HS384)).err(), Some(SecretError::ShortFor(MacAlgorithm::HS384)));
    }

    /// The documented one, which was computed by another program.
    #[test]
    fn the_hash_is_what_the_documentation_says() {
        use crate::seal::{DataKey, KeyRing};
        let key = |id: &str| DataKey { id: id.parse().expect("valid"), key: Redacted::new(std::array::from_fn(|at| at as u8)) };
        let ring = KeyRing::new(&key("one"), &[], &key("lasting"));
        let key = SecretKey::new(ring.lasting_key("client-secret"));
        let kept =
            SecretHash::of(&"alice".parse().expect("a client id"), "abcdefghijklmnopqrstuvwxyz012345", &key).expect("strong");
        let written: String = kept.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, "04c0baec6432446ff938551108c3a09597954db68aaae596b5b088eb07962937e7");
        assert!(include_str!("../../docs/sealing.md").contains(&format!("`{written}`")));
    }

    #[test]
    fn a_hash_is_of_one_client_one_secret_and_one_deployment() {
        let [alice, bob] = ["alice", "bob"].map(|name| name.parse::<ClientId>().expect("a client id"));
        let secret = generate_secret(&SystemRandomness).expect("random");
        let [key, other] = [1, 2].map(|byte| SecretKey::new(Redacted::new([byte; 32])));
        let kept = SecretHash::of(&alice, &secret, &key).expect("strong");
        assert!(kept.check(&alice, &secret).is_ok());
        assert_eq!(kept.check(&alice, &secret[1..]).err(), Some(SecretMismatch));
        assert_eq!(kept.check(&alice, "").err(), Some(SecretMismatch));
        assert_eq!(kept.check(&bob, &secret).err(), Some(SecretMismatch));
        let record = SecretRecord::new(kept.to_bytes(), None);
        assert_eq!(hash(&record, &alice, &key), Some(Ok(kept.clone())));
        let elsewhere = hash(&record, &alice, &other).expect("read").expect("a hash");
        assert_eq!(elsewhere.check(&alice, &secret).err(), Some(SecretMismatch), "who has another key can try no secret");
        assert_ne!(SecretHash::of(&alice, &secret, &other).expect("strong"), kept);
        assert_eq!(shared(&record, None), None, "a hash is no secret");
        let record = SecretRecord::new(SharedSecret::new(&secret, None).expect("strong").to_bytes(), None);
        assert_eq!(hash(&record, &alice, &key), Some(Ok(kept.clone())), "the secret itself has every hash");
        assert!(!format!("{kept:?}{record:?}{key:?}").contains(&secret[..8]));
    }
}
