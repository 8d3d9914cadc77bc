//! RFC 8628: devices without a browser of their own.

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, add_bob};
use crate::harness::browser::{Browser, field, problem};
use crate::harness::{Answer, App, Call, Engine, Identity, Prover, Setup, Stack, token};

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Metadata of a television, changed.
pub fn television(name: &str, changes: Value) -> Value {
    let mut metadata = App::metadata(name, json!({ "grant_types": [GRANT, "refresh_token"], "redirect_uris": null }));
    metadata.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    metadata
}

fn setup(engine: Engine) -> Setup {
    let clients = vec![television("alice", json!({})), television("mallory", json!({}))];
    Setup { engine, clients, ..Setup::default() }
}

pub async fn ask(stack: &Stack, identity: &Identity, more: &[(&str, &str)]) -> Answer {
    let form = [&[("client_id", identity.name.as_str())], more].concat();
    stack.post(identity, "/device-authorization", &form).await
}

pub async fn poll(stack: &Stack, identity: &Identity, device_code: &str) -> Answer {
    let form = [("grant_type", GRANT), ("client_id", identity.name.as_str()), ("device_code", device_code)];
    stack.post(identity, "/token", &form).await
}

/// What the server told the device.
fn told(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", answer.text())).to_owned()
}

/// Types the code and decides, signed in.
pub async fn decide(browser: &mut Browser, user_code: &str, decision: &str) -> Answer {
    let page = browser.get(&format!("/device?user_code={user_code}")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let form = [("csrf", &*field(&page, "csrf")), ("user_code", &*field(&page, "user_code")), ("decision", decision)];
    browser.post("/device", &form).await
}

pub async fn bob(stack: &Stack) -> Browser {
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    browser
}

/// §3.2: `device_code`, `user_code`, `verification_uri`, `expires_in` REQUIRED; §3.3: the person signs in, sees the code and who asks, and
/// approves; §3.5: `authorization_pending` until then; then tokens, bound to the device's certificate, once.
async fn a_device_gets_its_tokens(engine: Engine) {
    let Some(stack) = setup(engine).try_start().await else { return };
    let subject = add_bob(&stack).await;
    let begun = ask(&stack, &stack.alice, &[("scope", "openid email read offline_access")]).await;
    assert_eq!((begun.status, begun.header("cache-control")), (200, Some("no-store")), "{}", begun.text());
    let (device_code, user_code) = (told(&begun, "device_code"), told(&begun, "user_code"));
    let verification_uri = told(&begun, "verification_uri");
    assert_eq!(verification_uri, stack.fill("{issuer}/device"));
    assert_eq!(told(&begun, "verification_uri_complete"), format!("{verification_uri}?user_code={user_code}"));
    assert_eq!((&begun.json()["expires_in"], &begun.json()["interval"]), (&json!(600), &json!(5)));
    // §6.1: no vowels, no digits.
    assert!(user_code.len() == 9 && user_code.bytes().all(|byte| b"BCDFGHJKLMNPQRSTVWXZ-".contains(&byte)), "{user_code}");
    assert!(device_code.len() > 43, "{device_code}");

    let pending = poll(&stack, &stack.alice, &device_code).await;
    let expected = (400, "authorization_pending".to_owned(), "device_pending".to_owned());
    assert_eq!(stack.verdict(&pending).await, expected);

    // The person follows the link, signs in, and comes back with the code filled in.
    let mut browser = Browser::new(&stack);
    let led = browser.get(&format!("/device?user_code={}", user_code.to_lowercase())).await;
    assert_eq!(led.header("location"), Some(&*format!("/sign-in?device={user_code}")));
    let page = browser.get(&format!("/sign-in?device={user_code}")).await;
    let form = [("csrf", &*field(&page, "csrf")), ("device", &*user_code), ("username", "bob"), ("password", PASSWORD)];
    let back = browser.post("/sign-in", &form).await;
    assert_eq!(back.header("location"), Some(&*format!("/device?user_code={user_code}")));
    let page = browser.get(back.header("location").expect("a location")).await;
    // §5.4: "it is RECOMMENDED to inform the user that they are authorizing a device"; §3.3.1: the code is shown to be compared.
    for words in [
        user_code.as_str(),
        "App of alice",
        "Bob Builder",
        "127.0.0.1",
        "the device is in front of you",
        "see your e-mail address",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("form-action 'self'")));
    let done = decide(&mut browser, &user_code, "allow").await;
    assert!(done.status == 200 && done.text().contains("Your device is connected"), "{}", done.text());

    let answer = poll(&stack, &stack.alice, &device_code).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tokens = answer.json();
    let access_token = tokens["access_token"].as_str().expect("one");
    let claims = token::claims(access_token);
    assert_eq!((&claims["sub"], &claims["cnf"]["x5t#S256"]), (&json!(subject), &json!(stack.alice.thumbprint())));
    assert_eq!(tokens["scope"], "email offline_access openid read");
    let id_token = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&id_token["sub"], &id_token["aud"], &id_token["amr"]), (&json!(subject), &json!("alice"), &json!(["pwd"])));
    assert_eq!(stack.at_gateway(&stack.alice, access_token).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, access_token).await.status, 401);
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "alice"),
        ("refresh_token", tokens["refresh_token"].as_str().expect("one")),
    ];
    assert_eq!(stack.post(&stack.alice, "/token", &form).await.status, 200);

    // Once alone: who redeems it again ends what came of it.
    let again = poll(&stack, &stack.alice, &device_code).await;
    assert_eq!(stack.verdict(&again).await, (400, "invalid_grant".to_owned(), "code_replayed".to_owned()));
    assert_eq!(stack.introspect(access_token).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_device_gets_its_tokens_on_sqlite() {
    a_device_gets_its_tokens(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_device_gets_its_tokens_on_postgres() {
    a_device_gets_its_tokens(Engine::Postgres).await;
}

/// §3.5: "slow_down ... the interval MUST be increased by 5 seconds for this and all subsequent requests"; `access_denied` when the person
/// says no; a code can be decided about once.
#[tokio::test]
async fn a_device_must_wait_and_can_be_denied() {
    let stack = Setup { without_gateway: true, ..setup(Engine::Sqlite) }.start().await;
    add_bob(&stack).await;
    let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await;
    let (device_code, user_code) = (told(&begun, "device_code"), told(&begun, "user_code"));
    let mut errors = Vec::new();
    for _ in 0..3 {
        let answer = poll(&stack, &stack.alice, &device_code).await;
        assert_eq!(answer.status, 400);
        errors.push(answer.error());
    }
    assert_eq!(errors, ["authorization_pending", "slow_down", "slow_down"]);
    let pause = stack.count("SELECT pause FROM device_authorization").await;
    assert_eq!(pause, 15, "5 seconds more each time");
    // After five seconds it is still too soon.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(poll(&stack, &stack.alice, &device_code).await.error(), "slow_down");

    let mut browser = bob(&stack).await;
    let page = browser.get(&format!("/device?user_code={user_code}")).await;
    let done = decide(&mut browser, &user_code, "deny").await;
    assert!(done.status == 200 && done.text().contains("Nothing was allowed"), "{}", done.text());
    // Second thoughts come too late.
    let form = [("csrf", &*field(&page, "csrf")), ("user_code", &*user_code), ("decision", "allow")];
    let late = browser.post("/device", &form).await;
    assert_eq!((late.status, &*stack.reason_of(late.request_id()).await), (400, "user_code_unknown"));
    assert!(problem(&late).is_some_and(|words| words.starts_with("No device is waiting under this code")));
    let answer = poll(&stack, &stack.alice, &device_code).await;
    assert_eq!(stack.verdict(&answer).await, (400, "access_denied".to_owned(), "consent_denied".to_owned()));
    // Another request, allowed, shows that nothing else was in the way.
    let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await;
    decide(&mut browser, &told(&begun, "user_code"), "allow").await;
    assert_eq!(poll(&stack, &stack.alice, &told(&begun, "device_code")).await.status, 200);
}

/// §3.1: "client authentication requirements of Section 3.2.1 of RFC 6749 apply to requests on this endpoint"; §3.4: the device code is its
/// client's; scope, resource and grant are the registration's.
#[tokio::test]
async fn a_device_code_is_its_clients() {
    let stack = Setup {
        without_gateway: true,
        clients: vec![television("alice", json!({})), television("mallory", json!({})), App::metadata("gateway", json!({}))],
        ..Setup::default()
    }
    .start()
    .await;
    add_bob(&stack).await;
    let begin = "/device-authorization";
    let cases: [(&Identity, &[(&str, &str)], &str, &str); 6] = [
        (&stack.mallory, &[("client_id", "alice")], "invalid_client", "certificate_subject_mismatch"),
        (&stack.alice, &[("client_id", "nobody")], "invalid_client", "client_unknown"),
        (&stack.gateway_identity, &[("client_id", "gateway")], "unauthorized_client", "grant_not_allowed"),
        (&stack.alice, &[("client_id", "alice"), ("scope", "admin")], "invalid_scope", "scope_not_allowed"),
        (
            &stack.alice,
            &[("client_id", "alice"), ("resource", "https://other.example")],
            "invalid_target",
            "resource_not_allowed",
        ),
        (
            &stack.alice,
            &[("client_id", "alice"), ("scope", "read"), ("scope", "write")],
            "invalid_request",
            "parameter_duplicate",
        ),
    ];
    for (identity, form, error, reason) in cases {
        let answer = stack.post(identity, begin, form).await;
        let (status, found, why) = stack.verdict(&answer).await;
        assert_eq!((found.as_str(), why.as_str()), (error, reason), "{status} {form:?}");
    }
    let begun = ask(&stack, &stack.alice, &[("scope", "read")]).await;
    let device_code = told(&begun, "device_code");
    decide(&mut bob(&stack).await, &told(&begun, "user_code"), "allow").await;
    let stolen = poll(&stack, &stack.mallory, &device_code).await;
    assert_eq!(stack.verdict(&stolen).await, (400, "invalid_grant".to_owned(), "code_foreign".to_owned()));
    let unknown = poll(&stack, &stack.alice, "sy_dc_nothing").await;
    assert_eq!(stack.verdict(&unknown).await, (400, "invalid_grant".to_owned(), "code_unknown".to_owned()));
    assert_eq!(poll(&stack, &stack.alice, &device_code).await.status, 200, "mallory's try did not spend it");
}

/// A public client's tokens are bound to its DPoP key (RFC 9449 §5), its refresh token too.
#[tokio::test]
async fn a_public_devices_tokens_are_its_keys() {
    let public = json!({
        "client_id": "alice", "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true,
        "grant_types": [GRANT, "refresh_token"], "scope": "read", "resources": ["{accounts}"],
    });
    let stack = Setup { without_gateway: true, clients: vec![public], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let nobody = stack.nobody();
    let begun = nobody.send(&stack.issuer_authority, &Call::form("/device-authorization", &[("client_id", "alice")])).await;
    let device_code = told(&begun, "device_code");
    decide(&mut bob(&stack).await, &told(&begun, "user_code"), "allow").await;
    let (key, thief) = (Prover::new(), Prover::new());
    let send = async |key: Option<&Prover>, form: &[(&str, &str)]| {
        let call = Call::form("/token", &[&[("client_id", "alice")], form].concat());
        let call = match key {
            Some(key) => call.proof(&key.prove("POST", &stack.fill("{issuer}/token"))),
            None => call,
        };
        nobody.send(&stack.issuer_authority, &call).await
    };
    let form = [("grant_type", GRANT), ("device_code", &*device_code)];
    let unproven = send(None, &form).await;
    assert_eq!(stack.verdict(&unproven).await, (400, "invalid_dpop_proof".to_owned(), "dpop_proof_absent".to_owned()));
    let tokens = send(Some(&key), &form).await.json();
    assert_eq!(token::claims(tokens["access_token"].as_str().expect("one"))["cnf"]["jkt"], key.thumbprint());
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().expect("one"))];
    let answer = send(Some(&thief), &form).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "dpop_jkt".to_owned()));
    assert_eq!(send(Some(&key), &form).await.status, 200);
}

