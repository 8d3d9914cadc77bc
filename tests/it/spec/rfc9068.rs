//! RFC 9068: access tokens as JWTs, verified by a library of somebody else.

use serde_json::{Value, json};

use crate::harness::{Call, Engine, Leaf, Setup, Stack, token};

/// §2.1: "MUST be signed ... MUST NOT use `none`" and "the `typ` header ... `at+jwt`"; §2.2: `iss`, `exp`, `aud`, `sub`, `client_id`,
/// `iat`, `jti` are REQUIRED; §2.2.3: `scope` if there is one; §4: the signature verifies with the keys at `jwks_uri`.
async fn the_layout(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let jwt = stack.token(&stack.alice).await;
    let header = token::header(&jwt);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));

    let keys = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await.json();
    let key =
        keys["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == header["kid"]).expect("the token's key").clone();
    let Value::Object(key) = key else { panic!("an object") };
    let jwk = josekit::jwk::Jwk::from_map(key).expect("a JWK");
    let verifier = josekit::jws::ES256.verifier_from_jwk(&jwk).expect("a verifier");
    let (payload, _) = josekit::jwt::decode_with_verifier(&jwt, &verifier).expect("a good signature");

    assert_eq!(payload.issuer(), Some(format!("https://{}", stack.issuer_authority).as_str()));
    assert_eq!(payload.audience(), Some(vec![stack.accounts.as_str()]));
    // §2.2: "In cases of access tokens obtained through grants where no resource owner is involved ... the value of `sub` SHOULD
    // correspond to an identifier the authorization server uses to indicate the client application."
    assert_eq!(payload.subject(), Some("alice"));
    assert_eq!(payload.claim("client_id"), Some(&json!("alice")));
    assert_eq!(payload.claim("scope"), Some(&json!("read write")));
    assert!(payload.jwt_id().is_some_and(|id| id.len() >= 16));
    let now = std::time::SystemTime::now();
    let (issued, expires) = (payload.issued_at().expect("iat"), payload.expires_at().expect("exp"));
    assert_eq!(expires.duration_since(issued).expect("later").as_secs(), 300);
    assert!(now.duration_since(issued).map_or(true, |age| age.as_secs() < 60));
    // Whole seconds, and nothing beyond what is documented.
    let claims = token::claims(&jwt);
    assert!(claims["iat"].is_i64() && claims["exp"].is_i64());
    let mut names: Vec<&String> = claims.as_object().expect("an object").keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "client_id", "cnf", "exp", "family_id", "iat", "iss", "jti", "scope", "sub"]);

    // §2.2: `jti` is the token's own.
    let another = stack.token(&stack.alice).await;
    assert_ne!(token::claims(&another)["jti"], claims["jti"]);
    // And an altered claim is noticed by the same verifier.
    let parts: Vec<&str> = jwt.split('.').collect();
    let forged = token::encode(&json!({ "sub": "root" }));
    let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
    assert!(josekit::jwt::decode_with_verifier(&forged, &verifier).is_err());
}

#[tokio::test]
async fn the_layout_on_sqlite() {
    the_layout(Engine::Sqlite).await;
}

#[tokio::test]
async fn the_layout_on_postgres() {
    the_layout(Engine::Postgres).await;
}

/// The format is the resource's, unless the client is registered for another: whoever shall not read its own tokens gets opaque ones
/// everywhere, and the resource asks about them.
#[tokio::test]
async fn a_client_has_a_format_of_its_own() {
    let person = |name: &str, format: &str| {
        json!({
            "client_id": name, "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": format!("CN={name}"),
            "scope": "read", "resources": ["{accounts}", "{reports}"], "access_token_format": format,
        })
    };
    let setup = Setup { clients: vec![person("closed", "opaque"), person("open", "jwt")], ..Setup::default() };
    let stack: Stack = setup.start().await;
    let both = [("resource", stack.accounts.as_str()), ("resource", stack.reports.as_str())];
    for (name, is_jwt) in [("closed", false), ("open", true)] {
        let identity = stack.client_ca.issue(Leaf::client(name));
        for asked in [&both[..1], &both[1..], &both[..]] {
            let answer = stack.ask(&identity, asked).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            let text = answer.json()["access_token"].as_str().expect("a token").to_owned();
            assert_eq!((text.contains('.'), text.starts_with("sy_at_")), (is_jwt, !is_jwt), "{name}");
            let told = stack.introspect(&text).await;
            assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!(name)));
            assert_eq!(told["cnf"]["x5t#S256"], identity.thumbprint());
            // A route that asks takes either; one that verifies by itself takes JWTs.
            if asked.contains(&both[1]) {
                assert_eq!(stack.at_reports(&identity, &text).await.status, 200, "{name}");
            }
            if asked.contains(&both[0]) {
                assert_eq!(stack.at_gateway(&identity, &text).await.status == 200, is_jwt, "{name}");
            }
        }
    }
    // Who says nothing gets what each resource says, and of both at once none.
    assert!(stack.token(&stack.alice).await.contains('.') && !stack.opaque_token(&stack.alice).await.contains('.'));
    assert_eq!(stack.ask(&stack.alice, &both).await.error(), "invalid_target");
    let unknown = serde_json::from_str(&stack.fill(&person("other", "paper").to_string())).expect("JSON");
    assert!(stack.apply(&[unknown]).await.failed().contains("`access_token_format`: `paper` is not one of `jwt`, `opaque`"));
}
