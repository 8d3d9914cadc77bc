//! Registered clients, as the metadata they were registered with.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::engine::read;
use super::sealed::CLIENT_SECRET;
use super::work::{NumberedWork, within};
use super::{ChangeKind, NewRule, RuleWindow, Store, StoreError, client_registration, consent, grant_family};
use crate::domain::{ClientId, Redacted, RevocationRule, RuleKind, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::jose::digest::hmac_sha256;

/// One registration. What the metadata means is the clients room's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its name.
    pub client_id: ClientId,
    /// A JSON object in the words of RFC 7591 §2, without secrets.
    pub metadata_json: String,
    /// What is kept of its secret, when it has one. Sealed in the database.
    pub secret: Option<SecretRecord>,
}

/// What the key of client secrets is derived for.
pub(super) const SECRET_PURPOSE: &str = "client-secret";

/// What client secrets are hashed with: one key of the deployment, which comes from its lasting key and is never in the database.
#[derive(Clone, Debug)]
pub struct SecretKey(Arc<Redacted<[u8; 32]>>);

impl SecretKey {
    /// Takes 32 bytes of a key.
    pub fn new(key: Redacted<[u8; 32]>) -> Self {
        Self(Arc::new(key))
    }

    /// The keyed hash of `value`: HMAC with SHA-256.
    pub fn hash(&self, value: &[u8]) -> [u8; 32] {
        hmac_sha256(self.0.expose(), value)
    }
}

/// What is kept of a registration's secret already, and what one that its document gives is hashed with.
#[derive(Clone, Copy, Debug)]
pub struct KeptSecret<'a> {
    /// The deployment's, [`Store::secret_key`]; without it no document may give a secret.
    pub key: Option<&'a SecretKey>,
    /// `None` for a new client, and one without a secret.
    pub record: Option<&'a SecretRecord>,
}

/// What is kept of a client's secret. What the bytes mean is the clients room's business.
#[derive(Clone)]
pub struct SecretRecord {
    bytes: Zeroizing<Vec<u8>>,
    key: Option<SecretKey>,
}

impl SecretRecord {
    /// Wraps what is to be kept, and what hashes in it were made with.
    pub fn new(bytes: Vec<u8>, key: Option<SecretKey>) -> Self {
        Self { bytes: Zeroizing::new(bytes), key }
    }

    /// What was kept.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// What hashes in it were made with.
    pub const fn key(&self) -> Option<&SecretKey> {
        self.key.as_ref()
    }
}

impl PartialEq for SecretRecord {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for SecretRecord {}

impl fmt::Debug for SecretRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `client_id`, metadata, and what is sealed of the secret.
type Row = (String, String, Option<Vec<u8>>);

/// Whether an existing registration may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode<'a> {
    /// Only a new client.
    Add,
    /// A new client, or other metadata for a known one.
    AddOrChange,
    /// Other metadata for a known one, if this is what is registered still.
    Change(&'a ClientRecord),
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
    /// Something else is registered by now than what was to be changed, or nothing; nothing was written.
    ChangedMeanwhile,
}

/// What became of a change of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretReplaced {
    /// It is kept.
    Now,
    /// Somebody else changed them first; nothing was written.
    ChangedMeanwhile,
}

