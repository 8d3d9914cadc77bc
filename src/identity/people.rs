//! Accounts: making, changing and removing them, and proving that one is one's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::{CertificatePolicy, ShownCertificate};
use super::claims::PersonClaims;
use super::fault::Fault;
use super::form::FormChecked;
use super::fresh::Fresh;
use super::password_rule::{PasswordRefused, PasswordRule};
use super::second_factor::{self, FirstFactor};
use super::signed_in::{Amr, AtTime, SignedIn};
use super::throttle::{Guesses, Throttle, ThrottlePolicy};
use super::username::{Username, UsernameError};
use super::webauthn::PasskeySite;
use crate::clients::session_window;
use crate::domain::{Randomness, Subject, Timestamp};
use crate::event::Reason;
use crate::seal::{HashError, Password, PasswordHash, PasswordHasher, PersonKey};
use crate::store::{
    AccountChange, AccountRecord, AccountState, Added, Ended, NewAccount, PersonKeys, RuleWindow, SealedPersonKey, Store,
    StoreError,
};
use crate::telemetry::metrics;

/// The people of one deployment.
#[derive(Debug)]
pub struct People {
    pub(super) store: Store,
    pub(super) keys: PersonKeys,
    hasher: PasswordHasher,
    rule: PasswordRule,
    pub(super) throttle: Throttle,
    pub(super) code_guesses: Guesses,
    pub(super) recovery_guesses: Guesses,
    pub(super) randomness: Arc<dyn Randomness>,
    pub(super) certificates: Option<CertificatePolicy>,
    pub(super) passkey_site: Option<PasskeySite>,
    nobody: Nobody,
}

/// An account that is nobody's and stands in no table: whoever signs in with a name that nobody has costs what everybody costs.
#[derive(Debug)]
struct Nobody {
    account: AccountRecord,
    key: SealedPersonKey,
}

/// What passwords are held to.
#[derive(Debug)]
pub struct PasswordPolicy {
    /// Which may be chosen.
    pub rule: PasswordRule,
    /// How they are hashed.
    pub hasher: PasswordHasher,
    /// How often one may guess.
    pub throttle: ThrottlePolicy,
}

/// A person, as an operator sees one.
#[derive(Clone, Debug)]
pub struct Person {
    /// `sub`.
    pub subject: Subject,
    /// Whether they may sign in.
    pub state: AccountState,
    /// Whether they have a password.
    pub has_password: bool,
    /// When the account was made.
    pub created: Timestamp,
    /// What is known of them; nothing when their key is gone.
    pub claims: Option<PersonClaims>,
}

/// An attempt to sign in.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// As typed.
    pub username: &'a str,
    /// As typed.
    pub password: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
    /// Monotonic time.
    pub monotonic: Duration,
}

/// Somebody proved that an account is theirs. Only [`People`] makes one.
#[derive(Debug)]
pub struct Authenticated {
    subject: Subject,
    amr: Vec<Amr>,
    certificate: Option<ShownCertificate>,
    /// Where else they proved it, and when.
    elsewhere: Option<(AtTime, String)>,
    /// Whether the account's own second factor was proven.
    second_factor: bool,
    /// When the account had been changed last as it was looked at for this.
    account_changed: Option<Timestamp>,
}

/// What a right password is worth.
#[derive(Debug)]
pub enum Proven {
    /// All that the account asks for.
    Whole(Authenticated),
    /// The first of two factors.
    First(FirstFactor),
}

impl Authenticated {
    pub(super) const fn by(subject: Subject, amr: Vec<Amr>) -> Self {
        Self { subject, amr, certificate: None, elsewhere: None, second_factor: false, account_changed: None }
    }

    /// The same, worth nothing once the account has been changed since: a password, a passkey or whatever it was may have been taken away.
    pub(super) fn unless_changed_since(self, account_changed: Timestamp) -> Self {
        Self { account_changed: Some(account_changed), ..self }
    }

    pub(super) const fn account_changed(&self) -> Option<Timestamp> {
        self.account_changed
    }

    pub(super) fn with(self, certificate: Option<ShownCertificate>) -> Self {
        Self { certificate, ..self }
    }

