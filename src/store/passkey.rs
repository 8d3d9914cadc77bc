//! Passkeys of people: a credential's id names one of one person.

use std::fmt;

use zeroize::Zeroizing;

use super::engine::read;
use super::sealed::PASSKEY;
use super::way_in::{Adding, Linked, TakingAway, Unlinked, Unlinking};
use super::work::{NumberedWork, Work, within};
use super::{RuleWindow, Store, StoreError};
use crate::domain::{PasskeyId, SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;

/// What the keyed hash of a credential's id is for.
const CREDENTIAL: &str = "passkey.credential_index";

/// A passkey to be.
#[derive(Clone, Copy)]
pub struct NewPasskey<'a> {
    /// Its name.
    pub passkey: &'a PasskeyId,
    /// Whose.
    pub subject: &'a Subject,
    /// The session that it is made in, which must be there still.
    pub session: Option<&'a SessionId>,
    /// The credential's id, as the authenticator made it.
    pub credential_id: &'a [u8],
    /// The key and what there is to read of it; sealed.
    pub credential: &'a [u8],
    /// The signature counter when it was made.
    pub sign_count: u32,
    /// How many passkeys one person may have.
    pub most: u32,
}

impl fmt::Debug for NewPasskey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewPasskey").field("passkey", self.passkey).field("subject", self.subject).finish_non_exhaustive()
    }
}

/// Whether a passkey's use was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasskeyUsed {
    /// It is now.
    Now,
    /// Its counter has gone further meanwhile; nothing was written.
    Behind,
    /// It was taken away meanwhile.
    Gone,
}

/// A passkey as stored. See [`Store::open_passkey`].
#[derive(Clone, Debug)]
pub struct PasskeyRecord {
    /// Its name.
    pub passkey: PasskeyId,
    /// Whose.
    pub subject: Subject,
    /// Since when.
    pub created: Timestamp,
    /// When it was last used; when it was made, if it never was.
    pub used: Timestamp,
    credential: Vec<u8>,
}

type Row = (String, String, Vec<u8>, i64, i64);

fn record((passkey, subject, credential, created, used): Row) -> Result<PasskeyRecord, StoreError> {
    let corrupt = |problem| StoreError::Corrupt(format!("table passkey, passkey {passkey:?}: {problem}"));
    Ok(PasskeyRecord {
        passkey: passkey.parse().map_err(corrupt)?,
        subject: subject.parse().map_err(corrupt)?,
        created: Timestamp::from_seconds(created),
        used: Timestamp::from_seconds(used),
        credential,
    })
}

impl Store {
    /// The passkey with this credential id.
    pub async fn passkey_with(&self, credential_id: &[u8]) -> Result<Option<PasskeyRecord>, StoreError> {
        for index in self.indexes(CREDENTIAL, credential_id) {
            let row: Option<Row> = read!(&self.inner.db, fetch_optional: sqlx::query_as(WITH_INDEX).bind(index))?;
            if let Some(row) = row {
                return record(row).map(Some);
            }
        }
        Ok(None)
    }

