//! Signing out at a client's wish (OpenID Connect RP-Initiated Logout 1.0), and telling others of it.
//!
//! ```text
//! GET, POST /end-session   id_token_hint, client_id, post_logout_redirect_uri -> LogoutRequest   refusals are pages
//!   the hint names this browser's session   -> it ends
//!   it does not, or there is none           -> the person is asked
//! the end of a session                      -> grants that hang on it end, notices for back_channel, frames for the browser
//! ```

mod back_channel;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use url::Url;
use url::form_urlencoded::Serializer;

use super::authorization::answer::with_query;
use super::authorization::{from_json, to_json};
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::parameters::Parameters;
use super::server::AuthorizationServer;
use crate::clients::Client;
use crate::domain::{ClientId, Lifetime, SessionId, Timestamp};
use crate::event::Reason;
use crate::fetch;
use crate::identity::{Leave, SignedIn};
use crate::seal::{BearerContext, Purpose};
use crate::store::Ended;

/// How long a person may take to answer whether to sign out.
const LIFETIME: Lifetime = Lifetime::from_seconds(600);
/// The longest `state`, in bytes.
const LONGEST_STATE: usize = 4_096;

/// What tells clients that sessions have ended.
#[derive(Debug)]
pub struct Logouts {
    /// Goes where `[outbound]` lets it go; nobody is told without it.
    outbound: Option<fetch::Client>,
    /// Rings when there is somebody to tell.
    bell: Notify,
}

impl Logouts {
    /// Tells clients through this client, which must be guarded.
    pub fn new(outbound: Option<fetch::Client>) -> Self {
        Self { outbound, bell: Notify::new() }
    }

    /// Whether anybody can be told.
    pub const fn reaches_clients(&self) -> bool {
        self.outbound.is_some()
    }

    /// Waits until there is somebody to tell.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// What a client asks for when it signs its person out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutRequest {
    /// The client, where it is known.
    client_id: Option<ClientId>,
    /// Where the browser is to be led: one that this client registered.
    redirect_uri: Option<String>,
    /// `state`, which goes there too.
    state: Option<String>,
    /// The session that `id_token_hint` names.
    hinted: Option<SessionId>,
}

impl LogoutRequest {
    /// The session that the client showed to know, and so may end without asking the person.
    pub const fn hinted(&self) -> Option<&SessionId> {
        self.hinted.as_ref()
    }

    /// The client, where it is known.
    pub const fn client_id(&self) -> Option<&ClientId> {
        self.client_id.as_ref()
    }
}

/// Somebody has signed out in a browser.
#[derive(Clone, Debug)]
pub struct SignedOut {
    /// Takes the cookie away.
    pub cookie: HeaderValue,
    /// What the browser is to load, so that clients which keep their sessions there hear of it (Front-Channel Logout §3).
    pub frames: Vec<Url>,
}

fn invalid(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, description)
}

