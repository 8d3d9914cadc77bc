//! People: an account, sessions in browsers, and their end.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::app::App;
use crate::harness::browser::{Browser, field, fields, problem};
use crate::harness::command::{Said, run, symbolon, symbolon_told};
use crate::harness::{Call, Engine, Setup, Stack, postgres};

const PASSWORD: &str = "lantern-orbit-velvet-fjord";
const FRESH: &str = "meadow copper quilt ninety";

async fn user(stack: &Stack, arguments: &[&str]) -> Said {
    symbolon(stack.dir.path(), &[&["user"], arguments].concat()).await
}

async fn add(stack: &Stack, name: &str, more: &[&str]) -> String {
    let arguments = [&["user", "add", name, "--password-stdin"], more].concat();
    let said = symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    said.trim_end().rsplit(' ').next().expect("a subject").to_owned()
}

async fn start(engine: Engine) -> Option<Stack> {
    Setup { engine, without_gateway: true, ..Setup::default() }.try_start().await
}

fn happened(stack: &Stack, subject: &str) -> Vec<String> {
    let mine = |event: &Value| event["subject"] == subject;
    let name = |event: &Value| match event["why"].as_str() {
        Some(why) => format!("{} {why}", event["event"].as_str().unwrap_or_default()),
        None => event["event"].as_str().unwrap_or_default().to_owned(),
    };
    stack.events("server-audit.jsonl").iter().filter(|event| mine(event)).map(name).collect()
}

