//! The gateway introspects as a client of every kind that can do without a browser.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use symbolon::jose::Algorithm;
use symbolon::jose::random::SystemRandomness;
use symbolon::jose::sign::SigningKey;

use crate::harness::authority::write_private;
use crate::harness::{Setup, Stack};

const SECRET: &str = "correct horse+battery/staple=% and a few more words";

const CERTIFICATE: &str = r#"certificate_file = "gateway.pem"
key_file = "gateway-key.pem"
revocation_feed = true
"#;

/// The gateway authenticates so, as this client. Answers are kept: the thief comes when they are warm.
async fn start(settings: &str, client: Value) -> Stack {
    let mut gateway = json!({ "client_id": "gateway", "grant_types": [] });
    for (name, value) in client.as_object().expect("an object") {
        gateway[name] = value.clone();
    }
    let settings = format!("{settings}\nintrospection_cache_seconds = 30\n");
    let setup = Setup {
        gateway_changes: vec![(CERTIFICATE.into(), settings)],
        clients: vec![gateway],
        without_gateway: true,
        ..Setup::default()
    };
    setup.start().await
}

async fn guards(mut stack: Stack, what: &str) {
    stack.start_gateway().await;
    let token = stack.opaque_token(&stack.alice).await;
    for _ in 0..2 {
        assert_eq!(stack.at_reports(&stack.alice, &token).await.status, 200, "{what}");
    }
    stack.upstream.forget();
    let answer = stack.at_reports(&stack.mallory, &token).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".into(), "binding_certificate_mismatch".into()), "{what}");
    stack.upstream.assert_untouched();
}

#[tokio::test]
async fn with_a_secret_in_the_header() {
    let settings = "client_auth = \"client_secret_basic\"\nclient_secret_file = \"secret\"";
    let client = json!({ "token_endpoint_auth_method": "client_secret_basic", "client_secret": SECRET });
    let mut stack = start(settings, client).await;
    // Another secret: nothing can be said of any token, and nobody is told that his is bad.
    write_private(&stack.path("secret"), "another secret of some length\n");
    stack.start_gateway().await;
    let token = stack.opaque_token(&stack.alice).await;
    let answer = stack.at_reports(&stack.alice, &token).await;
    let unavailable = (503, "temporarily_unavailable".into(), "introspection_unavailable".into());
    assert_eq!(stack.verdict(&answer).await, unavailable);
    assert_eq!(answer.challenge(), "");
    stack.upstream.assert_untouched();
    stack.gateway = None;
    std::fs::remove_file(stack.path("secret")).expect("removed");
    write_private(&stack.path("secret"), &format!("{SECRET}\n"));
    guards(stack, "client_secret_basic").await;
}

#[tokio::test]
async fn with_a_secret_in_the_form() {
    let settings = "client_auth = \"client_secret_post\"\nclient_secret_file = \"secret\"";
    let client = json!({ "token_endpoint_auth_method": "client_secret_post", "client_secret": SECRET });
    let stack = start(settings, client).await;
    write_private(&stack.path("secret"), SECRET);
    guards(stack, "client_secret_post").await;
}

#[tokio::test]
async fn with_an_assertion() {
    let key = SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key");
    let pem = STANDARD.encode(&*key.to_pkcs8().expect("a private half"));
    let settings = "client_auth = \"private_key_jwt\"\nclient_key_file = \"assertion-key.pem\"";
    let keys = json!({ "keys": [key.public_jwk().to_members()] });
    let stack = start(settings, json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": keys })).await;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    write_private(&stack.path("assertion-key.pem"), &pem);
    guards(stack, "private_key_jwt").await;
}
