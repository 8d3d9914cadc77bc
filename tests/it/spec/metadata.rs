//! RFC 8414 §2, OpenID Connect Discovery §3: the metadata are true both ways. What a list has, succeeds; what the registries have beside it,
//! is refused. A list that nothing here tries is a failure, so that none can be added without.

use serde_json::{Value, json};

use crate::harness::app::{add_bob, go_on};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Call, Setup, Stack, token};

/// Lists that other tests go through in the same way.
const ELSEWHERE: [(&str, &str); 7] = [
    ("grant_types_supported", "rfc8414::every_listed_grant_works_and_no_other"),
    ("_endpoint_auth_methods_supported", "rfc8414::every_listed_method_works_and_no_other"),
    ("_endpoint_auth_signing_alg_values_supported", "rfc8414::every_listed_method_works_and_no_other"),
    ("dpop_signing_alg_values_supported", "rfc9449::every_listed_algorithm_works_and_no_other"),
    ("request_object_signing_alg_values_supported", "rfc9101::every_listed_algorithm_works_and_no_other"),
    ("claims_supported", "oidc_conformance::every_standard_claim_is_told"),
    ("claim_types_supported", "oidc_conformance::every_standard_claim_is_told"),
];

/// Single values that need a world of their own.
const VALUES_ELSEWHERE: [(&str, &str, &str); 1] =
    [("acr_values_supported", "https://refeds.org/profile/mfa", "rfc6238::a_request_can_ask_for_more_than_was_proven")];

/// "JSON Web Signature and Encryption Algorithms": those for signatures.
const SIGNATURES: [&str; 19] = [
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "EdDSA",
    "RS384",
    "RS512",
    "HS256",
    "HS384",
    "HS512",
    "ES256K",
    "Ed25519",
    "Ed448",
    "ML-DSA-44",
    "ML-DSA-65",
    "none",
];

/// The same registry: those for keys, and those for content.
const KEY_MANAGEMENT: [&str; 13] = [
    "RSA-OAEP-256",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A256KW",
    "RSA1_5",
    "RSA-OAEP",
    "RSA-OAEP-384",
    "ECDH-ES+A192KW",
    "A128KW",
    "A256KW",
    "dir",
    "A128GCMKW",
    "PBES2-HS256+A128KW",
];
const CONTENT: [&str; 6] = ["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM", "A192CBC-HS384", "A192GCM"];

struct World {
    stack: Stack,
    browser: Browser,
    encryption_keys: Value,
}

impl World {
    /// Where the answer to a request of alice's goes, after the person has done what is asked of them.
    async fn ask(&mut self, more: &[(&str, &str)]) -> Answer {
        let app = App::alice(&self.stack);
        let answer = self.browser.get(&app.url(more)).await;
        go_on(&mut self.browser, answer).await
    }

    /// What a request of alice's comes to: tokens, or the code of an error.
    async fn outcome(&mut self, more: &[(&str, &str)]) -> Result<Value, String> {
        let answer = self.ask(more).await;
        let location = answer.header("location").unwrap_or_default().to_owned();
        let Some((_, query)) = location.split_once(['?', '#']) else { return Err(answer.error()) };
        let find = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
        };
        match (find("code"), find("error")) {
            (Some(code), None) => Ok(App::alice(&self.stack).redeem(&self.stack, &code).await.json()),
            (None, Some(error)) => Err(error),
            other => panic!("{location}: {other:?}"),
        }
    }

    /// Whether a client may register itself with these members.
    async fn registers(&self, members: Value) -> bool {
        let mut body = json!({ "redirect_uris": ["https://client.example.org/cb"], "jwks": self.encryption_keys });
        body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        let call = Call::new("POST", "/register").header("Content-Type", "application/json").body(body.to_string());
        let answer = self.stack.nobody().send(&self.stack.issuer_authority, &call).await;
        match (answer.status, answer.error().as_str()) {
            (201, _) => {
                let told = answer.json();
                members.as_object().expect("an object").iter().all(|(name, value)| told[name] == *value)
            }
            (400, "invalid_client_metadata") => false,
            (status, _) => panic!("{status}: {}", answer.text()),
        }
    }

    async fn tries(&mut self, list: &str, value: &str) -> bool {
        if let Some(message) = list.strip_suffix("_signing_alg_values_supported") {
            return self.registers(json!({ format!("{message}_signed_response_alg"): value })).await;
        }
        if let Some(message) = list.strip_suffix("_encryption_alg_values_supported") {
            return self.registers(json!({ format!("{message}_encrypted_response_alg"): value })).await;
        }
        if let Some(message) = list.strip_suffix("_encryption_enc_values_supported") {
            let (alg, enc) = (format!("{message}_encrypted_response_alg"), format!("{message}_encrypted_response_enc"));
            return self.registers(json!({ alg: "ECDH-ES", enc: value })).await;
        }
        let refused_with = |outcome: Result<Value, String>, error: &str| match outcome {
            Ok(_) => true,
            Err(found) => {
                assert_eq!(found, error, "{list} {value}");
                false
            }
        };
        match list {
            "response_types_supported" => {
                refused_with(self.outcome(&[("response_type", value)]).await, "unsupported_response_type")
            }
            "response_modes_supported" => {
                let answer = self.ask(&[("response_mode", value)]).await;
                let location = answer.header("location").unwrap_or_default();
                let name = if value.contains("jwt") { "response" } else { "code" };
                match (answer.status, value.split('.').next()) {
                    (400, _) => {
                        assert!(location.is_empty(), "nobody knows where to");
                        return false;
                    }
                    (200, Some("form_post")) => assert!(answer.text().contains(&format!("name=\"{name}\"")), "{}", answer.text()),
                    (303, Some("fragment")) => assert!(location.contains(&format!("#{name}=")), "{location}"),
                    (303, _) => assert!(location.contains(&format!("?{name}=")), "{location}"),
                    (status, _) => panic!("{value}: {status} {location}"),
                }
                true
            }
            "code_challenge_methods_supported" => {
                refused_with(self.outcome(&[("code_challenge_method", value)]).await, "invalid_request")
            }
            "prompt_values_supported" => refused_with(self.outcome(&[("prompt", value)]).await, "invalid_request"),
            "scopes_supported" => {
                let scope = if value == "openid" { value.to_owned() } else { format!("openid {value}") };
                let outcome = self.outcome(&[("scope", &scope)]).await;
                if let Ok(tokens) = &outcome {
                    let granted = tokens["scope"].as_str().expect("a scope");
                    assert!(granted.split(' ').any(|scope| scope == value), "{value}: {granted}");
                }
                refused_with(outcome, "invalid_scope")
            }
            "acr_values_supported" => {
                let claims = json!({ "id_token": { "acr": { "essential": true, "value": value } } }).to_string();
                let outcome = self.outcome(&[("claims", &claims)]).await;
                if let Ok(tokens) = &outcome {
                    assert_eq!(token::claims(tokens["id_token"].as_str().expect("one"))["acr"], value);
                }
                refused_with(outcome, "unmet_authentication_requirements")
            }
            "subject_types_supported" => self.registers(json!({ "subject_type": value })).await,
            "symbolon_profiles_supported" => {
                let client = App::metadata("profiled", json!({ "profile": value }));
                let client = serde_json::from_str(&self.stack.fill(&client.to_string())).expect("JSON");
                self.stack.apply(&[client]).await.code == Some(0)
            }
            other => panic!("{other} is listed, and nothing tries it"),
        }
    }
}

