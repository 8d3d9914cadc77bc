//! Accounts of people. What is known of a person is sealed with the person's own key, and an account is found by the keyed hash of
//! its username.

use super::browser_session::{self, Ended, Ending, Which};
use super::engine::read;
use super::sealed::{PASSWORD, PROFILE};
use super::work::{NumberedWork, Work, within};
use super::{
    ChangeKind, NewRule, RuleWindow, Store, StoreError, account_certificate, consent, grant_family, linked_account, passkey,
    second_factor,
};
use crate::domain::{RevocationRule, RuleKind, SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;
use zeroize::Zeroizing;

/// Whether a person may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// They may.
    Active,
    /// They may not, for as long as an operator says so.
    Disabled,
}

impl AccountState {
    /// The name, as the database and the command line have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    pub(super) fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| StoreError::Corrupt(format!("table account: state {name:?}")))
    }
}

/// An account as stored: still sealed. See [`Store::open_profile`] and [`Store::open_password`].
#[derive(Clone, Debug)]
pub struct AccountRecord {
    /// `sub`: random, and never another one.
    pub subject: Subject,
    /// Whether its person may sign in.
    pub state: AccountState,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
    profile: Vec<u8>,
    password: Option<Vec<u8>>,
}

impl AccountRecord {
    /// Whether there is a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// An account to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'a> {
    /// Whose.
    pub subject: &'a Subject,
    /// What it will be found by, normalized.
    pub username: &'a str,
    /// What is known of the person, as JSON.
    pub profile: &'a [u8],
    /// The password's hash, a PHC string.
    pub password: Option<&'a str>,
}

/// Whether an account was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there now.
    Added,
    /// Another account has this username; nothing was written.
    NameTaken,
}

/// What is changed of an account.
#[derive(Clone, Copy, Debug)]
pub enum AccountChange<'a> {
    /// What is known of the person, as JSON.
    Profile(&'a [u8]),
    /// The password's hash. Ends every session but the named one.
    Password {
        /// A PHC string.
        hash: &'a str,
        /// The session in which the person changed it.
        kept: Option<&'a SessionId>,
        /// For the access tokens that hang on the sessions that end.
        window: RuleWindow,
    },
}

type Row = (String, String, Vec<u8>, Option<Vec<u8>>, i64, i64);

