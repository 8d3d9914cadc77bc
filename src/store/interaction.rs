//! People at the authorization endpoint who still have to sign in or to consent.

use super::engine::read;
use super::sealed::{INTERACTION, row_name};
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::{Subject, Timestamp};
use crate::seal::Plaintext;

/// What the keyed hash of an interaction's id is made for.
const PURPOSE: &str = "interaction";

impl Store {
    /// Keeps an interaction until `expires`. `id` is unguessable; `state` is the caller's, and sealed: for `whose`, where somebody was
    /// signed in.
    pub async fn add_interaction(
        &self,
        id: &str,
        whose: Option<&Subject>,
        state: &[u8],
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let index = self.inner.ring.blind_index(PURPOSE, id.as_bytes());
        let person = self.person_if_any(whose).await?;
        let sealed = self.seal_of(person.as_ref(), &INTERACTION, &row_name(&index), state)?;
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(INSERT).bind(index.as_slice()).bind(sealed).bind(expires.seconds()))?;
        work.commit().await
    }

    /// Replaces the state of an interaction that is under way; it ends when it would have. Gives whether it is still there.
    pub async fn change_interaction(&self, id: &str, whose: Option<&Subject>, state: &[u8]) -> Result<bool, StoreError> {
        let person = self.person_if_any(whose).await?;
        let mut work = Work::begin(self).await?;
        let mut changed = 0;
        for index in self.inner.ring.blind_indexes(PURPOSE, id.as_bytes()) {
            let sealed = self.seal_of(person.as_ref(), &INTERACTION, &row_name(&index), state)?;
            changed += within!(&mut work, execute: sqlx::query(CHANGE).bind(index.as_slice()).bind(sealed))?;
        }
        work.commit().await?;
        Ok(changed > 0)
    }

    /// The state of an interaction that is under way; `None` also when whoever was signed in has been removed.
    pub async fn interaction(&self, id: &str, now: Timestamp) -> Result<Option<Plaintext>, StoreError> {
        for index in self.inner.ring.blind_indexes(PURPOSE, id.as_bytes()) {
            let row: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(index.as_slice()).bind(now.seconds()))?;
            if let Some((sealed,)) = row {
                return self.unseal_of(&INTERACTION, &row_name(&index), &sealed).await;
            }
        }
        Ok(None)
    }

    /// Deletes at most `batch` interactions that nobody finished by `now`; gives how many.
    pub async fn delete_expired_interactions(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }

    /// Deletes the interaction within a unit of work; gives whether it was still there.
    pub(super) async fn take_interaction(&self, work: &mut Work, id: &str) -> Result<bool, StoreError> {
        let mut taken = 0;
        for index in self.inner.ring.blind_indexes(PURPOSE, id.as_bytes()) {
            taken += within!(work, execute: sqlx::query(DELETE).bind(index.as_slice()))?;
        }
        Ok(taken > 0)
    }
}

const INSERT: &str = "INSERT INTO interaction (id_index, state_sealed, expires) VALUES ($1, $2, $3)";
const ONE: &str = "SELECT state_sealed FROM interaction WHERE id_index = $1 AND expires > $2";
const CHANGE: &str = "UPDATE interaction SET state_sealed = $2 WHERE id_index = $1";
const DELETE: &str = "DELETE FROM interaction WHERE id_index = $1";
const DELETE_EXPIRED: &str = "DELETE FROM interaction WHERE id_index IN \
     (SELECT id_index FROM interaction WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "interaction",
    write: |store, mark| {
        Box::pin(async move {
            (super::person_key::TRIAL.write)(store, mark).await;
            store
                .add_interaction(&mark.secret, Some(&mark.id()), mark.secret.as_bytes(), super::trial::LATER)
                .await
                .expect("added");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let state = store.interaction(&mark.secret, super::trial::NOW).await.expect("read");
            state.is_some_and(|state| *state == *mark.secret.as_bytes())
        })
    },
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(async move {
                let finishes = super::Finishes { interaction: Some(&mark.secret), ..super::Finishes::default() };
                store.end_authorization(&finishes, &mark.event()).await.expect("answered") == super::Finished::Now
            })
        },
        used: "SELECT -COUNT(*) FROM interaction",
    },
};
