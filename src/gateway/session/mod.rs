//! Sessions of people in browsers: the gateway signs them in at an authorization server, keeps the tokens for them, and presents the
//! access token in their name.
//!
//! ```text
//! visit     the cookie opens, is in time, not ended, comes with its certificate and from a page of ours     -> Visitor
//! begin     nobody is there and a page was asked for: state, nonce and PKCE into a sealed cookie            -> the provider
//! finish    the provider's answer, to the browser that began                                               -> Session
//! ```
//!
//! What was decided, and why:
//!
//! - **The gateway is a client like any other.** It signs people in with OpenID Connect at the `authorization_server` that the sessions
//!   name, as the client that it is there anyway, and what it gets is an access token. The token of a session takes the same way as one
//!   in `Authorization`: verified, proven, admitted. A session by itself admits nobody.
//! - **A token of a session is the gateway's.** Where it is bound to a certificate, that is the certificate with which the gateway
//!   fetched it; the gateway proves it by its own ([`OwnCertificate`]). It follows that the proof says nothing of the browser, so that
//!   the session has a proof of its own: one that was opened over a connection with a client certificate is good with that certificate
//!   alone, on every request, and its dates and revocation are looked at as if the token were bound to it. One that was opened without
//!   is a bearer secret in a cookie; `require_certificate` refuses to open those. `symbolon gateway check` says which routes they reach.
//! - **The state is in the browser**, sealed (XChaCha20-Poly1305, a purpose of its own, for one host and one kind of sessions), in
//!   `__Host-` cookies of up to three parts. Nothing grows here with the people who are signed in.
//! - **What must not come back is remembered here**: sessions that were signed out of, or that the provider ended by a logout token; and
//!   the newest tokens of a session whose refresh token was just used, since its browser may have sent other requests with the old
//!   cookie. Both lists are bounded, for each person first: whoever has many loses their own. When the first is full all the same, every
//!   session that began before is over.
//! - **Nobody is led in a circle.** A session that is over as soon as it has begun is followed by another, three times.
//! - **The key that seals is made at every start**, and is never written down. The list of ended sessions ends with the process; so do
//!   all sessions, and the browser is led through the provider again, where the person mostly is still signed in. A key that outlived
//!   the list would bring ended sessions back to life. For the same reason several replicas need affinity, and take no logout tokens: a
//!   shared list is not there.
//! - **Other pages cannot use a session.** Whatever is not safe must come from a page of the same origin, by `Sec-Fetch-Site` and
//!   `Origin`; a WebSocket too. The cookie reaches no upstream, and no upstream sets it.

mod cookie;
mod endpoint;
mod error;
mod memory;
mod origin;
mod page;
mod state;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Method, Version};
use subtle::ConstantTimeEq as _;

pub use cookie::{TooLarge, carried, strip, strip_set};
pub use endpoint::Endpoint;
pub use error::SessionError;
pub use memory::Memory;
use memory::{IsOver, Over, Standing};
use state::{Session, SignIn};

use self::cookie::Cookies;
use crate::binding::OwnCertificate;
use crate::domain::{Clock, Lifetime, Randomness, RandomnessUnavailable, SessionId, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::relying_party::{Beginning, Provider, ProviderError, Room, Tokens};
use crate::resource::{Condition, PresentError, PresentedToken, StepUp};
use crate::seal::{BearerContext, Purpose};
use crate::wire::Authority;

/// Where everything about sessions is, on every host that has some.
pub const PATH: &str = "/.symbolon/";
/// How long a sign-in may take.
const SIGN_IN_SECONDS: u32 = 600;
/// How long before its end a token is renewed.
const RENEW_BEFORE: Lifetime = Lifetime::from_seconds(30);
/// How often a session that is used has its cookie written anew, at most.
const TOUCH_SECONDS: u64 = 60;
/// A session younger than this is not opened again when its token is refused: the next one would be refused too.
const LOOP_SECONDS: u64 = 10;
/// A session that is over within this time of its beginning counts as a turn in a circle.
const CIRCLE_SECONDS: u64 = 60;
/// Turns after which a browser is not led to sign in once more.
const MAX_TURNS: u32 = 3;
/// Sign-ins and renewals that are under way at a provider at once.
const AT_ONCE: usize = 64;
/// The longest target that a browser is led back to, in bytes.
const MAX_RETURN: usize = 1_500;

/// Whether sessions may be opened without a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRule {
    /// They may; one that is opened with a certificate is bound to it.
    Optional,
    /// They may not.
    Required,
}

