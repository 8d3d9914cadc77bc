//! The signed assertion as upstreams read it.

use josekit::jwk::Jwk;
use josekit::jws::ES256;
use serde_json::{Value, json};

use crate::harness::foreign::{CONFIGURATION, Deployment, Issuer};
use crate::harness::{Call, token};

/// Verifies it as an upstream would that knows nothing but where the keys are; gives header and claims.
async fn verified(gateway: &Deployment, keys: &str, assertion: &str) -> (Value, Value) {
    let answer = gateway.nobody.send(&gateway.authority, &Call::get(keys)).await;
    assert_eq!(answer.status, 200, "{keys}");
    let kid = token::header(assertion)["kid"].clone();
    let set = answer.json();
    let key = set["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == kid).expect("its key");
    let key = Jwk::from_map(key.as_object().expect("an object").clone()).expect("a key");
    let verifier = ES256.verifier_from_jwk(&key).expect("a verifier");
    let (payload, header) = josekit::jws::deserialize_compact(assertion, &verifier).expect("the gateway's signature");
    (json!(header.claims_set()), serde_json::from_slice(&payload).expect("claims"))
}

/// What `assertion_claims` names is repeated as it stands in the token, and nothing else; no claim of a token takes the place of one of
/// the gateway's.
#[tokio::test]
async fn chosen_claims_are_repeated_as_they_stand() {
    let issuer = Issuer::new("one");
    let chosen = "audience = \"https://api.example/\"\nassertion_claims = [\"email\", \"groups\", \"address\", \"absent\"]\n\
                  assertion_audience = \"https://app.internal\"";
    let configuration = CONFIGURATION.replacen("audience = \"https://api.example/\"", chosen, 1);
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let token = issuer.token(
        &gateway.alice,
        "at+jwt",
        &[
            ("email", json!("alice@example")),
            ("groups", json!(["staff", "admin"])),
            ("address", json!({ "locality": "Bern" })),
            ("secret", json!("not for upstreams")),
            ("method", json!("DELETE")),
            ("route", json!("root")),
            ("user", json!("root")),
        ],
    );
    assert_eq!(gateway.present(Some(&gateway.alice), &token).await.0, 200);
    let assertion = gateway.upstream.last().values("x-symbolon-assertion")[0].to_owned();
    let (header, claims) = verified(&gateway, "/.well-known/symbolon/jwks.json", &assertion).await;
    assert_eq!(header["typ"], "symbolon-assertion+jwt");
    assert_eq!(
        (&claims["email"], &claims["groups"], &claims["address"]),
        (&json!("alice@example"), &json!(["staff", "admin"]), &json!({ "locality": "Bern" }))
    );
    assert_eq!(
        (&claims["method"], &claims["route"], &claims["aud"]),
        (&json!("GET"), &json!("api"), &json!("https://app.internal"))
    );
    let names: Vec<&str> = claims.as_object().expect("claims").keys().map(String::as_str).collect();
    let expected =
        ["address", "aud", "client_id", "cnf", "email", "exp", "groups", "iat", "iss", "jti", "method", "route", "scope", "sub"];
    assert_eq!(
        {
            let mut names = names;
            names.sort_unstable();
            names
        },
        expected
    );

    // Another token of the same person that says something else is not told with the first one's claims, however warm the cache is.
    let other = issuer.token(&gateway.alice, "at+jwt", &[("email", json!("bob@example")), ("jti", json!("another"))]);
    assert_eq!(gateway.present(Some(&gateway.alice), &other).await.0, 200);
    let claims = token::claims(gateway.upstream.last().values("x-symbolon-assertion")[0]);
    assert_eq!((&claims["email"], &claims["groups"]), (&json!("bob@example"), &Value::Null));

    // A claim of ours cannot be chosen.
    let written = std::fs::read_to_string(gateway.dir.path().join("gateway.toml")).expect("a configuration");
    std::fs::write(gateway.dir.path().join("gateway.toml"), written.replace("\"absent\"", "\"sub\"")).expect("written");
    let check = crate::harness::command::symbolon(gateway.dir.path(), &["gateway", "check", "--config", "gateway.toml"]);
    assert!(check.await.failed().contains("`sub` is a claim of the assertion's own"));
}

/// Upstreams that know Pomerium's find its header, its `typ`, its `iss` without scheme, `user` beside `sub`, and its place of keys; and no
/// other spelling of the header than the gateway's.
#[tokio::test]
async fn upstreams_of_pomerium_read_the_assertion() {
    let issuer = Issuer::new("one");
    let style = "assertion_style = \"pomerium\"\nassertion_header = \"X-Pomerium-Jwt-Assertion\"\n\n[[listener]]";
    let configuration = CONFIGURATION.replacen("\n[[listener]]", style, 1).replacen(
        "audience = \"https://api.example/\"",
        "audience = \"https://api.example/\"\nassertion_claims = [\"email\", \"groups\"]",
        1,
    );
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let token = issuer.token(&gateway.alice, "at+jwt", &[("email", json!("alice@example")), ("groups", json!(["staff"]))]);
    for spelling in
        ["X-Pomerium-Jwt-Assertion", "x_pomerium_jwt_assertion", "X-POMERIUM-JWT_ASSERTION", "x.pomerium.jwt.assertion"]
    {
        let call = Call::get("/").bearer(&token).header(spelling, "forged").header(spelling, "forged");
        let call = call.header("X-Pomerium-Claim-Email", "forged").header("Connection", spelling);
        let caller = gateway.nobody.clone().showing(&gateway.alice);
        assert_eq!(caller.send(&gateway.authority, &call).await.status, 200, "{spelling}");
        let received = gateway.upstream.last();
        assert!(received.headers.iter().all(|(_, value)| !value.contains("forged")), "{:?}", received.headers);
        assert!(received.values("x-symbolon-assertion").is_empty());
        let [assertion] = received.values("x-pomerium-jwt-assertion").try_into().expect("one assertion");
        for keys in ["/.well-known/pomerium/jwks.json", "/.well-known/symbolon/jwks.json"] {
            let (header, claims) = verified(&gateway, keys, assertion).await;
            assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("ES256")));
            assert_eq!((&claims["iss"], &claims["aud"]), (&json!(gateway.authority), &json!(gateway.authority)));
            assert_eq!((&claims["sub"], &claims["user"]), (&json!("alice"), &json!("alice")));
            assert_eq!((&claims["email"], &claims["groups"]), (&json!("alice@example"), &json!(["staff"])));
            for seconds in ["iat", "exp"] {
                assert!(claims[seconds].is_u64(), "{seconds}");
            }
        }
        // It is no access token, although its `typ` is the usual one.
        assert_eq!(gateway.present(Some(&gateway.alice), assertion).await.0, 401);
    }
    // Where assertions are written otherwise, nothing is published for Pomerium's.
    let plain = Deployment::start(&[&issuer]).await;
    let answer = plain.nobody.send(&plain.authority, &Call::get("/.well-known/pomerium/jwks.json")).await;
    assert_eq!(answer.status, 401);
}
