//! `[authorization]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is demanded of authorizations, and how long what they leave behind lives.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthorizationSettings {
    /// The profile that every client is under at least: `openid` (what each client is registered for decides), `oauth2.1` (PKCE in every
    /// request), `fapi2` (FAPI 2.0 Security Profile: pushed requests, sender-constrained tokens, codes of a minute), `fapi2-message-signing` (FAPI
    /// 2.0 Message Signing: signed requests too).
    pub profile: ProfileSetting,
    /// Whether every client must sign its authorization requests (RFC 9101 §10.5), whatever its registration says.
    pub require_signed_request_object: bool,
    /// Seconds that an authorization code lives, at most 600; under `fapi2` never more than 60.
    pub code_lifetime_seconds: u32,
    /// Seconds that a pushed request may wait to be authorized, at most 599.
    pub pushed_request_lifetime_seconds: u32,
    /// Seconds after which a grant with a refresh token ends, whatever happens: from a minute to a year.
    pub refresh_token_lifetime_seconds: u32,
    /// Seconds for which a refresh token that was replaced is answered once more, for a client that lost the answer: at most 60. Zero
    /// takes every second use for theft.
    pub refresh_token_grace_seconds: u32,
}

impl Default for AuthorizationSettings {
    fn default() -> Self {
        Self {
            profile: ProfileSetting::Openid,
            require_signed_request_object: false,
            code_lifetime_seconds: 60,
            pushed_request_lifetime_seconds: 90,
            refresh_token_lifetime_seconds: 2_592_000,
            refresh_token_grace_seconds: 10,
        }
    }
}

/// A profile of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileSetting {
    /// OpenID Connect Core as it stands.
    #[default]
    #[serde(rename = "openid")]
    Openid,
    /// OAuth 2.1.
    #[serde(rename = "oauth2.1")]
    Oauth21,
    /// FAPI 2.0 Security Profile.
    #[serde(rename = "fapi2")]
    Fapi2,
    /// FAPI 2.0 Message Signing.
    #[serde(rename = "fapi2-message-signing")]
    Fapi2MessageSigning,
}
