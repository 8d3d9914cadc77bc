//! THE rule: does this presenter hold this token's key?
//!
//! A token names the key it is bound to in `cnf` (RFC 7800, RFC 8705 §3.1). [`prove`] compares that name with the key that the
//! presenter has just proven to hold, on every request, and leaves a [`Proven`] behind. For issuing, [`Confirmation`] and
//! [`Unbound`] are the two things a token can be minted with.

mod confirmation;
pub mod dpop;
mod proof;
pub mod replay;
mod replay_cache;

pub use confirmation::{Binding, BindingPolicy, ConfirmError, Confirmation, Unbound};
pub use proof::{BindingError, Bound, OwnCertificate, Policy, Presenter, Proven, check_bearer, prove};
pub use replay_cache::ReplayCache;
