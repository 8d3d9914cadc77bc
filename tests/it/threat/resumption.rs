//! TLS sessions carry what was proven in them, and nothing beyond the policy they were made under.

use super::{passed, refused};
use crate::harness::{Authority, Call, Http, Setup, Stack, Tls};

fn two_certificate_hosts() -> Setup {
    // A second host of the gateway's listener that asks for certificates, of another anchor set.
    let host = "\n[[listener.host]]\nnames = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n\
                client_certificate = \"request\"\nanchor_set = \"clients\"\n";
    let mark = "[anchor_set.clients]";
    Setup { gateway_changes: vec![(mark.into(), format!("{host}\n{mark}"))], ..Setup::default() }
}

/// RFC 8446 §4.6.1, §2.2: a resumed session has its first handshake's certificate. It must not have another's, nor gain one.
#[tokio::test]
async fn a_resumed_session_is_its_owners_and_nobody_elses() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&token);
    for tls in [Tls::V12, Tls::V13] {
        let people = [
            (stack.caller(&stack.alice).tls(tls).prepared(), None),
            (stack.caller(&stack.mallory).tls(tls).prepared(), Some("binding_certificate_mismatch")),
            (stack.nobody().tls(tls).prepared(), Some("binding_certificate_absent")),
        ];
        let mut resumed = [0; 3];
        for round in 0..3 {
            for (index, (caller, reason)) in people.iter().enumerate() {
                let mut connection = caller.connect(&stack.gateway_authority).await.expect("a connection");
                resumed[index] += usize::from(connection.resumed);
                for _ in 0..2 {
                    let answer = connection.send(&call).await;
                    match reason {
                        None => passed(&stack, &answer, (tls, round)),
                        Some(reason) => refused(&stack, &answer, 401, "invalid_token", reason, (tls, round)).await,
                    }
                }
            }
        }
        assert_eq!(resumed, [2, 2, 2], "{tls:?}: sessions are resumed, or this shows nothing");
    }
}

/// CVE-2025-23419, CVE-2025-68121: a session of one policy must not be resumed under another. Clients keep sessions by server name,
/// so one that has been at `as.example` on one port offers that session at `as.example` on the other.
#[tokio::test]
async fn a_session_is_not_resumed_under_another_policy() {
    let both = ("names = [\"localhost\"]".to_owned(), "names = [\"localhost\", \"as.example\"]".to_owned());
    let stack = Setup { server_changes: vec![both], without_gateway: true, ..Setup::default() }.start().await;
    let port = stack.issuer_authority.rsplit_once(':').expect("a port").1;
    let (asking, open) = (stack.as_authority.clone(), format!("as.example:{port}"));
    let call = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")]);
    for tls in [Tls::V12, Tls::V13] {
        for (first, second, status) in [(&open, &asking, 200), (&asking, &open, 401)] {
            let caller = stack.caller(&stack.alice).tls(tls).prepared();
            for round in 0..2 {
                let mut connection = caller.connect(first).await.expect("a connection");
                assert_eq!(connection.resumed, round > 0, "{first} {tls:?}");
                connection.send(&call).await;
            }
            let mut connection = caller.connect(second).await.expect("a connection");
            assert!(!connection.resumed, "{first} -> {second} {tls:?}");
            let answer = connection.send(&call).await;
            assert_eq!(answer.status, status, "{first} -> {second} {tls:?}: {}", answer.text());
        }
    }
}

