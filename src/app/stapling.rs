//! OCSP answers about our own certificates, fetched ahead of need and shown in handshakes.
//!
//! No handshake waits for a responder, and none fails because of one: without an answer that holds, nothing is shown beside the certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::client_authentication::{following, outbound_limits, outbound_tls};
use super::listener::ListenerTls;
use super::revocation_lists::{OCSP_BYTES, OCSP_TYPES};
use crate::config::Loaded;
use crate::domain::{Clock, Lifetime, Thumbprint, Timestamp};
use crate::fetch::Client;
use crate::telemetry::metrics;
use crate::tls::{HostPolicy, OutboundRegister, Staple, StapleError, Stapling};

/// How often it is looked whether an answer is due.
const LOOK: Duration = Duration::from_secs(1);
/// The longest time between two questions about one certificate.
const REFRESH: Lifetime = Lifetime::from_seconds(3_600);
/// The pause after the first failure; it doubles with each further one, up to sixteen times.
const AFTER_FAILURE_SECONDS: u32 = 15;
const MOST_DOUBLINGS: u32 = 4;

/// Keeps the answers of every host that asks for it.
#[derive(Debug)]
pub struct Stapler {
    listeners: Vec<ListenerTls>,
    clock: Arc<dyn Clock>,
    client: Client,
    known: Mutex<BTreeMap<Thumbprint, Known>>,
}

/// What is known of one certificate.
#[derive(Debug)]
struct Known {
    staple: Option<Staple>,
    due: Timestamp,
    failures: u32,
    under_way: bool,
}

impl Stapler {
    /// For the hosts that a configuration wants answers for; `None` where there are none. Must be called inside a Tokio runtime.
    pub fn build(
        loaded: &Loaded,
        listeners: Vec<ListenerTls>,
        register: &OutboundRegister,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if !loaded.settings.listener.iter().flat_map(|listener| &listener.host).any(|host| host.ocsp_stapling) {
            return Ok(None);
        }
        let settings = &loaded.settings.outbound;
        // The operator chose the certificate, and with it the responder.
        let client = |config| Client::for_signed(config, outbound_limits(settings), None).with_body_bytes(OCSP_BYTES);
        let client = match outbound_tls(loaded, register).context("[outbound]")? {
            Some(tls) => following(&tls, client(tls.config())),
            None => client(crate::tls::distrusting_client_config(clock.clone())?),
        };
        Ok(Some(Arc::new(Self { listeners, clock, client, known: Mutex::default() })))
    }

    /// Asks what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            if let Ok(now) = self.clock.now() {
                for stapling in self.due(now) {
                    let stapler = Arc::clone(&self);
                    tokio::spawn(async move { stapler.ask(stapling).await });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shows what holds, also at hosts that a reload has made anew, and says what is to be asked now.
    fn due(&self, now: Timestamp) -> Vec<Stapling> {
        let policies: Vec<Arc<HostPolicy>> =
            self.listeners.iter().flat_map(|tls| tls.policies.load().policies().to_vec()).collect();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |thumbprint: &Thumbprint| {
            let mut own = policies.iter().filter_map(|policy| policy.stapling());
            own.any(|stapling| stapling.certificate().thumbprint() == *thumbprint)
        };
        all.retain(|thumbprint, known| known.under_way || shown(thumbprint));
        let mut asks = Vec::new();
        for policy in &policies {
            let Some(stapling) = policy.stapling() else { continue };
            let fresh = || Known { staple: None, due: Timestamp::from_seconds(0), failures: 0, under_way: false };
            let known = all.entry(stapling.certificate().thumbprint()).or_insert_with(fresh);
            if known.staple.as_ref().is_some_and(|staple| staple.until() < now) {
                known.staple = None;
            }
            policy.staple(known.staple.as_ref());
            if !known.under_way && known.due <= now {
                known.under_way = true;
                asks.push(stapling.clone());
            }
        }
        asks
    }

    async fn ask(&self, stapling: Stapling) {
        let answer = self.post(&stapling).await;
        let reading = stapling.clone();
        let now = self.clock.now();
        let read = match now {
            Ok(now) => tokio::task::spawn_blocking(move || reading.read(answer, now)).await,
            Err(_) => Ok(Err(StapleError::Fetch("there is no time".to_owned()))),
        };
        let read = read.unwrap_or_else(|_| Err(StapleError::Fetch("the reading broke off".to_owned())));
        let now = now.unwrap_or(Timestamp::from_seconds(0));
        let (certificate, url) = (stapling.certificate(), stapling.url());
        let outcome = match &read {
            Ok(_) => "ok",
            Err(StapleError::Fetch(_)) => "failed",
            Err(StapleError::Answer(_) | StapleError::Revoked(_)) => "refused",
        };
        metrics::OCSP_STAPLES.with([outcome]).increment(1);
        if let Err(problem) = &read {
            let subject = certificate.subject();
            tracing::warn!(%subject, url, %problem, "an OCSP answer about our own certificate is of no use: it is asked again");
        }
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(&certificate.thumbprint()) else { return };
        known.under_way = false;
        match read {
            Ok(staple) => {
                let left = staple.until().seconds_since(now).saturating_mul(3) / 4;
                let left = Lifetime::from_seconds(u32::try_from(left).unwrap_or(u32::MAX).max(1));
                (known.due, known.failures) = (now.plus(left.min(REFRESH)), 0);
                known.staple = Some(staple);
            }
            Err(problem) => {
                let pause = AFTER_FAILURE_SECONDS << known.failures.min(MOST_DOUBLINGS);
                (known.due, known.failures) = (now.plus(Lifetime::from_seconds(pause)), known.failures.saturating_add(1));
                // What the authority has revoked is shown as good no more, however long that would still hold.
                if matches!(problem, StapleError::Revoked(_)) {
                    known.staple = None;
                }
            }
        }
    }

    async fn post(&self, stapling: &Stapling) -> Result<Vec<u8>, String> {
        let url = url::Url::parse(stapling.url()).map_err(|error| error.to_string())?;
        let request = stapling.request().map_err(|error| error.to_string())?;
        let fetched = self.client.post_as(&url, OCSP_TYPES, request).await.map_err(|error| error.to_string())?;
        match fetched.status {
            http::StatusCode::OK => Ok(fetched.body.to_vec()),
            status => Err(format!("the answer was {status}")),
        }
    }
}
