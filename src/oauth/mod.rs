//! The authorization server: one file per endpoint, `grant/<grant>.rs`, `client_auth/<method>.rs`.
//!
//! ```text
//! GET /authorize parameters -> AuthorizationRequest -> SignedIn, consent -> Granting -> code
//! POST /token    parameters -> GrantType -> AuthenticatedClient -> Approved -> Binding -> IssuedToken
//! ```

mod account;
pub mod administration;
pub mod assertion_issuers;
pub mod authorization;
pub mod client_auth;
pub mod device;
pub mod dpop;
mod encryption;
mod ending_certificate;
pub mod error;
mod fetch_room;
pub mod grant;
mod inspect;
pub mod introspect;
pub mod logout;
pub mod metadata;
pub mod mint;
pub mod par;
pub mod parameters;
mod person;
mod person_certificate;
pub mod pkce;
pub mod profiles;
pub mod protected_resource;
pub mod registration;
pub mod registration_token;
mod replay;
pub mod request_object;
pub mod resources;
mod revocation_feed;
mod revoke;
mod seen_certificate;
mod server;
pub mod software_statement;
mod token;
pub mod userinfo;

pub use account::Application;
pub use ending_certificate::EndingCertificates;
pub use fetch_room::FetchRoom;
pub use inspect::Recognised;
pub use person_certificate::{PersonCertificateError, PersonCertificates};
pub use revocation_feed::FeedPage;
pub use revoke::BEYOND_EXPIRY;
pub use seen_certificate::SeenCertificates;
pub use server::{AuthorizationServer, IssuedTokens, Revocations};
