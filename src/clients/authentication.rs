//! How a client proves who it is (`token_endpoint_auth_method`, RFC 7591 §2).

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::{CertificateMatcher, RegisteredCertificates, RegisteredKeys, SecretHash, Secrets, SharedSecret};
use crate::jose::Algorithm;
use crate::jose::mac::MacAlgorithm;

/// How a client proves who it is, with what it takes to check the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// A certificate from a trusted authority with the registered name (RFC 8705 §2.1).
    TlsClientAuth(CertificateMatcher),
    /// One of the registered certificates (RFC 8705 §2.2).
    SelfSignedTlsClientAuth(Published<RegisteredCertificates>),
    /// An assertion signed with one of the registered keys (RFC 7523 §2.2, OpenID Connect Core §9).
    PrivateKeyJwt {
        /// The keys.
        keys: Published<RegisteredKeys>,
        /// `token_endpoint_auth_signing_alg`: the one algorithm that counts.
        algorithm: Option<Algorithm>,
    },
    /// The secret in the `Authorization` header (RFC 6749 §2.3.1).
    ClientSecretBasic(Secrets<SecretHash>),
    /// The secret as a parameter (RFC 6749 §2.3.1).
    ClientSecretPost(Secrets<SecretHash>),
    /// An assertion authenticated with the secret (RFC 7523 §2.2, OpenID Connect Core §9).
    ClientSecretJwt {
        /// Its secrets.
        secret: Secrets<SharedSecret>,
        /// `token_endpoint_auth_signing_alg`: the one algorithm that counts.
        algorithm: Option<MacAlgorithm>,
    },
    /// Nothing: a public client (RFC 6749 §2.1).
    None,
}

impl Authentication {
    /// Whether the client can keep a secret (RFC 6749 §2.1), and so proves who it is.
    pub const fn is_confidential(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The keys it signs its assertions with.
    pub const fn keys(&self) -> Option<&Published<RegisteredKeys>> {
        match self {
            Self::PrivateKeyJwt { keys, .. } => Some(keys),
            _ => None,
        }
    }

    /// The method.
    pub const fn method(&self) -> AuthenticationMethod {
        match self {
            Self::TlsClientAuth(_) => AuthenticationMethod::TlsClientAuth,
            Self::SelfSignedTlsClientAuth(_) => AuthenticationMethod::SelfSignedTlsClientAuth,
            Self::PrivateKeyJwt { .. } => AuthenticationMethod::PrivateKeyJwt,
            Self::ClientSecretBasic(_) => AuthenticationMethod::ClientSecretBasic,
            Self::ClientSecretPost(_) => AuthenticationMethod::ClientSecretPost,
            Self::ClientSecretJwt { .. } => AuthenticationMethod::ClientSecretJwt,
            Self::None => AuthenticationMethod::None,
        }
    }
}

/// Where a client's keys or certificates are: in its registration (`jwks`), or where it publishes them (`jwks_uri`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published<T> {
    /// `jwks`.
    Here(T),
    /// `jwks_uri`.
    At(JwksUri),
}

/// `jwks_uri` (RFC 7591 §2): an `https` URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwksUri(Url);

/// The text is no `jwks_uri`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an `https` URL of at most {} bytes without user information and fragment", JwksUri::MAX_LENGTH)]
pub struct JwksUriError;

impl JwksUri {
    /// The longest URL, in bytes.
    pub const MAX_LENGTH: usize = 2_000;

    /// The URL.
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for JwksUri {
    type Err = JwksUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| JwksUriError)?;
        let usable = text.len() <= Self::MAX_LENGTH
            && url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        if usable { Ok(Self(url)) } else { Err(JwksUriError) }
    }
}

/// A method by its registered name (IANA "OAuth Token Endpoint Authentication Methods").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthenticationMethod {
    /// RFC 8705 §2.1.1.
    TlsClientAuth,
    /// RFC 8705 §2.2.1.
    SelfSignedTlsClientAuth,
    /// OpenID Connect Core §9.
    PrivateKeyJwt,
    /// RFC 7591 §2.
    ClientSecretBasic,
    /// RFC 7591 §2.
    ClientSecretPost,
    /// OpenID Connect Core §9.
    ClientSecretJwt,
    /// RFC 7591 §2.
    None,
}

/// The text names no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a client authentication method")]
pub struct AuthenticationMethodUnknown;

impl AuthenticationMethod {
    /// Every method there is.
    pub const ALL: [Self; 7] = [
        Self::TlsClientAuth,
        Self::SelfSignedTlsClientAuth,
        Self::PrivateKeyJwt,
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::ClientSecretJwt,
        Self::None,
    ];

    /// Whether the client proves to hold a private key that never leaves it. FAPI 2.0 Security Profile §5.3.2.1: "shall authenticate
    /// clients using one of the following methods: MTLS, `private_key_jwt`".
    pub const fn is_strong(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth | Self::PrivateKeyJwt)
    }

    /// The name, as registrations, metadata and audit events have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::None => "none",
        }
    }
}

impl FromStr for AuthenticationMethod {
    type Err = AuthenticationMethodUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|method| method.name() == text).ok_or(AuthenticationMethodUnknown)
    }
}

impl fmt::Display for AuthenticationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for method in AuthenticationMethod::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        assert_eq!("client_secret".parse::<AuthenticationMethod>(), Err(AuthenticationMethodUnknown));
    }

    #[test]
    fn keys_are_fetched_over_https_alone() {
        for text in ["https://client.example/jwks", "https://client.example:8443/a?b=c"] {
            assert_eq!(text.parse::<JwksUri>().expect(text).url().as_str(), text);
        }
        let long = format!("https://client.example/{}", "a".repeat(2_000));
        for text in [
            "http://client.example/",
            "https://a@client.example/",
            "https://:b@client.example/",
            "https://a.example/#b",
            "x",
            "",
            &long,
        ] {
            assert_eq!(text.parse::<JwksUri>(), Err(JwksUriError), "{text}");
        }
    }
}
