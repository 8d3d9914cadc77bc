//! Fetches certificate revocation lists ahead of their need, and asks OCSP responders.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, watch};

use super::client_authentication::{following, outbound_limits, outbound_policy, outbound_tls};
use super::kept_lists::KeptLists;
use super::kept_statuses::KeptStatuses;
use crate::config::Loaded;
use crate::domain::{Clock, SystemClock, Timestamp};
use crate::fetch::{Client, FetchLimits};
use crate::pki::Certificate;
use crate::telemetry::metrics;
use crate::tls::OutboundRegister;
use crate::trust::{AnchorSet, AnchorSets, CurrentAnchors, ListAsk, OcspAsk, PeerTrust};

/// How often it is looked whether a list is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long at least between two looks: each goes over all that is remembered.
const PAUSE: Duration = Duration::from_millis(10);
/// What lists are served as (RFC 2585 §4.2).
const MEDIA_TYPE: &str = "application/pkix-crl, */*;q=0.5";
/// Bytes of a responder's answer: it is about one certificate, and brings one or a few with it.
pub(super) const OCSP_BYTES: u64 = 65_536;
/// What is posted to responders, and what they answer (RFC 6960 §A.1).
pub(super) const OCSP_TYPES: (&str, &str) = ("application/ocsp-request", "application/ocsp-response");

/// Fetches lists for the sets that ask for it.
#[derive(Debug)]
pub struct ListFetcher {
    anchors: Arc<CurrentAnchors>,
    clock: Arc<dyn Clock>,
    /// For URLs of the configuration.
    operator: Client,
    /// For URLs that certificates name.
    guarded: Client,
    /// What was fetched before this process was.
    kept: Option<Arc<KeptLists>>,
    /// What was said before this process was.
    kept_statuses: Option<Arc<KeptStatuses>>,
    /// How long a request waits for the first list.
    patience: Duration,
    /// Rings when somebody waits for a list.
    wanted: Notify,
    /// Rings when one has come, or has not.
    answered: watch::Sender<()>,
}

impl ListFetcher {
    /// A fetcher for the sets of a configuration; `None` where no set fetches. Must be called inside a Tokio runtime.
    pub fn build(
        loaded: &Loaded,
        anchors: Arc<CurrentAnchors>,
        register: &OutboundRegister,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if !anchors.load().iter().any(|set| set.fetches_lists()) {
            return Ok(None);
        }
        let settings = &loaded.settings.outbound;
        let tls = outbound_tls(loaded, register).context("[outbound]")?;
        let config = match &tls {
            Some(tls) => tls.config(),
            None => crate::tls::distrusting_client_config(clock.clone())?,
        };
        let followed = |client| match &tls {
            Some(tls) => following(tls, client),
            None => client,
        };
        let limits = FetchLimits { body_bytes: settings.crl_bytes.into(), ..outbound_limits(settings) };
        let folder = settings.crl_cache.as_ref().map(|folder| loaded.resolve(folder));
        let kept_statuses = folder.as_deref().map(|folder| KeptStatuses::open(folder).map(Arc::new));
        let kept = folder.map(|folder| KeptLists::open(folder, settings.crl_bytes.into()).map(Arc::new));
        let policy = outbound_policy(settings).context("[outbound]")?;
        Ok(Some(Arc::new(Self {
            anchors,
            clock,
            operator: followed(Client::for_signed(config.clone(), limits, None)),
            guarded: followed(Client::for_signed(config, limits, Some(policy))),
            kept: kept.transpose().context("[outbound]")?,
            kept_statuses: kept_statuses.transpose().context("[outbound]")?,
            patience: Duration::from_secs(limits.total_seconds.into()),
            wanted: Notify::new(),
            answered: watch::Sender::new(()),
        })))
    }

    /// Fetches what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            if let Ok(now) = self.clock.now() {
                let sets: Vec<Arc<AnchorSet>> = self.anchors.load().iter().cloned().collect();
                for set in sets {
                    for ask in set.due_lists(now) {
                        let (fetcher, set) = (Arc::clone(&self), Arc::clone(&set));
                        tokio::spawn(async move { fetcher.fetch(set, ask).await });
                    }
                    for ask in set.due_statuses(now) {
                        let (fetcher, set) = (Arc::clone(&self), Arc::clone(&set));
                        tokio::spawn(async move { fetcher.ask(set, ask).await });
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
            let _ = tokio::time::timeout(LOOK, self.wanted.notified()).await;
        }
    }

    async fn fetch(&self, set: Arc<AnchorSet>, ask: ListAsk) {
        let (answer, url) = (self.get(&ask).await, ask.url.clone());
        let Ok(now) = self.clock.now() else { return };
        let outcome = if answer.is_ok() { "refused" } else { "failed" };
        let taking = Arc::clone(&set);
        // A long list takes a while to be read.
        let kept = self.kept.clone();
        let take = move || {
            let answer = answer.as_deref().map_err(Clone::clone);
            match &kept {
                Some(kept) => kept.take(&taking, &ask.url, answer, now),
                None => taking.take_list(&ask.url, answer, now),
            }
        };
        let taken = tokio::task::spawn_blocking(take).await;
        let outcome = match taken {
            Ok(Ok(())) => "ok",
            Ok(Err(problem)) => {
                let anchor_set = set.name();
                tracing::warn!(anchor_set, url, %problem, "a revocation list is of no use: what is known stays, and it is tried again");
                outcome
            }
            Err(_) => "failed",
        };
        metrics::CRL_FETCHES.with([set.name().to_owned(), outcome.to_owned()]).increment(1);
        self.tell();
    }

