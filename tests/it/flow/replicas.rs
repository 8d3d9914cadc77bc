//! Two servers on one database: whatever one of them answered, the other knows, also when the first is gone the moment after.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::app::{VERIFIER, add_bob};
use crate::harness::browser::Browser;
use crate::harness::{App, Call, Engine, Setup, Stack, tell};

/// Until what was changed elsewhere is in force here; gives how long that took.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so().await {
        // A moment more for a machine that is busy elsewhere; what is usual is held to the second below.
        assert!(started.elapsed() < Duration::from_secs(3), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// 1. A person signs in, and grants, at the one server; it is killed, and the other redeems the code.
/// 2. A token is revoked, and a client added, at the one; it is killed, and the other knows within a second.
/// 3. Signing keys are rotated once, whoever is asked.
async fn one_is_killed_and_the_other_goes_on(engine: Engine) {
    let setup = App::setup();
    let Some(mut stack) = (Setup { engine, without_gateway: true, ..setup }).try_start().await else { return };
    add_bob(&stack).await;
    let (_other, [_, other]) = stack.start_replica().await;
    let at_other = async |stack: &Stack, form: &[(&str, &str)], path: &str| {
        stack.caller(&stack.alice).send(&other, &Call::form(path, form)).await
    };
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let code = app.code(&mut browser, &[("scope", "read offline_access openid")]).await;
    stack.server.take().expect("running").kill().await;
    let form = [
        ("client_id", "alice"),
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*app.redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let answer = at_other(&stack, &form, "/token").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (refresh_token, access_token) = (
        answer.json()["refresh_token"].as_str().expect("one").to_owned(),
        answer.json()["access_token"].as_str().expect("one").to_owned(),
    );

    stack.start_server().await;
    let refresh = [("client_id", "alice"), ("grant_type", "refresh_token"), ("refresh_token", &*refresh_token)];
    assert_eq!(app.refresh(&stack, &refresh_token).await.status, 200, "it was the other that gave it");
    assert_eq!(stack.revoke(&stack.alice, &refresh_token).await.status, 200);
    stack.server.take().expect("running").kill().await;
    let answer = at_other(&stack, &refresh, "/token").await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
    let introspection = [("client_id", "gateway"), ("token", &*access_token)];
    let mut revocations = vec![
        until("the other still takes what was revoked", async || {
            let answer = stack.caller(&stack.gateway_identity).send(&other, &Call::form("/introspect", &introspection)).await;
            answer.json()["active"] == json!(false)
        })
        .await,
    ];
    let mut clients = Vec::new();
    for name in ["bob", "carol", "dave"] {
        stack.apply(&[stack.person(name)]).await.ok();
        let identity = stack.client_ca.issue(crate::harness::Leaf::client(name));
        let form = [("client_id", name), ("grant_type", "client_credentials")];
        clients.push(
            until("the other does not know the new client", async || {
                stack.caller(&identity).send(&other, &Call::form("/token", &form)).await.status == 200
            })
            .await,
        );
    }

    stack.start_server().await;
    let machine = stack.client_ca.issue(crate::harness::Leaf::client("bob"));
    for _ in 0..2 {
        let token = stack.token(&machine).await;
        assert_eq!(stack.revoke(&machine, &token).await.status, 200);
        let introspection = [("client_id", "gateway"), ("token", &*token)];
        revocations.push(
            until("the other still takes what was revoked", async || {
                let answer = stack.caller(&stack.gateway_identity).send(&other, &Call::form("/introspect", &introspection)).await;
                answer.json()["active"] == json!(false)
            })
            .await,
        );
    }
    let keys = async |authority: &str| {
        let answer = stack.nobody().send(authority, &Call::get("/jwks")).await;
        let mut ids: Vec<String> = answer.json()["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .map(|key| key["kid"].as_str().expect("a name").to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut rotations = Vec::new();
    for known in 2..5 {
        crate::harness::command::symbolon(stack.dir.path(), &["keys", "rotate", "--now"]).await.ok();
        rotations.push(
            until("the two publish different keys", async || {
                let published = keys(&other).await;
                published.len() == known && published == keys(&stack.mtls_authority).await
            })
            .await,
        );
    }
    within_a_second(&format!("{engine:?}"), [("revocations", revocations), ("clients", clients), ("signing keys", rotations)]);
}

/// In force on all within a second: of each kind of change at least two of three, since a machine that is busy elsewhere may be late once.
pub fn within_a_second<const KINDS: usize>(place: &str, kinds: [(&str, Vec<Duration>); KINDS]) {
    for (kind, mut took) in kinds {
        took.sort();
        tell(&format!("{place}: {kind} were in force elsewhere after {took:?}"));
        assert!(took.len() >= 3 && took[took.len() / 2] <= Duration::from_secs(1), "{kind}: {took:?}");
    }
}

#[tokio::test]
async fn one_is_killed_and_the_other_goes_on_on_sqlite() {
    one_is_killed_and_the_other_goes_on(Engine::Sqlite).await;
}

#[tokio::test]
async fn one_is_killed_and_the_other_goes_on_on_postgres() {
    one_is_killed_and_the_other_goes_on(Engine::Postgres).await;
}
