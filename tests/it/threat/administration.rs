//! Whoever would administer a server that is not theirs: with somebody else's token, a weaker one, one for something else; through another
//! listener, another host, another method; with too much or the wrong thing. Each gets nothing and changes nothing, and an operator who
//! asks for the same is served.

use serde_json::{Value, json};

use super::refused;
use crate::harness::administration::{BESIDE, Operator, SECTION, dpop_admin_token, json_call, operator, setup};
use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::dpop::ath;
use crate::harness::stack::PROTOCOLS;
use crate::harness::{Answer, App, Call, Caller, Leaf, Prover, Setup, Stack, ports};

const CHANGES: &str = "SELECT value FROM change_counter WHERE id = 1";

/// The request that every thief makes: a client of their own, with every scope.
fn intrusion(stack: &Stack) -> Call {
    let mut document = stack.person("intruder");
    document["scope"] = json!("symbolon:read symbolon:write");
    document["resources"] = json!([stack.fill("{mtls_url}/admin")]);
    json_call("PUT", "/admin/clients/intruder", &document)
}

/// Who asks, with what, and how that is answered: status, code, private reason.
struct Attempt {
    what: &'static str,
    caller: Caller,
    call: Call,
    verdict: (u16, &'static str, &'static str),
}

/// None of the attempts changes anything; the operator's own then does.
async fn none_succeeds(stack: &Stack, attempts: Vec<Attempt>) {
    let before = stack.count(CHANGES).await;
    for Attempt { what, caller, call, verdict: (status, error, reason) } in attempts {
        let answer = caller.send(&stack.mtls_authority, &call).await;
        refused(stack, &answer, status, error, reason, what).await;
        assert_eq!(answer.json()["request_id"], json!(answer.request_id()), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        if status == 401 || status == 403 && error != "access_denied" {
            let url = stack.fill("{mtls_url}/.well-known/oauth-protected-resource/admin");
            assert!(answer.challenge().contains(&format!("resource_metadata=\"{url}\"")), "{what}: {}", answer.challenge());
        }
    }
    assert_eq!(stack.count(CHANGES).await, before, "something was changed");
    let answer = Operator::of(stack).await.send(stack, intrusion(stack)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn clients() -> Vec<Value> {
    let write = "symbolon:read symbolon:write";
    vec![
        operator("operator", write, &json!({})),
        operator("reader", "symbolon:read", &json!({})),
        operator("lent", write, &json!({})),
        operator("plain", write, &json!({ "tls_client_certificate_bound_access_tokens": false })),
        operator("prover", write, &json!({ "dpop_bound_access_tokens": true })),
        App::metadata("mallory", json!({})),
    ]
}

/// RFC 8705 §3, RFC 9449 §7.1, RFC 6750 §3.1: a token in other hands, or without binding, or for something else, is worth nothing here.
#[tokio::test]
async fn a_stolen_weak_or_foreign_token_administers_nothing() {
    let stack = Setup { clients: clients(), ..setup() }.start().await;
    add_bob(&stack).await;
    let owner = Operator::of(&stack).await;
    let (reader, plain) = (Operator::named(&stack, "reader").await, Operator::named(&stack, "plain").await);
    let prover = stack.client_ca.issue(Leaf::client("prover"));
    let key = Prover::new();
    let bound_to_key = dpop_admin_token(&stack, &prover, &key).await;
    let prove = |key: &Prover, method: &str, url: &str| key.prove_with(method, url, &json!({ "ath": ath(&bound_to_key) }));
    let tokens = App::mallory(&stack).tokens(&stack, &mut Browser::new(&stack), &[]).await;
    let text = |name: &str| tokens[name].as_str().expect("a token").to_owned();
    let for_accounts = stack.token(&stack.alice).await;
    let revoked = Operator::of(&stack).await;
    assert_eq!(stack.revoke(&revoked.identity, &revoked.token).await.status, 200);
    let with = |token: &str| intrusion(&stack).bearer(token);
    let url = stack.fill("{mtls_url}/admin/clients/intruder");
    let (thief, nobody, alice) = (stack.caller(&stack.mallory), stack.nobody(), stack.caller(&stack.alice));
    let attempt = |what, caller: &Caller, call, verdict| Attempt { what, caller: caller.clone(), call, verdict };
    let mut attempts = vec![
        attempt("no token", &thief, intrusion(&stack), (401, "unauthorized", "token_absent")),
        attempt("an invented token", &thief, with("a.b.c"), (401, "invalid_token", "token_malformed")),
        attempt("an unbound token", &stack.caller(&plain.identity), with(&plain.token), (401, "invalid_token", "cnf_absent")),
        attempt(
            "without scope",
            &stack.caller(&reader.identity),
            with(&reader.token),
            (403, "insufficient_scope", "token_scope"),
        ),
        attempt("for another audience", &alice, with(&for_accounts), (401, "invalid_token", "token_audience")),
        attempt("of a person, for another", &thief, with(&text("access_token")), (401, "invalid_token", "token_audience")),
        attempt("an ID token", &thief, with(&text("id_token")), (401, "invalid_token", "token_type")),
        attempt("revoked", &stack.caller(&revoked.identity), with(&revoked.token), (401, "invalid_token", "token_revoked")),
        attempt(
            "a key's, without proof",
            &stack.caller(&prover),
            with(&bound_to_key),
            (401, "invalid_token", "binding_proof_absent"),
        ),
        attempt(
            "a key's, with another's proof",
            &stack.caller(&prover),
            intrusion(&stack).dpop(&bound_to_key, &prove(&Prover::new(), "PUT", &url)),
            (401, "invalid_token", "binding_key_mismatch"),
        ),
        attempt(
            "a proof of another place",
            &stack.caller(&prover),
            intrusion(&stack).dpop(&bound_to_key, &prove(&key, "PUT", &format!("{url}s"))),
            (401, "invalid_dpop_proof", "dpop_proof_target"),
        ),
        attempt(
            "in the query",
            &stack.caller(&owner.identity),
            Call { target: format!("/admin/clients/intruder?access_token={}", owner.token), ..with(&owner.token) },
            (400, "invalid_request", "token_ambiguous"),
        ),
        attempt(
            "twice",
            &stack.caller(&owner.identity),
            with(&owner.token).bearer("x"),
            (400, "invalid_request", "token_ambiguous"),
        ),
    ];
    for (tls, http) in PROTOCOLS {
        let stolen = with(&owner.token);
        let (thief, nobody) = (thief.clone().tls(tls).http(http), nobody.clone().tls(tls).http(http));
        let mismatch = (401, "invalid_token", "binding_certificate_mismatch");
        attempts.push(attempt("with another certificate", &thief, stolen.clone(), mismatch));
        attempts.push(attempt("without certificate", &nobody, stolen, (401, "invalid_token", "binding_certificate_absent")));
    }
    none_succeeds(&stack, attempts).await;
    // With the proof that it needs, a key's token is good: once.
    let proof = prove(&key, "GET", &stack.fill("{mtls_url}/admin/clients"));
    let call = Call::get("/admin/clients").dpop(&bound_to_key, &proof);
    let answer = stack.caller(&prover).send(&stack.mtls_authority, &call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = stack.caller(&prover).send(&stack.mtls_authority, &call).await;
    refused(&stack, &answer, 401, "invalid_dpop_proof", "dpop_proof_replayed", "the proof again").await;
}

/// What is taken from a client's registration is gone at once, also from tokens that it has.
#[tokio::test]
async fn a_token_is_worth_what_its_client_is_registered_for_now() {
    let stack = Setup { clients: clients(), ..setup() }.start().await;
    let (owner, lent) = (Operator::of(&stack).await, Operator::named(&stack, "lent").await);
    let document = stack.fill(&operator("lent", "symbolon:read", &json!({})).to_string());
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(lent.tell(&stack, "PUT", "/admin/clients/probe", &stack.person("probe")).await.status, 201);
    assert_eq!(owner.tell(&stack, "PUT", "/admin/clients/lent", &document).await.status, 200);
    let started = std::time::Instant::now();
    let answer = loop {
        let answer = lent.delete(&stack, "/admin/clients/probe-that-is-not-there").await;
        if answer.status != 404 || started.elapsed().as_secs() >= 3 {
            break answer;
        }
    };
    refused(&stack, &answer, 403, "access_denied", "client_not_allowed", "a scope that was taken away").await;
    assert_eq!(lent.get(&stack, "/admin/clients/probe").await.status, 200, "what it has still");
}

/// The API is where it is configured to be, and nowhere else; and nothing else is there.
#[tokio::test]
async fn the_api_is_at_its_own_place_alone() {
    let stack = setup().start().await;
    let owner = Operator::of(&stack).await;
    let call = intrusion(&stack).bearer(&owner.token);
    let before = stack.count(CHANGES).await;
    let caller = stack.caller(&owner.identity);
    let (issuer, mtls, name) = (&stack.issuer_authority, &stack.mtls_authority, &stack.as_authority);
    let not_found = (404, "not_found", "not_found");
    let misdirected = (421, "invalid_request", "request_misdirected");
    let ambiguous = (400, "invalid_request", "request_ambiguous");
    let table: [(&str, &str, Call, (u16, &str, &str)); 6] = [
        ("a listener without the service", issuer, call.clone(), not_found),
        ("it names the API's host", issuer, call.clone().header("Host", mtls), misdirected),
        ("another host of the listener", name, call.clone(), not_found),
        ("it names the API's host from there", name, call.clone().header("Host", mtls), misdirected),
        ("two hosts", mtls, call.clone().header("Host", mtls).header("Host", issuer), ambiguous),
        ("a longer name", mtls, Call { target: "/administer/clients/intruder".into(), ..call.clone() }, not_found),
    ];
    for (what, authority, call, (status, error, reason)) in table {
        let answer = caller.send(authority, &call).await;
        refused(&stack, &answer, status, error, reason, what).await;
    }
    assert_eq!(stack.count(CHANGES).await, before);
    let answer = caller.send(mtls, &call).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// On a listener of its own there is the API, and no endpoint of the server.
#[tokio::test]
async fn a_listener_of_its_own_has_nothing_else() {
    let port = ports::free();
    let place = format!("https://127.0.0.1:{port}/admin");
    let listener = format!(
        "[[listener]]\nname = \"admin\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"admin\"]\n\n[[listener.host]]\nnames = [\"127.0.0.1\", \
         \"localhost\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\nclient_certificate = \"request\"\nanchor_set = \"clients\"\n"
    );
    let server = format!("{}{listener}", SECTION.replace("{mtls_url}/admin", &place));
    let scope = "symbolon:read symbolon:write";
    let clients = vec![operator("operator", scope, &json!({ "resources": [place] }))];
    let stack = Setup { without_gateway: true, server, clients, ..Setup::default() }.start().await;
    let identity = stack.client_ca.issue(Leaf::client("operator"));
    let answer = stack.ask(&identity, &[("resource", &place)]).await;
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let (caller, own) = (stack.caller(&identity), format!("127.0.0.1:{port}"));
    let call = Call::get("/admin/clients").bearer(&token);
    let token_request = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "operator")]);
    let not_found = async |authority: &str, call: &Call, what: &str| {
        let answer = caller.send(authority, call).await;
        refused(&stack, &answer, 404, "not_found", "not_found", what).await;
    };
    not_found(&own, &token_request, "the token endpoint").await;
    not_found(&own, &Call::get("/jwks"), "the keys").await;
    not_found(&own, &Call::get("/livez"), "health").await;
    not_found(&own, &Call::get("/introspect"), "introspection").await;
    not_found(&own, &call.clone().header("Host", &format!("localhost:{port}")), "another host of the same policy").await;
    not_found(&stack.mtls_authority, &call, "the server's own listener").await;
    let answer = caller.send(&own, &call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What nobody asked for is refused by what is wrong with it, after the token, before anything is done.
#[tokio::test]
async fn too_much_or_the_wrong_thing_is_refused() {
    let stack = setup().start().await;
    let owner = Operator::of(&stack).await;
    let large = json!({ "client_id": "intruder", "client_name": "x".repeat(70_000) });
    let put = |body: &Value| json_call("PUT", "/admin/clients/intruder", body).bearer(&owner.token);
    let good = stack.person("intruder");
    let text = |call: Call, kind: &str| call.replacing("Content-Type", kind);
    let invalid = (400, "invalid_request", "parameter_malformed");
    let unsupported = (415, "invalid_request", "content_type");
    let method = (405, "invalid_request", "method_not_allowed");
    let bearer = |call: Call| call.bearer(&owner.token);
    let table: Vec<(&str, Call, (u16, &str, &str))> = vec![
        ("too large", put(&large), (413, "invalid_request", "body_too_large")),
        ("a form", text(put(&good), "application/x-www-form-urlencoded"), unsupported),
        ("no type", Call { headers: vec![], ..put(&good) }.bearer(&owner.token), unsupported),
        ("no object", put(&json!([good])), invalid),
        ("no JSON", put(&good).body("{"), invalid),
        ("a member twice", put(&good).body(r#"{"client_id":"intruder","client_id":"intruder"}"#), invalid),
        ("another's name", put(&stack.person("alice")), (400, "invalid_client_metadata", "client_unknown")),
        (
            "no such member",
            put(&json!({ "client_id": "intruder", "is_admin": true })),
            (400, "invalid_client_metadata", "parameter_malformed"),
        ),
        (
            "no such resource",
            put(&json!({ "client_id": "intruder", "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": "CN=intruder", "resources": ["https://x.example"] })),
            (400, "invalid_client_metadata", "resource_not_allowed"),
        ),
        (
            "a precondition that nobody looks at",
            bearer(Call::new("DELETE", "/admin/clients/alice").header("If-Match", "\"x\"")),
            (400, "invalid_request", "precondition_failed"),
        ),
        ("another method", bearer(Call::new("PATCH", "/admin/clients/alice")), method),
        ("a list is not removed", bearer(Call::new("DELETE", "/admin/clients")), method),
        ("nothing there", bearer(Call::get("/admin/secrets")), (404, "not_found", "not_found")),
        ("nothing below", bearer(Call::get("/admin/clients/alice/secret")), (404, "not_found", "not_found")),
    ];
    let before = stack.count(CHANGES).await;
    for (what, call, (status, error, reason)) in table {
        let answer = stack.caller(&owner.identity).send(&stack.mtls_authority, &call).await;
        refused(&stack, &answer, status, error, reason, what).await;
        assert_eq!(answer.json()["request_id"], json!(answer.request_id()), "{what}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{what}");
        assert_eq!(answer.header("connection").is_some(), status == 413 || status == 415, "{what}");
    }
    assert_eq!(stack.count(CHANGES).await, before);
    let answer = stack.caller(&owner.identity).send(&stack.mtls_authority, &put(&good)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Only what the connection proves counts: no field says who calls.
#[tokio::test]
async fn no_field_says_who_calls() {
    let stack = setup().start().await;
    let owner = Operator::of(&stack).await;
    let der = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, owner.identity.chain[0].as_ref());
    let spoofed = |call: Call| {
        let fields =
            [("Client-Cert", format!(":{der}:")), ("X-SSL-Client-Cert", der.clone()), ("X-Forwarded-Client-Cert", der.clone())];
        let more =
            [("X-Symbolon-Client-Id", "operator"), ("X-Symbolon-Scope", "symbolon:write"), ("X-Forwarded-For", "127.0.0.1")];
        let call = fields.iter().fold(call, |call, (name, value)| call.header(name, value));
        more.iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    let before = stack.count(CHANGES).await;
    for (caller, reason) in
        [(stack.caller(&stack.mallory), "binding_certificate_mismatch"), (stack.nobody(), "binding_certificate_absent")]
    {
        let answer = caller.send(&stack.mtls_authority, &spoofed(intrusion(&stack).bearer(&owner.token))).await;
        refused(&stack, &answer, 401, "invalid_token", reason, "spoofed fields").await;
    }
    let answer = stack.caller(&stack.mallory).send(&stack.mtls_authority, &spoofed(intrusion(&stack))).await;
    refused(&stack, &answer, 401, "unauthorized", "token_absent", "spoofed fields alone").await;
    assert_eq!(stack.count(CHANGES).await, before);
    let answer = owner.send(&stack, spoofed(intrusion(&stack))).await;
    assert_eq!(answer.status, 201, "they change nothing for who is the caller: {}", answer.text());
}

/// A client has its share of requests, and an address of refusals: others are served.
#[tokio::test]
async fn requests_and_refusals_are_limited() {
    let server = format!("{SECTION}requests_per_minute = 3\n[limits]\naddress_failures_per_minute = 4\n");
    let stack = Setup { server, clients: clients(), ..setup() }.start().await;
    let (owner, reader) = (Operator::of(&stack).await, Operator::named(&stack, "reader").await);
    let throttled = async |answer: &Answer, what: &str| {
        refused(&stack, answer, 429, "temporarily_unavailable", "client_throttled", what).await;
        assert!(answer.header("retry-after").is_some(), "{what}");
    };
    for _ in 0..3 {
        assert_eq!(owner.get(&stack, "/admin/clients").await.status, 200);
    }
    throttled(&owner.get(&stack, "/admin/clients").await, "the fourth").await;
    assert_eq!(reader.get(&stack, "/admin/clients").await.status, 200, "another client");
    let thief = stack.caller(&stack.mallory).from([127, 0, 0, 2]);
    let call = intrusion(&stack).bearer(&reader.token);
    for _ in 0..4 {
        let answer = thief.send(&stack.mtls_authority, &call).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "a guess").await;
    }
    throttled(&thief.send(&stack.mtls_authority, &call).await, "the fifth guess").await;
    assert_eq!(reader.get(&stack, "/admin/clients").await.status, 200, "another address");
}

/// A configuration that would not do what it says is refused, with what to do about it.
#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let stack = setup().prepare("sqlite:symbolon.db".into()).await;
    let good = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let section = stack.fill(SECTION);
    let place = stack.fill("{mtls_url}/admin");
    let beside = stack.fill(BESIDE.1);
    let check = async |text: &str| {
        std::fs::write(stack.path("changed.toml"), text).expect("written");
        crate::harness::command::symbolon(stack.dir.path(), &["config", "check", "--config", "changed.toml"]).await
    };
    check(&good).await.ok();
    let admin = format!("[admin]\nresource = \"{place}\"\n");
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let other_resource =
        format!("[[resource]]\nidentifier = \"https://b.example\"\naudiences = [\"https://b.example\", \"{place}\"]\n");
    let table = [
        (change(&admin, ""), "`resource` is missing"),
        (change(&beside, &stack.fill(BESIDE.0)), "no listener has the service `admin`"),
        (change(&section, &admin), "add a [[resource]] with this identifier"),
        (change(&place, &stack.fill("{mtls_url}/admin/")), "must be an `https` URL in its normal form"),
        (change(&place, &stack.fill("{mtls_url}")), "must be an `https` URL in its normal form"),
        (change(&place, &stack.fill("{mtls_url}/token")), "belongs to the authorization server"),
        (change("[\"symbolon:read\", \"symbolon:write\"]", "[\"symbolon:read\"]"), "must have the scopes"),
        (format!("{good}\n{other_resource}"), "is among the `audiences`"),
        (format!("{good}\n[registration]\nmode = \"open\"\nresources = [\"{place}\"]\n"), "clients that register themselves"),
        (change(&admin, &format!("{admin}requests_per_minute = 0\n")), "requests_per_minute must be from 1 to 60000"),
        (
            good.replace("\"authorization_server\", \"admin\"", "\"admin\"").replace("\"authorization_server\"", "\"gateway\""),
            "none has `authorization_server`",
        ),
    ];
    for (text, expected) in table {
        let said = check(&text).await.failed();
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let alone = "[[listener]]\nname = \"g\"\naddress = \"127.0.0.1:0\"\nservices = [\"gateway\", \"admin\"]\n[[listener.host]]\nnames = [\"localhost\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n";
    std::fs::write(stack.path("alone.toml"), format!("[gateway]\nissuer = \"https://g.example\"\n{alone}")).expect("written");
    let said = crate::harness::command::symbolon(stack.dir.path(), &["gateway", "--config", "alone.toml"]).await.failed();
    assert!(said.contains("a gateway has nothing to administer"), "{said}");
}