/// 1. Whoever is not signed in is led to the form; a wrong password is told, the right one leads to the account.
/// 2. A second browser signs in; the first one sees it and ends its session.
/// 3. The password is changed: the old one is worth nothing, and so is the cookie from before.
/// 4. Signing out ends the session: its cookie is worth nothing, wherever it was copied to.
/// 5. The audit trail tells all of it, and neither it, the log nor the database has a word about the person.
async fn a_person_comes_and_goes(engine: Engine) {
    let Some(stack) = start(engine).await else { return };
    let more = ["--email", "alice@wonderland.example", "--name", "Alice Liddell", "--group", "croquet"];
    let subject = add(&stack, "Alice", &more).await;

    let (mut desk, mut phone) = (Browser::new(&stack), Browser::new(&stack));
    assert!(!desk.is_signed_in().await);
    let answer = desk.sign_in("alice", "not her password at all").await;
    assert_eq!((answer.status, problem(&answer).as_deref()), (422, Some("The username or the password is not right.")));
    assert_eq!(field(&answer, "username"), "alice", "what was typed is kept");
    assert!(!answer.text().contains("not her password"));
    let answer = desk.sign_in("alice", PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account")));
    let page = desk.account().await.text();
    for told in ["Alice Liddell", "alice@wonderland.example", "croquet", "Firefox on Linux", "this browser"] {
        assert!(page.contains(told), "{told}: {page}");
    }

    assert_eq!(phone.sign_in("ALICE", PASSWORD).await.status, 303);
    let page = desk.account().await;
    let others: Vec<String> = fields(&page, "session").into_iter().filter(|session| session != "others").collect();
    assert_eq!(others.len(), 1, "{}", page.text());
    let csrf = field(&page, "csrf");
    let answer = desk.post("/account/sessions", &[("csrf", &csrf), ("session", &others[0])]).await;
    assert_eq!(answer.header("location"), Some("/account?done=sessions"));
    assert!(desk.get("/account?done=sessions").await.text().contains("Signed out there."));
    assert!(!phone.is_signed_in().await);

    phone.sign_in("alice", PASSWORD).await;
    let stale = desk.clone();
    let change = |csrf: &str, current: &str, new: &str, again: &str| {
        Call::form(
            "/account/password",
            &[("csrf", csrf), ("current_password", current), ("new_password", new), ("repeated_password", again)],
        )
    };
    for (current, new, again, told) in [
        ("not her password at all", FRESH, FRESH, "The username or the password is not right."),
        (PASSWORD, FRESH, "meadow copper quilt", "The new password was not typed twice alike."),
        (PASSWORD, "too short", "too short", "Choose at least 15 characters; a few unrelated words are good."),
        (
            PASSWORD,
            "passwordpassword",
            "passwordpassword",
            "This is easily guessed: it is common, follows a pattern, or is made of names that belong to the account.",
        ),
    ] {
        let answer = desk.send(change(&csrf, current, new, again)).await;
        assert_eq!((answer.status, problem(&answer).as_deref()), (422, Some(told)), "{new}");
    }
    assert!(phone.is_signed_in().await, "nothing has changed yet");
    let answer = desk.send(change(&csrf, PASSWORD, FRESH, FRESH)).await;
    assert_eq!(answer.header("location"), Some("/account?done=password"));
    assert!(desk.get("/account?done=password").await.text().contains("Your password is changed."));
    assert!(!phone.is_signed_in().await && !stale.clone().is_signed_in().await && desk.is_signed_in().await);
    assert_eq!(phone.sign_in("alice", PASSWORD).await.status, 422);
    assert_eq!(phone.sign_in("alice", FRESH).await.status, 303);

    let mut copied = desk.clone();
    let csrf = field(&desk.account().await, "csrf");
    let answer = desk.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/signed-out")));
    assert_eq!(desk.session_cookie(), None, "the cookie is taken away");
    assert!(desk.get("/signed-out").await.text().contains("You are signed out"));
    assert!(!copied.is_signed_in().await);
    assert!(phone.is_signed_in().await);

    let expected = [
        "account_added",
        "signed_in",
        "signed_in",
        "session_ended ended_by_person",
        "signed_in",
        "session_ended password_changed",
        "password_changed",
        "signed_in",
        "session_ended signed_out",
    ];
    let started = Instant::now();
    while happened(&stack, &subject).len() < expected.len() && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(happened(&stack, &subject), expected);
    // In every file of the deployment: databases with their logs, the audit trail, the log.
    let secrets = ["alice@wonderland", "Alice Liddell", "croquet", PASSWORD, FRESH, "Firefox", "argon2id"];
    for entry in std::fs::read_dir(stack.dir.path()).expect("a directory").flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).expect("read");
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn a_person_comes_and_goes_on_sqlite() {
    a_person_comes_and_goes(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_person_comes_and_goes_on_postgres() {
    a_person_comes_and_goes(Engine::Postgres).await;
}

/// What the command line does is in force in a running server at once: another process, the same database.
#[tokio::test]
async fn the_command_line_reaches_a_running_server() {
    let stack = start(Engine::Sqlite).await.expect("SQLite");
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 422);
    let subject = add(&stack, "alice", &["--admin", "--email", "a@b.example"]).await;
    assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
    assert_eq!(user(&stack, &["list"]).await.ok(), format!("alice  {subject}  active  groups \"admin\"\n"));
    assert!(user(&stack, &["add", "ALICE"]).await.failed().contains("there is a user `ALICE`"));

    assert_eq!(user(&stack, &["disable", "alice"]).await.ok(), "disabled alice: sessions ended, tokens revoked\n");
    assert!(!browser.is_signed_in().await);
    let answer = browser.sign_in("alice", PASSWORD).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (422, "account_disabled"));
    user(&stack, &["enable", "alice"]).await.ok();
    assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);

    let said = user(&stack, &["set-password", "alice"]).await.ok();
    let made = said.lines().find_map(|line| line.strip_prefix("password ")).expect("a password").to_owned();
    assert!(!browser.is_signed_in().await);
    assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 422);
    assert_eq!(browser.sign_in("alice", &made).await.status, 303);
    let refused = symbolon_told(stack.dir.path(), &["user", "set-password", "alice", "--password-stdin"], "short\n").await;
    assert!(refused.failed().contains("choose at least 15 characters"));

    user(&stack, &["change", "alice", "--name", "Alice Liddell", "--email", ""]).await.ok();
    let shown: Value = serde_json::from_str(&user(&stack, &["show", "alice"]).await.ok()).expect("JSON");
    assert_eq!((&shown["name"], &shown["email"], &shown["groups"][0]), (&"Alice Liddell".into(), &Value::Null, &"admin".into()));
    assert!(browser.account().await.text().contains("Alice Liddell"));

    user(&stack, &["remove", "alice"]).await.ok();
    assert!(!browser.is_signed_in().await);
    let answer = browser.sign_in("alice", &made).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (422, "account_unknown"));
    assert_eq!(user(&stack, &["list"]).await.ok(), "");
    assert!(user(&stack, &["remove", "alice"]).await.failed().contains("there is no user `alice`"));
}

