//! Who may have something under way at providers: as many as there is room for, and nobody so many that there is none for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Holder;

/// Room for so many at once. Each address may take as much as is left beside it: half of it alone, and the last place is for somebody who
/// has none.
#[derive(Debug)]
pub struct Room {
    size: usize,
    taken: Mutex<HashMap<Holder, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    room: Arc<Room>,
    holder: Holder,
}

impl Room {
    /// With this many places.
    pub fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { size, taken: Mutex::default() })
    }

    /// A place for this address; `None` when there is none, or it has its share.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Turn> {
        let holder = Holder::of(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.size.saturating_sub(taken.values().sum());
        let own = taken.get(&holder).copied().unwrap_or_default();
        if own >= left {
            return None;
        }
        taken.insert(holder, own + 1);
        Some(Turn { room: Arc::clone(self), holder })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.holder) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_of_it() {
        let room = Room::new(8);
        let take = |address: &str| room.take(address.parse().expect("an address"));
        let mut first: Vec<_> = std::iter::from_fn(|| take("192.0.2.1")).collect();
        assert_eq!(first.len(), 4);
        let second: Vec<_> = std::iter::from_fn(|| take("2001:db8::1").or_else(|| take("2001:db8::2"))).collect();
        assert_eq!(second.len(), 2, "a network is one");
        let third = take("192.0.2.3").expect("there is room");
        let _fourth = take("192.0.2.4").expect("there is room");
        assert!(take("192.0.2.5").is_none());
        drop(third);
        assert!(take("192.0.2.1").is_none(), "not for whoever has most");
        first.clear();
        drop(second);
        assert_eq!(room.taken.lock().expect("a map").len(), 1, "nobody is remembered for ever");
    }
}
