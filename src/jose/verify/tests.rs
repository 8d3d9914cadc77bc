use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::jose::json::JsonError;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;
use crate::jose::{base64url, jws};

const RFC7515_PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC7520_PAYLOAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
const RFC7515_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RFC7520_N: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";

/// Every signature in the standards that we have an algorithm for.
#[test]
fn the_examples_of_the_standards() {
    let rsa = |n: &str| json!({ "kty": "RSA", "n": n, "e": "AQAB" });
    let table = [
        (
            "RFC 7515 A.2",
            Algorithm::RS256,
            rsa(RFC7515_N),
            format!("eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"),
        ),
        (
            "RFC 7515 A.3",
            Algorithm::ES256,
            json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }),
            format!("eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
        ),
        (
            "RFC 7515 A.4",
            Algorithm::ES512,
            json!({ "kty": "EC", "crv": "P-521", "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk", "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2" }),
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn".to_owned(),
        ),
        (
            "RFC 7520 §4.1",
            Algorithm::RS256,
            rsa(RFC7520_N),
            format!("eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{RFC7520_PAYLOAD}.MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"),
        ),
        (
            "RFC 7520 §4.2",
            Algorithm::PS384,
            rsa(RFC7520_N),
            format!("eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{RFC7520_PAYLOAD}.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"),
        ),
        (
            "RFC 8037 A.4",
            Algorithm::EdDSA,
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".to_owned(),
        ),
    ];
    for (source, algorithm, jwk, text) in table {
        let jwk = PublicJwk::from_json(jwk.to_string().as_bytes()).expect(source);
        let key = VerifyingKey::new(&jwk, algorithm).expect(source);
        let compact = Compact::parse(&text).expect(source);
        assert_eq!(key.check_compact(&compact), Ok(()), "{source}");
        // The same signature over another message, and another signature over the same message.
        let mut message = compact.signing_input().as_bytes().to_vec();
        message.push(b'A');
        assert_eq!(key.check(&message, compact.signature()), Err(JwsError::Signature), "{source}");
        let mut signature = compact.signature().to_vec();
        signature[5] ^= 1;
        assert_eq!(key.check(compact.signing_input().as_bytes(), &signature), Err(JwsError::Signature), "{source}");
    }
}

fn signing_key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key")
}

fn keys(keys: &[&SigningKey]) -> VerifyingKeys {
    VerifyingKeys::from_keys(keys.iter().map(|key| key.verifying_key().expect("valid")).collect())
}

/// A token with any header, signed by `key`.
fn forged(key: &SigningKey, header: &Value, payload: &str) -> String {
    let input = format!("{}.{}", base64url::encode(header.to_string()), base64url::encode(payload));
    let signature = key.sign(input.as_bytes()).expect("signed");
    format!("{input}.{}", base64url::encode(signature))
}

fn outcome(keys: &VerifyingKeys, text: &str) -> Result<Map<String, Value>, JwsError> {
    Compact::parse(text).and_then(|compact| keys.verify(&compact)).map(|verified| verified.claims().clone())
}

#[test]
fn what_was_signed_is_read() {
    let key = signing_key();
    let text = key.sign_compact("at+jwt", br#"{"sub":"alice"}"#).expect("signed");
    let compact = Compact::parse(&text).expect("well formed");
    let verified = keys(&[&key]).verify(&compact).expect("verified");
    assert_eq!(verified.claims().get("sub"), Some(&json!("alice")));
    assert_eq!(
        (verified.algorithm(), verified.typ(), verified.key_id()),
        (Algorithm::ES256, Some("at+jwt"), Some(key.key_id().as_str()))
    );
}

#[test]
fn keys_in_the_header_select_nothing() {
    let (ours, attacker) = (signing_key(), signing_key());
    let keys = keys(&[&ours]);
    let jwk = attacker.public_jwk().to_members();
    let pointers = [
        json!({ "jwk": jwk }),
        json!({ "jku": "https://evil.example/jwks.json" }),
        json!({ "x5u": "https://evil.example/cert.pem" }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "x5t#S256": attacker.key_id().as_str() }),
    ];
    let key_ids = [
        (json!({}), JwsError::Signature),
        (json!({ "kid": ours.key_id().as_str() }), JwsError::Signature),
        (json!({ "kid": attacker.key_id().as_str() }), JwsError::KeyUnknown),
        (json!({ "kid": "../../dev/null" }), JwsError::KeyUnknown),
        (json!({ "kid": "" }), JwsError::KeyUnknown),
    ];
    for pointer in &pointers {
        for (key_id, expected) in &key_ids {
            let mut header = json!({ "alg": "ES256", "typ": "at+jwt" });
            for part in [pointer, key_id] {
                header.as_object_mut().expect("an object").extend(part.as_object().expect("an object").clone());
            }
            assert_eq!(outcome(&keys, &forged(&attacker, &header, "{}")).as_ref(), Err(expected), "{header}");
            // With our own signature the pointers do no harm either.
            let ours_signed = outcome(&keys, &forged(&ours, &header, "{}"));
            assert_eq!(ours_signed.is_ok(), *expected == JwsError::Signature, "{header}");
        }
    }
}

