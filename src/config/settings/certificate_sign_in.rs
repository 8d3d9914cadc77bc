//! Certificates of people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether people may sign in with certificates, and what these are worth. See docs/people.md.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificateSignInSettings {
    /// The base URL of the host that asks people for their certificates, on a listener of the authorization server's with
    /// `client_certificate = "request"`: another host than the issuer's, with the issuer's path. The issuer's own pages lead there and back.
    /// Without it nobody signs in with a certificate.
    pub url: Option<String>,
    /// The anchor set that the certificates must come from, beside that of the host. Required with `url`.
    pub anchor_set: Option<String>,
    /// The part of a certificate that names an account, beside the certificates that are linked to it: `san_email`, `san_uri`, or
    /// `subject:TYPE` with an attribute type such as `UID`. Its value is, character by character, a username or a name that
    /// `symbolon user link-certificate --name` gave to an account. Whoever of `anchor_set` may choose the value, may choose the account.
    pub name_field: Option<String>,
    /// How people prove themselves with such a certificate, as ID tokens say it (RFC 8176): `swk` or `hwk`, and `sc`, `pin`, `mfa` where that is
    /// so for every certificate of `anchor_set`. Without `mfa` it is one factor, and an account with a second one asks for that.
    pub amr: Vec<String>,
}

impl Default for CertificateSignInSettings {
    fn default() -> Self {
        Self { url: None, anchor_set: None, name_field: None, amr: vec!["swk".into()] }
    }
}
