//! What a protected resource says of itself, to anybody (RFC 9728).

use std::collections::BTreeSet;

use serde::Serialize;

/// Where metadata lie, before the path of the resource (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// One document (RFC 9728 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceMetadata<'a> {
    /// The resource identifier.
    pub resource: &'a str,
    /// Whose tokens are taken.
    pub authorization_servers: BTreeSet<&'a str>,
    /// What tokens may be asked for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes_supported: BTreeSet<&'a str>,
    /// How tokens may come.
    pub bearer_methods_supported: [&'static str; 1],
    /// Whether tokens bound to a certificate are taken.
    pub tls_client_certificate_bound_access_tokens: bool,
    /// The algorithms of DPoP proofs, where these are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dpop_signing_alg_values_supported: Vec<&'static str>,
    /// Whether every token must be bound to a DPoP key.
    pub dpop_bound_access_tokens_required: bool,
}
