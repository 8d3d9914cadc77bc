//! Messages encrypted to a client: OpenID Connect Core §5.3.2, §10.2; JARM §2.2; RFC 9701 §5; OpenID Connect Registration §2.

use josekit::jwe::{self, ECDH_ES, ECDH_ES_A256KW, JweDecrypter, RSA_OAEP_256};
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use serde_json::{Value, json};

use crate::harness::app::{Returned, add_bob, go_on};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Call, Publisher, Setup, Stack};

/// Private keys of a recipient, and their public halves for a registration.
struct Keys {
    rsa: Jwk,
    ec: Jwk,
}

impl Keys {
    fn new() -> Self {
        Self { rsa: Jwk::generate_rsa_key(2048).expect("a key"), ec: Jwk::generate_ec_key(EcCurve::P256).expect("a key") }
    }

    fn jwks(&self) -> Value {
        let public = |key: &Jwk, name: &str| {
            let mut members = serde_json::to_value(key.to_public_key().expect("a public half").as_ref()).expect("JSON");
            members["use"] = json!("enc");
            members["kid"] = json!(name);
            members
        };
        json!({ "keys": [public(&self.rsa, "rsa"), public(&self.ec, "ec")] })
    }

    fn decrypter(&self, alg: &str) -> Box<dyn JweDecrypter> {
        match alg {
            "RSA-OAEP-256" => Box::new(RSA_OAEP_256.decrypter_from_jwk(&self.rsa).expect("a decrypter")),
            "ECDH-ES" => Box::new(ECDH_ES.decrypter_from_jwk(&self.ec).expect("a decrypter")),
            _ => Box::new(ECDH_ES_A256KW.decrypter_from_jwk(&self.ec).expect("a decrypter")),
        }
    }

    /// The content of a JWE, whose header must say this.
    #[track_caller]
    fn open(&self, text: &str, alg: &str, enc: &str, cty: Option<&str>) -> String {
        let (payload, header) = jwe::deserialize_compact(text, &*self.decrypter(alg)).expect("decrypted");
        let told = (header.algorithm(), header.content_encryption(), header.content_type());
        assert_eq!(told, (Some(alg), Some(enc), cty));
        assert_eq!(header.key_id(), Some(if alg == "RSA-OAEP-256" { "rsa" } else { "ec" }));
        String::from_utf8(payload).expect("UTF-8")
    }
}

/// The claims of a JWT that the server signed.
async fn verified(stack: &Stack, jwt: &str) -> Value {
    let answer = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await;
    let set = symbolon::jose::jwk::JwkSet::from_json(&answer.body).expect("a set");
    let keys = symbolon::jose::verify::VerifyingKeys::new(&set, &symbolon::jose::Algorithm::ALL);
    let compact = symbolon::jose::jws::Compact::parse(jwt).expect("a JWS");
    Value::Object(keys.verify(&compact).expect("signed by the server").claims().clone())
}

async fn userinfo(stack: &Stack, app: &App, tokens: &Value) -> Answer {
    let token = tokens["access_token"].as_str().expect("one");
    stack.caller(&app.identity).send(&stack.mtls_authority, &Call::get("/userinfo").bearer(token)).await
}

