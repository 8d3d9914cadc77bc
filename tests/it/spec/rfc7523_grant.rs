//! RFC 7523 §2.1: assertions of trusted issuers as authorization grants.

use serde_json::{Value, json};

use crate::harness::assertion::{Signer, claims};
use crate::harness::{Answer, App, Call, Engine, Identity, Setup, Stack, postgres, token};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ISSUER: &str = "https://jwt-idp.example.com";

/// alice may present what the issuer says of `mike@example.com`, who is called `mike` here (the names of RFC 7523 §4); mallory is
/// registered for the grant, and trusted with nobody's assertions.
async fn start(engine: Engine, key: &Signer) -> Option<Stack> {
    let client = |name: &str| {
        App::metadata(name, json!({ "grant_types": [GRANT, "client_credentials"], "redirect_uris": null, "scope": "read write" }))
    };
    let server = format!(
        "[[assertion_issuer]]\nissuer = \"{ISSUER}\"\njwks_file = \"idp.json\"\nclients = [\"alice\"]\nscope = \"read\"\n\n\
         [[assertion_issuer.subject]]\nsub = \"mike@example.com\"\nname = \"mike\"\n"
    );
    let setup = Setup { server, clients: vec![client("alice"), client("mallory")], ..Setup::default() };
    let store = match engine {
        Engine::Sqlite => "sqlite:symbolon.db".to_owned(),
        Engine::Postgres => postgres::database().await?,
    };
    let mut stack = setup.prepare_with(store, &[("idp.json", &key.jwks().to_string())]).await;
    stack.start_server().await;
    Some(stack)
}

fn good(stack: &Stack) -> Value {
    let mut claims = claims(ISSUER, &stack.fill("{issuer}"));
    claims["sub"] = json!("mike@example.com");
    claims
}

async fn present(stack: &Stack, identity: &Identity, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", GRANT), ("client_id", identity.name.as_str()), ("assertion", assertion)], more].concat();
    stack.post(identity, "/token", &form).await
}

/// §3: iss, sub, aud and exp are judged; §5.2 of RFC 7521: "the authorization server MAY ensure that JWTs are not replayed": `jti`, once,
/// at whichever replica. The token is the subject's, and bound to the certificate of the client that presented the assertion.
async fn an_assertion_becomes_a_token_once(engine: Engine) {
    let key = Signer::key("ES256", "16");
    let Some(stack) = start(engine, &key).await else { return };
    let (_replica, [_, replica]) = stack.start_replica().await;
    let assertion = key.sign(json!({}), &good(&stack));
    let answer = present(&stack, &stack.alice, &assertion, &[]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["scope"], body.get("refresh_token"), body.get("issued_token_type")), (&json!("read"), None, None));
    let claims = token::claims(body["access_token"].as_str().expect("a token"));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("mike"), &json!("alice")));
    assert_eq!(claims["cnf"]["x5t#S256"], stack.alice.thumbprint());
    let replayed = (400, "invalid_grant".to_owned(), "assertion_replayed".to_owned());
    assert_eq!(stack.verdict(&present(&stack, &stack.alice, &assertion, &[]).await).await, replayed);
    let form = [("grant_type", GRANT), ("client_id", "alice"), ("assertion", &assertion)];
    let answer = stack.caller(&stack.alice).send(&replica, &Call::form("/token", &form)).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
    let answer = stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/oauth-authorization-server")).await;
    assert!(answer.json()["grant_types_supported"].as_array().is_some_and(|grants| grants.contains(&json!(GRANT))));
}

