//! The pages of sign-in at other providers.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::pages::{PageError, Pages};
use super::path;

/// A provider, as the sign-in page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderButton {
    /// Where its form leads.
    pub action: String,
    /// What people call it.
    pub label: String,
}

/// What the page shows that asks whether to link an account.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LinkPage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// What the browser brought back, sealed.
    pub account: &'a str,
    /// What the account there is called.
    pub title: &'a str,
    /// What people call the provider.
    pub provider: &'a str,
}

/// What the page shows on which nobody is signed in by a provider.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProviderRefusedPage<'a> {
    /// Why.
    pub problem: &'a str,
    /// Where to go on without it.
    pub back: &'a str,
    /// The id of the request.
    pub request_id: &'a str,
}

impl Pages {
    /// Where the form of a provider leads.
    pub fn provider_path(&self, name: &str) -> String {
        self.path(&format!("{}/{name}", path::SIGN_IN_AT))
    }

    /// Leads to a provider.
    pub fn go_to_provider(&self, provider: &str, place: &str) -> Result<String, PageError> {
        self.render("provider_choose.html", context! { provider, place, account_path => self.path(path::ACCOUNT) })
    }

    /// Whether to link an account there.
    pub fn link_account(&self, page: &LinkPage<'_>) -> Result<String, PageError> {
        let (action, account_path) = (self.path(path::ACCOUNT_LINKED_ADD), self.path(path::ACCOUNT));
        self.render("provider_link.html", context! { action, account_path, ..Value::from(Serde(page)) })
    }

    /// Nobody is signed in.
    pub fn provider_refused(&self, page: &ProviderRefusedPage<'_>) -> Result<String, PageError> {
        self.render("provider_refused.html", Value::from(Serde(page)))
    }

    /// Renders each once, as at the start.
    pub(super) fn try_providers(&self) -> Result<(), PageError> {
        self.go_to_provider("p", "https://a.example")?;
        self.link_account(&LinkPage { csrf: "c", account: "a", title: "t", provider: "p" })?;
        self.provider_refused(&ProviderRefusedPage { problem: "p", back: "b", request_id: "r" })?;
        Ok(())
    }
}
