//! Keeps the ring: takes in keys that were made elsewhere, lets them seal when their turn comes, reseals what older ones sealed, and
//! deletes those that nothing needs any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use crate::domain::{Clock, Timestamp};
use crate::store::{Pass, SETTLE, SealKeyState, Store, StoreError};
use crate::telemetry::metrics;

/// How often the ring is looked after when nothing calls.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two batches, so that other writers have their turn.
const BETWEEN_BATCHES: Duration = Duration::from_millis(10);
/// How often progress is logged while resealing, in seconds.
const TELL_SECONDS: u64 = 10;
/// How often keys that may go are looked for, in seconds.
const DELETE_SECONDS: u64 = 3_600;

/// How the ring stands: for `symbolon status`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SealingStatus {
    /// The ring key that seals.
    active: String,
    /// The ring keys that open, the sealing one among them.
    keys: usize,
    /// The master key that wraps.
    master_key: String,
    /// Whether rows are being resealed now.
    resealing: bool,
    /// Rows under older keys, as of the last count and what was done since; absent before the first look.
    rows_behind: Option<u64>,
    /// Rows resealed since the process started.
    rows_resealed: u64,
    /// Why keys that were made elsewhere cannot be taken in.
    pub problem: Option<String>,
}

impl SealingStatus {
    fn take_from(&mut self, store: &Store) {
        self.active = store.ring().active_key_id().to_string();
        self.keys = store.ring().key_ids().len();
        self.master_key = store.master_keys().active_key_id().to_string();
    }
}

/// What others may see of it, and the bell that tells of a change.
#[derive(Debug, Default)]
pub struct Sealing {
    status: Mutex<SealingStatus>,
    changed: Notify,
}

impl Sealing {
    /// As a store that was just opened stands.
    pub fn new(store: &Store) -> Self {
        let sealing = Self::default();
        sealing.update(|status| status.take_from(store));
        sealing
    }

    /// How the ring stands.
    pub fn status(&self) -> SealingStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the keys taken in that were made elsewhere.
    pub fn ring(&self) {
        self.changed.notify_one();
    }

    fn update(&self, change: impl FnOnce(&mut SealingStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        metrics::SEAL_ROWS_BEHIND.alone().set(status.rows_behind.unwrap_or_default() as f64);
        metrics::SEAL_KEYS.alone().set(status.keys as f64);
    }
}

/// Runs for ever.
pub async fn keep(store: Store, clock: Arc<dyn Clock>, sealing: Arc<Sealing>) {
    let mut keeper = Keeper { store, sealing, pass: None, last_pass: None, told: None, deleted: None, is_stale: false };
    loop {
        if let Ok(now) = clock.now() {
            keeper.look(now).await;
        }
        let pause = if keeper.pass.is_some() { BETWEEN_BATCHES } else { INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = keeper.sealing.changed.notified() => keeper.is_stale = true,
        }
    }
}

struct Keeper {
    store: Store,
    sealing: Arc<Sealing>,
    /// The walk that is under way.
    pass: Option<Pass>,
    /// The key for which the last walk was made, and when it began.
    last_pass: Option<(String, Timestamp)>,
    told: Option<Timestamp>,
    deleted: Option<Timestamp>,
    /// There are keys to be taken in.
    is_stale: bool,
}

impl Keeper {
    async fn look(&mut self, now: Timestamp) {
        if self.is_stale {
            self.take_in(now).await;
        }
        let before = self.store.ring().active_key_id();
        self.store.activate_seal_keys(now);
        let active = self.store.ring().active_key_id();
        if active != before {
            tracing::info!(seal_key = %active, "another key seals now");
            self.pass = None;
            self.sealing.update(|status| (status.resealing, status.rows_behind) = (false, None));
        }
        self.sealing.update(|status| status.take_from(&self.store));
        if let Err(problem) = self.work(now).await {
            self.pass = None;
            self.last_pass = None;
            if self.may_tell(now) {
                tracing::warn!(%problem, "cannot look after the seal keys");
            }
        }
    }

