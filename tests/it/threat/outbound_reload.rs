//! The gateway's own certificates, and whom it believes, changed while it runs: nothing is sent on with what was taken away.

use std::time::{Duration, Instant};

use super::passed;
use crate::flow::upstream_identity::upstream;
use crate::harness::app::PASSWORD;
use crate::harness::authority::write_private;
use crate::harness::browser::Browser;
use crate::harness::provider::Federated;
use crate::harness::{Authority, Call, Engine, Http, Leaf, Setup, Stack, command::symbolon};

const RELOAD: [&str; 3] = ["reload", "--config", "gateway.toml"];
const UNTOLD: &str = "\n[reload]\nwatch_files = false\n";

fn route(port: u16) -> String {
    format!(
        r#"
[[route]]
name = "inner"
host = "{{gateway_authority}}"
path = "/inner"
upstream = "https://127.0.0.1:{port}"
upstream_ca_file = "inner-ca.pem"
upstream_certificate_file = "edge.pem"
upstream_key_file = "edge-key.pem"
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
"#
    )
}

/// 1. A renewed certificate is shown by the next request, on a connection of its own: not one goes through one from before.
/// 2. A key that is garbled, a certificate without its key, an authority that is missing: everything stays as it was, also what else was changed at
///    the same time, and the file is named by the command, the log and the audit trail.
/// 3. An authority that is taken away is believed no more: no request reaches the upstream, on a warm connection neither.
#[tokio::test]
async fn nothing_goes_on_with_an_identity_that_was_replaced() {
    let mut stack = Setup { without_gateway: true, gateway: UNTOLD.into(), ..Setup::default() }.start().await;
    let inner = Authority::new("Inner CA");
    let backend = inner.issue(Leaf::server(&["localhost"]));
    let (port, seen) = upstream(&stack, &backend).await;
    let edge = |stack: &Stack, name: &str| {
        let issued = stack.client_ca.issue(Leaf::client(name));
        std::fs::write(stack.path("edge.pem"), &issued.certificate_pem).expect("written");
        write_private(&stack.path("edge-key.pem"), &issued.key_pem);
    };
    edge(&stack, "first");
    std::fs::write(stack.path("inner-ca.pem"), &inner.pem).expect("written");
    let config = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    std::fs::write(stack.gateway_config(), format!("{config}{}", stack.fill(&route(port)))).expect("written");
    stack.start_gateway().await;
    let token = stack.token(&stack.alice).await;
    let caller = stack.caller(&stack.alice).http(Http::V2).prepared();
    let mut connection = caller.connect(&stack.gateway_authority).await.expect("a connection");
    let call = Call::get("/inner").bearer(&token);
    let mut expected = Vec::new();
    let taken = || std::mem::take(&mut *seen.lock().expect("unpoisoned"));
    let reload = async || symbolon(stack.dir.path(), &RELOAD).await;

    for name in ["first", "second", "third"] {
        edge(&stack, name);
        reload().await.ok();
        for _ in 0..3 {
            assert_eq!(connection.send(&call).await.status, 200, "{name}");
            expected.push(format!("/inner CN={name} -"));
        }
        // Files that say the same again leave connections alone.
        reload().await.ok();
        assert_eq!(taken(), std::mem::take(&mut expected), "{name}");
    }

    // Half of a pair, and what is no key, no certificate, or nothing. Beside it another authority is named for clients.
    let good = ["edge.pem", "edge-key.pem", "inner-ca.pem", "client-ca.pem"].map(|name| {
        let path = stack.path(name);
        (name, std::fs::read(&path).expect(name), path)
    });
    let other = stack.client_ca.issue(Leaf::client("other"));
    let table: [(&str, &str, Option<&[u8]>); 6] = [
        ("a garbled key", "edge-key.pem", Some(b"garbled")),
        ("an empty key", "edge-key.pem", Some(b"")),
        ("another's certificate", "edge.pem", Some(other.certificate_pem.as_bytes())),
        ("no certificate", "edge.pem", None),
        ("a garbled authority", "inner-ca.pem", Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        ("no authority", "inner-ca.pem", None),
    ];
    for (number, (what, name, bytes)) in table.into_iter().enumerate() {
        std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
        match bytes {
            Some(bytes) => std::fs::write(stack.path(name), bytes).expect("written"),
            None => std::fs::remove_file(stack.path(name)).expect("removed"),
        }
        let said = reload().await.failed();
        assert!(said.contains(name) && said.contains("`route.inner`"), "{what}: {said}");
        let started = Instant::now();
        let failed = loop {
            let events = stack.events("gateway-audit.jsonl").into_iter();
            let failed: Vec<_> = events.filter(|event| event["event"] == "reload_failed").collect();
            if failed.len() > number {
                break failed;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{what}: no alarm");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(failed[number]["problem"].as_str().is_some_and(|problem| problem.contains(name)), "{what}: {}", failed[number]);
        assert!(stack.gateway.as_ref().expect("it runs").log().contains("reload failed"), "{what}");
        // Also the authority of clients is the one from before, on a new connection as on the old one.
        for connection in [&mut connection, &mut caller.connect(&stack.gateway_authority).await.expect("a connection")] {
            assert_eq!(connection.send(&call).await.status, 200, "{what}");
        }
        assert_eq!(taken(), ["/inner CN=third -", "/inner CN=third -"], "{what}");
        for (_, bytes, path) in &good {
            std::fs::write(path, bytes).expect("written");
        }
    }

    // The name is the same, the key another.
    std::fs::write(stack.path("inner-ca.pem"), Authority::new("Inner CA").pem).expect("written");
    reload().await.ok();
    refused_upstream(&stack, &connection.send(&call).await).await;
    assert_eq!(taken(), Vec::<String>::new(), "not one request to whom nobody vouches for");
    std::fs::write(stack.path("inner-ca.pem"), &inner.pem).expect("written");
    reload().await.ok();
    assert_eq!(connection.send(&call).await.status, 200, "the one thing corrected");
    assert_eq!(taken(), ["/inner CN=third -"]);
}

async fn refused_upstream(stack: &Stack, answer: &crate::harness::Answer) {
    assert_eq!(stack.verdict(answer).await, (502, "upstream_error".into(), "upstream_unavailable".into()));
}

/// The gateway is a client of the authorization server by its certificate. The one that was replaced is revoked there, and whoever still asked by it
/// would be refused: introspection goes on with the new one, and nothing of it is noticed without a reload either, since files are looked at.
#[tokio::test]
async fn the_authorization_server_sees_the_new_certificate() {
    let stack = Stack::start().await;
    let token = stack.opaque_token(&stack.alice).await;
    let call = Call::get("/reports").bearer(&token);
    passed(&stack, &stack.at_reports(&stack.alice, &token).await, "before");
    let old = stack.gateway_identity.clone();
    crate::harness::Identity { name: "old".into(), ..old.clone() }.write(stack.dir.path());
    stack.client_ca.issue(Leaf::client("gateway")).write(stack.dir.path());
    // Nobody says so: the files are looked at.
    stack.wait_for_event("gateway-audit.jsonl", "reloaded").await;
    symbolon(stack.dir.path(), &["cert", "revoke", "old.pem"]).await.ok();
    let introspect =
        async || stack.post(&old, "/introspect", &[("token", token.as_str()), ("client_id", "gateway")]).await.status;
    let started = Instant::now();
    while introspect().await == 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the old one still counts");
    }
    for _ in 0..3 {
        passed(&stack, &stack.at_reports(&stack.alice, &token).await, "as the new one");
    }
    // And without the reload: the certificate that is revoked, put back.
    crate::harness::Identity { name: "gateway".into(), ..old }.write(stack.dir.path());
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    stack.upstream.forget();
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    stack.upstream.assert_untouched();
    stack.client_ca.issue(Leaf::client("gateway")).write(stack.dir.path());
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    passed(&stack, &stack.at_reports(&stack.alice, &token).await, "the one thing corrected");
}

/// A provider where people sign in is believed by the authority that is named now: with another of the same name no code is taken there.
#[tokio::test]
async fn a_provider_is_believed_by_the_authority_that_is_named_now() {
    let more = "\n[reload]\nwatch_files = false\n";
    let federated = Federated::start(Engine::Sqlite, &[], more).await.expect("SQLite");
    let stack = &federated.stack;
    let mut bob = Browser::new(stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(federated.link(&mut bob, "corp", "b-17").await.header("location"), Some("/account?done=linked"));
    let good = std::fs::read(stack.path("provider-ca.pem")).expect("the authority");
    let put = async |text: &[u8]| {
        std::fs::write(stack.path("provider-ca.pem"), text).expect("written");
        symbolon(stack.dir.path(), &["reload", "--config", "symbolon.toml"]).await
    };
    assert!(put(b"garbled").await.failed().contains("provider-ca.pem"));
    let mut browser = Browser::new(stack);
    assert_eq!(federated.sign_in(&mut browser.clone(), "/sign-in", "corp", "b-17").await.status, 303, "as before");
    put(Authority::new("Provider CA").pem.as_bytes()).await.ok();
    let before = federated.corp.publisher.requests().len();
    let answer = federated.sign_in(&mut browser, "/sign-in", "corp", "b-17").await;
    assert_eq!(federated.verdict(&answer).await, (503, "provider_unavailable".into()), "{}", answer.text());
    assert!(!browser.is_signed_in().await);
    assert_eq!(federated.corp.publisher.requests().len(), before, "nobody else is told the code or the secret");
    put(&good).await.ok();
    let mut browser = Browser::new(stack);
    assert_eq!(federated.sign_in(&mut browser, "/sign-in", "corp", "b-17").await.status, 303, "the one thing corrected");
    assert!(browser.is_signed_in().await);
}
