//! Client assertions of every kind, also bad ones, signed by an implementation of its own and not by the code under test.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use josekit::jwk::alg::ed::EdCurve;
use josekit::jws::{ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, JwsSigner, PS256, PS384, PS512, RS256};
use serde_json::{Map, Value, json};

/// `client_assertion_type` (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Something that signs: a private key, or a secret.
#[derive(Debug)]
pub struct Signer {
    /// `alg`.
    pub algorithm: &'static str,
    signer: Box<dyn JwsSigner>,
    public: Value,
}

impl Signer {
    /// A fresh key for an algorithm with public keys, called `key_id`.
    pub fn key(algorithm: &'static str, key_id: &str) -> Self {
        let jwk = match algorithm {
            "ES256" => Jwk::generate_ec_key(EcCurve::P256),
            "ES384" => Jwk::generate_ec_key(EcCurve::P384),
            "ES512" => Jwk::generate_ec_key(EcCurve::P521),
            "EdDSA" => Jwk::generate_ed_key(EdCurve::Ed25519),
            _ => Jwk::generate_rsa_key(2048),
        };
        let mut jwk = jwk.expect("a key");
        jwk.set_key_id(key_id);
        let signer: Box<dyn JwsSigner> = match algorithm {
            "ES256" => Box::new(ES256.signer_from_jwk(&jwk).expect("a signer")),
            "ES384" => Box::new(ES384.signer_from_jwk(&jwk).expect("a signer")),
            "ES512" => Box::new(ES512.signer_from_jwk(&jwk).expect("a signer")),
            "EdDSA" => Box::new(EdDSA.signer_from_jwk(&jwk).expect("a signer")),
            "PS256" => Box::new(PS256.signer_from_jwk(&jwk).expect("a signer")),
            "PS384" => Box::new(PS384.signer_from_jwk(&jwk).expect("a signer")),
            "PS512" => Box::new(PS512.signer_from_jwk(&jwk).expect("a signer")),
            _ => Box::new(RS256.signer_from_jwk(&jwk).expect("a signer")),
        };
        let public = jwk.to_public_key().expect("a public half");
        let mut public = serde_json::to_value(public.as_ref()).expect("JSON");
        public["kid"] = json!(key_id);
        Self { algorithm, signer, public }
    }

    /// A secret.
    pub fn secret(algorithm: &'static str, secret: &[u8]) -> Self {
        let signer = match algorithm {
            "HS256" => HS256.signer_from_bytes(secret),
            "HS384" => HS384.signer_from_bytes(secret),
            _ => HS512.signer_from_bytes(secret),
        };
        Self { algorithm, signer: Box::new(signer.expect("a signer")), public: Value::Null }
    }

    /// The public half.
    pub fn public(&self) -> Value {
        self.public.clone()
    }

    /// The public half as a JWK Set.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.public] })
    }

    /// Signs this header and this payload, byte by byte as they are.
    pub fn sign_raw(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signer.sign(input.as_bytes()).expect("signed");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs claims, with `alg`, the key's `kid` and these members in the header.
    pub fn sign(&self, header: Value, claims: &Value) -> String {
        let mut whole = Map::from_iter([("alg".to_owned(), json!(self.algorithm))]);
        if let Some(key_id) = self.public.get("kid") {
            whole.insert("kid".to_owned(), key_id.clone());
        }
        for (name, value) in header.as_object().expect("an object") {
            match value {
                Value::Null => whole.remove(name),
                value => whole.insert(name.clone(), value.clone()),
            };
        }
        self.sign_raw(&Value::Object(whole).to_string(), &claims.to_string())
    }

    /// An assertion in order, for one use.
    pub fn assertion(&self, client_id: &str, audience: &str) -> String {
        self.sign(json!({}), &claims(client_id, audience))
    }
}

/// Claims in order, for one use.
pub fn claims(client_id: &str, audience: &str) -> Value {
    json!({
        "iss": client_id, "sub": client_id, "aud": audience, "exp": now() + 60, "iat": now(), "jti": fresh(),
    })
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An identifier that was not used before.
pub fn fresh() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The parameters of an assertion, beside these.
pub fn with<'a>(assertion: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)];
    form.extend(more);
    form
}
