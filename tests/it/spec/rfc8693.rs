//! RFC 8693: token exchange.

use serde_json::{Value, json};

use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Engine, Identity, Leaf, Setup, Stack, token};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// `accounts` is served by the client `gateway`, `reports` by `gateway` and `backend`; both may exchange.
fn setup(engine: Engine) -> Setup {
    let service = |name: &str, more: Value| {
        let mut client = json!({
            "client_id": name, "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": format!("CN={name}"), "grant_types": ["client_credentials", GRANT],
            "scope": "read", "resources": ["{reports}", "{accounts}"],
        });
        client.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        client
    };
    let by_gateway = "access_token_format = \"opaque\"\nintrospection_clients = [\"gateway\"]";
    Setup {
        engine,
        server_changes: vec![(by_gateway.into(), by_gateway.replace("\"gateway\"", "\"gateway\", \"backend\""))],
        clients: vec![
            service("gateway", json!({})),
            service("backend", json!({})),
            service("mallory", json!({})),
            App::metadata(
                "alice",
                json!({
                    "grant_types": ["authorization_code", "client_credentials", "refresh_token", GRANT],
                    "resources": ["{accounts}", "{reports}"],
                }),
            ),
        ],
        ..Setup::default()
    }
}

async fn exchange(stack: &Stack, identity: &Identity, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", GRANT), ("client_id", identity.name.as_str())], more].concat();
    stack.post(identity, "/token", &form).await
}

fn access_token(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("no token: {}", answer.text())).to_owned()
}

