//! Tokens that their issuer did not sign, or that say too little or too much.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::{passed, refused};
use crate::harness::{Call, Setup, Stack, token};

/// A signing key outside the code under test.
pub(super) struct Key {
    pub(super) pkcs8: Vec<u8>,
}

impl Key {
    pub(super) fn generate() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        Self { pkcs8: pkcs8.as_ref().to_vec() }
    }

    fn pair(&self, algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).expect("a key")
    }

    pub(super) fn point(&self) -> Vec<u8> {
        self.pair(&ECDSA_P256_SHA256_FIXED_SIGNING).public_key().as_ref().to_vec()
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let point = self.point();
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }

    fn sign(&self, input: &str) -> String {
        let pair = self.pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
        URL_SAFE_NO_PAD.encode(pair.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature"))
    }

    /// A JWT with this header and payload as they are written.
    pub(super) fn jwt(&self, header: &str, payload: &str) -> String {
        let input = input(header, payload);
        format!("{input}.{}", self.sign(&input))
    }
}

pub(super) fn input(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

const ISSUER: &str = "https://other.example";
const AUDIENCE: &str = "https://other.example/api";

/// `/other` takes tokens of an issuer that is known by a file of keys alone.
fn with_another_issuer() -> Setup {
    let gateway = format!(
        "[authorization_server.other]\nissuer = \"{ISSUER}\"\njwks_file = \"other.jwks\"\n\n\
         [[route]]\nname = \"other\"\nhost = \"{{gateway_authority}}\"\npath = \"/other\"\nupstream = \"{{upstream}}\"\n\
         authorization_server = \"other\"\naudience = \"{AUDIENCE}\"\n"
    );
    Setup { gateway, ..Setup::default() }
}

async fn start(keys: impl FnOnce(&Stack, &str) -> Value) -> (Stack, String) {
    let mut stack = with_another_issuer().prepare("sqlite:symbolon.db".into()).await;
    stack.start_server().await;
    let access = stack.token(&stack.alice).await;
    let kid = token::header(&access)["kid"].as_str().expect("kid").to_owned();
    std::fs::write(stack.path("other.jwks"), json!({ "keys": keys(&stack, &kid) }).to_string()).expect("written");
    stack.start_gateway().await;
    (stack, access)
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

fn claims(stack: &Stack) -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "client_id": "alice", "jti": "t-1", "scope": "read",
        "iat": now() - 5, "exp": now() + 300, "cnf": { "x5t#S256": stack.alice.thumbprint() },
    })
}

fn with(claims: &Value, name: &str, value: Value) -> String {
    let mut claims = claims.clone();
    claims[name] = value;
    claims.to_string()
}

fn without(claims: &Value, name: &str) -> String {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("claims").remove(name);
    claims.to_string()
}

