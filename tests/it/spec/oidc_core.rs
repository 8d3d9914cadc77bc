//! OpenID Connect Core: ID tokens, userinfo, and what a request may ask of the person.

use serde_json::{Value, json};
use symbolon::jose::Algorithm;
use symbolon::jose::jwk::JwkSet;
use symbolon::jose::jws::Compact;
use symbolon::jose::verify::VerifyingKeys;

use crate::harness::app::{Returned, add_bob, fill_in_sign_in, go_on};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Call, Caller, Setup, Stack, token};

/// The claims of an ID token, its signature verified with the published keys.
pub(super) async fn id_token_claims(stack: &Stack, id_token: &str) -> Value {
    let jwks = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await;
    let keys = VerifyingKeys::new(&JwkSet::from_json(&jwks.body).expect("a set"), &Algorithm::ALL);
    let compact = Compact::parse(id_token).expect("compact");
    Value::Object(keys.verify(&compact).expect("signed by a published key").claims().clone())
}

async fn userinfo(stack: &Stack, caller: &Caller, access_token: &str) -> Answer {
    caller.send(&stack.mtls_authority, &Call::get("/userinfo").bearer(access_token)).await
}

/// §2, §3.1.3.6: the claims of an ID token; §5.3.2: "The sub Claim in the UserInfo Response MUST be verified to exactly match the sub
/// Claim in the ID Token"; §5.4: what scopes mean.
#[tokio::test]
async fn an_id_token_and_userinfo_tell_who_signed_in() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let subject = add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "openid email groups read")]).await;
    let (id_token, access_token) = (tokens["id_token"].as_str().expect("one"), tokens["access_token"].as_str().expect("one"));
    assert_eq!(token::header(id_token)["typ"], "JWT");
    let claims = id_token_claims(&stack, id_token).await;
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(format!("https://{}", stack.issuer_authority)), &json!("alice")));
    assert_eq!((&claims["sub"], &claims["nonce"]), (&json!(subject), &json!("n-0S6_WzA2Mj")));
    assert_eq!(claims["amr"], json!(["pwd"]));
    for name in ["exp", "iat", "auth_time"] {
        assert!(claims[name].is_i64(), "{name}");
    }
    for name in ["sid", "acr", "at_hash"] {
        assert!(claims[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert_eq!(claims.get("email"), None, "scopes are told at the userinfo endpoint (§5.4)");
    assert_eq!(tokens.get("refresh_token"), None, "nobody asked for offline_access (§11)");

    let caller = stack.caller(&stack.alice);
    let answer = userinfo(&stack, &caller, access_token).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let told = json!({ "sub": subject, "email": "bob@example.org", "email_verified": false, "groups": ["staff"] });
    let mut said = answer.json();
    said.as_object_mut().expect("an object").entry("email_verified").or_insert(json!(false));
    assert_eq!(said, told);
    // §5.3.1: GET and POST, and the token in the form.
    let post = Call::new("POST", "/userinfo").bearer(access_token);
    assert_eq!(caller.send(&stack.mtls_authority, &post).await.json()["sub"], json!(subject));
    let form = Call::form("/userinfo", &[("access_token", access_token)]);
    assert_eq!(caller.send(&stack.mtls_authority, &form).await.json()["sub"], json!(subject));
}

/// RFC 8705 §3, RFC 6750 §3.1: the userinfo endpoint is a protected resource.
#[tokio::test]
async fn userinfo_is_for_the_holder_of_the_key_alone() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[]).await;
    let access_token = tokens["access_token"].as_str().expect("one");
    let plain = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let plain = plain["access_token"].as_str().expect("one");
    let (alice, mallory) = (stack.caller(&stack.alice), stack.caller(&stack.mallory));
    let id_token = tokens["id_token"].as_str().expect("one");
    let table: [(&Caller, &str, u16, &str); 6] = [
        (&alice, "", 401, "token_absent"),
        (&mallory, access_token, 401, "binding_certificate_mismatch"),
        (&stack.nobody(), access_token, 401, "binding_certificate_absent"),
        (&alice, plain, 401, "token_audience"),
        (&alice, id_token, 401, "token_type"),
        (&alice, "sy_at_AAAA", 401, "token_malformed"),
    ];
    for (caller, presented, status, reason) in table {
        let call = if presented.is_empty() { Call::get("/userinfo") } else { Call::get("/userinfo").bearer(presented) };
        let answer = caller.send(&stack.mtls_authority, &call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (status, reason));
        assert!(
            answer.headers.iter().any(|(name, value)| name == "www-authenticate" && value.starts_with("Bearer ")),
            "{reason}"
        );
    }
    assert_eq!(userinfo(&stack, &alice, access_token).await.status, 200);
    assert_eq!(stack.revoke(&stack.alice, access_token).await.status, 200);
    let answer = userinfo(&stack, &alice, access_token).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "token_revoked"));
}

