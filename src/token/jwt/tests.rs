use serde_json::{Map, Value, json};

use super::*;
use crate::domain::CnfError;
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::jws::Compact;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;
use crate::token::tests::access_token;

fn verified(typ: &str, payload: &[u8]) -> (SigningKey, VerifiedJws) {
    let key = SigningKey::generate(Algorithm::EdDSA, &SystemRandomness).expect("a key");
    let text = key.sign_compact(typ, payload).expect("signed");
    let jws = key.verifying_key().expect("valid").verify(&Compact::parse(&text).expect("well formed")).expect("verified");
    (key, jws)
}

fn claims() -> Map<String, Value> {
    crate::jose::json::parse_object(&access_token().to_jwt_payload()).expect("JSON")
}

#[test]
fn what_was_minted_is_read() {
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT"] {
        let (key, jws) = verified(typ, &access_token().to_jwt_payload());
        assert_eq!(read(&jws), Ok(access_token().facts(Some(key.key_id().clone()))), "{typ}");
    }
}

#[test]
fn another_type_is_no_access_token() {
    // An ID token, a DPoP proof, our own assertion, a logout token.
    for typ in ["JWT", "dpop+jwt", "symbolon-assertion+jwt", "logout+jwt", "at+jwt2"] {
        let (_, jws) = verified(typ, &access_token().to_jwt_payload());
        assert_eq!(read(&jws), Err(TokenError::Type), "{typ}");
    }
}

#[test]
fn every_required_claim_is_required() {
    for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"] {
        let mut claims = claims();
        claims.remove(name);
        let (_, jws) = verified(TYPE, Value::Object(claims).to_string().as_bytes());
        assert_eq!(read(&jws), Err(TokenError::ClaimAbsent(name)));
    }
    for name in ["scope", "family_id", "cnf"] {
        let mut claims = claims();
        claims.remove(name);
        let (_, jws) = verified(TYPE, Value::Object(claims).to_string().as_bytes());
        assert!(read(&jws).is_ok(), "{name}");
    }
}

#[test]
fn claims_have_one_type() {
    let long = "a".repeat(256);
    let table = [
        ("iss", json!(["https://as.example"])),
        ("iss", json!("http://as.example")),
        ("iss", json!("https://as.example?tenant")),
        ("iss", json!(null)),
        ("sub", json!(1)),
        ("sub", json!("")),
        ("sub", json!(null)),
        ("sub", json!("a\u{0}b")),
        ("sub", json!(long)),
        ("client_id", json!({})),
        ("jti", json!(7)),
        ("family_id", json!(["a"])),
        ("aud", json!([])),
        ("aud", json!("")),
        ("aud", json!([""])),
        ("aud", json!([1])),
        ("aud", json!(["https://rs.example", null])),
        ("aud", json!({ "a": 1 })),
        ("aud", json!(null)),
        ("aud", json!(vec!["a"; 101])),
        ("scope", json!(["read"])),
        ("scope", json!("read\twrite")),
        ("scope", json!(null)),
        ("iat", json!("1000")),
        ("iat", json!(1000.5)),
        ("exp", json!(1300.0)),
        ("exp", json!(1.3e3)),
        ("exp", json!("1300")),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("exp", json!(null)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(1_300_000_000_000i64)),
        ("nbf", json!(999.9)),
        ("nbf", json!("999")),
    ];
    for (name, value) in table {
        let mut claims = claims();
        claims.insert(name.into(), value.clone());
        let (_, jws) = verified(TYPE, Value::Object(claims).to_string().as_bytes());
        assert_eq!(read(&jws), Err(TokenError::Claim(name)), "{name}: {value}");
    }
}

