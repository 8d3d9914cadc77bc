//! Signing keys change while everything runs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jws::{ES256, ES384, ES512, EdDSA, JwsVerifier, PS256, PS384, PS512, RS256};
use serde_json::{Value, json};

use crate::harness::command::symbolon;
use crate::harness::{Call, Engine, Setup, Stack, token};

/// The `kid`s that the server publishes, once `wanted` holds of them.
async fn published(stack: &Stack, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    for _ in 0..500 {
        let set = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await.json();
        let keys = set["keys"].as_array().expect("an array").iter().map(|key| key["kid"].as_str().expect("kid").to_owned());
        let keys: Vec<String> = keys.collect();
        if wanted(&keys) {
            return keys;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the published keys never became what was asked for");
}

fn kid(jwt: &str) -> String {
    token::header(jwt)["kid"].as_str().expect("kid").to_owned()
}

/// 1. A key is rotated ahead: it is published, and signs nothing yet.
/// 2. It takes over at once, by command: new tokens are its, the old ones still pass.
/// 3. The old key was stolen and is revoked: everything it signed is refused, by the server and by a gateway that has the key cached;
///    what the new key signed still passes.
/// 4. The new key is revoked as well: another one is made and signs.
async fn keys_rotate_and_are_revoked(engine: Engine) {
    let Some(stack) = Stack::start_on(engine).await else { return };
    let dir = stack.dir.path();
    let first_token = stack.token(&stack.alice).await;
    let first = kid(&first_token);
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 200);

    let said = symbolon(dir, &["keys", "rotate"]).await.ok();
    let second = said.split_whitespace().next().expect("a kid").to_owned();
    let keys = published(&stack, |keys| keys.len() == 2).await;
    assert_eq!(keys, [first.clone(), second.clone()]);
    assert_eq!(kid(&stack.token(&stack.alice).await), first, "published, and not used yet");
    let listed = symbolon(dir, &["keys", "list"]).await.ok();
    let states: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(states, [[first.as_str(), "ES256", "current"], [second.as_str(), "ES256", "next"]]);

    symbolon(dir, &["keys", "rotate", "--now"]).await.ok();
    let second_token = loop {
        let token = stack.token(&stack.alice).await;
        if kid(&token) == second {
            break token;
        }
    };
    let second_call = Call::get("/accounts").bearer(&second_token);
    assert_eq!(
        stack.wait_at_gateway(&stack.alice, &second_call, 200).await.status,
        200,
        "an unknown kid makes it fetch the keys"
    );
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 200, "retired, and not refused");
    assert_eq!(stack.introspect(&first_token).await["active"], true);

    symbolon(dir, &["keys", "revoke", &first]).await.ok();
    published(&stack, |keys| *keys == [second.clone()]).await;
    let first_call = Call::get("/accounts").bearer(&first_token);
    let refused = stack.wait_at_gateway(&stack.alice, &first_call, 401).await;
    stack.upstream.forget();
    assert_eq!(stack.verdict(&refused).await, (401, "invalid_token".to_owned(), "token_revoked".to_owned()));
    assert_eq!(stack.at_gateway(&stack.alice, &first_token).await.status, 401);
    stack.upstream.assert_untouched();
    assert_eq!(stack.introspect(&first_token).await, json!({ "active": false }));
    assert_eq!(stack.at_gateway(&stack.alice, &second_token).await.status, 200);
    assert_eq!(stack.introspect(&second_token).await["active"], true);

    symbolon(dir, &["keys", "revoke", &second]).await.ok();
    let keys = published(&stack, |keys| keys.len() == 1 && keys[0] != second).await;
    let third_token = stack.token(&stack.alice).await;
    assert_eq!(kid(&third_token), keys[0]);
    let third_call = Call::get("/accounts").bearer(&third_token);
    assert_eq!(stack.wait_at_gateway(&stack.alice, &third_call, 200).await.status, 200);

    let events = stack.events("server-audit.jsonl");
    let told: Vec<(&Value, &Value)> = events
        .iter()
        .filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("signing_key_")))
        .map(|event| (&event["event"], &event["key_id"]))
        .collect();
    let (created, activated, revoked) =
        (json!("signing_key_created"), json!("signing_key_activated"), json!("signing_key_revoked"));
    let (one, two) = (json!(first), json!(second));
    for expected in [(&created, &one), (&created, &two), (&activated, &two), (&revoked, &one), (&revoked, &two)] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[tokio::test]
async fn keys_rotate_and_are_revoked_on_sqlite() {
    keys_rotate_and_are_revoked(Engine::Sqlite).await;
}

#[tokio::test]
async fn keys_rotate_and_are_revoked_on_postgres() {
    keys_rotate_and_are_revoked(Engine::Postgres).await;
}

