//! How a protected resource authenticates as a client of an authorization server.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::{ClientId, Issuer, Lifetime, Randomness, RandomnessUnavailable, Redacted, Timestamp, TokenId};
use crate::jose::sign::{SignError, SigningKey};

/// How long an assertion of ours is good.
const ASSERTION_LIFETIME: Lifetime = Lifetime::from_seconds(60);
/// `typ` of such an assertion: no other kind of JWT can be taken for one.
const ASSERTION_TYPE: &str = "client-authentication+jwt";

/// How a client authenticates.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// With the certificate of the connection (RFC 8705 §2): `tls_client_auth`, `self_signed_tls_client_auth`.
    Certificate,
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    SecretInHeader(Redacted<String>),
    /// `client_secret_post` (RFC 6749 §2.3.1).
    SecretInForm(Redacted<String>),
    /// `private_key_jwt` (RFC 7523 §2.2): an assertion for each request.
    Assertion(Arc<SigningKey>, Arc<dyn Randomness>),
}

/// Why there are no credentials. A fault of ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No randomness for `jti`.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// The assertion was not signed.
    #[error("{0}")]
    Sign(#[from] SignError),
    /// The assertion or the header could not be written. Cannot happen.
    #[error("the client's credentials could not be written")]
    Encoding,
}

/// What one request says of its client.
#[derive(Debug)]
pub struct Credentials {
    /// Members of its form.
    pub fields: Vec<(&'static str, Redacted<String>)>,
    /// Its `Authorization`, where there is one.
    pub authorization: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a ClientId,
    sub: &'a ClientId,
    aud: &'a str,
    iat: Timestamp,
    exp: Timestamp,
    jti: &'a TokenId,
}

impl ClientAuthentication {
    /// The credentials of one request of `client_id` to `server`.
    ///
    /// # Errors
    /// [`AuthenticationError`].
    pub fn credentials(&self, client_id: &ClientId, server: &Issuer, now: Timestamp) -> Result<Credentials, AuthenticationError> {
        let own = ("client_id", Redacted::new(client_id.as_str().to_owned()));
        let in_form = |fields| Ok(Credentials { fields, authorization: None });
        match self {
            Self::Certificate => in_form(vec![own]),
            Self::SecretInForm(secret) => in_form(vec![own, ("client_secret", secret.clone())]),
            Self::SecretInHeader(secret) => {
                let encoded =
                    |text: &str| Zeroizing::new(url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
                let pair = Zeroizing::new(format!("{}:{}", *encoded(client_id.as_str()), *encoded(secret.expose())));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| AuthenticationError::Encoding)?;
                value.set_sensitive(true);
                Ok(Credentials { fields: vec![], authorization: Some(value) })
            }
            Self::Assertion(key, randomness) => {
                // The issuer identifier alone: an assertion for one server is worth nothing at another.
                let claims = Claims {
                    iss: client_id,
                    sub: client_id,
                    aud: server.as_str(),
                    iat: now,
                    exp: now.plus(ASSERTION_LIFETIME),
                    jti: &TokenId::random(randomness.as_ref())?,
                };
                let payload = serde_json::to_vec(&claims).map_err(|_| AuthenticationError::Encoding)?;
                let assertion = key.sign_compact(ASSERTION_TYPE, &payload)?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
                in_form(vec![own, ("client_assertion_type", Redacted::new(kind)), ("client_assertion", Redacted::new(assertion))])
            }
        }
    }
}
