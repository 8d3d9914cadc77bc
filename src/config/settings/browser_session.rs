//! Browser sessions of the gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway signs people in, for routes that name it in `sessions`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BrowserSessionSettings {
    /// The authorization server that people sign in at, by name. The gateway is its client `client_id` there, with the redirect URI
    /// `https://HOST/.symbolon/NAME/callback` for every host, the post-logout redirect URI `https://HOST/.symbolon/`, and the grants
    /// `authorization_code` and `refresh_token`.
    pub authorization_server: String,
    /// Scopes that are asked for; `openid` always is. Many servers, a Symbolon server too, issue a refresh token for `offline_access` alone:
    /// without one, browsers are led through the server again when the access token ends.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What the access token is for (`resource`, RFC 8707): the `audience` of the routes. Empty: what the server makes of it.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Seconds that a session may stand unused.
    #[serde(default = "default_idle_seconds")]
    pub idle_seconds: u32,
    /// Seconds that a session lives, at most 604800: a week.
    #[serde(default = "default_lifetime_seconds")]
    pub lifetime_seconds: u32,
    /// Whether a session can be opened on a connection with a client certificate alone. One that is opened with a certificate is bound to
    /// it in any case.
    #[serde(default)]
    pub require_certificate: bool,
    /// Whether the server's logout tokens are taken at `https://HOST/.symbolon/NAME/back-channel-logout`. What they end is remembered by
    /// one process: not with `gateway.replicas`.
    #[serde(default)]
    pub back_channel_logout: bool,
}

fn default_idle_seconds() -> u32 {
    3_600
}

fn default_lifetime_seconds() -> u32 {
    43_200
}
