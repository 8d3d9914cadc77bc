//! SIGKILL at any moment of a write-heavy run: what was answered lasts, and nothing is half written.
//!
//! Several kinds of work go on without pause, each with a [`Ledger`] of what was answered; the server is killed at random moments and started
//! again. That every table outlives kills, each by its own trial, is shown beside the store (`src/store/tests/trials.rs`); here it is whole
//! flows over sockets. `SYMBOLON_TEST_KILLS` asks for more kills. The log is printed: kills, operations, lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, VERIFIER, add_bob, url_of};
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{Answer, App, Call, Caller, Connection, Engine, Prover, Setup, tell};

/// What alice is granted.
const SCOPE: &str = "openid read offline_access";

fn kills() -> usize {
    std::env::var("SYMBOLON_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// What became of one kind of work.
#[derive(Clone, Copy, Debug)]
struct Ledger {
    kind: &'static str,
    /// What was answered with success.
    accepted: usize,
    /// What of it was not there afterwards.
    lost: usize,
}

impl Ledger {
    const fn of(kind: &'static str) -> Self {
        Self { kind, accepted: 0, lost: 0 }
    }
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

/// Rotates one refresh token; when an answer is lost, the same token again within the grace gives the present one. Gives how often it was
/// rotated, whether the grant was lost (never), and the last token.
async fn rotate(mut line: Line, mut token: String) -> (Ledger, String) {
    let mut rotations = Ledger::of("rotations");
    while line.goes_on() {
        let form = [("grant_type", "refresh_token"), ("client_id", "public"), ("refresh_token", token.as_str())];
        match line.ask(&Call::form("/token", &form)).await {
            None => {}
            Some(answer) if answer.status == 200 => {
                token = text(&answer, "refresh_token");
                rotations.accepted += 1;
            }
            Some(answer) => {
                println!("a grant was lost: {}", answer.text());
                rotations.lost += 1;
                break;
            }
        }
    }
    (rotations, token)
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

/// Grants and redeems, every other time by a pushed request; gives how many requests and codes were accepted and lost in between (none),
/// and the refresh tokens that were answered.
async fn grant(mut line: Line, app: App, cookies: String) -> ([Ledger; 2], Vec<String>) {
    let (mut pushed_requests, mut codes) = (Ledger::of("pushed requests"), Ledger::of("codes"));
    let mut held = Vec::new();
    let request = app.request(&[("scope", SCOPE)]);
    let request: Vec<(&str, &str)> = request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut pushing = false;
    while line.goes_on() {
        pushing = !pushing;
        let url = if pushing {
            let Some(answer) = line.ask(&Call::form("/par", &request)).await else { continue };
            pushed_requests.accepted += 1;
            let pushed = [("client_id".to_owned(), "alice".to_owned()), ("request_uri".to_owned(), text(&answer, "request_uri"))];
            url_of(&pushed)
        } else {
            app.url(&[("scope", SCOPE)])
        };
        let Some(answer) = line.ask(&Call::get(&url).header("Cookie", &cookies)).await else { continue };
        let location = answer.header("location").unwrap_or_default();
        let Some((_, code)) = location.split_once("code=") else {
            println!("a request was lost: {} {location}", answer.text());
            pushed_requests.lost += 1;
            continue;
        };
        codes.accepted += 1;
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
                codes.lost += 1;
            }
        }
    }
    ([pushed_requests, codes], held)
}

/// Uses proofs, each of which counts once; gives how many were forgotten (none), and those whose use was answered.
async fn prove(mut line: Line, resource: String, url: String) -> (usize, Vec<Call>) {
    let prover = Prover::new();
    let form = [("grant_type", "client_credentials"), ("client_id", "prover"), ("resource", resource.as_str())];
    let (mut forgotten, mut used) = (0, Vec::new());
    while line.goes_on() {
        let call = Call::form("/token", &form).proof(&prover.prove("POST", &url));
        let Some(answer) = line.ask(&call).await else { continue };
        assert_eq!(answer.status, 200, "{}", answer.text());
        if let Some(again) = line.ask(&call).await {
            forgotten += usize::from(again.status == 200);
        }
        used.push(call);
    }
    (forgotten, used)
}

/// Registers clients; gives where each can be read, and the token for that.
async fn register(mut line: Line) -> Vec<Call> {
    let mut registered = Vec::new();
    while line.goes_on() {
        let metadata = json!({ "redirect_uris": ["https://another.example/cb"] }).to_string();
        let call = Call::new("POST", "/register").header("Content-Type", "application/json").body(metadata);
        let Some(answer) = line.ask(&call).await else { continue };
        assert_eq!(answer.status, 201, "{}", answer.text());
        let place = text(&answer, "registration_client_uri");
        let path = place.find("/register").expect("a path");
        registered.push(Call::get(&place[path..]).bearer(&text(&answer, "registration_access_token")));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    registered
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
    let prover = json!({
        "client_id": "prover", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
        "scope": "read", "resources": ["{accounts}"], "dpop_bound_access_tokens": true,
    });
    let setup = Setup {
        engine,
        without_gateway: true,
        server: "[authorization]\nrefresh_token_grace_seconds = 60\n\
                 [registration]\nmode = \"open\"\nper_address_per_minute = 60000\nmax_clients = 60000\n\
                 [limits]\nclient_failures_per_minute = 60000\naddress_failures_per_minute = 60000\n"
            .into(),
        clients: vec![
            prover,
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
    alice.code(&mut browser, &[("scope", SCOPE)]).await;
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
    let granting = tokio::spawn(grant(line(), alice.clone(), cookies.join("; ")));
    let proving = tokio::spawn(prove(line(), stack.accounts.clone(), stack.token_url()));
    let registering = tokio::spawn(register(line()));
    let revoking = tokio::spawn(revoke(line(), stack.accounts.clone()));
    let changing = tokio::spawn(change(stack.dir.path().to_owned(), stack.person("mallory"), run.clone()));

    let seed = std::process::id();
    for number in 0..kills() {
        // After anything from the first answer to many of each kind, and a moment more, in which the next ones are under way.
        let random = seed.wrapping_add(1).wrapping_mul(2_654_435_761).rotate_left(number as u32);
        let answered = run.operations.load(Ordering::Relaxed) + random as usize % 24 + 1;
        let started = Instant::now();
        while run.operations.load(Ordering::Relaxed) < answered && started.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(random >> 8) % 25)).await;
        stack.server.take().expect("running").kill().await;
        stack.start_server().await;
    }
    run.stopping.store(true, Ordering::Relaxed);

    let mut rotations = Ledger::of("rotations");
    for rotating in rotating {
        let (ledger, token) = rotating.await.expect("a worker");
        rotations.accepted += ledger.accepted;
        rotations.lost += ledger.lost + usize::from(public.refresh(&stack, &token).await.status != 200);
    }
    let ([pushed_requests, codes], held) = granting.await.expect("a worker");
    let mut grants = Ledger { accepted: held.len(), ..Ledger::of("grants") };
    for token in &held {
        grants.lost += usize::from(alice.refresh(&stack, token).await.status != 200);
    }
    let (revoked, kept) = revoking.await.expect("a worker");
    let mut revocations = Ledger { accepted: revoked.len(), ..Ledger::of("revocations") };
    for token in &revoked {
        revocations.lost += usize::from(stack.introspect(token).await["active"] != json!(false));
    }
    for token in &kept {
        assert_eq!(stack.introspect(token).await["active"], json!(true));
    }
    let (forgotten, used) = proving.await.expect("a worker");
    let mut proofs = Ledger { accepted: used.len(), lost: forgotten, ..Ledger::of("proofs") };
    let nobody = Caller::anonymous(&stack.server_ca.certificate);
    for call in &used {
        proofs.lost += usize::from(caller.send(&stack.mtls_authority, call).await.status == 200);
    }
    let registered = registering.await.expect("a worker");
    let mut registrations = Ledger { accepted: registered.len(), ..Ledger::of("registrations") };
    for call in &registered {
        registrations.lost += usize::from(nobody.send(&stack.issuer_authority, call).await.status != 200);
    }
    let changes = changing.await.expect("a worker");
    let shown: Value =
        serde_json::from_str(&symbolon(stack.dir.path(), &["client", "show", "mallory"]).await.ok()).expect("JSON");
    let is_last = shown["client_name"] == json!(format!("number {changes}"));
    let changed = Ledger { accepted: changes, lost: usize::from(changes > 0 && !is_last), ..Ledger::of("changes of clients") };
    let ledgers = [rotations, pushed_requests, codes, grants, revocations, proofs, registrations, changed];

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
    let told: Vec<String> = ledgers.iter().map(|ledger| format!("{} {}", ledger.accepted, ledger.kind)).collect();
    let lost: usize = ledgers.iter().map(|ledger| ledger.lost).sum();
    let lost_told = if lost == 0 { "nothing".to_owned() } else { lost.to_string() };
    tell(&format!(
        "{engine:?}: kills {}, operations {operations} ({}), unanswered {unanswered}, lost {lost_told}",
        kills(),
        told.join(", "),
    ));
    for ledger in ledgers {
        assert!(ledger.accepted > 0, "none was accepted: {ledger:?}");
        assert_eq!(ledger.lost, 0, "{ledger:?}");
    }
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