    pub(super) fn at_provider(self, at: AtTime, provider: &str) -> Self {
        Self { elsewhere: Some((at, provider.to_owned())), ..self }
    }

    pub(super) fn with_second_factor(self) -> Self {
        Self { second_factor: true, ..self }
    }

    /// When they proved it, where that was not here and now.
    pub(super) fn at(&self) -> Option<AtTime> {
        self.elsewhere.as_ref().map(|(at, _)| *at)
    }

    /// Whether all that the account asks for was proven: its own second factor, or more than one elsewhere.
    pub(super) fn is_single_factor(&self) -> bool {
        !self.second_factor && !self.amr.contains(&Amr::MultiFactor)
    }

    /// The provider that they signed in at, if it was that.
    pub fn provider(&self) -> Option<&str> {
        self.elsewhere.as_ref().map(|(_, provider)| provider.as_str())
    }

    /// The certificate that was shown, if it was that.
    pub const fn certificate(&self) -> Option<&ShownCertificate> {
        self.certificate.as_ref()
    }

    /// Whose account it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// By what.
    pub fn amr(&self) -> &[Amr] {
        &self.amr
    }
}

/// Why somebody was not signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInError {
    /// Username and password are not those of an account whose person may sign in. Which of it is the private reason's.
    Wrong(Reason),
    /// Too many attempts; seconds until the next.
    TooMany {
        /// At least 1.
        retry_after_seconds: u64,
    },
    /// Ours.
    Failed(Fault),
}

impl From<Fault> for SignInError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Why an account was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// Not a username.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// Another account has it.
    #[error("the username is taken")]
    NameTaken,
    /// There is no such account.
    #[error("there is no such account")]
    Unknown,
    /// The password may not be chosen.
    #[error(transparent)]
    Password(#[from] PasswordRefused),
    /// The current password was not the right one.
    #[error("the current password is not the right one")]
    Unproven(Reason),
    /// Too many attempts with a wrong current password; seconds until the next.
    #[error("too many attempts: try again in {retry_after_seconds} seconds")]
    TooMany {
        /// At least 1.
        retry_after_seconds: u64,
    },
    /// Ours.
    #[error(transparent)]
    Failed(#[from] Fault),
    /// Ours; the store's own words, for an operator.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SignInError> for PersonError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong(reason) => Self::Unproven(reason),
            SignInError::TooMany { retry_after_seconds } => Self::TooMany { retry_after_seconds },
            SignInError::Failed(fault) => Self::Failed(fault),
        }
    }
}

impl From<HashError> for Fault {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy | HashError::Randomness => Self::Unavailable(error.reason()),
            HashError::Unreadable | HashError::Defect => Self::Defect(error.reason()),
        }
    }
}

/// Counts what an attempt costs: equal for every name.
fn spend(operation: &'static str) {
    metrics::SIGN_IN_WORK.with([operation]).increment(1);
}

impl People {
    /// The people whose accounts are in `store` and whose keys are in `keys`.
    pub async fn new(
        store: Store,
        keys: PersonKeys,
        policy: PasswordPolicy,
        randomness: Arc<dyn Randomness>,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let PasswordPolicy { rule, hasher, throttle } = policy;
        let subject = Subject::random(&*randomness)?;
        let secret = Subject::random(&*randomness)?;
        let key = PersonKey::random(&*randomness)?;
        let password = Password::prepare(secret.as_str()).map_err(|_| Fault::Defect(Reason::Defect))?;
        let hash = hasher.hash(&password, &*randomness).await?;
        let new = NewAccount { subject: &subject, username: "", profile: b"{}", password: Some(hash.expose()) };
        let account = store.unstored_account(&new, &key, now)?;
        let nobody = Nobody { account, key: keys.seal_key(&subject, &key)? };
        Ok(Self {
            store,
            keys,
            hasher,
            rule,
            throttle: Throttle::new(throttle),
            code_guesses: Guesses::new(second_factor::GUESSES),
            recovery_guesses: Guesses::new(second_factor::RECOVERY_GUESSES),
            randomness,
            certificates: None,
            passkey_site: None,
            nobody,
        })
    }

