//! What clients may do to prove themselves, and where their keys are fetched from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Assertions of clients with `private_key_jwt` and `client_secret_jwt`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientAssertionSettings {
    /// What `aud` may be: `issuer` is the issuer identifier alone, as a string, as FAPI 2.0 has it; `endpoints` also takes the token
    /// endpoint and its mutual-TLS alias (RFC 7523 §3).
    pub audience: AssertionAudienceSetting,
    /// Seconds by which `exp` may be in the future, at most 3600.
    pub max_lifetime_seconds: u32,
    /// Seconds by which a client's clock may differ from ours, at most 60.
    pub leeway_seconds: u32,
}

impl Default for ClientAssertionSettings {
    fn default() -> Self {
        Self { audience: AssertionAudienceSetting::Endpoints, max_lifetime_seconds: 300, leeway_seconds: 10 }
    }
}

/// What a client assertion's `aud` may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudienceSetting {
    /// The issuer identifier alone, as a string.
    Issuer,
    /// The issuer identifier, the token endpoint, or its mutual-TLS alias.
    #[default]
    Endpoints,
}

/// Where keys and requests are fetched from that clients publish (`jwks_uri`, `request_uris`), and revocation lists. Nothing is fetched over `https` until `ca_files` or
/// `public_roots` says whom to trust; lists, which are signed, also come over `http`. Redirects are never followed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutboundSettings {
    /// PEM files with certification authorities of the servers, for private deployments.
    pub ca_files: Vec<PathBuf>,
    /// Whether Mozilla's public roots, which are built in, are trusted too. The system's are never used.
    pub public_roots: bool,
    /// The only hosts that are fetched from: names, `*.example` for every name below, addresses. Empty: every host.
    pub allow_hosts: Vec<String>,
    /// Ranges of addresses that are connected to although they are not public, such as `10.1.0.0/16`.
    pub allow_ranges: Vec<String>,
    /// Seconds for name resolution, TCP and TLS together.
    pub connect_seconds: u32,
    /// Seconds for a whole request.
    pub total_seconds: u32,
    /// Bytes of an answer.
    pub body_bytes: u32,
    /// Bytes of a revocation list.
    pub crl_bytes: u32,
    /// A folder in which all that is known of fetched revocation lists is kept, so that a restart begins with it where the places that they come
    /// from do not answer, or answer with less. Each list is verified again, and serves until its `nextUpdate`. So are the last answers by OCSP,
    /// in the folder `ocsp` inside it.
    pub crl_cache: Option<PathBuf>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            public_roots: false,
            allow_hosts: Vec::new(),
            allow_ranges: Vec::new(),
            connect_seconds: 3,
            total_seconds: 5,
            body_bytes: 262_144,
            crl_bytes: 16_777_216,
            crl_cache: None,
        }
    }
}
