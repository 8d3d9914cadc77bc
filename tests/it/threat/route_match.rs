//! What tells routes of one host apart: nothing that a caller says twice, or in two spellings, leads to a route that is not meant.

use super::{passed, refused};
use crate::harness::command::symbolon;
use crate::harness::{Call, Http, Setup, Stack};

fn route(name: &str, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nhost = \"{{gateway_authority}}\"\nupstream = \"{{upstream}}\"\nauthorization_server = \"test\"\n\
         audience = \"{{accounts}}\"\ntoken = \"jwt\"\nrequest_header = [{{ name = \"X-Route\", value = \"${{route}}\" }}]\n{more}\n"
    )
}

fn routes() -> String {
    [
        route("items", "path = \"/items\"\nmatch_methods = [\"GET\", \"HEAD\"]"),
        route("change items", "path = \"/items\"\nscopes = [\"admin\"]"),
        route("orders", "path = \"/users/{id}/orders\""),
        route("users", "path = \"/users\"\nscopes = [\"admin\"]"),
        route("old", "path = \"/versions\""),
        route(
            "new",
            "path = \"/versions\"\nclient_ids = [\"mallory\"]\nmatch_header = [{ name = \"X-Version\", value = \"2\" }]",
        ),
        route("exactly", "path = \"/exactly\"\npath_match = \"exact\""),
        route("one of them", "path = \"/them/{id}\"\npath_match = \"exact\""),
        route("their admin", "path = \"/them/admin\"\nscopes = [\"admin\"]"),
        route("many", "path = \"/\"\nassertion_audience = \"app\"").replace("{gateway_authority}", "*.example:{gateway_port}"),
        "[[redirect]]\nhost = \"{gateway_authority}\"\npath = \"/moved/{id}\"\nto = \"https://new.example/there\"\n".to_owned(),
        "[[redirect]]\nhost = \"{gateway_authority}\"\npath_match = \"exact\"\nto = \"https://new.example\"\nstatus = 302\n"
            .to_owned(),
    ]
    .concat()
}

async fn start() -> Stack {
    let names = ("names = [\"public.example\"]".to_owned(), "names = [\"public.example\", \"*.example\"]".to_owned());
    Setup { gateway: routes(), gateway_changes: vec![names], ..Setup::default() }.start().await
}

/// The request's own method, path and fields decide, over HTTP/1.1 and HTTP/2; nothing that claims to be another one does.
#[tokio::test]
async fn a_request_finds_the_route_that_is_for_it_and_no_other() {
    let stack = start().await;
    let token = stack.token(&stack.alice).await;
    for http in [Http::V1, Http::V2] {
        let mut connection = stack.caller(&stack.alice).http(http).connect(&stack.gateway_authority).await.expect("a connection");
        let get = |target: &str| Call::get(target).bearer(&token);
        let good = [
            (get("/items"), "items"),
            (get("/items/1"), "items"),
            (get("/users/7/orders/1"), "orders"),
            (get("/users/%37/orders"), "orders"),
            (get("/versions"), "old"),
            (get("/versions").header("x-version", "3"), "old"),
            (get("/exactly"), "exactly"),
            (get("/them/7"), "one of them"),
        ];
        for (call, name) in good {
            let answer = connection.send(&call).await;
            assert_eq!(answer.status, 200, "{call:?}: {}", answer.text());
            assert_eq!(stack.upstream.last().values("x-route"), [name], "{call:?}");
            stack.upstream.forget();
        }
        let denied = [
            (Call::new("POST", "/items").bearer(&token), 403, "insufficient_scope", "token_scope"),
            (
                Call::new("POST", "/items")
                    .bearer(&token)
                    .header("x-http-method-override", "GET")
                    .header("x-method-override", "GET"),
                403,
                "insufficient_scope",
                "token_scope",
            ),
            (Call::new("DELETE", "/items?_method=GET").bearer(&token), 403, "insufficient_scope", "token_scope"),
            (get("/users/7"), 403, "insufficient_scope", "token_scope"),
            (get("/them/admin"), 403, "insufficient_scope", "token_scope"),
            (get("/them/%61dmin"), 403, "insufficient_scope", "token_scope"),
            (get("/users/7/orders;x/.."), 400, "invalid_request", "request_ambiguous"),
            (get("/users/7%2f8/orders"), 400, "invalid_request", "request_ambiguous"),
            (get("/users;x/7/orders"), 400, "invalid_request", "request_ambiguous"),
            (get("/versions").header("x-version", "2"), 403, "access_denied", "policy_client"),
            (get("/versions").header("x-version", "2").header("x-version", "3"), 400, "invalid_request", "request_ambiguous"),
            (get("/versions").header("x-version", "3").header("x-version", "2"), 400, "invalid_request", "request_ambiguous"),
            (get("/exactly/more"), 404, "not_found", "route_unknown"),
            (get("/exactly/"), 404, "not_found", "route_unknown"),
        ];
        for (call, status, error, reason) in denied {
            let answer = connection.send(&call).await;
            refused(&stack, &answer, status, error, reason, (&call.target, &call.headers.last(), http)).await;
        }
    }
    let alice = stack.caller(&stack.alice);
    // A field that would not reach the upstream decides nothing, and no other spelling of one that decides does.
    let listed = Call::get("/versions").bearer(&token).header("X-Version", "3").header("Connection", "x-version");
    let answer = alice.send(&stack.gateway_authority, &listed).await;
    refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", "listed in Connection").await;
    let spelled = Call::new("POST", "/versions")
        .bearer(&token)
        .header("X_Version", "2")
        .header("X.VERSION", "2")
        .header("Transfer-Encoding", "chunked")
        .header("Trailer", "X-Version, X-Kept")
        .body("1\r\na\r\n0\r\nX-Version: 2\r\nX-Kept: kept\r\n\r\n");
    let answer = alice.send(&stack.gateway_authority, &spelled).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = stack.upstream.last();
    assert!(!String::from_utf8_lossy(&stack.upstream.bytes()).to_lowercase().contains("version: 2"), "{received:?}");
    assert_eq!(received.trailers, [("x-kept".to_owned(), "kept".to_owned())]);
    stack.upstream.forget();
    // Whose it is, is let through.
    let his = stack.token(&stack.mallory).await;
    let call = Call::get("/versions").bearer(&his).header("X-Version", "2");
    let answer = stack.caller(&stack.mallory).send(&stack.gateway_authority, &call).await;
    assert_eq!(stack.upstream.last().values("x-route"), ["new"]);
    passed(&stack, &answer, "the new version");
}

