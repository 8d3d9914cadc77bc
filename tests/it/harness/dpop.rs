//! A client's DPoP key, and proofs of every kind, made by an encoder of its own and not by the code under test.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::alg::ed::EdCurve;
use josekit::jws::{ES256, ES384, ES512, EdDSA, JwsSigner, PS256, RS256};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, Call};

/// Seconds since the epoch.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("representable")
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `ath` (RFC 9449 §4.2).
pub fn ath(token: &str) -> String {
    encode(Sha256::digest(token))
}

/// A key that proofs are made with.
pub struct Prover {
    algorithm: &'static str,
    signer: Box<dyn JwsSigner + Send + Sync>,
    /// The public key.
    pub jwk: Value,
}

impl Prover {
    /// A key for ES256.
    pub fn new() -> Self {
        Self::with("ES256")
    }

    /// A key for an algorithm.
    pub fn with(algorithm: &'static str) -> Self {
        macro_rules! ec {
            ($algorithm:ident) => {{
                let pair = $algorithm.generate_key_pair().expect("a key");
                let signer = $algorithm.signer_from_jwk(&pair.to_jwk_private_key()).expect("a signer");
                (Box::new(signer) as Box<dyn JwsSigner + Send + Sync>, pair.to_jwk_public_key())
            }};
        }
        let (signer, jwk) = match algorithm {
            "ES256" => ec!(ES256),
            "ES384" => ec!(ES384),
            "ES512" => ec!(ES512),
            "EdDSA" => {
                let pair = EdDSA.generate_key_pair(EdCurve::Ed25519).expect("a key");
                let signer = EdDSA.signer_from_jwk(&pair.to_jwk_private_key()).expect("a signer");
                (Box::new(signer) as Box<dyn JwsSigner + Send + Sync>, pair.to_jwk_public_key())
            }
            "RS256" | "PS256" => {
                let pair = RS256.generate_key_pair(2048).expect("a key");
                let mut private = pair.to_jwk_private_key();
                private.set_algorithm(algorithm);
                let signer: Box<dyn JwsSigner + Send + Sync> = match algorithm {
                    "RS256" => Box::new(RS256.signer_from_jwk(&private).expect("a signer")),
                    _ => Box::new(PS256.signer_from_jwk(&private).expect("a signer")),
                };
                (signer, pair.to_jwk_public_key())
            }
            other => panic!("no key for {other}"),
        };
        let mut jwk = serde_json::to_value(jwk.as_ref()).expect("JSON");
        jwk.as_object_mut().expect("an object").retain(|name, _| !matches!(name.as_str(), "use" | "alg" | "kid" | "key_ops"));
        Self { algorithm, signer, jwk }
    }

    /// `jkt` (RFC 9449 §6.1): the RFC 7638 thumbprint, computed here and not by the code under test.
    pub fn thumbprint(&self) -> String {
        let names: &[&str] = match self.jwk["kty"].as_str() {
            Some("EC") => &["crv", "kty", "x", "y"],
            Some("RSA") => &["e", "kty", "n"],
            _ => &["crv", "kty", "x"],
        };
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{}", self.jwk[name])).collect();
        encode(Sha256::digest(format!("{{{}}}", members.join(","))))
    }

    /// A proof for a request, as RFC 9449 §4.2 wants it.
    pub fn prove(&self, method: &str, url: &str) -> String {
        self.prove_with(method, url, &json!({}))
    }

    /// A proof for the use of an access token (§7.1).
    pub fn prove_token(&self, method: &str, url: &str, token: &str, nonce: &str) -> String {
        self.prove_with(method, url, &json!({ "ath": ath(token), "nonce": nonce }))
    }

    /// A proof with these claims replaced, or removed by `null`.
    pub fn prove_with(&self, method: &str, url: &str, changes: &Value) -> String {
        self.sign(&json!({}), &self.claims(method, url, changes))
    }

    /// The claims of a proof with these replaced, or removed by `null`. Each proof has a `jti` of its own.
    pub fn claims(&self, method: &str, url: &str, changes: &Value) -> Value {
        use symbolon::domain::Randomness as _;
        let mut jti = [0u8; 12];
        symbolon::jose::random::SystemRandomness.fill(&mut jti).expect("randomness");
        let claims = json!({ "jti": encode(jti), "htm": method, "htu": url, "iat": now() });
        changed(claims, changes)
    }

    /// Signs claims, with these header parameters replaced, or removed by `null`.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let header = changed(json!({ "typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk }), header);
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.signer.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", encode(signature))
    }
}

fn changed(mut base: Value, changes: &Value) -> Value {
    let members = base.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    base
}

impl Call {
    /// `DPoP: PROOF`.
    pub fn proof(self, proof: &str) -> Self {
        self.header("DPoP", proof)
    }

    /// `Authorization: DPoP TOKEN` and `DPoP: PROOF`.
    pub fn dpop(self, token: &str, proof: &str) -> Self {
        self.header("Authorization", &format!("DPoP {token}")).proof(proof)
    }
}

impl Answer {
    /// Every `WWW-Authenticate` field.
    pub fn challenges(&self) -> Vec<&str> {
        self.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| value.as_str()).collect()
    }

    /// The nonce in `DPoP-Nonce`; empty when there is none.
    #[track_caller]
    pub fn nonce(&self) -> &str {
        self.header("dpop-nonce").unwrap_or_default()
    }
}