    async fn take_in(&mut self, now: Timestamp) {
        match self.store.take_in_seal_keys(now).await {
            Ok(()) => {
                self.is_stale = false;
                self.sealing.update(|status| status.problem = None);
            }
            Err(problem) => {
                if self.may_tell(now) {
                    tracing::error!(%problem, "seal keys that were made elsewhere cannot be taken in: what they seal does not open here");
                }
                self.sealing.update(|status| status.problem = Some(problem.to_string()));
            }
        }
    }

    fn may_tell(&mut self, now: Timestamp) -> bool {
        let may = self.told.is_none_or(|told| now.seconds_since(told) >= TELL_SECONDS || told > now);
        if may {
            self.told = Some(now);
        }
        may
    }

    async fn work(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.store.note_bearers().await?;
        if self.pass.is_none() && self.is_pass_due(now) {
            self.begin(now).await?;
        } else if self.pass.is_none() {
            // What is not due was done.
            self.sealing.update(|status| status.rows_behind = status.rows_behind.or(Some(0)));
        }
        if let Some(mut pass) = self.pass.take() {
            let done = self.store.step_pass(&mut pass).await?;
            self.sealing.update(|status| {
                status.rows_behind = status.rows_behind.map(|rows| rows.saturating_sub(done.rows));
                status.rows_resealed += done.rows;
                status.resealing = !done.finished;
            });
            match done.finished {
                true => self.finish(&pass, now).await?,
                false => self.pass = Some(pass),
            }
            if self.pass.is_some() && self.may_tell(now) {
                tracing::info!(rows_behind = self.sealing.status().rows_behind.unwrap_or_default(), "resealing");
            }
            return Ok(());
        }
        if self.deleted.is_none_or(|deleted| now.seconds_since(deleted) >= DELETE_SECONDS) {
            self.deleted = Some(now);
            for seal_key in self.store.delete_seal_keys(now).await? {
                tracing::info!(%seal_key, "deleted a seal key that nothing needs any more");
            }
        }
        Ok(())
    }

    /// Whether something may be under an older key: one walk as soon as another key seals, and one more when nobody seals with the older
    /// ones any more.
    fn is_pass_due(&self, now: Timestamp) -> bool {
        let active = self.store.ring().active_key_id();
        let retired = |key: &crate::store::SealKeyRecord| key.state(now) == SealKeyState::Retired && key.resealed.is_none();
        self.store.known_seal_keys().iter().filter(|key| retired(key)).any(|key| match &self.last_pass {
            Some((walked_for, begun)) if walked_for == active.as_str() => {
                let settled = key.retired.map(|retired| retired.plus(SETTLE));
                settled.is_some_and(|settled| settled <= now && *begun < settled)
            }
            _ => true,
        })
    }

    async fn begin(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let behind = self.store.rows_behind().await?;
        self.sealing.update(|status| (status.rows_behind, status.resealing) = (Some(behind), true));
        if behind > 0 {
            let active = self.store.ring().active_key_id();
            tracing::info!(seal_key = %active, rows = behind, "resealing rows under older keys");
            self.told = Some(now);
        }
        self.pass = Some(self.store.begin_pass(now));
        Ok(())
    }

    async fn finish(&mut self, pass: &Pass, now: Timestamp) -> Result<(), StoreError> {
        self.store.finish_pass(pass, now).await?;
        let behind = self.store.rows_behind().await?;
        self.sealing.update(|status| status.rows_behind = Some(behind));
        self.last_pass = Some((self.store.ring().active_key_id().to_string(), pass.begun()));
        // What was noted beside the keys is read again.
        self.is_stale = true;
        if behind > 0 {
            tracing::warn!(rows = behind, "rows are still under older seal keys");
        } else {
            tracing::info!("every row is under the key that seals");
        }
        Ok(())
    }
}
