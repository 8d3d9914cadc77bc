//! Authorities by anchor set. A row is a key in a set; certificate, label and date are sealed for both, so that a row that was written by
//! somebody else, or for another set, does not open.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::engine::read;
use super::sealed::ANCHOR;
use super::work::{NumberedWork, within};
use super::{ChangeKind, Store, StoreError};
use crate::domain::{Thumbprint, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::jose::base64url;
use crate::pki::Certificate;

/// Authorities that one set may have in the store. Their names go into every handshake.
pub const MOST_ANCHORS: i64 = 256;

/// An authority as stored, opened.
#[derive(Clone, Debug)]
pub struct AnchorRecord {
    /// Its certificate.
    pub certificate: Certificate,
    /// What whoever added it calls it; may be empty.
    pub label: String,
    /// When it was added.
    pub added: Timestamp,
}

/// A row, which may be of no use.
#[derive(Debug)]
pub struct AnchorRow {
    /// The set.
    pub set: String,
    /// SHA-256 of its public key in base64url, as the row says.
    pub spki: String,
    /// What is sealed in it, or why that does not count.
    pub opened: Result<AnchorRecord, StoreError>,
}

/// What came of adding an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorAdded {
    /// It is there now.
    Now,
    /// It is there now in place of another certificate of the same key, or of a row that was of no use.
    Instead,
    /// The same certificate was there already; nothing was written.
    Already,
    /// The set has as many as there may be; nothing was written.
    TooMany,
}

/// An authority was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorRemoved {
    /// How many the set has left in the store.
    pub left: i64,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    certificate: String,
    label: String,
    added: i64,
}

impl Store {
    /// Every authority of every set, in the order of sets and keys.
    ///
    /// # Errors
    /// When the database does not answer. What is wrong with a row is said in its place.
    pub async fn anchors(&self) -> Result<Vec<AnchorRow>, StoreError> {
        let rows: Vec<(String, String, Vec<u8>)> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        let row = |(set, spki, sealed): (String, String, Vec<u8>)| {
            let opened = self.open_anchor(&set, &spki, &sealed);
            AnchorRow { set, spki, opened }
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Adds an authority to a set, with its event (`anchor_added`). The caller has judged that it is one.
    ///
    /// # Errors
    /// When the database does not answer; nothing was changed then.
    pub async fn add_anchor(&self, set: &str, record: &AnchorRecord) -> Result<AnchorAdded, StoreError> {
        let certificate = &record.certificate;
        let spki = certificate.spki_sha256().to_string();
        let content = Sealed {
            certificate: base64url::encode(certificate.der()),
            label: record.label.clone(),
            added: record.added.seconds(),
        };
        let content = serde_json::to_vec(&content).map_err(|error| StoreError::Defect(format!("an anchor: {error}")))?;
        let sealed = self.seal(&ANCHOR, &row_name(set, &spki), &content)?;
        // The lock of the control plane: between the look and the writing nobody adds or removes.
        let mut unit = NumberedWork::begin(self).await?;
        let known: Option<(Vec<u8>,)> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ONE).bind(set).bind(&spki))?;
        let added = match known.map(|(known,)| self.open_anchor(set, &spki, &known)) {
            Some(Ok(known)) if known.certificate == *certificate => return Ok(AnchorAdded::Already),
            Some(_) => AnchorAdded::Instead,
            None => AnchorAdded::Now,
        };
        let (count,): (i64,) = within!(&mut unit.work, fetch_one: sqlx::query_as(COUNT).bind(set))?;
        if added == AnchorAdded::Now && count >= MOST_ANCHORS {
            return Ok(AnchorAdded::TooMany);
        }
        within!(&mut unit.work, execute: sqlx::query(UPSERT).bind(set).bind(&spki).bind(&sealed))?;
        unit.record_change(ChangeKind::Anchor, set, record.added).await?;
        let event = AuditEvent::AnchorAdded {
            anchor_set: set.to_owned(),
            anchor: certificate.spki_sha256(),
            certificate: certificate.thumbprint(),
            subject: certificate.subject().to_string(),
        };
        unit.commit(self, &Trailed { time: record.added, event }).await?;
        Ok(added)
    }

    /// Removes an authority from a set, also one whose row is of no use, with its event (`anchor_removed`). None when there is none.
    ///
    /// # Errors
    /// When the database does not answer; nothing was changed then.
    pub async fn remove_anchor(
        &self,
        set: &str,
        anchor: &Thumbprint,
        now: Timestamp,
    ) -> Result<Option<AnchorRemoved>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        if within!(&mut unit.work, execute: sqlx::query(DELETE).bind(set).bind(anchor.to_string()))? == 0 {
            return Ok(None);
        }
        let (left,): (i64,) = within!(&mut unit.work, fetch_one: sqlx::query_as(COUNT).bind(set))?;
        unit.record_change(ChangeKind::Anchor, set, now).await?;
        let event = AuditEvent::AnchorRemoved { anchor_set: set.to_owned(), anchor: *anchor };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(Some(AnchorRemoved { left }))
    }

    fn open_anchor(&self, set: &str, spki: &str, sealed: &[u8]) -> Result<AnchorRecord, StoreError> {
        let row = row_name(set, spki);
        let corrupt = |problem: &str| StoreError::Corrupt(format!("table anchor: row {row}: {problem}"));
        let content = self.unseal(&ANCHOR, &row, sealed)?;
        let content: Sealed = serde_json::from_slice(&content).map_err(|_| corrupt("not what this program seals"))?;
        let der = base64url::decode(&content.certificate).map_err(|_| corrupt("its certificate is not base64url"))?;
        let certificate = Certificate::from_der(CertificateDer::from(der)).map_err(|error| corrupt(&error.to_string()))?;
        if certificate.spki_sha256().to_string() != spki {
            return Err(corrupt("its certificate has another key"));
        }
        Ok(AnchorRecord { certificate, label: content.label, added: Timestamp::from_seconds(content.added) })
    }
}

/// Keys have one length, so that no set and key are taken for another set and key.
fn row_name(set: &str, spki: &str) -> String {
    format!("{set} {spki}")
}

const ALL: &str = "SELECT anchor_set, spki, anchor_sealed FROM anchor ORDER BY anchor_set, spki";
const ONE: &str = "SELECT anchor_sealed FROM anchor WHERE anchor_set = $1 AND spki = $2";
const COUNT: &str = "SELECT COUNT(*) FROM anchor WHERE anchor_set = $1";
const UPSERT: &str = "INSERT INTO anchor (anchor_set, spki, anchor_sealed) VALUES ($1, $2, $3) \
     ON CONFLICT (anchor_set, spki) DO UPDATE SET anchor_sealed = excluded.anchor_sealed";
const DELETE: &str = "DELETE FROM anchor WHERE anchor_set = $1 AND spki = $2";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "anchor",
    write: |store, mark| {
        Box::pin(async move {
            let certificate = crate::pki::fixture::Authority::new(&mark.name).certificate;
            let record = AnchorRecord { certificate, label: mark.secret.clone(), added: super::trial::NOW };
            let added = store.add_anchor(&mark.name, &record).await;
            assert_eq!(added.expect("answered"), AnchorAdded::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let rows = store.anchors().await.expect("read");
            let mut own = rows.into_iter().filter(|row| row.set == mark.name).map(|row| row.opened.expect("opens"));
            own.next().is_some_and(|record| record.label == mark.secret) && own.next().is_none()
        })
    },
    uses: super::trial::Uses::Many("an authority is accepted until it is removed"),
};