/// Values beside those listed.
fn others(list: &str) -> &'static [&'static str] {
    match list {
        "response_types_supported" => {
            &["token", "id_token", "code token", "code id_token", "id_token token", "code id_token token", "none"]
        }
        "response_modes_supported" => &["web_message", "direct_post"],
        "code_challenge_methods_supported" => &["plain"],
        "prompt_values_supported" => &["create"],
        "scopes_supported" => &["admin", "device_sso"],
        "acr_values_supported" => &["https://refeds.org/profile/mfa", "phr"],
        "subject_types_supported" => &["transient"],
        "symbolon_profiles_supported" => &["fapi1", "oauth2.0"],
        _ if list.ends_with("_signing_alg_values_supported") => &SIGNATURES,
        _ if list.ends_with("_encryption_alg_values_supported") => &KEY_MANAGEMENT,
        _ if list.ends_with("_encryption_enc_values_supported") => &CONTENT,
        other => panic!("{other} is listed, and nothing is known beside it"),
    }
}

#[tokio::test]
async fn every_list_is_true_both_ways() {
    let server = "[signing]\nmore_algorithms = [\"EdDSA\", \"ES384\"]\n\n[registration]\nmode = \"open\"\nmax_clients = 1000\n\
        per_address_per_minute = 60000\n";
    let more = json!({ "scope": "openid profile email address phone groups offline_access read write" });
    let clients = vec![App::metadata("alice", more)];
    let stack = Setup { without_gateway: true, server: server.into(), clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let document = stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/openid-configuration")).await.json();
    let encryption_keys = {
        use josekit::jwk::Jwk;
        use josekit::jwk::alg::ec::EcCurve;
        let public = |key: Jwk, kid: &str| {
            let mut members = serde_json::to_value(key.to_public_key().expect("a public half").as_ref()).expect("JSON");
            members["use"] = json!("enc");
            members["kid"] = json!(kid);
            members
        };
        json!({ "keys": [
            public(Jwk::generate_rsa_key(2048).expect("a key"), "rsa"),
            public(Jwk::generate_ec_key(EcCurve::P256).expect("a key"), "ec"),
        ] })
    };
    let browser = Browser::new(&stack);
    let mut world = World { stack, browser, encryption_keys };
    let mut tried = 0;
    for (list, values) in document.as_object().expect("an object") {
        let Some(values) = values.as_array() else { continue };
        if ELSEWHERE.iter().any(|(name, _)| list == name || name.starts_with('_') && list.ends_with(name)) {
            continue;
        }
        let listed: Vec<&str> = values.iter().map(|value| value.as_str().expect("a string")).collect();
        let is_elsewhere =
            |value: &str| VALUES_ELSEWHERE.iter().any(|(name, known, _)| (*name, *known) == (list.as_str(), value));
        for value in listed.iter().filter(|value| !is_elsewhere(value)) {
            assert!(world.tries(list, value).await, "{list} has `{value}`, which is refused");
        }
        for value in others(list).iter().filter(|value| !listed.contains(value)) {
            assert!(!world.tries(list, value).await, "{list} has no `{value}`, which succeeds");
        }
        tried += listed.len();
    }
    assert!(tried > 60, "{tried}");
    // The tests of the other lists are there.
    let source =
        |name: &str| std::fs::read_to_string(format!("{}/tests/it/spec/{name}.rs", env!("CARGO_MANIFEST_DIR"))).expect("read");
    for test in ELSEWHERE.iter().map(|(_, test)| test).chain(VALUES_ELSEWHERE.iter().map(|(.., test)| test)) {
        let (file, function) = test.split_once("::").expect("a file");
        assert!(source(file).contains(&format!("async fn {function}()")), "{test}");
    }
}
