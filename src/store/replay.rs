//! What may be used once: of all who claim a key, at any replica, one is the first.

use super::engine::{Db, answered, patience};
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody claimed the key before.
    First,
    /// Somebody did.
    Seen,
}

impl Store {
    /// Claims `value` among all that is claimed for `purpose`. Its hash is kept until `until` at least; what is kept longer stays
    /// claimed.
    ///
    /// The hash is made with the deployment's lasting key, so that replicas agree whatever keys are being changed.
    ///
    /// # Errors
    /// When the database does not answer. Then nobody can say whether the value was used, and it must not be taken.
    pub async fn claim(&self, purpose: &str, value: &[u8], until: Timestamp) -> Result<Claimed, StoreError> {
        let index = self.inner.ring.blind_index(purpose, value);
        let index = index.as_slice();
        let inserted = match &self.inner.db {
            Db::Sqlite { writer, .. } => {
                sqlx::query(INSERT).bind(index).bind(until.seconds()).execute(writer).await?.rows_affected()
            }
            Db::Postgres(pool) => {
                let insert = sqlx::query(INSERT).bind(index).bind(until.seconds());
                answered(patience(pool), insert.execute(pool)).await?.rows_affected()
            }
        };
        Ok(if inserted == 0 { Claimed::Seen } else { Claimed::First })
    }

    /// Deletes at most `batch` claims that nobody needs at `now`; gives how many.
    pub async fn delete_expired_claims(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

const INSERT: &str = "INSERT INTO replay (key_index, until) VALUES ($1, $2) ON CONFLICT (key_index) DO NOTHING";
const DELETE_EXPIRED: &str = "DELETE FROM replay WHERE key_index IN \
     (SELECT key_index FROM replay WHERE until < $1 ORDER BY until LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "replay",
    write: |store, mark| {
        Box::pin(async move {
            let claimed = store.claim("written", mark.secret.as_bytes(), super::trial::LATER).await;
            assert_eq!(claimed.expect("answered"), Claimed::First);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let claimed = store.claim("written", mark.secret.as_bytes(), super::trial::LATER).await;
            claimed.expect("answered") == Claimed::Seen
        })
    },
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(async move {
                let claimed = store.claim("spent", mark.secret.as_bytes(), super::trial::LATER).await;
                claimed.expect("answered") == Claimed::First
            })
        },
        used: "SELECT COUNT(*) FROM replay",
    },
};
