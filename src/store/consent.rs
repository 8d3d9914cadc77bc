//! What people have allowed clients.

use super::engine::read;
use super::sealed::CONSENT;
use super::work::{NumberedWork, Work, within};
use super::{RuleWindow, Store, StoreError, browser_session, grant_family};
use crate::domain::{ClientId, RevocationRule, Subject, Timestamp};
use crate::event::Trailed;
use crate::seal::Plaintext;

/// The name of a row for its seal. No subject has a space in it.
fn row(subject: &str, client_id: &str) -> String {
    format!("{subject} {client_id}")
}

/// Whose a row is, by its name.
pub(super) fn subject_of_row(row: &str) -> Option<Subject> {
    row.split_once(' ').and_then(|(subject, _)| subject.parse().ok())
}

impl Store {
    /// What a person has allowed a client.
    pub async fn consent(&self, subject: &Subject, client_id: &ClientId) -> Result<Option<Plaintext>, StoreError> {
        let (subject, client_id) = (subject.as_str(), client_id.as_str());
        let found: Option<(Vec<u8>,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(subject).bind(client_id))?;
        match found {
            Some((sealed,)) => self.unseal_of(&CONSENT, &row(subject, client_id), &sealed).await,
            None => Ok(None),
        }
    }

    /// Everything that a person has allowed, by client, and since when: what is allowed beside it later counts from then too.
    pub async fn consents(&self, subject: &Subject) -> Result<Vec<(ClientId, Timestamp, Plaintext)>, StoreError> {
        let rows: Vec<(String, i64, Vec<u8>)> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL).bind(subject.as_str()))?;
        let mut opened = Vec::with_capacity(rows.len());
        for (client_id, given, sealed) in rows {
            let state = self.unseal_of(&CONSENT, &row(subject.as_str(), &client_id), &sealed).await?;
            // What a person who was removed has left says nothing any more.
            let Some(state) = state else { continue };
            let corrupt = |problem| StoreError::Corrupt(format!("table consent: client_id {client_id:?} {problem}"));
            opened.push((client_id.parse().map_err(corrupt)?, Timestamp::from_seconds(given), state));
        }
        Ok(opened)
    }

    /// Remembers what a person allows a client, in the place of what it was allowed before: `allow` is given that, and gives the new state
    /// with the event that commits with it, or nothing when all stays as it is. Nobody takes anything back between the two. Gives whether
    /// the account is there and active; when not, nothing was written.
    pub async fn put_consent<E: From<StoreError>>(
        &self,
        subject: &Subject,
        client_id: &ClientId,
        allow: impl FnOnce(Option<Plaintext>) -> Result<Option<(Vec<u8>, Trailed)>, E> + Send,
    ) -> Result<bool, E> {
        let Some(person) = self.person(subject).await? else { return Ok(false) };
        let mut work = Work::begin(self).await?;
        // The account first, as whoever withdraws or removes does: what they ended by then is not brought back.
        if !browser_session::hold_active(&mut work, subject).await? {
            return Ok(false);
        }
        let (subject, client_id) = (subject.as_str(), client_id.as_str());
        let row = row(subject, client_id);
        let found = within!(&mut work, fetch_optional: sqlx::query_as(ONE).bind(subject).bind(client_id));
        let found: Option<(Vec<u8>,)> = found.map_err(StoreError::from)?;
        let before = match found {
            Some((sealed,)) => self.unseal_of(&CONSENT, &row, &sealed).await?,
            None => None,
        };
        let Some((state, event)) = allow(before)? else { return Ok(true) };
        let (sealed, given) = (self.seal_of(Some(&person), &CONSENT, &row, &state)?, event.time.seconds());
        let written = within!(&mut work, execute: sqlx::query(UPSERT).bind(subject).bind(client_id).bind(&sealed).bind(given));
        written.map_err(StoreError::from)?;
        work.record_event(&event).await?;
        work.commit().await?;
        Ok(true)
    }

    /// Forgets what a person has allowed a client, and ends the grants of theirs that it holds, with every token and code that came of
    /// them. The event commits with it. Gives the rules that revoke tokens; nothing when there was nothing.
    pub async fn withdraw_consent(
        &self,
        subject: &Subject,
        client_id: &ClientId,
        window: RuleWindow,
        event: &Trailed,
    ) -> Result<Option<Vec<RevocationRule>>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        // The account first: whoever redeems a code meanwhile has committed by now, or finds no consent.
        browser_session::hold_active(&mut unit.work, subject).await?;
        let removed = within!(&mut unit.work, execute: sqlx::query(DELETE).bind(subject.as_str()).bind(client_id.as_str()))?;
        let rules = grant_family::end_of_consent(&mut unit, subject, client_id, window, event.time).await?;
        if removed == 0 && rules.is_empty() {
            return Ok(None);
        }
        unit.work.record_event(event).await?;
        unit.commit_numbered(self).await?;
        Ok(Some(rules))
    }
}

/// Whether a person allows a client anything and has done so since `then` at the latest, within a unit of work. What was taken back and
/// allowed again since counts from then.
pub(super) async fn stood_at(
    work: &mut Work,
    subject: &Subject,
    client_id: &ClientId,
    then: Timestamp,
) -> Result<bool, StoreError> {
    let (subject, client_id) = (subject.as_str(), client_id.as_str());
    let given: Option<(i64,)> = within!(work, fetch_optional: sqlx::query_as(GIVEN).bind(subject).bind(client_id))?;
    Ok(given.is_some_and(|(given,)| given <= then.seconds()))
}

/// Forgets what a person has allowed, within the unit of work that removes them.
pub(super) async fn forget_person(work: &mut Work, subject: &Subject) -> Result<(), StoreError> {
    within!(work, execute: sqlx::query(DELETE_OF_PERSON).bind(subject.as_str()))?;
    Ok(())
}

/// Forgets what anybody has allowed a client, within the unit of work that removes the client.
pub(super) async fn forget_client(unit: &mut NumberedWork, client_id: &ClientId) -> Result<(), StoreError> {
    within!(&mut unit.work, execute: sqlx::query(DELETE_OF_CLIENT).bind(client_id.as_str()))?;
    Ok(())
}

const ONE: &str = "SELECT state_sealed FROM consent WHERE subject = $1 AND client_id = $2";
const ALL: &str = "SELECT client_id, given, state_sealed FROM consent WHERE subject = $1 ORDER BY client_id";
const UPSERT: &str = "INSERT INTO consent (subject, client_id, state_sealed, given) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (subject, client_id) DO UPDATE SET state_sealed = excluded.state_sealed";
const DELETE_OF_CLIENT: &str = "DELETE FROM consent WHERE client_id = $1";
const DELETE_OF_PERSON: &str = "DELETE FROM consent WHERE subject = $1";
const GIVEN: &str = "SELECT given FROM consent WHERE subject = $1 AND client_id = $2";
const DELETE: &str = "DELETE FROM consent WHERE subject = $1 AND client_id = $2";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "consent",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let allow = |_| Ok::<_, StoreError>(Some((mark.secret.as_bytes().to_vec(), mark.event())));
            assert!(store.put_consent(&mark.id(), &mark.id(), allow).await.expect("put"));
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
