//! A person who may not sign in any more leaves no grant behind.

use serde_json::json;

use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{App, Engine, Setup};

/// A code that waits while its person is disabled or removed becomes no tokens, offline access or not, OpenID Connect or not; after
/// `user enable` the same request is granted.
async fn a_code_of_an_ended_account_becomes_nothing(engine: Engine) {
    // A resource with a scope of that name, so that nothing else of OpenID Connect is needed for it.
    let scopes = "identifier = \"{accounts}\"\nscopes = [\"read\", \"write\"";
    let server_changes = vec![(scopes.to_owned(), format!("{scopes}, \"offline_access\""))];
    let setup = Setup { engine, without_gateway: true, server_changes, ..App::setup() };
    let Some(stack) = setup.try_start().await else { return };
    add_bob(&stack).await;
    let (app, mut browser) = (App::alice(&stack), Browser::new(&stack));
    let user = async |what: &str| symbolon(stack.dir.path(), &["user", what, "bob"]).await.ok();
    // An ID token would tell of the person, who is looked for before anything is written.
    for (scope, reason) in [("read offline_access", "account_disabled"), ("openid read offline_access", "person_unknown")] {
        let code = app.code(&mut browser, &[("scope", scope)]).await;
        user("disable").await;
        let answer = app.redeem(&stack, &code).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{scope}: {}", answer.text());
        assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{scope}");
        user("enable").await;
        let answer = app.redeem(&stack, &code).await;
        assert_eq!(answer.status, 200, "{scope}: {}", answer.text());
        assert!(answer.json()["refresh_token"].is_string(), "{scope}: {}", answer.json());
    }
    // The first grant ended when its person was disabled again.
    assert_eq!(stack.count("SELECT COUNT(*) FROM grant_family").await, 1);
    let code = app.code(&mut browser, &[("scope", "read offline_access")]).await;
    user("remove").await;
    let answer = app.redeem(&stack, &code).await;
    assert_eq!((answer.status, answer.json()["error"].clone()), (400, json!("invalid_grant")), "{}", answer.text());
    // What it stood for is sealed with a key that is gone. A server that has not heard of that yet may still open it, and sees that the account
    // is not there.
    let reason = stack.reason_of(answer.request_id()).await;
    assert!(["account_disabled", "code_unknown"].contains(&reason.as_str()), "{reason}");
    assert_eq!(stack.count("SELECT COUNT(*) FROM grant_family").await, 0);
}

#[tokio::test]
async fn a_code_of_an_ended_account_becomes_nothing_on_sqlite() {
    a_code_of_an_ended_account_becomes_nothing(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_code_of_an_ended_account_becomes_nothing_on_postgres() {
    a_code_of_an_ended_account_becomes_nothing(Engine::Postgres).await;
}