/// Core §10.2: "the JWT ... signed then encrypted, with the result being a Nested JWT"; §5.3.2: "If the UserInfo Response is signed and/or
/// encrypted, then the Claims are returned in a JWT and the content-type MUST be `application/jwt`"; JARM §2.2: "the JWT is signed and then
/// encrypted"; RFC 9701 §5: "nested JWT"; Registration §2: "If ..._alg is specified, the default ..._enc value is `A128CBC-HS256`".
#[tokio::test]
async fn every_message_is_encrypted_as_registered() {
    let (alice, mallory, gateway) = (Keys::new(), Keys::new(), Keys::new());
    let clients = vec![
        App::metadata(
            "alice",
            json!({
                "jwks": alice.jwks(), "id_token_encrypted_response_alg": "RSA-OAEP-256",
                "userinfo_encrypted_response_alg": "ECDH-ES+A256KW", "userinfo_encrypted_response_enc": "A256GCM",
                "authorization_encrypted_response_alg": "ECDH-ES", "authorization_encrypted_response_enc": "A128GCM",
            }),
        ),
        App::metadata(
            "mallory",
            json!({
                "jwks": mallory.jwks(), "userinfo_signed_response_alg": "ES256", "userinfo_encrypted_response_alg": "RSA-OAEP-256",
            }),
        ),
        json!({
            "client_id": "gateway", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=gateway",
            "grant_types": [], "jwks": gateway.jwks(), "introspection_encrypted_response_alg": "RSA-OAEP-256",
            "introspection_encrypted_response_enc": "A256CBC-HS512",
        }),
    ];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let subject = add_bob(&stack).await;
    let mut browser = Browser::new(&stack);

    let app = App::alice(&stack);
    let answer = browser.get(&app.url(&[("response_mode", "jwt")])).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    let jwt = alice.open(returned.get("response"), "ECDH-ES", "A128GCM", Some("JWT"));
    let claims = verified(&stack, &jwt).await;
    assert_eq!((&claims["aud"], &claims["state"]), (&json!("alice"), &json!("af0ifjsldkj")));
    let answer = app.redeem(&stack, claims["code"].as_str().expect("a code")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tokens = answer.json();
    let jwt = alice.open(tokens["id_token"].as_str().expect("one"), "RSA-OAEP-256", "A128CBC-HS256", Some("JWT"));
    assert_eq!(verified(&stack, &jwt).await["sub"], json!(subject));
    let refreshed = app.tokens(&stack, &mut browser, &[("scope", "openid offline_access")]).await;
    let answer = app.refresh(&stack, refreshed["refresh_token"].as_str().expect("one")).await.json();
    alice.open(answer["id_token"].as_str().expect("one"), "RSA-OAEP-256", "A128CBC-HS256", Some("JWT"));
    let answer = userinfo(&stack, &app, &tokens).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwt")));
    let told = alice.open(&answer.text(), "ECDH-ES+A256KW", "A256GCM", None);
    assert_eq!(serde_json::from_str::<Value>(&told).expect("JSON"), json!({ "sub": subject }));

    let app = App::mallory(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[]).await;
    assert_eq!(tokens["id_token"].as_str().expect("one").split('.').count(), 3, "not registered for encryption");
    let answer = userinfo(&stack, &app, &tokens).await;
    let jwt = mallory.open(&answer.text(), "RSA-OAEP-256", "A128CBC-HS256", Some("JWT"));
    assert_eq!(verified(&stack, &jwt).await["aud"], "mallory");

    let token = tokens["access_token"].as_str().expect("one");
    let call = Call::form("/introspect", &[("token", token), ("client_id", "gateway")]);
    let call = call.header("Accept", "application/token-introspection+jwt");
    let answer = stack.caller(&stack.gateway_identity).send(&stack.mtls_authority, &call).await;
    let jwt = gateway.open(&answer.text(), "RSA-OAEP-256", "A256CBC-HS512", Some("JWT"));
    assert_eq!(verified(&stack, &jwt).await["token_introspection"]["active"], true);

    let document = browser.get("/.well-known/openid-configuration").await.json();
    for message in ["id_token", "userinfo", "authorization", "introspection"] {
        let listed = |what: &str| document[format!("{message}_encryption_{what}_values_supported")].clone();
        assert_eq!(listed("alg"), json!(["RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"]), "{message}");
        assert_eq!(listed("enc"), json!(["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"]), "{message}");
        for algorithm in ["RSA1_5", "RSA-OAEP", "dir", "A128KW"] {
            let mut metadata = App::metadata("alice", json!({ "jwks": alice.jwks() }));
            metadata[format!("{message}_encrypted_response_alg")] = json!(algorithm);
            let metadata = serde_json::from_str(&stack.fill(&metadata.to_string())).expect("JSON");
            assert!(stack.apply(&[metadata]).await.failed().contains("is not one of"), "{message} {algorithm}");
        }
    }
}

/// Core §10.2: keys come from the client's `jwks_uri`, too; what cannot be encrypted is not sent in the clear.
#[tokio::test]
async fn what_cannot_be_encrypted_is_not_sent() {
    let outbound = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n";
    let stack = Setup { without_gateway: true, server: outbound.into(), ..App::setup() }.start().await;
    add_bob(&stack).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    let keys = Keys::new();
    let changes = json!({ "jwks_uri": publisher.url("/keys"), "id_token_encrypted_response_alg": "ECDH-ES" });
    let metadata = serde_json::from_str(&stack.fill(&App::metadata("alice", changes).to_string())).expect("JSON");
    stack.apply(&[metadata]).await.ok();
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let started = std::time::Instant::now();
    // The running server hears of the registration within a second; nothing is published yet.
    let answer = loop {
        let code = app.code(&mut browser, &[]).await;
        let answer = app.redeem(&stack, &code).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let expected = (503, "temporarily_unavailable".to_owned(), "client_keys_unavailable".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert!(!answer.text().contains("id_token"), "{}", answer.text());
    publisher.publish(&keys.jwks());
    let started = std::time::Instant::now();
    let tokens = loop {
        let code = app.code(&mut browser, &[]).await;
        let answer = app.redeem(&stack, &code).await;
        if answer.status == 200 {
            break answer.json();
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "{}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    };
    keys.open(tokens["id_token"].as_str().expect("one"), "ECDH-ES", "A128CBC-HS256", Some("JWT"));
}

/// OpenID Connect Back-Channel Logout §2.6: a client that negotiated the encryption of ID tokens "SHOULD reject" a logout token that is not
/// encrypted; encrypted to the same key, under the same algorithms.
#[tokio::test]
async fn logout_tokens_are_encrypted_like_id_tokens() {
    let keys = Keys::new();
    let outbound = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n";
    let stack = Setup { without_gateway: true, server: outbound.into(), ..App::setup() }.start().await;
    add_bob(&stack).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let of = |app: &str, more: Value| {
        let mut changes = json!({ "backchannel_logout_uri": publisher.url(&format!("/{app}")) });
        changes.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_str::<Value>(&stack.fill(&App::metadata(app, changes).to_string())).expect("JSON")
    };
    let encrypted = json!({
        "jwks": keys.jwks(), "id_token_encrypted_response_alg": "RSA-OAEP-256", "id_token_encrypted_response_enc": "A256GCM",
    });
    stack.register(&[of("alice", encrypted), of("mallory", json!({}))]).await;
    let started = std::time::Instant::now();
    let mut browser = Browser::new(&stack);
    loop {
        let tokens = App::alice(&stack).tokens(&stack, &mut browser, &[]).await;
        if tokens["id_token"].as_str().is_some_and(|token| token.split('.').count() == 5) {
            break;
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "the server takes the registration in");
    }
    App::mallory(&stack).tokens(&stack, &mut browser, &[]).await;
    let csrf = crate::harness::browser::field(&browser.account().await, "csrf");
    browser.post("/sign-out", &[("csrf", &csrf)]).await;
    while publisher.bodies().len() < 2 {
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "both are told");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut kinds = vec![];
    for body in publisher.bodies() {
        let logout_token = body.strip_prefix("logout_token=").expect("a logout token").to_owned();
        let (kind, signed) = match logout_token.split('.').count() {
            5 => ("encrypted", keys.open(&logout_token, "RSA-OAEP-256", "A256GCM", Some("JWT"))),
            _ => ("signed", logout_token),
        };
        kinds.push((verified(&stack, &signed).await["aud"].as_str().expect("one").to_owned(), kind));
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [("alice".to_owned(), "encrypted"), ("mallory".to_owned(), "signed")]);
}
