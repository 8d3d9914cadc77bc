//! Certificates that were good when the connection was made, and are not any more.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{passed, refused};
use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::{App, Authority, Call, Http, Leaf, Setup, Stack, Tls, command::symbolon};

pub(super) fn token_request() -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")])
}

/// Waits until `call` on this connection is answered with this status; what that answer's private reason is.
pub(super) async fn refused_with(stack: &Stack, connection: &mut crate::harness::Connection, call: &Call, status: u16) -> String {
    let started = Instant::now();
    loop {
        let answer = connection.send(call).await;
        if answer.status == status && status == 200 {
            return String::new();
        }
        if answer.status == status {
            return stack.reason_of(answer.request_id()).await;
        }
        assert!(started.elapsed() < Duration::from_secs(2), "still {}: {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A revocation rule on a certificate's thumbprint stops its holder's next request at every endpoint, also on connections that were
/// there before, and kills the tokens that are bound to it.
#[tokio::test]
async fn a_revoked_certificate_authenticates_nobody_and_its_tokens_are_dead() {
    let stack = Stack::start().await;
    let (token, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    assert_eq!(stack.introspect(&opaque).await["active"], true);
    let alice = stack.caller(&stack.alice).http(Http::V2).prepared();
    let mut server = alice.connect(&stack.mtls_authority).await.expect("a connection");
    let mut gateway = alice.connect(&stack.gateway_authority).await.expect("a connection");
    assert_eq!(server.send(&token_request()).await.status, 200);
    assert_eq!(gateway.send(&Call::get("/accounts").bearer(&token)).await.status, 200);

    // People paste what openssl prints: told what it is, and what to write instead.
    let hex = "A4:".repeat(31) + "A4";
    for (wrong, word) in [(hex.as_str(), "with colons"), ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "SHA-1")] {
        let arguments = ["cert", "revoke", "--thumbprint", wrong, "--config", "symbolon.toml"];
        let said = symbolon(stack.dir.path(), &arguments).await.failed();
        assert!(said.contains(word), "{said}");
    }
    let thumbprint = stack.alice.thumbprint();
    let arguments = ["cert", "revoke", "--thumbprint", &thumbprint, "--note", "lost", "--config", "symbolon.toml"];
    symbolon(stack.dir.path(), &arguments).await.ok();

    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    let mut resumed = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert!(resumed.resumed, "a revocation does not end sessions; it is asked every time");
    assert_eq!(refused_with(&stack, &mut resumed, &token_request(), 401).await, "certificate_revoked");
    assert_eq!(refused_with(&stack, &mut gateway, &Call::get("/accounts").bearer(&token), 401).await, "token_revoked");
    assert_eq!(stack.introspect(&opaque).await["active"], false);
    // Another certificate of the same client is as good as before.
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    assert_eq!(stack.ask(&renewed, &[]).await.status, 200);
    let events = stack.events("server-audit.jsonl");
    assert!(events.iter().any(|event| event["event"] == "certificate_revoked" && event["note"] == "lost"));
}

/// By key or by number: every certificate that is meant is nobody's from then on, also one that has not been seen yet, and the tokens that
/// are bound to those that have been are dead everywhere. Taken back, it all counts again.
#[tokio::test]
async fn certificates_are_revoked_by_key_and_by_number_and_restored() {
    let stack = Stack::start().await;
    let spki = stack.alice.spki_sha256_hex();
    let serial = stack.alice.serial_hex();
    let ways: [&[&str]; 3] =
        [&["alice.pem", "--by", "key"], &["--spki", &spki], &["--serial", &serial, "--issuer", "CN=Client CA"]];
    let changed = |command: &'static str, way: &[&str]| {
        let arguments = [&["cert", command], way, &["--config", "symbolon.toml"]].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let dir = stack.dir.path().to_owned();
        async move { symbolon(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    for way in ways {
        let (token, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
        let call = Call::get("/accounts").bearer(&token);
        let alice = stack.caller(&stack.alice).http(Http::V2).prepared();
        let mut server = alice.connect(&stack.mtls_authority).await.expect("a connection");
        let mut gateway = alice.connect(&stack.gateway_authority).await.expect("a connection");
        assert_eq!(server.send(&token_request()).await.status, 200, "{way:?}");
        passed(&stack, &gateway.send(&call).await, way);

        let said = changed("revoke", way).await.ok();
        assert!(said.contains(&stack.alice.thumbprint()), "the certificate that a token is bound to: {said}");
        assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked", "{way:?}");
        assert_eq!(refused_with(&stack, &mut gateway, &call, 401).await, "token_revoked", "{way:?}");
        assert_eq!(stack.introspect(&opaque).await["active"], false, "{way:?}");
        stack.upstream.forget();
        let mallory = stack.token(&stack.mallory).await;
        passed(&stack, &stack.at_gateway(&stack.mallory, &mallory).await, "another's certificate");
        let said = changed("list-revoked", &[]).await.ok();
        assert!(said.contains(&stack.alice.thumbprint()) && said.contains("(with certificate_"), "{said}");

        changed("restore", way).await.ok();
        assert_eq!(refused_with(&stack, &mut server, &token_request(), 200).await, "", "{way:?}");
        let answer = stack.wait_at_gateway(&stack.alice, &call, 200).await;
        assert_eq!(answer.status, 200, "{way:?}: {}", answer.text());
        assert_eq!(stack.introspect(&opaque).await["active"], true, "{way:?}");
        stack.upstream.forget();
        let said = changed("restore", way).await.failed();
        assert!(said.contains("no rule in force"), "{said}");
    }
    // One that nobody has seen yet, renewed with the same key; another number of the same issuer is not meant.
    let unseen = stack.client_ca.issue(Leaf::client("alice"));
    let renewed = stack.client_ca.renew(&unseen, Leaf::client("alice"));
    changed("revoke", &["--spki", &unseen.spki_sha256_hex()]).await.ok();
    for identity in [&unseen, &renewed] {
        let mut connection = stack.caller(identity).connect(&stack.mtls_authority).await.expect("a connection");
        assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, "certificate_revoked");
    }
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "the other certificate of the client");
    // What was revoked for itself stays so when its key is restored.
    renewed.write(stack.dir.path());
    changed("revoke", &["alice.pem"]).await.ok();
    changed("restore", &["alice.pem", "--by", "key"]).await.ok();
    let mut connection = stack.caller(&unseen).connect(&stack.mtls_authority).await.expect("a connection");
    let started = Instant::now();
    while connection.send(&token_request()).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the key is not restored");
        // Failed attempts are counted: the client must not be shut out for asking too often.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut connection = stack.caller(&renewed).connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, "certificate_revoked");
    // Also one that the rule on its key reached first.
    let both = stack.client_ca.issue(Leaf::client("alice"));
    both.write(stack.dir.path());
    let token = stack.token(&both).await;
    let call = Call::get("/accounts").bearer(&token);
    changed("revoke", &["alice.pem", "--by", "key"]).await.ok();
    changed("revoke", &["alice.pem", "--note", "lost again"]).await.ok();
    let started = Instant::now();
    while !stack.events("server-audit.jsonl").iter().any(|line| line["note"] == "lost again") {
        assert!(started.elapsed() < Duration::from_secs(10), "it is not in the trail");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    changed("restore", &["alice.pem", "--by", "key"]).await.ok();
    let said = changed("list-revoked", &[]).await.ok();
    assert!(said.lines().any(|line| line.contains(&both.thumbprint()) && !line.contains("(with ")), "{said}");
    let mut connection = stack.caller(&both).connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, "certificate_revoked");
    let answer = stack.caller(&both).send(&stack.gateway_authority, &call).await;
    assert_eq!(answer.status, 401);
    changed("restore", &["alice.pem"]).await.ok();
    assert_eq!(refused_with(&stack, &mut connection, &token_request(), 200).await, "");
    let events = stack.events("server-audit.jsonl");
    for (event, kind) in [("certificates_revoked", "certificate_key"), ("certificates_restored", "certificate_serial")] {
        assert!(events.iter().any(|line| line["event"] == event && line["kind"] == kind), "{event}");
    }
}

/// A certificate that lives for a few seconds more, of the stack's authority.
fn dying(stack: &Stack, seconds: i64) -> crate::harness::Identity {
    stack.client_ca.issue(Leaf { not_after: seconds, ..Leaf::client("alice") })
}

/// RFC 5280 §4.1.2.5: a certificate that expires stops the next request on a connection that was made before, and on sessions resumed
/// from it.
#[tokio::test]
async fn a_certificate_that_expires_stops_the_next_request() {
    let stack = Stack::start().await;
    let mut connections = Vec::new();
    let identity = dying(&stack, 5);
    let token = stack.token(&identity).await;
    let call = Call::get("/accounts").bearer(&token);
    for (tls, http) in [(Tls::V12, Http::V1), (Tls::V13, Http::V2)] {
        let caller = stack.caller(&identity).tls(tls).http(http).prepared();
        for (authority, call) in [(&stack.gateway_authority, &call), (&stack.mtls_authority, &token_request())] {
            let mut connection = caller.connect(authority).await.expect("a connection");
            let answer = connection.send(call).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            connections.push((connection, call.clone(), caller.clone(), authority.clone()));
        }
    }
    tokio::time::sleep(Duration::from_millis(6_100)).await;
    stack.upstream.forget();
    for (mut connection, call, caller, authority) in connections {
        let answer = connection.send(&call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "certificate_expired"));
        let mut resumed = caller.connect(&authority).await.expect("a connection");
        assert!(resumed.resumed, "or this shows nothing");
        let answer = resumed.send(&call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "certificate_expired"));
    }
    stack.upstream.assert_untouched();
}

/// Reads a response that streams for ever until it is cut; how long that took.
pub(super) async fn streams_until_cut(
    stack: &Stack,
    identity: &crate::harness::Identity,
    token: &str,
    meanwhile: impl Future,
) -> Duration {
    stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning");
    let mut stream = stack.caller(identity).raw(&stack.gateway_authority).await.expect("a connection");
    stream.write_all(&Call::get("/accounts").bearer(token).bytes(&stack.gateway_authority)).await.expect("written");
    let mut head = vec![0u8; 4_096];
    let mut read = 0;
    while !String::from_utf8_lossy(&head[..read]).contains("beginning") {
        let more = stream.read(&mut head[read..]).await.expect("an answer");
        assert!(more > 0, "cut before it began: {}", String::from_utf8_lossy(&head[..read]));
        read += more;
    }
    meanwhile.await;
    let started = Instant::now();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the stream goes on");
    started.elapsed()
}

/// istio#7630: what streams ends within a second of the moment at which its certificate is not good any more.
#[tokio::test]
async fn an_open_stream_ends_with_its_certificate() {
    let stack = Stack::start().await;
    let second = Duration::from_millis(1_300);
    // The authority is taken away.
    let token = stack.token(&stack.alice).await;
    let cut = streams_until_cut(&stack, &stack.alice, &token, async {
        std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
        symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
    });
    assert!(cut.await < second);
    std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
    symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
    symbolon(stack.dir.path(), &["reload", "--config", "symbolon.toml"]).await.ok();
    // It expires.
    let identity = dying(&stack, 4);
    let expires = Instant::now() + Duration::from_secs(5);
    let token = stack.token(&identity).await;
    streams_until_cut(&stack, &identity, &token, async {}).await;
    assert!(Instant::now() < expires + second && Instant::now() > expires - 2 * second);
    // It is revoked.
    let identity = stack.client_ca.issue(Leaf::client("alice"));
    identity.write(stack.dir.path());
    let token = stack.token(&identity).await;
    let cut = streams_until_cut(&stack, &identity, &token, async {
        symbolon(stack.dir.path(), &["cert", "revoke", "alice.pem", "--config", "symbolon.toml"]).await.ok();
    });
    assert!(cut.await < second);
}

/// Route, host and listener of the gateway each name a set, and so does a registration: a certificate must satisfy every one.
#[tokio::test]
async fn every_set_that_is_named_must_accept() {
    // Two authorities. `ours` and `theirs` know one each, `both` knows both.
    let sets =
        "\n[anchor_set.theirs]\nfiles = [\"their-ca.pem\"]\n[anchor_set.both]\nfiles = [\"client-ca.pem\", \"their-ca.pem\"]\n";
    let listeners = ["both", "clients"];
    for (listener_set, host_set) in listeners.into_iter().flat_map(|listener| ["both", "clients"].map(|host| (listener, host))) {
        let routes = ["both", "clients", "theirs"].map(|set| {
            format!(
                "\n[[route]]\nname = \"{set}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{set}\"\nupstream = \"{{upstream}}\"\n\
                 authorization_server = \"test\"\naudience = \"{{accounts}}\"\nanchor_set = \"{set}\"\n"
            )
        });
        let listener = (
            "address = \"127.0.0.1:{gateway_port}\"".to_owned(),
            format!("address = \"127.0.0.1:{{gateway_port}}\"\nanchor_set = \"{listener_set}\""),
        );
        let host = ("anchor_set = \"clients\"".to_owned(), format!("anchor_set = \"{host_set}\""));
        let setup = Setup {
            gateway: format!("{}{sets}", routes.concat()),
            gateway_changes: vec![host, listener],
            server_changes: vec![("anchor_set = \"clients\"".into(), "anchor_set = \"both\"".into())],
            server: sets.into(),
            ..Setup::default()
        };
        let their_ca = Authority::new("Their CA");
        let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("their-ca.pem", &their_ca.pem)]).await;
        stack.start_server().await;
        stack.start_gateway().await;
        let carol = their_ca.issue(Leaf::client("carol"));
        let mut registrations = vec![stack.person("carol"), stack.person("alice-ours"), stack.person("carol-ours")];
        registrations[1]["tls_client_auth_subject_dn"] = "CN=alice".into();
        registrations[2]["tls_client_auth_subject_dn"] = "CN=carol".into();
        registrations[1]["anchor_set"] = "clients".into();
        registrations[2]["anchor_set"] = "clients".into();
        stack.register(&registrations).await;
        // The registration's set beside the host's.
        for (identity, client_id, expected) in
            [(&stack.alice, "alice-ours", 200), (&carol, "carol-ours", 401), (&carol, "carol", 200)]
        {
            let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
            assert_eq!(stack.post(identity, "/token", &form).await.status, expected, "{client_id}");
        }
        for (identity, theirs) in [(&stack.alice, false), (&carol, true)] {
            let token = stack.token(identity).await;
            for route in ["both", "clients", "theirs"] {
                let call = Call::get(&format!("/{route}")).bearer(&token);
                let answer = stack.caller(identity).send(&stack.gateway_authority, &call).await;
                let what = (listener_set, host_set, route, theirs);
                let accepts = |set: &str| set == "both" || (set == "theirs") == theirs;
                if [listener_set, host_set, route].into_iter().all(accepts) {
                    passed(&stack, &answer, what);
                } else {
                    refused(&stack, &answer, 401, "invalid_token", "certificate_unknown_issuer", what).await;
                }
            }
        }
    }
}