impl Store {
    /// Every client, by name.
    pub async fn clients(&self) -> Result<Vec<ClientRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        rows.into_iter().map(|row| self.client_record(row)).collect()
    }

    /// At most `limit` clients after a name, in the order of names.
    pub async fn clients_after(&self, after: &str, limit: i64) -> Result<Vec<ClientRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(PAGE).bind(after).bind(limit))?;
        rows.into_iter().map(|row| self.client_record(row)).collect()
    }

    /// The client of this name.
    pub async fn client(&self, client_id: &ClientId) -> Result<Option<ClientRecord>, StoreError> {
        let row: Option<Row> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(client_id.as_str()))?;
        row.map(|row| self.client_record(row)).transpose()
    }

    /// The client of this name, within a unit of work.
    pub(super) async fn client_within(
        &self,
        unit: &mut NumberedWork,
        client_id: &ClientId,
    ) -> Result<Option<ClientRecord>, StoreError> {
        let row: Option<Row> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ONE).bind(client_id.as_str()))?;
        row.map(|row| self.client_record(row)).transpose()
    }

    /// Writes a registration with its secret, its change and its event (`client_added` or `client_changed`) in one transaction.
    pub async fn put_client(&self, client: &ClientRecord, mode: PutMode<'_>, now: Timestamp) -> Result<Put, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let (put, event) = self.write_client(&mut unit, client, mode, now).await?;
        if let Some(event) = event {
            unit.commit(self, &event).await?;
        }
        Ok(put)
    }

    /// Writes a registration and its change; the caller commits with the event, which is absent when nothing was written.
    pub(super) async fn write_client(
        &self,
        unit: &mut NumberedWork,
        client: &ClientRecord,
        mode: PutMode<'_>,
        now: Timestamp,
    ) -> Result<(Put, Option<Trailed>), StoreError> {
        let client_id = client.client_id.as_str();
        let known: Option<Row> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ONE).bind(client_id))?;
        let known = known.map(|row| self.client_record(row)).transpose()?;
        if let PutMode::Change(expected) = mode
            && known.as_ref() != Some(expected)
        {
            return Ok((Put::ChangedMeanwhile, None));
        }
        let (put, statement, event) = match &known {
            None => (Put::Added, INSERT, AuditEvent::ClientAdded { client_id: client.client_id.clone() }),
            Some(_) if mode == PutMode::Add => return Ok((Put::Exists, None)),
            Some(known) if known == client => return Ok((Put::Unchanged, None)),
            Some(_) => (Put::Changed, UPDATE, AuditEvent::ClientChanged { client_id: client.client_id.clone() }),
        };
        within!(&mut unit.work, execute: sqlx::query(statement).bind(client_id).bind(&client.metadata_json).bind(now.seconds()))?;
        match &client.secret {
            Some(secret) if known.and_then(|known| known.secret).as_ref() != Some(secret) => {
                let sealed = self.seal(&CLIENT_SECRET, client_id, secret.expose())?;
                within!(&mut unit.work, execute: sqlx::query(PUT_SECRET).bind(client_id).bind(&sealed).bind(now.seconds()))?;
            }
            Some(_) => {}
            None => {
                within!(&mut unit.work, execute: sqlx::query(DELETE_SECRET).bind(client_id))?;
            }
        }
        unit.record_change(ChangeKind::Client, client_id, now).await?;
        Ok((put, Some(Trailed { time: now, event })))
    }

    /// Keeps other secrets of a client, if what is kept is `known` still, in one transaction with the change and the event.
    pub async fn replace_client_secret(
        &self,
        client_id: &ClientId,
        known: &SecretRecord,
        next: &SecretRecord,
        event: &Trailed,
    ) -> Result<SecretReplaced, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let row: Option<Row> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ONE).bind(client_id.as_str()))?;
        let found = row.map(|row| self.client_record(row)).transpose()?.and_then(|record| record.secret);
        if found.as_ref() != Some(known) {
            return Ok(SecretReplaced::ChangedMeanwhile);
        }
        let sealed = self.seal(&CLIENT_SECRET, client_id.as_str(), next.expose())?;
        let now = event.time;
        within!(&mut unit.work, execute: sqlx::query(PUT_SECRET).bind(client_id.as_str()).bind(&sealed).bind(now.seconds()))?;
        unit.record_change(ChangeKind::Client, client_id.as_str(), now).await?;
        unit.commit(self, event).await?;
        Ok(SecretReplaced::Now)
    }

    /// Removes a client and, in the same transaction, its grants and what people allowed it, revokes its tokens by a rule, and ends what
    /// others were granted by them, each by a rule of its own; `None` when there is no such client.
    ///
    /// The rules stay in force when a client of that name is added again: tokens issued until `window.before` remain revoked, and none is
    /// refreshed.
    pub async fn remove_client(
        &self,
        client_id: &ClientId,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Option<Vec<RevocationRule>>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let removed = within!(&mut unit.work, execute: sqlx::query(DELETE).bind(client_id.as_str()))?;
        if removed == 0 {
            return Ok(None);
        }
        within!(&mut unit.work, execute: sqlx::query(DELETE_SECRET).bind(client_id.as_str()))?;
        client_registration::forget(&mut unit, client_id).await?;
        consent::forget_client(&mut unit, client_id).await?;
        unit.record_change(ChangeKind::Client, client_id.as_str(), now).await?;
        let rule = NewRule { kind: RuleKind::Client, value: client_id.as_str().to_owned(), window };
        let mut rules = vec![super::revocation::write(&mut unit, &rule, None, now).await?];
        rules.extend(grant_family::end_of_client(&mut unit, client_id, window, now).await?);
        let event = AuditEvent::ClientRemoved { client_id: client_id.clone() };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(Some(rules))
    }

    /// What the secrets of this deployment's clients are hashed with.
    pub fn secret_key(&self) -> SecretKey {
        self.inner.secret_key.clone()
    }

    fn client_record(&self, (client_id, metadata_json, sealed): Row) -> Result<ClientRecord, StoreError> {
        let secret = match sealed {
            None => None,
            Some(sealed) => {
                let bytes = self.unseal(&CLIENT_SECRET, &client_id, &sealed)?;
                Some(SecretRecord::new(bytes.to_vec(), Some(self.secret_key())))
            }
        };
        match client_id.parse() {
            Ok(client_id) => Ok(ClientRecord { client_id, metadata_json, secret }),
            Err(problem) => Err(StoreError::Corrupt(format!("table client: client_id {client_id:?} {problem}"))),
        }
    }
}

