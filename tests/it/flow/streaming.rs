//! What streams: server-sent events, gRPC, WebSocket.

use std::convert::Infallible;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::client::PATIENCE;
use crate::harness::{Call, Http, Setup};

fn route(name: &str, port: u16, more: &str) -> String {
    format!(
        r#"
[[route]]
name = "{name}"
host = "{{gateway_authority}}"
path = "/{name}"
upstream = "http://127.0.0.1:{port}"
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
{more}
"#
    )
}

/// Each event arrives when it is sent, not when the next one is.
#[tokio::test]
async fn events_arrive_when_they_are_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (release, released) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut released = released.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                for event in 1..=3 {
                    let _ = released.wait_for(|count| *count >= event).await;
                    let _ = stream.write_all(format!("9\r\ndata: {event}\n\n\r\n").as_bytes()).await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
            });
        }
    });
    let stack = Setup { gateway: route("events", port, ""), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let stream = stack.caller(&stack.alice).http(Http::V2).raw(&stack.gateway_authority).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{}/events", stack.gateway_authority))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for event in 1..=3 {
        release.send_replace(event);
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("in time").expect("a frame").expect("a body");
        assert_eq!(frame.into_data().expect("data"), format!("data: {event}\n\n"));
    }
}

/// A call of gRPC: HTTP/2 to the upstream too, a body both ways, and the status in trailers. The application's own trailers pass; what they
/// assert in our name goes.
#[tokio::test]
async fn calls_of_grpc_end_with_their_trailers() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                assert_eq!(request.headers()["te"], "trailers");
                assert_eq!(request.uri().path(), "/v1.Echo/Say");
                assert!(request.headers().contains_key("x-symbolon-assertion"));
                assert!(!request.headers().contains_key("authorization") && !request.headers().contains_key("host"));
                let sent = request.into_body().collect().await.expect("a body").to_bytes();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().expect("a value"));
                trailers.insert("client-cert", ":AAAA:".parse().expect("a value"));
                trailers.insert("shop-order-bin", "AAECAw".parse().expect("a value"));
                trailers.insert("set-cookie", "a=b".parse().expect("a value"));
                let frames = [Ok::<_, Infallible>(Frame::data(sent)), Ok(Frame::trailers(trailers))];
                let body = StreamBody::new(futures_util::stream::iter(frames));
                let response = http::Response::builder().header("content-type", "application/grpc").body(body);
                Ok::<_, Infallible>(response.expect("a response"))
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let gateway = route("echo.Echo", port, "upstream_protocol = \"http2\"\nupstream_path = \"/v1.Echo\"");
    let stack = Setup { gateway, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let stream = stack.caller(&stack.alice).http(Http::V2).raw(&stack.gateway_authority).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::post(format!("https://{}/echo.Echo/Say", stack.gateway_authority))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::<Bytes>::from(Bytes::from_static(b"\0\0\0\0\x05hello")))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().expect(""))
        );
        let collected = response.into_body().collect().await.expect("a body");
        let trailers = collected.trailers().expect("trailers").clone();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!((trailers["shop-order-bin"].as_bytes(), trailers.len()), (&b"AAECAw"[..], 2), "{trailers:?}");
        assert_eq!(collected.to_bytes(), "\0\0\0\0\x05hello");
    }
    // An answer of the gateway's own is no call's.
    let answer = stack.nobody().http(Http::V2).send(&stack.gateway_authority, &Call::new("POST", "/echo.Echo/Say")).await;
    assert_eq!(answer.status, 401);
}
