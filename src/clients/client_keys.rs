//! The keys and certificates that clients publish at their `jwks_uri`: fetched when first needed, kept, and fetched again on a miss.
//!
//! A known key costs no fetch. What is older than [`FRESH`] is fetched again beside the request; what is older than [`STALE`] before it.
//! When a client's server does not answer, what it published last is used for [`MAX_STALE`]. Of one place there is one fetch at a time,
//! and after one, also a failed one, a pause.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

use super::{JwksUri, MatchError, Matched, RegisteredCertificate, RegisteredCertificates, RegisteredKeys};
use crate::domain::{ClientId, Timestamp};
use crate::fetch::{Client as FetchClient, FetchError};
use crate::jose::jwe::KeyManagement;
use crate::jose::jwk::{JwkError, JwkSet, PublicJwk};
use crate::jose::jws::{Compact, JwsError};
use crate::jose::verify::VerifiedJws;
use crate::pki::Certificate;

/// How long keys are used without another look.
const FRESH: Duration = Duration::from_secs(300);
/// How long keys are used while another look is taken.
const STALE: Duration = Duration::from_secs(3_600);
/// How long keys are used when the look fails.
const MAX_STALE: Duration = Duration::from_secs(24 * 3_600);
/// How soon after one fetch a miss may cause another.
const PAUSE: Duration = Duration::from_secs(10);
/// The same while nothing was ever fetched.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures in a row, each of which doubles it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Places that are remembered. Beyond that the least used are fetched again.
const PLACES: usize = 10_000;

/// Why the keys cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysUnavailable {
    /// This server fetches nothing for clients.
    #[error("no keys are fetched: name whom to trust in [outbound]")]
    NotConfigured,
    /// The fetch failed.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// Another status than 200. A redirect is not followed.
    #[error("`{uri}` answered with {status}")]
    Status {
        /// The place.
        uri: String,
        /// The status.
        status: u16,
    },
    /// Not a JWK Set, or one without anything to use.
    #[error("what `{uri}` publishes is of no use: {problem}")]
    Document {
        /// The place.
        uri: String,
        /// What is wrong.
        problem: String,
    },
    /// The last fetch failed a moment ago.
    #[error("the last fetch failed, and the next is not due")]
    Pausing,
    /// The fetch broke off.
    #[error("the fetch broke off")]
    Aborted,
}

