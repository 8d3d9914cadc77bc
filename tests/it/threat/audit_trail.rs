//! A trail that is slow, that is full, and that strangers would like to fill.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::{passed, refused};
use crate::harness::command::run;
use crate::harness::token::claims;
use crate::harness::{Call, Setup, Stack};

const WAIT: Duration = Duration::from_secs(20);
/// As [`WAIT`], for what is read while nothing is written.
const SILENCE: Duration = Duration::from_millis(500);

/// Whoever reads the trail stops reading: its queue fills up, and then no token is issued whose event has no place. Refusals, what needs no
/// event, and the gateway go on. When the reader comes back, so does issuing, and every token that was ever handed out is in the trail.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_issues_nothing_that_it_cannot_record() {
    let queue = ("file = \"server-audit.jsonl\"".to_owned(), "file = \"server-audit.jsonl\"\nqueue = 32".to_owned());
    let stack = Setup { server_changes: vec![queue], ..Setup::default() }.start().await;
    let before = stack.token(&stack.alice).await;
    // A named pipe takes the trail's place: the writer follows, and waits as soon as 64 KiB lie in it unread.
    run(stack.dir.path(), "mkfifo", &["-m", "600", "pipe"]).await.ok();
    let mut pipe = OpenOptions::new().read(true).write(true).open(stack.path("pipe")).expect("the pipe");
    std::fs::rename(stack.path("pipe"), stack.path("server-audit.jsonl")).expect("renamed");

    let mut issued = BTreeSet::new();
    let full = loop {
        let answer = stack.ask(&stack.alice, &[]).await;
        if answer.status != 200 {
            break answer;
        }
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        issued.insert(claims(&token)["jti"].as_str().expect("an identifier").to_owned());
        assert!(issued.len() < 2_000, "32 places and a pipe of 64 KiB hold them all");
    };
    assert_eq!((full.status, full.error().as_str()), (503, "temporarily_unavailable"), "{}", full.text());
    assert!(full.header("retry-after").is_some() && full.json()["access_token"].is_null());
    for _ in 0..3 {
        assert_eq!(stack.ask(&stack.alice, &[]).await.status, 503);
        // Refusals stand, though their events find no place.
        let form = [("grant_type", "client_credentials"), ("client_id", "alice")];
        let answer = stack.post(&stack.mallory, "/token", &form).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{}", answer.text());
        // What is no event of the trail goes on, and so does the gateway with what was issued before.
        assert_eq!(
            stack.nobody().send(&stack.mtls_authority, &Call::get("/.well-known/oauth-authorization-server")).await.status,
            200
        );
        let answer = stack.at_gateway(&stack.alice, &before).await;
        passed(&stack, &answer, "another process, another trail");
        let answer = stack.at_gateway(&stack.mallory, &before).await;
        assert_eq!(answer.status, 401, "and it still judges");
        stack.upstream.assert_untouched();
    }
    let reason = "binding_certificate_mismatch";
    let denied = || stack.events("gateway-audit.jsonl").iter().filter(|event| event["reason"] == reason).count();
    let started = Instant::now();
    while denied() < 3 {
        assert!(started.elapsed() < WAIT, "{}", denied());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (sender, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let started = Instant::now();
    let last = loop {
        let answer = stack.ask(&stack.alice, &[]).await;
        if answer.status == 200 {
            break answer.json()["access_token"].as_str().expect("a token").to_owned();
        }
        assert!(started.elapsed() < WAIT, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    issued.insert(claims(&last)["jti"].as_str().expect("an identifier").to_owned());
    let mut text = Vec::new();
    while let Ok(bytes) = read.recv_timeout(SILENCE) {
        text.extend(bytes);
    }
    let text = String::from_utf8(text).expect("UTF-8");
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("whole lines"));
    let recorded: BTreeSet<String> = events.filter_map(|event| event["token_id"].as_str().map(str::to_owned)).collect();
    let missing: Vec<_> = issued.difference(&recorded).collect();
    assert!(missing.is_empty(), "handed out and in no trail: {missing:?}");
    let answer = stack.at_gateway(&stack.alice, &last).await;
    passed(&stack, &answer, "with a reader again");
}

/// What a crash can lose of the trail is younger than 100 ms: an event as old as that is in the file when the process is killed.
#[tokio::test]
async fn a_crash_loses_no_event_that_is_a_tenth_of_a_second_old() {
    let mut stack = Stack::start().await;
    // A machine that is busy elsewhere may be late once or twice; a program that keeps events for longer, whatever its rhythm, is late mostly.
    let mut late = Vec::new();
    for pause in [0, 37, 61, 89, 113] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let token = stack.token(&stack.alice).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stack.server.take().expect("a server").kill().await;
        let jti = claims(&token)["jti"].clone();
        let found = stack.events("server-audit.jsonl").iter().any(|event| event["token_id"] == jti);
        stack.start_server().await;
        if !found {
            late.push(jti);
        }
    }
    assert!(late.len() <= 2, "killed after 100 ms, and in no trail: {late:?}");
}

/// Tells which tables anybody writes to.
struct Watched(SqliteConnection);

impl Watched {
    async fn of(stack: &Stack) -> Self {
        let options = SqliteConnectOptions::new().filename(stack.path("symbolon.db")).busy_timeout(WAIT);
        let mut database = options.connect().await.expect("the database");
        let tables: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
                .fetch_all(&mut database)
                .await
                .expect("tables");
        assert!(tables.len() > 20, "{tables:?}");
        let mut script = String::from("CREATE TABLE watched (name TEXT NOT NULL);\n");
        for (table,) in tables {
            for change in ["INSERT", "UPDATE", "DELETE"] {
                script.push_str(&format!(
                    "CREATE TRIGGER watch_{table}_{change} AFTER {change} ON \"{table}\" BEGIN INSERT INTO watched VALUES ('{table}'); END;\n"
                ));
            }
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut database).await.expect("triggers");
        Self(database)
    }

    async fn written(&mut self) -> BTreeSet<String> {
        let names: Vec<(String,)> =
            sqlx::query_as("SELECT DISTINCT name FROM watched").fetch_all(&mut self.0).await.expect("names");
        names.into_iter().map(|(name,)| name).collect()
    }
}

/// Strangers are refused without a write: the database has one writer, and whoever may make it work for nothing may make everybody wait.
#[tokio::test]
async fn refusing_a_stranger_writes_nothing_to_the_database() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let opaque = stack.opaque_token(&stack.alice).await;
    // When the last opaque token expires is noted a little later, once for all of them.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut watched = Watched::of(&stack).await;
    let stranger = stack.client_ca.issue(crate::harness::Leaf::client("stranger"));
    for round in 0..20 {
        let other = format!("nobody-{round}");
        let refusals = [
            ("/token", vec![("grant_type", "client_credentials"), ("client_id", "alice")]),
            ("/token", vec![("grant_type", "client_credentials"), ("client_id", other.as_str())]),
            ("/token", vec![("grant_type", "client_credentials"), ("client_id", "alice"), ("client_secret", "guess")]),
            ("/token", vec![("grant_type", "refresh_token"), ("refresh_token", &opaque), ("client_id", "alice")]),
            ("/token", vec![("grant_type", "authorization_code"), ("code", &opaque), ("client_id", "alice")]),
            ("/introspect", vec![("token", &token), ("client_id", "gateway")]),
            ("/revoke", vec![("token", &token), ("client_id", "alice")]),
            ("/revoke", vec![("token", &opaque), ("client_id", other.as_str())]),
        ];
        for (path, form) in refusals {
            let answer = stack.post(&stranger, path, &form).await;
            assert!(matches!(answer.status, 400 | 401 | 429), "{path} {form:?}: {} {}", answer.status, answer.text());
            let answer = stack.nobody().send(&stack.mtls_authority, &Call::form(path, &form)).await;
            assert!(matches!(answer.status, 400 | 401 | 429), "{path} {form:?}: {} {}", answer.status, answer.text());
        }
        let answer = stack.at_reports(&stack.mallory, &opaque).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "at the gateway").await;
    }
    // Longer than any task of the server waits before it looks whether there is something to do.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(watched.written().await, BTreeSet::new());
    // The triggers tell of what is written.
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    assert!(watched.written().await.contains("revocation_rule"));
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "and alice was kept out of nothing");
}
