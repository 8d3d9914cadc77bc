//! DPoP at our endpoints (RFC 9449 §5, §8, §10): the proof of a request, from its header field to a [`ProvenDpop`].

use http::HeaderMap;

use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::mint::Binding;
use super::profiles::Demand;
use super::server::AuthorizationServer;
use crate::binding::dpop::{self, CheckedProof, DpopError, NonceRule, ProofRequest, ProvenDpop};
use crate::binding::{BindingPolicy, ConfirmError};
use crate::clients::Client;
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::tls::PeerCertificate;

/// What a request presents as its proof. Not checked.
#[derive(Clone, Debug)]
pub struct PresentedProof(Result<Option<String>, DpopError>);

impl PresentedProof {
    /// The `DPoP` field of a request, if it has one. More than one is refused when it is looked at (RFC 9449 §4.3).
    pub fn of(headers: &HeaderMap) -> Self {
        Self(dpop::presented(headers).map(|proof| proof.map(str::to_owned)))
    }
}

impl AuthorizationServer {
    /// Checks the proof of a POST to the endpoint at `path`, if there is one: everything but whether it was used before, so that
    /// nobody fills our memory who has not authenticated.
    ///
    /// # Errors
    /// `invalid_dpop_proof` (RFC 9449 §5) and `use_dpop_nonce` (§8).
    pub fn check_proof(&self, presented: &PresentedProof, path: &str, now: Timestamp) -> Result<Option<CheckedProof>, Refusal> {
        let refused = |error| self.refuse_proof(error, now);
        let Some(proof) = presented.0.as_ref().map_err(|error| refused(*error))? else { return Ok(None) };
        let targets = self.endpoints.targets(path);
        let request = ProofRequest { method: "POST", targets: &targets, access_token: None };
        self.dpop.check(proof, &request, now).map(Some).map_err(refused)
    }

    /// Claims the `jti` of a checked proof: of all requests with it, at all replicas, one goes on.
    ///
    /// # Errors
    /// `invalid_dpop_proof` for a proof that was used; a fault when the database cannot say.
    pub async fn claim_proof(&self, proof: CheckedProof, now: Timestamp) -> Result<ProvenDpop, OauthError> {
        proof.claim(&self.store).await.map_err(|error| match error {
            DpopError::ReplayUnknown => Fault::Unavailable(Reason::ReplayUnknown).into(),
            error => self.refuse_proof(error, now).into(),
        })
    }

    /// What a token will be bound to: the key that was proven, as the registration wants it, or nothing by its policy.
    ///
    /// # Errors
    /// When what the registration demands was not proven, or a proof came that it does not provide for.
    pub fn confirm(
        &self,
        policy: BindingPolicy,
        certificate: Option<&PeerCertificate>,
        proof: Option<&ProvenDpop>,
        now: Timestamp,
    ) -> Result<Binding, Refusal> {
        policy.confirm(certificate, proof).map_err(|error| {
            let refused = |description| Refusal::new(ErrorCode::InvalidRequest, error.reason(), description);
            match error {
                // No failed authentication (RFC 8705 §2 and §3 are independent): the request lacks what it needs (RFC 6749 §5.2).
                ConfirmError::CertificateAbsent => refused(
                    "the tokens of this client are bound to a certificate, and the connection has none: \
                     use the endpoint in mtls_endpoint_aliases (RFC 8705 sections 3 and 5)",
                ),
                // RFC 9449 §5.2.
                ConfirmError::ProofAbsent => self.refuse_proof(DpopError::Absent, now),
                ConfirmError::ProofUnexpected => {
                    refused("this client's tokens are bound to a certificate: register dpop_bound_access_tokens to use DPoP")
                }
            }
        })
    }

    /// Whether the rules of a client's profile, and of this server's, let it have tokens of this binding.
    ///
    /// # Errors
    /// `unauthorized_client` for tokens bound to nothing where every token must be bound (FAPI 2.0 Security Profile §5.3.2.1).
    pub fn constrain(&self, client: &Client, binding: Binding) -> Result<Binding, Refusal> {
        match (&binding, self.rules(client).sender_constrained) {
            (Binding::Unbound(_), Demand::Required) => {
                let description = "this server's tokens are bound to a key, and this client is registered for plain bearer tokens: \
                    send a DPoP proof, or register tls_client_certificate_bound_access_tokens";
                Err(Refusal::new(ErrorCode::UnauthorizedClient, Reason::BindingRequired, description))
            }
            (Binding::Confirmed(_), _) | (Binding::Unbound(_), Demand::Optional) => Ok(binding),
        }
    }

    /// The nonce that goes with a good answer, where one is due (RFC 9449 §8.2).
    pub fn next_nonce(&self, proof: Option<&ProvenDpop>, now: Timestamp) -> Option<String> {
        proof.and_then(|proof| self.dpop.next_nonce(proof, now))
    }

    /// RFC 9449 §5, §8: the code, and the nonce to try again with wherever a nonce is wanted.
    fn refuse_proof(&self, error: DpopError, now: Timestamp) -> Refusal {
        let wants_nonce = error.wants_nonce().is_some();
        let code = if wants_nonce { ErrorCode::UseDpopNonce } else { ErrorCode::InvalidDpopProof };
        let refusal = Refusal::new(code, error.reason(), error.description());
        match wants_nonce || self.dpop.rules().nonce == NonceRule::Required {
            true => Refusal { dpop_nonce: self.dpop.nonce(now), ..refusal },
            false => refusal,
        }
    }
}