impl Store {
    /// Whether there is any account.
    pub async fn has_accounts(&self) -> Result<bool, StoreError> {
        let any: Option<(String,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ANY))?;
        Ok(any.is_some())
    }

    /// The account of this person.
    pub async fn account(&self, subject: &Subject) -> Result<Option<AccountRecord>, StoreError> {
        let row: Option<Row> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(subject.as_str()))?;
        row.map(record).transpose()
    }

    /// The account that this normalized username names. Known or not, the same look-ups are made.
    pub async fn account_named(&self, username: &str) -> Result<Option<AccountRecord>, StoreError> {
        let mut found = None;
        for index in self.indexes(USERNAME, username.as_bytes()) {
            let row: Option<Row> = read!(&self.inner.db, fetch_optional: sqlx::query_as(NAMED).bind(index))?;
            found = found.or(row);
        }
        found.map(record).transpose()
    }

    /// At most `limit` accounts after a subject, in the order of subjects.
    pub async fn accounts(&self, after: &str, limit: i64) -> Result<Vec<AccountRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(PAGE).bind(after).bind(limit))?;
        rows.into_iter().map(record).collect()
    }

    /// What is known of the person, as JSON.
    pub fn open_profile(&self, account: &AccountRecord, key: &PersonKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &PROFILE, account.subject.as_str(), &account.profile)
    }

    /// The password's hash, a PHC string; nothing when there is no password.
    pub fn open_password(&self, account: &AccountRecord, key: &PersonKey) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        account.password.as_ref().map(|sealed| self.unseal_for(key, &PASSWORD, account.subject.as_str(), sealed)).transpose()
    }

    /// An account that is sealed like every other and stored nowhere.
    pub fn unstored_account(&self, new: &NewAccount<'_>, key: &PersonKey, now: Timestamp) -> Result<AccountRecord, StoreError> {
        let row = new.subject.as_str();
        let password = new.password.map(|hash| self.seal_for(key, &PASSWORD, row, hash.as_bytes())).transpose()?;
        let profile = self.seal_for(key, &PROFILE, row, new.profile)?;
        let state = AccountState::Active;
        Ok(AccountRecord { subject: new.subject.clone(), state, created: now, changed: now, profile, password })
    }

    /// Makes an account, with its event (`account_added`). Its key must be stored already.
    pub async fn add_account(&self, new: &NewAccount<'_>, key: &PersonKey, now: Timestamp) -> Result<Added, StoreError> {
        // The lock of the control plane: between the look for the name and the insertion nobody adds one.
        let mut unit = NumberedWork::begin(self).await?;
        let added = self.add_within(&mut unit, new, key, now).await?;
        if added == Added::Added {
            unit.commit_numbered(self).await?;
        }
        Ok(added)
    }

    /// Makes an account within a unit of work.
    pub(super) async fn add_within(
        &self,
        unit: &mut NumberedWork,
        new: &NewAccount<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        let account = self.unstored_account(new, key, now)?;
        for index in self.indexes(USERNAME, new.username.as_bytes()) {
            let taken: Option<Row> = within!(&mut unit.work, fetch_optional: sqlx::query_as(NAMED).bind(index))?;
            if taken.is_some() {
                return Ok(Added::NameTaken);
            }
        }
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(new.subject.as_str())
                .bind(self.index(USERNAME, new.username.as_bytes()))
                .bind(account.state.name())
                .bind(&account.profile)
                .bind(&account.password)
                .bind(now.seconds()))?;
        unit.record_change(ChangeKind::Account, new.subject.as_str(), now).await?;
        let event = AuditEvent::AccountAdded { subject: new.subject.clone() };
        unit.work.record_event(&Trailed { time: now, event }).await?;
        Ok(Added::Added)
    }

    /// Changes an account, with its event (`account_changed` or `password_changed`); gives whether there is such an account.
    pub async fn change_account(
        &self,
        subject: &Subject,
        change: AccountChange<'_>,
        key: &PersonKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (row, mut unit) = (subject.as_str(), NumberedWork::begin(self).await?);
        let (statement, sealed, event) = match change {
            AccountChange::Profile(profile) => {
                let event = AuditEvent::AccountChanged { subject: subject.clone() };
                (SET_PROFILE, self.seal_for(key, &PROFILE, row, profile)?, event)
            }
            AccountChange::Password { hash, .. } => {
                let event = AuditEvent::PasswordChanged { subject: subject.clone() };
                (SET_PASSWORD, self.seal_for(key, &PASSWORD, row, hash.as_bytes())?, event)
            }
        };
        let changed = within!(&mut unit.work, execute: sqlx::query(statement).bind(row).bind(&sealed).bind(now.seconds()))?;
        if changed == 0 {
            return Ok(false);
        }
        if let AccountChange::Password { kept, window, .. } = change {
            let which = Which::OfSubject { subject, except: kept };
            let ending = Ending { why: SessionEnd::PasswordChanged, window, at: now };
            browser_session::end(&mut unit, which, &ending).await?;
        }
        unit.work.record_event(&Trailed { time: now, event }).await?;
        unit.commit_numbered(self).await?;
        Ok(true)
    }

    /// Replaces the hash of the same password by a better one, unless the password was changed meanwhile.
    pub async fn rehash_password(&self, account: &AccountRecord, hash: &str, key: &PersonKey) -> Result<(), StoreError> {
        let row = account.subject.as_str();
        let sealed = self.seal_for(key, &PASSWORD, row, hash.as_bytes())?;
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(REHASH).bind(row).bind(&account.password).bind(&sealed))?;
        work.commit().await
    }

    /// Lets a person sign in again, with its event (`account_enabled`); gives whether there is such an account.
    pub async fn enable_account(&self, subject: &Subject, now: Timestamp) -> Result<bool, StoreError> {
        let mut work = Work::begin(self).await?;
        let state = AccountState::Active.name();
        let changed = within!(&mut work, execute: sqlx::query(SET_STATE).bind(subject.as_str()).bind(state).bind(now.seconds()))?;
        if changed == 0 {
            return Ok(false);
        }
        let event = AuditEvent::AccountEnabled { subject: subject.clone() };
        work.record_event(&Trailed { time: now, event }).await?;
        work.commit().await?;
        Ok(true)
    }

    /// Keeps a person out: ends the sessions and, by a rule, revokes the tokens, with its event (`account_disabled`). Gives what ended;
    /// nothing when there is no such account.
    pub async fn disable_account(
        &self,
        subject: &Subject,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let state = AccountState::Disabled.name();
        let changed =
            within!(&mut unit.work, execute: sqlx::query(SET_STATE).bind(subject.as_str()).bind(state).bind(now.seconds()))?;
        if changed == 0 {
            return Ok(None);
        }
        let which = Which::OfSubject { subject, except: None };
        let ending = Ending { why: SessionEnd::AccountDisabled, window, at: now };
        let mut ended = browser_session::end(&mut unit, which, &ending).await?;
        ended.rules.extend(grant_family::end_of_subject(&mut unit, subject, window, now).await?);
        let event = AuditEvent::AccountDisabled { subject: subject.clone() };
        ended.rules.push(self.commit_with_rule(unit, subject, window, event, now).await?);
        Ok(Some(ended))
    }

    /// Removes an account with its sessions and, by a rule, revokes the person's tokens, with its event (`account_removed`). Gives
    /// whether there was one. The person's key is to be deleted first.
    pub async fn remove_account(&self, subject: &Subject, window: RuleWindow, now: Timestamp) -> Result<bool, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        // The account first: whoever redeems a code meanwhile has committed by now, or finds nobody.
        let state = AccountState::Disabled.name();
        within!(&mut unit.work, execute: sqlx::query(SET_STATE).bind(subject.as_str()).bind(state).bind(now.seconds()))?;
        let which = Which::OfSubject { subject, except: None };
        browser_session::end(&mut unit, which, &Ending { why: SessionEnd::AccountRemoved, window, at: now }).await?;
        grant_family::end_of_subject(&mut unit, subject, window, now).await?;
        second_factor::forget(&mut unit.work, subject).await?;
        account_certificate::forget(&mut unit.work, subject).await?;
        passkey::forget(&mut unit.work, subject).await?;
        linked_account::forget(&mut unit.work, subject).await?;
        consent::forget_person(&mut unit.work, subject).await?;
        let removed = within!(&mut unit.work, execute: sqlx::query(DELETE).bind(subject.as_str()))?;
        if removed == 0 {
            return Ok(false);
        }
        let event = AuditEvent::AccountRemoved { subject: subject.clone() };
        self.commit_with_rule(unit, subject, window, event, now).await?;
        Ok(true)
    }

    async fn commit_with_rule(
        &self,
        mut unit: NumberedWork,
        subject: &Subject,
        window: RuleWindow,
        event: AuditEvent,
        now: Timestamp,
    ) -> Result<RevocationRule, StoreError> {
        unit.record_change(ChangeKind::Account, subject.as_str(), now).await?;
        let rule = NewRule { kind: RuleKind::Subject, value: subject.as_str().to_owned(), window };
        let rule = super::revocation::write(&mut unit, &rule, None, now).await?;
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(rule)
    }
}

