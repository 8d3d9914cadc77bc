//! What is served under `/.symbolon/`:
//!
//! ```text
//! GET  /.symbolon/                           who is signed in
//! GET  /.symbolon/NAME/callback              where the provider sends browsers back to
//! POST /.symbolon/NAME/sign-out              from that page alone
//! POST /.symbolon/NAME/back-channel-logout   for the provider (OpenID Connect Back-Channel Logout 1.0)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::memory::Over;
use super::page::{Shown, page};
use super::{BackChannel, PATH, Place, SessionError, Sessions, origin};
use crate::binding::replay::{Claim, Replay as _, ReplayKey};
use crate::domain::{RequestId, Timestamp};
use crate::event::AuditEvent;
use crate::gateway::body::Body;
use crate::resource::Moment;
use crate::wire::Arriving;

/// Bytes of a form.
const MAX_FORM: usize = 32_768;
/// How long a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(10);

/// One of the endpoints.
#[derive(Debug)]
pub enum Endpoint {
    /// Who is signed in, in sessions of these kinds.
    Page(Vec<Arc<Sessions>>),
    /// The provider's answer.
    Callback(Arc<Sessions>),
    /// Signs out.
    SignOut(Arc<Sessions>),
    /// The provider's word that sessions have ended.
    BackChannel(Arc<Sessions>),
}

/// What an endpoint answers, and what it has to tell.
#[derive(Debug)]
pub struct Served {
    /// The answer.
    pub response: Response<Body>,
    /// `Set-Cookie` fields for it.
    pub cookies: Vec<HeaderValue>,
    /// For the audit trail.
    pub event: Option<AuditEvent>,
}

impl Endpoint {
    /// The endpoint at a path, on a host with sessions of these kinds.
    pub fn find(path: &str, here: impl IntoIterator<Item = Arc<Sessions>>) -> Option<Self> {
        let path = path.strip_prefix(PATH)?;
        let mut here = here.into_iter();
        let Some((name, what)) = path.split_once('/') else {
            let mut kinds: Vec<_> = here.collect();
            kinds.sort_by(|a, b| a.name().cmp(b.name()));
            kinds.dedup_by(|a, b| Arc::ptr_eq(a, b));
            return (path.is_empty() && !kinds.is_empty()).then_some(Self::Page(kinds));
        };
        let sessions = here.find(|sessions| sessions.name() == name)?;
        match what {
            "callback" => Some(Self::Callback(sessions)),
            "sign-out" => Some(Self::SignOut(sessions)),
            "back-channel-logout" if sessions.spec.back_channel == BackChannel::Open => Some(Self::BackChannel(sessions)),
            _ => None,
        }
    }

    /// The methods that are served.
    pub fn method(&self) -> Method {
        match self {
            Self::Page(_) | Self::Callback(_) => Method::GET,
            Self::SignOut(_) | Self::BackChannel(_) => Method::POST,
        }
    }

    /// Answers.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn serve(
        &self,
        place: &Place<'_>,
        query: &str,
        body: Arriving,
        moment: Moment,
        (request_id, peer_address): (&RequestId, std::net::SocketAddr),
    ) -> Result<Served, SessionError> {
        match self {
            Self::Page(kinds) => {
                let shown: Vec<_> = kinds.iter().map(|sessions| sessions.shown(place)).collect();
                Ok(Served { response: page(&shown, place.now), cookies: Vec::new(), event: None })
            }
            Self::Callback(sessions) => {
                let (session, location, cookies) = sessions.finish(place, query).await?;
                let event = AuditEvent::BrowserSessionBegun {
                    request_id: request_id.clone(),
                    sessions: sessions.name().to_owned(),
                    issuer: sessions.spec.provider.issuer().clone(),
                    subject: session.subject.clone(),
                    session_id: session.id.clone(),
                    certificate: session.certificate,
                    peer_address,
                };
                Ok(Served { response: led(&location)?, cookies, event: Some(event) })
            }
            Self::SignOut(sessions) => {
                origin::check_form(place.headers, place.authority).map_err(|_| SessionError::ForeignPage)?;
                form(body).await?;
                sessions.sign_out(place, request_id).await
            }
            Self::BackChannel(sessions) => {
                let form = form(body).await?;
                let event = sessions.hear(&form, moment, request_id).await?;
                let mut response = Response::new(Body::from(Bytes::new()));
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(Served { response, cookies: Vec::new(), event: Some(event) })
            }
        }
    }
}

