//! Guessing is slowed down. Passwords are counted by account and address, and by address, never by account alone: nobody is locked out by
//! whoever knows a name. One-time passwords are short, and counted by account: only who knows the password can guess at them. Whoever signs
//! in well gets the attempt back.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::domain::{Holder, Subject};

/// So many attempts at once, and one more each time `every` has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Attempts that may be made at once.
    pub burst: u32,
    /// After which one comes back.
    pub every: Duration,
}

/// How often one may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottlePolicy {
    /// One account, from one address.
    pub account: Quota,
    /// Any account, from one address.
    pub address: Quota,
}

/// Too many attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// When the next one may be made.
    pub retry_after: Duration,
}

/// An attempt that was counted.
#[derive(Debug)]
pub struct Counted {
    account: u64,
    address: u64,
}

/// Counts attempts, in memory that does not grow.
#[derive(Debug)]
pub struct Throttle {
    hasher: RandomState,
    accounts: Mutex<Buckets>,
    addresses: Mutex<Buckets>,
}

/// The generic cell rate algorithm: for each key the moment at which its bucket is full again.
#[derive(Debug)]
struct Buckets {
    quota: Quota,
    full_at: Cache<u64, Duration>,
}

/// Buckets of each kind that are remembered. Beyond that those that nobody used lately are forgotten, which needs as many addresses.
const BUCKETS: usize = 65_536;

impl Buckets {
    fn new(quota: Quota) -> Self {
        Self { quota, full_at: Cache::new(BUCKETS) }
    }

    fn take(&mut self, key: u64, now: Duration) -> Result<(), Throttled> {
        let full_at = self.full_at.get(&key).copied().unwrap_or_default().max(now) + self.quota.every;
        let most = now + self.quota.every * self.quota.burst;
        if full_at > most {
            return Err(Throttled { retry_after: full_at - most });
        }
        self.full_at.insert(key, full_at);
        Ok(())
    }

    fn give_back(&mut self, key: u64) {
        if let Some(full_at) = self.full_at.get(&key).copied() {
            self.full_at.insert(key, full_at.saturating_sub(self.quota.every));
        }
    }
}

impl Throttle {
    /// Nobody has tried yet.
    pub fn new(policy: ThrottlePolicy) -> Self {
        let bucket = |quota| Mutex::new(Buckets::new(quota));
        Self { hasher: RandomState::new(), accounts: bucket(policy.account), addresses: bucket(policy.address) }
    }

    /// Counts an attempt to sign in as `username`, whether there is such an account or not. `now` is monotonic.
    pub fn count(&self, username: &str, address: IpAddr, now: Duration) -> Result<Counted, Throttled> {
        let holder = Holder::of(address);
        let (account, address) = (self.hasher.hash_one((username, holder)), self.hasher.hash_one(holder));
        // The address first: beyond its own quota it takes no room among the accounts.
        lock(&self.addresses).take(address, now)?;
        if let Err(throttled) = lock(&self.accounts).take(account, now) {
            lock(&self.addresses).give_back(address);
            return Err(throttled);
        }
        Ok(Counted { account, address })
    }

    /// Counts an attempt to sign in from this address, as whoever it will turn out to be. `now` is monotonic.
    pub fn count_address(&self, address: IpAddr, now: Duration) -> Result<(), Throttled> {
        lock(&self.addresses).take(self.hasher.hash_one(Holder::of(address)), now)
    }

    /// An attempt that [`Throttle::count_address`] counted was a good one and does not count.
    pub fn forgive_address(&self, address: IpAddr) {
        lock(&self.addresses).give_back(self.hasher.hash_one(Holder::of(address)));
    }

    /// The attempt was a good one and does not count.
    pub fn forgive(&self, attempt: Counted) {
        lock(&self.accounts).give_back(attempt.account);
        lock(&self.addresses).give_back(attempt.address);
    }
}

/// Counts guesses at codes by whose they would be, in memory that does not grow.
#[derive(Debug)]
pub struct Guesses {
    hasher: RandomState,
    people: Mutex<Buckets>,
}

/// A guess that was counted.
#[derive(Debug)]
pub struct Guess(u64);

impl Guesses {
    /// Nobody has guessed yet.
    pub fn new(quota: Quota) -> Self {
        Self { hasher: RandomState::new(), people: Mutex::new(Buckets::new(quota)) }
    }

