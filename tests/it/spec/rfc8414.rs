//! RFC 8414: authorization server metadata.

use serde_json::{Value, json};

use crate::harness::app::add_bob;
use crate::harness::browser::Browser;
use crate::harness::{App, Call, Leaf, Setup, Stack};

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
    for name in ["device_authorization_endpoint", "registration_endpoint", "end_session_endpoint"] {
        assert_eq!(document.get(name), None);
    }
}

/// The document with every member, as outsiders parse it; ports are written out.
#[tokio::test]
async fn the_document_as_a_whole() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let text = format!("{:#}", metadata(&stack).await);
    let text = text.replace(&stack.issuer_authority, "ISSUER").replace(&stack.mtls_authority, "MTLS");
    insta::assert_snapshot!(text);
}

/// §2: "token_endpoint_auth_methods_supported: JSON array containing a list of client authentication methods supported by this token
/// endpoint" and the same of introspection and revocation: every method listed works at the endpoint, and every other method of the
/// registry is refused.
#[tokio::test]
async fn every_listed_method_works_and_no_other() {
    let robot = Leaf::client("robot").self_signed();
    let setup = Setup {
        without_gateway: true,
        clients: vec![json!({
            "client_id": "robot", "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": { "keys": [robot.jwk()] },
            "resources": ["{accounts}"],
        })],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let document = metadata(&stack).await;
    let listed = |name: &str| -> Vec<String> { serde_json::from_value(document[name].clone()).expect("an array of strings") };
    let robots = stack.caller(&robot);
    let alices = stack.caller(&stack.alice);
    for (name, path) in [
        ("token_endpoint_auth_methods_supported", "/token"),
        ("introspection_endpoint_auth_methods_supported", "/introspect"),
        ("revocation_endpoint_auth_methods_supported", "/revoke"),
    ] {
        let form = |client_id: &str, more: &[(&str, &str)]| {
            let mut form = vec![("grant_type", "client_credentials"), ("token", "abc"), ("client_id", client_id)];
            form.extend(more);
            Call::form(path, &form)
        };
        for method in listed(name) {
            let answer = match method.as_str() {
                "tls_client_auth" => alices.send(&stack.mtls_authority, &form("alice", &[])).await,
                "self_signed_tls_client_auth" => robots.send(&stack.mtls_authority, &form("robot", &[])).await,
                other => panic!("{name} lists {other}, for which this test has no client"),
            };
            assert_eq!(answer.status, 200, "{name} {method}: {}", answer.text());
        }
        // The rest of the IANA registry "OAuth Token Endpoint Authentication Methods".
        let assertion =
            [("client_assertion", "a.b.c"), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
        let unlisted = [
            ("none", stack.nobody(), form("alice", &[])),
            ("client_secret_post", stack.nobody(), form("alice", &[("client_secret", "x")])),
            ("client_secret_basic", stack.nobody(), form("alice", &[]).header("Authorization", "Basic YWxpY2U6eA==")),
            ("client_secret_jwt", stack.nobody(), form("alice", &assertion)),
            ("private_key_jwt", alices.clone(), form("alice", &assertion)),
        ];
        for (method, caller, call) in unlisted {
            assert!(!listed(name).iter().any(|listed| listed == method), "{name} {method}");
            let answer = caller.send(&stack.mtls_authority, &call).await;
            assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{name} {method}");
        }
    }
}

/// §2: "grant_types_supported": every grant listed works, and every other grant of the registry is refused.
#[tokio::test]
async fn every_listed_grant_works_and_no_other() {
    let clients = vec![App::metadata("mallory", json!({}))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
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
            "refresh_token" => app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await,
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
    assert_eq!(grants, ["authorization_code", "client_credentials", "refresh_token"]);
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
