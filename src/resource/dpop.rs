//! DPoP proofs at a protected resource (RFC 9449 §7).

use std::sync::Arc;

use http::HeaderValue;

use super::moment::Moment;
use super::protection::Refusal;
use crate::binding::BindingError;
use crate::binding::dpop::{Dpop, DpopError, NonceRule, ProofRequest, ProvenDpop, TargetUri};
use crate::binding::replay::Replay;
use crate::token::TokenFacts;

/// How DPoP proofs are taken: what is asked of them, and who remembers which were used.
#[derive(Clone, Debug)]
pub struct DpopAcceptance {
    /// The checks, and the nonces.
    pub dpop: Arc<Dpop>,
    /// The memory of used proofs, shared by all that accept the same nonces.
    pub memory: Arc<dyn Replay>,
}

/// What a proof must have been made for, and the proof itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The authority that the caller addressed: `host` or `host:port`.
    pub authority: &'a str,
    /// The path that the caller addressed, without query.
    pub path: &'a str,
    /// The request's `DPoP` field: see [`crate::binding::dpop::presented`].
    pub proof: Result<Option<&'a str>, DpopError>,
}

impl DpopAcceptance {
    /// Checks the proof of a request with this access token, and claims it. A proof with another key than the token's is refused before
    /// it is claimed, so that nobody fills the memory without a token.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) async fn prove(
        &self,
        asked: &Asked<'_>,
        access_token: &str,
        facts: &TokenFacts,
        moment: Moment,
    ) -> Result<ProvenDpop, Refusal> {
        let proof = asked.proof?.ok_or(DpopError::Absent)?;
        let target = TargetUri::parse(&format!("https://{}{}", asked.authority, asked.path)).map_err(|_| DpopError::Target)?;
        let request = ProofRequest { method: asked.method, targets: &[target], access_token: Some(access_token) };
        let checked = self.dpop.check(proof, &request, moment.wall)?;
        let bound_to = facts.cnf.as_ref().and_then(|cnf| cnf.jkt()).ok_or(BindingError::SchemeMismatch)?;
        if !bound_to.matches(checked.thumbprint()) {
            return Err(BindingError::KeyMismatch.into());
        }
        Ok(checked.claim(self.memory.as_ref()).await?)
    }

    /// The nonce to hand out with a refusal: where a proof must have one (RFC 9449 §9).
    pub(super) fn nonce_after(&self, refusal: &Refusal, moment: Moment) -> Option<HeaderValue> {
        let wanted = match refusal {
            Refusal::Dpop(error) => error.wants_nonce().is_some() || self.dpop.rules().nonce == NonceRule::Required,
            Refusal::Absent => self.dpop.rules().nonce == NonceRule::Required,
            _ => false,
        };
        if wanted { nonce_value(self.dpop.nonce(moment.wall)) } else { None }
    }

    /// The nonce to hand out with a good answer (RFC 9449 §8.2, §9).
    pub(super) fn next_nonce(&self, proven: &ProvenDpop, moment: Moment) -> Option<HeaderValue> {
        nonce_value(self.dpop.next_nonce(proven, moment.wall))
    }
}

fn nonce_value(nonce: Option<String>) -> Option<HeaderValue> {
    nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok())
}
