//! Passkeys: made by their person at the account page, and signed in with, without a username.
//!
//! ```text
//! POST /sign-in/passkey/options  form, throttle      -> Ceremony       one challenge, kept sealed in the store, for this browser
//! POST /sign-in/passkey          form, once          -> Authenticated  what the passkey signed is held against that
//! ```
//!
//! What a browser holds meanwhile is the name of an attempt, random, and worth nothing in another browser.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::form::FormChecked;
use super::fresh::Fresh;
use super::people::{Authenticated, People, SignInError};
use super::signed_in::SignedIn;
use super::webauthn::{Asking, Claimed, Making, PasskeyRefused, PasskeySite, PublicHalf, UserHandle};
use crate::clients::session_window;
use crate::domain::{Lifetime, PasskeyId, SessionId, Subject, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::seal::PersonKey;
use crate::store::{AccountState, Linked, NewPasskey, PasskeyRecord, PasskeyUsed, StoreError, Unlinked, Unlinking};

/// How long somebody may take to use or make a passkey.
pub const CEREMONY: Lifetime = Lifetime::from_seconds(300);
/// Passkeys that one person may have.
const MOST: u32 = 20;
/// Random bytes in an attempt's name.
const ATTEMPT_LENGTH: usize = 32;
/// What a person may call a passkey, in characters.
const LONGEST_NAME: usize = 64;
/// What one is called that its person gives no name.
const NAMELESS: &str = "Passkey";

/// What goes to a browser.
#[derive(Clone, Debug)]
pub struct Ceremony {
    /// The attempt's name, to come back with.
    pub attempt: String,
    /// What the browser is asked, as Web Authentication's `…OptionsJSON`.
    pub options: Value,
}

/// Somebody comes back from their authenticator.
#[derive(Clone, Copy)]
pub struct PasskeyAttempt<'a> {
    /// The attempt's name.
    pub attempt: &'a str,
    /// What the browser says, as Web Authentication's `…ResponseJSON`.
    pub credential: &'a str,
    /// When.
    pub now: Timestamp,
}

/// A passkey, as its person and an operator see it.
#[derive(Clone, Debug)]
pub struct PasskeyView {
    /// Its name for us.
    pub passkey: PasskeyId,
    /// What its person calls it.
    pub name: String,
    /// Whether its key may be on more than one device.
    pub is_synchronised: bool,
    /// Since when.
    pub created: Timestamp,
    /// When it was last used; when it was made, if it never was.
    pub used: Timestamp,
}

/// What is sealed of a passkey.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    name: String,
    half: PublicHalf,
}

/// What is kept of an attempt.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Where it was begun, which is what was counted.
    address: IpAddr,
    aim: Aim,
}

#[derive(Debug, Serialize, Deserialize)]
enum Aim {
    /// In the browser that has this token of its form: the sign-in page's, or that of the page after it.
    SignIn { form: String, asking: Asking },
    /// By this person in this session.
    Make { subject: Subject, session: SessionId, making: Making },
}

fn wrong(refused: PasskeyRefused) -> SignInError {
    SignInError::Wrong(refused.reason())
}

/// What a person calls a passkey, without what could not be read.
fn named(typed: &str) -> String {
    let name: String = typed.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let name = name.trim();
    if name.is_empty() { NAMELESS.to_owned() } else { name.to_owned() }
}

impl People {
    /// The same people, who may sign in with passkeys.
    #[must_use]
    pub fn with_passkeys(mut self, site: PasskeySite) -> Self {
        self.passkey_site = Some(site);
        self
    }

    /// Whether people may make passkeys and sign in with them.
    pub const fn has_passkeys(&self) -> bool {
        self.passkey_site.is_some()
    }

    fn passkey_site(&self) -> Result<&PasskeySite, Fault> {
        self.passkey_site.as_ref().ok_or(Fault::Defect(Reason::Defect))
    }

    fn user_handle(&self, subject: &Subject) -> UserHandle {
        UserHandle::of(self.store.deployment(), subject)
    }

