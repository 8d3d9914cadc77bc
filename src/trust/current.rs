use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::AnchorSets;

/// The anchor sets in force: read without a lock, replaced as a whole, and a bell for whoever relies on what was there before.
#[derive(Debug)]
pub struct CurrentAnchors {
    sets: ArcSwap<AnchorSets>,
    changed: watch::Sender<()>,
}

impl CurrentAnchors {
    /// Starts with these.
    pub fn new(sets: AnchorSets) -> Self {
        Self { sets: ArcSwap::from_pointee(sets), changed: watch::Sender::new(()) }
    }

    /// The sets as they stand.
    pub fn load(&self) -> Guard<Arc<AnchorSets>> {
        self.sets.load()
    }

    /// Puts others in force. Open streams are judged again.
    pub fn replace(&self, mut sets: AnchorSets) {
        sets.settle();
        self.sets.store(Arc::new(sets));
        self.changed.send_replace(());
    }

    /// Rings the bell after revocation lists of a set have changed by themselves. Open streams are judged again.
    pub fn lists_changed(&self) {
        self.changed.send_replace(());
    }

    /// Told whenever they are replaced.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
