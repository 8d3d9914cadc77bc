//! The page of passkeys.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::pages::{PageError, Pages};
use super::path;

/// What the page shows on which a passkey is made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AddPasskeyPage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// The value of `attempt`.
    pub attempt: &'a str,
    /// What the browser is asked, as JSON.
    pub public_key: &'a str,
    /// Why the last attempt failed.
    pub problem: Option<&'a str>,
}

impl Pages {
    /// Makes a passkey. Served with a script.
    pub fn add_passkey(&self, page: &AddPasskeyPage<'_>) -> Result<String, PageError> {
        let (action, account_path) = (self.path(path::ACCOUNT_PASSKEYS_ADD), self.path(path::ACCOUNT));
        self.render("passkey_add.html", context! { action, account_path, ..Value::from(Serde(page)) })
    }

    /// Renders it, as at the start.
    pub(super) fn try_passkeys(&self) -> Result<(), PageError> {
        for problem in [None, Some("p")] {
            self.add_passkey(&AddPasskeyPage { csrf: "c", attempt: "a", public_key: "{}", problem })?;
        }
        Ok(())
    }
}
