//! Audit events that committed with a change, until they are copied to the audit trail.

use super::engine::read;
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// An event that committed and was not yet copied to the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// Its number in this database. Numbers may commit out of order; what is pending is what counts.
    pub id: i64,
    /// The line of the audit trail, a JSON object.
    pub line: String,
}

impl Store {
    /// At most `limit` events, written by any process of the deployment, that were not copied to the audit trail yet.
    pub async fn pending_events(&self, limit: u32) -> Result<Vec<PendingEvent>, StoreError> {
        let rows: Vec<(i64, String)> = read!(&self.inner.db, fetch_all: sqlx::query_as(PENDING).bind(i64::from(limit)))?;
        Ok(rows.into_iter().map(|(id, line)| PendingEvent { id, line }).collect())
    }

    /// Notes that events were copied. A crash in between copies them twice, never not at all.
    pub async fn mark_relayed(&self, events: &[PendingEvent], now: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        for event in events {
            within!(&mut work, execute: sqlx::query(MARK).bind(event.id).bind(now.seconds()))?;
        }
        work.commit().await
    }

    /// Deletes at most `batch` events that were copied before `before`; gives how many.
    pub async fn delete_relayed_events(&self, before: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE).bind(before.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

const PENDING: &str = "SELECT id, event FROM audit WHERE relayed IS NULL ORDER BY id LIMIT $1";
const MARK: &str = "UPDATE audit SET relayed = $2 WHERE id = $1";
const DELETE: &str = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE relayed < $1 ORDER BY relayed LIMIT $2)";
