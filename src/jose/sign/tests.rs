use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::jose::jws::Compact;
use crate::jose::random::SystemRandomness;

/// A key of this algorithm. All RSA algorithms share one key: making them is slow.
pub(in crate::jose) fn key(algorithm: Algorithm) -> SigningKey {
    static RSA: LazyLock<Zeroizing<Vec<u8>>> = LazyLock::new(|| {
        let key = SigningKey::generate(Algorithm::PS256, &SystemRandomness).expect("a key");
        key.to_pkcs8().expect("encoded")
    });
    match algorithm {
        Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::RS256 => SigningKey::from_pkcs8(&RSA, algorithm),
        _ => SigningKey::generate(algorithm, &SystemRandomness),
    }
    .expect("a key")
}

/// Gives the bytes it was made of, then zeros.
#[derive(Debug)]
struct Scripted(std::sync::Mutex<Vec<u8>>);

impl Randomness for Scripted {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        let mut script = self.0.lock().expect("not poisoned");
        let taken = script.len().min(bytes.len());
        bytes.fill(0);
        for (target, byte) in bytes.iter_mut().zip(script.drain(..taken)) {
            *target = byte;
        }
        Ok(())
    }
}

fn scripted(bytes: &[&[u8]]) -> Scripted {
    Scripted(std::sync::Mutex::new(bytes.concat()))
}

#[derive(Debug)]
struct Broken;

impl Randomness for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        Err(RandomnessUnavailable)
    }
}

#[test]
fn every_algorithm_signs_what_its_public_key_verifies() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let text = key.sign_compact("at+jwt", br#"{"sub":"alice"}"#).expect("signed");
        let compact = Compact::parse(&text).expect("well formed");
        assert_eq!((compact.algorithm(), compact.typ()), (algorithm, Some("at+jwt")));
        assert_eq!(compact.key_id(), Some(key.key_id().as_str()));
        assert_eq!(compact.signature().len(), key.signature_length());
        assert!(key.verifying_key().expect("valid").verify(&compact).is_ok(), "{algorithm}");
        assert_eq!(text.len(), text.capacity(), "one allocation, of the right size");
        // Stored and read again it is the same key.
        let again = SigningKey::from_pkcs8(&key.to_pkcs8().expect("encoded"), algorithm).expect("the same key");
        assert_eq!(again.key_id(), key.key_id());
        let text = again.sign_compact("at+jwt", b"{}").expect("signed");
        assert!(key.verifying_key().expect("valid").verify(&Compact::parse(&text).expect("well formed")).is_ok(), "{algorithm}");
    }
}

/// RFC 8037 A.1, A.3 and A.4: Ed25519 is deterministic, so the signature must come out as printed.
#[test]
fn the_signature_of_rfc_8037() {
    let seed = base64url::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
    let key = SigningKey::generate(Algorithm::EdDSA, &scripted(&[&seed])).expect("a key");
    assert_eq!(key.key_id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").expect("signed");
    assert_eq!(
        base64url::encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

/// The key of RFC 7515 A.3, from its private scalar and from PKCS #8.
#[test]
fn the_key_of_rfc_7515() {
    let scalar = base64url::decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI").expect("base64url");
    let pkcs8 = STANDARD
        .decode("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIffH1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt")
        .expect("base64");
    // Outside the group's order: passed over.
    let too_large = [0xffu8; 32];
    let drawn = SigningKey::generate(Algorithm::ES256, &scripted(&[&too_large, &[0; 32], &scalar])).expect("a key");
    let read = SigningKey::from_pkcs8(&pkcs8, Algorithm::ES256).expect("a key");
    for key in [drawn, read] {
        let members = key.public_jwk().to_members();
        assert_eq!(members.get("x").and_then(|x| x.as_str()), Some("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"));
        assert_eq!(members.get("y").and_then(|y| y.as_str()), Some("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
        assert_eq!(*key.to_pkcs8().expect("encoded"), pkcs8);
    }
}

#[test]
fn the_header_is_written_once_and_for_all() {
    let key = key(Algorithm::ES256);
    for typ in ["at+jwt", "JWT", "application/introspection+jwt"] {
        let text = key.sign_compact(typ, b"{}").expect("signed");
        let header = base64url::decode(text.split('.').next().unwrap_or_default()).expect("base64url");
        let expected = format!(r#"{{"alg":"ES256","kid":"{}","typ":"{typ}"}}"#, key.key_id());
        assert_eq!(String::from_utf8(header).as_deref(), Ok(expected.as_str()));
    }
    for typ in ["", "a\"b", "a\\b", "a b", "ä", "a\n"] {
        assert!(matches!(key.sign_compact(typ, b"{}"), Err(SignError::Type)), "{typ:?}");
    }
}

#[test]
fn the_public_half_is_public() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let members = key.public_jwk().to_members();
        let allowed = ["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"];
        assert!(members.keys().all(|name| allowed.contains(&name.as_str())), "{members:?}");
        assert!(PublicJwk::from_members(&members).is_ok());
        let printed = format!("{key:?}");
        assert!(printed.contains(key.key_id().as_str()) && !printed.contains("pair"), "{printed}");
    }
}

#[test]
fn keys_of_another_kind_are_refused() {
    let key = key(Algorithm::ES256);
    let pkcs8 = key.to_pkcs8().expect("encoded");
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::ES256) {
        assert!(matches!(SigningKey::from_pkcs8(&pkcs8, algorithm), Err(SignError::Key(_))), "{algorithm}");
    }
    for der in [&pkcs8[..pkcs8.len() - 1], b"", b"\x30\x00"] {
        assert!(matches!(SigningKey::from_pkcs8(der, Algorithm::ES256), Err(SignError::Key(_))));
    }
}

#[test]
fn without_randomness_there_is_no_key() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512, Algorithm::EdDSA] {
        assert!(matches!(SigningKey::generate(algorithm, &Broken), Err(SignError::Randomness(_))), "{algorithm}");
    }
    // Zeros are not a private key; a source that gives nothing else ends in an error and not in a loop.
    assert!(matches!(SigningKey::generate(Algorithm::ES256, &scripted(&[])), Err(SignError::Randomness(_))));
}
