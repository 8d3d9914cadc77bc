//! Pushed authorization requests (RFC 9126): each may be authorized once.

use super::engine::read;
use super::sealed::{PUSHED_REQUEST, row_name};
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::Timestamp;
use crate::seal::Plaintext;

/// What the keyed hash of a `request_uri` is made for.
const PURPOSE: &str = "request_uri";

impl Store {
    /// Keeps a pushed request until `expires`, which lies beyond the life of its `request_uri`: a person may still be reading the page
    /// it led to.
    pub async fn add_pushed_request(&self, uri: &str, state: &[u8], expires: Timestamp) -> Result<(), StoreError> {
        let index = self.inner.ring.blind_index(PURPOSE, uri.as_bytes());
        let sealed = self.seal(&PUSHED_REQUEST, &row_name(&index), state)?;
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(INSERT).bind(index.as_slice()).bind(sealed).bind(expires.seconds()))?;
        work.commit().await
    }

    /// The state of a pushed request that was neither authorized nor denied yet.
    pub async fn pushed_request(&self, uri: &str, now: Timestamp) -> Result<Option<Plaintext>, StoreError> {
        for index in self.inner.ring.blind_indexes(PURPOSE, uri.as_bytes()) {
            let row: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(index.as_slice()).bind(now.seconds()))?;
            if let Some((sealed,)) = row {
                return self.unseal(&PUSHED_REQUEST, &row_name(&index), &sealed).map(Some);
            }
        }
        Ok(None)
    }

    /// Deletes at most `batch` pushed requests that have expired at `now`; gives how many.
    pub async fn delete_expired_pushed_requests(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }

    /// Deletes the pushed request within a unit of work; gives whether it was still there.
    pub(super) async fn take_pushed_request(&self, work: &mut Work, uri: &str) -> Result<bool, StoreError> {
        let mut taken = 0;
        for index in self.inner.ring.blind_indexes(PURPOSE, uri.as_bytes()) {
            taken += within!(work, execute: sqlx::query(DELETE).bind(index.as_slice()))?;
        }
        Ok(taken > 0)
    }
}

const INSERT: &str = "INSERT INTO pushed_request (uri_index, state_sealed, expires) VALUES ($1, $2, $3)";
const ONE: &str = "SELECT state_sealed FROM pushed_request WHERE uri_index = $1 AND expires > $2";
const DELETE: &str = "DELETE FROM pushed_request WHERE uri_index = $1";
const DELETE_EXPIRED: &str = "DELETE FROM pushed_request WHERE uri_index IN \
     (SELECT uri_index FROM pushed_request WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "pushed_request",
    write: |store, mark| {
        Box::pin(async move {
            store.add_pushed_request(&mark.secret, mark.secret.as_bytes(), super::trial::LATER).await.expect("added");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let state = store.pushed_request(&mark.secret, super::trial::NOW).await.expect("read");
            state.is_some_and(|state| *state == *mark.secret.as_bytes())
        })
    },
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(async move {
                let finishes = super::Finishes { pushed_request: Some(&mark.secret), ..super::Finishes::default() };
                store.end_authorization(&finishes, &mark.event()).await.expect("answered") == super::Finished::Now
            })
        },
        used: "SELECT -COUNT(*) FROM pushed_request",
    },
};
