//! Thieves and forgers at the authorization endpoint.

use serde_json::json;

use super::{passed, refused};
use crate::harness::app::{PASSWORD, Returned, VERIFIER, add_bob, decide, fill_in_sign_in, go_on, posted};
use crate::harness::browser::{Browser, field};
use crate::harness::command::symbolon;
use crate::harness::{App, Call, Engine, Leaf, Prover, Setup, token};

/// A code that comes again ends everything that came of it (RFC 6749 §4.1.2): the gateway refuses the first token within a second.
async fn a_replayed_code_ends_what_it_gave(engine: Engine) {
    let Some(stack) = (Setup { engine, ..App::setup() }).try_start().await else { return };
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let code = app.code(&mut browser, &[("scope", "read")]).await;
    let tokens = app.redeem(&stack, &code).await.json();
    let access_token = tokens["access_token"].as_str().expect("a token");
    passed(&stack, &stack.at_gateway(&stack.alice, access_token).await, "before");
    let answer = app.redeem(&stack, &code).await;
    refused(&stack, &answer, 400, "invalid_grant", "code_replayed", "again").await;
    assert_eq!(stack.introspect(access_token).await, json!({ "active": false }));
    let answer = stack.wait_at_gateway(&stack.alice, &Call::get("/accounts").bearer(access_token), 401).await;
    refused(&stack, &answer, 401, "invalid_token", "token_revoked", "after").await;
    let answer = app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await;
    refused(&stack, &answer, 400, "invalid_grant", "refresh_token_unknown", "its refresh token").await;
    // Committed with the revocation, and copied to the trail a moment later.
    let started = std::time::Instant::now();
    loop {
        let events = stack.events("server-audit.jsonl");
        if events.iter().any(|event| event["event"] == "family_revoked" && event["reason"] == "code_replayed") {
            break;
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "{events:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replayed_code_ends_what_it_gave_on_sqlite() {
    a_replayed_code_ends_what_it_gave(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_replayed_code_ends_what_it_gave_on_postgres() {
    a_replayed_code_ends_what_it_gave(Engine::Postgres).await;
}

/// Of thirty redemptions at once at most one succeeds.
#[tokio::test]
async fn of_many_redemptions_at_once_one_succeeds() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    for _ in 0..3 {
        let code = app.code(&mut browser, &[]).await;
        let tries: Vec<_> = (0..30).map(|_| app.redeem(&stack, &code)).collect();
        let statuses: Vec<u16> = futures_util::future::join_all(tries).await.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 29, "{statuses:?}");
    }
}

/// A code of mallory's own, slipped into the answer that alice's application waits for (RFC 9700 §4.5): it is mallory's, and alice's
/// verifier is not its own. And the other way round: alice's code, stolen.
#[tokio::test]
async fn a_code_is_worth_nothing_in_other_hands() {
    let stack = App::setup().start().await;
    add_bob(&stack).await;
    let (alice, mallory) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let injected = mallory.code(&mut browser, &[]).await;
    refused(&stack, &alice.redeem(&stack, &injected).await, 400, "invalid_grant", "code_foreign", "injected").await;
    let stolen = alice.code(&mut browser, &[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &*stolen),
        ("redirect_uri", &*alice.redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    refused(&stack, &mallory.token(&stack, &form).await, 400, "invalid_grant", "code_foreign", "stolen").await;
    // With alice's name and without her certificate.
    let posing = stack.post(&stack.mallory, "/token", &[&[("client_id", "alice")][..], &form].concat()).await;
    refused(&stack, &posing, 401, "invalid_client", "certificate_subject_mismatch", "posing").await;
    assert_eq!(alice.redeem(&stack, &stolen).await.status, 200);
}

/// A link to an interaction that mallory began, sent to bob: his browser did not begin it, and nothing is granted in it.
#[tokio::test]
async fn an_interaction_is_its_browsers() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::mallory(&stack);
    let (mut thief, mut bob) = (Browser::new(&stack), Browser::new(&stack));
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    let location = thief.get(&app.url(&[])).await.header("location").expect("to the sign-in").to_owned();
    for page in ["/authorize/resume", "/consent"] {
        let answer = bob.get(&location.replace("/sign-in", page)).await;
        assert_eq!((answer.status, answer.header("location")), (400, None));
        assert_eq!(stack.reason_of(answer.request_id()).await, "interaction_foreign", "{page}");
    }
    // Nor with the thief's interaction cookie under another interaction's name.
    let other = bob.get(&app.url(&[])).await.header("location").expect("to the consent").to_owned();
    let id = |location: &str| location.split_once('=').expect("an id").1.to_owned();
    let answer = thief.get(&format!("/authorize/resume?interaction={}", id(&other))).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "interaction_foreign");
    // In the browser that began it, it works.
    let page = thief.get(&location).await;
    let answer = fill_in_sign_in(&mut thief, &page).await;
    assert!(!Returned::of(&go_on(&mut thief, answer).await).get("code").is_empty());
}

/// A stolen cookie, or another old session, shown only after the request was sent away to sign in: the password is asked for all the same,
/// where the request wants the person to sign in anew (OpenID Connect Core §3.1.2.1).
#[tokio::test]
async fn an_old_session_shown_late_is_no_new_sign_in() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut cookies = vec![];
    for _ in 0..5 {
        let mut browser = Browser::new(&stack);
        assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
        cookies.extend(browser.session_cookie());
    }
    // Sign-ins are told apart from requests by whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let old = cookies.pop().expect("one");
    let table =
        [("prompt", "login", false), ("prompt", "login", true), ("prompt", "select_account", false), ("max_age", "0", false)];
    for ((name, value, with_another), stolen) in table.into_iter().zip(cookies) {
        let mut thief = Browser::new(&stack);
        thief.cookies.extend(with_another.then(|| old.clone()));
        let location = thief.get(&app.url(&[(name, value)])).await.header("location").expect("away").to_owned();
        assert!(location.starts_with("/sign-in?"), "{name}={value}: {location}");
        thief.cookies.retain(|(name, _)| *name != stolen.0);
        thief.cookies.push(stolen);
        let answer = thief.get(&location.replace("/sign-in", "/authorize/resume")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(&*location)), "{name}={value}, {with_another}");
        // Whoever knows the password goes on.
        let page = thief.get(&location).await;
        let answer = fill_in_sign_in(&mut thief, &page).await;
        assert!(!Returned::of(&go_on(&mut thief, answer).await).get("code").is_empty(), "{name}={value}, {with_another}");
    }
}