/// §4: `device_authorization_endpoint` in metadata, beside its mutual-TLS alias (RFC 8705 §5). Under FAPI 2.0 there is neither.
#[tokio::test]
async fn metadata_names_the_endpoint() {
    let stack = Setup { without_gateway: true, ..setup(Engine::Sqlite) }.start().await;
    let metadata = async |stack: &Stack| {
        let call = Call::get("/.well-known/oauth-authorization-server");
        stack.nobody().send(&stack.issuer_authority, &call).await.json()
    };
    let document = metadata(&stack).await;
    assert_eq!(document["device_authorization_endpoint"], stack.fill("{issuer}/device-authorization"));
    assert_eq!(document["mtls_endpoint_aliases"]["device_authorization_endpoint"], stack.fill("{mtls_url}/device-authorization"));
    let has_grant =
        |document: &Value| document["grant_types_supported"].as_array().is_some_and(|grants| grants.contains(&json!(GRANT)));
    assert!(has_grant(&document));
    let strict =
        Setup { server: "[authorization]\nprofile = \"fapi2\"\n".into(), without_gateway: true, ..setup(Engine::Sqlite) };
    let strict = strict.start().await;
    let document = metadata(&strict).await;
    assert!(!has_grant(&document) && document.get("device_authorization_endpoint").is_none());
    let answer = ask(&strict, &strict.alice, &[]).await;
    assert_eq!(strict.verdict(&answer).await, (400, "unauthorized_client".to_owned(), "grant_not_allowed".to_owned()));
}
