//! Identity headers are the gateway's to set.

use super::passed;
use crate::harness::{Call, Http, Stack, token};

const FORGED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.";

const NAMES: &[&str] = &[
    "x-symbolon-assertion",
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "ssl-client-cert",
    "x-ssl-client-verify",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "x-pomerium-jwt-assertion",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "x-amzn-mtls-clientcert",
    "remote-user",
    "x-original-url",
    "proxy",
];

/// What reached the upstream: one assertion, the gateway's, and nothing forged under any name.
#[track_caller]
fn assert_clean(stack: &Stack, what: &str) {
    let received = stack.upstream.last();
    let folded = |name: &str| name.to_ascii_lowercase().replace(|odd: char| !odd.is_ascii_alphanumeric(), "-");
    let assertions: Vec<_> = received.headers.iter().filter(|(name, _)| folded(name) == "x-symbolon-assertion").collect();
    assert_eq!(assertions.len(), 1, "{what}: {:?}", received.headers);
    let claims = token::claims(&assertions[0].1);
    assert_eq!(claims["sub"], "alice", "{what}");
    assert_eq!(claims["cnf"]["x5t#S256"], stack.alice.thumbprint(), "{what}");
    for (name, value) in &received.headers {
        assert!(!value.contains("forged") && !value.contains(FORGED), "{what}: {name}: {value}");
        assert_ne!(name.to_ascii_lowercase(), "authorization", "{what}");
    }
}

fn spellings(name: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        name.to_uppercase(),
        name.replace('-', "_"),
        name.replacen('-', "_", 1).to_uppercase(),
        name.replace('-', "."),
    ]
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_reaches_the_upstream() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    let mut connection = alice.connect(&stack.gateway_authority).await.expect("a connection");
    let mut over_h2 = alice.clone().http(Http::V2).connect(&stack.gateway_authority).await.expect("a connection");
    for name in NAMES {
        for spelling in spellings(name) {
            let value = if *name == "x-symbolon-assertion" { FORGED } else { "forged" };
            let call = Call::get("/accounts").bearer(&access).header(&spelling, value).header(&spelling, value);
            let answer = connection.send(&call).await;
            assert_clean(&stack, &spelling);
            passed(&stack, &answer, &spelling);
            let answer = over_h2.send(&call).await;
            assert_clean(&stack, &spelling);
            passed(&stack, &answer, &spelling);
        }
    }
    // Anything else passes: it is not that all headers are lost.
    let answer = connection.send(&Call::get("/accounts").bearer(&access).header("X-Kept", "kept")).await;
    assert_eq!(stack.upstream.last().values("x-kept"), ["kept"]);
    passed(&stack, &answer, "kept");
}

/// RFC 9110 §7.6.1 lets a client name fields to remove: not those that the gateway sets (CVE-2024-45410).
#[tokio::test]
async fn listing_our_headers_in_connection_does_not_remove_them() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let ours = ["x-symbolon-assertion", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "host"];
    for name in ["Connection", "Proxy-Connection"] {
        let call = Call::get("/accounts")
            .bearer(&access)
            .header(name, &format!("close, {}", ours.join(", ")))
            .header("X-Symbolon-Assertion", FORGED)
            .header("Keep-Alive", "forged")
            .header("X-Listed", "forged")
            .header("Connection", "x-listed");
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_clean(&stack, name);
        let received = stack.upstream.last();
        for name in ours {
            assert_eq!(received.values(name).len(), 1, "{name}: {:?}", received.headers);
        }
        passed(&stack, &answer, name);
    }
}

/// What stands behind a body could be taken for a header field (RFC 9110 §6.5.1).
#[tokio::test]
async fn nothing_forged_arrives_in_trailers() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let chunked = |trailers: &str| {
        Call::new("POST", "/accounts")
            .bearer(&access)
            .header("Transfer-Encoding", "chunked")
            .header("Trailer", "X-Symbolon-Assertion, Content-Digest")
            .body(format!("3\r\nabc\r\n0\r\n{trailers}\r\n"))
    };
    let alice = stack.caller(&stack.alice);
    for name in NAMES {
        for spelling in spellings(name) {
            // A digest is let through by name, so the trailer section itself is not what keeps the forged field out.
            let call = chunked(&format!("{spelling}: forged\r\nContent-Length: 3\r\n"));
            let answer = alice.send(&stack.gateway_authority, &call).await;
            let bytes = String::from_utf8_lossy(&stack.upstream.bytes()).into_owned();
            assert!(!bytes.contains("forged"), "{bytes}");
            assert_eq!(stack.upstream.last().body, b"abc");
            assert_clean(&stack, &spelling);
            passed(&stack, &answer, &spelling);
        }
    }
}

/// Answers that never reach the upstream carry nothing of the caller's either.
#[tokio::test]
async fn the_upstream_cannot_speak_in_the_gateways_name() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    stack.upstream.answer_with(
        "HTTP/1.1 200 OK\r\nContent-Length: 17\r\nX-Symbolon-Assertion: forged\r\nClient_Cert: forged\r\nAlt-Svc: h3=\":1\"\r\n\
         Connection: x-hop\r\nX-Hop: forged\r\nX-Kept: kept\r\n\r\n{\"upstream\":true}",
    );
    let answer = stack.at_gateway(&stack.alice, &access).await;
    assert!(!format!("{:?}", answer.headers).contains("forged"), "{:?}", answer.headers);
    assert_eq!((answer.header("alt-svc"), answer.header("x-kept")), (None, Some("kept")));
    passed(&stack, &answer, "answered");
}
