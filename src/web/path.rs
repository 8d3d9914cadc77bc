//! Paths of pages, below the issuer's own.

/// Username and password. `?interaction=ID` comes from an authorization request and goes back to it.
pub const SIGN_IN: &str = "/sign-in";
/// The second factor, after them.
pub const SIGN_IN_CODE: &str = "/sign-in/code";
/// To the host that asks for certificates; by GET back from there.
pub const SIGN_IN_CERTIFICATE: &str = "/sign-in/certificate";
/// There.
pub const SHOW_CERTIFICATE: &str = "/sign-in/certificate/show";
/// With a passkey.
pub const SIGN_IN_PASSKEY: &str = "/sign-in/passkey";
/// What it is to sign.
pub const SIGN_IN_PASSKEY_OPTIONS: &str = "/sign-in/passkey/options";
/// To another provider, by its name below this; by GET back from there.
pub const SIGN_IN_AT: &str = "/sign-in/at";
/// Where a sign-in that an authorization request waits for leads.
pub const RESUME: &str = "/authorize/resume";
/// Ends the session of this browser.
pub const SIGN_OUT: &str = "/sign-out";
/// Asks whether to sign out, as a client wants.
pub const CONFIRM_SIGN_OUT: &str = "/end-session/confirm";
/// Where signing out leads.
pub const SIGNED_OUT: &str = "/signed-out";
/// One's own account.
pub const ACCOUNT: &str = "/account";
/// Changes one's own password.
pub const ACCOUNT_PASSWORD: &str = "/account/password";
/// Begins to set one's own second factor up.
pub const ACCOUNT_TOTP: &str = "/account/totp";
/// Ends with that.
pub const ACCOUNT_TOTP_CONFIRM: &str = "/account/totp/confirm";
/// Takes one's own second factor away.
pub const ACCOUNT_TOTP_REMOVE: &str = "/account/totp/remove";
/// Begins to link a certificate to one's own account.
pub const ACCOUNT_CERTIFICATES: &str = "/account/certificates";
/// Ends with that.
pub const ACCOUNT_CERTIFICATES_ADD: &str = "/account/certificates/add";
/// Takes one away.
pub const ACCOUNT_CERTIFICATES_REMOVE: &str = "/account/certificates/remove";
/// Begins to make a passkey for one's own account.
pub const ACCOUNT_PASSKEYS: &str = "/account/passkeys";
/// Ends with that.
pub const ACCOUNT_PASSKEYS_ADD: &str = "/account/passkeys/add";
/// Takes one away.
pub const ACCOUNT_PASSKEYS_REMOVE: &str = "/account/passkeys/remove";
/// Begins to link an account at another provider to one's own account.
pub const ACCOUNT_LINKED: &str = "/account/linked";
/// Ends with that.
pub const ACCOUNT_LINKED_ADD: &str = "/account/linked/add";
/// Takes one away.
pub const ACCOUNT_LINKED_REMOVE: &str = "/account/linked/remove";
/// Takes back what an application was allowed.
pub const ACCOUNT_APPLICATIONS: &str = "/account/applications";
/// What is known of oneself, as a file.
pub const ACCOUNT_EXPORT: &str = "/account/export";
/// Removes one's own account.
pub const ACCOUNT_DELETE: &str = "/account/delete";
/// Ends others of one's sessions.
pub const ACCOUNT_SESSIONS: &str = "/account/sessions";
/// Allow or deny.
pub const CONSENT: &str = "/consent";
/// The stylesheet, the script and pictures.
pub const ASSETS: &str = "/assets";
