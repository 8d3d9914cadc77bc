//! Files are read again without a restart and without dropping a connection: all of them, or none.

use crate::harness::{Authority, Call, Leaf, Stack, command::symbolon};

const RELOAD: [&str; 3] = ["reload", "--config", "symbolon.toml"];

fn token_request(client_id: &str) -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client_id)])
}

/// An authority that is taken away stops the next request of a connection that was there before, and every new one; TLS sessions
/// from before are not resumed. Given back, everything works again, on the same connection.
#[tokio::test]
async fn an_authority_taken_away_is_gone_for_connections_that_were_there() {
    let stack = Stack::start().await;
    let alice = stack.caller(&stack.alice).prepared();
    let mut before = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(before.send(&token_request("alice")).await.status, 200);
    let mut resuming = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(resuming.send(&token_request("alice")).await.status, 200);
    assert!(resuming.resumed, "sessions are resumed where nothing changed");

    // The other authority has the same name.
    let other = Authority::new("Client CA");
    std::fs::write(stack.path("client-ca.pem"), &other.pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    let answer = before.send(&token_request("alice")).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{}", answer.text());
    assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_signature", "the name fits, the key does not");
    let mut after = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert!(!after.resumed, "no session outlives a reload");
    assert_eq!(after.send(&token_request("alice")).await.status, 401);
    // Whoever the new authority vouches for is let in.
    let impostor = other.issue(Leaf::client("alice"));
    assert_eq!(stack.ask(&impostor, &[]).await.status, 200);

    std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert_eq!(before.send(&token_request("alice")).await.status, 200);
}

/// A file that cannot be read leaves everything as it was, and the command, the audit trail and the metric say so.
#[tokio::test]
async fn a_garbled_file_changes_nothing() {
    let stack = Stack::start().await;
    for (name, text) in [("client-ca.pem", "garbled"), ("client-ca.pem", ""), ("server.pem", "garbled")] {
        let path = stack.path(name);
        let good = std::fs::read(&path).expect(name);
        std::fs::write(&path, text).expect("written");
        let said = symbolon(stack.dir.path(), &RELOAD).await.failed();
        assert!(said.contains(name), "{said}");
        assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "{name}");
        std::fs::write(&path, good).expect("written");
    }
    let failures = || {
        let trail = std::fs::read_to_string(stack.path("server-audit.jsonl")).unwrap_or_default();
        trail.matches("\"event\":\"reload_failed\"").count()
    };
    for _ in 0..200 {
        if failures() >= 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(failures(), 3);
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200);
}
