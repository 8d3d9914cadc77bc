//! Tokens that somebody makes up, to keep the authorization server busy.

use super::{passed, refused};
use crate::harness::{Call, Http, Stack};

/// Who shows neither certificate nor proof could use no token on a strict route: nobody is asked about the one they present. With the
/// certificate the same request is asked about, and the real token is good. That nobody was asked shows in the end, when the server is
/// gone: who could use a token hears that, and who could not is refused as before.
#[tokio::test]
async fn nobody_is_asked_about_a_token_that_could_not_be_used() {
    let mut stack = Stack::start().await;
    let token = stack.opaque_token(&stack.alice).await;
    let ask = async |stack: &Stack, shows_certificate: bool, token: &str| {
        let caller = if shows_certificate { stack.caller(&stack.alice) } else { stack.nobody() };
        caller.http(Http::V2).send(&stack.gateway_authority, &Call::get("/reports").bearer(token)).await
    };
    let answer = ask(&stack, false, &token).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "up").await;
    let answer = ask(&stack, true, &token).await;
    passed(&stack, &answer, "up");
    let answer = ask(&stack, true, "invented").await;
    refused(&stack, &answer, 401, "invalid_token", "token_inactive", "up").await;

    stack.server.take().expect("running").kill().await;
    for number in 0..300 {
        let answer = ask(&stack, false, &format!("invented-{number}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_token"), "{}", answer.text());
    }
    let answer = ask(&stack, false, "invented").await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "down").await;
    let answer = ask(&stack, true, "invented-again").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    stack.upstream.assert_untouched();
}
