//! Anchors of the store: read at start and whenever the change feed tells of one, and in force from then on.
//!
//! Trust changes at once and without a look at any file, which may be garbled or on a file system that hangs. What else hangs on it (the
//! hints of handshakes, the TLS sessions, lists in files) follows by a reload, the same as any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{Mutex, Notify};

use super::reload::Reloader;
use crate::config::Loaded;
use crate::config::settings::ServiceSetting;
use crate::event::{AuditEvent, Trailed};
use crate::store::{AnchorRow, Store, StoreError};
use crate::telemetry::metrics;
use crate::trust::{AnchorSets, StoredAnchors};

/// How often rows that were of no use are read again: the cause may lie elsewhere.
const AGAIN: Duration = Duration::from_secs(5);
/// What log and audit trail call them.
const WHAT: &str = "anchors of the store";

/// Brings the anchors of the store into force.
#[derive(Debug)]
pub struct StoredTrust {
    store: Store,
    reloader: Arc<Reloader>,
    /// Held while rows are read and put in force: what was read first is in force first.
    reading: Mutex<()>,
    /// Whether rows were of no use when they were last read.
    failing: AtomicBool,
    /// Rings when files are to be read again because of what was in the store.
    changed: Notify,
}

impl StoredTrust {
    /// Reads the anchors of the store and puts them in force, with all that hangs on them. `None` where no set takes any.
    ///
    /// # Errors
    /// A row that does not open or is no authority's, besides all that can be wrong with files.
    pub async fn start(store: &Store, reloader: &Arc<Reloader>) -> anyhow::Result<Option<Arc<Self>>> {
        if !reloader.anchors.load().take_stored() {
            return Ok(None);
        }
        let (stored, broken) = opened(&store.anchors().await.context("[store]")?);
        if let Some(problem) = broken {
            bail!("{WHAT}: {problem}: restore a backup, or take it away with `symbolon anchor remove`");
        }
        reloader.put_stored(stored).context("[anchor_set]")?;
        reloader.read_and_swap()?;
        let (store, reloader) = (store.clone(), reloader.clone());
        let (reading, failing, changed) = (Mutex::new(()), AtomicBool::new(false), Notify::new());
        Ok(Some(Arc::new(Self { store, reloader, reading, failing, changed })))
    }

    /// Reads the anchors of the store again and puts them in force before it answers.
    ///
    /// Where a row is of no use, none is accepted that was not accepted before; those that are gone from the store are gone all the same.
    ///
    /// # Errors
    /// When the database does not answer: everything stays as it was.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.reading.lock().await;
        let rows = self.store.anchors().await?;
        let put = |stored| self.reloader.put_stored(stored).map_err(|refused| format!("{refused:#}"));
        let problem = match opened(&rows) {
            (stored, None) => put(stored).err(),
            (_, broken) => broken,
        };
        if problem.is_some() {
            let mut stored = self.reloader.stored();
            let is_there = |set: &str, key: &str| rows.iter().any(|row| row.set == set && row.spki == key);
            stored.retain(|set, certificate| is_there(set, &certificate.spki_sha256().to_string()));
            if let Err(problem) = put(stored) {
                tracing::error!(problem, "the anchors that are gone from the store cannot be taken away");
            }
        }
        self.tell(problem);
        self.changed.notify_one();
        Ok(())
    }

    /// Reads files again after the store has changed, and rows again that were of no use. For ever.
    pub async fn keep(&self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => drop(self.reloader.reload_apart().await),
                () = tokio::time::sleep(AGAIN) => {
                    if self.failing.load(Ordering::Relaxed) {
                        drop(self.follow().await);
                    }
                }
            }
        }
    }

    /// To log, metric and audit trail: every change, and what goes wrong once.
    fn tell(&self, problem: Option<String>) {
        let was_failing = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        metrics::STORED_ANCHORS_FAILING.alone().set(if problem.is_some() { 1.0 } else { 0.0 });
        let event = match problem {
            None => {
                tracing::info!("took in the {WHAT}");
                AuditEvent::Reloaded { what: WHAT.to_owned() }
            }
            Some(_) if was_failing => return,
            Some(problem) => {
                tracing::error!(problem, "{WHAT} are of no use: none is accepted that was not accepted before");
                metrics::RELOAD_FAILURES.alone().increment(1);
                AuditEvent::ReloadFailed { what: WHAT.to_owned(), problem }
            }
        };
        if let Ok(time) = self.reloader.clock.now() {
            let _ = self.reloader.audit.record(Trailed { time, event });
        }
    }
}

/// The anchors of rows, and the first problem with one.
fn opened(rows: &[AnchorRow]) -> (StoredAnchors, Option<String>) {
    let (mut stored, mut broken) = (StoredAnchors::default(), None);
    for row in rows {
        let added = match &row.opened {
            Ok(record) => stored.add(&row.set, record.certificate.clone()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        broken = broken.or(added.err());
    }
    (stored, broken)
}

/// What the store has, of every set. For commands that tell.
///
/// # Errors
/// When the database does not answer, and for a row that is of no use.
pub async fn load_stored_anchors(store: &Store) -> anyhow::Result<StoredAnchors> {
    match opened(&store.anchors().await?) {
        (stored, None) => Ok(stored),
        (_, Some(problem)) => bail!("{WHAT}: {problem}: see `symbolon anchor list`"),
    }
}

/// Checks that a configuration could be used with these anchors of the store, as a reload does.
///
/// # Errors
/// What is wrong with a file, a certificate, or with both together.
pub fn check_stored(loaded: &Loaded, stored: &StoredAnchors) -> anyhow::Result<()> {
    let sets = AnchorSets::load(&loaded.settings.anchor_set, &loaded.base_dir, Some(stored)).context("[anchor_set]")?;
    super::proxies::check_apart(&loaded.settings, &sets)
}

/// Checks that there is a store where a set takes anchors from it.
///
/// # Errors
/// Names the first set for which there is none.
pub fn check_consent(loaded: &Loaded) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    let has_store = settings.listener.iter().any(|listener| listener.services.contains(&ServiceSetting::AuthorizationServer));
    match settings.anchor_set.iter().find(|(_, set)| set.stored && !has_store) {
        None => Ok(()),
        Some((name, _)) => {
            bail!("[anchor_set.{name}] has `stored = true`, and a gateway has no store: name `files`")
        }
    }
}
