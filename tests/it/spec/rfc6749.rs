//! RFC 6749: the token endpoint and its errors.

use serde_json::{Value, json};

use crate::harness::stack::PROTOCOLS;
use crate::harness::{Answer, Call, Engine, Setup};

const FORM: &str = "application/x-www-form-urlencoded";
const GOOD: &str = "grant_type=client_credentials&client_id=alice";

/// §5.2: "error ... error_description" in JSON, and "Values for the `error_description` parameter MUST NOT include characters outside
/// the set %x20-21 / %x23-5B / %x5D-7E"; §5.1, as §5.2 has it for errors too: no cache may keep an answer of the token endpoint.
#[track_caller]
fn assert_error_form(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "{what}");
    let body = answer.json();
    let members: Vec<&String> = body.as_object().unwrap_or_else(|| panic!("{what}: {}", answer.text())).keys().collect();
    assert_eq!(members, ["error", "error_description"], "{what}");
    let description = body["error_description"].as_str().expect("a string");
    assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{what}: {description}");
}

/// A token request of alice with this body.
fn with_body(body: &str) -> Call {
    Call::new("POST", "/token").header("Content-Type", FORM).body(body)
}

/// §5.2: every error code of the token endpoint, each beside its private reason; the request with the one thing corrected succeeds.
async fn every_error_is_the_standards(engine: Engine) {
    let setup = Setup {
        engine,
        without_gateway: true,
        clients: vec![json!({
            "client_id": "nowhere", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
        })],
        ..Setup::default()
    };
    let Some(stack) = setup.try_start().await else { return };
    let many: String = (0..100).map(|index| format!("&p{index}=1")).collect();
    let form = |more: &str| with_body(&format!("{GOOD}{more}"));
    let table: Vec<(&str, Call, u16, &str, &str)> = vec![
        ("no grant_type", with_body("client_id=alice"), 400, "invalid_request", "parameter_absent"),
        ("an empty grant_type", with_body("grant_type=&client_id=alice"), 400, "invalid_request", "parameter_absent"),
        ("an empty body", with_body(""), 400, "invalid_request", "parameter_absent"),
        ("grant_type twice", form("&grant_type=client_credentials"), 400, "invalid_request", "parameter_duplicate"),
        ("client_id twice", form("&client_id=alice"), 400, "invalid_request", "parameter_duplicate"),
        ("an unknown parameter twice", form("&x=1&x=2"), 400, "invalid_request", "parameter_duplicate"),
        ("a parameter twice, once encoded", form("&scope=read&%73cope=read"), 400, "invalid_request", "parameter_duplicate"),
        ("not UTF-8", form("&scope=%ff"), 400, "invalid_request", "parameter_malformed"),
        ("NUL", form("&scope=read%00"), 400, "invalid_request", "parameter_malformed"),
        ("a hundred parameters", form(&many), 400, "invalid_request", "parameter_malformed"),
        ("another grant", with_body("grant_type=password&client_id=alice"), 400, "unsupported_grant_type", "grant_unsupported"),
        (
            "a grant in other letters",
            with_body("grant_type=Client_Credentials&client_id=alice"),
            400,
            "unsupported_grant_type",
            "grant_unsupported",
        ),
        ("no client_id", with_body("grant_type=client_credentials"), 401, "invalid_client", "client_id_absent"),
        (
            "an unknown client",
            with_body("grant_type=client_credentials&client_id=nobody"),
            401,
            "invalid_client",
            "client_unknown",
        ),
        (
            "a client_id outside its syntax",
            with_body("grant_type=client_credentials&client_id=al%0aice"),
            401,
            "invalid_client",
            "client_unknown",
        ),
        (
            "another client's certificate",
            with_body("grant_type=client_credentials&client_id=mallory"),
            401,
            "invalid_client",
            "certificate_subject_mismatch",
        ),
        ("a secret too", form("&client_secret=x"), 401, "invalid_client", "client_method_mismatch"),
        ("an assertion too", form("&client_assertion=x"), 401, "invalid_client", "client_method_mismatch"),
        ("a scope nobody knows", form("&scope=admin"), 400, "invalid_scope", "scope_not_allowed"),
        ("one scope too many", form("&scope=read+admin"), 400, "invalid_scope", "scope_not_allowed"),
        ("a scope in other letters", form("&scope=Read"), 400, "invalid_scope", "scope_not_allowed"),
        ("a scope outside its syntax", form("&scope=%22read%22"), 400, "invalid_scope", "parameter_malformed"),
        ("a resource nobody knows", form("&resource=https://other.example"), 400, "invalid_target", "resource_not_allowed"),
        (
            "a client without resources",
            with_body("grant_type=client_credentials&client_id=nowhere"),
            400,
            "invalid_target",
            "resource_not_allowed",
        ),
        ("JSON", form("").replacing("Content-Type", "application/json"), 400, "invalid_request", "content_type"),
        (
            "a form in another character set",
            form("").replacing("Content-Type", "application/x-www-form-urlencoded; charset=latin1"),
            400,
            "invalid_request",
            "content_type",
        ),
        ("no content type", Call::new("POST", "/token").body(GOOD), 400, "invalid_request", "content_type"),
        ("a body beyond the limit", form(&format!("&x={}", "a".repeat(70_000))), 413, "invalid_request", "body_too_large"),
        ("GET", Call::get("/token"), 405, "invalid_request", "method_not_allowed"),
        ("parameters in the query", Call::get(&format!("/token?{GOOD}")), 405, "invalid_request", "method_not_allowed"),
        ("PUT", Call::new("PUT", "/token").header("Content-Type", FORM).body(GOOD), 405, "invalid_request", "method_not_allowed"),
    ];
    let alice = stack.caller(&stack.alice);
    for (what, call, status, error, reason) in table {
        for (tls, http) in [PROTOCOLS[1], PROTOCOLS[3]] {
            let answer = alice.clone().tls(tls).http(http).send(&stack.mtls_authority, &call).await;
            let expected = (status, error.to_owned(), reason.to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{what} {http:?}: {}", answer.text());
            assert_error_form(&answer, what);
        }
    }
    assert_eq!(alice.send(&stack.mtls_authority, &with_body(GOOD)).await.status, 200);

    // unauthorized_client: a client that authenticates well and may not use the grant.
    let gateway = stack.caller(&stack.gateway_identity);
    let answer = gateway.send(&stack.mtls_authority, &with_body("grant_type=client_credentials&client_id=gateway")).await;
    let expected = (400, "unauthorized_client".to_owned(), "grant_not_allowed".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert_error_form(&answer, "unauthorized_client");
}

#[tokio::test]
async fn every_error_is_the_standards_on_sqlite() {
    every_error_is_the_standards(Engine::Sqlite).await;
}

#[tokio::test]
async fn every_error_is_the_standards_on_postgres() {
    every_error_is_the_standards(Engine::Postgres).await;
}

/// §5.2: "If the client attempted to authenticate via the `Authorization` request header field, the authorization server MUST respond
/// with an HTTP 401 (Unauthorized) status code and include the `WWW-Authenticate` response header field matching the authentication
/// scheme used by the client."
#[tokio::test]
async fn credentials_in_a_header_are_answered_with_their_scheme() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let alice = stack.caller(&stack.alice);
    for (value, scheme) in [("Basic YWxpY2U6eA==", "Basic"), ("basic YWxpY2U6eA==", "basic"), ("Bearer abc", "Bearer")] {
        for path in ["/token", "/introspect", "/revoke"] {
            let call = Call::form(path, &[("grant_type", "client_credentials"), ("client_id", "alice"), ("token", "x")]);
            let answer = alice.send(&stack.mtls_authority, &call.clone().header("Authorization", value)).await;
            let expected = (401, "invalid_client".to_owned(), "client_method_mismatch".to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{value}");
            assert_error_form(&answer, value);
            let challenge = answer.challenge();
            assert!(challenge.starts_with(&format!("{scheme} realm=\"")), "{path} {value}: {challenge}");
            assert_eq!(alice.send(&stack.mtls_authority, &call).await.status, 200, "{path}");
        }
    }
    // A scheme that is no token cannot be answered in kind, and is not echoed.
    let call = with_body(GOOD).header("Authorization", "\"<b>\" x");
    let answer = alice.send(&stack.mtls_authority, &call).await;
    assert_eq!((answer.status, answer.challenge().contains('<')), (401, false));
}

/// §5.1: "access_token REQUIRED ... token_type REQUIRED ... expires_in RECOMMENDED ... scope OPTIONAL, if identical to the scope
/// requested by the client; otherwise, REQUIRED" and "The authorization server MUST include the HTTP `Cache-Control` response header
/// field with a value of `no-store` ... as well as the `Pragma` response header field with a value of `no-cache`"; §4.4.3: "A refresh
/// token SHOULD NOT be included."
#[tokio::test]
async fn the_answer_has_what_the_standard_names() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    for (tls, http) in PROTOCOLS {
        let answer = stack.caller(&stack.alice).tls(tls).http(http).send(&stack.mtls_authority, &with_body(GOOD)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        let body = answer.json();
        let mut members: Vec<&String> = body.as_object().expect("an object").keys().collect();
        members.sort_unstable();
        assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(300)));
        assert_eq!(body["scope"], "read write");
    }
}

