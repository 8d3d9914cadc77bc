use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use josekit::jwk::alg::ed::EdCurve;
use josekit::jws::alg::ecdsa::EcdsaJwsAlgorithm;
use josekit::jws::{EdDSA, JwsHeader, PS256, RS256};
use josekit::jwt::{self, JwtPayload};

use super::*;
use crate::jose::jwk::PublicJwk;
use crate::jose::jws::Compact;

type BoxedSigner = Box<dyn JwsSigner>;

fn compact(signer: BoxedSigner, typ: &str, payload: &[u8]) -> Result<String, SignError> {
    TokenSigner::new(signer, typ)?.sign_compact(payload)
}

fn payload() -> JwtPayload {
    let mut payload = JwtPayload::new();
    payload.set_subject("alice");
    payload
}

fn header() -> JwsHeader {
    let mut header = JwsHeader::new();
    header.set_token_type("at+jwt");
    header
}

/// josekit's own verifier for one of our public keys.
fn theirs(key: &SigningKey) -> Box<dyn JwsVerifier> {
    let jwk = Jwk::from_map(key.public_jwk().to_members()).expect("a JWK");
    match key.algorithm() {
        Algorithm::ES256 => Box::new(EcdsaJwsAlgorithm::Es256.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::ES384 => Box::new(EcdsaJwsAlgorithm::Es384.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::ES512 => Box::new(EcdsaJwsAlgorithm::Es512.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::EdDSA => Box::new(EdDSA.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::RS256 => Box::new(RS256.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::PS256 => Box::new(PS256.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::PS384 => Box::new(josekit::jws::PS384.verifier_from_jwk(&jwk).expect("a key")),
        Algorithm::PS512 => Box::new(josekit::jws::PS512.verifier_from_jwk(&jwk).expect("a key")),
    }
}

#[test]
fn josekit_verifies_what_we_sign() {
    for algorithm in Algorithm::ALL {
        let key = Arc::new(crate::jose::sign::tests::key(algorithm));
        let verifier = theirs(&key);
        let signer: BoxedSigner = Box::new(KeySigner::new(Arc::clone(&key)));
        let texts = [
            key.sign_compact("at+jwt", br#"{"sub":"alice"}"#).expect("signed"),
            compact(signer.box_clone(), "at+jwt", br#"{"sub":"alice"}"#).expect("signed"),
            jwt::encode_with_signer(&payload(), &header(), &*signer).expect("signed"),
        ];
        for text in &texts {
            let (payload, header) = jwt::decode_with_verifier(text, &*verifier).expect("josekit takes it");
            assert_eq!((payload.subject(), header.key_id()), (Some("alice"), Some(key.key_id().as_str())), "{algorithm}");
            let ours = KeyVerifier::new(key.verifying_key().expect("valid"));
            assert!(jwt::decode_with_verifier(text, &ours).is_ok(), "{algorithm}");
        }
        // The same header, byte for byte.
        assert_eq!(texts[0].split('.').next(), texts[1].split('.').next());
        let mut altered = texts[0].clone();
        altered.insert_str(altered.rfind('.').unwrap_or_default(), "AAAA");
        assert!(jwt::decode_with_verifier(&altered, &KeyVerifier::new(key.verifying_key().expect("valid"))).is_err());
    }
}

#[test]
fn we_verify_what_josekit_signs() {
    let ec = |curve, algorithm: EcdsaJwsAlgorithm| {
        let jwk = Jwk::generate_ec_key(curve).expect("a key");
        let signer: BoxedSigner = Box::new(algorithm.signer_from_jwk(&jwk).expect("a key"));
        (jwk, signer)
    };
    let ed = Jwk::generate_ed_key(EdCurve::Ed25519).expect("a key");
    let rsa = Jwk::generate_rsa_key(2048).expect("a key");
    let table: [(Algorithm, (Jwk, BoxedSigner)); 6] = [
        (Algorithm::ES256, ec(EcCurve::P256, EcdsaJwsAlgorithm::Es256)),
        (Algorithm::ES384, ec(EcCurve::P384, EcdsaJwsAlgorithm::Es384)),
        (Algorithm::ES512, ec(EcCurve::P521, EcdsaJwsAlgorithm::Es512)),
        (Algorithm::EdDSA, (ed.clone(), Box::new(EdDSA.signer_from_jwk(&ed).expect("a key")))),
        (Algorithm::RS256, (rsa.clone(), Box::new(RS256.signer_from_jwk(&rsa).expect("a key")))),
        (Algorithm::PS256, (rsa.clone(), Box::new(PS256.signer_from_jwk(&rsa).expect("a key")))),
    ];
    for (algorithm, (jwk, signer)) in table {
        let public = jwk.to_public_key().expect("a key");
        let public = PublicJwk::from_members(public.as_ref()).expect("a key");
        let key = VerifyingKey::new(&public, algorithm).expect("fits");
        for text in [
            jwt::encode_with_signer(&payload(), &header(), &*signer).expect("signed"),
            compact(signer.box_clone(), "at+jwt", br#"{"sub":"alice"}"#).expect("signed"),
        ] {
            let verified = key.verify(&Compact::parse(&text).expect("well formed")).expect("verified");
            assert_eq!(verified.claims().get("sub").and_then(|sub| sub.as_str()), Some("alice"), "{algorithm}");
            assert_eq!(verified.typ(), Some("at+jwt"));
        }
        // A private JWK is not a public one, though josekit would take it.
        assert!(PublicJwk::from_members(jwk.as_ref()).is_err());
    }
}

#[test]
fn foreign_names_are_not_written_unescaped() {
    let jwk = Jwk::generate_ec_key(EcCurve::P256).expect("a key");
    let mut signer = EcdsaJwsAlgorithm::Es256.signer_from_jwk(&jwk).expect("a key");
    assert!(matches!(TokenSigner::new(Box::new(signer.clone()), "a\"b"), Err(SignError::Type)));
    signer.set_key_id("a\",\"crit\":[\"");
    assert!(matches!(TokenSigner::new(Box::new(signer), "JWT"), Err(SignError::Type)));
}
