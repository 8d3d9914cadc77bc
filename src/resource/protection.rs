//! The whole of it, as one sentence.

use std::sync::Arc;

use super::admission::{Admission, AdmitError, Requirements, RevocationCheck, admit};
use super::challenge::{Answer, Terms};
use super::dpop::{Asked, DpopAcceptance};
use super::moment::Moment;
use super::present::{PresentError, Presented, Scheme};
use super::verify::{TokenVerifier, Verification, VerifyError, looks_like_jws};
use http::HeaderValue;

use crate::binding::dpop::{DpopError, ProvenDpop};
use crate::binding::{self, BindingError, Presenter};
use crate::domain::Thumbprint;
use crate::event::Reason;
use crate::jose::jws::Compact;
use crate::token::TokenFacts;

/// How one resource is protected.
#[derive(Clone, Debug)]
pub struct Protection {
    /// Whose tokens are accepted: one issuer at least.
    pub issuers: Vec<AcceptedIssuer>,
    /// How they are verified.
    pub verification: Verification,
    /// Whether the binding must be proven.
    pub binding: binding::Policy,
    /// How DPoP proofs are taken; `None` where they are not, so that a token bound to a key is refused.
    pub dpop: Option<Arc<DpopAcceptance>>,
    /// What they must say.
    pub requirements: Requirements,
    /// Where the resource's metadata are published (RFC 9728), if they are: challenges name it.
    pub resource_metadata: Option<String>,
}

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct AcceptedIssuer {
    /// What people call it, for metrics.
    pub name: String,
    /// Verifies its tokens.
    pub verifier: Arc<TokenVerifier>,
    /// The revocation rules that apply to its tokens; `None` where it offers no feed.
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
        // An introspected token's server speaks for its rules.
        if self.verification == Verification::Introspection {
            return Ok(());
        }
        self.issuers.iter().filter_map(|issuer| issuer.revocations.as_ref()).try_for_each(|check| check.check_age(moment))
    }

    /// Whose token this is, by what it says and nobody has verified yet: only the keys of that issuer can verify it then. A token that
    /// says nothing is for the one issuer that can be asked.
    ///
    /// # Errors
    /// [`VerifyError::Issuer`], [`VerifyError::NotAJwt`].
    pub fn issuer_of(&self, token: &str) -> Result<&AcceptedIssuer, VerifyError> {
        if let [only] = self.issuers.as_slice() {
            return Ok(only);
        }
        if looks_like_jws(token) {
            #[derive(serde::Deserialize)]
            struct Named {
                iss: String,
            }
            let jws = Compact::parse(token).map_err(VerifyError::Jws)?;
            let named: Named = serde_json::from_slice(jws.unverified_payload()).map_err(|_| VerifyError::Issuer)?;
            let is_named = |issuer: &&AcceptedIssuer| issuer.verifier.issuer().as_str() == named.iss;
            return self.issuers.iter().find(is_named).ok_or(VerifyError::Issuer);
        }
        // With several a token would be told to somebody whose it is not.
        let mut introspecting = self.issuers.iter().filter(|issuer| issuer.verifier.introspection().is_some());
        match (introspecting.next(), introspecting.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(VerifyError::NotAJwt),
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
            step_up: self.requirements.step_up.as_ref(),
            resource_metadata: self.resource_metadata.as_deref(),
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
        let issuer = self.issuer_of(token.as_str()).map_err(|error| denied(error.into(), None))?;
        // An invented token costs its issuer a question: nobody asks one who could use no token here.
        let is_asked_about = match self.verification {
            Verification::Introspection => true,
            Verification::Auto => !looks_like_jws(token.as_str()),
            Verification::Jwt => false,
        };
        if is_asked_about && matches!(presented, Presented::Bearer(_)) {
            binding::check_bearer(presenter, self.binding).map_err(|error| denied(error.into(), None))?;
        }
        let verified = issuer.verifier.verify(token.as_str(), self.verification, moment).await;
        let verified = verified.map_err(|error| denied(error.into(), None))?;
        let facts = Arc::clone(verified.facts());
        let proof = self.check_scheme(&presented, asked, &facts, moment).await.map_err(|error| denied(error, Some(&facts)))?;
        let presenter = presenter.with_proof(proof.as_ref());
        let proven = binding::prove(verified, &presenter, self.binding).map_err(|error| denied(error.into(), Some(&facts)))?;
        let admission = admit(proven, &self.requirements, issuer.revocations.as_ref(), moment)
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
            Self::Binding(BindingError::NothingShown) => {
                Answer::InvalidToken("No access token is taken here without a client certificate or a DPoP proof")
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
            Self::Admit(AdmitError::Claim(_)) => Answer::Denied("The access token is not for somebody who is served here"),
            Self::Admit(AdmitError::AuthenticationContext) => {
                Answer::InsufficientAuthentication("A stronger sign-in is needed here")
            }
            Self::Admit(AdmitError::AuthenticationAge) => {
                Answer::InsufficientAuthentication("A more recent sign-in is needed here")
            }
            Self::Admit(AdmitError::Dates(error)) => match error.reason() {
                Reason::TokenExpired => Answer::InvalidToken("The access token expired"),
                _ => Answer::InvalidToken("The access token is not valid yet"),
            },
            Self::Admit(AdmitError::Revoked(_)) => Answer::InvalidToken("The access token was revoked"),
            Self::Admit(AdmitError::Stale) => Answer::Unavailable("Revocations may have been missed"),
        }
    }
}
