//! How much one caller may ask of a route, and how much all of them together.
//!
//! Callers are told apart by what has been proven, and counted behind the decision: nobody uses up another's share, and whoever is not let
//! through has none.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{ClientId, Clock, Subject, Thumbprint};
use crate::token::TokenFacts;

/// Callers whose share is remembered without a look at which of them could be forgotten.
const REMEMBERED: usize = 10_000;
/// Requests between two such looks.
const LOOK_EVERY: u32 = 1_024;

/// Who is one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PerCaller {
    /// A client, by its `client_id` and issuer.
    #[default]
    Client,
    /// A certificate that the token is bound to, or that anchor sets accept; requests without one count as their client's.
    Certificate,
}

/// What a request's token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request.
    Request,
    /// The session of a browser.
    Session,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(String, Option<ClientId>),
    Person(String, Option<Subject>),
    Certificate(Thumbprint),
}

/// The gateway's clock, as the counter reads it.
#[derive(Clone, Debug)]
struct Hand(Arc<dyn Clock>);

impl GovernorClock for Hand {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// What one caller may ask for.
#[derive(Debug)]
pub struct RateLimit {
    per: PerCaller,
    /// As written: requests, seconds.
    pub(super) written: (u32, u32),
    counters: RateLimiter<Key, HashMapStateStore<Key>, Hand, NoOpMiddleware<Duration>>,
    hand: Hand,
    asked: AtomicU32,
}

/// A caller has asked for too much. He may come again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// At least 1.
    pub seconds: u64,
}

impl RateLimit {
    /// `requests` in `seconds`, all at once where none came before. `None` when one of them is 0.
    pub fn new(per: PerCaller, requests: u32, seconds: u32, clock: Arc<dyn Clock>) -> Option<Self> {
        let burst = NonZeroU32::new(requests)?;
        let quota = Quota::with_period(Duration::from_secs(seconds.into()) / requests)?.allow_burst(burst);
        let hand = Hand(clock);
        let counters = RateLimiter::hashmap_with_clock(quota, hand.clone());
        Some(Self { per, written: (requests, seconds), counters, hand, asked: AtomicU32::new(0) })
    }

    /// Who is one caller.
    pub const fn per(&self) -> PerCaller {
        self.per
    }

    /// Counts a request of a proven caller. `certificate` is one that has been vouched for: callers make others as they like. Sessions of
    /// browsers are all one client's, the gateway's own: each counts by its person.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn count(&self, facts: &TokenFacts, certificate: Option<Thumbprint>, origin: Origin) -> Result<(), TooMuch> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked % LOOK_EVERY == LOOK_EVERY - 1 && self.counters.len() > REMEMBERED {
            self.counters.retain_recent();
        }
        let key = match (self.per, certificate, origin) {
            (PerCaller::Certificate, Some(certificate), _) => Key::Certificate(certificate),
            (_, _, Origin::Session) => Key::Person(facts.issuer.as_str().to_owned(), facts.subject.clone()),
            _ => Key::Client(facts.issuer.as_str().to_owned(), facts.client_id.clone()),
        };
        self.counters.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(self.hand.now());
            TooMuch { seconds: wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1) }
        })
    }
}

/// How many requests a route serves at once. Each counts until the last byte of its answer.
#[derive(Clone, Debug)]
pub struct Concurrency {
    places: Arc<Semaphore>,
    /// All of them.
    pub(super) all: u32,
}

impl Concurrency {
    /// With so many places.
    pub fn new(all: u32) -> Self {
        Self { places: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// One of them, or none: nobody waits.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that fails")]
mod tests {
    use super::*;
    use crate::domain::{Lifetime, ManualClock, Timestamp};
    use crate::token::tests::access_token;

    #[test]
    fn each_caller_has_a_share_of_its_own_that_grows_again() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
        let limit = |per| RateLimit::new(per, 2, 10, clock.clone()).expect("a limit");
        let facts = |client: &str| {
            let mut facts = access_token().facts(None);
            facts.client_id = Some(client.parse().expect("a client"));
            facts
        };
        let (a, b) = (facts("a"), facts("b"));
        let (one, two) = (Some(Thumbprint::from_bytes([1; 32])), Some(Thumbprint::from_bytes([2; 32])));
        let clients = limit(PerCaller::Client);
        assert_eq!([clients.count(&a, one, Origin::Request), clients.count(&a, two, Origin::Request)], [Ok(()), Ok(())]);
        assert_eq!(clients.count(&a, one, Origin::Request), Err(TooMuch { seconds: 5 }));
        assert_eq!(clients.count(&b, one, Origin::Request), Ok(()));
        // Sessions are all the gateway's own: each person counts.
        let person = |name: &str| TokenFacts { subject: Some(name.parse().expect("a subject")), ..a.clone() };
        let session = |name: &str| clients.count(&person(name), None, Origin::Session);
        assert_eq!([session("p"), session("p"), session("q")], [Ok(()); 3]);
        assert_eq!([session("p"), session("q")], [Err(TooMuch { seconds: 5 }), Ok(())]);
        clock.advance(Lifetime::from_seconds(5));
        assert_eq!(
            [clients.count(&a, one, Origin::Request), clients.count(&a, one, Origin::Request)],
            [Ok(()), Err(TooMuch { seconds: 5 })]
        );
        let certificates = limit(PerCaller::Certificate);
        assert_eq!(
            [certificates.count(&a, one, Origin::Request), certificates.count(&b, one, Origin::Request)],
            [Ok(()), Ok(())]
        );
        assert_eq!(certificates.count(&a, one, Origin::Request), Err(TooMuch { seconds: 5 }));
        assert_eq!(
            [certificates.count(&a, two, Origin::Request), certificates.count(&a, None, Origin::Request)],
            [Ok(()), Ok(())]
        );
        assert!(RateLimit::new(PerCaller::Client, 0, 1, clock.clone()).is_none());
        assert!(RateLimit::new(PerCaller::Client, 1, 0, clock.clone()).is_none());
    }

    #[test]
    fn places_are_given_back() {
        let route = Concurrency::new(1);
        let place = route.take().expect("free");
        assert!(route.take().is_none());
        drop(place);
        assert!(route.take().is_some());
    }
}
