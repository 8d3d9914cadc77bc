//! The integration tests: the shipped binary over real TLS, with a real database, free ports and authorities made at run time.
//!
//! `harness/` starts deployments and speaks to them; `spec/` has one file per RFC; `flow/` tells journeys; `threat/` is the
//! negative space; `architecture.rs` holds the order of the rooms.

#![allow(missing_docs, reason = "tests are documented where they prove a sentence of a standard")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails there and then")]
#![allow(clippy::disallowed_methods, reason = "the harness waits by the real clock and makes certificates relative to it")]
#![allow(dead_code, reason = "the harness offers more than one file uses")]

mod architecture;
mod flow;
mod harness;
mod spec;
mod threat;
