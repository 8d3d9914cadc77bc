//! Guessing: failed authentications are few, and what others do in a client's name does not shut it out.

use serde_json::json;

use crate::harness::{Call, Setup, Stack};

const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz-0123456789";

fn guess(client_id: &str, secret: &str) -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)])
}

async fn start() -> Stack {
    let client = |client_id: &str| {
        json!({
            "client_id": client_id, "token_endpoint_auth_method": "client_secret_post", "client_secret": SECRET,
            "resources": ["{accounts}"], "tls_client_certificate_bound_access_tokens": false,
        })
    };
    let setup = Setup {
        without_gateway: true,
        server: "[limits]\nclient_failures_per_minute = 5\naddress_failures_per_minute = 12\n".into(),
        clients: vec![client("one"), client("two"), client("three")],
        ..Setup::default()
    };
    setup.start().await
}

/// RFC 6749 §2.3.1: "the authorization server MUST protect any endpoint utilizing it against brute force attacks": five wrong secrets, then
/// 429 with `Retry-After`, for the right one too, until it may be tried again; at every endpoint alike.
#[tokio::test]
async fn guessing_a_secret_is_slow() {
    let stack = start().await;
    let send = async |call: &Call| stack.nobody().send(&stack.issuer_authority, call).await;
    for _ in 0..5 {
        let answer = send(&guess("one", "wrong")).await;
        assert_eq!(stack.verdict(&answer).await, (401, "invalid_client".into(), "client_secret_mismatch".into()));
    }
    let throttled = (429, "temporarily_unavailable".to_owned(), "client_throttled".to_owned());
    for (path, secret) in [("/token", "wrong"), ("/token", SECRET), ("/introspect", SECRET), ("/revoke", SECRET)] {
        let form = [("grant_type", "client_credentials"), ("token", "x"), ("client_id", "one"), ("client_secret", secret)];
        let answer = send(&Call::form(path, &form)).await;
        assert_eq!(stack.verdict(&answer).await, throttled, "{path}");
        let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After in seconds");
        assert!((1..=12).contains(&seconds), "{seconds}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // Another client at the same address is served, and so is this one when its time has come.
    assert_eq!(send(&guess("two", SECRET)).await.status, 200);
    let started = std::time::Instant::now();
    while send(&guess("one", SECRET)).await.status != 200 {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "it never opens again");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// An address that fails under many names is held back whatever it names next; a client that has proven itself from there is not.
#[tokio::test]
async fn an_address_that_fails_is_held_back_and_proven_clients_are_not() {
    let stack = start().await;
    let send = async |call: &Call| stack.nobody().send(&stack.issuer_authority, call).await;
    assert_eq!(send(&guess("two", SECRET)).await.status, 200);
    let mut statuses = Vec::new();
    for number in 0..13 {
        statuses.push(send(&guess(&format!("nobody-{number}"), "wrong")).await.status);
    }
    assert_eq!(statuses, [&[401; 12][..], &[429]].concat());
    assert_eq!(send(&guess("three", SECRET)).await.status, 429, "never seen from here");
    assert_eq!(send(&guess("two", SECRET)).await.status, 200, "proven from here a moment ago");
}
