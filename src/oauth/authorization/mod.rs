//! The authorization endpoint (RFC 6749 §3.1, §4.1; OpenID Connect Core §3.1.2).
//!
//! ```text
//! GET /authorize          parameters or pushed request -> Destination -> AuthorizationRequest -> decide
//! POST /authorize         the same, kept; 303 to the resumption, which carries the cookies that a foreign POST does not
//! decide                  SignIn -> 303 /sign-in     Consent -> 303 /consent     Grant -> code, 303 to the client
//! GET /authorize/resume   interaction, of this browser -> decide
//! GET, POST /consent      interaction, of this browser -> the page; allow or deny -> decide
//! ```
//!
//! Until client and redirect URI are known to belong together a refusal is a page of ours; from then on it goes to the client.

pub mod answer;
mod consent;
pub mod decision;
mod interaction;
pub mod request;
mod settings;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use answer::Answer;
pub use consent::{ConsentPage, Decided};
pub use interaction::{Brief, InteractionId};
pub use settings::{AuthorizationSettingsError, Lifetimes};

use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::grant::authorization_code::{CodeState, Granted};
use super::parameters::Parameters;
use super::profiles::{Demand, OutsideParameters, Rules};
use super::request_object::Arrival;
use super::server::AuthorizationServer;
use crate::clients::Client;
use crate::domain::{FamilyId, Lifetime, Randomness, RandomnessUnavailable, RequestId, Subject, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::identity::SignedIn;
use crate::jose::base64url;
use crate::jose::jws::Compact;
use crate::keys::TokenType;
use crate::store::{Finished, Finishes, NewCode};
use decision::{ConsentSource, Consented, Granting, Next, Prior, Progress};
use interaction::Interaction;
use request::{AuthorizationRequest, Destination, Hints, Prompt};

/// What every authorization code begins with, so that people and secret scanners recognise it.
pub const CODE_PREFIX: &str = "sy_ac_";
/// What the `request_uri` of a pushed request begins with (RFC 9126 §2.2).
pub const REQUEST_URI_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// How long a redeemed code is remembered, to notice that it comes again.
const CODE_MEMORY: Lifetime = Lifetime::from_seconds(3_600);

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With the browser's cookies.
    Get,
    /// From another site without them.
    Post,
}

/// What the browser is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To sign in, and to come back with this interaction.
    SignIn(InteractionId),
    /// To our own page, where the person is asked.
    Consent(InteractionId),
    /// To come again by GET.
    Resume(InteractionId),
    /// To the client.
    Answer(Answer),
}

/// A pushed request, as it is kept (RFC 9126).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PushedState {
    /// The request.
    pub(super) request: AuthorizationRequest,
    /// When its `request_uri` ends; a person who followed it before may finish later.
    pub(super) expires: Timestamp,
}

/// A request with where its answer goes.
struct Requested {
    destination: Destination,
    request: AuthorizationRequest,
    rules: Rules,
    /// Its `request_uri`.
    pushed: Option<String>,
}

/// A request that is on its way, and what it has been through.
struct Underway<'a> {
    requested: &'a Requested,
    /// The interaction it is kept under.
    interaction: Option<&'a InteractionId>,
    progress: Progress<'a>,
    /// Whether the person has just allowed it.
    given: Option<&'a consent::Allowed>,
}

impl AuthorizationServer {
    /// Answers a request at the authorization endpoint.
    ///
    /// # Errors
    /// What must not be sent to any client: a page tells it.
    pub async fn authorize(
        &self,
        parameters: &Parameters,
        method: Method,
        login: Option<&SignedIn>,
        address: IpAddr,
        request_id: &RequestId,
    ) -> Result<Outcome, OauthError> {
        let now = self.clock.now()?;
        let requested = match self.requested(parameters, now).await? {
            Ok(requested) => requested,
            Err((destination, refusal)) => {
                let is_silent = parameters.get("prompt") == Some("none");
                if login.is_none() && !is_silent && self.is_a_strangers(&destination.client).await? {
                    return Err(refusal.of(&destination.client.client_id).into());
                }
                return self.refuse(&destination, refusal, now).await;
            }
        };
        // What is kept until somebody signs in.
        if method == Method::Post || (login.is_none() && !requested.request.prompts(Prompt::None)) {
            self.admit_anonymous(address)?;
        }
        if method == Method::Post {
            let interaction = Interaction::posted(&requested.request, requested.pushed.clone());
            return Ok(Outcome::Resume(self.begin_interaction(&interaction, None, now).await?));
        }
        let underway = Underway { requested: &requested, interaction: None, progress: Progress::Arrived, given: None };
        self.proceed(&underway, login, now, request_id).await
    }

