//! What tests know of each table: how a row is written by real use, whether it stands, and how it is used up.
//!
//! Each table's [`Trial`] is beside the code of the table. The swap, dump, race and kill tests of the store (`tests/swap.rs`,
//! `tests/trials.rs`) know no table by name: they do to every trial what they do to one. A table of the schema that has no trial fails
//! them, so whoever adds one writes its trial beside it and line in [`TRIALS`], and edits none of these tests.

use std::fmt::Debug;
use std::str::FromStr;

use futures_util::future::BoxFuture;

use super::{RuleWindow, Store};
use crate::domain::{Randomness, RandomnessUnavailable, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::jose::{base64url, digest::sha256};
use crate::seal::PersonKey;

/// When everything is written.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// When it ends.
pub(super) const LATER: Timestamp = Timestamp::from_seconds(1_900_000_000);
/// For what is revoked meanwhile.
pub(super) const WINDOW: RuleWindow = RuleWindow { before: NOW, expires: LATER };

/// One table.
pub(super) struct Trial {
    pub(super) table: &'static str,
    /// Writes what the mark names. Once it is answered, it lasts.
    pub(super) write: for<'a> fn(&'a Store, &'a Mark) -> BoxFuture<'a, ()>,
    /// Whether what the mark names is there, whole, and opens; asked before it is used up.
    pub(super) stands: for<'a> fn(&'a Store, &'a Mark) -> BoxFuture<'a, bool>,
    pub(super) uses: Uses,
}

/// How often what a row stands for may be used.
pub(super) enum Uses {
    /// Of all who try, at any process, one.
    Once {
        /// Tries; gives whether it is this one.
        spend: for<'a> fn(&'a Store, &'a Mark) -> BoxFuture<'a, bool>,
        /// One number, greater by one for each use.
        used: &'static str,
    },
    /// As often as one likes: why nothing is used up.
    Many(&'static str),
}

/// What a trial's rows are named after, and what is secret in them.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) name: String,
    /// Goes where secrets and people's data go, and must be found nowhere else.
    pub(super) secret: String,
}

impl Mark {
    pub(super) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let secret = base64url::encode(sha256(name.as_bytes()));
        Self { name, secret }
    }

    /// Another, which goes with this one.
    pub(super) fn beside(&self, what: &str) -> Self {
        Self::new(format!("{}-{what}", self.name))
    }

    /// Its name as an identifier.
    pub(super) fn id<T: FromStr<Err: Debug>>(&self) -> T {
        self.name.parse().expect("an identifier")
    }

    /// The key of the person who is named like this.
    pub(super) fn key(&self) -> PersonKey {
        PersonKey::from_bytes(&sha256(format!("key of {}", self.name).as_bytes())).expect("32 bytes")
    }

    pub(super) fn event(&self) -> Trailed {
        Trailed { time: NOW, event: AuditEvent::Reloaded { what: self.name.clone() } }
    }
}

/// Randomness that is none: what is drawn is the mark's secret.
impl Randomness for Mark {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        bytes.iter_mut().zip(self.secret.bytes()).for_each(|(byte, of)| *byte = of);
        Ok(())
    }
}

/// Every table that is written for its own sake.
pub(super) static TRIALS: &[Trial] = &[
    super::client::TRIAL,
    super::client::SECRET_TRIAL,
    super::client_registration::TRIAL,
    super::revocation::TRIAL,
    super::certificate::TRIAL,
    super::anchor::TRIAL,
    super::signing_key::TRIAL,
    super::seal_key::TRIAL,
    super::secret::TRIAL,
    super::replay::TRIAL,
    super::interaction::TRIAL,
    super::pushed_request::TRIAL,
    super::authorization_code::TRIAL,
    super::grant_family::TRIAL,
    super::consent::TRIAL,
    super::device_authorization::TRIAL,
    super::person_key::TRIAL,
    super::account::TRIAL,
    super::account_certificate::TRIAL,
    super::linked_account::TRIAL,
    super::second_factor::TRIAL,
    super::second_factor::RECOVERY_TRIAL,
    super::passkey::TRIAL,
    super::passkey_ceremony::TRIAL,
    super::browser_session::TRIAL,
    super::logout_notice::TRIAL,
    super::logout_notice::NOTICE_TRIAL,
];

/// Tables whose rows are written with those of others, in their transactions, or when the database is made.
pub(super) static WITH_OTHERS: &[&str] = &["deployment", "change_counter", "change", "audit"];
