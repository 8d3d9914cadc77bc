//! Accounts at other providers that are linked to an account. It takes both sides: a sign-in here of just now, and one there.

use serde::{Deserialize, Serialize};

use super::at_provider::{AtProvider, known_by, link_text};
use super::fault::Fault;
use super::form::FormChecked;
use super::fresh::Fresh;
use super::people::{People, PersonError, SignInError};
use super::provider::IdentityProvider;
use super::signed_in::SignedIn;
use crate::clients::session_window;
use crate::domain::{AccountLinkId, Lifetime, SessionId, Subject, Timestamp};
use crate::event::Reason;
use crate::store::{Claimed, Linked, NewAccountLink, StoreError, Unlinked, Unlinking};

/// How long somebody may look at what they are about to link.
const LOOK: Lifetime = Lifetime::from_seconds(300);
/// Among what is used once.
const USED: &str = "provider-link";
/// Accounts elsewhere that one person may have linked.
const MOST: u32 = 20;

/// What is sealed of a link, and what its person and an operator read of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLabel {
    /// The provider's name in the configuration.
    pub provider: String,
    /// What people call it.
    pub provider_label: String,
    /// Its issuer.
    pub issuer: String,
    /// `sub` there.
    pub sub: String,
    /// What the account there is called.
    pub title: String,
    /// Whether the account here was made of it.
    #[serde(default)]
    pub made: bool,
}

impl AccountLabel {
    pub(super) fn of(provider: &IdentityProvider, sub: &Subject, title: &str, made: bool) -> Self {
        Self {
            provider: provider.name().to_owned(),
            provider_label: provider.label().to_owned(),
            issuer: provider.issuer().as_str().to_owned(),
            sub: sub.as_str().to_owned(),
            title: title.to_owned(),
            made,
        }
    }

    /// What the link is known by.
    pub(super) fn known_by(&self) -> String {
        link_text(&self.provider, &self.issuer, &self.sub)
    }
}

/// A linked account.
#[derive(Clone, Debug)]
pub struct AccountLink {
    /// Its name.
    pub link: AccountLinkId,
    /// Since when.
    pub created: Timestamp,
    /// What there is to read of it.
    pub label: AccountLabel,
}

/// An account elsewhere whose person is asked whether to link it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidature {
    /// Names it, and counts once.
    link: AccountLinkId,
    /// The session in which they went there.
    session: SessionId,
    provider: String,
    subject: Subject,
    title: String,
}

impl Candidature {
    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }
}

impl People {
    /// Seals who somebody is at a provider, for their own browser, until they have said that it is to be linked. Gives what the account
    /// there is called with it.
    ///
    /// # Errors
    /// It was another session that sent them there; or a fault.
    pub fn hold_account(
        &self,
        there: &AtProvider,
        provider: &IdentityProvider,
        person: &SignedIn,
        now: Timestamp,
    ) -> Result<(String, String), SignInError> {
        if !there.is_of(&person.session_id) {
            return Err(SignInError::Wrong(Reason::ProviderAnswerForeign));
        }
        let candidature = Candidature {
            link: AccountLinkId::random(&*self.randomness).map_err(Fault::from)?,
            session: person.session_id.clone(),
            provider: provider.name().to_owned(),
            subject: there.subject.clone(),
            title: there.title.clone(),
        };
        Ok((self.seal_trip("link", &candidature, now.plus(LOOK))?, candidature.title))
    }

    /// What is to be linked, as the same session sends it.
    ///
    /// # Errors
    /// It is not there any more, or is another session's.
    pub fn held_account(&self, sealed: &str, person: &SignedIn, now: Timestamp) -> Result<Candidature, SignInError> {
        let over = SignInError::Wrong(Reason::SignInOver);
        let (candidature, expires): (Candidature, Timestamp) = self.open_trip("link", sealed).ok_or(over)?;
        if expires <= now {
            return Err(over);
        }
        if candidature.session != person.session_id {
            return Err(SignInError::Wrong(Reason::ProviderAnswerForeign));
        }
        Ok(candidature)
    }

    /// Links it. `_form` proves that the person said so after having seen which one it is.
    ///
    /// # Errors
    /// It opens an account already, there are as many as there may be, or it was done before.
    pub async fn link_account(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        (person, provider): (&SignedIn, &IdentityProvider),
        candidature: &Candidature,
        now: Timestamp,
    ) -> Result<(), SignInError> {
        let key = self.keys.key(&person.subject).await.map_err(Fault::from)?;
        let key = key.ok_or(SignInError::Wrong(Reason::PersonKeyAbsent))?;
        let claimed = self.store.claim(USED, candidature.link.as_str().as_bytes(), now.plus(LOOK).plus(LOOK)).await;
        if claimed.map_err(Fault::from)? == Claimed::Seen {
            return Err(SignInError::Wrong(Reason::ProviderAnswerReplayed));
        }
        let label = AccountLabel::of(provider, &candidature.subject, &candidature.title, false);
        let label = serde_json::to_vec(&label).map_err(|_| Fault::Defect(Reason::Defect))?;
        let known_by = known_by(provider, &candidature.subject);
        let new = NewAccountLink {
            link: &candidature.link,
            subject: &person.subject,
            session: Some(&person.session_id),
            provider: provider.name(),
            known_by: &known_by,
            label: &label,
            most: MOST,
        };
        match self.store.link_account(&new, &key, now).await.map_err(Fault::from)? {
            Linked::Now => Ok(()),
            Linked::Taken => Err(SignInError::Wrong(Reason::LinkedAccountTaken)),
            Linked::TooMany => Err(SignInError::Wrong(Reason::LinkedAccountsTooMany)),
            Linked::NoAccount => Err(SignInError::Wrong(Reason::AccountUnknown)),
        }
    }

    /// A person's linked accounts, the oldest first.
    pub async fn linked_accounts(&self, subject: &Subject) -> Result<Vec<AccountLink>, StoreError> {
        let Some(key) = self.keys.key(subject).await? else { return Ok(Vec::new()) };
        let records = self.store.account_links(subject).await?;
        let opened = records.into_iter().map(|record| {
            let json = self.store.open_account_link(&record, &key)?;
            let broken = |error| StoreError::Corrupt(format!("linked_account {}: its label: {error}", record.link));
            let label = serde_json::from_slice(&json).map_err(broken)?;
            Ok(AccountLink { link: record.link, created: record.created, label })
        });
        opened.collect()
    }

    /// Takes one's own linked account away: every other session ends.
    pub async fn unlink_account(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        link: &AccountLinkId,
        now: Timestamp,
    ) -> Result<Unlinked, Fault> {
        let by = Unlinking::Person(&person.session_id);
        Ok(self.store.unlink_account(link, &person.subject, by, session_window(now), now).await?)
    }

    /// Takes a linked account away, as an operator does: every session ends.
    pub async fn unlink_account_of(
        &self,
        subject: &Subject,
        link: &AccountLinkId,
        now: Timestamp,
    ) -> Result<Unlinked, PersonError> {
        Ok(self.store.unlink_account(link, subject, Unlinking::Operator, session_window(now), now).await?)
    }
}