/// Whether the provider's logout tokens are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackChannel {
    /// They are not.
    Closed,
    /// They are.
    Open,
}

/// What one kind of sessions is made of.
#[derive(Debug)]
pub struct SessionSpec {
    /// What people call them.
    pub name: String,
    /// Where people sign in.
    pub provider: Arc<Provider>,
    /// Our certificate there, which tokens may be bound to.
    pub own: Option<Arc<ArcSwap<OwnCertificate>>>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// What tokens are for.
    pub resources: Vec<String>,
    /// How long one may stand unused.
    pub idle: Lifetime,
    /// How long one lives.
    pub lifetime: Lifetime,
    /// Whether one may be opened without a certificate.
    pub certificate: CertificateRule,
    /// Whether the provider may end some.
    pub back_channel: BackChannel,
    /// The gateway's.
    pub memory: Arc<Memory>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub randomness: Arc<dyn Randomness>,
}

/// One kind of sessions.
#[derive(Debug)]
pub struct Sessions {
    spec: SessionSpec,
    cookies: Cookies,
    at_once: Arc<Room>,
}

/// What is answered in a session, or sets its cookies, is for one browser: no shared cache keeps it (RFC 9111 §3.5 has that for
/// `Authorization` alone), and no cache at all what sets cookies.
pub fn keep_private(headers: &mut HeaderMap, cookies: &[HeaderValue]) {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    let said: Vec<&str> = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut directives: Vec<&str> = said.iter().flat_map(|said| said.split(',')).map(str::trim).collect();
    let is = |directive: &str, name: &str| directive.split('=').next().is_some_and(|said| said.trim().eq_ignore_ascii_case(name));
    if directives.iter().any(|directive| is(directive, "no-store")) {
        return;
    }
    directives
        .retain(|directive| !directive.is_empty() && !["public", "private", "s-maxage"].iter().any(|name| is(directive, name)));
    directives.insert(0, "private");
    let value = HeaderValue::try_from(directives.join(", ")).ok().filter(|_| cookies.is_empty());
    headers.insert(CACHE_CONTROL, value.unwrap_or(NO_STORE));
}

/// Where a request is, for its sessions.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its version of HTTP.
    pub version: Version,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// Its authority.
    pub authority: &'a Authority,
    /// The certificate of its connection.
    pub certificate: Option<Thumbprint>,
    /// Who connected.
    pub address: IpAddr,
    /// When.
    pub now: Timestamp,
}

/// Whose request it is.
#[derive(Debug)]
pub enum Visit {
    /// Nobody's who is signed in; there may be a reason beside that there is no cookie.
    Nobody(Option<Gone>),
    /// Somebody's.
    Somebody(Box<Visitor>),
}

/// Why a session is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Why.
    pub reason: Reason,
    /// When it began, and after how many turns, where it opens.
    begun: Option<(Timestamp, u32)>,
}

impl Gone {
    fn of(session: &Session, reason: Reason) -> Self {
        Self { reason, begun: Some((session.begun, session.turn)) }
    }

    /// What the next sign-in is after this one.
    fn next_turn(&self, now: Timestamp) -> u32 {
        let recent = self.begun.filter(|(begun, _)| now.seconds_since(*begun) < CIRCLE_SECONDS);
        recent.map_or(0, |(_, turn)| turn.saturating_add(1))
    }
}

/// A request of somebody who is signed in: leave to present the session's token.
#[derive(Debug)]
pub struct Visitor {
    session: Session,
    /// `Set-Cookie` fields for the answer.
    cookies: Vec<HeaderValue>,
}

