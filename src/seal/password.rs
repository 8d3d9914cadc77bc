//! Passwords: Argon2id (RFC 9106), off the asynchronous threads, so many at once and so many waiting.
//!
//! Only what people choose is hashed slowly. Secrets that we generate have 80 bits (recovery codes, of which few are tried) or 128 and more: nobody
//! can guess them, so a keyed hash is all they need.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::domain::{Randomness, RandomnessUnavailable, Redacted};
use crate::event::Reason;

/// The length of a salt, in bytes (RFC 9106 §3.1).
const SALT_LENGTH: usize = 16;

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Parameters {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

/// The cost is below what OWASP asks for, or above what this program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory_kib {memory_kib}, iterations {iterations}, parallelism {parallelism}: at least 19456, 2 and 1 (OWASP Password Storage \
     Cheat Sheet), at most 1048576, 16 and 16"
)]
pub struct Argon2ParametersError {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

impl Argon2Parameters {
    /// What the OWASP Password Storage Cheat Sheet asks for: 19 MiB, two passes, one lane.
    pub const OWASP: Self = Self { memory_kib: 19_456, iterations: 2, parallelism: 1 };
    /// The most this program spends on one hash, whatever a stored one says.
    const MOST: Self = Self { memory_kib: 1_048_576, iterations: 16, parallelism: 16 };

    /// These parameters, which may only be raised.
    pub const fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, Argon2ParametersError> {
        let asked = Self { memory_kib, iterations, parallelism };
        if asked.at_least(Self::OWASP) && Self::MOST.at_least(asked) {
            Ok(asked)
        } else {
            Err(Argon2ParametersError { memory_kib, iterations, parallelism })
        }
    }

    const fn at_least(self, other: Self) -> bool {
        self.memory_kib >= other.memory_kib && self.iterations >= other.iterations && self.parallelism >= other.parallelism
    }

    fn argon2(self) -> Result<Argon2<'static>, HashError> {
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, None).map_err(|_| HashError::Defect)?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// The parameters of a stored hash.
    fn of(hash: &phc::PasswordHash) -> Result<Self, HashError> {
        let params = Params::try_from(hash).map_err(|_| HashError::Unreadable)?;
        let stored = Self { memory_kib: params.m_cost(), iterations: params.t_cost(), parallelism: params.p_cost() };
        if Self::MOST.at_least(stored) { Ok(stored) } else { Err(HashError::Unreadable) }
    }
}

/// A password as it was typed, prepared so that the same characters are the same bytes on every keyboard: RFC 8265 §4.2.2
/// (OpaqueString), other spaces to U+0020, then NFC. Case counts, and so do spaces at the ends.
#[derive(Clone)]
pub struct Password(Redacted<String>);

/// A text is not a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing.
    #[error("the password is empty")]
    Empty,
    /// More than [`Password::MAX_BYTES`].
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    /// A control character, such as NUL or a line's end.
    #[error("the password has a control character")]
    Control,
}

impl Password {
    /// The longest password, in bytes: more than anybody types, and no burden.
    pub const MAX_BYTES: usize = 1_024;

    /// Prepares what was typed.
    pub fn prepare(text: &str) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PasswordError::Control);
        }
        let spaces = text.chars().map(|character| if character.is_whitespace() { ' ' } else { character });
        let prepared: String = spaces.nfc().collect();
        if prepared.len() > Self::MAX_BYTES { Err(PasswordError::TooLong) } else { Ok(Self(Redacted::new(prepared))) }
    }

    /// The prepared text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([redacted])")
    }
}

/// A password's hash: a PHC string (`$argon2id$v=19$…`), which names its own parameters and salt.
#[derive(Clone, Debug)]
pub struct PasswordHash(Redacted<String>);

impl PasswordHash {
    /// A hash as it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(Redacted::new(text))
    }

    /// The PHC string, to be sealed.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// Proof that a password is the one that was hashed.
#[derive(Debug)]
pub struct PasswordVerified {
    outdated: bool,
}

impl PasswordVerified {
    /// Whether the stored hash costs less than today's: hash the password again and store that.
    pub fn outdated(&self) -> bool {
        self.outdated
    }
}

