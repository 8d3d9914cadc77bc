//! The word to proxies that forward by themselves: what they are told is what would have been forwarded, a thief gets no further than at the
//! gateway itself, and nobody but a trusted proxy is told anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::refused;
use crate::harness::authority::write_private;
use crate::harness::command::symbolon;
use crate::harness::dpop::Prover;
use crate::harness::proxy::{Program, Proxy, filled};
use crate::harness::{Answer, Authority, Call, Caller, Identity, Leaf, Setup, Stack, ports, token};

/// Where trusted proxies come from; everybody else comes from 127.0.0.1.
const TRUSTED: [u8; 4] = [127, 0, 0, 2];

/// Routes for what proxies ask about: at a host without port, as clients know it.
const ROUTES: &str = r#"
[[route]]
name = "asked"
host = "localhost"
path = "/asked"
authorization_server = "test"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"
certificate_headers = ["rfc9440"]
request_header = [{ name = "X-Who", value = "${token.client_id}" }, { name = "X-Nobody", value = "${claim.none}" }]

[[route]]
name = "changed"
host = "localhost"
path = "/asked/changed"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["admin"]
token = "jwt"
methods = ["POST"]

[[route]]
name = "limited"
host = "localhost"
path = "/limited"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
rate_limit = { requests = 1, seconds = 3600, per = "client" }

[[redirect]]
host = "localhost"
path = "/asked/moved"
to = "https://elsewhere.example/"
"#;

fn listener(port: u16, proxy: &str, host: &str) -> String {
    format!(
        "\n[[listener]]\nname = \"asked-{port}\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"forward_auth\"]\n\
         certificate_source = \"trusted_proxy_header\"\ntrusted_proxy = {{ {proxy} }}\n\n[[listener.host]]\nnames = [\"*\"]\n\
         certificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\nanchor_set = \"clients\"\n{host}\n"
    )
}

async fn stack(listeners: &str, proxies: &Authority) -> Stack {
    let anchors = "[anchor_set.clients]\nfiles = [\"client-ca.pem\"]\n";
    let more = format!("{anchors}\n[anchor_set.proxies]\nfiles = [\"proxy-ca.pem\"]\n");
    let setup = Setup {
        gateway: format!("{ROUTES}{listeners}"),
        gateway_changes: vec![(anchors.to_owned(), more)],
        clients: vec![Stack::prover("pat")],
        ..Setup::default()
    };
    let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("proxy-ca.pem", &proxies.pem)]).await;
    stack.start_server().await;
    stack.start_gateway().await;
    stack
}

/// How a proxy tells a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Original,
    Forwarded,
}

const DIALECTS: [(Dialect, &str); 2] = [(Dialect::Original, "x_original"), (Dialect::Forwarded, "x_forwarded")];

/// The question about a request whose client has shown this certificate.
fn question(dialect: Dialect, method: &str, target: &str, shown: Option<&Identity>, request: &Call) -> Call {
    let mut call = Call { headers: request.headers.clone(), ..Call::get("/") };
    if let Some(identity) = shown {
        call = call.header("Client-Cert", &format!(":{}:", STANDARD.encode(&identity.chain[0])));
    }
    match dialect {
        Dialect::Original => {
            call.header("X-Original-Method", method).header("X-Original-URL", &format!("https://localhost{target}"))
        }
        Dialect::Forwarded => call
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "localhost")
            .header("X-Forwarded-Uri", target),
    }
}

/// What is said of it.
async fn told(stack: &Stack, port: u16, call: &Call) -> Answer {
    stack.nobody().from(TRUSTED).send(&format!("localhost:{port}"), call).await
}

const NAMES: [&str; 5] = ["x-symbolon-assertion", "x-symbolon-client-verify", "client-cert", "x-who", "x-nobody"];