    async fn begin_ceremony(&self, state: &State, options: Value, now: Timestamp) -> Result<Ceremony, Fault> {
        let mut name = Zeroizing::new([0u8; ATTEMPT_LENGTH]);
        self.randomness.fill(&mut *name)?;
        let attempt = base64url::encode(*name);
        let json = serde_json::to_vec(state).map(Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))?;
        self.store.begin_passkey_ceremony(&attempt, &json, now.plus(CEREMONY)).await?;
        Ok(Ceremony { attempt, options })
    }

    /// What is kept of an attempt, which is over with that, whatever comes of it.
    async fn end_ceremony(&self, attempt: &str, now: Timestamp) -> Result<State, SignInError> {
        let over = SignInError::Wrong(Reason::SignInOver);
        let state = self.store.end_passkey_ceremony(attempt, now).await.map_err(Fault::from)?.ok_or(over)?;
        let broken = |error| Fault::from(StoreError::Corrupt(format!("passkey_ceremony: its state: {error}")));
        Ok(serde_json::from_slice(&state).map_err(broken)?)
    }

    /// Asks a browser for a passkey. `token` is that of its form, which `_form` proves to be its own. It counts like an attempt to sign in from there, until it succeeds.
    pub async fn ask_for_passkey(
        &self,
        _form: &FormChecked,
        token: &str,
        (address, monotonic): (IpAddr, Duration),
        now: Timestamp,
    ) -> Result<Ceremony, SignInError> {
        self.count_ceremony(address, monotonic)?;
        let (options, asking) = self.passkey_site()?.ask()?;
        let state = State { address, aim: Aim::SignIn { form: token.to_owned(), asking } };
        Ok(self.begin_ceremony(&state, options, now).await?)
    }

    fn count_ceremony(&self, address: IpAddr, monotonic: Duration) -> Result<(), SignInError> {
        self.throttle
            .count_address(address, monotonic)
            .map_err(|throttled| SignInError::TooMany { retry_after_seconds: throttled.retry_after.as_secs().saturating_add(1) })
    }

    /// Proves that an account is one's own, by a passkey. `token` is that of the browser's sign-in form, which `_form` proves to be its own.
    pub async fn by_passkey(
        &self,
        _form: &FormChecked,
        token: &str,
        attempt: PasskeyAttempt<'_>,
    ) -> Result<Authenticated, SignInError> {
        let now = attempt.now;
        let site = self.passkey_site()?;
        let State { address, aim } = self.end_ceremony(attempt.attempt, now).await?;
        let asking = match aim {
            Aim::SignIn { form, asking } if form == token => asking,
            _ => return Err(SignInError::Wrong(Reason::PasskeyChallengeForeign)),
        };
        let claimed = Claimed::read(attempt.credential).map_err(wrong)?;
        let unknown = SignInError::Wrong(Reason::PasskeyUnknown);
        let record = self.store.passkey_with(claimed.credential_id()).await.map_err(Fault::from)?.ok_or(unknown)?;
        let subject = &record.subject;
        if !claimed.is_of(self.user_handle(subject)) {
            return Err(SignInError::Wrong(Reason::PasskeyUserMismatch));
        }
        let key = self.keys.key(subject).await.map_err(Fault::from)?;
        let key = key.ok_or(SignInError::Wrong(Reason::PersonKeyAbsent))?;
        let Kept { name, half } = self.open_passkey(&record, &key).map_err(Fault::from)?;
        let signed = match site.judge(asking, &claimed, half) {
            Ok(signed) => signed,
            Err(refused) => {
                if refused.reason() == Reason::PasskeyCounter {
                    self.store.suspect_passkey(&record, now).await.map_err(Fault::from)?;
                }
                return Err(wrong(refused));
            }
        };
        let account = self.store.account(subject).await.map_err(Fault::from)?;
        let account = account.ok_or(SignInError::Wrong(Reason::AccountUnknown))?;
        if account.state != AccountState::Active {
            return Err(SignInError::Wrong(Reason::AccountDisabled));
        }
        let sign_count = signed.half.sign_count();
        let kept = to_json(&Kept { name, half: signed.half })?;
        match self.store.use_passkey(&record, &kept, sign_count, &key, now).await.map_err(Fault::from)? {
            PasskeyUsed::Now => {}
            PasskeyUsed::Behind => {
                self.store.suspect_passkey(&record, now).await.map_err(Fault::from)?;
                return Err(SignInError::Wrong(Reason::PasskeyCounter));
            }
            PasskeyUsed::Gone => return Err(unknown),
        }
        self.throttle.forgive_address(address);
        Ok(Authenticated::by(record.subject, signed.amr).unless_changed_since(account.changed))
    }

    /// Goes on with a sign-in that [`People::hold`] interrupted, by a passkey of the same person instead of a code. `token` is that of the form
    /// that asks for the code, which `_form` proves to be the browser's own.
    pub async fn second_factor_by_passkey(
        &self,
        form: &FormChecked,
        held: &str,
        token: &str,
        attempt: PasskeyAttempt<'_>,
    ) -> Result<Authenticated, SignInError> {
        let first = self.held(held, token, attempt.now).await?;
        let passkey = self.by_passkey(form, token, attempt).await?;
        first.with_passkey(&passkey).ok_or(SignInError::Wrong(Reason::PasskeyUserMismatch))
    }

    fn open_passkey(&self, record: &PasskeyRecord, key: &PersonKey) -> Result<Kept, StoreError> {
        let json = self.store.open_passkey(record, key)?;
        let broken = |error| StoreError::Corrupt(format!("passkey {}: what is kept of it: {error}", record.passkey));
        serde_json::from_slice(&json).map_err(broken)
    }

    /// Asks a browser to make a passkey for whoever is signed in there.
    pub async fn begin_passkey(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        (address, monotonic): (IpAddr, Duration),
        now: Timestamp,
    ) -> Result<Ceremony, SignInError> {
        let site = self.passkey_site()?;
        self.count_ceremony(address, monotonic)?;
        let claims = self.claims(&person.subject).await?.ok_or(SignInError::Wrong(Reason::AccountUnknown))?;
        let present = self.kept_passkeys(&person.subject).await.map_err(Fault::from)?;
        if present.len() >= MOST as usize {
            return Err(SignInError::Wrong(Reason::PasskeysTooMany));
        }
        let present = present.into_iter().map(|(_, kept)| kept.half.credential_id().to_vec()).collect();
        let username = claims.preferred_username.unwrap_or_default();
        let shown = claims.name.unwrap_or_else(|| username.clone());
        let (options, making) = site.make(self.user_handle(&person.subject), (&username, &shown), present)?;
        let aim = Aim::Make { subject: person.subject.clone(), session: person.session_id.clone(), making };
        Ok(self.begin_ceremony(&State { address, aim }, options, now).await?)
    }

    /// Adds the passkey that a browser has made for whoever is signed in there.
    pub async fn add_passkey(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        name: &str,
        attempt: PasskeyAttempt<'_>,
    ) -> Result<(), SignInError> {
        let now = attempt.now;
        let site = self.passkey_site()?;
        let State { address, aim } = self.end_ceremony(attempt.attempt, now).await?;
        let making = match aim {
            Aim::Make { subject, session, making } if subject == person.subject && session == person.session_id => making,
            _ => return Err(SignInError::Wrong(Reason::PasskeyChallengeForeign)),
        };
        let half = site.made(&making, attempt.credential).map_err(wrong)?;
        let passkey = PasskeyId::random(&*self.randomness).map_err(Fault::from)?;
        let key = self.keys.key(&person.subject).await.map_err(Fault::from)?;
        let key = key.ok_or(SignInError::Wrong(Reason::PersonKeyAbsent))?;
        let (credential_id, sign_count) = (half.credential_id().to_vec(), half.sign_count());
        let kept = to_json(&Kept { name: named(name), half })?;
        let new = NewPasskey {
            passkey: &passkey,
            subject: &person.subject,
            session: Some(&person.session_id),
            credential_id: &credential_id,
            credential: &kept,
            sign_count,
            most: MOST,
        };
        match self.store.add_passkey(&new, &key, now).await.map_err(Fault::from)? {
            Linked::Now => {}
            Linked::Taken => return Err(SignInError::Wrong(Reason::PasskeyTaken)),
            Linked::TooMany => return Err(SignInError::Wrong(Reason::PasskeysTooMany)),
            Linked::NoAccount => return Err(SignInError::Wrong(Reason::AccountUnknown)),
        }
        self.throttle.forgive_address(address);
        Ok(())
    }

    async fn kept_passkeys(&self, subject: &Subject) -> Result<Vec<(PasskeyRecord, Kept)>, StoreError> {
        let Some(key) = self.keys.key(subject).await? else { return Ok(Vec::new()) };
        let records = self.store.passkeys(subject).await?;
        let opened = records.into_iter().map(|record| {
            let kept = self.open_passkey(&record, &key)?;
            Ok((record, kept))
        });
        opened.collect()
    }

    /// A person's passkeys, the oldest first.
    pub async fn passkeys(&self, subject: &Subject) -> Result<Vec<PasskeyView>, StoreError> {
        let kept = self.kept_passkeys(subject).await?;
        let view = |(record, kept): (PasskeyRecord, Kept)| PasskeyView {
            passkey: record.passkey,
            is_synchronised: kept.half.is_synchronised(),
            name: kept.name,
            created: record.created,
            used: record.used,
        };
        Ok(kept.into_iter().map(view).collect())
    }

    /// Takes one's own passkey away: every other session ends.
    pub async fn remove_passkey(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        passkey: &PasskeyId,
        now: Timestamp,
    ) -> Result<Unlinked, Fault> {
        Ok(self.take_passkey_away(&person.subject, passkey, Unlinking::Person(&person.session_id), now).await?)
    }

    /// Takes a passkey away, as an operator does, or the person.
    pub async fn take_passkey_away(
        &self,
        subject: &Subject,
        passkey: &PasskeyId,
        by: Unlinking<'_>,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        self.store.remove_passkey(passkey, subject, by, session_window(now), now).await
    }
}

fn to_json(kept: &Kept) -> Result<Zeroizing<Vec<u8>>, Fault> {
    serde_json::to_vec(kept).map(Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_is_called_something_that_can_be_read() {
        for (typed, name) in [
            ("My phone", "My phone"),
            ("  My phone\u{7} ", "My phone"),
            ("", NAMELESS),
            (" \r\n", NAMELESS),
            (&*"é".repeat(70), &*"é".repeat(64)),
        ] {
            assert_eq!(named(typed), name);
        }
    }
}
