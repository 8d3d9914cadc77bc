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
        let mut work = Work::begin(self).await?;
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
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "secret",
    write: |store, mark| {
        Box::pin(async move {
            store.secret(&mark.name, mark).await.expect("made");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            // Were it gone, another one would be made.
            let found = store.secret(&mark.name, &crate::jose::random::SystemRandomness).await.expect("read");
            mark.secret.as_bytes().starts_with(found.expose())
        })
    },
    uses: super::trial::Uses::Many("it never changes"),
};
