//! ID tokens (OpenID Connect Core §2, §3.1.3.6).

use serde_json::{Map, Value, json};

use crate::domain::{ClientId, Issuer, SessionId, Subject, Timestamp};
use crate::jose::adapter::TokenSigner;
use crate::jose::digest::{sha256, sha384, sha512};
use crate::jose::sign::SignError;
use crate::jose::{Algorithm, base64url};

/// How long an ID token may be taken for one, in seconds: it is read once, when it arrives.
pub const LIFETIME_SECONDS: u32 = 300;

/// Everything that an ID token says.
#[derive(Clone, Debug)]
pub struct IdToken<'a> {
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
    /// `auth_time`, where it is known.
    pub auth_time: Option<Timestamp>,
    /// `sid`.
    pub session_id: &'a SessionId,
    /// `nonce`, as the request said it.
    pub nonce: Option<&'a str>,
    /// `acr`.
    pub acr: Option<&'a str>,
    /// `amr`.
    pub amr: &'a [String],
    /// The access token that goes with it, for `at_hash`.
    pub access_token: Option<&'a str>,
    /// Claims about the person that the request asked for here.
    pub claims: Map<String, Value>,
}

impl IdToken<'_> {
    /// Writes it and signs it with `signer`, whose algorithm decides the hash in `at_hash`.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(self, signer: &TokenSigner, algorithm: Algorithm) -> Result<String, SignError> {
        // What is said by name below is never overwritten.
        let mut members = self.claims;
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("iss", json!(self.issuer));
        put("sub", json!(self.subject));
        put("aud", json!(self.client_id));
        put("iat", json!(self.issued_at));
        put("exp", json!(self.expires));
        if let Some(auth_time) = self.auth_time {
            put("auth_time", json!(auth_time));
        }
        put("sid", json!(self.session_id));
        if let Some(nonce) = self.nonce {
            put("nonce", json!(nonce));
        }
        if let Some(acr) = self.acr {
            put("acr", json!(acr));
        }
        if !self.amr.is_empty() {
            put("amr", json!(self.amr));
        }
        if let Some(token) = self.access_token {
            put("at_hash", json!(left_half(algorithm, token)));
        }
        signer.sign_compact(Value::Object(members).to_string().as_bytes())
    }
}

/// The left half of the hash that the algorithm signs (§3.1.3.6). Ed25519 signs SHA-512.
fn left_half(algorithm: Algorithm, text: &str) -> String {
    let half = |digest: &[u8]| base64url::encode(digest.split_at(digest.len() / 2).0);
    match algorithm {
        Algorithm::ES256 | Algorithm::PS256 | Algorithm::RS256 => half(&sha256(text.as_bytes())),
        Algorithm::ES384 | Algorithm::PS384 => half(&sha384(text.as_bytes())),
        Algorithm::ES512 | Algorithm::PS512 | Algorithm::EdDSA => half(&sha512(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::jose::adapter::KeySigner;
    use crate::jose::jws::Compact;
    use crate::jose::random::SystemRandomness;
    use crate::jose::sign::SigningKey;

    /// The example of OpenID Connect Core Appendix A.3 and A.4: the access token and its `at_hash`.
    #[test]
    fn the_hash_is_that_of_the_standards_example() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(left_half(Algorithm::RS256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(left_half(Algorithm::ES384, token).len(), 32);
        assert_eq!(left_half(Algorithm::EdDSA, token).len(), 43);
    }

    #[test]
    fn it_says_what_the_standard_names_and_no_claim_overwrites_that() {
        let issuer: Issuer = "https://as.example".parse().expect("an issuer");
        let subject: Subject = "bob".parse().expect("a subject");
        let client_id: ClientId = "app".parse().expect("a client");
        let session_id: SessionId = "s1".parse().expect("a session");
        let key = Arc::new(SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key"));
        let signer = TokenSigner::new(Box::new(KeySigner::new(key.clone())), "JWT").expect("a signer");
        let amr = ["pwd".to_owned()];
        let token = IdToken {
            issuer: &issuer,
            subject: &subject,
            client_id: &client_id,
            issued_at: Timestamp::from_seconds(100),
            expires: Timestamp::from_seconds(400),
            auth_time: Some(Timestamp::from_seconds(90)),
            session_id: &session_id,
            nonce: Some("n-0S6_WzA2Mj"),
            acr: None,
            amr: &amr,
            access_token: Some("token"),
            claims: Map::from_iter([("sub".to_owned(), json!("mallory")), ("email".to_owned(), json!("bob@example.org"))]),
        };
        let text = token.sign(&signer, Algorithm::ES256).expect("signed");
        let compact = Compact::parse(&text).expect("compact");
        let verified = key.verifying_key().expect("a key").verify(&compact).expect("verified");
        let mut claims = verified.claims().clone();
        assert!(claims.remove("at_hash").is_some_and(|hash| hash.as_str().is_some_and(|hash| hash.len() == 22)));
        let expected = json!({
            "iss": "https://as.example", "sub": "bob", "aud": "app", "iat": 100, "exp": 400, "auth_time": 90, "sid": "s1",
            "nonce": "n-0S6_WzA2Mj", "amr": ["pwd"], "email": "bob@example.org",
        });
        assert_eq!(Value::Object(claims), expected);
    }
}
