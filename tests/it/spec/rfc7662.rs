//! RFC 7662: token introspection.

use serde_json::{Value, json};

use crate::harness::{Call, Engine, Setup, token};

/// §2.2: the members of an answer for an active token, equal to what the token itself says; and RFC 8705 §3.2 for `cnf`.
async fn an_active_token_is_described(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let jwt = stack.token(&stack.alice).await;
    let claims = token::claims(&jwt);
    let answer = stack.introspect(&jwt).await;
    assert_eq!(answer["active"], json!(true));
    for name in ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "cnf"] {
        assert!(!claims[name].is_null(), "{name}");
        assert_eq!(answer[name], claims[name], "{name}");
    }
    assert_eq!(answer["token_type"], "Bearer");

    let opaque = stack.opaque_token(&stack.alice).await;
    let answer = stack.introspect(&opaque).await;
    let told: Vec<&Value> =
        ["active", "iss", "sub", "aud", "client_id", "scope", "cnf"].iter().map(|name| &answer[name]).collect();
    let issuer = format!("https://{}", stack.issuer_authority);
    let cnf = json!({ "x5t#S256": stack.alice.thumbprint() });
    assert_eq!(
        json!(told),
        json!([true, issuer, "alice", stack.reports, "alice", claims["scope"].clone(), cnf]),
        "an opaque token says what a JWT says"
    );
    assert!(answer["exp"].as_i64().expect("exp") > answer["iat"].as_i64().expect("iat"));
}

#[tokio::test]
async fn an_active_token_is_described_on_sqlite() {
    an_active_token_is_described(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_active_token_is_described_on_postgres() {
    an_active_token_is_described(Engine::Postgres).await;
}

/// §2.2: "If the introspection call is properly authorized but the token is not active, does not exist on this server, or the protected
/// resource is not allowed to introspect this particular token, then the authorization server MUST return an introspection response
/// with the `active` field set to `false`. Note that to avoid disclosing too much of the authorization server's state to a third party,
/// the authorization server SHOULD NOT include any additional information about an inactive token, including why the token is
/// inactive." The reason is in the audit trail alone.
#[tokio::test]
async fn anything_else_is_inactive_and_nothing_more() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let (jwt, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    let altered = format!("{}{}", &opaque[..opaque.len() - 2], if opaque.ends_with("AA") { "BB" } else { "AA" });
    let revoked = stack.token(&stack.alice).await;
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    let other = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let foreign_jwt = other.token(&other.alice).await;
    let foreign_opaque = other.opaque_token(&other.alice).await;
    let gateway = &stack.gateway_identity;
    let table = [
        ("garbage", gateway, "abc", "token_malformed"),
        ("an altered opaque token", gateway, altered.as_str(), "token_signature"),
        ("a revoked token", gateway, revoked.as_str(), "token_revoked"),
        ("another server's JWT", gateway, foreign_jwt.as_str(), "token_key_unknown"),
        ("another server's opaque token", gateway, foreign_opaque.as_str(), "token_key_unknown"),
        ("asked by its own client, who is not listed", &stack.alice, jwt.as_str(), "introspection_not_allowed"),
        ("asked by another client", &stack.mallory, opaque.as_str(), "introspection_not_allowed"),
    ];
    for (what, caller, token, reason) in table {
        let form = [("token", token), ("client_id", caller.name.as_str())];
        let answer = stack.post(caller, "/introspect", &form).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"active":false}"#), "{what}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{what}");
    }
    for token in [&jwt, &opaque] {
        assert_eq!(stack.introspect(token).await["active"], json!(true));
    }
}

/// §2.1: "the endpoint MUST also require some form of authorization to access this endpoint"; §2.3: "If the protected resource ... does
/// not present valid client credentials ... the authorization server responds with an HTTP 401"; §2.1: "token REQUIRED".
#[tokio::test]
async fn only_clients_may_ask() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let form = |client_id: &str| Call::form("/introspect", &[("token", &token), ("client_id", client_id)]);
    let table = [
        ("no certificate", stack.nobody(), form("gateway"), 401, "invalid_client", "certificate_absent"),
        (
            "another's certificate",
            stack.caller(&stack.alice),
            form("gateway"),
            401,
            "invalid_client",
            "certificate_subject_mismatch",
        ),
        ("an unknown client", stack.caller(&stack.alice), form("nobody"), 401, "invalid_client", "client_unknown"),
        (
            "no client_id",
            stack.caller(&stack.gateway_identity),
            Call::form("/introspect", &[("token", &token)]),
            401,
            "invalid_client",
            "client_id_absent",
        ),
        (
            "no token",
            stack.caller(&stack.gateway_identity),
            Call::form("/introspect", &[("client_id", "gateway")]),
            400,
            "invalid_request",
            "parameter_absent",
        ),
    ];
    for (what, caller, call, status, error, reason) in table {
        let answer = caller.send(&stack.mtls_authority, &call).await;
        assert_eq!(stack.verdict(&answer).await, (status, error.to_owned(), reason.to_owned()), "{what}");
    }
    let answer = stack.caller(&stack.gateway_identity).send(&stack.mtls_authority, &form("gateway")).await;
    assert_eq!(answer.json()["active"], json!(true));
}
