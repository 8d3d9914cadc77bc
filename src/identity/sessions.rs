//! Sessions in browsers: an opaque cookie, and everything it stands for in the store.
//!
//! The cookie's secret changes whenever somebody signs in, so that a cookie planted before is worth nothing after. When the same person
//! signs in again in the same browser the session stays the same (`sid`, and what hangs on it); otherwise the one before ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::ShownCertificate;
use super::cookie::CookieName;
use super::fault::Fault;
use super::form::{Form, FormChecked, FormForeign, FormToken, may_be_ours};
use super::people::Authenticated;
use super::signed_in::{Amr, AtTime, SignedIn};
use crate::clients::session_window;
use crate::domain::{Lifetime, Randomness, RequestId, SessionId, Timestamp};
use crate::event::{AuditEvent, Reason, SessionEnd, Trailed};
use crate::jose::base64url;
use crate::store::{AccountState, Ended, Ending, NewSession, PersonKeys, SessionRecord, Store, StoreError};

/// Random bytes in a cookie.
const SECRET_LENGTH: usize = 32;
/// A session's last use is noted this often.
const TOUCH: u64 = 60;
/// Sessions that one person has at most; beyond that the one used longest ago ends.
const MOST: u32 = 100;
/// What is kept of a browser's own name, in bytes.
const MAX_USER_AGENT: usize = 256;

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// After the last use.
    pub idle: Lifetime,
    /// After signing in.
    pub absolute: Lifetime,
    /// After signing in, for what asks for a sign-in of just now.
    pub fresh: Lifetime,
}

/// The sessions of one deployment.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    keys: PersonKeys,
    policy: SessionPolicy,
    randomness: Arc<dyn Randomness>,
    session_cookie: CookieName,
    form_cookie: CookieName,
}

/// What is sealed of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    auth_time: Timestamp,
    /// How often they have signed in in this session, this time included.
    sign_ins: u32,
    amr: Vec<String>,
    /// When they signed in here, where they had proven elsewhere before who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in: Option<Timestamp>,
    /// Whether the account's own second factor was proven, whatever `amr` says of the first.
    #[serde(default)]
    second_factor: bool,
    user_agent: String,
    address: IpAddr,
}

impl State {
    fn is_single_factor(&self) -> bool {
        !self.second_factor && !self.amr.iter().any(|method| method == Amr::MultiFactor.as_str())
    }
}

/// A session as its person sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Which.
    pub session_id: SessionId,
    /// Whether it is the one that is looking.
    pub is_current: bool,
    /// When they signed in.
    pub auth_time: Timestamp,
    /// When it was last used, to the minute.
    pub used: Timestamp,
    /// `User-Agent` of the browser when they signed in.
    pub user_agent: String,
    /// Where they signed in from.
    pub address: IpAddr,
}

/// By what right a session ends.
#[derive(Clone, Copy, Debug)]
pub enum Leave<'a> {
    /// The person said so on our own page.
    Form(&'a FormChecked),
    /// A client did, with an ID token of ours that names this very session (OpenID Connect RP-Initiated Logout §2).
    Client(&'a SessionId),
}

/// Where somebody signs in.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The request's headers: the browser's cookies and its name.
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub peer_address: SocketAddr,
    /// The request.
    pub request_id: &'a RequestId,
}

impl Sessions {
    /// The sessions in `store`, whose people's keys are in `keys`.
    pub fn new(store: Store, keys: PersonKeys, policy: SessionPolicy, randomness: Arc<dyn Randomness>) -> Self {
        let (session_cookie, form_cookie) =
            (CookieName::new("session", store.deployment()), CookieName::new("form", store.deployment()));
        Self { store, keys, policy, randomness, session_cookie, form_cookie }
    }

    /// How long a session lives.
    pub fn policy(&self) -> SessionPolicy {
        self.policy
    }

