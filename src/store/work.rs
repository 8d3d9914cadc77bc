//! A unit of work: one write transaction, on either engine.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Postgres, Sqlite, Transaction};

use super::engine::{Db, answered, patience};
use super::{ChangeKind, Store, StoreError};
use crate::domain::Timestamp;
use crate::event::{Administrator, Trailed};

/// One write transaction, and who asked for it. Dropped without a commit, it is rolled back.
pub(super) struct Work {
    pub(super) transaction: Opened,
    administrator: Option<Arc<Administrator>>,
}

/// The transaction itself.
pub(super) enum Opened {
    /// Begun with `BEGIN IMMEDIATE`: it is the only writer from its first statement.
    Sqlite(Transaction<'static, Sqlite>),
    /// Begun at the server's default level, READ COMMITTED: later statements see what committed meanwhile.
    /// With how long an answer is waited for.
    Postgres(Transaction<'static, Postgres>, Duration),
}

/// Where a unit of work is begun: at a database, or at a store, whose administrator its events name.
pub(super) struct Origin<'a> {
    db: &'a Db,
    administrator: Option<&'a Arc<Administrator>>,
}

impl<'a> From<&'a Db> for Origin<'a> {
    fn from(db: &'a Db) -> Self {
        Self { db, administrator: None }
    }
}

impl<'a> From<&'a Store> for Origin<'a> {
    fn from(store: &'a Store) -> Self {
        Self { db: &store.inner.db, administrator: store.administrator.as_ref() }
    }
}

/// Runs one query inside a unit of work: `within!(work, fetch_one: sqlx::query_as(SQL).bind(x))`. `execute` gives how many rows
/// it touched.
macro_rules! within {
    ($work:expr, execute: $query:expr) => {
        match &mut ($work).transaction {
            $crate::store::work::Opened::Sqlite(unit) => $query.execute(&mut **unit).await.map(|done| done.rows_affected()),
            $crate::store::work::Opened::Postgres(unit, wait) => {
                $crate::store::engine::answered(*wait, $query.execute(&mut **unit)).await.map(|done| done.rows_affected())
            }
        }
    };
    ($work:expr, $fetch:ident: $query:expr) => {
        match &mut ($work).transaction {
            $crate::store::work::Opened::Sqlite(unit) => $query.$fetch(&mut **unit).await,
            $crate::store::work::Opened::Postgres(unit, wait) => {
                $crate::store::engine::answered(*wait, $query.$fetch(&mut **unit)).await
            }
        }
    };
}
pub(super) use within;

impl Work {
    pub(super) async fn begin(at: impl Into<Origin<'_>>) -> Result<Self, StoreError> {
        let Origin { db, administrator } = at.into();
        // On the heap: the pool's machinery takes 8 KiB, which every future that may write would carry, and which would be moved with
        // requests that write nothing.
        let transaction = match db {
            Db::Sqlite { writer, .. } => Opened::Sqlite(Box::pin(writer.begin_with("BEGIN IMMEDIATE")).await?),
            Db::Postgres(pool) => Opened::Postgres(Box::pin(answered(patience(pool), pool.begin())).await?, patience(pool)),
        };
        Ok(Self { transaction, administrator: administrator.cloned() })
    }

    /// Writes an event that commits with this unit of work.
    pub(super) async fn record_event(&mut self, event: &Trailed) -> Result<(), StoreError> {
        let line =
            event.line(self.administrator.as_deref()).map_err(|error| StoreError::Defect(format!("an audit event: {error}")))?;
        within!(self, execute: sqlx::query(INSERT_EVENT).bind(event.time.seconds()).bind(line))?;
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.transaction {
            Opened::Sqlite(transaction) => transaction.commit().await?,
            Opened::Postgres(transaction, wait) => answered(wait, transaction.commit()).await?,
        }
        Ok(())
    }
}

/// A unit of work that changes the control plane and numbers its changes.
///
/// It begins by taking the lock that every other such unit waits for. So numbers commit in order and without gaps, two such units
/// never wait for each other in a circle, and one that finds nothing to do is dropped without a trace. Work that is not about the
/// control plane never takes this lock; work that turns out to be takes it before it touches any other row.
pub(super) struct NumberedWork {
    pub(super) work: Work,
    first: i64,
    last: i64,
}

impl NumberedWork {
    pub(super) async fn begin(at: impl Into<Origin<'_>>) -> Result<Self, StoreError> {
        let mut work = Work::begin(at).await?;
        let (last,): (i64,) = within!(&mut work, fetch_one: sqlx::query_as(LOCK_COUNTER))?;
        Ok(Self { work, first: last, last })
    }

    /// Tells of one change; gives its number.
    pub(super) async fn record_change(&mut self, kind: ChangeKind, key: &str, at: Timestamp) -> Result<i64, StoreError> {
        let sequence = self.last.saturating_add(1);
        let insert = INSERT_CHANGE;
        within!(&mut self.work, execute: sqlx::query(insert).bind(sequence).bind(kind.code()).bind(key).bind(at.seconds()))?;
        self.last = sequence;
        Ok(sequence)
    }

    /// Commits the changes with the event of the audit trail that tells of them, and lets every replica know.
    pub(super) async fn commit(mut self, store: &Store, event: &Trailed) -> Result<(), StoreError> {
        debug_assert!(self.last > self.first, "a unit of work that changes nothing is dropped, not committed");
        self.work.record_event(event).await?;
        self.commit_numbered(store).await
    }

    /// The same for work whose events are written already, and which may turn out to change nothing of the control plane.
    pub(super) async fn commit_numbered(mut self, store: &Store) -> Result<(), StoreError> {
        if self.last == self.first {
            return self.work.commit().await;
        }
        let last = self.last;
        within!(&mut self.work, execute: sqlx::query(SET_COUNTER).bind(last))?;
        if let Opened::Postgres(transaction, wait) = &mut self.work.transaction {
            // Delivered at the commit, to every replica that listens.
            let notify = sqlx::query(NOTIFY).bind(super::feed::CHANNEL).bind(last.to_string());
            answered(*wait, notify.execute(&mut **transaction)).await?;
        }
        self.work.commit().await?;
        store.announce(last);
        Ok(())
    }
}

const LOCK_COUNTER: &str = "UPDATE change_counter SET value = value WHERE id = 1 RETURNING value";
const SET_COUNTER: &str = "UPDATE change_counter SET value = $1 WHERE id = 1";
const INSERT_CHANGE: &str = "INSERT INTO change (sequence, kind, key, at) VALUES ($1, $2, $3, $4)";
const INSERT_EVENT: &str = "INSERT INTO audit (at, event) VALUES ($1, $2)";
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
