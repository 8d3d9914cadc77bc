//! The revocation endpoint (RFC 7009). Access tokens end one by one; a refresh token ends with everything that came of its grant (§2.1).

use super::client_auth::ClientRequest;
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::grant::refresh_token::{self, RefreshToken};
use super::resources::LONGEST_LIFETIME_SECONDS;
use super::server::AuthorizationServer;
use crate::clients::removal_window;
use crate::domain::{ClientId, Lifetime, RequestId, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::store::{NewRule, RuleWindow};
use crate::trust::revocation::RuleKind;

/// How long after a token's expiry its rule is kept: longer than any leeway that a resource may grant.
pub const BEYOND_EXPIRY: Lifetime = Lifetime::from_seconds(300);

impl AuthorizationServer {
    /// Revokes a token of the calling client. It is in force on this replica when this returns.
    ///
    /// A token that is unknown, expired or already revoked is answered like one that was revoked (RFC 7009 §2.2). A public client says
    /// its `client_id` and has the token, which is all it can show (§2.1).
    pub async fn revoke(&self, request: &ClientRequest<'_>, request_id: &RequestId) -> Result<(), OauthError> {
        let now = self.clock.now()?;
        let caller = self.authenticate(request, now).await?;
        let text = request.parameters.require("token").map_err(|refusal| refusal.of(caller.client_id()))?;
        if text.starts_with(refresh_token::PREFIX) {
            return self.revoke_grant(text, caller.client_id(), now, request_id).await;
        }
        let Ok(recognised) = self.recognise(text) else { return Ok(()) };
        let facts = recognised.facts();
        if facts.client_id.as_ref() != Some(caller.client_id()) {
            return Err(foreign(caller.client_id()).into());
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

    /// Ends the grant of a refresh token: that token, its successors, and every access token of the grant.
    async fn revoke_grant(
        &self,
        text: &str,
        caller: &ClientId,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<(), OauthError> {
        let Some(token) = RefreshToken::open(text, &self.ring, &self.issuer) else { return Ok(()) };
        let Some(record) = self.store.family(&token.family, now).await? else { return Ok(()) };
        if record.client_id != *caller {
            return Err(foreign(caller).into());
        }
        let event =
            AuditEvent::GrantRevoked { request_id: request_id.clone(), client_id: caller.clone(), family: record.family.clone() };
        let window = removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS));
        let ended = self.store.end_family(&record.family, window, &Trailed { time: now, event }).await?;
        self.revocations.update(|rules| rules.with(ended.clone()));
        Ok(())
    }
}

fn foreign(caller: &ClientId) -> Refusal {
    let description = "this token was not issued to this client (RFC 7009 section 2.1)";
    Refusal::new(ErrorCode::UnauthorizedClient, Reason::RevocationNotAllowed, description).of(caller)
}
