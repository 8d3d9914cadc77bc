//! Authorities of the store: added and removed on the command line, in force on every server of the deployment, on open connections too.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::replicas::within_a_second;
use crate::harness::client::Connection;
use crate::harness::{Authority, Call, Engine, Http, Identity, Leaf, Setup, Stack, command::symbolon};

fn setup(engine: Engine) -> Setup {
    Setup {
        engine,
        server_changes: vec![("files = [\"client-ca.pem\"]".into(), "files = [\"client-ca.pem\"]\nstored = true".into())],
        without_gateway: true,
        ..Setup::default()
    }
}

fn token_request() -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")])
}

async fn anchor(stack: &Stack, arguments: &[&str]) -> crate::harness::command::Said {
    symbolon(stack.dir.path(), &[&["anchor"], arguments].concat()).await
}

/// An authority in `NAME.pem`, and a certificate of it for `alice`.
fn partner(stack: &Stack, file: &str) -> (Authority, Identity) {
    let authority = Authority::new("Partner CA");
    std::fs::write(stack.path(file), &authority.pem).expect("written");
    let identity = authority.issue(Leaf::client("alice"));
    (authority, identity)
}

/// Waits until each connection gets this status; gives how long the last one took, and its request.
async fn all_get(connections: &mut [Connection], status: u16) -> (Duration, Vec<String>) {
    let (started, mut requests) = (Instant::now(), Vec::new());
    for connection in connections {
        loop {
            let answer = connection.send(&token_request()).await;
            if answer.status == status {
                requests.push(answer.request_id());
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "still {}: {}", answer.status, answer.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    (started.elapsed(), requests)
}

/// The private reason of a request at either server.
async fn reason(stack: &Stack, request: &str) -> String {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let events = [stack.events("server-audit.jsonl"), stack.events("replica-audit.jsonl")].concat();
        if let Some(event) = events.into_iter().find(|event| event["request_id"] == request) {
            return event["reason"].as_str().unwrap_or_default().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("request {request} is in no audit trail");
}

/// The first event of this name in the trail of either server: each is copied by one of them.
async fn told(stack: &Stack, name: &str) -> serde_json::Value {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        let events = [stack.events("server-audit.jsonl"), stack.events("replica-audit.jsonl")].concat();
        if let Some(event) = events.into_iter().find(|event| event["event"] == name) {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {name} in either audit trail");
}

/// Notes whose certificates a server asks for.
#[derive(Debug, Default)]
struct Hints(Mutex<Vec<Vec<u8>>>);

impl rustls::client::ResolvesClientCert for Hints {
    fn resolve(&self, subjects: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().expect("held by nobody") = subjects.iter().map(|subject| subject.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Whether the handshake hints at the authority of this common name.
async fn is_hinted(stack: &Stack, authority: &str, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(stack.server_ca.certificate.clone()).expect("an authority");
    let hints = Arc::new(Hints::default());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(hints.clone());
    let stream = tokio::net::TcpStream::connect(authority).await.expect("a connection");
    let server = ServerName::try_from("127.0.0.1").expect("a name");
    let _stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(server, stream).await.expect("a handshake");
    let subjects = hints.0.lock().expect("held by nobody");
    subjects.iter().any(|subject| subject.windows(name.len()).any(|window| window == name.as_bytes()))
}

async fn until_hinted(stack: &Stack, authority: &str, expected: bool) {
    let started = Instant::now();
    while is_hinted(stack, authority, "Partner CA").await != expected {
        assert!(started.elapsed() < Duration::from_secs(10), "hints at {authority}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// 1. Nobody knows the partner's authority, at either server.
/// 2. It is added: within a second both accept what it issues, on connections that were open, of both versions of HTTP; new handshakes hint
///    at it, and no TLS session from before is resumed.
/// 3. It is removed: within a second the next request on the same connections is refused, at both. Others notice nothing.
/// 4. Added again, the same connections serve again.
async fn every_server_follows(engine: Engine) {
    let Some(stack) = setup(engine).try_start().await else { return };
    let (_replica, [_, other]) = stack.start_replica().await;
    let (authority, identity) = partner(&stack, "partner.pem");
    let (mut connections, mut others) = (Vec::new(), Vec::new());
    let prepared = stack.caller(&identity).prepared();
    for place in [&stack.mtls_authority, &other] {
        assert!(!is_hinted(&stack, place, "Partner CA").await && is_hinted(&stack, place, "Client CA").await);
        for http in [Http::V1, Http::V2] {
            connections.push(stack.caller(&identity).http(http).connect(place).await.expect("a connection"));
            others.push(stack.caller(&stack.alice).http(http).connect(place).await.expect("a connection"));
        }
    }
    let (_, requests) = all_get(&mut connections, 401).await;
    for request in requests {
        assert_eq!(reason(&stack, &request).await, "certificate_unknown_issuer");
    }
    let mut resuming = prepared.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(resuming.send(&token_request()).await.status, 401);

    let said = anchor(&stack, &["add", "--set", "clients", "partner.pem", "--label", "until May"]).await.ok();
    assert!(said.starts_with("added ") && said.ends_with(" `CN=Partner CA`\n"), "{said}");
    let key = said.split(' ').nth(1).expect("a key").to_owned();
    let (took, _) = all_get(&mut connections, 200).await;
    let mut times = vec![took];
    for place in [&stack.mtls_authority, &other] {
        until_hinted(&stack, place, true).await;
    }
    let mut again = prepared.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!((again.send(&token_request()).await.status, again.resumed), (200, false), "the set is another one");
    assert!(anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await.ok().starts_with(&format!("already there: {key}")));
    let listed = anchor(&stack, &["list", "--set", "clients"]).await.ok();
    for expected in ["[anchor_set.clients]\n", "CN=Partner CA", &key, "until May", "not after"] {
        assert!(listed.contains(expected), "{expected} is not in\n{listed}");
    }
    identity.write(stack.dir.path());
    let explained = symbolon(stack.dir.path(), &["explain", "cert", "alice.pem"]).await.ok();
    assert!(explained.contains(&format!("accepted by `CN=Partner CA` (SPKI SHA-256 {key}, from the store)")), "{explained}");

    // By the thumbprint of its certificate, as `openssl x509 -fingerprint -sha256` prints it.
    let thumbprint = {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&authority.certificate);
        digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    };
    let said = anchor(&stack, &["remove", "--set", "clients", &thumbprint]).await.ok();
    assert!(said.starts_with(&format!("removed {key}\n")) && said.contains("has none left in the store"), "{said}");
    let (took, requests) = all_get(&mut connections, 401).await;
    times.push(took);
    for request in requests {
        assert_eq!(reason(&stack, &request).await, "certificate_unknown_issuer");
    }
    for place in [&stack.mtls_authority, &other] {
        until_hinted(&stack, place, false).await;
    }
    assert!(anchor(&stack, &["remove", "--set", "clients", &key]).await.failed().contains("see `symbolon anchor list`"));
    all_get(&mut others, 200).await;
    for name in ["anchor_added", "anchor_removed"] {
        let event = told(&stack, name).await;
        assert_eq!((event["anchor_set"].as_str(), &event["by"]), (Some("clients"), &serde_json::Value::Null), "{event}");
    }

    anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await.ok();
    times.push(all_get(&mut connections, 200).await.0);
    within_a_second(&format!("{engine:?}"), [("authorities", times)]);
    let checked = symbolon(stack.dir.path(), &["db", "check", "--config", "symbolon.toml"]).await.ok();
    assert!(checked.starts_with("sound; "), "{checked}");
}

#[tokio::test]
async fn every_server_follows_on_sqlite() {
    every_server_follows(Engine::Sqlite).await;
}

#[tokio::test]
async fn every_server_follows_on_postgres() {
    every_server_follows(Engine::Postgres).await;
}

/// An authority that is removed is gone although files cannot be read at the time; what files say is taken in once they can be.
#[tokio::test]
async fn a_removal_waits_for_no_file() {
    let stack = setup(Engine::Sqlite).start().await;
    let (_, identity) = partner(&stack, "partner.pem");
    let said = anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await.ok();
    let key = said.split(' ').nth(1).expect("a key").to_owned();
    let mut connections = [stack.caller(&identity).connect(&stack.mtls_authority).await.expect("a connection")];
    all_get(&mut connections, 200).await;
    for name in ["client-ca.pem", "server.pem"] {
        let good = std::fs::read(stack.path(name)).expect(name);
        std::fs::write(stack.path(name), "garbled").expect("written");
        anchor(&stack, &["remove", "--set", "clients", &key]).await.ok();
        let (took, _) = all_get(&mut connections, 401).await;
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
        assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "{name}: what was read before stays");
        std::fs::write(stack.path(name), good).expect("written");
        anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await.ok();
        all_get(&mut connections, 200).await;
    }
}

/// A set without files accepts nobody until the store has an authority for it, and what the store has is there after a restart. A reload of
/// files leaves it as it is.
#[tokio::test]
async fn a_set_may_have_no_files() {
    let changes = vec![("files = [\"client-ca.pem\"]".into(), "stored = true".into())];
    let mut stack = Setup { server_changes: changes, ..setup(Engine::Sqlite) }.start().await;
    let refused = stack.ask(&stack.alice, &[]).await;
    assert_eq!(stack.verdict(&refused).await, (401, "invalid_client".into(), "certificate_no_anchors".into()));
    anchor(&stack, &["add", "--set", "clients", "client-ca.pem"]).await.ok();
    let mut connections = [stack.caller(&stack.alice).connect(&stack.mtls_authority).await.expect("a connection")];
    all_get(&mut connections, 200).await;
    symbolon(stack.dir.path(), &["reload", "--config", "symbolon.toml"]).await.ok();
    all_get(&mut connections, 200).await;
    stack.server.take().expect("running").kill().await;
    stack.start_server().await;
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200);
    assert!(is_hinted(&stack, &stack.mtls_authority, "Client CA").await);
}

/// What is no authority's certificate, what nobody has asked for, and common slips are refused by name, with the remedy.
#[tokio::test]
async fn slips_are_named() {
    let setup = Setup { server: "\n[anchor_set.closed]\nfiles = [\"client-ca.pem\"]\n".into(), ..setup(Engine::Sqlite) };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let (authority, identity) = partner(&stack, "partner.pem");
    let table: [(&[&str], &str); 8] = [
        (&["add", "--set", "client", "partner.pem"], "there is no [anchor_set.client]: there are `clients`, `closed`"),
        (
            &["add", "--set", "closed", "partner.pem"],
            "[anchor_set.closed] takes no authorities from the store: set `stored = true`",
        ),
        (&["add", "--set", "clients", "alice.pem"], "`CN=alice` is not a certification authority's certificate"),
        (&["add", "--set", "clients", "seal.key"], "has no certificate"),
        (&["add", "--set", "clients", "absent.pem"], "absent.pem: cannot be read"),
        (&["remove", "--set", "clients", "da39a3ee5e6b4b0d3255bfef95601890afd80709"], "SHA-1"),
        (&["remove", "--set", "clients", "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0="], "no padding"),
        (&["remove", "--set", "clients", "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"], "see `symbolon anchor list`"),
    ];
    for (arguments, expected) in table {
        let said = anchor(&stack, arguments).await.failed();
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(anchor(&stack, &["list"]).await.ok(), "no authority is in the store\n", "nothing of all that was written");
    // One that has ended is taken as it is from files, and said to be of no use.
    let old = authority.intermediate_with("Old CA", |params| params.not_after = params.not_before + time::Duration::hours(1));
    std::fs::write(stack.path("old.pem"), &old.pem).expect("written");
    let said = anchor(&stack, &["add", "--set", "clients", "old.pem"]).await.ok();
    assert!(said.contains("warning: certificate_expired"), "{said}");
    drop(identity);

    // A gateway has no store.
    let gateway = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    let changed = gateway.replace("files = [\"client-ca.pem\"]", "files = [\"client-ca.pem\"]\nstored = true");
    std::fs::write(stack.gateway_config(), changed).expect("written");
    let check = || symbolon(stack.dir.path(), &["config", "check", "gateway.toml"]);
    let said = check().await.failed();
    assert!(said.contains("[anchor_set.clients] has `stored = true`, and a gateway has no store: name `files`"), "{said}");
    std::fs::write(stack.gateway_config(), gateway).expect("written");
    check().await.ok();
    let said = symbolon(stack.dir.path(), &["config", "check", "symbolon.toml"]).await.ok();
    assert!(said.contains("[anchor_set.clients] takes authorities from the store, which was not looked at"), "{said}");
}
