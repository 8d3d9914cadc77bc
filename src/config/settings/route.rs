//! What a route limits, and what it says in its answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much one caller may ask for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RateLimitSettings {
    /// Requests in `seconds`; also how many may come at once.
    pub requests: u32,
    /// Seconds in which a used-up share has grown again.
    #[serde(default = "default_rate_seconds")]
    pub seconds: u32,
    /// Who is one caller.
    #[serde(default)]
    pub per: RateLimitKeySetting,
}

/// Who is one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitKeySetting {
    /// The client that a token was issued to, at its issuer.
    #[default]
    Client,
    /// The certificate of the connection, where the token is bound to it or the route's anchor sets accept it; the client otherwise.
    Certificate,
}

/// For which pages of other origins a route is (CORS).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CorsSettings {
    /// Origins of pages: `https://app.example`. There is no `*`: name them.
    pub origins: Vec<String>,
    /// Methods that pages may use. Empty: those of the route, or `GET`, `HEAD` and `POST`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Header fields that pages may send beside `Authorization`, `Content-Type` and `DPoP`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Header fields that pages may read beside `WWW-Authenticate`, `DPoP-Nonce`, `Retry-After`, `X-Request-Id` and
    /// `X-FAPI-Interaction-Id`.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether pages may send cookies and client certificates. A browser's connection without certificate has none to prove.
    #[serde(default)]
    pub credentials: bool,
    /// Seconds for which browsers may remember what they were told.
    #[serde(default = "default_cors_seconds")]
    pub max_age_seconds: u32,
}

/// A header field of a route's answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ResponseHeaderSettings {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

fn default_rate_seconds() -> u32 {
    1
}

fn default_cors_seconds() -> u32 {
    600
}
