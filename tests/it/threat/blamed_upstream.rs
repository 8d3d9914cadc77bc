//! Callers who would have an upstream set aside for what they do themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::passed;
use crate::harness::{Call, Http, Setup};

fn route(name: &str, upstream: &str, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{name}\"\nupstream = \"{upstream}\"\n\
         authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\nupstream_failures = 1\n\
         upstream_rest_seconds = 600\nupstream_timeout_seconds = 1\n{more}\n"
    )
}

/// Whoever stops sending is told so, and the upstream, which only waits for him, stays for everybody else.
#[tokio::test]
async fn a_body_that_stands_still_is_not_the_upstreams_fault() {
    let stack = Setup { gateway: route("slow", "{upstream}", ""), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let whole = Call::new("POST", "/slow").bearer(&token).body("0123456789");
    let chunked = Call::new("POST", "/slow").bearer(&token).header("Transfer-Encoding", "chunked").body("5\r\n01234\r\n");
    for (what, bytes) in [
        ("a length", whole.bytes(&stack.gateway_authority).split_last_chunk::<5>().expect("a body").0.to_vec()),
        ("nothing of it", whole.bytes(&stack.gateway_authority).split_last_chunk::<10>().expect("a body").0.to_vec()),
        ("chunks", chunked.bytes(&stack.gateway_authority)),
    ] {
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        connection.write(&bytes).await.expect("written");
        let answer = connection.read().await.expect("an answer");
        let verdict = stack.verdict(&answer).await;
        assert_eq!(verdict, (408, "invalid_request".to_owned(), "body_incomplete".to_owned()), "{what}");
        assert_eq!(stack.upstream.requests().len(), 0, "{what}: it got no whole request");
        stack.upstream.forget();
        for http in [Http::V1, Http::V2] {
            let answer = stack.caller(&stack.alice).http(http).send(&stack.gateway_authority, &whole).await;
            passed(&stack, &answer, what);
            stack.upstream.forget();
        }
    }
}

/// An upstream that speaks HTTP/2 and resets what is asked of `/reset/odd`; gives its port, and counts connections.
async fn resetting() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let shared = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(async |request: http::Request<Incoming>| match request.uri().path() {
                "/reset/odd" => Err("never"),
                _ => Ok(http::Response::new(Full::new(Bytes::from_static(b"{\"upstream\":true}")))),
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (port, connections)
}

/// One stream that is reset says nothing of the others.
#[tokio::test]
async fn a_reset_stream_sets_no_upstream_aside() {
    let (port, connections) = resetting().await;
    let route = route("reset", &format!("http://127.0.0.1:{port}"), "upstream_protocol = \"http2\"");
    let stack = Setup { gateway: route, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let ask = async |method: &str, path: &str| {
        let call = Call::new(method, path).bearer(&token);
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        (answer.status, stack.event_of(answer.request_id()).await["reason"].as_str().unwrap_or_default().to_owned())
    };
    for _ in 0..3 {
        assert_eq!(ask("POST", "/reset/odd").await, (502, "upstream_unavailable".to_owned()));
        assert_eq!(ask("GET", "/reset/odd").await, (502, "upstream_unavailable".to_owned()));
        assert_eq!(ask("GET", "/reset/fine").await, (200, String::new()));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "it lives all the while");
}
