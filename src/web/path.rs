//! Paths of pages, below the issuer's own.

/// Username and password. `?interaction=ID` comes from an authorization request and goes back to it.
pub const SIGN_IN: &str = "/sign-in";
/// The second factor, after them.
pub const SIGN_IN_CODE: &str = "/sign-in/code";
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
/// Ends others of one's sessions.
pub const ACCOUNT_SESSIONS: &str = "/account/sessions";
/// Allow or deny.
pub const CONSENT: &str = "/consent";
/// The stylesheet and pictures.
pub const ASSETS: &str = "/assets";