    async fn ask(&self, set: Arc<AnchorSet>, mut ask: OcspAsk) {
        if let Some(kept) = self.kept_statuses.clone().filter(|_| ask.is_first()) {
            let Ok(now) = self.clock.now() else { return };
            let taking = Arc::clone(&set);
            let begin = tokio::task::spawn_blocking(move || (kept.begin(&taking, &ask, now), ask)).await;
            let Ok((is_known, asked)) = begin else { return };
            ask = asked;
            // Whoever waits goes on with it, however long the responder takes.
            if is_known {
                self.tell();
            }
        }
        let (answer, url) = (self.post(&ask).await, ask.url.clone());
        let Ok(now) = self.clock.now() else { return };
        let outcome = if answer.is_ok() { "refused" } else { "failed" };
        let taking = Arc::clone(&set);
        let kept = self.kept_statuses.clone();
        // Read before its signature is verified, as it must be: not where others wait.
        let take = move || {
            let answer = answer.as_deref().map_err(Clone::clone);
            match kept {
                Some(kept) => kept.take(&taking, &ask, answer, now),
                None => taking.take_status(&ask, answer, now),
            }
        };
        let outcome = match tokio::task::spawn_blocking(take).await {
            Ok(Ok(())) => "ok",
            Ok(Err(problem)) => {
                let anchor_set = set.name();
                tracing::warn!(anchor_set, url, %problem, "an OCSP answer is of no use: what is known stays, and it is asked again");
                outcome
            }
            Err(_) => "failed",
        };
        metrics::OCSP_QUESTIONS.with([set.name().to_owned(), outcome.to_owned()]).increment(1);
        self.tell();
    }

    /// Something has come, and there is room for more.
    fn tell(&self) {
        self.anchors.lists_changed();
        self.answered.send_replace(());
        self.wanted.notify_one();
    }

    async fn post(&self, ask: &OcspAsk) -> Result<Vec<u8>, String> {
        let url = url::Url::parse(&ask.url).map_err(|error| error.to_string())?;
        let client = if ask.by_operator { &self.operator } else { &self.guarded }.with_body_bytes(OCSP_BYTES);
        let fetched = client.post_as(&url, OCSP_TYPES, ask.request.clone()).await.map_err(|error| error.to_string())?;
        match fetched.status {
            http::StatusCode::OK => Ok(fetched.body.to_vec()),
            status => Err(format!("the answer was {status}")),
        }
    }

    async fn get(&self, ask: &ListAsk) -> Result<Vec<u8>, String> {
        let parsed = url::Url::parse(&ask.url).map_err(|error| error.to_string())?;
        let client = if ask.by_operator { &self.operator } else { &self.guarded };
        let fetched = client.get_as(&parsed, MEDIA_TYPE).await.map_err(|error| error.to_string())?;
        match fetched.status {
            http::StatusCode::OK => Ok(fetched.body.to_vec()),
            status => Err(format!("the answer was {status}")),
        }
    }

    /// Waits until every list has been asked for once that must speak of a connection's certificate; mostly not at all. What came of it
    /// is for whoever judges the certificate.
    pub async fn ready(&self, trust: &PeerTrust) {
        self.until_asked(&|set, now| trust.awaits_lists(set, now)).await;
    }

    async fn until_asked(&self, awaits: &(dyn Fn(&Arc<AnchorSet>, Timestamp) -> bool + Sync)) {
        // Every set takes note, also behind one that waits already.
        let any = || {
            let now = self.clock.now();
            now.is_ok_and(|now| self.anchors.load().iter().filter(|set| awaits(set, now)).count() > 0)
        };
        if !any() {
            return;
        }
        let mut answered = self.answered.subscribe();
        let all = async {
            while any() {
                self.wanted.notify_one();
                if answered.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(self.patience, all).await;
    }
}

/// Fetches, once and for nobody but the caller, the lists that must speak of a certificate.
pub async fn fetch_lists(
    loaded: &Loaded,
    sets: AnchorSets,
    certificate: &Certificate,
    chain: &[CertificateDer<'static>],
) -> anyhow::Result<Arc<CurrentAnchors>> {
    let anchors = Arc::new(CurrentAnchors::new(sets));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if let Some(fetcher) = ListFetcher::build(loaded, anchors.clone(), &OutboundRegister::new(clock.clone()), clock)? {
        let running = tokio::spawn(fetcher.clone().run());
        let awaits =
            |set: &Arc<AnchorSet>, now| set.path(certificate, chain, now).is_ok_and(|path| set.awaits_lists(&path, chain, now));
        fetcher.until_asked(&awaits).await;
        running.abort();
    }
    Ok(anchors)
}
