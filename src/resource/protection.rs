//! The whole of it, as one sentence.

use std::sync::Arc;

use super::admission::{Admission, AdmitError, Requirements, RevocationCheck, admit};
use super::challenge::{Answer, Terms};
use super::dpop::{Asked, DpopAcceptance};
use super::moment::Moment;
use super::present::{PresentError, Presented, Scheme};
use super::verify::{TokenVerifier, Verification, VerifyError};
use http::HeaderValue;

use crate::binding::dpop::{DpopError, ProvenDpop};
use crate::binding::{self, BindingError, Presenter};
use crate::domain::Thumbprint;
use crate::event::Reason;
use crate::token::TokenFacts;

/// How one resource is protected.
#[derive(Clone, Debug)]
pub struct Protection {
    /// Whose tokens are accepted.
    pub verifier: Arc<TokenVerifier>,
    /// How they are verified.
    pub verification: Verification,
    /// Whether the binding must be proven.
    pub binding: binding::Policy,
    /// How DPoP proofs are taken; `None` where they are not, so that a token bound to a key is refused.
    pub dpop: Option<Arc<DpopAcceptance>>,
    /// What they must say.
    pub requirements: Requirements,
    /// The revocation rules that apply; `None` where the issuer offers no feed.
    pub revocations: Option<RevocationCheck>,
}

/// Why a request is not admitted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// No token.
    #[error("the request has no access token")]
    Absent,
    /// The way it is presented.
    #[error("{0}")]
    Present(#[from] PresentError),
    /// The token itself, or our means of verifying it.
    #[error("{0}")]
    Verify(#[from] VerifyError),
    /// The proof.
    #[error("{0}")]
    Dpop(#[from] DpopError),
    /// The presenter.
    #[error("{0}")]
    Binding(#[from] BindingError),
    /// The token's fitness here and now.
    #[error("{0}")]
    Admit(#[from] AdmitError),
}

/// A refusal, with what was known of the token by then: allow and deny are told with the same fields.
#[derive(Clone, Debug)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// What the token says, where its issuer stands by it.
    pub facts: Option<Arc<TokenFacts>>,
    /// The scheme that the token was presented with, if there was one.
    pub scheme: Option<Scheme>,
    /// The nonce that the caller's next proof is to have, for `DPoP-Nonce` (RFC 9449 §9).
    pub dpop_nonce: Option<HeaderValue>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, facts: None, scheme: None, dpop_nonce: None }
    }
}

/// A request that is admitted.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Leave to be served.
    pub admission: Admission,
    /// The key that was proven by a DPoP proof, if one was.
    pub dpop_key: Option<Thumbprint>,
    /// The nonce that the caller's next proof is to have, for `DPoP-Nonce` (RFC 9449 §8.2).
    pub dpop_nonce: Option<HeaderValue>,
}

impl Protection {
    /// Whether revocations are known well enough for tokens verified by their signature.
    ///
    /// # Errors
    /// [`AdmitError::Stale`].
    pub fn check_revocations(&self, moment: Moment) -> Result<(), AdmitError> {
        match &self.revocations {
            // An introspected token's server speaks for its rules.
            Some(check) if self.verification != Verification::Introspection => check.check_age(moment),
            _ => Ok(()),
        }
    }

    /// How DPoP proofs are taken here, where they are.
    pub fn accepts_dpop(&self) -> Option<&DpopAcceptance> {
        self.dpop.as_deref().filter(|_| self.binding.takes_dpop())
    }