    /// Whether a client may be anybody's, so that nobody is led there by a link alone: RFC 9700 §4.11.2 has the server authenticate the
    /// person first, but for silent requests.
    async fn is_a_strangers(&self, client: &Client) -> Result<bool, OauthError> {
        Ok(self.registration.distrusts_redirects() && self.store.is_self_registered(&client.client_id).await?)
    }

    /// Goes on with a request after its person was sent away.
    ///
    /// # Errors
    /// An interaction that is unknown, over, or another browser's.
    pub async fn resume(
        &self,
        id: &InteractionId,
        login: Option<&SignedIn>,
        request_id: &RequestId,
    ) -> Result<Outcome, OauthError> {
        let now = self.clock.now()?;
        let interaction = self.interaction(id, now).await?;
        let requested = self.restore(&interaction)?;
        let progress = interaction.progress();
        let underway = Underway { requested: &requested, interaction: Some(id), progress, given: None };
        self.proceed(&underway, login, now, request_id).await
    }

    /// The one place that grants.
    async fn proceed(
        &self,
        underway: &Underway<'_>,
        login: Option<&SignedIn>,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<Outcome, OauthError> {
        let Requested { destination, request, .. } = underway.requested;
        let client = &destination.client;
        let remembered = match login {
            Some(login) => self.consented(&login.subject, client).await?,
            None => None,
        };
        // RFC 8252 §8.6: what listens on a device's own address or scheme can be another program.
        let is_known_to_reach_the_client = request.redirect_uri.starts_with("https://");
        let consent = match underway.given {
            Some(_) => ConsentSource::Given,
            None if is_known_to_reach_the_client => ConsentSource::Remembered(remembered.as_ref()),
            None => ConsentSource::AskedEachTime,
        };
        let is_hinted = |login: &SignedIn| {
            let known_as = self.subject_names.for_client(client, &login.subject);
            known_as.is_some() && known_as == request.hinted_subject
        };
        match decision::decide(request, login, is_hinted, underway.progress, consent, now) {
            Err(refusal) => self.refuse(destination, refusal, now).await,
            Ok(Next::SignIn) => Ok(Outcome::SignIn(self.keep(underway, login, now).await?)),
            Ok(Next::Consent) => Ok(Outcome::Consent(self.keep(underway, login, now).await?)),
            Ok(Next::Grant(granting)) => {
                if let Some(allowed) = underway.given {
                    self.remember(&granting, client, request, allowed, now, request_id).await?;
                }
                self.grant(underway, &granting, now, request_id).await
            }
        }
    }

    /// Keeps a request while its person is away; one that was kept before stays as it was.
    async fn keep(&self, underway: &Underway<'_>, login: Option<&SignedIn>, now: Timestamp) -> Result<InteractionId, OauthError> {
        if let (Some(id), Progress::Interacted(..)) = (underway.interaction, underway.progress) {
            return Ok(id.clone());
        }
        let requested = underway.requested;
        let interaction = Interaction::begun(&requested.request, requested.pushed.clone(), login.map(Prior::of), now);
        if let Some(id) = underway.interaction {
            // It came by POST, and was kept and counted then.
            self.change_interaction(id, login.map(|login| &login.subject), &interaction).await?;
            return Ok(id.clone());
        }
        self.begin_interaction(&interaction, login.map(|login| &login.subject), now).await
    }

    /// Issues the code; with it the interaction and the pushed request come to their end.
    async fn grant(
        &self,
        underway: &Underway<'_>,
        granting: &Granting,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<Outcome, OauthError> {
        let Requested { destination, request, rules, pushed } = underway.requested;
        let login = granting.login();
        let code = random_text(CODE_PREFIX, &*self.randomness)?;
        let family = FamilyId::random(&*self.randomness)?;
        let expires = now.plus(self.lifetimes.code.min(rules.longest_code_lifetime));
        let state = CodeState {
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_uri_named.then(|| request.redirect_uri.clone()),
            code_challenge: request.code_challenge.clone(),
            dpop_jkt: request.dpop_jkt,
            issued: Some(now),
            expires,
            nonce: request.nonce.clone(),
            granted: Granted::new(login, request),
        };
        let state = to_json(&state)?;
        let told = request.is_openid().then_some(&request.client_id);
        let session = Some((&login.session_id, told));
        let (subject, expires) = (&login.subject, expires.plus(CODE_MEMORY));
        let new = NewCode { code: &code, family: &family, subject, session, state: &state, expires };
        let interaction = underway.interaction.map(InteractionId::as_str);
        let finishes = Finishes { interaction, pushed_request: pushed.as_deref() };
        let event = AuditEvent::AuthorizationGranted {
            request_id: request_id.clone(),
            client_id: request.client_id.clone(),
            subject: login.subject.clone(),
            session_id: login.session_id.clone(),
            family: family.clone(),
            scope: request.scope.clone(),
        };
        // Made first: a code that cannot be told is not issued.
        let answer = self.secured(Answer::code(destination, &self.issuer, &code), destination, now).await?;
        match self.store.issue_code(&new, &finishes, &Trailed { time: now, event }).await? {
            Finished::Now => Ok(Outcome::Answer(answer)),
            Finished::Before => Err(interaction::over().of(&request.client_id).into()),
        }
    }

    async fn refuse(&self, destination: &Destination, refusal: Refusal, now: Timestamp) -> Result<Outcome, OauthError> {
        let answer = Answer::refusal(destination, &self.issuer, refusal.of(&destination.client.client_id));
        Ok(Outcome::Answer(self.secured(answer, destination, now).await?))
    }

    /// What a person has allowed a client.
    async fn consented(&self, subject: &Subject, client: &Client) -> Result<Option<Consented>, OauthError> {
        let stored = self.store.consent(subject, &client.client_id).await?;
        stored.map(|state| from_json(&state)).transpose()
    }

    /// Reads a request: its refusals come with the place to send them to, once there is one.
    async fn requested(
        &self,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Result<Requested, (Destination, Refusal)>, OauthError> {
        let client = request::client(parameters, &self.clients.current())?;
        let rules = self.rules(&client);
        if let Some(uri) = parameters.get("request_uri").filter(|uri| uri.starts_with(REQUEST_URI_PREFIX)) {
            return Ok(Ok(self.pushed(uri, client, rules, now).await?));
        }
        let unfolded = match self.unfold(parameters, &client, &rules, Arrival::Authorization, now).await {
            Ok(unfolded) => unfolded,
            // What stands around a request object leads back only where that counts beside it.
            Err(OauthError::Refused(refusal))
                if rules.outside_parameters == OutsideParameters::FillGaps || !names_an_object(parameters, &refusal) =>
            {
                return match request::destination(parameters, client, &rules) {
                    Ok(destination) => Ok(Err((destination, refusal))),
                    Err(_) => Err(refusal.into()),
                };
            }
            Err(error) => return Err(error),
        };
        let parameters = unfolded.as_ref();
        let destination = request::destination(parameters, client, &rules)?;
        if rules.pushed_request == Demand::Required {
            let refusal = Refusal::new(
                ErrorCode::InvalidRequest,
                Reason::PushedRequestRequired,
                "this client must push its authorization requests (RFC 9126)",
            );
            return Ok(Err((destination, refusal)));
        }
        Ok(match self.read_request(parameters, &destination, &rules) {
            Ok(request) => Ok(Requested { destination, request, rules, pushed: None }),
            Err(refusal) => Err((destination, refusal)),
        })
    }

    /// Reads what is asked for. Used by this endpoint and the one for pushed requests.
    pub(super) fn read_request(
        &self,
        parameters: &Parameters,
        destination: &Destination,
        rules: &Rules,
    ) -> Result<AuthorizationRequest, Refusal> {
        let request = request::read(parameters, destination, rules, &self.resources, self)?;
        if request.is_openid() && self.id_token_algorithm(&destination.client).is_none() {
            let refusal = Refusal::new(
                ErrorCode::ServerError,
                Reason::SigningKeyAbsent,
                "this server has no key for this client's id_token_signed_response_alg",
            );
            return Err(refusal.of(&destination.client.client_id));
        }
        Ok(request)
    }

    /// A request that was pushed. Whatever else the browser carries is ignored (RFC 9126 §4, RFC 9101 §6.3).
    async fn pushed(&self, uri: &str, client: Arc<Client>, rules: Rules, now: Timestamp) -> Result<Requested, OauthError> {
        let refused = |reason, description| Refusal::new(ErrorCode::InvalidRequestUri, reason, description).of(&client.client_id);
        let unknown = || refused(Reason::RequestUriUnknown, "this request_uri is unknown, too old, or was used");
        let stored = self.store.pushed_request(uri, now).await?.ok_or_else(unknown)?;
        let state: PushedState = from_json(&stored)?;
        if state.request.client_id != client.client_id {
            return Err(refused(Reason::RequestUriForeign, "this request_uri is unknown, too old, or was used").into());
        }
        if now >= state.expires {
            return Err(unknown().into());
        }
        let destination = restored_destination(&state.request, client)?;
        Ok(Requested { destination, request: state.request, rules, pushed: Some(uri.to_owned()) })
    }

    /// A request that was kept, held against the registration as it stands now.
    fn restore(&self, interaction: &Interaction) -> Result<Requested, OauthError> {
        let request = interaction.request.clone();
        let client = self.clients.client(&request.client_id);
        let client =
            client.ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, Reason::ClientUnknown, "there is no such client"))?;
        let rules = self.rules(&client);
        let destination = restored_destination(&request, client)?;
        Ok(Requested { destination, request, rules, pushed: interaction.pushed.clone() })
    }
}

/// Whether a refused request was, or would have been, a request object's.
fn names_an_object(parameters: &Parameters, refusal: &Refusal) -> bool {
    let has = |name| parameters.get(name).is_some();
    (has("request") || has("request_uri")) && refusal.code != ErrorCode::RequestUriNotSupported
}

impl Hints for AuthorizationServer {
    /// An ID token of ours for this client, expired or not (OpenID Connect Core §3.1.2.1). Its key may have been retired.
    fn subject(&self, id_token: &str, client: &Client) -> Result<Subject, Reason> {
        let claims = self.own_id_token(id_token)?;
        let claim = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
        if claim("aud") != Some(client.client_id.as_str()) {
            return Err(Reason::TokenAudience);
        }
        claim("sub").and_then(|subject| subject.parse().ok()).ok_or(Reason::TokenClaim)
    }
}

impl AuthorizationServer {
    /// The claims of an ID token of ours, for whatever client, expired or not.
    pub(super) fn own_id_token(&self, id_token: &str) -> Result<serde_json::Map<String, serde_json::Value>, Reason> {
        let compact = Compact::parse(id_token).map_err(|error| error.reason())?;
        let verified = self.keys.load().verify(&compact).map_err(|error| error.reason())?;
        if verified.typ() != Some(TokenType::Jwt.typ()) {
            return Err(Reason::TokenType);
        }
        let claims = verified.claims();
        if claims.get("iss").and_then(serde_json::Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Reason::TokenIssuer);
        }
        Ok(claims.clone())
    }
}

