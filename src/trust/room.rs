//! How much is asked at once, so that who does not answer keeps nobody else waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Room for what one set asks at once: so much altogether, and so much of one URL.
#[derive(Debug)]
pub(super) struct Room {
    all: usize,
    each: usize,
    taken: Mutex<BTreeMap<String, usize>>,
}

/// A place in it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    url: String,
}

impl Room {
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A place for asking this URL, if there is one.
    pub(super) fn take(self: &Arc<Self>, url: &str) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.all || taken.get(url).is_some_and(|count| *count >= self.each) {
            return None;
        }
        *taken.entry(url.to_owned()).or_default() += 1;
        Some(Seat { room: Arc::clone(self), url: url.to_owned() })
    }

    /// How many places are free.
    #[cfg(any(feature = "server", test))]
    pub(super) fn free(&self) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.saturating_sub(taken.values().sum())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.url) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.url);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let room = Room::new(3, 2);
        let (a, b) = (room.take("a"), room.take("a"));
        assert!(a.is_some() && b.is_some() && room.take("a").is_none(), "one URL has not all");
        let c = room.take("b");
        assert!(c.is_some() && room.take("c").is_none(), "nor is there more");
        assert_eq!(room.free(), 0);
        drop(a);
        assert_eq!(room.free(), 1);
        let again = room.take("c");
        assert!(again.is_some() && room.take("a").is_none());
        drop((b, c, again));
        assert_eq!(room.free(), 3);
    }
}
