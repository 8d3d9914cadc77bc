//! Proofs of the standard, and proofs with one thing wrong.

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::*;
use crate::binding::ReplayCache;
use crate::domain::{Lifetime, ManualClock, Redacted, Thumbprint, Timestamp};
use crate::jose::Algorithm;
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;

/// RFC 9449 §4.1: a proof for the token endpoint.
const TOKEN_PROOF: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdC",
    "RnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19",
    ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ",
    ".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
);
/// RFC 9449 §7.1: a proof for a protected resource, with the access token it goes with.
const RESOURCE_PROOF: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdC",
    "RnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19",
    ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsIml",
    "hdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9",
    ".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
);
const ACCESS_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
/// RFC 9449 §6.1: the thumbprint of their key.
const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

const NOW: Timestamp = Timestamp::from_seconds(1_562_262_620);
const TARGET: &str = "https://server.example.com/token";

fn rules(nonce: NonceRule) -> ProofRules {
    ProofRules {
        algorithms: vec![Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA],
        max_age: Lifetime::from_seconds(60),
        leeway: Lifetime::from_seconds(5),
        nonce,
    }
}

fn dpop(nonce: NonceRule) -> Dpop {
    let nonces = Nonces::shared("https://server.example.com", &[Redacted::new([1; 32])], Lifetime::from_seconds(300));
    Dpop::with_lasting_memory(rules(nonce), nonces)
}

fn target(text: &str) -> TargetUri {
    TargetUri::parse(text).expect("a target")
}

/// The verdict on a proof for `POST` to [`TARGET`].
fn verdict(dpop: &Dpop, proof: &str, now: Timestamp) -> Result<Thumbprint, DpopError> {
    let request = ProofRequest { method: "POST", targets: &[target(TARGET)], access_token: None };
    dpop.check(proof, &request, now).map(|proof| *proof.thumbprint())
}

#[test]
fn the_examples_of_the_standard_are_proofs_of_their_key() {
    let dpop = dpop(NonceRule::Accepted);
    assert_eq!(verdict(&dpop, TOKEN_PROOF, NOW).map(|jkt| jkt.to_string()), Ok(JKT.to_owned()));
    let targets = [target("https://resource.example.org/protectedresource")];
    let request = ProofRequest { method: "GET", targets: &targets, access_token: Some(ACCESS_TOKEN) };
    let jkt = |request: &ProofRequest<'_>| dpop.check(RESOURCE_PROOF, request, NOW).map(|proof| proof.thumbprint().to_string());
    assert_eq!(jkt(&request), Ok(JKT.to_owned()));
    assert_eq!(jkt(&ProofRequest { method: "POST", ..request }), Err(DpopError::Method));
    assert_eq!(jkt(&ProofRequest { method: "get", ..request }), Err(DpopError::Method));
    assert_eq!(jkt(&ProofRequest { targets: &[target(TARGET)], ..request }), Err(DpopError::Target));
    assert_eq!(jkt(&ProofRequest { access_token: Some("another"), ..request }), Err(DpopError::Token));
    // A proof for the token endpoint has no `ath`, and so is none for a resource.
    let here = ProofRequest { method: "POST", targets: &[target(TARGET)], access_token: Some(ACCESS_TOKEN) };
    assert_eq!(dpop.check(TOKEN_PROOF, &here, NOW).map(drop), Err(DpopError::Token));
}

/// A key that signs proofs as [`TARGET`] wants them, with changes.
pub(crate) struct Prover(pub(crate) SigningKey);

impl Prover {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self(SigningKey::generate(algorithm, &SystemRandomness).expect("a key"))
    }

    /// The public key without `use`, `alg` and `kid`.
    pub(crate) fn jwk(&self) -> Value {
        let mut members = self.0.public_jwk().to_members();
        members.retain(|name, _| !matches!(name.as_str(), "use" | "alg" | "kid"));
        Value::Object(members)
    }

    /// Members of header and claims are replaced, or removed by `null`.
    pub(crate) fn prove(&self, header: &Value, claims: &Value) -> String {
        let change = |mut base: Value, changes: &Value| {
            let base_members = base.as_object_mut().expect("an object");
            for (name, value) in changes.as_object().expect("an object") {
                match value {
                    Value::Null => drop(base_members.remove(name)),
                    value => drop(base_members.insert(name.clone(), value.clone())),
                }
            }
            base
        };
        let header = change(json!({ "typ": "dpop+jwt", "jwk": self.jwk() }), header);
        let base = json!({ "jti": "0123456789abcdef", "htm": "POST", "htu": TARGET, "iat": NOW.seconds() });
        let claims = change(base, claims);
        let header = header.as_object().expect("an object").clone();
        self.0.sign_with_header(header, claims.to_string().as_bytes()).expect("a proof")
    }
}

