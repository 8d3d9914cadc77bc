//! Ends of sessions that clients are still to be told of (OpenID Connect Back-Channel Logout §2.5).
//!
//! A client that was given a code in a session is remembered with it. When the session ends, one notice for each of them commits with
//! the end, and stays until it was delivered or given up.

use super::browser_session;
use super::engine::read;
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::{ClientId, SessionId, Subject, Timestamp};
use crate::event::Trailed;

/// One client that is to be told of the end of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutNotice {
    /// `sid`.
    pub session_id: SessionId,
    /// Who is to be told.
    pub client_id: ClientId,
    /// Whose session it was.
    pub subject: Subject,
    /// When it ended.
    pub ended: Timestamp,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is to be tried next.
    pub due: Timestamp,
}

type Row = (String, String, String, i64, i64, i64);

impl Store {
    /// The clients that were told who is signed in in a session, by name.
    pub async fn clients_of_session(&self, session_id: &SessionId) -> Result<Vec<ClientId>, StoreError> {
        let rows: Vec<(String,)> = read!(&self.inner.db, fetch_all: sqlx::query_as(CLIENTS).bind(session_id.as_str()))?;
        rows.into_iter().map(|(client_id,)| named(&client_id)).collect()
    }

    /// At most `limit` notices that are due at `now`, those first that are due longest.
    pub async fn due_logout_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<LogoutNotice>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(DUE).bind(now.seconds()).bind(i64::from(limit)))?;
        rows.into_iter().map(notice).collect()
    }

    /// Takes a notice for one attempt until `until`, when somebody else may; `None` when another process has taken it.
    pub async fn take_logout_notice(&self, notice: &LogoutNotice, until: Timestamp) -> Result<Option<LogoutNotice>, StoreError> {
        let mut work = Work::begin(self).await?;
        let attempts = notice.attempts.saturating_add(1);
        let taken = within!(&mut work, execute: sqlx::query(TAKE)
            .bind(notice.session_id.as_str())
            .bind(notice.client_id.as_str())
            .bind(notice.attempts)
            .bind(attempts)
            .bind(until.seconds()))?;
        work.commit().await?;
        Ok((taken == 1).then(|| LogoutNotice { attempts, due: until, ..notice.clone() }))
    }

    /// Has a notice tried again at `due`.
    pub async fn postpone_logout_notice(&self, notice: &LogoutNotice, due: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(POSTPONE)
            .bind(notice.session_id.as_str())
            .bind(notice.client_id.as_str())
            .bind(due.seconds()))?;
        work.commit().await
    }

    /// Forgets a notice: it was delivered, or given up, as the event says; a client that is not to be told needs none.
    pub async fn end_logout_notice(&self, notice: &LogoutNotice, event: Option<&Trailed>) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(DELETE)
            .bind(notice.session_id.as_str())
            .bind(notice.client_id.as_str()))?;
        if let Some(event) = event {
            work.record_event(event).await?;
        }
        work.commit().await
    }
}

/// Remembers that a client was told who is signed in in a session; gives whether that session is there. Nobody ends it until the work
/// is done.
pub(super) async fn remember(work: &mut Work, session_id: &SessionId, client_id: Option<&ClientId>) -> Result<bool, StoreError> {
    if !browser_session::hold(work, session_id).await? {
        return Ok(false);
    }
    if let Some(client_id) = client_id {
        within!(work, execute: sqlx::query(REMEMBER).bind(session_id.as_str()).bind(client_id.as_str()))?;
    }
    Ok(true)
}

/// Notes that every client of a session is to be told of its end.
pub(super) async fn note(work: &mut Work, session_id: &SessionId, subject: &Subject, at: Timestamp) -> Result<(), StoreError> {
    within!(&mut *work, execute: sqlx::query(NOTE).bind(session_id.as_str()).bind(subject.as_str()).bind(at.seconds()))?;
    within!(&mut *work, execute: sqlx::query(FORGET).bind(session_id.as_str()))?;
    Ok(())
}

