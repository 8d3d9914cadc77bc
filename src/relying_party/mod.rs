//! Sign-in at an OpenID Provider, as a client of it (OpenID Connect Core 1.0 §3.1), for the gateway's browser sessions and for people's
//! sign-in here.
//!
//! The requests and the verification of ID tokens are `openidconnect`'s, over our own outbound connections. Beside it stands what it
//! lacks: client authentication by certificate and by assertion (RFC 8705 §2, RFC 7523), pushed requests (RFC 9126), `iss` in the answer
//! (RFC 9207), and logout tokens (OpenID Connect Back-Channel Logout 1.0).

mod credentials;
mod id_token;
mod logout_token;
mod metadata;
mod room;
mod userinfo;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthType, AuthUrl, AuthenticationContextClass, AuthorizationCode, CsrfToken,
    EmptyExtraTokenFields, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardErrorResponse, StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

pub use credentials::{CredentialError, CredentialProblem, Credentials, load_signing_key};
pub use logout_token::{LogoutToken, LogoutTokenError};
use metadata::{Aliases, NamesItself, ProviderMetadata};
pub use room::{Room, Turn};

use crate::domain::{ClientId, Clock, Lifetime, Redacted, SessionId, Subject, Timestamp};
use crate::event::Reason;
use crate::fetch::Fetched;
use crate::jose::Algorithm;
use crate::jose::json;
use crate::jose::jws::Compact;
use crate::resource::{AuthorizationServer, ClientAuthentication, IssuerKeys, Moment, StepUp};

/// How long a provider's metadata are used before they are fetched again.
const METADATA_AGE: Duration = Duration::from_secs(600);
/// How long an access token is taken to live whose provider does not say.
const UNSAID_LIFETIME: u64 = 60;
/// The longest that an access token is taken to live.
const MAX_LIFETIME: u64 = 86_400;

type Client = openidconnect::Client<
    More,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Answer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;
type Answer = StandardTokenResponse<
    IdTokenFields<More, EmptyExtraTokenFields, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>,
    CoreTokenType,
>;

/// What ID tokens say beside OpenID Connect Core's claims.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct More {
    /// OpenID Connect Front-Channel Logout 1.0 §3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

impl AdditionalClaims for More {}

/// A provider, as we are its client.
#[derive(Debug)]
pub struct Provider {
    server: Arc<AuthorizationServer>,
    client_id: ClientId,
    authentication: ClientAuthentication,
    /// Whether the connection to it has a certificate of ours.
    aliases: Aliases,
    algorithms: Vec<Algorithm>,
    keys: IssuerKeys,
    leeway: Lifetime,
    clock: Arc<dyn Clock>,
    /// With the monotonic time they were fetched at.
    metadata: ArcSwapOption<(Arc<ProviderMetadata>, Duration)>,
}

/// What a provider is made of.
#[derive(Clone, Debug)]
pub struct ProviderSpec {
    /// How it is reached.
    pub server: Arc<AuthorizationServer>,
    /// Our name there.
    pub client_id: ClientId,
    /// How we authenticate there.
    pub authentication: ClientAuthentication,
    /// Whether the connections to it carry our certificate, so that its endpoints for mutual TLS are used (RFC 8705 §5).
    pub certificate: bool,
    /// What ID tokens and logout tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Its keys.
    pub keys: IssuerKeys,
    /// By how much its clock may differ from ours.
    pub leeway: Lifetime,
    /// Ours.
    pub clock: Arc<dyn Clock>,
}

/// A sign-in that begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// Where the answer goes.
    pub redirect_uri: &'a str,
    /// What is asked for; `openid` is always.
    pub scopes: &'a [String],
    /// What the access token is for (RFC 8707).
    pub resources: &'a [String],
    /// What the sign-in must be like.
    pub step_up: Option<&'a StepUp>,
    /// What the provider is to ask the person, whoever is signed in there.
    pub prompt: Option<Prompt>,
    /// The moment that `max_age` is counted from.
    pub begun: Timestamp,
    /// Says whose browser the answer is for.
    pub state: &'a str,
    /// Says which sign-in an ID token is of.
    pub nonce: &'a str,
    /// PKCE (RFC 7636).
    pub verifier: &'a str,
}

