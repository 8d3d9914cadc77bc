//! The userinfo endpoint (OpenID Connect Core §5.3): a protected resource like any other, with an audience of its own.

use serde_json::{Map, Value, json};

use super::authorization::from_json;
use super::error::{Fault, OauthError};
use super::grant::refresh_token::FamilyState;
use super::server::AuthorizationServer;
use crate::binding::{self, Policy, Presenter};
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::keys::TokenType;
use crate::oidc::claims;
use crate::resource::{self, Answer, PresentError, Presented};
use crate::token::TokenFacts;

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Userinfo {
    /// A JSON object.
    Plain(Map<String, Value>),
    /// A signed JWT, as the client registered for (§5.3.2).
    Signed(String),
}

/// Why a client is told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserinfoError {
    /// A challenge (RFC 6750 §3), and the private reason.
    Denied(Answer, Reason),
    /// Something of ours.
    Failed(Fault),
}

impl From<OauthError> for UserinfoError {
    fn from(error: OauthError) -> Self {
        match error {
            OauthError::Failed(fault) => Self::Failed(fault),
            OauthError::Refused(refusal) => Self::Denied(NOT_VALID, refusal.reason),
        }
    }
}

const NOT_VALID: Answer = Answer::InvalidToken("The access token is not valid");

impl From<resource::Refusal> for UserinfoError {
    fn from(refusal: resource::Refusal) -> Self {
        Self::Denied(refusal.answer(), refusal.reason())
    }
}

impl AuthorizationServer {
    /// Tells about the person whom an access token speaks of. `presented` is the token of the request, `presenter` who sent it.
    pub async fn userinfo(
        &self,
        presented: Result<Presented, PresentError>,
        presenter: &Presenter<'_>,
    ) -> Result<Userinfo, UserinfoError> {
        let now = self.clock.now().map_err(OauthError::from)?;
        let text = match presented.map_err(resource::Refusal::from)? {
            Presented::Bearer(token) => token,
            Presented::Nothing => return Err(resource::Refusal::Absent.into()),
        };
        let recognised = self.recognise(text.as_str()).map_err(|reason| UserinfoError::Denied(NOT_VALID, reason))?;
        self.standing(&recognised, now).map_err(|reason| match reason {
            Reason::TokenExpired => UserinfoError::Denied(Answer::InvalidToken("The access token expired"), reason),
            Reason::TokenRevoked => UserinfoError::Denied(Answer::InvalidToken("The access token was revoked"), reason),
            reason => UserinfoError::Denied(NOT_VALID, reason),
        })?;
        // RFC 8705 §3: a bound token is its key's alone, here as anywhere.
        let facts = binding::prove(recognised.facts().clone(), presenter, Policy::Optional);
        let facts = facts.map_err(|error| UserinfoError::from(resource::Refusal::from(error)))?.into_inner();
        let right = self.resources.userinfo_right(&facts.audience);
        right.ok_or(resource::Refusal::from(resource::AdmitError::Audience))?;
        if !facts.scope.contains("openid") {
            return Err(resource::Refusal::from(resource::AdmitError::Scope).into());
        }
        self.told(&facts, now).await
    }

    async fn told(&self, facts: &TokenFacts, now: Timestamp) -> Result<Userinfo, UserinfoError> {
        let gone = |reason| UserinfoError::Denied(NOT_VALID, reason);
        let (Some(family), Some(client_id)) = (&facts.family, &facts.client_id) else { return Err(gone(Reason::TokenClaim)) };
        let client = self.clients.client(client_id).ok_or(gone(Reason::ClientUnknown))?;
        let record = self.store.family(family, now).await.map_err(OauthError::from)?.ok_or(gone(Reason::TokenRevoked))?;
        let FamilyState { granted, .. } = from_json(&record.state)?;
        let person = self.person(&granted.subject).await?;
        // Of the scope that this token has: a refreshed one may have less than was granted.
        let mut members = claims::told(&person, Some(&facts.scope), &granted.claims.userinfo);
        // §5.3.2: "The sub Claim MUST always be returned".
        let subject = self.subject_for(&client, &granted.subject).map_err(UserinfoError::Failed)?;
        members.insert("sub".to_owned(), json!(subject));
        let Some(algorithm) = client.authorization.userinfo_signed_response_alg else { return Ok(Userinfo::Plain(members)) };
        members.insert("iss".to_owned(), json!(self.issuer));
        members.insert("aud".to_owned(), json!(client_id));
        let keys = self.keys.load();
        let absent = UserinfoError::Failed(Fault::Unavailable(Reason::SigningKeyAbsent));
        let signer = keys.signer(algorithm, TokenType::Jwt).ok_or(absent)?;
        let signed = signer.sign_compact(Value::Object(members).to_string().as_bytes());
        signed.map(Userinfo::Signed).map_err(|error| UserinfoError::Failed(Fault::Defect(error.reason())))
    }
}
