//! The userinfo endpoint (OpenID Connect Core §5.3): a protected resource like any other, with an audience of its own.

use serde_json::{Map, Value, json};

use super::authorization::from_json;
use super::error::{Fault, OauthError};
use super::grant::refresh_token::{FamilyState, Origin};
use super::metadata::path;
use super::server::AuthorizationServer;
use crate::binding::dpop::{DpopError, NonceRule, ProofRequest, ProvenDpop};
use crate::binding::{self, BindingError, Policy, Presenter};
use crate::clients::Message;
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::oidc::claims;
use crate::resource::{self, Answer, PresentError, Presented, Scheme};
use crate::token::TokenFacts;

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Userinfo {
    /// A JSON object.
    Plain(Map<String, Value>),
    /// A JWT, signed, encrypted or both, as the client registered for (§5.3.2).
    Jwt(String),
}

/// A request to be told about a person.
#[derive(Debug)]
pub struct UserinfoRequest<'a> {
    /// The method, which a DPoP proof names.
    pub method: &'a str,
    /// The access token.
    pub presented: Result<Presented, PresentError>,
    /// The `DPoP` field.
    pub proof: Result<Option<&'a str>, DpopError>,
    /// Who sends it.
    pub presenter: Presenter<'a>,
}

/// Why a client is told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserinfoError {
    /// A challenge (RFC 6750 §3, RFC 9449 §7.1).
    Denied(Denied),
    /// Something of ours.
    Failed(Fault),
}

/// A challenge to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What the client is told.
    pub answer: Answer,
    /// The scheme that it used.
    pub scheme: Option<Scheme>,
    /// The private reason.
    pub reason: Reason,
    /// The nonce for its next proof (RFC 9449 §9).
    pub dpop_nonce: Option<String>,
}

impl From<OauthError> for UserinfoError {
    fn from(error: OauthError) -> Self {
        match error {
            OauthError::Failed(fault) => Self::Failed(fault),
            OauthError::Refused(refusal) => Self::denied(NOT_VALID, refusal.reason),
            // No client authenticates here: this is never seen.
            OauthError::Throttled(..) => Self::Failed(Fault::Defect(Reason::Defect)),
        }
    }
}

const NOT_VALID: Answer = Answer::InvalidToken("The access token is not valid");

impl UserinfoError {
    const fn denied(answer: Answer, reason: Reason) -> Self {
        Self::Denied(Denied { answer, scheme: None, reason, dpop_nonce: None })
    }
}

impl<E: Into<resource::Refusal>> From<E> for UserinfoError {
    fn from(error: E) -> Self {
        let refusal = error.into();
        Self::denied(refusal.answer(), refusal.reason())
    }
}

impl AuthorizationServer {
    /// Tells about the person whom an access token speaks of, with the nonce for the client's next proof where one is due.
    ///
    /// # Errors
    /// A challenge, or a fault of ours.
    pub async fn userinfo(&self, request: UserinfoRequest<'_>) -> Result<(Userinfo, Option<String>), UserinfoError> {
        let now = self.clock.now().map_err(OauthError::from)?;
        let scheme = request.presented.as_ref().ok().and_then(Presented::scheme);
        self.tell(request, now).await.map_err(|error| match error {
            UserinfoError::Denied(denied) => {
                let wants_nonce = matches!(denied.answer, Answer::UseNonce(_))
                    || (matches!(denied.answer, Answer::InvalidProof(_)) && self.dpop.rules().nonce == NonceRule::Required);
                let dpop_nonce = if wants_nonce { self.dpop.nonce(now) } else { None };
                UserinfoError::Denied(Denied { scheme, dpop_nonce, ..denied })
            }
            failed => failed,
        })
    }

