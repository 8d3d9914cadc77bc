//! Settings as written: one TOML file, overridden by environment variables.
//!
//! The types in [`settings`] are the file's shape and nothing more; each room checks its own section into its own type. The shape
//! that those types derive is the one list of valid keys: the file and the variables are checked against it, so that every problem
//! is told with its line, and the reference is written from it.
//!
//! ```text
//! file ──read──┐
//!              ├─ tree of values, each with its source ──complete──> defaults filled in ──> Settings
//! variables ───┘                                                              └──print──> what is in force, and why
//! ```

mod deserialize;
mod environment;
mod error;
mod listener;
mod load;
mod place;
mod print;
mod reference;
pub mod settings;
mod shape;
mod tree;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Problem};
pub use load::{Loaded, load};
pub use print::print;
pub use reference::reference;
pub use tree::Source;
