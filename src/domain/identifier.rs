//! Names of things. Each has its own type, so that a client's name cannot be passed where a token's is meant.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::{Randomness, RandomnessUnavailable};

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Empty.
    #[error("must not be empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("must not be longer than 255 bytes")]
    TooLong,
    /// A control character or one outside ASCII.
    #[error("may only have printable ASCII characters (RFC 6749 Appendix A)")]
    Character,
}

fn check(text: &str) -> Result<(), IdentifierError> {
    match text {
        "" => Err(IdentifierError::Empty),
        _ if text.len() > 255 => Err(IdentifierError::TooLong),
        _ if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) => Err(IdentifierError::Character),
        _ => Ok(()),
    }
}

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

identifiers! {
    /// `client_id` (RFC 6749 §2.2): printable ASCII, 1 to 255 bytes.
    ClientId;
    /// `sub` (RFC 9068 §2.2): whom the token speaks of.
    Subject;
    /// One value of `aud` (RFC 7519 §4.1.3): who may take the token.
    Audience;
    /// `jti` (RFC 7519 §4.1.7): one issued token.
    TokenId;
    /// All tokens that descend from one grant; revoking the grant ends them all.
    FamilyId;
    /// `kid` (RFC 7515 §4.1.4): the RFC 7638 thumbprint of a signing key of ours, or whatever a foreign issuer wrote.
    KeyId;
    /// One deployment: made with its database, sealed into every row.
    DeploymentId;
    /// One request, told to the caller and written to the audit trail.
    RequestId;
    /// `sid` (OpenID Connect Front-Channel Logout §3): one person's session in one browser. It is a name, not a secret.
    SessionId;
    /// A certificate that a person signs in with, by a name that says nothing of it.
    CertificateLinkId;
    /// A passkey of a person, by a name that says nothing of it.
    PasskeyId;
    /// An account at another provider that a person signs in with, by a name that says nothing of it.
    AccountLinkId;
}

macro_rules! random {
    ($($name:ident),*) => {$(
        impl $name {
            /// A fresh one: 128 bits from `randomness`, in base64url.
            pub fn random(randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
                let mut bytes = [0u8; 16];
                randomness.fill(&mut bytes)?;
                Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
            }
        }
    )*};
}

random!(TokenId, FamilyId, DeploymentId, RequestId, SessionId, Subject, CertificateLinkId, PasskeyId, AccountLinkId);

/// An issuer identifier: an `https` URL without query and fragment (RFC 8414 §2), compared as written, also in whether it ends in
/// a slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Issuer(String);

/// Why a text is not an issuer identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not an absolute URL.
    #[error("is not an absolute URL")]
    NotAUrl,
    /// Another scheme than `https`.
    #[error("must be an `https` URL (RFC 8414 §2)")]
    Scheme,
    /// A query, a fragment, or user information.
    #[error("must have no query, fragment or user information (RFC 8414 §2)")]
    Part,
    /// A spelling a URL parser would change.
    #[error("must be written in its normal form, `{0}`: issuers are compared as written")]
    Form(String),
}

impl Issuer {
    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of `path` (starting with `/`) under this issuer.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.strip_suffix('/').unwrap_or(&self.0))
    }

    /// `host[:port]` of this issuer.
    pub fn authority(&self) -> &str {
        let after_scheme = self.0.get("https://".len()..).unwrap_or_default();
        after_scheme.split('/').next().unwrap_or_default()
    }

    /// The path of this issuer without a slash at its end (RFC 8414 §3.1): empty, or starting with `/`.
    pub fn path(&self) -> &str {
        let after_scheme = self.0.get("https://".len()..).unwrap_or_default();
        let path = after_scheme.find('/').map_or("", |start| &after_scheme[start..]);
        path.strip_suffix('/').unwrap_or(path)
    }
}

impl FromStr for Issuer {
    type Err = IssuerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| IssuerError::NotAUrl)?;
        if url.scheme() != "https" {
            return Err(IssuerError::Scheme);
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(IssuerError::Part);
        }
        // Whether there is a slash at the end is the issuer's own affair.
        let normal = url.as_str().strip_suffix('/').unwrap_or(url.as_str());
        if normal != text.strip_suffix('/').unwrap_or(text) {
            return Err(IssuerError::Form(normal.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Issuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: IssuerError| serde::de::Error::custom(format_args!("issuer `{text}` {error}")))
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_without_query_or_fragment() {
        let table = [
            ("https://as.example", None),
            ("https://as.example:8443/tenant", None),
            ("https://as.example/", None),
            ("https://as.example/tenant/", None),
            ("https://AS.example", Some(IssuerError::Form("https://as.example".into()))),
            ("https://as.example:443", Some(IssuerError::Form("https://as.example".into()))),
            ("http://as.example", Some(IssuerError::Scheme)),
            ("https://as.example?x=1", Some(IssuerError::Part)),
            ("https://as.example#x", Some(IssuerError::Part)),
            ("https://u@as.example", Some(IssuerError::Part)),
            ("as.example", Some(IssuerError::NotAUrl)),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Issuer>().err(), expected, "{text}");
        }
    }

    #[test]
    fn an_issuer_knows_its_parts() {
        let issuer: Issuer = "https://as.example:8443/tenant".parse().expect("valid");
        assert_eq!((issuer.authority(), issuer.path()), ("as.example:8443", "/tenant"));
        assert_eq!(issuer.join("/token"), "https://as.example:8443/tenant/token");
        let issuer: Issuer = "https://as.example".parse().expect("valid");
        assert_eq!((issuer.authority(), issuer.path()), ("as.example", ""));
        // With a slash at the end it is another issuer, of the same places.
        let slashed: Issuer = "https://as.example/".parse().expect("valid");
        assert_ne!(slashed, issuer);
        assert_eq!((slashed.authority(), slashed.path()), ("as.example", ""));
        assert_eq!(slashed.join("/token"), "https://as.example/token");
    }

    #[test]
    fn identifiers_are_printable_ascii() {
        assert_eq!("".parse::<ClientId>(), Err(IdentifierError::Empty));
        assert_eq!("a\u{0}".parse::<ClientId>(), Err(IdentifierError::Character));
        assert_eq!("ä".parse::<ClientId>(), Err(IdentifierError::Character));
        assert_eq!("a".repeat(256).parse::<ClientId>(), Err(IdentifierError::TooLong));
        assert!("spiffe://example/a".parse::<ClientId>().is_ok());
    }
}