/// Where the answer to a kept request goes: its redirect URI must still be registered.
fn restored_destination(request: &AuthorizationRequest, client: Arc<Client>) -> Result<Destination, Refusal> {
    let accepted = client.authorization.redirect_uris.iter().find_map(|registered| registered.accept(&request.redirect_uri));
    let redirect_uri = accepted.ok_or_else(|| {
        let description = "redirect_uri is not one that this client registered";
        Refusal::new(ErrorCode::InvalidRequest, Reason::RedirectUriMismatch, description).of(&client.client_id)
    })?;
    Ok(Destination {
        redirect_uri,
        redirect_uri_named: request.redirect_uri_named,
        response_mode: request.response_mode,
        state: request.state.clone(),
        client,
    })
}

/// 256 bits from `randomness` behind a prefix.
pub(super) fn random_text(prefix: &str, randomness: &dyn Randomness) -> Result<String, RandomnessUnavailable> {
    let mut bytes = [0u8; 32];
    randomness.fill(&mut bytes)?;
    Ok(format!("{prefix}{}", base64url::encode(bytes)))
}

/// State, as it is sealed.
pub(super) fn to_json(state: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(state).map_err(|_| Fault::Defect(Reason::Defect))
}

/// State, as it was sealed. A newer program may have sealed more than this one understands.
pub(super) fn from_json<T: for<'de> Deserialize<'de>>(sealed: &[u8]) -> Result<T, OauthError> {
    serde_json::from_slice(sealed).map_err(|error| {
        tracing::error!(%error, "stored state is not understood");
        Fault::Defect(Reason::Defect).into()
    })
}