    /// Proves that an account is one's own, by username and password; an account with a second factor asks for that too.
    ///
    /// Whatever the outcome, the same is done: the account is looked up, its person's key is looked up, both are opened, the password
    /// is hashed. Only an attempt beyond the quota, which counts for any name, and a text that is no password for anybody cost less.
    pub async fn authenticate(&self, _form: &FormChecked, attempt: &Attempt<'_>) -> Result<Proven, SignInError> {
        let password = Password::prepare(attempt.password).map_err(|_| SignInError::Wrong(Reason::PasswordWrong))?;
        // What is no username is looked up as one that nobody can have.
        let username = Username::normalize(attempt.username).ok();
        let username = username.as_ref().map_or("", Username::as_str);
        let counted = self.throttle.count(username, attempt.address, attempt.monotonic).map_err(|throttled| {
            SignInError::TooMany { retry_after_seconds: throttled.retry_after.as_secs().saturating_add(1) }
        })?;
        let found = self.store.account_named(username).await.map_err(Fault::from)?;
        spend("look_up");
        let subject = found.as_ref().map_or(&self.nobody.account.subject, |account| &account.subject).clone();
        let key = self.keys.find(&subject).await.map_err(Fault::from)?;
        spend("look_up");
        let (account, key, known) = match (found, key) {
            (Some(account), Some(key)) if account.has_password() => (account, key, Ok(())),
            (Some(_), Some(_)) => (self.nobody.account.clone(), self.nobody.key.clone(), Err(Reason::PasswordAbsent)),
            (Some(_), None) => (self.nobody.account.clone(), self.nobody.key.clone(), Err(Reason::PersonKeyAbsent)),
            (None, _) => (self.nobody.account.clone(), self.nobody.key.clone(), Err(Reason::AccountUnknown)),
        };
        let key = self.keys.open_key(&key).map_err(Fault::from)?;
        spend("open");
        let stored = self.stored_hash(&account, &key)?;
        spend("open");
        let verified = self.hasher.verify(&password, &stored).await.map_err(Fault::from)?;
        spend("hash");
        known.map_err(SignInError::Wrong)?;
        let Some(verified) = verified else { return Err(SignInError::Wrong(Reason::PasswordWrong)) };
        if account.state == AccountState::Disabled {
            return Err(SignInError::Wrong(Reason::AccountDisabled));
        }
        self.throttle.forgive(counted);
        if verified.outdated() {
            self.rehash(&account, &password, &key).await;
        }
        let asks_for_more = self.store.totp(&account.subject).await.map_err(Fault::from)?.is_some();
        Ok(match asks_for_more {
            true => Proven::First(FirstFactor::by(account.subject, account.changed, vec![Amr::Password])),
            false => Proven::Whole(Authenticated::by(account.subject, vec![Amr::Password]).unless_changed_since(account.changed)),
        })
    }

    fn stored_hash(&self, account: &AccountRecord, key: &PersonKey) -> Result<PasswordHash, Fault> {
        let opened = self.store.open_password(account, key)?.ok_or(Fault::Defect(Reason::Defect))?;
        let text = std::str::from_utf8(&opened).map_err(|_| Fault::Defect(Reason::Defect))?;
        Ok(PasswordHash::from_stored(text.to_owned()))
    }

    /// Replaces a hash that costs less than today's. If that fails, the next sign-in does it.
    async fn rehash(&self, account: &AccountRecord, password: &Password, key: &PersonKey) {
        let Ok(hash) = self.hasher.hash(password, &*self.randomness).await else { return };
        if let Err(error) = self.store.rehash_password(account, hash.expose(), key).await {
            tracing::warn!(%error, "a password's hash could not be replaced by a better one");
        }
    }

    /// What is known of a person who may sign in; nothing of anybody else.
    pub async fn claims(&self, subject: &Subject) -> Result<Option<PersonClaims>, Fault> {
        match self.store.account(subject).await? {
            Some(account) if account.state == AccountState::Active => Ok(self.open_claims(&account).await?),
            _ => Ok(None),
        }
    }