impl Visitor {
    /// The token, to be presented.
    ///
    /// # Errors
    /// [`PresentError::Malformed`].
    pub fn token(&self) -> Result<PresentedToken, PresentError> {
        PresentedToken::kept(&self.session.access_token)
    }

    /// The certificate that the session is bound to.
    pub fn certificate(&self) -> Option<Thumbprint> {
        self.session.certificate
    }

    /// What the answer sets.
    pub fn take_cookies(&mut self) -> Vec<HeaderValue> {
        std::mem::take(&mut self.cookies)
    }

    /// Whether another sign-in could bring a better token: not when this one has just begun.
    pub fn may_sign_in_again(&self, now: Timestamp) -> Option<SignInAgain> {
        (now.seconds_since(self.session.begun) >= LOOP_SECONDS).then_some(SignInAgain(()))
    }
}

/// A new sign-in does not lead in a circle.
#[derive(Clone, Copy, Debug)]
pub struct SignInAgain(());

/// A session that was opened.
#[derive(Debug)]
struct Opened {
    session: Session,
    until: Timestamp,
}

impl Sessions {
    /// Sessions of this kind.
    pub fn new(spec: SessionSpec) -> Self {
        Self { cookies: Cookies::new(&spec.name), spec, at_once: Room::new(AT_ONCE) }
    }

    /// What people call them.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether every session is bound to a certificate.
    pub fn certificate_rule(&self) -> CertificateRule {
        self.spec.certificate
    }

    /// Our certificate at the provider.
    pub fn own_certificate(&self) -> Option<Arc<OwnCertificate>> {
        self.spec.own.as_ref().map(|own| own.load_full())
    }

    /// Whose request this is. Tokens that end soon are renewed.
    ///
    /// # Errors
    /// What is refused whoever signs in: a session that comes without any certificate and has one, a foreign page; and faults.
    pub async fn visit(self: &Arc<Self>, place: &Place<'_>) -> Result<Visit, SessionError> {
        let Opened { session, until } = match self.open(place)? {
            Ok(opened) => opened,
            Err(gone) => return Ok(Visit::Nobody(gone)),
        };
        origin::check(place.method, place.version, place.headers, place.authority).map_err(|_| SessionError::ForeignPage)?;
        let old = (session.generation, session.seen);
        let mut session = match self.renewed(session, until, place).await? {
            Ok(session) => session,
            Err(gone) => return Ok(Visit::Nobody(Some(gone))),
        };
        // It may have ended while its token was renewed.
        if let Err(IsOver) = self.spec.memory.check(&session, self.spec.provider.issuer()) {
            return Ok(Visit::Nobody(Some(Gone::of(&session, Reason::GatewaySessionEnded))));
        }
        let touch = TOUCH_SECONDS.min(u64::from(self.spec.idle.seconds()) / 4);
        if place.now.seconds_since(session.seen) >= touch {
            session.seen = place.now;
        }
        let cookies = match (session.generation, session.seen) == old {
            true => Vec::new(),
            false => self.cookies.set_session(&self.seal(&session, place.authority)?, place.headers)?,
        };
        Ok(Visit::Somebody(Box::new(Visitor { session, cookies })))
    }

    /// What an admission of this visitor's rests on beside its token.
    pub fn standing(&self, visitor: &Visitor) -> Arc<dyn Condition> {
        Arc::new(Standing {
            memory: Arc::clone(&self.spec.memory),
            until: visitor.session.begun.plus(self.spec.lifetime),
            session: visitor.session.clone(),
            issuer: self.spec.provider.issuer().clone(),
        })
    }

    /// What takes the session from a browser.
    pub fn cleared(&self, place: &Place<'_>) -> Vec<HeaderValue> {
        self.cookies.clear_session(place.headers)
    }

