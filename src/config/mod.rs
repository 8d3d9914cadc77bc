//! Settings as written: one TOML file, overridden by environment variables.
//!
//! The types in [`settings`] are the file's shape and nothing more; each room checks its own section into its own type.

pub mod settings;
