//! What a person types (RFC 8628 §6.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{Randomness, RandomnessUnavailable};

/// Consonants alone, as §6.1 has it: no words, nothing that looks like something else, the same on every keyboard.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// 20^8: more than 34 bits.
const LENGTH: usize = 8;
/// The longest text that is looked at, in bytes.
const LONGEST_TYPED: usize = 64;

/// A user code, normalized.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserCode(String);

impl UserCode {
    /// A fresh one.
    pub fn random(randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
        let mut code = String::with_capacity(LENGTH);
        while code.len() < LENGTH {
            let mut bytes = [0u8; 2 * LENGTH];
            randomness.fill(&mut bytes)?;
            // 240 is the largest multiple of 20 in a byte: every letter is as likely as every other.
            let letters = bytes.iter().filter(|byte| **byte < 240).filter_map(|byte| ALPHABET.get(usize::from(*byte % 20)));
            code.extend(letters.take(LENGTH - code.len()).map(|letter| char::from(*letter)));
        }
        Ok(Self(code))
    }

    /// What was typed, whatever its case and whatever stands between the letters.
    pub fn typed(text: &str) -> Option<Self> {
        if text.len() > LONGEST_TYPED {
            return None;
        }
        let code: String = text.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect();
        let is_code = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
        is_code.then_some(Self(code))
    }

    /// The normalized letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As devices show it: `WDJB-MJHT`.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::jose::random::SystemRandomness;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        // RFC 8628 §3.2 and §6.1.
        for typed in ["WDJB-MJHT", "wdjb-mjht", "WDJBMJHT", " wd jb_mj.ht "] {
            assert_eq!(UserCode::typed(typed).map(|code| code.to_string()).as_deref(), Some("WDJB-MJHT"), "{typed}");
        }
        for typed in ["", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "WDJB-MJH1", "WDJB-MJHÄ", &"-".repeat(65)] {
            assert_eq!(UserCode::typed(typed), None, "{typed}");
        }
    }

    #[test]
    fn codes_are_random_in_every_letter() {
        let codes: Vec<String> =
            (0..400).map(|_| UserCode::random(&SystemRandomness).expect("random").as_str().to_owned()).collect();
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), 400);
        for place in 0..LENGTH {
            let letters: BTreeSet<u8> = codes.iter().map(|code| code.as_bytes()[place]).collect();
            assert_eq!(letters.len(), ALPHABET.len(), "place {place}");
        }
        assert!(codes.iter().all(|code| UserCode::typed(code).is_some()));
    }
}
