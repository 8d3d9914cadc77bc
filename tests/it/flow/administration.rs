//! The administration API: each operation, in force on the server that did it and on another within a second, told with who asked for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::administration::{Operator, json_call, setup};
use crate::harness::app::{PASSWORD, add_bob};
use crate::harness::browser::Browser;
use crate::harness::client::PATIENCE;
use crate::harness::{Call, Engine, Identity, Leaf, Setup, Stack, token};

/// Until what was changed is in force: within a second, and a moment for a busy machine.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(3), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The event of this name that a request caused, in the trail of whichever server has copied it.
async fn event_by(stack: &Stack, name: &str, request_id: &str) -> Value {
    let started = Instant::now();
    loop {
        let events = [stack.events("server-audit.jsonl"), stack.events("replica-audit.jsonl")].concat();
        if let Some(event) = events.into_iter().find(|event| event["event"] == name && event["by"]["request_id"] == request_id) {
            return event;
        }
        assert!(started.elapsed() < PATIENCE, "no {name} of request {request_id}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The event of this name names who asked for it: the client, its token, the request.
async fn told(stack: &Stack, operator: &Operator, name: &str, request_id: &str) -> Value {
    let event = event_by(stack, name, request_id).await;
    let by = json!({
        "client_id": "operator", "subject": "operator", "token_id": token::claims(&operator.token)["jti"], "request_id": request_id,
    });
    assert_eq!(event["by"], by, "{event}");
    event
}

async fn status_at(stack: &Stack, authority: &str, identity: &Identity) -> u16 {
    let form = [("grant_type", "client_credentials"), ("client_id", identity.name.as_str())];
    stack.caller(identity).send(authority, &Call::form("/token", &form)).await.status
}

/// 1. A client is put: it gets tokens, here and at the other server.
/// 2. The same document again writes nothing, and says so; what GET gives can be put again.
/// 3. Another document changes it, if it is what the request goes by.
/// 4. It is removed, with its tokens.
async fn clients_are_put_changed_and_removed(engine: Engine) {
    let Some(stack) = (Setup { engine, ..setup() }).try_start().await else { return };
    let (_other, [_, other]) = stack.start_replica().await;
    let (operator, robot) = (Operator::of(&stack).await, stack.client_ca.issue(Leaf::client("robot")));
    let everywhere = async |status: u16, what: &str| {
        for authority in [&stack.mtls_authority, &other] {
            until(what, async || status_at(&stack, authority, &robot).await == status).await;
        }
    };
    let document = stack.person("robot");
    let answer = operator.tell(&stack, "PUT", "/admin/clients/robot", &document).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (201, &json!("added")), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    everywhere(200, "the new client").await;
    told(&stack, &operator, "client_added", &answer.request_id()).await;
    let first = answer.header("etag").expect("a version").to_owned();

    let changes = "SELECT value FROM change_counter WHERE id = 1";
    let before = stack.count(changes).await;
    let answer = operator.tell(&stack, "PUT", "/admin/clients/robot", &document).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("unchanged")));
    let shown = operator.get(&stack, "/admin/clients/robot").await;
    assert_eq!((shown.status, shown.header("etag")), (200, Some(first.as_str())));
    let answer = operator.tell(&stack, "PUT", "/admin/clients/robot", &shown.json()).await;
    assert_eq!(answer.json()["outcome"], "unchanged");
    assert_eq!(stack.count(changes).await, before, "nothing was written");

    let mut less = document.clone();
    less["scope"] = json!("read");
    let put = |etag: &str| json_call("PUT", "/admin/clients/robot", &less).header("If-Match", etag);
    let answer = operator.send(&stack, put("\"another\"")).await;
    assert_eq!((answer.status, answer.error().as_str()), (412, "precondition_failed"));
    let answer = operator.send(&stack, put(&first)).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("changed")), "{}", answer.text());
    assert_eq!(answer.json()["client"]["scope"], "read");
    told(&stack, &operator, "client_changed", &answer.request_id()).await;
    let answer = operator.send(&stack, put(&first)).await;
    assert_eq!(answer.status, 412, "it is another one by now");
    let anew = json_call("PUT", "/admin/clients/robot", &less).header("If-None-Match", "*");
    assert_eq!(operator.send(&stack, anew).await.status, 412);

    let held = stack.token(&robot).await;
    let answer = operator.delete(&stack, "/admin/clients/robot").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{}", answer.text());
    everywhere(401, "the removed client").await;
    assert_eq!(stack.introspect(&held).await["active"], false);
    told(&stack, &operator, "client_removed", &answer.request_id()).await;
    let answer = operator.delete(&stack, "/admin/clients/robot").await;
    assert_eq!(stack.verdict(&answer).await, (404, "not_found".into(), "client_unknown".into()));
}