#[test]
fn the_algorithm_is_the_keys_own() {
    let key = signing_key();
    let keys = keys(&[&key]);
    let kid = key.key_id().as_str();
    let unsigned = |header: &Value| format!("{}.{}.", base64url::encode(header.to_string()), base64url::encode("{}"));
    assert_eq!(outcome(&keys, &unsigned(&json!({ "alg": "none", "kid": kid }))), Err(JwsError::AlgorithmUnknown));
    assert_eq!(outcome(&keys, &unsigned(&json!({ "alg": "ES256", "kid": kid }))), Err(JwsError::Signature));
    // HS256 with the public key, in each spelling an attacker could fetch, as the secret.
    let jwk = Value::Object(key.public_jwk().to_members()).to_string();
    let members = key.public_jwk().to_members();
    let coordinate =
        |name: &str| base64url::decode(members.get(name).and_then(Value::as_str).expect("an EC key")).expect("base64url");
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    for secret in [jwk.as_bytes(), &point, &point[1..33]] {
        let input =
            format!("{}.{}", base64url::encode(json!({ "alg": "HS256", "kid": kid }).to_string()), base64url::encode("{}"));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        assert_eq!(outcome(&keys, &format!("{input}.{}", base64url::encode(tag))), Err(JwsError::AlgorithmUnknown));
    }
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::ES256) {
        let with_kid = forged(&key, &json!({ "alg": algorithm.name(), "kid": kid }), "{}");
        assert_eq!(outcome(&keys, &with_kid), Err(JwsError::AlgorithmMismatch(algorithm)));
        assert_eq!(outcome(&keys, &forged(&key, &json!({ "alg": algorithm.name() }), "{}")), Err(JwsError::KeyUnknown));
    }
}

#[test]
fn an_rsa_key_without_alg_verifies_only_what_the_issuer_may_use() {
    let key = crate::jose::sign::tests::key(Algorithm::PS256);
    let mut members = key.public_jwk().to_members();
    members.remove("alg");
    let set = JwkSet::from_keys(vec![PublicJwk::from_members(&members).expect("a key")]);
    let text = key.sign_compact("at+jwt", b"{}").expect("signed");
    assert!(outcome(&VerifyingKeys::new(&set, &[Algorithm::RS256, Algorithm::PS256]), &text).is_ok());
    assert!(outcome(&VerifyingKeys::new(&set, &[Algorithm::PS256, Algorithm::PS512]), &text).is_ok());
    let other = VerifyingKeys::new(&set, &[Algorithm::RS256, Algorithm::ES256]);
    assert_eq!(outcome(&other, &text), Err(JwsError::AlgorithmMismatch(Algorithm::PS256)));
    assert_eq!(outcome(&VerifyingKeys::default(), &text), Err(JwsError::KeyUnknown));
    // The same signature under another name of RSA.
    let (_, rest) = text.split_once('.').expect("three parts");
    let renamed = format!("{}.{rest}", base64url::encode(json!({ "alg": "RS256" }).to_string()));
    assert_eq!(outcome(&other, &renamed), Err(JwsError::Signature));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a signature in another encoding is made")]
fn signatures_of_the_wrong_shape_are_refused() {
    let key = signing_key();
    let keys = keys(&[&key]);
    let text = key.sign_compact("at+jwt", b"{}").expect("signed");
    let (input, signature) = text.rsplit_once('.').expect("three parts");
    let signature = base64url::decode(signature).expect("base64url");
    let (r, s) = signature.split_at(32);
    let pkcs8 = key.to_pkcs8().expect("encoded");
    let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).expect("the same key");
    let der = der.sign(&SystemRandom::new(), input.as_bytes()).expect("signed");
    // The order of P-256.
    let order = base64url::decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").expect("base64url");
    let shapes: [(&str, Vec<u8>); 10] = [
        ("none", Vec::new()),
        ("DER", der.as_ref().to_vec()),
        ("zeros", vec![0; 64]),
        ("r = 0", [&[0u8; 32][..], s].concat()),
        ("s = 0", [r, &[0u8; 32][..]].concat()),
        ("r = n, s = n", [&order[..], &order].concat()),
        ("cut", signature[..63].to_vec()),
        ("lengthened", [&signature[..], &[0]].concat()),
        ("zero before each half", [&[0u8][..], r, &[0], s].concat()),
        ("halves swapped", [s, r].concat()),
    ];
    for (name, shape) in shapes {
        assert_eq!(outcome(&keys, &format!("{input}.{}", base64url::encode(shape))), Err(JwsError::Signature), "{name}");
    }
    assert!(outcome(&keys, &text).is_ok());
}

