//! Following an authorization server's revocation feed.
//!
//! `GET {endpoint}?after=SEQ&wait=SECONDS&client_id=ID` with the gateway's certificate: the rules after a sequence, at once when there
//! are some, after the wait when none came. An answer without rules says that none is missing; only that counts as having heard.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::{ClientId, Clock, Timestamp};
use crate::fetch::FetchError;
use crate::jose::json::{self, JsonError};
use crate::resource::{AuthorizationServer, MetadataError, Revocations, backoff};
use crate::trust::revocation::{RevocationRule, RevocationRules};

/// The longest wait that is asked for, in seconds.
const MAX_WAIT_SECONDS: u32 = 20;
/// Seconds that an answer may take beyond the wait.
const GRACE_SECONDS: u32 = 5;
/// How often rules that can hit nothing any more are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// Why the feed was not heard.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// No metadata.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// No feed.
    #[error("the authorization server offers no revocation feed")]
    NoEndpoint,
    /// No answer.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// Another status than 200; 401 means that the server does not know the gateway, 403 that it may not follow.
    #[error("the revocation feed answered {0}")]
    Status(u16),
    /// Not JSON.
    #[error("the answer of the revocation feed is {0}")]
    Json(#[from] JsonError),
    /// JSON that is no answer.
    #[error("the answer of the revocation feed is malformed: {0}")]
    Answer(Arc<serde_json::Error>),
}

/// One answer.
#[derive(Clone, Debug, Deserialize)]
struct Answer {
    /// What it brings the follower to.
    sequence: i64,
    rules: Vec<RevocationRule>,
    deployment: String,
    /// Whether everything known before is to be forgotten.
    #[serde(default)]
    reset: Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "bool")]
enum Reset {
    #[default]
    No,
    Yes,
}

impl From<bool> for Reset {
    fn from(reset: bool) -> Self {
        if reset { Self::Yes } else { Self::No }
    }
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There may be more: ask again at once.
    CatchUp,
    /// None is missing: wait for the next.
    Wait,
}

/// How far the feed was followed.
#[derive(Debug)]
struct Place {
    after: i64,
    deployment: Option<String>,
    /// Rules that will replace those in force once none is missing: a server that starts over must not set revoked tokens free
    /// while it is being caught up with.
    staged: Option<RevocationRules>,
}

impl Place {
    fn start() -> Self {
        Self { after: 0, deployment: None, staged: None }
    }

    /// Takes an answer in.
    fn take(&mut self, answer: Answer, revocations: &Revocations) -> Next {
        let moved = self.deployment.as_ref().is_some_and(|known| *known != answer.deployment);
        let behind = answer.sequence < self.after;
        if answer.reset == Reset::No && (moved || behind) {
            // Another database, or an older one: what it has before our place was never heard.
            *self = Self { after: 0, deployment: Some(answer.deployment), staged: Some(RevocationRules::default()) };
            return Next::CatchUp;
        }
        self.deployment = Some(answer.deployment);
        self.after = answer.sequence;
        let none_missing = answer.rules.is_empty();
        if answer.reset == Reset::Yes {
            self.staged = Some(RevocationRules::from_rules(answer.rules));
        } else if let Some(staged) = self.staged.take() {
            self.staged = Some(staged.with(answer.rules));
        } else {
            revocations.add(answer.rules);
        }
        if !none_missing {
            return Next::CatchUp;
        }
        if let Some(staged) = self.staged.take() {
            revocations.replace(staged);
        }
        Next::Wait
    }
}

/// Follows one server's feed.
#[derive(Debug)]
pub struct Feed {
    server: Arc<AuthorizationServer>,
    client_id: ClientId,
    revocations: Arc<Revocations>,
    wait_seconds: u32,
}

impl Feed {
    /// Follows `server`'s feed as `client_id` into `revocations`. `max_staleness_seconds` is the strictest that any route asks for:
    /// the feed is heard at least twice in that time.
    pub fn new(
        server: Arc<AuthorizationServer>,
        client_id: ClientId,
        revocations: Arc<Revocations>,
        max_staleness_seconds: u32,
    ) -> Self {
        let wait_seconds = (max_staleness_seconds / 2).clamp(1, MAX_WAIT_SECONDS);
        Self { server, client_id, revocations, wait_seconds }
    }

