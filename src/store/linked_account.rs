//! Accounts at other OpenID Providers that people sign in with: each opens one account at most.

use std::fmt;

use zeroize::Zeroizing;

use super::engine::read;
use super::sealed::LINKED_ACCOUNT;
use super::way_in::{Adding, Linked, TakingAway, Unlinked, Unlinking};
use super::work::{NumberedWork, Work, within};
use super::{Added, NewAccount, RuleWindow, Store, StoreError};
use crate::domain::{AccountLinkId, SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;

/// What the keyed hash is for of what an account elsewhere is known by.
const MATCH: &str = "linked_account.match_index";

/// A link to be.
#[derive(Clone, Copy)]
pub struct NewAccountLink<'a> {
    /// Its name.
    pub link: &'a AccountLinkId,
    /// Whose.
    pub subject: &'a Subject,
    /// The session that it is linked in, where it is one: it must be there still.
    pub session: Option<&'a SessionId>,
    /// The provider, for the audit trail.
    pub provider: &'a str,
    /// What the account there is known by, in the words of whoever looks it up.
    pub known_by: &'a str,
    /// What the person reads of it; sealed.
    pub label: &'a [u8],
    /// How many links one person may have.
    pub most: u32,
}

impl fmt::Debug for NewAccountLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccountLink").field("link", self.link).field("subject", self.subject).finish_non_exhaustive()
    }
}

/// A link as stored. See [`Store::open_account_link`].
#[derive(Clone, Debug)]
pub struct AccountLinkRecord {
    /// Its name.
    pub link: AccountLinkId,
    /// Since when.
    pub created: Timestamp,
    label: Vec<u8>,
}

/// Whether an account was made for an account elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedLinked {
    /// It is there now.
    Added,
    /// Another account has this username; nothing was written.
    NameTaken,
    /// The account elsewhere opens one already; nothing was written.
    Linked,
}

impl Store {
    /// Whose account is opened by the one elsewhere that is known by this.
    pub async fn account_linked_to(&self, known_by: &str) -> Result<Option<Subject>, StoreError> {
        let mut found = None;
        for index in self.indexes(MATCH, known_by.as_bytes()) {
            let row: Option<(String,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(WHOSE).bind(index))?;
            found = found.or(row);
        }
        let corrupt = |problem| StoreError::Corrupt(format!("table linked_account: its subject {problem}"));
        found.map(|(subject,)| subject.parse().map_err(corrupt)).transpose()
    }

    /// A person's links, the oldest first.
    pub async fn account_links(&self, subject: &Subject) -> Result<Vec<AccountLinkRecord>, StoreError> {
        let rows: Vec<(String, Vec<u8>, i64)> =
            read!(&self.inner.db, fetch_all: sqlx::query_as(OF_SUBJECT).bind(subject.as_str()))?;
        let record = |(link, label, created): (String, Vec<u8>, i64)| {
            let corrupt = |problem| StoreError::Corrupt(format!("table linked_account: link_id {problem}"));
            Ok(AccountLinkRecord { link: link.parse().map_err(corrupt)?, created: Timestamp::from_seconds(created), label })
        };
        rows.into_iter().map(record).collect()
    }

