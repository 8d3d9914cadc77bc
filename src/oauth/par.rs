//! The pushed authorization request endpoint (RFC 9126).

use super::authorization::{PushedState, request};
use super::authorization::{REQUEST_URI_PREFIX, random_text, to_json};
use super::client_auth::{ClientRequest, RequestingClient};
use super::dpop::PresentedProof;
use super::error::{ErrorCode, OauthError, Refusal};
use super::metadata::path;
use super::request_object::Arrival;
use super::server::AuthorizationServer;
use crate::clients::GrantType;
use crate::domain::Lifetime;
use crate::event::Reason;

/// How much longer than its `request_uri` a pushed request is kept: for the person who is reading the page it led to.
const BEYOND_EXPIRY: Lifetime = Lifetime::from_seconds(900);

/// What the client is told (RFC 9126 §2.2).
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `request_uri`.
    pub request_uri: String,
    /// `expires_in`, seconds.
    pub expires_in: u32,
}

impl AuthorizationServer {
    /// Takes a request from an authenticated client and gives a name for it, which may be authorized once.
    ///
    /// # Errors
    /// Those of the authorization endpoint, told to the client itself.
    pub async fn push(&self, request: &ClientRequest<'_>, proof: &PresentedProof) -> Result<Pushed, OauthError> {
        let now = self.clock.now()?;
        let parameters = request.parameters;
        let requesting = self.authenticate(request, now).await?;
        if let RequestingClient::Public(public) = &requesting {
            let address = request.presenter.address;
            self.admit_anonymous(address).map_err(|error| error.of(public.client_id()))?;
        }
        let client = requesting.client().clone();
        let of = |refusal: Refusal| refusal.of(&client.client_id);
        let refused = |code, reason, description: &'static str| of(Refusal::new(code, reason, description));
        if !client.grant_types.contains(&GrantType::AuthorizationCode) {
            let description = "this client may not use the authorization endpoint";
            return Err(refused(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description).into());
        }
        // RFC 9126 §2.1: "request_uri ... MUST NOT be provided".
        if parameters.get("request_uri").is_some() {
            let description = "request_uri cannot be pushed (RFC 9126 section 2.1)";
            return Err(refused(ErrorCode::InvalidRequest, Reason::RequestUnsupported, description).into());
        }
        let rules = self.rules(&client);
        let unfolded = self.unfold(parameters, &client, &rules, Arrival::Pushed, now).await?;
        let parameters = unfolded.as_ref();
        let destination = request::destination(parameters, client.clone(), &rules)?;
        let mut request = self.read_request(parameters, &destination, &rules)?;
        // RFC 9449 §10.1: a proof here binds the code to its key, like `dpop_jkt`; both must agree.
        if let Some(checked) = self.check_proof(proof, path::PUSHED_REQUEST, now).map_err(of)? {
            let proven = self.claim_proof(checked, now).await?;
            if request.dpop_jkt.is_some_and(|named| !named.matches(proven.thumbprint())) {
                let description = "dpop_jkt is not the key of the DPoP proof (RFC 9449 section 10.1)";
                return Err(refused(ErrorCode::InvalidDpopProof, Reason::DpopJkt, description).into());
            }
            request.dpop_jkt = Some(*proven.thumbprint());
        }
        let lifetime = self.lifetimes.pushed_request;
        let expires = now.plus(lifetime);
        let request_uri = random_text(REQUEST_URI_PREFIX, &*self.randomness)?;
        let state = to_json(&PushedState { request, expires })?;
        self.store.add_pushed_request(&request_uri, &state, expires.plus(BEYOND_EXPIRY)).await?;
        Ok(Pushed { request_uri, expires_in: lifetime.seconds() })
    }
}