/// A session outlives the process that began it.
#[tokio::test]
async fn a_session_outlives_a_restart() {
    let mut stack = start(Engine::Sqlite).await.expect("SQLite");
    add(&stack, "alice", &[]).await;
    let mut browser = Browser::new(&stack);
    browser.sign_in("alice", PASSWORD).await;
    let csrf = field(&browser.account().await, "csrf");
    stack.server.take().expect("running").kill().await;
    stack.start_server().await;
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.post("/sign-out", &[("csrf", &csrf)]).await.header("location"), Some("/signed-out"));
}

/// Runs one of PostgreSQL's own programs.
async fn postgres_tool(stack: &Stack, name: &str, arguments: &[&str]) {
    let program = postgres::program(name);
    run(stack.dir.path(), &program.display().to_string(), arguments).await.ok();
}

/// 1. The database is backed up beside the running server, as docs/people.md says; afterwards a person is removed.
/// 2. The backup is restored beside the current keys.
/// 3. The person cannot sign in, and nobody can read what the database says of them; everybody else is there. What they granted is worth
///    nothing, although the backup has it.
/// 4. Without the keys at all, nothing starts.
async fn an_older_backup_says_nothing_of_a_removed_person(engine: Engine) {
    let Some(mut stack) = Setup { engine, without_gateway: true, ..App::setup() }.try_start().await else { return };
    let url = stack.fill("{store}");
    add(&stack, "alice", &["--email", "alice@wonderland.example"]).await;
    add(&stack, "bob", &[]).await;
    let mut browser = Browser::new(&stack);
    browser.sign_in("alice", PASSWORD).await;
    let (app, scope) = (App::alice(&stack), [("scope", "openid offline_access read")]);
    let mut bob = Browser::new(&stack);
    bob.sign_in("bob", PASSWORD).await;
    let granted = [app.tokens(&stack, &mut browser, &scope).await, app.tokens(&stack, &mut bob, &scope).await];
    let [alices, bobs] = granted.map(|tokens| tokens["refresh_token"].as_str().expect("one").to_owned());
    assert_eq!(app.refresh(&stack, &alices).await.status, 200);
    let alices_code = app.code(&mut browser, &scope).await;
    match engine {
        Engine::Sqlite => drop(symbolon(stack.dir.path(), &["db", "backup", "backup.db"]).await.ok()),
        Engine::Postgres => {
            let arguments = ["--exclude-schema=symbolon_person_keys", "-f", "state.sql", &url];
            postgres_tool(&stack, "pg_dump", &arguments).await;
        }
    }

    user(&stack, &["remove", "alice"]).await.ok();
    assert!(!browser.is_signed_in().await);
    stack.server.take().expect("running").stop().await;
    match engine {
        Engine::Sqlite => drop(symbolon(stack.dir.path(), &["db", "restore", "backup.db"]).await.ok()),
        Engine::Postgres => {
            let statement = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
            postgres_tool(&stack, "psql", &["-v", "ON_ERROR_STOP=1", "-c", statement, &url]).await;
            postgres_tool(&stack, "psql", &["-v", "ON_ERROR_STOP=1", "-f", "state.sql", &url]).await;
        }
    }
    stack.start_server().await;
    assert!(!browser.is_signed_in().await, "her session is in the backup, and shut");
    let answer = browser.sign_in("alice", PASSWORD).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (422, "person_key_absent"));
    let refused = app.refresh(&stack, &alices).await;
    assert_eq!(refused.error(), "invalid_grant");
    assert_eq!(stack.reason_of(refused.request_id()).await, "refresh_token_unknown", "its grant is in the backup, and shut");
    let refused = app.redeem(&stack, &alices_code).await;
    assert_eq!((refused.error().as_str(), &*stack.reason_of(refused.request_id()).await), ("invalid_grant", "code_unknown"));
    assert_eq!(app.refresh(&stack, &bobs).await.status, 200, "what others granted goes on");
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    let listed = user(&stack, &["list"]).await.ok();
    assert!(listed.contains("(key gone)  ") && listed.contains("bob  ") && !listed.contains("alice"), "{listed}");
    let said = user(&stack, &["show", "alice"]).await;
    assert!(!said.stdout.contains("wonderland") && !said.stderr.contains("wonderland"), "{said:?}");
    user(&stack, &["remove", "alice"]).await.ok();
    assert!(!user(&stack, &["list"]).await.ok().contains("key gone"));

    stack.server.take().expect("running").stop().await;
    match engine {
        Engine::Sqlite => {
            for file in ["person-keys.db", "person-keys.db-wal", "person-keys.db-shm"] {
                let _ = std::fs::remove_file(stack.path(file));
            }
        }
        Engine::Postgres => {
            postgres_tool(&stack, "psql", &["-c", "DROP SCHEMA symbolon_person_keys CASCADE", &url]).await;
        }
    }
    let words = symbolon(stack.dir.path(), &["serve"]).await.failed();
    assert!(words.contains("restore the latest backup of the keys"), "{words}");
}

