//! Signing keys and the steps of their life. The private half is sealed from its first commit. Per algorithm at most one key is
//! current and at most one is next; each step is decided under the lock of the control plane, so that of many replicas one takes it.

use std::fmt;

use zeroize::Zeroizing;

use super::engine::read;
use super::revocation::{NewRule, RuleWindow, write as write_rule};
use super::sealed::SIGNING_KEY;
use super::work::{NumberedWork, within};
use super::{ChangeKind, Store, StoreError};
use crate::domain::{KeyId, RuleKind, Timestamp};
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
    /// The word for it, in the database and for people.
    pub const fn code(self) -> &'static str {
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
    /// When it began to sign. None for a key that is next.
    pub activated: Option<Timestamp>,
    /// When it stopped signing. None for one that has not.
    pub retired: Option<Timestamp>,
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

/// Whether a step in the life of a signing key was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStep {
    /// It was, by this call.
    Taken,
    /// There was nothing to do, perhaps because another replica did it a moment ago; nothing was written.
    Nothing,
}

type Row = (String, String, String, String, Vec<u8>, i64, Option<i64>, Option<i64>);

impl Store {
    /// Every signing key, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        rows.into_iter().map(|row| self.signing_key(row)).collect()
    }

    /// Seals and writes a key in its state, unless another one of its algorithm is in that state; of many replicas that try at once
    /// exactly one succeeds. Commits with its event, `signing_key_created`.
    pub async fn add_signing_key(&self, key: &SigningKeyRecord) -> Result<KeyStep, StoreError> {
        let sealed = self.seal(&SIGNING_KEY, key.key_id.as_str(), &key.private_pkcs8)?;
        let mut unit = NumberedWork::begin(self).await?;
        if in_state(&mut unit, &key.algorithm, key.state).await?.is_some() {
            return Ok(KeyStep::Nothing);
        }
        insert(&mut unit, key, &sealed).await?;
        let event = AuditEvent::SigningKeyCreated { key_id: key.key_id.clone(), algorithm: key.algorithm.clone() };
        unit.commit(self, &Trailed { time: key.created, event }).await?;
        Ok(KeyStep::Taken)
    }

    /// Makes the next key of an algorithm the current one, and the current one retired. Commits with its event,
    /// `signing_key_activated`. Nothing is done unless `next` is still next.
    pub async fn activate_signing_key(&self, algorithm: &str, next: &KeyId, now: Timestamp) -> Result<KeyStep, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        if in_state(&mut unit, algorithm, SigningKeyState::Next).await?.as_deref() != Some(next.as_str()) {
            return Ok(KeyStep::Nothing);
        }
        let former = in_state(&mut unit, algorithm, SigningKeyState::Current).await?;
        if let Some(former) = &former {
            within!(&mut unit.work, execute: sqlx::query(RETIRE).bind(former).bind(now.seconds()))?;
        }
        within!(&mut unit.work, execute: sqlx::query(ACTIVATE).bind(next.as_str()).bind(now.seconds()))?;
        unit.record_change(ChangeKind::SigningKey, next.as_str(), now).await?;
        let retired = former.and_then(|former| former.parse().ok());
        let event = AuditEvent::SigningKeyActivated { key_id: next.clone(), algorithm: algorithm.to_owned(), retired };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(KeyStep::Taken)
    }

    /// Retires the current key of an algorithm that signs nothing any more. Commits with its event, `signing_key_retired`.
    pub async fn retire_signing_key(&self, key_id: &KeyId, now: Timestamp) -> Result<KeyStep, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let retired = within!(&mut unit.work, execute: sqlx::query(RETIRE).bind(key_id.as_str()).bind(now.seconds()))?;
        if retired == 0 {
            return Ok(KeyStep::Nothing);
        }
        unit.record_change(ChangeKind::SigningKey, key_id.as_str(), now).await?;
        let event = AuditEvent::SigningKeyRetired { key_id: key_id.clone() };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(KeyStep::Taken)
    }

    /// Deletes a key that retired at or before `before`. Commits with its event, `signing_key_deleted`.
    pub async fn delete_retired_signing_key(
        &self,
        key_id: &KeyId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<KeyStep, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let deleted = within!(&mut unit.work, execute: sqlx::query(DELETE_RETIRED).bind(key_id.as_str()).bind(before.seconds()))?;
        if deleted == 0 {
            return Ok(KeyStep::Nothing);
        }
        unit.record_change(ChangeKind::SigningKey, key_id.as_str(), now).await?;
        let event = AuditEvent::SigningKeyDeleted { key_id: key_id.clone() };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(KeyStep::Taken)
    }

    /// Deletes a key whatever its state, and makes the rule that refuses everything it signed, in one commit with the event
    /// `signing_key_revoked`. Where it was current, the next key takes its place, or `replacement` where there is none.
    pub async fn revoke_signing_key(
        &self,
        key_id: &KeyId,
        replacement: &SigningKeyRecord,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<KeyStep, StoreError> {
        let sealed = self.seal(&SIGNING_KEY, replacement.key_id.as_str(), &replacement.private_pkcs8)?;
        let mut unit = NumberedWork::begin(self).await?;
        let found: Option<(String, String)> =
            within!(&mut unit.work, fetch_optional: sqlx::query_as(DELETE).bind(key_id.as_str()))?;
        let Some((algorithm, state)) = found else { return Ok(KeyStep::Nothing) };
        if state == SigningKeyState::Current.code() {
            match in_state(&mut unit, &algorithm, SigningKeyState::Next).await? {
                Some(next) => drop(within!(&mut unit.work, execute: sqlx::query(ACTIVATE).bind(next).bind(now.seconds()))?),
                None if replacement.algorithm == algorithm => insert(&mut unit, replacement, &sealed).await?,
                None => return Err(StoreError::Defect(format!("a replacement for a key of another algorithm, {algorithm}"))),
            }
        }
        unit.record_change(ChangeKind::SigningKey, key_id.as_str(), now).await?;
        write_rule(&mut unit, &NewRule { kind: RuleKind::Key, value: key_id.to_string(), window }, None, now).await?;
        let event = AuditEvent::SigningKeyRevoked { key_id: key_id.clone() };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(KeyStep::Taken)
    }

    fn signing_key(&self, row: Row) -> Result<SigningKeyRecord, StoreError> {
        let (key_id, algorithm, state, public_jwk, sealed, created, activated, retired) = row;
        let corrupt = |problem: String| StoreError::Corrupt(format!("table signing_key, key {key_id:?}: {problem}"));
        let states = [SigningKeyState::Next, SigningKeyState::Current, SigningKeyState::Retired];
        let state = states.into_iter().find(|known| known.code() == state).ok_or_else(|| corrupt(format!("state {state:?}")))?;
        let private_pkcs8 = self.unseal(&SIGNING_KEY, &key_id, &sealed)?.into();
        let key_id = key_id.parse().map_err(|problem| corrupt(format!("its id {problem}")))?;
        Ok(SigningKeyRecord {
            key_id,
            algorithm,
            state,
            public_jwk,
            private_pkcs8,
            created: Timestamp::from_seconds(created),
            activated: activated.map(Timestamp::from_seconds),
            retired: retired.map(Timestamp::from_seconds),
        })
    }
}

