//! The keys of one issuer: given once, or fetched and kept fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use url::Url;

use super::metadata::{AuthorizationServer, MetadataError};
use super::moment::Moment;
use crate::domain::Clock;
use crate::fetch::{Client, FetchError};
use crate::jose::Algorithm;
use crate::jose::digest::sha256;
use crate::jose::jwk::{JwkError, JwkSet};
use crate::jose::jws::{Compact, JwsError};
use crate::jose::verify::{VerifiedJws, VerifyingKeys};

/// How often keys are fetched without being asked for.
const REFRESH: Duration = Duration::from_secs(300);
/// How soon after one attempt an unknown `kid` may cause another.
const REFETCH: Duration = Duration::from_secs(10);
/// How soon after one attempt a request may cause another while there are no keys at all.
const FIRST_FETCH: Duration = Duration::from_secs(1);
/// How long keys are used after they were last seen published.
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// One snapshot of an issuer's keys.
#[derive(Debug)]
struct Snapshot {
    keys: VerifyingKeys,
    /// Grows when the keys change. What was verified under another generation is verified again.
    generation: u64,
    /// Of the document.
    digest: [u8; 32],
}

/// Why keys could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// No metadata.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The metadata has no `jwks_uri`.
    #[error("the issuer publishes no `jwks_uri`")]
    NoJwksUri,
    /// The keys did not arrive.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// Another status than 200.
    #[error("the issuer's keys were answered with {0}")]
    Status(u16),
    /// What arrived is not a JWK Set.
    #[error("the issuer's keys are not a JWK Set: {0}")]
    Document(JwkError),
    /// A set without a key for the algorithms that are allowed.
    #[error("the issuer publishes no key for the algorithms that are allowed")]
    NoKey,
    /// An attempt failed a moment ago, or the keys are older than a day.
    #[error("the issuer's keys could not be fetched for too long")]
    TooOld,
}

/// Why a signature was not verified.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignatureError {
    /// The token's doing.
    #[error("{0}")]
    Jws(#[from] JwsError),
    /// There are no keys to verify it with.
    #[error("{0}")]
    Keys(#[from] KeysError),
}

/// The keys of one issuer. Looked up without a lock; never selected by anything but `kid` and `alg`, never fetched from a place that
/// a token names.
#[derive(Clone, Debug)]
pub struct IssuerKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: ArcSwapOption<Snapshot>,
    /// Absent for static keys.
    source: Option<Source>,
}

/// Where keys are published.
#[derive(Debug)]
enum Place {
    /// Where an authorization server's metadata say.
    Metadata(Arc<AuthorizationServer>),
    /// Here.
    Url(Box<(Url, Client)>),
}

#[derive(Debug)]
struct Source {
    place: Place,
    algorithms: Vec<Algorithm>,
    /// When the last attempt began. Held during a fetch: one at a time.
    attempted: Mutex<Option<Duration>>,
    /// When the keys were last seen published: monotonic milliseconds.
    seen: AtomicU64,
}

/// What a fetch should be held against.
#[derive(Clone, Copy)]
enum Wanted {
    /// The generation that did not have the key.
    NewerThan(Option<u64>),
    /// In any case.
    Now,
}