/// The holder goes on, as who it is, with every field set or empty; a thief, however he comes, is told 401 or 403 and nothing else.
#[tokio::test]
async fn a_proxy_is_told_what_forwarding_would_have_made_of_it() {
    let ports = [ports::free(), ports::free()];
    let range = "addresses = [\"127.0.0.2/31\"]";
    let listeners: String = DIALECTS
        .iter()
        .zip(ports)
        .map(|((_, name), port)| listener(port, &format!("preset = \"rfc9440\", original_request = \"{name}\", {range}"), ""))
        .collect();
    let stack = stack(&listeners, &Authority::new("Proxy CA")).await;
    let token = stack.token(&stack.alice).await;
    let bearer = Call::get("/").bearer(&token);
    for ((dialect, _), port) in DIALECTS.into_iter().zip(ports) {
        let ask = async |method: &str, target: &str, shown: Option<&Identity>, request: &Call| {
            told(&stack, port, &question(dialect, method, target, shown, request)).await
        };
        // The holder, also of what the client wrote in another spelling.
        for (method, target, path) in
            [("PUT", "/asked/%61?x=1&access=%2f", "/asked/a"), ("GET", "/asked", "/asked"), ("DELETE", "/asked/b", "/asked/b")]
        {
            let answer = ask(method, target, Some(&stack.alice), &bearer).await;
            assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
            assert_eq!(answer.text(), "");
            let claims = token::claims(answer.header("x-symbolon-assertion").expect("an assertion"));
            assert_eq!(
                (&claims["method"], &claims["route"], &claims["aud"], &claims["client_id"]),
                (&json!(method), &json!("asked"), &json!("localhost"), &json!("alice"))
            );
            assert_eq!(claims["cnf"]["x5t#S256"], stack.alice.thumbprint());
            for name in NAMES {
                assert_eq!(answer.headers.iter().filter(|(known, _)| known == name).count(), 1, "{name}");
            }
            let said = ["x-who", "x-nobody", "x-symbolon-client-verify", "cache-control"].map(|name| answer.header(name));
            assert_eq!(said, [Some("alice"), Some(""), Some(""), Some("no-store")]);
            assert!(answer.header("client-cert").is_some_and(|value| value.starts_with(':')));
            let event = stack.event_of(answer.request_id()).await;
            assert_eq!(
                (&event["method"], &event["path"], &event["authority"], &event["status"]),
                (&json!(method), &json!(path), &json!("localhost"), &json!(200))
            );
        }
        // Thieves, forgers, and whoever asks for something else.
        let nothing = Call::get("/");
        for (method, target, shown, request, status, reason) in [
            ("GET", "/asked", Some(&stack.mallory), &bearer, 401, "binding_certificate_mismatch"),
            ("GET", "/asked", None, &bearer, 401, "binding_certificate_absent"),
            ("GET", "/asked", Some(&stack.alice), &nothing, 401, "token_absent"),
            (
                "OPTIONS",
                "/asked",
                Some(&stack.alice),
                &nothing.clone().header("Origin", "https://evil.example"),
                401,
                "token_absent",
            ),
            ("GET", "/asked?access_token=x", Some(&stack.alice), &nothing, 403, "token_ambiguous"),
            ("GET", "/asked", Some(&stack.alice), &bearer.clone().bearer("x"), 403, "token_ambiguous"),
            ("POST", "/asked/changed", Some(&stack.alice), &bearer, 403, "token_scope"),
            ("GET", "/asked/changed", Some(&stack.alice), &bearer, 403, "policy_method"),
            ("GET", "/asked/moved/x", Some(&stack.alice), &bearer, 403, "route_unknown"),
            ("GET", "/elsewhere", Some(&stack.alice), &bearer, 403, "route_unknown"),
            ("GET", "/.well-known/symbolon/jwks.json", Some(&stack.alice), &bearer, 403, "route_unknown"),
            ("GET", "/asked/../elsewhere", Some(&stack.alice), &bearer, 403, "request_ambiguous"),
            ("GET", "/asked//changed", Some(&stack.alice), &bearer, 403, "request_ambiguous"),
            ("GET", "/asked%2fchanged", Some(&stack.alice), &bearer, 403, "request_ambiguous"),
            ("GET", "/asked/changed;x", Some(&stack.alice), &bearer, 403, "request_ambiguous"),
            ("GET", "/asked#/changed", Some(&stack.alice), &bearer, 403, "original_request"),
            ("CONNECT", "/asked", Some(&stack.alice), &bearer, 403, "method_not_allowed"),
        ] {
            let what = format!("{dialect:?} {method} {target}");
            let answer = ask(method, target, shown, request).await;
            let (said, _, why) = stack.verdict(&answer).await;
            assert_eq!((said, why.as_str()), (status, reason), "{what}: {}", answer.text());
            assert!(NAMES.iter().all(|name| answer.header(name).is_none()), "{what}");
            assert_eq!((answer.header("location"), !answer.challenges().is_empty() || status == 403), (None, true));
        }
        // A share that is used up.
        if dialect == Dialect::Original {
            assert_eq!(ask("GET", "/limited", Some(&stack.alice), &bearer).await.status, 200);
        }
        let answer = ask("GET", "/limited", Some(&stack.alice), &bearer).await;
        assert_eq!(stack.verdict(&answer).await, (403, "too_many_requests".into(), "rate_limited".into()));
        // A proof is of the request that goes on, and good for one.
        let key = Prover::new();
        let pat = stack.client_ca.issue(Leaf::client("pat"));
        let bound = stack.dpop_token(&pat, &key, &stack.accounts).await;
        let proof = key.prove_with("PUT", "https://localhost/asked/a", &json!({ "ath": crate::harness::dpop::ath(&bound) }));
        let answer = ask("PUT", "/asked/a", None, &Call::get("/").dpop(&bound, &proof)).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "use_dpop_nonce"), "{dialect:?}");
        let proof = key.prove_token("PUT", "https://localhost/asked/a", &bound, answer.nonce());
        let with = Call::get("/").dpop(&bound, &proof);
        assert_eq!(stack.verdict(&ask("PUT", "/asked/b", None, &with).await).await.2, "dpop_proof_target", "{dialect:?}");
        assert_eq!(stack.verdict(&ask("GET", "/asked/a", None, &with).await).await.2, "dpop_proof_method", "{dialect:?}");
        let answer = ask("PUT", "/asked/a", None, &with).await;
        assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
        let again = ask("PUT", "/asked/a", None, &with).await;
        assert_eq!(stack.verdict(&again).await, (401, "invalid_dpop_proof".into(), "dpop_proof_replayed".into()));
        let own =
            key.prove_with("GET", &format!("https://localhost:{port}/"), &json!({ "ath": crate::harness::dpop::ath(&bound) }));
        let answer = ask("GET", "/asked/a", None, &Call::get("/").dpop(&bound, &own)).await;
        assert_eq!(stack.verdict(&answer).await.2, "dpop_proof_target", "of the question");

        // Nobody else is told anything, whatever he says; nor does a question reach another listener.
        let good = question(dialect, "GET", "/asked", Some(&stack.alice), &bearer);
        for caller in [stack.nobody(), stack.caller(&stack.alice)] {
            let answer = caller.send(&format!("localhost:{port}"), &good).await;
            refused(&stack, &answer, 403, "access_denied", "proxy_untrusted", dialect).await;
            assert!(NAMES.iter().all(|name| answer.header(name).is_none()));
        }
        let answer = stack.caller(&stack.alice).from(TRUSTED).send(&stack.gateway_authority, &good).await;
        refused(&stack, &answer, 404, "not_found", "route_unknown", dialect).await;
        // Nor is there a way through: at the gateway itself a route without upstream has none, and here one with an upstream is not reached.
        let through = Call::get("/asked/a").bearer(&token).header("Host", "localhost");
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &through).await;
        refused(&stack, &answer, 404, "not_found", "route_unknown", dialect).await;
        let host = Call::new("POST", "/asked/changed").bearer(&token).header("Host", "localhost");
        assert_eq!(told(&stack, port, &host).await.status, 403);
        // Twice, or left out.
        for (name, _) in good.headers.iter().filter(|(name, _)| name.starts_with("X-")) {
            let mut without = good.clone();
            without.headers.retain(|(other, _)| other != name);
            let twice = good.headers.iter().find(|(other, _)| other == name).map(|(_, value)| good.clone().header(name, value));
            for call in [without, twice.expect("the field")] {
                let answer = told(&stack, port, &call).await;
                refused(&stack, &answer, 403, "invalid_request", "original_request", (dialect, name)).await;
            }
        }
        let doubled = good.clone().header("Client-Cert", ":AAAA:");
        refused(&stack, &told(&stack, port, &doubled).await, 403, "invalid_request", "proxy_header_malformed", dialect).await;
        // What the client claims itself.
        for name in [
            "X-Symbolon-Assertion",
            "x_symbolon_assertion",
            "X-SYMBOLON-CLIENT-VERIFY",
            "X-Symbolon-Whatever",
            "X-Who",
            "x_who",
            "X.Nobody",
            "Client_Cert",
            "SSL-Client-Cert",
            "x_forwarded_client_cert",
            "X-SSL-Client-Cert",
            "X-Rewrite-Url",
            "x_original_url",
        ] {
            let answer = told(&stack, port, &good.clone().header(name, "forged")).await;
            refused(&stack, &answer, 403, "invalid_request", "identity_claimed", (dialect, name)).await;
        }
        let cookie = good.clone().header("Cookie", "a=b; __Host-symbolon-gateway-staff=1.sealed");
        refused(&stack, &told(&stack, port, &cookie).await, 403, "invalid_request", "identity_claimed", dialect).await;
        let upgrade = good.clone().header("Connection", "upgrade").header("Upgrade", "h2c");
        refused(&stack, &told(&stack, port, &upgrade).await, 403, "invalid_request", "original_request", dialect).await;
        let websocket = good.clone().header("Connection", "upgrade").header("Upgrade", "websocket");
        refused(&stack, &told(&stack, port, &websocket).await, 403, "invalid_request", "original_request", dialect).await;
        let other = good.clone().header("Cookie", "a=b; c=d");
        assert_eq!(told(&stack, port, &other).await.status, 200, "somebody else's cookies");
        assert_eq!(told(&stack, port, &good).await.status, 200, "as it was, without that");
    }
    stack.upstream.assert_untouched();
    // What was revoked goes nowhere.
    stack.revoke(&stack.alice, &token).await;
    let good = question(Dialect::Original, "GET", "/asked", Some(&stack.alice), &bearer);
    let started = std::time::Instant::now();
    while told(&stack, ports[0], &good).await.status == 200 {
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(stack.verdict(&told(&stack, ports[0], &good).await).await, (401, "invalid_token".into(), "token_revoked".into()));
}

