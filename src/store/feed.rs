//! The change feed: every change of the control plane, in one sequence without gaps.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::engine::{Db, read};
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// The channel on which PostgreSQL tells of commits.
pub(super) const CHANNEL: &str = "symbolon_change";

/// How often a SQLite database is asked for its sequence: another process, such as the command line, may have written.
const SQLITE_POLL: Duration = Duration::from_millis(100);
/// How often PostgreSQL is asked although it tells: a notification can be lost with its connection.
const POSTGRES_POLL: Duration = Duration::from_millis(500);
/// Changes that a cursor hands out at once.
const PAGE: i64 = 256;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A client was added, changed or removed; the key is its `client_id`.
    Client,
    /// A signing key was added or changed state; the key is its `kid`.
    SigningKey,
    /// A key of the ring was made, deleted, or wrapped by another master key; the key is its name.
    SealKey,
    /// A revocation rule was made; its sequence is the change's.
    Revocation,
    /// An account was added, removed or disabled; the key is its `sub`.
    Account,
    /// An authority was added to an anchor set or removed; the key is the set's name.
    Anchor,
    /// Something that a newer program of the same deployment knows.
    Other,
}

impl ChangeKind {
    /// The stable code in the database.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::SigningKey => "signing_key",
            Self::SealKey => "seal_key",
            Self::Revocation => "revocation",
            Self::Account => "account",
            Self::Anchor => "anchor",
            Self::Other => "other",
        }
    }

    fn from_code(code: &str) -> Self {
        [Self::Client, Self::SigningKey, Self::SealKey, Self::Revocation, Self::Account, Self::Anchor]
            .into_iter()
            .find(|kind| kind.code() == code)
            .unwrap_or(Self::Other)
    }
}

/// One change of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number. Numbers have no gaps and commit in order.
    pub sequence: i64,
    /// What changed.
    pub kind: ChangeKind,
    /// Which one.
    pub key: String,
    /// When.
    pub at: Timestamp,
}

/// The answer to "what changed after this number?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These, in order, none left out; possibly more after them. Empty: nothing changed.
    Next(Vec<Change>),
    /// The feed no longer reaches back that far, or has never reached that number (the database was restored): read everything
    /// anew.
    Forgotten,
}

impl Store {
    /// The number of the last change; 0 before the first.
    pub async fn sequence(&self) -> Result<i64, StoreError> {
        let (value,): (i64,) = read!(&self.inner.db, fetch_one: sqlx::query_as(SEQUENCE))?;
        Ok(value)
    }

    /// At most `limit` changes after number `after`, in order.
    pub async fn changes_after(&self, after: i64, limit: i64) -> Result<Changes, StoreError> {
        loop {
            let rows: Vec<(i64, String, String, i64)> =
                read!(&self.inner.db, fetch_all: sqlx::query_as(CHANGES_AFTER).bind(after).bind(limit.max(1)))?;
            match rows.first() {
                Some(first) if first.0 != after.saturating_add(1) => return Ok(Changes::Forgotten),
                Some(_) => return Ok(Changes::Next(rows.into_iter().map(change).collect())),
                None => match self.sequence().await?.cmp(&after) {
                    std::cmp::Ordering::Equal => return Ok(Changes::Next(Vec::new())),
                    std::cmp::Ordering::Less => return Ok(Changes::Forgotten),
                    // Committed between the two questions: the newest change is never deleted, so the next look finds it.
                    std::cmp::Ordering::Greater => {}
                },
            }
        }
    }

    /// Forgets changes, at most `batch` of them, so that at least `keep` remain. Gives how many were forgotten.
    pub async fn forget_changes(&self, keep: u32, batch: u32) -> Result<u64, StoreError> {
        let mut work = super::work::Work::begin(self).await?;
        let (keep, batch) = (i64::from(keep.max(1)), i64::from(batch));
        let forgotten = super::work::within!(&mut work, execute: sqlx::query(FORGET_CHANGES).bind(keep).bind(batch))?;
        work.commit().await?;
        Ok(forgotten)
    }

    /// Starts watching for changes, of this process and of others. The task ends with the [`ChangeWatch`].
    ///
    /// Must be called inside a tokio runtime.
    pub fn watch_changes(&self) -> ChangeWatch {
        self.watch_changes_with(match &self.inner.db {
            Db::Sqlite { .. } => SQLITE_POLL,
            Db::Postgres(_) => POSTGRES_POLL,
        })
    }

