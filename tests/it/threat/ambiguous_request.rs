//! Requests that two programs could read differently: what is decided about must be what the upstream gets.

use std::time::Duration;

use super::{passed, refused};
use crate::harness::{Call, Http, Stack};

/// What is not even HTTP is answered without an id, so there is nothing to look up; what counts is the status, and the upstream.
async fn cut_off(stack: &Stack, bytes: &str, what: &str) {
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    connection.write(bytes.as_bytes()).await.expect("written");
    if let Ok(answer) = connection.read().await {
        assert_eq!(answer.status, 400, "{what}");
    }
    assert!(connection.closed_within(Duration::from_secs(5)).await, "{what}");
    stack.upstream.assert_untouched();
}

/// RFC 9112 §6, §11.2.
#[tokio::test]
async fn a_length_with_two_readings_reaches_nobody() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let head = format!("POST /accounts HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {access}\r\n", stack.gateway_authority);
    for lines in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "X-Folded: a\r\n Transfer-Encoding: chunked\r\n",
        "X-Split: a\rTransfer-Encoding: chunked\r\n",
        "X-Nothing: a\0b\r\n",
        ": nameless\r\n",
    ] {
        cut_off(&stack, &format!("{head}{lines}\r\n0\r\n\r\n"), lines).await;
    }
    for line in
        ["GET /accounts\r\n\r\n", "GET /accounts HTTP/2.0\r\n\r\n", "GET  /accounts HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"]
    {
        cut_off(&stack, line, line).await;
    }
    let call = Call::new("POST", "/accounts").bearer(&access).body("abcde");
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
    assert_eq!(stack.upstream.last().body, b"abcde");
    passed(&stack, &answer, "one length");
}

/// RFC 9112 §2.2 lets a recipient take a lone LF for the end of a line. Whoever does must then send on what it read, so that nobody behind
/// reads it otherwise: a line of its own, or nothing.
#[tokio::test]
async fn a_lone_line_feed_has_one_reading() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let fields = format!("HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {access}\r\n", stack.gateway_authority);
    // In a field's value, before the colon, at the end of the head, and where a chunk's size or a trailer ends.
    let cases = [
        "X-A: b\nX-Symbolon-Assertion: forged\r\nContent-Length: 0\r\n\r\n",
        "X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "X-A\n: b\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\n\nGET /accounts/smuggled HTTP/1.1\r\nX-A: b\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
    ];
    for (number, rest) in cases.into_iter().enumerate() {
        stack.upstream.forget();
        let target = format!("POST /accounts/case-{number}-");
        let head = format!("{target} {fields}");
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        connection.write(format!("{head}{rest}").as_bytes()).await.expect("written");
        let answer = connection.read().await;
        let bytes = String::from_utf8_lossy(&stack.upstream.bytes()).into_owned();
        // What arrives has no lone line feed in it, nothing forged, and at most one request, with the body that its length says.
        assert!(!bytes.replace("\r\n", "").contains('\n') && !bytes.contains("forged"), "{rest:?}: {bytes:?}");
        // Bytes of the case before may still have been on their way.
        let lines = bytes.matches(" HTTP/1.1\r\n").count();
        assert!(lines == bytes.matches("POST /accounts/case-").count(), "{rest:?}: {bytes:?}");
        assert!(!bytes.contains("smuggled") && bytes.matches(&target).count() <= 1, "{rest:?}: {bytes:?}");
        let whole = stack
            .upstream
            .requests()
            .iter()
            .all(|request| ["", "abc"].contains(&String::from_utf8_lossy(&request.body).as_ref()));
        assert!(whole, "{rest:?}: {bytes:?}");
        if let Ok(answer) = answer {
            assert!([200, 400].contains(&answer.status), "{rest:?}: {}", answer.status);
        }
    }
    stack.upstream.forget();
    let answer = stack.at_gateway(&stack.alice, &access).await;
    passed(&stack, &answer, "as it should be");
}

/// RFC 9112 §6.1: "ought to be handled as an error", or read as chunked with the connection closed behind it; never by its length.
#[tokio::test]
async fn with_both_lengths_the_connection_ends_behind_the_request() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let smuggled = format!("GET /accounts/write HTTP/1.1\r\nHost: {}\r\nX-Smuggled: yes\r\n\r\n", stack.gateway_authority);
    for lengths in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 500"] {
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        let head = format!("POST /accounts HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {access}\r\n", stack.gateway_authority);
        connection.write(format!("{head}{lengths}\r\n\r\n0\r\n\r\n{smuggled}").as_bytes()).await.expect("written");
        let answer = connection.read().await.expect("an answer");
        assert_eq!(answer.header("connection"), Some("close"), "{lengths}");
        let received = stack.upstream.last();
        assert_eq!((received.values("content-length").len(), received.body.len()), (0, 0), "{:?}", received.headers);
        passed(&stack, &answer, lengths);
        assert!(connection.closed_within(Duration::from_secs(5)).await, "{lengths}");
        stack.upstream.assert_untouched();
    }
}