async fn in_state(unit: &mut NumberedWork, algorithm: &str, state: SigningKeyState) -> Result<Option<String>, StoreError> {
    let found: Option<(String,)> =
        within!(&mut unit.work, fetch_optional: sqlx::query_as(IN_STATE).bind(algorithm).bind(state.code()))?;
    Ok(found.map(|(key_id,)| key_id))
}

async fn insert(unit: &mut NumberedWork, key: &SigningKeyRecord, sealed: &[u8]) -> Result<(), StoreError> {
    within!(&mut unit.work, execute: sqlx::query(INSERT)
            .bind(key.key_id.as_str())
            .bind(&key.algorithm)
            .bind(key.state.code())
            .bind(&key.public_jwk)
            .bind(sealed)
            .bind(key.created.seconds())
            .bind(key.activated.map(Timestamp::seconds)))?;
    unit.record_change(ChangeKind::SigningKey, key.key_id.as_str(), key.created).await?;
    Ok(())
}

const ALL: &str = "SELECT key_id, algorithm, state, public_jwk, private_sealed, created, activated, retired FROM signing_key \
     ORDER BY created, key_id";
const IN_STATE: &str = "SELECT key_id FROM signing_key WHERE algorithm = $1 AND state = $2";
const INSERT: &str = "INSERT INTO signing_key (key_id, algorithm, state, public_jwk, private_sealed, created, activated) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const ACTIVATE: &str = "UPDATE signing_key SET state = 'current', activated = $2 WHERE key_id = $1 AND state = 'next'";
const RETIRE: &str = "UPDATE signing_key SET state = 'retired', retired = $2 WHERE key_id = $1 AND state = 'current'";
const DELETE_RETIRED: &str = "DELETE FROM signing_key WHERE key_id = $1 AND state = 'retired' AND retired <= $2";
const DELETE: &str = "DELETE FROM signing_key WHERE key_id = $1 RETURNING algorithm, state";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "signing_key",
    write: |store, mark| {
        Box::pin(async move {
            let key = SigningKeyRecord {
                key_id: mark.id(),
                // There is one current key for each.
                algorithm: mark.name.clone(),
                state: SigningKeyState::Current,
                public_jwk: "{}".into(),
                private_pkcs8: Zeroizing::new(mark.secret.clone().into_bytes()),
                created: super::trial::NOW,
                activated: Some(super::trial::NOW),
                retired: None,
            };
            assert_eq!(store.add_signing_key(&key).await.expect("added"), KeyStep::Taken);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let keys = store.signing_keys().await.expect("keys");
            keys.iter().any(|key| key.key_id == mark.id() && key.private_pkcs8.as_slice() == mark.secret.as_bytes())
        })
    },
    uses: super::trial::Uses::Many("a key signs until its turn is over"),
};
