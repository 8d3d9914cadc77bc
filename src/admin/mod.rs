//! The administration API: what the command line does with clients, keys, revocations and people, over HTTP for whoever shows a bound token
//! with the scope. `router` is the table of contents, one thin file per noun.
//!
//! A handler reads as admit, decide, answer. Nothing is looked at before `asked::Asked::admit`, and nothing is answered but through the
//! `asked::Call` that it gives: so every request that is served leaves an audit event, and every change names who asked for it.

mod asked;
mod clients;
mod metadata;
mod people;
mod revocations;
mod router;
mod signing_keys;

use std::sync::Arc;

use crate::oauth::administration::Administration;
use crate::web::Web;

pub use router::{nothing, router};

/// What the handlers share.
#[derive(Debug)]
pub struct Admin {
    /// The server that is administered.
    pub web: Arc<Web>,
    /// Where, and by whom.
    pub administration: Arc<Administration>,
}
