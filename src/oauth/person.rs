//! What tokens say of people: by which name, and in the ID token.

use serde_json::Map;

use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::grant::authorization_code::Granted;
use super::server::AuthorizationServer;
use crate::clients::{Client, Message, Profile};
use crate::domain::{Lifetime, Subject, Timestamp};
use crate::event::Reason;
use crate::identity::{PersonClaims, SignedIn};
use crate::jose::Algorithm;
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::oidc::claims;
use crate::oidc::id_token::{IdToken, LIFETIME_SECONDS};

impl AuthorizationServer {
    /// By which name a client knows a person.
    pub fn subject_for(&self, client: &Client, subject: &Subject) -> Result<Subject, Fault> {
        self.subject_names.for_client(client, subject).ok_or(Fault::Defect(Reason::Defect))
    }

    /// What a client's ID tokens are signed with: what it is registered for; else RS256 under the profile `openid`, as OpenID Connect
    /// Registration §2 has it, where there is such a key; else what this server signs with. `None` when there is no such key.
    pub fn id_token_algorithm(&self, client: &Client) -> Option<Algorithm> {
        self.response_algorithm(client, client.authorization.id_token_signed_response_alg)
    }

    /// The same for any message to a client, of which it registered this algorithm, or none.
    pub(super) fn response_algorithm(&self, client: &Client, registered: Option<Algorithm>) -> Option<Algorithm> {
        let keys = self.keys.load();
        let profile = client.authorization.profile.max(self.profile);
        let has =
            |algorithm: Algorithm| profile.algorithms().contains(&algorithm) && keys.signer(algorithm, TokenType::Jwt).is_some();
        match registered {
            Some(algorithm) => has(algorithm).then_some(algorithm),
            None if profile == Profile::Openid && has(Algorithm::RS256) => Some(Algorithm::RS256),
            None => Some(self.key_plan.default).filter(|algorithm| has(*algorithm)),
        }
    }

    /// What is known of a person who has an account and may use it.
    ///
    /// # Errors
    /// `invalid_grant` when there is no such account any more.
    pub async fn person(&self, subject: &Subject) -> Result<PersonClaims, OauthError> {
        let description = "the person who granted this has no account any more";
        let gone = || Refusal::new(ErrorCode::InvalidGrant, Reason::PersonUnknown, description);
        Ok(self.people.claims(subject).await?.ok_or_else(gone)?)
    }

    /// An ID token for a client (OpenID Connect Core §3.1.3.3, §12.2).
    pub async fn id_token(
        &self,
        client: &Client,
        granted: &Granted,
        nonce: Option<&str>,
        access_token: &str,
        now: Timestamp,
    ) -> Result<String, OauthError> {
        let person = self.person(&granted.subject).await.map_err(|error| error.of(&client.client_id))?;
        let wishes = &granted.claims.id_token;
        let claims = if wishes.is_empty() { Map::new() } else { claims::told(&person, None, wishes) };
        let subject = self.subject_for(client, &granted.subject)?;
        let algorithm = self.id_token_algorithm(client).ok_or(Fault::Unavailable(Reason::SigningKeyAbsent))?;
        let token = IdToken {
            issuer: &self.issuer,
            subject: &subject,
            client_id: &client.client_id,
            issued_at: now,
            expires: now.plus(Lifetime::from_seconds(LIFETIME_SECONDS)),
            auth_time: (granted.auth_time != SignedIn::UNKNOWN).then_some(granted.auth_time),
            session_id: &granted.session_id,
            nonce,
            acr: granted.acr.as_deref(),
            amr: &granted.amr,
            access_token: Some(access_token),
            claims,
        };
        let keys = self.keys.load();
        let signer = keys.signer(algorithm, TokenType::Jwt).ok_or(Fault::Unavailable(Reason::SigningKeyAbsent))?;
        let signed = token.sign(signer, algorithm).map_err(|error| Fault::Defect(error.reason()))?;
        Ok(self.encrypted(client, Message::IdToken, Content::Jwt, signed).await?)
    }
}