/// A resource has its tokens signed with an algorithm of its own; keys for it are made beside the default's. What cannot be is refused by
/// name.
#[tokio::test]
async fn a_resource_has_an_algorithm_of_its_own() {
    let server = "[signing]\nmore_algorithms = [\"EdDSA\"]\n\n[[resource]]\nidentifier = \"https://edwards.example\"\n\
        scopes = [\"read\"]\naccess_token_signing_alg = \"EdDSA\"\nintrospection_clients = [\"gateway\"]\n";
    let stack = Setup { server: server.to_owned(), without_gateway: true, ..Setup::default() }.start().await;
    let mut alice = stack.person("alice");
    alice["resources"] = json!([stack.accounts, "https://edwards.example"]);
    stack.register(&[alice]).await;
    let one = stack.token(&stack.alice).await;
    assert_eq!(token::header(&one)["alg"], "ES256");
    published(&stack, |keys| keys.len() == 2).await;
    let other = loop {
        // The changed registration is in force within a second.
        let answer = stack.ask(&stack.alice, &[("resource", "https://edwards.example")]).await.json();
        if let Some(token) = answer["access_token"].as_str() {
            break token.to_owned();
        }
        assert_eq!(answer["error"], "invalid_target");
    };
    assert_eq!(token::header(&other)["alg"], "EdDSA");
    assert_eq!(stack.introspect(&other).await["active"], true);
    let both = [("resource", stack.accounts.as_str()), ("resource", "https://edwards.example")];
    let answer = stack.ask(&stack.alice, &both).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_target".to_owned(), "resource_not_allowed".to_owned()));

    let said = symbolon(stack.dir.path(), &["keys", "rotate", "--algorithm", "RS256"]).await.failed();
    assert!(said.contains("no keys are kept for RS256") && said.contains("ES256, EdDSA"), "{said}");
    let said = symbolon(stack.dir.path(), &["keys", "revoke", "nobody"]).await.failed();
    assert!(said.contains("there is no signing key `nobody`"), "{said}");
}

/// Whoever verifies with somebody else's library (josekit, over OpenSSL): a published key of this algorithm.
fn foreign_verifier(algorithm: &str, key: &Value) -> Box<dyn JwsVerifier> {
    let key = Jwk::from_map(key.as_object().expect("an object").clone()).expect("a JWK");
    match algorithm {
        "ES256" => Box::new(ES256.verifier_from_jwk(&key).expect("a verifier")),
        "ES384" => Box::new(ES384.verifier_from_jwk(&key).expect("a verifier")),
        "ES512" => Box::new(ES512.verifier_from_jwk(&key).expect("a verifier")),
        "PS256" => Box::new(PS256.verifier_from_jwk(&key).expect("a verifier")),
        "PS384" => Box::new(PS384.verifier_from_jwk(&key).expect("a verifier")),
        "PS512" => Box::new(PS512.verifier_from_jwk(&key).expect("a verifier")),
        "RS256" => Box::new(RS256.verifier_from_jwk(&key).expect("a verifier")),
        "EdDSA" => Box::new(EdDSA.verifier_from_jwk(&key).expect("a verifier")),
        other => panic!("{other}"),
    }
}

/// Each of the eight algorithms signs the access tokens of a resource of its own. A library that is not ours verifies each with the one
/// published key that its `kid` names, and the gateway admits it for its holder.
#[tokio::test]
async fn every_algorithm_signs_what_others_verify() {
    const ALL: [&str; 8] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "EdDSA"];
    let identifier = |algorithm: &str| format!("https://{}.example", algorithm.to_ascii_lowercase());
    let (mut server, mut gateway) = (format!("[signing]\nmore_algorithms = {}\n", json!(ALL[1..])), String::new());
    for algorithm in ALL {
        let identifier = identifier(algorithm);
        server += &format!(
            "\n[[resource]]\nidentifier = \"{identifier}\"\nscopes = [\"read\"]\naccess_token_signing_alg = \"{algorithm}\"\n\
             introspection_clients = [\"gateway\"]\n"
        );
        gateway += &format!(
            "\n[[route]]\nname = \"{algorithm}\"\nhost = \"{{gateway_authority}}\"\npath = \"/{algorithm}\"\nupstream = \"{{upstream}}\"\n\
             authorization_server = \"test\"\naudience = \"{identifier}\"\nscopes = [\"read\"]\ntoken = \"jwt\"\n"
        );
    }
    let trusted = "revocation_feed = true".to_owned();
    let taken = format!("{trusted}\nalgorithms = {}", json!(ALL));
    let alice = json!({
        "client_id": "alice", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
        "scope": "read", "resources": ALL.map(identifier),
    });
    let setup = Setup { server, gateway, gateway_changes: vec![(trusted, taken)], clients: vec![alice], ..Setup::default() };
    let mut stack = setup.prepare("sqlite:symbolon.db".to_owned()).await;
    stack.start_server().await;
    published(&stack, |keys| keys.len() == ALL.len()).await;
    stack.start_gateway().await;
    let set = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await.json();
    let keys = set["keys"].as_array().expect("an array");
    for algorithm in ALL {
        let answer = stack.ask(&stack.alice, &[("resource", &identifier(algorithm))]).await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", answer.text());
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        let header = token::header(&token);
        assert_eq!((&header["alg"], &header["typ"]), (&json!(algorithm), &json!("at+jwt")));
        let named: Vec<&Value> = keys.iter().filter(|key| key["kid"] == header["kid"]).collect();
        assert_eq!((named.len(), &named[0]["alg"]), (1, &json!(algorithm)));
        let verifier = foreign_verifier(algorithm, named[0]);
        let (input, signature) = token.rsplit_once('.').expect("three parts");
        let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        verifier.verify(input.as_bytes(), &signature).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        *signature.last_mut().expect("bytes") ^= 1;
        assert!(verifier.verify(input.as_bytes(), &signature).is_err(), "{algorithm}");

        let call = Call::get(&format!("/{algorithm}")).bearer(&token);
        let admitted = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        assert_eq!(admitted.status, 200, "{algorithm}: {}", admitted.text());
        assert_eq!(stack.caller(&stack.mallory).send(&stack.gateway_authority, &call).await.status, 401, "{algorithm}");
        let altered = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&signature));
        let call = Call::get(&format!("/{algorithm}")).bearer(&altered);
        let refused = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
        assert_eq!(stack.verdict(&refused).await, (401, "invalid_token".to_owned(), "token_signature".to_owned()), "{algorithm}");
        assert_eq!(stack.introspect(&token).await["active"], true, "{algorithm}");
        assert_eq!(stack.introspect(&altered).await, json!({ "active": false }), "{algorithm}");
    }
}
