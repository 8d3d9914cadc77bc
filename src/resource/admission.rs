//! The last step: is this token, proven to be its presenter's, good here and now?

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::moment::Moment;
use super::revocation::{Revocations, Staleness};
use super::verify::{Source, VerifiedToken};
use crate::binding::Proven;
use crate::domain::{Audience, ClientId, Clock, Lifetime, Scope, Timestamp};
use crate::event::Reason;
use crate::token::{self, TokenError, TokenFacts};
use crate::trust::revocation::Revoked;

/// The longest sleep between two looks at the clock: wall time may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a resource asks of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// One of the token's audiences must be this one (RFC 9068 §4). Challenges name it.
    pub audience: Audience,
    /// Others that will do as well.
    pub more_audiences: Vec<Audience>,
    /// All of these must be in the token's scope.
    pub scopes: Scope,
    /// One of these must be in the token's scope, where there are some.
    pub any_scopes: Scope,
    /// The token must be of one of these clients; of any, when there is none here.
    pub clients: BTreeSet<ClientId>,
    /// All of these must hold.
    pub claims: Vec<ClaimRule>,
    /// What the sign-in behind the token must have been (RFC 9470).
    pub step_up: Option<StepUp>,
}

impl Requirements {
    /// Nothing but this audience.
    pub fn audience(audience: Audience) -> Self {
        Self {
            audience,
            more_audiences: vec![],
            scopes: Scope::default(),
            any_scopes: Scope::default(),
            clients: BTreeSet::new(),
            claims: vec![],
            step_up: None,
        }
    }
}

/// What a token must say in a claim of the issuer's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// The name of the claim; where there is none of that name, its path through objects, with dots: `realm_access.roles`.
    pub name: String,
    /// The claim must be one of these, or a list with one of these in it. Numbers and booleans are compared as JSON writes them.
    pub values: BTreeSet<String>,
}

impl ClaimRule {
    fn check(&self, facts: &TokenFacts) -> Result<(), AdmitError> {
        let is_one = |value: &Value| match value {
            Value::String(text) => self.values.contains(text),
            Value::Number(_) | Value::Bool(_) => self.values.contains(&value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        let holds = match self.find(facts).as_deref() {
            Some(Value::Array(values)) => values.iter().any(is_one),
            Some(value) => is_one(value),
            None => false,
        };
        if holds { Ok(()) } else { Err(AdmitError::Claim(self.name.clone())) }
    }

    fn find<'a>(&self, facts: &'a TokenFacts) -> Option<Cow<'a, Value>> {
        if let Some(value) = facts.claim(&self.name) {
            return Some(value);
        }
        let (first, rest) = self.name.split_once('.')?;
        let found = rest.split('.').try_fold(facts.others.get(first)?, |value, step| value.as_object()?.get(step))?;
        Some(Cow::Borrowed(found))
    }
}

/// What the sign-in behind a token must have been (RFC 9470).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    /// `acr` must be one of these, where there are some.
    pub acr_values: Vec<String>,
    /// How long ago `auth_time` may be.
    pub max_age: Option<Lifetime>,
}

impl StepUp {
    fn check(&self, facts: &TokenFacts, leeway: Lifetime, now: Timestamp) -> Result<(), AdmitError> {
        let acr = facts.claim("acr");
        let acr = acr.as_deref().and_then(Value::as_str);
        if !self.acr_values.is_empty() && !acr.is_some_and(|acr| self.acr_values.iter().any(|one| one == acr)) {
            return Err(AdmitError::AuthenticationContext);
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        let signed_in = facts.claim("auth_time").as_deref().and_then(Value::as_i64).map(Timestamp::from_seconds);
        match signed_in {
            Some(at) if at <= now.plus(leeway) && now < at.plus(max_age).plus(leeway) => Ok(()),
            _ => Err(AdmitError::AuthenticationAge),
        }
    }
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
    /// A claim that the resource asks for is missing, or has another value.
    #[error("the token's claim `{0}` is not one that is served here")]
    Claim(String),
    /// The sign-in behind it was of another kind.
    #[error("the token's `acr` is not one that is asked for here")]
    AuthenticationContext,
    /// The sign-in behind it was too long ago.
    #[error("the token's `auth_time` is too long ago, or missing")]
    AuthenticationAge,
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
            Self::Claim(_) => Reason::PolicyClaim,
            Self::AuthenticationContext => Reason::PolicyAuthenticationContext,
            Self::AuthenticationAge => Reason::PolicyAuthenticationAge,
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

    /// What it is to an admission that rests on it when it does not hold any more.
    fn ended(&self, reason: Reason) -> AdmissionEnded {
        AdmissionEnded::Certificate(reason)
    }
}

/// Leave to be served, with what it rests on. It ends at its deadline, or when a revocation rule comes to hit the token: whatever is
/// still streaming then is cut. Made only by [`admit`].
#[derive(Clone, Debug)]
pub struct Admission {
    grounds: Arc<Grounds>,
    conditions: Vec<Arc<dyn Condition>>,
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
    /// The browser session that it was used in is over.
    #[error("the session is over: {0}")]
    Session(Reason),
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
            Self::Certificate(reason) | Self::Session(reason) => reason,
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
        let stands =
            |condition: &Arc<dyn Condition>| condition.standing(now).map(|_| ()).map_err(|reason| condition.ended(reason));
        self.conditions.iter().try_for_each(stands)
    }

