//! ID tokens (OpenID Connect Core 1.0 §3.1.3.7, §3.1.3.8): what is left of one that is good.

use std::time::{Duration, SystemTime};

use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{AccessTokenHash, IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse as _, TokenResponse as _};
use serde_json::{Map, Value};

use super::{Answer, Beginning, Identity, Provider, ProviderError, unavailable};
use crate::domain::{Redacted, SessionId, Timestamp};
use crate::jose::json;
use crate::jose::jws::{Compact, JwsError};

impl Provider {
    /// Verifies the ID token of an answer (OpenID Connect Core 1.0 §3.1.3.7, §3.1.3.8).
    pub(super) fn identity(
        &self,
        answer: &Answer,
        keys: CoreJsonWebKeySet,
        beginning: &Beginning<'_>,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let wrong = |problem: &dyn ToString| ProviderError::IdToken(problem.to_string());
        let id_token = answer.id_token().ok_or_else(|| wrong(&"there is none"))?;
        let client_id = openidconnect::ClientId::new(self.client_id.as_str().to_owned());
        let issuer = IssuerUrl::new(self.issuer().as_str().to_owned()).map_err(unavailable)?;
        let algorithms = self.algorithms.iter().filter_map(|algorithm| {
            serde_json::from_value::<CoreJwsSigningAlgorithm>(Value::String(algorithm.name().to_owned())).ok()
        });
        let (leeway, latest) = (self.leeway, now.plus(self.leeway).seconds());
        let oldest = now.minus(leeway);
        let verifier = IdTokenVerifier::new_public_client(client_id, issuer, keys)
            .set_allowed_algs(algorithms)
            .set_time_fn(move || {
                let seconds = u64::try_from(oldest.seconds()).unwrap_or_default();
                (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into()
            })
            .set_issue_time_verifier_fn(move |issued| match issued.timestamp() <= latest {
                true => Ok(()),
                false => Err("it is from the future".into()),
            });
        let nonce = Nonce::new(beginning.nonce.to_owned());
        let claims = id_token.claims(&verifier, &nonce).map_err(|error| wrong(&error))?;
        // The library leaves §3.1.3.7, 5 to its caller.
        if claims.authorized_party().is_some_and(|party| party.as_str() != self.client_id.as_str()) {
            return Err(wrong(&"`azp` is another client"));
        }
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(|error| wrong(&error))?;
            let key = id_token.signing_key(&verifier).map_err(|error| wrong(&error))?;
            let hash = AccessTokenHash::from_token(answer.access_token(), algorithm, key).map_err(|error| wrong(&error))?;
            if hash != *expected {
                return Err(wrong(&"`at_hash` is another access token's"));
            }
        }
        let since = claims.auth_time().map(|time| Timestamp::from_seconds(time.timestamp()));
        // §3.1.2.1: "max_age ... the ID Token returned MUST include an auth_time Claim Value".
        if let Some(max_age) = beginning.step_up.and_then(|step_up| step_up.max_age)
            && since.is_none_or(|since| since.plus(max_age).plus(leeway) < beginning.begun)
        {
            return Err(wrong(&"`auth_time` is missing or too long ago"));
        }
        let subject = claims.subject().as_str().parse().map_err(|error| wrong(&error))?;
        let sid = claims.additional_claims().sid.as_deref().map(str::parse::<SessionId>).transpose();
        let name = claims.name().and_then(|names| names.get(None)).map(|name| name.as_str().to_owned());
        let name = name.or_else(|| claims.preferred_username().map(|name| name.as_str().to_owned()));
        Ok(Identity {
            subject,
            session_id: sid.map_err(|error| wrong(&error))?,
            name: name.or_else(|| claims.email().map(|email| email.as_str().to_owned())),
            auth_time: since,
            claims: all_claims(&id_token.to_string()).map_err(|error| wrong(&error))?,
            id_token: Redacted::new(id_token.to_string()),
        })
    }
}

/// Everything that a token says whose signature was verified. A member that stands there twice could be read in two ways.
fn all_claims(verified: &str) -> Result<Map<String, Value>, JwsError> {
    let token = Compact::parse(verified)?;
    json::parse_object(token.unverified_payload()).map_err(JwsError::Payload)
}
