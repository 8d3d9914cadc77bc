//! The second factor: set up by its person, asked for at every sign-in, taken away by its person or an operator.
//!
//! Between the password and the code the browser holds a sealed value, bound to the cookie of its form, that says whose password was
//! proven: worth five minutes, and nothing without the code.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::ShownCertificate;
use super::fault::Fault;
use super::form::FormChecked;
use super::people::{Attempt, Authenticated, People, PersonError, Proven, SignInError};
use super::signed_in::{Amr, AtTime, SignedIn};
use super::throttle::Quota;
use super::totp::{self, TotpSecret, TypedCode};
use crate::clients::session_window;
use crate::domain::{Lifetime, Subject, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::seal::{BearerContext, Purpose};
use crate::store::{Ended, NewSecondFactor};

/// How often one may try codes once the password was right: with three codes of a million right at a time, a year of trying at one replica
/// finds one with a probability of less than a third.
pub(super) const GUESSES: Quota = Quota { burst: 5, every: Duration::from_secs(300) };
/// How often one may try recovery codes from one address. They are too long to be guessed; what is spared is the database. Whoever tries
/// one-time passwords elsewhere does not keep the person out who has one of these.
pub(super) const RECOVERY_GUESSES: Quota = Quota { burst: 10, every: Duration::from_secs(30) };
/// How long somebody may take between password and code.
const HELD: Lifetime = Lifetime::from_seconds(300);
/// How long somebody may take to set an authenticator up.
const SETTING_UP: Lifetime = Lifetime::from_seconds(900);

/// Somebody proved a password or a certificate, and the account asks for more. Only [`People`] makes one.
#[derive(Debug)]
pub struct FirstFactor {
    subject: Subject,
    /// When the account was changed last: a password that was replaced since is worth nothing.
    account_changed: Timestamp,
    /// By what.
    amr: Vec<Amr>,
    /// Where else, and when.
    elsewhere: Option<(AtTime, String)>,
    certificate: Option<ShownCertificate>,
}

/// The same, on its way through the browser.
#[derive(Serialize, Deserialize)]
struct Held {
    account_changed: Timestamp,
    subject: Subject,
    amr: Vec<String>,
    elsewhere: Option<(Timestamp, String)>,
    certificate: Option<ShownCertificate>,
}

impl FirstFactor {
    pub(super) const fn by(subject: Subject, account_changed: Timestamp, amr: Vec<Amr>) -> Self {
        Self { subject, account_changed, amr, elsewhere: None, certificate: None }
    }

    pub(super) fn with(self, certificate: Option<ShownCertificate>) -> Self {
        Self { certificate, ..self }
    }

    pub(super) fn at_provider(self, at: AtTime, provider: &str) -> Self {
        Self { elsewhere: Some((at, provider.to_owned())), ..self }
    }

    /// What both factors are together, the other being a passkey of the same person.
    pub(super) fn with_passkey(self, passkey: &Authenticated) -> Option<Authenticated> {
        let mut amr = self.amr.clone();
        for method in passkey.amr() {
            if !amr.contains(method) {
                amr.push(*method);
            }
        }
        (passkey.subject() == &self.subject).then(|| self.completed(amr))
    }

    fn completed(self, amr: Vec<Amr>) -> Authenticated {
        let authenticated = Authenticated::by(self.subject, amr).unless_changed_since(self.account_changed);
        let authenticated = authenticated.with(self.certificate).with_second_factor();
        match self.elsewhere {
            Some((at, provider)) => authenticated.at_provider(at, &provider),
            None => authenticated,
        }
    }

    /// What both factors are together.
    fn with_code(self) -> Authenticated {
        let mut amr = self.amr.clone();
        // Two factors are known to be of two kinds where it is known what the first one is, and that it is no code.
        let is_another = amr.iter().any(|method| !matches!(method, Amr::OneTimePassword | Amr::UserPresence));
        if !amr.contains(&Amr::OneTimePassword) {
            amr.push(Amr::OneTimePassword);
        }
        if is_another && !amr.contains(&Amr::MultiFactor) {
            amr.push(Amr::MultiFactor);
        }
        self.completed(amr)
    }
}

/// Somebody typed a code.
#[derive(Clone, Copy)]
pub struct CodeAttempt<'a> {
    /// As typed.
    pub code: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
    /// When.
    pub now: Timestamp,
    /// Monotonic time.
    pub monotonic: Duration,
}

