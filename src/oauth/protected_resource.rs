//! What the server's own protected resources do with an access token of ours: presented → recognised → standing → proven (RFC 6750,
//! RFC 8705 §3, RFC 9449 §7). What the token must be for is each resource's own.

use super::error::{Fault, OauthError};
use super::server::AuthorizationServer;
use crate::binding::dpop::{DpopError, NonceRule, ProofRequest, ProvenDpop, TargetUri};
use crate::binding::{self, BindingError, Policy, Presenter};
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::resource::{self, Answer, PresentError, Presented, Scheme};
use crate::token::TokenFacts;

/// A request to a protected resource of ours.
#[derive(Debug)]
pub struct ResourceRequest<'a> {
    /// The method, which a DPoP proof names.
    pub method: &'a str,
    /// The access token.
    pub presented: Result<Presented, PresentError>,
    /// The `DPoP` field.
    pub proof: Result<Option<&'a str>, DpopError>,
    /// Who sends it.
    pub presenter: Presenter<'a>,
}

/// Why a protected resource does not serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceError {
    /// A challenge (RFC 6750 §3, RFC 9449 §7.1).
    Denied(Denied),
    /// Something of ours, or too much of it.
    Failed(OauthError),
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

/// What is said of a token that is worth nothing here.
pub(in crate::oauth) const NOT_VALID: Answer = Answer::InvalidToken("The access token is not valid");

impl ResourceError {
    pub(in crate::oauth) const fn denied(answer: Answer, reason: Reason) -> Self {
        Self::Denied(Denied { answer, scheme: None, reason, dpop_nonce: None })
    }
}

impl From<OauthError> for ResourceError {
    fn from(error: OauthError) -> Self {
        match error {
            OauthError::Refused(refusal) => Self::denied(NOT_VALID, refusal.reason),
            failed @ (OauthError::Failed(_) | OauthError::Throttled(..)) => Self::Failed(failed),
        }
    }
}

impl From<Fault> for ResourceError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl<E: Into<resource::Refusal>> From<E> for ResourceError {
    fn from(error: E) -> Self {
        let refusal = error.into();
        Self::denied(refusal.answer(), refusal.reason())
    }
}

/// A token of ours that stands, and whose presenter has proven to hold its key, where it has one. What it is for has not been looked at.
#[derive(Debug)]
pub(in crate::oauth) struct ProvenToken {
    facts: TokenFacts,
    proof: Option<ProvenDpop>,
}

impl ProvenToken {
    /// What it says.
    pub(in crate::oauth) const fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    /// The proof that came with it, if one did.
    pub(in crate::oauth) const fn proof(&self) -> Option<&ProvenDpop> {
        self.proof.as_ref()
    }
}

impl AuthorizationServer {
    /// Proves that the access token of a request is ours, stands, and is its presenter's. `targets` is what `htu` of a proof may be.
    pub(in crate::oauth) async fn prove_presented(
        &self,
        request: ResourceRequest<'_>,
        targets: &[TargetUri],
        policy: Policy,
        now: Timestamp,
    ) -> Result<ProvenToken, ResourceError> {
        let presented = request.presented?;
        let text = presented.token().ok_or(resource::Refusal::Absent)?.as_str();
        let recognised = self.recognise(text).map_err(|reason| ResourceError::denied(NOT_VALID, reason))?;
        self.standing(&recognised, now).map_err(|reason| match reason {
            Reason::TokenExpired => ResourceError::denied(Answer::InvalidToken("The access token expired"), reason),
            Reason::TokenRevoked => ResourceError::denied(Answer::InvalidToken("The access token was revoked"), reason),
            reason => ResourceError::denied(NOT_VALID, reason),
        })?;
        let facts = recognised.facts();
        let proof = match presented.scheme() {
            Some(Scheme::Dpop) => {
                let asked = ProofRequest { method: request.method, targets, access_token: Some(text) };
                Some(self.check_presented_proof(request.proof, &asked, facts, now).await?)
            }
            _ => None,
        };
        // RFC 8705 §3, RFC 9449 §7.1: a bound token is its key's alone, here as anywhere.
        let presenter = request.presenter.with_proof(proof.as_ref());
        let facts = binding::prove(facts.clone(), &presenter, policy)?.into_inner();
        Ok(ProvenToken { facts, proof })
    }

    /// The same refusal, with the nonce that the caller's next proof is to have, where one is wanted (RFC 9449 §9).
    pub(in crate::oauth) fn with_nonce(&self, error: ResourceError, scheme: Option<Scheme>, now: Timestamp) -> ResourceError {
        match error {
            ResourceError::Denied(denied) => {
                let wants_nonce = matches!(denied.answer, Answer::UseNonce(_))
                    || (matches!(denied.answer, Answer::InvalidProof(_)) && self.dpop.rules().nonce == NonceRule::Required);
                let dpop_nonce = if wants_nonce { self.dpop.nonce(now) } else { None };
                ResourceError::Denied(Denied { scheme, dpop_nonce, ..denied })
            }
            failed @ ResourceError::Failed(_) => failed,
        }
    }

    /// The proof that goes with a token bound to a DPoP key (RFC 9449 §7.1).
    async fn check_presented_proof(
        &self,
        proof: Result<Option<&str>, DpopError>,
        asked: &ProofRequest<'_>,
        facts: &TokenFacts,
        now: Timestamp,
    ) -> Result<ProvenDpop, ResourceError> {
        let proof = proof?.ok_or(DpopError::Absent)?;
        let checked = self.dpop.check(proof, asked, now)?;
        let bound_to = facts.cnf.as_ref().and_then(|cnf| cnf.jkt()).ok_or(BindingError::SchemeMismatch)?;
        if !bound_to.matches(checked.thumbprint()) {
            return Err(BindingError::KeyMismatch.into());
        }
        Ok(checked.claim(&self.store).await?)
    }
}
