//! Failed authentications are few, or they wait: per address, and per client at one address, in front of every check that costs
//! something.
//!
//! A client is never held back for what others do in its name from elsewhere: nothing counts failures of a client alone. One that has
//! proven itself from an address is not held back for what its neighbours behind that address fail at either.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::domain::{ClientId, Holder};

/// How many failures may come at once, and how many in a minute for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Of one address (IPv6: of one /64), whatever clients it names.
    pub address_failures_per_minute: u32,
    /// Of one known client from one address.
    pub client_failures_per_minute: u32,
}

/// Addresses, and clients at addresses, that are remembered at most. Beyond that the least used are forgotten.
const REMEMBERED: usize = 50_000;

/// How long a success vouches for a client at its address.
const VOUCHED: Duration = Duration::from_secs(3_600);

const MINUTE_MILLIS: u64 = 60_000;

/// Too many failures: try again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Seconds, at least one.
    pub retry_after_seconds: u64,
}

/// A leaky bucket: when it will be empty, in monotonic milliseconds. A failure pours one in.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    /// How long until there is room for one more, if there is none now.
    fn full(&self, per_minute: u32, now: u64) -> Option<u64> {
        let interval = MINUTE_MILLIS / u64::from(per_minute.max(1));
        let level = self.0.load(Ordering::Relaxed).saturating_sub(now);
        let most = interval.saturating_mul(u64::from(per_minute.max(1)).saturating_sub(1));
        level.checked_sub(most).filter(|wait| *wait > 0)
    }

    fn pour(&self, per_minute: u32, now: u64) {
        let interval = MINUTE_MILLIS / u64::from(per_minute.max(1));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty| Some(empty.max(now).saturating_add(interval)));
    }
}

/// A client at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pair(ClientId, Holder);

#[derive(Hash)]
struct PairRef<'a>(&'a ClientId, Holder);

impl Equivalent<Pair> for PairRef<'_> {
    fn equivalent(&self, key: &Pair) -> bool {
        *self.0 == key.0 && self.1 == key.1
    }
}

#[derive(Debug, Default)]
struct OfPair {
    failures: Bucket,
    /// Until when its last success vouches for it, in monotonic milliseconds.
    vouched: AtomicU64,
}

/// Counts failures.
#[derive(Debug)]
pub struct Throttle {
    limits: ThrottleLimits,
    addresses: Cache<Holder, Arc<Bucket>>,
    pairs: Cache<Pair, Arc<OfPair>>,
}

impl Throttle {
    /// With nothing counted yet.
    pub fn new(limits: ThrottleLimits) -> Self {
        Self { limits, addresses: Cache::new(REMEMBERED), pairs: Cache::new(REMEMBERED) }
    }

    /// Whether an attempt may be looked at. `client` is absent when no client has the name.
    ///
    /// # Errors
    /// [`Throttled`], with the time to wait.
    pub fn check(&self, address: IpAddr, client: Option<&ClientId>, monotonic: Duration) -> Result<(), Throttled> {
        let (origin, now) = (Holder::of(address), millis(monotonic));
        let pair = client.and_then(|client| self.pairs.get(&PairRef(client, origin)));
        let mut wait = pair.as_ref().and_then(|pair| pair.failures.full(self.limits.client_failures_per_minute, now));
        let vouched = pair.is_some_and(|pair| pair.vouched.load(Ordering::Relaxed) > now);
        if !vouched && let Some(bucket) = self.addresses.get(&origin) {
            wait = wait.max(bucket.full(self.limits.address_failures_per_minute, now));
        }
        match wait {
            None => Ok(()),
            Some(millis) => Err(Throttled { retry_after_seconds: millis.div_ceil(1_000).max(1) }),
        }
    }

    /// An attempt failed.
    pub fn failed(&self, address: IpAddr, client: Option<&ClientId>, monotonic: Duration) {
        let (origin, now) = (Holder::of(address), millis(monotonic));
        if let Some(client) = client {
            self.pair(client, origin).failures.pour(self.limits.client_failures_per_minute, now);
        }
        match self.addresses.get_or_insert_with(&origin, || Ok::<_, std::convert::Infallible>(Arc::default())) {
            Ok(bucket) => bucket.pour(self.limits.address_failures_per_minute, now),
            Err(never) => match never {},
        }
    }

