use serde_json::json;

use super::*;

/// RFC 7638 §3.1, also the second key of RFC 7517 Appendix A.1.
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn read(value: Value) -> Result<PublicJwk, JwkError> {
    PublicJwk::from_json(value.to_string().as_bytes())
}

#[test]
fn the_thumbprints_of_the_standards() {
    let rsa = json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" });
    assert_eq!(read(rsa).expect("RFC 7638 §3.1").thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X });
    assert_eq!(read(ed25519).expect("RFC 8037 A.3").thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

/// RFC 7517 Appendix A.1: the first key is for encryption, so it verifies nothing.
#[test]
fn the_set_of_rfc_7517() {
    let document = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "use": "enc", "kid": "1" },
        { "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" },
    ]});
    let set = JwkSet::from_json(document.to_string().as_bytes()).expect("a set");
    assert_eq!((set.keys().len(), set.skipped().len()), (2, 0));
    let found = |key_id, algorithm| set.candidates(key_id, algorithm).filter_map(PublicJwk::key_id).collect::<Vec<_>>();
    assert_eq!(found(Some("2011-04-29"), Algorithm::RS256), ["2011-04-29"]);
    assert_eq!(found(None, Algorithm::RS256), ["2011-04-29"]);
    assert!(found(Some("2011-04-29"), Algorithm::PS256).is_empty());
    assert!(found(Some("1"), Algorithm::ES256).is_empty());
    assert!(found(Some("3"), Algorithm::RS256).is_empty());
    assert_eq!(set.to_json(), document.to_string().into_bytes());
}

#[test]
fn keys_that_cannot_be_used_are_skipped() {
    let document = json!({ "keys": [
        { "kty": "oct", "alg": "HS256" },
        { "kty": "EC", "crv": "secp256k1", "x": EC_X, "y": EC_Y },
        { "kty": "OKP", "crv": "X25519", "x": ED_X },
        { "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" },
        { "kty": "EC", "crv": "P-256", "x": EC_X },
        { "kty": "oct", "k": "AAAA" },
        { "kty": "OKP", "crv": "Ed25519", "x": ED_X, "d": ED_X },
        { "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": "good" },
    ]});
    let set = JwkSet::from_json(document.to_string().as_bytes()).expect("a set");
    assert_eq!(set.keys().iter().map(PublicJwk::key_id).collect::<Vec<_>>(), [Some("good")]);
    let unsupported = || JwkError::Unsupported;
    let expected = [
        unsupported(),
        unsupported(),
        unsupported(),
        unsupported(),
        JwkError::Member("y"),
        JwkError::Private("k"),
        JwkError::Private("d"),
    ];
    assert_eq!(set.skipped(), expected);
}

#[test]
fn what_is_no_set_is_refused() {
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X });
    let table = [
        ("[]".to_owned(), JwkError::Json(JsonError::NotAnObject)),
        ("{}".to_owned(), JwkError::NotASet),
        (r#"{"keys":{}}"#.to_owned(), JwkError::NotASet),
        (r#"{"keys":[1]}"#.to_owned(), JwkError::NotASet),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), JwkError::Json(JsonError::DuplicateMember("keys".into()))),
        (json!({ "keys": vec![key; JwkSet::MAX_KEYS + 1] }).to_string(), JwkError::TooManyKeys),
    ];
    for (text, expected) in table {
        assert_eq!(JwkSet::from_json(text.as_bytes()).err(), Some(expected), "{text:.60}");
    }
}

#[test]
fn members_are_checked() {
    let short = &EC_X[..42];
    let wide_exponent = base64url::encode([1u8, 0, 0, 0, 1]);
    let small_modulus = base64url::encode([0xffu8; 128]);
    let huge_modulus = base64url::encode([0xffu8; 1025]);
    let leading_zero = base64url::encode([&[0u8][..], &base64url::decode(RSA_N).expect("base64url")].concat());
    let even_modulus = base64url::encode([0xfeu8; 256]);
    let ec = |x: &str, y: &str| json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    let rsa = |n: &str, e: &str| json!({ "kty": "RSA", "n": n, "e": e });
    let table = [
        (json!({ "crv": "P-256", "x": EC_X, "y": EC_Y }), JwkError::Member("kty")),
        (json!({ "kty": "EC", "crv": 1 }), JwkError::Member("crv")),
        (ec(short, EC_Y), JwkError::Member("x")),
        (ec(&format!("{EC_X}="), EC_Y), JwkError::Member("x")),
        (ec(&base64url::encode([1u8; 31]), EC_Y), JwkError::Invalid),
        (ec(EC_Y, EC_X), JwkError::Invalid),
        (ec(&base64url::encode([0u8; 32]), &base64url::encode([0u8; 32])), JwkError::Invalid),
        (json!({ "kty": "EC", "crv": "P-384", "x": EC_X, "y": EC_Y }), JwkError::Invalid),
        (rsa(&small_modulus, "AQAB"), JwkError::Invalid),
        (rsa(&huge_modulus, "AQAB"), JwkError::Invalid),
        (rsa(&leading_zero, "AQAB"), JwkError::Invalid),
        (rsa(&even_modulus, "AQAB"), JwkError::Invalid),
        (rsa(RSA_N, "AQ"), JwkError::Invalid),
        (rsa(RSA_N, "Ag"), JwkError::Invalid),
        (rsa(RSA_N, ""), JwkError::Invalid),
        (rsa(RSA_N, &wide_exponent), JwkError::Invalid),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }), JwkError::Invalid),
        (json!({ "kty": "OKP", "crv": "Ed448", "x": ED_X }), JwkError::Unsupported),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": 1 }), JwkError::Member("kid")),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "key_ops": "verify" }), JwkError::Member("key_ops")),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "x5c": [] }), JwkError::Member("x5c")),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X, "x5c": ["_-_-"] }), JwkError::Member("x5c")),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "p": "AQ" }), JwkError::Private("p")),
    ];
    for (value, expected) in table {
        assert_eq!(read(value.clone()), Err(expected), "{value}");
    }
}

#[test]
fn a_key_is_for_what_it_says() {
    // (members added to an EC key, fits ES256)
    let table = [
        (json!({}), true),
        (json!({ "use": "sig" }), true),
        (json!({ "use": "enc" }), false),
        (json!({ "alg": "ES256" }), true),
        (json!({ "alg": "ES384" }), false),
        (json!({ "alg": "ECDH-ES" }), false),
        (json!({ "key_ops": ["verify"] }), true),
        (json!({ "key_ops": ["sign", "verify"] }), true),
        (json!({ "key_ops": ["deriveKey"] }), false),
        (json!({ "key_ops": [] }), false),
        (json!({ "x5t": "unread", "ext": true }), true),
    ];
    for (added, fits) in table {
        let mut value = json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y });
        value.as_object_mut().expect("an object").extend(added.as_object().expect("an object").clone());
        let key = read(value).expect("a key");
        assert_eq!(key.fits(Algorithm::ES256), fits, "{added}");
        assert!(Algorithm::ALL.into_iter().all(|other| other == Algorithm::ES256 || !key.fits(other)), "{added}");
    }
}

#[test]
fn certificates_come_along() {
    let value = json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "x5c": ["MAA=", "MAEA"] });
    let key = read(value.clone()).expect("a key");
    assert_eq!(key.certificates(), [vec![0x30, 0], vec![0x30, 1, 0]]);
    assert_eq!(Value::Object(key.to_members()), value);
}