/// §3.1.2.1 `prompt`, `max_age`, `id_token_hint`; §3.1.2.6 `login_required`, `consent_required`.
#[tokio::test]
async fn a_request_says_what_may_be_asked() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let error = async |browser: &mut Browser, app: &App, more: &[(&str, &str)]| {
        let returned = Returned::of(&browser.get(&app.url(more)).await);
        returned.get("error").to_owned()
    };
    let none = ("prompt", "none");
    assert_eq!(error(&mut browser, &app, &[none]).await, "login_required");
    let id_token = app.tokens(&stack, &mut browser, &[]).await["id_token"].as_str().expect("one").to_owned();
    assert_eq!(error(&mut browser, &app, &[none]).await, "", "signed in, and allowed");
    assert_eq!(error(&mut browser, &other, &[none]).await, "consent_required");
    assert_eq!(error(&mut browser, &app, &[none, ("max_age", "0")]).await, "login_required");
    assert_eq!(error(&mut browser, &app, &[none, ("max_age", "10000")]).await, "");
    assert_eq!(error(&mut browser, &app, &[none, ("id_token_hint", &id_token)]).await, "");
    assert_eq!(error(&mut browser, &other, &[none, ("id_token_hint", &id_token)]).await, "invalid_request");
    assert_eq!(error(&mut browser, &app, &[("prompt", "none login")]).await, "invalid_request");

    // `prompt=consent`: asked although allowed. `prompt=login`: signed in again although signed in.
    let answer = browser.get(&app.url(&[("prompt", "consent")])).await;
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/consent?")));
    for more in [("prompt", "login"), ("prompt", "select_account"), ("max_age", "0")] {
        // `auth_time` counts in seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let answer = browser.get(&app.url(&[more])).await;
        let location = answer.header("location").expect("to the sign-in").to_owned();
        assert!(location.starts_with("/sign-in?"), "{more:?}");
        // Coming back without having done it leads there again.
        let back = location.replace("/sign-in", "/authorize/resume");
        assert!(browser.get(&back).await.header("location").is_some_and(|again| again.starts_with("/sign-in?")), "{more:?}");
        let page = browser.get(&location).await;
        let answer = fill_in_sign_in(&mut browser, &page).await;
        assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty(), "{more:?}");
    }
}

/// §5.5: the `claims` parameter; §5.5.1.1: an essential `acr`.
#[tokio::test]
async fn single_claims_are_told_where_they_are_asked_for() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let subject = add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let wanted = r#"{"userinfo":{"name":{"essential":true},"nickname":null},"id_token":{"email":null}}"#;
    let tokens = app.tokens(&stack, &mut browser, &[("claims", wanted)]).await;
    let claims = id_token_claims(&stack, tokens["id_token"].as_str().expect("one")).await;
    assert_eq!((&claims["email"], claims.get("name")), (&json!("bob@example.org"), None));
    let caller = stack.caller(&stack.alice);
    let answer = userinfo(&stack, &caller, tokens["access_token"].as_str().expect("one")).await;
    assert_eq!(answer.json(), json!({ "sub": subject, "name": "Bob Builder" }));
    let unmet = r#"{"id_token":{"acr":{"essential":true,"values":["urn:mace:incommon:iap:silver"]}}}"#;
    let returned = Returned::of(&browser.get(&app.url(&[("claims", unmet)])).await);
    assert_eq!(returned.get("error"), "unmet_authentication_requirements");
}

