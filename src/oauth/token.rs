//! The token endpoint (RFC 6749 §3.2).

use super::client_auth::{AuthenticatedClient, Presenter};
use super::error::{Fault, OauthError};
use super::grant;
use super::mint::{Binding, IssuedToken, Mint};
use super::parameters::Parameters;
use super::server::AuthorizationServer;
use crate::binding::{BindingRequired, Confirmation, Unbound};
use crate::clients::GrantType;
use crate::domain::{FamilyId, RequestId};
use crate::event::Reason;

impl AuthorizationServer {
    /// Answers a token request. The token exists for the client only once its audit event is queued.
    pub fn token(
        &self,
        parameters: &Parameters,
        presenter: &Presenter<'_>,
        request_id: RequestId,
    ) -> Result<IssuedToken, OauthError> {
        let now = self.clock.now()?;
        let grant = grant::requested(parameters)?;
        let client = self.authenticate(parameters, presenter, now)?;
        let approved = match grant {
            GrantType::ClientCredentials => {
                let family = FamilyId::random(&*self.randomness)?;
                grant::approve_client_credentials(&client, parameters, &self.resources, family)?
            }
        };
        let binding = confirm(&client);
        let keys = self.keys.load();
        let mint = Mint { issuer: &self.issuer, keys: &keys, ring: &self.ring, randomness: &*self.randomness, now };
        let (issued, event) = mint.mint(&client, approved, &binding, request_id)?;
        self.audit.record(event).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))?;
        self.issued.count(issued.grant, issued.format);
        Ok(issued)
    }
}

/// What the token will be bound to (RFC 8705 §3): the certificate of this connection, unless the registration wants bearer
/// tokens.
fn confirm(client: &AuthenticatedClient) -> Binding {
    match Unbound::by_policy(client.client().binding) {
        Ok(unbound) => Binding::Unbound(unbound),
        Err(BindingRequired) => Binding::Confirmed(Confirmation::certificate(client.certificate())),
    }
}
