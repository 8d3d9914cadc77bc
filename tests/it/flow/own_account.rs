//! People see what they have allowed and take it back, take their data along, and leave.

use serde_json::{Value, json};

use crate::harness::app::{App, PASSWORD, add_bob};
use crate::harness::browser::{Browser, fields};
use crate::harness::command::symbolon;
use crate::harness::own_account::{export, leave, withdraw};
use crate::harness::{Engine, Setup, Stack};

async fn start(engine: Engine) -> Option<(Stack, String)> {
    let stack = Setup { engine, without_gateway: true, ..App::setup() }.try_start().await?;
    let bob = add_bob(&stack).await;
    Some((stack, bob))
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name}: {tokens}"))
}

/// 1. Bob has allowed two applications something, one while he is away; a third code is on its way. The account page lists them.
/// 2. He takes back what the one may do: its refresh token, its access tokens and its code are worth nothing, and it must ask again.
/// 3. The other goes on.
async fn what_was_allowed_is_taken_back(engine: Engine) {
    let Some((stack, _)) = start(engine).await else { return };
    let (alice, mallory, mut browser) = (App::alice(&stack), App::mallory(&stack), Browser::new(&stack));

    // 1.
    let away = [("scope", "openid email offline_access read")];
    let tokens = alice.tokens(&stack, &mut browser, &away).await;
    let more = alice.tokens(&stack, &mut browser, &[]).await;
    let others = mallory.tokens(&stack, &mut browser, &away).await;
    let code = alice.code(&mut browser, &[]).await;
    let page = browser.account().await;
    assert_eq!(fields(&page, "client_id"), ["alice", "mallory"]);
    for words in ["App of alice", "App of mallory", "see your e-mail address", "go on while you are away"] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    for token in [&tokens, &more, &others] {
        assert_eq!(stack.introspect(text(token, "access_token")).await["active"], true);
    }

    // 2.
    let done = withdraw(&mut browser, "alice").await;
    assert_eq!(done.header("location"), Some("/account?done=application"), "{}", done.text());
    let page = browser.get("/account?done=application").await;
    assert!(!page.text().contains("App of alice") && page.text().contains("App of mallory"), "{}", page.text());
    for token in [&tokens, &more] {
        assert_eq!(stack.introspect(text(token, "access_token")).await["active"], false);
    }
    let refused = alice.refresh(&stack, text(&tokens, "refresh_token")).await;
    assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_grant"));
    let refused = alice.redeem(&stack, &code).await;
    assert_eq!(
        (refused.status, &*refused.error(), &*stack.reason_of(refused.request_id()).await),
        (400, "invalid_grant", "consent_withdrawn")
    );
    let silent = alice.authorize(&mut browser, &[("prompt", "none")]).await;
    assert_eq!(silent.get("error"), "consent_required");
    let asked = browser.get(&alice.url(&[])).await;
    assert!(asked.header("location").is_some_and(|to| to.starts_with("/consent?")), "{:?}", asked.header("location"));
    let event = stack.wait_for_event("server-audit.jsonl", "consent_withdrawn").await;
    assert_eq!(event["client_id"], "alice");

    // 3.
    assert_eq!(stack.introspect(text(&others, "access_token")).await["active"], true);
    assert_eq!(mallory.refresh(&stack, text(&others, "refresh_token")).await.status, 200);
    // Allowed once more, everything works.
    let again = alice.tokens(&stack, &mut browser, &away).await;
    assert_eq!(alice.refresh(&stack, text(&again, "refresh_token")).await.status, 200);
}

