//! What people sign in with, whatever it is: certificates, passkeys, accounts elsewhere. Each is added and taken away under the same rules.

use super::browser_session::{self, Ended, Ending, Which};
use super::work::{NumberedWork, Work, within};
use super::{RuleWindow, Store, StoreError, account};
use crate::domain::{SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};

/// Whether something to sign in with was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is there now.
    Now,
    /// It opens an account already, this one or another; nothing was written.
    Taken,
    /// The person has as many as there may be; nothing was written.
    TooMany,
    /// There is no such account or session any more, or the person may not sign in; nothing was written.
    NoAccount,
}

/// Whether something to sign in with was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// It is gone, and so are these sessions.
    Now(Ended),
    /// There is no such thing of this person's.
    Absent,
    /// The person could not sign in any more; nothing was written.
    LastWayIn,
}

/// Who takes something to sign in with away.
#[derive(Clone, Copy, Debug)]
pub enum Unlinking<'a> {
    /// The person, in this session, which is kept. Something to sign in with must be left.
    Person(&'a SessionId),
    /// An operator. No session is kept.
    Operator,
}

impl<'a> Unlinking<'a> {
    const fn kept(self) -> Option<&'a SessionId> {
        match self {
            Self::Person(kept) => Some(kept),
            Self::Operator => None,
        }
    }

    /// Whether the person may be left with what there still is.
    async fn may_leave(self, work: &mut Work, subject: &Subject) -> Result<bool, StoreError> {
        match self {
            Self::Person(_) => account::has_way_in(work, subject).await,
            Self::Operator => Ok(true),
        }
    }
}

/// Something to sign in with that is to be added.
pub(super) struct Adding<'a> {
    pub(super) subject: &'a Subject,
    /// The session that it is added in, where it is one.
    pub(super) session: Option<&'a SessionId>,
    /// What it is known by, what the keyed hash of that is for, and the statement that says whose it is.
    pub(super) known_by: &'a [u8],
    pub(super) purpose: &'static str,
    pub(super) whose: &'static str,
    /// The statement that counts the person's, and how many there may be.
    pub(super) count: &'static str,
    pub(super) most: u32,
}

/// Something to sign in with that is to be taken away.
pub(super) struct TakingAway<'a> {
    pub(super) subject: &'a Subject,
    /// The statement that deletes it, of this person, and its name.
    pub(super) delete: &'static str,
    pub(super) name: &'a str,
    pub(super) by: Unlinking<'a>,
    /// Why sessions end with it.
    pub(super) why: SessionEnd,
    pub(super) event: AuditEvent,
}

impl Store {
    /// The keyed hash to insert something to sign in with under, or why it may not be. In the lock of the control plane: until the work is
    /// done nobody else adds it.
    pub(super) async fn may_add(&self, unit: &mut NumberedWork, new: &Adding<'_>) -> Result<Result<Vec<u8>, Linked>, StoreError> {
        let work = &mut unit.work;
        if !browser_session::hold_active(work, new.subject).await? {
            return Ok(Err(Linked::NoAccount));
        }
        if let Some(session_id) = new.session
            && !browser_session::hold(work, session_id).await?
        {
            return Ok(Err(Linked::NoAccount));
        }
        for index in self.indexes(new.purpose, new.known_by) {
            let taken: Option<(String,)> = within!(&mut *work, fetch_optional: sqlx::query_as(new.whose).bind(index))?;
            if taken.is_some() {
                return Ok(Err(Linked::Taken));
            }
        }
        let (count,): (i64,) = within!(&mut *work, fetch_one: sqlx::query_as(new.count).bind(new.subject.as_str()))?;
        if count >= i64::from(new.most) {
            return Ok(Err(Linked::TooMany));
        }
        Ok(Ok(self.index(new.purpose, new.known_by)))
    }

    /// Takes something to sign in with away, with its event, and ends every session of the person but the one it is taken away in: one of the
    /// others may be that of whoever else has it. So may a sign-in that is on its way: the account counts as changed.
    pub(super) async fn take_away(
        &self,
        TakingAway { subject, delete, name, by, why, event }: TakingAway<'_>,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        if within!(&mut unit.work, execute: sqlx::query(delete).bind(name).bind(subject.as_str()))? == 0 {
            return Ok(Unlinked::Absent);
        }
        if !by.may_leave(&mut unit.work, subject).await? {
            return Ok(Unlinked::LastWayIn);
        }
        account::note_change(&mut unit.work, subject, now).await?;
        let which = Which::OfSubject { subject, except: by.kept() };
        let ended = browser_session::end(&mut unit, which, &Ending { why, window, at: now }).await?;
        unit.work.record_event(&Trailed { time: now, event }).await?;
        unit.commit_numbered(self).await?;
        Ok(Unlinked::Now(ended))
    }
}
