//! Several upstreams of one route: their share, who is set aside, and what is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::command::symbolon;
use crate::harness::{Call, Http, Setup, Stack, Upstream, ports};

fn route(name: &str, ports: &[u16], more: &str) -> String {
    let urls: Vec<String> = ports.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    format!(
        "[[route]]\nname = \"{name}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{name}\"\nupstream = [{}]\n\
         authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\n{more}\n",
        urls.join(", ")
    )
}

/// Reads a request's head, counts it, and hangs up.
async fn deaf() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::new(AtomicUsize::new(0));
    let shared = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            shared.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, heard)
}

async fn start(routes: String) -> (Stack, String) {
    let stack = Setup { gateway: routes, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    (stack, token)
}

/// Each has its share, over HTTP/1.1 and HTTP/2; `gateway check` says which.
#[tokio::test]
async fn each_upstream_has_its_share() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let (stack, token) = start(route("shared", &[first.port, second.port], "upstream_weights = [3, 1]")).await;
    for http in [Http::V1, Http::V2] {
        let mut connection = stack.caller(&stack.alice).http(http).connect(&stack.gateway_authority).await.expect("a connection");
        for _ in 0..8 {
            assert_eq!(connection.send(&Call::get("/shared").bearer(&token)).await.status, 200);
        }
    }
    assert_eq!((first.requests().len(), second.requests().len()), (12, 4));
    let check = async || symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
    let line = format!("  upstreams   127.0.0.1:{} (3), 127.0.0.1:{} (1)\n", first.port, second.port);
    assert!(check().await.ok().contains(&line));
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    for weights in ["[3]", "[3, 0]", "[1000, 1]"] {
        let text = written.replace("upstream_weights = [3, 1]", &format!("upstream_weights = {weights}"));
        std::fs::write(stack.gateway_config(), text).expect("written");
        assert!(check().await.failed().contains("must be one for each upstream, each at least 1, and together at most 1000"));
    }
}

/// What was not sent, or is idempotent and was not answered, is tried again; what may have been done is not.
#[tokio::test]
async fn only_what_is_safe_is_tried_again() {
    let good = Upstream::start().await;
    let ((deaf, heard), dead) = (deaf().await, ports::free());
    let never = "upstream_failures = 0";
    let once = "upstream_failures = 0\nassertion_reuse = \"per_request\"";
    let routes = [
        route("dead", &[dead, good.port], never),
        route("deaf", &[deaf, good.port], never),
        route("once", &[deaf, good.port], once),
        route("unsent", &[dead, good.port], once),
        route("alone", &[deaf], "upstream_retries = 2"),
    ];
    let (stack, token) = start(routes.concat()).await;
    // Of two requests one has its turn with the bad upstream.
    let two = async |call: Call| {
        let (before, heard_before) = (good.requests().len(), heard.load(Ordering::SeqCst));
        let mut statuses = [0; 2];
        for status in &mut statuses {
            // Behind a refusal with an unread body a connection is closed.
            *status = stack.caller(&stack.alice).send(&stack.gateway_authority, &call.clone().bearer(&token)).await.status;
        }
        statuses.sort_unstable();
        (statuses, good.requests().len() - before, heard.load(Ordering::SeqCst) - heard_before)
    };
    for method in ["GET", "POST"] {
        assert_eq!(two(Call::new(method, "/dead")).await, ([200, 200], 2, 0), "{method}: nothing was sent");
        assert_eq!(two(Call::new(method, "/unsent")).await, ([200, 200], 2, 0), "{method}: nothing was sent");
    }
    assert_eq!(two(Call::new("POST", "/dead").body("x")).await, ([200, 502], 1, 0), "a body passes once");
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(two(Call::new(method, "/deaf")).await, ([200, 200], 2, 1), "{method}");
        assert_eq!(two(Call::new(method, "/once")).await, ([200, 502], 1, 1), "{method}: an assertion that is good once");
    }
    for method in ["POST", "PATCH"] {
        assert_eq!(two(Call::new(method, "/deaf")).await, ([200, 502], 1, 1), "{method} may have been done");
    }
    // The same one again where there is no other, as often as is said.
    assert_eq!(two(Call::get("/alone")).await, ([502, 502], 0, 6));
}

/// Who fails again and again is set aside, and requests do not wait for it; with nobody left the answer comes at once. After a while one
/// request tells whether it is back.
#[tokio::test]
async fn who_fails_is_set_aside_for_a_while() {
    let good = Upstream::start().await;
    let (deaf, heard) = deaf().await;
    let later = ports::free();
    let rules = |rest: u32| format!("upstream_failures = 2\nupstream_rest_seconds = {rest}\nupstream_retries = 0");
    let (stack, token) = start(route("one-bad", &[deaf, good.port], &rules(600)) + &route("down", &[later], &rules(3))).await;
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(connection.send(&Call::get("/one-bad").bearer(&token)).await.status);
    }
    assert_eq!((statuses.iter().filter(|status| **status == 502).count(), heard.load(Ordering::SeqCst)), (2, 2), "{statuses:?}");

    let call = Call::get("/down").bearer(&token);
    let mut reasons = Vec::new();
    for _ in 0..4 {
        let answer = connection.send(&call).await;
        assert_eq!(answer.challenges(), [] as [&str; 0]);
        reasons.push((answer.status, stack.reason_of(answer.request_id()).await));
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
    }
    let (down, aside) = ((502, "upstream_unavailable".to_owned()), (503, "upstream_set_aside".to_owned()));
    assert_eq!(reasons, [down.clone(), down, aside.clone(), aside]);
    let listener = TcpListener::bind(("127.0.0.1", later)).await.expect("the port is still free");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0u8; 8_192];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let started = Instant::now();
    while connection.send(&call).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is never tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..3 {
        assert_eq!(connection.send(&call).await.status, 200, "taken for good");
    }
}

/// One that is not well gets nothing but the question whether it is.
#[tokio::test]
async fn who_is_not_well_is_spared() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    second.answer_with("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let rules = "upstream_health_path = \"/healthz?full\"\nupstream_health_seconds = 3";
    let (stack, token) = start(route("watched", &[first.port, second.port], rules)).await;
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    let lines =
        |upstream: &Upstream, start: &str| upstream.requests().iter().filter(|request| request.line.starts_with(start)).count();
    let started = Instant::now();
    while lines(&second, "GET /healthz?full ") == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is never asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..6 {
        assert_eq!(connection.send(&Call::get("/watched").bearer(&token)).await.status, 200);
    }
    assert_eq!((lines(&first, "GET /watched"), lines(&second, "GET /watched")), (6, 0));
    // The question carries nothing of anybody's.
    let question = second.requests().into_iter().find(|request| request.line.starts_with("GET /healthz")).expect("a question");
    let names: Vec<_> = question.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["host"]);
    second.answer_with("HTTP/1.1 204 No Content\r\n\r\n");
    let started = Instant::now();
    while lines(&second, "GET /watched") == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is never taken again");
        connection.send(&Call::get("/watched").bearer(&token)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An answer that stands still is broken off, and never taken for whole.
#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off() {
    let halting = Upstream::start().await;
    halting.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    let (stack, token) = start(route("halting", &[halting.port], "upstream_stall_seconds = 1")).await;
    for http in [Http::V1, Http::V2] {
        let started = Instant::now();
        let caller = stack.caller(&stack.alice).http(http);
        let answer = caller.try_send(&stack.gateway_authority, &Call::get("/halting").bearer(&token)).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!((Duration::from_millis(900)..Duration::from_secs(15)).contains(&started.elapsed()), "{:?}", started.elapsed());
    }
}