/// Why a proof was not verified with published keys.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientKeysError {
    /// The signature's doing.
    #[error("{0}")]
    Jws(#[from] JwsError),
    /// The certificate's doing.
    #[error("{0}")]
    Certificate(#[from] MatchError),
    /// There are no keys to verify it with.
    #[error("{0}")]
    Unavailable(#[from] KeysUnavailable),
}

/// One document, as it was published.
#[derive(Debug)]
struct Snapshot {
    keys: Option<RegisteredKeys>,
    certificates: Option<RegisteredCertificates>,
    /// When it was fetched, in monotonic time.
    fetched: Duration,
}

#[derive(Debug, Default)]
struct Attempts {
    last: Option<Duration>,
    failures: u32,
}

/// One place.
#[derive(Debug)]
struct Place {
    uri: JwksUri,
    snapshot: ArcSwapOption<Snapshot>,
    /// Held during a fetch: one at a time.
    attempts: Mutex<Attempts>,
}

/// What clients publish. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    client: Option<FetchClient>,
    /// By client too: nobody's misses hold back another's fetches. What belongs to no client is the operator's.
    places: Arc<Cache<(Option<ClientId>, JwksUri), Arc<Place>>>,
}

impl ClientKeys {
    /// Keys fetched by this client, which must be guarded. Without one, none can be had.
    pub fn new(client: Option<FetchClient>) -> Self {
        Self { client, places: Arc::new(Cache::new(PLACES)) }
    }

    /// Fetches what else clients publish; `None` where nothing is fetched.
    pub const fn outbound(&self) -> Option<&FetchClient> {
        self.client.as_ref()
    }

    /// Verifies a signature with the published keys.
    ///
    /// # Errors
    /// The signature's fault, or keys that cannot be had.
    pub async fn verify(
        &self,
        client_id: &ClientId,
        uri: &JwksUri,
        jws: &Compact<'_>,
        monotonic: Duration,
    ) -> Result<VerifiedJws, ClientKeysError> {
        self.verify_at(&self.place(Some(client_id), uri), jws, monotonic).await
    }

    /// Verifies a signature of somebody whom the operator trusts, with the keys that they publish.
    ///
    /// # Errors
    /// The signature's fault, or keys that cannot be had.
    pub async fn verify_trusted(
        &self,
        uri: &JwksUri,
        jws: &Compact<'_>,
        monotonic: Duration,
    ) -> Result<VerifiedJws, ClientKeysError> {
        self.verify_at(&self.place(None, uri), jws, monotonic).await
    }

    async fn verify_at(
        &self,
        place: &Arc<Place>,
        jws: &Compact<'_>,
        monotonic: Duration,
    ) -> Result<VerifiedJws, ClientKeysError> {
        let verify = |snapshot: &Snapshot| match &snapshot.keys {
            Some(keys) => keys.verify(jws),
            None => Err(JwsError::KeyUnknown),
        };
        // Without a `kid` a key that is not there yet looks like a bad signature.
        let is_miss = |problem: &JwsError| match problem {
            JwsError::KeyUnknown | JwsError::AlgorithmMismatch(_) => true,
            JwsError::Signature => jws.key_id().is_none(),
            _ => false,
        };
        let snapshot = self.snapshot(place, monotonic).await?;
        match verify(&snapshot) {
            Err(problem) if is_miss(&problem) => match self.newer(place, &snapshot, monotonic).await {
                Some(newer) => Ok(verify(&newer)?),
                None => Err(problem.into()),
            },
            answer => Ok(answer?),
        }
    }

    /// The published key that content is encrypted to with `alg`.
    ///
    /// # Errors
    /// Keys that cannot be had. `Ok(None)` when there is no such key among them.
    pub async fn encryption_key(
        &self,
        client_id: &ClientId,
        uri: &JwksUri,
        alg: KeyManagement,
        monotonic: Duration,
    ) -> Result<Option<PublicJwk>, KeysUnavailable> {
        let find = |snapshot: &Snapshot| snapshot.keys.as_ref().and_then(|keys| keys.encryption_key(alg)).cloned();
        let place = self.place(Some(client_id), uri);
        let snapshot = self.snapshot(&place, monotonic).await?;
        match find(&snapshot) {
            None => Ok(self.newer(&place, &snapshot, monotonic).await.and_then(|newer| find(&newer))),
            found => Ok(found),
        }
    }

    /// Checks a certificate against the published ones.
    ///
    /// # Errors
    /// The certificate's fault, or keys that cannot be had.
    pub async fn check_certificate(
        &self,
        client_id: &ClientId,
        uri: &JwksUri,
        certificate: &Certificate,
        now: Timestamp,
        monotonic: Duration,
    ) -> Result<Matched, ClientKeysError> {
        let check = |snapshot: &Snapshot| match &snapshot.certificates {
            Some(certificates) => certificates.check(certificate, now),
            None => Err(MatchError::NotRegistered(0)),
        };
        let place = self.place(Some(client_id), uri);
        let snapshot = self.snapshot(&place, monotonic).await?;
        match check(&snapshot) {
            Err(problem @ MatchError::NotRegistered(_)) => match self.newer(&place, &snapshot, monotonic).await {
                Some(newer) => Ok(check(&newer)?),
                None => Err(problem.into()),
            },
            answer => Ok(answer?),
        }
    }

    fn place(&self, client_id: Option<&ClientId>, uri: &JwksUri) -> Arc<Place> {
        let key = (client_id.cloned(), uri.clone());
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Place::new(uri.clone())));
        match self.places.get_or_insert_with(&key, fresh) {
            Ok(place) => place,
            Err(never) => match never {},
        }
    }

    /// What is known, fetched first where nothing is, or nothing recent.
    async fn snapshot(&self, place: &Arc<Place>, monotonic: Duration) -> Result<Arc<Snapshot>, KeysUnavailable> {
        let known = place.snapshot.load_full();
        let age = known.as_ref().map(|known| monotonic.saturating_sub(known.fetched));
        match (known, age) {
            (Some(known), Some(age)) if age <= FRESH => Ok(known),
            (Some(known), Some(age)) if age <= STALE => {
                let (client, place) = (self.client.clone(), place.clone());
                tokio::spawn(async move { place.fetch(client.as_ref(), Some(FRESH), monotonic).await });
                Ok(known)
            }
            (known, age) => match self.fetch(place, Some(FRESH), monotonic).await {
                Ok(fetched) => Ok(fetched),
                Err(problem) => known.filter(|_| age.is_some_and(|age| age <= MAX_STALE)).ok_or(problem),
            },
        }
    }

    /// What was published after `known`, if a look may be taken and there is something new.
    async fn newer(&self, place: &Arc<Place>, known: &Arc<Snapshot>, monotonic: Duration) -> Option<Arc<Snapshot>> {
        let found = self.fetch(place, None, monotonic).await.ok().or_else(|| place.snapshot.load_full());
        found.filter(|found| !Arc::ptr_eq(found, known))
    }

    /// In a task of its own: a caller who hangs up must not take the one fetch with it that the pause allows.
    async fn fetch(
        &self,
        place: &Arc<Place>,
        fresh: Option<Duration>,
        monotonic: Duration,
    ) -> Result<Arc<Snapshot>, KeysUnavailable> {
        let (client, place) = (self.client.clone(), place.clone());
        let fetch = tokio::spawn(async move { place.fetch(client.as_ref(), fresh, monotonic).await });
        fetch.await.unwrap_or(Err(KeysUnavailable::Aborted))
    }
}