/// RFC 8725 §2, §3; RFC 9068 §4; RFC 8705 §3.1.
#[tokio::test]
async fn no_altered_or_invented_jwt_passes() {
    let key = Key::generate();
    let (stack, _) = start(|_, _| json!([key.jwk("k1")])).await;
    let thief = Key::generate();
    let good = claims(&stack);
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let (text, plain) = (header.to_string(), good.to_string());
    let headed = |name: &str, value: Value| with(&header, name, value);
    let genuine = key.jwt(&text, &plain);
    let (genuine_input, genuine_signature) = genuine.rsplit_once('.').expect("a signature");

    let public = key.point();
    let hmac_with = |secret: &[u8]| {
        let signed = input(&headed("alg", json!("HS256")), &plain);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let asn1 = {
        let pair = key.pair(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let signature = pair.sign(&SystemRandom::new(), genuine_input.as_bytes()).expect("a signature");
        format!("{genuine_input}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let confirmed = |cnf: Value| key.jwt(&text, &with(&good, "cnf", cnf));
    let thumbprint = stack.alice.thumbprint();
    let der_digest = Sha256::digest(&stack.alice.chain[0]);
    let hex: String = der_digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let authority = URL_SAFE_NO_PAD.encode(Sha256::digest(&stack.client_ca.certificate));
    let twice = plain.replacen("\"cnf\":", &format!("\"cnf\":{{\"x5t#S256\":\"{}\"}},\"cnf\":", stack.mallory.thumbprint()), 1);
    let headers_twice = text.replacen("\"alg\":", "\"alg\":\"none\",\"alg\":", 1);

    let table: Vec<(&str, String, &str)> = vec![
        ("alg none", format!("{}.", input(&headed("alg", json!("none")), &plain)), "token_algorithm"),
        ("alg NoNe", format!("{}.{genuine_signature}", input(&headed("alg", json!("NoNe")), &plain)), "token_algorithm"),
        ("no signature", format!("{genuine_input}."), "token_signature"),
        ("HMAC with the public point", hmac_with(&public), "token_algorithm"),
        ("HMAC with x", hmac_with(&public[1..33]), "token_algorithm"),
        ("HMAC with nothing", hmac_with(b"\0"), "token_algorithm"),
        ("another algorithm", key.jwt(&headed("alg", json!("ES384")), &plain), "token_algorithm"),
        ("an algorithm that is not allowed", key.jwt(&headed("alg", json!("RS256")), &plain), "token_algorithm"),
        ("alg is missing", key.jwt(&without(&header, "alg"), &plain), "token_malformed"),
        ("two algs", key.jwt(&headers_twice, &plain), "token_malformed"),
        ("another key of that name", thief.jwt(&text, &plain), "token_signature"),
        ("another key without a name", thief.jwt(&without(&header, "kid"), &plain), "token_signature"),
        ("an unknown key", thief.jwt(&headed("kid", json!("k2")), &plain), "token_key_unknown"),
        ("a path for a key", thief.jwt(&headed("kid", json!("../../../../dev/null")), &plain), "token_key_unknown"),
        ("a key in the header", thief.jwt(&headed("jwk", thief.jwk("k1")), &plain), "token_signature"),
        ("a place of keys", thief.jwt(&headed("jku", json!("https://127.0.0.1:1/jwks")), &plain), "token_signature"),
        (
            "a certificate",
            thief.jwt(&headed("x5c", json!([STANDARD.encode(&stack.mallory.chain[0])])), &plain),
            "token_signature",
        ),
        ("crit", key.jwt(&headed("crit", json!(["exp"])), &plain), "token_critical"),
        ("b64", key.jwt(&headed("b64", json!(false)), &plain), "token_critical"),
        ("a plain JWT", key.jwt(&headed("typ", json!("JWT")), &plain), "token_type"),
        ("no type", key.jwt(&without(&header, "typ"), &plain), "token_type"),
        ("an assertion", key.jwt(&headed("typ", json!("symbolon-assertion+jwt")), &plain), "token_type"),
        (
            "an altered payload",
            format!("{}.{genuine_signature}", input(&text, &with(&good, "sub", json!("root")))),
            "token_signature",
        ),
        ("half a signature", format!("{genuine_input}.{}", &genuine_signature[..44]), "token_signature"),
        ("a padded signature", format!("{genuine}=="), "token_malformed"),
        ("an ASN.1 signature", asn1, "token_signature"),
        ("a signature of zeros", format!("{genuine_input}.{}", URL_SAFE_NO_PAD.encode([0u8; 64])), "token_signature"),
        ("four parts", format!("{genuine}.{genuine_signature}"), "token_malformed"),
        ("five parts", format!("{genuine_input}.e30.e30.e30"), "token_malformed"),
        ("far too long", key.jwt(&text, &with(&good, "pad", json!("x".repeat(16_000)))), "token_malformed"),
        ("another issuer", key.jwt(&text, &with(&good, "iss", json!("https://evil.example"))), "token_issuer"),
        ("the other issuer of this gateway", key.jwt(&text, &with(&good, "iss", json!(stack.fill("{issuer}")))), "token_issuer"),
        ("no issuer", key.jwt(&text, &without(&good, "iss")), "token_issuer"),
        ("another audience", key.jwt(&text, &with(&good, "aud", json!(stack.accounts))), "token_audience"),
        ("a longer audience", key.jwt(&text, &with(&good, "aud", json!(format!("{AUDIENCE}/x")))), "token_audience"),
        ("no audience", key.jwt(&text, &without(&good, "aud")), "token_audience"),
        ("an empty audience", key.jwt(&text, &with(&good, "aud", json!([]))), "token_claim"),
        ("no expiry", key.jwt(&text, &without(&good, "exp")), "token_claim"),
        ("expired", key.jwt(&text, &with(&good, "exp", json!(now() - 10))), "token_expired"),
        ("an expiry in words", key.jwt(&text, &with(&good, "exp", json!((now() + 300).to_string()))), "token_claim"),
        ("a broken expiry", key.jwt(&text, &with(&good, "exp", json!(now() as f64 + 300.5))), "token_claim"),
        ("a negative expiry", key.jwt(&text, &with(&good, "exp", json!(-1))), "token_claim"),
        ("not yet", key.jwt(&text, &with(&good, "nbf", json!(now() + 60))), "token_not_yet_valid"),
        ("from the future", key.jwt(&text, &with(&good, "iat", json!(now() + 60))), "token_not_yet_valid"),
        ("no subject", key.jwt(&text, &without(&good, "sub")), "token_claim"),
        ("no name", key.jwt(&text, &without(&good, "jti")), "token_claim"),
        ("payload twice", key.jwt(&text, &twice), "token_malformed"),
        ("payload no object", key.jwt(&text, "[]"), "token_malformed"),
        ("unbound", key.jwt(&text, &without(&good, "cnf")), "cnf_absent"),
        ("cnf null", confirmed(json!(null)), "cnf_malformed"),
        ("cnf empty", confirmed(json!({})), "cnf_malformed"),
        ("cnf a list", confirmed(json!([{ "x5t#S256": thumbprint }])), "cnf_malformed"),
        ("cnf a string", confirmed(json!(thumbprint)), "cnf_malformed"),
        ("cnf hexadecimal", confirmed(json!({ "x5t#S256": hex })), "cnf_malformed"),
        ("cnf padded", confirmed(json!({ "x5t#S256": format!("{thumbprint}=") })), "cnf_malformed"),
        ("cnf a list of thumbprints", confirmed(json!({ "x5t#S256": [thumbprint] })), "cnf_malformed"),
        (
            "cnf SHA-512",
            confirmed(json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(Sha512::digest(&stack.alice.chain[0])) })),
            "cnf_malformed",
        ),
        ("cnf SHA-1", confirmed(json!({ "x5t": "2jmj7l5rSw0yVb_vlWAYkK_YBwk" })), "cnf_unknown"),
        ("cnf in another case", confirmed(json!({ "x5t#s256": thumbprint })), "cnf_unknown"),
        ("cnf with more", confirmed(json!({ "x5t#S256": thumbprint, "jwk": {} })), "cnf_unknown"),
        ("cnf a key", confirmed(json!({ "jkt": thumbprint })), "binding_proof_absent"),
        ("cnf a key too", confirmed(json!({ "x5t#S256": thumbprint, "jkt": thumbprint })), "binding_proof_absent"),
        ("cnf the authority's", confirmed(json!({ "x5t#S256": authority })), "binding_certificate_mismatch"),
        ("cnf another's", confirmed(json!({ "x5t#S256": stack.mallory.thumbprint() })), "binding_certificate_mismatch"),
    ];
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    for (what, forged, reason) in &table {
        let answer = connection.send(&Call::get("/other").bearer(forged)).await;
        refused(&stack, &answer, 401, "invalid_token", reason, what).await;
        assert!(answer.challenge().contains("error=\"invalid_token\""), "{what}: {}", answer.challenge());
    }
    let answer = connection.send(&Call::get("/other").bearer(&genuine)).await;
    passed(&stack, &answer, "the genuine one");
    let several = key.jwt(&text, &with(&good, "aud", json!(["https://x.example", AUDIENCE])));
    let answer = connection.send(&Call::get("/other").bearer(&several)).await;
    passed(&stack, &answer, "one of several audiences");
}

/// Keys belong to their issuer: one issuer's key of the same name does not sign for another, and each issuer's tokens open its own
/// routes alone.
#[tokio::test]
async fn keys_of_one_issuer_do_not_sign_for_another() {
    let other = Key::generate();
    let (stack, access) = start(|_, kid| json!([other.jwk(kid)])).await;
    let kid = token::header(&access)["kid"].clone();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }).to_string();
    let mut ours = claims(&stack);
    ours["iss"] = json!(stack.fill("{issuer}"));
    ours["aud"] = json!(stack.accounts);
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    let table = [
        ("/accounts", other.jwt(&header, &ours.to_string()), "token_signature"),
        ("/accounts", other.jwt(&header, &claims(&stack).to_string()), "token_signature"),
        ("/other", access.clone(), "token_signature"),
    ];
    for (target, forged, reason) in &table {
        let answer = connection.send(&Call::get(target).bearer(forged)).await;
        refused(&stack, &answer, 401, "invalid_token", reason, target).await;
    }
    for (target, genuine) in [("/accounts", &access), ("/other", &other.jwt(&header, &claims(&stack).to_string()))] {
        let answer = connection.send(&Call::get(target).bearer(genuine)).await;
        passed(&stack, &answer, target);
    }
}