#[tokio::test]
async fn clients_are_put_changed_and_removed_on_sqlite() {
    clients_are_put_changed_and_removed(Engine::Sqlite).await;
}

#[tokio::test]
async fn clients_are_put_changed_and_removed_on_postgres() {
    clients_are_put_changed_and_removed(Engine::Postgres).await;
}

/// Lists come in pages, and none is longer than it may be.
#[tokio::test]
async fn lists_come_in_pages() {
    let stack = setup().start().await;
    let operator = Operator::of(&stack).await;
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let answer = operator.get(&stack, &format!("/admin/clients?limit=2&after={after}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        let clients = page["clients"].as_array().expect("a list");
        assert!(clients.len() <= 2);
        names.extend(clients.iter().map(|client| client["client_id"].as_str().expect("a name").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["alice", "gateway", "mallory", "operator"]);
    for query in ["limit=0", "limit=201", "limit=x", "page=2", "limit=1&limit=2"] {
        let answer = operator.get(&stack, &format!("/admin/clients?{query}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{query}");
    }
}

/// A secret that is made here is told here, once.
#[tokio::test]
async fn a_secret_that_was_made_is_told_once() {
    let stack = setup().start().await;
    let operator = Operator::of(&stack).await;
    let document = json!({
        "client_id": "legacy", "token_endpoint_auth_method": "client_secret_post", "resources": [stack.accounts], "scope": "read",
        "tls_client_certificate_bound_access_tokens": false,
    });
    let answer = operator.tell(&stack, "POST", "/admin/clients", &document).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let secret = answer.json()["client_secret"].as_str().expect("a secret").to_owned();
    let form = [("grant_type", "client_credentials"), ("client_id", "legacy"), ("client_secret", &secret)];
    until("the secret is taken", async || {
        stack.nobody().send(&stack.issuer_authority, &Call::form("/token", &form)).await.status == 200
    })
    .await;
    let shown = operator.get(&stack, "/admin/clients/legacy").await;
    let listed = operator.get(&stack, "/admin/clients").await;
    assert!(![&shown, &listed].iter().any(|answer| answer.text().contains(&secret)));
    assert_eq!(shown.json().get("client_secret"), None);
    // A document without secret leaves it as it is.
    let answer = operator.tell(&stack, "PUT", "/admin/clients/legacy", &shown.json()).await;
    assert_eq!(answer.json()["outcome"], "unchanged", "{}", answer.text());
    let answer = operator.tell(&stack, "POST", "/admin/clients", &document).await;
    assert_eq!(stack.verdict(&answer).await, (409, "conflict".into(), "client_exists".into()));
}

/// 1. A new key signs at once; the one before it is published still.
/// 2. It is revoked: what it signed is worth nothing, here and at the other server.
#[tokio::test]
async fn signing_keys_are_rotated_and_revoked() {
    let stack = setup().start().await;
    let (_other, [_, other]) = stack.start_replica().await;
    let operator = Operator::of(&stack).await;
    let keys = operator.get(&stack, "/admin/signing-keys").await.json();
    assert_eq!(keys["signing_keys"][0]["state"], "current", "{keys}");
    let answer = operator.tell(&stack, "POST", "/admin/signing-keys", &json!({ "at_once": true })).await;
    assert_eq!((answer.status, &answer.json()["state"]), (201, &json!("current")), "{}", answer.text());
    let event = told(&stack, &operator, "signing_key_activated", &answer.request_id()).await;
    let kid = answer.json()["kid"].as_str().expect("a key").to_owned();
    assert_eq!(event["key_id"], json!(kid));
    until("the new key signs", async || token::header(&stack.token(&stack.alice).await)["kid"] == json!(kid)).await;
    let keys = operator.get(&stack, "/admin/signing-keys").await.json();
    assert_eq!(keys["signing_keys"].as_array().map(Vec::len), Some(2), "{keys}");
    let answer = operator.tell(&stack, "POST", "/admin/signing-keys", &json!({ "alg": "RS256" })).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{}", answer.text());

    let held = stack.token(&stack.alice).await;
    assert_eq!(token::header(&held)["kid"], json!(kid));
    let answer = operator.delete(&stack, &format!("/admin/signing-keys/{kid}")).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    told(&stack, &operator, "signing_key_revoked", &answer.request_id()).await;
    for authority in [&stack.mtls_authority, &other] {
        let form = [("token", held.as_str()), ("client_id", "gateway")];
        until("what the key signed is refused", async || {
            let answer = stack.caller(&stack.gateway_identity).send(authority, &Call::form("/introspect", &form)).await;
            answer.json()["active"] == json!(false)
        })
        .await;
    }
    let answer = operator.delete(&stack, &format!("/admin/signing-keys/{kid}")).await;
    assert_eq!(stack.verdict(&answer).await, (404, "not_found".into(), "signing_key_unknown".into()));
}

/// Each kind of rule hits what it names and nothing else, at both servers; those of certificates are taken back.
#[tokio::test]
async fn tokens_and_certificates_are_revoked() {
    let stack = setup().start().await;
    let (_other, [_, other]) = stack.start_replica().await;
    let operator = Operator::of(&stack).await;
    let active = async |token: &str, expected: bool, what: &str| {
        for authority in [&stack.mtls_authority, &other] {
            let form = [("token", token), ("client_id", "gateway")];
            until(what, async || {
                let answer = stack.caller(&stack.gateway_identity).send(authority, &Call::form("/introspect", &form)).await;
                answer.json()["active"] == json!(expected)
            })
            .await;
        }
    };
    let bystander = stack.token(&stack.mallory).await;
    let serial = format!("{}@CN=Client CA", stack.alice.serial_hex());
    for kind in ["token_id", "family", "client", "subject", "certificate", "certificate_serial"] {
        // After a rule with a window of a moment: a token that is issued within it is hit too.
        if kind == "subject" || kind == "certificate" {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let held = stack.token(&stack.alice).await;
        let claims = token::claims(&held);
        let value = match kind {
            "token_id" => claims["jti"].as_str().expect("jti").to_owned(),
            "family" => claims["family_id"].as_str().expect("family_id").to_owned(),
            "client" | "subject" => "alice".to_owned(),
            "certificate" => stack.alice.thumbprint(),
            _ => serial.clone(),
        };
        active(&held, true, "before").await;
        let answer = operator.tell(&stack, "POST", "/admin/revocations", &json!({ "kind": kind, "value": value })).await;
        assert_eq!(answer.status, 201, "{kind}: {}", answer.text());
        let request_id = answer.request_id();
        active(&held, false, kind).await;
        active(&bystander, true, "another's token").await;
        if kind.starts_with("certificate") {
            let sequence = &answer.json()["revocations"][0]["sequence"];
            let answer = operator.delete(&stack, &format!("/admin/revocations/{sequence}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            active(&held, true, "taken back").await;
            let answer = operator.delete(&stack, &format!("/admin/revocations/{sequence}")).await;
            assert_eq!(stack.verdict(&answer).await, (404, "not_found".into(), "revocation_rule_unknown".into()));
        }
        let name = match kind {
            "certificate" => "certificate_revoked",
            "certificate_serial" => "certificates_revoked",
            _ => "tokens_revoked",
        };
        told(&stack, &operator, name, &request_id).await;
    }
    let rules = operator.get(&stack, "/admin/revocations?limit=200").await.json();
    let rules = rules["revocations"].as_array().expect("a list").clone();
    let client = rules.iter().find(|rule| rule["kind"] == "client").expect("a rule on the client");
    let answer = operator.delete(&stack, &format!("/admin/revocations/{}", client["sequence"])).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{}", answer.text());
    for (kind, value) in [("key", "x"), ("certificate", "x"), ("certificate_serial", "1A"), ("nothing", "x"), ("client", "")] {
        let answer = operator.tell(&stack, "POST", "/admin/revocations", &json!({ "kind": kind, "value": value })).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{kind}");
    }
    // As people get thumbprints wrong.
    let (hex, colons) = ("a4".repeat(32), vec!["A4"; 32].join(":"));
    for (value, problem) in [(hex.as_str(), "in hexadecimal"), (colons.as_str(), "with colons"), (&hex[..40], "SHA-1")] {
        for kind in ["certificate", "certificate_key"] {
            let answer = operator.tell(&stack, "POST", "/admin/revocations", &json!({ "kind": kind, "value": value })).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            let description = answer.json()["error_description"].as_str().unwrap_or_default().to_owned();
            assert!(description.contains(problem), "{kind} {value}: {description}");
        }
    }
}

/// 1. People are listed and found by their username; nothing secret is told.
/// 2. Their sessions are ended.
/// 3. Somebody is kept out, and let in again.
#[tokio::test]
async fn people_are_shown_kept_out_and_let_in() {
    let stack = setup().start().await;
    let subject = add_bob(&stack).await;
    let operator = Operator::of(&stack).await;
    let found = operator.get(&stack, "/admin/people?username=BOB").await.json();
    assert_eq!(found["people"][0]["sub"], json!(subject), "{found}");
    let everybody = operator.get(&stack, "/admin/people").await.json();
    assert_eq!(everybody["people"].as_array().map(Vec::len), Some(1));
    let shown = operator.get(&stack, &format!("/admin/people/{subject}")).await;
    assert_eq!((&shown.json()["email"], &shown.json()["state"]), (&json!("bob@example.org"), &json!("active")));
    assert!(!shown.text().contains("argon2"));

    let mut browser = Browser::new(&stack);
    browser.sign_in("bob", PASSWORD).await;
    assert!(browser.is_signed_in().await);
    let answer = operator.delete(&stack, &format!("/admin/people/{subject}/sessions")).await;
    assert_eq!((answer.status, &answer.json()["sessions_ended"]), (200, &json!(1)), "{}", answer.text());
    assert!(!browser.is_signed_in().await);
    let event = told(&stack, &operator, "session_ended", &answer.request_id()).await;
    assert_eq!(event["why"], "ended_by_operator");

    browser.sign_in("bob", PASSWORD).await;
    assert!(browser.is_signed_in().await, "they may sign in again");
    let answer = operator.send(&stack, Call::new("POST", &format!("/admin/people/{subject}/disable"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!browser.is_signed_in().await);
    told(&stack, &operator, "account_disabled", &answer.request_id()).await;
    browser.sign_in("bob", PASSWORD).await;
    assert!(!browser.is_signed_in().await, "kept out");
    let answer = operator.send(&stack, Call::new("POST", &format!("/admin/people/{subject}/enable"))).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    told(&stack, &operator, "account_enabled", &answer.request_id()).await;
    browser.sign_in("bob", PASSWORD).await;
    assert!(browser.is_signed_in().await, "let in again");
    let answer = operator.get(&stack, "/admin/people/nobody").await;
    assert_eq!(stack.verdict(&answer).await, (404, "not_found".into(), "account_unknown".into()));
}

/// RFC 9728: what the API says of itself; whoever comes without a token is led there. Looking leaves an event too.
#[tokio::test]
async fn the_api_tells_what_it_takes() {
    let stack = setup().start().await;
    let resource = stack.fill("{mtls_url}/admin");
    let url = stack.fill("{mtls_url}/.well-known/oauth-protected-resource/admin");
    let answer = stack.nobody().send(&stack.mtls_authority, &Call::get("/.well-known/oauth-protected-resource/admin")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let metadata = answer.json();
    assert_eq!(metadata["resource"], json!(resource));
    assert_eq!(metadata["authorization_servers"], json!([stack.fill("{issuer}")]));
    assert_eq!(metadata["scopes_supported"], json!(["symbolon:read", "symbolon:write"]));
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    let answer = stack.nobody().send(&stack.mtls_authority, &Call::get("/admin/clients")).await;
    assert_eq!(stack.verdict(&answer).await, (401, "unauthorized".into(), "token_absent".into()));
    assert!(answer.challenges().iter().all(|challenge| challenge.contains(&format!("resource_metadata=\"{url}\""))));
    assert!(answer.challenge().contains("scope=\"symbolon:read\""), "{}", answer.challenge());
    let operator = Operator::of(&stack).await;
    let answer = operator.get(&stack, "/admin/people").await;
    let event = stack.event_of(answer.request_id()).await;
    assert_eq!((&event["event"], &event["route"], &event["client_id"]), (&json!("access"), &json!("admin"), &json!("operator")));
    assert_eq!((&event["path"], &event["status"]), (&json!("/admin/people"), &json!(200)));
    assert_eq!(event["certificate"], json!(operator.identity.thumbprint()));
}

/// The commands of docs/admin.md, pasted into a shell after those of the README.
#[tokio::test]
async fn the_commands_of_the_page_do_what_it_says() {
    use crate::harness::{command, ports, process::BINARY};
    let (readme, page) = (include_str!("../../../README.md"), include_str!("../../../docs/admin.md"));
    let block = |text: &str, heading: &str, kind: &str| {
        let section = text.split_once(heading).expect("the heading").1.to_owned();
        section.split_once(&format!("```{kind}\n")).expect("a block").1.split_once("```").expect("its end").0.to_owned()
    };
    let run_it = block(readme, "## Run it", "sh");
    let (before, _) = run_it.split_once("symbolon config check\n").expect("the configuration is made first");
    let (set_up, client) = (block(page, "## Set it up", "toml"), block(page, "## Set it up", "sh"));
    let dir = tempfile::tempdir().expect("a directory");
    let script = format!(
        "set -eu\n{before}cat >> symbolon.toml <<'TOML'\n\n{set_up}TOML\nsymbolon config check\n{client}\
         symbolon serve >serve.log 2>&1 & server=$!\ntrap 'kill $server' EXIT\n\
         until symbolon status 2>/dev/null; do kill -0 $server && sleep 0.02; done\necho BEGIN\n{}",
        block(page, "## Try it", "sh"),
    );
    let script = script.replace("8443", &ports::free().to_string()).replace("9443", &ports::free().to_string());
    std::fs::write(dir.path().join("run.sh"), script).expect("written");
    let bin = std::path::Path::new(BINARY).parent().expect("a directory");
    let path = format!("PATH={}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let said = command::run(dir.path(), "env", &[&path, "sh", "run.sh"]).await;
    let all = said.clone().ok();
    let answers: Vec<&str> = all.split_once("BEGIN\n").expect("it began").1.lines().collect();
    let json: Vec<Value> = answers.iter().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect();
    let expected: [(usize, &str, Value); 8] = [
        (0, "/clients/0/client_id", json!("operator")),
        (1, "/outcome", json!("added")),
        (2, "/outcome", json!("unchanged")),
        (3, "/client_id", json!("robot")),
        (4, "/client_secret_expires_at", json!(0)),
        (7, "/state", json!("next")),
        (8, "/revocations/0/value", json!("robot")),
        (10, "/people", json!([])),
    ];
    for (line, pointer, value) in expected {
        assert_eq!(json.get(line).and_then(|answer| answer.pointer(pointer)), Some(&value), "{line} {pointer}: {said:?}");
    }
    assert_eq!(answers.len(), 11, "{answers:#?}");
}
