//! The time of one decision.

use std::time::Duration;

use crate::domain::{Clock, ClockUnreadable, Timestamp};

/// One reading of both hands of the clock: a request is decided at one moment, not at several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall time, for what tokens say.
    pub wall: Timestamp,
    /// The monotonic time, for ages.
    pub monotonic: Duration,
}

impl Moment {
    /// Reads the clock.
    ///
    /// # Errors
    /// When the wall time cannot be read: nothing can be decided then.
    pub fn read(clock: &dyn Clock) -> Result<Self, ClockUnreadable> {
        Ok(Self { wall: clock.now()?, monotonic: clock.monotonic() })
    }
}
