//! RFC 7009: token revocation.

use serde_json::{Value, json};

use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::{App, Call, Engine, Setup, Stack};

/// §2: "the authorization server ... invalidates the token ... immediately"; §2.2: "responds with HTTP status code 200 if the token has
/// been revoked successfully or if the client submitted an invalid token." For JWTs and opaque tokens, at the server and at a gateway
/// that verifies them itself.
async fn a_revoked_token_is_dead(engine: Engine) {
    let Some(stack) = Stack::start_on(engine).await else { return };
    for (path, token, other) in [
        ("/accounts", stack.token(&stack.alice).await, stack.token(&stack.alice).await),
        ("/reports", stack.opaque_token(&stack.alice).await, stack.opaque_token(&stack.alice).await),
    ] {
        let call = Call::get(path).bearer(&token);
        assert_eq!(stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status, 200);
        let answer = stack.revoke(&stack.alice, &token).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // At the server it is in force when the answer is there.
        assert_eq!(stack.introspect(&token).await, json!({ "active": false }));
        let answer = stack.wait_at_gateway(&stack.alice, &call, 401).await;
        let (status, error, reason) = stack.verdict(&answer).await;
        assert_eq!((status, error.as_str()), (401, "invalid_token"));
        assert!(["token_revoked", "token_inactive"].contains(&reason.as_str()), "{reason}");
        assert!(answer.challenge().contains(r#"error="invalid_token""#));
        // That token and no other.
        let call = Call::get(path).bearer(&other);
        assert_eq!(stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status, 200);
        assert_eq!(stack.introspect(&other).await["active"], json!(true));
        // Again: nothing left to revoke is no error.
        assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    }
}

#[tokio::test]
async fn a_revoked_token_is_dead_on_sqlite() {
    a_revoked_token_is_dead(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_revoked_token_is_dead_on_postgres() {
    a_revoked_token_is_dead(Engine::Postgres).await;
}

/// §2.1: "verifies whether the token was issued to the client making the revocation request. If this validation fails, the request is
/// refused and the client is informed of the error."
#[tokio::test]
async fn nobody_revokes_anothers_token() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    for token in [stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await] {
        let answer = stack.revoke(&stack.mallory, &token).await;
        let expected = (400, "unauthorized_client".to_owned(), "revocation_not_allowed".to_owned());
        assert_eq!(stack.verdict(&answer).await, expected);
        assert_eq!(stack.introspect(&token).await["active"], json!(true));
        assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
        assert_eq!(stack.introspect(&token).await["active"], json!(false));
    }
}

/// §2.2: "invalid tokens do not cause an error response"; §2.1: "token_type_hint OPTIONAL ... An authorization server MAY ignore this
/// parameter"; §2.1: "token REQUIRED"; the client authenticates as at the token endpoint.
#[tokio::test]
async fn what_is_no_token_is_no_error_and_what_is_no_client_is() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    for invalid in ["abc", "sy_at_AAAA", "a.b.c", &format!("{token}x")] {
        assert_eq!(stack.revoke(&stack.alice, invalid).await.status, 200, "{invalid}");
    }
    let table: [(&[(&str, &str)], u16, &str, &str); 4] = [
        (&[("client_id", "alice")], 400, "invalid_request", "parameter_absent"),
        (&[("client_id", "alice"), ("token", "")], 400, "invalid_request", "parameter_absent"),
        (&[("client_id", "mallory"), ("token", &token)], 401, "invalid_client", "certificate_subject_mismatch"),
        (&[("token", &token)], 401, "invalid_client", "client_id_absent"),
    ];
    for (form, status, error, reason) in table {
        let answer = stack.post(&stack.alice, "/revoke", form).await;
        assert_eq!(stack.verdict(&answer).await, (status, error.to_owned(), reason.to_owned()), "{form:?}");
    }
    let form = [("client_id", "alice"), ("token", token.as_str())];
    let answer = stack.nobody().send(&stack.mtls_authority, &Call::form("/revoke", &form)).await;
    let expected = (401, "invalid_client".to_owned(), "certificate_absent".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert_eq!(stack.introspect(&token).await["active"], json!(true));
    // A hint that is wrong, or unknown, misleads nobody.
    for hint in ["refresh_token", "unheard_of"] {
        let token = stack.token(&stack.alice).await;
        let form = [("client_id", "alice"), ("token", token.as_str()), ("token_type_hint", hint)];
        assert_eq!(stack.post(&stack.alice, "/revoke", &form).await.status, 200);
        assert_eq!(stack.introspect(&token).await["active"], Value::Bool(false));
    }
}

/// §2: "Implementations MUST support the revocation of refresh tokens"; §2.1: "If the particular token is a refresh token and the
/// authorization server supports the revocation of access tokens, then the authorization server SHOULD also invalidate all access tokens
/// based on the same authorization grant".
async fn a_revoked_refresh_token_ends_its_grant(engine: Engine) {
    let Some(stack) = (Setup { engine, ..App::setup() }).try_start().await else { return };
    add_bob(&stack).await;
    let (alice, mallory) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let tokens = alice.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let other = alice.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    let renewed = alice.refresh(&stack, refresh_token).await.json()["access_token"].as_str().expect("one").to_owned();
    let answer = stack.revoke(&mallory.identity, refresh_token).await;
    let foreign = (400, "unauthorized_client".to_owned(), "revocation_not_allowed".to_owned());
    assert_eq!(stack.verdict(&answer).await, foreign);
    assert_eq!(alice.refresh(&stack, refresh_token).await.status, 200, "mallory ended nothing");

    let form = [("client_id", "alice"), ("token", refresh_token), ("token_type_hint", "refresh_token")];
    let answer = stack.post(&stack.alice, "/revoke", &form).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let answer = alice.refresh(&stack, refresh_token).await;
    let ended = (400, "invalid_grant".to_owned(), "refresh_token_unknown".to_owned());
    assert_eq!(stack.verdict(&answer).await, ended);
    for access_token in [tokens["access_token"].as_str().expect("one"), &renewed] {
        assert_eq!(stack.introspect(access_token).await, json!({ "active": false }));
        let call = Call::get("/accounts").bearer(access_token);
        assert_eq!(stack.wait_at_gateway(&stack.alice, &call, 401).await.status, 401);
    }
    // That grant and no other.
    assert_eq!(alice.refresh(&stack, other["refresh_token"].as_str().expect("one")).await.status, 200);
    assert_eq!(stack.revoke(&stack.alice, refresh_token).await.status, 200, "again is no error (section 2.2)");
    let events = stack.wait_for_event("server-audit.jsonl", "grant_revoked").await;
    assert_eq!(events["client_id"], "alice");
}

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_grant_on_sqlite() {
    a_revoked_refresh_token_ends_its_grant(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_grant_on_postgres() {
    a_revoked_refresh_token_ends_its_grant(Engine::Postgres).await;
}

/// §2.1: "The authorization server first validates the client credentials (in case of a confidential client) and then verifies whether the
/// token was issued to the client making the revocation request": a public client gives its `client_id`.
#[tokio::test]
async fn a_public_client_revokes_what_it_has() {
    let public = |name: &str| {
        App::metadata(
            name,
            json!({
                "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null,
                "tls_client_certificate_bound_access_tokens": false, "scope": "read",
            }),
        )
    };
    let clients = vec![public("alice"), public("mallory")];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let revoke = async |client_id: &str, token: &str| {
        let call = Call::form("/revoke", &[("client_id", client_id), ("token", token)]);
        stack.nobody().send(&stack.issuer_authority, &call).await
    };
    for kind in ["access_token", "refresh_token"] {
        let tokens = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
        let (token, access_token) = (tokens[kind].as_str().expect("one"), tokens["access_token"].as_str().expect("one"));
        let answer = revoke("mallory", token).await;
        let foreign = (400, "unauthorized_client".to_owned(), "revocation_not_allowed".to_owned());
        assert_eq!(stack.verdict(&answer).await, foreign, "{kind}");
        assert_eq!(stack.introspect(access_token).await["active"], json!(true));
        assert_eq!(revoke("alice", token).await.status, 200, "{kind}");
        assert_eq!(stack.introspect(access_token).await, json!({ "active": false }), "{kind}");
        let refreshed = app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await;
        assert_eq!(refreshed.status == 200, kind == "access_token", "{}", refreshed.text());
    }
}
