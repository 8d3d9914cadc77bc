//! A request whose person is away, signing in or consenting: kept for ten minutes under an unguessable id, and bound to the browser
//! that began it, so that a link to it is worth nothing to anybody else.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::answer::form_target;
use super::decision::{Prior, Progress};
use super::request::{AuthorizationRequest, Prompt};
use super::{random_text, to_json};
use crate::domain::{Lifetime, Subject, Timestamp};
use crate::event::Reason;
use crate::identity::{CookieName, Demand};
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::oauth::server::AuthorizationServer;
use crate::relying_party;
use crate::seal::{BearerContext, Purpose};

/// How long a person may take.
pub const LIFETIME: Lifetime = Lifetime::from_seconds(600);

/// The longest id that is looked up, in bytes.
const LONGEST_ID: usize = 64;
/// What the names of its cookies begin with.
const COOKIE: &str = "interaction";
/// Cookies of interactions that a browser keeps: each of its requests brings them all.
const MOST_COOKIES: usize = 16;
/// How much of the id's hash is in the name of its cookie.
const NAME_LENGTH: usize = 12;

/// The id of an interaction: 256 bits that nobody can guess.
#[derive(Clone, PartialEq, Eq)]
pub struct InteractionId(String);

impl InteractionId {
    /// The id that a request names.
    pub fn named(text: &str) -> Option<Self> {
        let is_id = text.len() <= LONGEST_ID && base64url::decode(text).is_ok_and(|bytes| bytes.len() == 32);
        is_id.then(|| Self(text.to_owned()))
    }

    /// The text, for a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for InteractionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InteractionId([redacted])")
    }
}

/// What the sign-in page may tell of the request that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The client's name, for people.
    pub client_name: String,
    /// `login_hint`: a username to fill in.
    pub login_hint: Option<String>,
    /// `ui_locales`.
    pub ui_locales: Option<String>,
    /// The place that the sign-in's form leads to in the end, for the page's `form-action` policy.
    pub form_target: Option<String>,
}

/// The state of an interaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Interaction {
    pub(super) request: AuthorizationRequest,
    /// The `request_uri` it came by.
    pub(super) pushed: Option<String>,
    stage: Stage,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// It came by POST, without cookies: nobody knows yet who is there.
    Posted,
    /// The person was sent away at this moment, while this session, or none, was there.
    Begun { prior: Option<Prior>, at: Timestamp },
}

impl Interaction {
    pub(super) fn posted(request: &AuthorizationRequest, pushed: Option<String>) -> Self {
        Self { request: request.clone(), pushed, stage: Stage::Posted }
    }

    pub(super) fn begun(request: &AuthorizationRequest, pushed: Option<String>, prior: Option<Prior>, at: Timestamp) -> Self {
        Self { request: request.clone(), pushed, stage: Stage::Begun { prior, at } }
    }

    pub(super) fn progress(&self) -> Progress<'_> {
        match &self.stage {
            Stage::Posted => Progress::Arrived,
            Stage::Begun { prior, at } => Progress::Interacted(prior.as_ref(), *at),
        }
    }
}

/// The interaction is not there, or was finished.
pub(super) fn over() -> Refusal {
    let description =
        "this sign-in is over: it took too long, or was finished already; go back to the application and begin again";
    Refusal::new(ErrorCode::InvalidRequest, Reason::InteractionUnknown, description)
}

/// One that another version of the program has written, before or after an upgrade, cannot be gone on with: the person begins again.
fn read(state: &[u8]) -> Result<Interaction, OauthError> {
    serde_json::from_slice(state).map_err(|error| {
        tracing::info!(%error, "a sign-in that another version began cannot be gone on with");
        over().into()
    })
}

impl AuthorizationServer {
    pub(super) async fn begin_interaction(
        &self,
        interaction: &Interaction,
        signed_in: Option<&Subject>,
        now: Timestamp,
    ) -> Result<InteractionId, OauthError> {
        let id = InteractionId(random_text("", &*self.randomness)?);
        self.store.add_interaction(id.as_str(), signed_in, &to_json(interaction)?, now.plus(LIFETIME)).await?;
        Ok(id)
    }

    pub(super) async fn interaction(&self, id: &InteractionId, now: Timestamp) -> Result<Interaction, OauthError> {
        let state = self.store.interaction(id.as_str(), now).await?.ok_or_else(over)?;
        read(&state)
    }

    pub(super) async fn change_interaction(
        &self,
        id: &InteractionId,
        signed_in: Option<&Subject>,
        interaction: &Interaction,
    ) -> Result<(), OauthError> {
        let is_there = self.store.change_interaction(id.as_str(), signed_in, &to_json(interaction)?).await?;
        if is_there { Ok(()) } else { Err(over().into()) }
    }

