//! Some things ask for a sign-in that is not long ago: whoever finds a browser open, or has a copy of its cookie, cannot do them.

use super::sessions::Sessions;
use super::signed_in::SignedIn;
use crate::domain::Timestamp;
use crate::event::Reason;

/// Proof that a person signed in a short while ago. Only [`Sessions`] makes one.
#[derive(Debug)]
pub struct Fresh(());

/// It was too long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("for this one signs in once more")]
pub struct Stale;

impl Stale {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        Reason::SessionStale
    }
}

impl Sessions {
    /// Whether a person signed in a short while ago (`session.fresh_seconds`).
    ///
    /// # Errors
    /// [`Stale`]: they are to sign in once more.
    pub fn fresh(&self, person: &SignedIn, now: Timestamp) -> Result<Fresh, Stale> {
        let since = now.seconds_since(person.auth_time);
        if since <= u64::from(self.policy().fresh.seconds()) { Ok(Fresh(())) } else { Err(Stale) }
    }
}