#[test]
fn proofs_with_one_thing_wrong_are_refused() {
    use DpopError::{Key, Malformed, Method, Nonce, Signature, Target, Time, Type};
    let dpop = dpop(NonceRule::Accepted);
    let prover = Prover::new(Algorithm::ES256);
    let other = Prover::new(Algorithm::ES256);
    let none = json!({});
    let jkt = *prover.0.public_jwk().thumbprint().as_bytes();
    assert_eq!(verdict(&dpop, &prover.prove(&none, &none), NOW).map(|found| *found.as_bytes()), Ok(jkt));

    let with = |name: &str, value: Value| {
        let mut jwk = prover.jwk();
        jwk[name] = value;
        json!({ "jwk": jwk })
    };
    let headers = [
        (json!({ "typ": null }), Type),
        (json!({ "typ": "JWT" }), Type),
        (json!({ "typ": "at+jwt" }), Type),
        (json!({ "jwk": null }), Key),
        (json!({ "jwk": "x" }), Key),
        (json!({ "jwk": {} }), Key),
        (json!({ "jwk": other.jwk() }), Signature),
        (json!({ "jwk": null, "kid": "x", "jku": "https://evil.example" }), Key),
        (with("d", json!("AAAA")), Key),
        (with("use", json!("enc")), Key),
        (with("alg", json!("ES384")), Key),
        (json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), Key),
        (json!({ "crit": ["exp"] }), Malformed),
    ];
    for (header, expected) in headers {
        assert_eq!(verdict(&dpop, &prover.prove(&header, &none), NOW), Err(expected), "{header}");
    }
    let now = NOW.seconds();
    let claims = [
        (json!({ "jti": null }), Malformed),
        (json!({ "jti": "" }), Malformed),
        (json!({ "jti": 1 }), Malformed),
        (json!({ "jti": "x".repeat(257) }), Malformed),
        (json!({ "htm": null }), Malformed),
        (json!({ "htm": "GET" }), Method),
        (json!({ "htm": "post" }), Method),
        (json!({ "htu": null }), Malformed),
        (json!({ "htu": "/token" }), Target),
        (json!({ "htu": "http://server.example.com/token" }), Target),
        (json!({ "htu": "https://server.example.com/token/" }), Target),
        (json!({ "htu": "https://server.example.com/Token" }), Target),
        (json!({ "htu": "https://server.example.com:8443/token" }), Target),
        (json!({ "htu": "https://server.example.com.evil.example/token" }), Target),
        (json!({ "iat": null }), Malformed),
        (json!({ "iat": now.to_string() }), Malformed),
        (json!({ "iat": now as f64 + 0.5 }), Malformed),
        (json!({ "iat": now - 66 }), Time),
        (json!({ "iat": now + 6 }), Time),
        (json!({ "iat": i64::MIN }), Time),
        (json!({ "iat": i64::MAX }), Time),
        (json!({ "nonce": 1 }), Malformed),
        (json!({ "nonce": "made-elsewhere" }), Nonce(NonceError::Foreign)),
    ];
    for (claims, expected) in claims {
        assert_eq!(verdict(&dpop, &prover.prove(&none, &claims), NOW), Err(expected), "{claims}");
    }
    let good = [
        json!({ "iat": now - 65 }),
        json!({ "iat": now + 5 }),
        json!({ "htu": "HTTPS://Server.Example.com:443/a/../%74oken?query#fragment" }),
        json!({ "jti": "x".repeat(256) }),
        json!({ "anything": [1, 2] }),
    ];
    for claims in good {
        assert!(verdict(&dpop, &prover.prove(&none, &claims), NOW).is_ok(), "{claims}");
    }
    assert!(verdict(&dpop, &prover.prove(&json!({ "typ": "application/DPoP+JWT" }), &none), NOW).is_ok());
    assert_eq!(verdict(&dpop, &"a".repeat(MAX_PROOF_BYTES + 1), NOW), Err(Malformed));
    assert_eq!(verdict(&dpop, "", NOW), Err(Malformed));
    assert_eq!(verdict(&dpop, &format!("{TOKEN_PROOF}, {TOKEN_PROOF}"), NOW), Err(Malformed));
}

#[test]
fn only_listed_asymmetric_algorithms_prove_anything() {
    let dpop = dpop(NonceRule::Accepted);
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256] {
        let proof = Prover::new(algorithm).prove(&json!({}), &json!({}));
        assert!(verdict(&dpop, &proof, NOW).is_ok(), "{algorithm}");
    }
    let proof = Prover::new(Algorithm::ES384).prove(&json!({}), &json!({}));
    assert_eq!(verdict(&dpop, &proof, NOW), Err(DpopError::Algorithm));
    let prover = Prover::new(Algorithm::ES256);
    let claims = json!({ "jti": "a", "htm": "POST", "htu": TARGET, "iat": NOW.seconds() });
    for algorithm in ["none", "None", "HS256", "ES256K", ""] {
        let header = json!({ "typ": "dpop+jwt", "alg": algorithm, "jwk": prover.jwk() });
        for signature in [&[][..], &[0; 32]] {
            let proof =
                [header.to_string().as_bytes(), claims.to_string().as_bytes(), signature].map(base64url::encode).join(".");
            assert_eq!(verdict(&dpop, &proof, NOW), Err(DpopError::Algorithm), "{algorithm}");
        }
    }
}

