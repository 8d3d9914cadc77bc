//! DPoP (RFC 9449).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of DPoP proofs (RFC 9449), at the authorization server and at the gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DpopSettings {
    /// Algorithms that proofs may be signed with.
    pub algorithms: Vec<String>,
    /// Whether a proof must have a nonce that this server handed out. A caller without one is told to use the one in `DPoP-Nonce`.
    pub require_nonce: bool,
    /// Seconds that a nonce is taken, 10 to 3600.
    pub nonce_seconds: u32,
    /// Seconds that a proof without nonce is taken, counted from its `iat`, 1 to 600.
    pub max_age_seconds: u32,
    /// Seconds by which a client's clock may differ from ours, at most 60; FAPI 2.0 asks for at least 10.
    pub leeway_seconds: u32,
    /// Used proofs that the gateway remembers at once, about 150 bytes each. When all places are taken it answers 503: it never
    /// forgets one early. The authorization server remembers them in its database.
    pub replay_entries: u32,
}

impl Default for DpopSettings {
    fn default() -> Self {
        Self {
            algorithms: ["ES256", "ES384", "PS256", "EdDSA"].map(str::to_owned).to_vec(),
            require_nonce: false,
            nonce_seconds: 300,
            max_age_seconds: 60,
            leeway_seconds: 15,
            replay_entries: 1_000_000,
        }
    }
}
