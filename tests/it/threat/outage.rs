//! Things that fail: what must go on goes on, and what must not happen does not.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::cut_off::rests;
use super::{passed, refused};
use crate::harness::{Call, Setup, Stack};

const WAIT: Duration = Duration::from_secs(20);

/// `/closed` refuses three seconds after the feed was last heard, `/open` goes on with what is known.
fn with_stale_routes() -> Setup {
    let route = |name: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{name}\"\nupstream = \"{{upstream}}\"\n\
             authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\n{more}\n"
        )
    };
    let closed = route("closed", "max_revocation_staleness_seconds = 3");
    let open = route("open", "max_revocation_staleness_seconds = 3\nstale_revocations = \"serve\"");
    Setup { gateway: format!("{closed}{open}"), ..Setup::default() }
}

async fn eventually(stack: &Stack, call: &Call, status: u16) {
    let started = Instant::now();
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    while connection.send(call).await.status != status {
        assert!(started.elapsed() < WAIT, "{} does not come to {status}", call.target);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stack.upstream.forget();
}

/// The gateway needs the authorization server for what only that can know, and for nothing else.
#[tokio::test]
async fn a_killed_server_stops_nothing_that_can_be_verified_without_it() {
    let mut stack = with_stale_routes().start().await;
    let (seen, unseen, revoked) =
        (stack.token(&stack.alice).await, stack.token(&stack.alice).await, stack.token(&stack.alice).await);
    let (opaque, mallorys) = (stack.opaque_token(&stack.alice).await, stack.token(&stack.mallory).await);
    let get = |target: &str, token: &str| Call::get(target).bearer(token);
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    eventually(&stack, &get("/accounts", &revoked), 401).await;
    for (target, token) in [("/accounts", &seen), ("/reports", &opaque), ("/closed", &seen), ("/open", &seen)] {
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &get(target, token)).await;
        passed(&stack, &answer, target);
    }

    stack.server.take().expect("a server").kill().await;

    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    for token in [&seen, &unseen] {
        let answer = connection.send(&get("/accounts", token)).await;
        passed(&stack, &answer, "a JWT");
    }
    let answer = connection.send(&get("/accounts", &revoked)).await;
    refused(&stack, &answer, 401, "invalid_token", "token_revoked", "what was known to be revoked").await;
    let answer = connection.send(&get("/accounts", &mallorys)).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "another's").await;
    // Nobody can say whether it was revoked since; nobody throws it away for that.
    let answer = connection.send(&get("/reports", &opaque)).await;
    refused(&stack, &answer, 503, "temporarily_unavailable", "introspection_unavailable", "an opaque token").await;
    assert_eq!((answer.challenge(), answer.header("retry-after").is_some()), ("", true));

    // The default is closed.
    eventually(&stack, &get("/closed", &seen), 503).await;
    let answer = connection.send(&get("/closed", &seen)).await;
    refused(&stack, &answer, 503, "temporarily_unavailable", "revocation_stale", "the feed is stale").await;
    assert_eq!((answer.challenge(), answer.header("retry-after").is_some()), ("", true));
    let answer = connection.send(&get("/open", &unseen)).await;
    passed(&stack, &answer, "a route that goes on");

    stack.start_server().await;
    for (target, token) in [("/closed", &seen), ("/reports", &opaque)] {
        eventually(&stack, &get(target, token), 200).await;
        let answer = connection.send(&get(target, token)).await;
        passed(&stack, &answer, target);
    }
    let answer = connection.send(&get("/accounts", &revoked)).await;
    refused(&stack, &answer, 401, "invalid_token", "token_revoked", "revoked before the kill").await;
}

/// What was answered is kept: SIGKILL right behind the answer loses no revocation.
#[tokio::test]
async fn a_revocation_outlives_the_kill_behind_its_answer() {
    let mut stack = Stack::start().await;
    for _ in 0..3 {
        let (revoked, kept) = (stack.token(&stack.alice).await, stack.token(&stack.alice).await);
        assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
        stack.server.take().expect("a server").kill().await;
        stack.start_server().await;
        assert_eq!(stack.introspect(&revoked).await, serde_json::json!({ "active": false }));
        assert_eq!(stack.introspect(&kept).await["active"], true);
        eventually(&stack, &Call::get("/accounts").bearer(&revoked), 401).await;
        let answer = stack.at_gateway(&stack.alice, &kept).await;
        passed(&stack, &answer, "the other token");
    }
}