    /// Follows for ever. Reports each failure, and the first success after one.
    pub async fn run(&self, clock: &dyn Clock, mut report: impl FnMut(Result<(), &FeedError>) + Send) {
        let mut place = Place::start();
        let mut next = Next::CatchUp;
        let mut failures = 0u32;
        let mut pruned = clock.monotonic();
        loop {
            let wait_seconds = match next {
                Next::CatchUp => 0,
                Next::Wait => self.wait_seconds,
            };
            let sent = clock.monotonic();
            match self.ask(place.after, wait_seconds).await {
                Ok(answer) => {
                    if failures > 0 {
                        report(Ok(()));
                    }
                    failures = 0;
                    next = place.take(answer, &self.revocations);
                    if next == Next::Wait {
                        self.revocations.heard(certain_at(sent, clock.monotonic(), wait_seconds));
                        if sent.saturating_sub(pruned) > PRUNE_INTERVAL
                            && let Ok(now) = clock.now()
                        {
                            self.prune(now);
                            pruned = sent;
                        }
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    report(Err(&error));
                    // Something may have come while nobody listened.
                    next = Next::CatchUp;
                    tokio::time::sleep(backoff(failures)).await;
                    if failures > 1 {
                        // The endpoint may have moved.
                        let _ = self.server.refresh().await;
                    }
                }
            }
        }
    }

    fn prune(&self, now: Timestamp) {
        let rules = self.revocations.rules();
        if !rules.is_empty() {
            self.revocations.replace(rules.without_expired(now));
        }
    }

    async fn ask(&self, after: i64, wait_seconds: u32) -> Result<Answer, FeedError> {
        let metadata = self.server.metadata().await?;
        let mut url = metadata.revocation_feed_endpoint.clone().ok_or(FeedError::NoEndpoint)?;
        url.query_pairs_mut()
            .append_pair("after", &after.to_string())
            .append_pair("wait", &wait_seconds.to_string())
            .append_pair("client_id", self.client_id.as_str());
        let client = self.server.client()?.with_total_seconds(wait_seconds.saturating_add(GRACE_SECONDS));
        let answer = client.get(&url).await.map_err(|error| FeedError::Fetch(Arc::new(error)))?;
        if answer.status != http::StatusCode::OK {
            return Err(FeedError::Status(answer.status.as_u16()));
        }
        let members = json::parse_object(&answer.body)?;
        serde_json::from_value(members.into()).map_err(|error| FeedError::Answer(Arc::new(error)))
    }
}

/// From when on the answer's word is good: it was given when the wait was over, and may have been on its way since.
fn certain_at(sent: Duration, received: Duration, wait_seconds: u32) -> Duration {
    received.min(sent + Duration::from_secs(wait_seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::revocation::RuleKind;

    fn rule(sequence: i64, value: &str) -> RevocationRule {
        RevocationRule {
            sequence,
            kind: RuleKind::TokenId,
            value: value.into(),
            before: Timestamp::from_seconds(100),
            expires: Timestamp::from_seconds(200),
            lifted: false,
        }
    }

    fn answer(sequence: i64, rules: &[(i64, &str)], deployment: &str, reset: bool) -> Answer {
        let rules = rules.iter().map(|(sequence, value)| rule(*sequence, value)).collect();
        Answer { sequence, rules, deployment: deployment.into(), reset: reset.into() }
    }

    #[test]
    fn only_an_answer_without_rules_says_that_none_is_missing() {
        let revocations = Revocations::new();
        let mut place = Place::start();
        assert_eq!(place.take(answer(5, &[(3, "a"), (5, "b")], "d1", false), &revocations), Next::CatchUp);
        assert_eq!((place.after, revocations.rules().len()), (5, 2));
        assert_eq!(place.take(answer(7, &[], "d1", false), &revocations), Next::Wait);
        assert_eq!(place.after, 7);
    }

    #[test]
    fn starting_over_sets_nobody_free_meanwhile() {
        let revocations = Revocations::new();
        let mut place = Place::start();
        place.take(answer(5, &[(3, "a"), (5, "b")], "d1", false), &revocations);
        place.take(answer(5, &[], "d1", false), &revocations);
        // Told to.
        assert_eq!(place.take(answer(2, &[(2, "c")], "d1", true), &revocations), Next::CatchUp);
        assert_eq!(revocations.rules().len(), 2);
        assert_eq!(place.take(answer(4, &[(4, "d"), (4, "e")], "d1", false), &revocations), Next::CatchUp);
        assert_eq!(revocations.rules().len(), 2);
        assert_eq!(place.take(answer(4, &[], "d1", false), &revocations), Next::Wait);
        assert_eq!(revocations.rules().len(), 3);
        // Not told to: another database, then the same one with an older state.
        for other in [answer(9, &[], "d2", false), answer(1, &[], "d2", false)] {
            assert_eq!(place.take(other, &revocations), Next::CatchUp);
            assert_eq!(place.after, 0);
            assert_eq!(revocations.rules().len(), 3);
            place.after = 8;
        }
        place.after = 0;
        place.take(answer(1, &[(1, "f")], "d2", false), &revocations);
        assert_eq!(place.take(answer(1, &[], "d2", false), &revocations), Next::Wait);
        assert_eq!(revocations.rules().len(), 1);
    }

    #[test]
    fn a_delayed_answer_does_not_count_for_later_than_it_was_given() {
        let seconds = Duration::from_secs;
        assert_eq!(certain_at(seconds(100), seconds(120), 20), seconds(120));
        assert_eq!(certain_at(seconds(100), seconds(124), 20), seconds(120));
        assert_eq!(certain_at(seconds(100), seconds(103), 20), seconds(103));
        assert_eq!(certain_at(seconds(100), seconds(103), 0), seconds(100));
    }

    #[test]
    fn answers_are_read_as_written() {
        let text = r#"{"sequence": 7, "rules": [{"sequence": 7, "kind": "token_id", "value": "x", "before": 1, "expires": 2}],
                       "deployment": "d", "reset": true}"#;
        let answer: Answer = serde_json::from_str(text).expect("an answer");
        assert_eq!((answer.sequence, answer.rules.len(), answer.reset), (7, 1, Reset::Yes));
    }
}