#[test]
fn what_a_good_signature_covers_is_still_read_strictly() {
    let key = signing_key();
    let keys = keys(&[&key]);
    let header = json!({ "alg": "ES256", "kid": key.key_id().as_str() });
    let table = [
        (r#"{"sub":"a","sub":"b"}"#, JwsError::Payload(JsonError::DuplicateMember("sub".into()))),
        (r#"{"cnf":{"x5t#S256":"a","x5t#S256":"b"}}"#, JwsError::Payload(JsonError::DuplicateMember("x5t#S256".into()))),
        (r#"["a"]"#, JwsError::Payload(JsonError::NotAnObject)),
    ];
    for (payload, expected) in table {
        assert_eq!(outcome(&keys, &forged(&key, &header, payload)), Err(expected), "{payload}");
    }
    for payload in ["", "Payload", "{}{}", "{} trailing"] {
        let problem = outcome(&keys, &forged(&key, &header, payload));
        assert!(matches!(problem, Err(JwsError::Payload(JsonError::Syntax(_)))), "{payload}");
    }
    // Before the signature nothing is said about the payload.
    let other = signing_key();
    let header = json!({ "alg": "ES256", "kid": key.key_id().as_str() });
    assert_eq!(outcome(&keys, &forged(&other, &header, "Payload")), Err(JwsError::Signature));
}

#[test]
fn a_token_without_kid_is_tried_with_few_keys() {
    let many: Vec<_> = (0..=VerifyingKeys::MAX_TRIALS).map(|_| signing_key()).collect();
    let keys = keys(&many.iter().collect::<Vec<_>>());
    let header = json!({ "alg": "ES256" });
    for (index, key) in many.iter().enumerate() {
        let expected = index < VerifyingKeys::MAX_TRIALS;
        assert_eq!(outcome(&keys, &forged(key, &header, "{}")).is_ok(), expected, "{index}");
        assert!(outcome(&keys, &key.sign_compact("JWT", b"{}").expect("signed")).is_ok());
    }
}

#[test]
fn two_keys_of_one_kid_are_both_tried() {
    let (first, second) = (signing_key(), signing_key());
    let renamed = |key: &SigningKey| {
        let mut members = key.public_jwk().to_members();
        members.insert("kid".into(), json!("same"));
        PublicJwk::from_members(&members).expect("a key")
    };
    let set = JwkSet::from_keys(vec![renamed(&first), renamed(&second)]);
    let keys = VerifyingKeys::new(&set, &[Algorithm::ES256]);
    let header = json!({ "alg": "ES256", "kid": "same" });
    for key in [&first, &second] {
        assert!(outcome(&keys, &forged(key, &header, "{}")).is_ok());
    }
    assert_eq!(outcome(&keys, &forged(&signing_key(), &header, "{}")), Err(JwsError::Signature));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_token_with_any_character_changed_is_refused(at in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9_.=-]") {
        let key = signing_key();
        let keys = keys(&[&key]);
        let mut text = key.sign_compact("at+jwt", br#"{"sub":"alice","exp":1300}"#).expect("signed");
        let at = at.index(text.len());
        prop_assume!(text.get(at..=at) != Some(replacement.as_str()));
        text.replace_range(at..=at, &replacement);
        prop_assert!(outcome(&keys, &text).is_err());
    }
}

#[test]
fn every_refusal_has_its_reason() {
    use crate::event::Reason;
    let table = [
        (JwsError::Parts, Reason::TokenMalformed),
        (JwsError::Encoding(jws::Part::Header), Reason::TokenMalformed),
        (JwsError::AlgorithmUnknown, Reason::TokenAlgorithm),
        (JwsError::AlgorithmMismatch(Algorithm::ES384), Reason::TokenAlgorithm),
        (JwsError::Critical, Reason::TokenCritical),
        (JwsError::UnencodedPayload, Reason::TokenCritical),
        (JwsError::KeyUnknown, Reason::TokenKeyUnknown),
        (JwsError::Signature, Reason::TokenSignature),
        (JwsError::Payload(JsonError::NotAnObject), Reason::TokenMalformed),
    ];
    for (error, reason) in table {
        assert_eq!(error.reason(), reason, "{error}");
    }
}
