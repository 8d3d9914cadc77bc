//! The memory of one process for what may be used once: exact, bounded, and gone with the process.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, future};

use super::replay::{Claim, Replay, ReplayKey};
use crate::domain::{Clock, Timestamp};
use crate::jose::digest::sha256;

/// Parts with a lock each, so that requests seldom wait for one another.
const PARTS: usize = 32;

/// What was used, by its digest.
#[derive(Debug, Default)]
struct Part {
    used: HashSet<[u8; 32]>,
    /// The same, by the last second at which each must be remembered.
    by_end: BTreeMap<i64, Vec<[u8; 32]>>,
    /// Everything that ended before this was forgotten.
    forgotten: Option<Timestamp>,
}

impl Part {
    /// Forgets what ended before `now`, and says how much that was.
    fn forget(&mut self, now: Timestamp) -> usize {
        let mut forgotten = 0;
        while let Some(first) = self.by_end.first_entry().filter(|first| *first.key() < now.seconds()) {
            for digest in first.remove() {
                forgotten += usize::from(self.used.remove(&digest));
            }
        }
        self.forgotten = self.forgotten.max(Some(now));
        forgotten
    }
}

/// Remembers up to so many uses. When it is full it says that it cannot tell: it never forgets one early to make room.
#[derive(Debug)]
pub struct ReplayCache {
    parts: [Mutex<Part>; PARTS],
    count: AtomicUsize,
    capacity: usize,
    clock: Arc<dyn Clock>,
}

impl ReplayCache {
    /// A memory for `capacity` uses, about 150 bytes each.
    pub fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::default()), count: AtomicUsize::new(0), capacity, clock }
    }

    /// How many uses are remembered.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn claim_now(&self, key: &ReplayKey, until: Timestamp) -> Claim {
        let Ok(now) = self.clock.now() else { return Claim::Unavailable };
        let digest = sha256(&[key.purpose().as_bytes(), &[0], key.value()].concat());
        if self.len() >= self.capacity {
            for part in &self.parts {
                let forgotten = part.lock().unwrap_or_else(PoisonError::into_inner).forget(now);
                self.count.fetch_sub(forgotten, Ordering::Relaxed);
            }
        }
        let index = usize::from(digest.first().copied().unwrap_or_default()) % PARTS;
        let Some(part) = self.parts.get(index) else { return Claim::Unavailable };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        self.count.fetch_sub(part.forget(now), Ordering::Relaxed);
        if part.used.contains(&digest) {
            return Claim::Seen;
        }
        // The clock went back: what ended then is forgotten, and might have been this.
        if part.forgotten.is_some_and(|forgotten| until < forgotten) {
            return Claim::Unavailable;
        }
        let room = |count: usize| (count < self.capacity).then_some(count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Claim::Unavailable;
        }
        part.used.insert(digest);
        part.by_end.entry(until.seconds()).or_default().push(digest);
        Claim::First
    }
}

impl Replay for ReplayCache {
    fn claim<'a>(&'a self, key: &'a ReplayKey, until: Timestamp) -> BoxFuture<'a, Claim> {
        future::ready(self.claim_now(key, until)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Lifetime, ManualClock, Thumbprint};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key(jti: &str) -> ReplayKey {
        ReplayKey::dpop_proof(&Thumbprint::from_bytes([1; 32]), jti)
    }

    fn after(seconds: u32) -> Timestamp {
        NOW.plus(Lifetime::from_seconds(seconds))
    }

    #[test]
    fn one_use_is_the_first_for_as_long_as_it_must_be() {
        let clock = Arc::new(ManualClock::at(NOW));
        let cache = ReplayCache::new(10, clock.clone());
        assert_eq!(cache.claim_now(&key("a"), after(60)), Claim::First);
        assert_eq!(cache.claim_now(&key("a"), after(60)), Claim::Seen);
        assert_eq!(cache.claim_now(&key("b"), after(60)), Claim::First);
        clock.advance(Lifetime::from_seconds(60));
        assert_eq!(cache.claim_now(&key("a"), after(60)), Claim::Seen, "in its last second");
        clock.advance(Lifetime::from_seconds(1));
        assert_eq!(cache.claim_now(&key("c"), after(120)), Claim::First);
        assert_eq!(cache.claim_now(&key("a"), after(120)), Claim::First, "after its time");
    }

    #[test]
    fn a_full_memory_says_so_and_forgets_nothing_early() {
        let clock = Arc::new(ManualClock::at(NOW));
        let cache = ReplayCache::new(100, clock.clone());
        for index in 0..100 {
            assert_eq!(cache.claim_now(&key(&index.to_string()), after(60)), Claim::First);
        }
        assert_eq!(cache.claim_now(&key("one more"), after(60)), Claim::Unavailable);
        for index in 0..100 {
            assert_eq!(cache.claim_now(&key(&index.to_string()), after(60)), Claim::Seen);
        }
        clock.advance(Lifetime::from_seconds(61));
        assert_eq!(cache.claim_now(&key("one more"), after(120)), Claim::First);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_make_the_old_new() {
        let clock = Arc::new(ManualClock::at(after(100)));
        let cache = ReplayCache::new(10, clock);
        assert_eq!(cache.claim_now(&key("a"), after(200)), Claim::First);
        // What ended before the memory's latest moment is no longer known.
        assert_eq!(cache.claim_now(&key("a"), after(99)), Claim::Seen);
        assert_eq!(cache.claim_now(&key("b"), after(98)), Claim::Unavailable);
    }

    #[test]
    fn of_many_at_once_one_is_the_first() {
        let cache = ReplayCache::new(1_000, Arc::new(ManualClock::at(NOW)));
        let firsts: usize = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..64).map(|_| scope.spawn(|| usize::from(cache.claim_now(&key("a"), after(60)) == Claim::First))).collect();
            tries.into_iter().map(|one| one.join().expect("no panic")).sum()
        });
        assert_eq!(firsts, 1);
    }
}
