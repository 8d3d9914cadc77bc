//! The whole of it, as one sentence.

use std::sync::Arc;

use super::admission::{Admission, AdmitError, Requirements, RevocationCheck, admit};
use super::challenge::Answer;
use super::moment::Moment;
use super::present::{PresentError, Presented};
use super::verify::{TokenVerifier, Verification, VerifyError};
use crate::binding::{self, BindingError, Presenter};
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
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, facts: None }
    }
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

    /// Decides about one request: presented → verified → proven → admitted.
    ///
    /// # Errors
    /// The first step that fails, as [`Denied`].
    pub async fn decide(&self, presented: Presented, presenter: &Presenter<'_>, moment: Moment) -> Result<Admission, Denied> {
        let Presented::Bearer(token) = presented else { return Err(Refusal::Absent.into()) };
        let verified = self.verifier.verify(token.as_str(), self.verification, moment).await.map_err(Refusal::from)?;
        let facts = Arc::clone(verified.facts());
        let denied = |refusal| Denied { refusal, facts: Some(Arc::clone(&facts)) };
        let proven = binding::prove(verified, presenter, self.binding).map_err(|error| denied(error.into()))?;
        admit(proven, &self.requirements, self.revocations.as_ref(), moment).map_err(|error| denied(error.into()))
    }
}

impl Refusal {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Absent => Reason::TokenAbsent,
            Self::Present(error) => error.reason(),
            Self::Verify(error) => error.reason(),
            Self::Binding(error) => error.reason(),
            Self::Admit(error) => error.reason(),
        }
    }

    /// What the caller is told (RFC 6750 §3.1; RFC 8705 §3 for the binding).
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
            Self::Binding(BindingError::CnfAbsent) => {
                Answer::InvalidToken("The access token is not bound to a certificate, and must be")
            }
            Self::Binding(BindingError::CertificateAbsent) => {
                Answer::InvalidToken("The access token is bound to a certificate, and the connection has none")
            }
            Self::Binding(BindingError::CertificateMismatch) => {
                Answer::InvalidToken("The access token is bound to another certificate")
            }
            Self::Binding(BindingError::ProofUnsupported) => {
                Answer::InvalidToken("The access token is bound to a key whose proof is not taken here")
            }
            Self::Admit(AdmitError::Audience) => Answer::InvalidToken("The access token is for another audience"),
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