/// What a provider is to ask the person (OpenID Connect Core 1.0 §3.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// To sign in again.
    Login,
    /// To say who they are.
    SelectAccount,
}

/// What the provider said of the person.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `sub`.
    pub subject: Subject,
    /// `sid`, where there is one.
    pub session_id: Option<SessionId>,
    /// A name to greet them with.
    pub name: Option<String>,
    /// `auth_time`, where there is one.
    pub auth_time: Option<Timestamp>,
    /// All that the ID token says.
    pub claims: Map<String, Value>,
    /// The ID token itself, for signing out.
    pub id_token: Redacted<String>,
}

/// What was issued.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access_token: Redacted<String>,
    /// When it expires.
    pub expires: Timestamp,
    /// The refresh token, where there is one.
    pub refresh_token: Option<Redacted<String>>,
}

/// Why something did not work with a provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It refused: what it said is its error code.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// The ID token.
    #[error("the ID token is not good: {0}")]
    IdToken(String),
    /// No answer, or none that could be one.
    #[error("the provider cannot be used: {0}")]
    Unavailable(String),
}

impl ProviderError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(_) => Reason::ProviderRefused,
            Self::IdToken(_) => Reason::ProviderIdToken,
            Self::Unavailable(_) => Reason::ProviderUnavailable,
        }
    }
}

fn unavailable(problem: impl ToString) -> ProviderError {
    ProviderError::Unavailable(problem.to_string())
}

