//! RFC 6750: presenting a bearer token, and the challenges.

use serde_json::json;

use crate::harness::stack::PROTOCOLS;
use crate::harness::{Call, Setup, Stack, token};

/// §3: "the resource server MUST include the HTTP `WWW-Authenticate` response header field"; §3.1: "If the request lacks any
/// authentication information ... the resource server SHOULD NOT include an error code or other error information."
#[tokio::test]
async fn without_a_token_the_challenge_has_no_error_code() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let table = [
        ("nothing", Call::get("/accounts")),
        ("another scheme", Call::get("/accounts").header("Authorization", "Basic YTpi")),
        ("a form's token, which is not for here", Call::form("/accounts", &[("access_token", &token)])),
    ];
    for (what, call) in table {
        for (tls, http) in PROTOCOLS {
            let answer = stack.caller(&stack.alice).tls(tls).http(http).send(&stack.gateway_authority, &call).await;
            assert_eq!(answer.status, 401, "{what}");
            let challenge = answer.challenge();
            assert!(challenge.starts_with("Bearer realm=\""), "{what}: {challenge}");
            assert!(!challenge.contains("error"), "{what}: {challenge}");
            assert!(challenge.contains(r#"scope="read""#), "{what}: {challenge}");
            assert_eq!(stack.reason_of(answer.request_id()).await, "token_absent", "{what}");
        }
    }
    stack.upstream.assert_untouched();
    assert_eq!(stack.at_gateway(&stack.alice, &token).await.status, 200);
}

/// §3.1: "invalid_request ... 400", "invalid_token ... 401", "insufficient_scope ... 403 ... MAY include the `scope` attribute"; §2: a
/// client uses no more than one method of presenting; §2.1: `"Bearer" 1*SP b64token`.
#[tokio::test]
async fn each_refusal_is_the_standards() {
    let stack = Stack::start().await;
    let (jwt, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    let answer = stack.ask(&stack.alice, &[("scope", "read")]).await.json();
    let reader = answer["access_token"].as_str().expect("access_token").to_owned();
    let other = { stack.ask(&stack.alice, &[("resource", &stack.accounts), ("scope", "write")]).await.json() };
    let writer = other["access_token"].as_str().expect("access_token").to_owned();
    let get = |authorization: &str| Call::get("/accounts").header("Authorization", authorization);
    let bearer = |token: &str| Call::get("/accounts").bearer(token);
    let tampered = { format!("{}{}", &jwt[..jwt.len() - 2], if jwt.ends_with("AA") { "BB" } else { "AA" }) };
    let without_signature = format!("{}.", jwt.rsplit_once('.').expect("parts").0);
    let table: Vec<(&str, Call, u16, &str, &str)> = vec![
        ("Authorization twice", bearer(&jwt).bearer(&jwt), 400, "invalid_request", "token_ambiguous"),
        (
            "in the query too",
            Call::get(&format!("/accounts?access_token={jwt}")).bearer(&jwt),
            400,
            "invalid_request",
            "token_ambiguous",
        ),
        ("in the query alone", Call::get(&format!("/accounts?access_token={jwt}")), 400, "invalid_request", "token_ambiguous"),
        (
            "in the query, encoded",
            Call::get(&format!("/accounts?a%63cess_token={jwt}")),
            400,
            "invalid_request",
            "token_ambiguous",
        ),
        ("no token after the scheme", get("Bearer"), 401, "invalid_token", "token_malformed"),
        ("two tokens after the scheme", get(&format!("Bearer {jwt} {jwt}")), 401, "invalid_token", "token_malformed"),
        ("characters no token has", get("Bearer a,b"), 401, "invalid_token", "token_malformed"),
        ("no token of ours", bearer("abc"), 401, "invalid_token", "token_malformed"),
        ("an opaque token where JWTs are", bearer(&opaque), 401, "invalid_token", "token_malformed"),
        ("an altered signature", bearer(&tampered), 401, "invalid_token", "token_signature"),
        ("no signature", bearer(&without_signature), 401, "invalid_token", "token_signature"),
        ("too little scope", Call::get("/accounts/write").bearer(&reader), 403, "insufficient_scope", "token_scope"),
        ("another scope", bearer(&writer), 403, "insufficient_scope", "token_scope"),
        ("for another resource", Call::get("/reports").bearer(&jwt), 401, "invalid_token", "token_audience"),
    ];
    let alice = stack.caller(&stack.alice);
    for (what, call, status, error, reason) in table {
        let answer = alice.send(&stack.gateway_authority, &call).await;
        let expected = (status, error.to_owned(), reason.to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{what}: {}", answer.text());
        let challenge = answer.challenge();
        assert!(challenge.starts_with("Bearer realm=\""), "{what}: {challenge}");
        assert!(challenge.contains(&format!("error=\"{error}\"")), "{what}: {challenge}");
        assert_eq!(challenge.contains("scope=\""), error == "insufficient_scope", "{what}: {challenge}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    }
    stack.upstream.assert_untouched();
    for call in [
        bearer(&jwt),
        bearer(&reader),
        // RFC 9110 §11.1: "uses a case-insensitive token to identify the authentication scheme".
        get(&format!("bearer {jwt}")),
        get(&format!("BEARER  {jwt}")),
        Call::get("/accounts/write").bearer(&jwt),
        Call::get("/accounts/write").bearer(&writer),
        Call::get("/reports").bearer(&opaque),
        Call::get("/accounts?access_tokens=1").bearer(&jwt),
    ] {
        assert_eq!(alice.send(&stack.gateway_authority, &call).await.status, 200, "{}", call.target);
    }
}

/// §3.1: "invalid_token: The access token provided is expired, revoked, malformed, or invalid for other reasons."
#[tokio::test]
async fn expired_and_revoked_tokens_are_invalid() {
    let short = |resource: &str, format: &str| {
        let from = format!("identifier = \"{resource}\"\nscopes = [\"read\", \"write\"]\naccess_token_format = \"{format}\"");
        (from.clone(), format!("{from}\naccess_token_lifetime_seconds = 2"))
    };
    let setup = Setup {
        server_changes: vec![short("{accounts}", "jwt"), short("{reports}", "opaque")],
        gateway_changes: vec![("revocation_feed = true".into(), "revocation_feed = true\nleeway_seconds = 0".into())],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let (jwt, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    let expires = token::claims(&jwt)["exp"].as_i64().expect("exp");
    let issued = token::claims(&jwt)["iat"].as_i64().expect("iat");
    assert_eq!(expires - issued, 2);
    assert_eq!(
        (stack.at_gateway(&stack.alice, &jwt).await.status, stack.at_reports(&stack.alice, &opaque).await.status),
        (200, 200)
    );

    let revoked = stack.token(&stack.alice).await;
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    let answer = stack.wait_at_gateway(&stack.alice, &Call::get("/accounts").bearer(&revoked), 401).await;
    let reason = stack.reason_of(answer.request_id()).await;
    // Revoked, unless it expired first on a slow machine.
    assert!(["token_revoked", "token_expired"].contains(&reason.as_str()), "{reason}");

    let answer = stack.wait_at_gateway(&stack.alice, &Call::get("/accounts").bearer(&jwt), 401).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), "token_expired".to_owned()));
    let answer = stack.wait_at_gateway(&stack.alice, &Call::get("/reports").bearer(&opaque), 401).await;
    let (status, error, reason) = stack.verdict(&answer).await;
    assert_eq!((status, error.as_str()), (401, "invalid_token"));
    assert!(["token_inactive", "token_expired"].contains(&reason.as_str()), "{reason}");
    assert_eq!(stack.introspect(&opaque).await, json!({ "active": false }));
}

/// §3: a 401 makes clients throw their token away; when the gateway is what cannot decide, it says 503 and no challenge.
#[tokio::test]
async fn a_fault_of_ours_is_no_challenge() {
    let mut stack = Stack::start().await;
    let opaque = stack.opaque_token(&stack.alice).await;
    stack.server.take().expect("running").stop().await;
    let answer = stack.at_reports(&stack.alice, &opaque).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(stack.reason_of(answer.request_id()).await, "introspection_unavailable");
    stack.upstream.assert_untouched();
    stack.start_server().await;
    assert_eq!(stack.wait_at_gateway(&stack.alice, &Call::get("/reports").bearer(&opaque), 200).await.status, 200);
}