/// §3.3: the scope granted is what was asked for, or a default, in which case the answer tells; `scope = scope-token *( SP
/// scope-token )`: an empty one is none, and is left away.
#[tokio::test]
async fn the_scope_is_what_was_asked_or_a_default_that_is_told() {
    let setup = Setup {
        without_gateway: true,
        clients: vec![json!({
            "client_id": "scopeless", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
            "resources": ["{accounts}"],
        })],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let table: [(&[(&str, &str)], Value); 4] = [
        (&[("scope", "read")], json!("read")),
        (&[("scope", "write read")], json!("read write")),
        (&[], json!("read write")),
        // §3.2: "Parameters sent without a value MUST be treated as if they were omitted from the request."
        (&[("scope", "")], json!("read write")),
    ];
    for (more, scope) in table {
        let answer = stack.ask(&stack.alice, more).await.json();
        let mut granted: Vec<&str> = answer["scope"].as_str().expect("a scope").split(' ').collect();
        granted.sort_unstable();
        assert_eq!(json!(granted.join(" ")), scope, "{more:?}");
    }
    let form = [("grant_type", "client_credentials"), ("client_id", "scopeless")];
    let answer = stack.post(&stack.alice, "/token", &form).await;
    assert_eq!((answer.status, answer.json().get("scope")), (200, None), "{}", answer.text());
}

/// §3.2: "The authorization server MUST ignore unrecognized request parameters."
#[tokio::test]
async fn unknown_parameters_are_ignored() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    for more in [("foo", "bar"), ("redirect_uri", "https://client.example"), ("", "x"), ("код", "ключ")] {
        assert_eq!(stack.ask(&stack.alice, &[more]).await.status, 200, "{more:?}");
    }
}

