//! What a provider says of a person beside the ID token (OpenID Connect Core 1.0 §5.3).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::{Provider, ProviderError, Tokens, unavailable};
use crate::domain::Subject;
use crate::jose::json;

impl Provider {
    /// The claims of the userinfo endpoint, where there is one. "The sub Claim in the UserInfo Response MUST be verified to exactly match
    /// the sub Claim in the ID Token" (§5.3.2).
    ///
    /// # Errors
    /// [`ProviderError`]; also where the answer is signed or encrypted, which is not asked for.
    pub async fn userinfo(&self, tokens: &Tokens, subject: &Subject) -> Result<Option<Map<String, Value>>, ProviderError> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", tokens.access_token.expose()));
        let mut value = HeaderValue::try_from(bearer.as_str()).map_err(unavailable)?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let answer = self.server.client().map_err(unavailable)?.get_with(endpoint, headers).await.map_err(unavailable)?;
        match answer.status {
            StatusCode::OK => {}
            status if status.is_client_error() => return Err(ProviderError::Refused(format!("userinfo answered {status}"))),
            status => return Err(unavailable(format_args!("userinfo answered {status}"))),
        }
        let claims = json::parse_object(&answer.body).map_err(|_| unavailable("its userinfo is not a JSON object"))?;
        match claims.get("sub").and_then(Value::as_str) {
            Some(sub) if sub == subject.as_str() => Ok(Some(claims)),
            _ => Err(ProviderError::IdToken("userinfo is another person's".into())),
        }
    }
}