/// §1.1: "with delegation semantics, principal A still has its own identity separate from B"; §2.2.1: `issued_token_type` REQUIRED;
/// §4.1: "A chain of delegation can be expressed by nesting one `act` claim within another. The outermost `act` claim represents the
/// current actor" (Figure 6). Each token is bound to the certificate of whoever asked for it, and never more than its subject token.
async fn services_act_for_others_and_each_hop_is_told(engine: Engine) {
    let Some(stack) = setup(engine).try_start().await else { return };
    let backend = stack.client_ca.issue(Leaf::client("backend"));
    let subject_token = stack.token(&stack.alice).await;
    let answer = exchange(
        &stack,
        &stack.gateway_identity,
        &[("subject_token", &subject_token), ("subject_token_type", ACCESS_TOKEN), ("resource", &stack.reports)],
    )
    .await;
    let body = answer.json();
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{body}");
    assert_eq!((&body["issued_token_type"], &body["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!((&body["scope"], body.get("refresh_token")), (&json!("read"), None));
    let lasts = token::claims(&subject_token)["exp"].as_i64().expect("exp") - crate::harness::dpop::now();
    assert!(body["expires_in"].as_i64().is_some_and(|seconds| seconds <= lasts + 1), "{body}");
    let first = access_token(&answer);
    let told = stack.introspect(&first).await;
    assert_eq!((&told["sub"], &told["client_id"], &told["aud"]), (&json!("alice"), &json!("gateway"), &json!(stack.reports)));
    assert_eq!(told["act"], json!({ "sub": "gateway" }));
    assert_eq!(told["cnf"]["x5t#S256"], stack.gateway_identity.thumbprint());
    assert_eq!(stack.at_reports(&stack.gateway_identity, &first).await.status, 200);
    assert_eq!(stack.at_reports(&stack.alice, &first).await.status, 401, "bound to whoever asked for it");
    let event = stack.event_of(answer.request_id()).await;
    let exchanged = &event["exchanged"];
    assert_eq!((&event["event"], &event["grant_type"]), (&json!("token_issued"), &json!(GRANT)));
    assert_eq!(exchanged["subject_token"], token::claims(&subject_token)["jti"]);
    assert_eq!(exchanged["subject_cnf"], json!({ "x5t#S256": stack.alice.thumbprint() }));
    assert_eq!(event["cnf"], json!({ "x5t#S256": stack.gateway_identity.thumbprint() }));
    assert_eq!(exchanged["actors"], json!(["gateway"]));

    // The next service, by the name of an audience, with an actor token of its own.
    let own = stack.ask(&backend, &[("resource", &stack.accounts)]).await;
    let actor_token = access_token(&own);
    let form = [
        ("subject_token", first.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", &actor_token),
        ("actor_token_type", ACCESS_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
        ("audience", &stack.accounts),
    ];
    let answer = exchange(&stack, &backend, &form).await;
    let second = access_token(&answer);
    let claims = token::claims(&second);
    assert_eq!(claims["act"], json!({ "sub": "backend", "act": { "sub": "gateway" } }));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("backend")));
    assert_eq!(claims["cnf"]["x5t#S256"], backend.thumbprint());
    assert_eq!(stack.at_gateway(&backend, &second).await.status, 200);
    let exchanged = stack.event_of(answer.request_id()).await["exchanged"].clone();
    assert_eq!(exchanged["subject_cnf"], json!({ "x5t#S256": stack.gateway_identity.thumbprint() }));
    assert_eq!(exchanged["actor_cnf"], json!({ "x5t#S256": backend.thumbprint() }));
    assert_eq!(exchanged["actors"], json!(["backend", "gateway"]));
    // An actor token that was stolen from another certificate's owner proves nobody.
    let renewed = stack.client_ca.issue(Leaf::client("backend"));
    let answer = exchange(&stack, &renewed, &form).await;
    let verdict = (400, "invalid_request".to_owned(), "binding_certificate_mismatch".to_owned());
    assert_eq!(stack.verdict(&answer).await, verdict);
}

#[tokio::test]
async fn services_act_for_others_and_each_hop_is_told_on_sqlite() {
    services_act_for_others_and_each_hop_is_told(Engine::Sqlite).await;
}

#[tokio::test]
async fn services_act_for_others_and_each_hop_is_told_on_postgres() {
    services_act_for_others_and_each_hop_is_told(Engine::Postgres).await;
}

/// §2.1: "the client ... the ability to specify ... the scope of the requested token": a client narrows its own token, for which it shows
/// its key. Nobody acts for anybody then.
#[tokio::test]
async fn a_client_narrows_its_own_token_with_its_key() {
    let stack = setup(Engine::Sqlite).start().await;
    let subject_token = stack.token(&stack.alice).await;
    let form = [("subject_token", subject_token.as_str()), ("subject_token_type", ACCESS_TOKEN), ("scope", "read")];
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    let answer = exchange(&stack, &renewed, &form).await;
    let verdict = (400, "invalid_request".to_owned(), "binding_certificate_mismatch".to_owned());
    assert_eq!(stack.verdict(&answer).await, verdict);
    let claims = token::claims(&access_token(&exchange(&stack, &stack.alice, &form).await));
    assert_eq!((&claims["scope"], claims.get("act"), &claims["sub"]), (&json!("read"), None, &json!("alice")));
    // What was narrowed is not widened again.
    let narrowed = access_token(&exchange(&stack, &stack.alice, &form).await);
    let wide = [("subject_token", narrowed.as_str()), ("subject_token_type", ACCESS_TOKEN), ("scope", "read write")];
    let answer = exchange(&stack, &stack.alice, &wide).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_scope".to_owned(), "scope_not_allowed".to_owned()));
}

/// What was exchanged ends with the grant that it came of.
#[tokio::test]
async fn it_is_revoked_with_the_grant() {
    let stack = setup(Engine::Sqlite).start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let tokens = app.tokens(&stack, &mut Browser::new(&stack), &[("scope", "read"), ("resource", &stack.accounts)]).await;
    let subject_token = tokens["access_token"].as_str().expect("one");
    let form = [("subject_token", subject_token), ("subject_token_type", ACCESS_TOKEN)];
    let exchanged = access_token(&exchange(&stack, &stack.gateway_identity, &form).await);
    assert_eq!(stack.introspect(&exchanged).await["active"], json!(true));
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    assert_eq!(stack.revoke(&stack.alice, refresh_token).await.status, 200);
    assert_eq!(stack.introspect(&exchanged).await, json!({ "active": false }));
    let answer = exchange(&stack, &stack.gateway_identity, &form).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "token_revoked".to_owned()));
}

/// §2.2.1: "A refresh token can be issued in cases where the client of the token exchange needs the ability to access a resource even when
/// the original credential is no longer valid": by registration alone, to a client that acts for another. It goes on acting for the same
/// subject with no more than it was given, and ends with the grant that it came of, with the client of that grant, and with the person.
async fn a_refresh_token_goes_with_it_by_registration_alone(engine: Engine) {
    let lasting = |name: &str| {
        json!({
            "client_id": name, "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": format!("CN={name}"), "grant_types": ["client_credentials", "refresh_token", GRANT],
            "scope": "read", "resources": ["{reports}", "{accounts}"], "refresh_token_grants": [GRANT],
        })
    };
    let mut setup = setup(engine);
    setup.clients.retain(|client| client["client_id"] != "gateway" && client["client_id"] != "backend");
    setup.clients.extend([lasting("gateway"), lasting("backend")]);
    let Some(stack) = setup.try_start().await else { return };
    add_bob(&stack).await;
    let (gateway, backend) = (&stack.gateway_identity, stack.client_ca.issue(Leaf::client("backend")));
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let text = |body: &Value, name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    let exchanged = async |identity: &Identity, subject_token: &str| {
        let form = [("subject_token", subject_token), ("subject_token_type", ACCESS_TOKEN), ("resource", &*stack.reports)];
        exchange(&stack, identity, &form).await.json()
    };
    let refresh = async |identity: &Identity, token: &str, more: &[(&str, &str)]| {
        let form = [("grant_type", "refresh_token"), ("client_id", &*identity.name), ("refresh_token", token)];
        stack.post(identity, "/token", &[&form[..], more].concat()).await
    };
    let gone = (400, "invalid_grant".to_owned(), "refresh_token_unknown".to_owned());

    // bob's token goes to the gateway's client, and on to the backend; both keep acting.
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read"), ("resource", &stack.accounts)]).await;
    let first = exchanged(gateway, &text(&tokens, "access_token")).await;
    let second = exchanged(&backend, &text(&first, "access_token")).await;
    let (of_gateway, of_backend) = (text(&first, "refresh_token"), text(&second, "refresh_token"));
    let answer = refresh(&backend, &of_backend, &[]).await;
    assert_eq!((answer.status, answer.json().get("issued_token_type")), (200, None), "{}", answer.text());
    let refreshed = text(&answer.json(), "access_token");
    let told = stack.introspect(&refreshed).await;
    assert_eq!(told["act"], json!({ "sub": "backend", "act": { "sub": "gateway" } }));
    assert_eq!((&told["scope"], &told["aud"]), (&json!("read"), &json!(stack.reports)));
    assert_eq!(told["sub"], stack.introspect(&text(&tokens, "access_token")).await["sub"]);
    assert_eq!(told["cnf"]["x5t#S256"], backend.thumbprint());
    for (more, error, reason) in [
        ([("scope", "read write")], "invalid_scope", "scope_not_allowed"),
        ([("resource", &*stack.accounts)], "invalid_target", "resource_not_allowed"),
    ] {
        let answer = refresh(&backend, &of_backend, &more).await;
        assert_eq!(stack.verdict(&answer).await, (400, error.to_owned(), reason.to_owned()), "{more:?}");
    }
    let answer = refresh(gateway, &of_backend, &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "refresh_token_foreign".to_owned()));
    // The access token that was given ends, and its bearer goes on; the grant ends, and nobody does.
    assert_eq!(stack.revoke(&stack.alice, &text(&tokens, "access_token")).await.status, 200);
    assert_eq!(refresh(gateway, &of_gateway, &[]).await.status, 200);
    assert_eq!(stack.revoke(&stack.alice, &text(&tokens, "refresh_token")).await.status, 200);
    for token in [&text(&first, "access_token"), &text(&second, "access_token"), &refreshed] {
        assert_eq!(stack.introspect(token).await, json!({ "active": false }));
    }
    assert_eq!(stack.verdict(&refresh(gateway, &of_gateway, &[]).await).await, gone);
    assert_eq!(stack.verdict(&refresh(&backend, &of_backend, &[]).await).await, gone);

    // What a client has of its own does not become a refresh token by being exchanged.
    let own = access_token(&stack.ask(gateway, &[("resource", &stack.reports)]).await);
    assert_eq!(exchanged(gateway, &own).await.get("refresh_token"), None);
    assert_eq!(stack.ask(gateway, &[]).await.json().get("refresh_token"), None, "never with client_credentials");

    // With the client whose token it was, though that had no refresh token; and a client of that name does not bring it back.
    let of_mallory = exchanged(&backend, &access_token(&stack.ask(&stack.mallory, &[("resource", &stack.reports)]).await)).await;
    let token = text(&of_mallory, "refresh_token");
    assert_eq!(refresh(&backend, &token, &[]).await.status, 200);
    crate::harness::command::symbolon(stack.dir.path(), &["client", "remove", "mallory"]).await.ok();
    assert_eq!(stack.verdict(&refresh(&backend, &token, &[]).await).await, gone);

    // With the session that the grant hangs on, and with the person.
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read"), ("resource", &stack.accounts)]).await;
    let online = text(&exchanged(gateway, &text(&tokens, "access_token")).await, "refresh_token");
    let tokens =
        app.tokens(&stack, &mut browser, &[("scope", "openid read offline_access"), ("resource", &stack.accounts)]).await;
    let offline = text(&exchanged(gateway, &text(&tokens, "access_token")).await, "refresh_token");
    let csrf = crate::harness::browser::field(&browser.account().await, "csrf");
    browser.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!(stack.verdict(&refresh(gateway, &online, &[]).await).await, gone, "the session is over");
    assert_eq!(refresh(gateway, &offline, &[]).await.status, 200);
    crate::harness::command::symbolon(stack.dir.path(), &["user", "disable", "bob"]).await.ok();
    assert_eq!(stack.verdict(&refresh(gateway, &offline, &[]).await).await, gone, "the person is kept out");
}

