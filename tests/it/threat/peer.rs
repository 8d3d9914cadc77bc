//! Peers that send too much, too slowly, or nothing.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{passed, refused};
use crate::harness::{Call, Http, Setup, Stack};

const LIMITS: &str = "\n[limits]\nhandshake_seconds = 1\nhandshakes = 4\nrequest_head_seconds = 1\nrequest_body_seconds = 1\n";

fn impatient() -> Setup {
    Setup { server: LIMITS.into(), gateway: LIMITS.into(), ..Setup::default() }
}

fn port(authority: &str) -> u16 {
    authority.rsplit_once(':').expect("a port").1.parse().expect("a port")
}

/// Reads until the other side hangs up; how long that took.
async fn hangs_up<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Duration {
    let started = Instant::now();
    let mut sink = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut sink)).await;
    assert!(end.is_ok(), "the connection stays open");
    started.elapsed()
}

#[tokio::test]
async fn who_says_nothing_keeps_no_place() {
    let stack = impatient().start().await;
    let alice = stack.caller(&stack.alice);
    let authority = &stack.gateway_authority;
    let mut silent = TcpStream::connect(("127.0.0.1", port(authority))).await.expect("connected");
    let mut senseless = TcpStream::connect(("127.0.0.1", port(authority))).await.expect("connected");
    senseless.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut after_handshake = alice.raw(authority).await.expect("connected");
    let mut after_h2_handshake = alice.clone().http(Http::V2).raw(authority).await.expect("connected");
    let mut half_a_head = alice.raw(authority).await.expect("connected");
    half_a_head.write_all(b"GET /accounts HTTP/1.1\r\nX-Half: ").await.expect("written");
    let mut half_a_form = alice.raw(&stack.mtls_authority).await.expect("connected");
    let form =
        "POST /token HTTP/1.1\r\nHost: as\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant";
    let form = form.replace("Host: as", &format!("Host: {}", stack.mtls_authority));
    half_a_form.write_all(form.as_bytes()).await.expect("written");
    tokio::join!(
        hangs_up(&mut silent),
        hangs_up(&mut senseless),
        hangs_up(&mut after_handshake),
        hangs_up(&mut after_h2_handshake),
        hangs_up(&mut half_a_head),
        hangs_up(&mut half_a_form),
    );
    stack.upstream.assert_untouched();
    let token = stack.token(&stack.alice).await;
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "whoever speaks");
}

/// HTTP/2 pings keep nobody's place either: only requests do.
#[tokio::test]
async fn an_idle_http2_connection_is_let_go_and_a_used_one_is_not() {
    let stack = impatient().start().await;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&token);
    let mut used = stack.caller(&stack.alice).http(Http::V2).connect(&stack.gateway_authority).await.expect("a connection");
    let mut idle = stack.caller(&stack.alice).http(Http::V2).connect(&stack.gateway_authority).await.expect("a connection");
    idle.send(&call).await;
    stack.upstream.forget();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let answer = used.send(&call).await;
        passed(&stack, &answer, "in use");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    idle.try_send(&call).await.map(|answer| answer.status).expect_err("it was let go");
    stack.upstream.assert_untouched();
}

/// A message of the handshake tells its size first: nobody waits for one beyond 64 KiB, and nobody keeps it.
#[tokio::test]
async fn a_handshake_message_has_a_limit() {
    let stack = Setup { gateway: "\n[limits]\nhandshake_seconds = 20\n".into(), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    for authority in [&stack.gateway_authority, &stack.mtls_authority] {
        // A record of the handshake (RFC 8446 §5.1) with the beginning of a ClientHello of so many bytes (§4).
        let begun = async |length: u32| {
            let mut record = vec![22, 3, 1, 0x40, 0x00, 1];
            record.extend_from_slice(&length.to_be_bytes()[1..]);
            record.resize(5 + 0x4000, 0);
            let mut stream = TcpStream::connect(("127.0.0.1", port(authority))).await.expect("connected");
            stream.write_all(&record).await.expect("written");
            stream
        };
        for length in [0x01_0000, 0xff_ffff] {
            let mut stream = begun(length).await;
            let mut said = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut said)).await;
            end.unwrap_or_else(|_| panic!("{length} bytes are waited for")).expect("closed");
            assert!(said.first().is_none_or(|kind| *kind == 21), "nothing but an alert: {said:?}");
        }
        let mut short_enough = begun(0xffff).await;
        let more = tokio::time::timeout(Duration::from_secs(1), short_enough.read_u8()).await;
        assert!(more.is_err(), "the rest of it is waited for: {more:?}");
    }
    stack.upstream.assert_untouched();
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "a usual handshake");
}

