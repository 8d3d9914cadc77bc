//! Authorization codes: issued when an authorization finishes, redeemed once (RFC 6749 §4.1.2).

use std::fmt;

use super::engine::read;
use super::grant_family::NewFamily;
use super::sealed::{AUTHORIZATION_CODE, row_name};
use super::work::{Work, within};
use super::{Store, StoreError, browser_session, logout_notice};
use crate::domain::{ClientId, FamilyId, SessionId, Subject, Timestamp};
use crate::event::Trailed;
use crate::seal::Plaintext;

/// What the keyed hash of a code is made for.
const PURPOSE: &str = "authorization_code";

/// A code to be.
#[derive(Clone, Copy)]
pub struct NewCode<'a> {
    /// The code itself, unguessable.
    pub code: &'a str,
    /// What its tokens will descend from.
    pub family: &'a FamilyId,
    /// Who granted it.
    pub subject: &'a Subject,
    /// The session it is granted in, which must be there still, and the client if it will be told of that session.
    pub session: Option<(&'a SessionId, Option<&'a ClientId>)>,
    /// What it stands for; sealed.
    pub state: &'a [u8],
    /// How long it is remembered: beyond its own life, so that a replay is noticed.
    pub expires: Timestamp,
}

impl fmt::Debug for NewCode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCode").field("family", self.family).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What comes to its end when a request is authorized or denied. Each can end once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finishes<'a> {
    /// The interaction, by its id.
    pub interaction: Option<&'a str>,
    /// The pushed request, by its `request_uri`.
    pub pushed_request: Option<&'a str>,
}

/// Whether an authorization finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Now.
    Now,
    /// It had finished before: a second click, another tab, a replica that was faster; or its session or its person has just gone. Nothing
    /// was written.
    Before,
}

/// A code as stored, opened.
#[derive(Clone)]
pub struct CodeRecord {
    /// What its tokens descend from.
    pub family: FamilyId,
    /// What it stands for.
    pub state: Plaintext,
    /// When it was redeemed, if it was.
    pub redeemed: Option<Timestamp>,
}

impl fmt::Debug for CodeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRecord").field("family", &self.family).field("redeemed", &self.redeemed).finish_non_exhaustive()
    }
}

/// What became of a redemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSpent {
    /// It is the first.
    Now,
    /// Somebody redeemed it before; nothing was written.
    Before,
    /// The session that its grant hangs on has ended; nothing was written.
    SessionEnded,
    /// The person who granted it is not there or not active any more; nothing was written.
    AccountEnded,
    /// The person has taken back what it rests on; nothing was written.
    ConsentWithdrawn,
}

impl Store {
    /// Finishes an authorization with a code, in one transaction with its event.
    pub async fn issue_code(&self, code: &NewCode<'_>, finishes: &Finishes<'_>, event: &Trailed) -> Result<Finished, StoreError> {
        let index = self.inner.ring.blind_index(PURPOSE, code.code.as_bytes());
        let Some(person) = self.person(code.subject).await? else { return Ok(Finished::Before) };
        let sealed = self.seal_of(Some(&person), &AUTHORIZATION_CODE, &row_name(&index), code.state)?;
        let mut work = Work::begin(self).await?;
        // The session first, here as in redemptions and ends of sessions: nobody waits in a circle.
        if let Some((session_id, client_id)) = code.session
            && !logout_notice::remember(&mut work, session_id, client_id).await?
        {
            return Ok(Finished::Before);
        }
        if self.finish(&mut work, finishes).await? == Finished::Before {
            return Ok(Finished::Before);
        }
        within!(&mut work, execute: sqlx::query(INSERT)
                .bind(index.as_slice())
                .bind(code.family.as_str())
                .bind(sealed)
                .bind(code.expires.seconds()))?;
        work.record_event(event).await?;
        work.commit().await?;
        Ok(Finished::Now)
    }

    /// Finishes an authorization without a code: it was denied.
    pub async fn end_authorization(&self, finishes: &Finishes<'_>, event: &Trailed) -> Result<Finished, StoreError> {
        let mut work = Work::begin(self).await?;
        if self.finish(&mut work, finishes).await? == Finished::Before {
            return Ok(Finished::Before);
        }
        work.record_event(event).await?;
        work.commit().await?;
        Ok(Finished::Now)
    }

