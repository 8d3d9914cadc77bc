//! What people have allowed clients.

use super::engine::read;
use super::sealed::CONSENT;
use super::work::{NumberedWork, Work, within};
use super::{Store, StoreError};
use crate::domain::{ClientId, Subject, Timestamp};
use crate::event::Trailed;
use crate::seal::Plaintext;

/// The name of a row for its seal. No subject has a space in it.
fn row(subject: &str, client_id: &str) -> String {
    format!("{subject} {client_id}")
}

impl Store {
    /// What a person has allowed a client.
    pub async fn consent(&self, subject: &Subject, client_id: &ClientId) -> Result<Option<Plaintext>, StoreError> {
        let (subject, client_id) = (subject.as_str(), client_id.as_str());
        let found: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(subject).bind(client_id))?;
        found.map(|(sealed,)| self.unseal(&CONSENT, &row(subject, client_id), &sealed)).transpose()
    }

    /// Everything that a person has allowed, by client, and since when.
    pub async fn consents(&self, subject: &Subject) -> Result<Vec<(ClientId, Timestamp, Plaintext)>, StoreError> {
        let rows: Vec<(String, i64, Vec<u8>)> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL).bind(subject.as_str()))?;
        let opened = rows.into_iter().map(|(client_id, given, sealed)| {
            let state = self.unseal(&CONSENT, &row(subject.as_str(), &client_id), &sealed)?;
            let corrupt = |problem| StoreError::Corrupt(format!("table consent: client_id {client_id:?} {problem}"));
            Ok((client_id.parse().map_err(corrupt)?, Timestamp::from_seconds(given), state))
        });
        opened.collect()
    }

    /// Remembers what a person allows a client, in the place of what it was allowed before. The event commits with it.
    pub async fn put_consent(
        &self,
        subject: &Subject,
        client_id: &ClientId,
        state: &[u8],
        event: &Trailed,
    ) -> Result<(), StoreError> {
        let (subject, client_id) = (subject.as_str(), client_id.as_str());
        let sealed = self.seal(&CONSENT, &row(subject, client_id), state)?;
        let mut work = Work::begin(&self.inner.db).await?;
        let given = event.time.seconds();
        within!(&mut work, execute: sqlx::query(UPSERT).bind(subject).bind(client_id).bind(&sealed).bind(given))?;
        work.record_event(event).await?;
        work.commit().await
    }

    /// Forgets what a person has allowed a client; gives whether there was anything. The event commits with it.
    pub async fn remove_consent(&self, subject: &Subject, client_id: &ClientId, event: &Trailed) -> Result<bool, StoreError> {
        let mut work = Work::begin(&self.inner.db).await?;
        let removed = within!(&mut work, execute: sqlx::query(DELETE).bind(subject.as_str()).bind(client_id.as_str()))?;
        if removed == 0 {
            return Ok(false);
        }
        work.record_event(event).await?;
        work.commit().await?;
        Ok(true)
    }
}

/// Forgets what anybody has allowed a client, within the unit of work that removes the client.
pub(super) async fn forget_client(unit: &mut NumberedWork, client_id: &ClientId) -> Result<(), StoreError> {
    within!(&mut unit.work, execute: sqlx::query(DELETE_OF_CLIENT).bind(client_id.as_str()))?;
    Ok(())
}

const ONE: &str = "SELECT state_sealed FROM consent WHERE subject = $1 AND client_id = $2";
const ALL: &str = "SELECT client_id, given, state_sealed FROM consent WHERE subject = $1 ORDER BY client_id";
const UPSERT: &str = "INSERT INTO consent (subject, client_id, state_sealed, given) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (subject, client_id) DO UPDATE SET state_sealed = excluded.state_sealed, given = excluded.given";
const DELETE_OF_CLIENT: &str = "DELETE FROM consent WHERE client_id = $1";
const DELETE: &str = "DELETE FROM consent WHERE subject = $1 AND client_id = $2";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "consent",
    write: |store, mark| {
        Box::pin(async move {
            store.put_consent(&mark.id(), &mark.id(), mark.secret.as_bytes(), &mark.event()).await.expect("put");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let state = store.consent(&mark.id(), &mark.id()).await.expect("read");
            state.is_some_and(|state| *state == *mark.secret.as_bytes())
        })
    },
    uses: super::trial::Uses::Many("it counts until it is taken back"),
};