/// `permissive` lets a request through and tells its upstream what the certificate is worth; `enforce` lets none through without a good
/// one. The header is set or removed, never passed.
#[tokio::test]
async fn modes_decide_or_tell() {
    let route = |name: &str, host: &str, more: &str| {
        format!(
            "\n[[route]]\nname = \"{name}\"\nhost = \"{host}\"\npath = \"/{name}\"\nupstream = \"{{upstream}}\"\n\
             authorization_server = \"test\"\naudience = \"{{accounts}}\"\nproof_of_possession = \"optional\"\n{more}\n"
        )
    };
    let local = "{gateway_authority}";
    let gateway = [
        route("tell", local, "certificate_mode = \"permissive\""),
        route("enforce", local, "certificate_mode = \"enforce\""),
        route("tell-public", "public.example:{gateway_port}", "certificate_mode = \"permissive\""),
    ];
    let mut unbound = serde_json::json!({
        "client_id": "unbound",
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject_dn": "CN=alice",
        "scope": "read write",
        "resources": ["{accounts}"],
    });
    unbound["tls_client_certificate_bound_access_tokens"] = false.into();
    let stack = Setup { gateway: gateway.concat(), clients: vec![unbound], ..Setup::default() }.start().await;
    let answer = stack.post(&stack.alice, "/token", &[("grant_type", "client_credentials"), ("client_id", "unbound")]).await;
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let spoofed = |path: &str| {
        let call = Call::get(path).bearer(&token);
        call.header("X-Symbolon-Client-Verify", "SUCCESS").header("x_symbolon_client_verify", "SUCCESS")
    };
    let stranger = Authority::new("Other").issue(Leaf::client("alice"));
    let expired = stack.client_ca.issue(Leaf { not_after: -60, ..Leaf::client("alice") });
    let good = stack.caller(&stack.alice);
    let table = [
        (stack.nobody(), "NONE", "certificate_absent"),
        (stack.caller(&stranger), "FAILED:certificate_unknown_issuer", "certificate_unknown_issuer"),
        (stack.caller(&expired), "FAILED:certificate_expired", "certificate_expired"),
        (stack.caller(&stack.client_ca.as_client()), "FAILED:certificate_authority_as_client", "certificate_authority_as_client"),
    ];
    let told = |expected: &[&str]| {
        let received = stack.upstream.last();
        let values: Vec<_> = received.headers.iter().filter(|(name, _)| name.to_lowercase().contains("verify")).collect();
        assert_eq!(values.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), expected);
    };
    for (caller, word, reason) in table {
        let answer = caller.send(&stack.gateway_authority, &spoofed("/tell")).await;
        told(&[word]);
        passed(&stack, &answer, word);
        assert_eq!(stack.event_of(answer.request_id()).await["certificate_verdict"], word);
        let answer = caller.send(&stack.gateway_authority, &spoofed("/enforce")).await;
        refused(&stack, &answer, 401, "invalid_token", reason, word).await;
        assert!(answer.challenge().starts_with("Bearer error=\"invalid_token\""), "{}", answer.challenge());
        // Where nothing is judged, nothing is told, whatever the caller says.
        let answer = caller.send(&stack.gateway_authority, &spoofed("/optional")).await;
        told(&[]);
        passed(&stack, &answer, word);
    }
    for (path, word) in [("/tell", "SUCCESS"), ("/enforce", "SUCCESS")] {
        let answer = good.send(&stack.gateway_authority, &spoofed(path)).await;
        told(&[word]);
        passed(&stack, &answer, path);
    }
    // A host that asks for no certificate says so too.
    let answer = good.send(&stack.public_authority, &spoofed("/tell-public")).await;
    told(&["NONE"]);
    passed(&stack, &answer, "public");
    // Permissive is not leave to use another's token.
    let bound = stack.token(&stack.alice).await;
    let answer = stack.caller(&stack.mallory).send(&stack.gateway_authority, &Call::get("/tell").bearer(&bound)).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "bound").await;
}