/// What follows an early refusal is the rest of its body, not a request (CVE-2026-2835 and its like).
#[tokio::test]
async fn what_follows_an_early_refusal_is_no_request() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let inner = format!("GET /accounts HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {access}\r\n\r\n", stack.gateway_authority);
    for (framing, body) in [
        (format!("Content-Length: {}", inner.len()), inner.clone()),
        (format!("Content-Length: {}", inner.len() + 100_000), inner.clone()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())),
    ] {
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        let outer = format!("POST /accounts HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n{body}", stack.gateway_authority);
        connection.write(outer.as_bytes()).await.expect("written");
        let answer = connection.read().await.expect("an answer");
        refused(&stack, &answer, 401, "unauthorized", "token_absent", &framing).await;
        assert!(connection.closed_within(Duration::from_secs(5)).await, "{framing}");
        stack.upstream.assert_untouched();
    }
    // The same at the authorization server: neither 404, 405, 413 nor 421 leaves a body behind.
    for (target, host) in [("/nothing", ""), ("/jwks", ""), ("/token", ""), ("/token", "elsewhere.example")] {
        let authority = if host.is_empty() { &stack.mtls_authority } else { host };
        let inner = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", stack.mtls_authority).repeat(2_000);
        let outer = format!("POST {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
        let mut connection = stack.caller(&stack.alice).connect(&stack.mtls_authority).await.expect("a connection");
        let _ = connection.write(outer.as_bytes()).await;
        if let Ok(answer) = connection.read().await {
            assert!(answer.status >= 400, "{target} {host}: {}", answer.status);
            assert!(connection.closed_within(Duration::from_secs(5)).await, "{target} {host}");
        }
    }
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    let first = connection.send(&Call::get("/accounts")).await;
    refused(&stack, &first, 401, "unauthorized", "token_absent", "no token, no body").await;
    let answer = connection.send(&Call::get("/accounts").bearer(&access)).await;
    passed(&stack, &answer, "the next request on that connection");
}

/// The upstream may answer long before the request has arrived whole. What arrives afterwards is still the body, however long the
/// connection rested meanwhile (RFC 9112 §6.3): its author is not the owner of the connection, who uploads it.
#[tokio::test]
async fn what_follows_an_early_answer_is_no_request() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    stack.upstream.answer_early();
    let inner =
        format!("GET /accounts/smuggled HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {access}\r\n\r\n", stack.gateway_authority);
    for (framing, before, after) in [
        (format!("Content-Length: {}", inner.len() + 9), String::new(), ""),
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n", inner.len() + 9), "\r\n0\r\n\r\n"),
    ] {
        stack.upstream.forget();
        let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
        let host = &stack.gateway_authority;
        let head = format!(
            "POST /accounts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\n{framing}\r\n\r\n{before}012345678"
        );
        connection.write(head.as_bytes()).await.expect("written");
        assert_eq!(connection.read().await.expect("an answer").text(), "early", "{framing}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        // The connection may be gone by now; what must not be is a second answer.
        let _ = connection.write(format!("{inner}{after}").as_bytes()).await;
        let second = tokio::time::timeout(Duration::from_secs(3), connection.read()).await;
        assert!(!matches!(second, Ok(Ok(_))), "{framing}: {second:?}");
        let requests = stack.upstream.requests();
        assert!(requests.iter().all(|request| request.line.starts_with("POST")), "{framing}: {requests:?}");
    }
    let answer =
        stack.caller(&stack.alice).send(&stack.gateway_authority, &Call::get("/accounts/smuggled").bearer(&access)).await;
    assert_eq!(answer.status, 200, "the same request as one of its own");
    assert_eq!(stack.upstream.last().line, "GET /accounts/smuggled HTTP/1.1");
}

/// RFC 9112 §3.2, RFC 9113 §8.3.1.
#[tokio::test]
async fn two_hosts_are_none() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let authority = stack.gateway_authority.clone();
    let alice = stack.caller(&stack.alice);
    let get = |target: &str| Call::get(target).bearer(&access);
    let absolute = format!("https://{authority}/accounts");
    for call in [
        get("/accounts").header("Host", &authority).header("Host", &authority),
        get("/accounts").header("Host", &authority).header("Host", "evil.example"),
        get("/accounts").header("Host", ""),
        get("/accounts").header("Host", &format!("user@{authority}")),
        get("/accounts").header("Host", &format!("{authority},evil.example")),
        get("https://evil.example/accounts").header("Host", &authority),
        get(&absolute).header("Host", "evil.example"),
        get(&format!("http://{authority}/accounts")),
    ] {
        let answer = alice.send(&authority, &call).await;
        refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", &call.headers).await;
    }
    let answer = alice.clone().http(Http::V2).send(&authority, &get("/accounts").header("host", "evil.example")).await;
    refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", "HTTP/2").await;
    for (http, call) in [(Http::V1, get(&absolute)), (Http::V2, get("/accounts").header("host", &authority))] {
        let answer = alice.clone().http(http).send(&authority, &call).await;
        assert_eq!(stack.upstream.last().line, "GET /accounts HTTP/1.1");
        passed(&stack, &answer, http);
    }
}

