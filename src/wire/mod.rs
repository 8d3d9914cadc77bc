//! The first look at a request, wherever it arrives: its authority and path in one spelling, and a refusal of whatever two programs
//! could read differently.

mod authority;
mod path;
mod sanity;

pub use authority::{Authority, AuthorityError};
pub use path::{CanonicalPath, PathError};
pub use sanity::{SanityError, Target, inspect};