#[test]
fn a_confirmation_that_is_not_understood_is_refused() {
    let table = [
        (json!(null), CnfError::NotAnObject, Reason::CnfMalformed),
        (json!({}), CnfError::Empty, Reason::CnfMalformed),
        (json!({ "kid": "a" }), CnfError::UnknownMember("kid".into()), Reason::CnfUnknown),
        (json!({ "x5t#S256": "short" }), CnfError::Thumbprint("x5t#S256".into()), Reason::CnfMalformed),
    ];
    for (cnf, error, reason) in table {
        let mut claims = claims();
        claims.insert("cnf".into(), cnf);
        let (_, jws) = verified(TYPE, Value::Object(claims).to_string().as_bytes());
        let refused = read(&jws).expect_err("refused");
        assert_eq!((refused.reason(), refused), (reason, TokenError::Cnf(error)));
    }
}

#[test]
fn several_audiences_and_what_we_do_not_know_are_read() {
    let mut claims = claims();
    claims.insert("aud".into(), json!(["https://rs.example", "b"]));
    claims.insert("nbf".into(), json!(1000));
    claims.insert("roles".into(), json!({ "any": ["thing"] }));
    let (_, jws) = verified(TYPE, Value::Object(claims).to_string().as_bytes());
    let facts = read(&jws).expect("read");
    assert_eq!(facts.audience.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["https://rs.example", "b"]);
    assert_eq!(facts.not_before.map(|at| at.seconds()), Some(1000));
}

/// An issuer that calls everything `JWT`: its access tokens are read, its ID tokens refused by what they say.
#[test]
fn other_layouts_never_let_an_id_token_pass() {
    let layout =
        Layout { types: vec!["JWT".into()], client_id_claim: "azp".into(), scope_claim: "scp".into(), ignored_cnf: vec![] };
    let claims = json!({
        "iss": "https://as.example", "aud": "https://rs.example", "azp": "app", "scp": ["read", "write"],
        "iat": 1000, "exp": 1300, "groups": ["staff"], "typ": "Bearer",
    });
    let read = |claims: &Value, typ: &str| {
        let (_, jws) = verified(typ, claims.to_string().as_bytes());
        read_as(&jws, &layout)
    };
    let facts = read(&claims, "JWT").expect("an access token");
    assert_eq!(facts.client_id.as_ref().map(|client| client.as_str()), Some("app"));
    assert_eq!(facts.scope.to_string(), "read write");
    assert_eq!(facts.claim("groups").as_deref(), Some(&json!(["staff"])));
    assert!(read(&claims, "application/jwt").is_ok());
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    let table = [
        (with("nonce", json!("n")), TokenError::IdToken("nonce")),
        (with("at_hash", json!("h")), TokenError::IdToken("at_hash")),
        (with("c_hash", json!("h")), TokenError::IdToken("c_hash")),
        (with("s_hash", json!(null)), TokenError::IdToken("s_hash")),
        (with("typ", json!("ID")), TokenError::IdToken("typ")),
        (with("typ", json!("Refresh")), TokenError::IdToken("typ")),
        (with("typ", json!(1)), TokenError::IdToken("typ")),
        (with("aud", json!("app")), TokenError::IdToken("aud")),
        (with("aud", json!(["https://rs.example", "app"])), TokenError::IdToken("aud")),
        (without("azp"), TokenError::ClaimAbsent("client_id")),
        (with("azp", json!(["app"])), TokenError::Claim("client_id")),
        (without("aud"), TokenError::ClaimAbsent("aud")),
        (without("iat"), TokenError::ClaimAbsent("iat")),
        (without("exp"), TokenError::ClaimAbsent("exp")),
        (with("scp", json!([1])), TokenError::Claim("scope")),
        (with("scp", json!({})), TokenError::Claim("scope")),
        (with("cnf", json!({ "x5t": "a" })), TokenError::Cnf(CnfError::UnknownMember("x5t".into()))),
    ];
    for (claims, error) in table {
        assert_eq!(read(&claims, "JWT"), Err(error), "{claims}");
    }
    for typ in ["at+jwt", "symbolon-assertion+jwt", "application/x", "JWT2"] {
        assert_eq!(read(&claims, typ), Err(TokenError::Type), "{typ}");
    }
}
