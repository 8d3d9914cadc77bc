//! `jwks_uri` turned against the inside: what a registration names is fetched from where the operator allows, and nowhere else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::assertion::{Signer, with};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Call, Leaf, Publisher, Setup, Stack};

/// Trusts the servers' authority, and may connect to this machine.
const OUTBOUND: &str = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n\
                        total_seconds = 1\nbody_bytes = 20000\n";

fn robot(client_id: &str, method: &str, uri: &str) -> Value {
    json!({
        "client_id": client_id, "token_endpoint_auth_method": method, "jwks_uri": uri, "resources": ["{accounts}"],
        "tls_client_certificate_bound_access_tokens": false,
    })
}

async fn start(outbound: &str) -> Stack {
    Setup { without_gateway: true, server: outbound.into(), ..Setup::default() }.start().await
}

async fn ask(stack: &Stack, client_id: &str, key: &Signer) -> Answer {
    let assertion = key.assertion(client_id, &format!("https://{}", stack.issuer_authority));
    let call = Call::form("/token", &with(&assertion, &[("grant_type", "client_credentials")]));
    stack.nobody().send(&stack.issuer_authority, &call).await
}

async fn register(stack: &Stack, clients: &[Value]) {
    let clients: Vec<Value> =
        clients.iter().map(|client| serde_json::from_str(&stack.fill(&client.to_string())).expect("JSON")).collect();
    stack.register(&clients).await;
}

fn refusal(reason: &str) -> (u16, String, String) {
    (401, "invalid_client".to_owned(), reason.to_owned())
}

/// Keys are fetched when first needed, kept, fetched again on a miss and not for known keys; a key that is gone is refused once the new
/// document is known; when the server goes away, known keys serve on.
#[tokio::test]
async fn published_keys_are_fetched_once_and_again_on_a_miss() {
    let stack = start(OUTBOUND).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let (first, second) = (Signer::key("ES256", "1"), Signer::key("ES256", "2"));
    publisher.publish(&first.jwks());
    register(&stack, &[robot("robot", "private_key_jwt", &publisher.url("/jwks?v=1"))]).await;
    for _ in 0..5 {
        let answer = ask(&stack, "robot", &first).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(publisher.requests(), ["GET /jwks?v=1 HTTP/1.1"], "known keys cost nothing");
    // A miss within the pause is a refusal, and costs the publisher nothing either.
    let answer = ask(&stack, "robot", &second).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_key_unknown"));
    assert_eq!(publisher.requests().len(), 1);
    publisher.publish(&json!({ "keys": [second.public()] }));
    let started = Instant::now();
    while ask(&stack, "robot", &second).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "the new key is not taken in");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(publisher.requests().len(), 2);
    let answer = ask(&stack, "robot", &first).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_key_unknown"));
    publisher.answer_with("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(ask(&stack, "robot", &second).await.status, 200);
}

/// Certificates published with `x5c`, several alive at once (RFC 8705 §2.2.2): a renewed certificate needs no registration.
#[tokio::test]
async fn published_certificates_authenticate() {
    let stack = start(OUTBOUND).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let [old, new, other] = ["old", "new", "other"].map(|name| Leaf::client(name).self_signed());
    publisher.publish(&json!({ "keys": [old.jwk(), new.jwk()] }));
    register(&stack, &[robot("robot", "self_signed_tls_client_auth", &publisher.url("/"))]).await;
    let form = [("grant_type", "client_credentials"), ("client_id", "robot")];
    for identity in [&old, &new] {
        let answer = stack.post(identity, "/token", &form).await;
        assert_eq!(answer.status, 200, "{}: {}", identity.name, answer.text());
    }
    let answer = stack.post(&other, "/token", &form).await;
    assert_eq!(stack.verdict(&answer).await, refusal("certificate_not_registered"));
    assert_eq!(publisher.requests().len(), 1);
}

/// A loopback address by name and by number, in every spelling; what is not public is not even connected to.
#[tokio::test]
async fn hosts_inside_are_never_connected_to() {
    let stack = start("[outbound]\nca_files = [\"server-ca.pem\"]\n").await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let key = Signer::key("ES256", "1");
    publisher.publish(&key.jwks());
    let port = publisher.port;
    let hosts =
        ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "169.254.169.254"];
    let clients: Vec<Value> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| robot(&format!("robot-{index}"), "private_key_jwt", &format!("https://{host}:{port}/")))
        .collect();
    register(&stack, &clients).await;
    for (index, host) in hosts.iter().enumerate() {
        let started = Instant::now();
        let answer = ask(&stack, &format!("robot-{index}"), &key).await;
        assert_eq!(stack.verdict(&answer).await, refusal("client_keys_unavailable"), "{host}");
        assert!(started.elapsed() < Duration::from_millis(900), "{host}: nobody waited for it");
        // The caller learns nothing of the inside.
        assert!(!answer.text().contains("127.") && !answer.text().contains("address"), "{}", answer.text());
    }
    assert_eq!(publisher.connections(), 0);
    // The same where the operator opens the range.
    let open = start(OUTBOUND).await;
    let publisher = Publisher::start(&open.server_ca).await;
    publisher.publish(&key.jwks());
    register(&open, &[robot("robot", "private_key_jwt", &publisher.url("/"))]).await;
    assert_eq!(ask(&open, "robot", &key).await.status, 200);
    // And where the host is on the list, or not.
    let listed = start(&format!("{OUTBOUND}allow_hosts = [\"keys.example\"]\n")).await;
    let publisher = Publisher::start(&listed.server_ca).await;
    register(&listed, &[robot("robot", "private_key_jwt", &publisher.url("/"))]).await;
    let answer = ask(&listed, "robot", &key).await;
    assert_eq!(listed.verdict(&answer).await, refusal("client_keys_unavailable"));
    assert_eq!(publisher.connections(), 0);
}