/// The mode of a listener is that of its hosts and routes, unless these have one of their own: a host's comes before the listener's, a route's before
/// both.
#[tokio::test]
async fn modes_of_listeners_and_hosts_count_where_nothing_nearer_says_otherwise() {
    let asks = "client_certificate = \"request\"\nanchor_set = \"clients\"";
    for (of_listener, of_host) in [("permissive", "enforce"), ("enforce", "permissive")] {
        let services = "services = [\"gateway\"]".to_owned();
        let server = "certificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"";
        let public = format!("names = [\"public.example\"]\n{server}");
        let own = format!("[[listener.host]]\nnames = [\"as.example\"]\n{server}\n{asks}\ncertificate_mode = \"{of_host}\"");
        let gateway_changes = vec![
            (services.clone(), format!("{services}\ncertificate_mode = \"{of_listener}\"")),
            (public.clone(), format!("{public}\n{asks}\n\n{own}")),
        ];
        let hosts = [("public.example:{gateway_port}", of_listener), ("as.example:{gateway_port}", of_host)];
        let other = |mode: &str| if mode == "enforce" { "permissive" } else { "enforce" };
        let route = |name: &str, host: &str, more: &str| {
            format!(
                "\n[[route]]\nname = \"{name} {host}\"\nhost = \"{host}\"\npath = \"/{name}\"\nupstream = \"{{upstream}}\"\n\
                 authorization_server = \"test\"\naudience = \"{{accounts}}\"\nproof_of_possession = \"optional\"\n{more}\n"
            )
        };
        let routes = hosts.map(|(host, mode)| {
            route("plain", host, "") + &route("own", host, &format!("certificate_mode = \"{}\"", other(mode)))
        });
        let unbound = serde_json::json!({
            "client_id": "unbound",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": "CN=alice",
            "tls_client_certificate_bound_access_tokens": false,
            "scope": "read write",
            "resources": ["{accounts}"],
        });
        let setup = Setup { gateway: routes.concat(), gateway_changes, clients: vec![unbound], ..Setup::default() };
        let stack = setup.start().await;
        let form = [("grant_type", "client_credentials"), ("client_id", "unbound")];
        let answer = stack.post(&stack.alice, "/token", &form).await;
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        let expired = stack.client_ca.issue(Leaf { not_after: -60, ..Leaf::client("alice") });
        let table = [
            (stack.nobody(), "NONE", "certificate_absent"),
            (stack.caller(&expired), "FAILED:certificate_expired", "certificate_expired"),
            (stack.caller(&stack.alice), "SUCCESS", ""),
        ];
        for (host, mode) in hosts {
            for (path, mode) in [("/plain", mode), ("/own", other(mode))] {
                for (caller, word, reason) in &table {
                    let what = (host, path, mode, *word);
                    let call = Call::get(path).bearer(&token).header("X-Symbolon-Client-Verify", "SUCCESS");
                    let answer = caller.send(&stack.fill(host), &call).await;
                    if mode == "enforce" && !reason.is_empty() {
                        refused(&stack, &answer, 401, "invalid_token", reason, what).await;
                        continue;
                    }
                    let received = stack.upstream.last();
                    let told = received.headers.iter().filter(|(name, _)| name.to_lowercase().contains("client-verify"));
                    assert_eq!(told.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), [*word], "{what:?}");
                    passed(&stack, &answer, what);
                }
            }
        }
    }
}

