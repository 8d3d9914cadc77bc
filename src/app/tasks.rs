//! What runs beside the requests: following changes, clearing what has expired, reloading files, stopping.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::{ListenerTls, policies};
use crate::clients::Directory;
use crate::config::Loaded;
use crate::domain::Clock;
use crate::event::{AuditEvent, Trailed};
use crate::gateway::Gateway;
use crate::keys::SigningKeys;
use crate::oauth::AuthorizationServer;
use crate::store::{ChangeKind, StoreError};
use crate::telemetry::audit::AuditSink;
use crate::telemetry::metrics;
use crate::trust::AnchorSets;

/// How often rows and rules that nothing alive can need are cleared.
const CLEARING: Duration = Duration::from_secs(60);
/// How often the metrics' own upkeep runs.
const UPKEEP: Duration = Duration::from_secs(5);
/// The pause after the database did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Starts every background task. Each ends at `stop`.
pub fn spawn(
    server: Option<Arc<AuthorizationServer>>,
    gateway: Option<Arc<Gateway>>,
    reloader: Arc<Reloader>,
    stop: &CancellationToken,
    tracker: &TaskTracker,
) -> anyhow::Result<()> {
    if let Some(server) = server {
        let follower = server.clone();
        until(stop, tracker, async move { follow_changes(&follower).await });
        until(stop, tracker, async move { clear_expired(&server).await });
    }
    if let Some(gateway) = gateway {
        until(stop, tracker, async move { gateway.run_tasks().await });
    }
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    until(stop, tracker, async move {
        while hang_up.recv().await.is_some() {
            let _ = reloader.reload();
        }
    });
    until(stop, tracker, async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics::upkeep();
        }
    });
    Ok(())
}

fn until(stop: &CancellationToken, tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tracker.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = task => {}
        }
    });
}

/// Cancels `stop` at SIGTERM or SIGINT.
pub fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Applies the change feed to the snapshots that requests read, whoever made the change: this process, the command line, or
/// another replica.
async fn follow_changes(server: &AuthorizationServer) {
    let mut watch = server.store.watch();
    let mut known = 0;
    loop {
        match apply_changes(server, known).await {
            Ok(sequence) => known = sequence,
            Err(error) => {
                tracing::warn!(%error, "cannot read the change feed");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        }
        if watch.changed_after(known).await.is_err() {
            return;
        }
    }
}

async fn apply_changes(server: &AuthorizationServer, known: i64) -> Result<i64, StoreError> {
    let changes = server.store.changes_after(known, 10_000).await?;
    let Some(last) = changes.last().map(|change| change.sequence) else { return Ok(known) };
    let touches = |kind| changes.iter().any(|change| change.kind == kind);
    // Revocations first: what ends access must not wait behind what grants it.
    if touches(ChangeKind::Revocation) {
        let after = server.revocations.load().sequence();
        let rules = server.store.revocation_rules(after).await?;
        server.revocations.update(|present| present.with(rules.clone()));
    }
    if touches(ChangeKind::Client) {
        server.clients.store(Arc::new(Directory::load(&server.store).await?));
    }
    if touches(ChangeKind::SigningKey) {
        server.keys.store(Arc::new(SigningKeys::load(&server.store).await?));
    }
    Ok(last)
}

async fn clear_expired(server: &AuthorizationServer) {
    loop {
        tokio::time::sleep(CLEARING).await;
        let Ok(now) = server.clock.now() else { continue };
        if let Err(error) = server.store.delete_expired_rules(now).await {
            tracing::warn!(%error, "cannot clear expired revocation rules");
        }
        server.revocations.update(|rules| rules.without_expired(now));
    }
}

/// Reads files again and puts them in force, all or nothing.
#[derive(Debug)]
pub struct Reloader {
    /// The configuration as it was at start.
    pub loaded: Arc<Loaded>,
    /// Whose certificates count.
    pub anchors: Arc<ArcSwap<AnchorSets>>,
    /// The TLS side of each listener.
    pub tls: Vec<(String, Option<ListenerTls>)>,
    /// The audit trail.
    pub audit: AuditSink,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Reloader {
    /// Reads server certificates, keys and anchor sets again. On any problem everything stays as it was, and the problem is
    /// logged, counted and returned.
    pub fn reload(&self) -> Result<(), String> {
        let what = "certificates, keys and anchor sets".to_owned();
        let result = self.read_and_swap().map_err(|error| format!("{error:#}"));
        let event = match &result {
            Ok(()) => {
                tracing::info!("reloaded {what}");
                metrics::reload("completed");
                AuditEvent::Reloaded { what }
            }
            Err(problem) => {
                tracing::error!(%problem, "reload failed: everything stays as it was");
                metrics::reload("failed");
                AuditEvent::ReloadFailed { what, problem: problem.clone() }
            }
        };
        if let Ok(time) = self.clock.now() {
            let _ = self.audit.record(Trailed { time, event });
        }
        result
    }

    fn read_and_swap(&self) -> anyhow::Result<()> {
        let (settings, base) = (&self.loaded.settings, self.loaded.base_dir.as_path());
        let anchors = AnchorSets::load(&settings.anchor_set, base).context("[anchor_set]")?;
        let mut fresh = Vec::new();
        for written in &settings.listener {
            let tls = self.tls.iter().find(|(name, _)| *name == written.name).and_then(|(_, tls)| tls.as_ref());
            if let (Some(tls), Some(policies)) = (tls, policies(written, base, &anchors)?) {
                fresh.push((tls, policies));
            }
        }
        // Everything was read: nothing below can fail.
        self.anchors.store(Arc::new(anchors));
        for (tls, policies) in fresh {
            tls.policies.store(Arc::new(policies));
        }
        Ok(())
    }
}
