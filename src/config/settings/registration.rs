//! `[registration]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients that register themselves (RFC 7591, OpenID Connect Dynamic Client Registration). They are under the profile `openid`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegistrationSettings {
    /// Who may register a client: `off`, `initial_access_token`, `open`. Unless it is off, a key for RS256 is kept too: it is what such
    /// clients get ID tokens signed with where they do not say otherwise.
    pub mode: RegistrationModeSetting,
    /// The SHA-256 digests, in hexadecimal, of the initial access tokens that are taken (RFC 7591 §3). A token is any text of yours, such
    /// as `openssl rand -hex 32` prints; `printf %s TOKEN | sha256sum` prints its digest.
    pub initial_access_token_sha256: Vec<String>,
    /// Whether registration access tokens (RFC 7592) are bound to the certificate of the connection on which a client registers, which
    /// is an extension of ours: `never`, `when_shown`, `always`. A bound one is worth nothing without that certificate's key.
    pub token_binding: RegistrationBindingSetting,
    /// Scopes that such clients may be registered for, beside those of OpenID Connect.
    pub scopes: Vec<String>,
    /// Identifiers of resources that such clients may ask tokens for.
    pub resources: Vec<String>,
    /// Registrations from one address (IPv6: one /64) in a minute, from 1 to 60000.
    pub per_address_per_minute: u32,
    /// Self-registered clients there may be at once.
    pub max_clients: u32,
    /// Where anybody may register (`open`): whether what is wrong with a request of such a client goes back to the client also from a
    /// browser in which nobody is signed in. Otherwise a page tells it, so that links to this server lead nobody to a stranger's site
    /// (RFC 9700 §4.11.2). `prompt=none` is answered to the client either way.
    pub redirect_errors: bool,
    /// Those whose software statements (RFC 7591 §2.3) are believed: what they say, whoever registers cannot say otherwise. Without any,
    /// statements are passed over.
    pub software_statement_issuer: Vec<SoftwareStatementIssuerSettings>,
    /// Whether a client registers with a software statement or not at all.
    pub require_software_statement: bool,
}

/// Somebody whose software statements are believed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SoftwareStatementIssuerSettings {
    /// `iss` of its statements, exactly as written.
    pub issuer: String,
    /// Its public keys: a file with a JWK Set.
    pub jwks_file: Option<PathBuf>,
    /// Its public keys: where it publishes them, fetched within `[outbound]`. Either this or `jwks_file`.
    pub jwks_uri: Option<String>,
}

impl Default for RegistrationSettings {
    fn default() -> Self {
        Self {
            mode: RegistrationModeSetting::Off,
            initial_access_token_sha256: Vec::new(),
            token_binding: RegistrationBindingSetting::Never,
            scopes: Vec::new(),
            resources: Vec::new(),
            per_address_per_minute: 30,
            max_clients: 10_000,
            redirect_errors: false,
            software_statement_issuer: Vec::new(),
            require_software_statement: false,
        }
    }
}

/// Who may register a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationModeSetting {
    /// Nobody but operators.
    #[default]
    Off,
    /// Whoever has an initial access token.
    InitialAccessToken,
    /// Anybody.
    Open,
}

/// Whether registration access tokens are bound to a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationBindingSetting {
    /// They are bearer tokens.
    #[default]
    Never,
    /// Where the client registers on a connection with a certificate.
    WhenShown,
    /// Nobody registers without a certificate.
    Always,
}
