//! The last step: is this token, proven to be its presenter's, good here and now?

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::moment::Moment;
use super::revocation::{Revocations, Staleness};
use super::verify::{Source, VerifiedToken};
use crate::binding::Proven;
use crate::domain::{Audience, ClientId, Clock, Scope, Timestamp};
use crate::event::Reason;
use crate::token::{self, TokenError, TokenFacts};
use crate::trust::revocation::Revoked;

/// The longest sleep between two looks at the clock: wall time may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a resource asks of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// One of the token's audiences must be this one (RFC 9068 §4).
    pub audience: Audience,
    /// All of these must be in the token's scope.
    pub scopes: Scope,
    /// The token must be of one of these clients; of any, when there is none here.
    pub clients: BTreeSet<ClientId>,
}

/// A server's revocation rules, and what happens when some may be missing.
#[derive(Clone, Debug)]
pub struct RevocationCheck {
    /// The rules.
    pub revocations: Arc<Revocations>,
    /// How old they may be.
    pub staleness: Staleness,
}

impl RevocationCheck {
    /// Whether rules may be missing that a token verified by its signature would need.
    ///
    /// # Errors
    /// [`AdmitError::Stale`].
    pub fn check_age(&self, moment: Moment) -> Result<(), AdmitError> {
        self.staleness.check(self.revocations.age(moment.monotonic)).map_err(|_| AdmitError::Stale)
    }
}

/// Why a proven token is not admitted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdmitError {
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Another client's.
    #[error("the token is of a client that is not served here")]
    Client,
    /// Not enough.
    #[error("the token lacks a required scope")]
    Scope,
    /// Too early or too late.
    #[error("{0}")]
    Dates(Arc<TokenError>),
    /// A rule hits it.
    #[error("the token is revoked")]
    Revoked(Revoked),
    /// Rules may be missing.
    #[error("the revocation feed was not heard for too long")]
    Stale,
}

impl AdmitError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Audience => Reason::TokenAudience,
            Self::Client => Reason::PolicyClient,
            Self::Scope => Reason::TokenScope,
            Self::Dates(error) => error.reason(),
            Self::Revoked(revoked) => revoked.reason(),
            Self::Stale => Reason::RevocationStale,
        }
    }
}

/// Something besides the token that an admission rests on.
pub trait Condition: std::fmt::Debug + Send + Sync {
    /// Whether it holds at `now`, and until when at the latest if nothing changes.
    ///
    /// # Errors
    /// Why it does not.
    fn standing(&self, now: Timestamp) -> Result<Timestamp, Reason>;

    /// Told whenever it may have changed.
    fn subscribe(&self) -> watch::Receiver<()>;
}

/// Leave to be served, with what it rests on. It ends at its deadline, or when a revocation rule comes to hit the token: whatever is
/// still streaming then is cut. Made only by [`admit`].
#[derive(Clone, Debug)]
pub struct Admission {
    grounds: Arc<Grounds>,
    condition: Option<Arc<dyn Condition>>,
}

#[derive(Debug)]
struct Grounds {
    token: VerifiedToken,
    deadline: Timestamp,
    revocations: Option<Arc<Revocations>>,
}

/// An admission came to its end while something was still streaming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionEnded {
    /// The token expired.
    #[error("the token expired")]
    Expired,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The certificate that was shown is not good any more.
    #[error("the certificate is not accepted any more: {0}")]
    Certificate(Reason),
    /// The clock could not be read.
    #[error("the clock could not be read")]
    Clock,
}

impl AdmissionEnded {
    /// The reason for log and audit trail.
    pub fn reason(self) -> Reason {
        match self {
            Self::Expired => Reason::TokenExpired,
            Self::Revoked => Reason::TokenRevoked,
            Self::Certificate(reason) => reason,
            Self::Clock => Reason::ClockUnreadable,
        }
    }
}

impl Admission {
    /// What the token says.
    pub fn facts(&self) -> &Arc<TokenFacts> {
        self.grounds.token.facts()
    }

    /// The token it rests on.
    pub fn token(&self) -> &VerifiedToken {
        &self.grounds.token
    }

