//! Logout tokens (OpenID Connect Back-Channel Logout §2.4).

use serde_json::json;

use crate::domain::{ClientId, Issuer, SessionId, Subject, Timestamp, TokenId};
use crate::jose::adapter::TokenSigner;
use crate::jose::sign::SignError;

/// How long a logout token may be taken for one, in seconds: "RECOMMENDED to be at most two minutes".
pub const LIFETIME_SECONDS: u32 = 120;

/// The one event.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Everything that a logout token says. It never has a `nonce`, so that it passes for no ID token.
#[derive(Clone, Copy, Debug)]
pub struct LogoutToken<'a> {
    /// `iss`.
    pub issuer: &'a Issuer,
    /// `sub`, as this client knows the person.
    pub subject: &'a Subject,
    /// `aud`.
    pub client_id: &'a ClientId,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// `jti`.
    pub token_id: &'a TokenId,
    /// `sid`.
    pub session_id: &'a SessionId,
}

impl LogoutToken<'_> {
    /// Writes it and signs it with `signer`, which is one for `logout+jwt`.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(&self, signer: &TokenSigner) -> Result<String, SignError> {
        let claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.client_id,
            "iat": self.issued_at,
            "exp": self.expires,
            "jti": self.token_id,
            "sid": self.session_id,
            "events": { EVENT: {} },
        });
        signer.sign_compact(claims.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::jose::Algorithm;
    use crate::jose::adapter::KeySigner;
    use crate::jose::jws::Compact;
    use crate::jose::random::SystemRandomness;
    use crate::jose::sign::SigningKey;
    use crate::keys::TokenType;

    /// The claims of the example in §2.4, with `exp`.
    #[test]
    fn it_says_what_the_standards_example_says() {
        let key = Arc::new(SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key"));
        let signer = TokenSigner::new(Box::new(KeySigner::new(key.clone())), TokenType::LogoutToken.typ()).expect("a signer");
        let (issuer, subject) = ("https://server.example.com".parse().expect("one"), "248289761001".parse().expect("one"));
        let (client_id, token_id) = ("s6BhdRkqt3".parse().expect("one"), "bWJq".parse().expect("one"));
        let session_id = "08a5019c-17e1-4977-8f42-65a12843ea02".parse().expect("one");
        let token = LogoutToken {
            issuer: &issuer,
            subject: &subject,
            client_id: &client_id,
            issued_at: Timestamp::from_seconds(1_471_566_154),
            expires: Timestamp::from_seconds(1_471_569_754),
            token_id: &token_id,
            session_id: &session_id,
        };
        let text = token.sign(&signer).expect("signed");
        let verified = key.verifying_key().expect("a key").verify(&Compact::parse(&text).expect("compact")).expect("verified");
        assert_eq!(verified.typ(), Some("logout+jwt"));
        let expected = json!({
            "iss": "https://server.example.com", "sub": "248289761001", "aud": "s6BhdRkqt3", "iat": 1_471_566_154,
            "exp": 1_471_569_754, "jti": "bWJq", "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        assert_eq!(serde_json::Value::Object(verified.claims().clone()), expected);
    }
}
