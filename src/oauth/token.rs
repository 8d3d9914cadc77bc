//! The token endpoint (RFC 6749 §3.2).

use super::client_auth::ClientRequest;
use super::dpop::PresentedProof;
use super::error::{Fault, OauthError, Refusal};
use super::grant;
use super::metadata::path;
use super::mint::{IssuedToken, Mint};
use super::server::AuthorizationServer;
use crate::clients::GrantType;
use crate::domain::{FamilyId, RequestId};
use crate::event::Reason;

impl AuthorizationServer {
    /// Answers a token request, with the nonce for the client's next DPoP proof where one is due. The token exists for the client only
    /// once its audit event is queued.
    pub async fn token(
        &self,
        request: &ClientRequest<'_>,
        proof: &PresentedProof,
        request_id: RequestId,
    ) -> Result<(IssuedToken, Option<String>), OauthError> {
        let now = self.clock.now()?;
        let grant = grant::requested(request.parameters)?;
        let client = self.authenticate(request, now).await?;
        let of_client = |refusal: Refusal| refusal.of(client.client_id());
        let checked = self.check_proof(proof, path::TOKEN, now).map_err(of_client)?;
        let approved = match grant {
            GrantType::ClientCredentials => {
                let family = FamilyId::random(&*self.randomness)?;
                grant::approve_client_credentials(&client, request.parameters, &self.resources, family)?
            }
        };
        let proven = match checked {
            Some(proof) => Some(self.claim_proof(proof, now).await.map_err(|error| error.of(client.client_id()))?),
            None => None,
        };
        let policy = client.client().binding;
        let binding = self.confirm(policy, client.certificate().map(AsRef::as_ref), proven.as_ref(), now).map_err(of_client)?;
        let keys = self.keys.load();
        let mint = Mint { issuer: &self.issuer, keys: &keys, ring: &self.ring, randomness: &*self.randomness, now };
        let (issued, event) = mint.mint(&client, approved, &binding, request_id)?;
        self.audit.record(event).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))?;
        self.issued.count(issued.grant, issued.format);
        Ok((issued, self.next_nonce(proven.as_ref(), now)))
    }
}
