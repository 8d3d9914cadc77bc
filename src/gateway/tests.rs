//! Requests over a pipe, against an upstream that writes down every byte. The handshake is made up here; real ones are in `tests/it`.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails")]

mod stage;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::domain::Lifetime;
use crate::jose::Algorithm;
use crate::jose::jwk::JwkSet;
use crate::jose::jws::Compact;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;
use crate::jose::verify::VerifyingKeys;
use crate::trust::revocation::{RevocationRule, RuleKind};
use stage::{DAY, NOW, Stage, Trail};

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

#[tokio::test]
async fn the_holder_is_let_through_and_announced() {
    let stage = Arc::new(Stage::set().await);
    let token = stage.token();
    let request = format!(
        "POST /%61/b;v=1?q=%2F HTTP/1.1\r\nHost: GW.example\r\nAuthorization: Bearer {token}\r\nX-WHO-CALLS: root\r\nx_who_calls: root\r\n\
         Client-Cert: :AA==:\r\nX-Forwarded-For: 10.0.0.1\r\nContent-Length: 5\r\nX-Kept: 1\r\n\
         Connection: close, x-who-calls, x-forwarded-for\r\n\r\nhello"
    );
    let answer = stage.exchange(Some(&stage.alice), &request).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.ends_with("ok") && answer.contains("x-app: yes"), "{answer}");
    assert!(!answer.to_lowercase().contains("x-who-calls") && !answer.contains("x-app-hop"), "{answer}");

    let received = stage.received();
    let [request] = received.as_slice() else { panic!("one request: {received:?}") };
    let lower = request.to_lowercase();
    assert!(request.starts_with("POST /a/b;v=1?q=%2F HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello"), "{request}");
    for absent in ["authorization", "client-cert", "10.0.0.1", "root", "x_who_calls", &token] {
        assert!(!lower.contains(absent), "{absent} in {request}");
    }
    for present in
        ["x-forwarded-for: 192.0.2.7\r\n", "x-forwarded-proto: https\r\n", "x-forwarded-host: gw.example\r\n", "x-kept: 1\r\n"]
    {
        assert!(lower.contains(present), "{present} not in {request}");
    }
    assert_eq!(lower.matches("x-who-calls: ").count(), 1);

    // The upstream verifies the assertion with the published keys.
    let published =
        stage.exchange(None, &format!("GET {JWKS_PATH} HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(status(&published), "200");
    let keys = JwkSet::from_json(published.split("\r\n\r\n").nth(1).expect("a body").as_bytes()).expect("keys");
    let assertion = request.lines().find_map(|line| line.strip_prefix("x-who-calls: ")).expect("an assertion");
    let verified = VerifyingKeys::new(&keys, &[Algorithm::ES256])
        .verify(&Compact::parse(assertion).expect("a JWS"))
        .expect("signed by the gateway");
    assert_eq!(verified.typ(), Some("symbolon-assertion+jwt"));
    let claims = verified.claims();
    assert_eq!(claims["iss"], "https://gw.example");
    assert_eq!(claims["aud"], "gw.example");
    assert_eq!(
        (&claims["sub"], &claims["client_id"], &claims["scope"]),
        (&"alice".into(), &"alice".into(), &"read write".into())
    );
    assert_eq!(claims["cnf"]["x5t#S256"], stage.alice.thumbprint().to_string());
    assert_eq!(claims["iat"], NOW.seconds());
    assert_eq!(claims["exp"], NOW.seconds() + 60);

    let events = stage.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"], "access");
    assert_eq!((&events[0]["status"], &events[0]["reason"]), (&200.into(), &serde_json::Value::Null));
    assert_eq!((&events[0]["client_id"], &events[0]["path"]), (&"alice".into(), &"/a/b;v=1".into()));

    // Our own word is no token.
    assert_eq!(status(&stage.get(Some(&stage.alice), assertion).await), "401");
}

#[tokio::test]
async fn a_thief_gets_nothing_however_warm_the_caches_are() {
    let stage = Arc::new(Stage::set().await);
    let token = stage.token();
    for _ in 0..2 {
        assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "200");
    }
    assert_eq!(stage.received().len(), 2);
    let (alice_events, thief) = (stage.events().await, stage.mallory.clone());
    let answer = stage.get(Some(&thief), &token).await;
    assert_eq!(status(&answer), "401", "{answer}");
    assert!(answer.contains(r#"error="invalid_token""#), "{answer}");
    assert_eq!(status(&stage.get(None, &token).await), "401");
    let nothing = stage.exchange(Some(&thief), "GET /a HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n\r\n").await;
    assert!(nothing.contains(r#"www-authenticate: Bearer realm="https://api.example", scope="read""#), "{nothing}");
    assert_eq!(stage.received(), [] as [String; 0]);

    let events = stage.events().await;
    let reasons: Vec<_> = events.iter().map(|event| event["reason"].as_str().unwrap_or_default()).collect();
    assert_eq!(reasons, ["binding_certificate_mismatch", "binding_certificate_absent", "token_absent"]);
    // Allow and deny are told with the same fields.
    let fields = |event: &serde_json::Value| event.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&alice_events[0]), fields(&events[0]));
    assert_eq!(events[0]["certificate"], thief.thumbprint().to_string());
    assert_eq!(events[0]["token_id"], alice_events[0]["token_id"]);
}

#[tokio::test]
async fn every_claim_counts() {
    let stage = Arc::new(Stage::set().await);
    let other = SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key");
    let payload = stage.token().split('.').nth(1).expect("a payload").to_owned();
    let payload = crate::jose::base64url::decode(&payload).expect("base64url");
    // The first character of the signature: unlike the last, every one of its bits counts.
    let token = stage.token();
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{signed}.{first}{}", &signature[1..]);
    let table = [
        (stage.token_with(|token| token.issuer = "https://evil.example".parse().expect("an issuer")), "401", "token_issuer"),
        (
            stage.token_with(|token| token.audience = vec!["https://other.example".parse().expect("valid")]),
            "401",
            "token_audience",
        ),
        (stage.token_with(|token| token.scope = "write".parse().expect("a scope")), "403", "token_scope"),
        (stage.token_with(|token| token.expires = NOW.minus(Lifetime::from_seconds(5))), "401", "token_expired"),
        (stage.token_with(|token| token.issued_at = NOW.plus(Lifetime::from_seconds(6))), "401", "token_not_yet_valid"),
        (stage.token_with(|token| token.cnf = None), "401", "cnf_absent"),
        (other.sign_compact("at+jwt", &payload).expect("signed"), "401", "token_key_unknown"),
        (stage.issuer_key.sign_compact("JWT", &payload).expect("signed"), "401", "token_type"),
        (tampered, "401", "token_signature"),
        ("sy_at_opaque".to_owned(), "401", "token_malformed"),
    ];
    for (token, expected, reason) in table {
        let answer = stage.get(Some(&stage.alice), &token).await;
        assert_eq!(status(&answer), expected, "{reason}: {answer}");
        let events = stage.events().await;
        assert_eq!(events[0]["reason"], reason);
    }
    assert_eq!(stage.received(), [] as [String; 0]);
    // A cached token expires all the same.
    let token = stage.token();
    assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "200");
    stage.clock.advance(Lifetime::from_seconds(305));
    assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "401");
}

