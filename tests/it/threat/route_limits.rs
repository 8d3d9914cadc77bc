//! Callers who ask for too much, and pages of other origins.

use std::time::{Duration, Instant};

use super::{passed, refused};
use crate::harness::command::symbolon;
use crate::harness::{Answer, Authority, Call, Http, Leaf, Setup, Stack, Upstream};

const HSTS: &str = "strict-transport-security";

/// A client whose tokens are bound to nothing.
fn unbound() -> serde_json::Value {
    serde_json::json!({
        "client_id": "unbound",
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject_dn": "CN=alice",
        "tls_client_certificate_bound_access_tokens": false,
        "scope": "read write",
        "resources": ["{accounts}"],
    })
}

fn route(name: &str, upstream: &str, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{name}\"\nupstream = \"{upstream}\"\n\
         authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\n{more}\n"
    )
}

/// Each caller has a share of its own, that nobody else can use up: neither whoever has only the token, nor another client or certificate.
#[tokio::test]
async fn a_caller_uses_up_nobodys_share_but_its_own() {
    let limit = |per: &str| format!("rate_limit = {{ requests = 2, seconds = 600, per = \"{per}\" }}");
    let routes = route("clients", "{upstream}", &limit("client")) + &route("certificates", "{upstream}", &limit("certificate"));
    let stack = Setup { gateway: routes, ..Setup::default() }.start().await;
    let (hers, his) = (stack.token(&stack.alice).await, stack.token(&stack.mallory).await);
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    let hers_too = stack.token(&renewed).await;
    for path in ["/clients", "/certificates"] {
        let call = |token: &str| Call::get(path).bearer(token);
        // The thief's tries cost her nothing.
        for _ in 0..5 {
            let answer = stack.caller(&stack.mallory).send(&stack.gateway_authority, &call(&hers)).await;
            refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", path).await;
        }
        for http in [Http::V1, Http::V2] {
            let answer = stack.caller(&stack.alice).http(http).send(&stack.gateway_authority, &call(&hers)).await;
            passed(&stack, &answer, path);
        }
        for http in [Http::V1, Http::V2] {
            let answer = stack.caller(&stack.alice).http(http).send(&stack.gateway_authority, &call(&hers)).await;
            refused(&stack, &answer, 429, "too_many_requests", "rate_limited", path).await;
            let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
            assert!((1..=300).contains(&seconds), "{seconds}");
            assert_eq!(answer.challenges(), [] as [&str; 0]);
        }
        // Another token is the same caller; another certificate is another one where certificates are counted.
        let answer = stack.caller(&renewed).send(&stack.gateway_authority, &call(&hers_too)).await;
        match path {
            "/clients" => refused(&stack, &answer, 429, "too_many_requests", "rate_limited", path).await,
            _ => passed(&stack, &answer, path),
        }
        let answer = stack.caller(&stack.mallory).send(&stack.gateway_authority, &call(&his)).await;
        passed(&stack, &answer, path);
        let answer = stack.at_gateway(&stack.alice, &hers).await;
        passed(&stack, &answer, "another route");
    }
    let check = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await.ok();
    assert!(check.contains("  at most     2 requests of one certificate in 600 seconds\n"), "{check}");
}

/// A certificate that nobody vouches for makes nobody another caller: whoever holds a token that is bound to nothing makes as many as he likes.
#[tokio::test]
async fn a_certificate_of_ones_own_making_is_no_new_caller() {
    let limit = "rate_limit = { requests = 2, seconds = 600, per = \"certificate\" }\nproof_of_possession = \"optional\"";
    let judged = format!("{limit}\ncertificate_mode = \"permissive\"");
    let routes = route("unjudged", "{upstream}", limit) + &route("judged", "{upstream}", &judged);
    let unbound = unbound();
    let stack = Setup { gateway: routes, clients: vec![unbound], ..Setup::default() }.start().await;
    let answer = stack.post(&stack.alice, "/token", &[("grant_type", "client_credentials"), ("client_id", "unbound")]).await;
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    for path in ["/unjudged", "/judged"] {
        let call = Call::get(path).bearer(&token);
        for number in 0..4 {
            let made = if number % 2 == 0 {
                Leaf::client("alice").self_signed()
            } else {
                Authority::new("Own").issue(Leaf::client("x"))
            };
            let answer = stack.caller(&made).send(&stack.gateway_authority, &call).await;
            match number {
                0 | 1 => passed(&stack, &answer, path),
                _ => refused(&stack, &answer, 429, "too_many_requests", "rate_limited", path).await,
            }
        }
        // One that the host's authorities vouch for has a share of its own, where they are asked.
        let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        match path {
            "/judged" => passed(&stack, &answer, path),
            _ => refused(&stack, &answer, 429, "too_many_requests", "rate_limited", path).await,
        }
    }
}