    /// Leads a browser to its provider, `after` the session that it had. Gives where to, and what the answer sets.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::Circle`] when that would go on for ever.
    pub async fn begin(
        &self,
        place: &Place<'_>,
        target: &str,
        step_up: Option<&StepUp>,
        after: Option<&Gone>,
    ) -> Result<(HeaderValue, Vec<HeaderValue>), SessionError> {
        if self.spec.certificate == CertificateRule::Required && place.certificate.is_none() {
            return Err(SessionError::CertificateAbsent);
        }
        let turn = after.map_or(0, |gone| gone.next_turn(place.now));
        if turn > MAX_TURNS {
            return Err(SessionError::Circle);
        }
        let _turn = self.at_once.take(place.address).ok_or(SessionError::Overloaded)?;
        let sign_in = SignIn {
            turn,
            state: self.random()?,
            nonce: self.random()?,
            verifier: self.random()?,
            return_to: if target.len() <= MAX_RETURN { target.to_owned() } else { "/".to_owned() },
            certificate: place.certificate,
            max_age: step_up.and_then(|step_up| step_up.max_age).map(Lifetime::seconds),
        };
        let url =
            self.spec.provider.begin(&self.beginning(&sign_in, &self.callback(place.authority), step_up, place.now)).await?;
        let plaintext = serde_json::to_vec(&sign_in).map(zeroize::Zeroizing::new).map_err(|_| SessionError::Encoding)?;
        let (context, audience) = self.context(Purpose::GatewaySignIn, place.authority);
        let expires = place.now.plus(Lifetime::from_seconds(SIGN_IN_SECONDS));
        let sealed = self.spec.memory.ring.seal_bearer(&context, &audience, expires, &plaintext)?;
        let cookies = self.cookies.set_sign_in(&sign_in.state, &sealed, SIGN_IN_SECONDS, place.headers)?;
        let location = HeaderValue::try_from(url.as_str()).map_err(|_| SessionError::Encoding)?;
        Ok((location, cookies))
    }

