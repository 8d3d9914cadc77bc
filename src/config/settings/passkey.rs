//! Passkeys of people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Passkeys of people. Where the issuer's host is an IP address there are none: they belong to domain names. See docs/people.md.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PasskeySettings {
    /// Whether people may make passkeys and sign in with them.
    pub offered: bool,
    /// The domain that passkeys belong to (the relying party's id): the issuer's host, or a domain above it that is registered as one's own, such
    /// as `example.com` of `login.example.com`. No passkey that was made before works after a change. By default the issuer's host.
    pub rp_id: Option<String>,
}

impl Default for PasskeySettings {
    fn default() -> Self {
        Self { offered: true, rp_id: None }
    }
}
