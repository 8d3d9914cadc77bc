//! SIGKILL at any moment of a write-heavy run: what was answered lasts, and nothing is half written.
//!
//! Four kinds of work go on without pause, each with a ledger of what was answered; the server is killed at random moments and started
//! again. `SYMBOLON_TEST_KILLS` asks for more kills. The log is printed: kills, operations, lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, VERIFIER, add_bob};
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{Answer, App, Call, Caller, Connection, Engine, Setup};

fn kills() -> usize {
    std::env::var("SYMBOLON_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(15)
}

/// What the workers share.
#[derive(Default)]
struct Run {
    stopping: AtomicBool,
    operations: AtomicUsize,
    unanswered: AtomicUsize,
}

/// A connection that is made again whenever it is lost.
struct Line {
    caller: Caller,
    authority: String,
    connection: Option<Connection>,
    run: Arc<Run>,
}

impl Line {
    /// The answer, or nothing when the server went away before it came: whether it did what it was asked is not known then. A request
    /// that could not be sent, because nobody listens, is sent again.
    async fn ask(&mut self, call: &Call) -> Option<Answer> {
        loop {
            if self.connection.is_none() {
                match self.caller.connect(&self.authority).await {
                    Ok(connection) => self.connection = Some(connection),
                    Err(_) if self.run.stopping.load(Ordering::Relaxed) => return None,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                }
            }
            match self.connection.as_mut().expect("connected").try_send(call).await {
                Ok(answer) if answer.status == 503 => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(answer) => {
                    self.run.operations.fetch_add(1, Ordering::Relaxed);
                    return Some(answer);
                }
                Err(_) => {
                    self.connection = None;
                    self.run.unanswered.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.run.stopping.load(Ordering::Relaxed)
    }
}

fn text(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", answer.text())).to_owned()
}

/// Rotates one refresh token; when an answer is lost, the same token again within the grace gives the present one. Gives how often the
/// grant was lost (never), and the last token.
async fn rotate(mut line: Line, mut token: String) -> (usize, String) {
    while line.goes_on() {
        let form = [("grant_type", "refresh_token"), ("client_id", "public"), ("refresh_token", token.as_str())];
        match line.ask(&Call::form("/token", &form)).await {
            None => {}
            Some(answer) if answer.status == 200 => token = text(&answer, "refresh_token"),
            Some(answer) => {
                println!("a grant was lost: {}", answer.text());
                return (1, token);
            }
        }
    }
    (0, token)
}

/// Issues and revokes; gives the tokens whose revocation was answered, and some that nobody revoked.
async fn revoke(mut line: Line, resource: String) -> (Vec<String>, Vec<String>) {
    let (mut revoked, mut kept) = (Vec::new(), Vec::new());
    while line.goes_on() {
        let form = [("grant_type", "client_credentials"), ("client_id", "alice"), ("resource", resource.as_str())];
        let Some(answer) = line.ask(&Call::form("/token", &form)).await else { continue };
        let token = text(&answer, "access_token");
        if revoked.len() % 10 == 9 && kept.len() < 5 {
            kept.push(token.clone());
            let Some(another) = line.ask(&Call::form("/token", &form)).await else { continue };
            let form = [("client_id", "alice"), ("token", &text(&another, "access_token"))];
            line.ask(&Call::form("/revoke", &form)).await;
        }
        if kept.contains(&token) {
            continue;
        }
        let form = [("client_id", "alice"), ("token", token.as_str())];
        if let Some(answer) = line.ask(&Call::form("/revoke", &form)).await {
            assert_eq!(answer.status, 200, "{}", answer.text());
            revoked.push(token);
        }
    }
    (revoked, kept)
}

/// Grants and redeems; gives how many codes were lost between the two (none), and the refresh tokens that were answered.
async fn grant(mut line: Line, url: String, cookies: String) -> (usize, Vec<String>) {
    let (mut lost, mut held) = (0, Vec::new());
    while line.goes_on() {
        let Some(answer) = line.ask(&Call::get(&url).header("Cookie", &cookies)).await else { continue };
        let location = answer.header("location").unwrap_or_default();
        let Some((_, code)) = location.split_once("code=") else { panic!("no code: {} {location}", answer.text()) };
        let code = code.split('&').next().unwrap_or_default();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "alice"),
            ("code", code),
            ("redirect_uri", "https://alice.example/cb"),
            ("code_verifier", VERIFIER),
        ];
        match line.ask(&Call::form("/token", &form)).await {
            None => {}
            Some(answer) if answer.status == 200 => held.push(text(&answer, "refresh_token")),
            Some(answer) => {
                println!("a code was lost: {}", answer.text());
                lost += 1;
            }
        }
    }
    (lost, held)
}

/// Changes a registration by the command line, beside the server; gives the last name that was answered.
async fn change(directory: std::path::PathBuf, client: Value, run: Arc<Run>) -> usize {
    let mut number = 0;
    while !run.stopping.load(Ordering::Relaxed) {
        let mut client = client.clone();
        client["client_name"] = json!(format!("number {}", number + 1));
        std::fs::write(directory.join("changing.json"), client.to_string()).expect("written");
        if symbolon(&directory, &["client", "apply", "changing.json"]).await.code == Some(0) {
            number += 1;
            run.operations.fetch_add(1, Ordering::Relaxed);
        }
    }
    number
}

async fn nothing_that_was_answered_is_lost(engine: Engine) {
    let public = App::metadata(
        "public",
        json!({
            "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null, "scope": "read",
            "tls_client_certificate_bound_access_tokens": false,
        }),
    );
    let setup = Setup {
        engine,
        without_gateway: true,
        server: "[authorization]\nrefresh_token_grace_seconds = 60\n".into(),
        clients: vec![
            App::metadata("alice", json!({ "grant_types": ["authorization_code", "client_credentials", "refresh_token"] })),
            public,
        ],
        ..Setup::default()
    };
    let Some(mut stack) = setup.try_start().await else { return };
    add_bob(&stack).await;
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    let (alice, mut public) = (App::alice(&stack), App::alice(&stack));
    public.identity.name = "public".into();
    public.redirect_uri = "https://public.example/cb".into();
    alice.code(&mut browser, &[("scope", "read")]).await;
    let run = Arc::new(Run::default());
    let caller = Caller::anonymous(&stack.server_ca.certificate).showing(&stack.alice);
    let line = || Line { caller: caller.clone(), authority: stack.mtls_authority.clone(), connection: None, run: run.clone() };
    let mut rotating = Vec::new();
    for _ in 0..3 {
        let tokens = public.tokens(&stack, &mut browser, &[("scope", "read")]).await;
        let token = tokens["refresh_token"].as_str().expect("one").to_owned();
        rotating.push(tokio::spawn(rotate(line(), token)));
    }
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let granting = tokio::spawn(grant(line(), alice.url(&[("scope", "read")]), cookies.join("; ")));
    let revoking = tokio::spawn(revoke(line(), stack.accounts.clone()));
    let changing = tokio::spawn(change(stack.dir.path().to_owned(), stack.person("mallory"), run.clone()));

    let seed = std::process::id();
    for number in 0..kills() {
        // Anything from the first request after the start to many of each kind.
        let milliseconds = (seed.wrapping_add(1).wrapping_mul(2_654_435_761).rotate_left(number as u32) % 350) + 30;
        tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
        stack.server.take().expect("running").kill().await;
        stack.start_server().await;
    }
    run.stopping.store(true, Ordering::Relaxed);

    let mut lost = 0;
    for rotating in rotating {
        let (grants, token) = rotating.await.expect("a worker");
        lost += grants;
        let answer = public.refresh(&stack, &token).await;
        lost += usize::from(answer.status != 200);
    }
    let (codes, held) = granting.await.expect("a worker");
    lost += codes;
    for token in &held {
        lost += usize::from(alice.refresh(&stack, token).await.status != 200);
    }
    let (revoked, kept) = revoking.await.expect("a worker");
    for token in &revoked {
        lost += usize::from(stack.introspect(token).await["active"] != json!(false));
    }
    for token in &kept {
        assert_eq!(stack.introspect(token).await["active"], json!(true));
    }
    let changes = changing.await.expect("a worker");
    let shown: Value =
        serde_json::from_str(&symbolon(stack.dir.path(), &["client", "show", "mallory"]).await.ok()).expect("JSON");
    lost += usize::from(changes > 0 && shown["client_name"] != json!(format!("number {changes}")));

    let count = async |query| stack.count(query).await;
    // Nobody replayed anything: each redeemed code has its family, and each family its code.
    let without_family = "SELECT COUNT(*) FROM authorization_code WHERE redeemed IS NOT NULL AND family_id NOT IN \
                          (SELECT family_id FROM grant_family)";
    let without_code = "SELECT COUNT(*) FROM grant_family WHERE family_id NOT IN \
                        (SELECT family_id FROM authorization_code WHERE redeemed IS NOT NULL)";
    assert_eq!((count(without_family).await, count(without_code).await), (0, 0), "half a family");
    // What committed together is there together.
    let pairs = [
        (
            "SELECT CAST(COALESCE(SUM(generation - 1), 0) AS BIGINT) FROM grant_family",
            "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"token_issued\"%\"grant_type\":\"refresh_token\"%'",
        ),
        (
            "SELECT COUNT(*) FROM grant_family",
            "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"token_issued\"%\"grant_type\":\"authorization_code\"%'",
        ),
        (
            "SELECT COUNT(*) FROM revocation_rule WHERE kind = 'token_id'",
            "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"event\":\"token_revoked\"%'",
        ),
    ];
    for (rows, events) in pairs {
        assert_eq!(count(rows).await, count(events).await, "{rows}");
    }
    let said = symbolon(stack.dir.path(), &["db", "check"]).await.ok();
    assert!(said.starts_with("sound"), "{said}");
    let (operations, unanswered) = (run.operations.load(Ordering::Relaxed), run.unanswered.load(Ordering::Relaxed));
    println!(
        "{engine:?}: kills {}, operations {operations} ({} revocations, {} grants, {changes} client changes), unanswered {unanswered}, \
         lost {lost}",
        kills(),
        revoked.len(),
        held.len()
    );
    assert_eq!(lost, 0);
    assert!(operations > 3 * kills(), "hardly anything was written: {operations}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_on_sqlite() {
    nothing_that_was_answered_is_lost(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_on_postgres() {
    nothing_that_was_answered_is_lost(Engine::Postgres).await;
}