impl Provider {
    /// A provider. Nothing is fetched yet.
    pub fn new(spec: ProviderSpec) -> Self {
        Self {
            server: spec.server,
            client_id: spec.client_id,
            authentication: spec.authentication,
            aliases: if spec.certificate { Aliases::Used } else { Aliases::Unused },
            algorithms: spec.algorithms,
            keys: spec.keys,
            leeway: spec.leeway,
            clock: spec.clock,
            metadata: ArcSwapOption::empty(),
        }
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &crate::domain::Issuer {
        self.server.issuer()
    }

    /// Where the browser goes to sign in. Where the provider takes pushed requests, this one was pushed.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn begin(&self, beginning: &Beginning<'_>) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata, CoreJsonWebKeySet::default())?;
        let (state, nonce) = (beginning.state.to_owned(), beginning.nonce.to_owned());
        let redirect = RedirectUrl::new(beginning.redirect_uri.to_owned()).map_err(unavailable)?;
        let verifier = PkceCodeVerifier::new(beginning.verifier.to_owned());
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || CsrfToken::new(state), move || Nonce::new(nonce))
            .add_scopes(beginning.scopes.iter().filter(|scope| *scope != "openid").map(|scope| Scope::new(scope.clone())))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for resource in beginning.resources {
            request = request.add_extra_param("resource", resource.as_str());
        }
        // OpenID Connect Core 1.0 §11: "prompt ... MUST contain consent" for access in the person's absence.
        if beginning.scopes.iter().any(|scope| scope == "offline_access") {
            request = request.add_prompt(CoreAuthPrompt::Consent);
        }
        match beginning.prompt {
            Some(Prompt::Login) => request = request.add_prompt(CoreAuthPrompt::Login),
            Some(Prompt::SelectAccount) => request = request.add_prompt(CoreAuthPrompt::SelectAccount),
            None => {}
        }
        if let Some(step_up) = beginning.step_up {
            for acr in &step_up.acr_values {
                request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
            }
            if let Some(max_age) = step_up.max_age {
                request = request.set_max_age(max_age.as_duration());
            }
        }
        let (url, ..) = request.url();
        let Some(endpoint) = &metadata.pushed_requests else { return Ok(url) };
        let form = url.query_pairs().collect::<Vec<_>>();
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let answer = self.post(endpoint, form, HeaderMap::new()).await?;
        let request_uri = pushed(&answer)?;
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut().append_pair("client_id", self.client_id.as_str()).append_pair("request_uri", &request_uri);
        Ok(url)
    }

    /// Whether an answer that says it comes from `iss` is this provider's (RFC 9207 §2.4).
    ///
    /// # Errors
    /// [`ProviderError::Refused`] when it is not.
    pub async fn check_issuer(&self, iss: Option<&str>) -> Result<(), ProviderError> {
        match iss {
            Some(iss) if iss == self.issuer().as_str() => Ok(()),
            Some(_) => Err(ProviderError::Refused("another issuer".into())),
            None if self.metadata().await?.names_itself == NamesItself::No => Ok(()),
            None => Err(ProviderError::Refused("no issuer, where it always says one".into())),
        }
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn redeem(self: &Arc<Self>, code: &str, beginning: &Beginning<'_>) -> Result<(Identity, Tokens), ProviderError> {
        let metadata = self.metadata().await?;
        let keys = self.key_set(&metadata).await?;
        let client = self.client(&metadata, keys.clone())?;
        let redirect = RedirectUrl::new(beginning.redirect_uri.to_owned()).map_err(unavailable)?;
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_verifier(PkceCodeVerifier::new(beginning.verifier.to_owned()));
        for resource in beginning.resources {
            request = request.add_extra_param("resource", resource.as_str());
        }
        let answer = request.request_async(&Outbound(Arc::clone(self))).await.map_err(refused)?;
        let now = self.clock.now().map_err(unavailable)?;
        let identity = self.identity(&answer, keys, beginning, now)?;
        Ok((identity, tokens(&answer, now)))
    }

    /// Uses a refresh token, of a session of this person's.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn refresh(self: &Arc<Self>, refresh_token: &str, resources: &[String]) -> Result<Tokens, ProviderError> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata, CoreJsonWebKeySet::default())?;
        let refresh_token = RefreshToken::new(refresh_token.to_owned());
        let mut request = client.exchange_refresh_token(&refresh_token);
        for resource in resources {
            request = request.add_extra_param("resource", resource.as_str());
        }
        let answer = request.request_async(&Outbound(Arc::clone(self))).await.map_err(refused)?;
        Ok(tokens(&answer, self.clock.now().map_err(unavailable)?))
    }

    /// Where the browser goes to sign out at the provider too (OpenID Connect RP-Initiated Logout 1.0), where it can.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`].
    pub async fn sign_out(&self, id_token: &str, return_to: &str) -> Result<Option<Url>, ProviderError> {
        let metadata = self.metadata().await?;
        Ok(metadata.end_session_endpoint.clone().map(|mut url| {
            url.query_pairs_mut()
                .append_pair("id_token_hint", id_token)
                .append_pair("client_id", self.client_id.as_str())
                .append_pair("post_logout_redirect_uri", return_to);
            url
        }))
    }

    /// Reads a logout token.
    ///
    /// # Errors
    /// [`LogoutTokenError`].
    pub async fn logout_token(&self, text: &str, moment: Moment) -> Result<LogoutToken, LogoutTokenError> {
        let jws = Compact::parse(text).map_err(|_| LogoutTokenError::Signature)?;
        let (verified, _) = self.keys.verify(&jws, moment).await.map_err(|_| LogoutTokenError::Signature)?;
        logout_token::check(verified.typ(), verified.claims(), self.issuer(), &self.client_id, (moment.wall, self.leeway))
    }

    async fn metadata(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        let known = self.metadata.load_full();
        let now = self.clock.monotonic();
        if let Some(known) = &known
            && now.saturating_sub(known.1) < METADATA_AGE
        {
            return Ok(Arc::clone(&known.0));
        }
        match self.fetch_metadata().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                self.metadata.store(Some(Arc::new((Arc::clone(&metadata), now))));
                Ok(metadata)
            }
            // Older ones are better than none.
            Err(error) => known.map(|known| Arc::clone(&known.0)).ok_or(error),
        }
    }

    async fn fetch_metadata(&self) -> Result<ProviderMetadata, ProviderError> {
        let url = Url::parse(&self.issuer().join("/.well-known/openid-configuration")).map_err(unavailable)?;
        let document = self.get(&url).await?;
        ProviderMetadata::read(&document.body, self.issuer(), self.aliases).map_err(unavailable)
    }

    /// The keys as they are now: what a person waits for anyway has its round trips, and no older key verifies it.
    async fn key_set(&self, metadata: &ProviderMetadata) -> Result<CoreJsonWebKeySet, ProviderError> {
        let document = self.get(&metadata.jwks_uri).await?;
        serde_json::from_slice(&document.body).map_err(unavailable)
    }

    async fn get(&self, url: &Url) -> Result<Fetched, ProviderError> {
        let answer = self.server.client().map_err(unavailable)?.get(url).await.map_err(unavailable)?;
        match answer.status {
            http::StatusCode::OK => Ok(answer),
            status => Err(unavailable(format_args!("`{url}` answered {status}"))),
        }
    }

    /// The library's view of us. It sends `client_id` in the form, and the rest is [`Provider::post`]'s.
    fn client(&self, metadata: &ProviderMetadata, keys: CoreJsonWebKeySet) -> Result<Client, ProviderError> {
        let issuer = IssuerUrl::new(self.issuer().as_str().to_owned()).map_err(unavailable)?;
        let client_id = openidconnect::ClientId::new(self.client_id.as_str().to_owned());
        Ok(openidconnect::Client::new(client_id, issuer, keys)
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
            .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone())))
    }

    /// Sends a request of the library's, with our credentials.
    async fn exchange(self: Arc<Self>, request: HttpRequest) -> Result<HttpResponse, ProviderError> {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string()).map_err(unavailable)?;
        let form = String::from_utf8(body).map_err(unavailable)?;
        let answer = self.post(&url, form, HeaderMap::new()).await?;
        let mut response = HttpResponse::new(answer.body.to_vec());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    /// Posts a form with our credentials; `client_id` is in it already.
    async fn post(&self, url: &Url, form: String, mut headers: HeaderMap) -> Result<Fetched, ProviderError> {
        let now = self.clock.now().map_err(unavailable)?;
        let credentials = self.authentication.credentials(&self.client_id, self.issuer(), now).map_err(unavailable)?;
        let with_header = credentials.authorization.is_some();
        // One method of authentication at a time (RFC 6749 §2.3): with `Authorization` there is no `client_id` in the form.
        let sent = url::form_urlencoded::parse(form.as_bytes()).filter(|(name, _)| !with_header || name != "client_id");
        let ours = credentials.fields.iter().filter(|(name, _)| *name != "client_id");
        let form = {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(sent).extend_pairs(ours.map(|(name, value)| (*name, value.expose())));
            form.finish()
        };
        if let Some(authorization) = credentials.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        let client = self.server.client().map_err(unavailable)?;
        client.post_encoded(url, form, headers).await.map_err(unavailable)
    }
}