    async fn open_claims(&self, account: &AccountRecord) -> Result<Option<PersonClaims>, StoreError> {
        let Some(key) = self.keys.key(&account.subject).await? else { return Ok(None) };
        let json = self.store.open_profile(account, &key)?;
        let claims = serde_json::from_slice(&json)
            .map_err(|error| StoreError::Corrupt(format!("table account, subject {}: its profile: {error}", account.subject)))?;
        Ok(Some(claims))
    }

    /// Makes an account. `preferred_username` and `updated_at` of the claims are set here.
    pub async fn add(
        &self,
        username: &str,
        claims: PersonClaims,
        password: Option<&Password>,
        now: Timestamp,
    ) -> Result<Subject, PersonError> {
        let username = Username::normalize(username)?;
        let claims = PersonClaims {
            preferred_username: Some(username.as_str().to_owned()),
            updated_at: Some(now),
            email_verified: claims.email.as_ref().map(|_| claims.email_verified.unwrap_or(false)),
            phone_number_verified: claims.phone_number.as_ref().map(|_| claims.phone_number_verified.unwrap_or(false)),
            ..claims
        };
        let hash = match password {
            Some(password) => Some(self.new_hash(password, &claims).await?),
            None => None,
        };
        let profile = to_json(&claims)?;
        let subject = Subject::random(&*self.randomness).map_err(Fault::from)?;
        let key = PersonKey::random(&*self.randomness).map_err(Fault::from)?;
        // The key first: an account without one could not be used.
        self.keys.add(&self.keys.seal_key(&subject, &key)?, now).await?;
        let password = hash.as_ref().map(PasswordHash::expose);
        let new = NewAccount { subject: &subject, username: username.as_str(), profile: &profile, password };
        match self.store.add_account(&new, &key, now).await {
            Ok(Added::Added) => Ok(subject),
            Ok(Added::NameTaken) => {
                self.keys.delete(&subject).await?;
                Err(PersonError::NameTaken)
            }
            Err(error) => {
                // When the commit's answer was lost the account may be there: its key stays, and is in nobody's way.
                Err(error.into())
            }
        }
    }

    /// A hash of a password that this person may choose.
    async fn new_hash(&self, password: &Password, claims: &PersonClaims) -> Result<PasswordHash, PersonError> {
        let names = [&claims.preferred_username, &claims.name, &claims.given_name, &claims.family_name, &claims.email];
        let names: Vec<&str> = names.into_iter().filter_map(Option::as_deref).collect();
        self.rule.check(password, &names)?;
        Ok(self.hasher.hash(password, &*self.randomness).await.map_err(Fault::from)?)
    }

    /// The account that a username names.
    pub async fn named(&self, username: &str) -> Result<Option<Person>, PersonError> {
        let username = Username::normalize(username)?;
        match self.store.account_named(username.as_str()).await? {
            Some(account) => Ok(Some(self.person(account).await?)),
            None => Ok(None),
        }
    }

    /// At most `limit` people after a subject, in the order of subjects.
    pub async fn page(&self, after: &str, limit: u32) -> Result<Vec<Person>, StoreError> {
        let mut people = Vec::new();
        for account in self.store.accounts(after, i64::from(limit)).await? {
            people.push(self.person(account).await?);
        }
        Ok(people)
    }

    async fn person(&self, account: AccountRecord) -> Result<Person, StoreError> {
        let claims = self.open_claims(&account).await?;
        let has_password = account.has_password();
        let AccountRecord { subject, state, created, .. } = account;
        Ok(Person { subject, state, has_password, created, claims })
    }

    /// One's own account, as it is given to its person; nothing when it is gone.
    pub async fn account_of(&self, subject: &Subject) -> Result<Option<Person>, StoreError> {
        match self.store.account(subject).await? {
            Some(account) => Ok(Some(self.person(account).await?)),
            None => Ok(None),
        }
    }