/// Who holds a revoked certificate gets nothing more for the refresh tokens that were issued to it, be it a client that the certificate
/// authenticates or a public one whose refresh token is bound to it; the families of other certificates go on, and all is as before when the
/// revocation is taken back.
#[tokio::test]
async fn a_revoked_certificate_ends_the_refresh_tokens_bound_to_it() {
    let public = App::metadata("alice", json!({ "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null }));
    let clients = vec![public, App::metadata("mallory", json!({}))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let mut browser = Browser::new(&stack);
    let (alice, mallory) = (App::alice(&stack), App::mallory(&stack));
    let another = App { identity: stack.client_ca.issue(Leaf::client("alice")), ..alice.clone() };
    let mut tokens = Vec::new();
    for app in [&alice, &mallory, &another] {
        let answer = app.tokens(&stack, &mut browser, &[("scope", "read offline_access openid")]).await;
        tokens.push(answer["refresh_token"].as_str().expect("one").to_owned());
    }
    let until = async |app: &App, token: &str, status: u16| {
        let started = Instant::now();
        loop {
            let answer = app.refresh(&stack, token).await;
            if answer.status == status {
                return answer;
            }
            assert!(started.elapsed() < Duration::from_secs(2), "still {}: {}", answer.status, answer.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for by in ["thumbprint", "key"] {
        for (app, token) in [&alice, &mallory, &another].into_iter().zip(&tokens) {
            until(app, token, 200).await;
        }
        for file in ["alice.pem", "mallory.pem"] {
            symbolon(stack.dir.path(), &["cert", "revoke", file, "--by", by]).await.ok();
        }
        for (app, token) in [(&alice, &tokens[0]), (&mallory, &tokens[1])] {
            let answer = until(app, token, 401).await;
            assert_eq!(answer.error(), "invalid_client", "by {by}: {}", answer.text());
            assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_revoked", "by {by}");
            assert!(answer.json()["access_token"].is_null() && answer.json()["refresh_token"].is_null());
        }
        let answer = another.refresh(&stack, &tokens[2]).await;
        assert_eq!(answer.status, 200, "another certificate's, by {by}: {}", answer.text());
        for file in ["alice.pem", "mallory.pem"] {
            symbolon(stack.dir.path(), &["cert", "restore", file, "--by", by]).await.ok();
        }
    }
    until(&alice, &tokens[0], 200).await;
    until(&mallory, &tokens[1], 200).await;
}