/// A place counts until the last byte of its answer, and is given back however that ends.
#[tokio::test]
async fn as_many_requests_are_served_at_once_as_may_be() {
    let halting = Upstream::start().await;
    let route = route("few", &format!("http://127.0.0.1:{}", halting.port), "max_concurrent = 2\nupstream_stall_seconds = 15");
    let stack = Setup { gateway: route, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/few").bearer(&token);
    let authority = stack.gateway_authority.clone();
    halting.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    let open = async || {
        let mut connection = stack.caller(&stack.alice).connect(&authority).await.expect("a connection");
        connection.write(&call.bytes(&authority)).await.expect("written");
        connection
    };
    let held = [open().await, open().await];
    let started = Instant::now();
    while halting.requests().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(10), "they do not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Over HTTP/2 it is the same place; whoever is not let through takes none.
    for http in [Http::V1, Http::V2] {
        let answer = stack.caller(&stack.alice).http(http).send(&authority, &call).await;
        let verdict = stack.verdict(&answer).await;
        assert_eq!(verdict, (503, "temporarily_unavailable".to_owned(), "route_crowded".to_owned()));
        assert!(answer.header("retry-after").is_some() && answer.challenges().is_empty());
        let answer = stack.caller(&stack.mallory).http(http).send(&authority, &call).await;
        assert_eq!(answer.status, 401);
    }
    assert_eq!(halting.requests().len(), 2);
    drop(held);
    halting.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let started = Instant::now();
    while stack.caller(&stack.alice).send(&authority, &call).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "places are not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut connection = stack.caller(&stack.alice).connect(&authority).await.expect("a connection");
    for _ in 0..10 {
        assert_eq!(connection.send(&call).await.status, 200);
    }
}

const PAGES: &str = r#"cors = { origins = ["https://app.example", "http://localhost:3000"], headers = ["X-Trace"], expose_headers = ["X-Total"], methods = ["GET", "PUT"] }
response_header = [{ name = "X-Frame-Options", value = "DENY" }]
remove_response_headers = ["Server", "X-Powered-By", "Cache-Control", "Vary"]
fapi_interaction_id = true
"#;

async fn pages() -> Stack {
    let routes = route("pages", "{upstream}", PAGES) + &route("closed", "{upstream}", "");
    let stack = Setup { gateway: routes, ..Setup::default() }.start().await;
    stack.upstream.answer_with(
        "HTTP/1.1 200 OK\r\nContent-Length: 17\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         Strict-Transport-Security: max-age=0\r\nCache-Control: public\r\nVary: *\r\nServer: App/1.0\r\nX-Powered-By: App\r\nX-Frame-Options: ALLOWALL\r\n\
         x-fapi-interaction-id: upstreams\r\nX-Total: 7\r\n\r\n{\"upstream\":true}",
    );
    stack
}

/// Fetch §3.2: pages of the origins that a route names can ask, send and read; nobody else's. A preflight is answered without a token, says
/// nothing of anybody, and reaches no upstream.
#[tokio::test]
async fn a_route_is_for_the_pages_it_names() {
    let stack = pages().await;
    let token = stack.token(&stack.alice).await;
    let ask = |path: &str, origin: &str, method: &str| {
        Call::new("OPTIONS", path).header("origin", origin).header("access-control-request-method", method)
    };
    let forged = |call: Call| call.header("x-symbolon-assertion", "forged").header("client-cert", "forged");
    for http in [Http::V1, Http::V2] {
        let nobody = stack.nobody().http(http);
        for origin in ["https://app.example", "http://localhost:3000"] {
            let answer = nobody.send(&stack.gateway_authority, &forged(ask("/pages/1", origin, "PUT"))).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(origin)), "{}", answer.text());
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
            assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, content-type, dpop, x-trace"));
            assert_eq!((answer.header("access-control-max-age"), answer.header("vary")), (Some("600"), Some("origin")));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert!(!format!("{:?}", answer.headers).contains("forged"), "{:?}", answer.headers);
            stack.upstream.assert_untouched();
        }
        let table = [
            ("/pages", "https://evil.example", "GET"),
            ("/pages", "https://app.example.evil.example", "GET"),
            ("/pages", "http://app.example", "GET"),
            ("/pages", "https://app.example:444", "GET"),
            ("/pages", "https://APP.example", "GET"),
            ("/pages", "null", "GET"),
            ("/pages", "https://app.example", "DELETE"),
            ("/pages", "https://app.example", "put"),
        ];
        for (path, origin, method) in table {
            let answer = nobody.send(&stack.gateway_authority, &forged(ask(path, origin, method))).await;
            refused(&stack, &answer, 403, "access_denied", "policy_origin", (origin, method)).await;
            let told = answer.header("access-control-allow-methods");
            assert_eq!(told, None, "{origin} {method}");
        }
        // Elsewhere it is a request like any other.
        let answer = nobody.send(&stack.gateway_authority, &ask("/closed", "https://app.example", "GET")).await;
        refused(&stack, &answer, 401, "unauthorized", "token_absent", "a route for no pages").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let twice = ask("/pages", "https://app.example", "GET").header("origin", "https://evil.example");
        let answer = nobody.send(&stack.gateway_authority, &twice).await;
        refused(&stack, &answer, 403, "access_denied", "policy_origin", "two origins").await;
        // A preflight with a good token is a preflight all the same.
        let call = ask("/pages", "https://app.example", "GET").bearer(&token);
        let answer = stack.caller(&stack.alice).http(http).send(&stack.gateway_authority, &call).await;
        assert_eq!(answer.status, 204);
        stack.upstream.assert_untouched();

        // The request itself, good and refused: the page may read both; another's page may read neither.
        let alice = stack.caller(&stack.alice).http(http);
        for (origin, leave) in [("https://app.example", Some("https://app.example")), ("https://evil.example", None)] {
            let call = Call::get("/pages").header("origin", origin);
            let answer = alice.send(&stack.gateway_authority, &call).await;
            refused(&stack, &answer, 401, "unauthorized", "token_absent", origin).await;
            assert_eq!(answer.header("access-control-allow-origin"), leave);
            let answer = alice.send(&stack.gateway_authority, &call.bearer(&token)).await;
            assert_eq!(answer.header("access-control-allow-origin"), leave);
            assert_eq!(answer.header("access-control-allow-credentials"), None, "the upstream has no say");
            let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_owned();
            assert_eq!(exposed.ends_with("www-authenticate, x-fapi-interaction-id, x-request-id, x-total"), leave.is_some());
            passed(&stack, &answer, origin);
        }
    }
    let check = async || symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
    assert!(
        check()
            .await
            .ok()
            .contains("  pages: pages of https://app.example, http://localhost:3000 (are told what they may send)\n")
    );
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    for (from, to, words) in [
        ("\"https://app.example\"", "\"*\"", "is not an origin as browsers name it"),
        ("\"https://app.example\"", "\"https://app.example/\"", "is not an origin as browsers name it"),
        ("\"X-Frame-Options\"", "\"WWW-Authenticate\"", "has a meaning of its own"),
        ("\"X-Powered-By\"", "\"Transfer-Encoding\"", "has a meaning of its own"),
    ] {
        std::fs::write(stack.gateway_config(), written.replace(from, to)).expect("written");
        let said = check().await.failed();
        assert!(said.contains(words), "{said}");
    }
}

