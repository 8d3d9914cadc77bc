//! Room for request objects that are being fetched: little for all, and less for each client, so that none takes all of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::ClientId;

/// Request objects that are fetched at once.
const MOST: usize = 64;
/// Request objects of one client that are fetched at once.
const MOST_OF_CLIENT: usize = 4;

/// How much is being fetched, and for whom.
#[derive(Debug)]
pub struct FetchRoom {
    all: Semaphore,
    of_clients: Mutex<HashMap<ClientId, usize>>,
}

/// Room for one fetch, given back when it is dropped.
#[derive(Debug)]
pub struct FetchPermit<'a> {
    room: &'a FetchRoom,
    client_id: ClientId,
    _one_of_all: SemaphorePermit<'a>,
}

impl Default for FetchRoom {
    fn default() -> Self {
        Self { all: Semaphore::new(MOST), of_clients: Mutex::default() }
    }
}

impl FetchRoom {
    /// Room for one fetch of this client, if there is any.
    pub fn enter(&self, client_id: &ClientId) -> Option<FetchPermit<'_>> {
        let one_of_all = self.all.try_acquire().ok()?;
        let mut of_clients = self.of_clients();
        let taken = of_clients.entry(client_id.clone()).or_default();
        if *taken >= MOST_OF_CLIENT {
            return None;
        }
        *taken += 1;
        Some(FetchPermit { room: self, client_id: client_id.clone(), _one_of_all: one_of_all })
    }

    fn of_clients(&self) -> MutexGuard<'_, HashMap<ClientId, usize>> {
        self.of_clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FetchPermit<'_> {
    fn drop(&mut self) {
        let mut of_clients = self.room.of_clients();
        if let Some(taken) = of_clients.get_mut(&self.client_id) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                of_clients.remove(&self.client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_takes_all_the_room() {
        let room = FetchRoom::default();
        let id = |name: &str| name.parse::<ClientId>().expect("a client id");
        let mut taken: Vec<_> = (0..MOST).filter_map(|_| room.enter(&id("greedy"))).collect();
        assert_eq!(taken.len(), MOST_OF_CLIENT);
        taken.extend(room.enter(&id("other")));
        assert_eq!(taken.len(), MOST_OF_CLIENT + 1, "there is room for others");
        // What is given back is there again, for whoever comes.
        drop(taken.swap_remove(0));
        let again = room.enter(&id("greedy"));
        assert!(again.is_some() && room.enter(&id("greedy")).is_none());
        drop((again, taken));
        assert!(room.of_clients().is_empty(), "nobody is remembered");
        let all: Vec<_> = (0..MOST * 2).filter_map(|number| room.enter(&id(&format!("client-{number}")))).collect();
        assert_eq!(all.len(), MOST, "all of them together");
    }
}
