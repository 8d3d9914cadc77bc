//! Signing in at another OpenID Provider: the way there, and back.
//!
//! ```text
//! form      state, nonce and PKCE, sealed in a cookie of this browser; ten minutes  -> the provider
//! answer    its cookie, its provider, once; `iss`; the code; the ID token           -> AtProvider
//! account   the link of provider, issuer and subject, and nothing else              -> Proven
//! ```
//!
//! A person is never known by an address or a name that a provider tells: whoever chooses those there would choose the account here.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, Zeroizing};

use super::certificate::Aim;
use super::cookie::CookieName;
use super::fault::Fault;
use super::form::FormChecked;
use super::people::{Authenticated, People, Proven, SignInError};
use super::provider::{Demand, IdentityProvider, IdentityProviders};
use super::second_factor::FirstFactor;
use super::sign_up::Told;
use super::signed_in::{Amr, AtTime};
use crate::domain::{Lifetime, SessionId, Subject, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::relying_party::{Beginning, Identity, ProviderError};
use crate::resource::StepUp;
use crate::seal::{BearerContext, Purpose};
use crate::store::{AccountState, Claimed};

/// How long the way there and back may take.
const TRIP: Lifetime = Lifetime::from_seconds(600);
/// How long a used `state` is remembered: longer than it is taken.
const MEMORY: Lifetime = Lifetime::from_seconds(1_200);
/// Among what is used once.
const USED: &str = "provider-answer";
/// What the names of these cookies begin with.
const COOKIE: &str = "provider";
/// Sign-ins that one browser may have under way.
const MOST_COOKIES: usize = 8;
/// How much of the hash of a `state` is in the name of its cookie.
const NAME_LENGTH: usize = 12;
/// The longest `state` that is looked up, in bytes.
const LONGEST_STATE: usize = 64;
/// What is shown of an account elsewhere, in characters.
const SHOWN: usize = 200;

/// Why nobody is signed in by a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtProviderError {
    /// The answer does not do, or the provider does not want.
    Refused(Reason),
    /// The provider does not answer, or too much is under way.
    Unavailable(Reason),
    /// Ours.
    Failed(Fault),
}

impl From<Fault> for AtProviderError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// What a browser goes to a provider for.
#[derive(Clone, Copy, Debug)]
pub struct Trip<'a> {
    /// To sign in, or to link the account there.
    pub aim: Aim,
    /// The authorization request, and the code of a device, that wait for it.
    pub waiting: (Option<&'a str>, Option<&'a str>),
    /// What the sign-in must be like.
    pub demand: Demand,
    /// The session in which an account is to be linked.
    pub session: Option<&'a SessionId>,
    /// The browser's headers.
    pub headers: &'a HeaderMap,
    /// Where it is.
    pub address: IpAddr,
}

/// What a provider sent a browser back with.
#[derive(Clone, Copy, Debug)]
pub struct ProviderAnswer<'a> {
    /// `state`.
    pub state: Option<&'a str>,
    /// `code`.
    pub code: Option<&'a str>,
    /// `error`. What else the provider says of it is read by nobody.
    pub error: Option<&'a str>,
    /// `iss` (RFC 9207).
    pub iss: Option<&'a str>,
}

/// What the cookie of a trip holds.
#[derive(Clone, Serialize, Deserialize)]
struct Errand {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    aim: Aim,
    interaction: Option<String>,
    device: Option<String>,
    session: Option<SessionId>,
    max_age: Option<u32>,
    begun: Timestamp,
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.state.zeroize();
        self.nonce.zeroize();
        self.verifier.zeroize();
    }
}

/// Somebody signed in at a provider that we sent their browser to, and the browser came back. Only [`People`] makes one.
pub struct AtProvider {
    errand: Errand,
    pub(super) subject: Subject,
    pub(super) title: String,
    at: AtTime,
    amr: Vec<Amr>,
    /// What new accounts are made of, where they are.
    told: Option<Told>,
}

impl std::fmt::Debug for AtProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtProvider").field("provider", &self.errand.provider).finish_non_exhaustive()
    }
}