#[test]
fn a_nonce_takes_the_place_of_the_clients_clock() {
    let (accepting, requiring) = (dpop(NonceRule::Accepted), dpop(NonceRule::Required));
    let prover = Prover::new(Algorithm::ES256);
    let nonce = requiring.nonce(NOW).expect("a nonce");
    let proof = |nonce: Option<&str>, iat: i64| prover.prove(&json!({}), &json!({ "nonce": nonce, "iat": iat }));
    let at = |seconds: i64| Timestamp::from_seconds(NOW.seconds() + seconds);
    assert_eq!(verdict(&requiring, &proof(None, NOW.seconds()), NOW), Err(DpopError::NonceAbsent));
    for dpop in [&accepting, &requiring] {
        assert!(verdict(dpop, &proof(Some(&nonce), NOW.seconds()), NOW).is_ok());
        // A clock that is wrong by years (RFC 9449 §11.1).
        assert!(verdict(dpop, &proof(Some(&nonce), 0), NOW).is_ok());
        assert!(verdict(dpop, &proof(Some(&nonce), 0), at(300)).is_ok());
        assert_eq!(verdict(dpop, &proof(Some(&nonce), at(301).seconds()), at(301)), Err(DpopError::Nonce(NonceError::Expired)));
    }
}

/// What a process that started just now cannot remember is taken only with a nonce of its own.
#[test]
fn no_proof_from_before_the_memory_is_taken_by_its_date() {
    let nonces = Nonces::of_process("gw", &SystemRandomness, Lifetime::from_seconds(300)).expect("randomness");
    let dpop = Dpop::with_memory_since(NOW, rules(NonceRule::Accepted), nonces);
    let prover = Prover::new(Algorithm::ES256);
    let proof = |iat: i64, nonce: Option<String>| prover.prove(&json!({}), &json!({ "iat": iat, "nonce": nonce }));
    let at = |seconds: i64| Timestamp::from_seconds(NOW.seconds() + seconds);
    for made in [-10, 0, 5] {
        assert_eq!(verdict(&dpop, &proof(at(made).seconds(), None), at(5)), Err(DpopError::NonceAbsent), "{made}");
        assert!(verdict(&dpop, &proof(at(made).seconds(), dpop.nonce(at(5))), at(5)).is_ok(), "{made}");
    }
    assert!(verdict(&dpop, &proof(at(6).seconds(), None), at(6)).is_ok());
}

#[test]
fn a_proof_is_used_once_and_hands_out_a_fresh_nonce_in_time() {
    let dpop = dpop(NonceRule::Required);
    let memory = ReplayCache::new(10, std::sync::Arc::new(ManualClock::at(NOW)));
    let (prover, thief) = (Prover::new(Algorithm::ES256), Prover::new(Algorithm::ES256));
    let nonce = dpop.nonce(NOW).expect("a nonce");
    let request = ProofRequest { method: "POST", targets: &[target(TARGET)], access_token: None };
    let claim = |prover: &Prover, now| {
        let proof = dpop.check(&prover.prove(&json!({}), &json!({ "nonce": nonce })), &request, now).expect("a good proof");
        proof.claim(&memory).now_or_never().expect("no waiting")
    };
    // Somebody else's use of the same `jti` takes nothing from the client.
    claim(&thief, NOW).expect("the first use of this key");
    let proven = claim(&prover, NOW).expect("the first use");
    assert_eq!(claim(&prover, NOW).map(drop), Err(DpopError::Replayed));
    let at = |seconds: i64| Timestamp::from_seconds(NOW.seconds() + seconds);
    assert_eq!(dpop.next_nonce(&proven, at(149)), None);
    let next = dpop.next_nonce(&proven, at(150)).expect("a nonce");
    assert_ne!(next, nonce);
    let proof = prover.prove(&json!({}), &json!({ "nonce": next, "jti": "next" }));
    assert!(verdict(&dpop, &proof, at(400)).is_ok());
}

#[test]
fn a_request_has_one_proof_or_none() {
    let mut headers = HeaderMap::new();
    assert_eq!(presented(&headers), Ok(None));
    headers.append(DPOP, http::HeaderValue::from_static("a"));
    assert_eq!(presented(&headers), Ok(Some("a")));
    headers.append(DPOP, http::HeaderValue::from_static("a"));
    assert_eq!(presented(&headers), Err(DpopError::Ambiguous));
    headers.insert(DPOP, http::HeaderValue::from_bytes(b"\xff").expect("a value"));
    assert_eq!(presented(&headers), Err(DpopError::Malformed));
}

#[test]
fn ath_is_the_hash_of_the_whole_token() {
    assert_eq!(base64url::encode(sha256(ACCESS_TOKEN.as_bytes())), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
}
