//! People: who has an account here, how they prove that it is theirs, and their sessions in browsers.
//!
//! ```text
//! POST /sign-in   token of the form        -> FormChecked      it came from our own page in this browser
//!                 throttle, look-up, hash  -> Proven           the same work for every name: Authenticated, or
//!                                             FirstFactor      where the account asks for a second one
//! POST /sign-in/code
//!                 throttle, claim          -> Authenticated    a code counts once
//!                 session                  -> SignedIn         and a new cookie
//! GET /sign-in/certificate
//!                 answer, its browser, once -> Proven          a certificate that another host of ours judged
//! POST /sign-in/passkey
//!                 attempt, its browser, once -> Authenticated  what a passkey signed, of somebody who needs no name
//! GET /sign-in/at/NAME
//!                 its browser, once, ID token -> Proven       an account at another provider that is linked
//! request         cookie, lifetimes        -> SignedIn
//! ```
//!
//! Each proof is made by this room alone.

mod at_provider;
mod certificate;
mod claims;
mod cookie;
mod described;
mod fault;
mod form;
mod fresh;
mod linked_account;
mod passkey;
mod password_rule;
mod people;
mod provider;
mod second_factor;
mod sessions;
mod sign_up;
mod signed_in;
mod throttle;
mod totp;
mod username;
mod webauthn;

pub use at_provider::{AtProvider, AtProviderError, ProviderAnswer, Trip};
pub use certificate::{
    Aim, CertificateAnswer, CertificateLabel, CertificateLink, CertificatePolicy, CertificatePolicyError, Errand, KnownBy,
};
pub use claims::{PersonClaims, PostalAddress};
pub use cookie::CookieName;
pub use fault::Fault;
pub use form::{Form, FormChecked, FormForeign, FormToken};
pub use fresh::{Fresh, Stale};
pub use linked_account::{AccountLabel, AccountLink, Candidature};
pub use passkey::{CEREMONY, Ceremony, PasskeyAttempt, PasskeyView};
pub use password_rule::{PasswordRefused, PasswordRule, PasswordRuleError};
pub use people::{Attempt, Authenticated, PasswordPolicy, People, Person, PersonError, Proven, SignInError};
pub use provider::{Demand, IdentityProvider, IdentityProviderSpec, IdentityProviders, Methods, RequiredClaim};
pub use second_factor::{Candidate, CodeAttempt, FirstFactor, SetUp};
pub use sessions::{Leave, SessionPolicy, SessionView, Sessions, Surroundings};
pub use sign_up::{Admits, ClaimNames};
pub use signed_in::{Acr, Amr, AtTime, SignedIn};
pub use throttle::{Guess, Guesses, Quota, ThrottlePolicy, Throttled};
pub use totp::TotpSecret;
pub use username::{Username, UsernameError};
pub use webauthn::{PasskeySite, PasskeySiteError};

#[cfg(test)]
mod tests;
