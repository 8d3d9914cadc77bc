//! The composition root: from a configuration to listeners, servers, background tasks, reload and shutdown.

mod administration;
mod client_authentication;
mod connection;
mod control;
mod front;
mod identity;
mod identity_providers;
mod kept_files;
mod kept_lists;
mod kept_statuses;
mod listener;
mod passthrough;
mod patience;
mod proxied;
mod proxies;
mod reload;
mod revocation_lists;
mod sealing;
mod server;
mod stapling;
mod stored_anchors;
mod tasks;
mod unix_socket;
mod watched_files;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Loaded;
use crate::config::settings::{ServiceSetting, Settings};
use crate::domain::{Clock, Randomness, SystemClock};
use crate::gateway::{Gateway, Surroundings};
use crate::jose::random::SystemRandomness;
use crate::oauth::AuthorizationServer;
use crate::telemetry::audit::AuditSink;
use crate::telemetry::metrics;
use crate::tls::OutboundRegister;
use crate::trust::{AnchorSets, CurrentAnchors};
use crate::web::{Edge, Web};
use administration::AdminService;
use front::{Front, Health};
use listener::{Listener, Service};
use revocation_lists::ListFetcher;
use stored_anchors::StoredTrust;

pub use control::{ControlError, Question, ask};
pub use identity::{OpenPeople, open_keys, open_people};
pub use revocation_lists::fetch_lists;
pub use server::{master_keys, open_store, registration_rules};
pub use stored_anchors::{check_stored, load_stored_anchors};

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `symbolon serve`: the authorization server, and whatever else its listeners name.
    Server,
    /// `symbolon gateway`: the gateway alone; it opens no database.
    Gateway,
}

/// A process whose listeners are bound and whose state is read, about to answer.
#[derive(Debug)]
pub struct App {
    loaded: Arc<Loaded>,
    listeners: Vec<Listener>,
    reloader: Arc<reload::Reloader>,
    stored: Option<Arc<StoredTrust>>,
    server: Option<(Arc<AuthorizationServer>, i64)>,
    gateway: Option<Arc<Gateway>>,
    lists: Option<Arc<ListFetcher>>,
    audit: AuditSink,
    clock: Arc<dyn Clock>,
}

impl App {
    /// Reads every file and state the configuration names, binds every address, and fails with the thing and the remedy when any
    /// is missing.
    pub async fn start(loaded: Loaded, role: Role) -> anyhow::Result<Self> {
        let loaded = Arc::new(loaded);
        Self::read(&loaded, role).await.map_err(|error| placed(&loaded, error))
    }

