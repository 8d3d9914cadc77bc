//! Upstreams that are dead, slow, or lie about where their answers end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::passed;
use crate::harness::{Call, Http, Setup, Stack, ports};

const ROUTES: &str = r#"
[[route]]
name = "liar"
host = "{gateway_authority}"
path = "/liar"
upstream = "http://127.0.0.1:LIAR"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
upstream_timeout_seconds = 1

[[route]]
name = "nobody"
host = "{gateway_authority}"
path = "/nobody"
upstream = "http://127.0.0.1:NOBODY"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
"#;

const HONEST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest";

/// What it answers to a path, and whether the connection stays open behind it.
fn lie(path: &str) -> (Vec<u8>, bool) {
    let (answer, stays): (&[u8], bool) = match path {
        "/liar/honest" => (HONEST, true),
        "/liar/closed" => (b"", false),
        "/liar/silent" => (b"", true),
        "/liar/half-a-head" => (b"HTTP/1.1 200 OK\r\nContent-Le", false),
        "/liar/garbage" => (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", true),
        "/liar/old" => (b"<html>HTTP/0.9</html>", false),
        "/liar/status" => (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", true),
        "/liar/two-lengths" => (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\nokokok", true),
        "/liar/odd-length" => (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", true),
        "/liar/folded" => (b"HTTP/1.1 200 OK\r\nX-A: b\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\nok", true),
        "/liar/split" => (b"HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nok", true),
        "/liar/big" => {
            let field = format!("X-Big: {}\r\n", "x".repeat(400_000));
            return (format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\nok").into(), true);
        }
        "/liar/many" => {
            let fields: String = (0..500).map(|index| format!("X-{index}: y\r\n")).collect();
            return (format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").into(), true);
        }
        "/liar/short" => (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", false),
        "/liar/short-chunks" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
        "/liar/bad-chunks" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n0\r\n\r\n", true),
        "/liar/both" => {
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n6\r\nchunks\r\n0\r\n\r\n", true)
        }
        "/liar/long" => {
            let more = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
            return (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{more}{more}").into(), true);
        }
        "/liar/no-content" => (b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nforged", true),
        path => panic!("{path}"),
    };
    (answer.to_vec(), stays)
}

async fn serve(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            let (answer, stays) = lie(head.split(' ').nth(1).unwrap_or_default());
            if stream.write_all(&answer).await.is_err() || !stays {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn start() -> Stack {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let routes = ROUTES.replace("LIAR", &port.to_string()).replace("NOBODY", &ports::free().to_string());
    Setup { gateway: routes, ..Setup::default() }.start().await
}

/// What is no answer is a fault of ours, without `WWW-Authenticate`, told with the same words whatever the upstream said; and whoever asks
/// next gets his own answer.
#[tokio::test]
async fn what_is_no_answer_is_a_502() {
    let stack = start().await;
    let token = stack.token(&stack.alice).await;
    let (down, odd) = ("upstream_unavailable", "upstream_malformed");
    let table = [
        ("/nobody", down),
        ("/liar/closed", down),
        ("/liar/silent", down),
        ("/liar/half-a-head", down),
        ("/liar/garbage", odd),
        ("/liar/old", odd),
        ("/liar/status", odd),
        ("/liar/two-lengths", odd),
        ("/liar/odd-length", odd),
        ("/liar/folded", odd),
        ("/liar/split", odd),
        ("/liar/big", odd),
        ("/liar/many", odd),
        ("/liar/both", odd),
    ];
    for http in [Http::V1, Http::V2] {
        let mut connection = stack.caller(&stack.alice).http(http).connect(&stack.gateway_authority).await.expect("a connection");
        for (path, reason) in table {
            let started = Instant::now();
            let answer = connection.send(&Call::get(path).bearer(&token)).await;
            let verdict = stack.verdict(&answer).await;
            assert_eq!(verdict, (502, "upstream_error".to_owned(), reason.to_owned()), "{path} {http:?}: {}", answer.text());
            assert_eq!(answer.challenges(), [] as [&str; 0], "{path}");
            assert!(started.elapsed() < Duration::from_secs(5), "{path}");
            let answer = connection.send(&Call::get("/liar/honest").bearer(&token)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "honest"), "behind {path}");
        }
    }
}

/// An answer that breaks off does so for the client too: never is a part taken for the whole. One that goes on behind its end is cut
/// there, and what stood behind is nobody's answer (response splitting).
#[tokio::test]
async fn an_answer_ends_where_it_said_or_not_at_all() {
    let stack = start().await;
    let token = stack.token(&stack.alice).await;
    for http in [Http::V1, Http::V2] {
        let caller = stack.caller(&stack.alice).http(http);
        for path in ["/liar/short", "/liar/short-chunks", "/liar/bad-chunks"] {
            let cut = caller.try_send(&stack.gateway_authority, &Call::get(path).bearer(&token)).await;
            assert!(cut.is_err(), "{path} {http:?}: {cut:?}");
        }
        let mut connection = caller.connect(&stack.gateway_authority).await.expect("a connection");
        for (path, status, text) in [("/liar/long", 200, "ok"), ("/liar/no-content", 204, "")] {
            for _ in 0..5 {
                let answer = connection.send(&Call::get(path).bearer(&token)).await;
                assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path} {http:?}");
                let answer = connection.send(&Call::get("/liar/honest").bearer(&token)).await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "honest"), "behind {path} {http:?}");
            }
        }
    }
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "another upstream");
}
