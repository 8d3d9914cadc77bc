//! The userinfo endpoint (OpenID Connect Core §5.3): a protected resource like any other, with an audience of its own.

use serde_json::{Map, Value, json};

use super::authorization::from_json;
use super::error::{Fault, OauthError};
use super::grant::refresh_token::{FamilyState, Origin};
use super::metadata::path;
use super::protected_resource::{NOT_VALID, ResourceError, ResourceRequest};
use super::server::AuthorizationServer;
use crate::binding::Policy;
use crate::clients::Message;
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::oidc::claims;
use crate::resource::{self, Presented};
use crate::token::TokenFacts;

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Userinfo {
    /// A JSON object.
    Plain(Map<String, Value>),
    /// A JWT, signed, encrypted or both, as the client registered for (§5.3.2).
    Jwt(String),
}

impl AuthorizationServer {
    /// Tells about the person whom an access token speaks of, with the nonce for the client's next proof where one is due.
    ///
    /// # Errors
    /// A challenge, or a fault of ours.
    pub async fn userinfo(&self, request: ResourceRequest<'_>) -> Result<(Userinfo, Option<String>), ResourceError> {
        let now = self.clock.now().map_err(OauthError::from)?;
        let scheme = request.presented.as_ref().ok().and_then(Presented::scheme);
        self.tell(request, now).await.map_err(|error| self.with_nonce(error, scheme, now))
    }

    async fn tell(&self, request: ResourceRequest<'_>, now: Timestamp) -> Result<(Userinfo, Option<String>), ResourceError> {
        let targets = self.endpoints.targets(path::USERINFO);
        let proven = self.prove_presented(request, &targets, Policy::Optional, now).await?;
        let facts = proven.facts();
        self.resources.userinfo_right(&facts.audience).ok_or(resource::AdmitError::Audience)?;
        if !facts.scope.contains("openid") {
            return Err(resource::AdmitError::Scope.into());
        }
        Ok((self.told(facts, now).await?, self.next_nonce(proven.proof(), now)))
    }

    async fn told(&self, facts: &TokenFacts, now: Timestamp) -> Result<Userinfo, ResourceError> {
        let gone = |reason| ResourceError::denied(NOT_VALID, reason);
        let (Some(family), Some(client_id)) = (&facts.family, &facts.client_id) else { return Err(gone(Reason::TokenClaim)) };
        let client = self.clients.client(client_id).ok_or(gone(Reason::ClientUnknown))?;
        let record = self.store.family(family, now).await.map_err(OauthError::from)?.ok_or(gone(Reason::TokenRevoked))?;
        let FamilyState { granted, .. } = from_json(&record.state)?;
        let Origin::Person(granted) = granted else { return Err(gone(Reason::TokenAudience)) };
        let person = self.person(&granted.subject).await?;
        // Of the scope that this token has: a refreshed one may have less than was granted.
        let mut members = claims::told(&person, Some(&facts.scope), &granted.claims.userinfo);
        // §5.3.2: "The sub (subject) Claim MUST always be returned in the UserInfo Response."
        let subject = self.subject_for(&client, &granted.subject).map_err(ResourceError::from)?;
        members.insert("sub".to_owned(), json!(subject));
        let is_encrypted = client.messages.encryption.contains_key(&Message::Userinfo);
        let Some(algorithm) = client.authorization.userinfo_signed_response_alg else {
            if !is_encrypted {
                return Ok(Userinfo::Plain(members));
            }
            let text = Value::Object(members).to_string();
            let encrypted = self.encrypted(&client, Message::Userinfo, Content::Claims, text).await;
            return encrypted.map(Userinfo::Jwt).map_err(ResourceError::from);
        };
        members.insert("iss".to_owned(), json!(self.issuer));
        members.insert("aud".to_owned(), json!(client_id));
        let keys = self.keys.load_full();
        let absent = ResourceError::from(Fault::Unavailable(Reason::SigningKeyAbsent));
        let signer = keys.signer(algorithm, TokenType::Jwt).ok_or(absent)?;
        let signed = signer.sign_compact(Value::Object(members).to_string().as_bytes());
        let signed = signed.map_err(|error| ResourceError::from(Fault::Defect(error.reason())))?;
        let told = self.encrypted(&client, Message::Userinfo, Content::Jwt, signed).await;
        told.map(Userinfo::Jwt).map_err(ResourceError::from)
    }
}
