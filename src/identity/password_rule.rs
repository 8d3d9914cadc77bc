//! Which passwords may be chosen (NIST SP 800-63B-4 §3.1.1.2): long ones that are not easily guessed. No rules about kinds of
//! characters, no expiry.

use zxcvbn::{Score, zxcvbn};

use crate::seal::Password;

/// What a new password must be.
#[derive(Clone, Debug)]
pub struct PasswordRule {
    min_length: usize,
    /// Words that anybody tries first at this server.
    words: Vec<String>,
}

/// The configured least length is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("min_length {0}: at least 8, at most 64 (NIST SP 800-63B-4)")]
pub struct PasswordRuleError(u32);

/// Why a password may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Fewer characters than there must be.
    #[error("choose at least {least} characters; a few unrelated words are good")]
    TooShort {
        /// How many there must be.
        least: usize,
    },
    /// Among the first that would be tried: common, a pattern, or made of the person's own names.
    #[error("this is easily guessed: it is common, follows a pattern, or is made of names that belong to the account")]
    Guessable,
}

impl PasswordRule {
    /// The least length that NIST SP 800-63B-4 §3.1.1.2 asks for where the password is the only factor.
    pub const SINGLE_FACTOR: u32 = 15;

    /// A rule with this least length, in characters. `words` are names that belong to the server.
    pub fn new(min_length: u32, words: Vec<String>) -> Result<Self, PasswordRuleError> {
        // §3.1.1.2: 8 is the least anywhere; 64 must be possible.
        match min_length {
            8..=64 => Ok(Self { min_length: min_length as usize, words }),
            _ => Err(PasswordRuleError(min_length)),
        }
    }

    /// Checks a password that a person with these names wants to have.
    ///
    /// The estimate is zxcvbn's: 30 000 common passwords, names, words, keyboard patterns, repetitions, dates and the usual
    /// replacements, all in the program. 10^8 guesses and more are asked for (its score 3).
    pub fn check(&self, password: &Password, names: &[&str]) -> Result<(), PasswordRefused> {
        if password.expose().chars().count() < self.min_length {
            return Err(PasswordRefused::TooShort { least: self.min_length });
        }
        let mut known: Vec<&str> = self.words.iter().map(String::as_str).collect();
        for name in names {
            known.push(name);
            known.extend(name.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() > 2));
        }
        if !stands_without(password.expose(), &known) {
            return Err(PasswordRefused::Guessable);
        }
        match zxcvbn(password.expose(), &known).score() {
            Score::Zero | Score::One | Score::Two => Err(PasswordRefused::Guessable),
            _ => Ok(()),
        }
    }
}

/// Letters and digits that a password must have beside names that anybody would try.
const LEAST_BESIDE_NAMES: usize = 8;

/// Whether enough of a password is left when every known name is taken out of it.
fn stands_without(password: &str, names: &[&str]) -> bool {
    let mut rest = password.to_lowercase();
    for name in names.iter().map(|name| name.to_lowercase()).filter(|name| name.len() > 2) {
        rest = rest.replace(&name, " ");
    }
    rest.chars().filter(|character| character.is_alphanumeric()).count() >= LEAST_BESIDE_NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_not_easily_guessed() {
        let rule = PasswordRule::new(15, vec!["symbolon".into(), "login.example".into()]).expect("a rule");
        let names = ["alice.liddell", "Alice Liddell", "alice@wonderland.example"];
        let short = Some(PasswordRefused::TooShort { least: 15 });
        let guessable = Some(PasswordRefused::Guessable);
        for (text, expected) in [
            ("lantern-orbit-velvet-fjord", None),
            ("correct horse battery staple", None),
            ("хорошо забытый пароль дома", None),
            ("k7#Qz!v9Lw@2mXp4", None),
            ("k7#Qz!v9Lw@2mX", short),
            ("ééééé", short),
            ("passwordpassword", guessable),
            ("password12345678", guessable),
            ("qwertyuiopasdfghjkl", guessable),
            ("aaaaaaaaaaaaaaaaaaaa", guessable),
            ("12345678901234567890", guessable),
            ("alice.liddell.alice", guessable),
            ("alice.liddell-1865!", guessable),
            ("wonderlandwonderland", guessable),
            ("symbolonsymbolon", guessable),
        ] {
            let password = Password::prepare(text).expect("a password");
            assert_eq!(rule.check(&password, &names).err(), expected, "{text}");
        }
    }

    #[test]
    fn the_least_length_has_limits_of_its_own() {
        for (length, accepted) in [(7, false), (8, true), (15, true), (64, true), (65, false)] {
            assert_eq!(PasswordRule::new(length, vec![]).is_ok(), accepted, "{length}");
        }
        let rule = PasswordRule::new(8, vec![]).expect("a rule");
        for common in ["password", "password1", "iloveyou", "trustno1", "sunshine", "football", "P@ssw0rd"] {
            let password = Password::prepare(common).expect("a password");
            assert_eq!(rule.check(&password, &[]).err(), Some(PasswordRefused::Guessable), "{common}");
        }
    }

    #[test]
    fn a_long_password_costs_no_more_than_a_short_one() {
        let rule = PasswordRule::new(15, vec![]).expect("a rule");
        let password = Password::prepare(&"a1!é".repeat(200)).expect("a password");
        let _ = rule.check(&password, &["alice"]);
    }
}