    /// The same, with so much time between two questions where nobody is told.
    pub(super) fn watch_changes_with(&self, interval: Duration) -> ChangeWatch {
        let mut tasks = JoinSet::new();
        let wake = std::sync::Arc::new(Notify::new());
        if let Db::Postgres(pool) = &self.inner.db {
            tasks.spawn(listen(pool.clone(), wake.clone()));
        }
        tasks.spawn(poll(self.clone(), wake, interval));
        ChangeWatch { store: self.clone(), receiver: self.inner.committed.subscribe(), _tasks: tasks }
    }

    /// Lets the watchers in this process know of a commit at once.
    pub(super) fn announce(&self, sequence: i64) {
        self.inner.committed.send_if_modified(|known| {
            let grew = sequence > *known;
            *known = sequence.max(*known);
            grew
        });
    }
}

fn change((sequence, kind, key, at): (i64, String, String, i64)) -> Change {
    Change { sequence, kind: ChangeKind::from_code(&kind), key, at: Timestamp::from_seconds(at) }
}

/// Knows the newest number that committed, within the poll's interval.
#[derive(Debug)]
pub struct ChangeWatch {
    store: Store,
    receiver: watch::Receiver<i64>,
    _tasks: JoinSet<()>,
}

impl ChangeWatch {
    /// The newest number, and a way to wait for a newer one.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.receiver.clone()
    }

    /// A cursor that hands out every change after number `position`. Read [`Store::sequence`] first, then load what the changes
    /// are applied to: then nothing is missed.
    pub fn cursor(&self, position: i64) -> ChangeCursor {
        ChangeCursor { store: self.store.clone(), receiver: self.receiver.clone(), position }
    }
}

/// A place in the change feed.
#[derive(Debug)]
pub struct ChangeCursor {
    store: Store,
    receiver: watch::Receiver<i64>,
    position: i64,
}

impl ChangeCursor {
    /// The number of the last change that was handed out.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Waits for the next changes; never empty. After [`Changes::Forgotten`] the cursor stands at the present end, taken before
    /// it answers, so that whoever now reads everything anew misses nothing. After an error it stands where it stood: wait a moment
    /// and ask again. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            let end = self.store.sequence().await?;
            match self.store.changes_after(self.position, PAGE).await? {
                Changes::Forgotten => {
                    self.position = end;
                    return Ok(Changes::Forgotten);
                }
                Changes::Next(changes) => {
                    if let Some(last) = changes.last() {
                        self.position = last.sequence;
                        return Ok(Changes::Next(changes));
                    }
                }
            }
            let position = self.position;
            if self.receiver.wait_for(|newest| *newest > position).await.is_err() {
                return Err(StoreError::Unavailable("the change feed has stopped".into()));
            }
        }
    }
}

/// Asks for the sequence at intervals, and whenever woken.
async fn poll(store: Store, wake: std::sync::Arc<Notify>, interval: Duration) {
    let mut answered = true;
    loop {
        match store.sequence().await {
            Ok(sequence) => {
                if !answered {
                    tracing::info!("the database answers again");
                }
                answered = true;
                store.announce(sequence);
            }
            Err(problem) => {
                if answered {
                    tracing::warn!(%problem, "changes made elsewhere are not seen until the database answers");
                }
                answered = false;
            }
        }
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Wakes the poll whenever PostgreSQL tells of a commit. A lost connection is made again; what was missed meanwhile, the poll
/// finds.
async fn listen(pool: sqlx::PgPool, wake: std::sync::Arc<Notify>) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            while listener.try_recv().await.is_ok() {
                wake.notify_one();
            }
        }
        tokio::time::sleep(POSTGRES_POLL).await;
    }
}

const SEQUENCE: &str = "SELECT value FROM change_counter WHERE id = 1";
const CHANGES_AFTER: &str = "SELECT sequence, kind, key, at FROM change WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const FORGET_CHANGES: &str = "DELETE FROM change WHERE sequence <= (SELECT value FROM change_counter WHERE id = 1) - $1 \
     AND sequence < (SELECT MIN(sequence) FROM change) + $2";