    /// What a challenge says of this resource.
    pub fn terms(&self) -> Terms<'_> {
        Terms {
            audience: &self.requirements.audience,
            scopes: &self.requirements.scopes,
            bearer: self.binding.takes_bearer_scheme(),
            dpop: self.accepts_dpop().map(|acceptance| acceptance.dpop.rules().algorithms.as_slice()),
        }
    }

    /// Decides about one request: presented → verified → proven → admitted.
    ///
    /// # Errors
    /// The first step that fails, as [`Denied`].
    pub async fn decide(
        &self,
        presented: Presented,
        presenter: &Presenter<'_>,
        asked: &Asked<'_>,
        moment: Moment,
    ) -> Result<Granted, Denied> {
        let scheme = presented.scheme();
        let denied = |refusal: Refusal, facts: Option<&Arc<TokenFacts>>| Denied {
            dpop_nonce: self.accepts_dpop().and_then(|acceptance| acceptance.nonce_after(&refusal, moment)),
            refusal,
            facts: facts.map(Arc::clone),
            scheme,
        };
        let Some(token) = presented.token() else { return Err(denied(Refusal::Absent, None)) };
        let verified = self.verifier.verify(token.as_str(), self.verification, moment).await;
        let verified = verified.map_err(|error| denied(error.into(), None))?;
        let facts = Arc::clone(verified.facts());
        let proof = self.check_scheme(&presented, asked, &facts, moment).await.map_err(|error| denied(error, Some(&facts)))?;
        let presenter = presenter.with_proof(proof.as_ref());
        let proven = binding::prove(verified, &presenter, self.binding).map_err(|error| denied(error.into(), Some(&facts)))?;
        let admission = admit(proven, &self.requirements, self.revocations.as_ref(), moment)
            .map_err(|error| denied(error.into(), Some(&facts)))?;
        let next_nonce = |proof: &ProvenDpop| self.accepts_dpop()?.next_nonce(proof, moment);
        Ok(Granted {
            admission,
            dpop_key: proof.as_ref().map(|proof| *proof.thumbprint()),
            dpop_nonce: proof.as_ref().and_then(next_nonce),
        })
    }

    /// The proof that the DPoP scheme demands. Where bindings are ignored, both schemes are alike.
    async fn check_scheme(
        &self,
        presented: &Presented,
        asked: &Asked<'_>,
        facts: &TokenFacts,
        moment: Moment,
    ) -> Result<Option<ProvenDpop>, Refusal> {
        match presented {
            Presented::Dpop(token) if self.binding != binding::Policy::DangerOff => {
                let acceptance = self.accepts_dpop().ok_or(BindingError::ProofUnsupported)?;
                acceptance.prove(asked, token.as_str(), facts, moment).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Refusal {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Absent => Reason::TokenAbsent,
            Self::Present(error) => error.reason(),
            Self::Verify(error) => error.reason(),
            Self::Dpop(error) => error.reason(),
            Self::Binding(error) => error.reason(),
            Self::Admit(error) => error.reason(),
        }
    }

    /// What the caller is told (RFC 6750 §3.1; RFC 8705 §3 and RFC 9449 §7.1 for the binding).
    pub fn answer(&self) -> Answer {
        match self {
            Self::Absent => Answer::TokenWanted,
            Self::Present(PresentError::Ambiguous) => Answer::InvalidRequest("More than one Authorization field"),
            Self::Present(PresentError::InQuery) => Answer::InvalidRequest("An access token must not be sent in the query"),
            Self::Present(PresentError::Malformed) => Answer::InvalidToken("The access token is malformed"),
            Self::Verify(VerifyError::Keys(_)) => Answer::Unavailable("The keys of the authorization server are not at hand"),
            Self::Verify(VerifyError::Introspection(_)) => Answer::Unavailable("The authorization server does not answer"),
            Self::Verify(
                VerifyError::Jws(_) | VerifyError::Token(_) | VerifyError::Issuer | VerifyError::NotAJwt | VerifyError::Inactive,
            ) => Answer::InvalidToken("The access token is not valid"),
            Self::Binding(BindingError::CnfAbsent) => Answer::InvalidToken("The access token is bound to no key, and must be"),
            Self::Binding(BindingError::CertificateAbsent) => {
                Answer::InvalidToken("The access token is bound to a certificate, and the connection has none")
            }
            Self::Binding(BindingError::CertificateMismatch) => {
                Answer::InvalidToken("The access token is bound to another certificate")
            }
            Self::Dpop(error @ DpopError::ReplayUnknown) => Answer::Unavailable(error.description()),
            Self::Dpop(error) if error.wants_nonce().is_some() => Answer::UseNonce(error.description()),
            Self::Dpop(error) => Answer::InvalidProof(error.description()),
            Self::Binding(BindingError::ProofAbsent) => {
                Answer::InvalidToken("The access token is bound to a key: use the DPoP scheme, with a proof")
            }
            Self::Binding(BindingError::KeyMismatch) => Answer::InvalidToken("The access token is bound to another key"),
            Self::Binding(BindingError::SchemeMismatch) => {
                Answer::InvalidToken("The access token is not bound to a DPoP key: use the Bearer scheme")
            }
            Self::Binding(BindingError::ProofUnsupported) => {
                Answer::InvalidToken("The access token is bound to a key whose proof is not taken here")
            }
            Self::Admit(AdmitError::Audience) => Answer::InvalidToken("The access token is for another audience"),
            Self::Admit(AdmitError::Client) => Answer::Denied("This client is not served here"),
            Self::Admit(AdmitError::Scope) => Answer::InsufficientScope,
            Self::Admit(AdmitError::Dates(error)) => match error.reason() {
                Reason::TokenExpired => Answer::InvalidToken("The access token expired"),
                _ => Answer::InvalidToken("The access token is not valid yet"),
            },
            Self::Admit(AdmitError::Revoked(_)) => Answer::InvalidToken("The access token was revoked"),
            Self::Admit(AdmitError::Stale) => Answer::Unavailable("Revocations may have been missed"),
        }
    }
}
