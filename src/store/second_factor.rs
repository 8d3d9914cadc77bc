//! Second factors of people: one-time passwords and recovery codes.

use std::fmt;

use zeroize::Zeroizing;

use super::browser_session::{self, Ended, Ending, Which};
use super::engine::read;
use super::sealed::TOTP;
use super::work::{NumberedWork, Work, within};
use super::{RuleWindow, Store, StoreError};
use crate::domain::{SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;

/// What a recovery code's keyed hash is for.
const RECOVERY_CODE: &str = "recovery_code.code_index";

/// A second factor to be.
#[derive(Clone, Copy)]
pub struct NewSecondFactor<'a> {
    /// Whose.
    pub subject: &'a Subject,
    /// The secret of the one-time passwords.
    pub secret: &'a [u8],
    /// The time step whose code proved that the person has it.
    pub step: i64,
    /// Recovery codes, normalized.
    pub recovery_codes: &'a [String],
    /// The session in which it was set up: every other one ends.
    pub kept: &'a SessionId,
    /// For the access tokens that hang on the sessions that end.
    pub window: RuleWindow,
}

impl fmt::Debug for NewSecondFactor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecondFactor").field("subject", self.subject).finish_non_exhaustive()
    }
}

/// The secret of a person's one-time passwords as stored. See [`Store::open_totp`].
#[derive(Clone, Debug)]
pub struct TotpRecord {
    subject: Subject,
    sealed: Vec<u8>,
}

impl Store {
    /// The secret of a person's one-time passwords; nothing when they have none.
    pub async fn totp(&self, subject: &Subject) -> Result<Option<TotpRecord>, StoreError> {
        let row: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(subject.as_str()))?;
        Ok(row.map(|(sealed,)| TotpRecord { subject: subject.clone(), sealed }))
    }

    /// Opens a secret.
    pub fn open_totp(&self, totp: &TotpRecord, key: &PersonKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &TOTP, totp.subject.as_str(), &totp.sealed)
    }

    /// Sets up a person's second factor, with its event (`second_factor_added`); ends every other session of theirs. Nothing is given, and
    /// nothing was written, when they have one already.
    pub async fn add_second_factor(
        &self,
        new: &NewSecondFactor<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let subject = new.subject;
        let sealed = self.seal_for(key, &TOTP, subject.as_str(), new.secret)?;
        let mut unit = NumberedWork::begin(self).await?;
        browser_session::hold_active(&mut unit.work, subject).await?;
        let added = within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(subject.as_str())
                .bind(sealed)
                .bind(new.step)
                .bind(now.seconds()))?;
        if added == 0 {
            return Ok(None);
        }
        within!(&mut unit.work, execute: sqlx::query(FORGET_CODES).bind(subject.as_str()))?;
        for code in new.recovery_codes {
            let index = self.index(RECOVERY_CODE, code.as_bytes());
            within!(&mut unit.work, execute: sqlx::query(INSERT_CODE).bind(subject.as_str()).bind(index))?;
        }
        let which = Which::OfSubject { subject, except: Some(new.kept) };
        let ending = Ending { why: SessionEnd::SecondFactorAdded, window: new.window, at: now };
        let ended = browser_session::end(&mut unit, which, &ending).await?;
        let event = AuditEvent::SecondFactorAdded { subject: subject.clone() };
        unit.work.record_event(&Trailed { time: now, event }).await?;
        unit.commit_numbered(self).await?;
        Ok(Some(ended))
    }

    /// Uses a time step up: of many who try, in this process or another, one is first; no earlier step counts from then on (RFC 6238
    /// §5.2). Gives whether it is this one.
    pub async fn use_totp_step(&self, subject: &Subject, step: i64) -> Result<bool, StoreError> {
        let mut work = Work::begin(self).await?;
        let used = within!(&mut work, execute: sqlx::query(USE_STEP).bind(subject.as_str()).bind(step))?;
        work.commit().await?;
        Ok(used == 1)
    }

    /// Uses a recovery code up, with its event (`recovery_code_used`): of many who try one is first; gives whether it is this one.
    pub async fn use_recovery_code(&self, subject: &Subject, code: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut work = Work::begin(self).await?;
        let mut used = 0;
        for index in self.indexes(RECOVERY_CODE, code.as_bytes()) {
            used += within!(&mut work, execute: sqlx::query(USE_CODE).bind(subject.as_str()).bind(index))?;
        }
        if used == 0 {
            return Ok(false);
        }
        let event = AuditEvent::RecoveryCodeUsed { subject: subject.clone() };
        work.record_event(&Trailed { time: now, event }).await?;
        work.commit().await?;
        Ok(true)
    }

    /// How many recovery codes a person has left.
    pub async fn recovery_codes_left(&self, subject: &Subject) -> Result<u32, StoreError> {
        let (left,): (i64,) = read!(&self.inner.db, fetch_one: sqlx::query_as(COUNT_CODES).bind(subject.as_str()))?;
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Takes a person's second factor away, with its event (`second_factor_removed`); gives whether there was one.
    pub async fn remove_second_factor(&self, subject: &Subject, now: Timestamp) -> Result<bool, StoreError> {
        let mut work = Work::begin(self).await?;
        if !forget(&mut work, subject).await? {
            return Ok(false);
        }
        let event = AuditEvent::SecondFactorRemoved { subject: subject.clone() };
        work.record_event(&Trailed { time: now, event }).await?;
        work.commit().await?;
        Ok(true)
    }
}

