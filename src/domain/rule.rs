use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What a revocation rule hits. The codes are stable: they stand in the database and in the revocation feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// One token, by `jti`.
    TokenId,
    /// All tokens of one grant.
    Family,
    /// All tokens of one client.
    Client,
    /// All tokens that speak of one subject.
    Subject,
    /// All tokens bound to one certificate, by `cnf.x5t#S256`.
    Certificate,
    /// All tokens that one key signed, by `kid`.
    Key,
}

impl RuleKind {
    /// Every kind there is.
    pub const ALL: [Self; 6] = [Self::TokenId, Self::Family, Self::Client, Self::Subject, Self::Certificate, Self::Key];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenId => "token_id",
            Self::Family => "family",
            Self::Client => "client",
            Self::Subject => "subject",
            Self::Certificate => "certificate",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Not the code of a kind of revocation rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of revocation rule")]
pub struct RuleKindUnknown;

impl FromStr for RuleKind {
    type Err = RuleKindUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.code() == text).ok_or(RuleKindUnknown)
    }
}

/// One rule: tokens that `kind` and `value` hit and whose `iat` is at or before `before` are revoked. The rule dies at `expires`,
/// when nothing it can hit is alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RevocationRule {
    /// Its place in the change feed; grows with every change.
    pub sequence: i64,
    /// What it hits.
    pub kind: RuleKind,
    /// The value it hits.
    pub value: String,
    /// `iat` at or before this moment is revoked.
    pub before: Timestamp,
    /// The rule can be forgotten after this moment.
    pub expires: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::RuleKind;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for kind in RuleKind::ALL {
            assert_eq!(kind.code().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("serializable"), kind.code());
        }
    }
}