/// `*.example` is for names that have no routes of their own, with one label in its place.
#[tokio::test]
async fn a_host_for_many_names_is_for_no_name_with_routes_of_its_own() {
    let stack = start().await;
    let token = stack.token(&stack.alice).await;
    let port = stack.gateway_authority.rsplit_once(':').expect("a port").1.to_owned();
    // Unbound hosts ask for no certificate, so that the token proves nothing there: it is the route that is looked at.
    let ask = async |host: &str, path: &str| {
        let answer = stack.caller(&stack.alice).send(&format!("{host}:{port}"), &Call::get(path).bearer(&token)).await;
        let event = stack.event_of(answer.request_id()).await;
        (event["route"].as_str().unwrap_or("none").to_owned(), event["reason"].as_str().unwrap_or_default().to_owned())
    };
    let absent = "binding_certificate_absent".to_owned();
    assert_eq!(ask("as.example", "/any").await, ("many".to_owned(), absent.clone()));
    assert_eq!(ask("public.example", "/accounts").await, ("public".to_owned(), absent));
    assert_eq!(ask("public.example", "/any").await, ("none".to_owned(), "route_unknown".to_owned()));
    stack.upstream.assert_untouched();
}

/// A place that has moved is told to anybody, and to nobody anything else; where to, is the operator's.
#[tokio::test]
async fn a_redirect_leads_where_the_operator_says() {
    let stack = start().await;
    let nobody = stack.nobody();
    for (target, status, to) in [
        ("/moved/7", 308, "https://new.example/there"),
        ("/moved/7/a%20b?x=y", 308, "https://new.example/there/a%20b?x=y"),
        ("/moved/7/@evil.example", 308, "https://new.example/there/@evil.example"),
        ("/", 302, "https://new.example/"),
    ] {
        for method in ["GET", "POST"] {
            let answer = nobody.send(&stack.gateway_authority, &Call::new(method, target)).await;
            assert_eq!((answer.status, answer.header("location")), (status, Some(to)), "{target}");
        }
    }
    for target in ["/moved/7//evil.example", "/moved/7/..", "/moved/7/%2f%2fevil.example", "/moved/7/%0d%0aLocation:x"] {
        let answer = nobody.send(&stack.gateway_authority, &Call::get(target)).await;
        refused(&stack, &answer, 400, "invalid_request", "request_ambiguous", target).await;
    }
    stack.upstream.assert_untouched();
    // `gateway check` says who is told, what tells routes apart, and refuses what could not be meant.
    let check = async || symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
    let text = check().await.ok();
    for line in [
        "  for         GET, HEAD\n",
        "  for         x-version: 2\n",
        "/moved/{id}: anybody (is told where it has moved)\n",
        "users/{id}/orders\n",
        "many  https://*.example:",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    for (from, to, words) in [
        ("\"/users/{id}/orders\"", "\"/users/{id/orders\"", "stand around the name of a whole segment"),
        ("\"X-Version\"", "\"Connection\"", "does not reach upstreams as it is sent"),
        ("\"https://new.example/there\"", "\"http://new.example\"", "is not an `https` URL"),
        ("status = 302", "status = 200", "200 is none of 301, 302, 307 and 308"),
        ("scopes = [\"admin\"]\n", "match_methods = [\"GET\", \"HEAD\"]\n", "nothing tells their requests apart"),
        ("assertion_audience = \"app\"", "", "must be written where `host` is `*.…`"),
    ] {
        assert!(written.contains(from), "{from}");
        std::fs::write(stack.gateway_config(), written.replace(from, to)).expect("written");
        let said = check().await.failed();
        assert!(said.contains(words), "{said}");
    }
}
