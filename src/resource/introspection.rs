//! Asking the authorization server about a token (RFC 7662), as a client that authenticates with its certificate (RFC 8705 §2).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::Semaphore;

use super::metadata::{AuthorizationServer, MetadataError};
use super::moment::Moment;
use crate::domain::{ClientId, Lifetime};
use crate::fetch::FetchError;
use crate::jose::json::{self, JsonError};
use crate::token::{TokenError, TokenFacts, introspection};

/// Questions under way at once.
const MAX_QUESTIONS: usize = 256;
/// Positive answers kept, when they are kept.
const CACHED_ANSWERS: usize = 10_000;
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
    lifetime: Lifetime,
}

#[derive(Debug)]
struct Asker {
    server: Arc<AuthorizationServer>,
    client_id: ClientId,
    room: Semaphore,
}

impl Introspection {
    /// Asks `server` as `client_id`. A positive answer is reused for `lifetime`; zero asks every time.
    pub fn new(server: Arc<AuthorizationServer>, client_id: ClientId, lifetime: Lifetime) -> Self {
        Self {
            asker: Arc::new(Asker { server, client_id, room: Semaphore::new(MAX_QUESTIONS) }),
            pending: Mutex::new(HashMap::new()),
            answers: quick_cache::sync::Cache::new(CACHED_ANSWERS),
            lifetime,
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
        let answer = self.join(token, digest).await;
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
    fn join(&self, token: &str, digest: [u8; 32]) -> Shared<Question> {
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
            asker.ask(&token).await
        });
        let question = question.shared();
        if let Some(weak) = question.downgrade() {
            pending.insert(digest, Pending { question: weak, put });
        }
        question
    }
}

impl Asker {
    async fn ask(&self, token: &str) -> Answer {
        let _room = self.room.try_acquire().map_err(|_| IntrospectionError::Overloaded)?;
        let metadata = self.server.metadata().await?;
        let endpoint = metadata.introspection_endpoint.as_ref().ok_or(IntrospectionError::NoEndpoint)?;
        let fields = [("token", token), ("token_type_hint", "access_token"), ("client_id", self.client_id.as_str())];
        let client = self.server.client()?;
        let answer = client.post_form(endpoint, &fields).await.map_err(|error| IntrospectionError::Fetch(Arc::new(error)))?;
        if answer.status != http::StatusCode::OK {
            return Err(IntrospectionError::Status(answer.status.as_u16()));
        }
        let members = json::parse_object(&answer.body).map_err(IntrospectionError::Json)?;
        let ignored = self.server.ignored_cnf_members();
        let facts = introspection::read_ignoring(&members, self.server.issuer(), ignored)
            .map_err(|error| IntrospectionError::Claims(Arc::new(error)))?;
        Ok(facts.map(Arc::new))
    }
}
