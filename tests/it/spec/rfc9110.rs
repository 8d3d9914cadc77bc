//! RFC 9110: HTTP.

use crate::harness::stack::PROTOCOLS;
use crate::harness::{Call, Http, Stack};

/// §15.5.20: "The 421 (Misdirected Request) status code indicates that the request was directed at a server that is unable or unwilling
/// to produce an authoritative response for the target URI." A connection that was made for one host of a listener, under its rules
/// for certificates, is not for another.
#[tokio::test]
async fn a_request_for_another_hosts_policy_is_misdirected() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let metadata = "/.well-known/oauth-authorization-server";
    let table = [
        // (connected as, asked for, what)
        (&stack.as_authority, &stack.mtls_authority, Call::get(metadata)),
        (&stack.mtls_authority, &stack.as_authority, Call::get(metadata)),
        (&stack.as_authority, &stack.issuer_authority, Call::get(metadata)),
        (&stack.public_authority, &stack.gateway_authority, Call::get("/accounts").bearer(&token)),
        (&stack.gateway_authority, &stack.public_authority, Call::get("/accounts").bearer(&token)),
    ];
    for (connected, asked, call) in table {
        for (tls, http) in PROTOCOLS {
            let name = connected.rsplit_once(':').expect("host:port").0;
            let port = connected.rsplit_once(':').expect("host:port").1;
            let asked_host = asked.rsplit_once(':').expect("host:port").0;
            let caller = stack.caller(&stack.alice).tls(tls).http(http).server_name(name);
            // The same port, so that only the connection's server name differs from the request's authority.
            let answer = caller.send(&format!("{asked_host}:{port}"), &call).await;
            assert_eq!(answer.status, 421, "{connected} -> {asked} {tls:?} {http:?}: {}", answer.text());
            assert_eq!(stack.reason_of(answer.request_id()).await, "request_misdirected");
            let right = stack.caller(&stack.alice).tls(tls).http(http).server_name(asked_host);
            let answer = right.send(asked, &call).await;
            assert_ne!(answer.status, 421, "{asked} {tls:?} {http:?}");
        }
    }
}

/// §7.4 and §4.2.3: a host is compared without regard to case, and a trailing dot names the same host.
#[tokio::test]
async fn the_same_host_in_other_letters_is_not_misdirected() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let port = stack.gateway_authority.rsplit_once(':').expect("host:port").1;
    for host in ["LOCALHOST", "LocalHost"] {
        let call = Call::get("/accounts").bearer(&token).header("Host", &format!("{host}:{port}"));
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
}

/// §9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send content in the response."
#[tokio::test]
async fn head_is_get_without_content() {
    let stack = Stack::start().await;
    for (authority, path) in [
        (&stack.issuer_authority, "/.well-known/oauth-authorization-server"),
        (&stack.issuer_authority, "/jwks"),
        (&stack.gateway_authority, "/.well-known/symbolon/jwks.json"),
    ] {
        for http in [Http::V1, Http::V2] {
            let caller = stack.nobody().http(http);
            let mut connection = caller.connect(authority).await.expect("connected");
            let get = connection.send(&Call::get(path)).await;
            let head = connection.send(&Call::new("HEAD", path)).await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
            assert!(head.header("content-length").is_none_or(|length| length == get.body.len().to_string()), "{path}");
            // The connection is still in step.
            assert_eq!(connection.send(&Call::get(path)).await.body, get.body, "{path}");
            // Refusals have none either.
            for path in ["/accounts", "/nothing", "/token"] {
                let head = connection.send(&Call::new("HEAD", path)).await;
                assert!(head.status >= 400 && head.body.is_empty(), "{path}");
            }
            assert_eq!(connection.send(&Call::get(path)).await.body, get.body, "{path}");
        }
    }
}

/// §10.2.1 and §15.5.5: what is not there is 404 with a body that says no more.
#[tokio::test]
async fn nothing_is_at_other_paths() {
    let stack = Stack::start().await;
    for path in ["/nothing", "/token/", "//token", "/TOKEN", "/.well-known/openid-configuration"] {
        let answer = stack.caller(&stack.alice).send(&stack.mtls_authority, &Call::form(path, &[])).await;
        assert!([400, 404, 405].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("access_token"), "{path}");
    }
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/elsewhere")).await;
    assert_eq!(stack.verdict(&answer).await, (404, "not_found".to_owned(), "route_unknown".to_owned()));
    stack.upstream.assert_untouched();
}
