//! Signing keys change while everything runs.

use serde_json::{Value, json};

use crate::harness::command::symbolon;
use crate::harness::{Call, Engine, Setup, Stack, token};

/// The `kid`s that the server publishes, once `wanted` holds of them.
async fn published(stack: &Stack, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    for _ in 0..500 {
        let set = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await.json();
        let keys = set["keys"].as_array().expect("an array").iter().map(|key| key["kid"].as_str().expect("kid").to_owned());
        let keys: Vec<String> = keys.collect();
        if wanted(&keys) {
            return keys;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the published keys never became what was asked for");
}

fn kid(jwt: &str) -> String {
    token::header(jwt)["kid"].as_str().expect("kid").to_owned()
}

/// 1. A key is rotated ahead: it is published, and signs nothing yet.
/// 2. It takes over at once, by command: new tokens are its, the old ones still pass.
/// 3. The old key was stolen and is revoked: everything it signed is refused, by the server and by a gateway that has the key cached;
///    what the new key signed still passes.
/// 4. The new key is revoked as well: another one is made and signs.
async fn keys_rotate_and_are_revoked(engine: Engine) {
    let Some(stack) = Stack::start_on(engine).await else { return };
    let dir = stack.dir.path();
    let first_token = stack.token(&stack.alice).await;
    let first = kid(&first_token);
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 200);

    let said = symbolon(dir, &["keys", "rotate"]).await.ok();
    let second = said.split_whitespace().next().expect("a kid").to_owned();
    let keys = published(&stack, |keys| keys.len() == 2).await;
    assert_eq!(keys, [first.clone(), second.clone()]);
    assert_eq!(kid(&stack.token(&stack.alice).await), first, "published, and not used yet");
    let listed = symbolon(dir, &["keys", "list"]).await.ok();
    let states: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(states, [[first.as_str(), "ES256", "current"], [second.as_str(), "ES256", "next"]]);

    symbolon(dir, &["keys", "rotate", "--now"]).await.ok();
    let second_token = loop {
        let token = stack.token(&stack.alice).await;
        if kid(&token) == second {
            break token;
        }
    };
    let second_call = Call::get("/accounts").bearer(&second_token);
    assert_eq!(
        stack.wait_at_gateway(&stack.alice, &second_call, 200).await.status,
        200,
        "an unknown kid makes it fetch the keys"
    );
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 200, "retired, and not refused");
    assert_eq!(stack.introspect(&first_token).await["active"], true);

    symbolon(dir, &["keys", "revoke", &first]).await.ok();
    published(&stack, |keys| *keys == [second.clone()]).await;
    let first_call = Call::get("/accounts").bearer(&first_token);
    let refused = stack.wait_at_gateway(&stack.alice, &first_call, 401).await;
    stack.upstream.forget();
    assert_eq!(stack.verdict(&refused).await, (401, "invalid_token".to_owned(), "token_revoked".to_owned()));
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 401);
    stack.upstream.assert_untouched();
    assert_eq!(stack.introspect(&first_token).await, json!({ "active": false }));
    assert_eq!(stack.at_gateway(&stack.alice, &second_token).await.status, 200);
    assert_eq!(stack.introspect(&second_token).await["active"], true);

    symbolon(dir, &["keys", "revoke", &second]).await.ok();
    let keys = published(&stack, |keys| keys.len() == 1 && keys[0] != second).await;
    let third_token = stack.token(&stack.alice).await;
    assert_eq!(kid(&third_token), keys[0]);
    let third_call = Call::get("/accounts").bearer(&third_token);
    assert_eq!(stack.wait_at_gateway(&stack.alice, &third_call, 200).await.status, 200);

    let events = stack.events("server-audit.jsonl");
    let told: Vec<(&Value, &Value)> = events
        .iter()
        .filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("signing_key_")))
        .map(|event| (&event["event"], &event["key_id"]))
        .collect();
    let (created, activated, revoked) =
        (json!("signing_key_created"), json!("signing_key_activated"), json!("signing_key_revoked"));
    let (one, two) = (json!(first), json!(second));
    for expected in [(&created, &one), (&created, &two), (&activated, &two), (&revoked, &one), (&revoked, &two)] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[tokio::test]
async fn keys_rotate_and_are_revoked_on_sqlite() {
    keys_rotate_and_are_revoked(Engine::Sqlite).await;
}

#[tokio::test]
async fn keys_rotate_and_are_revoked_on_postgres() {
    keys_rotate_and_are_revoked(Engine::Postgres).await;
}

/// A resource has its tokens signed with an algorithm of its own; keys for it are made beside the default's. What cannot be is refused by
/// name.
#[tokio::test]
async fn a_resource_has_an_algorithm_of_its_own() {
    let server = "[signing]\nmore_algorithms = [\"EdDSA\"]\n\n[[resource]]\nidentifier = \"https://edwards.example\"\n\
        scopes = [\"read\"]\naccess_token_signing_alg = \"EdDSA\"\nintrospection_clients = [\"gateway\"]\n";
    let stack = Setup { server: server.to_owned(), without_gateway: true, ..Setup::default() }.start().await;
    let mut alice = stack.person("alice");
    alice["resources"] = json!([stack.accounts, "https://edwards.example"]);
    stack.register(&[alice]).await;
    let one = stack.token(&stack.alice).await;
    assert_eq!(token::header(&one)["alg"], "ES256");
    published(&stack, |keys| keys.len() == 2).await;
    let other = loop {
        // The changed registration is in force within a second.
        let answer = stack.ask(&stack.alice, &[("resource", "https://edwards.example")]).await.json();
        if let Some(token) = answer["access_token"].as_str() {
            break token.to_owned();
        }
        assert_eq!(answer["error"], "invalid_target");
    };
    assert_eq!(token::header(&other)["alg"], "EdDSA");
    assert_eq!(stack.introspect(&other).await["active"], true);
    let both = [("resource", stack.accounts.as_str()), ("resource", "https://edwards.example")];
    let answer = stack.ask(&stack.alice, &both).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_target".to_owned(), "resource_not_allowed".to_owned()));

    let said = symbolon(stack.dir.path(), &["keys", "rotate", "--algorithm", "RS256"]).await.failed();
    assert!(said.contains("no keys are kept for RS256") && said.contains("ES256, EdDSA"), "{said}");
    let said = symbolon(stack.dir.path(), &["keys", "revoke", "nobody"]).await.failed();
    assert!(said.contains("there is no signing key `nobody`"), "{said}");
}
