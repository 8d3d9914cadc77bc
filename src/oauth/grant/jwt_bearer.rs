//! The JWT bearer grant (RFC 7523 §2.1): an assertion of a trusted issuer becomes an access token for its subject.

use serde_json::Value;

use super::delegation::{ActsBy, Lasting};
use super::{Approved, scope_within};
use crate::binding::replay::{Claim, Replay, ReplayKey};
use crate::clients::{ClientKeysError, GrantType, Published};
use crate::domain::{Actors, FamilyId, Timestamp};
use crate::event::Reason;
use crate::jose::json;
use crate::jose::jws::{Compact, JwsError};
use crate::jose::verify::VerifiedJws;
use crate::oauth::assertion_issuers::AssertionIssuer;
use crate::oauth::client_auth::{AssertionError, AssertionRules, AuthenticatedClient, RequestingClient, reason_of};
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::oauth::parameters::Parameters;
use crate::oauth::server::AuthorizationServer;

/// An assertion that stands, and what it approves. It is used up by [`AuthorizationServer::use_grant`].
#[derive(Debug)]
pub struct Granting {
    approved: Approved,
    key: ReplayKey,
    until: Timestamp,
}

/// RFC 7521 §4.1.1: "If the assertion is not valid or has expired", the code is `invalid_grant`.
fn invalid_grant(reason: Reason, description: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::InvalidGrant, reason, description)
}

impl AuthorizationServer {
    /// Judges an assertion: everything but whether it was used before.
    pub async fn granting(
        &self,
        requesting: &RequestingClient,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Granting, OauthError> {
        let client = match requesting {
            RequestingClient::Authenticated(client) if client.client().grant_types.contains(&GrantType::JwtBearer) => client,
            _ => {
                let description = "this client may not use the JWT bearer grant";
                return Err(Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description).into());
            }
        };
        let broken = |problem: &JwsError| invalid_grant(reason_of(problem), "the assertion cannot be read or does not verify");
        let refused = |problem: AssertionError| invalid_grant(problem.reason(), told(&problem));
        let assertion = Compact::parse(parameters.require("assertion")?).map_err(|problem| broken(&problem))?;
        AssertionRules::check_header(assertion.header()).map_err(refused)?;
        let unverified =
            json::parse_object(assertion.unverified_payload()).map_err(|problem| broken(&JwsError::Payload(problem)))?;
        let issuer = unverified.get("iss").and_then(|issuer| self.assertion_issuers.get(issuer.as_str()?, client.client_id()));
        let issuer = issuer.ok_or_else(|| {
            invalid_grant(Reason::AssertionIssuer, "the assertion's issuer is not trusted here, or not for this client")
        })?;
        let verified = self.verify_grant(client, issuer, &assertion).await?;
        let in_order = self.assertions.check_grant(verified.claims(), issuer.longest, now).map_err(refused)?;
        let subject = verified.claims().get("sub").and_then(|subject| issuer.subject(subject.as_str()?));
        let subject =
            subject.ok_or_else(|| invalid_grant(Reason::AssertionSubject, "the assertion's sub is nobody known here"))?;
        let resources = self.resources.meant(client.client(), parameters.all("resource"));
        let selected = self.resources.select(client.client(), resources.iter().map(String::as_str))?;
        let allowed = client.client().scope.intersection(&selected.scopes).intersection(&issuer.scope);
        let scope = scope_within(parameters, &allowed)?;
        let approved = Approved {
            grant: GrantType::JwtBearer,
            subject,
            family: FamilyId::random(&*self.randomness)?,
            scope,
            selected,
            actors: Actors::default(),
            exchanged: None,
            lasting: client.client().refreshing.grants.contains(&GrantType::JwtBearer).then(|| {
                let sub = verified.claims().get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
                Box::new(Lasting { acts_by: ActsBy::Assertion { issuer: issuer.issuer.clone(), sub }, resources, parent: None })
            }),
        };
        let key = ReplayKey::authorization_grant(&issuer.issuer, &in_order.token_id);
        Ok(Granting { approved, key, until: in_order.until })
    }

    /// Uses an assertion up: of all requests with it, at all replicas, one goes on.
    pub async fn use_grant(&self, granting: Granting) -> Result<Approved, OauthError> {
        match Replay::claim(&self.store, &granting.key, granting.until).await {
            Claim::First => Ok(granting.approved),
            Claim::Seen => Err(invalid_grant(Reason::AssertionReplayed, "this jti was used before (RFC 7523 section 3)").into()),
            Claim::Unavailable => Err(Fault::Unavailable(Reason::StoreUnavailable).into()),
        }
    }

    async fn verify_grant(
        &self,
        client: &AuthenticatedClient,
        issuer: &AssertionIssuer,
        assertion: &Compact<'_>,
    ) -> Result<VerifiedJws, OauthError> {
        let verified = match &issuer.keys {
            Published::Here(keys) => keys.verify(assertion).map_err(ClientKeysError::from),
            Published::At(uri) => self.client_keys.verify(client.client_id(), uri, assertion, self.clock.monotonic()).await,
        };
        verified.map_err(|problem| match problem {
            ClientKeysError::Jws(problem) => {
                invalid_grant(reason_of(&problem), "the assertion cannot be read or does not verify").into()
            }
            ClientKeysError::Unavailable(problem) => {
                tracing::warn!(issuer = issuer.issuer, %problem, "cannot fetch the keys of an assertion issuer");
                Fault::Unavailable(Reason::IssuerKeysUnavailable).into()
            }
            ClientKeysError::Certificate(problem) => invalid_grant(problem.reason(), "the assertion does not verify").into(),
        })
    }
}

/// What the presenter is told: the words of client assertions, said of this one.
fn told(problem: &AssertionError) -> String {
    problem.to_string().replacen("client_assertion", "assertion", 1)
}
