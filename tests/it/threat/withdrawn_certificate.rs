//! Certificates that were good when the connection was made, and are not any more.

use crate::harness::{Call, Http, Stack, command::symbolon};

fn token_request() -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")])
}

/// Waits until `call` on this connection is answered with this status; what that answer's private reason is.
async fn refused_with(stack: &Stack, connection: &mut crate::harness::Connection, call: &Call, status: u16) -> String {
    let started = std::time::Instant::now();
    loop {
        let answer = connection.send(call).await;
        if answer.status == status {
            return stack.reason_of(answer.request_id()).await;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "still {}: {}", answer.status, answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A revocation rule on a certificate's thumbprint stops its holder's next request at every endpoint, also on connections that were
/// there before, and kills the tokens that are bound to it.
#[tokio::test]
async fn a_revoked_certificate_authenticates_nobody_and_its_tokens_are_dead() {
    let stack = Stack::start().await;
    let (token, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    assert_eq!(stack.introspect(&opaque).await["active"], true);
    let alice = stack.caller(&stack.alice).http(Http::V2).prepared();
    let mut server = alice.connect(&stack.mtls_authority).await.expect("a connection");
    let mut gateway = alice.connect(&stack.gateway_authority).await.expect("a connection");
    assert_eq!(server.send(&token_request()).await.status, 200);
    assert_eq!(gateway.send(&Call::get("/accounts").bearer(&token)).await.status, 200);

    // People paste what openssl prints: told what it is, and what to write instead.
    let hex = "A4:".repeat(31) + "A4";
    for (wrong, word) in [(hex.as_str(), "with colons"), ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "SHA-1")] {
        let arguments = ["cert", "revoke", "--thumbprint", wrong, "--config", "symbolon.toml"];
        let said = symbolon(stack.dir.path(), &arguments).await.failed();
        assert!(said.contains(word), "{said}");
    }
    let thumbprint = stack.alice.thumbprint();
    let arguments = ["cert", "revoke", "--thumbprint", &thumbprint, "--note", "lost", "--config", "symbolon.toml"];
    symbolon(stack.dir.path(), &arguments).await.ok();

    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    let mut resumed = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert!(resumed.resumed, "a revocation does not end sessions; it is asked every time");
    assert_eq!(refused_with(&stack, &mut resumed, &token_request(), 401).await, "certificate_revoked");
    assert_eq!(refused_with(&stack, &mut gateway, &Call::get("/accounts").bearer(&token), 401).await, "token_revoked");
    assert_eq!(stack.introspect(&opaque).await["active"], false);
    // Another certificate of the same client is as good as before.
    let renewed = stack.client_ca.issue(crate::harness::Leaf::client("alice"));
    assert_eq!(stack.ask(&renewed, &[]).await.status, 200);
    let events = stack.events("server-audit.jsonl");
    assert!(events.iter().any(|event| event["event"] == "certificate_revoked" && event["note"] == "lost"));
}