#[tokio::test]
async fn what_was_allowed_is_taken_back_on_sqlite() {
    what_was_allowed_is_taken_back(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_was_allowed_is_taken_back_on_postgres() {
    what_was_allowed_is_taken_back(Engine::Postgres).await;
}

/// The file has what is known of bob, and nothing that proves that one is bob.
#[tokio::test]
async fn a_person_takes_their_data_along() {
    let Some((stack, bob)) = start(Engine::Sqlite).await else { return };
    let mut browser = Browser::new(&stack);
    App::alice(&stack).tokens(&stack, &mut browser, &[]).await;
    let answer = export(&mut browser).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"account.json\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let known = answer.json();
    assert_eq!((&known["sub"], &known["claims"]["email"]), (&json!(bob), &json!("bob@example.org")));
    assert_eq!((&known["claims"]["groups"], &known["password"]), (&json!(["staff"]), &json!(true)));
    assert_eq!(known["applications"][0]["client_id"], "alice");
    assert_eq!(known["applications"][0]["scopes"], json!(["openid", "read"]));
    assert_eq!(known["sessions"].as_array().map(Vec::len), Some(1));
    assert!(known["sessions"][0]["user_agent"].as_str().is_some_and(|name| name.contains("Firefox")));
    assert!(!answer.text().contains("argon2"), "{known}");
}

/// Bob leaves: he is signed out everywhere, his tokens are worth nothing, nothing of him is left, and his name is free.
async fn a_person_leaves(engine: Engine) {
    let Some((stack, bob)) = start(engine).await else { return };
    let (alice, mut browser, mut elsewhere) = (App::alice(&stack), Browser::new(&stack), Browser::new(&stack));
    let tokens = alice.tokens(&stack, &mut browser, &[("scope", "openid offline_access read")]).await;
    let code = alice.code(&mut browser, &[]).await;
    assert_eq!(elsewhere.sign_in("bob", PASSWORD).await.status, 303);
    let gone = leave(&mut browser, "Bob").await;
    assert!(gone.status == 200 && gone.text().contains("Your account is deleted"), "{}", gone.text());
    assert!(browser.session_cookie().is_none(), "the cookie is taken away");
    assert!(!browser.is_signed_in().await && !elsewhere.is_signed_in().await);
    assert_eq!(alice.refresh(&stack, text(&tokens, "refresh_token")).await.error(), "invalid_grant");
    assert_eq!(alice.redeem(&stack, &code).await.error(), "invalid_grant");
    assert_eq!(stack.introspect(text(&tokens, "access_token")).await["active"], false);
    let refused = Browser::new(&stack).sign_in("bob", PASSWORD).await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "account_unknown");
    for query in [
        "SELECT COUNT(*) FROM account",
        "SELECT COUNT(*) FROM consent",
        "SELECT COUNT(*) FROM browser_session",
        "SELECT COUNT(*) FROM grant_family",
    ] {
        assert_eq!(stack.count(query).await, 0, "{query}");
    }
    assert_eq!(stack.wait_for_event("server-audit.jsonl", "account_removed").await["subject"], json!(bob));
    assert_ne!(add_bob(&stack).await, bob, "whoever comes after is somebody else");
    assert_eq!(Browser::new(&stack).sign_in("bob", PASSWORD).await.status, 303);
}

/// A deletion that fails half-way has ended everything by then, and an operator finishes it.
#[tokio::test]
async fn a_deletion_that_fails_half_way_can_be_finished() {
    use sqlx::ConnectOptions as _;
    let Some((stack, _)) = start(Engine::Sqlite).await else { return };
    let (alice, mut browser) = (App::alice(&stack), Browser::new(&stack));
    let tokens = alice.tokens(&stack, &mut browser, &[("scope", "openid offline_access read")]).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("person-keys.db"));
    let mut keys = options.connect().await.expect("the database of keys");
    let stuck = "CREATE TRIGGER stuck BEFORE DELETE ON person_key BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    sqlx::query(stuck).execute(&mut keys).await.expect("a trigger");
    let failed = leave(&mut browser, "bob").await;
    assert!(failed.status >= 500, "{} {}", failed.status, failed.text());
    assert_eq!(stack.introspect(text(&tokens, "access_token")).await["active"], false);
    assert_eq!(alice.refresh(&stack, text(&tokens, "refresh_token")).await.error(), "invalid_grant");
    assert!(!browser.is_signed_in().await);
    let refused = Browser::new(&stack).sign_in("bob", PASSWORD).await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "account_disabled");
    sqlx::query("DROP TRIGGER stuck").execute(&mut keys).await.expect("dropped");
    symbolon(stack.dir.path(), &["user", "remove", "bob"]).await.ok();
    assert_eq!(stack.count("SELECT COUNT(*) FROM account").await, 0);
}

#[tokio::test]
async fn a_person_leaves_on_sqlite() {
    a_person_leaves(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_person_leaves_on_postgres() {
    a_person_leaves(Engine::Postgres).await;
}
