//! The page of one's own account.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::pages::{PageError, Pages};
use super::path;

/// What the account page shows.
#[derive(Clone, Debug, Serialize)]
pub struct AccountPage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// Whose.
    pub person: AccountPerson,
    /// Where they are signed in.
    pub sessions: Vec<AccountSession>,
    /// Characters that a new password has at least.
    pub min_length: u32,
    /// Applications that they have allowed something.
    pub applications: Vec<AccountApplication>,
    /// Whether they may delete their account.
    pub deletion: bool,
    /// The certificates that they sign in with; nothing where people may not.
    pub certificates: Option<Vec<AccountCertificate>>,
    /// The passkeys that they sign in with; nothing where there are none for anybody.
    pub passkeys: Option<Vec<AccountPasskey>>,
    /// The accounts elsewhere that they sign in with; nothing where there are none and could be none.
    pub links: Option<AccountLinks>,
    /// Recovery codes that are left; nothing without a second factor.
    pub second_factor: Option<u32>,
    /// What was just done.
    pub notice: Option<&'a str>,
    /// Why the password was not changed.
    pub problem: Option<&'a str>,
}

/// What is known of a person, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the words of OpenID Connect Core §5.1")]
pub struct AccountPerson {
    pub username: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub email_verified: bool,
    pub phone_number: Option<String>,
    pub groups: Vec<String>,
}

/// One session, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountSession {
    /// `sid`, the value of `session`.
    pub id: String,
    /// Such as `Firefox on Linux`.
    pub browser: String,
    /// Where they signed in from.
    pub address: String,
    /// When they signed in.
    pub since: String,
    /// When it was last used.
    pub used: String,
    /// Whether it is this browser's.
    pub is_current: bool,
}

/// One application, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountApplication {
    /// The value of `client_id`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may do, in a few words each.
    pub allowed: Vec<String>,
    /// Since when, where that is known.
    pub since: Option<String>,
}

/// One linked certificate, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountCertificate {
    /// The value of `certificate`.
    pub id: String,
    /// Its subject, or the name that it is known by.
    pub title: String,
    /// Its last moment, where it is known.
    pub until: Option<String>,
    /// Since when it is linked.
    pub since: String,
}

/// One passkey, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountPasskey {
    /// The value of `passkey`.
    pub id: String,
    /// What its person calls it.
    pub name: String,
    /// Whether its key may be on more than one device.
    pub is_synchronised: bool,
    /// Since when.
    pub since: String,
    /// When it was last used, if it was.
    pub used: Option<String>,
}

/// Accounts elsewhere, as the account page shows them.
#[derive(Clone, Debug, Serialize)]
pub struct AccountLinks {
    /// Those that are linked.
    pub linked: Vec<AccountLinked>,
    /// Where others may be.
    pub providers: Vec<AccountProvider>,
}

/// One linked account, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountLinked {
    /// The value of `account`.
    pub id: String,
    /// What it is called there.
    pub title: String,
    /// What people call the provider.
    pub provider: String,
    /// Since when it is linked.
    pub since: String,
}

/// One provider, as the account page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AccountProvider {
    /// The value of `provider`.
    pub name: String,
    /// What people call it.
    pub label: String,
}

impl Pages {
    /// One's own account.
    pub fn account(&self, page: &AccountPage<'_>) -> Result<String, PageError> {
        let paths = context! {
            sign_out_path => self.path(path::SIGN_OUT),
            sessions_path => self.path(path::ACCOUNT_SESSIONS),
            password_path => self.path(path::ACCOUNT_PASSWORD),
            applications_path => self.path(path::ACCOUNT_APPLICATIONS),
            export_path => self.path(path::ACCOUNT_EXPORT),
            deletion_path => self.path(path::ACCOUNT_DELETE),
            certificates_path => self.path(path::ACCOUNT_CERTIFICATES),
            certificate_remove_path => self.path(path::ACCOUNT_CERTIFICATES_REMOVE),
            passkeys_path => self.path(path::ACCOUNT_PASSKEYS),
            passkey_remove_path => self.path(path::ACCOUNT_PASSKEYS_REMOVE),
            linked_path => self.path(path::ACCOUNT_LINKED),
            linked_remove_path => self.path(path::ACCOUNT_LINKED_REMOVE),
            totp_path => self.path(path::ACCOUNT_TOTP),
            totp_remove_path => self.path(path::ACCOUNT_TOTP_REMOVE),
        };
        self.render("account.html", context! { ..paths, ..Value::from(Serde(page)) })
    }

    /// After leaving.
    pub fn account_deleted(&self) -> Result<String, PageError> {
        self.render("account_deleted.html", context! {})
    }

    /// Renders it once, as at the start.
    pub(super) fn try_account(&self) -> Result<(), PageError> {
        let person = AccountPerson {
            username: "u".into(),
            name: None,
            email: None,
            email_verified: false,
            phone_number: None,
            groups: vec![],
        };
        let [id, browser, address, since, used] = ["i", "b", "a", "s", "u"].map(str::to_owned);
        let session = AccountSession { id, browser, address, since, used, is_current: true };
        let mut account = AccountPage {
            csrf: "c",
            person,
            sessions: vec![session],
            min_length: 8,
            applications: vec![],
            deletion: false,
            certificates: None,
            passkeys: None,
            links: None,
            second_factor: None,
            notice: None,
            problem: None,
        };
        self.account(&account)?;
        account.second_factor = Some(1);
        account.deletion = true;
        let [id, name, allowed] = ["i", "n", "a"].map(str::to_owned);
        account.applications = vec![AccountApplication { id, name, allowed: vec![allowed], since: None }];
        let [id, title, since] = ["i", "t", "s"].map(str::to_owned);
        let certificate = AccountCertificate { id, title, until: Some("u".into()), since };
        account.certificates = Some(vec![certificate]);
        let [id, name, since] = ["i", "n", "s"].map(str::to_owned);
        let passkey = AccountPasskey { id, name, is_synchronised: true, since, used: Some("u".into()) };
        account.passkeys = Some(vec![AccountPasskey { used: None, is_synchronised: false, ..passkey.clone() }, passkey]);
        let [id, title, provider, since] = ["i", "t", "p", "s"].map(str::to_owned);
        let linked = vec![AccountLinked { id, title, provider, since }];
        let providers = vec![AccountProvider { name: "n".into(), label: "l".into() }];
        account.links = Some(AccountLinks { linked, providers });
        self.account(&account)?;
        self.account_deleted()?;
        Ok(())
    }
}