/// Deletes a person's second factor within a unit of work; gives whether there was one.
pub(super) async fn forget(work: &mut Work, subject: &Subject) -> Result<bool, StoreError> {
    within!(&mut *work, execute: sqlx::query(FORGET_CODES).bind(subject.as_str()))?;
    Ok(within!(&mut *work, execute: sqlx::query(DELETE).bind(subject.as_str()))? > 0)
}

/// Whether a person has a second factor, within a unit of work.
pub(super) async fn is_there(work: &mut Work, subject: &Subject) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = within!(work, fetch_optional: sqlx::query_as(CREATED).bind(subject.as_str()))?;
    Ok(row.is_some())
}

const CREATED: &str = "SELECT created FROM totp WHERE subject = $1";
const ONE: &str = "SELECT secret_sealed FROM totp WHERE subject = $1";
const INSERT: &str = "INSERT INTO totp (subject, secret_sealed, last_step, created) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (subject) DO NOTHING";
const USE_STEP: &str = "UPDATE totp SET last_step = $2 WHERE subject = $1 AND last_step < $2";
const DELETE: &str = "DELETE FROM totp WHERE subject = $1";
const INSERT_CODE: &str = "INSERT INTO recovery_code (subject, code_index) VALUES ($1, $2)";
const USE_CODE: &str = "DELETE FROM recovery_code WHERE subject = $1 AND code_index = $2";
const COUNT_CODES: &str = "SELECT COUNT(*) FROM recovery_code WHERE subject = $1";
const FORGET_CODES: &str = "DELETE FROM recovery_code WHERE subject = $1";

#[cfg(test)]
async fn add_marked(store: &Store, mark: &super::trial::Mark) {
    (super::person_key::TRIAL.write)(store, mark).await;
    let (subject, kept) = (mark.id(), mark.id());
    let (secret, recovery_codes) = (mark.secret.as_bytes(), [mark.secret.clone()]);
    let window = super::trial::WINDOW;
    let new = NewSecondFactor { subject: &subject, secret, step: 1, recovery_codes: &recovery_codes, kept: &kept, window };
    assert!(store.add_second_factor(&new, &mark.key(), super::trial::NOW).await.expect("answered").is_some());
}

#[cfg(test)]
async fn marked_stands(store: &Store, mark: &super::trial::Mark) -> bool {
    let Some(totp) = store.totp(&mark.id()).await.expect("read") else { return false };
    let secret = store.open_totp(&totp, &mark.key()).expect("opens");
    *secret == *mark.secret.as_bytes() && store.recovery_codes_left(&mark.id()).await.expect("counted") == 1
}

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "totp",
    write: |store, mark| Box::pin(add_marked(store, mark)),
    stands: |store, mark| Box::pin(marked_stands(store, mark)),
    uses: super::trial::Uses::Once {
        // Each time step is.
        spend: |store, mark| Box::pin(async move { store.use_totp_step(&mark.id(), 2).await.expect("answered") }),
        used: "SELECT CAST(COALESCE(SUM(last_step - 1), 0) AS BIGINT) FROM totp",
    },
};

#[cfg(test)]
pub(super) const RECOVERY_TRIAL: super::trial::Trial = super::trial::Trial {
    table: "recovery_code",
    write: TRIAL.write,
    stands: TRIAL.stands,
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(async move { store.use_recovery_code(&mark.id(), &mark.secret, super::trial::NOW).await.expect("answered") })
        },
        used: "SELECT -COUNT(*) FROM recovery_code",
    },
};
