//! Who is trusted, and what no longer is.

pub mod revocation;
