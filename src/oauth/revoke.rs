//! The revocation endpoint (RFC 7009).

use super::client_auth::ClientRequest;
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::server::AuthorizationServer;
use crate::domain::{Lifetime, RequestId};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::store::{NewRule, RuleWindow};
use crate::trust::revocation::RuleKind;

/// How long after a token's expiry its rule is kept: longer than any leeway that a resource may grant.
pub const BEYOND_EXPIRY: Lifetime = Lifetime::from_seconds(300);

impl AuthorizationServer {
    /// Revokes a token of the calling client. It is in force on this replica when this returns.
    ///
    /// A token that is unknown, expired or already revoked is answered like one that was revoked (RFC 7009 §2.2).
    pub async fn revoke(&self, request: &ClientRequest<'_>, request_id: &RequestId) -> Result<(), OauthError> {
        let now = self.clock.now()?;
        let caller = self.authenticate_confidential(request, now).await?;
        let text = request.parameters.require("token").map_err(|refusal| refusal.of(caller.client_id()))?;
        let Ok(recognised) = self.recognise(text) else { return Ok(()) };
        let facts = recognised.facts();
        if facts.client_id.as_ref() != Some(caller.client_id()) {
            return Err(Refusal::new(
                ErrorCode::UnauthorizedClient,
                Reason::RevocationNotAllowed,
                "this token was not issued to this client (RFC 7009 section 2.1)",
            )
            .of(caller.client_id())
            .into());
        }
        let Some(token_id) = facts.token_id.clone().filter(|_| self.standing(&recognised, now).is_ok()) else {
            return Ok(());
        };
        let rule = NewRule {
            kind: RuleKind::TokenId,
            value: token_id.as_str().to_owned(),
            window: RuleWindow {
                // Another replica's clock may be ahead of ours: the rule must hit this token whatever its `iat`.
                before: facts.issued_at.map_or(now, |issued_at| issued_at.max(now)),
                expires: facts.expires.plus(BEYOND_EXPIRY),
            },
        };
        let event = AuditEvent::TokenRevoked { request_id: request_id.clone(), client_id: caller.client_id().clone(), token_id };
        let rule =
            self.store.revoke(&rule, &Trailed { time: now, event }).await.map_err(|error| Fault::Unavailable(error.reason()))?;
        self.revocations.update(|rules| rules.with([rule.clone()]));
        Ok(())
    }
}