    /// Who is signed in in the browser that sent these headers; nobody when it has no cookie of a live session.
    pub async fn current(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<SignedIn>, Fault> {
        let Some(record) = self.live(headers, now).await? else { return Ok(None) };
        let Some(state) = self.state(&record).await? else { return Ok(None) };
        if now.seconds_since(record.used) >= TOUCH {
            self.store.touch_session(&record.session_id, now).await?;
        }
        let amr = state.amr.iter().filter_map(|name| Amr::from_name(name)).collect();
        let signed_in = state.signed_in.unwrap_or(state.auth_time);
        let person = SignedIn::new(record.subject, record.session_id, state.auth_time, state.sign_ins, amr);
        Ok(Some(person.signed_in_at(signed_in)))
    }

    /// The session of the browser's cookie, if its time is not over and its person may sign in.
    async fn live(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<SessionRecord>, Fault> {
        let Some(secret) = secret(self.session_cookie.find(headers)) else { return Ok(None) };
        let record = self.store.session_with(&*secret).await?;
        Ok(record.filter(|record| {
            record.account == AccountState::Active
                && now < record.expires
                && now.seconds_since(record.used) < u64::from(self.policy.idle.seconds())
        }))
    }

    async fn state(&self, record: &SessionRecord) -> Result<Option<State>, Fault> {
        let Some(key) = self.keys.key(&record.subject).await? else { return Ok(None) };
        let json = self.store.open_session(record, &key)?;
        let broken = |error| StoreError::Corrupt(format!("session {}: its state: {error}", record.session_id));
        Ok(Some(serde_json::from_slice(&json).map_err(broken)?))
    }

    /// Signs somebody in: begins a session, or renews theirs in this browser. The header value sets the browser's cookie.
    pub async fn begin(
        &self,
        authenticated: Authenticated,
        at: Surroundings<'_>,
        now: Timestamp,
    ) -> Result<(SignedIn, HeaderValue), Fault> {
        let (subject, amr) = (authenticated.subject(), authenticated.amr());
        let present = self.live(at.headers, now).await?;
        let Some(key) = self.keys.key(subject).await? else { return Err(Fault::Defect(Reason::PersonKeyAbsent)) };
        let mut secret = Zeroizing::new([0u8; SECRET_LENGTH]);
        self.randomness.fill(&mut *secret)?;
        let same = present.as_ref().filter(|present| present.subject == *subject);
        let before = match same {
            Some(record) => self.state(record).await?,
            None => None,
        };
        let sign_ins = before.map_or(0, |state| state.sign_ins).saturating_add(1);
        let elsewhere = authenticated.at();
        let auth_time = elsewhere.map_or(now, AtTime::kept);
        let state = State {
            auth_time,
            signed_in: elsewhere.map(|_| now),
            second_factor: !authenticated.is_single_factor(),
            sign_ins,
            amr: amr.iter().map(|method| method.as_str().to_owned()).collect(),
            user_agent: user_agent(at.headers),
            address: at.peer_address.ip().to_canonical(),
        };
        let single_factor = state.is_single_factor();
        let state = serde_json::to_vec(&state).map_err(|_| Fault::Defect(Reason::Defect))?;
        let same = same.map(|present| present.session_id.clone());
        let session_id = match &same {
            Some(session_id) => session_id.clone(),
            None => SessionId::random(&*self.randomness)?,
        };
        let event = AuditEvent::SignedIn {
            request_id: at.request_id.clone(),
            subject: subject.clone(),
            session_id: session_id.clone(),
            peer_address: at.peer_address,
            amr: amr.iter().map(|method| method.as_str()).collect(),
            certificate: authenticated.certificate().map(ShownCertificate::thumbprint),
            provider: authenticated.provider().map(str::to_owned),
        };
        let event = Trailed { time: now, event };
        let expires = now.plus(self.policy.absolute);
        let shown = authenticated.certificate().map(ShownCertificate::of_session);
        let (secret, certificate) = (&*secret, shown.as_ref());
        let as_of = authenticated.account_changed();
        let new =
            NewSession { session_id: &session_id, subject, secret, state: &state, expires, single_factor, certificate, as_of };
        let begun = match &same {
            Some(_) => self.store.renew_session(&new, &key, &event, now).await?,
            None => {
                let replaced = present.as_ref().map(|present| (&present.session_id, &present.subject));
                self.store.begin_session(&new, &key, replaced, MOST, session_window(now), &event).await?.is_some()
            }
        };
        // Ended, disabled, given a second factor or revoked in this very moment: whoever asks again gets the answer that is right then.
        if !begun {
            return Err(Fault::Unavailable(Reason::SessionAbsent));
        }
        let cookie = self.session_cookie.set(&base64url::encode(secret)).ok_or(Fault::Defect(Reason::Defect))?;
        let person = SignedIn::new(subject.clone(), session_id, auth_time, sign_ins, amr.to_vec());
        Ok((person.signed_in_at(now), cookie))
    }

    /// Gives the session of this browser another cookie, after its person changed the password: who has a copy of the old one is out. It is
    /// no sign-in: when and by what they signed in stays, and so does the session's end.
    pub async fn renew_cookie(&self, person: &SignedIn, headers: &HeaderMap, now: Timestamp) -> Result<HeaderValue, Fault> {
        let gone = Fault::Unavailable(Reason::SessionAbsent);
        let record = self.live(headers, now).await?.filter(|record| record.session_id == person.session_id).ok_or(gone)?;
        let state = self.state(&record).await?.ok_or(gone)?;
        let single_factor = state.is_single_factor();
        let Some(key) = self.keys.key(&record.subject).await? else { return Err(Fault::Defect(Reason::PersonKeyAbsent)) };
        let state = serde_json::to_vec(&state).map_err(|_| Fault::Defect(Reason::Defect))?;
        let mut secret = Zeroizing::new([0u8; SECRET_LENGTH]);
        self.randomness.fill(&mut *secret)?;
        let new = NewSession {
            session_id: &record.session_id,
            subject: &record.subject,
            secret: &*secret,
            state: &state,
            expires: record.expires,
            single_factor,
            // It stays the one that it is.
            certificate: None,
            as_of: None,
        };
        if !self.store.renew_session_secret(&new, &key, now).await? {
            return Err(gone);
        }
        self.session_cookie.set(&base64url::encode(*secret)).ok_or(Fault::Defect(Reason::Defect))
    }

    /// Signs out: ends the session, and takes its cookie away by the header value.
    pub async fn end(&self, leave: Leave<'_>, person: &SignedIn, now: Timestamp) -> Result<(Ended, HeaderValue), Fault> {
        let why = match leave {
            Leave::Form(_) => SessionEnd::SignedOut,
            Leave::Client(session_id) if *session_id == person.session_id => SessionEnd::EndedByClient,
            Leave::Client(_) => return Err(Fault::Defect(Reason::Defect)),
        };
        let ended = self.store.end_session(&person.session_id, &person.subject, &ending(why, now)).await?;
        Ok((ended, self.session_cookie.clear().ok_or(Fault::Defect(Reason::Defect))?))
    }

    /// Takes the cookie of a session away that has ended.
    pub fn clear_cookie(&self) -> Result<HeaderValue, Fault> {
        self.session_cookie.clear().ok_or(Fault::Defect(Reason::Defect))
    }

    /// Ends another session of the same person, or all others when none is named.
    pub async fn end_other(
        &self,
        _form: &FormChecked,
        person: &SignedIn,
        other: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<Ended, Fault> {
        let (subject, ending) = (&person.subject, ending(SessionEnd::EndedByPerson, now));
        Ok(match other {
            Some(session_id) => self.store.end_session(session_id, subject, &ending).await?,
            None => self.store.end_sessions_of(subject, Some(&person.session_id), &ending).await?,
        })
    }

    /// Notes that a grant which hangs on a session was used: whoever goes on working does not become idle.
    pub async fn touch(&self, session_id: &SessionId, now: Timestamp) -> Result<(), Fault> {
        Ok(self.store.touch_session(session_id, now).await?)
    }

    /// The live sessions of a person, the one used last first.
    pub async fn list(&self, person: &SignedIn, now: Timestamp) -> Result<Vec<SessionView>, Fault> {
        let mut views = Vec::new();
        for record in self.store.sessions_of(&person.subject).await? {
            let idle = now.seconds_since(record.used) >= u64::from(self.policy.idle.seconds());
            if idle || now >= record.expires {
                continue;
            }
            let Some(State { auth_time, signed_in, user_agent, address, .. }) = self.state(&record).await? else { continue };
            let is_current = record.session_id == person.session_id;
            views.push(SessionView {
                session_id: record.session_id,
                is_current,
                auth_time: signed_in.unwrap_or(auth_time),
                used: record.used,
                user_agent,
                address,
            });
        }
        Ok(views)
    }

    /// The token for a form, and the cookie that the page must set with it when the browser has none yet. Nothing for a form that
    /// needs a session when there is none.
    pub fn form_token(&self, form: Form, headers: &HeaderMap) -> Result<Option<(FormToken, Option<HeaderValue>)>, Fault> {
        if let Some(secret) = self.form_secret(form, headers) {
            return Ok(Some((FormToken::of(&self.form_digest(form, &*secret)), None)));
        }
        if !form.is_before_sign_in() {
            return Ok(None);
        }
        let mut secret = Zeroizing::new([0u8; SECRET_LENGTH]);
        self.randomness.fill(&mut *secret)?;
        let cookie = self.form_cookie.set(&base64url::encode(*secret)).ok_or(Fault::Defect(Reason::Defect))?;
        Ok(Some((FormToken::of(&self.form_digest(form, &*secret)), Some(cookie))))
    }

    /// Checks the token of a form that was sent with these headers.
    pub fn check_form(&self, form: Form, headers: &HeaderMap, presented: &str) -> Result<FormChecked, FormForeign> {
        if !may_be_ours(headers) {
            return Err(FormForeign);
        }
        self.check_token(form, headers, presented)
    }

    /// Checks the token that a browser took along to another host of ours and brings back: it is the one that was sent. Where it comes from
    /// by its own word (Fetch Metadata) says nothing here.
    pub fn check_returning(&self, form: Form, headers: &HeaderMap, presented: &str) -> Result<FormChecked, FormForeign> {
        self.check_token(form, headers, presented)
    }

    fn check_token(&self, form: Form, headers: &HeaderMap, presented: &str) -> Result<FormChecked, FormForeign> {
        let secret = self.form_secret(form, headers).ok_or(FormForeign)?;
        let digests = self.store.ring().blind_indexes(&self.form_purpose(form), &*secret);
        let known = digests.iter().any(|digest| FormToken::of(digest).is(presented));
        if known { Ok(FormChecked::new()) } else { Err(FormForeign) }
    }

    fn form_secret(&self, form: Form, headers: &HeaderMap) -> Option<Zeroizing<[u8; SECRET_LENGTH]>> {
        let cookie = if form.is_before_sign_in() { &self.form_cookie } else { &self.session_cookie };
        secret(cookie.find(headers))
    }

    fn form_digest(&self, form: Form, secret: &[u8]) -> [u8; 32] {
        self.store.ring().blind_index(&self.form_purpose(form), secret)
    }

    fn form_purpose(&self, form: Form) -> String {
        format!("{} form {}", self.store.deployment(), form.name())
    }

    /// Ends at most `batch` sessions whose time is over; gives how many.
    pub async fn clear_expired(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let ending = ending(SessionEnd::Expired, now);
        Ok(self.store.end_expired_sessions(now.minus(self.policy.idle), batch, &ending).await?.sessions.len() as u64)
    }
}

fn ending(why: SessionEnd, now: Timestamp) -> Ending {
    Ending { why, window: session_window(now), at: now }
}

fn secret(cookie: Option<&str>) -> Option<Zeroizing<[u8; SECRET_LENGTH]>> {
    let bytes = Zeroizing::new(base64url::decode(cookie?).ok()?);
    <[u8; SECRET_LENGTH]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.get(..MAX_USER_AGENT.min(text.len())).unwrap_or_default().to_owned()
}