/// A client is removed, and another program gets its name: what the first was given, by tokens, codes or people's consent, is not the
/// second's, and neither is it a thief's.
async fn a_namesake_inherits_nothing(engine: Engine) {
    let public = json!({
        "client_id": "alice", "token_endpoint_auth_method": "none", "tls_client_certificate_bound_access_tokens": false,
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://alice.example/cb"],
        "scope": "read", "resources": ["{accounts}"],
    });
    let setup = Setup { engine, without_gateway: true, clients: vec![public.clone()], ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let refresh_token = tokens["refresh_token"].as_str().expect("one").to_owned();
    let location = browser.get(&app.url(&[("scope", "read")])).await.header("location").expect("led on").to_owned();
    assert!(location.starts_with("https://alice.example/cb?"), "consent is remembered: {location}");
    let code = app.code(&mut browser, &[("scope", "read")]).await;
    symbolon(stack.dir.path(), &["client", "remove", "alice"]).await.ok();
    // Until the server knows, and the rule's two seconds are over.
    let started = std::time::Instant::now();
    while app.refresh(&stack, "sy_rt_unknown").await.error() != "invalid_client" {
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    stack.register(&[serde_json::from_str(&stack.fill(&public.to_string())).expect("JSON")]).await;
    let answer = app.refresh(&stack, &refresh_token).await;
    refused(&stack, &answer, 400, "invalid_grant", "refresh_token_unknown", "its refresh token").await;
    refused(&stack, &app.redeem(&stack, &code).await, 400, "invalid_grant", "token_revoked", "its code").await;
    let answer = browser.get(&app.url(&[("scope", "read")])).await;
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/consent?")), "its consent");
    // What is granted from now on is the new client's.
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    assert_eq!(stack.introspect(tokens["access_token"].as_str().expect("one")).await["active"], true);
    assert_eq!(app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await.status, 200);
}

#[tokio::test]
async fn a_namesake_inherits_nothing_on_sqlite() {
    a_namesake_inherits_nothing(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_namesake_inherits_nothing_on_postgres() {
    a_namesake_inherits_nothing(Engine::Postgres).await;
}

/// A consent form that another site sends, or another session's: the token of the form is missing or another's.
#[tokio::test]
async fn nobody_consents_in_somebody_elses_name() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut bob = Browser::new(&stack);
    let mut other = Browser::new(&stack);
    for browser in [&mut bob, &mut other] {
        assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    }
    let consent = async |browser: &mut Browser| {
        let location = browser.get(&app.url(&[])).await.header("location").expect("to the consent").to_owned();
        browser.get(&location).await
    };
    let (page, foreign) = (consent(&mut bob).await, consent(&mut other).await);
    let interaction = field(&page, "interaction");
    for csrf in [String::new(), "x".into(), field(&foreign, "csrf")] {
        let form = [("csrf", csrf.as_str()), ("interaction", &interaction), ("decision", "allow")];
        let answer = bob.post("/consent", &form).await;
        assert_eq!((answer.status, answer.header("location")), (403, None));
        assert_eq!(stack.reason_of(answer.request_id()).await, "form_foreign");
    }
    let form = [("csrf", &*field(&page, "csrf")), ("interaction", &*interaction), ("decision", "allow")];
    let from_elsewhere = Call::form("/consent", &form).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(bob.send(from_elsewhere).await.status, 403);
    assert!(!Returned::of(&decide(&mut bob, &page, "allow").await).get("code").is_empty());
    // A second click.
    let answer = decide(&mut bob, &page, "allow").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

/// A stolen refresh token: another client, another certificate that the registration does not name, no certificate.
#[tokio::test]
async fn a_stolen_refresh_token_is_worth_nothing() {
    let stack = App::setup().start().await;
    add_bob(&stack).await;
    let (alice, mallory) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let tokens = alice.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    refused(&stack, &mallory.refresh(&stack, refresh_token).await, 400, "invalid_grant", "refresh_token_foreign", "mallory")
        .await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", "alice")];
    let answer = stack.post(&stack.mallory, "/token", &form).await;
    refused(&stack, &answer, 401, "invalid_client", "certificate_subject_mismatch", "as alice").await;
    let forged = Leaf::client("alice").self_signed();
    let answer = stack.post(&forged, "/token", &form).await;
    refused(&stack, &answer, 401, "invalid_client", "certificate_unknown_issuer", "forged").await;
    let answer = alice.refresh(&stack, refresh_token).await;
    let access_token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    passed(&stack, &stack.at_gateway(&stack.alice, &access_token).await, "alice");
}

/// A public client without a key: its refresh token is replaced with each use, and whoever presents a replaced one ends the grant
/// (RFC 9700 §4.14.2); within the grace the present one is given again.
async fn a_replaced_refresh_token_ends_the_grant(engine: Engine) {
    let public = json!({
        "client_id": "alice", "token_endpoint_auth_method": "none", "tls_client_certificate_bound_access_tokens": false,
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://alice.example/cb"],
        "scope": "read", "resources": ["{accounts}"],
    });
    for grace in [60, 0] {
        let server = format!("[authorization]\nrefresh_token_grace_seconds = {grace}\n");
        let setup = Setup { engine, without_gateway: true, clients: vec![public.clone()], server, ..Setup::default() };
        let Some(stack) = setup.try_start().await else { return };
        add_bob(&stack).await;
        let app = App::alice(&stack);
        let mut browser = Browser::new(&stack);
        let tokens = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
        let first = tokens["refresh_token"].as_str().expect("one").to_owned();
        let second = app.refresh(&stack, &first).await.json();
        let (renewed, access_token) =
            (second["refresh_token"].as_str().expect("one"), second["access_token"].as_str().expect("one"));
        assert_ne!(renewed, first);
        let answer = app.refresh(&stack, &first).await;
        if grace > 0 {
            assert_eq!(answer.status, 200, "the answer may have been lost: {}", answer.text());
            let again = answer.json()["refresh_token"].as_str().expect("one").to_owned();
            let third = app.refresh(&stack, &again).await;
            assert_eq!(third.status, 200, "{}", third.text());
            // Two steps back is no lost answer.
            let answer = app.refresh(&stack, &first).await;
            refused(&stack, &answer, 400, "invalid_grant", "refresh_token_reused", "two steps back").await;
        } else {
            refused(&stack, &answer, 400, "invalid_grant", "refresh_token_reused", "replaced").await;
        }
        let answer = app.refresh(&stack, renewed).await;
        refused(&stack, &answer, 400, "invalid_grant", "refresh_token_unknown", "the whole family").await;
        assert_eq!(stack.introspect(access_token).await, json!({ "active": false }));
        let event = stack.wait_for_event("server-audit.jsonl", "family_revoked").await;
        assert_eq!((&event["reason"], &event["client_id"]), (&json!("refresh_token_reused"), &json!("alice")));
    }
}

#[tokio::test]
async fn a_replaced_refresh_token_ends_the_grant_on_sqlite() {
    a_replaced_refresh_token_ends_the_grant(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_replaced_refresh_token_ends_the_grant_on_postgres() {
    a_replaced_refresh_token_ends_the_grant(Engine::Postgres).await;
}

/// A public client with a DPoP key: its refresh token is that key's (RFC 9449 §5: "Refresh tokens issued to public clients ... MUST be
/// bound to the DPoP public key whose proof was presented"), and is not replaced.
#[tokio::test]
async fn a_public_clients_refresh_token_is_its_keys() {
    let public = json!({
        "client_id": "alice", "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true,
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://alice.example/cb"],
        "scope": "read", "resources": ["{accounts}"],
    });
    let stack = Setup { without_gateway: true, clients: vec![public], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let code = app.code(&mut browser, &[("scope", "read")]).await;
    let (key, thief) = (Prover::new(), Prover::new());
    let send = async |key: Option<&Prover>, form: &[(&str, &str)]| {
        let call = Call::form("/token", &[&[("client_id", "alice")], form].concat());
        let call = match key {
            Some(key) => call.proof(&key.prove("POST", &stack.fill("{issuer}/token"))),
            None => call,
        };
        stack.nobody().send(&stack.issuer_authority, &call).await
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*app.redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let tokens = send(Some(&key), &form).await.json();
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    refused(&stack, &send(Some(&thief), &form).await, 400, "invalid_grant", "dpop_jkt", "another key").await;
    refused(&stack, &send(None, &form).await, 400, "invalid_dpop_proof", "dpop_proof_absent", "no key").await;
    for _ in 0..2 {
        let answer = send(Some(&key), &form).await;
        assert_eq!((answer.status, answer.json().get("refresh_token")), (200, None), "{}", answer.text());
        let claims = token::claims(answer.json()["access_token"].as_str().expect("one"));
        assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
    }
}

/// A public client with a certificate: its refresh token is that certificate's (RFC 8705 §4), and is not replaced.
#[tokio::test]
async fn a_public_clients_refresh_token_is_its_certificates() {
    let public = json!({
        "client_id": "alice", "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://alice.example/cb"],
        "scope": "read", "resources": ["{accounts}"],
    });
    let stack = Setup { without_gateway: true, clients: vec![public], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let refresh_token = tokens["refresh_token"].as_str().expect("one");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", "alice")];
    let answer = stack.post(&stack.mallory, "/token", &form).await;
    refused(&stack, &answer, 400, "invalid_grant", "binding_certificate_mismatch", "mallory").await;
    let answer = stack.nobody().send(&stack.mtls_authority, &Call::form("/token", &form)).await;
    refused(&stack, &answer, 400, "invalid_request", "binding_required", "nobody").await;
    for _ in 0..2 {
        let answer = app.refresh(&stack, refresh_token).await;
        assert_eq!((answer.status, answer.json().get("refresh_token")), (200, None), "{}", answer.text());
    }
}

/// The cookie by which a browser shows that it began an interaction cannot be altered.
#[tokio::test]
async fn the_cookie_of_an_interaction_cannot_be_altered() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let location = browser.get(&app.url(&[])).await.header("location").expect("to the sign-in").to_owned();
    // The cookie of the interaction, altered.
    for (name, value) in &mut browser.cookies {
        if name.contains("interaction") {
            let altered = if value.ends_with('A') { "B" } else { "A" };
            value.replace_range(value.len() - 1.., altered);
        }
    }
    let answer = browser.get(&location.replace("/sign-in", "/authorize/resume")).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "interaction_foreign"));
}

/// An access token never outlives the grant that the end of a session looks for, so that signing out ends every one of them.
#[tokio::test]
async fn no_access_token_outlives_its_grant() {
    for (grant_seconds, most) in [(60, 60), (3_600, 300)] {
        let server = format!("[authorization]\nrefresh_token_lifetime_seconds = {grant_seconds}\n");
        let stack = Setup { without_gateway: true, server, ..App::setup() }.start().await;
        add_bob(&stack).await;
        let app = App::alice(&stack);
        let mut browser = Browser::new(&stack);
        let first = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
        let life = |tokens: &serde_json::Value| {
            let claims = token::claims(tokens["access_token"].as_str().expect("one"));
            let exact = claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time");
            assert_eq!(tokens["expires_in"], exact);
            exact
        };
        assert_eq!(life(&first), most, "of a grant of {grant_seconds} seconds");
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        let answer = app.refresh(&stack, first["refresh_token"].as_str().expect("one")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let second = answer.json();
        assert!(if most == 60 { life(&second) <= 58 } else { life(&second) == 300 }, "{second}");
        // What is left hangs on the session still.
        assert!(browser.is_signed_in().await);
        let page = browser.account().await;
        browser.post("/sign-out", &[("csrf", &field(&page, "csrf"))]).await;
        assert!(!browser.is_signed_in().await);
        for tokens in [&first, &second] {
            let token = tokens["access_token"].as_str().expect("one");
            assert_eq!(stack.introspect(token).await, json!({ "active": false }), "of a grant of {grant_seconds} seconds");
        }
    }
}

/// Nobody fills the database from one address by requests that no person and no client answers for.
#[tokio::test]
async fn what_is_kept_for_nobody_is_limited() {
    let public = json!({
        "client_id": "public", "token_endpoint_auth_method": "none", "tls_client_certificate_bound_access_tokens": false,
        "grant_types": ["authorization_code"], "redirect_uris": ["https://public.example/cb"], "scope": "read",
        "resources": ["{accounts}"],
    });
    let clients = vec![App::metadata("alice", json!({})), public];
    let server = "[limits]\nanonymous_authorizations_per_minute = 3\n".to_owned();
    let stack = Setup { without_gateway: true, clients, server, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut bob = Browser::new(&stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    let mut request = app.request(&[]);
    let get = Call::get(&app.url(&[]));
    let post = posted(&request);
    request.retain(|(name, _)| !matches!(name.as_str(), "client_id" | "redirect_uri" | "scope"));
    let mut form: Vec<(&str, &str)> = request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("client_id", "public"), ("redirect_uri", "https://public.example/cb"), ("scope", "read")]);
    let push = Call::form("/par", &form);
    for full in [false, true] {
        for (call, status) in [(&get, 303), (&post, 303), (&push, 201)] {
            let answer = stack.nobody().send(&stack.issuer_authority, call).await;
            match full {
                false => assert_eq!(answer.status, status, "{}", answer.text()),
                true => {
                    assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{}", answer.text());
                    assert_eq!(stack.reason_of(answer.request_id()).await, "client_throttled");
                }
            }
        }
        assert_eq!(stack.count("SELECT COUNT(*) FROM interaction").await, 2);
        assert_eq!(stack.count("SELECT COUNT(*) FROM pushed_request").await, 1);
    }
    // Whoever says who they are goes on.
    let form: Vec<(String, String)> = app.request(&[]);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(stack.post(&app.identity, "/par", &form).await.status, 201);
    let answer = bob.get(&app.url(&[])).await;
    assert!(!Returned::of(&go_on(&mut bob, answer).await).get("code").is_empty());
    assert_eq!(Browser::new(&stack).get(&app.url(&[("prompt", "none")])).await.status, 303, "nothing is kept");
}

/// A posted request is kept and counted once, however often it is gone on with.
#[tokio::test]
async fn a_posted_request_is_kept_once() {
    let server = "[limits]\nanonymous_authorizations_per_minute = 1\n".to_owned();
    let stack = Setup { without_gateway: true, server, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let resume = browser.send(posted(&app.request(&[]))).await.header("location").expect("to come again").to_owned();
    for _ in 0..5 {
        let answer = browser.get(&resume).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
    }
    assert_eq!(stack.count("SELECT COUNT(*) FROM interaction").await, 1);
    let answer = browser.get(&resume).await;
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
    assert_eq!(stack.count("SELECT COUNT(*) FROM interaction").await, 0);
}

/// A browser in which one sign-in after the other is left alone keeps a few cookies of them, for ten minutes, and not so many that its
/// requests are too long to be read.
#[tokio::test]
async fn abandoned_sign_ins_leave_few_cookies() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let mut location = String::new();
    for number in 0..40 {
        let answer = browser.get(&app.url(&[])).await;
        location = answer.header("location").expect("to the sign-in").to_owned();
        let set: Vec<&str> =
            answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
        assert!(set[0].ends_with("; Max-Age=600"), "{set:?}");
        let kept = browser.cookies.iter().filter(|(name, _)| name.contains("-interaction-")).count();
        assert_eq!(kept, (number + 1).min(16));
    }
    // What another site posts brings no cookies, and the browser comes again by GET.
    for _ in 0..20 {
        let mut foreign = Browser::new(&stack);
        let resumption = foreign.send(posted(&app.request(&[]))).await.header("location").expect("to ourselves").to_owned();
        browser.cookies.append(&mut foreign.cookies);
        location = browser.get(&resumption).await.header("location").expect("to the sign-in").to_owned();
        assert_eq!(browser.cookies.iter().filter(|(name, _)| name.contains("-interaction-")).count(), 16);
    }
    // The last one leads on.
    let page = browser.get(&location).await;
    let answer = fill_in_sign_in(&mut browser, &page).await;
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
}