const ALL: &str = "SELECT client.client_id, client.metadata, client_secret.secret_sealed FROM client \
     LEFT JOIN client_secret ON client_secret.client_id = client.client_id ORDER BY client.client_id";
const PAGE: &str = "SELECT client.client_id, client.metadata, client_secret.secret_sealed FROM client \
     LEFT JOIN client_secret ON client_secret.client_id = client.client_id \
     WHERE client.client_id > $1 ORDER BY client.client_id LIMIT $2";
const ONE: &str = "SELECT client.client_id, client.metadata, client_secret.secret_sealed FROM client \
     LEFT JOIN client_secret ON client_secret.client_id = client.client_id WHERE client.client_id = $1";
const PUT_SECRET: &str = "INSERT INTO client_secret (client_id, secret_sealed, changed) VALUES ($1, $2, $3) \
     ON CONFLICT (client_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, changed = excluded.changed";
const DELETE_SECRET: &str = "DELETE FROM client_secret WHERE client_id = $1";
const INSERT: &str = "INSERT INTO client (client_id, metadata, created, changed) VALUES ($1, $2, $3, $3)";
const UPDATE: &str = "UPDATE client SET metadata = $2, changed = $3 WHERE client_id = $1";
const DELETE: &str = "DELETE FROM client WHERE client_id = $1";

#[cfg(test)]
use super::trial::{Mark, NOW, Trial, Uses};

#[cfg(test)]
fn marked(mark: &Mark) -> ClientRecord {
    let secret = Some(SecretRecord::new(mark.secret.clone().into_bytes(), None));
    ClientRecord { client_id: mark.id(), metadata_json: "{}".into(), secret }
}

#[cfg(test)]
pub(super) const TRIAL: Trial = Trial {
    table: "client",
    write: |store, mark| {
        Box::pin(async move {
            assert_eq!(store.put_client(&marked(mark), PutMode::Add, NOW).await.expect("put"), Put::Added);
        })
    },
    stands: |store, mark| Box::pin(async move { store.client(&mark.id()).await.expect("read") == Some(marked(mark)) }),
    uses: Uses::Many("a registration"),
};

#[cfg(test)]
pub(super) const SECRET_TRIAL: Trial = Trial {
    table: "client_secret",
    write: |store, mark| {
        Box::pin(async move {
            let (known, first) = (marked(mark), marked(&mark.beside("first")).secret.expect("a secret"));
            let before = ClientRecord { secret: Some(first.clone()), ..known.clone() };
            assert_eq!(store.put_client(&before, PutMode::Add, NOW).await.expect("put"), Put::Added);
            let next = known.secret.as_ref().expect("a secret");
            let replaced = store.replace_client_secret(&known.client_id, &first, next, &mark.event()).await;
            assert_eq!(replaced.expect("answered"), SecretReplaced::Now);
        })
    },
    stands: TRIAL.stands,
    uses: Uses::Many("a client proves itself by its secret again and again"),
};