    /// Closes one's own account, having typed its username: sessions and grants end, and nobody signs in. [`People::remove`] follows; where
    /// that fails half-way the account stays closed, and an operator removes it. Gives what ended.
    pub async fn close(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        typed: &str,
        window: RuleWindow,
        now: Timestamp,
    ) -> Result<Ended, PersonError> {
        let claims = self.claims(&person.subject).await?.ok_or(PersonError::Unknown)?;
        let typed = Username::normalize(typed).ok();
        let typed = typed.as_ref().map(Username::as_str);
        if typed.is_none() || typed != claims.preferred_username.as_deref() {
            return Err(PersonError::Unproven(Reason::ConfirmationWrong));
        }
        self.store.disable_account(&person.subject, window, now).await?.ok_or(PersonError::Unknown)
    }

    /// Removes an account. The person's key goes first: from then on nothing of them can be read, in any copy of the database.
    pub async fn remove(&self, subject: &Subject, window: RuleWindow, now: Timestamp) -> Result<(), PersonError> {
        self.keys.delete(subject).await?;
        if self.store.remove_account(subject, window, now).await? { Ok(()) } else { Err(PersonError::Unknown) }
    }

    /// Keeps a person out.
    pub async fn disable(&self, subject: &Subject, window: RuleWindow, now: Timestamp) -> Result<(), PersonError> {
        self.store.disable_account(subject, window, now).await?.map(drop).ok_or(PersonError::Unknown)
    }

    /// Lets a person in again.
    pub async fn enable(&self, subject: &Subject, now: Timestamp) -> Result<(), PersonError> {
        if self.store.enable_account(subject, now).await? { Ok(()) } else { Err(PersonError::Unknown) }
    }

    /// Sets a password, as an operator does: every session of the person ends.
    pub async fn set_password(&self, subject: &Subject, password: &Password, now: Timestamp) -> Result<(), PersonError> {
        self.replace_password(subject, password, None, now).await
    }

    /// Changes one's own password, proving once more that the account is one's own: every other session ends. `address` and
    /// `monotonic` are those of an [`Attempt`], and count like one. It is no sign-in: the session goes on with what it began with.
    pub async fn change_password(
        &self,
        form: &FormChecked,
        person: &SignedIn,
        current: &str,
        new: &Password,
        at: (IpAddr, Duration, Timestamp),
    ) -> Result<(), PersonError> {
        let (address, monotonic, now) = at;
        self.prove_again(form, person, current, (address, monotonic)).await?;
        self.replace_password(&person.subject, new, Some(person), now).await
    }

    async fn replace_password(
        &self,
        subject: &Subject,
        password: &Password,
        by: Option<&SignedIn>,
        now: Timestamp,
    ) -> Result<(), PersonError> {
        let account = self.store.account(subject).await?.ok_or(PersonError::Unknown)?;
        let key = self.keys.key(subject).await?.ok_or(PersonError::Unknown)?;
        let claims = self.open_claims(&account).await?.unwrap_or_default();
        let hash = self.new_hash(password, &claims).await?;
        let kept = by.map(|person| &person.session_id);
        let change = AccountChange::Password { hash: hash.expose(), kept, window: session_window(now) };
        if self.store.change_account(subject, change, &key, now).await? { Ok(()) } else { Err(PersonError::Unknown) }
    }

    /// Replaces what is known of a person. Their username stays.
    pub async fn set_claims(&self, subject: &Subject, claims: PersonClaims, now: Timestamp) -> Result<(), PersonError> {
        let account = self.store.account(subject).await?.ok_or(PersonError::Unknown)?;
        let key = self.keys.key(subject).await?.ok_or(PersonError::Unknown)?;
        let known = self.open_claims(&account).await?.unwrap_or_default();
        let claims = PersonClaims { preferred_username: known.preferred_username, updated_at: Some(now), ..claims };
        let change = AccountChange::Profile(&to_json(&claims)?);
        if self.store.change_account(subject, change, &key, now).await? { Ok(()) } else { Err(PersonError::Unknown) }
    }
}

pub(super) fn to_json(claims: &PersonClaims) -> Result<zeroize::Zeroizing<Vec<u8>>, Fault> {
    serde_json::to_vec(claims).map(zeroize::Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))
}
