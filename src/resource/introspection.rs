//! Asking the authorization server about a token (RFC 7662), answered in JSON or with a signed JWT (RFC 9701).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::authentication::{AuthenticationError, ClientAuthentication};
use super::keys::{IssuerKeys, SignatureError};
use super::metadata::{AuthorizationServer, MetadataError};
use super::moment::Moment;
use crate::domain::{ClientId, Lifetime, Timestamp};
use crate::fetch::{FetchError, Fetched};
use crate::jose::json::{self, JsonError};
use crate::jose::jws::Compact;
use crate::token::{TokenError, TokenFacts, introspection};

/// Questions under way at once.
const MAX_QUESTIONS: usize = 256;
/// Positive answers kept, when they are kept.
const CACHED_ANSWERS: usize = 10_000;
/// Negative answers kept, when they are kept. Apart from the positive ones: whoever invents tokens pushes none of those out.
const CACHED_REFUSALS: usize = 10_000;
/// `typ` of a signed answer (RFC 9701 §5).
const SIGNED_TYPE: &str = "token-introspection+jwt";
/// How long ago a signed answer may have been made, and by how much the server's clock may be ahead: another is a replay.
const SIGNED_MAX_AGE: Lifetime = Lifetime::from_seconds(60);
/// Tokens asked about, after which the list of questions is swept.
const SWEEP_AT: usize = 1_024;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntrospectionError {
    /// No metadata.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The server does not introspect.
    #[error("the authorization server has no introspection endpoint")]
    NoEndpoint,
    /// The answer did not arrive.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// Another status than 200; 401 means that the server does not know the gateway.
    #[error("introspection was answered with {0}")]
    Status(u16),
    /// Not a JSON object.
    #[error("the introspection answer is {0}")]
    Json(JsonError),
    /// An active token whose claims cannot be relied on.
    #[error("the introspection answer cannot be relied on: {0}")]
    Claims(Arc<TokenError>),
    /// Too many questions at once.
    #[error("too many introspections at once")]
    Overloaded,
    /// The gateway could not authenticate.
    #[error("{0}")]
    Authentication(#[from] AuthenticationError),
    /// A signed answer was wanted, and this is none of this server for this client (RFC 9701 §5).
    #[error("the signed introspection answer is not this server's for this client: {0}")]
    Signed(&'static str),
    /// A signed answer whose signature does not verify.
    #[error("the signed introspection answer: {0}")]
    Signature(SignatureError),
}

type Answer = Result<Option<Arc<TokenFacts>>, IntrospectionError>;
type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The last question asked about a token. Those who come before it is put to the server share its answer; those who come later get
/// the next one, since what they know (a revocation, say) may be newer.
#[derive(Debug)]
struct Pending {
    question: WeakShared<Question>,
    put: Arc<AtomicBool>,
}

/// Introspection at one authorization server.
#[derive(Debug)]
pub struct Introspection {
    asker: Arc<Asker>,
    pending: Mutex<HashMap<[u8; 32], Pending>>,
    /// Positive answers and when they end (monotonic); only claims, never a verdict.
    answers: quick_cache::sync::Cache<[u8; 32], (Arc<TokenFacts>, Duration)>,
    /// Until when a token counts as not active (monotonic).
    refusals: quick_cache::sync::Cache<[u8; 32], Duration>,
    lifetime: Lifetime,
    negative_lifetime: Lifetime,
}

#[derive(Debug)]
struct Asker {
    server: Arc<AuthorizationServer>,
    client_id: ClientId,
    authentication: ClientAuthentication,
    /// The keys that answers must be signed with; plain JSON is wanted where there are none.
    signed_by: Option<IssuerKeys>,
    room: Semaphore,
}

impl Introspection {
    /// Asks `server` as `client_id`, which authenticates with its certificate. A positive answer is reused for `lifetime`; zero asks
    /// every time.
    pub fn new(server: Arc<AuthorizationServer>, client_id: ClientId, lifetime: Lifetime) -> Self {
        Self::with(server, client_id, ClientAuthentication::Certificate, None, [lifetime, Lifetime::from_seconds(0)])
    }

    /// The same with another way to authenticate; with answers that must be signed by the keys `signed_by` (RFC 9701), where there are
    /// some; and with lifetimes for positive and for negative answers.
    pub fn with(
        server: Arc<AuthorizationServer>,
        client_id: ClientId,
        authentication: ClientAuthentication,
        signed_by: Option<IssuerKeys>,
        [lifetime, negative_lifetime]: [Lifetime; 2],
    ) -> Self {
        Self {
            asker: Arc::new(Asker { server, client_id, authentication, signed_by, room: Semaphore::new(MAX_QUESTIONS) }),
            pending: Mutex::new(HashMap::new()),
            answers: quick_cache::sync::Cache::new(CACHED_ANSWERS),
            refusals: quick_cache::sync::Cache::new(CACHED_REFUSALS),
            lifetime,
            negative_lifetime,
        }
    }

    /// What the server says of `token`, whose SHA-256 is `digest`: `None` when it is not active.
    ///
    /// # Errors
    /// When there is no answer: our fault or the server's, never the token's.
    pub async fn ask(&self, token: &str, digest: [u8; 32], moment: Moment) -> Answer {
        let keeps = self.lifetime.seconds() > 0;
        if keeps
            && let Some((facts, until)) = self.answers.get(&digest)
            && moment.monotonic < until
        {
            return Ok(Some(facts));
        }
        let keeps_refusals = self.negative_lifetime.seconds() > 0;
        if keeps_refusals && self.refusals.get(&digest).is_some_and(|until| moment.monotonic < until) {
            return Ok(None);
        }
        let answer = self.join(token, digest, moment).await;
        if keeps_refusals && matches!(answer, Ok(None)) {
            self.refusals.insert(digest, moment.monotonic + self.negative_lifetime.as_duration());
        }
        match &answer {
            Ok(Some(facts)) if keeps => {
                self.answers.insert(digest, (Arc::clone(facts), moment.monotonic + self.lifetime.as_duration()));
            }
            Ok(None) if keeps => {
                self.answers.remove(&digest);
            }
            _ => {}
        }
        answer
    }

    /// The question that will be put to the server after this moment: an existing one, or a new one behind the one under way.
    fn join(&self, token: &str, digest: [u8; 32], moment: Moment) -> Shared<Question> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pending.get(&digest).and_then(|last| Some((last.question.upgrade()?, last.put.load(Ordering::Acquire))));
        if let Some((question, false)) = before {
            return question;
        }
        if pending.len() >= SWEEP_AT {
            pending.retain(|_, last| last.question.upgrade().is_some());
        }
        let put = Arc::new(AtomicBool::new(false));
        let asker = Arc::clone(&self.asker);
        let token = zeroize::Zeroizing::new(token.to_owned());
        let was_put = Arc::clone(&put);
        let question: Question = Box::pin(async move {
            if let Some((before, _)) = before {
                let _ = before.await;
            }
            was_put.store(true, Ordering::Release);
            asker.ask(&token, moment).await
        });
        let question = question.shared();
        if let Some(weak) = question.downgrade() {
            pending.insert(digest, Pending { question: weak, put });
        }
        question
    }
}

impl Asker {
    async fn ask(&self, token: &str, moment: Moment) -> Answer {
        let _room = self.room.try_acquire().map_err(|_| IntrospectionError::Overloaded)?;
        let metadata = self.server.metadata().await?;
        let endpoint = match self.authentication {
            ClientAuthentication::Certificate => metadata.introspection_endpoint.as_ref(),
            _ => metadata.plain_introspection_endpoint.as_ref(),
        };
        let endpoint = endpoint.ok_or(IntrospectionError::NoEndpoint)?;
        let credentials = self.authentication.credentials(&self.client_id, self.server.issuer(), moment.wall)?;
        let mut fields = vec![("token", token), ("token_type_hint", "access_token")];
        fields.extend(credentials.fields.iter().map(|(name, value)| (*name, value.expose().as_str())));
        let mut headers = HeaderMap::new();
        if let Some(authorization) = credentials.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        if self.signed_by.is_some() {
            headers.insert(ACCEPT, HeaderValue::from_static("application/token-introspection+jwt"));
        }
        let client = self.server.client()?;
        let answer = client.post_form_with(endpoint, &fields, headers).await;
        let answer = answer.map_err(|error| IntrospectionError::Fetch(Arc::new(error)))?;
        if answer.status != http::StatusCode::OK {
            return Err(IntrospectionError::Status(answer.status.as_u16()));
        }
        let members = match &self.signed_by {
            None => json::parse_object(&answer.body).map_err(IntrospectionError::Json)?,
            Some(keys) => self.read_signed(&answer, keys, moment).await?,
        };
        let ignored = self.server.ignored_cnf_members();
        let facts = introspection::read_ignoring(&members, self.server.issuer(), ignored)
            .map_err(|error| IntrospectionError::Claims(Arc::new(error)))?;
        Ok(facts.map(Arc::new))
    }

    /// RFC 9701 §5: signed by the server, for this client, just now.
    async fn read_signed(
        &self,
        answer: &Fetched,
        keys: &IssuerKeys,
        moment: Moment,
    ) -> Result<Map<String, Value>, IntrospectionError> {
        let wrong = IntrospectionError::Signed;
        let text = std::str::from_utf8(&answer.body).map_err(|_| wrong("it is no JWT"))?;
        let jws = Compact::parse(text.trim_end()).map_err(|error| IntrospectionError::Signature(error.into()))?;
        let (verified, _) = keys.verify(&jws, moment).await.map_err(IntrospectionError::Signature)?;
        let typ = verified.typ().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        if !typ.eq_ignore_ascii_case(SIGNED_TYPE) {
            return Err(wrong("typ"));
        }
        let claims = verified.claims();
        if claims.get("iss").and_then(Value::as_str) != Some(self.server.issuer().as_str()) {
            return Err(wrong("iss"));
        }
        let is_us = |value: &Value| value.as_str() == Some(self.client_id.as_str());
        match claims.get("aud") {
            Some(Value::Array(values)) if values.iter().any(is_us) => {}
            Some(value) if is_us(value) => {}
            _ => return Err(wrong("aud")),
        }
        let made = claims.get("iat").and_then(Value::as_i64).map(Timestamp::from_seconds).ok_or(wrong("iat"))?;
        if made > moment.wall.plus(SIGNED_MAX_AGE) || made < moment.wall.minus(SIGNED_MAX_AGE) {
            return Err(wrong("iat"));
        }
        match claims.get("token_introspection") {
            Some(Value::Object(members)) => Ok(members.clone()),
            _ => Err(wrong("token_introspection")),
        }
    }
}
