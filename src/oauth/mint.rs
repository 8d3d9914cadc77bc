//! The one place where access tokens are made. It demands every proof: who asks, what was approved, and which key the token
//! will answer to.

use super::client_auth::RequestingClient;
use super::error::{Fault, OauthError};
use super::grant::token_exchange::ISSUED_TOKEN_TYPE;
use super::grant::{Approved, ApprovedParts};
pub use crate::binding::Binding;
use crate::clients::GrantType;
use crate::domain::{Cnf, Issuer, Randomness, RequestId, Timestamp, TokenId};
use crate::event::{AuditEvent, Reason, TokenFormat, Trailed};
use crate::keys::{SigningKeys, TokenType};
use crate::seal::KeyRing;
use crate::token::{self, AccessToken};

/// What it takes to write a token down.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// `iss`.
    pub issuer: &'a Issuer,
    /// The keys that sign JWTs.
    pub keys: &'a SigningKeys,
    /// Seals opaque tokens.
    pub ring: &'a KeyRing,
    /// The source of `jti`.
    pub randomness: &'a dyn Randomness,
    /// `iat`.
    pub now: Timestamp,
}

/// An access token on its way to the client.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token as the client sends it.
    pub access_token: String,
    /// `token_type`.
    pub token_type: &'static str,
    /// `expires_in`, seconds.
    pub expires_in: u32,
    /// `scope`, written out.
    pub scope: String,
    /// `refresh_token`, where one goes with it.
    pub refresh_token: Option<String>,
    /// `issued_token_type` (RFC 8693 §2.2.1), where one was exchanged.
    pub issued_token_type: Option<&'static str>,
    /// `id_token`, where OpenID Connect is spoken.
    pub id_token: Option<String>,
    /// The grant it was issued by.
    pub grant: GrantType,
    /// How it travels.
    pub format: TokenFormat,
}

impl Mint<'_> {
    /// Mints an access token, and the event that tells of it: issuing counts only once that is in the queue.
    pub fn mint(
        &self,
        client: &RequestingClient,
        approved: Approved,
        binding: &Binding,
        request_id: RequestId,
    ) -> Result<(IssuedToken, Trailed), OauthError> {
        let ApprovedParts { grant, subject, family, scope, selected, actors, exchanged } = approved.into_parts();
        let cnf = binding.cnf();
        let expires = self.now.plus(selected.lifetime);
        let token = AccessToken {
            issuer: self.issuer.clone(),
            subject,
            audience: selected.audience,
            client_id: client.client_id().clone(),
            scope,
            issued_at: self.now,
            expires,
            token_id: TokenId::random(self.randomness)?,
            family,
            cnf,
            actors,
        };
        let access_token = match selected.format {
            TokenFormat::Jwt => {
                let signer = self.keys.signer(selected.algorithm, TokenType::AccessToken);
                let signer = signer.ok_or(Fault::Unavailable(Reason::SigningKeyAbsent))?;
                signer.sign_compact(&token.to_jwt_payload()).map_err(|error| Fault::Defect(error.reason()))?
            }
            TokenFormat::Opaque => token::opaque::encode(&token, self.ring).map_err(|error| Fault::Defect(error.reason()))?,
        };
        let issued = IssuedToken {
            access_token,
            token_type: Cnf::token_type(cnf.as_ref()),
            expires_in: selected.lifetime.seconds(),
            scope: token.scope.to_string(),
            refresh_token: None,
            id_token: None,
            issued_token_type: (grant == GrantType::TokenExchange).then_some(ISSUED_TOKEN_TYPE),
            grant,
            format: selected.format,
        };
        let event = AuditEvent::TokenIssued {
            request_id,
            client_id: token.client_id,
            subject: token.subject,
            grant_type: grant.name(),
            client_authentication: client.method().name(),
            format: selected.format,
            token_id: token.token_id,
            family: token.family,
            audience: token.audience,
            scope: token.scope,
            cnf,
            expires,
            exchanged,
        };
        Ok((issued, Trailed { time: self.now, event }))
    }
}
