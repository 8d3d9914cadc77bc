//! OpenID Connect Dynamic Client Registration 1.0, RFC 7591 and RFC 7592.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::oidc_core::id_token_claims;
use crate::harness::app::{Returned, add_bob, go_on, posted, url_of};
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{Answer, Call, Publisher, Setup, Stack, token};

const OPEN: &str = "[registration]\nmode = \"open\"\n";
const OUTBOUND: &str = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n";
const CALLBACK: &str = "https://client.example.org/callback";

async fn started(server: &str) -> Stack {
    let stack = Setup { without_gateway: true, server: server.into(), ..Setup::default() }.start().await;
    add_bob(&stack).await;
    stack
}

async fn send(stack: &Stack, call: Call) -> Answer {
    stack.nobody().send(&stack.issuer_authority, &call).await
}

fn call(method: &str, target: &str, token: &str, body: &Value) -> Call {
    let call = Call::new(method, target);
    let call = if token.is_empty() { call } else { call.bearer(token) };
    if body.is_null() { call } else { call.header("Content-Type", "application/json").body(body.to_string()) }
}

async fn register(stack: &Stack, body: &Value) -> Answer {
    send(stack, call("POST", "/register", "", body)).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// A code flow of a client that registered itself, without PKCE: what the token endpoint answers.
async fn tokens(stack: &Stack, client: &Value, scope: &str) -> Value {
    let parameters = [
        ("response_type", "code"),
        ("client_id", text(client, "client_id")),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
        ("state", "af0ifjsldkj"),
    ];
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut browser = Browser::new(stack);
    let answer = browser.get(&url_of(&parameters)).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    let form = [("grant_type", "authorization_code"), ("code", returned.get("code")), ("redirect_uri", CALLBACK)];
    let basic = STANDARD.encode(format!("{}:{}", text(client, "client_id"), text(client, "client_secret")));
    let answer = send(stack, Call::form("/token", &form).header("Authorization", &format!("Basic {basic}"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// RFC 7591 §3.2.1: "201 Created", `client_id`, "all registered metadata about this client, including any fields provisioned by the
/// authorization server itself"; OpenID Connect Registration §2: the defaults; §3.2: `registration_access_token` with
/// `registration_client_uri`. Members that are not understood are ignored. The client works at once.
#[tokio::test]
async fn a_client_registers_itself_and_signs_people_in() {
    let stack = started(OPEN).await;
    let document = send(&stack, Call::get("/.well-known/openid-configuration")).await.json();
    assert_eq!(document["registration_endpoint"], stack.fill("{issuer}/register"));
    assert!(document["id_token_signing_alg_values_supported"].as_array().is_some_and(|all| all.contains(&json!("RS256"))));
    let asked = json!({
        "redirect_uris": [CALLBACK], "client_name": "My Example", "client_name#ja-Jpan-JP": "クライアント名",
        "logo_uri": "https://client.example.org/logo.png", "policy_uri": "https://client.example.org/policy",
        "tos_uri": "https://client.example.org/tos", "client_uri": "https://client.example.org/",
        "contacts": ["ve7jtb@example.org"], "jwks": { "keys": [] }, "post_logout_redirect_uris": ["https://client.example.org/bye"],
        "default_max_age": 3600, "require_auth_time": true, "default_acr_values": ["0"], "unknown": { "member": 1 },
        "initiate_login_uri": "https://client.example.org/login", "client_id": "mine", "client_secret": "mine", "profile": "fapi2",
    });
    let answer = register(&stack, &asked).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")), "{}", answer.text());
    let client = answer.json();
    for name in ["redirect_uris", "client_name", "logo_uri", "policy_uri", "tos_uri", "client_uri", "contacts"] {
        assert_eq!(client[name], asked[name], "{name}");
    }
    for name in ["post_logout_redirect_uris", "default_max_age", "require_auth_time", "default_acr_values", "initiate_login_uri"]
    {
        assert_eq!(client[name], asked[name], "{name}");
    }
    for (name, value) in [
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("grant_types", json!(["authorization_code"])),
        ("response_types", json!(["code"])),
        ("application_type", json!("web")),
        ("subject_type", json!("public")),
        ("id_token_signed_response_alg", json!("RS256")),
        ("client_secret_expires_at", json!(0)),
    ] {
        assert_eq!(client[name], value, "{name}");
    }
    for name in ["unknown", "profile", "resources", "jwks"] {
        assert_eq!(client.get(name), None, "{name}");
    }
    assert_ne!((&client["client_id"], &client["client_secret"]), (&json!("mine"), &json!("mine")));
    assert!(client["client_id_issued_at"].is_i64() && text(&client, "client_secret").len() >= 43);
    let tokens = tokens(&stack, &client, "openid email").await;
    let id_token = text(&tokens, "id_token");
    assert_eq!(token::header(id_token)["alg"], "RS256");
    assert_eq!(id_token_claims(&stack, id_token).await["aud"], client["client_id"]);
    let answer = send(&stack, Call::get("/userinfo").bearer(text(&tokens, "access_token"))).await;
    assert_eq!(answer.json()["email"], "bob@example.org", "{}", answer.text());
    // What the person is shown.
    let mut browser = Browser::new(&stack);
    browser.sign_in("bob", crate::harness::app::PASSWORD).await;
    let request = format!(
        "/authorize?response_type=code&scope=openid&prompt=consent&client_id={}&redirect_uri={CALLBACK}",
        text(&client, "client_id")
    );
    let location = browser.get(&request).await.header("location").expect("to the page").to_owned();
    let page = browser.get(&location).await.text().replace("&#x2f;", "/");
    for link in ["https://client.example.org/policy", "https://client.example.org/tos", "https://client.example.org/logo.png"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link} in {page}");
    }
    assert!(!page.contains("src=\"https://client"), "nothing is loaded from elsewhere");
}

/// RFC 7592 §2.1 to §2.3: read, replace, delete, with the registration access token alone.
#[tokio::test]
async fn a_client_manages_its_registration() {
    let stack = started(OPEN).await;
    let asked =
        json!({ "redirect_uris": [CALLBACK], "client_name": "Before", "policy_uri": "https://client.example.org/policy" });
    let (client, other) = (register(&stack, &asked).await.json(), register(&stack, &asked).await.json());
    let place = text(&client, "registration_client_uri").strip_prefix(&stack.fill("{issuer}")).expect("below us").to_owned();
    let token = text(&client, "registration_access_token");
    let answer = send(&stack, call("GET", &place, token, &Value::Null)).await;
    assert_eq!((answer.status, &answer.json()["client_name"]), (200, &json!("Before")));
    assert_eq!(answer.json()["registration_access_token"], client["registration_access_token"]);
    for bad in ["", "sy_reg_AAAA", text(&other, "registration_access_token"), text(&client, "client_secret")] {
        for method in ["GET", "DELETE"] {
            let answer = send(&stack, call(method, &place, bad, &Value::Null)).await;
            assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".into(), "registration_token".into()), "{method}");
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer ")));
        }
    }
    let mut changed = json!({ "client_id": client["client_id"], "redirect_uris": [CALLBACK], "client_name": "After" });
    let answer = send(&stack, call("PUT", &place, token, &changed)).await;
    assert_eq!((answer.status, &answer.json()["client_name"]), (200, &json!("After")), "{}", answer.text());
    assert_eq!(answer.json().get("policy_uri"), None, "what is left out is removed (§2.2)");
    tokens(&stack, &client, "openid").await;
    for (name, value) in [
        ("client_id", other["client_id"].clone()),
        ("client_id", Value::Null),
        ("token_endpoint_auth_method", json!("none")),
        ("redirect_uris", json!(["https://client.example.org/#x"])),
    ] {
        let mut bad = changed.clone();
        bad[name] = value;
        let answer = send(&stack, call("PUT", &place, token, &bad)).await;
        let code = if name == "redirect_uris" { "invalid_redirect_uri" } else { "invalid_client_metadata" };
        assert_eq!(stack.verdict(&answer).await, (400, code.into(), "client_metadata".into()), "{name}");
    }
    changed["client_name"] = json!("Last");
    assert_eq!(send(&stack, call("PUT", &place, token, &changed)).await.json()["client_name"], "Last");
    let answer = send(&stack, call("DELETE", &place, token, &Value::Null)).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(send(&stack, call("GET", &place, token, &Value::Null)).await.status, 401, "gone (§2.1)");
    let answer =
        send(&stack, Call::get(&format!("/authorize?client_id={}&response_type=code", text(&client, "client_id")))).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "client_unknown");
}

/// The path of a client's registration.
fn place_of(stack: &Stack, client: &Value) -> String {
    text(client, "registration_client_uri").strip_prefix(&stack.fill("{issuer}")).expect("below us").to_owned()
}

/// RFC 7592 §2.3: a client that was removed stays removed, also when it was just changing its registration: by itself, or by the operator.
#[tokio::test]
async fn a_change_that_takes_long_brings_no_removed_client_back() {
    let stack = started(&format!("{OPEN}{OUTBOUND}")).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.publish(&json!([CALLBACK]));
    let asked = json!({ "redirect_uris": [CALLBACK], "sector_identifier_uri": publisher.url("/sector") });
    for remover in ["itself", "the operator", "nobody"] {
        publisher.delay(std::time::Duration::ZERO);
        let client = register(&stack, &asked).await.json();
        let (place, token) = (place_of(&stack, &client), text(&client, "registration_access_token"));
        let mut changed = asked.clone();
        changed["client_id"] = client["client_id"].clone();
        changed["client_name"] = json!("After");
        let before = publisher.requests().len();
        publisher.delay(std::time::Duration::from_secs(3));
        let removal = async {
            while publisher.requests().len() == before {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            match remover {
                "itself" => assert_eq!(send(&stack, call("DELETE", &place, token, &Value::Null)).await.status, 204),
                "the operator" => {
                    drop(symbolon(stack.dir.path(), &["client", "remove", text(&client, "client_id")]).await.ok());
                }
                _ => {}
            }
        };
        let (answer, ()) = futures_util::future::join(send(&stack, call("PUT", &place, token, &changed)), removal).await;
        let registered = stack.count("SELECT COUNT(*) FROM client_registration").await;
        let clients = stack.count("SELECT COUNT(*) FROM client WHERE metadata LIKE '%After%'").await;
        if remover == "nobody" {
            assert_eq!((answer.status, &answer.json()["client_name"], registered, clients), (200, &json!("After"), 1, 1));
        } else {
            let expected = (401, "invalid_token".into(), "registration_token".into());
            assert_eq!(stack.verdict(&answer).await, expected, "{remover}: {}", answer.text());
            assert_eq!((registered, clients), (0, 0), "{remover}");
        }
    }
}

/// OpenID Connect Core §8.1: "Distinct Sector Identifier values MUST result in distinct Subject Identifier values": a client that could name another site's redirect URI later would be told by which names that site knows people.
#[tokio::test]
async fn a_client_stays_in_its_sector() {
    let stack = started(OPEN).await;
    let put = async |client: &Value, changes: &[(&str, Value)]| {
        let mut body = json!({ "client_id": client["client_id"], "redirect_uris": [CALLBACK] });
        for (name, value) in changes {
            body[name] = value.clone();
        }
        send(&stack, call("PUT", &place_of(&stack, client), text(client, "registration_access_token"), &body)).await
    };
    let pairwise = register(&stack, &json!({ "redirect_uris": [CALLBACK], "subject_type": "pairwise" })).await.json();
    let public = register(&stack, &json!({ "redirect_uris": [CALLBACK] })).await.json();
    let elsewhere = json!(["https://victim.example/cb"]);
    let tokens = tokens(&stack, &pairwise, "openid").await;
    for (client, changes) in [
        (&pairwise, vec![("subject_type", json!("pairwise")), ("redirect_uris", elsewhere.clone())]),
        (&pairwise, vec![("subject_type", json!("public"))]),
        (&pairwise, vec![]),
        (&public, vec![("subject_type", json!("pairwise"))]),
        (&public, vec![("subject_type", json!("pairwise")), ("redirect_uris", elsewhere.clone())]),
    ] {
        let answer = put(client, &changes).await;
        let expected = (400, "invalid_client_metadata".into(), "client_metadata".into());
        assert_eq!(stack.verdict(&answer).await, expected, "{changes:?}: {}", answer.text());
    }
    let told = send(&stack, Call::get("/userinfo").bearer(text(&tokens, "access_token"))).await;
    assert_eq!(told.json()["sub"], token::claims(text(&tokens, "id_token"))["sub"], "the name of its own sector still");
    let changes = [("subject_type", json!("pairwise")), ("redirect_uris", json!(["https://client.example.org/other"]))];
    assert_eq!(put(&pairwise, &changes).await.status, 200, "another place at the same host");
    assert_eq!(put(&public, &[("redirect_uris", elsewhere)]).await.status, 200, "everybody is told the same public name");
}

/// RFC 7591 §3.2.2: `invalid_redirect_uri`, `invalid_client_metadata`; OpenID Connect Registration §5: `sector_identifier_uri`.
#[tokio::test]
async fn what_cannot_be_registered_is_told() {
    let stack = started(&format!("{OPEN}{OUTBOUND}")).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let table = [
        ("redirect_uris", json!(["https://client.example.org/cb#fragment"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["http://client.example.org/cb"]), "invalid_redirect_uri"),
        ("redirect_uris", json!([]), "invalid_redirect_uri"),
        ("redirect_uris", json!("https://client.example.org/cb"), "invalid_client_metadata"),
        ("response_types", json!(["id_token"]), "invalid_client_metadata"),
        ("grant_types", json!(["authorization_code", "implicit"]), "invalid_client_metadata"),
        ("grant_types", json!(["client_credentials"]), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("tls_client_auth"), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("private_key_jwt"), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!(1), "invalid_client_metadata"),
        ("id_token_signed_response_alg", json!("none"), "invalid_client_metadata"),
        ("id_token_signed_response_alg", json!("PS512"), "invalid_client_metadata"),
        ("userinfo_signed_response_alg", json!("PS512"), "invalid_client_metadata"),
        ("authorization_signed_response_alg", json!("PS512"), "invalid_client_metadata"),
        ("introspection_signed_response_alg", json!("PS512"), "invalid_client_metadata"),
        ("logo_uri", json!("javascript:alert(1)"), "invalid_client_metadata"),
        ("initiate_login_uri", json!("http://client.example.org/"), "invalid_client_metadata"),
        ("default_max_age", json!("soon"), "invalid_client_metadata"),
        ("scope", json!("a\"b"), "invalid_client_metadata"),
        ("sector_identifier_uri", json!(publisher.url("/absent")), "invalid_client_metadata"),
    ];
    for (name, value, code) in table {
        let mut asked = json!({ "redirect_uris": [CALLBACK] });
        asked[name] = value.clone();
        let answer = register(&stack, &asked).await;
        assert_eq!(stack.verdict(&answer).await, (400, code.into(), "client_metadata".into()), "{name} {value}");
    }
    let answer = send(&stack, Call::new("POST", "/register").header("Content-Type", "text/plain").body("{}")).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "content_type"));
    let answer = send(&stack, Call::new("POST", "/register").header("Content-Type", "application/json").body("[")).await;
    assert_eq!(answer.error(), "invalid_client_metadata");
    // Pairwise names of a sector that lists the redirect URIs, and of one that does not.
    let asked = json!({
        "redirect_uris": [CALLBACK, "https://other.example.org/cb"], "subject_type": "pairwise",
        "sector_identifier_uri": publisher.url("/sector"),
    });
    publisher.publish(&json!([CALLBACK]));
    let answer = register(&stack, &asked).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_client_metadata".into(), "client_metadata".into()));
    publisher.publish(&json!([CALLBACK, "https://other.example.org/cb", "https://third.example.org/cb"]));
    let client = register(&stack, &asked).await.json();
    assert_eq!(client["sector_identifier_uri"], asked["sector_identifier_uri"], "{client}");
    let claims = token::claims(text(&tokens(&stack, &client, "openid").await, "id_token"));
    assert_ne!(
        claims["sub"],
        token::claims(text(
            &tokens(&stack, &register(&stack, &json!({ "redirect_uris": [CALLBACK] })).await.json(), "openid").await,
            "id_token"
        ))["sub"]
    );
    // An algorithm that there is a key for.
    let asked = json!({ "redirect_uris": [CALLBACK], "authorization_signed_response_alg": "RS256" });
    assert_eq!(register(&stack, &asked).await.status, 201);
}

/// RFC 7591 §3: an initial access token; and the limits on how much is registered.
#[tokio::test]
async fn registration_is_for_whom_the_configuration_says() {
    let asked = json!({ "redirect_uris": [CALLBACK] });
    let stack = started("").await;
    assert_eq!(register(&stack, &asked).await.status, 404, "off unless somebody turns it on");
    let closed = "[registration]\nmode = \"initial_access_token\"\nper_address_per_minute = 4\nmax_clients = 1\n\
        initial_access_token_sha256 = [\"DIGEST\"]\n";
    let digest = symbolon::jose::digest::sha256(b"let me in").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let stack = started(&closed.replace("DIGEST", &digest)).await;
    for bad in ["", "let me out"] {
        let answer = send(&stack, call("POST", "/register", bad, &asked)).await;
        assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".into(), "registration_token".into()));
    }
    assert_eq!(send(&stack, call("POST", "/register", "let me in", &asked)).await.status, 201);
    let answer = send(&stack, call("POST", "/register", "let me in", &asked)).await;
    assert_eq!(
        (answer.status, stack.reason_of(answer.request_id()).await.as_str()),
        (503, "overloaded"),
        "as many as there may be"
    );
    let answer = send(&stack, call("POST", "/register", "let me in", &asked)).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true));
}

/// RFC 9700 §4.11.2, the authorization server as open redirector: where anybody may register any redirect URI, a link to this server leads
/// nobody there who is not signed in, but for `prompt=none`.
#[tokio::test]
async fn a_link_leads_nobody_to_a_strangers_site() {
    const PHISH: &str = "https://phish.example/";
    for redirects in [false, true] {
        let stack = started(&format!("{OPEN}{}", if redirects { "redirect_errors = true\n" } else { "" })).await;
        let client = register(&stack, &json!({ "redirect_uris": [PHISH] })).await.json();
        let parameters = |response_type: &'static str, more: &[(&'static str, &'static str)]| {
            let mut parameters =
                vec![("response_type", response_type), ("client_id", text(&client, "client_id")), ("redirect_uri", PHISH)];
            parameters.extend([("scope", "openid"), ("state", "s")]);
            parameters.extend(more);
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        for call in [Call::get(&url_of(&parameters("x", &[]))), posted(&parameters("x", &[]))] {
            let answer = send(&stack, call).await;
            assert_eq!(stack.reason_of(answer.request_id()).await, "response_type_unsupported");
            match redirects {
                true => assert_eq!(Returned::of(&answer).to, PHISH),
                false => assert_eq!((answer.status, answer.header("location")), (400, None)),
            }
        }
        // In order, the person signs in first; and a silent request is answered.
        let answer = send(&stack, Call::get(&url_of(&parameters("code", &[])))).await;
        assert!(answer.header("location").is_some_and(|location| location.starts_with("/sign-in?")));
        let answer = send(&stack, Call::get(&url_of(&parameters("code", &[("prompt", "none")])))).await;
        assert_eq!(Returned::of(&answer).get("error"), "login_required");
        // Whoever is signed in is led on.
        let mut browser = Browser::new(&stack);
        browser.sign_in("bob", crate::harness::app::PASSWORD).await;
        let returned = Returned::of(&browser.get(&url_of(&parameters("x", &[]))).await);
        assert_eq!((returned.to.as_str(), returned.get("error")), (PHISH, "unsupported_response_type"));
    }
}

/// Changes are as few as registrations, and not everybody's lists are fetched at once.
#[tokio::test]
async fn changes_and_fetches_are_limited() {
    for limit in [3, 30] {
        let stack = started(&format!("{OPEN}per_address_per_minute = {limit}\n")).await;
        let client = register(&stack, &json!({ "redirect_uris": [CALLBACK] })).await.json();
        let (place, token) = (place_of(&stack, &client), text(&client, "registration_access_token"));
        let body = json!({ "client_id": client["client_id"], "redirect_uris": [CALLBACK] });
        for (token, status) in [(token, 200), ("sy_reg_AAAA", 401)] {
            assert_eq!(send(&stack, call("PUT", &place, token, &body)).await.status, status);
        }
        let answer = send(&stack, call("PUT", &place, token, &body)).await;
        match limit {
            3 => assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{}", answer.text()),
            _ => assert_eq!(answer.status, 200, "{}", answer.text()),
        }
    }
    let stack = started(&format!("{OPEN}{OUTBOUND}")).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.publish(&json!([CALLBACK]));
    publisher.delay(std::time::Duration::from_secs(2));
    let asked = json!({ "redirect_uris": [CALLBACK], "sector_identifier_uri": publisher.url("/sector") });
    let answers = futures_util::future::join_all((0..20).map(|_| register(&stack, &asked))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(503)), (16, 4));
    assert_eq!(publisher.connections(), 16);
    publisher.delay(std::time::Duration::ZERO);
    assert_eq!(register(&stack, &asked).await.status, 201);
}