    /// The revocation rules of the token's issuer, where they are followed.
    pub fn revocations(&self) -> Option<&Arc<Revocations>> {
        self.grounds.revocations.as_ref()
    }

    /// When it ends, if nothing ends it before: `exp`, with the leeway that the issuer's clock is given.
    pub fn deadline(&self) -> Timestamp {
        self.grounds.deadline
    }

    /// Whether it still stands.
    ///
    /// # Errors
    /// When it has ended.
    pub fn standing(&self, clock: &dyn Clock) -> Result<(), AdmissionEnded> {
        let now = clock.now().map_err(|_| AdmissionEnded::Clock)?;
        if now >= self.grounds.deadline {
            return Err(AdmissionEnded::Expired);
        }
        if let Some(revocations) = &self.grounds.revocations {
            revocations.rules().check(self.facts()).map_err(|_| AdmissionEnded::Revoked)?;
        }
        match &self.condition {
            Some(condition) => condition.standing(now).map(|_| ()).map_err(AdmissionEnded::Certificate),
            None => Ok(()),
        }
    }

    /// The same leave, for as long as the condition holds too.
    #[must_use]
    pub fn on_condition(self, condition: Arc<dyn Condition>) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// Completes when it ends.
    pub fn ended(&self, clock: Arc<dyn Clock>) -> impl Future<Output = AdmissionEnded> + Send + use<> {
        let admission = self.clone();
        async move {
            let mut revoked = admission.grounds.revocations.as_ref().map(|revocations| revocations.subscribe());
            let mut changed = admission.condition.as_ref().map(|condition| condition.subscribe());
            loop {
                if let Err(ended) = admission.standing(clock.as_ref()) {
                    return ended;
                }
                let Ok(now) = clock.now() else { return AdmissionEnded::Clock };
                let left = Duration::from_secs(admission.grounds.deadline.seconds_since(now));
                let condition = admission.condition.as_ref().and_then(|condition| condition.standing(now).ok());
                // The last second of a certificate still belongs to it.
                let left = condition.map_or(left, |until| left.min(Duration::from_secs(until.seconds_since(now) + 1)));
                tokio::select! {
                    () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
                    () = rings(&mut revoked) => {}
                    () = rings(&mut changed) => {}
                }
            }
        }
    }
}

/// Completes at the next ring; never where there is no bell.
async fn rings(bell: &mut Option<watch::Receiver<()>>) {
    match bell {
        // The sender lives as long as the admission.
        Some(bell) => drop(bell.changed().await),
        None => std::future::pending().await,
    }
}

/// Holds a proven token against the resource's requirements, the time and the revocation rules.
///
/// # Errors
/// The first requirement that is not met.
pub fn admit(
    token: Proven<VerifiedToken>,
    requirements: &Requirements,
    revocations: Option<&RevocationCheck>,
    moment: Moment,
) -> Result<Admission, AdmitError> {
    let token = token.into_inner();
    let facts = token.facts();
    token::check_dates(facts, moment.wall, token.leeway()).map_err(|error| AdmitError::Dates(Arc::new(error)))?;
    if !facts.audience.contains(&requirements.audience) {
        return Err(AdmitError::Audience);
    }
    if let Some(check) = revocations {
        let revocations = &check.revocations;
        revocations.rules().check(facts).map_err(AdmitError::Revoked)?;
        // A server that was just asked about the token has spoken for its rules.
        if token.source() == Source::Signature {
            check.check_age(moment)?;
        }
    }
    let is_served = |client: &ClientId| requirements.clients.contains(client);
    if !requirements.clients.is_empty() && !facts.client_id.as_ref().is_some_and(is_served) {
        return Err(AdmitError::Client);
    }
    if !requirements.scopes.is_subset(&facts.scope) {
        return Err(AdmitError::Scope);
    }
    let deadline = facts.expires.plus(token.leeway());
    let revocations = revocations.map(|check| Arc::clone(&check.revocations));
    Ok(Admission { grounds: Arc::new(Grounds { token, deadline, revocations }), condition: None })
}
