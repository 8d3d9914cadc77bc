//! Certificates that clients authenticate with and that end soon. Those of an authority are registered nowhere: they are known from being
//! shown, until this process ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clients::EndingCertificate;
use crate::domain::{ClientId, Lifetime, Timestamp};
use crate::pki::Certificate;

/// Clients whose certificates are remembered, at most.
const MOST: usize = 10_000;

/// The certificates that end soon, one of each client: the one that ends last of those it has shown.
#[derive(Debug)]
pub struct EndingCertificates {
    soon: Lifetime,
    shown: Mutex<HashMap<ClientId, EndingCertificate>>,
    /// Whether any are there, for those who need not look.
    any: AtomicBool,
    bell: Notify,
}

impl EndingCertificates {
    /// None yet. `soon` is how long before its end one counts.
    pub fn new(soon: Lifetime) -> Self {
        Self { soon, shown: Mutex::default(), any: AtomicBool::new(false), bell: Notify::new() }
    }

    /// How long before its end one counts.
    pub const fn soon(&self) -> Lifetime {
        self.soon
    }

    /// Notes what a client has authenticated with.
    pub fn note(&self, client_id: &ClientId, certificate: &Certificate, now: Timestamp) {
        let not_after = certificate.not_after();
        let ends_soon = not_after <= now.plus(self.soon);
        if !ends_soon && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut shown = self.shown();
        let has_room = shown.len() < MOST;
        match shown.entry(client_id.clone()) {
            // Another of its processes has the new one already.
            Entry::Occupied(known) if known.get().not_after >= not_after => {}
            Entry::Occupied(known) if !ends_soon => drop(known.remove()),
            Entry::Vacant(_) if !ends_soon || !has_room => {}
            entry => {
                let certificate = certificate.thumbprint();
                entry.insert_entry(EndingCertificate { client_id: client_id.clone(), certificate, not_after, later: 0 });
                self.bell.notify_one();
            }
        }
        self.any.store(!shown.is_empty(), Ordering::Relaxed);
    }

    /// Those that end soon or have ended, of clients that there are still.
    pub fn of(&self, is_there: impl Fn(&ClientId) -> bool) -> Vec<EndingCertificate> {
        let mut shown = self.shown();
        shown.retain(|client_id, _| is_there(client_id));
        shown.values().cloned().collect()
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<ClientId, EndingCertificate>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until another was shown for the first time.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