/// RFC 9110 §15.5.20: a request for a host of another policy has come the wrong way, whatever certificate was shown on it.
#[tokio::test]
async fn a_host_is_not_reached_over_another_hosts_handshake() {
    let stack = two_certificate_hosts().start().await;
    let token = stack.token(&stack.alice).await;
    let port = stack.gateway_authority.rsplit_once(':').expect("a port").1.to_owned();
    let alice = stack.caller(&stack.alice);
    for (server_name, host) in [
        ("public.example", "localhost"),
        ("localhost", "public.example"),
        ("as.example", "LOCALHOST"),
        ("as.example", "localhost."),
        ("localhost", "127.0.0.1"),
        ("localhost", "unheard-of.example"),
    ] {
        let mut connection =
            alice.clone().server_name(server_name).connect(&stack.gateway_authority).await.expect("a connection");
        let call = Call::get("/accounts").bearer(&token).header("Host", &format!("{host}:{port}"));
        let answer = connection.send(&call).await;
        refused(&stack, &answer, 421, "misdirected_request", "request_misdirected", (server_name, host)).await;
    }
    // HTTP/2 clients send requests for another host on a connection whose certificate names it (RFC 9113 §9.1.1); here it names all
    // three. Warm or not: the good request first, then the one for the other host, then the good one again.
    for (server_name, host) in [("public.example", "localhost"), ("localhost", "public.example")] {
        let caller = alice.clone().server_name(server_name).http(Http::V2);
        let mut connection = caller.connect(&format!("{host}:{port}")).await.expect("a connection");
        let mut straight = alice.clone().http(Http::V2).connect(&stack.gateway_authority).await.expect("a connection");
        for _ in 0..2 {
            let answer = connection.send(&Call::get("/accounts").bearer(&token)).await;
            refused(&stack, &answer, 421, "misdirected_request", "request_misdirected", (server_name, host)).await;
            let answer = straight.send(&Call::get("/accounts").bearer(&token)).await;
            passed(&stack, &answer, "its own host");
        }
    }
    // A server name that nobody has is no way in.
    alice.clone().server_name("unheard-of.example").connect(&stack.gateway_authority).await.map(|_| ()).expect_err("an alert");
    for host in ["localhost", "LocalHost", "localhost."] {
        let call = Call::get("/accounts").bearer(&token).header("Host", &format!("{host}:{port}"));
        let answer = alice.clone().server_name("LOCALHOST").send(&stack.gateway_authority, &call).await;
        passed(&stack, &answer, host);
    }
}

/// Reads certificates, keys and anchor sets again.
async fn reload(config: &std::path::Path) {
    let loaded = symbolon::config::load(config, []).expect("a configuration");
    symbolon::app::ask(&loaded, &symbolon::app::Question::Reload).await.expect("reloaded");
}

/// apisix#9525, golang/go#77217: neither a resumed session nor an open connection outlives the trust that it was made under.
#[tokio::test]
async fn trust_that_is_withdrawn_is_withdrawn_from_sessions_and_open_connections() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let call = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")]);
    for tls in [Tls::V12, Tls::V13] {
        let caller = stack.caller(&stack.alice).tls(tls).prepared();
        let mut open = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert_eq!(open.send(&call).await.status, 200);
        let mut resumed = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert!(resumed.resumed);
        assert_eq!(resumed.send(&call).await.status, 200);

        // The same name, another key.
        std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
        reload(&stack.server_config()).await;
        let mut fresh = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert!(!fresh.resumed, "{tls:?}: a session of before the reload");
        for connection in [&mut open, &mut resumed, &mut fresh] {
            let answer = connection.send(&call).await;
            let verdict = stack.verdict(&answer).await;
            assert_eq!((verdict.0, verdict.1.as_str()), (401, "invalid_client"), "{tls:?}: {}", answer.text());
            assert!(["certificate_unknown_issuer", "certificate_signature"].contains(&verdict.2.as_str()), "{}", verdict.2);
        }
        // A file that is none changes nothing: neither does trust come back, nor is everybody trusted.
        std::fs::write(stack.path("client-ca.pem"), "nothing").expect("written");
        let loaded = symbolon::config::load(&stack.server_config(), []).expect("a configuration");
        symbolon::app::ask(&loaded, &symbolon::app::Question::Reload).await.map(drop).expect_err("a file without certificates");
        assert_eq!(open.send(&call).await.status, 401);

        std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
        reload(&stack.server_config()).await;
        for connection in [&mut open, &mut resumed, &mut fresh] {
            assert_eq!(connection.send(&call).await.status, 200, "{tls:?}: trusted again");
        }
    }
}