/// A redirect is not followed; an endless answer, a slow one, a huge one, one that is no JWK Set and a server whose certificate nobody
/// vouches for give no keys. Nothing of it holds the server up.
#[tokio::test]
async fn a_hostile_publisher_gives_no_keys() {
    let stack = start(OUTBOUND).await;
    let inside = Publisher::start(&stack.server_ca).await;
    let key = Signer::key("ES256", "1");
    inside.publish(&key.jwks());
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", inside.url("/"));
    let json = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let huge = json(&format!("{{\"x\":\"{}\",\"keys\":[{}]}}", "x".repeat(30_000), key.public()));
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{}", "x".repeat(1_000));
    let private = json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }).to_string();
    let twice = format!("{{\"keys\":[],\"keys\":[{}]}}", key.public());
    let answers = [
        ("redirect", redirect),
        ("huge", huge),
        ("endless", endless),
        ("private", json(&private)),
        ("twice", json(&twice)),
        ("empty", json("{\"keys\":[]}")),
        ("html", json("<html>")),
        ("teapot", "HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("slow", json(&key.jwks().to_string())),
    ];
    let mut publishers = Vec::new();
    let mut clients = Vec::new();
    for (name, answer) in &answers {
        let publisher = Publisher::start(&stack.server_ca).await;
        publisher.answer_with(answer.as_bytes());
        if *name == "slow" {
            publisher.delay(Duration::from_secs(10));
        }
        clients.push(robot(name, "private_key_jwt", &publisher.url("/")));
        publishers.push(publisher);
    }
    let stranger = Publisher::start(&stack.client_ca).await;
    stranger.publish(&key.jwks());
    clients.push(robot("stranger", "private_key_jwt", &stranger.url("/")));
    register(&stack, &clients).await;
    for client in &clients {
        let name = client["client_id"].as_str().expect("a name");
        let started = Instant::now();
        let answer = ask(&stack, name, &key).await;
        assert_eq!(stack.verdict(&answer).await, refusal("client_keys_unavailable"), "{name}");
        assert!(started.elapsed() < Duration::from_secs(4), "{name} took {:?}", started.elapsed());
    }
    assert_eq!(inside.connections(), 0, "the redirect was not followed");
    assert!(stranger.requests().is_empty());
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "others are served");
    // The publisher mends its ways: the keys are fetched after a pause.
    publishers[0].publish(&key.jwks());
    let started = Instant::now();
    while ask(&stack, "redirect", &key).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "no second look is taken");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Many at once for keys that nobody knows yet: one fetch.
#[tokio::test]
async fn many_at_once_cause_one_fetch() {
    let stack = start(OUTBOUND).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let key = Signer::key("ES256", "1");
    publisher.publish(&key.jwks());
    publisher.delay(Duration::from_millis(300));
    register(&stack, &[robot("robot", "private_key_jwt", &publisher.url("/"))]).await;
    let answers = futures_util::future::join_all((0..20).map(|_| ask(&stack, "robot", &key))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(publisher.requests().len(), 1);
}

/// Nothing is fetched until the operator says whom to trust, and a registration that needs it says so.
#[tokio::test]
async fn nothing_is_fetched_by_default() {
    let stack = start("").await;
    let client = robot("robot", "private_key_jwt", "https://keys.example/jwks").to_string();
    let said = stack.apply(&[serde_json::from_str(&stack.fill(&client)).expect("JSON")]).await;
    assert!(said.failed().contains("name whom to trust in [outbound]"));
}

/// A `request_uri` (RFC 9101 §10.4.1) that was registered, and leads inside: whoever opens a link makes the server fetch nothing there.
#[tokio::test]
async fn a_registered_request_uri_leads_nowhere_inside() {
    let publisher_of = Setup { without_gateway: true, ..Setup::default() };
    let stack = Setup { server: "[outbound]\nca_files = [\"server-ca.pem\"]\n".into(), ..publisher_of }.start().await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let port = publisher.port;
    let uris: Vec<String> = ["localhost", "127.0.0.1", "2130706433", "[::1]", "169.254.169.254"]
        .iter()
        .map(|host| format!("https://{host}:{port}/r"))
        .collect();
    let changes = json!({ "profile": "openid", "request_uris": uris });
    let metadata = serde_json::from_str(&stack.fill(&App::metadata("lurer", changes).to_string())).expect("JSON");
    stack.register(&[metadata]).await;
    let mut browser = Browser::new(&stack);
    for uri in &uris {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", "lurer"), ("response_type", "code"), ("request_uri", uri)])
            .finish();
        let answer = browser.get(&format!("/authorize?{query}")).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{uri}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "request_uri_unavailable", "{uri}");
    }
    assert_eq!(publisher.connections(), 0);
}