#[tokio::test]
async fn an_older_backup_says_nothing_of_a_removed_person_on_sqlite() {
    an_older_backup_says_nothing_of_a_removed_person(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_older_backup_says_nothing_of_a_removed_person_on_postgres() {
    an_older_backup_says_nothing_of_a_removed_person(Engine::Postgres).await;
}

/// An authorization request that waits for a sign-in is resumed after it, also when somebody is signed in already.
#[tokio::test]
async fn a_sign_in_leads_back_to_what_waits_for_it() {
    let stack = start(Engine::Sqlite).await.expect("SQLite");
    add(&stack, "alice", &[]).await;
    let mut browser = Browser::new(&stack);
    for _ in 0..2 {
        let page = browser.get("/sign-in?interaction=abc-DEF_123").await;
        assert_eq!((page.status, field(&page, "interaction").as_str()), (200, "abc-DEF_123"));
        let policy = page.header("content-security-policy").unwrap_or_default().to_owned();
        assert!(!policy.contains("form-action") && policy.contains("default-src 'none'"), "redirects to clients: {policy}");
        let form = [("interaction", "abc-DEF_123"), ("csrf", &field(&page, "csrf")), ("username", "alice")];
        let answer = browser.post("/sign-in", &[&form[..], &[("password", "wrong")]].concat()).await;
        assert_eq!((answer.status, field(&answer, "interaction").as_str()), (422, "abc-DEF_123"));
        let answer = browser.post("/sign-in", &[&form[..], &[("password", PASSWORD)]].concat()).await;
        assert_eq!(answer.header("location"), Some("/authorize/resume?interaction=abc-DEF_123"));
        assert_eq!(answer.status, 303);
    }
    assert_eq!(browser.get("/sign-in").await.header("location"), Some("/account"));
}

/// The stylesheet that pages name is there, may be kept for ever, and has the configured colour; a template takes a built-in one's place.
#[tokio::test]
async fn pages_look_as_configured() {
    let setup = Setup {
        without_gateway: true,
        server: "[pages]\nname = 'Wonderland'\ncolour = '#7a1fa2'\nlogo_file = 'logo.svg'\ntemplates_dir = 'own'\n".into(),
        ..Setup::default()
    };
    let mut stack =
        setup.prepare_with("sqlite:symbolon.db".into(), &[("logo.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")]).await;
    std::fs::create_dir(stack.path("own")).expect("made");
    std::fs::write(stack.path("own/signed_out.html"), "<p>Bye from {{ site.name }}").expect("written");
    stack.start_server().await;
    let mut browser = Browser::new(&stack);
    let page = browser.get("/sign-in").await;
    let text = page.text().replace("&#x2f;", "/");
    assert!(text.contains("Use your account at Wonderland."), "{text}");
    let asset = |start: &str| text.split('"').find(|part| part.starts_with(start)).expect("an asset").to_owned();
    let sheet = browser.get(&asset("/assets/style-")).await;
    assert_eq!((sheet.status, sheet.header("content-type")), (200, Some("text/css; charset=utf-8")));
    assert_eq!(sheet.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert!(sheet.text().contains("--accent: #7a1fa2"));
    let logo = browser.get(&asset("/assets/logo-")).await;
    assert_eq!((logo.status, logo.header("content-type")), (200, Some("image/svg+xml")));
    assert!(logo.header("content-security-policy").is_some_and(|policy| policy.contains("sandbox")));
    assert_eq!(browser.get("/assets/style-x.css").await.status, 404);
    assert_eq!(browser.get("/signed-out").await.text(), "<p>Bye from Wonderland");
}
