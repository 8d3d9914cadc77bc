//! Signing keys. The private half is sealed from its first commit.

use std::fmt;

use zeroize::Zeroizing;

use super::engine::read;
use super::sealed::SIGNING_KEY;
use super::work::{NumberedWork, within};
use super::{ChangeKind, Store, StoreError};
use crate::domain::{KeyId, Timestamp};
use crate::event::{AuditEvent, Trailed};

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningKeyState {
    /// Published, not yet used.
    Next,
    /// The one that signs.
    Current,
    /// Published until the last token it signed has expired; signs no more.
    Retired,
}

impl SigningKeyState {
    const fn code(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Retired => "retired",
        }
    }
}

/// A signing key as stored, opened.
#[derive(Clone)]
pub struct SigningKeyRecord {
    /// Its RFC 7638 thumbprint.
    pub key_id: KeyId,
    /// The JWS algorithm it signs with.
    pub algorithm: String,
    /// Where it stands in its life.
    pub state: SigningKeyState,
    /// The public half, a JWK as JSON.
    pub public_jwk: String,
    /// The private half, PKCS #8 DER. Wiped when dropped.
    pub private_pkcs8: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub created: Timestamp,
}

impl fmt::Debug for SigningKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyRecord")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .field("state", &self.state)
            .field("private_pkcs8", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// Whether a signing key was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAdded {
    /// It is now the current one.
    Added,
    /// Another one is current already, perhaps made by another replica a moment ago; nothing was written.
    Present,
}

type Row = (String, String, String, String, Vec<u8>, i64);

impl Store {
    /// Every signing key, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        rows.into_iter().map(|row| self.signing_key(row)).collect()
    }

    /// Seals and writes a key as the current one unless there is one; of many replicas that try at once exactly one succeeds.
    /// Commits with its event, `signing_key_created`.
    pub async fn add_signing_key_if_none(&self, key: &SigningKeyRecord) -> Result<KeyAdded, StoreError> {
        let key_id = key.key_id.as_str();
        let sealed = self.seal(&SIGNING_KEY, key_id, &key.private_pkcs8)?;
        let mut unit = NumberedWork::begin(&self.inner.db).await?;
        let current: Option<(String,)> =
            within!(&mut unit.work, fetch_optional: sqlx::query_as(IN_STATE).bind(SigningKeyState::Current.code()))?;
        if current.is_some() {
            return Ok(KeyAdded::Present);
        }
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(key_id)
                .bind(&key.algorithm)
                .bind(SigningKeyState::Current.code())
                .bind(&key.public_jwk)
                .bind(&sealed)
                .bind(key.created.seconds()))?;
        unit.record_change(ChangeKind::SigningKey, key_id, key.created).await?;
        let event = AuditEvent::SigningKeyCreated { key_id: key.key_id.clone(), algorithm: key.algorithm.clone() };
        unit.commit(self, &Trailed { time: key.created, event }).await?;
        Ok(KeyAdded::Added)
    }

    fn signing_key(&self, (key_id, algorithm, state, public_jwk, sealed, created): Row) -> Result<SigningKeyRecord, StoreError> {
        let corrupt = |problem: String| StoreError::Corrupt(format!("table signing_key, key {key_id:?}: {problem}"));
        let states = [SigningKeyState::Next, SigningKeyState::Current, SigningKeyState::Retired];
        let state = states.into_iter().find(|known| known.code() == state).ok_or_else(|| corrupt(format!("state {state:?}")))?;
        let private_pkcs8 = self.unseal(&SIGNING_KEY, &key_id, &sealed)?;
        let key_id = key_id.parse().map_err(|problem| corrupt(format!("its id {problem}")))?;
        Ok(SigningKeyRecord { key_id, algorithm, state, public_jwk, private_pkcs8, created: Timestamp::from_seconds(created) })
    }
}

#[cfg(test)]
pub(super) fn sample(store: &Store) -> futures_util::future::BoxFuture<'_, ()> {
    Box::pin(async move {
        let key = SigningKeyRecord {
            key_id: "sample".parse().expect("a key id"),
            algorithm: "ES256".into(),
            state: SigningKeyState::Current,
            public_jwk: "{}".into(),
            private_pkcs8: Zeroizing::new(b"private".to_vec()),
            created: Timestamp::from_seconds(1_800_000_000),
        };
        store.add_signing_key_if_none(&key).await.expect("added");
    })
}

const ALL: &str =
    "SELECT key_id, algorithm, state, public_jwk, private_sealed, created FROM signing_key ORDER BY created, key_id";
const IN_STATE: &str = "SELECT key_id FROM signing_key WHERE state = $1 LIMIT 1";
const INSERT: &str = "INSERT INTO signing_key (key_id, algorithm, state, public_jwk, private_sealed, created) \
     VALUES ($1, $2, $3, $4, $5, $6)";
