//! A place in the queue, taken before what it will speak of happens.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{AuditSink, AuditUnavailable, Encoded, Message};
use crate::event::Trailed;
use crate::telemetry::metrics::AUDIT_EVENTS;

/// A place in the queue. Given back when dropped unused.
#[derive(Debug)]
pub struct Reservation(mpsc::OwnedPermit<Message>);

impl AuditSink {
    /// Takes a place in the queue, without waiting, for an event whose outcome is not known yet: what it will speak of may then
    /// happen, since it is certain to be recorded.
    ///
    /// # Errors
    /// When there is none; what the event would speak of must not happen then.
    pub fn reserve(&self) -> Result<Reservation, AuditUnavailable> {
        let taken = match self.state.failing.load(Ordering::Acquire) {
            true => Err(AuditUnavailable::Failing),
            false => self.queue.clone().try_reserve_owned().map(Reservation).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AuditUnavailable::QueueFull,
                mpsc::error::TrySendError::Closed(_) => AuditUnavailable::Closed,
            }),
        };
        if taken.is_err() {
            self.state.refused.fetch_add(1, Ordering::Relaxed);
            AUDIT_EVENTS.with(["refused"]).increment(1);
        }
        taken
    }
}

impl Reservation {
    /// Puts the event in the place that was kept for it.
    pub fn record(self, event: Trailed) {
        // One that cannot be written has been told of in the log.
        if let Ok(event) = Encoded::new(&event, None) {
            self.0.send(Message::Event(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::event::AuditEvent;

    #[test]
    fn a_place_is_kept_or_given_back() {
        let (queue, mut messages) = mpsc::channel(1);
        let sink = AuditSink { queue, state: std::sync::Arc::default() };
        let kept = sink.reserve().expect("room for one");
        assert_eq!(sink.reserve().err(), Some(AuditUnavailable::QueueFull));
        drop(kept);
        let event = AuditEvent::Reloaded { what: "gateway".into() };
        sink.reserve().expect("given back").record(Trailed { time: Timestamp::from_seconds(1), event });
        assert!(matches!(messages.try_recv(), Ok(Message::Event(_))));
        sink.state.failing.store(true, Ordering::Release);
        assert_eq!(sink.reserve().err(), Some(AuditUnavailable::Failing));
        assert_eq!(sink.refused(), 2);
    }
}
