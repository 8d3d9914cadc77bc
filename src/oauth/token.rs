//! The token endpoint (RFC 6749 §3.2).

use super::client_auth::{ClientRequest, RequestingClient};
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::grant;
use super::mint::{Binding, IssuedToken, Mint};
use super::server::AuthorizationServer;
use crate::binding::{BindingRequired, Confirmation, Unbound};
use crate::clients::GrantType;
use crate::domain::{FamilyId, RequestId};
use crate::event::Reason;

impl AuthorizationServer {
    /// Answers a token request. The token exists for the client only once its audit event is queued.
    pub async fn token(&self, request: &ClientRequest<'_>, request_id: RequestId) -> Result<IssuedToken, OauthError> {
        let now = self.clock.now()?;
        let grant = grant::requested(request.parameters)?;
        let client = self.authenticate(request, now).await?;
        let approved = match grant {
            GrantType::ClientCredentials => {
                let family = FamilyId::random(&*self.randomness)?;
                grant::approve_client_credentials(&client, request.parameters, &self.resources, family)?
            }
        };
        let binding = confirm(&client)?;
        let keys = self.keys.load();
        let mint = Mint { issuer: &self.issuer, signer: keys.signer(), ring: &self.ring, randomness: &*self.randomness, now };
        let (issued, event) = mint.mint(&client, approved, &binding, request_id)?;
        self.audit.record(event).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))?;
        self.issued.count(issued.grant, issued.format);
        Ok(issued)
    }
}

/// What the token will be bound to (RFC 8705 §3): the certificate of this connection, whatever the client authenticates by, unless the
/// registration wants bearer tokens. A connection without one is no failed authentication (§2 and §3 are independent): the request lacks
/// what it needs, so it is malformed (RFC 6749 §5.2), as other servers answer it too.
fn confirm(client: &RequestingClient) -> Result<Binding, Refusal> {
    match (Unbound::by_policy(client.client().binding), client.certificate()) {
        (Ok(unbound), _) => Ok(Binding::Unbound(unbound)),
        (Err(BindingRequired), Some(certificate)) => Ok(Binding::Confirmed(Confirmation::certificate(certificate))),
        (Err(required), None) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            required.reason(),
            "the tokens of this client are bound to a certificate, and the connection has none: \
             use the endpoint in mtls_endpoint_aliases (RFC 8705 sections 3 and 5)",
        )
        .of(client.client_id())),
    }
}