impl AuthorizationServer {
    /// Reads a request at the end-session endpoint (§2). `ui_locales` and `logout_hint` are passed over: there is one language, and the
    /// session to end is the browser's.
    ///
    /// # Errors
    /// What is told on a page: nothing is ever sent to a place that no client registered.
    pub fn logout_request(&self, parameters: &Parameters) -> Result<LogoutRequest, Refusal> {
        let mut named = parameters.get("client_id");
        let mut hinted = None;
        let claims = parameters
            .get("id_token_hint")
            .map(|hint| self.own_id_token(hint))
            .transpose()
            .map_err(|_| invalid(Reason::IdTokenHint, "id_token_hint is not an ID token that this server issued"))?;
        if let Some(claims) = &claims {
            let claim = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
            let audience = claim("aud");
            if named.is_some() && named != audience {
                return Err(invalid(Reason::IdTokenHint, "id_token_hint was issued to another client than client_id names"));
            }
            named = audience;
            hinted = claim("sid").and_then(|session_id| session_id.parse().ok());
        }
        let unknown = || invalid(Reason::ClientUnknown, "there is no such client");
        let client = match named {
            None => None,
            Some(named) => {
                let client_id: ClientId = named.parse().map_err(|_| unknown())?;
                Some(self.clients.client(&client_id).ok_or_else(unknown)?)
            }
        };
        let client_id = client.as_ref().map(|client| client.client_id.clone());
        let of = |refusal: Refusal| match &client_id {
            Some(client_id) => refusal.of(client_id),
            None => refusal,
        };
        let redirect_uri = match (parameters.get("post_logout_redirect_uri"), &client) {
            (None, _) => None,
            (Some(_), None) => {
                let description = "post_logout_redirect_uri needs id_token_hint or client_id, which say whose it is";
                return Err(invalid(Reason::PostLogoutRedirectUri, description));
            }
            (Some(uri), Some(client)) if is_registered(client, uri) => Some(uri.to_owned()),
            (Some(_), Some(_)) => {
                let description = "post_logout_redirect_uri is not one that this client registered";
                return Err(of(invalid(Reason::PostLogoutRedirectUri, description)));
            }
        };
        let state = parameters.get("state");
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(of(invalid(Reason::ParameterMalformed, "state is longer than this server keeps")));
        }
        Ok(LogoutRequest { client_id, redirect_uri, state: state.map(str::to_owned), hinted })
    }

    /// Writes a request down for the browser, which comes back with it: by GET after a POST from elsewhere, or with the person's answer.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal_logout(&self, request: &LogoutRequest, now: Timestamp) -> Result<String, OauthError> {
        let sealed = self.ring.seal_bearer(&self.logout_context(), "", now.plus(LIFETIME), &to_json(request)?);
        Ok(sealed.map_err(|error| Fault::Unavailable(error.reason()))?)
    }

    /// Reads what [`Self::seal_logout`] wrote.
    ///
    /// # Errors
    /// When it is something else, or too old.
    pub fn open_logout(&self, sealed: &str, now: Timestamp) -> Result<LogoutRequest, OauthError> {
        let over = || invalid(Reason::InteractionUnknown, "this page is too old: go back to the application and begin again");
        let opened = self.ring.open_bearer(&self.logout_context(), sealed).map_err(|_| over())?;
        if now >= opened.expires {
            return Err(over().into());
        }
        from_json(&opened.plaintext)
    }

    /// The client's name, for the person who is asked.
    pub fn name_of_client(&self, client_id: &ClientId) -> Option<String> {
        let client = self.clients.client(client_id)?;
        Some(client.name.clone().unwrap_or_else(|| client_id.as_str().to_owned()))
    }

    /// Where the browser is led when it is signed out; nowhere when the client asked for nothing, or has changed its registration since.
    pub fn after_logout(&self, request: &LogoutRequest) -> Option<String> {
        let client = self.clients.client(request.client_id.as_ref()?)?;
        let uri = request.redirect_uri.as_deref().filter(|uri| is_registered(&client, uri))?;
        Some(match &request.state {
            None => uri.to_owned(),
            Some(state) => with_query(uri, &Serializer::new(String::new()).append_pair("state", state).finish()),
        })
    }

    /// Signs somebody out in their browser.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sign_out(&self, leave: Leave<'_>, person: &SignedIn, now: Timestamp) -> Result<SignedOut, OauthError> {
        let clients = self.store.clients_of_session(&person.session_id).await?;
        let (ended, cookie) = self.sessions.end(leave, person, now).await?;
        self.sessions_ended(&ended);
        let frame = |client_id: &ClientId| {
            let client = self.clients.client(client_id)?;
            let mut url = client.logout.front_channel.as_ref()?.url().clone();
            if client.logout.front_channel_session_required {
                let (issuer, session_id) = (self.issuer.as_str(), person.session_id.as_str());
                url.query_pairs_mut().append_pair("iss", issuer).append_pair("sid", session_id);
            }
            Some(url)
        };
        Ok(SignedOut { cookie, frames: clients.iter().filter_map(frame).collect() })
    }

    /// Sessions have ended: what revokes their tokens is in force here at once, and their clients are told.
    pub fn sessions_ended(&self, ended: &Ended) {
        if !ended.rules.is_empty() {
            self.revocations.update(|rules| rules.with(ended.rules.clone()));
        }
        if !ended.sessions.is_empty() {
            self.logouts.bell.notify_one();
        }
    }

    fn logout_context(&self) -> BearerContext<'_> {
        BearerContext { purpose: Purpose::Logout, issuer: self.issuer.as_str() }
    }
}

fn is_registered(client: &Client, uri: &str) -> bool {
    client.logout.post_logout_redirect_uris.iter().any(|registered| registered.accept(uri).is_some())
}
