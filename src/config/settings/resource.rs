//! `[[resource]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::TokenFormat;

/// Something tokens are issued for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ResourceSettings {
    /// The resource's identifier, an absolute URI (RFC 8707 §2). It is the token's audience unless `audiences` says otherwise.
    pub identifier: String,
    /// The values of `aud`. Default: the identifier alone.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Scopes that exist at this resource.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Seconds that an access token lives.
    #[serde(default = "default_access_token_lifetime_seconds")]
    pub access_token_lifetime_seconds: u32,
    /// `jwt` or `opaque`.
    #[serde(default = "default_access_token_format")]
    pub access_token_format: TokenFormat,
    /// What its JWTs are signed with, one of the algorithms in `[signing]`. Default: `signing.algorithm`.
    #[serde(default)]
    pub access_token_signing_alg: Option<String>,
    /// Clients that may introspect tokens for this resource, by `client_id`.
    #[serde(default)]
    pub introspection_clients: Vec<String>,
}

fn default_access_token_lifetime_seconds() -> u32 {
    300
}

fn default_access_token_format() -> TokenFormat {
    TokenFormat::Jwt
}