    async fn read(loaded: &Arc<Loaded>, role: Role) -> anyhow::Result<Self> {
        // Before the first file is read, so that no change is missed.
        let first_seen = reload::Stamps::of(loaded);
        let (settings, base) = (&loaded.settings, loaded.base_dir.as_path());
        if settings.listener.is_empty() {
            bail!("`listener`: there is none, and so no address to listen on: write a [[listener]]");
        }
        match metrics::install() {
            // A program that embeds this one collects them itself.
            Err(problem @ metrics::MetricsError::Taken) => {
                tracing::warn!(%problem, "this process's metrics are that one's to tell")
            }
            installed => installed.context("metrics")?,
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let randomness: Arc<dyn Randomness> = Arc::new(SystemRandomness);
        stored_anchors::check_consent(loaded)?;
        let anchors = AnchorSets::load(&settings.anchor_set, base, None).context("[anchor_set]")?;
        let anchors = Arc::new(CurrentAnchors::new(anchors));
        let outbound = Arc::new(OutboundRegister::new(clock.clone()));
        let mut listeners = Vec::new();
        for written in &settings.listener {
            listeners.push(Listener::bind(written, &settings.limits, base, &anchors, &clock).await?);
        }
        proxies::check_apart(settings, &anchors.load())?;
        let serves = |service| listeners.iter().any(|listener| listener.services.contains(&service));
        administration::check_place(serves(Service::Admin), serves(Service::AuthorizationServer))?;
        check_role(role, &serves)?;
        let audit = AuditSink::start(&settings.audit, base).context("[audit]")?;
        let server = if serves(Service::AuthorizationServer) {
            Some(server::build(loaded, anchors.clone(), &outbound, audit.clone(), clock.clone(), randomness.clone()).await?)
        } else {
            None
        };
        let gateway = if serves(Service::Gateway) || serves(Service::ForwardAuth) {
            Some(Arc::new(build_gateway(settings, base, audit.clone(), clock.clone(), anchors.clone(), outbound.clone())?))
        } else {
            None
        };
        let lists = ListFetcher::build(loaded, anchors.clone(), &outbound, clock.clone())?;
        let reloader = Arc::new(reload::Reloader {
            loaded: loaded.clone(),
            anchors,
            outbound,
            tls: listeners.iter().map(|listener| (listener.name.clone(), listener.tls.clone())).collect(),
            audit: audit.clone(),
            clock: clock.clone(),
            epoch: listener::FIRST_EPOCH.into(),
            first_seen,
            turn: Mutex::default(),
            stored: Mutex::default(),
        });
        // After the number of the last change was read, and before anybody is answered.
        let stored = match &server {
            Some((server, _)) => StoredTrust::start(&server.store, &reloader).await?,
            None => None,
        };
        Ok(Self { loaded: Arc::clone(loaded), listeners, reloader, stored, server, gateway, lists, audit, clock })
    }

    /// The addresses that are listened on, by listener name.
    pub fn addresses(&self) -> Vec<(String, std::net::SocketAddr)> {
        self.listeners.iter().filter_map(|listener| Some((listener.name.clone(), listener.socket.local_addr().ok()?))).collect()
    }

    /// Answers until `stop`, then lets what is under way finish within the limit of the configuration.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let limits = Arc::new(self.loaded.settings.limits.clone());
        let connections = TaskTracker::new();
        let background = TaskTracker::new();
        let sealing = self.server.as_ref().map(|(server, _)| Arc::new(sealing::Sealing::new(&server.store)));
        let health = Health {
            store: self.server.as_ref().map(|(server, _)| server.store.clone()),
            gateway: self.gateway.clone(),
            sealing: sealing.clone(),
        };
        let web = match &self.server {
            Some((server, _)) => Some(Arc::new(Web::new(server.clone(), &self.loaded).context("[pages]")?)),
            None => None,
        };
        let admin = match &web {
            Some(web) => AdminService::build(&self.loaded, web)?,
            None => None,
        };
        let web = web.map(Edge::new);
        let own: Vec<_> = self.listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        if let Some(stapler) = stapling::Stapler::build(&self.loaded, own, &self.reloader.outbound, self.clock.clone())? {
            tasks::until(&stop, &background, stapler.run());
        }
        let reloader = self.reloader.clone();
        let control = control::Control { health: health.clone(), reloader: reloader.clone(), audit: self.audit.clone() };
        control::listen(&self.loaded, control, &stop, &background)?;
        let following = self.server.clone().zip(sealing).map(|(server, sealing)| tasks::Following {
            server: server.0,
            from: server.1,
            sealing,
            stored: self.stored.clone(),
        });
        tasks::spawn(following, self.gateway.clone(), reloader, &stop, &background)?;
        if let Some(lists) = &self.lists {
            tasks::until(&stop, &background, lists.clone().run());
        }
        for (name, address) in self.addresses() {
            tracing::info!(listener = %name, %address, "listening");
        }
        let server = self.server.clone();
        for listener in self.listeners {
            let has = |service| listener.services.contains(&service);
            let front = Front {
                proxies: listener.proxies.clone(),
                server: web.clone().filter(|_| has(Service::AuthorizationServer)),
                gateway: self.gateway.clone().filter(|_| has(Service::Gateway)),
                forward_auth: self.gateway.clone().filter(|_| has(Service::ForwardAuth)),
                admin: admin.clone().filter(|_| has(Service::Admin)),
                metrics: has(Service::Metrics).then(|| health.clone()),
                lists: self.lists.clone(),
            };
            let accept = connection::accept(listener, Arc::new(front), limits.clone(), stop.clone(), connections.clone());
            background.spawn(accept);
        }
        stop.cancelled().await;
        tracing::info!("stopping: requests under way are finished first");
        if let Some((server, _)) = &server {
            server.revocations.release();
        }
        connections.close();
        let deadline = Duration::from_secs(limits.shutdown_seconds.into());
        if tokio::time::timeout(deadline, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "stopping with connections still open");
        }
        background.close();
        let _ = tokio::time::timeout(deadline, background.wait()).await;
        if let Some((server, _)) = &server
            && let Err(problem) = server.store.note_bearers().await
        {
            tracing::warn!(%problem, "how long the last bearers live could not be written down");
        }
        self.audit.flush().await?;
        Ok(())
    }
}