/// In force at the gateway within a second, on connections that are open and for claims that are cached.
#[tokio::test]
async fn a_revocation_reaches_the_gateway_within_a_second() {
    let stack = Stack::start().await;
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    for target in ["/accounts", "/reports"] {
        for _ in 0..3 {
            let of = async || match target {
                "/accounts" => stack.token(&stack.alice).await,
                _ => stack.opaque_token(&stack.alice).await,
            };
            let (revoked, kept) = (of().await, of().await);
            let answer = connection.send(&Call::get(target).bearer(&revoked)).await;
            passed(&stack, &answer, "before");
            assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
            let started = Instant::now();
            let answer = loop {
                let answer = connection.send(&Call::get(target).bearer(&revoked)).await;
                if answer.status != 200 {
                    break answer;
                }
                assert!(started.elapsed() < Duration::from_secs(1), "{target}: still admitted");
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            stack.upstream.forget();
            let reason = if target == "/accounts" { "token_revoked" } else { "token_inactive" };
            refused(&stack, &answer, 401, "invalid_token", reason, target).await;
            let answer = connection.send(&Call::get(target).bearer(&kept)).await;
            passed(&stack, &answer, "the other token");
        }
    }
}

/// A stream that was let through by a token ends with it.
#[tokio::test]
async fn a_revocation_cuts_what_is_still_streaming() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning");
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    connection.write(&Call::get("/accounts").bearer(&token).bytes(&stack.gateway_authority)).await.expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stack.upstream.requests().len(), 1);
    let started = Instant::now();
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    // The answer ends before its length.
    connection.read().await.map(|answer| answer.status).expect_err("cut");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// What needs the database says so; what does not goes on.
#[tokio::test]
async fn a_locked_database_delays_what_must_be_written_and_nothing_else() {
    let change = ("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 1".to_owned());
    let stack = Setup { server_changes: vec![change], ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let options = SqliteConnectOptions::new().filename(stack.path("symbolon.db"));
    let mut other = options.connect().await.expect("the database");
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("a lock");

    let answer = stack.revoke(&stack.alice, &token).await;
    let verdict = stack.verdict(&answer).await;
    assert_eq!(verdict, (503, "temporarily_unavailable".to_owned(), "store_unavailable".to_owned()), "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert_eq!(stack.introspect(&token).await["active"], true, "nothing was revoked, and nobody was told so");
    let another = stack.token(&stack.alice).await;
    let answer = stack.at_gateway(&stack.alice, &another).await;
    passed(&stack, &answer, "issuing and admitting need no write");
    rests(stack.server.as_ref().expect("running").id(), "locked").await;

    lock.rollback().await.expect("unlocked");
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    eventually(&stack, &Call::get("/accounts").bearer(&token), 401).await;
    let answer = stack.at_gateway(&stack.alice, &token).await;
    refused(&stack, &answer, 401, "invalid_token", "token_revoked", "once it could be written").await;
}

/// What cannot be recorded does not happen: neither issuing nor admitting.
#[tokio::test]
async fn without_an_audit_trail_nothing_is_issued_and_nobody_admitted() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    for (file, process) in [("server-audit.jsonl", "server"), ("gateway-audit.jsonl", "gateway")] {
        // A directory in its place: not even root can write lines to it.
        let (trail, aside) = (stack.path(file), stack.path("aside.jsonl"));
        std::fs::rename(&trail, &aside).expect("renamed");
        std::fs::create_dir(&trail).expect("made");
        let ask = async || match process {
            "server" => stack.ask(&stack.alice, &[]).await,
            _ => stack.at_gateway(&stack.alice, &token).await,
        };
        // What is taken into the queue before the writer finds out is written later.
        let started = Instant::now();
        let answer = loop {
            let answer = ask().await;
            if answer.status != 200 {
                break answer;
            }
            assert!(started.elapsed() < WAIT, "{process}: goes on without a trail");
        };
        assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"), "{}", answer.text());
        assert!(answer.header("retry-after").is_some() && answer.json()["access_token"].is_null());
        stack.upstream.forget();
        for _ in 0..3 {
            assert_eq!(ask().await.status, 503, "{process}");
            stack.upstream.assert_untouched();
        }
        let log = match process {
            "server" => stack.server.as_ref().expect("a server").log(),
            _ => stack.gateway.as_ref().expect("a gateway").log(),
        };
        assert!(log.contains("audit_unavailable"), "{log}");

        std::fs::remove_dir(&trail).expect("removed");
        std::fs::rename(&aside, &trail).expect("renamed");
        let started = Instant::now();
        while ask().await.status != 200 {
            assert!(started.elapsed() < WAIT, "{process}: does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stack.upstream.forget();
    }
    // Every token that was issued is in the trail.
    let issued = stack.token(&stack.alice).await;
    let jti = crate::harness::token::claims(&issued)["jti"].clone();
    let started = Instant::now();
    while !stack.events("server-audit.jsonl").iter().any(|event| event["token_id"] == jti) {
        assert!(started.elapsed() < WAIT, "the token is in no trail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = stack.at_gateway(&stack.alice, &issued).await;
    passed(&stack, &answer, "with a trail again");
}
