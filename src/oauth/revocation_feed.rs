//! The revocation feed: rules as a resumable sequence for authenticated gateways.
//!
//! `GET …/revocation-feed?client_id=…&after=SEQUENCE&wait=SECONDS` over mutual TLS answers
//! `{"deployment", "sequence", "reset", "rules": [{"sequence", "kind", "value", "before", "expires"}]}`. With nothing newer than
//! `after` the answer waits up to `wait` seconds. `reset: true` means that `after` is unknown here (another database) and the
//! rules are all there are, a page at a time.

use std::time::Duration;

use serde::Serialize;

use super::client_auth::ClientRequest;
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::parameters::Parameters;
use super::server::{AuthorizationServer, Bell};
use crate::domain::DeploymentId;
use crate::event::Reason;
use crate::store::StoreError;
use crate::trust::revocation::RevocationRule;

/// Rules in one answer. Whoever gets as many asks again at once.
const PAGE: i64 = 1_000;

/// The longest wait for news, in seconds.
const LONGEST_WAIT_SECONDS: i64 = 30;

/// One answer of the feed.
#[derive(Clone, Debug, Serialize)]
pub struct FeedPage {
    /// The database these sequence numbers belong to.
    pub deployment: DeploymentId,
    /// What to ask for next, as `after`.
    pub sequence: i64,
    /// Whether the rules replace all that the reader knew.
    pub reset: bool,
    /// The rules after `after`, in order.
    pub rules: Vec<RevocationRule>,
}

impl AuthorizationServer {
    /// Answers a reader of the feed.
    pub async fn revocation_feed(&self, request: &ClientRequest<'_>) -> Result<FeedPage, OauthError> {
        let now = self.clock.now()?;
        let reader = self.authenticate_confidential(request, now).await?;
        let parameters = request.parameters;
        if !self.feed_clients.contains(reader.client_id()) {
            return Err(Refusal::new(
                ErrorCode::UnauthorizedClient,
                Reason::ClientNotAllowed,
                "this client may not read the revocation feed",
            )
            .of(reader.client_id())
            .into());
        }
        let after = number(parameters, "after")?.unwrap_or(0);
        let wait = number(parameters, "wait")?.unwrap_or(0).clamp(0, LONGEST_WAIT_SECONDS).unsigned_abs();
        let mut bell = self.revocations.subscribe();
        // Another replica may be ahead of this one, and this one hears of nothing older than its start: only a number that the
        // database has never reached is unknown.
        let unavailable = |error: StoreError| Fault::Unavailable(error.reason());
        let Bell { sequence: known, released } = *bell.borrow_and_update();
        let ahead = after > known && after > self.store.sequence().await.map_err(unavailable)?;
        let reset = ahead || after < 0;
        let after = if reset { 0 } else { after };
        if !reset && !released && after >= known && wait > 0 {
            // Whether the bell rang or the wait ended, the answer is what is in force now.
            let _ = tokio::time::timeout(Duration::from_secs(wait), bell.changed()).await;
        }
        let rules = self.store.revocation_rules(after, PAGE).await.map_err(unavailable)?;
        let sequence = rules.last().map_or(after, |rule| rule.sequence);
        Ok(FeedPage { deployment: self.store.deployment().clone(), sequence, reset, rules })
    }
}

fn number(parameters: &Parameters, name: &'static str) -> Result<Option<i64>, Refusal> {
    parameters
        .get(name)
        .map(|text| {
            text.parse::<i64>().map_err(|_| {
                Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, format!("{name} must be a whole number"))
            })
        })
        .transpose()
}