fn build_gateway(
    settings: &Settings,
    base: &Path,
    audit: AuditSink,
    clock: Arc<dyn Clock>,
    anchors: Arc<CurrentAnchors>,
    outbound: Arc<OutboundRegister>,
) -> anyhow::Result<Gateway> {
    let randomness = Arc::new(SystemRandomness);
    let surroundings = Surroundings { base_dir: base.to_owned(), audit, clock, randomness, anchors, outbound };
    Ok(Gateway::from_settings(settings, surroundings)?)
}

fn check_role(role: Role, serves: &dyn Fn(Service) -> bool) -> anyhow::Result<()> {
    match role {
        Role::Server if !serves(Service::AuthorizationServer) => {
            bail!("no listener has the service `authorization_server`: add it, or run `symbolon gateway`")
        }
        Role::Gateway if serves(Service::AuthorizationServer) => {
            bail!("a listener has the service `authorization_server`: run `symbolon serve`, which can be both")
        }
        Role::Gateway if !serves(Service::Gateway) && !serves(Service::ForwardAuth) => {
            bail!("no listener has the service `gateway` or `forward_auth`")
        }
        Role::Server | Role::Gateway => Ok(()),
    }
}

/// Checks what can be checked of a configuration without starting or writing anything: every file it names is read.
pub fn check(loaded: &Loaded) -> anyhow::Result<()> {
    check_all(loaded).map_err(|error| placed(loaded, error))
}

/// Says first where the setting stands that an error names.
fn placed(loaded: &Loaded, error: anyhow::Error) -> anyhow::Error {
    let told = format!("{error:#}");
    let place = loaded.place_named_in(&told).filter(|_| !told.starts_with(&*loaded.file.to_string_lossy()));
    match place {
        Some(place) => error.context(place),
        None => error,
    }
}

fn check_all(loaded: &Loaded) -> anyhow::Result<()> {
    let (settings, base) = (&loaded.settings, loaded.base_dir.as_path());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let anchors = AnchorSets::load(&settings.anchor_set, base, None).context("[anchor_set]")?;
    if settings.listener.is_empty() {
        bail!("`listener`: there is none, and so no address to listen on: write a [[listener]]");
    }
    stored_anchors::check_consent(loaded)?;
    let serves = |service| settings.listener.iter().any(|listener| listener.services.contains(&service));
    let anchors = Arc::new(CurrentAnchors::new(anchors));
    for written in &settings.listener {
        proxies::build(written, &settings.limits, &anchors, &clock)?;
        listener::policies(written, base, &anchors.load(), None, listener::FIRST_EPOCH, &clock)?;
        listener::passthrough(written, &clock)?;
        listener::proxy_protocol(written)?;
    }
    proxies::check_apart(settings, &anchors.load())?;
    administration::check_place(serves(ServiceSetting::Admin), serves(ServiceSetting::AuthorizationServer))?;
    if serves(ServiceSetting::AuthorizationServer) {
        server::check(loaded)?;
    }
    let outbound = Arc::new(OutboundRegister::new(clock.clone()));
    ListFetcher::build(loaded, anchors.clone(), &outbound, clock.clone())?;
    if serves(ServiceSetting::Gateway) || serves(ServiceSetting::ForwardAuth) {
        let audit = AuditSink::to_stream(std::io::sink(), 1).context("[audit]")?;
        build_gateway(settings, base, audit, clock, anchors, outbound)?;
    }
    Ok(())
}

/// What each route of a gateway requires, for people to read. Checks the configuration first; nothing is started or written.
pub fn gateway_overview(loaded: &Loaded) -> anyhow::Result<String> {
    check(loaded)?;
    let anchors = AnchorSets::load(&loaded.settings.anchor_set, &loaded.base_dir, None).context("[anchor_set]")?;
    let audit = AuditSink::to_stream(std::io::sink(), 1).context("[audit]")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let anchors = Arc::new(CurrentAnchors::new(anchors));
    let outbound = Arc::new(OutboundRegister::new(clock.clone()));
    Ok(build_gateway(&loaded.settings, &loaded.base_dir, audit, clock, anchors, outbound)?.overview())
}

/// Runs a configuration until `stop`, or until the process is told to stop (SIGTERM, SIGINT), reloading on SIGHUP.
pub async fn run(loaded: Loaded, role: Role, stop: CancellationToken) -> anyhow::Result<()> {
    tasks::stop_on_signal(stop.clone())?;
    App::start(loaded, role).await?.run(stop).await
}