/// What the operator narrowed, no client undoes by sending its registration again.
#[tokio::test]
async fn a_change_keeps_the_operators_limits() {
    let more = "scopes = [\"read\", \"write\"]\nresources = [\"{accounts}\", \"{reports}\"]\n";
    let stack = started(&format!("{OPEN}{more}")).await;
    let asked = json!({
        "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "scope": "openid read write",
        "grant_types": ["authorization_code"],
    });
    let client = register(&stack, &asked).await.json();
    assert_eq!(client["scope"], "openid read write", "{client}");
    let mut narrowed = asked.clone();
    for (name, value) in [
        ("client_id", client["client_id"].clone()),
        ("profile", json!("oauth2.1")),
        ("scope", json!("openid read")),
        ("resources", json!([stack.accounts])),
        ("dpop_bound_access_tokens", json!(true)),
    ] {
        narrowed[name] = value;
    }
    stack.apply(&[narrowed.clone()]).await.ok();
    let stored = async || {
        let said = symbolon(stack.dir.path(), &["client", "show", text(&client, "client_id")]).await.ok();
        serde_json::from_str::<Value>(&said).expect("JSON")
    };
    let put = async |changes: &[(&str, Value)]| {
        let mut body = asked.clone();
        body["client_id"] = client["client_id"].clone();
        for (name, value) in changes {
            body[name] = value.clone();
        }
        let answer =
            send(&stack, call("PUT", &place_of(&stack, &client), text(&client, "registration_access_token"), &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        stored().await
    };
    let wide = [("scope", json!("openid email read write")), ("profile", json!("openid")), ("client_name", json!("After"))];
    let found = put(&wide).await;
    assert_eq!(found["client_name"], "After", "{found}");
    for name in ["profile", "scope", "resources", "dpop_bound_access_tokens"] {
        assert_eq!(found[name], narrowed[name], "{name}: {found}");
    }
    // What it asks for in less, it gets.
    assert_eq!(put(&[("scope", json!("openid"))]).await["scope"], "openid");
}
