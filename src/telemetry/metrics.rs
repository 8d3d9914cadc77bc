//! The metrics, for Prometheus. Every name, its help and its labels stand here and nowhere else.
//!
//! A label's values come from the configuration or from a closed enum, never from a caller: the number of series is bounded.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A counter with its labels' values: looked up once, cheap to count.
pub use metrics::Counter as CounterHandle;
/// A histogram with its labels' values.
pub use metrics::Histogram as HistogramHandle;
use metrics::{Label, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Something that is counted up.
#[derive(Debug)]
pub struct Counter<const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; LABELS],
}

/// Something that goes up and down.
#[derive(Debug)]
pub struct Gauge<const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; LABELS],
}

/// Something that is measured in seconds.
#[derive(Debug)]
pub struct Seconds<const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; LABELS],
    buckets: &'static [f64],
}

/// Buckets for work that stays in this process, or within a round trip: 50 µs to 1 s.
pub const FAST_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Buckets for whole requests and other people's servers: 1 ms to 60 s.
pub const SLOW_BUCKETS: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

impl<const LABELS: usize> Counter<LABELS> {
    /// The counter for these values of its labels. Looking it up costs a hash; the hot path keeps it.
    pub fn with(&self, values: [impl Into<SharedString>; LABELS]) -> metrics::Counter {
        metrics::counter!(self.name, labels(self.labels, values))
    }
}

impl<const LABELS: usize> Gauge<LABELS> {
    /// The gauge for these values of its labels.
    pub fn with(&self, values: [impl Into<SharedString>; LABELS]) -> metrics::Gauge {
        metrics::gauge!(self.name, labels(self.labels, values))
    }
}

impl<const LABELS: usize> Seconds<LABELS> {
    /// The histogram for these values of its labels. Looking it up costs a hash; the hot path keeps it.
    pub fn with(&self, values: [impl Into<SharedString>; LABELS]) -> metrics::Histogram {
        metrics::histogram!(self.name, labels(self.labels, values))
    }

    /// Records a duration.
    pub fn record(&self, values: [impl Into<SharedString>; LABELS], duration: Duration) {
        self.with(values).record(duration.as_secs_f64());
    }
}

fn labels<const LABELS: usize>(names: [&'static str; LABELS], values: [impl Into<SharedString>; LABELS]) -> Vec<Label> {
    names.into_iter().zip(values).map(|(name, value)| Label::new(name, value)).collect()
}

impl Counter<0> {
    /// The counter, which has no labels.
    pub fn alone(&self) -> metrics::Counter {
        metrics::counter!(self.name)
    }
}

impl Gauge<0> {
    /// The gauge, which has no labels.
    pub fn alone(&self) -> metrics::Gauge {
        metrics::gauge!(self.name)
    }
}

/// What all kinds of metrics have, to register them.
trait Described: Sync {
    fn describe(&self);
    #[cfg(test)]
    fn name(&self) -> &'static str;
    fn buckets(&self) -> Option<(&'static str, &'static [f64])> {
        None
    }
}

impl<const LABELS: usize> Described for Counter<LABELS> {
    fn describe(&self) {
        metrics::describe_counter!(self.name, self.help);
    }
    #[cfg(test)]
    fn name(&self) -> &'static str {
        self.name
    }
}

impl<const LABELS: usize> Described for Gauge<LABELS> {
    fn describe(&self) {
        metrics::describe_gauge!(self.name, self.help);
    }
    #[cfg(test)]
    fn name(&self) -> &'static str {
        self.name
    }
}

impl<const LABELS: usize> Described for Seconds<LABELS> {
    fn describe(&self) {
        metrics::describe_histogram!(self.name, Unit::Seconds, self.help);
    }
    #[cfg(test)]
    fn name(&self) -> &'static str {
        self.name
    }
    fn buckets(&self) -> Option<(&'static str, &'static [f64])> {
        Some((self.name, self.buckets))
    }
}

macro_rules! registry {
    ($($identifier:ident: $kind:ident = $name:literal [$($label:literal),*] $help:literal $($buckets:ident)?;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub static $identifier: $kind<{ const LABELS: &[&str] = &[$($label),*]; LABELS.len() }> =
                $kind { name: $name, help: $help, labels: [$($label),*] $(, buckets: $buckets)? };
        )*
        static ALL: &[&dyn Described] = &[$(&$identifier),*];
    };
}