impl Sessions {
    fn shown(&self, place: &Place<'_>) -> Shown<'_> {
        let opened = self.open(place).ok().and_then(Result::ok);
        Shown {
            name: self.name(),
            issuer: self.spec.provider.issuer().as_str(),
            session: opened.map(|opened| (opened.session, opened.until)),
        }
    }

    /// Ends the session of this browser, here and at the provider.
    async fn sign_out(&self, place: &Place<'_>, request_id: &RequestId) -> Result<Served, SessionError> {
        let cookies = self.cookies.clear_session(place.headers);
        let home = format!("https://{}{PATH}", place.authority);
        let opened = match self.open(place) {
            Ok(Ok(opened)) => opened,
            // Without its certificate a session does not end, but this browser is rid of it.
            Ok(Err(_)) | Err(SessionError::CertificateAbsent) => {
                return Ok(Served { response: led(&home)?, cookies, event: None });
            }
            Err(error) => return Err(error),
        };
        let session = opened.session;
        let owner = (self.spec.provider.issuer(), &session.subject);
        self.spec.memory.end(Over::Session(&session.id), Some(owner), place.now, self.spec.lifetime);
        let event = AuditEvent::BrowserSessionEnded {
            request_id: request_id.clone(),
            sessions: self.name().to_owned(),
            subject: session.subject.clone(),
            session_id: session.id.clone(),
        };
        // Here it has ended, whether or not the provider can be reached.
        let url = self.spec.provider.sign_out(&session.id_token, &home).await.unwrap_or_default();
        Ok(Served { response: led(url.as_ref().map_or(&home, url::Url::as_str))?, cookies, event: Some(event) })
    }

    /// Takes the provider's word that sessions have ended.
    async fn hear(&self, form: &[u8], moment: Moment, request_id: &RequestId) -> Result<AuditEvent, SessionError> {
        let mut tokens = url::form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token").map(|(_, value)| value);
        let (Some(text), None) = (tokens.next(), tokens.next()) else { return Err(SessionError::LogoutAbsent) };
        let token = self.spec.provider.logout_token(&text, moment).await?;
        let issuer = self.spec.provider.issuer();
        let key = ReplayKey::logout_token(issuer.as_str(), &token.token_id);
        match self.spec.memory.logout_tokens.claim(&key, token.until).await {
            Claim::First => {}
            Claim::Seen => return Err(SessionError::LogoutReplayed),
            Claim::Unavailable => return Err(SessionError::LogoutUnknown),
        }
        let owner = token.subject.as_ref().map(|subject| (issuer, subject));
        let end = |over: Over<'_>, now: Timestamp| self.spec.memory.end(over, owner, now, self.spec.lifetime);
        match (&token.session_id, &token.subject) {
            (Some(sid), subject) => {
                end(Over::ProviderSession(issuer, sid), moment.wall);
                // A session whose ID token named none may be the one.
                if let Some(subject) = subject {
                    end(Over::Unnamed(issuer, subject), moment.wall);
                }
            }
            (None, Some(subject)) => end(Over::Person(issuer, subject), moment.wall),
            (None, None) => {}
        }
        Ok(AuditEvent::BrowserSessionsEnded {
            request_id: request_id.clone(),
            sessions: self.name().to_owned(),
            issuer: issuer.clone(),
            subject: token.subject,
            provider_session: token.session_id,
        })
    }
}

/// A redirection that nobody keeps.
fn led(location: &str) -> Result<Response<Body>, SessionError> {
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(location).map_err(|_| SessionError::Encoding)?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

async fn form(body: Arriving) -> Result<Bytes, SessionError> {
    let whole = tokio::time::timeout(FORM_TIME, Limited::new(body, MAX_FORM).collect());
    let collected = whole.await.map_err(|_| SessionError::Form)?.map_err(|_| SessionError::Form)?;
    Ok(collected.to_bytes())
}
