//! RFC 8414: authorization server metadata.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::app::{CHALLENGE, add_bob};
use crate::harness::assertion::{self, Signer};
use crate::harness::browser::Browser;
use crate::harness::client::PATIENCE;
use crate::harness::{App, Call, Caller, Leaf, Setup, Stack};
use crate::spec::rfc8628;

async fn metadata(stack: &Stack) -> Value {
    let call = Call::get("/.well-known/oauth-authorization-server");
    let answer = stack.nobody().send(&stack.issuer_authority, &call).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// §3.2: "Claims with zero elements MUST be omitted from the response"; §3.3: "The `issuer` value returned MUST be identical to the
/// authorization server's issuer identifier value"; §2: every URL is `https`.
#[tokio::test]
async fn the_document_is_complete_and_has_nothing_empty() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let document = metadata(&stack).await;
    let issuer = format!("https://{}", stack.issuer_authority);
    assert_eq!(document["issuer"], json!(issuer));
    for (name, value) in document.as_object().expect("an object") {
        match value {
            Value::Array(values) => assert!(!values.is_empty(), "{name}"),
            Value::Object(members) => assert!(!members.is_empty(), "{name}"),
            Value::String(text) => assert!(!text.is_empty(), "{name}"),
            Value::Null => panic!("{name} is null"),
            _ => {}
        }
        if name.ends_with("_endpoint") || name.ends_with("_uri") {
            assert!(value.as_str().is_some_and(|url| url.starts_with(&format!("{issuer}/"))), "{name}");
        }
    }
    for name in ["token_endpoint", "jwks_uri", "introspection_endpoint", "revocation_endpoint"] {
        assert!(document[name].is_string(), "{name}");
    }
    let mut scopes: Vec<&str> =
        document["scopes_supported"].as_array().expect("scopes").iter().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["address", "email", "groups", "offline_access", "openid", "phone", "profile", "read", "write"]);
    // Nothing is promised that is not there.
    assert_eq!(document.get("registration_endpoint"), None);
}

/// The document with every member, as outsiders parse it; ports are written out.
#[tokio::test]
async fn the_document_as_a_whole() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let text = format!("{:#}", metadata(&stack).await);
    let text = text.replace(&stack.issuer_authority, "ISSUER").replace(&stack.mtls_authority, "MTLS");
    insta::assert_snapshot!(text);
}

/// Where the clients of the next test are answered.
const CALLBACK: &str = "https://app.example/cb";
/// Long enough for every algorithm.
const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijkl";