/// Whether there is anything left that the person of an account signs in with.
pub(super) async fn has_way_in(work: &mut Work, subject: &Subject) -> Result<bool, StoreError> {
    let (ways,): (i64,) = within!(&mut *work, fetch_one: sqlx::query_as(WAYS_IN).bind(subject.as_str()))?;
    Ok(ways > 0)
}

/// Notes that an account was changed, within the unit of work that changes what its person signs in with.
pub(super) async fn note_change(work: &mut Work, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(NOTE_CHANGE).bind(subject.as_str()).bind(now.seconds()))?;
    Ok(())
}

fn record((subject, state, profile, password, created, changed): Row) -> Result<AccountRecord, StoreError> {
    let state = AccountState::from_name(&state)?;
    let subject =
        subject.parse().map_err(|problem| StoreError::Corrupt(format!("table account: subject {subject:?} {problem}")))?;
    let (created, changed) = (Timestamp::from_seconds(created), Timestamp::from_seconds(changed));
    Ok(AccountRecord { subject, state, created, changed, profile, password })
}

/// What a username's keyed hash is for.
const USERNAME: &str = "account.username_index";

const ANY: &str = "SELECT subject FROM account LIMIT 1";
const ONE: &str = "SELECT subject, state, profile_sealed, password_sealed, created, changed FROM account WHERE subject = $1";
const NAMED: &str =
    "SELECT subject, state, profile_sealed, password_sealed, created, changed FROM account WHERE username_index = $1";