    /// Counts a guess at a code of this person, from wherever. `now` is monotonic.
    pub fn count(&self, subject: &Subject, now: Duration) -> Result<Guess, Throttled> {
        self.take(self.hasher.hash_one(subject), now)
    }

    /// Counts a guess at a code of this person from this address.
    pub fn count_from(&self, subject: &Subject, address: IpAddr, now: Duration) -> Result<Guess, Throttled> {
        self.take(self.hasher.hash_one((subject, Holder::of(address))), now)
    }

    fn take(&self, person: u64, now: Duration) -> Result<Guess, Throttled> {
        lock(&self.people).take(person, now)?;
        Ok(Guess(person))
    }

    /// It was a good one and does not count.
    pub fn forgive(&self, guess: Guess) {
        lock(&self.people).give_back(guess.0);
    }
}

fn lock(buckets: &Mutex<Buckets>) -> std::sync::MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: ThrottlePolicy = ThrottlePolicy {
        account: Quota { burst: 3, every: Duration::from_secs(60) },
        address: Quota { burst: 5, every: Duration::from_secs(10) },
    };

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn guessing_slows_down_and_nobody_is_locked_out() {
        let throttle = Throttle::new(POLICY);
        let (home, elsewhere) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..3 {
            throttle.count("alice", home, seconds(0)).expect("within the burst");
        }
        let refused = throttle.count("alice", home, seconds(0)).expect_err("beyond it");
        assert_eq!(refused.retry_after, seconds(60));
        // The account is not locked: from elsewhere it can be signed in to, and others from here.
        throttle.count("alice", elsewhere, seconds(0)).expect("another address");
        throttle.count("bob", home, seconds(0)).expect("another account");
        throttle.count("carol", home, seconds(0)).expect("another account");
        assert_eq!(throttle.count("dave", home, seconds(0)).expect_err("the address").retry_after, seconds(10));
        assert_eq!(throttle.count("alice", home, seconds(59)).expect_err("too early").retry_after, seconds(1));
        throttle.count("alice", home, seconds(60)).expect("one came back");
        throttle.count("alice", home, seconds(60)).expect_err("one alone");
        for _ in 0..3 {
            throttle.count("alice", home, seconds(10_000)).expect("all came back");
        }
        throttle.count("alice", home, seconds(10_000)).expect_err("and no more than all");
    }

    #[test]
    fn a_good_attempt_does_not_count() {
        let throttle = Throttle::new(POLICY);
        for _ in 0..1_000 {
            let attempt = throttle.count("alice", address("192.0.2.1"), seconds(5)).expect("never refused");
            throttle.forgive(attempt);
        }
        for _ in 0..3 {
            throttle.count("alice", address("192.0.2.1"), seconds(5)).expect("within the burst");
        }
        throttle.count("alice", address("192.0.2.1"), seconds(5)).expect_err("forgiving fills nothing beyond the burst");
    }

    #[test]
    fn whoever_gives_no_name_is_counted_by_address() {
        let (throttle, home) = (Throttle::new(POLICY), address("192.0.2.1"));
        for _ in 0..1_000 {
            throttle.count_address(home, seconds(5)).expect("never refused");
            throttle.forgive_address(home);
        }
        for _ in 0..5 {
            throttle.count_address(home, seconds(5)).expect("within the burst");
        }
        assert_eq!(throttle.count_address(home, seconds(5)).expect_err("beyond it").retry_after, seconds(10));
        throttle.count("alice", home, seconds(5)).expect_err("the same address");
        throttle.count_address(address("192.0.2.2"), seconds(5)).expect("another address");
    }

    #[test]
    fn one_network_is_one_address() {
        let throttle = Throttle::new(POLICY);
        for last in 1..=3 {
            throttle.count("alice", address(&format!("2001:db8::{last}")), seconds(0)).expect("within the burst");
        }
        throttle.count("alice", address("2001:db8::9:9:9:9"), seconds(0)).expect_err("the same network");
        throttle.count("alice", address("2001:db8:0:1::1"), seconds(0)).expect("another network");
        for _ in 0..3 {
            throttle.count("bob", address("::ffff:192.0.2.1"), seconds(0)).expect("within the burst");
        }
        throttle.count("bob", address("192.0.2.1"), seconds(0)).expect_err("the same address, mapped");
    }

    #[test]
    fn memory_is_bounded() {
        let mut buckets = Buckets::new(POLICY.address);
        for key in 0..200_000 {
            buckets.take(key, seconds(0)).expect("the first");
        }
        assert!(buckets.full_at.len() <= BUCKETS);
    }
}