/// A second factor that a person is setting up.
#[derive(Debug)]
pub struct Candidate {
    /// The secret, to be put into an authenticator.
    pub secret: TotpSecret,
    /// The same, sealed for the way through the browser.
    pub sealed: String,
}

/// What a person has just set up.
#[derive(Debug)]
pub struct SetUp {
    /// Both factors, proven now.
    pub authenticated: Authenticated,
    /// Recovery codes in groups, to be shown once.
    pub recovery_codes: Vec<String>,
    /// The sessions that ended.
    pub ended: Ended,
}

impl People {
    fn context(&self) -> BearerContext<'_> {
        BearerContext { purpose: Purpose::SecondFactor, issuer: self.store.deployment().as_str() }
    }

    /// Seals that a password was proven, for the browser whose form has the token `csrf`.
    pub fn hold(&self, first: &FirstFactor, csrf: &str, now: Timestamp) -> Result<String, Fault> {
        let audience = format!("sign-in {csrf}");
        let ring = self.store.ring();
        let held = Held {
            account_changed: first.account_changed,
            subject: first.subject.clone(),
            amr: first.amr.iter().map(|method| method.as_str().to_owned()).collect(),
            elsewhere: first.elsewhere.as_ref().map(|(at, provider)| (at.kept(), provider.clone())),
            certificate: first.certificate.clone(),
        };
        let held = serde_json::to_vec(&held).map(Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))?;
        let sealed = ring.seal_bearer(&self.context(), &audience, now.plus(HELD), &held);
        sealed.map_err(|error| Fault::Unavailable(error.reason()))
    }

    fn unseal(&self, sealed: &str, audience: &str, now: Timestamp) -> Option<Zeroizing<Vec<u8>>> {
        let (ring, context) = (self.store.ring(), self.context());
        let opened = ring.open_bearer(&context, sealed).ok()?;
        let is_ours = ring.audience_matches(&context, &opened, audience) && now < opened.expires;
        is_ours.then(|| opened.plaintext.into())
    }

    /// Whose sign-in [`People::hold`] interrupted, in the browser whose form has the token `csrf`; nothing that changed at the account since
    /// may have been meant to end it.
    pub(super) async fn held(&self, held: &str, csrf: &str, now: Timestamp) -> Result<FirstFactor, SignInError> {
        let over = SignInError::Wrong(Reason::SignInOver);
        let held = self.unseal(held, &format!("sign-in {csrf}"), now).ok_or(over)?;
        let held: Held = serde_json::from_slice(&held).map_err(|_| over)?;
        let amr: Vec<Amr> = held.amr.iter().map(|name| Amr::from_name(name)).collect::<Option<_>>().ok_or(over)?;
        // Elsewhere somebody may have proven themselves by what nobody says.
        if amr.is_empty() && held.elsewhere.is_none() {
            return Err(over);
        }
        if let Some(shown) = &held.certificate
            && self.store.is_certificate_revoked(&shown.of_session()).await.map_err(Fault::from)?
        {
            return Err(over);
        }
        let elsewhere = held.elsewhere.map(|(at, provider)| (AtTime::of_kept(at), provider));
        let first = FirstFactor::by(held.subject, held.account_changed, amr).with(held.certificate);
        let first = FirstFactor { elsewhere, ..first };
        let account = self.store.account(&first.subject).await.map_err(Fault::from)?;
        match account {
            Some(account) if account.changed == first.account_changed => Ok(first),
            _ => Err(over),
        }
    }

    /// Goes on with a sign-in that [`People::hold`] interrupted.
    pub async fn second_factor(
        &self,
        _form: &FormChecked,
        held: &str,
        csrf: &str,
        attempt: CodeAttempt<'_>,
    ) -> Result<Authenticated, SignInError> {
        let first = self.held(held, csrf, attempt.now).await?;
        self.prove_code(first, attempt).await
    }

    /// Proves the second factor after the first.
    async fn prove_code(&self, first: FirstFactor, attempt: CodeAttempt<'_>) -> Result<Authenticated, SignInError> {
        let subject = first.subject.clone();
        let typed = TypedCode::read(attempt.code);
        let (guesses, counted) = match typed {
            Some(TypedCode::Recovery(_)) => {
                let guesses = &self.recovery_guesses;
                (guesses, guesses.count_from(&subject, attempt.address, attempt.monotonic))
            }
            _ => (&self.code_guesses, self.code_guesses.count(&subject, attempt.monotonic)),
        };
        let guess = counted.map_err(|throttled| SignInError::TooMany {
            retry_after_seconds: throttled.retry_after.as_secs().saturating_add(1),
        })?;
        let wrong = SignInError::Wrong(Reason::SecondFactorWrong);
        let used = match typed.ok_or(wrong)? {
            TypedCode::Recovery(code) => self.store.use_recovery_code(&subject, &code, attempt.now).await.map_err(Fault::from)?,
            TypedCode::OneTime(code) => {
                let totp = self.store.totp(&subject).await.map_err(Fault::from)?.ok_or(wrong)?;
                let key = self.keys.key(&subject).await.map_err(Fault::from)?.ok_or(wrong)?;
                let secret = TotpSecret::from_bytes(self.store.open_totp(&totp, &key).map_err(Fault::from)?);
                let step = secret.check(&code, attempt.now).ok_or(wrong)?;
                let first_use = self.store.use_totp_step(&subject, step.0).await.map_err(Fault::from)?;
                if !first_use {
                    return Err(SignInError::Wrong(Reason::SecondFactorReplayed));
                }
                first_use
            }
        };
        if !used {
            return Err(wrong);
        }
        guesses.forgive(guess);
        Ok(first.with_code())
    }

    /// How many recovery codes a person with a second factor has left; nothing when they have none.
    pub async fn recovery_codes_left(&self, subject: &Subject) -> Result<Option<u32>, Fault> {
        match self.store.totp(subject).await? {
            Some(_) => Ok(Some(self.store.recovery_codes_left(subject).await?)),
            None => Ok(None),
        }
    }

    /// Begins to set a second factor up. Nothing is stored until [`People::set_up`].
    pub fn candidate(&self, _form: &FormChecked, person: &SignedIn, now: Timestamp) -> Result<Candidate, Fault> {
        let secret = TotpSecret::random(&*self.randomness)?;
        let audience = format!("set-up {}", person.session_id);
        let text = base64url::encode(secret.expose());
        let sealed = self.store.ring().seal_bearer(&self.context(), &audience, now.plus(SETTING_UP), text.as_bytes());
        Ok(Candidate { secret, sealed: sealed.map_err(|error| Fault::Unavailable(error.reason()))? })
    }

    /// The secret that [`People::candidate`] sealed for this session.
    pub fn candidate_of(&self, sealed: &str, person: &SignedIn, now: Timestamp) -> Option<Candidate> {
        let text = self.unseal(sealed, &format!("set-up {}", person.session_id), now)?;
        let bytes = Zeroizing::new(base64url::decode(std::str::from_utf8(&text).ok()?).ok()?);
        Some(Candidate { secret: TotpSecret::from_bytes(bytes), sealed: sealed.to_owned() })
    }

    /// Sets a second factor up: its person proves the password once more, and that their authenticator has the secret.
    pub async fn set_up(
        &self,
        form: &FormChecked,
        person: &SignedIn,
        candidate: &Candidate,
        password: &str,
        attempt: CodeAttempt<'_>,
    ) -> Result<SetUp, PersonError> {
        let Proven::Whole(_) = self.prove_again(form, person, password, (attempt.address, attempt.monotonic)).await? else {
            return Err(PersonError::Unproven(Reason::SecondFactorPresent));
        };
        let step = match TypedCode::read(attempt.code) {
            Some(TypedCode::OneTime(code)) => candidate.secret.check(&code, attempt.now),
            _ => None,
        };
        let step = step.ok_or(PersonError::Unproven(Reason::SecondFactorWrong))?;
        let codes = totp::recovery_codes(&*self.randomness).map_err(Fault::from)?;
        let key = self.keys.key(&person.subject).await?.ok_or(PersonError::Unknown)?;
        let new = NewSecondFactor {
            subject: &person.subject,
            secret: candidate.secret.expose(),
            step: step.0,
            recovery_codes: &codes,
            kept: &person.session_id,
            window: session_window(attempt.now),
        };
        let ended = self.store.add_second_factor(&new, &key, attempt.now).await?;
        let ended = ended.ok_or(PersonError::Unproven(Reason::SecondFactorPresent))?;
        let amr = vec![Amr::Password, Amr::OneTimePassword, Amr::MultiFactor];
        Ok(SetUp {
            authenticated: Authenticated::by(person.subject.clone(), amr),
            recovery_codes: codes.iter().map(|code| totp::grouped(code)).collect(),
            ended,
        })
    }

    /// Takes one's second factor away: both factors are proven once more.
    pub async fn take_away(
        &self,
        form: &FormChecked,
        person: &SignedIn,
        password: &str,
        attempt: CodeAttempt<'_>,
    ) -> Result<(), PersonError> {
        let Proven::First(first) = self.prove_again(form, person, password, (attempt.address, attempt.monotonic)).await? else {
            return Err(PersonError::Unproven(Reason::SecondFactorAbsent));
        };
        self.prove_code(first, attempt).await.map_err(PersonError::from)?;
        self.store.remove_second_factor(&person.subject, attempt.now).await?;
        Ok(())
    }

    /// Takes a person's second factor away, as an operator does; gives whether there was one.
    pub async fn remove_second_factor(&self, subject: &Subject, now: Timestamp) -> Result<bool, PersonError> {
        Ok(self.store.remove_second_factor(subject, now).await?)
    }

    /// Proves once more that an account is one's own, by its password. It counts like an attempt to sign in.
    pub(super) async fn prove_again(
        &self,
        form: &FormChecked,
        person: &SignedIn,
        password: &str,
        (address, monotonic): (IpAddr, Duration),
    ) -> Result<Proven, PersonError> {
        let claims = self.claims(&person.subject).await?.ok_or(PersonError::Unknown)?;
        let username = claims.preferred_username.as_deref().unwrap_or_default();
        let attempt = Attempt { username, password, address, monotonic };
        let proven = self.authenticate(form, &attempt).await.map_err(PersonError::from)?;
        let whose = match &proven {
            Proven::Whole(authenticated) => authenticated.subject(),
            Proven::First(FirstFactor { subject, .. }) => subject,
        };
        if *whose != person.subject {
            return Err(PersonError::Unproven(Reason::PasswordWrong));
        }
        Ok(proven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8176 §2: `mfa` where several factors were used. Two codes are one kind, and a touch shows nothing but that somebody is there.
    #[test]
    fn two_factors_are_of_two_kinds() {
        for (first, is_multiple) in [
            (&[Amr::Password][..], true),
            (&[Amr::SmartCard], true),
            (&[Amr::SoftwareKey, Amr::UserPresence], true),
            (&[Amr::OneTimePassword], false),
            (&[Amr::UserPresence], false),
            (&[Amr::OneTimePassword, Amr::UserPresence], false),
            (&[], false),
        ] {
            let subject: Subject = "somebody".parse().expect("a subject");
            let both = FirstFactor::by(subject, Timestamp::from_seconds(1), first.to_vec()).with_code();
            assert_eq!(both.amr().contains(&Amr::MultiFactor), is_multiple, "{first:?}");
            assert_eq!(both.amr().iter().filter(|method| **method == Amr::OneTimePassword).count(), 1, "{first:?}");
        }
    }
}
