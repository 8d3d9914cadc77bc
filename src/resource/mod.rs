//! What any protected resource does with an access token, one step after the other:
//! presented → verified → proven → admitted, or a challenge (RFC 6750, RFC 8705 §3).

mod present;

pub use present::{BearerToken, PresentError, Presented, present};
