//! RFC 9101: authorization requests as signed JWTs; OpenID Connect Core §6.1.

use serde_json::{Value, json};

use crate::harness::app::{CHALLENGE, Returned, add_bob, go_on, posted};
use crate::harness::assertion::{Signer, now};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Publisher, Setup, Stack};

/// A client with a key that signs requests, and its deployment.
struct Signing {
    stack: Stack,
    app: App,
    key: Signer,
}

/// alice, registered so, beside mallory with a key of her own.
async fn signing(changes: Value, more: &str) -> Signing {
    let (key, other) = (Signer::key("ES256", "alice-1"), Signer::key("ES256", "mallory-1"));
    let mut metadata = App::metadata("alice", changes);
    metadata["jwks"] = key.jwks();
    let clients = vec![metadata, App::metadata("mallory", json!({ "jwks": other.jwks() }))];
    let stack = Setup { without_gateway: true, clients, server: more.to_owned(), ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    Signing { stack, app, key }
}

impl Signing {
    /// The claims of a good request object, changed.
    fn claims(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "alice", "aud": format!("https://{}", self.stack.issuer_authority), "nbf": now() - 1, "exp": now() + 60,
            "client_id": "alice", "response_type": "code", "redirect_uri": self.app.redirect_uri, "scope": "openid read",
            "state": "inside", "nonce": "n-0S6_WzA2Mj", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        });
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    fn object(&self, changes: &Value) -> String {
        self.key.sign(json!({ "typ": "oauth-authz-req+jwt" }), &self.claims(changes))
    }

    fn url(&self, object: &str, more: &[(&str, &str)]) -> String {
        let mut parameters = vec![("client_id", "alice"), ("request", object)];
        parameters.extend(more);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        format!("/authorize?{query}")
    }

    async fn push(&self, object: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("client_id", "alice"), ("request", object)];
        form.extend(more);
        self.stack.post(&self.app.identity, "/par", &form).await
    }
}

/// §5, §6.3: "The authorization server MUST extract the set of authorization request parameters from the Request Object value. The
/// authorization server MUST only use the parameters in the Request Object, even if the same parameter is provided in the query
/// parameter."; §10.2: the request is its signer's.
#[tokio::test]
async fn a_signed_request_is_its_objects_alone() {
    let signing = signing(json!({}), "").await;
    let (stack, app) = (&signing.stack, &signing.app);
    let mut browser = Browser::new(stack);
    let object = signing.object(&json!({}));
    let answer = browser.get(&signing.url(&object, &[("state", "outside"), ("scope", "openid write"), ("nonce", "x")])).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!((returned.to.as_str(), returned.get("state")), (app.redirect_uri.as_str(), "inside"));
    let tokens = app.redeem(stack, returned.get("code")).await.json();
    assert_eq!(tokens["scope"], "openid read");

    // What stands outside alone is not used: neither to go on nor to lead back.
    let object = signing.object(&json!({ "state": null }));
    let returned = Returned::of(&browser.get(&signing.url(&object, &[("state", "outside")])).await);
    assert_eq!((returned.get("state"), returned.get("code").is_empty()), ("", false));
    let object = signing.object(&json!({ "redirect_uri": null }));
    let answer = browser.get(&signing.url(&object, &[("redirect_uri", &app.redirect_uri)])).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert_eq!(stack.reason_of(answer.request_id()).await, "redirect_uri_absent");

    // §5: by POST too, and pushed (RFC 9126 §3).
    let object = signing.object(&json!({}));
    let parameters =
        [("client_id", "alice"), ("request", object.as_str())].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let cookies = std::mem::take(&mut browser.cookies);
    let answer = browser.send(posted(&parameters)).await;
    browser.cookies.extend(cookies);
    assert_eq!(Returned::of(&go_on(&mut browser, answer).await).get("state"), "inside");
    let answer = signing.push(&signing.object(&json!({})), &[("scope", "write"), ("state", "outside")]).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let request_uri = answer.json()["request_uri"].as_str().expect("a URI").to_owned();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "alice"), ("request_uri", &request_uri)])
        .finish();
    let returned = Returned::of(&browser.get(&format!("/authorize?{query}")).await);
    assert_eq!(returned.get("state"), "inside");
}

