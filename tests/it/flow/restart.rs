//! What lasts: revocations and keys survive any end of the process.

use serde_json::json;

use crate::harness::{Call, Engine, Stack, token};

/// 1. Tokens are issued, one of each kind is revoked.
/// 2. The server is killed (SIGKILL).
/// 3. Started again, it signs with the same key, opens the opaque tokens it sealed, and knows what was revoked.
/// 4. The gateway, killed and started again, refuses from its first answer on.
async fn what_was_revoked_stays_revoked(engine: Engine) {
    let Some(mut stack) = Stack::start_on(engine).await else { return };
    let (jwt, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    let (dead_jwt, dead_opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    for token in [&dead_jwt, &dead_opaque] {
        assert_eq!(stack.revoke(&stack.alice, token).await.status, 200);
    }
    stack.server.take().expect("running").kill().await;
    stack.start_server().await;

    for token in [&jwt, &opaque] {
        assert_eq!(stack.introspect(token).await["active"], json!(true));
    }
    for token in [&dead_jwt, &dead_opaque] {
        assert_eq!(stack.introspect(token).await, json!({ "active": false }));
    }
    let newer = stack.token(&stack.alice).await;
    assert_eq!(token::header(&newer)["kid"], token::header(&jwt)["kid"], "the signing key is the same");

    // Before it says that it is ready, the gateway has heard of every revocation.
    stack.gateway.take().expect("running").kill().await;
    stack.start_gateway().await;
    let answer = stack.at_gateway(&stack.alice, &dead_jwt).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), "token_revoked".to_owned()));
    assert_eq!(stack.at_reports(&stack.alice, &dead_opaque).await.status, 401);
    stack.upstream.assert_untouched();
    for token in [&jwt, &newer] {
        assert_eq!(stack.at_gateway(&stack.alice, token).await.status, 200);
    }
    assert_eq!(stack.at_reports(&stack.alice, &opaque).await.status, 200);
}

#[tokio::test]
async fn what_was_revoked_stays_revoked_on_sqlite() {
    what_was_revoked_stays_revoked(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_was_revoked_stays_revoked_on_postgres() {
    what_was_revoked_stays_revoked(Engine::Postgres).await;
}

/// An orderly stop lets a request under way finish, and writes its audit event.
#[tokio::test]
async fn an_orderly_stop_loses_nothing() {
    let mut stack = Stack::start().await;
    let form = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")]);
    let mut bytes = form.bytes(&stack.mtls_authority);
    let last = bytes.pop().expect("a body");
    let mut connection = stack.caller(&stack.alice).connect(&stack.mtls_authority).await.expect("connected");
    connection.write(&bytes).await.expect("written");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let server = stack.server.take().expect("running");
    let started = std::time::Instant::now();
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    connection.write(&[last]).await.expect("written");
    let answer = connection.read().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(connection.closed_within(std::time::Duration::from_secs(10)).await);
    assert_eq!(stopping.await.expect("stopped"), Some(0));
    // The gateway, which waits for news of revocations, does not hold the stop up.
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(stack.event_of(answer.request_id()).await["event"], "token_issued");
}

/// Another master key is noticed before anything is written, and the message says what to do.
#[tokio::test]
async fn another_master_key_is_refused() {
    let mut stack = Stack::start().await;
    stack.server.take().expect("running").stop().await;
    let key = std::fs::read_to_string(stack.path("seal.key")).expect("the key");
    let other = format!("{}{}", if key.starts_with('A') { 'B' } else { 'A' }, &key[1..]);
    std::fs::write(stack.path("seal.key"), other).expect("written");
    let words = crate::harness::process::Process::try_start("serve", &stack.server_config()).await.expect_err("it refuses");
    assert!(words.contains("do not open deployment") && words.contains("nothing was written"), "{words}");
    std::fs::write(stack.path("seal.key"), key).expect("written");
    stack.start_server().await;
    stack.token(&stack.alice).await;
}
