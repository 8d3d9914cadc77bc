//! RFC 9701: introspection answers as signed JWTs.

use serde_json::{Value, json};

use crate::harness::assertion::now;
use crate::harness::{Answer, App, Call, Setup, Stack, token};

async fn introspect(stack: &Stack, text: &str, accept: &str) -> Answer {
    let call = Call::form("/introspect", &[("token", text), ("client_id", "gateway")]).header("Accept", accept);
    stack.caller(&stack.gateway_identity).send(&stack.mtls_authority, &call).await
}

const SIGNED: &str = "application/token-introspection+jwt";

/// §4: "The resource server requests a JWT introspection response by sending an introspection request with an `Accept` HTTP header field
/// set to `application/token-introspection+jwt`"; §5: "typ", "iss", "aud", "iat", "token_introspection: A JSON object containing the
/// members of the token introspection response as specified in [RFC7662], Section 2.2"; "`sub` and `exp` claims ... SHOULD NOT"; §6
/// `introspection_signed_response_alg`; §7 `introspection_signing_alg_values_supported`.
#[tokio::test]
async fn an_answer_may_be_a_signed_jwt() {
    let gateway = json!({
        "client_id": "gateway", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=gateway",
        "grant_types": [], "introspection_signed_response_alg": "PS256",
    });
    let server = "[signing]\nmore_algorithms = [\"PS256\"]\n".to_owned();
    let clients = vec![gateway, App::metadata("mallory", json!({}))];
    let stack = Setup { without_gateway: true, clients, server, ..Setup::default() }.start().await;
    let issuer = format!("https://{}", stack.issuer_authority);
    // A second algorithm's first key is made beside the server's start.
    let started = std::time::Instant::now();
    while introspect(&stack, "unknown", SIGNED).await.status == 503 {
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let jwks = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await;
    let set = symbolon::jose::jwk::JwkSet::from_json(&jwks.body).expect("a set");
    let keys = symbolon::jose::verify::VerifyingKeys::new(&set, &symbolon::jose::Algorithm::ALL);
    for (text, active) in [(stack.token(&stack.alice).await, true), ("unknown".to_owned(), false)] {
        let plain = introspect(&stack, &text, "application/json").await;
        assert_eq!(plain.header("content-type"), Some("application/json"));
        let answer = introspect(&stack, &text, SIGNED).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(SIGNED)), "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let jwt = answer.text();
        let header = token::header(&jwt);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("token-introspection+jwt"), &json!("PS256")));
        let compact = symbolon::jose::jws::Compact::parse(&jwt).expect("a JWS");
        let claims = Value::Object(keys.verify(&compact).expect("signed by the server").claims().clone());
        let issued = claims["iat"].as_u64().expect("iat");
        assert!(issued <= now() && issued + 10 > now());
        let expected = json!({ "iss": issuer, "aud": "gateway", "iat": issued, "token_introspection": plain.json() });
        assert_eq!(claims, expected);
        assert_eq!(claims["token_introspection"]["active"], active);
    }
    // §8.1: it is no access token.
    let jwt = introspect(&stack, &stack.token(&stack.alice).await, SIGNED).await.text();
    assert_eq!(introspect(&stack, &jwt, "application/json").await.json(), json!({ "active": false }));
    // Whoever does not authenticate is told so in JSON.
    let call = Call::form("/introspect", &[("token", "x"), ("client_id", "gateway")]).header("Accept", SIGNED);
    let answer = stack.caller(&stack.mallory).send(&stack.mtls_authority, &call).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    let document =
        stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/oauth-authorization-server")).await.json();
    assert_eq!(document["introspection_signing_alg_values_supported"], json!(["ES256", "PS256"]));
}