    /// An attempt succeeded.
    pub fn succeeded(&self, address: IpAddr, client: &ClientId, monotonic: Duration) {
        let until = millis(monotonic.saturating_add(VOUCHED));
        self.pair(client, Holder::of(address)).vouched.store(until, Ordering::Relaxed);
    }

    fn pair(&self, client: &ClientId, origin: Holder) -> Arc<OfPair> {
        if let Some(known) = self.pairs.get(&PairRef(client, origin)) {
            return known;
        }
        let key = Pair(client.clone(), origin);
        match self.pairs.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default())) {
            Ok(pair) => pair,
            Err(never) => match never {},
        }
    }
}

fn millis(monotonic: Duration) -> u64 {
    u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(ThrottleLimits { address_failures_per_minute: 6, client_failures_per_minute: 3 })
    }

    fn id(name: &str) -> ClientId {
        name.parse().expect("a client id")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_client_is_held_back_where_it_failed_and_nowhere_else() {
        let throttle = throttle();
        let (alice, bob) = (id("alice"), id("bob"));
        for _ in 0..3 {
            assert_eq!(throttle.check(HERE, Some(&alice), at(0)), Ok(()));
            throttle.failed(HERE, Some(&alice), at(0));
        }
        assert_eq!(throttle.check(HERE, Some(&alice), at(0)), Err(Throttled { retry_after_seconds: 20 }));
        assert_eq!(throttle.check(HERE, Some(&alice), at(19)), Err(Throttled { retry_after_seconds: 1 }));
        assert_eq!(throttle.check(HERE, Some(&alice), at(20)), Ok(()), "one a third of a minute");
        throttle.failed(HERE, Some(&alice), at(20));
        assert!(throttle.check(HERE, Some(&alice), at(20)).is_err());
        assert_eq!(throttle.check(THERE, Some(&alice), at(0)), Ok(()), "from elsewhere");
        assert_eq!(throttle.check(HERE, Some(&bob), at(0)), Ok(()), "another client");
    }

    #[test]
    fn an_address_is_held_back_whatever_it_names() {
        let throttle = throttle();
        for number in 0..6 {
            assert_eq!(throttle.check(HERE, None, at(0)), Ok(()), "{number}");
            throttle.failed(HERE, None, at(0));
        }
        assert_eq!(throttle.check(HERE, None, at(0)), Err(Throttled { retry_after_seconds: 10 }));
        assert!(throttle.check(HERE, Some(&id("fresh")), at(0)).is_err());
        assert_eq!(throttle.check(THERE, None, at(0)), Ok(()));
        assert_eq!(throttle.check(HERE, None, at(60)), Ok(()));
    }

    #[test]
    fn whoever_proved_itself_does_not_answer_for_its_neighbours() {
        let throttle = throttle();
        let alice = id("alice");
        throttle.succeeded(HERE, &alice, at(0));
        for _ in 0..100 {
            throttle.failed(HERE, None, at(1));
        }
        assert!(throttle.check(HERE, None, at(1)).is_err());
        assert_eq!(throttle.check(HERE, Some(&alice), at(1)), Ok(()));
        // It still answers for itself.
        for _ in 0..3 {
            throttle.failed(HERE, Some(&alice), at(2));
        }
        assert!(throttle.check(HERE, Some(&alice), at(2)).is_err());
        for _ in 0..100_000 {
            throttle.failed(HERE, None, at(3));
        }
        assert!(throttle.check(HERE, Some(&alice), at(3_601)).is_err(), "a success is forgotten after an hour");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let throttle = throttle();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for number in 0..6 {
            throttle.failed(address(&format!("2001:db8:0:1::{number}")), None, at(0));
        }
        assert!(throttle.check(address("2001:db8:0:1:ffff::1"), None, at(0)).is_err());
        assert_eq!(throttle.check(address("2001:db8:0:2::1"), None, at(0)), Ok(()));
        for _ in 0..6 {
            throttle.failed(address("::ffff:192.0.2.1"), None, at(0));
        }
        assert!(throttle.check(HERE, None, at(0)).is_err(), "IPv4 in IPv6 is IPv4");
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = throttle();
        for number in 0..u32::try_from(REMEMBERED * 3).expect("fits") {
            throttle.failed(IpAddr::from(number.to_be_bytes()), Some(&id("alice")), at(0));
        }
        assert!(throttle.addresses.len() <= REMEMBERED && throttle.pairs.len() <= REMEMBERED);
    }
}
