//! Usernames: what is typed on any keyboard finds the same account.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// A username, normalized: compatibility variants (full-width letters, ligatures) are the letters they stand for (NFKC), and case does
/// not count (lower case, character by character). RFC 8265 §3.3 (UsernameCaseMapped) with NFKC in place of width mapping and NFC, so
/// that fewer names that look alike are different. White space around it is left away.
///
/// It has letters, marks and digits of any script and `.`, `_`, `-`, `@`, `+`, `'`, and begins with a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Username(String);

/// A text is not a username.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Nothing.
    #[error("a username is not empty")]
    Empty,
    /// More than [`Username::MAX_BYTES`].
    #[error("a username is not longer than 255 bytes")]
    TooLong,
    /// Another character, or a first one that is no letter or digit.
    #[error("a username has letters, digits and `.`, `_`, `-`, `@`, `+`, `'`, and begins with a letter or digit")]
    Character,
}

impl Username {
    /// The longest username, in bytes of UTF-8 after normalization.
    pub const MAX_BYTES: usize = 255;

    /// Normalizes what was typed.
    pub fn normalize(text: &str) -> Result<Self, UsernameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UsernameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(UsernameError::TooLong);
        }
        // Lower case of a composed character may be decomposed again, hence the second composition.
        let name: String = text.nfkc().flat_map(char::to_lowercase).collect::<String>().nfkc().collect();
        if name.len() > Self::MAX_BYTES {
            return Err(UsernameError::TooLong);
        }
        let begins_well = name.chars().next().is_some_and(char::is_alphanumeric);
        let known = |c: char| c.is_alphanumeric() || is_combining_mark(c) || ".-_@+'".contains(c);
        if begins_well && name.chars().all(known) { Ok(Self(name)) } else { Err(UsernameError::Character) }
    }

    /// The normalized text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Usernames are people's data and no part of a log.
impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_however_it_is_typed() {
        for (typed, name) in [
            ("alice", "alice"),
            (" Alice ", "alice"),
            ("ALICE", "alice"),
            ("\u{ff21}lice", "alice"),
            ("Ren\u{e9}e", "renée"),
            ("Rene\u{301}e", "renée"),
            ("\u{212a}elvin", "kelvin"),
            ("alice@example.com", "alice@example.com"),
            ("o'neill+test_1-2.x", "o'neill+test_1-2.x"),
            ("İ", "i\u{307}"),
            ("山田", "山田"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(Username::normalize(typed).expect(typed).as_str(), name);
            assert_eq!(Username::normalize(name).expect(name).as_str(), name, "normal is normal");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (typed, problem) in [
            ("", UsernameError::Empty),
            ("  ", UsernameError::Empty),
            ("a b", UsernameError::Character),
            ("a\0b", UsernameError::Character),
            ("a\u{200b}b", UsernameError::Character),
            ("a\u{202e}b", UsernameError::Character),
            ("<b>", UsernameError::Character),
            ("-a", UsernameError::Character),
            ("\u{301}a", UsernameError::Character),
            (&"a".repeat(256), UsernameError::TooLong),
            (&"\u{fdfa}".repeat(60), UsernameError::TooLong),
        ] {
            assert_eq!(Username::normalize(typed).err(), Some(problem), "{typed:?}");
        }
    }
}
