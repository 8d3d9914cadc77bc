use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// By which property a revocation rule names tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// `jti`: one token.
    TokenId,
    /// `family_id`: all tokens of one grant.
    Family,
    /// `client_id`: all tokens of one client.
    Client,
    /// `sub`: all tokens about one subject.
    Subject,
    /// `cnf.x5t#S256`: all tokens bound to one certificate.
    Certificate,
    /// A certificate's number and its issuer's name, as `NUMBER@ISSUER`: hexadecimal without leading zeros, RFC 4514.
    CertificateSerial,
    /// A certificate's public key: SHA-256 of its SubjectPublicKeyInfo in base64url, whatever certificate it is in.
    CertificateKey,
    /// `kid`, or the name of a master key: all tokens signed or sealed with one key.
    Key,
}

impl RuleKind {
    /// Every kind there is.
    pub const ALL: [Self; 8] = [
        Self::TokenId,
        Self::Family,
        Self::Client,
        Self::Subject,
        Self::Certificate,
        Self::CertificateSerial,
        Self::CertificateKey,
        Self::Key,
    ];

    /// The name, as the feed and the database have it. Stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenId => "token_id",
            Self::Family => "family",
            Self::Client => "client",
            Self::Subject => "subject",
            Self::Certificate => "certificate",
            Self::CertificateSerial => "certificate_serial",
            Self::CertificateKey => "certificate_key",
            Self::Key => "key",
        }
    }
}

impl FromStr for RuleKind {
    type Err = RuleKindUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(RuleKindUnknown)
    }
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no kind of rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a kind of revocation rule: token_id, family, client, subject, certificate, certificate_serial, certificate_key or key"
)]
pub struct RuleKindUnknown;

/// One rule: tokens that it names and that were issued at or before a moment are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRule {
    /// Its place in the change feed.
    pub sequence: i64,
    /// By which property it names tokens.
    pub kind: RuleKind,
    /// The property's value.
    pub value: String,
    /// Tokens issued at this moment or before are revoked.
    pub before: Timestamp,
    /// From this moment on nothing it could hit is alive.
    pub expires: Timestamp,
    /// Whether an operator has taken it back. It is told like a rule, so that whoever follows hears of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lifted: bool,
}

#[cfg(test)]
mod tests {
    use super::RuleKind;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in RuleKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("serializable"), kind.name());
        }
        // Gateways that others write read them in the document.
        let (_, document) = include_str!("../../docs/operations.md").split_once("| `kind` |").expect("a table");
        let rows = document.lines().skip(2).map_while(|line| line.strip_prefix("| `")?.split_once('`'));
        assert!(rows.map(|(name, _)| name).eq(RuleKind::ALL.map(RuleKind::name)), "{document}");
    }
}
