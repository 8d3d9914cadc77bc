//! What OpenID Connect adds to an authorization: who signed in, told to the client.
//!
//! Below `oauth`, whose endpoints ask it: which claims a scope or the `claims` parameter means ([`claims`]), what an ID token says
//! ([`id_token`]) and what a logout token ([`logout_token`]), and by which name a client knows a person ([`SubjectNames`]).

pub mod claims;
pub mod id_token;
pub mod logout_token;
mod subject;

pub use claims::{ClaimsRequest, ClaimsRequestError};
pub use subject::SubjectNames;
