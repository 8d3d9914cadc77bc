//! The revocation feed: what gateways live on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::command::symbolon;
use crate::harness::{Answer, Call, Engine, Identity, Setup, Stack, token};

async fn feed(stack: &Stack, identity: &Identity, client_id: &str, more: &str) -> Answer {
    let call = Call::get(&format!("/revocation-feed?client_id={client_id}{more}"));
    stack.caller(identity).send(&stack.mtls_authority, &call).await
}

/// 1. Nothing was revoked: an empty page.
/// 2. Each revocation is one rule, in order, and a reader that remembers its place gets what came after.
/// 3. Whoever waits is answered when it happens.
/// 4. A place that this database never had starts the reader anew.
/// 5. A removed client is a rule too.
async fn rules_come_in_order_and_at_once(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let gateway = &stack.gateway_identity;
    let page = feed(&stack, gateway, "gateway", "").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    let page = page.json();
    assert_eq!((&page["rules"], &page["reset"]), (&json!([]), &json!(false)));
    let start = page["sequence"].as_i64().expect("a sequence");

    let tokens = [stack.token(&stack.alice).await, stack.token(&stack.alice).await];
    for token in &tokens {
        assert_eq!(stack.revoke(&stack.alice, token).await.status, 200);
    }
    let page = feed(&stack, gateway, "gateway", &format!("&after={start}")).await.json();
    let rules = page["rules"].as_array().expect("rules").clone();
    let told: Vec<(&Value, &Value)> = rules.iter().map(|rule| (&rule["kind"], &rule["value"])).collect();
    let kind = json!("token_id");
    let ids = tokens.each_ref().map(|token| token::claims(token)["jti"].clone());
    assert_eq!(told, [(&kind, &ids[0]), (&kind, &ids[1])]);
    let first = rules[0]["sequence"].as_i64().expect("a sequence");
    let last = rules[1]["sequence"].as_i64().expect("a sequence");
    assert!(start < first && first < last && page["sequence"] == json!(last));
    for (rule, token) in rules.iter().zip(&tokens) {
        let claims = token::claims(token);
        assert!(rule["before"].as_i64() >= claims["iat"].as_i64(), "the rule hits the token");
        assert!(rule["expires"].as_i64() > claims["exp"].as_i64(), "the rule outlives the token");
    }
    let page = feed(&stack, gateway, "gateway", &format!("&after={first}")).await.json();
    assert_eq!(page["rules"], json!([rules[1]]));

    // Waiting: nothing new takes the whole wait; something new is told at once.
    let started = Instant::now();
    let page = feed(&stack, gateway, "gateway", &format!("&after={last}&wait=1")).await.json();
    assert_eq!(page["rules"], json!([]));
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    let token = stack.token(&stack.alice).await;
    let waiting = format!("&after={last}&wait=20");
    let started = Instant::now();
    let (page, _) = tokio::join!(feed(&stack, gateway, "gateway", &waiting), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stack.revoke(&stack.alice, &token).await
    });
    assert_eq!(page.json()["rules"][0]["value"], token::claims(&token)["jti"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let page = feed(&stack, gateway, "gateway", "&after=999999999").await.json();
    assert_eq!((&page["reset"], page["rules"].as_array().map(Vec::len)), (&json!(true), Some(3)));

    let after = page["sequence"].as_i64().expect("a sequence");
    symbolon(stack.dir.path(), &["client", "remove", "mallory"]).await.ok();
    let page = feed(&stack, gateway, "gateway", &format!("&after={after}&wait=10")).await.json();
    assert_eq!((&page["rules"][0]["kind"], &page["rules"][0]["value"]), (&json!("client"), &json!("mallory")));

    // A place between rules, where another kind of change stands: whoever waits there waits for the next rule.
    let place = page["sequence"].as_i64().expect("a sequence") + 1;
    symbolon(stack.dir.path(), &["client", "add", "other", "--subject-dn", "CN=other"]).await.ok();
    let token = stack.token(&stack.alice).await;
    let waiting = format!("&after={place}&wait=20");
    let (page, _) = tokio::join!(feed(&stack, gateway, "gateway", &waiting), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stack.revoke(&stack.alice, &token).await
    });
    assert_eq!(page.json()["rules"][0]["value"], token::claims(&token)["jti"]);
}

#[tokio::test]
async fn rules_come_in_order_and_at_once_on_sqlite() {
    rules_come_in_order_and_at_once(Engine::Sqlite).await;
}

#[tokio::test]
async fn rules_come_in_order_and_at_once_on_postgres() {
    rules_come_in_order_and_at_once(Engine::Postgres).await;
}

/// The feed is for the clients that the configuration lists.
#[tokio::test]
async fn only_listed_clients_follow() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let table = [
        ("alice", &stack.alice, "", 400, "unauthorized_client", "client_not_allowed"),
        ("gateway", &stack.alice, "", 401, "invalid_client", "certificate_subject_mismatch"),
        ("gateway", &stack.gateway_identity, "&after=x", 400, "invalid_request", "parameter_malformed"),
        ("gateway", &stack.gateway_identity, "&after=1&after=2", 400, "invalid_request", "parameter_duplicate"),
    ];
    for (client_id, identity, more, status, error, reason) in table {
        let answer = feed(&stack, identity, client_id, more).await;
        assert_eq!(stack.verdict(&answer).await, (status, error.to_owned(), reason.to_owned()), "{client_id} {more}");
    }
    assert_eq!(feed(&stack, &stack.gateway_identity, "gateway", "&wait=0").await.status, 200);
}
