//! The introspection endpoint (RFC 7662; `cnf` RFC 8705 §3.2).

use serde_json::{Map, Value};

use super::client_auth::ClientRequest;
use super::error::{Fault, OauthError};
use super::server::AuthorizationServer;
use crate::domain::RequestId;
use crate::event::{AuditEvent, Reason, Trailed};
use crate::token;

impl AuthorizationServer {
    /// Answers an introspection request of an authenticated client. Whoever is not listed for the token's audience is told
    /// `active: false`, after the same work (RFC 7662 §2.2, §4).
    pub async fn introspect(
        &self,
        request: &ClientRequest<'_>,
        request_id: &RequestId,
    ) -> Result<Map<String, Value>, OauthError> {
        let now = self.clock.now()?;
        let caller = self.authenticate_confidential(request, now).await?;
        let text = request.parameters.require("token").map_err(|refusal| refusal.of(caller.client_id()))?;
        let recognised = self.recognise(text);
        let verdict = recognised.as_ref().map_err(|reason| *reason).and_then(|recognised| {
            let standing = self.standing(recognised, now);
            self.resources
                .introspection_right(caller.client_id(), &recognised.facts().audience)
                .ok_or(Reason::IntrospectionNotAllowed)?;
            standing.map(|()| recognised.facts())
        });
        let answer = match verdict {
            Ok(facts) => token::introspection::answer(facts),
            Err(_) => token::introspection::inactive(),
        };
        let event = AuditEvent::TokenIntrospected {
            request_id: request_id.clone(),
            client_id: caller.client_id().clone(),
            token_id: recognised.as_ref().ok().and_then(|recognised| recognised.facts().token_id.clone()),
            active: verdict.is_ok(),
            reason: verdict.err(),
        };
        self.audit.record(Trailed { time: now, event }).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))?;
        Ok(answer)
    }
}