impl IssuerKeys {
    /// Keys that never change.
    ///
    /// # Errors
    /// When the document is not a JWK Set with a key for one of `algorithms`.
    pub fn from_document(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeysError> {
        let keys = read(document, algorithms)?;
        let snapshot = Snapshot { keys, generation: 0, digest: sha256(document) };
        Ok(Self(Arc::new(Inner { snapshot: ArcSwapOption::from_pointee(snapshot), source: None })))
    }

    /// Keys that `server` publishes. None until the first fetch.
    pub fn fetched(server: Arc<AuthorizationServer>, algorithms: Vec<Algorithm>) -> Self {
        Self::from(Place::Metadata(server), algorithms)
    }

    /// Keys that are published at `url`, without metadata: a gateway's. None until the first fetch.
    pub fn published(url: Url, client: Client, algorithms: Vec<Algorithm>) -> Self {
        Self::from(Place::Url(Box::new((url, client))), algorithms)
    }

    fn from(place: Place, algorithms: Vec<Algorithm>) -> Self {
        let source = Source { place, algorithms, attempted: Mutex::new(None), seen: AtomicU64::new(0) };
        Self(Arc::new(Inner { snapshot: ArcSwapOption::empty(), source: Some(source) }))
    }

    /// The generation of the keys in force; `None` when there are none, or none that are recent enough.
    pub fn generation(&self, moment: Moment) -> Option<u64> {
        self.0.current(moment).map(|snapshot| snapshot.generation)
    }

    /// Verifies a signature. A `kid` that nobody knows causes one fetch, at most every ten seconds.
    ///
    /// # Errors
    /// The token's fault or ours; see [`SignatureError`].
    pub async fn verify(&self, jws: &Compact<'_>, moment: Moment) -> Result<(VerifiedJws, u64), SignatureError> {
        let snapshot = match self.0.current(moment) {
            Some(snapshot) => snapshot,
            None => {
                self.fetch(None, moment).await?;
                self.0.current(moment).ok_or(KeysError::TooOld)?
            }
        };
        match snapshot.keys.verify(jws) {
            Err(JwsError::KeyUnknown) if self.0.source.is_some() => {
                // A failed fetch changes nothing for this token: the key is unknown.
                let _ = self.fetch(Some(snapshot.generation), moment).await;
                let snapshot = self.0.current(moment).ok_or(KeysError::TooOld)?;
                Ok((snapshot.keys.verify(jws)?, snapshot.generation))
            }
            answer => Ok((answer?, snapshot.generation)),
        }
    }

    /// Keeps the keys fresh: for ever, or not at all where they are static. Reports each attempt.
    pub async fn run(&self, clock: &dyn Clock, mut report: impl FnMut(Result<(), &KeysError>) + Send) {
        if self.0.source.is_none() {
            return;
        }
        let mut failures = 0u32;
        loop {
            let monotonic = clock.monotonic();
            let outcome = self.0.refresh(monotonic).await;
            report(outcome.as_ref().copied());
            let pause = match outcome {
                Ok(()) => {
                    failures = 0;
                    REFRESH
                }
                Err(_) => {
                    failures = failures.saturating_add(1);
                    super::backoff(failures)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Fetches what is newer than the generation `known`. In a task of its own: a caller who hangs up must not take the one attempt
    /// with it that the rate limit allows.
    async fn fetch(&self, known: Option<u64>, moment: Moment) -> Result<(), KeysError> {
        let inner = Arc::clone(&self.0);
        let fetch = tokio::spawn(async move { inner.fetch(Wanted::NewerThan(known), moment.monotonic).await });
        fetch.await.unwrap_or(Err(KeysError::TooOld))
    }
}

impl Inner {
    async fn refresh(&self, monotonic: Duration) -> Result<(), KeysError> {
        let Some(source) = &self.source else { return Ok(()) };
        // The endpoint may have moved.
        let metadata = match &source.place {
            Place::Metadata(server) => server.refresh().await.map(drop),
            Place::Url(_) => Ok(()),
        };
        let fetched = self.fetch(Wanted::Now, monotonic).await;
        metadata.map_err(KeysError::from).and(fetched)
    }

    fn current(&self, moment: Moment) -> Option<Arc<Snapshot>> {
        let snapshot = self.snapshot.load_full()?;
        let Some(source) = &self.source else { return Some(snapshot) };
        let seen = Duration::from_millis(source.seen.load(Ordering::Acquire));
        (moment.monotonic.saturating_sub(seen) <= MAX_STALE).then_some(snapshot)
    }

    async fn fetch(&self, wanted: Wanted, monotonic: Duration) -> Result<(), KeysError> {
        let Some(source) = &self.source else { return Ok(()) };
        let mut attempted = source.attempted.lock().await;
        let present = self.snapshot.load_full();
        if let Wanted::NewerThan(known) = wanted {
            let generation = present.as_ref().map(|snapshot| snapshot.generation);
            let fetched_meanwhile = generation.is_some() && generation != known;
            if fetched_meanwhile {
                return Ok(());
            }
            let interval = if generation.is_some() { REFETCH } else { FIRST_FETCH };
            if attempted.is_some_and(|last| monotonic.saturating_sub(last) < interval) {
                return Err(KeysError::TooOld);
            }
        }
        *attempted = Some(monotonic);
        let document = source.document().await?;
        let digest = sha256(&document);
        if present.as_ref().is_none_or(|snapshot| snapshot.digest != digest) {
            let keys = read(&document, &source.algorithms)?;
            let generation = present.map_or(1, |snapshot| snapshot.generation + 1);
            // Before the keys: whoever sees them must not find them too old.
            source.see(monotonic);
            self.snapshot.store(Some(Arc::new(Snapshot { keys, generation, digest })));
        } else {
            source.see(monotonic);
        }
        Ok(())
    }
}

impl Source {
    async fn document(&self) -> Result<bytes::Bytes, KeysError> {
        let answer = match &self.place {
            Place::Metadata(server) => {
                let url = server.metadata().await?.jwks_uri.clone().ok_or(KeysError::NoJwksUri)?;
                server.client()?.get(&url).await
            }
            Place::Url(place) => place.1.get(&place.0).await,
        };
        let answer = answer.map_err(|error| KeysError::Fetch(Arc::new(error)))?;
        if answer.status != http::StatusCode::OK {
            return Err(KeysError::Status(answer.status.as_u16()));
        }
        Ok(answer.body)
    }

    fn see(&self, monotonic: Duration) {
        self.seen.store(u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// An empty set is an issuer's mistake, not an order to refuse everybody: it is an error, and older keys stay in force.
fn read(document: &[u8], algorithms: &[Algorithm]) -> Result<VerifyingKeys, KeysError> {
    let set = JwkSet::from_json(document).map_err(KeysError::Document)?;
    let keys = VerifyingKeys::new(&set, algorithms);
    if keys.is_empty() { Err(KeysError::NoKey) } else { Ok(keys) }
}