/// §6.2: "The authorization server MUST validate the signature of the JWS-signed Request Object", "the key identified", "the algorithm";
/// §6.3, §5: "The Client ID values in the `client_id` request parameter and in the Request Object `client_id` claim MUST be identical";
/// §4: "`request` and `request_uri` parameters MUST NOT be included in Request Objects"; §7: `invalid_request_object`; §10.8: typ.
#[tokio::test]
async fn what_is_not_a_good_request_object_is_refused() {
    let signing = signing(json!({ "request_object_signing_alg": "ES256" }), "").await;
    let (stack, key) = (&signing.stack, &signing.key);
    let issuer = format!("https://{}", stack.issuer_authority);
    let foreign = Signer::key("ES256", "alice-1");
    let good = signing.object(&json!({}));
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let claims = |changes: Value| signing.claims(&changes);
    let none =
        format!("{}.", foreign.sign_raw(r#"{"alg":"none"}"#, &claims(json!({})).to_string()).rsplit_once('.').expect("parts").0);
    let table = [
        ("x".to_owned(), "request_object_malformed"),
        (format!("{good}.AAAA.AAAA"), "request_object_malformed"),
        (format!("{head}."), "request_object_signature"),
        (format!("{head}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]), "request_object_signature"),
        (none, "request_object_algorithm"),
        (foreign.sign(json!({}), &claims(json!({}))), "request_object_signature"),
        (key.sign(json!({ "kid": "alice-2" }), &claims(json!({}))), "request_object_key_unknown"),
        (key.sign(json!({ "typ": "at+jwt" }), &claims(json!({}))), "request_object_type"),
        (key.sign(json!({ "typ": "client-authentication+jwt" }), &claims(json!({}))), "request_object_type"),
        (key.sign(json!({ "crit": ["exp"] }), &claims(json!({}))), "request_object_critical"),
        (Signer::key("ES384", "alice-1").sign(json!({}), &claims(json!({}))), "request_object_algorithm"),
        (signing.object(&json!({ "client_id": "mallory" })), "request_object_client"),
        (signing.object(&json!({ "client_id": null })), "request_object_claim"),
        (signing.object(&json!({ "iss": "mallory" })), "request_object_client"),
        (signing.object(&json!({ "sub": "alice" })), "request_object_client"),
        (signing.object(&json!({ "aud": "https://other.example" })), "request_object_audience"),
        (signing.object(&json!({ "exp": now() - 1 })), "request_object_expired"),
        (signing.object(&json!({ "nbf": now() + 70, "exp": now() + 90 })), "request_object_not_yet_valid"),
        (signing.object(&json!({ "request": "x" })), "request_object_claim"),
        (signing.object(&json!({ "request_uri": "urn:x" })), "request_object_claim"),
        (signing.object(&json!({ "scope": ["openid"] })), "request_object_claim"),
    ];
    let mut browser = Browser::new(stack);
    for (object, reason) in table {
        let answer = browser.get(&signing.url(&object, &[("redirect_uri", &signing.app.redirect_uri)])).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{reason}");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
        let verdict = stack.verdict(&signing.push(&object, &[]).await).await;
        assert_eq!(verdict, (400, "invalid_request_object".to_owned(), reason.to_owned()));
    }
    // A client assertion is no request object, and a request object no client assertion.
    let assertion = key.assertion("alice", &issuer);
    let verdict = stack.verdict(&signing.push(&assertion, &[]).await).await;
    assert_eq!(verdict, (400, "invalid_request_object".to_owned(), "request_object_client".to_owned()));
    assert_eq!(signing.push(&good, &[]).await.status, 201);
    assert_eq!(browser.get(&signing.url(&good, &[])).await.status, 303);
    // What the object asks for is judged like any request, and the client is told so.
    let object = signing.object(&json!({ "scope": "admin" }));
    let returned = Returned::of(&browser.get(&signing.url(&object, &[])).await);
    assert_eq!((returned.get("error"), returned.get("state")), ("invalid_scope", "inside"));
}

/// §10.5: `require_signed_request_object`: "the authorization server MUST reject the request from the client that does not conform",
/// of one client, and of every one where the server's metadata says so.
#[tokio::test]
async fn whoever_must_sign_must() {
    for (changes, more, of_server) in [
        (json!({ "require_signed_request_object": true }), "", false),
        (json!({ "profile": "openid", "require_signed_request_object": true }), "", false),
        (json!({ "profile": "openid" }), "[authorization]\nrequire_signed_request_object = true\n", true),
    ] {
        let signing = signing(changes.clone(), more).await;
        let (stack, app) = (&signing.stack, &signing.app);
        let mut browser = Browser::new(stack);
        let answer = browser.get(&app.url(&[])).await;
        assert_eq!(Returned::of(&answer).get("error"), "invalid_request", "{changes}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "request_object_absent");
        let request = app.request(&[]);
        let form: Vec<(&str, &str)> = request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let verdict = stack.verdict(&stack.post(&app.identity, "/par", &form).await).await;
        assert_eq!(verdict, (400, "invalid_request".to_owned(), "request_object_absent".to_owned()));
        let unsigned = unsigned(&signing.claims(&json!({})));
        let verdict = stack.verdict(&signing.push(&unsigned, &[]).await).await;
        assert_eq!(verdict, (400, "invalid_request_object".to_owned(), "request_object_algorithm".to_owned()));
        let object = signing.object(&json!({}));
        assert_eq!(browser.get(&signing.url(&object, &[("response_type", "code")])).await.status, 303);
        let document = browser.get("/.well-known/openid-configuration").await.json();
        assert_eq!(document["require_signed_request_object"].as_bool(), of_server.then_some(true));
        let has_none =
            document["request_object_signing_alg_values_supported"].as_array().expect("names").contains(&json!("none"));
        assert_eq!(has_none, !of_server);
    }
}

fn unsigned(claims: &Value) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// OpenID Connect Core §6.1: "The parameters ... in the Request Object supersede those passed using the OAuth 2.0 request syntax",
/// "the values for these parameters MUST match those in the Request Object, if present", "Request Object ... MAY be ... unsigned".
#[tokio::test]
async fn in_openid_connect_an_object_is_filled_from_outside() {
    let signing = signing(json!({ "profile": "openid" }), "").await;
    let (stack, app) = (&signing.stack, &signing.app);
    let mut browser = Browser::new(stack);
    let outside = [
        ("response_type", "code"),
        ("scope", "openid read"),
        ("redirect_uri", app.redirect_uri.as_str()),
        ("state", "outside"),
        ("nonce", "outside"),
    ];
    let claims = json!({ "state": "inside", "max_age": 10_000, "claims": { "userinfo": { "name": null } } });
    for object in [signing.key.sign(json!({}), &claims), unsigned(&claims)] {
        let answer = browser.get(&signing.url(&object, &outside)).await;
        let returned = Returned::of(&go_on(&mut browser, answer).await);
        assert_eq!(returned.get("state"), "inside");
        let token =
            [("grant_type", "authorization_code"), ("code", returned.get("code")), ("redirect_uri", app.redirect_uri.as_str())];
        assert_eq!(app.token(stack, &token).await.status, 200);
    }
    for (claims, reason) in [
        (json!({ "response_type": "token" }), "request_object_claim"),
        (json!({ "client_id": "mallory" }), "request_object_client"),
    ] {
        let object = signing.key.sign(json!({}), &claims);
        let answer = browser.get(&signing.url(&object, &outside)).await;
        assert_eq!(Returned::of(&answer).get("error"), "invalid_request_object", "{claims}");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
    }
    // Nothing leads back to a place that is not the client's.
    let object = signing.key.sign(json!({}), &json!({ "client_id": "mallory" }));
    let evil = [("response_type", "code"), ("redirect_uri", "https://evil.example/cb")];
    let answer = browser.get(&signing.url(&object, &evil)).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    let object = signing.key.sign(json!({}), &json!({ "redirect_uri": "https://evil.example/cb" }));
    let answer = browser.get(&signing.url(&object, &outside)).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "redirect_uri_mismatch"));
}

/// §9: "request_object_signing_alg_values_supported", `request_parameter_supported`: every algorithm listed works, of keys in the
/// registration whatever the client authenticates by; no other can be registered.
#[tokio::test]
async fn every_listed_algorithm_works_and_no_other() {
    let keys = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "EdDSA"].map(|name| Signer::key(name, name));
    let set: Vec<Value> = keys.iter().map(Signer::public).collect();
    let metadata = |changes: Value| {
        let mut metadata = App::metadata("alice", changes);
        metadata["jwks"] = json!({ "keys": set });
        metadata
    };
    let clients = vec![metadata(json!({}))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let app = App::alice(&stack);
    let document = Browser::new(&stack).get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["request_parameter_supported"], true);
    let signing = Signing { stack, app, key: Signer::key("ES256", "unused") };
    for name in document["request_object_signing_alg_values_supported"].as_array().expect("names") {
        let Some(key) = keys.iter().find(|key| json!(key.algorithm) == *name) else {
            assert_eq!(name, "none", "shown above");
            continue;
        };
        let answer = signing.push(&key.sign(json!({}), &signing.claims(&json!({}))), &[]).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
    }
    for (algorithm, profile, problem) in [
        ("HS256", "openid", "is not one of"),
        ("RS384", "openid", "is not one of"),
        ("none", "oauth2.1", "does not go with"),
        ("RS256", "fapi2", "is not for the profile"),
    ] {
        let changes = json!({ "request_object_signing_alg": algorithm, "profile": profile });
        let registered = serde_json::from_str(&signing.stack.fill(&metadata(changes).to_string())).expect("JSON");
        let said = signing.stack.apply(&[registered]).await;
        assert!(said.failed().contains(problem), "{algorithm} {profile}");
    }
}

/// Trusts the servers' authority, and may connect to this machine.
const OUTBOUND: &str = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n\
                        total_seconds = 1\nbody_bytes = 20000\n";

fn served(object: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/oauth-authz-req+jwt\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{object}",
        object.len()
    )
}

/// §5.2: "request_uri: ... the absolute URI ... that references the set of parameters", "The Request Object ... the client's web server";
/// OpenID Connect Core §6.2: "the fragment component"; OpenID Connect Registration §2 `request_uris`; Discovery §3
/// `require_request_uri_registration`: "Pre-registration is REQUIRED when the value is true."
#[tokio::test]
async fn an_object_may_be_fetched_from_a_registered_place() {
    for profile in ["openid", "oauth2.1"] {
        let signing = signing(json!({ "profile": profile }), OUTBOUND).await;
        let (stack, app) = (&signing.stack, &signing.app);
        let publisher = Publisher::start(&stack.server_ca).await;
        let registered = [publisher.url("/r?x=1"), publisher.url("/s")];
        let mut metadata = App::metadata("alice", json!({ "profile": profile, "request_uris": registered }));
        metadata["jwks"] = signing.key.jwks();
        let metadata: Value = serde_json::from_str(&stack.fill(&metadata.to_string())).expect("JSON");
        stack.apply(&[metadata]).await.ok();
        let mut browser = Browser::new(stack);
        let outside = [("response_type", "code"), ("scope", "openid read"), ("redirect_uri", app.redirect_uri.as_str())];
        let url = |uri: &str, more: &[(&str, &str)]| {
            let mut parameters = vec![("client_id", "alice"), ("request_uri", uri)];
            parameters.extend(outside);
            parameters.extend(more);
            format!("/authorize?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
        };
        publisher.answer_with(served(&signing.object(&json!({}))));
        // The running server hears of the registration within a second.
        let started = std::time::Instant::now();
        let answer = loop {
            let answer = browser.get(&url(&registered[0], &[])).await;
            if answer.header("location").is_some_and(|location| location.starts_with("/sign-in")) {
                break answer;
            }
            assert!(started.elapsed() < crate::harness::client::PATIENCE, "{answer:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        let returned = Returned::of(&go_on(&mut browser, answer).await);
        assert_eq!(returned.get("state"), "inside");
        assert_eq!(app.redeem(stack, returned.get("code")).await.status, 200);
        assert_eq!(publisher.requests().last().map(String::as_str), Some("GET /r?x=1 HTTP/1.1"));
        // The fragment tells versions apart, no more.
        let answer = browser.get(&url(&format!("{}#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM", registered[0]), &[])).await;
        assert_eq!(Returned::of(&answer).get("state"), "inside");
        // What is unsigned is for OpenID Connect alone.
        publisher.answer_with(served(&unsigned(&signing.claims(&json!({})))));
        let answer = browser.get(&url(&registered[1], &[])).await;
        let told = answer.header("location").is_some_and(|location| location.contains("code="));
        assert_eq!(told, profile == "openid", "{answer:?}");

        let before = publisher.connections();
        for (uri, more, error, reason) in [
            (publisher.url("/r?x=2"), None, "invalid_request_uri", "request_uri_unregistered"),
            (publisher.url("/"), None, "invalid_request_uri", "request_uri_unregistered"),
            ("https://169.254.169.254/".to_owned(), None, "invalid_request_uri", "request_uri_unregistered"),
            ("http://localhost/".to_owned(), None, "invalid_request_uri", "request_uri_unregistered"),
            ("file:///etc/passwd".to_owned(), None, "invalid_request_uri", "request_uri_unregistered"),
            (registered[0].clone(), Some(("request", "e30.e30.")), "invalid_request", "request_unsupported"),
        ] {
            let answer = browser.get(&url(&uri, more.as_slice())).await;
            match profile {
                "openid" => assert_eq!(Returned::of(&answer).get("error"), error, "{uri}"),
                _ => assert_eq!((answer.status, answer.header("location")), (400, None), "{uri}"),
            }
            assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{uri}");
        }
        assert_eq!(publisher.connections(), before, "nothing was fetched");
        // What is there is not what should be; no redirect is followed.
        let moved = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", publisher.url("/s"));
        for (answered, reason) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "request_uri_unavailable"),
            (moved, "request_uri_unavailable"),
            (served(&"x".repeat(20_001)), "request_uri_unavailable"),
            (served("x"), "request_object_malformed"),
            (served(&signing.object(&json!({ "client_id": "mallory" }))), "request_object_client"),
            (served(&signing.object(&json!({ "request_uri": registered[0] }))), "request_object_claim"),
        ] {
            publisher.answer_with(answered);
            let before = publisher.requests().len();
            let answer = browser.get(&url(&registered[0], &[])).await;
            assert_eq!(stack.reason_of(answer.request_id()).await, reason);
            assert_eq!(publisher.requests().len(), before + 1, "{reason}");
        }
        publisher.answer_with(served(&signing.object(&json!({}))));
        publisher.delay(std::time::Duration::from_secs(3));
        let answer = browser.get(&url(&registered[0], &[])).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, "request_uri_unavailable");
        let document = browser.get("/.well-known/openid-configuration").await.json();
        assert_eq!(document["request_uri_parameter_supported"], true);
        assert_eq!(document["require_request_uri_registration"], true);
    }
}
