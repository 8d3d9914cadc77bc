//! Each decision is told once, to the audit trail and to the metrics; allow and deny with the same fields.

use std::sync::Arc;
use std::time::Duration;

use super::reject::{Doing, Rejection};
use crate::domain::{Clock, Timestamp};
use crate::event::{AccessDecision, AuditEvent, Reason, Trailed};
use crate::resource::{Denied, Granted, Refusal, Source, VerifyError};
use crate::telemetry::audit::{AuditSink, AuditUnavailable, Reservation, Shown};
use crate::telemetry::metrics::{DECISION_SECONDS, DECISIONS, DENIALS, INTROSPECTIONS, UPSTREAM_SECONDS};
use crate::token::TokenFacts;

/// The label of requests that match no route.
const NO_ROUTE: &str = "-";

/// Bytes of a method and of a path that are recorded of a refused request.
const REFUSED_METHOD_BYTES: usize = 32;
const REFUSED_PATH_BYTES: usize = 512;

/// The metrics of one route, looked up once.
#[derive(Debug)]
pub struct RouteMetrics {
    allow: metrics::Counter,
    decision_seconds: metrics::Histogram,
    upstream_seconds: metrics::Histogram,
}

impl RouteMetrics {
    /// Those of the route of this name. To be made after the recorder is installed.
    pub fn new(route: &str) -> Self {
        Self {
            allow: DECISIONS.with([route.to_owned(), "allow".to_owned()]),
            decision_seconds: DECISION_SECONDS.with([route.to_owned()]),
            upstream_seconds: UPSTREAM_SECONDS.with([route.to_owned()]),
        }
    }

    /// A request was admitted after this time.
    pub fn admitted(&self, after: Duration) {
        self.allow.increment(1);
        self.decision_seconds.record(after.as_secs_f64());
    }

    /// The upstream's head came after this time.
    pub fn answered(&self, after: Duration) {
        self.upstream_seconds.record(after.as_secs_f64());
    }
}

/// Writes what the token says into the fields of a decision.
pub fn tell(decision: &mut AccessDecision, facts: &TokenFacts) {
    decision.issuer = Some(facts.issuer.clone());
    decision.client_id.clone_from(&facts.client_id);
    decision.subject.clone_from(&facts.subject);
    decision.token_id.clone_from(&facts.token_id);
    decision.cnf = facts.cnf;
}

/// Counts a token that was verified by asking.
pub fn count_introspection(server: &str, verdict: &Result<Granted, Denied>) {
    let outcome = match verdict {
        Ok(granted) if granted.admission.token().source() == Source::Introspection => "active",
        Err(Denied { refusal: Refusal::Verify(VerifyError::Inactive), .. }) => "inactive",
        Err(Denied { refusal: Refusal::Verify(VerifyError::Introspection(_)), .. }) => "failed",
        Ok(_) | Err(_) => return,
    };
    INTROSPECTIONS.with([server.to_owned(), outcome.to_owned()]).increment(1);
}

/// Tells of a request that was not admitted. When the queue is full the event is lost and counted: refusing needs no leave.
pub fn refused(
    sink: &AuditSink,
    clock: &dyn Clock,
    mut decision: AccessDecision,
    rejection: &Rejection,
    status: u16,
    shown: Option<Shown<'_>>,
) {
    let reason = rejection.reason();
    let route = decision.route.as_deref().unwrap_or(NO_ROUTE).to_owned();
    let outcome = match rejection.doing() {
        Doing::Denied => "deny",
        Doing::Fault => "fault",
    };
    DECISIONS.with([route.clone(), outcome.to_owned()]).increment(1);
    DENIALS.with([route, reason.code().to_owned()]).increment(1);
    match rejection.doing() {
        Doing::Denied => tracing::debug!(%reason, status, "request refused"),
        Doing::Fault => tracing::warn!(%reason, status, error = %rejection, "request not served"),
    }
    decision.reason = Some(reason);
    decision.status = status;
    // Anybody can be refused, as often as he likes: what he writes into the trail is bounded.
    shorten(&mut decision.method, REFUSED_METHOD_BYTES);
    shorten(&mut decision.path, REFUSED_PATH_BYTES);
    let _ = sink.record_refusal(&trailed(clock, decision), shown);
}

fn shorten(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}

fn trailed(clock: &dyn Clock, decision: AccessDecision) -> Trailed {
    let time = clock.now().unwrap_or(Timestamp::from_seconds(0));
    Trailed { time, event: AuditEvent::Access(decision) }
}

/// A request that was let through and is being answered. Told when its status is known; when the caller leaves before that, with
/// status 0.
#[derive(Debug)]
pub struct Admitted {
    pending: Option<(Reservation, AccessDecision)>,
    clock: Arc<dyn Clock>,
}

impl Admitted {
    /// Takes a place in the audit queue: without one, nobody is let through.
    ///
    /// # Errors
    /// When there is none; the decision is given back.
    pub fn begin(
        sink: &AuditSink,
        clock: Arc<dyn Clock>,
        decision: AccessDecision,
    ) -> Result<Self, (AuditUnavailable, Box<AccessDecision>)> {
        match sink.reserve() {
            Ok(reservation) => Ok(Self { pending: Some((reservation, decision)), clock }),
            Err(unavailable) => Err((unavailable, Box::new(decision))),
        }
    }

    /// The caller gets this status; `reason` is why it is not the upstream's.
    pub fn answered(mut self, status: u16, reason: Option<Reason>) {
        if let Some((_, decision)) = &mut self.pending {
            decision.status = status;
            decision.reason = reason;
        }
        // Dropping tells.
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((reservation, decision)) = self.pending.take() {
            reservation.record(trailed(self.clock.as_ref(), decision));
        }
    }
}