/// §2: "token_endpoint_auth_methods_supported: JSON array containing a list of client authentication methods supported by this token
/// endpoint", "token_endpoint_auth_signing_alg_values_supported ... the JWS signing algorithms ... supported by the token endpoint for the
/// signature on the JWT", and the same of introspection and revocation: with every value listed a client succeeds at the endpoint, and with
/// every other value of the registries none can be registered.
#[tokio::test]
async fn every_listed_method_works_and_no_other() {
    let robot = Leaf::client("self_signed_tls_client_auth").self_signed();
    let keys = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "EdDSA"].map(|name| Signer::key(name, name));
    let secrets = ["HS256", "HS384", "HS512"].map(|name| Signer::secret(name, SECRET.as_bytes()));
    let client = |client_id: &str, method: &str, more: Value| {
        let mut client = json!({
            "client_id": client_id, "token_endpoint_auth_method": method, "resources": ["{accounts}"],
            "tls_client_certificate_bound_access_tokens": false, "grant_types": ["client_credentials", "authorization_code"],
            "redirect_uris": [CALLBACK],
        });
        client.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        client
    };
    let mut clients = vec![
        client("self_signed_tls_client_auth", "self_signed_tls_client_auth", json!({ "jwks": { "keys": [robot.jwk()] } })),
        client("client_secret_basic", "client_secret_basic", json!({ "client_secret": SECRET })),
        client("client_secret_post", "client_secret_post", json!({ "client_secret": SECRET })),
    ];
    clients.push(App::metadata("none", json!({
        "token_endpoint_auth_method": "none", "tls_client_certificate_bound_access_tokens": false, "tls_client_auth_subject_dn": null,
        "redirect_uris": ["https://none.example/cb", CALLBACK],
    })));
    let both = json!({ "grant_types": ["client_credentials", "authorization_code"], "redirect_uris": [CALLBACK] });
    clients.push(App::metadata("alice", both));
    for key in &keys {
        let only = json!({ "jwks": key.jwks(), "token_endpoint_auth_signing_alg": key.algorithm });
        clients.push(client(key.algorithm, "private_key_jwt", only));
    }
    for secret in &secrets {
        let only = json!({ "client_secret": SECRET, "token_endpoint_auth_signing_alg": secret.algorithm });
        clients.push(client(secret.algorithm, "client_secret_jwt", only));
    }
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let filled = |client_id: &str, method: &str, more: Value| -> Value {
        serde_json::from_str(&stack.fill(&client(client_id, method, more).to_string())).expect("JSON")
    };
    let document = metadata(&stack).await;
    let issuer = format!("https://{}", stack.issuer_authority);
    for endpoint in ["token", "introspection", "revocation", "pushed_authorization_request"] {
        let listed = |name: &str| -> Vec<String> {
            serde_json::from_value(document[format!("{endpoint}_endpoint_auth_{name}_supported")].clone()).expect("strings")
        };
        let url: url::Url = document[format!("{endpoint}_endpoint")].as_str().expect("a URL").parse().expect("a URL");
        let form = |more: &[(&str, &str)]| {
            let mut form = vec![
                ("grant_type", "client_credentials"),
                ("token", "abc"),
                ("response_type", "code"),
                ("redirect_uri", CALLBACK),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ];
            form.extend(more);
            Call::form(url.path(), &form)
        };
        let assert_works = async |what: &str, caller: Caller, authority: &str, call: Call| {
            let answer = caller.send(authority, &call).await;
            let good = if url.path() == "/par" { 201 } else { 200 };
            assert_eq!(answer.status, good, "{endpoint} {what}: {}", answer.text());
        };
        for algorithm in listed("signing_alg_values") {
            let signer = keys.iter().chain(&secrets).find(|signer| signer.algorithm == algorithm);
            let assertion = signer.expect("an algorithm that this test knows").assertion(&algorithm, &issuer);
            let call = form(&assertion::with(&assertion, &[]));
            assert_works(&algorithm, stack.nobody(), &stack.issuer_authority, call).await;
        }
        for method in listed("methods") {
            let (public, mtls) = (&stack.issuer_authority, &stack.mtls_authority);
            match method.as_str() {
                "tls_client_auth" => {
                    assert_works(&method, stack.caller(&stack.alice), mtls, form(&[("client_id", "alice")])).await;
                }
                "self_signed_tls_client_auth" => {
                    assert_works(&method, stack.caller(&robot), mtls, form(&[("client_id", &method)])).await;
                }
                "client_secret_basic" => {
                    let basic = STANDARD.encode(format!("{method}:{SECRET}"));
                    let call = form(&[]).header("Authorization", &format!("Basic {basic}"));
                    assert_works(&method, stack.nobody(), public, call).await;
                }
                "client_secret_post" => {
                    let call = form(&[("client_id", &method), ("client_secret", SECRET)]);
                    assert_works(&method, stack.nobody(), public, call).await;
                }
                // With each algorithm, above.
                "private_key_jwt" => assert!(listed("signing_alg_values").iter().any(|name| name == "ES256")),
                "client_secret_jwt" => assert!(listed("signing_alg_values").iter().any(|name| name == "HS256")),
                "none" if endpoint == "token" => {
                    let identity = stack.client_ca.issue(Leaf::client("none"));
                    let app = App { identity, redirect_uri: "https://none.example/cb".into() };
                    add_bob(&stack).await;
                    app.tokens(&stack, &mut Browser::new(&stack), &[]).await;
                }
                // RFC 9126 §2.1: "in the same way as a token request".
                "none" if endpoint != "introspection" => {
                    assert_works(&method, stack.nobody(), public, form(&[("client_id", &method)])).await;
                }
                other => panic!("{endpoint} lists {other}, for which this test has no client"),
            }
        }
        // The rest of the IANA registries "OAuth Token Endpoint Authentication Methods" and "JSON Web Signature and Encryption Algorithms".
        for method in ["none", "attest_jwt_client_auth", "spiffe_jwt", "client_secret"] {
            if method == "none" && endpoint != "introspection" {
                continue;
            }
            assert!(!listed("methods").iter().any(|listed| listed == method), "{endpoint} {method}");
        }
        for algorithm in ["none", "RS384", "RS512", "ES256K", "Ed25519", "Ed448", "ML-DSA-44"] {
            assert!(!listed("signing_alg_values").iter().any(|listed| listed == algorithm), "{endpoint} {algorithm}");
        }
    }
    for method in ["attest_jwt_client_auth", "spiffe_jwt", "client_secret"] {
        let said = stack.apply(&[filled("other", method, json!({}))]).await;
        assert!(said.failed().contains("is not supported"), "{method}");
    }
    for algorithm in ["none", "RS384", "RS512", "ES256K", "Ed25519", "Ed448", "HS256"] {
        let only = json!({ "jwks": keys[0].jwks(), "token_endpoint_auth_signing_alg": algorithm });
        let said = stack.apply(&[filled("other", "private_key_jwt", only)]).await;
        assert!(said.failed().contains("is not a signature algorithm"), "{algorithm}");
    }
    // A client that is registered to prove nothing may not ask for tokens in its own name, nor about tokens.
    stack.apply(&[filled("public", "none", json!({ "grant_types": [], "redirect_uris": [] }))]).await.ok();
    let started = std::time::Instant::now();
    loop {
        let form = [("grant_type", "client_credentials"), ("token", "abc"), ("client_id", "public")];
        let mut verdicts = Vec::new();
        for path in ["/token", "/introspect", "/revoke"] {
            let answer = stack.nobody().send(&stack.issuer_authority, &Call::form(path, &form)).await;
            verdicts.push((answer.status, answer.error()));
        }
        let refused = (400, "unauthorized_client".to_owned());
        if verdicts == [refused.clone(), refused, (200, String::new())] {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{verdicts:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// §2: "grant_types_supported": every grant listed works, and every other grant of the registry is refused.
#[tokio::test]
async fn every_listed_grant_works_and_no_other() {
    let device = rfc8628::GRANT;
    let grants = json!(["client_credentials", device, "urn:ietf:params:oauth:grant-type:token-exchange"]);
    let alice = App::metadata("alice", json!({ "grant_types": grants, "redirect_uris": null }));
    let clients = vec![App::metadata("mallory", json!({})), alice];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let token = stack.token(&stack.alice).await;
    let app = App::mallory(&stack);
    let tokens = app.tokens(&stack, &mut Browser::new(&stack), &[("scope", "read")]).await;
    let grants: Vec<String> = serde_json::from_value(metadata(&stack).await["grant_types_supported"].clone()).expect("grants");
    for grant in [
        "client_credentials",
        "authorization_code",
        "implicit",
        "password",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:openid:params:grant-type:ciba",
    ] {
        let answer = match grant {
            // By the code that the tokens above came of.
            "authorization_code" => continue,
            rfc8628::GRANT => {
                let begun = rfc8628::ask(&stack, &stack.alice, &[("scope", "read")]).await.json();
                let mut browser = rfc8628::bob(&stack).await;
                rfc8628::decide(&mut browser, begun["user_code"].as_str().expect("one"), "allow").await;
                rfc8628::poll(&stack, &stack.alice, begun["device_code"].as_str().expect("one")).await
            }
            "refresh_token" => app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await,
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                let access_token = "urn:ietf:params:oauth:token-type:access_token";
                let form = [("subject_token", &*token), ("subject_token_type", access_token), ("grant_type", grant)];
                stack.post(&stack.alice, "/token", &[&form[..], &[("client_id", "alice")]].concat()).await
            }
            _ => stack.post(&stack.alice, "/token", &[("grant_type", grant), ("client_id", "alice")]).await,
        };
        if grants.iter().any(|listed| listed == grant) {
            assert_eq!(answer.status, 200, "{grant}");
        } else {
            assert_eq!(
                stack.verdict(&answer).await,
                (400, "unsupported_grant_type".to_owned(), "grant_unsupported".to_owned()),
                "{grant}"
            );
        }
    }
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(grants, ["authorization_code", "client_credentials", "refresh_token", exchange, device]);
}

/// §3.1: with a path in the issuer, the well-known part goes between host and path; endpoints are below the issuer.
#[tokio::test]
async fn an_issuer_with_a_path() {
    let changes = ["issuer", "mtls_url"].map(|key| (format!("{key} = \"{{{key}}}\""), format!("{key} = \"{{{key}}}/tenant\"")));
    let changes = changes.to_vec();
    let stack = Setup { without_gateway: true, server_changes: changes, ..Setup::default() }.start().await;
    let get = async |path: &str| stack.nobody().send(&stack.issuer_authority, &Call::get(path)).await;
    let answer = get("/.well-known/oauth-authorization-server/tenant").await;
    let issuer = format!("https://{}/tenant", stack.issuer_authority);
    let document = answer.json();
    assert_eq!(document["issuer"], json!(issuer));
    assert_eq!(document["jwks_uri"], json!(format!("{issuer}/jwks")));
    assert_eq!(get("/tenant/jwks").await.status, 200);
    assert_eq!(get("/.well-known/oauth-authorization-server").await.status, 404);
    assert_eq!(get("/jwks").await.status, 404);
    let alias: url::Url = document["mtls_endpoint_aliases"]["token_endpoint"].as_str().expect("a URL").parse().expect("a URL");
    let form = [("grant_type", "client_credentials"), ("client_id", "alice")];
    let answer = stack.post(&stack.alice, alias.path(), &form).await;
    assert_eq!(answer.status, 200, "the alias {alias} works: {}", answer.text());
}
