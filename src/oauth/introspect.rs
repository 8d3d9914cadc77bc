//! The introspection endpoint (RFC 7662; `cnf` RFC 8705 §3.2; signed answers RFC 9701).

use serde_json::{Map, Value, json};

use super::client_auth::ClientRequest;
use super::error::{Fault, OauthError};
use super::server::AuthorizationServer;
use crate::clients::{Client, Message};
use crate::domain::{RequestId, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::token;

/// What the caller understands (RFC 9701 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// JSON.
    Plain,
    /// A signed JWT.
    Signed,
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introspected {
    /// A JSON object.
    Plain(Map<String, Value>),
    /// A JWT that holds it.
    Signed(String),
}

impl AuthorizationServer {
    /// Answers an introspection request of an authenticated client. Whoever is not listed for the token's audience is told
    /// `active: false`, after the same work (RFC 7662 §2.2, §4).
    pub async fn introspect(
        &self,
        request: &ClientRequest<'_>,
        form: AnswerForm,
        request_id: &RequestId,
    ) -> Result<Introspected, OauthError> {
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
        let answer = match form {
            AnswerForm::Plain => Introspected::Plain(answer),
            AnswerForm::Signed => Introspected::Signed(self.signed_introspection(caller.client(), answer, now).await?),
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

    /// RFC 9701 §5: who says it, to whom, when, and the answer as a claim of its own; no claim of a token stands beside these, so that it
    /// never passes for one.
    async fn signed_introspection(&self, caller: &Client, answer: Map<String, Value>, now: Timestamp) -> Result<String, Fault> {
        let absent = Fault::Unavailable(Reason::SigningKeyAbsent);
        let registered = caller.messages.introspection_signed_response_alg;
        let algorithm = self.response_algorithm(caller, registered).ok_or(absent)?;
        let claims = json!({ "iss": self.issuer, "aud": caller.client_id, "iat": now, "token_introspection": answer });
        let keys = self.keys.load_full();
        let signer = keys.signer(algorithm, TokenType::Introspection).ok_or(absent)?;
        let signed = signer.sign_compact(claims.to_string().as_bytes()).map_err(|error| Fault::Defect(error.reason()))?;
        self.encrypted(caller, Message::Introspection, Content::Jwt, signed).await
    }
}
