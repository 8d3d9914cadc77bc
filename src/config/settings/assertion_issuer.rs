//! `[[assertion_issuer]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody whose signed word is taken as an authorization grant (RFC 7523 §2.1). Without any, the grant does not exist.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AssertionIssuerSettings {
    /// `iss` of its assertions, exactly as written.
    pub issuer: String,
    /// Its public keys: a file with a JWK Set. Either this or `jwks_uri`.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where it publishes its keys; fetched within the limits of `[outbound]`.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The clients that may present its assertions, by `client_id`.
    #[serde(default)]
    pub clients: Vec<String>,
    /// What its subjects are called here: this, and its own `sub`. Either this or `subject`.
    #[serde(default)]
    pub subject_prefix: Option<String>,
    /// What its subjects are called here, one by one: others are refused.
    #[serde(default)]
    pub subject: Vec<AssertionSubjectSettings>,
    /// The most that is granted for its word, separated by spaces; the client's registration and the resource narrow it.
    #[serde(default)]
    pub scope: String,
    /// Seconds by which `exp` may be in the future, at most 3600.
    #[serde(default = "default_max_lifetime_seconds")]
    pub max_lifetime_seconds: u32,
}

/// One subject of an issuer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AssertionSubjectSettings {
    /// `sub` of its assertions.
    pub sub: String,
    /// `sub` of the tokens that are issued for it.
    pub name: String,
}

fn default_max_lifetime_seconds() -> u32 {
    300
}