#[tokio::test]
async fn ambiguous_and_misdirected_requests_reach_nobody() {
    let stage = Arc::new(Stage::set().await);
    let token = stage.token();
    let table = [
        ("GET /a/../b HTTP/1.1\r\nHost: gw.example", "400"),
        ("GET /a%2fb HTTP/1.1\r\nHost: gw.example", "400"),
        ("GET //a HTTP/1.1\r\nHost: gw.example", "400"),
        ("GET /a HTTP/1.1", "400"),
        ("GET /a HTTP/1.1\r\nHost: gw.example\r\nHost: gw.example", "400"),
        ("GET https://other.example/a HTTP/1.1\r\nHost: gw.example", "400"),
        ("CONNECT gw.example:443 HTTP/1.1\r\nHost: gw.example", "400"),
        ("GET /a HTTP/1.1\r\nHost: open.example", "421"),
        ("GET /a HTTP/1.1\r\nHost: elsewhere.example", "421"),
        ("GET /.well-known/symbolon/jwks.json HTTP/1.1\r\nHost: open.example", "421"),
        ("POST /.well-known/symbolon/jwks.json HTTP/1.1\r\nHost: gw.example", "405"),
    ];
    for (head, expected) in table {
        let request = format!("{head}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        let answer = stage.exchange(Some(&stage.alice), &request).await;
        assert_eq!(status(&answer), expected, "{head}: {answer}");
    }
    assert_eq!(stage.received(), [] as [String; 0]);
}

#[tokio::test]
async fn what_follows_an_unread_body_is_not_a_request() {
    let stage = Arc::new(Stage::set().await);
    let token = stage.token();
    // Refused without a look at the body; behind it waits a request that would be let through.
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    let request = format!("POST /a HTTP/1.1\r\nHost: gw.example\r\nContent-Length: {}\r\n\r\n{hidden}{hidden}", hidden.len());
    let answer = stage.exchange(Some(&stage.alice), &request).await;
    assert_eq!(status(&answer), "401");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(stage.received(), [] as [String; 0]);
}

#[tokio::test]
async fn revocations_and_their_staleness_are_obeyed_even_in_mid_stream() {
    let stage = Arc::new(Stage::set_with("max_revocation_staleness_seconds = 60 # revocation", 64).await);
    let token = stage.token();
    let revocations = Arc::clone(stage.gateway.servers[0].revocations().expect("a feed"));
    // Never heard: closed.
    let answer = stage.get(Some(&stage.alice), &token).await;
    assert_eq!(status(&answer), "503");
    assert!(!answer.to_lowercase().contains("www-authenticate") && answer.contains("retry-after"), "{answer}");
    revocations.heard(stage.clock.monotonic());
    assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "200");
    stage.clock.advance(Lifetime::from_seconds(61));
    assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "503");
    revocations.heard(stage.clock.monotonic());

    let request = format!("GET /slow HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    let mut connection = stage.connect(Some(&stage.alice));
    connection.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut answer = String::new();
    while !answer.ends_with("first") {
        let mut buffer = [0u8; 1024];
        let length = connection.read(&mut buffer).await.expect("an open pipe");
        assert_ne!(length, 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    revocations.add(vec![RevocationRule {
        sequence: 1,
        kind: RuleKind::TokenId,
        value: "jti-1".into(),
        before: stage.clock.now().expect("a clock"),
        expires: NOW.plus(DAY),
        lifted: false,
    }]);
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut rest)).await;
    assert!(reading.is_ok(), "the stream goes on although the token is revoked");
    assert_eq!(String::from_utf8_lossy(&rest), "");
    let _ = stage.release.send(true);
    assert_eq!(status(&stage.get(Some(&stage.alice), &token).await), "401");
}

#[tokio::test]
async fn nobody_is_let_through_unrecorded() {
    /// A disk that never finishes.
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_unstick, stuck) = std::sync::mpsc::channel();
    let stage = Arc::new(Stage::set_writing("", 1, Stuck(stuck), Trail::default()).await);
    let token = stage.token();
    let mut admitted = 0;
    let answer = loop {
        let answer = stage.get(Some(&stage.alice), &token).await;
        if status(&answer) != "200" {
            break answer;
        }
        admitted += 1;
        assert!(admitted < 5_000, "the queue never fills");
    };
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(!answer.to_lowercase().contains("www-authenticate"), "{answer}");
    assert_eq!(stage.received().len(), admitted);
}

#[tokio::test]
async fn handling_can_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    let stage = Stage::set().await;
    let never: Option<Request<crate::wire::Arriving>> = None;
    if let Some(request) = never {
        let facts = stage.facts(None);
        check(&stage.gateway.handle(request, &facts, None, &stage.policies));
    }
}
