//! RFC 7636: Proof Key for Code Exchange.

use serde_json::json;

use crate::harness::app::{CHALLENGE, Returned, VERIFIER, add_bob};
use crate::harness::browser::Browser;
use crate::harness::{App, Setup};

/// §4.4.1: "If the server requires Proof Key for Code Exchange (PKCE) by OAuth public clients and the client does not send the
/// `code_challenge` in the request, the authorization endpoint MUST return the authorization error response with the `error` value set
/// to `invalid_request`." Here every client but those of the profile `openid` must; and nobody may use `plain`.
#[tokio::test]
async fn a_challenge_is_s256_and_demanded() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let table: [(&[(&str, &str)], &str); 4] = [
        (&[("code_challenge", ""), ("code_challenge_method", "")], "pkce_absent"),
        (&[("code_challenge_method", "plain")], "pkce_malformed"),
        (&[("code_challenge_method", "")], "pkce_malformed"),
        (&[("code_challenge", VERIFIER.get(..20).expect("a part"))], "pkce_malformed"),
    ];
    for (more, reason) in table {
        let answer = browser.get(&app.url(more)).await;
        assert_eq!(Returned::of(&answer).get("error"), "invalid_request", "{more:?}");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{more:?}");
    }
}

/// §4.6: "If the values are not equal, an error response indicating `invalid_grant` ... MUST be returned." One wrong verifier spends the
/// code: nobody may try another.
#[tokio::test]
async fn a_wrong_verifier_is_refused_once_and_for_all() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let code = app.code(&mut browser, &[]).await;
    let form = |verifier| {
        [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", app.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ]
    };
    for (verifier, reason) in [(CHALLENGE, "pkce_mismatch"), (VERIFIER, "code_replayed")] {
        let answer = app.token(&stack, &form(verifier)).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), reason.to_owned()));
    }
    let code = app.code(&mut browser, &[]).await;
    assert_eq!(app.redeem(&stack, &code).await.status, 200);
}

/// RFC 9700 §4.8.2: "Authorization servers MUST mitigate this attack": a verifier where there was no challenge is refused.
#[tokio::test]
async fn a_challenge_that_was_taken_away_is_noticed() {
    let clients = vec![App::metadata("alice", json!({ "profile": "openid" }))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = app.code(&mut browser, &without).await;
    let answer = app.redeem(&stack, &code).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "pkce_mismatch".to_owned()));
    let code = app.code(&mut browser, &without).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", app.redirect_uri.as_str())];
    assert_eq!(app.token(&stack, &form).await.status, 200);
}
