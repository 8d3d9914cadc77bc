//! The token endpoint (RFC 6749 §3.2).

use super::client_auth::{ClientRequest, RequestingClient};
use super::dpop::PresentedProof;
use super::error::{Fault, OauthError, Refusal};
use super::grant::authorization_code::Redeemable;
use super::grant::device_code::AllowedDevice;
use super::grant::jwt_bearer::Granting;
use super::grant::refresh_token::Refreshable;
use super::grant::token_exchange::Exchangeable;
use super::grant::{self, Approved};
use super::metadata::path;
use super::mint::{Binding, IssuedToken, Mint};
use super::server::AuthorizationServer;
use crate::clients::GrantType;
use crate::domain::{FamilyId, RequestId, Timestamp};
use crate::event::{Reason, TokenFormat, Trailed};
use crate::wire::in_step;

impl AuthorizationServer {
    /// Answers a token request, with the nonce for the client's next DPoP proof where one is due. The token exists for the client only
    /// once its audit event is queued.
    ///
    /// Whatever waits for the database or for somebody else does so on the heap: a future has room for its largest branch, is moved
    /// several times, and a client that asks for itself would pay for the room that codes and refresh tokens need.
    pub async fn token(
        &self,
        request: &ClientRequest<'_>,
        proof: &PresentedProof,
        request_id: RequestId,
    ) -> Result<(IssuedToken, Option<String>), OauthError> {
        let now = self.clock.now()?;
        let grant = grant::requested(request.parameters, !self.assertion_issuers.is_empty())?;
        let client = self.authenticate(request, now).await?;
        let of_client = |refusal: Refusal| refusal.of(client.client_id());
        let checked = self.check_proof(proof, path::TOKEN, now).map_err(of_client)?;
        let asked = match grant {
            GrantType::ClientCredentials => {
                let family = FamilyId::random(&*self.randomness)?;
                Asked::Approved(grant::approve_client_credentials(&client, request.parameters, &self.resources, family)?)
            }
            GrantType::AuthorizationCode => {
                Asked::Code(Box::new(Box::pin(self.redeemable(&client, request.parameters, now, &request_id)).await?))
            }
            GrantType::RefreshToken => {
                Asked::Refresh(Box::new(Box::pin(self.refreshable(&client, request.parameters, now)).await?))
            }
            GrantType::DeviceCode => {
                Asked::Device(Box::new(Box::pin(self.allowed_device(&client, request.parameters, now, &request_id)).await?))
            }
            GrantType::JwtBearer => {
                let granting = Box::pin(self.granting(&client, request.parameters, now)).await;
                Asked::Assertion(Box::new(granting.map_err(|error| error.of(client.client_id()))?))
            }
            GrantType::TokenExchange => {
                Asked::Exchange(Box::new(self.exchangeable(&client, request.parameters, now).map_err(of_client)?))
            }
        };
        let proven = match checked {
            Some(proof) => Some(Box::pin(self.claim_proof(proof, now)).await.map_err(|error| error.of(client.client_id()))?),
            None => None,
        };
        let policy = client.client().binding;
        let certificate = client.certificate().map(AsRef::as_ref);
        let binding = self.confirm(policy, certificate, proven.as_ref(), now);
        let binding = binding.and_then(|binding| self.constrain(client.client(), binding)).map_err(of_client)?;
        if let Some(certificate) = certificate.filter(|_| binding.cnf().is_some_and(|cnf| cnf.x5t_s256().is_some())) {
            self.note_certificate(certificate.leaf(), now).await.map_err(|error| error.of(client.client_id()))?;
        }
        let issued = match asked {
            Asked::Approved(approved) => self.issue(&client, approved, &binding, now, &request_id).await?,
            Asked::Assertion(granting) => {
                let approved = Box::pin(self.use_grant(*granting)).await.map_err(|error| error.of(client.client_id()))?;
                self.issue(&client, approved, &binding, now, &request_id).await?
            }
            Asked::Exchange(exchangeable) => {
                let approved = self.exchange(&client, *exchangeable, certificate, proven.as_ref(), now);
                let approved = approved.map_err(|error| error.of(client.client_id()))?;
                self.issue(&client, approved, &binding, now, &request_id).await?
            }
            Asked::Code(redeemable) => {
                Box::pin(self.redeem(&client, *redeemable, &binding, proven.as_ref(), now, &request_id)).await?
            }
            Asked::Device(allowed) => Box::pin(self.redeem_device(&client, *allowed, &binding, now, &request_id)).await?,
            Asked::Refresh(refreshable) => {
                let (parameters, proof) = (request.parameters, proven.as_ref());
                Box::pin(self.refresh(&client, *refreshable, parameters, &binding, proof, now, &request_id)).await?
            }
        };
        self.issued.count(issued.grant, issued.format);
        Ok((issued, self.next_nonce(proven.as_ref(), now)))
    }

    /// Mints an access token that leaves nothing in the database, but where a refresh token goes with it.
    async fn issue(
        &self,
        client: &RequestingClient,
        mut approved: Approved,
        binding: &Binding,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<IssuedToken, OauthError> {
        if let Some(delegation) = approved.take_delegation() {
            return Box::pin(self.issue_delegation(client, approved, delegation, binding, now, request_id)).await;
        }
        let is_signed = approved.format() == TokenFormat::Jwt;
        if is_signed {
            in_step().await;
        }
        let (issued, event) = self.mint_for(client, approved, binding, now, request_id)?;
        if is_signed {
            in_step().await;
        }
        self.audit.record(event).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))?;
        Ok(issued)
    }

    /// Mints an access token. It counts only once its event is on its way.
    pub(super) fn mint_for(
        &self,
        client: &RequestingClient,
        approved: Approved,
        binding: &Binding,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<(IssuedToken, Trailed), OauthError> {
        let keys = self.keys.load();
        let mint = Mint { issuer: &self.issuer, keys: &keys, ring: &self.ring, randomness: &*self.randomness, now };
        mint.mint(client, approved, binding, request_id.clone())
    }
}

/// What a request asks for, as far as its grant could be looked at before its proof was used up.
enum Asked {
    /// For the client itself.
    Approved(Approved),
    /// By a code.
    Code(Box<Redeemable>),
    /// By a device code.
    Device(Box<AllowedDevice>),
    /// By a refresh token.
    Refresh(Box<Refreshable>),
    /// By somebody's assertion.
    Assertion(Box<Granting>),
    /// By another token.
    Exchange(Box<Exchangeable>),
}