registry! {
    BUILD: Gauge = "symbolon_build_info" ["version"] "Always 1; the version that runs is in the label.";

    CONNECTIONS: Gauge = "symbolon_connections" ["listener"] "Connections open, by listener.";
    CONNECTIONS_REFUSED: Counter = "symbolon_connections_refused_total" ["listener"]
        "Connections closed at once because their address had its share, by listener.";
    HANDSHAKES: Counter = "symbolon_tls_handshakes_total" ["listener", "outcome"]
        "TLS handshakes, by listener and outcome: full, resumed, failed, refused for want of room.";
    HANDSHAKE_SECONDS: Seconds = "symbolon_tls_handshake_seconds" ["listener"] "Time of a TLS handshake." FAST_BUCKETS;
    CERTIFICATE_NOT_AFTER: Gauge = "symbolon_certificate_not_after_seconds" ["listener", "host"]
        "When a host's own certificate ends, in seconds since 1970.";

    ANCHOR_NOT_AFTER: Gauge = "symbolon_anchor_not_after_seconds" ["anchor_set", "anchor"]
        "When an accepted authority's certificate ends, in seconds since 1970; the label has the beginning of its SPKI SHA-256.";

    CRL_NEXT_UPDATE: Gauge = "symbolon_crl_next_update_seconds" ["anchor_set", "anchor"]
        "When a certificate revocation list is too old, in seconds since 1970; the label has the beginning of its signer's SPKI SHA-256.";

    CRL_FETCHES: Counter = "symbolon_crl_fetches_total" ["anchor_set", "outcome"]
        "Fetches of certificate revocation lists, by anchor set: ok, failed, refused (fetched, and of no use).";

    OCSP_QUESTIONS: Counter = "symbolon_ocsp_questions_total" ["anchor_set", "outcome"]
        "Questions to OCSP responders, by anchor set: ok, failed, refused (answered, and of no use).";

    OCSP_STAPLES: Counter = "symbolon_ocsp_staples_total" ["outcome"]
        "Questions to OCSP responders about our own certificates: ok, failed, refused (answered, and of no use).";

    REQUESTS: Counter = "symbolon_requests_total" ["endpoint", "status"]
        "Requests to the authorization server, by endpoint and status.";
    REQUEST_SECONDS: Seconds = "symbolon_request_seconds" ["endpoint"]
        "Time of a request to the authorization server, from its head to its answer." FAST_BUCKETS;
    REFUSALS: Counter = "symbolon_refusals_total" ["endpoint", "reason"]
        "Requests that the authorization server refused or could not serve, by private reason.";
    TOKENS_ISSUED: Counter = "symbolon_tokens_issued_total" ["grant_type", "format"]
        "Access tokens issued, by grant type and format.";

    SIGN_INS: Counter = "symbolon_sign_ins_total" ["outcome"]
        "Attempts to sign in: signed_in, code_asked, wrong, too_many, failed.";
    SIGN_IN_WORK: Counter = "symbolon_sign_in_work_total" ["operation"]
        "What attempts to sign in cost: look_up, open, hash. The same for every name.";

    DECISIONS: Counter = "symbolon_gateway_decisions_total" ["route", "decision"]
        "Decisions of the gateway, by route: allow, deny, fault.";
    DENIALS: Counter = "symbolon_gateway_denials_total" ["route", "reason"]
        "Requests that the gateway refused or could not serve, by private reason.";
    DECISION_SECONDS: Seconds = "symbolon_gateway_decision_seconds" ["route"]
        "Time that the gateway took to decide, by route." FAST_BUCKETS;
    UPSTREAM_SECONDS: Seconds = "symbolon_gateway_upstream_seconds" ["route"]
        "Time until an upstream's response head, by route." SLOW_BUCKETS;
    STREAMS: Gauge = "symbolon_gateway_streams" ["route"] "Connections of TCP routes that are open, by route.";
    STREAM_ENDS: Counter = "symbolon_gateway_stream_ends_total" ["route", "reason"]
        "Ends of connections of TCP routes, by route and private reason; closed: both sides had said all.";
    ISSUER_KEY_FETCHES: Counter = "symbolon_issuer_key_fetches_total" ["authorization_server", "outcome"]
        "Fetches of an issuer's keys: ok, failed.";
    INTROSPECTIONS: Counter = "symbolon_introspections_total" ["authorization_server", "outcome"]
        "Introspections: active, inactive, cached, failed.";
    REVOCATION_FEED_AGE: Gauge = "symbolon_revocation_feed_age_seconds" ["authorization_server"]
        "Seconds since the revocation feed was last heard.";

    REVOCATION_RULES: Gauge = "symbolon_revocation_rules" ["issuer"] "Revocation rules in force, by issuer.";
    CHANGE_SEQUENCE: Gauge = "symbolon_change_sequence" [] "The last change of the control plane that this process has taken in.";
    STORE_SECONDS: Seconds = "symbolon_store_seconds" ["operation"] "Time of a database operation." FAST_BUCKETS;
    STORE_FAILURES: Counter = "symbolon_store_failures_total" ["operation"] "Database operations that failed.";

    CLIENT_CERTIFICATES_ENDING: Gauge = "symbolon_client_certificates_ending" ["state"]
        "Certificates that clients have registered: ended, and soon (within reload.expiry_warning_days).";

    SEAL_KEYS: Gauge = "symbolon_seal_keys" [] "Ring keys that open sealed values, the sealing one among them.";
    SEAL_ROWS_BEHIND: Gauge = "symbolon_seal_rows_behind" [] "Rows under older ring keys that are still to be resealed.";

    RELOAD_FAILING: Gauge = "symbolon_reload_failing" [] "1 while the last reload failed: files are not what is in force.";
    STORED_ANCHORS_FAILING: Gauge = "symbolon_stored_anchors_failing" []
        "1 while a row of the store's anchors is of no use: what is in force is not what is stored.";
    RELOAD_FAILURES: Counter = "symbolon_reload_failures_total" [] "Reloads that failed; the old state stayed in force.";

    AUDIT_EVENTS: Counter = "symbolon_audit_events_total" ["outcome"]
        "Audit events: written, or refused because the queue was full or the file could not be written.";
    AUDIT_WRITE_FAILURES: Counter = "symbolon_audit_write_failures_total" [] "Failed attempts to write the audit trail.";
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A program that embeds this one has a recorder of its own.
    #[error("another recorder of metrics was installed before")]
    Taken,
    /// A histogram has no buckets.
    #[error("the buckets of `{0}` are empty")]
    Buckets(&'static str),
}

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts collecting. Once a process: again does nothing.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> Result<(), MetricsError> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Taken)?;
    describe();
    let _ = HANDLE.set(handle);
    Ok(())
}