    /// What the sign-in page may tell of an interaction; `None` when it is over or another browser's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn interaction_brief(&self, id: &str, headers: &HeaderMap) -> Result<Option<Brief>, OauthError> {
        let now = self.clock.now()?;
        let Ok(id) = self.interaction_of(id, headers) else { return Ok(None) };
        let Some(state) = self.store.interaction(id.as_str(), now).await? else { return Ok(None) };
        let Ok(Interaction { request, .. }) = read(&state) else { return Ok(None) };
        let Some(client) = self.clients.client(&request.client_id) else { return Ok(None) };
        Ok(Some(Brief {
            client_name: client.name.clone().unwrap_or_else(|| client.client_id.as_str().to_owned()),
            form_target: form_target(&request.redirect_uri),
            login_hint: request.login_hint,
            ui_locales: request.ui_locales,
        }))
    }

    /// What the request of an interaction demands of a sign-in at another provider; nothing when it is over or another browser's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn demand_of_interaction(&self, id: &str, headers: &HeaderMap) -> Result<Demand, OauthError> {
        let now = self.clock.now()?;
        let Ok(id) = self.interaction_of(id, headers) else { return Ok(Demand::default()) };
        let Some(state) = self.store.interaction(id.as_str(), now).await? else { return Ok(Demand::default()) };
        let Ok(Interaction { request, .. }) = read(&state) else { return Ok(Demand::default()) };
        let max_age = request.max_age.map(Lifetime::from_seconds);
        Ok(match (request.prompts(Prompt::Login), request.prompts(Prompt::SelectAccount), max_age) {
            (true, ..) => Demand::NOW,
            // Here that is to sign in again.
            (false, true, _) => Demand { prompt: Some(relying_party::Prompt::SelectAccount), ..Demand::NOW },
            (false, false, Some(age)) if age.seconds() == 0 => Demand::NOW,
            (false, false, max_age) => Demand { prompt: None, max_age },
        })
    }

    /// The interaction that a request names, if this browser began it.
    ///
    /// # Errors
    /// When it did not.
    pub fn interaction_of(&self, named: &str, headers: &HeaderMap) -> Result<InteractionId, Refusal> {
        let id = InteractionId::named(named).ok_or_else(over)?;
        let foreign = || {
            let description = "this sign-in was begun in another browser, or this one keeps no cookies; begin again in this one";
            Refusal::new(ErrorCode::InvalidRequest, Reason::InteractionForeign, description)
        };
        let name = self.cookie_name(&id);
        let value = name.find(headers).ok_or_else(foreign)?;
        let context = self.browser_context();
        let opened = self.ring.open_bearer(&context, value).map_err(|_| foreign())?;
        // Its expiry is the interaction's own, which the database knows.
        if self.ring.audience_matches(&context, &opened, id.as_str()) { Ok(id) } else { Err(foreign()) }
    }

    /// The cookie by which a browser shows that it began an interaction.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn interaction_cookie(&self, id: &InteractionId) -> Result<HeaderValue, OauthError> {
        let expires = self.clock.now()?.plus(LIFETIME);
        let sealed = self.ring.seal_bearer(&self.browser_context(), id.as_str(), expires, b"");
        let sealed = sealed.map_err(|error| Fault::Unavailable(error.reason()))?;
        let cookie = self.cookie_name(id).set_for(&sealed, LIFETIME);
        cookie.ok_or_else(|| Fault::Defect(Reason::Defect).into())
    }

    /// Takes the cookie away.
    pub fn clear_interaction_cookie(&self, id: &InteractionId) -> Option<HeaderValue> {
        self.cookie_name(id).clear()
    }

    /// Takes away the oldest cookies of a browser that began more interactions than it can go on with, so that there is room for this one's.
    pub fn clear_oldest_interaction_cookies(&self, headers: &HeaderMap, id: &InteractionId) -> Vec<HeaderValue> {
        let own = self.cookie_name(id);
        let mut others = CookieName::all(COOKIE, self.store.deployment(), headers);
        others.retain(|name| *name != own);
        let beyond = (others.len() + 1).saturating_sub(MOST_COOKIES);
        others.iter().take(beyond).filter_map(CookieName::clear).collect()
    }

    /// One cookie for each interaction, so that several tabs do not take each other's.
    fn cookie_name(&self, id: &InteractionId) -> CookieName {
        let mut short = base64url::encode(sha256(id.as_str().as_bytes()));
        short.truncate(NAME_LENGTH);
        CookieName::new(&format!("{COOKIE}-{short}"), self.store.deployment())
    }

    fn browser_context(&self) -> BearerContext<'_> {
        BearerContext { purpose: Purpose::Interaction, issuer: self.issuer.as_str() }
    }
}
