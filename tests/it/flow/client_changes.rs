//! What changes about clients while they are served: secrets, certificates, registrations.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::client::PATIENCE;
use crate::harness::command::symbolon;
use crate::harness::{App, Call, Engine, Leaf, Setup, Stack, token};

async fn ask_with_secret(stack: &Stack, client_id: &str, secret: &str) -> u16 {
    let form = [("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)];
    stack.nobody().send(&stack.issuer_authority, &Call::form("/token", &form)).await.status
}

async fn until_status(stack: &Stack, client_id: &str, secret: &str, status: u16) {
    let started = Instant::now();
    while ask_with_secret(stack, client_id, secret).await != status {
        assert!(started.elapsed() < PATIENCE, "{client_id} does not come to {status}");
    }
}

fn printed<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().find_map(|line| line.strip_prefix(name)).expect("printed").trim()
}

/// 1. A client is made with a generated secret.
/// 2. It is given another: both are taken.
/// 3. A third is refused while two are live.
/// 4. The first is revoked: the second alone is taken. The last one cannot be revoked.
/// 5. Another with `--keep-old 0` ends the one before it at once.
/// 6. A document without secret changes nothing; the audit trail has each step.
async fn a_secret_is_changed_without_an_outage(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let run = async |arguments: &[&str]| symbolon(stack.dir.path(), arguments).await;
    let resource = stack.accounts.clone();
    let add =
        ["client", "add", "robot", "--generate-secret", "client_secret_post", "--danger-unbound-tokens", "--resource", &resource];
    let said = run(&add).await.ok();
    let first = printed(&said, "client_secret").to_owned();
    until_status(&stack, "robot", &first, 200).await;

    let said = run(&["client", "secret", "rotate", "robot", "--keep-old", "1"]).await.ok();
    let second = printed(&said, "client_secret").to_owned();
    assert!(said.starts_with("secret 2\n") && said.contains("is taken until"), "{said}");
    until_status(&stack, "robot", &second, 200).await;
    assert_eq!(ask_with_secret(&stack, "robot", &first).await, 200, "the old one lives on");
    let said = run(&["client", "secret", "rotate", "robot"]).await.failed();
    assert!(said.contains("two live secrets already"), "{said}");
    let list = run(&["client", "secret", "list", "robot"]).await.ok();
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(![&first, &second].iter().any(|secret| list.contains(secret.as_str())));

    run(&["client", "secret", "revoke", "robot", "1"]).await.ok();
    until_status(&stack, "robot", &first, 401).await;
    assert_eq!(ask_with_secret(&stack, "robot", &second).await, 200);
    let said = run(&["client", "secret", "revoke", "robot", "2"]).await.failed();
    assert!(said.contains("only secret"), "{said}");
    let said = run(&["client", "secret", "revoke", "robot", "7"]).await.failed();
    assert!(said.contains("no live secret 7"), "{said}");

    let said = run(&["client", "secret", "rotate", "robot", "--keep-old", "0"]).await.ok();
    let third = printed(&said, "client_secret").to_owned();
    until_status(&stack, "robot", &third, 200).await;
    assert_eq!(ask_with_secret(&stack, "robot", &second).await, 401);

    let document: Value = serde_json::from_str(&run(&["client", "show", "robot"]).await.ok()).expect("JSON");
    assert_eq!(document.get("client_secret"), None);
    assert_eq!(stack.apply(&[document]).await.ok(), "unchanged robot\n");
    assert_eq!(ask_with_secret(&stack, "robot", &third).await, 200);
    let said = run(&["client", "secret", "list", "alice"]).await.failed();
    assert!(said.contains("has no secret"), "{said}");
    let event = stack.wait_for_event("server-audit.jsonl", "client_secret_revoked").await;
    assert_eq!((&event["client_id"], &event["secret"]), (&json!("robot"), &json!(1)));
    let event = stack.wait_for_event("server-audit.jsonl", "client_secret_added").await;
    assert!(event["others_until"].as_i64() >= event["time"].as_i64().map(|time| time + 3_600));
}

#[tokio::test]
async fn a_secret_is_changed_without_an_outage_on_sqlite() {
    a_secret_is_changed_without_an_outage(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_secret_is_changed_without_an_outage_on_postgres() {
    a_secret_is_changed_without_an_outage(Engine::Postgres).await;
}

/// `client apply`: a dry run prints what would differ, member by member, and changes nothing; applied twice, the second finds nothing.
#[tokio::test]
async fn a_dry_run_prints_the_difference() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let mut alice = stack.person("alice");
    alice["scope"] = json!("read");
    alice["client_name"] = json!("Alice");
    let mut bob = stack.person("bob");
    bob["resources"] = json!([stack.reports]);
    std::fs::write(stack.path("some.json"), json!([alice, stack.person("mallory"), bob]).to_string()).expect("written");
    let apply = async |more: &[&str]| symbolon(stack.dir.path(), &[&["client", "apply", "some.json"], more].concat()).await.ok();
    let expected = "would be changed alice\n  client_name: nothing -> \"Alice\"\n  scope: \"read write\" -> \"read\"\n\
                    would be unchanged mallory\nwould be added bob\n";
    assert_eq!(apply(&["--dry-run"]).await, expected);
    assert_eq!(apply(&["--dry-run"]).await, expected, "nothing was changed");
    assert_eq!(apply(&[]).await, "changed alice\nunchanged mallory\nadded bob\n");
    assert_eq!(apply(&[]).await, "unchanged alice\nunchanged mallory\nunchanged bob\n");
}

/// RFC 8705 §2.2.2, §6.3, §7.1: a client with self-signed certificates has the old one and the new one registered for a while. Its
/// refresh token survives the change, and each access token is bound to the certificate that was shown for it. Certificates that end
/// soon are told in the audit trail and in a metric.
#[tokio::test]
async fn certificates_overlap_and_refresh_tokens_survive_them() {
    let (old, new, stranger) = (
        Leaf { not_after: 3_600, ..Leaf::client("alice") }.self_signed(),
        Leaf { not_after: 365 * 86_400, ..Leaf::client("alice") }.self_signed(),
        Leaf::client("alice").self_signed(),
    );
    let registered = |keys: Value| {
        App::metadata(
            "alice",
            json!({
                "token_endpoint_auth_method": "self_signed_tls_client_auth", "tls_client_auth_subject_dn": null, "jwks": { "keys": keys },
            }),
        )
    };
    let clients = vec![registered(json!([old.jwk(), new.jwk()]))];
    let metrics = crate::harness::ports::free();
    let server = super::operations::metrics_listener(metrics);
    let stack = Setup { without_gateway: true, clients, server, ..Setup::default() }.start().await;
    crate::harness::app::add_bob(&stack).await;
    let with = |identity: &crate::harness::Identity| App { identity: identity.clone(), ..App::alice(&stack) };
    let mut browser = crate::harness::browser::Browser::new(&stack);
    let tokens = with(&old).tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    for identity in [&old, &new] {
        let answer = with(identity).refresh(&stack, refresh_token).await;
        let access_token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        assert_eq!(token::claims(&access_token)["cnf"]["x5t#S256"], identity.thumbprint());
    }
    let answer = with(&stranger).refresh(&stack, refresh_token).await;
    let verdict = (401, "invalid_client".to_owned(), "certificate_not_registered".to_owned());
    assert_eq!(stack.verdict(&answer).await, verdict);

    let event = stack.wait_for_event("server-audit.jsonl", "client_certificate_ending").await;
    let thumbprint: Vec<u8> = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(old.thumbprint()).expect("base64url")
    };
    let hexadecimal: String = thumbprint.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!([&old.thumbprint(), &hexadecimal].iter().any(|text| event["certificate"] == json!(text)), "{event}");
    assert_eq!((&event["client_id"], &event["later"]), (&json!("alice"), &json!(1)));
    let told = stack.events("server-audit.jsonl").iter().filter(|event| event["event"] == "client_certificate_ending").count();
    assert_eq!(told, 1, "the new one has long to live");
    let (_, counted) = super::operations::plain(metrics, "/metrics").await;
    for line in
        ["symbolon_client_certificates_ending{state=\"soon\"} 1", "symbolon_client_certificates_ending{state=\"ended\"} 0"]
    {
        assert!(counted.lines().any(|told| told == line), "{line}:\n{counted}");
    }

    // The old one is taken away: what was registered is all that counts.
    let only_new = serde_json::from_str(&stack.fill(&registered(json!([new.jwk()])).to_string())).expect("JSON");
    stack.apply(&[only_new]).await.ok();
    let started = Instant::now();
    while with(&old).refresh(&stack, refresh_token).await.status != 401 {
        assert!(started.elapsed() < PATIENCE, "the old certificate is still taken");
    }
    assert_eq!(with(&new).refresh(&stack, refresh_token).await.status, 200);
}

/// A certificate of an authority is registered nowhere: that it ends soon is told when it is shown, once, and no longer when the client has
/// shown another that ends later.
#[tokio::test]
async fn certificates_of_an_authority_are_told_before_they_end() {
    let metrics = crate::harness::ports::free();
    let server = super::operations::metrics_listener(metrics);
    let stack = Setup { without_gateway: true, server, ..Setup::default() }.start().await;
    let until_counted = async |soon: u32| {
        let started = Instant::now();
        let line = format!("symbolon_client_certificates_ending{{state=\"soon\"}} {soon}");
        loop {
            let (_, counted) = super::operations::plain(metrics, "/metrics").await;
            if counted.lines().any(|told| told == line) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{line}:\n{counted}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    until_counted(0).await;
    let old = stack.client_ca.issue(Leaf { not_after: 3_600, ..Leaf::client("alice") });
    let new = stack.client_ca.issue(Leaf::client("alice"));
    for _ in 0..2 {
        assert_eq!(stack.ask(&old, &[]).await.status, 200);
    }
    until_counted(1).await;
    let event = stack.wait_for_event("server-audit.jsonl", "client_certificate_ending").await;
    assert_eq!((&event["client_id"], &event["certificate"]), (&json!("alice"), &json!(old.thumbprint())));
    assert_eq!(stack.ask(&new, &[]).await.status, 200);
    // Whoever still has the old one is told of again, so the next look is provoked by somebody else.
    let carol = stack.client_ca.issue(Leaf { not_after: 3_600, ..Leaf::client("carol") });
    stack.apply(&[stack.person("carol")]).await.ok();
    let started = Instant::now();
    let form = [("grant_type", "client_credentials"), ("client_id", "carol"), ("resource", &*stack.accounts)];
    while stack.caller(&carol).send(&stack.mtls_authority, &Call::form("/token", &form)).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "carol is not known");
    }
    let told = || {
        let events = stack.events("server-audit.jsonl").into_iter();
        events.filter(|event| event["event"] == "client_certificate_ending").collect::<Vec<Value>>()
    };
    while told().last().is_none_or(|event| event["client_id"] != "carol") {
        assert!(started.elapsed() < PATIENCE, "{:?}", told());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(told().len(), 2, "{:?}", told());
    until_counted(1).await;
}
