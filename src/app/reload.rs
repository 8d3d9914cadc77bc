//! Files that are read again while the process runs: at SIGHUP, at `symbolon reload`, and when they change.
//!
//! Changes are noticed by looking at the files once a second, not by asking the kernel to tell: a look follows the symbolic links that
//! Kubernetes swaps, sees through mounts and network file systems that tell nothing, and costs a system call a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::listener::{ListenerTls, policies};
use super::watched_files::watched_files;
use crate::config::Loaded;
use crate::domain::{Clock, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::telemetry::audit::AuditSink;
use crate::telemetry::metrics;
use crate::tls::OutboundRegister;
use crate::trust::{AnchorSets, CurrentAnchors, StoredAnchors};

/// How often files are looked at, and how long they must lie still before they are read: whoever writes a certificate and then its key
/// needs a moment between the two.
const LOOK: Duration = Duration::from_millis(1_000);
const STILL: Duration = Duration::from_millis(400);
/// Looks at files that never lie still before they are read all the same.
const RESTLESS: u32 = 10;
/// Looks until files that could not be read are tried again: twice as many each time.
const FIRST_PAUSE: u32 = 5;
const LONGEST_PAUSE: u32 = 300;
/// How often the dates of certificates are told to the metrics, and how many times that is until the log warns again.
const DATES: Duration = Duration::from_secs(60);
const WARN_EVERY: u32 = 24 * 60;
/// How many times that is until the log warns again of revocation lists that are too old.
const STALE_EVERY: u32 = 10;
const DAY_SECONDS: u64 = 86_400;

/// Reads files again and puts them in force, all or nothing.
#[derive(Debug)]
pub struct Reloader {
    /// The configuration as it was at start.
    pub loaded: Arc<Loaded>,
    /// Whose certificates count.
    pub anchors: Arc<CurrentAnchors>,
    /// Who this process is where it opens connections.
    pub outbound: Arc<OutboundRegister>,
    /// The TLS side of each listener.
    pub tls: Vec<(String, Option<ListenerTls>)>,
    /// The audit trail.
    pub audit: AuditSink,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counts the readings.
    pub epoch: AtomicU64,
    /// What the files were like just before they were first read.
    pub first_seen: Stamps,
    /// Held while files are read and put in force: what was read first is in force first, and not after what was read later.
    pub turn: Mutex<()>,
    /// The anchors of the store that are in force. Held while sets are put in force, and never while a file is read.
    pub stored: Mutex<StoredAnchors>,
}

/// What tells one state of the files from another, without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

/// Device, inode, size, and the times of change of contents and of the inode, in nanoseconds.
type Stamp = (u64, u64, u64, i128, i128);

impl Stamps {
    /// Looks at every file that a configuration names and that can be read again.
    pub fn of(loaded: &Loaded) -> Self {
        let stamp = |metadata: Metadata| {
            let moment = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
            let changed = moment(metadata.ctime(), metadata.ctime_nsec());
            (metadata.dev(), metadata.ino(), metadata.size(), moment(metadata.mtime(), metadata.mtime_nsec()), changed)
        };
        Self(watched_files(loaded).iter().map(|file| std::fs::metadata(file).ok().map(stamp)).collect())
    }
}

/// Reads files again whenever they have changed and lie still.
pub async fn follow_files(reloader: &Arc<Reloader>) {
    let mut attempts = Attempts::new(reloader.first_seen.clone());
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(mut seen) = reloader.look().await else { continue };
        if attempts.due(&seen).is_none() {
            continue;
        }
        for _ in 0..RESTLESS {
            tokio::time::sleep(STILL).await;
            match reloader.look().await {
                Some(again) if again != seen => seen = again,
                _ => break,
            }
        }
        let result = reloader.reload_apart().await;
        attempts.made(seen, &result);
    }
}

/// Which state of the files is in force, and when one that could not be read is tried again.
#[derive(Debug)]
struct Attempts {
    in_force: Stamps,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    seen: Stamps,
    /// Looks until the next attempt at the same state, and how many there were this time.
    left: u32,
    pause: u32,
}

/// Files are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due;

impl Attempts {
    fn new(in_force: Stamps) -> Self {
        Self { in_force, failed: None }
    }

