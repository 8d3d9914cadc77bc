//! The one HTTP/2 connection that all callers of a route share.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::client::PATIENCE;
use crate::harness::{Call, Http, Setup, Stack};

/// Bytes of a large answer: more than any window but a connection's.
const LARGE: usize = 8 << 20;
const SMALL: usize = 200_000;

/// An upstream that speaks HTTP/2; gives its port.
async fn upstream() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: http::Request<Incoming>| {
                let bytes = if request.uri().path().ends_with("large") { LARGE } else { SMALL };
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(vec![b'x'; bytes]))))
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    port
}

fn route(port: u16) -> String {
    format!(
        r#"
[[route]]
name = "shared"
host = "{{gateway_authority}}"
path = "/shared"
upstream = "http://127.0.0.1:{port}"
upstream_protocol = "http2"
upstream_timeout_seconds = 1
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
"#
    )
}

async fn reader(stack: &Stack) -> SendRequest<Full<Bytes>> {
    let stream = stack.caller(&stack.alice).http(Http::V2).raw(&stack.gateway_authority).await.expect("a connection");
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Callers who begin large answers and read nothing of them keep nobody else waiting; what they asked for still comes when they read.
#[tokio::test]
async fn whoever_does_not_read_keeps_nobody_else_waiting() {
    let stack = Setup { gateway: route(upstream().await), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let request = |path: &str| {
        http::Request::get(format!("https://{}/shared/{path}", stack.gateway_authority))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::<Bytes>::default())
            .expect("a request")
    };
    let mut idler = reader(&stack).await;
    let mut unread = Vec::new();
    for _ in 0..6 {
        let response = idler.send_request(request("large")).await.expect("an answer");
        assert_eq!(response.status(), 200);
        unread.push(response);
    }
    // Until all of it stands still.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut other = reader(&stack).await;
    for _ in 0..3 {
        let response = other.send_request(request("small")).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = tokio::time::timeout(Duration::from_secs(5), response.into_body().collect()).await.expect("in time");
        assert_eq!(body.expect("a body").to_bytes().len(), SMALL);
    }
    for response in unread {
        let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.expect("in time");
        assert_eq!(body.expect("a body").to_bytes().len(), LARGE);
    }
}

/// A path to the upstream that swallows everything without a word is left for a new connection.
#[tokio::test]
async fn a_connection_that_died_without_a_word_is_given_up() {
    let port = upstream().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let between = listener.local_addr().expect("an address").port();
    let (cut, was_cut) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut was_cut = was_cut.clone();
            // Connections that come after the cut are whole.
            let comes_after = *was_cut.borrow();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("the upstream");
                let joined = copy_bidirectional(&mut near, &mut far);
                if comes_after {
                    let _ = joined.await;
                    return;
                }
                tokio::select! {
                    _ = joined => return,
                    _ = was_cut.wait_for(|cut| *cut) => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    let stack = Setup { gateway: route(between), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/shared/small").bearer(&token);
    assert_eq!(stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status, 200);
    cut.send(true).expect("heard");
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(stack.reason_of(answer.request_id()).await, "upstream_unavailable");
    // It is never idle for long: somebody asks again and again.
    let started = std::time::Instant::now();
    while stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "the dead connection is still used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