#[tokio::test]
async fn a_refresh_token_goes_with_it_by_registration_alone_on_sqlite() {
    a_refresh_token_goes_with_it_by_registration_alone(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_refresh_token_goes_with_it_by_registration_alone_on_postgres() {
    a_refresh_token_goes_with_it_by_registration_alone(Engine::Postgres).await;
}

/// §2.1: `subject_token`, `subject_token_type` REQUIRED; `actor_token_type` "REQUIRED when the `actor_token` parameter is present in the
/// request but MUST NOT be included otherwise"; §2.2.2: `invalid_request` for tokens that are invalid or unacceptable, `invalid_target`.
#[tokio::test]
async fn what_cannot_be_exchanged_is_refused() {
    let stack = setup(Engine::Sqlite).start().await;
    let subject_token = stack.token(&stack.alice).await;
    let revoked = stack.token(&stack.alice).await;
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    let subject = ("subject_token", subject_token.as_str());
    let kind = ("subject_token_type", ACCESS_TOKEN);
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    let table: &[(&[(&str, &str)], &str, &str)] = &[
        (&[kind], "invalid_request", "parameter_absent"),
        (&[subject], "invalid_request", "parameter_absent"),
        (&[subject, ("subject_token_type", id_token)], "invalid_request", "exchange_token_type"),
        (&[subject, kind, ("requested_token_type", id_token)], "invalid_request", "exchange_token_type"),
        (&[subject, kind, ("actor_token", &subject_token)], "invalid_request", "exchange_token_type"),
        (&[subject, kind, ("actor_token_type", ACCESS_TOKEN)], "invalid_request", "exchange_token_type"),
        (
            &[subject, kind, ("actor_token", &subject_token), ("actor_token_type", ACCESS_TOKEN)],
            "invalid_request",
            "exchange_actor",
        ),
        (&[("subject_token", "abc"), kind], "invalid_request", "token_malformed"),
        (&[("subject_token", &revoked), kind], "invalid_request", "token_revoked"),
        (&[subject, kind, ("resource", "https://other.example")], "invalid_target", "resource_not_allowed"),
        (&[subject, kind, ("audience", "https://other.example")], "invalid_target", "resource_not_allowed"),
        (&[subject, kind, ("scope", "write")], "invalid_scope", "scope_not_allowed"),
        (&[subject, kind, subject], "invalid_request", "parameter_duplicate"),
    ];
    for (form, error, reason) in table {
        let answer = exchange(&stack, &stack.gateway_identity, form).await;
        assert_eq!(stack.verdict(&answer).await, (400, (*error).to_owned(), (*reason).to_owned()), "{form:?}");
    }
    // Neither the token's client nor anybody whom it is for.
    let answer = exchange(&stack, &stack.mallory, &[subject, kind]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "exchange_not_allowed".to_owned()));
    assert_eq!(exchange(&stack, &stack.gateway_identity, &[subject, kind]).await.status, 200);
    // Whoever is not registered for it.
    stack.register(&[stack.person("bob")]).await;
    let bob = stack.client_ca.issue(Leaf::client("bob"));
    let answer = exchange(&stack, &bob, &[subject, kind]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "unauthorized_client".to_owned(), "grant_not_allowed".to_owned()));
}
