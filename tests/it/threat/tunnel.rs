//! WebSocket: what is let through, what is carried, and when it ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::client::PATIENCE;
use crate::harness::foreign::{CONFIGURATION, Deployment, Issuer};
use crate::harness::{Authority, Call, Leaf, Setup, command::symbolon};

const ROUTE: &str = r#"
[[route]]
name = "socket"
host = "{gateway_authority}"
path = "/socket"
upstream = "http://127.0.0.1:PORT"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
websocket = true
"#;

/// An upstream that switches and then says everything back. It writes down what it receives.
async fn echo() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let received = Arc::new(Mutex::new(vec![]));
    let shared = received.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let received = shared.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                received.lock().expect("unpoisoned").extend_from_slice(&head);
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Symbolon-Assertion: forged\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
                let mut buffer = [0u8; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    received.lock().expect("unpoisoned").extend_from_slice(&buffer[..length]);
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, received)
}

fn opening(path: &str, token: &str) -> Call {
    Call::get(path)
        .bearer(token)
        .header("Connection", "keep-alive, Upgrade, x-symbolon-assertion")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

async fn says_back<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("an open tunnel");
    stream.flush().await.expect("an open tunnel");
    let mut back = vec![0u8; text.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("in time").expect("an open tunnel");
    assert_eq!(String::from_utf8_lossy(&back), text);
}

async fn ends<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut rest = vec![];
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the tunnel ends");
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

/// Opens a tunnel, with `behind` sent right behind the request.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, call: &Call, authority: &str, behind: &str) -> String {
    let bytes = [call.bytes(authority), behind.as_bytes().to_vec()].concat();
    stream.write_all(&bytes).await.expect("written");
    stream.flush().await.expect("written");
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a head");
        head.push(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A tunnel is opened by whoever may have the route, carries what follows, says who asks, and ends when its token is revoked.
#[tokio::test]
async fn a_tunnel_ends_with_its_token() {
    let (port, received) = echo().await;
    let stack = Setup { gateway: ROUTE.replace("PORT", &port.to_string()), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    // The thief's opening reaches nobody, nor does what he sends behind it.
    for caller in [stack.caller(&stack.mallory), stack.nobody()] {
        let mut stream = caller.raw(&stack.gateway_authority).await.expect("a connection");
        let head = open(&mut stream, &opening("/socket", &token), &stack.gateway_authority, "stolen").await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    }
    assert_eq!(*received.lock().expect("unpoisoned"), b"");

    let mut stream = stack.caller(&stack.alice).raw(&stack.gateway_authority).await.expect("a connection");
    let head = open(&mut stream, &opening("/socket", &token), &stack.gateway_authority, "early").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains("upgrade: websocket\r\n") && lower.contains("connection: upgrade\r\n"), "{head}");
    assert!(lower.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=") && !lower.contains("forged"), "{head}");
    let mut back = [0u8; 5];
    stream.read_exact(&mut back).await.expect("an open tunnel");
    assert_eq!(&back, b"early");
    says_back(&mut stream, "GET /accounts HTTP/1.1\r\n\r\n").await;
    let seen = String::from_utf8_lossy(&received.lock().expect("unpoisoned").clone()).to_lowercase();
    assert!(seen.contains("\r\nx-symbolon-assertion: ey") && !seen.contains("\r\nauthorization:"), "{seen}");
    assert_eq!(seen.matches("\r\nupgrade: websocket\r\n").count(), 1, "{seen}");

    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    ends(&mut stream).await;
    received.lock().expect("unpoisoned").clear();
    let mut stream = stack.caller(&stack.alice).raw(&stack.gateway_authority).await.expect("a connection");
    let head = open(&mut stream, &opening("/socket", &token), &stack.gateway_authority, "").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(*received.lock().expect("unpoisoned"), b"");
}

/// The same when its certificate is revoked by the operator, or the authority that issued it is taken away: within a second.
#[tokio::test]
async fn a_tunnel_ends_with_its_certificate() {
    let (port, _) = echo().await;
    let stack = Setup { gateway: ROUTE.replace("PORT", &port.to_string()), ..Setup::default() }.start().await;
    for what in ["revoked", "the authority is gone"] {
        let identity = stack.client_ca.issue(Leaf::client("alice"));
        identity.write(stack.dir.path());
        let token = stack.token(&identity).await;
        let mut stream = stack.caller(&identity).raw(&stack.gateway_authority).await.expect("a connection");
        let head = open(&mut stream, &opening("/socket", &token), &stack.gateway_authority, "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
        says_back(&mut stream, "still here").await;
        if what == "revoked" {
            symbolon(stack.dir.path(), &["cert", "revoke", "alice.pem", "--config", "symbolon.toml"]).await.ok();
        } else {
            std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
            symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
        }
        let started = Instant::now();
        ends(&mut stream).await;
        assert!(started.elapsed() < Duration::from_millis(1_300), "{what}: {:?}", started.elapsed());
    }
}

/// The same when the token expires, and when the certificate does.
#[tokio::test]
async fn a_tunnel_ends_with_its_dates() {
    let (port, _) = echo().await;
    let issuer = Issuer::new("one");
    let configuration = CONFIGURATION.replace(
        "upstream = \"http://127.0.0.1:{upstream}\"",
        &format!("upstream = \"http://127.0.0.1:{port}\"\nwebsocket = true"),
    );
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let brief = gateway.client_ca.issue(Leaf { not_after: 3, ..Leaf::client("brief") });
    let table = [
        (gateway.alice.clone(), issuer.token(&gateway.alice, "at+jwt", &[("exp", json!(now + 3))])),
        (brief.clone(), issuer.token(&brief, "at+jwt", &[])),
    ];
    for (identity, token) in table {
        let caller = gateway.nobody.clone().showing(&identity);
        let mut stream = caller.raw(&gateway.authority).await.expect("a connection");
        let head = open(&mut stream, &opening("/", &token), &gateway.authority, "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", identity.name);
        says_back(&mut stream, "still here").await;
        ends(&mut stream).await;
    }
}

/// An upstream that answers an opening with 200 has not switched: what follows are requests, each judged (CVE-2026-2833).
#[tokio::test]
async fn an_opening_that_is_answered_otherwise_opens_nothing() {
    let route = ROUTE.replace("http://127.0.0.1:PORT", "{upstream}");
    let stack = Setup { gateway: route, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let mut stream = stack.caller(&stack.alice).raw(&stack.gateway_authority).await.expect("a connection");
    let smuggled = format!("GET /accounts/write HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.gateway_authority);
    let head = open(&mut stream, &opening("/socket", &token), &stack.gateway_authority, &smuggled).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut rest = vec![];
    // However it is closed.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert_eq!(rest.matches("HTTP/1.1 401 ").count(), 1, "{rest}");
    assert_eq!(stack.upstream.requests().len(), 1);
    assert_eq!(stack.upstream.last().values("upgrade"), ["websocket"]);
    stack.upstream.forget();

    // One that switches to something else, or unasked, is a fault of the upstream's.
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let alice = stack.caller(&stack.alice);
    stack.upstream.answer_with(other);
    let answer = alice.send(&stack.gateway_authority, &opening("/socket", &token)).await;
    assert_eq!(stack.verdict(&answer).await, (502, "upstream_error".into(), "upstream_malformed".into()));
    stack.upstream.answer_with(other.replace("Upgrade: x", "Upgrade: websocket"));
    let answer = alice.send(&stack.gateway_authority, &Call::get("/socket").bearer(&token)).await;
    assert_eq!(stack.verdict(&answer).await, (502, "upstream_error".into(), "upstream_malformed".into()));
    // Nor is another upgrade passed on, nor one with a body, nor on another route.
    stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let calls = [
        opening("/socket", &token).replacing("Upgrade", "h2c"),
        opening("/socket", &token).replacing("Sec-WebSocket-Version", "8"),
        opening("/socket", &token).body("x"),
        opening("/accounts", &token),
    ];
    for call in calls {
        stack.upstream.forget();
        assert_eq!(alice.send(&stack.gateway_authority, &call).await.status, 200, "{call:?}");
        assert!(stack.upstream.last().values("upgrade").is_empty(), "{call:?}");
    }
}