    async fn tell(&self, request: UserinfoRequest<'_>, now: Timestamp) -> Result<(Userinfo, Option<String>), UserinfoError> {
        let presented = request.presented?;
        let text = presented.token().ok_or(resource::Refusal::Absent)?.as_str();
        let recognised = self.recognise(text).map_err(|reason| UserinfoError::denied(NOT_VALID, reason))?;
        self.standing(&recognised, now).map_err(|reason| match reason {
            Reason::TokenExpired => UserinfoError::denied(Answer::InvalidToken("The access token expired"), reason),
            Reason::TokenRevoked => UserinfoError::denied(Answer::InvalidToken("The access token was revoked"), reason),
            reason => UserinfoError::denied(NOT_VALID, reason),
        })?;
        let facts = recognised.facts();
        let proof = match presented.scheme() {
            Some(Scheme::Dpop) => Some(self.check_presented_proof(request.method, request.proof, text, facts, now).await?),
            _ => None,
        };
        // RFC 8705 §3, RFC 9449 §7.1: a bound token is its key's alone, here as anywhere.
        let presenter = request.presenter.with_proof(proof.as_ref());
        let facts = binding::prove(facts.clone(), &presenter, Policy::Optional)?.into_inner();
        self.resources.userinfo_right(&facts.audience).ok_or(resource::AdmitError::Audience)?;
        if !facts.scope.contains("openid") {
            return Err(resource::AdmitError::Scope.into());
        }
        Ok((self.told(&facts, now).await?, self.next_nonce(proof.as_ref(), now)))
    }

    /// The proof that goes with a token bound to a DPoP key (RFC 9449 §7.1).
    async fn check_presented_proof(
        &self,
        method: &str,
        proof: Result<Option<&str>, DpopError>,
        token: &str,
        facts: &TokenFacts,
        now: Timestamp,
    ) -> Result<ProvenDpop, UserinfoError> {
        let proof = proof?.ok_or(DpopError::Absent)?;
        let targets = self.endpoints.targets(path::USERINFO);
        let checked = self.dpop.check(proof, &ProofRequest { method, targets: &targets, access_token: Some(token) }, now)?;
        let bound_to = facts.cnf.as_ref().and_then(|cnf| cnf.jkt()).ok_or(BindingError::SchemeMismatch)?;
        if !bound_to.matches(checked.thumbprint()) {
            return Err(BindingError::KeyMismatch.into());
        }
        Ok(checked.claim(&self.store).await?)
    }

    async fn told(&self, facts: &TokenFacts, now: Timestamp) -> Result<Userinfo, UserinfoError> {
        let gone = |reason| UserinfoError::denied(NOT_VALID, reason);
        let (Some(family), Some(client_id)) = (&facts.family, &facts.client_id) else { return Err(gone(Reason::TokenClaim)) };
        let client = self.clients.client(client_id).ok_or(gone(Reason::ClientUnknown))?;
        let record = self.store.family(family, now).await.map_err(OauthError::from)?.ok_or(gone(Reason::TokenRevoked))?;
        let FamilyState { granted, .. } = from_json(&record.state)?;
        let Origin::Person(granted) = granted else { return Err(gone(Reason::TokenAudience)) };
        let person = self.person(&granted.subject).await?;
        // Of the scope that this token has: a refreshed one may have less than was granted.
        let mut members = claims::told(&person, Some(&facts.scope), &granted.claims.userinfo);
        // §5.3.2: "The sub (subject) Claim MUST always be returned in the UserInfo Response."
        let subject = self.subject_for(&client, &granted.subject).map_err(UserinfoError::Failed)?;
        members.insert("sub".to_owned(), json!(subject));
        let is_encrypted = client.messages.encryption.contains_key(&Message::Userinfo);
        let Some(algorithm) = client.authorization.userinfo_signed_response_alg else {
            if !is_encrypted {
                return Ok(Userinfo::Plain(members));
            }
            let text = Value::Object(members).to_string();
            let encrypted = self.encrypted(&client, Message::Userinfo, Content::Claims, text).await;
            return encrypted.map(Userinfo::Jwt).map_err(UserinfoError::Failed);
        };
        members.insert("iss".to_owned(), json!(self.issuer));
        members.insert("aud".to_owned(), json!(client_id));
        let keys = self.keys.load_full();
        let absent = UserinfoError::Failed(Fault::Unavailable(Reason::SigningKeyAbsent));
        let signer = keys.signer(algorithm, TokenType::Jwt).ok_or(absent)?;
        let signed = signer.sign_compact(Value::Object(members).to_string().as_bytes());
        let signed = signed.map_err(|error| UserinfoError::Failed(Fault::Defect(error.reason())))?;
        let told = self.encrypted(&client, Message::Userinfo, Content::Jwt, signed).await;
        told.map(Userinfo::Jwt).map_err(UserinfoError::Failed)
    }
}