/// Clients that say hello and then fall silent give way to those who go on.
#[tokio::test]
async fn half_open_handshakes_shut_nobody_out() {
    let limits = "\n[limits]\nhandshake_seconds = 20\nhandshakes = 4\n";
    let stack = Setup { gateway: limits.into(), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let mut half_open = Vec::new();
    for _ in 0..12 {
        let mut config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut client = rustls::ClientConnection::new(config.into(), name.clone()).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a hello");
        let mut stream = TcpStream::connect(("127.0.0.1", port(&stack.gateway_authority))).await.expect("connected");
        stream.write_all(&hello).await.expect("written");
        half_open.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "amid half-open handshakes");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

/// One address cannot have all connections: what it takes beyond its share is closed at once, and others are served.
#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let limits = "\n[limits]\nconnections = 10\nconnections_per_address = 4\n";
    let stack = Setup { gateway: limits.into(), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    // All of 127/8 is this machine: two addresses.
    let from = async |last: u8| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, last], 0).into()).expect("bound");
        socket.connect(([127, 0, 0, 1], port(&stack.gateway_authority)).into()).await.expect("connected")
    };
    let mut greedy = Vec::new();
    for _ in 0..4 {
        greedy.push(from(2).await);
    }
    for _ in 0..20 {
        assert!(hangs_up(&mut from(2).await).await < Duration::from_secs(1), "closed at once");
    }
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "from another address");
    drop(greedy.pop());
    let started = Instant::now();
    let mut freed = loop {
        let mut next = from(2).await;
        let mut byte = [0u8; 1];
        match tokio::time::timeout(Duration::from_millis(200), next.read(&mut byte)).await {
            Err(_) => break next,
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(5), "its place is not given back"),
        }
    };
    freed.shutdown().await.expect("open");
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_kept() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    for http in [Http::V1, Http::V2] {
        let mut many = Call::get("/accounts").bearer(&token);
        for index in 0..120 {
            many = many.header(&format!("x-{index}"), "y");
        }
        let answer = alice.clone().http(http).send(&stack.gateway_authority, &many).await;
        assert_eq!(answer.status, 431, "{http:?}");
        let large = Call::get("/accounts").bearer(&token).header("x-large", &"y".repeat(200_000));
        if let Ok(answer) = alice.clone().http(http).try_send(&stack.gateway_authority, &large).await {
            assert_eq!(answer.status, 431, "{http:?}");
        }
        stack.upstream.assert_untouched();
        let answer = alice.clone().http(http).send(&stack.gateway_authority, &Call::get("/accounts").bearer(&token)).await;
        passed(&stack, &answer, http);
    }
    let answer = stack.at_gateway(&stack.alice, &"x.".repeat(10_000)).await;
    refused(&stack, &answer, 401, "invalid_token", "token_malformed", "a token of 20,000 bytes").await;
    let long = Call::get(&format!("/accounts/{}", "x".repeat(9_000))).bearer(&token);
    let answer = alice.send(&stack.gateway_authority, &long).await;
    refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", "a path of 9,000 bytes").await;
    // Nor does the audit trail keep all of what strangers make up.
    let made_up = Call::new(&"X".repeat(5_000), &format!("/{}", "x".repeat(8_000)));
    let answer = stack.nobody().send(&stack.gateway_authority, &made_up).await;
    refused(&stack, &answer, 404, "not_found", "route_unknown", "a path of 8,000 bytes").await;
    let event = stack.event_of(answer.request_id()).await.to_string();
    assert!(event.len() < 2_000, "{} bytes: {event:.300}", event.len());

    let form = |padding: usize| {
        let padding = "x".repeat(padding);
        Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice"), ("padding", &padding)])
    };
    let answer = alice.send(&stack.mtls_authority, &form(70_000)).await;
    let verdict = stack.verdict(&answer).await;
    assert_eq!(verdict, (413, "invalid_request".to_owned(), "body_too_large".to_owned()));
    let endless = Call::new("POST", "/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Transfer-Encoding", "chunked")
        .body(format!("11170\r\n{}\r\n0\r\n\r\n", "x".repeat(0x11170)));
    let answer = alice.send(&stack.mtls_authority, &endless).await;
    assert_eq!(stack.verdict(&answer).await.2, "body_too_large");
    let answer = alice.send(&stack.mtls_authority, &form(1_000)).await;
    assert_eq!(answer.status, 200);
}

/// A body that breaks off is its sender's fault, in answer and audit trail, and not the upstream's.
#[tokio::test]
async fn a_body_that_breaks_off_is_the_callers_fault() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let head = format!(
        "POST /accounts HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n",
        stack.gateway_authority
    );
    for body in ["5\nabcde\r\n0\r\n\r\n", "zz\r\nabcde\r\n", "ffffffffffffffffff\r\nabcde", "5\r\nabcdefgh\r\n0\r\n\r\n"] {
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        connection.write(format!("{head}{body}").as_bytes()).await.expect("written");
        let answer = connection.read().await.expect("an answer");
        let verdict = stack.verdict(&answer).await;
        assert_eq!(verdict, (400, "invalid_request".to_owned(), "body_incomplete".to_owned()), "{body:?}");
        assert!(stack.upstream.requests().is_empty(), "no whole request arrived");
    }
    stack.upstream.forget();
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    connection.write(format!("{head}5\r\nabcde\r\n0\r\n\r\n").as_bytes()).await.expect("written");
    let answer = connection.read().await.expect("an answer");
    passed(&stack, &answer, "a whole body");
}
