//! The pages of the second factor.

use minijinja::context;

use super::pages::{PageError, Pages};
use super::path;
use super::sign_in::Waiting;

/// What the page shows that asks for a code.
#[derive(Clone, Copy, Debug)]
pub struct CodePage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// That a password was proven, sealed.
    pub held: &'a str,
    /// Why the last attempt failed.
    pub problem: Option<&'a str>,
    /// What waits for this.
    pub waiting: Waiting<'a>,
    /// Whether a passkey does too.
    pub passkeys: bool,
}

/// What the page shows on which a person sets their second factor up.
#[derive(Clone, Copy, Debug)]
pub struct SetUpPage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// The secret, in groups of four.
    pub secret: &'a str,
    /// What an authenticator on the same device opens.
    pub uri: &'a str,
    /// The secret, sealed.
    pub sealed: &'a str,
    /// The person's username, for password managers.
    pub username: &'a str,
    /// Why the last attempt failed.
    pub problem: Option<&'a str>,
}

impl Pages {
    /// The code after username and password.
    pub fn code(&self, page: &CodePage<'_>) -> Result<String, PageError> {
        let CodePage { csrf, held, problem, waiting, passkeys } = *page;
        let (interaction, device) = (waiting.interaction, waiting.device);
        let paths = context! {
            action => self.path(path::SIGN_IN_CODE),
            sign_in_path => self.path(path::SIGN_IN),
            passkey_action => passkeys.then(|| self.path(path::SIGN_IN_PASSKEY)),
            passkey_options => self.path(path::SIGN_IN_PASSKEY_OPTIONS),
        };
        self.render("sign_in_code.html", context! { csrf, held, problem, interaction, device, ..paths })
    }

    /// Sets a second factor up.
    pub fn set_up(&self, page: &SetUpPage<'_>) -> Result<String, PageError> {
        let SetUpPage { csrf, secret, uri, sealed, username, problem } = *page;
        let (action, account_path) = (self.path(path::ACCOUNT_TOTP_CONFIRM), self.path(path::ACCOUNT));
        self.render("totp.html", context! { csrf, secret, uri, sealed, username, problem, action, account_path })
    }

    /// Shows recovery codes, once.
    pub fn recovery_codes(&self, codes: &[String]) -> Result<String, PageError> {
        self.render("recovery_codes.html", context! { codes => codes.to_vec(), account_path => self.path(path::ACCOUNT) })
    }

    /// Renders each once, as at the start.
    pub(super) fn try_second_factor(&self) -> Result<(), PageError> {
        for problem in [None, Some("p")] {
            let waiting = Waiting { interaction: problem, device: problem };
            self.code(&CodePage { csrf: "c", held: "h", problem, waiting, passkeys: problem.is_some() })?;
            self.set_up(&SetUpPage { csrf: "c", secret: "s", uri: "u", sealed: "s", username: "u", problem })?;
        }
        self.recovery_codes(&["c".to_owned()])?;
        Ok(())
    }
}