/// RFC 6797 §7.1, FAPI 1.0 Baseline §6.2.1: what every answer must have it has, whoever gives it.
#[tokio::test]
async fn every_answer_says_what_it_must() {
    let stack = pages().await;
    let token = stack.token(&stack.alice).await;
    let name = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
    for http in [Http::V1, Http::V2] {
        let alice = stack.caller(&stack.alice).http(http);
        let good = Call::get("/pages").bearer(&token).header("x-fapi-interaction-id", name);
        let answer = alice.send(&stack.gateway_authority, &good).await;
        assert_eq!(answer.header("x-fapi-interaction-id"), Some(name), "not the upstream's");
        assert_eq!(stack.upstream.last().values("x-fapi-interaction-id"), [name]);
        assert_eq!(
            (answer.header("x-frame-options"), answer.header("server"), answer.header("x-powered-by")),
            (Some("DENY"), None, None)
        );
        assert_eq!((answer.header("vary"), answer.header("cache-control")), (Some("origin"), None), "not the upstream's");
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")));
        passed(&stack, &answer, http);
        // Without a name, with two, or with something else: a new one, which the upstream is told too.
        let mut made = Vec::new();
        let odd = [
            Call::get("/pages").bearer(&token),
            good.clone().header("x-fapi-interaction-id", name),
            Call::get("/pages").bearer(&token).header("x-fapi-interaction-id", "<script>"),
            Call::get("/pages").bearer(&token).header("x-fapi-interaction-id", &name.replace('-', "")),
        ];
        for call in odd {
            let answer = alice.send(&stack.gateway_authority, &call).await;
            let fresh = answer.header("x-fapi-interaction-id").expect("a name").to_owned();
            assert!(uuid::Uuid::parse_str(&fresh).is_ok_and(|uuid| uuid.get_version_num() == 4), "{fresh}");
            assert_eq!(stack.upstream.last().values("x-fapi-interaction-id"), [fresh.as_str()]);
            passed(&stack, &answer, &fresh);
            made.push(fresh);
        }
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 4);
        // Refusals too, and what no route is for.
        let answer = alice.send(&stack.gateway_authority, &Call::get("/pages").header("x-fapi-interaction-id", name)).await;
        refused(&stack, &answer, 401, "unauthorized", "token_absent", http).await;
        assert_eq!((answer.header("x-fapi-interaction-id"), answer.header("x-frame-options")), (Some(name), Some("DENY")));
        // What the gateway itself says is not the upstream's, and stays.
        assert!(answer.headers.contains(&("vary".to_owned(), "origin".to_owned())), "{:?}", answer.headers);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let missing = alice.send(&stack.gateway_authority, &Call::get("/nowhere").header("x-fapi-interaction-id", name)).await;
        assert_eq!((missing.status, missing.header("x-fapi-interaction-id")), (404, None));
        for answer in [answer, missing, alice.send(&stack.gateway_authority, &Call::get("/.well-known/symbolon/jwks.json")).await]
        {
            assert!(answer.header("date").is_some());
        }
    }
}