impl Place {
    fn new(uri: JwksUri) -> Self {
        Self { uri, snapshot: ArcSwapOption::empty(), attempts: Mutex::default() }
    }

    /// Fetches, unless that was done a moment ago: then what it brought is the answer. `fresh` is how old a good answer may be.
    async fn fetch(
        &self,
        client: Option<&FetchClient>,
        fresh: Option<Duration>,
        monotonic: Duration,
    ) -> Result<Arc<Snapshot>, KeysUnavailable> {
        let client = client.ok_or(KeysUnavailable::NotConfigured)?;
        let mut attempts = self.attempts.lock().await;
        let known = self.snapshot.load_full();
        if let (Some(known), Some(fresh)) = (&known, fresh)
            && monotonic.saturating_sub(known.fetched) <= fresh
        {
            return Ok(known.clone());
        }
        let pause = pause(known.is_some(), attempts.failures);
        if attempts.last.is_some_and(|last| monotonic.saturating_sub(last) < pause) {
            return Err(KeysUnavailable::Pausing);
        }
        attempts.last = Some(monotonic);
        match self.document(client, monotonic).await {
            Ok(snapshot) => {
                attempts.failures = 0;
                let snapshot = Arc::new(snapshot);
                self.snapshot.store(Some(snapshot.clone()));
                Ok(snapshot)
            }
            Err(problem) => {
                attempts.failures = attempts.failures.saturating_add(1);
                Err(problem)
            }
        }
    }

    async fn document(&self, client: &FetchClient, monotonic: Duration) -> Result<Snapshot, KeysUnavailable> {
        let uri = || self.uri.url().as_str().to_owned();
        let of_no_use = |problem: String| KeysUnavailable::Document { uri: uri(), problem };
        let answer = client.get(self.uri.url()).await.map_err(|error| KeysUnavailable::Fetch(Arc::new(error)))?;
        if answer.status != http::StatusCode::OK {
            return Err(KeysUnavailable::Status { uri: uri(), status: answer.status.as_u16() });
        }
        let set = JwkSet::from_json(&answer.body).map_err(|problem: JwkError| of_no_use(problem.to_string()))?;
        let certificates = set.keys().iter().filter_map(|key| RegisteredCertificate::from_jwk(&key.to_members()).ok()).collect();
        let certificates = RegisteredCertificates::new(certificates);
        let keys = RegisteredKeys::of(set);
        if keys.is_none() && certificates.is_none() {
            return Err(of_no_use("it has no usable key, or too many".into()));
        }
        Ok(Snapshot { keys, certificates, fetched: monotonic })
    }
}

/// The pause after a fetch, doubled by each failure since the last success.
fn pause(has_keys: bool, failures: u32) -> Duration {
    let first = if has_keys { PAUSE } else { FIRST_PAUSE };
    first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures() {
        let seconds = |has_keys, failures| pause(has_keys, failures).as_secs();
        assert_eq!([0, 1, 2, 3, 9, 10, u32::MAX].map(|failures| seconds(false, failures)), [1, 1, 2, 4, 256, 300, 300]);
        assert_eq!([0, 1, 2, 6, 7].map(|failures| seconds(true, failures)), [10, 10, 20, 300, 300]);
    }
}
