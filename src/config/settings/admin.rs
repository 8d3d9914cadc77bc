//! `[admin]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The administration API, on the listeners with the service `admin`. See docs/admin.md.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdminSettings {
    /// The URL that the API is reached at, such as `https://admin.example/admin`: requests for this host and below this path are for it. It is
    /// the identifier of a `[[resource]]` with the scopes `symbolon:read` and `symbolon:write`, and the only audience that its tokens
    /// have. They must be bound to a certificate or a DPoP key, always.
    pub resource: Option<String>,
    /// Requests of one client from one address in a minute, from 1 to 60000, before more are answered 429. Those that are refused count against
    /// their address, by `limits.address_failures_per_minute`.
    pub requests_per_minute: u32,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { resource: None, requests_per_minute: 600 }
    }
}