/// Everything collected so far, in the text format of Prometheus; empty before [`install`].
pub fn render() -> String {
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps the memory of histograms bounded when nobody asks for the metrics: runs for ever, as one of the process's tasks.
pub async fn run_upkeep() {
    const INTERVAL: Duration = Duration::from_secs(5);
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Some(handle) = HANDLE.get() {
            handle.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, MetricsError> {
    ALL.iter().filter_map(|metric| metric.buckets()).try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).map_err(|_| MetricsError::Buckets(name))
    })
}

fn describe() {
    ALL.iter().for_each(|metric| metric.describe());
    BUILD.with([env!("CARGO_PKG_VERSION")]).set(1.0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_ours() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for name in names {
            assert!(name.starts_with("symbolon_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn rendered_as_prometheus_reads_it() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            TOKENS_ISSUED.with(["client_credentials", "jwt"]).increment(2);
            CONNECTIONS.with(["mtls"]).increment(1.0);
            CHANGE_SEQUENCE.alone().set(7.0);
            REQUEST_SECONDS.record(["token"], Duration::from_micros(700));
        });
        let text = recorder.handle().render();
        for line in [
            "# HELP symbolon_tokens_issued_total Access tokens issued, by grant type and format.",
            "# TYPE symbolon_tokens_issued_total counter",
            "symbolon_tokens_issued_total{grant_type=\"client_credentials\",format=\"jwt\"} 2",
            "# TYPE symbolon_connections gauge",
            "symbolon_connections{listener=\"mtls\"} 1",
            "symbolon_change_sequence 7",
            "# TYPE symbolon_request_seconds histogram",
            "symbolon_request_seconds_bucket{endpoint=\"token\",le=\"0.0005\"} 0",
            "symbolon_request_seconds_bucket{endpoint=\"token\",le=\"0.001\"} 1",
            "symbolon_request_seconds_count{endpoint=\"token\"} 1",
            concat!("symbolon_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn installing_twice_is_installing_once() {
        install().unwrap();
        install().unwrap();
        assert!(render().contains("symbolon_build_info"));
    }
}