impl AtProvider {
    /// What they went there for.
    pub const fn aim(&self) -> Aim {
        self.errand.aim
    }

    /// The authorization request that waits for it.
    pub fn interaction(&self) -> Option<&str> {
        self.errand.interaction.as_deref()
    }

    /// The code of a device that waits for it.
    pub fn device(&self) -> Option<&str> {
        self.errand.device.as_deref()
    }

    /// Whether it was this session that sent them, to link an account.
    pub fn is_of(&self, session: &SessionId) -> bool {
        self.errand.session.as_ref() == Some(session)
    }
}

/// What the account elsewhere is known by. The name of the provider is in it, so that another provider under the same name, or the same
/// one under another, opens nothing; the issuer, so that its subjects are no other's.
pub(super) fn known_by(provider: &IdentityProvider, subject: &Subject) -> String {
    link_text(provider.name(), provider.issuer().as_str(), subject.as_str())
}

/// The same in its parts, in none of which there is a line feed.
pub(super) fn link_text(provider: &str, issuer: &str, subject: &str) -> String {
    format!("{provider}\n{issuer}\n{subject}")
}

/// What a person reads of their account elsewhere.
fn title(claims: &Map<String, Value>, subject: &Subject) -> String {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let found = ["email", "preferred_username", "name"].into_iter().find_map(text).unwrap_or(subject.as_str());
    found.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

impl People {
    fn provider_context(&self) -> BearerContext<'_> {
        BearerContext { purpose: Purpose::ProviderSignIn, issuer: self.store.deployment().as_str() }
    }

    /// Seals something for the way through a browser.
    pub(super) fn seal_trip(&self, what: &str, value: &impl Serialize, expires: Timestamp) -> Result<String, Fault> {
        let json = serde_json::to_vec(value).map(Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))?;
        let sealed = self.store.ring().seal_bearer(&self.provider_context(), what, expires, &json);
        sealed.map_err(|error| Fault::Unavailable(error.reason()))
    }

    /// Opens it; with it comes until when it counts.
    pub(super) fn open_trip<T: for<'de> Deserialize<'de>>(&self, what: &str, sealed: &str) -> Option<(T, Timestamp)> {
        let (ring, context) = (self.store.ring(), self.provider_context());
        let opened = ring.open_bearer(&context, sealed).ok()?;
        let (is_ours, expires) = (ring.audience_matches(&context, &opened, what), opened.expires);
        let json: Zeroizing<Vec<u8>> = opened.plaintext.into();
        if is_ours { Some((serde_json::from_slice(&json).ok()?, expires)) } else { None }
    }

    fn trip_text(&self) -> Result<String, Fault> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        self.randomness.fill(&mut *bytes)?;
        Ok(base64url::encode(*bytes))
    }

    /// One cookie for each trip, so that several tabs do not take each other's.
    fn trip_cookie(&self, state: &str) -> CookieName {
        let mut short = base64url::encode(sha256(state.as_bytes()));
        short.truncate(NAME_LENGTH);
        CookieName::new(&format!("{COOKIE}-{short}"), self.store.deployment())
    }

    /// Sends a browser to a provider: where to, and the cookies that it is to have.
    ///
    /// # Errors
    /// [`AtProviderError`].
    pub async fn send_to_provider(
        &self,
        _form: &FormChecked,
        (providers, provider): (&IdentityProviders, &IdentityProvider),
        trip: Trip<'_>,
        now: Timestamp,
    ) -> Result<(String, Vec<HeaderValue>), AtProviderError> {
        let _turn = providers.turn(trip.address).ok_or(AtProviderError::Unavailable(Reason::ProviderBusy))?;
        let errand = Errand {
            provider: provider.name().to_owned(),
            state: self.trip_text()?,
            nonce: self.trip_text()?,
            verifier: self.trip_text()?,
            aim: trip.aim,
            interaction: trip.waiting.0.map(str::to_owned),
            device: trip.waiting.1.map(str::to_owned),
            session: trip.session.cloned(),
            max_age: trip.demand.max_age.map(Lifetime::seconds),
            begun: now,
        };
        let step_up = step_up(&errand);
        let beginning = Beginning { prompt: trip.demand.prompt, ..beginning(&errand, provider, step_up.as_ref()) };
        let url = provider.provider().begin(&beginning).await.map_err(|error| told(provider, &error))?;
        let sealed = self.seal_trip("trip", &errand, now.plus(TRIP))?;
        let own = self.trip_cookie(&errand.state);
        let mut others = CookieName::all(COOKIE, self.store.deployment(), trip.headers);
        others.truncate((others.len() + 1).saturating_sub(MOST_COOKIES));
        let mut cookies: Vec<HeaderValue> = others.iter().filter_map(CookieName::clear).collect();
        cookies.push(own.set_for(&sealed, TRIP).ok_or(Fault::Defect(Reason::Defect))?);
        Ok((url.into(), cookies))
    }

    /// Takes the cookie of a trip away; nothing when the answer names none.
    pub fn end_of_trip(&self, answer: &ProviderAnswer<'_>) -> Option<HeaderValue> {
        let state = answer.state.filter(|state| state.len() <= LONGEST_STATE)?;
        self.trip_cookie(state).clear()
    }

    /// Takes a browser back that a provider sends.
    ///
    /// # Errors
    /// [`AtProviderError`]. Whatever becomes of an answer, it counts once.
    pub async fn back_from_provider(
        &self,
        (providers, provider): (&IdentityProviders, &IdentityProvider),
        answer: &ProviderAnswer<'_>,
        (headers, address): (&HeaderMap, IpAddr),
        now: Timestamp,
    ) -> Result<AtProvider, AtProviderError> {
        use AtProviderError::{Refused, Unavailable};
        let state = answer.state.filter(|state| state.len() <= LONGEST_STATE).ok_or(Refused(Reason::ProviderAnswerMalformed))?;
        let foreign = Refused(Reason::ProviderAnswerForeign);
        let sealed = self.trip_cookie(state).find(headers).ok_or(foreign)?;
        let (errand, expires): (Errand, Timestamp) = self.open_trip("trip", sealed).ok_or(foreign)?;
        if !bool::from(errand.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(foreign);
        }
        if expires <= now {
            return Err(Refused(Reason::SignInOver));
        }
        // Of all who bring an answer to one trip, at any replica, one is first.
        match self.store.claim(USED, state.as_bytes(), now.plus(MEMORY)).await.map_err(Fault::from)? {
            Claimed::First => {}
            Claimed::Seen => return Err(Refused(Reason::ProviderAnswerReplayed)),
        }
        if errand.provider != provider.name() {
            return Err(Refused(Reason::ProviderMixedUp));
        }
        let issuer = provider.provider().check_issuer(answer.iss).await;
        issuer.map_err(|error| match error {
            ProviderError::Refused(_) => Refused(Reason::ProviderIssuer),
            error => told(provider, &error),
        })?;
        let code = match (answer.code, answer.error) {
            (Some(code), None) => code,
            (None, Some(error)) => {
                let error: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
                tracing::info!(provider = provider.name(), error, "the provider did not sign a person in");
                return Err(Refused(Reason::ProviderDeclined));
            }
            _ => return Err(Refused(Reason::ProviderAnswerMalformed)),
        };
        let _turn = providers.turn(address).ok_or(Unavailable(Reason::ProviderBusy))?;
        let step_up = step_up(&errand);
        let redeemed = provider.provider().redeem(code, &beginning(&errand, provider, step_up.as_ref())).await;
        let (Identity { subject, mut claims, auth_time, .. }, tokens) = redeemed.map_err(|error| told(provider, &error))?;
        if provider.asks_for_more(&claims, errand.aim) {
            let more = provider.provider().userinfo(&tokens, &subject).await.map_err(|error| told(provider, &error))?;
            // What the ID token says, it says with a signature.
            for (name, value) in more.into_iter().flatten() {
                claims.entry(name).or_insert(value);
            }
        }
        if let Some(claim) = provider.unmet(&claims) {
            tracing::info!(provider = provider.name(), claim, "a claim has none of the values that are asked for");
            return Err(Refused(Reason::ProviderClaim));
        }
        let at = match (auth_time, errand.max_age) {
            // Held against the moment they were sent there, by clocks that may differ a little.
            (Some(_), Some(0)) => AtTime::At(auth_time.unwrap_or(now).max(errand.begun).min(now)),
            (Some(auth_time), _) => AtTime::At(auth_time.min(now)),
            (None, _) => AtTime::Unknown,
        };
        let told = provider.claim_names().map(|names| names.read(&claims));
        Ok(AtProvider { title: title(&claims, &subject), amr: provider.methods(&claims), errand, subject, at, told })
    }

    /// Proves that an account is one's own, by one elsewhere that is linked to it. An account with a second factor asks for that too, unless
    /// more than one was proven there.
    pub async fn by_provider(
        &self,
        provider: &IdentityProvider,
        there: &AtProvider,
        now: Timestamp,
    ) -> Result<Proven, SignInError> {
        let known_by = known_by(provider, &there.subject);
        let subject = self.store.account_linked_to(&known_by).await.map_err(Fault::from)?;
        let subject = match (subject, there.told.clone()) {
            (Some(subject), None) => subject,
            (Some(subject), Some(told)) => {
                self.keep_in_step(&subject, &known_by, told, now).await?;
                subject
            }
            (None, Some(told)) => self.sign_up(provider, there, told, now).await?,
            (None, None) => return Err(SignInError::Wrong(Reason::LinkedAccountUnknown)),
        };
        let account = self.store.account(&subject).await.map_err(Fault::from)?;
        let account = account.ok_or(SignInError::Wrong(Reason::AccountUnknown))?;
        // Once more, now that it is known when the account was changed last: what was taken away before that opens nothing.
        if self.store.account_linked_to(&known_by).await.map_err(Fault::from)?.as_ref() != Some(&subject) {
            return Err(SignInError::Wrong(Reason::LinkedAccountUnknown));
        }
        if account.state == AccountState::Disabled {
            return Err(SignInError::Wrong(Reason::AccountDisabled));
        }
        if self.keys.find(&subject).await.map_err(Fault::from)?.is_none() {
            return Err(SignInError::Wrong(Reason::PersonKeyAbsent));
        }
        let amr = there.amr.clone();
        let asks_for_more = !amr.contains(&Amr::MultiFactor) && self.store.totp(&subject).await.map_err(Fault::from)?.is_some();
        Ok(match asks_for_more {
            true => Proven::First(FirstFactor::by(subject, account.changed, amr).at_provider(there.at, provider.name())),
            false => Proven::Whole(
                Authenticated::by(subject, amr).unless_changed_since(account.changed).at_provider(there.at, provider.name()),
            ),
        })
    }
}

fn step_up(errand: &Errand) -> Option<StepUp> {
    errand.max_age.map(|max_age| StepUp { acr_values: Vec::new(), max_age: Some(Lifetime::from_seconds(max_age)) })
}

fn beginning<'a>(errand: &'a Errand, provider: &'a IdentityProvider, step_up: Option<&'a StepUp>) -> Beginning<'a> {
    Beginning {
        redirect_uri: provider.redirect_uri(),
        scopes: provider.scopes(),
        resources: &[],
        step_up,
        prompt: None,
        begun: errand.begun,
        state: &errand.state,
        nonce: &errand.nonce,
        verifier: &errand.verifier,
    }
}

/// What went wrong at the provider is the log's; the browser's person reads less.
fn told(provider: &IdentityProvider, error: &ProviderError) -> AtProviderError {
    tracing::warn!(provider = provider.name(), %error, "a sign-in at a provider failed");
    match error {
        ProviderError::Unavailable(_) => AtProviderError::Unavailable(error.reason()),
        ProviderError::Refused(_) | ProviderError::IdToken(_) => AtProviderError::Refused(error.reason()),
    }
}
