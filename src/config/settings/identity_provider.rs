//! `[[identity_provider]]`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerClientAuthSetting;

/// Another OpenID Provider that people sign in at. See docs/identity-providers.md.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IdentityProviderSettings {
    /// Its name here: 1 to 32 characters of `a-z`, `0-9` and `-`. It is part of the redirect URI, `ISSUER/sign-in/at/NAME`, and of what
    /// accounts are linked by: with another name nobody is signed in by the links that were made.
    pub name: String,
    /// What people call it; it stands on the button.
    pub label: String,
    /// Its issuer identifier, exactly as it writes it. Endpoints and keys come from `ISSUER/.well-known/openid-configuration`. Its host is
    /// reached wherever it is; other hosts that its metadata name within `outbound.allow_hosts` and `outbound.allow_ranges`.
    pub issuer: String,
    /// PEM file with the certification authorities of its TLS certificate; or `public`, which stands for Mozilla's public roots, which are
    /// built in. One of the two has to be said: nobody is believed because nothing was written.
    pub ca_file: PathBuf,
    /// Our `client_id` there.
    pub client_id: String,
    /// How we authenticate there.
    #[serde(default = "default_client_auth")]
    pub client_auth: ServerClientAuthSetting,
    /// The secret for `client_secret_basic` and `client_secret_post`: the content of a file that nobody else can read.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The key that signs assertions for `private_key_jwt`, PKCS #8 PEM (P-256, P-384 or Ed25519).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Our client certificate there, PEM: for `tls_client_auth` and `self_signed_tls_client_auth`, at the provider's
    /// `mtls_endpoint_aliases` where it has some.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Scopes that are asked for; `openid` always is.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Algorithms that ID tokens may be signed with: never `none`, and none with a shared secret.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// Seconds by which its clock may differ from ours, at most 120.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u32,
    /// Whose accounts it opens: those that people have linked, or also new ones.
    #[serde(default)]
    pub accounts: ProviderAccountsSetting,
    /// With `accounts = "create"`: the claim that the username of a new account is derived from. One that somebody has gets a number.
    #[serde(default = "default_username_claim")]
    pub username_claim: String,
    /// With `accounts = "create"`: the claim with the whole name.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// With `accounts = "create"`: the claim with the e-mail address. It is verified where `email_verified` says so.
    #[serde(default = "default_email_claim")]
    pub email_claim: String,
    /// With `accounts = "create"`: the claim with the groups there, a string or a list.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// What groups there are called here. Groups that are not named here do not count.
    #[serde(default)]
    pub group: Vec<GroupSettings>,
    /// What it must say of everybody who signs in. All of these are asked for.
    #[serde(default)]
    pub required_claim: Vec<RequiredClaimSettings>,
    /// How everybody proves themselves there, as our ID tokens say it (RFC 8176): `pwd`, `otp`, `swk`, `hwk`, `sc`, `pin`, `mfa`. Empty: nothing
    /// is said of it. Without `mfa`, an account with two-step sign-in asks for the code.
    #[serde(default)]
    pub amr: Vec<String>,
    /// Whether what it says in `amr` of its ID tokens counts beside that.
    #[serde(default)]
    pub trust_amr: bool,
}

/// Whose accounts a provider opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderAccountsSetting {
    /// Those of people who have linked theirs.
    #[default]
    Linked,
    /// Also a new one for whoever has none, at their first sign-in.
    Create,
}

/// A group, there and here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupSettings {
    /// Its name there.
    pub there: String,
    /// Its name here.
    pub here: String,
}

/// A claim that must have one of a few values.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequiredClaimSettings {
    /// Its name, in the ID token or else in userinfo.
    pub claim: String,
    /// The values, compared as written. A claim that is a list must have one of them in it.
    pub values: Vec<String>,
}

impl IdentityProviderSettings {
    /// The file with the authorities; `None` where the public roots are meant.
    pub fn authorities(&self) -> Option<&PathBuf> {
        Some(&self.ca_file).filter(|file| file.as_path() != Path::new("public"))
    }
}

fn default_client_auth() -> ServerClientAuthSetting {
    ServerClientAuthSetting::ClientSecretBasic
}

fn default_username_claim() -> String {
    "preferred_username".into()
}

fn default_name_claim() -> String {
    "name".into()
}

fn default_email_claim() -> String {
    "email".into()
}

fn default_scopes() -> Vec<String> {
    vec!["profile".into(), "email".into()]
}

fn default_algorithms() -> Vec<String> {
    vec!["RS256".into(), "ES256".into(), "ES384".into(), "PS256".into(), "EdDSA".into()]
}

fn default_leeway_seconds() -> u32 {
    5
}
