use std::fmt;
use std::str::FromStr;

use crate::domain::{Randomness, RandomnessUnavailable};

/// The name of a master key or of a ring key, written beside everything it seals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKeyId(String);

/// Not a name for a seal key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a seal key is 1 to 32 characters of `a-z`, `0-9`, `-`")]
pub struct SealKeyIdError;

impl SealKeyId {
    pub(super) const MAX_LENGTH: usize = 32;
    /// The length of a name made by [`SealKeyId::random`], in characters.
    pub const RANDOM_LENGTH: usize = 16;

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that no other key has, not even one in a backup of long ago: 64 random bits in hexadecimal.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn random(randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
        let mut bytes = [0u8; Self::RANDOM_LENGTH / 2];
        randomness.fill(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
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
