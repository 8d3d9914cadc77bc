//! What runs beside the requests: following changes, clearing what has expired, reloading files, stopping.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reload::{Reloader, follow_files};
use super::sealing::{self, Sealing};
use super::stored_anchors::StoredTrust;
use crate::clients::EndingCertificate;
use crate::domain::{ClientId, Lifetime, RevocationRule, Thumbprint, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::gateway::Gateway;
use crate::keys::{Keeper, SigningKeys};
use crate::oauth::AuthorizationServer;
use crate::store::{ChangeKind, Changes, Store, StoreError};
use crate::telemetry::metrics;

/// Linux's number, on all architectures but MIPS, where this one is never sent.
const SIGXFSZ: i32 = 25;
/// How often rows and rules that nothing alive can need are cleared.
const CLEARING: Duration = Duration::from_secs(60);
/// How often it is looked whether a step in the life of a signing key is due.
const KEEPING: Duration = Duration::from_secs(60);
/// How often it is looked whether a client is to be told that a session ended.
const TELLING: Duration = Duration::from_secs(1);
/// Rows that go at once, so that no writer waits long.
const CLEARING_BATCH: u32 = 500;
/// How often committed events are copied to the audit trail, and how many at once.
const RELAY: Duration = Duration::from_millis(100);
const RELAY_PAGE: usize = 256;
/// How often the dates of clients' certificates are looked at, at least and at most, and when one that was told is told again.
const ENDINGS: Duration = Duration::from_secs(60);
const AFTER_ENDINGS: Duration = Duration::from_secs(1);
const TOLD_AGAIN: Lifetime = Lifetime::from_seconds(86_400);
/// Rules read at once.
const PAGE: i64 = 1_000;
/// The pause after the database did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What follows the change feed.
#[derive(Debug)]
pub struct Following {
    /// The authorization server.
    pub server: Arc<AuthorizationServer>,
    /// The last change that its snapshots are sure to contain.
    pub from: i64,
    /// The ring.
    pub sealing: Arc<Sealing>,
    /// The anchors of the store, where a set takes any.
    pub stored: Option<Arc<StoredTrust>>,
}

/// Starts every background task. Each ends at `stop`.
pub fn spawn(
    following: Option<Following>,
    gateway: Option<Arc<Gateway>>,
    reloader: Arc<Reloader>,
    stop: &CancellationToken,
    tracker: &TaskTracker,
) -> anyhow::Result<()> {
    if let Some(following) = following {
        let (server, sealing) = (following.server.clone(), following.sealing.clone());
        if let Some(stored) = following.stored.clone() {
            until(stop, tracker, async move { stored.keep().await });
        }
        until(stop, tracker, async move { follow_changes(&following).await });
        until(stop, tracker, sealing::keep(server.store.clone(), server.clock.clone(), sealing));
        let relay = server.clone();
        until(stop, tracker, async move { relay_events(&relay).await });
        let keeper = server.clone();
        until(stop, tracker, async move { keep_keys(&keeper).await });
        let telling = server.clone();
        until(stop, tracker, async move { tell_clients(&telling).await });
        let dates = server.clone();
        until(stop, tracker, async move { tell_endings(&dates).await });
        until(stop, tracker, async move { clear_expired(&server).await });
    }
    if let Some(gateway) = gateway {
        until(stop, tracker, async move { gateway.run_tasks().await });
    }
    // A limit on the size of files is met like a full disk: by an error where something is written, and not by the end of the process.
    let _outlives = signal(SignalKind::from_raw(SIGXFSZ)).context("SIGXFSZ")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    let told = reloader.clone();
    until(stop, tracker, async move {
        while hang_up.recv().await.is_some() {
            let _ = told.reload_apart().await;
        }
    });
    let expiring = reloader.clone();
    until(stop, tracker, async move { expiring.tell_expiry().await });
    if reloader.watches() {
        until(stop, tracker, async move { follow_files(&reloader).await });
    }
    until(stop, tracker, metrics::run_upkeep());
    Ok(())
}

/// Runs a task until `stop`.
pub fn until(stop: &CancellationToken, tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
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
async fn follow_changes(Following { server, from, sealing, stored }: &Following) {
    let watch = server.store.watch_changes();
    let mut cursor = watch.cursor(*from);
    let mut applied = *from;
    loop {
        let changes = match cursor.next().await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "cannot read the change feed");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        if touches(&changes, ChangeKind::SealKey) {
            sealing.ring();
        }
        // A change that could not be applied is applied as soon as that is possible: later ones wait for it.
        while let Err(problem) = apply(server, stored.as_deref(), &changes, applied).await {
            tracing::warn!(problem, "cannot apply changes");
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        applied = cursor.position();
        metrics::CHANGE_SEQUENCE.alone().set(cursor.position() as f64);
    }
}

fn touches(changes: &Changes, kind: ChangeKind) -> bool {
    match changes {
        Changes::Forgotten => true,
        Changes::Next(changes) => changes.iter().any(|change| change.kind == kind),
    }
}

/// Puts changes in force. `applied` is the last change that was: what this process revoked by itself meanwhile may have a higher
/// number than a rule that another one made before, so that the snapshot's own number would skip it.
async fn apply(
    server: &AuthorizationServer,
    stored: Option<&StoredTrust>,
    changes: &Changes,
    applied: i64,
) -> Result<(), String> {
    // Revocations first: what ends access must not wait behind what grants it.
    if touches(changes, ChangeKind::Revocation) {
        let after = if *changes == Changes::Forgotten { 0 } else { applied };
        let rules = load_rules(&server.store, after).await.map_err(|error| error.to_string())?;
        server.revocations.update(|present| present.with(rules.clone()));
        metrics::REVOCATION_RULES.with([server.issuer.as_str().to_owned()]).set(server.revocations.load().len() as f64);
    }
    if let Some(stored) = stored.filter(|_| touches(changes, ChangeKind::Anchor)) {
        stored.follow().await.map_err(|error| error.to_string())?;
    }
    server.clients.apply(&server.store, changes).await.map_err(|error| error.to_string())?;
    if touches(changes, ChangeKind::SigningKey) {
        let keys = SigningKeys::load(&server.store).await.map_err(|error| error.to_string())?;
        server.keys.store(Arc::new(keys));
    }
    Ok(())
}

/// Every rule after a sequence, page by page.
pub async fn load_rules(store: &Store, mut after: i64) -> Result<Vec<RevocationRule>, StoreError> {
    let mut rules = Vec::new();
    loop {
        let page = store.revocation_rules(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(rules) };
        after = last.sequence;
        rules.extend(page);
    }
}

/// Copies the events that committed with their changes to the audit trail. One is marked only after it was written, so that a
/// crash repeats it rather than losing it.
async fn relay_events(server: &AuthorizationServer) {
    loop {
        match relay_page(server).await {
            Ok(RELAY_PAGE..) => {}
            Ok(_) => tokio::time::sleep(RELAY).await,
            Err(problem) => {
                tracing::warn!(problem, "cannot copy committed events to the audit trail");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn relay_page(server: &AuthorizationServer) -> Result<usize, String> {
    let pending = server.store.pending_events(RELAY_PAGE as u32).await.map_err(|error| error.to_string())?;
    if pending.is_empty() {
        return Ok(0);
    }
    for event in &pending {
        server.audit.copy(event.line.clone()).await.map_err(|error| error.to_string())?;
    }
    server.audit.flush().await.map_err(|error| error.to_string())?;
    let now = server.clock.now().map_err(|error| error.to_string())?;
    server.store.mark_relayed(&pending, now).await.map_err(|error| error.to_string())?;
    Ok(pending.len())
}

/// Makes, rotates and deletes signing keys as the plan says. What changed comes back through the change feed.
async fn keep_keys(server: &AuthorizationServer) {
    let keeper = Keeper { store: &server.store, randomness: &*server.randomness };
    loop {
        if let Ok(now) = server.clock.now()
            && let Err(error) = keeper.keep(&server.key_plan, now).await
        {
            tracing::warn!(%error, "cannot look after the signing keys");
        }
        tokio::time::sleep(KEEPING).await;
    }
}

/// Tells clients that sessions have ended: at once when they ended here, soon when another process or command ended them.
async fn tell_clients(server: &AuthorizationServer) {
    loop {
        match server.tell_clients().await {
            Ok(true) => {}
            Ok(false) => drop(tokio::time::timeout(TELLING, server.logouts.rung()).await),
            Err(error) => {
                tracing::warn!(?error, "cannot tell clients that sessions ended");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Tells which certificates of clients end soon: to the metrics always, to log and audit trail once a day.
async fn tell_endings(server: &AuthorizationServer) {
    let soon = server.ending_certificates.soon();
    let mut told: HashMap<(ClientId, Thumbprint), Timestamp> = HashMap::new();
    loop {
        if let Ok(now) = server.clock.now() {
            let clients = server.clients.current();
            let mut endings = clients.ending_certificates(now, soon);
            endings.extend(server.ending_certificates.of(|client_id| clients.client(client_id).is_some()));
            let ended = endings.iter().filter(|ending| ending.not_after < now).count();
            metrics::CLIENT_CERTIFICATES_ENDING.with(["ended"]).set(ended as f64);
            metrics::CLIENT_CERTIFICATES_ENDING.with(["soon"]).set((endings.len() - ended) as f64);
            let before = std::mem::take(&mut told);
            for EndingCertificate { client_id, certificate, not_after, later } in endings {
                let one = (client_id.clone(), certificate);
                if let Some(at) = before.get(&one).filter(|at| now < at.plus(TOLD_AGAIN)) {
                    told.insert(one, *at);
                    continue;
                }
                told.insert(one, now);
                tracing::warn!(%client_id, %certificate, %not_after, later, "a client's certificate ends soon, or has ended");
                let event = AuditEvent::ClientCertificateEnding { client_id, certificate, not_after, later };
                let _ = server.audit.record(Trailed { time: now, event });
            }
        }
        tokio::time::sleep(AFTER_ENDINGS).await;
        let _ = tokio::time::timeout(ENDINGS, server.ending_certificates.rung()).await;
    }
}

async fn clear_expired(server: &AuthorizationServer) {
    loop {
        tokio::time::sleep(CLEARING).await;
        let Ok(now) = server.clock.now() else { continue };
        if let Err(error) = clear(server, now).await {
            tracing::warn!(%error, "cannot clear what has expired");
        }
        server.revocations.update(|rules| rules.without_expired(now));
    }
}

async fn clear(server: &AuthorizationServer, now: Timestamp) -> Result<(), StoreError> {
    while server.sessions.clear_expired(now, CLEARING_BATCH).await? == u64::from(CLEARING_BATCH) {}
    while server.store.delete_expired(now, CLEARING_BATCH).await?.contains(&u64::from(CLEARING_BATCH)) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::server;
    use crate::domain::{Clock, Randomness, RuleKind, SystemClock};
    use crate::jose::random::SystemRandomness;
    use crate::store::{NewRule, RuleWindow};
    use crate::telemetry::audit::AuditSink;
    use crate::tls::OutboundRegister;
    use crate::trust::{AnchorSets, CurrentAnchors};

    async fn replica(config: &std::path::Path) -> (Arc<AuthorizationServer>, i64) {
        let loaded = crate::config::load(config, []).expect("a configuration");
        let audit = AuditSink::to_stream(std::io::sink(), 100).expect("a sink");
        let anchors = Arc::new(CurrentAnchors::new(AnchorSets::default()));
        let randomness: Arc<dyn Randomness> = Arc::new(SystemRandomness);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let register = OutboundRegister::new(clock.clone());
        server::build(&loaded, anchors, &register, audit, clock, randomness).await.expect("a server")
    }

    async fn revoke(server: &AuthorizationServer, value: &str) -> RevocationRule {
        let now = server.clock.now().expect("a time");
        let window = RuleWindow { before: now, expires: now.plus(Lifetime::from_seconds(600)) };
        let event = AuditEvent::Reloaded { what: "test".into() };
        let rule = NewRule { kind: RuleKind::Client, value: value.to_owned(), window };
        server.store.revoke(&rule, &Trailed { time: now, event }).await.expect("revoked")
    }

    /// One replica revokes, and before the other hears of it, that one revokes too: its own rule has the higher number, and must
    /// not hide the first.
    #[tokio::test]
    async fn a_rule_of_another_replica_is_not_skipped() {
        let directory = tempfile::tempdir().expect("a directory");
        crate::seal::create_key_file(&directory.path().join("seal.key"), &SystemRandomness).expect("a key");
        let config = directory.path().join("symbolon.toml");
        let text = "issuer = 'https://as.example'\n[[seal.key]]\nid = 'k'\nfile = 'seal.key'\n";
        std::fs::write(&config, text).expect("written");
        let ((one, from), (other, _)) = (replica(&config).await, replica(&config).await);

        revoke(&other, "alice").await;
        let own = revoke(&one, "bob").await;
        one.revocations.update(|rules| rules.with([own.clone()]));
        let changes = one.store.changes_after(from, 100).await.expect("the feed");
        apply(&one, None, &changes, from).await.expect("applied");
        assert_eq!(one.revocations.load().len(), 2);
    }
}
