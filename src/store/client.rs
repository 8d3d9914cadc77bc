//! Registered clients, as the metadata they were registered with.

use super::engine::read;
use super::work::{NumberedWork, within};
use super::{ChangeKind, NewRule, RuleWindow, Store, StoreError};
use crate::domain::{ClientId, RevocationRule, RuleKind, Timestamp};
use crate::event::{AuditEvent, Trailed};

/// One registration. What the metadata means is the clients room's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its name.
    pub client_id: ClientId,
    /// A JSON object in the words of RFC 7591 §2, without secrets.
    pub metadata_json: String,
}

/// Whether an existing registration may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Only a new client.
    Add,
    /// A new client, or other metadata for a known one.
    AddOrChange,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Added,
    /// Its metadata changed.
    Changed,
    /// It was already so; nothing was written.
    Unchanged,
    /// The name is taken, and only a new client was wanted; nothing was written.
    Exists,
}

impl Store {
    /// Every client, by name.
    pub async fn clients(&self) -> Result<Vec<ClientRecord>, StoreError> {
        let rows: Vec<(String, String)> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        rows.into_iter().map(record).collect()
    }

    /// The client of this name.
    pub async fn client(&self, client_id: &ClientId) -> Result<Option<ClientRecord>, StoreError> {
        let row: Option<(String, String)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(client_id.as_str()))?;
        row.map(record).transpose()
    }

    /// Writes a registration, its change and its event (`client_added` or `client_changed`) in one transaction.
    pub async fn put_client(&self, client: &ClientRecord, mode: PutMode, now: Timestamp) -> Result<Put, StoreError> {
        let client_id = client.client_id.as_str();
        let mut unit = NumberedWork::begin(&self.inner.db).await?;
        let known: Option<(String, String)> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ONE).bind(client_id))?;
        let (put, statement, event) = match known {
            None => (Put::Added, INSERT, AuditEvent::ClientAdded { client_id: client.client_id.clone() }),
            Some(_) if mode == PutMode::Add => return Ok(Put::Exists),
            Some((_, metadata)) if metadata == client.metadata_json => return Ok(Put::Unchanged),
            Some(_) => (Put::Changed, UPDATE, AuditEvent::ClientChanged { client_id: client.client_id.clone() }),
        };
        within!(&mut unit.work, execute: sqlx::query(statement).bind(client_id).bind(&client.metadata_json).bind(now.seconds()))?;
        unit.record_change(ChangeKind::Client, client_id, now).await?;
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(put)
    }

    /// Removes a client and, in the same transaction, revokes its tokens by a rule; `None` when there is no such client.
    ///
    /// The rule stays in force when a client of that name is added again: tokens issued until `window.before` remain revoked.
    pub async fn remove_client(
        &self,
        client_id: &ClientId,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Option<RevocationRule>, StoreError> {
        let mut unit = NumberedWork::begin(&self.inner.db).await?;
        let removed = within!(&mut unit.work, execute: sqlx::query(DELETE).bind(client_id.as_str()))?;
        if removed == 0 {
            return Ok(None);
        }
        unit.record_change(ChangeKind::Client, client_id.as_str(), now).await?;
        let rule = NewRule { kind: RuleKind::Client, value: client_id.as_str().to_owned(), window };
        let rule = super::revocation::write(&mut unit, &rule, now).await?;
        let event = AuditEvent::ClientRemoved { client_id: client_id.clone() };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(Some(rule))
    }
}

fn record((client_id, metadata_json): (String, String)) -> Result<ClientRecord, StoreError> {
    match client_id.parse() {
        Ok(client_id) => Ok(ClientRecord { client_id, metadata_json }),
        Err(problem) => Err(StoreError::Corrupt(format!("table client: client_id {client_id:?} {problem}"))),
    }
}

const ALL: &str = "SELECT client_id, metadata FROM client ORDER BY client_id";
const ONE: &str = "SELECT client_id, metadata FROM client WHERE client_id = $1";
const INSERT: &str = "INSERT INTO client (client_id, metadata, created, changed) VALUES ($1, $2, $3, $3)";
const UPDATE: &str = "UPDATE client SET metadata = $2, changed = $3 WHERE client_id = $1";
const DELETE: &str = "DELETE FROM client WHERE client_id = $1";