#[tokio::test]
async fn an_assertion_becomes_a_token_once_on_sqlite() {
    an_assertion_becomes_a_token_once(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_assertion_becomes_a_token_once_on_postgres() {
    an_assertion_becomes_a_token_once(Engine::Postgres).await;
}

/// RFC 7521 §4.1: "Refresh tokens are not normally issued ... the client can request a new access token using the same assertion": none
/// goes with it but to a client that is registered for one, whose use of it ends with the trust in the issuer. It is the client's, whatever
/// certificate that has by then, and nothing that was granted grows.
#[tokio::test]
async fn a_refresh_token_goes_with_it_by_registration_alone() {
    let key = Signer::key("ES256", "16");
    let mut stack = start(Engine::Sqlite, &key).await.expect("started");
    let client = |grants: serde_json::Value| {
        let grant_types = json!([GRANT, "client_credentials", "refresh_token"]);
        let changes = json!({
            "grant_types": grant_types, "redirect_uris": null, "scope": "read write", "resources": ["{accounts}", "{reports}"],
            "refresh_token_grants": grants,
        });
        let client = App::metadata("alice", changes);
        serde_json::from_str::<Value>(&stack.fill(&client.to_string())).expect("JSON")
    };
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    for (grants, problem) in [
        (json!([]), "`refresh_token` needs"),
        (json!(["client_credentials"]), "`client_credentials` is not"),
        (json!([exchange]), "`grant_types` does not have it"),
    ] {
        assert!(stack.apply(&[client(grants.clone())]).await.failed().contains(problem), "{grants}");
    }
    let registered = client(json!([GRANT]));
    stack.apply(std::slice::from_ref(&registered)).await.ok();
    let started = std::time::Instant::now();
    let body = loop {
        let body = present(&stack, &stack.alice, &key.sign(json!({}), &good(&stack)), &[]).await.json();
        if body.get("refresh_token").is_some() {
            break body;
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "{body}");
    };
    let refresh_token = body["refresh_token"].as_str().expect("one").to_owned();
    let refresh = async |stack: &Stack, identity: &Identity, more: &[(&str, &str)]| {
        let form = [("grant_type", "refresh_token"), ("client_id", &*identity.name), ("refresh_token", &*refresh_token)];
        stack.post(identity, "/token", &[&form[..], more].concat()).await
    };
    let renewed = stack.client_ca.issue(crate::harness::Leaf::client("alice"));
    let answer = refresh(&stack, &renewed, &[]).await;
    assert_eq!((answer.status, answer.json().get("refresh_token")), (200, None), "{}", answer.text());
    let access_token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let claims = token::claims(&access_token);
    assert_eq!((&claims["sub"], &claims["scope"], &claims["aud"]), (&json!("mike"), &json!("read"), &json!(stack.accounts)));
    assert_eq!(claims["cnf"]["x5t#S256"], renewed.thumbprint());
    let verdict = |code: &str, reason: &str| (400, code.to_owned(), reason.to_owned());
    for (more, code, reason) in [
        ([("scope", "write")], "invalid_scope", "scope_not_allowed"),
        ([("resource", &*stack.reports)], "invalid_target", "resource_not_allowed"),
        ([("certificate_rebinding", "x")], "unauthorized_client", "rebinding_not_allowed"),
    ] {
        let answer = refresh(&stack, &stack.alice, &more).await;
        assert_eq!(stack.verdict(&answer).await, verdict(code, reason), "{more:?}");
    }
    let answer = refresh(&stack, &stack.mallory, &[]).await;
    assert_eq!(stack.verdict(&answer).await, verdict("unauthorized_client", "grant_not_allowed"));
    // Whom the issuer speaks of is somebody else now; then it is not trusted at all.
    let text = std::fs::read_to_string(stack.server_config()).expect("read");
    for (from, to) in [("name = \"mike\"", "name = \"michael\""), ("clients = [\"alice\"]", "clients = [\"mallory\"]")] {
        std::fs::write(stack.server_config(), text.replace(from, to)).expect("written");
        stack.server.take().expect("running").stop().await;
        stack.start_server().await;
        let answer = refresh(&stack, &stack.alice, &[]).await;
        assert_eq!(stack.verdict(&answer).await, verdict("invalid_grant", "assertion_issuer"), "{to}");
    }
    std::fs::write(stack.server_config(), text).expect("written");
    stack.server.take().expect("running").stop().await;
    stack.start_server().await;
    assert_eq!(refresh(&stack, &stack.alice, &[]).await.status, 200);
    // Revoked, with every access token that came of it.
    assert_eq!(stack.introspect(&access_token).await["active"], json!(true));
    assert_eq!(stack.revoke(&stack.alice, &refresh_token).await.status, 200);
    assert_eq!(stack.introspect(&access_token).await, json!({ "active": false }));
    let answer = refresh(&stack, &stack.alice, &[]).await;
    assert_eq!(stack.verdict(&answer).await, verdict("invalid_grant", "refresh_token_unknown"));
}

/// §3.1: "If the JWT is not valid or is unacceptable, the authorization server constructs an error response ... the value of the `error`
/// parameter MUST be the `invalid_grant` error code."
#[tokio::test]
async fn what_is_wrong_with_an_assertion_is_refused() {
    let (key, other) = (Signer::key("ES256", "16"), Signer::key("ES256", "16"));
    let stack = start(Engine::Sqlite, &key).await.expect("started");
    let now = crate::harness::assertion::now();
    let changes = [
        (json!({ "iss": "https://other.example" }), "assertion_issuer"),
        (json!({ "iss": null }), "assertion_issuer"),
        (json!({ "sub": "eve@example.com" }), "assertion_subject"),
        (json!({ "sub": null }), "assertion_subject"),
        (json!({ "aud": "https://other.example" }), "assertion_audience"),
        (json!({ "aud": null }), "assertion_claim"),
        (json!({ "exp": now - 60 }), "assertion_expired"),
        (json!({ "exp": now + 86_400 }), "assertion_lifetime"),
        (json!({ "exp": null }), "assertion_claim"),
        (json!({ "nbf": now + 600 }), "assertion_not_yet_valid"),
        (json!({ "jti": null }), "assertion_claim"),
    ];
    for (change, reason) in changes {
        let mut claims = good(&stack);
        for (name, value) in change.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let answer = present(&stack, &stack.alice, &key.sign(json!({}), &claims), &[]).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), reason.to_owned()), "{change}");
    }
    let good = || good(&stack);
    let refused = [
        (other.sign(json!({}), &good()), "assertion_signature"),
        (key.sign(json!({ "kid": "17" }), &good()), "assertion_key_unknown"),
        (key.sign(json!({ "jwk": other.public() }), &good()), "assertion_key_reference"),
        (key.sign(json!({ "typ": "at+jwt" }), &good()), "assertion_type"),
        (key.sign(json!({ "crit": ["x"], "x": 1 }), &good()), "assertion_critical"),
        ("e30.e30.e30".to_owned(), "assertion_malformed"),
    ];
    for (assertion, reason) in refused {
        let answer = present(&stack, &stack.alice, &assertion, &[]).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), reason.to_owned()));
    }
    let answer = present(&stack, &stack.mallory, &key.sign(json!({}), &good()), &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "assertion_issuer".to_owned()));
    let answer = present(&stack, &stack.alice, &key.sign(json!({}), &good()), &[("scope", "write")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_scope".to_owned(), "scope_not_allowed".to_owned()));
    let answer = present(&stack, &stack.alice, &key.sign(json!({}), &good()), &[("resource", "https://other.example")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_target".to_owned(), "resource_not_allowed".to_owned()));
    let answer = present(&stack, &stack.gateway_identity, &key.sign(json!({}), &good()), &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "unauthorized_client".to_owned(), "grant_not_allowed".to_owned()));
    assert_eq!(present(&stack, &stack.alice, &key.sign(json!({}), &good()), &[("scope", "read")]).await.status, 200);
}