/// A path is matched and forwarded in one spelling; where there could be two, in none. Alice's token lacks nothing, so that only the
/// path can be the reason.
#[tokio::test]
async fn paths_with_two_readings_are_not_served() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    for target in [
        "//accounts",
        "/accounts//write",
        "/./accounts",
        "/reports/../accounts",
        "/reports/..%2faccounts",
        "/reports/%2e%2e/accounts",
        "/reports/%252e%252e/accounts",
        "/reports/..;/accounts",
        "/accounts%2fwrite",
        "/accounts%5cwrite",
        "/accounts\\write",
        "/accounts%00",
        "/accounts%0d%0aX-Smuggled:%20yes",
        "/accounts/%c0%ae%c0%ae/x",
        "/accounts/%zz",
        "/accounts;x=1/write",
        "/accounts;x",
    ] {
        let answer = alice.send(&stack.gateway_authority, &Call::get(target).bearer(&access)).await;
        refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", target).await;
    }
    for (target, line) in [
        ("/accounts", "GET /accounts HTTP/1.1"),
        ("/%61ccounts/%77rite", "GET /accounts/write HTTP/1.1"),
        ("/accounts/a%20b?x=%2e%2e%2f", "GET /accounts/a%20b?x=%2e%2e%2f HTTP/1.1"),
    ] {
        let answer = alice.send(&stack.gateway_authority, &Call::get(target).bearer(&access)).await;
        assert_eq!(stack.upstream.last().line, line);
        passed(&stack, &answer, target);
    }
    for method in ["CONNECT", "TRACE"] {
        let target = if method == "CONNECT" { stack.gateway_authority.clone() } else { "/accounts".into() };
        let answer = alice.send(&stack.gateway_authority, &Call::new(method, &target).bearer(&access)).await;
        refused(&stack, &answer, 400, "invalid_request", "method_not_allowed", method).await;
    }
}

/// RFC 6750 §2: one token, in one place.
#[tokio::test]
async fn two_tokens_are_none() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    let good = Call::get("/accounts").bearer(&access);
    for call in [
        good.clone().bearer(&access),
        good.clone().header("Authorization", "Basic eDp5"),
        Call::get(&format!("/accounts?access_token={access}")).bearer(&access),
        Call::get(&format!("/accounts?x=1&access%5Ftoken={access}")),
    ] {
        let answer = alice.send(&stack.gateway_authority, &call).await;
        refused(&stack, &answer, 400, "invalid_request", "token_ambiguous", &call.target).await;
    }
    let answer = alice.send(&stack.gateway_authority, &good).await;
    passed(&stack, &answer, "one token");
}

/// A body passes whole whatever the method, and an upgrade is not passed on (CVE-2026-2833).
#[tokio::test]
async fn bodies_and_upgrades_leave_the_upstreams_connection_in_step() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    for method in ["GET", "DELETE", "POST"] {
        let chunked = Call::new(method, "/accounts").bearer(&access).header("Transfer-Encoding", "chunked");
        let sized = Call::new(method, "/accounts").bearer(&access).body("abcde");
        for call in [chunked.body("5\r\nabcde\r\n0\r\n\r\n"), sized] {
            let answer = alice.send(&stack.gateway_authority, &call).await;
            assert_eq!(stack.upstream.last().body, b"abcde", "{method} {:?}", call.headers);
            passed(&stack, &answer, method);
        }
    }
    for upgrade in ["websocket", "h2c"] {
        let call = Call::get("/accounts").bearer(&access).header("Connection", "Upgrade").header("Upgrade", upgrade);
        let answer = alice.send(&stack.gateway_authority, &call).await;
        assert!(stack.upstream.last().values("upgrade").is_empty());
        passed(&stack, &answer, upgrade);
    }
    stack.upstream.answer_with("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let answer = alice.send(&stack.gateway_authority, &Call::get("/accounts").bearer(&access)).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (502, "upstream_malformed"));
}

/// Cookies that HTTP/2 spreads over fields are one field behind the gateway (RFC 9113 §8.2.3).
#[tokio::test]
async fn cookies_are_one_field_behind_the_gateway() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&access).header("cookie", "a=1").header("cookie", "b=2");
    let answer = stack.caller(&stack.alice).http(Http::V2).send(&stack.gateway_authority, &call).await;
    assert_eq!(stack.upstream.last().values("cookie"), ["a=1; b=2"]);
    passed(&stack, &answer, "cookies");
}
