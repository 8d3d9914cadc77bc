//! Secrets of the deployment that are made once and never change.

use super::sealed::SECRET;
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::domain::{Randomness, Redacted};

impl Store {
    /// The secret for this use, made now if there is none. Of many processes that ask at once, all get the same.
    pub async fn secret(&self, name: &str, randomness: &dyn Randomness) -> Result<Redacted<[u8; 32]>, StoreError> {
        let mut fresh = [0u8; 32];
        randomness.fill(&mut fresh)?;
        let fresh = Redacted::new(fresh);
        let sealed = self.seal(&SECRET, name, fresh.expose())?;
        let mut work = Work::begin(&self.inner.db).await?;
        within!(&mut work, execute: sqlx::query(INSERT).bind(name).bind(&sealed))?;
        let (stored,): (Vec<u8>,) = within!(&mut work, fetch_one: sqlx::query_as(ONE).bind(name))?;
        let value = self.unseal(&SECRET, name, &stored)?;
        let value = <[u8; 32]>::try_from(value.as_slice())
            .map_err(|_| StoreError::Corrupt(format!("table secret: {name} has another length than 32 bytes")))?;
        work.commit().await?;
        Ok(Redacted::new(value))
    }
}

const INSERT: &str = "INSERT INTO secret (name, value_sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const ONE: &str = "SELECT value_sealed FROM secret WHERE name = $1";

#[cfg(test)]
pub(super) fn sample(store: &Store) -> futures_util::future::BoxFuture<'_, ()> {
    Box::pin(async move {
        for _ in 0..2 {
            store.secret(&sample_name(), &crate::jose::random::SystemRandomness).await.expect("made");
        }
    })
}

/// A name that no sample had before.
#[cfg(test)]
pub(super) fn sample_name() -> String {
    let random = crate::domain::FamilyId::random(&crate::jose::random::SystemRandomness).expect("randomness");
    format!("sample-{random}")
}