/// §11: `offline_access`, consented to; §12.2: "its `iss` Claim Value MUST be the same", "its `sub`", "it SHOULD NOT have a `nonce`",
/// `auth_time` "MUST represent the time of the original authentication".
#[tokio::test]
async fn offline_access_gives_a_refresh_token() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let more = [("scope", "openid offline_access read"), ("prompt", "consent")];
    let tokens = app.tokens(&stack, &mut browser, &more).await;
    let first = id_token_claims(&stack, tokens["id_token"].as_str().expect("one")).await;
    let answer = app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = id_token_claims(&stack, answer.json()["id_token"].as_str().expect("one")).await;
    for name in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_eq!(second.get("nonce"), None);
}

/// OAuth 2.0 Form Post Response Mode §2: "the Authorization Response parameters are encoded as HTML form values that are auto-submitted
/// in the User Agent"; and `fragment`.
#[tokio::test]
async fn an_answer_is_sent_as_the_request_wants_it() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    app.code(&mut browser, &[]).await;
    let answer = browser.get(&app.url(&[("response_mode", "fragment")])).await;
    assert!(answer.header("location").is_some_and(|location| location.starts_with("https://alice.example/cb#code=")));
    let state = r#""><script>alert(1)</script>"#;
    let answer = browser.get(&app.url(&[("response_mode", "form_post"), ("state", state)])).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let page = answer.text();
    assert!(page.contains(r#"<form method="post" action="https://alice.example/cb">"#), "{page}");
    assert!(page.contains(r#"name="code" value="sy_ac_"#) && page.contains("&quot;&gt;&lt;script&gt;"), "{page}");
    assert_eq!(page.matches("<script>").count(), 1, "ours alone");
    assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'sha256-")));
}

/// §8.1: pairwise: "different `sub` values to each Client" of another sector; §5.3.2: a signed userinfo answer has `iss` and `aud`.
#[tokio::test]
async fn a_pairwise_client_knows_another_name() {
    let clients = vec![
        App::metadata("alice", json!({ "subject_type": "pairwise", "userinfo_signed_response_alg": "ES256" })),
        App::metadata("mallory", json!({ "subject_type": "pairwise" })),
    ];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let subject = add_bob(&stack).await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let mut names = vec![subject];
    for app in [&app, &other] {
        let tokens = app.tokens(&stack, &mut browser, &[]).await;
        let claims = id_token_claims(&stack, tokens["id_token"].as_str().expect("one")).await;
        let access_token = tokens["access_token"].as_str().expect("one");
        assert_eq!(token::claims(access_token)["sub"], claims["sub"]);
        let answer = userinfo(&stack, &stack.caller(&app.identity), access_token).await;
        let told = if app.client_id() == "alice" {
            assert_eq!(answer.header("content-type"), Some("application/jwt"));
            let told = id_token_claims(&stack, &answer.text()).await;
            assert_eq!(told["aud"], "alice");
            told
        } else {
            answer.json()
        };
        assert_eq!(told["sub"], claims["sub"]);
        names.push(claims["sub"].as_str().expect("a name").to_owned());
        // Its own name for bob is a good hint.
        let hint = tokens["id_token"].as_str().expect("one");
        let answer = browser.get(&app.url(&[("prompt", "none"), ("id_token_hint", hint)])).await;
        assert!(!Returned::of(&answer).get("code").is_empty());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3);
}