/// RFC 6797 §7.1, §8.1.1: every answer to a request that came by a name says it, refusals and documents too; `localhost` never does.
#[tokio::test]
async fn strict_transport_is_for_names() {
    let ours = "max-age=31536000; includeSubDomains";
    let set = "[gateway]\nhsts_max_age_seconds = 31536000\nhsts_include_subdomains = true\n".to_owned();
    let says = |answer: &Answer| {
        answer.headers.iter().filter(|(name, _)| name == HSTS).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    for (changes, otherwise, beside_upstreams) in
        [(vec![], "max-age=63072000", "max-age=7"), (vec![("[gateway]\n".to_owned(), set)], ours, ours)]
    {
        let open = route("open", "{upstream}", "proof_of_possession = \"optional\"")
            .replace("{gateway_authority}", "public.example:{gateway_port}");
        let stack = Setup { gateway: open, gateway_changes: changes, clients: vec![unbound()], ..Setup::default() }.start().await;
        let form = [("grant_type", "client_credentials"), ("client_id", "unbound")];
        let answer = stack.post(&stack.alice, "/token", &form).await;
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        for http in [Http::V1, Http::V2] {
            let nobody = stack.nobody().http(http);
            for (call, status) in [
                (Call::get("/open"), 401),
                (Call::get("/nowhere"), 404),
                (Call::get("/.well-known/symbolon/jwks.json"), 200),
                (Call::get("/open").bearer(&token), 200),
            ] {
                for (authority, expected) in [(&stack.public_authority, vec![otherwise]), (&stack.gateway_authority, vec![])] {
                    let answer = nobody.send(authority, &call).await;
                    // At `localhost` there is no such route; the field is what is asked about.
                    assert!(answer.status == status || authority == &stack.gateway_authority, "{}", answer.text());
                    assert_eq!(says(&answer), expected, "{authority} {status}");
                }
            }
            stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: max-age=7\r\n\r\n{}");
            let answer = nobody.send(&stack.public_authority, &Call::get("/open").bearer(&token)).await;
            assert_eq!((answer.status, says(&answer)), (200, vec![beside_upstreams.to_owned()]));
            stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    }
}
