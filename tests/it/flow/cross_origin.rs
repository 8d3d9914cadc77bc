//! Pages of other origins (Fetch §3.2): what a browser lets them read.

use std::time::Instant;

use crate::harness::client::PATIENCE;
use crate::harness::command::symbolon;
use crate::harness::{Answer, App, Call, Setup, Stack};

const APP: &str = "https://alice.example";

async fn send(stack: &Stack, call: Call, origin: &str) -> Answer {
    stack.nobody().send(&stack.issuer_authority, &call.header("Origin", origin)).await
}

fn allowed(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.header("access-control-allow-credentials"), None, "no cookie goes with any of these");
    answer.header("access-control-allow-origin")
}

/// Metadata and keys are for every page. Token, revocation and userinfo endpoints are for pages of origins at which a client has a
/// redirect URI, refusals included; nothing else is for any page but our own.
#[tokio::test]
async fn pages_of_registered_origins_may_read_what_is_for_them() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks"] {
        let answer = send(&stack, Call::get(path), "https://anybody.example").await;
        assert_eq!((answer.status, allowed(&answer)), (200, Some("*")), "{path}");
    }
    let form = [("grant_type", "client_credentials"), ("token", "x"), ("client_id", "nobody")];
    for (method, path) in [("POST", "/token"), ("POST", "/revoke"), ("GET", "/userinfo")] {
        let ask = |origin: &'static str| {
            let call = match method {
                "POST" => Call::form(path, &form),
                _ => Call::get(path),
            };
            send(&stack, call, origin)
        };
        let answer = ask(APP).await;
        assert_eq!((answer.status, allowed(&answer)), (401, Some(APP)), "{path}");
        assert!(answer.header("access-control-expose-headers").is_some_and(|names| names.contains("dpop-nonce")));
        assert!(answer.headers.iter().any(|(name, value)| name == "vary" && value.contains("origin")));
        for other in ["https://anybody.example", "http://alice.example", "https://alice.example:8443", "null"] {
            let answer = send(&stack, Call::get(path), other).await;
            assert_eq!(allowed(&answer), None, "{path} {other}");
        }
        // Asked before.
        let question = Call::new("OPTIONS", path)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "content-type,dpop");
        let answer = send(&stack, question.clone(), APP).await;
        assert_eq!((answer.status, allowed(&answer)), (204, Some(APP)), "{path}");
        assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains(method)));
        assert!(answer.header("access-control-allow-headers").is_some_and(|names| names.contains("dpop")));
        let answer = send(&stack, question, "https://anybody.example").await;
        assert_eq!((answer.status, allowed(&answer)), (405, None), "{path}");
    }
    for path in ["/introspect", "/par", "/authorize", "/sign-in", "/consent", "/account"] {
        let question = Call::new("OPTIONS", path).header("Access-Control-Request-Method", "POST");
        let answer = send(&stack, question, APP).await;
        assert_eq!((answer.status, allowed(&answer)), (405, None), "{path}");
    }
    // With the last client there, the origin goes.
    symbolon(stack.dir.path(), &["client", "remove", "alice"]).await.ok();
    let started = Instant::now();
    while allowed(&send(&stack, Call::form("/token", &form), APP).await).is_some() {
        assert!(started.elapsed() < PATIENCE, "it stays");
    }
    assert_eq!(
        allowed(&send(&stack, Call::form("/token", &form), "https://mallory.example").await),
        Some("https://mallory.example")
    );
}