    /// A code that is remembered at `now`, redeemed or not; `None` also when its person has been removed.
    pub async fn code(&self, code: &str, now: Timestamp) -> Result<Option<CodeRecord>, StoreError> {
        for index in self.inner.ring.blind_indexes(PURPOSE, code.as_bytes()) {
            let row: Option<(String, Vec<u8>, Option<i64>)> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(index.as_slice()).bind(now.seconds()))?;
            let Some((family, sealed, redeemed)) = row else { continue };
            let state = self.unseal_of(&AUTHORIZATION_CODE, &row_name(&index), &sealed).await?;
            let Some(state) = state else { return Ok(None) };
            let corrupt = |problem| StoreError::Corrupt(format!("table authorization_code: family_id {family:?} {problem}"));
            return Ok(Some(CodeRecord {
                family: family.parse().map_err(corrupt)?,
                state,
                redeemed: redeemed.map(Timestamp::from_seconds),
            }));
        }
        Ok(None)
    }

    /// Redeems a code: of many who try, in this process or another, one is first. The family that its refresh token belongs to and the
    /// events commit with it.
    pub async fn redeem_code(
        &self,
        code: &str,
        now: Timestamp,
        family: Option<&NewFamily<'_>>,
        events: &[Trailed],
    ) -> Result<CodeSpent, StoreError> {
        self.redeem_code_resting(code, now, family, None, events).await
    }

    /// The same for a code, issued at `issued`, that rests on what its person allows the client of the family: taken back, the code is worth
    /// nothing, also when it is allowed again.
    pub async fn redeem_code_of_consent(
        &self,
        code: &str,
        issued: Timestamp,
        now: Timestamp,
        family: &NewFamily<'_>,
        events: &[Trailed],
    ) -> Result<CodeSpent, StoreError> {
        self.redeem_code_resting(code, now, Some(family), Some((family.subject, family.client_id, issued)), events).await
    }

    async fn redeem_code_resting(
        &self,
        code: &str,
        now: Timestamp,
        family: Option<&NewFamily<'_>>,
        consent: Option<(&Subject, &ClientId, Timestamp)>,
        events: &[Trailed],
    ) -> Result<CodeSpent, StoreError> {
        let session = family.and_then(|family| family.session);
        let subject = family.map(|family| family.subject);
        let family = match family {
            Some(family) => match self.person(family.subject).await? {
                Some(person) => Some(self.prepare_family(family, Some(&person))?),
                None => return Ok(CodeSpent::AccountEnded),
            },
            None => None,
        };
        let mut work = Work::begin(self).await?;
        if let Some(ended) = ended_meanwhile(&mut work, subject, session).await? {
            return Ok(ended);
        }
        // Whoever takes it back holds the account too.
        if let Some((subject, client_id, issued)) = consent
            && !super::consent::stood_at(&mut work, subject, client_id, issued).await?
        {
            return Ok(CodeSpent::ConsentWithdrawn);
        }
        let mut redeemed = 0;
        for index in self.inner.ring.blind_indexes(PURPOSE, code.as_bytes()) {
            redeemed += within!(&mut work, execute: sqlx::query(REDEEM).bind(index.as_slice()).bind(now.seconds()))?;
        }
        if redeemed == 0 {
            return Ok(CodeSpent::Before);
        }
        if let Some(family) = &family {
            family.insert(&mut work).await?;
        }
        for event in events {
            work.record_event(event).await?;
        }
        work.commit().await?;
        Ok(CodeSpent::Now)
    }

    /// Deletes at most `batch` codes that need not be remembered at `now`; gives how many.
    pub async fn delete_expired_codes(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }

    /// Dropping the unit of work undoes what was taken.
    async fn finish(&self, work: &mut Work, finishes: &Finishes<'_>) -> Result<Finished, StoreError> {
        if let Some(id) = finishes.interaction
            && !self.take_interaction(work, id).await?
        {
            return Ok(Finished::Before);
        }
        if let Some(uri) = finishes.pushed_request
            && !self.take_pushed_request(work, uri).await?
        {
            return Ok(Finished::Before);
        }
        Ok(Finished::Now)
    }
}

/// Holds the account and the session that a grant comes of until the unit of work ends, the account first, as whoever disables or removes
/// it does: a grant that outlives its session ends with the person. Gives what has ended already.
pub(super) async fn ended_meanwhile(
    work: &mut Work,
    subject: Option<&Subject>,
    session: Option<&SessionId>,
) -> Result<Option<CodeSpent>, StoreError> {
    if let Some(subject) = subject
        && !browser_session::hold_active(work, subject).await?
    {
        return Ok(Some(CodeSpent::AccountEnded));
    }
    if let Some(session_id) = session
        && !browser_session::hold(work, session_id).await?
    {
        return Ok(Some(CodeSpent::SessionEnded));
    }
    Ok(None)
}

/// Ends the codes of a family that nobody redeemed yet, within a unit of work.
pub(super) async fn end_codes(work: &mut Work, family: &str) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(DELETE_OF_FAMILY).bind(family))?;
    Ok(())
}

const INSERT: &str =
    "INSERT INTO authorization_code (code_index, family_id, state_sealed, redeemed, expires) VALUES ($1, $2, $3, NULL, $4)";
const ONE: &str = "SELECT family_id, state_sealed, redeemed FROM authorization_code WHERE code_index = $1 AND expires > $2";
const REDEEM: &str = "UPDATE authorization_code SET redeemed = $2 WHERE code_index = $1 AND redeemed IS NULL";
const DELETE_OF_FAMILY: &str = "DELETE FROM authorization_code WHERE family_id = $1 AND redeemed IS NULL";
const DELETE_EXPIRED: &str = "DELETE FROM authorization_code WHERE code_index IN \
     (SELECT code_index FROM authorization_code WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "authorization_code",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let (family, state, expires) = (mark.id(), mark.secret.as_bytes(), super::trial::LATER);
            let subject = mark.id();
            let new = NewCode { code: &mark.secret, family: &family, subject: &subject, session: None, state, expires };
            let issued = store.issue_code(&new, &Finishes::default(), &mark.event()).await;
            assert_eq!(issued.expect("answered"), Finished::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let record = store.code(&mark.secret, super::trial::NOW).await.expect("read");
            record.is_some_and(|record| *record.state == *mark.secret.as_bytes() && record.redeemed.is_none())
        })
    },
    uses: super::trial::Uses::Once {
        // With its family: neither is there without the other.
        spend: |store, mark| {
            Box::pin(async move {
                let (family, client_id, subject) = (mark.id(), mark.id(), mark.id());
                let new = super::grant_family::marked(mark, &family, &client_id, &subject);
                let events = [mark.event()];
                let spent = store.redeem_code(&mark.secret, super::trial::NOW, Some(&new), &events).await.expect("answered");
                spent == CodeSpent::Now && store.family(&family, super::trial::NOW).await.expect("read").is_some()
            })
        },
        used: "SELECT COUNT(*) FROM authorization_code WHERE redeemed IS NOT NULL AND family_id IN \
               (SELECT family_id FROM grant_family)",
    },
};