/// Why a password was neither hashed nor verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// As many hashes are under way and waiting as may be.
    #[error("too many passwords are being verified at once")]
    Busy,
    /// The operating system gave no randomness.
    #[error("no randomness for a salt")]
    Randomness,
    /// The stored hash is none, or costs more than this program spends.
    #[error("the stored password hash cannot be read")]
    Unreadable,
    /// A bug.
    #[error("hashing failed")]
    Defect,
}

impl HashError {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Busy => Reason::Overloaded,
            Self::Randomness => Reason::RandomnessUnavailable,
            Self::Unreadable | Self::Defect => Reason::Defect,
        }
    }
}

impl From<RandomnessUnavailable> for HashError {
    fn from(_: RandomnessUnavailable) -> Self {
        Self::Randomness
    }
}

/// How many hashes there may be in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// Under way at once. Each takes the memory that [`Argon2Parameters`] says, and a processor.
    pub at_once: usize,
    /// Waiting for those. One more is refused.
    pub waiting: usize,
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct PasswordHasher {
    parameters: Argon2Parameters,
    /// Under way and waiting.
    places: Arc<Semaphore>,
    /// Under way.
    running: Arc<Semaphore>,
}

/// A place among those under way, held by the work itself: a caller that gives up does not free it.
struct Running {
    _place: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl PasswordHasher {
    /// A hasher of this cost and these limits.
    pub fn new(parameters: Argon2Parameters, limits: HashLimits) -> Self {
        let at_once = limits.at_once.max(1);
        Self {
            parameters,
            places: Arc::new(Semaphore::new(at_once.saturating_add(limits.waiting).min(Semaphore::MAX_PERMITS))),
            running: Arc::new(Semaphore::new(at_once)),
        }
    }

    async fn turn(&self) -> Result<Running, HashError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| HashError::Defect)?;
        Ok(Running { _place: place, _running: running })
    }

    /// Hashes a password with a salt of its own.
    pub async fn hash(&self, password: &Password, randomness: &dyn Randomness) -> Result<PasswordHash, HashError> {
        let mut salt = [0u8; SALT_LENGTH];
        randomness.fill(&mut salt)?;
        let (password, argon2, turn) = (password.clone(), self.parameters.argon2()?, self.turn().await?);
        let work = move || {
            let hash = argon2.hash_password_with_salt(password.expose().as_bytes(), &salt);
            drop(turn);
            hash.map(|hash| PasswordHash::from_stored(hash.to_string())).map_err(|_| HashError::Defect)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| HashError::Defect)?
    }

    /// Compares a password with a stored hash, at the cost the hash names; nothing when it is another one.
    pub async fn verify(&self, password: &Password, stored: &PasswordHash) -> Result<Option<PasswordVerified>, HashError> {
        let parsed = phc::PasswordHash::new(stored.expose()).map_err(|_| HashError::Unreadable)?;
        let cost = Argon2Parameters::of(&parsed)?;
        let outdated = !cost.at_least(self.parameters) || parsed.algorithm != Algorithm::Argon2id.ident();
        let (password, argon2, turn) = (password.clone(), cost.argon2()?, self.turn().await?);
        let stored = Zeroizing::new(stored.expose().to_owned());
        let work = move || {
            let verified = phc::PasswordHash::new(&stored)
                .map_err(|_| HashError::Unreadable)
                .map(|hash| argon2.verify_password(password.expose().as_bytes(), &hash).is_ok());
            drop(turn);
            verified
        };
        let verified = tokio::task::spawn_blocking(work).await.map_err(|_| HashError::Defect)??;
        Ok(verified.then_some(PasswordVerified { outdated }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::random::SystemRandomness;

    fn hasher(at_once: usize, waiting: usize) -> PasswordHasher {
        PasswordHasher::new(Argon2Parameters::OWASP, HashLimits { at_once, waiting })
    }

    fn password(text: &str) -> Password {
        Password::prepare(text).expect("a password")
    }

    #[tokio::test]
    async fn a_password_is_verified_and_another_is_not() {
        let hasher = hasher(2, 8);
        let hash = hasher.hash(&password("correct horse"), &SystemRandomness).await.expect("hashed");
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        let verified = hasher.verify(&password("correct horse"), &hash).await.expect("verified").expect("right");
        assert!(!verified.outdated());
        assert!(hasher.verify(&password("Correct horse"), &hash).await.expect("verified").is_none());
        let again = hasher.hash(&password("correct horse"), &SystemRandomness).await.expect("hashed");
        assert_ne!(hash.expose(), again.expose(), "a salt of its own");
        assert_eq!(format!("{hash:?}{:?}", password("correct horse")), "PasswordHash([redacted])Password([redacted])");
    }

    /// From the test suite of Argon2's reference implementation (`src/test.c`, Argon2id, version 0x13).
    #[tokio::test]
    async fn a_hash_of_the_reference_implementation_verifies() {
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let stored = PasswordHash::from_stored(stored.into());
        let hasher = hasher(1, 1);
        assert!(hasher.verify(&password("password"), &stored).await.expect("read").is_some());
        assert!(hasher.verify(&password("passwore"), &stored).await.expect("read").is_none());
    }

    #[tokio::test]
    async fn a_hash_that_costs_less_than_today_is_outdated() {
        let raised = Argon2Parameters::new(19_456, 3, 1).expect("raised");
        let hash = hasher(1, 1).hash(&password("correct horse"), &SystemRandomness).await.expect("hashed");
        let now = PasswordHasher::new(raised, HashLimits { at_once: 1, waiting: 1 });
        assert!(now.verify(&password("correct horse"), &hash).await.expect("verified").expect("right").outdated());
        let hash = now.hash(&password("correct horse"), &SystemRandomness).await.expect("hashed");
        assert!(!now.verify(&password("correct horse"), &hash).await.expect("verified").expect("right").outdated());
    }

    #[tokio::test]
    async fn a_stored_hash_cannot_ask_for_any_amount_of_work() {
        let salt_and_hash = "c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for stored in [
            format!("$argon2id$v=19$m=2097152,t=2,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=19456,t=1000,p=1${salt_and_hash}"),
            format!("$scrypt$ln=17,r=8,p=1${salt_and_hash}"),
            "not a hash".to_owned(),
            String::new(),
        ] {
            let found = hasher(1, 1).verify(&password("x"), &PasswordHash::from_stored(stored.clone())).await;
            assert_eq!(found.err(), Some(HashError::Unreadable), "{stored}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_more_than_may_wait_is_refused() {
        let hasher = Arc::new(hasher(1, 2));
        let attempts: Vec<_> = (0..20)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.hash(&password("correct horse"), &SystemRandomness).await.map(drop) })
            })
            .collect();
        let mut busy = 0;
        for attempt in attempts {
            match attempt.await.expect("joined") {
                Ok(()) => {}
                Err(HashError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(busy >= 10, "{busy} of 20 were refused");
        hasher.hash(&password("correct horse"), &SystemRandomness).await.expect("its places are free again");
    }

    #[test]
    fn parameters_may_only_be_raised() {
        for (memory, iterations, lanes, accepted) in [
            (19_456, 2, 1, true),
            (47_104, 2, 4, true),
            (19_455, 2, 1, false),
            (47_104, 1, 1, false),
            (19_456, 2, 0, false),
            (1_048_577, 2, 1, false),
            (19_456, 17, 1, false),
        ] {
            assert_eq!(Argon2Parameters::new(memory, iterations, lanes).is_ok(), accepted, "{memory} {iterations} {lanes}");
        }
    }

    #[test]
    fn the_same_characters_are_the_same_password() {
        for (one, other, same) in [
            ("caf\u{e9}", "cafe\u{301}", true),
            ("a\u{a0}b", "a b", true),
            ("a\u{3000}b", "a b", true),
            ("A", "a", false),
            (" a", "a", false),
            ("\u{ff21}", "A", false),
        ] {
            assert_eq!(password(one).expose() == password(other).expose(), same, "{one} {other}");
        }
        for (text, problem) in [
            ("", PasswordError::Empty),
            ("a\0b", PasswordError::Control),
            ("a\nb", PasswordError::Control),
            (&"a".repeat(1_025), PasswordError::TooLong),
        ] {
            assert_eq!(Password::prepare(text).err(), Some(problem));
        }
        assert!(Password::prepare(&"a".repeat(1_024)).is_ok());
    }
}