    /// The same leave, for as long as the condition holds too.
    #[must_use]
    pub fn on_condition(mut self, condition: Arc<dyn Condition>) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Completes when it ends.
    pub fn ended(&self, clock: Arc<dyn Clock>) -> impl Future<Output = AdmissionEnded> + Send + use<> {
        let admission = self.clone();
        async move {
            let mut bells = bells(&admission.conditions);
            bells.extend(admission.grounds.revocations.as_ref().map(|revocations| revocations.subscribe()));
            until_ended(bells, Arc::clone(&clock), |now| {
                admission.standing(clock.as_ref())?;
                Ok(last_second(&admission.conditions, now)?
                    .map_or(admission.grounds.deadline, |until| until.min(admission.grounds.deadline)))
            })
            .await
        }
    }
}

/// Leave to be served that rests on conditions alone, where there is no token: a certificate that is good, for a connection that is not
/// HTTP. Made only while all of them hold; it ends when one of them does not any more.
#[derive(Clone, Debug)]
pub struct Standing {
    conditions: Vec<Arc<dyn Condition>>,
}

impl Standing {
    /// Leave that rests on the first condition, and on the others.
    ///
    /// # Errors
    /// Why one of them does not hold at `now`.
    pub fn rest_on(first: Arc<dyn Condition>, others: Vec<Arc<dyn Condition>>, now: Timestamp) -> Result<Self, Reason> {
        let conditions: Vec<_> = std::iter::once(first).chain(others).collect();
        conditions.iter().try_for_each(|condition| condition.standing(now).map(|_| ()))?;
        Ok(Self { conditions })
    }

    /// Completes when it ends.
    pub fn ended(&self, clock: Arc<dyn Clock>) -> impl Future<Output = AdmissionEnded> + Send + use<> {
        let conditions = self.conditions.clone();
        async move {
            let bells = bells(&conditions);
            until_ended(bells, clock, |now| Ok(last_second(&conditions, now)?.unwrap_or(now))).await
        }
    }
}

/// The second at which the first of some conditions does not hold any more, if nothing changes before: the last second of a certificate
/// still belongs to it.
fn last_second(conditions: &[Arc<dyn Condition>], now: Timestamp) -> Result<Option<Timestamp>, AdmissionEnded> {
    let mut first: Option<Timestamp> = None;
    for condition in conditions {
        let until = condition.standing(now).map_err(|reason| condition.ended(reason))?.plus(Lifetime::from_seconds(1));
        first = Some(first.map_or(until, |first| first.min(until)));
    }
    Ok(first)
}

fn bells(conditions: &[Arc<dyn Condition>]) -> Vec<watch::Receiver<()>> {
    conditions.iter().map(|condition| condition.subscribe()).collect()
}

/// Completes when what is asked for stands no more. `standing` says until when it stands at the latest, and is asked again then, whenever
/// a bell rings, and now and then.
async fn until_ended(
    mut bells: Vec<watch::Receiver<()>>,
    clock: Arc<dyn Clock>,
    standing: impl Fn(Timestamp) -> Result<Timestamp, AdmissionEnded> + Send,
) -> AdmissionEnded {
    loop {
        let Ok(now) = clock.now() else { return AdmissionEnded::Clock };
        let left = match standing(now) {
            Ok(until) => Duration::from_secs(until.seconds_since(now).max(1)),
            Err(ended) => return ended,
        };
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            () = any_rings(&mut bells) => {}
        }
    }
}

/// Completes when one of them rings; never where there is none.
async fn any_rings(bells: &mut [watch::Receiver<()>]) {
    if bells.is_empty() {
        return std::future::pending().await;
    }
    // The senders live as long as the admission.
    let rings = bells.iter_mut().map(|bell| Box::pin(async move { drop(bell.changed().await) }));
    futures_util::future::select_all(rings).await;
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
    let is_here = |audience: &Audience| *audience == requirements.audience || requirements.more_audiences.contains(audience);
    if !facts.audience.iter().any(is_here) {
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
    requirements.claims.iter().try_for_each(|rule| rule.check(facts))?;
    let has_one = |scopes: &Scope| scopes.is_empty() || !scopes.intersection(&facts.scope).is_empty();
    if !requirements.scopes.is_subset(&facts.scope) || !has_one(&requirements.any_scopes) {
        return Err(AdmitError::Scope);
    }
    if let Some(step_up) = &requirements.step_up {
        step_up.check(facts, token.leeway(), moment.wall)?;
    }
    let deadline = facts.expires.plus(token.leeway());
    let revocations = revocations.map(|check| Arc::clone(&check.revocations));
    Ok(Admission { grounds: Arc::new(Grounds { token, deadline, revocations }), conditions: Vec::new() })
}
