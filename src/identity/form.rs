//! Forms are ours: a token in each that only our own page, in the same browser, can have put there.
//!
//! The token is a keyed hash of a secret in a cookie, for one kind of form. The sign-in form stands on a cookie of its own, which the
//! page that shows it sets, since nobody is signed in yet (login CSRF); every other form stands on the session's cookie.

use std::fmt;

use http::HeaderMap;
use subtle::ConstantTimeEq as _;

use crate::event::Reason;
use crate::jose::base64url;

/// The kinds of forms. A token for one is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Username and password.
    SignIn,
    /// The code after them.
    SecondFactor,
    /// The way to a host that asks for certificates, and back.
    Certificate,
    /// The same, to link one to an account.
    LinkCertificate,
    /// Sign out, end sessions, change the password.
    Account,
    /// Allow or deny what a client asks for.
    Consent,
    /// Allow or deny what a device asks for.
    Device,
    /// Sign out, as a client asked.
    SignOut,
}

impl Form {
    /// Whether it is sent before anybody is signed in.
    pub(super) const fn is_before_sign_in(self) -> bool {
        matches!(self, Self::SignIn | Self::SecondFactor | Self::Certificate)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::SecondFactor => "second-factor",
            Self::Certificate => "certificate",
            Self::LinkCertificate => "link-certificate",
            Self::Account => "account",
            Self::Consent => "consent",
            Self::Device => "device",
            Self::SignOut => "sign-out",
        }
    }
}

/// The value of a form's hidden field `csrf`.
#[derive(Clone, PartialEq, Eq)]
pub struct FormToken(String);

impl FormToken {
    pub(super) fn of(digest: &[u8]) -> Self {
        Self(base64url::encode(digest))
    }

    /// The text, for the page.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl fmt::Debug for FormToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormToken([redacted])")
    }
}

/// Proof that a form was filled in on our own page in the same browser. Only [`super::Sessions`] makes one.
#[derive(Debug)]
pub struct FormChecked(());

impl FormChecked {
    pub(super) fn new() -> Self {
        Self(())
    }
}

/// A form that did not come from our own page in this browser, or whose page is older than the browser's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form did not come from this server's own page")]
pub struct FormForeign;

impl FormForeign {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        Reason::FormForeign
    }
}

/// What the browser itself says of where a form was sent from (Fetch Metadata). Absent in old ones; the token is what counts.
pub(super) fn may_be_ours(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.all(|site| site == "same-origin" || site == "none")
}