    /// What the provider sent a browser back with: opens a session. Gives it with where the browser wanted to go, and what the answer
    /// sets.
    async fn finish(&self, place: &Place<'_>, query: &str) -> Result<(Session, String, Vec<HeaderValue>), SessionError> {
        let [mut code, mut state, mut iss, mut error] = [None, None, None, None];
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let member = match &*name {
                "code" => &mut code,
                "state" => &mut state,
                "iss" => &mut iss,
                "error" => &mut error,
                // Extensions (RFC 6749 §4.1.2: "The client MUST ignore unrecognized response parameters").
                _ => continue,
            };
            if member.replace(value.into_owned()).is_some() {
                return Err(SessionError::Malformed);
            }
        }
        let state = state.ok_or(SessionError::Malformed)?;
        let sealed = self.cookies.sign_in(&state, place.headers).ok_or(SessionError::Foreign)?;
        let (context, audience) = self.context(Purpose::GatewaySignIn, place.authority);
        let opened = self.spec.memory.ring.open_bearer(&context, sealed).map_err(|_| SessionError::Foreign)?;
        if !self.spec.memory.ring.audience_matches(&context, &opened, &audience) {
            return Err(SessionError::Foreign);
        }
        let sign_in: SignIn = serde_json::from_slice(&opened.plaintext).map_err(|_| SessionError::Foreign)?;
        if !bool::from(sign_in.state.as_bytes().ct_eq(state.as_bytes())) || sign_in.certificate != place.certificate {
            return Err(SessionError::Foreign);
        }
        if opened.expires <= place.now {
            return Err(SessionError::Expired);
        }
        self.spec.provider.check_issuer(iss.as_deref()).await.map_err(|error| match error {
            ProviderError::Refused(_) => SessionError::Issuer,
            error => error.into(),
        })?;
        let code = match (code, error) {
            (Some(code), None) => code,
            (None, Some(error)) => return Err(SessionError::Declined(error.chars().take(64).collect())),
            _ => return Err(SessionError::Malformed),
        };
        let _turn = self.at_once.take(place.address).ok_or(SessionError::Overloaded)?;
        let max_age = sign_in.max_age.map(Lifetime::from_seconds);
        let step_up = max_age.map(|max_age| StepUp { acr_values: Vec::new(), max_age: Some(max_age) });
        let callback = self.callback(place.authority);
        let beginning = self.beginning(&sign_in, &callback, step_up.as_ref(), place.now);
        let (identity, tokens) = self.spec.provider.redeem(&code, &beginning).await?;
        let session = Session {
            id: SessionId::random(self.spec.randomness.as_ref())?,
            generation: 0,
            turn: sign_in.turn,
            subject: identity.subject,
            provider_session: identity.session_id,
            name: identity.name.map(|name| name.chars().take(100).collect()),
            begun: place.now,
            seen: place.now,
            certificate: place.certificate,
            access_token: tokens.access_token.expose().clone(),
            expires: tokens.expires,
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().clone()),
            id_token: identity.id_token.expose().clone(),
        };
        let mut cookies = self.cookies.set_session(&self.seal(&session, place.authority)?, place.headers)?;
        cookies.extend(self.cookies.clear_sign_in(&state));
        // Of the same host, whatever stands in it.
        let location = format!("https://{}{}", place.authority, sign_in.return_to);
        Ok((session, location, cookies))
    }

    /// The session of a cookie, or why there is none: nothing, when there is no cookie.
    fn open(&self, place: &Place<'_>) -> Result<Result<Opened, Option<Gone>>, SessionError> {
        let Some(text) = self.cookies.session(place.headers) else { return Ok(Err(None)) };
        let broken = || Ok(Err(Some(Gone { reason: Reason::GatewaySessionBroken, begun: None })));
        let (context, audience) = self.context(Purpose::GatewaySession, place.authority);
        let Ok(opened) = self.spec.memory.ring.open_bearer(&context, &text) else { return broken() };
        if !self.spec.memory.ring.audience_matches(&context, &opened, &audience) {
            return broken();
        }
        let Ok(session) = serde_json::from_slice::<Session>(&opened.plaintext) else { return broken() };
        // One that is over is nobody's, whatever certificate there is: whoever has another one by then signs in anew.
        if opened.expires <= place.now || session.seen.plus(self.spec.idle) <= place.now {
            return Ok(Err(Some(Gone::of(&session, Reason::GatewaySessionExpired))));
        }
        if let Err(IsOver) = self.spec.memory.check(&session, self.spec.provider.issuer()) {
            return Ok(Err(Some(Gone::of(&session, Reason::GatewaySessionEnded))));
        }
        match (session.certificate, place.certificate) {
            (None, _) => {}
            (Some(_), None) => return Err(SessionError::CertificateAbsent),
            (Some(bound_to), Some(shown)) if bound_to.matches(&shown) => {}
            // Not this browser's, or not any more: it may sign in with what it has.
            (Some(_), Some(_)) => return Ok(Err(Some(Gone::of(&session, Reason::GatewaySessionCertificateMismatch)))),
        }
        Ok(Ok(Opened { session, until: opened.expires }))
    }

    /// The session with a token that lasts, or why there is none any more. Of several requests one renews it, and all have the result,
    /// also those that come later with the older cookie.
    async fn renewed(
        self: &Arc<Self>,
        session: Session,
        until: Timestamp,
        place: &Place<'_>,
    ) -> Result<Result<Session, Gone>, SessionError> {
        let (now, address) = (place.now, place.address);
        let is_due = move |session: &Session| session.expires <= now.plus(RENEW_BEFORE);
        if !is_due(&session) {
            return Ok(Ok(session));
        }
        let owner = (self.spec.provider.issuer(), &session.subject);
        let slot = self.spec.memory.slot(&session.id, owner, until, now);
        let sessions = Arc::clone(self);
        let renewal = async move {
            let mut latest = slot.lock().await;
            let mut session = match &*latest {
                Some(known) if known.generation > session.generation => {
                    let mut newer = known.clone();
                    newer.seen = session.seen.max(known.seen);
                    newer
                }
                _ => session,
            };
            if !is_due(&session) {
                return Ok(Ok(session));
            }
            let has_ended = session.expires <= now;
            // As few as may sign in: a provider that hangs keeps no more waiting.
            let _turn = match sessions.at_once.take(address) {
                Some(turn) => turn,
                None if has_ended => return Err(SessionError::Overloaded),
                None => return Ok(Ok(session)),
            };
            let Some(refresh_token) = session.refresh_token.clone().map(zeroize::Zeroizing::new) else {
                return Ok(if has_ended { Err(Gone::of(&session, Reason::GatewaySessionExpired)) } else { Ok(session) });
            };
            match sessions.spec.provider.refresh(&refresh_token, &sessions.spec.resources).await {
                Ok(tokens) => {
                    session.renew(&tokens);
                    *latest = Some(session.clone());
                    Ok(Ok(session))
                }
                Err(ProviderError::Unavailable(problem)) if !has_ended => {
                    tracing::warn!(sessions = sessions.spec.name, problem, "a token was not renewed");
                    Ok(Ok(session))
                }
                Err(error @ ProviderError::Unavailable(_)) => Err(error.into()),
                Err(ProviderError::Refused(_) | ProviderError::IdToken(_)) => {
                    let owner = (sessions.spec.provider.issuer(), &session.subject);
                    sessions.spec.memory.end(Over::Session(&session.id), Some(owner), now, sessions.spec.lifetime);
                    Ok(Err(Gone::of(&session, Reason::GatewaySessionEnded)))
                }
            }
        };
        // In a task of its own: a browser that goes away must not take the only copy of the next refresh token with it.
        tokio::spawn(renewal).await.map_err(|_| SessionError::Encoding)?
    }

    fn seal(&self, session: &Session, authority: &Authority) -> Result<String, SessionError> {
        let plaintext = serde_json::to_vec(session).map(zeroize::Zeroizing::new).map_err(|_| SessionError::Encoding)?;
        let (context, audience) = self.context(Purpose::GatewaySession, authority);
        let expires = session.begun.plus(self.spec.lifetime);
        Ok(self.spec.memory.ring.seal_bearer(&context, &audience, expires, &plaintext)?)
    }

    /// Where a cookie opens: for these sessions, on this host.
    fn context(&self, purpose: Purpose, authority: &Authority) -> (BearerContext<'_>, String) {
        (BearerContext { purpose, issuer: &self.spec.name }, authority.as_str().to_owned())
    }

    fn beginning<'a>(
        &'a self,
        sign_in: &'a SignIn,
        callback: &'a str,
        step_up: Option<&'a StepUp>,
        now: Timestamp,
    ) -> Beginning<'a> {
        Beginning {
            prompt: None,
            begun: now,
            redirect_uri: callback,
            scopes: &self.spec.scopes,
            resources: &self.spec.resources,
            step_up,
            state: &sign_in.state,
            nonce: &sign_in.nonce,
            verifier: &sign_in.verifier,
        }
    }

    fn callback(&self, authority: &Authority) -> String {
        format!("https://{authority}{PATH}{}/callback", self.spec.name)
    }

    /// 256 bits, in base64url.
    fn random(&self) -> Result<String, RandomnessUnavailable> {
        let mut bytes = [0u8; 32];
        self.spec.randomness.fill(&mut bytes)?;
        Ok(base64url::encode(bytes))
    }
}

impl Session {
    fn renew(&mut self, tokens: &Tokens) {
        self.generation = self.generation.saturating_add(1);
        self.access_token.clone_from(tokens.access_token.expose());
        self.expires = tokens.expires;
        if let Some(next) = &tokens.refresh_token {
            self.refresh_token = Some(next.expose().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shared_cache_keeps_what_one_browser_is_answered() {
        for (said, expected) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["max-age=60", "S-MaxAge = 600, Public, must-revalidate"], "private, max-age=60, must-revalidate"),
            (&["private=\"a\", max-age=1"], "private, max-age=1"),
            (&["no-store"], "no-store"),
        ] {
            let fields = said.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
            let mut headers: HeaderMap = fields.collect();
            keep_private(&mut headers, &[]);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), [expected], "{said:?}");
            keep_private(&mut headers, &[HeaderValue::from_static("a=b")]);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), ["no-store"], "{said:?}");
        }
    }
}
