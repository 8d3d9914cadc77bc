//! The authorization server: one file per endpoint, `grant/<grant>.rs`, `client_auth/<method>.rs`.
//!
//! ```text
//! POST /token    parameters -> GrantType -> AuthenticatedClient -> Approved -> Binding -> IssuedToken
//! ```

pub mod client_auth;
pub mod dpop;
pub mod error;
pub mod grant;
mod inspect;
mod introspect;
pub mod metadata;
pub mod mint;
pub mod parameters;
mod replay;
pub mod resources;
mod revocation_feed;
mod revoke;
mod server;
mod token;

pub use inspect::Recognised;
pub use revocation_feed::FeedPage;
pub use revoke::BEYOND_EXPIRY;
pub use server::{AuthorizationServer, IssuedTokens, Revocations};