    /// A person's passkeys, the oldest first.
    pub async fn passkeys(&self, subject: &Subject) -> Result<Vec<PasskeyRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(OF_SUBJECT).bind(subject.as_str()))?;
        rows.into_iter().map(record).collect()
    }

    /// The key and what there is to read of it.
    pub fn open_passkey(&self, record: &PasskeyRecord, key: &PersonKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &PASSKEY, record.passkey.as_str(), &record.credential)
    }

    /// Adds a passkey, with its event (`passkey_added`).
    pub async fn add_passkey(&self, new: &NewPasskey<'_>, key: &PersonKey, now: Timestamp) -> Result<Linked, StoreError> {
        let (passkey, subject) = (new.passkey.as_str(), new.subject);
        let sealed = self.seal_for(key, &PASSKEY, passkey, new.credential)?;
        // The lock of the control plane: between the look and the insertion nobody adds one.
        let mut unit = NumberedWork::begin(self).await?;
        let (session, known_by, most) = (new.session, new.credential_id, new.most);
        let adding = Adding { subject, session, known_by, purpose: CREDENTIAL, whose: WHOSE, count: COUNT, most };
        let index = match self.may_add(&mut unit, &adding).await? {
            Ok(index) => index,
            Err(refused) => return Ok(refused),
        };
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(passkey)
                .bind(subject.as_str())
                .bind(index)
                .bind(&sealed)
                .bind(i64::from(new.sign_count))
                .bind(now.seconds()))?;
        let event = AuditEvent::PasskeyAdded { subject: subject.clone(), passkey: new.passkey.clone() };
        unit.work.record_event(&Trailed { time: now, event }).await?;
        unit.commit_numbered(self).await?;
        Ok(Linked::Now)
    }

    /// Notes a passkey's use, with the counter that it showed and what there is to read of it from now on. Of all who show one counter, in this
    /// process or another, one is first; where an authenticator does not count (0) each is (Web Authentication Level 3 §7.2 step 22).
    pub async fn use_passkey(
        &self,
        record: &PasskeyRecord,
        credential: &[u8],
        sign_count: u32,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<PasskeyUsed, StoreError> {
        let sealed = self.seal_for(key, &PASSKEY, record.passkey.as_str(), credential)?;
        let mut work = Work::begin(self).await?;
        let used = within!(&mut work, execute: sqlx::query(USE)
                .bind(record.passkey.as_str())
                .bind(i64::from(sign_count))
                .bind(sealed)
                .bind(now.seconds()))?;
        if used == 1 {
            work.commit().await?;
            return Ok(PasskeyUsed::Now);
        }
        let there: Option<(i64,)> = within!(&mut work, fetch_optional: sqlx::query_as(SIGN_COUNT).bind(record.passkey.as_str()))?;
        Ok(if there.is_some() { PasskeyUsed::Behind } else { PasskeyUsed::Gone })
    }

    /// Writes down that a passkey's counter did not go up (`passkey_suspected`).
    pub async fn suspect_passkey(&self, record: &PasskeyRecord, now: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        let event = AuditEvent::PasskeySuspected { subject: record.subject.clone(), passkey: record.passkey.clone() };
        work.record_event(&Trailed { time: now, event }).await?;
        work.commit().await
    }

    /// Takes a passkey away, with its event (`passkey_removed`), and what may have come of it.
    pub async fn remove_passkey(
        &self,
        passkey: &PasskeyId,
        subject: &Subject,
        by: Unlinking<'_>,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        let event = AuditEvent::PasskeyRemoved { subject: subject.clone(), passkey: passkey.clone() };
        let (why, name) = (SessionEnd::PasskeyRemoved, passkey.as_str());
        self.take_away(TakingAway { subject, delete: DELETE, name, by, why, event }, window, now).await
    }
}

/// Takes a person's passkeys away within the unit of work that removes them.
pub(super) async fn forget(work: &mut Work, subject: &Subject) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(FORGET).bind(subject.as_str()))?;
    Ok(())
}

const WITH_INDEX: &str = "SELECT passkey_id, subject, credential_sealed, created, used FROM passkey WHERE credential_index = $1";
const WHOSE: &str = "SELECT subject FROM passkey WHERE credential_index = $1";
const OF_SUBJECT: &str = "SELECT passkey_id, subject, credential_sealed, created, used FROM passkey WHERE subject = $1 \
     ORDER BY created, passkey_id";
const COUNT: &str = "SELECT COUNT(*) FROM passkey WHERE subject = $1";
const INSERT: &str = "INSERT INTO passkey (passkey_id, subject, credential_index, credential_sealed, sign_count, created, used) \
     VALUES ($1, $2, $3, $4, $5, $6, $6)";
const USE: &str = "UPDATE passkey SET sign_count = $2, credential_sealed = $3, used = $4 \
     WHERE passkey_id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0))";
const SIGN_COUNT: &str = "SELECT sign_count FROM passkey WHERE passkey_id = $1";
const DELETE: &str = "DELETE FROM passkey WHERE passkey_id = $1 AND subject = $2";
const FORGET: &str = "DELETE FROM passkey WHERE subject = $1";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "passkey",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let (passkey, subject, secret) = (mark.id(), mark.id(), mark.secret.as_bytes());
            let new = NewPasskey {
                passkey: &passkey,
                subject: &subject,
                session: None,
                credential_id: secret,
                credential: secret,
                sign_count: 1,
                most: 1,
            };
            let added = store.add_passkey(&new, &mark.key(), super::trial::NOW).await;
            assert_eq!(added.expect("answered"), Linked::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let Some(record) = store.passkey_with(mark.secret.as_bytes()).await.expect("read") else { return false };
            let credential = store.open_passkey(&record, &mark.key()).expect("opens");
            let listed = store.passkeys(&mark.id()).await.expect("read");
            *credential == *mark.secret.as_bytes() && record.subject == mark.id() && listed.len() == 1
        })
    },
    uses: super::trial::Uses::Once {
        // Each count of its counter is.
        spend: |store, mark| {
            Box::pin(async move {
                let record = store.passkey_with(mark.secret.as_bytes()).await.expect("read").expect("there");
                let used = store.use_passkey(&record, mark.secret.as_bytes(), 2, &mark.key(), super::trial::NOW).await;
                used.expect("answered") == PasskeyUsed::Now
            })
        },
        used: "SELECT CAST(COALESCE(SUM(sign_count - 1), 0) AS BIGINT) FROM passkey",
    },
};