/// Sends the library's requests.
struct Outbound(Arc<Provider>);

impl<'c> AsyncHttpClient<'c> for Outbound {
    type Error = ProviderError;
    type Future = BoxFuture<'static, Result<HttpResponse, ProviderError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Arc::clone(&self.0).exchange(request).boxed()
    }
}

fn tokens(answer: &Answer, now: Timestamp) -> Tokens {
    let seconds = answer.expires_in().map_or(UNSAID_LIFETIME, |time| time.as_secs()).min(MAX_LIFETIME);
    let lifetime = Lifetime::from_seconds(u32::try_from(seconds).unwrap_or_default());
    Tokens {
        access_token: Redacted::new(answer.access_token().secret().clone()),
        expires: now.plus(lifetime),
        refresh_token: answer.refresh_token().map(|token| Redacted::new(token.secret().clone())),
    }
}

fn refused(error: RequestTokenError<ProviderError, StandardErrorResponse<CoreErrorResponseType>>) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(answer) => match answer.error().as_ref() {
            // What the standard has for faults at the authorization endpoint, some say here too.
            "temporarily_unavailable" | "server_error" => unavailable(answer.error().as_ref()),
            error => ProviderError::Refused(error.to_owned()),
        },
        RequestTokenError::Request(error) => error,
        // Its text may hold what was issued.
        RequestTokenError::Parse(..) => unavailable("its answer is not one of a token endpoint"),
        RequestTokenError::Other(problem) => unavailable(problem),
    }
}

/// `request_uri` (RFC 9126 §2.2).
fn pushed(answer: &Fetched) -> Result<String, ProviderError> {
    let members = json::parse_object(&answer.body).map_err(|_| unavailable("its answer to a pushed request is not JSON"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    match (answer.status.as_u16(), text("request_uri"), text("error")) {
        (201, Some(request_uri), _) => Ok(request_uri),
        (400..=499, _, Some(error)) => Err(ProviderError::Refused(error)),
        (status, ..) => Err(unavailable(format_args!("a pushed request was answered with {status}"))),
    }
}
