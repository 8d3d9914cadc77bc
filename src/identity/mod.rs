//! People: who has an account here, how they prove that it is theirs, and their sessions in browsers.
//!
//! ```text
//! sign-in    username, password  -> throttle -> look-up -> verify          -> a new session, its cookie
//! request    cookie              -> look-up  -> open    -> lifetimes       -> SignedIn
//! ```
//!
//! [`SignedIn`] is the proof that a browser's cookie is a live session; only this room makes one.

mod claims;
mod fault;
mod signed_in;

pub use claims::{PersonClaims, PostalAddress};
pub use fault::Fault;
pub use signed_in::{Acr, Amr, SignedIn};
