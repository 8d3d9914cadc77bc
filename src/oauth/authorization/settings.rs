//! How long things live.

use crate::config::settings::AuthorizationSettings;
use crate::domain::Lifetime;

/// The lives of what an authorization leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a code.
    pub code: Lifetime,
    /// Of the `request_uri` of a pushed request.
    pub pushed_request: Lifetime,
    /// Of a grant with a refresh token.
    pub refresh_token: Lifetime,
    /// How long a replaced refresh token is answered once more, for a client that lost the answer.
    pub refresh_token_grace: Lifetime,
}

/// A lifetime outside of what is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = {found} must be from {least} to {most}")]
pub struct AuthorizationSettingsError {
    key: &'static str,
    found: u32,
    least: u32,
    most: u32,
}

impl Lifetimes {
    /// Checks the configuration's section.
    ///
    /// # Errors
    /// A lifetime outside of what is safe.
    pub fn from_settings(settings: &AuthorizationSettings) -> Result<Self, AuthorizationSettingsError> {
        let within = |key, found: u32, least, most| match (least..=most).contains(&found) {
            true => Ok(Lifetime::from_seconds(found)),
            false => Err(AuthorizationSettingsError { key, found, least, most }),
        };
        Ok(Self {
            code: within("code_lifetime_seconds", settings.code_lifetime_seconds, 10, 600)?,
            // RFC 9126 §2.2 names 5 to 600 seconds; FAPI 2.0 less than 600.
            pushed_request: within("pushed_request_lifetime_seconds", settings.pushed_request_lifetime_seconds, 5, 599)?,
            refresh_token: within("refresh_token_lifetime_seconds", settings.refresh_token_lifetime_seconds, 60, 31_536_000)?,
            refresh_token_grace: within("refresh_token_grace_seconds", settings.refresh_token_grace_seconds, 0, 60)?,
        })
    }
}