const PAGE: &str = "SELECT subject, state, profile_sealed, password_sealed, created, changed FROM account \
     WHERE subject > $1 ORDER BY subject LIMIT $2";
const INSERT: &str = "INSERT INTO account (subject, username_index, state, profile_sealed, password_sealed, created, changed) \
     VALUES ($1, $2, $3, $4, $5, $6, $6)";
/// What `changed` becomes is later than before, also within one second: a sign-in that is held against it tells the two apart.
const SET_PROFILE: &str = "UPDATE account SET profile_sealed = $2, \
     changed = CASE WHEN changed < $3 THEN $3 ELSE changed + 1 END WHERE subject = $1";
const SET_PASSWORD: &str = "UPDATE account SET password_sealed = $2, \
     changed = CASE WHEN changed < $3 THEN $3 ELSE changed + 1 END WHERE subject = $1";
const NOTE_CHANGE: &str = "UPDATE account SET changed = CASE WHEN changed < $2 THEN $2 ELSE changed + 1 END WHERE subject = $1";
const WAYS_IN: &str = "SELECT (SELECT COUNT(*) FROM account WHERE subject = $1 AND password_sealed IS NOT NULL) \
     + (SELECT COUNT(*) FROM account_certificate WHERE subject = $1) + (SELECT COUNT(*) FROM linked_account WHERE subject = $1) \
     + (SELECT COUNT(*) FROM passkey WHERE subject = $1)";
const REHASH: &str = "UPDATE account SET password_sealed = $3 WHERE subject = $1 AND password_sealed = $2";
const SET_STATE: &str = "UPDATE account SET state = $2, \
     changed = CASE WHEN changed < $3 THEN $3 ELSE changed + 1 END WHERE subject = $1";
const DELETE: &str = "DELETE FROM account WHERE subject = $1";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "account",
    write: |store, mark| {
        Box::pin(async move {
            (super::person_key::TRIAL.write)(store, mark).await;
            let (subject, secret) = (mark.id(), &mark.secret);
            let new = NewAccount { subject: &subject, username: secret, profile: secret.as_bytes(), password: Some(secret) };
            assert_eq!(store.add_account(&new, &mark.key(), super::trial::NOW).await.expect("answered"), Added::Added);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let Some(account) = store.account_named(&mark.secret).await.expect("read") else { return false };
            let profile = store.open_profile(&account, &mark.key()).expect("opens");
            let password = store.open_password(&account, &mark.key()).expect("opens").expect("there is one");
            account.subject == mark.id() && [&*profile, &*password].iter().all(|opened| **opened == *mark.secret.as_bytes())
        })
    },
    uses: super::trial::Uses::Many("a person signs in again and again"),
};