    /// Whether files in this state are to be read: those that are not in force. What failed is tried again, ever more seldom: the cause
    /// may lie elsewhere, in a file system that was away or a table of open files that was full.
    fn due(&mut self, seen: &Stamps) -> Option<Due> {
        match &mut self.failed {
            None => (*seen != self.in_force).then_some(Due),
            Some(failed) if failed.seen == *seen && failed.left > 0 => {
                failed.left -= 1;
                None
            }
            Some(_) => Some(Due),
        }
    }

    fn made(&mut self, seen: Stamps, result: &Result<(), String>) {
        let before = self.failed.take();
        if result.is_ok() {
            self.in_force = seen;
            return;
        }
        let pause = match before {
            Some(failed) if failed.seen == seen => (failed.pause * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.failed = Some(Failed { seen, left: pause, pause });
    }
}

impl Reloader {
    /// Whether files are watched.
    pub fn watches(&self) -> bool {
        self.loaded.settings.reload.watch_files
    }

    /// A file system that does not answer keeps nobody else waiting.
    async fn look(&self) -> Option<Stamps> {
        let loaded = self.loaded.clone();
        tokio::task::spawn_blocking(move || Stamps::of(&loaded)).await.ok()
    }

    /// The same as [`Reloader::reload`], where nobody else waits for a file system that does not answer.
    pub async fn reload_apart(self: &Arc<Self>) -> Result<(), String> {
        let reloader = Arc::clone(self);
        tokio::task::spawn_blocking(move || reloader.reload()).await.unwrap_or_else(|_| Err("the reading broke off".to_owned()))
    }

    /// Reads certificates and keys, of listeners and of outbound connections, and anchor sets again. On any problem everything stays as it was, and the problem is
    /// logged, counted and returned.
    pub fn reload(&self) -> Result<(), String> {
        let what = "certificates, keys and anchor sets".to_owned();
        // Whoever held it before may have broken off: nothing is half in force then.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.read_and_swap().map_err(|error| format!("{:#}", super::placed(&self.loaded, error)));
        metrics::RELOAD_FAILING.alone().set(if result.is_ok() { 0.0 } else { 1.0 });
        let event = match &result {
            Ok(()) => {
                tracing::info!("reloaded {what}");
                AuditEvent::Reloaded { what }
            }
            Err(problem) => {
                tracing::error!(%problem, "reload failed: everything stays as it was");
                metrics::RELOAD_FAILURES.alone().increment(1);
                AuditEvent::ReloadFailed { what, problem: problem.clone() }
            }
        };
        if let Ok(time) = self.clock.now() {
            let _ = self.audit.record(Trailed { time, event });
        }
        result
    }

    /// The anchors of the store that are in force.
    pub fn stored(&self) -> StoredAnchors {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other anchors of the store in force, in those sets alone whose configuration says so. No file is read.
    ///
    /// # Errors
    /// What is no authority's certificate, or would make proxies of clients. Everything stays as it was.
    pub fn put_stored(&self, stored: StoredAnchors) -> anyhow::Result<()> {
        let mut held = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.anchors.load();
        self.replace(AnchorSets::clone(&before).with_stored(&stored)?)?;
        *held = stored;
        Ok(())
    }

    /// The one place where sets are put in force. The caller holds `stored`.
    fn replace(&self, sets: AnchorSets) -> anyhow::Result<()> {
        let sets = sets.replacing(&self.anchors.load());
        super::proxies::check_apart(&self.loaded.settings, &sets)?;
        self.anchors.replace(sets);
        Ok(())
    }

    /// Reads every file and puts them in force, with the anchors of the store.
    pub fn read_and_swap(&self) -> anyhow::Result<()> {
        let (settings, base) = (&self.loaded.settings, self.loaded.base_dir.as_path());
        let anchors = AnchorSets::load(&settings.anchor_set, base, Some(&self.stored())).context("[anchor_set]")?;
        super::proxies::check_apart(settings, &anchors)?;
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fresh = Vec::new();
        for written in &settings.listener {
            let Some(tls) = self.tls.iter().find(|(name, _)| *name == written.name).and_then(|(_, tls)| tls.as_ref()) else {
                continue;
            };
            if let Some(policies) = policies(written, base, &anchors, Some(&tls.policies.load()), epoch, &self.clock)? {
                fresh.push((tls, policies));
            }
        }
        let renewals = self.outbound.read_again()?;
        // Everything was read. The store may have changed meanwhile: what it has now counts.
        let held = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(anchors.with_stored(&held)?)?;
        drop(held);
        for (tls, policies) in fresh {
            tls.policies.store(Arc::new(policies));
        }
        for renewal in renewals {
            renewal.put_in_force();
        }
        Ok(())
    }

    /// Tells when our own certificates and the accepted authorities end: to the metrics always, to the log when it is soon.
    pub async fn tell_expiry(&self) {
        let warn_before = u64::from(self.loaded.settings.reload.expiry_warning_days) * DAY_SECONDS;
        let mut round: u32 = 0;
        loop {
            if let Ok(now) = self.clock.now() {
                let warns = round.is_multiple_of(WARN_EVERY);
                let warn = |what: String, not_after: Timestamp| {
                    let left = not_after.seconds_since(now);
                    if warns && left < warn_before {
                        tracing::warn!(what, days_left = left / DAY_SECONDS, "a certificate ends soon: renew it");
                    }
                };
                self.tell_dates(&warn);
                if round.is_multiple_of(STALE_EVERY) {
                    self.warn_of_stale_lists(now);
                }
            }
            round = round.wrapping_add(1);
            tokio::time::sleep(DATES).await;
        }
    }

    fn warn_of_stale_lists(&self, now: Timestamp) {
        for set in self.anchors.load().iter() {
            for (_, list) in set.revocation_lists().iter().filter(|(_, list)| list.next_update() < now) {
                let (anchor_set, issuer, next_update) = (set.name(), list.issuer(), list.next_update());
                tracing::warn!(anchor_set, %issuer, %next_update, "a revocation list is too old: get the newest one");
            }
        }
    }

    fn tell_dates(&self, warn: &dyn Fn(String, Timestamp)) {
        for (listener, tls) in &self.tls {
            let Some(tls) = tls else { continue };
            for policy in tls.policies.load().policies() {
                let Some(own) = policy.own_certificate() else { continue };
                let labels = [listener.clone(), policy.id().to_owned()];
                metrics::CERTIFICATE_NOT_AFTER.with(labels).set(own.not_after().seconds() as f64);
                warn(format!("the certificate of host `{}` on listener `{listener}`", policy.id()), own.not_after());
            }
        }
        for tls in self.outbound.all() {
            if let Some(own) = tls.state().certificate() {
                warn(format!("the certificate that `{}` is reached with", tls.name()), own.not_after());
            }
        }
        for set in self.anchors.load().iter() {
            for anchor in set.anchors().certificates() {
                let name = anchor.spki_sha256().to_hex().chars().take(16).collect::<String>();
                metrics::ANCHOR_NOT_AFTER.with([set.name().to_owned(), name]).set(anchor.not_after().seconds() as f64);
                warn(format!("authority `{}` of anchor set `{}`", anchor.subject(), set.name()), anchor.not_after());
            }
            for (issuer, next_update) in set.revocation_lists().oldest() {
                let name = issuer.to_hex().chars().take(16).collect::<String>();
                metrics::CRL_NEXT_UPDATE.with([set.name().to_owned(), name]).set(next_update.seconds() as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(size: u64) -> Stamps {
        Stamps(vec![Some((1, 2, size, 3, 4)), None])
    }

    /// The looks until the next attempt.
    fn looks(attempts: &mut Attempts, seen: &Stamps) -> u32 {
        (1..1_000).find(|_| attempts.due(seen).is_some()).unwrap_or(0)
    }

    #[test]
    fn what_could_not_be_read_is_tried_again_ever_more_seldom() {
        let (good, other, third) = (files(1), files(2), files(3));
        let failure = Err("garbled".to_owned());
        let mut attempts = Attempts::new(good.clone());
        assert_eq!(looks(&mut attempts, &good), 0, "what is in force is not read again");
        assert_eq!(looks(&mut attempts, &other), 1);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            attempts.made(other.clone(), &failure);
            pauses.push(looks(&mut attempts, &other) - 1);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        // Another change is read at once, and so is the old state: what is said of the last reading is wrong then.
        attempts.made(other.clone(), &failure);
        assert_eq!(looks(&mut attempts, &third), 1);
        attempts.made(other.clone(), &failure);
        assert_eq!(looks(&mut attempts, &good), 1);
        attempts.made(good.clone(), &Ok(()));
        assert_eq!(looks(&mut attempts, &good), 0);
        attempts.made(other.clone(), &Ok(()));
        assert_eq!((looks(&mut attempts, &other), looks(&mut attempts, &good)), (0, 1));
    }
}
