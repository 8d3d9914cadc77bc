//! Identity headers are the gateway's to set.

use super::passed;
use crate::harness::{Call, Http, Setup, Stack, token};

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

/// What stands behind a body could be taken for a header field (RFC 9110 §6.5.1): nothing does that is ours to say, announced or not, nor
/// anything that decides how the message is read. The application's own trailers pass.
#[tokio::test]
async fn nothing_forged_arrives_in_trailers() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    let mut connection = alice.connect(&stack.gateway_authority).await.expect("a connection");
    let decisive = ["authorization", "cookie", "content-type", "content-encoding", "if-match", "set-cookie", "x-request-id"];
    for name in NAMES.iter().chain(&decisive) {
        for spelling in spellings(name) {
            let trailers = format!("{spelling}: forged\r\nX-Kept: kept\r\nContent-Length: 3\r\n{spelling}: forged\r\n");
            let call = Call::new("POST", "/accounts")
                .bearer(&access)
                .header("Transfer-Encoding", "chunked")
                .header("Trailer", &format!("{spelling}, X-Kept, Content-Length"))
                .body(format!("3\r\nabc\r\n0\r\n{trailers}\r\n"));
            // Behind a request of this kind the connection is closed.
            let answer = alice.send(&stack.gateway_authority, &call).await;
            let bytes = String::from_utf8_lossy(&stack.upstream.bytes()).into_owned();
            assert!(!bytes.contains("forged"), "{bytes}");
            let received = stack.upstream.last();
            assert_eq!((received.body.as_slice(), received.values("trailer")), (&b"abc"[..], vec!["x-kept"]), "{spelling}");
            // That one did arrive: the trailer section itself is not what keeps the forged field out.
            assert_eq!(received.trailers, [("x-kept".to_owned(), "kept".to_owned())], "{spelling}");
            assert_clean(&stack, &spelling);
            passed(&stack, &answer, &spelling);
        }
    }
    let answer = connection.send(&Call::get("/accounts").bearer(&access)).await;
    passed(&stack, &answer, "without trailers");
}

const PATHS: &str = r#"
[[route]]
name = "open"
host = "{gateway_authority}"
path = "/open"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = "danger_off"
certificate_mode = "permissive"

[[route]]
name = "socket"
host = "{gateway_authority}"
path = "/socket"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
websocket = true
"#;

/// Whatever way a request goes: the assertion behind a route that proves nothing, behind one for unbound tokens, on a host without
/// certificates, on the opening of a WebSocket, and with a method of its own is the gateway's or none; and no answer of the gateway
/// itself, whatever it is about, says anything back.
#[tokio::test]
async fn on_every_path_our_names_are_ours() {
    let stack = Setup { gateway: PATHS.to_owned(), ..Setup::default() }.start().await;
    let access = stack.token(&stack.alice).await;
    let forged = |mut call: Call| {
        for name in NAMES {
            for spelling in spellings(name) {
                // Host and forwarded ones are asked for by the names that the gateway sets too.
                call = call.header(&spelling, if *name == "x-symbolon-assertion" { FORGED } else { "forged" });
            }
        }
        // No more fields than are read.
        call.headers.truncate(85);
        call.header("Connection", "x-symbolon-assertion, x-forwarded-for")
    };
    let alice = stack.caller(&stack.alice);
    let opening = |target: &str| {
        Call::get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let calls = [
        Call::get("/open"),
        Call::get("/optional"),
        Call::new("OPTIONS", "/accounts"),
        Call::new("POST", "/accounts").body("x"),
        opening("/socket"),
        opening("/accounts"),
    ];
    for call in calls {
        let answer = alice.send(&stack.gateway_authority, &forged(call.clone().bearer(&access))).await;
        assert_clean(&stack, &call.target);
        passed(&stack, &answer, &call.target);
    }
    // Nobody's certificate, so that there is nothing to tell of it; the assertion is there all the same.
    let answer = stack.nobody().send(&stack.gateway_authority, &forged(Call::get("/open").bearer(&access))).await;
    assert_clean(&stack, "no certificate");
    passed(&stack, &answer, "no certificate");
    let own = [
        (401, Call::get("/accounts")),
        (401, Call::new("OPTIONS", "/accounts")),
        (401, opening("/socket")),
        (404, Call::get("/nowhere")),
        (400, Call::get("/accounts//x")),
        (405, Call::new("POST", "/.well-known/symbolon/jwks.json")),
        (200, Call::get("/.well-known/symbolon/jwks.json")),
        (200, Call::get("/.well-known/oauth-protected-resource/accounts")),
    ];
    for http in [Http::V1, Http::V2] {
        for (status, call) in own.iter().filter(|(_, call)| http == Http::V1 || call.headers.is_empty()) {
            let mut call = forged(call.clone());
            if http == Http::V2 {
                call.headers.retain(|(name, _)| name != "Connection");
            }
            let answer = alice.clone().http(http).send(&stack.gateway_authority, &call).await;
            assert_eq!(answer.status, *status, "{}", call.target);
            let said = format!("{:?} {}", answer.headers, answer.text());
            assert!(!said.contains("forged") && !said.contains(FORGED), "{said}");
            stack.upstream.assert_untouched();
        }
    }
    // An upstream's fault is answered by the gateway, without anything of either side.
    stack.upstream.answer_with("HTTP/1.1 999999 forged\r\n\r\n");
    let answer = alice.send(&stack.gateway_authority, &forged(Call::get("/accounts").bearer(&access))).await;
    assert_eq!(answer.status, 502);
    assert!(!format!("{:?} {}", answer.headers, answer.text()).contains("forged"));
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
