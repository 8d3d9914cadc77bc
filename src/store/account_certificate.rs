//! Certificates that people sign in with: what a certificate is known by names one account at most.

use std::fmt;

use zeroize::Zeroizing;

use super::engine::read;
use super::sealed::ACCOUNT_CERTIFICATE;
use super::way_in::{Adding, Linked, TakingAway, Unlinked, Unlinking};
use super::work::{NumberedWork, Work, within};
use super::{RuleWindow, Store, StoreError};
use crate::domain::{CertificateLinkId, SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;

/// What the keyed hash is for of what a certificate is known by.
const MATCH: &str = "account_certificate.match_index";

/// A link to be.
#[derive(Clone, Copy)]
pub struct NewCertificateLink<'a> {
    /// Its name.
    pub link: &'a CertificateLinkId,
    /// Whose.
    pub subject: &'a Subject,
    /// The session that it is linked in, where it is one: it must be there still.
    pub session: Option<&'a SessionId>,
    /// What the certificate is known by, in the words of whoever looks it up.
    pub known_by: &'a str,
    /// What the person reads of it; sealed.
    pub label: &'a [u8],
    /// How many links one person may have.
    pub most: u32,
}

impl fmt::Debug for NewCertificateLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCertificateLink").field("link", self.link).field("subject", self.subject).finish_non_exhaustive()
    }
}

/// A link as stored. See [`Store::open_certificate_link`].
#[derive(Clone, Debug)]
pub struct CertificateLinkRecord {
    /// Its name.
    pub link: CertificateLinkId,
    /// Since when.
    pub created: Timestamp,
    label: Vec<u8>,
}

impl Store {
    /// Whose certificate it is that is known by this.
    pub async fn linked_account(&self, known_by: &str) -> Result<Option<Subject>, StoreError> {
        let mut found = None;
        for index in self.indexes(MATCH, known_by.as_bytes()) {
            let row: Option<(String,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(WHOSE).bind(index))?;
            found = found.or(row);
        }
        let corrupt = |problem| StoreError::Corrupt(format!("table account_certificate: its subject {problem}"));
        found.map(|(subject,)| subject.parse().map_err(corrupt)).transpose()
    }

    /// A person's links, the oldest first.
    pub async fn certificate_links(&self, subject: &Subject) -> Result<Vec<CertificateLinkRecord>, StoreError> {
        let rows: Vec<(String, Vec<u8>, i64)> =
            read!(&self.inner.db, fetch_all: sqlx::query_as(OF_SUBJECT).bind(subject.as_str()))?;
        let record = |(link, label, created): (String, Vec<u8>, i64)| {
            let corrupt = |problem| StoreError::Corrupt(format!("table account_certificate: link_id {problem}"));
            Ok(CertificateLinkRecord { link: link.parse().map_err(corrupt)?, created: Timestamp::from_seconds(created), label })
        };
        rows.into_iter().map(record).collect()
    }

    /// What the person reads of a link.
    pub fn open_certificate_link(
        &self,
        record: &CertificateLinkRecord,
        key: &PersonKey,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &ACCOUNT_CERTIFICATE, record.link.as_str(), &record.label)
    }

    /// Links a certificate to an account, with its event (`certificate_linked`).
    pub async fn link_certificate(
        &self,
        new: &NewCertificateLink<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<Linked, StoreError> {
        let (link, subject) = (new.link.as_str(), new.subject);
        let sealed = self.seal_for(key, &ACCOUNT_CERTIFICATE, link, new.label)?;
        // The lock of the control plane: between the look and the insertion nobody links.
        let mut unit = NumberedWork::begin(self).await?;
        let (session, known_by, most) = (new.session, new.known_by.as_bytes(), new.most);
        let adding = Adding { subject, session, known_by, purpose: MATCH, whose: WHOSE, count: COUNT, most };
        let index = match self.may_add(&mut unit, &adding).await? {
            Ok(index) => index,
            Err(refused) => return Ok(refused),
        };
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(link)
                .bind(subject.as_str())
                .bind(index)
                .bind(&sealed)
                .bind(now.seconds()))?;
        let event = AuditEvent::CertificateLinked { subject: subject.clone(), link: new.link.clone() };
        unit.work.record_event(&Trailed { time: now, event }).await?;
        unit.commit_numbered(self).await?;
        Ok(Linked::Now)
    }

    /// Takes a link away, with its event (`certificate_unlinked`), and what may have come of it.
    pub async fn unlink_certificate(
        &self,
        link: &CertificateLinkId,
        subject: &Subject,
        by: Unlinking<'_>,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        let event = AuditEvent::CertificateUnlinked { subject: subject.clone(), link: link.clone() };
        let (why, name) = (SessionEnd::CertificateUnlinked, link.as_str());
        self.take_away(TakingAway { subject, delete: DELETE, name, by, why, event }, window, now).await
    }
}

/// Takes a person's links away within the unit of work that removes them.
pub(super) async fn forget(work: &mut Work, subject: &Subject) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(FORGET).bind(subject.as_str()))?;
    Ok(())
}

const WHOSE: &str = "SELECT subject FROM account_certificate WHERE match_index = $1";
const OF_SUBJECT: &str =
    "SELECT link_id, label_sealed, created FROM account_certificate WHERE subject = $1 ORDER BY created, link_id";
const COUNT: &str = "SELECT COUNT(*) FROM account_certificate WHERE subject = $1";
const INSERT: &str =
    "INSERT INTO account_certificate (link_id, subject, match_index, label_sealed, created) VALUES ($1, $2, $3, $4, $5)";
const DELETE: &str = "DELETE FROM account_certificate WHERE link_id = $1 AND subject = $2";
const FORGET: &str = "DELETE FROM account_certificate WHERE subject = $1";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "account_certificate",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let (link, subject, secret) = (mark.id(), mark.id(), &mark.secret);
            let new = NewCertificateLink {
                link: &link,
                subject: &subject,
                session: None,
                known_by: secret,
                label: secret.as_bytes(),
                most: 1,
            };
            let linked = store.link_certificate(&new, &mark.key(), super::trial::NOW).await;
            assert_eq!(linked.expect("answered"), Linked::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let links = store.certificate_links(&mark.id()).await.expect("read");
            let [link] = links.as_slice() else { return false };
            let label = store.open_certificate_link(link, &mark.key()).expect("opens");
            *label == *mark.secret.as_bytes() && store.linked_account(&mark.secret).await.expect("read") == Some(mark.id())
        })
    },
    uses: super::trial::Uses::Many("its person signs in with it until it is taken away"),
};