/// A proxy that is known by its certificate: nobody else's opens the door, and the proxy's own never stands for a client.
#[tokio::test]
async fn whoever_asks_proves_to_be_the_proxy() {
    let (port, proxies) = (ports::free(), Authority::new("Proxy CA"));
    let proxy = "preset = \"rfc9440\", anchor_set = \"proxies\"";
    let stack = stack(&listener(port, proxy, "client_certificate = \"request\""), &proxies).await;
    let identity = proxies.issue(Leaf::client("alice"));
    let token = stack.token(&stack.alice).await;
    let bearer = Call::get("/").bearer(&token);
    let good = question(Dialect::Forwarded, "GET", "/asked", Some(&stack.alice), &bearer);
    let send = |caller: Caller, call: &Call| caller.send(&format!("localhost:{port}"), call);
    for caller in
        [stack.nobody(), stack.caller(&stack.alice), stack.caller(&Authority::new("Proxy CA").issue(Leaf::client("proxy")))]
    {
        refused(&stack, &send(caller, &good).await, 403, "access_denied", "proxy_untrusted", "not the proxy").await;
    }
    let own = question(Dialect::Forwarded, "GET", "/asked", None, &bearer);
    let answer = send(stack.caller(&identity), &own).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "the proxy's own").await;
    let answer = send(stack.caller(&identity), &good).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What would not hold is not started.
