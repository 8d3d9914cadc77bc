//! Devices: codes that are guessed, decisions that nobody made, races (RFC 8628 §5).

use serde_json::json;

use crate::harness::app::{PASSWORD, add_bob};
use crate::harness::browser::{Browser, field};
use crate::harness::command::symbolon_told;
use crate::harness::{Call, Engine, Setup};
use crate::spec::rfc8628::{ask, bob, decide, poll, television};

/// §5.1: "the authorization server SHOULD rate-limit user code attempts". Whoever guesses needs an account first, is held back by it from
/// wherever they come, and holds nobody else back.
#[tokio::test]
async fn codes_cannot_be_guessed() {
    let stack = Setup { without_gateway: true, clients: vec![television("alice", json!({}))], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let arguments = ["user", "add", "mallory", "--password-stdin"];
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await.json();
    let user_code = begun["user_code"].as_str().expect("one");
    let mut mallory = Browser::new(&stack);
    let unsigned = mallory.get("/device?user_code=BBBB-BBBB").await;
    assert_eq!(unsigned.header("location"), Some("/sign-in?device=BBBB-BBBB"), "nothing is said to whoever is not signed in");
    assert_eq!(mallory.sign_in("mallory", PASSWORD).await.status, 303);
    let mut verdicts = Vec::new();
    for _ in 0..12 {
        let answer = mallory.get("/device?user_code=BBBB-BBBB").await;
        verdicts.push((answer.status, stack.reason_of(answer.request_id()).await));
    }
    let (within, beyond) = verdicts.split_at(10);
    assert!(within.iter().all(|verdict| *verdict == (400, "user_code_unknown".to_owned())), "{verdicts:?}");
    assert!(beyond.iter().all(|verdict| *verdict == (429, "client_throttled".to_owned())), "{verdicts:?}");
    // Even the right one, and in another session.
    let mut other = Browser::new(&stack);
    assert_eq!(other.sign_in("mallory", PASSWORD).await.status, 303);
    let answer = other.get(&format!("/device?user_code={user_code}")).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    decide(&mut bob(&stack).await, user_code, "allow").await;
    assert_eq!(poll(&stack, &stack.alice, begun["device_code"].as_str().expect("one")).await.status, 200);
}

/// A decision that another site sends, or another session's page.
#[tokio::test]
async fn nobody_connects_a_device_in_somebody_elses_name() {
    let stack = Setup { without_gateway: true, clients: vec![television("alice", json!({}))], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await.json();
    let (user_code, device_code) = (begun["user_code"].as_str().expect("one"), begun["device_code"].as_str().expect("one"));
    let (mut browser, mut other) = (bob(&stack).await, bob(&stack).await);
    let page = browser.get(&format!("/device?user_code={user_code}")).await;
    let foreign = other.get(&format!("/device?user_code={user_code}")).await;
    let account = browser.account().await;
    for csrf in ["", "x", &field(&foreign, "csrf"), &field(&account, "csrf")] {
        let answer = browser.post("/device", &[("csrf", csrf), ("user_code", user_code), ("decision", "allow")]).await;
        assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"));
    }
    let form = [("csrf", &*field(&page, "csrf")), ("user_code", user_code), ("decision", "allow")];
    let elsewhere = Call::form("/device", &form).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(browser.send(elsewhere).await.status, 403);
    // A link alone decides nothing.
    assert_eq!(browser.get(&format!("/device?user_code={user_code}&decision=allow")).await.status, 200);
    assert_eq!(poll(&stack, &stack.alice, device_code).await.error(), "authorization_pending");
    assert_eq!(browser.post("/device", &form).await.status, 200);
    assert_eq!(poll(&stack, &stack.alice, device_code).await.status, 200);
}

/// Of thirty who redeem one device code at once, one gets tokens; what the others do ends the grant.
async fn of_many_redemptions_one_succeeds(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, clients: vec![television("alice", json!({}))], ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    add_bob(&stack).await;
    let mut browser = bob(&stack).await;
    for _ in 0..3 {
        let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await.json();
        decide(&mut browser, begun["user_code"].as_str().expect("one"), "allow").await;
        let device_code = begun["device_code"].as_str().expect("one");
        let tries = (0..30).map(|_| poll(&stack, &stack.alice, device_code));
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.error() == "invalid_grant").count(), 29);
    }
}

#[tokio::test]
async fn of_many_redemptions_one_succeeds_on_sqlite() {
    of_many_redemptions_one_succeeds(Engine::Sqlite).await;
}

#[tokio::test]
async fn of_many_redemptions_one_succeeds_on_postgres() {
    of_many_redemptions_one_succeeds(Engine::Postgres).await;
}

/// The person signs out between allowing and the device's next question: nothing is left to give.
#[tokio::test]
async fn signing_out_ends_what_was_allowed() {
    let stack = Setup { without_gateway: true, clients: vec![television("alice", json!({}))], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    for (scope, expected) in [("openid read", 400), ("openid read offline_access", 200)] {
        let begun = ask(&stack, &stack.alice, &[("scope", scope)]).await.json();
        let mut browser = bob(&stack).await;
        decide(&mut browser, begun["user_code"].as_str().expect("one"), "allow").await;
        let account = browser.account().await;
        assert_eq!(browser.post("/sign-out", &[("csrf", &field(&account, "csrf"))]).await.status, 303);
        let answer = poll(&stack, &stack.alice, begun["device_code"].as_str().expect("one")).await;
        assert_eq!(answer.status, expected, "{scope}: {}", answer.text());
    }
}