/// The gateway's own word for upstreams is no access token: neither here nor at the authorization server.
#[tokio::test]
async fn an_assertion_is_no_access_token() {
    let stack = Stack::start().await;
    let access = stack.token(&stack.alice).await;
    let answer = stack.at_gateway(&stack.alice, &access).await;
    let assertion = stack.upstream.last().values("x-symbolon-assertion")[0].to_owned();
    passed(&stack, &answer, "the token");
    let answer = stack.at_gateway(&stack.alice, &assertion).await;
    refused(&stack, &answer, 401, "invalid_token", "token_key_unknown", "the assertion").await;
    assert_eq!(stack.introspect(&assertion).await, json!({ "active": false }));
}

/// RFC 7662 §2.2: of a token that does not stand nothing is told but that.
#[tokio::test]
async fn introspection_tells_nothing_of_forged_tokens() {
    let stack = Stack::start().await;
    let thief = Key::generate();
    let access = stack.token(&stack.alice).await;
    let opaque = stack.opaque_token(&stack.alice).await;
    let (header, payload) = (token::header(&access), token::claims(&access));
    let signature = access.rsplit_once('.').expect("a signature").1;
    let mut none = header.clone();
    none["alg"] = json!("none");
    let mut rich = payload.clone();
    rich["scope"] = json!("read write admin");
    let sealed = opaque.strip_prefix("sy_at_").expect("the prefix");
    let flip = |at: usize| {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).expect("base64url");
        bytes[at] ^= 1;
        format!("sy_at_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let length = URL_SAFE_NO_PAD.decode(sealed).expect("base64url").len();
    let mut forged = vec![
        format!("{}.", input(&none.to_string(), &payload.to_string())),
        format!("{}.{signature}", input(&header.to_string(), &rich.to_string())),
        thief.jwt(&header.to_string(), &payload.to_string()),
        format!("sy_at_{}", &sealed[..sealed.len() - 4]),
        format!("{opaque}AAAA"),
        sealed.to_owned(),
        "sy_at_".to_owned(),
        "x".repeat(60_000),
    ];
    forged.extend((0..length).step_by(7).map(flip));
    for token in &forged {
        assert_eq!(stack.introspect(token).await, json!({ "active": false }), "{token:.80}");
    }
    for token in forged.iter().filter(|token| token.len() < 10_000) {
        let answer = stack.at_reports(&stack.alice, token).await;
        refused(&stack, &answer, 401, "invalid_token", "token_inactive", format!("{token:.80}")).await;
    }
    // Who is not listed for the resource is told nothing of a good one.
    let answer = stack.post(&stack.alice, "/introspect", &[("token", &access), ("client_id", "alice")]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "active": false })));
    for token in [&access, &opaque] {
        assert_eq!(stack.introspect(token).await["cnf"]["x5t#S256"], stack.alice.thumbprint());
    }
    let answer = stack.at_reports(&stack.alice, &opaque).await;
    passed(&stack, &answer, "the genuine one");
}