#[tokio::test]
async fn half_a_configuration_is_refused() {
    let whole = listener(8443, "preset = \"nginx\", addresses = [\"127.0.0.2\"]", "");
    let handshake =
        "certificate_source = \"trusted_proxy_header\"\ntrusted_proxy = { preset = \"nginx\", addresses = [\"127.0.0.2\"] }\n";
    for (text, words) in [
        (whole.replace("[\"forward_auth\"]", "[\"forward_auth\", \"gateway\"]"), "a listener of its own"),
        (whole.replace(handshake, ""), "`forward_auth` is for trusted proxies"),
        (whole.replace("preset = \"nginx\"", "preset = \"nginx\", original_request = \"both\""), "x_original"),
        (
            whole
                .replace("[\"forward_auth\"]", "[\"gateway\"]")
                .replace("\"nginx\",", "\"nginx\", original_request = \"x_original\","),
            "`original_request`",
        ),
        (String::new(), "`route.asked.upstream`"),
    ] {
        let setup = Setup { gateway: format!("{ROUTES}{text}"), ..Setup::default() };
        let stack = setup.prepare("sqlite:symbolon.db".into()).await;
        let said = symbolon(stack.dir.path(), &["config", "check", "gateway.toml"]).await.failed();
        assert!(said.contains(words), "{words}: {said}");
    }
    let setup = Setup { gateway: format!("{ROUTES}{whole}"), ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let said = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await.ok();
    assert!(said.contains("none: proxies in front ask about it"), "{said}");
}

/// The real programs, with the very lines of the documentation: tokens that are stolen, and fields that a client writes itself, end in front
/// of the upstream, which is not even connected to; the holder reaches it with the gateway's word, and without the token.
#[tokio::test]
async fn real_proxies_forward_for_the_holder_alone() {
    for (program, preset) in [(Program::Nginx, "nginx"), (Program::Caddy, "caddy")] {
        let (asked, front, proxies) = (ports::free(), ports::free(), Authority::new("Proxy CA"));
        let proxy = format!("preset = \"{preset}\", anchor_set = \"proxies\", addresses = [\"127.0.0.0/8\"]");
        let stack = stack(&listener(asked, &proxy, "client_certificate = \"require\""), &proxies).await;
        proxies.issue(Leaf::client("proxy")).write(stack.dir.path());
        let server = ["server.pem", "server-key.pem"].map(|file| std::fs::read_to_string(stack.path(file)).expect("a file"));
        write_private(&stack.path("server-and-key.pem"), &server.concat());
        let dir = stack.dir.path().to_str().expect("UTF-8");
        let language = if program == Program::Caddy { "caddyfile" } else { "nginx" };
        let example = filled(language, 1, front, &format!("127.0.0.1:{asked}"), dir)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", stack.upstream.port));
        let Some(_proxy) = Proxy::start_example(program, &example, &[front]).await else { continue };
        let token = stack.token(&stack.alice).await;
        let get = Call::get("/asked/a?b=c").bearer(&token);
        let send = async |caller: Caller, call: &Call| caller.send(&format!("localhost:{front}"), call).await;
        let passes = async |call: &Call| {
            let answer = send(stack.caller(&stack.alice), call).await;
            assert_eq!(answer.status, 200, "{program:?}: {}", answer.text());
            let received = stack.upstream.last();
            stack.upstream.forget();
            received
        };
        for _ in 0..2 {
            let received = passes(&get).await;
            let assertions = received.values("x-symbolon-assertion");
            assert_eq!((received.line.as_str(), assertions.len()), ("GET /asked/a?b=c HTTP/1.1", 1));
            let claims = token::claims(assertions[0]);
            assert_eq!((&claims["client_id"], &claims["method"]), (&json!("alice"), &json!("GET")), "{program:?}");
            assert!(!format!("{:?}", received.headers).contains(&token), "the token goes no further: {:?}", received.headers);
        }
        let body = Call { method: "POST".into(), ..get.clone() }.body("hello");
        let received = passes(&body).await;
        assert_eq!((received.line.as_str(), received.body.as_slice()), ("POST /asked/a?b=c HTTP/1.1", &b"hello"[..]));
        // A thief, with the caches warm.
        let refusals = async |caller: Caller, call: &Call, status: u16, what: &str| {
            let answer = send(caller, call).await;
            assert_eq!(answer.status, status, "{program:?} {what}: {}", answer.text());
            stack.upstream.assert_untouched();
            answer
        };
        let answer = refusals(stack.caller(&stack.mallory), &get, 401, "stolen").await;
        assert!(answer.challenge().contains("error=\"invalid_token\""), "{program:?}: {:?}", answer.headers);
        refusals(stack.nobody(), &get, 401, "without certificate").await;
        let answer = refusals(stack.caller(&stack.alice), &Call::get("/asked"), 401, "without token").await;
        assert!(answer.challenge().starts_with("Bearer realm="), "{program:?}");
        refusals(stack.caller(&stack.alice), &Call::get("/asked/changed").bearer(&token), 403, "another route").await;
        let forged = format!(":{}:", STANDARD.encode(&stack.alice.chain[0]));
        let escaped: String = url::form_urlencoded::byte_serialize(stack.alice.certificate_pem.as_bytes()).collect();
        for (name, value) in [
            ("Client-Cert", forged.as_str()),
            ("client_cert", &forged),
            ("SSL-Client-Cert", &escaped),
            ("ssl_client_cert", &escaped),
            ("X-Original-URL", "https://localhost/asked/a"),
            ("X-Original-Method", "GET"),
            ("X-Forwarded-Uri", "/asked/a"),
            ("X-Forwarded-Host", "localhost"),
            ("X-Forwarded-Method", "GET"),
        ] {
            let call = get.clone().header(name, value);
            let answer = send(stack.caller(&stack.mallory), &call).await;
            assert!([400, 401, 403].contains(&answer.status), "{program:?} {name}: {}", answer.status);
            stack.upstream.assert_untouched();
            let elsewhere = Call { target: "/asked/changed".into(), ..call };
            let answer = send(stack.caller(&stack.alice), &elsewhere).await;
            assert!([400, 401, 403].contains(&answer.status), "{program:?} {name}: {}", answer.status);
            stack.upstream.assert_untouched();
        }
        // What the holder says of certificates and callers himself never goes on, also under the names that the proxy asks with.
        for name in [
            "Client-Cert",
            "Client-Cert-Chain",
            "SSL-Client-Cert",
            "client_cert",
            "ssl_client_cert",
            "X-Who",
            "X-Nobody",
            "x_who",
            "X-Symbolon-Client-Verify",
        ] {
            let answer = send(stack.caller(&stack.alice), &get.clone().header(name, ":Zm9yZ2Vk:")).await;
            match answer.status {
                200 => {
                    let received = stack.upstream.last();
                    let others = format!("{:?}", received.headers);
                    assert!(!others.contains("Zm9yZ2Vk"), "{program:?} {name}: {others}");
                    stack.upstream.forget();
                }
                status => {
                    assert!([400, 401, 403].contains(&status), "{program:?} {name}: {status}");
                    stack.upstream.assert_untouched();
                }
            }
        }
        // Nor does another protocol.
        let upgrade = get.clone().header("Connection", "upgrade").header("Upgrade", "h2c");
        let answer = send(stack.caller(&stack.alice), &upgrade).await;
        match answer.status {
            200 => {
                assert_eq!(stack.upstream.last().values("upgrade"), Vec::<&str>::new(), "{program:?}");
                stack.upstream.forget();
            }
            status => {
                // Caddy cannot even ask about it over HTTP/2.
                assert!([400, 403, 502].contains(&status), "{program:?}: {status}");
                stack.upstream.assert_untouched();
            }
        }
        // Fields of ours that the holder writes, in every spelling: refused, or replaced.
        for (name, value) in [
            ("X-Symbolon-Assertion", "forged"),
            ("x_symbolon_assertion", "forged"),
            ("X-SYMBOLON-ASSERTION", "forged"),
            ("Connection", "keep-alive, X-Symbolon-Assertion"),
            ("Connection", "close, x-symbolon-assertion, authorization"),
        ] {
            let answer = send(stack.caller(&stack.alice), &get.clone().header(name, value)).await;
            match answer.status {
                200 => {
                    let received = stack.upstream.last();
                    let assertions = received.values("x-symbolon-assertion");
                    assert_eq!(assertions.len(), 1, "{program:?} {name}: {:?}", received.headers);
                    assert_eq!(token::claims(assertions[0])["client_id"], "alice");
                    assert!(!format!("{:?}", received.headers).contains("forged"), "{program:?} {name}: {:?}", received.headers);
                    stack.upstream.forget();
                }
                status => {
                    assert!([400, 401, 403].contains(&status), "{program:?} {name}: {status}");
                    stack.upstream.assert_untouched();
                }
            }
        }
        for target in
            ["/asked/../asked/changed", "/asked//changed", "/asked%2fchanged", "/asked/%2e%2e/x", "/%61sked/changed", "//asked"]
        {
            let answer = send(stack.caller(&stack.alice), &Call { target: target.into(), ..get.clone() }).await;
            assert!([308, 400, 401, 403].contains(&answer.status), "{program:?} {target}: {}", answer.status);
            stack.upstream.assert_untouched();
        }
        passes(&get).await;
        // Without the gateway nobody passes.
        let mut stack = stack;
        stack.gateway.take().expect("running").stop().await;
        let answer = stack.caller(&stack.alice).send(&format!("localhost:{front}"), &get).await;
        assert!(answer.status >= 500, "{program:?}: {}", answer.status);
        stack.upstream.assert_untouched();
    }
}
