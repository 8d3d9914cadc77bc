//! What browsers were asked to have signed by a passkey: each may come back once.

use super::engine::read;
use super::sealed::{PASSKEY_CEREMONY, row_name};
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::Timestamp;
use crate::seal::Plaintext;

/// What the keyed hash of an attempt's name is made for.
const PURPOSE: &str = "passkey_ceremony.ceremony_index";

impl Store {
    /// Keeps what belongs to an attempt until `expires`.
    pub async fn begin_passkey_ceremony(&self, attempt: &str, state: &[u8], expires: Timestamp) -> Result<(), StoreError> {
        let index = self.index(PURPOSE, attempt.as_bytes());
        let sealed = self.seal(&PASSKEY_CEREMONY, &row_name(&index), state)?;
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(INSERT).bind(index).bind(sealed).bind(expires.seconds()))?;
        work.commit().await
    }

    /// Ends an attempt, and gives what was kept of it: of all who come back with it, in this process or another, to one. Nothing when
    /// there is none any more.
    pub async fn end_passkey_ceremony(&self, attempt: &str, now: Timestamp) -> Result<Option<Plaintext>, StoreError> {
        for index in self.indexes(PURPOSE, attempt.as_bytes()) {
            let row: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(index.clone()).bind(now.seconds()))?;
            let Some((sealed,)) = row else { continue };
            let state = self.unseal(&PASSKEY_CEREMONY, &row_name(&index), &sealed)?;
            let mut work = Work::begin(self).await?;
            let taken = within!(&mut work, execute: sqlx::query(DELETE).bind(index))?;
            work.commit().await?;
            return Ok((taken == 1).then_some(state));
        }
        Ok(None)
    }

    /// Deletes at most `batch` attempts that have expired at `now`; gives how many.
    pub async fn delete_expired_passkey_ceremonies(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

const INSERT: &str = "INSERT INTO passkey_ceremony (ceremony_index, state_sealed, expires) VALUES ($1, $2, $3)";
const ONE: &str = "SELECT state_sealed FROM passkey_ceremony WHERE ceremony_index = $1 AND expires > $2";
const DELETE: &str = "DELETE FROM passkey_ceremony WHERE ceremony_index = $1";
const DELETE_EXPIRED: &str = "DELETE FROM passkey_ceremony WHERE ceremony_index IN \
     (SELECT ceremony_index FROM passkey_ceremony WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "passkey_ceremony",
    write: |store, mark| {
        Box::pin(async move {
            let begun = store.begin_passkey_ceremony(&mark.secret, mark.secret.as_bytes(), super::trial::LATER).await;
            begun.expect("begun");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let index = store.index(PURPOSE, mark.secret.as_bytes());
            let row: Option<(Vec<u8>,)> = read!(&store.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(index.clone()).bind(super::trial::NOW.seconds()))
            .expect("read");
            let Some((sealed,)) = row else { return false };
            *store.unseal(&PASSKEY_CEREMONY, &row_name(&index), &sealed).expect("opens") == *mark.secret.as_bytes()
        })
    },
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(
                async move { store.end_passkey_ceremony(&mark.secret, super::trial::NOW).await.expect("answered").is_some() },
            )
        },
        used: "SELECT -COUNT(*) FROM passkey_ceremony",
    },
};
