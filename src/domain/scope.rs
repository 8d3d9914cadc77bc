//! `scope` (RFC 6749 §3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of scope tokens. Order and repetition carry no meaning; it is written sorted, separated by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(BTreeSet<String>);

/// Why a text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A character outside `%x21 / %x23-5B / %x5D-7E`.
    #[error("a scope token is printable ASCII without space, `\"` and `\\` (RFC 6749 §3.3)")]
    Character,
    /// More than [`Scope::MAX_TOKENS`] tokens.
    #[error("more than {} scope tokens", Scope::MAX_TOKENS)]
    TooMany,
}

impl Scope {
    /// The most tokens one scope may have.
    pub const MAX_TOKENS: usize = 100;

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every token of this scope is also in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether the token is in this scope.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// The tokens, sorted.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The tokens of both.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The tokens in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut tokens = BTreeSet::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
                return Err(ScopeError::Character);
            }
            tokens.insert(token.to_owned());
            if tokens.len() > Self::MAX_TOKENS {
                return Err(ScopeError::TooMany);
            }
        }
        Ok(Self(tokens))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repetition_carry_no_meaning() {
        assert_eq!("b a b".parse::<Scope>().map(|scope| scope.to_string()), Ok("a b".into()));
    }

    #[test]
    fn refuses_characters_outside_the_grammar() {
        for text in ["a\"b", "a\\b", "ä", "a\tb", "a\nb", "\u{7f}"] {
            assert_eq!(text.parse::<Scope>(), Err(ScopeError::Character), "{text:?}");
        }
    }
}
