//! The first look at a request, wherever it arrives: its authority and path in one spelling, and a refusal of whatever two programs
//! could read differently. And the end of its body, without which no other request begins.

mod arriving;
mod authority;
mod path;
pub mod proxy_protocol;
mod sanity;
mod turn;

pub use arriving::{Arrivals, Arriving};
pub use authority::{Authority, AuthorityError};
pub use path::{CanonicalPath, PathError};
pub use sanity::{SanityError, Target, inspect};
pub use turn::in_step;