/// Appendix B: names and values are UTF-8, encoded as `application/x-www-form-urlencoded`; the media type's own spellings.
#[tokio::test]
async fn a_form_is_a_form_however_it_is_spelled() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let alice = stack.caller(&stack.alice);
    for content_type in [FORM, "Application/X-WWW-Form-URLencoded", "application/x-www-form-urlencoded;charset=UTF-8"] {
        let call = Call::new("POST", "/token").header("Content-Type", content_type).body(GOOD);
        assert_eq!(alice.send(&stack.mtls_authority, &call).await.status, 200, "{content_type}");
    }
    for body in [
        "grant%5Ftype=client%5fcredentials&client_id=%61lice&scope=read%20write",
        "&&grant_type=client_credentials&client_id=alice&",
    ] {
        assert_eq!(alice.send(&stack.mtls_authority, &with_body(body)).await.status, 200, "{body}");
    }
    // In chunks, whose length nobody declared: the limit holds as well.
    let chunked = |body: &str| {
        let call = Call::new("POST", "/token").header("Content-Type", FORM).header("Transfer-Encoding", "chunked");
        call.body(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
    };
    assert_eq!(alice.send(&stack.mtls_authority, &chunked(GOOD)).await.status, 200);
    let long = format!("{GOOD}&x={}", "a".repeat(70_000));
    let answer = alice.send(&stack.mtls_authority, &chunked(&long)).await;
    assert_eq!(stack.verdict(&answer).await, (413, "invalid_request".to_owned(), "body_too_large".to_owned()));
}

/// §4.1.2.1 names `temporarily_unavailable`; at our endpoints it comes with 503 and `Retry-After` when the database does not answer.
/// Tokens, which need no row, are issued meanwhile.
#[tokio::test]
async fn a_database_that_does_not_answer_is_503() {
    use sqlx::{Connection as _, SqliteConnection};
    let changes = vec![("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 1".to_owned())];
    let stack = Setup { without_gateway: true, server_changes: changes, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let url = format!("sqlite:{}", stack.path("symbolon.db").display());
    let mut lock = SqliteConnection::connect(&url).await.expect("connected");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.expect("locked");
    let answer = stack.revoke(&stack.alice, &token).await;
    let expected = (503, "temporarily_unavailable".to_owned(), "store_unavailable".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert_error_form(&answer, "503");
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200);
    sqlx::query("ROLLBACK").execute(&mut lock).await.expect("released");
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    assert_eq!(stack.introspect(&token).await, json!({ "active": false }));
}

/// §3.2: "The client MUST use the HTTP `POST` method when making access token requests", and RFC 9110 §15.5.6: 405 names the methods
/// that there are.
#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let alice = stack.caller(&stack.alice);
    for (path, allow) in [("/token", "POST"), ("/introspect", "POST"), ("/revoke", "POST"), ("/jwks", "GET, HEAD")] {
        let answer = alice.send(&stack.mtls_authority, &Call::new("DELETE", path)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
    }
}
