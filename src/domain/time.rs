//! One clock and one source of randomness, both handed in.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, as in a JWT's `NumericDate` (RFC 7519 §2), without fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This moment plus a lifetime; saturates at the end of representable time.
    pub const fn plus(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_add(lifetime.seconds() as i64))
    }

    /// This moment minus a lifetime; saturates.
    pub const fn minus(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_sub(lifetime.seconds() as i64))
    }

    /// Seconds from `earlier` to this moment, zero when `earlier` is later.
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        let difference = self.0.saturating_sub(earlier.0);
        if difference < 0 { 0 } else { difference as u64 }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A length of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lifetime(u32);

impl Lifetime {
    /// A lifetime of `seconds`.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Whole seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The same as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// The clock could not be read. Whoever asked must refuse.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system clock reads before 1970: set it")]
pub struct ClockUnreadable;

/// Wall time for validity, monotonic time for waiting. Every decision takes its time from one of these.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall time, in seconds.
    fn now(&self) -> Result<Timestamp, ClockUnreadable>;
    /// Time since an arbitrary fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock; its monotonic time counts from now.
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> Result<Timestamp, ClockUnreadable> {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|_| ClockUnreadable)?;
        i64::try_from(since_epoch.as_secs()).map(Timestamp).map_err(|_| ClockUnreadable)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved: for tables of rules and for embedding tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    /// A clock that reads `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Moves both hands forward.
    pub fn advance(&self, by: Lifetime) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.0 = state.0.plus(by);
        state.1 += by.as_duration();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Result<Timestamp, ClockUnreadable> {
        Ok(self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0)
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}

/// The source of randomness failed. Whoever asked must refuse.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system's random number generator failed")]
pub struct RandomnessUnavailable;

/// Where unpredictable bytes come from. `jose::random::SystemRandomness` is the machine's.
pub trait Randomness: Send + Sync + fmt::Debug {
    /// Fills `bytes` with unpredictable ones.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable>;
}