fn named(client_id: &str) -> Result<ClientId, StoreError> {
    client_id.parse().map_err(|problem| StoreError::Corrupt(format!("table session_client: client_id {client_id:?} {problem}")))
}

fn notice((session_id, client_id, subject, ended, attempts, due): Row) -> Result<LogoutNotice, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("table logout_notice, session {session_id:?}: {what}"));
    Ok(LogoutNotice {
        client_id: named(&client_id)?,
        subject: subject.parse().map_err(|_| corrupt("its subject"))?,
        ended: Timestamp::from_seconds(ended),
        attempts,
        due: Timestamp::from_seconds(due),
        session_id: session_id.parse().map_err(|_| corrupt("its name"))?,
    })
}

const CLIENTS: &str = "SELECT client_id FROM session_client WHERE session_id = $1 ORDER BY client_id";
const REMEMBER: &str = "INSERT INTO session_client (session_id, client_id) VALUES ($1, $2) \
     ON CONFLICT (session_id, client_id) DO NOTHING";
const FORGET: &str = "DELETE FROM session_client WHERE session_id = $1";
const NOTE: &str = "INSERT INTO logout_notice (session_id, client_id, subject, ended, attempts, due) \
     SELECT session_id, client_id, $2, $3, 0, $3 FROM session_client WHERE session_id = $1";
const DUE: &str = "SELECT session_id, client_id, subject, ended, attempts, due FROM logout_notice \
     WHERE due <= $1 ORDER BY due LIMIT $2";
const TAKE: &str = "UPDATE logout_notice SET attempts = $4, due = $5 WHERE session_id = $1 AND client_id = $2 AND attempts = $3";
const POSTPONE: &str = "UPDATE logout_notice SET due = $3 WHERE session_id = $1 AND client_id = $2";
const DELETE: &str = "DELETE FROM logout_notice WHERE session_id = $1 AND client_id = $2";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "session_client",
    write: |store, mark| {
        Box::pin(async move {
            (super::browser_session::TRIAL.write)(store, mark).await;
            let (family, subject, session_id, client_id) = (mark.id(), mark.id(), mark.id(), mark.id());
            let new = super::NewCode {
                code: &mark.secret,
                family: &family,
                subject: &subject,
                session: Some((&session_id, Some(&client_id))),
                state: mark.secret.as_bytes(),
                expires: super::trial::LATER,
            };
            let issued = store.issue_code(&new, &super::Finishes::default(), &mark.event()).await;
            assert_eq!(issued.expect("answered"), super::Finished::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move { store.clients_of_session(&mark.id()).await.expect("read") == [mark.id::<ClientId>()] })
    },
    uses: super::trial::Uses::Many("gone with its session"),
};

#[cfg(test)]
pub(super) const NOTICE_TRIAL: super::trial::Trial = super::trial::Trial {
    table: "logout_notice",
    write: |store, mark| {
        Box::pin(async move {
            (TRIAL.write)(store, mark).await;
            let why = crate::event::SessionEnd::Expired;
            let ending = super::Ending { why, window: super::trial::WINDOW, at: super::trial::NOW };
            let ended = store.end_session(&mark.id(), &mark.id(), &ending).await.expect("ended");
            assert_eq!(ended.sessions, [mark.id::<SessionId>()]);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let due = store.due_logout_notices(super::trial::LATER, u32::MAX).await.expect("read");
            due.iter().any(|notice| notice.session_id == mark.id() && notice.attempts == 0)
        })
    },
    uses: super::trial::Uses::Once {
        // Each attempt is one process's.
        spend: |store, mark| {
            Box::pin(async move {
                let notice = LogoutNotice {
                    session_id: mark.id(),
                    client_id: mark.id(),
                    subject: mark.id(),
                    ended: super::trial::NOW,
                    attempts: 0,
                    due: super::trial::NOW,
                };
                store.take_logout_notice(&notice, super::trial::LATER).await.expect("answered").is_some()
            })
        },
        used: "SELECT CAST(COALESCE(SUM(attempts), 0) AS BIGINT) FROM logout_notice",
    },
};
