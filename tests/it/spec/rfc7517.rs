//! RFC 7517 (JSON Web Key) and RFC 7638 (its thumbprint): what the server and the gateway publish.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Answer, Call, Setup, Stack, token};

/// RFC 7638 §3.2: the required members in lexicographic order, without white space; §3.1: their SHA-256 in base64url.
fn thumbprint(key: &Value) -> String {
    let text = match key["kty"].as_str() {
        Some("EC") => format!(r#"{{"crv":{},"kty":"EC","x":{},"y":{}}}"#, key["crv"], key["x"], key["y"]),
        Some("OKP") => format!(r#"{{"crv":{},"kty":"OKP","x":{}}}"#, key["crv"], key["x"]),
        Some("RSA") => format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, key["e"], key["n"]),
        other => panic!("kty {other:?}"),
    };
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// RFC 7517 §4 and §5: a set whose keys say what they are, and nothing private (RFC 7518 §6: `d`, `p`, `q`, `dp`, `dq`, `qi`, `k`).
#[track_caller]
fn assert_public_set(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    let keys = answer.json()["keys"].as_array().expect("an array").clone();
    assert!(!keys.is_empty());
    for key in &keys {
        let key_object = key.as_object().expect("an object");
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(!key_object.contains_key(private), "{private} is published");
        }
        assert_eq!(key["kid"], json!(thumbprint(key)), "kid is the thumbprint (RFC 7638)");
        assert_eq!(key["use"], "sig");
        assert!(key["alg"].is_string());
    }
    keys
}

/// RFC 7638 §3.1: the example, through the function that the assertions of this file stand on and through the one under test.
#[test]
fn the_example_of_rfc_7638() {
    let key = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29"
    });
    let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_eq!(thumbprint(&key), expected);
    let set = json!({ "keys": [key] }).to_string();
    let set = symbolon::jose::jwk::JwkSet::from_json(set.as_bytes()).expect("a set");
    let ours: Vec<String> = set.keys().iter().map(|key| key.thumbprint().to_string()).collect();
    assert_eq!(ours, [expected]);
}

/// RFC 7517 §5, RFC 8414 §2 `jwks_uri`: one request without a certificate gives the keys; a token's `kid` names one of them. For each
/// algorithm that a signing key may have.
#[tokio::test]
async fn the_servers_keys_are_public_and_named_by_their_thumbprint() {
    for (algorithm, kty, crv) in [
        ("ES256", "EC", json!("P-256")),
        ("ES384", "EC", json!("P-384")),
        ("EdDSA", "OKP", json!("Ed25519")),
        ("PS256", "RSA", Value::Null),
    ] {
        let setup = Setup { server: format!("[signing]\nalgorithm = \"{algorithm}\"\n"), ..Setup::default() };
        let stack = setup.start().await;
        let keys = assert_public_set(&stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await);
        let jwt = stack.token(&stack.alice).await;
        let header = token::header(&jwt);
        let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the token's key");
        assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!(kty), &crv, &json!(algorithm)));
        assert_eq!(header["alg"], json!(algorithm));
        assert_eq!(stack.at_gateway(&stack.alice, &jwt).await.status, 200, "the gateway verifies {algorithm}");
    }
}

/// The keys of the gateway's assertions are a set of the same kind, for anyone, on every host of the gateway; and the assertion that
/// an upstream received verifies with them (by a library of somebody else).
#[tokio::test]
async fn the_gateways_keys_verify_its_assertions() {
    let stack = Stack::start().await;
    let call = Call::get("/.well-known/symbolon/jwks.json");
    let keys = assert_public_set(&stack.nobody().send(&stack.gateway_authority, &call).await);
    let public = assert_public_set(&stack.nobody().send(&stack.public_authority, &call).await);
    assert_eq!(keys, public);

    let jwt = stack.token(&stack.alice).await;
    assert_eq!(stack.at_gateway(&stack.alice, &jwt).await.status, 200);
    let received = stack.upstream.last();
    let assertion = received.values("x-symbolon-assertion")[0].to_owned();
    assert_eq!(received.values("authorization"), Vec::<&str>::new(), "the access token stays at the gateway");
    let header = token::header(&assertion);
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the assertion's key");
    let jwk = josekit::jwk::Jwk::from_map(key.as_object().expect("an object").clone()).expect("a JWK");
    let verifier = josekit::jws::ES256.verifier_from_jwk(&jwk).expect("a verifier");
    let (payload, _) = josekit::jwt::decode_with_verifier(&assertion, &verifier).expect("a good signature");
    assert_eq!(payload.issuer(), Some(format!("https://{}", stack.gateway_authority).as_str()));
    assert_eq!(payload.subject(), Some("alice"));
    assert_eq!(payload.audience(), Some(vec![stack.gateway_authority.as_str()]));
    let claims = token::claims(&assertion);
    assert_eq!(claims["cnf"], json!({ "x5t#S256": stack.alice.thumbprint() }));
    let lifetime = claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat");
    assert!((1..=60).contains(&lifetime), "{lifetime}");
}
