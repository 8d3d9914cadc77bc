//! RFC 9126: pushed authorization requests.

use serde_json::json;

use crate::harness::app::{Returned, add_bob, go_on};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Setup, Stack};

async fn push(stack: &Stack, app: &App, more: &[(&str, &str)]) -> Answer {
    let request = app.request(more);
    let form: Vec<(&str, &str)> = request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    stack.post(&app.identity, "/par", &form).await
}

fn start_url(app: &App, request_uri: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", app.client_id()), ("request_uri", request_uri)])
        .finish();
    format!("/authorize?{query}")
}

/// §2.2: "the server MUST generate a request URI and provide it in the response with a `201` HTTP status code": `request_uri`,
/// `expires_in`; §7.3: "the request_uri ... one-time use": at authorization, not at loading, so that a page may be loaded again.
#[tokio::test]
async fn a_pushed_request_is_authorized_once() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let answer = push(&stack, &app, &[]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")), "{}", answer.text());
    assert_eq!(answer.json()["expires_in"], 90);
    let request_uri = answer.json()["request_uri"].as_str().expect("a URI").to_owned();
    assert!(request_uri.starts_with("urn:ietf:params:oauth:request_uri:") && request_uri.len() > 70, "{request_uri}");

    // Loaded by one browser that never finishes, then by another that does.
    let answer = Browser::new(&stack).get(&start_url(&app, &request_uri)).await;
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/sign-in")));
    let mut browser = Browser::new(&stack);
    // What the browser adds is ignored (§4, RFC 9101 §6.3).
    let answer = browser.get(&format!("{}&scope=write&state=other", start_url(&app, &request_uri))).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!(returned.get("state"), "af0ifjsldkj");
    let tokens = app.redeem(&stack, returned.get("code")).await.json();
    assert_eq!(tokens["scope"], "openid read");

    let answer = browser.get(&start_url(&app, &request_uri)).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert_eq!(stack.reason_of(answer.request_id()).await, "request_uri_unknown");
}

/// §2.1: the request is authenticated like one at the token endpoint; `request_uri` "MUST NOT be provided"; §2.3: errors are those of
/// RFC 6749 §5.2 and of the authorization endpoint.
#[tokio::test]
async fn what_cannot_be_authorized_cannot_be_pushed() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let app = App::alice(&stack);
    let table: [(&[(&str, &str)], u16, &str, &str); 8] = [
        (&[("client_id", "mallory")], 401, "invalid_client", "certificate_subject_mismatch"),
        (&[("client_id", "")], 401, "invalid_client", "client_id_absent"),
        (&[("request_uri", "urn:x")], 400, "invalid_request", "request_unsupported"),
        (&[("redirect_uri", "https://evil.example/cb")], 400, "invalid_request", "redirect_uri_mismatch"),
        (&[("redirect_uri", "")], 400, "invalid_request", "redirect_uri_absent"),
        (&[("response_type", "token")], 400, "unsupported_response_type", "response_type_unsupported"),
        (&[("scope", "admin")], 400, "invalid_scope", "scope_not_allowed"),
        (&[("code_challenge", ""), ("code_challenge_method", "")], 400, "invalid_request", "pkce_absent"),
    ];
    for (more, status, error, reason) in table {
        let answer = push(&stack, &app, more).await;
        assert_eq!(stack.verdict(&answer).await, (status, error.to_owned(), reason.to_owned()), "{more:?}");
    }
    assert_eq!(push(&stack, &app, &[]).await.status, 201);
}

/// §4: "the client_id in the request ... MUST match": another client's pushed request is none. §5, §6: whoever must push must.
#[tokio::test]
async fn a_pushed_request_is_its_clients_and_may_be_demanded() {
    let clients = vec![
        App::metadata("alice", json!({ "require_pushed_authorization_requests": true })),
        App::metadata("mallory", json!({ "profile": "fapi2" })),
    ];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    for app in [&app, &other] {
        let answer = browser.get(&app.url(&[])).await;
        assert_eq!(Returned::of(&answer).get("error"), "invalid_request");
        assert_eq!(stack.reason_of(answer.request_id()).await, "pushed_request_required");
    }
    let request_uri = push(&stack, &app, &[]).await.json()["request_uri"].as_str().expect("a URI").to_owned();
    for (app, uri, reason) in [
        (&other, request_uri.as_str(), "request_uri_foreign"),
        (&app, "urn:ietf:params:oauth:request_uri:AAAA", "request_uri_unknown"),
    ] {
        let answer = browser.get(&start_url(app, uri)).await;
        assert_eq!((answer.status, answer.header("location")), (400, None));
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
    }
    assert_eq!(browser.get(&start_url(&app, &request_uri)).await.status, 303);
}
