//! The authorization server over HTTP: `router` is the table of contents, one thin file per endpoint.
//!
//! A handler reads as extract, decide, render; [`reject`] is the only place that turns errors into HTTP.

mod account;
mod account_certificates;
mod account_data;
mod account_links;
mod account_pages;
mod account_passkeys;
mod account_totp;
mod account_ways_in;
mod assets;
pub mod authorization;
mod certificate_pages;
mod certificate_sign_in;
pub mod challenge;
mod colour;
mod consent;
mod cors;
mod device;
mod device_authorization;
pub mod edge;
mod end_session;
pub mod endpoint;
pub mod extract;
mod form_post;
mod introspection;
mod jwks;
mod liveness;
mod metadata;
mod not_found;
pub mod pages;
mod passkey_pages;
mod passkey_sign_in;
pub mod path;
mod peer;
mod provider_pages;
mod provider_sign_in;
mod pushed_request;
mod registration;
pub mod reject;
mod revocation;
mod revocation_feed;
mod router;
mod second_factor;
mod second_factor_pages;
mod sign_in;
mod sign_out;
mod token;
mod userinfo;

pub use edge::Edge;
pub use peer::{Peer, Told};
pub use router::Web;