    /// What the person reads of a link.
    pub fn open_account_link(&self, record: &AccountLinkRecord, key: &PersonKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &LINKED_ACCOUNT, record.link.as_str(), &record.label)
    }

    /// Links an account elsewhere, with its event (`account_linked`).
    pub async fn link_account(&self, new: &NewAccountLink<'_>, key: &PersonKey, now: Timestamp) -> Result<Linked, StoreError> {
        // The lock of the control plane: between the look and the insertion nobody links.
        let mut unit = NumberedWork::begin(self).await?;
        let linked = self.link_within(&mut unit, new, key, now).await?;
        if linked == Linked::Now {
            unit.commit_numbered(self).await?;
        }
        Ok(linked)
    }

    /// Makes an account that an account elsewhere opens, with its events (`account_added`, `account_linked`). Its key must be stored already.
    pub async fn add_linked_account(
        &self,
        new: &NewAccount<'_>,
        link: &NewAccountLink<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<AddedLinked, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        if self.add_within(&mut unit, new, key, now).await? == Added::NameTaken {
            return Ok(AddedLinked::NameTaken);
        }
        match self.link_within(&mut unit, link, key, now).await? {
            Linked::Now => {}
            Linked::Taken | Linked::TooMany | Linked::NoAccount => return Ok(AddedLinked::Linked),
        }
        unit.commit_numbered(self).await?;
        Ok(AddedLinked::Added)
    }

    async fn link_within(
        &self,
        unit: &mut NumberedWork,
        new: &NewAccountLink<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<Linked, StoreError> {
        let (link, subject) = (new.link.as_str(), new.subject);
        let sealed = self.seal_for(key, &LINKED_ACCOUNT, link, new.label)?;
        let (session, known_by, most) = (new.session, new.known_by.as_bytes(), new.most);
        let adding = Adding { subject, session, known_by, purpose: MATCH, whose: WHOSE, count: COUNT, most };
        let index = match self.may_add(unit, &adding).await? {
            Ok(index) => index,
            Err(refused) => return Ok(refused),
        };
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(link)
                .bind(subject.as_str())
                .bind(index)
                .bind(&sealed)
                .bind(now.seconds()))?;
        let event =
            AuditEvent::AccountLinked { subject: subject.clone(), link: new.link.clone(), provider: new.provider.to_owned() };
        unit.work.record_event(&Trailed { time: now, event }).await?;
        Ok(Linked::Now)
    }

    /// Takes a link away, with its event (`account_unlinked`), and what may have come of it.
    pub async fn unlink_account(
        &self,
        link: &AccountLinkId,
        subject: &Subject,
        by: Unlinking<'_>,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        let event = AuditEvent::AccountUnlinked { subject: subject.clone(), link: link.clone() };
        let (why, name) = (SessionEnd::AccountUnlinked, link.as_str());
        self.take_away(TakingAway { subject, delete: DELETE, name, by, why, event }, window, now).await
    }
}

/// Takes a person's links away within the unit of work that removes them.
pub(super) async fn forget(work: &mut Work, subject: &Subject) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(FORGET).bind(subject.as_str()))?;
    Ok(())
}

const WHOSE: &str = "SELECT subject FROM linked_account WHERE match_index = $1";
const OF_SUBJECT: &str = "SELECT link_id, label_sealed, created FROM linked_account WHERE subject = $1 ORDER BY created, link_id";
const COUNT: &str = "SELECT COUNT(*) FROM linked_account WHERE subject = $1";
const INSERT: &str =
    "INSERT INTO linked_account (link_id, subject, match_index, label_sealed, created) VALUES ($1, $2, $3, $4, $5)";
const DELETE: &str = "DELETE FROM linked_account WHERE link_id = $1 AND subject = $2";
const FORGET: &str = "DELETE FROM linked_account WHERE subject = $1";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "linked_account",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let (link, subject, secret) = (mark.id(), mark.id(), &mark.secret);
            let label = secret.as_bytes();
            let new = NewAccountLink {
                link: &link,
                subject: &subject,
                session: None,
                provider: "other",
                known_by: secret,
                label,
                most: 1,
            };
            let linked = store.link_account(&new, &mark.key(), super::trial::NOW).await;
            assert_eq!(linked.expect("answered"), Linked::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let links = store.account_links(&mark.id()).await.expect("read");
            let [link] = links.as_slice() else { return false };
            let label = store.open_account_link(link, &mark.key()).expect("opens");
            *label == *mark.secret.as_bytes() && store.account_linked_to(&mark.secret).await.expect("read") == Some(mark.id())
        })
    },
    uses: super::trial::Uses::Many("its person signs in with it until it is taken away"),
};
