//! The gateway alone, before an issuer of somebody else: no Symbolon server, no database, an empty environment, and a folder with
//! nothing but its configuration, its certificate, and the issuer's keys.

use std::time::{Duration, SystemTime};

use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcKeyPair;
use josekit::jws::{ES256, JwsHeader};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::Process;
use crate::harness::{Authority, Call, Caller, Identity, Leaf, Upstream, configuration, ports};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example/";

const CONFIGURATION: &str = r#"[gateway]
issuer = "https://localhost:{port}"

[[listener]]
name = "gateway"
address = "127.0.0.1:{port}"
services = ["gateway"]

[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"

[authorization_server.other]
issuer = "https://issuer.example"
jwks_file = "jwks.json"
leeway_seconds = 0
ignored_cnf_members = ["x-known"]

[[route]]
name = "api"
host = "localhost:{port}"
upstream = "http://127.0.0.1:{upstream}"
authorization_server = "other"
audience = "https://api.example/"
scopes = ["read"]

[audit]
file = "gateway-audit.jsonl"
"#;

/// The other issuer's key.
struct Issuer {
    pair: EcKeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        Self { pair: ES256.generate_key_pair().expect("a key"), kid }
    }

    fn jwk(&self) -> Value {
        let mut jwk: Jwk = self.pair.to_jwk_public_key();
        jwk.set_key_id(self.kid);
        jwk.set_key_use("sig");
        jwk.set_algorithm("ES256");
        serde_json::to_value(jwk.as_ref()).expect("JSON")
    }

    /// A token bound to a certificate, with these members changed; `null` removes one.
    fn token(&self, identity: &Identity, typ: &str, changes: &[(&str, Value)]) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut claims = json!({
            "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "client_id": "alice", "scope": "read", "iat": now, "exp": now + 60,
            "jti": "0123456789abcdef", "cnf": { "x5t#S256": identity.thumbprint() },
        });
        for (name, value) in changes {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(*name)),
                value => claims[*name] = value.clone(),
            }
        }
        let mut header = JwsHeader::new();
        header.set_token_type(typ);
        header.set_key_id(self.kid);
        let signer = ES256.signer_from_jwk(&self.pair.to_jwk_private_key()).expect("a signer");
        josekit::jws::serialize_compact(json!(claims).to_string().as_bytes(), &header, &signer).expect("a token")
    }
}

struct Deployment {
    dir: TempDir,
    authority: String,
    nobody: Caller,
    upstream: Upstream,
    alice: Identity,
    mallory: Identity,
    _process: Process,
}

impl Deployment {
    async fn start(keys: &[&Issuer]) -> Self {
        Self::start_with(CONFIGURATION, &[("jwks.json", keys)]).await
    }

    /// With this configuration, and files of keys.
    async fn start_with(configuration: &str, files: &[(&str, &[&Issuer])]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (server_ca, client_ca) = (Authority::new("Server CA"), Authority::new("Anyone's CA"));
        server_ca.issue(Leaf::server(&["localhost"])).write(dir.path());
        for (name, keys) in files {
            let jwks = json!({ "keys": keys.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>() });
            std::fs::write(dir.path().join(name), jwks.to_string()).expect("written");
        }
        let upstream = Upstream::start().await;
        let port = ports::free();
        let values = [("port", port.to_string()), ("upstream", upstream.port.to_string())];
        let config = dir.path().join("gateway.toml");
        std::fs::write(&config, configuration::fill(configuration, &values)).expect("written");
        let process = Process::start("gateway", &config).await;
        Self {
            dir,
            authority: format!("localhost:{port}"),
            nobody: Caller::anonymous(&server_ca.certificate),
            upstream,
            alice: client_ca.issue(Leaf::client("alice")),
            mallory: client_ca.issue(Leaf::client("mallory")),
            _process: process,
        }
    }

    /// Status and private reason of a request with this token.
    async fn present(&self, identity: Option<&Identity>, token: &str) -> (u16, String) {
        let caller = identity.map_or(self.nobody.clone(), |identity| self.nobody.clone().showing(identity));
        let answer = caller.send(&self.authority, &Call::get("/").bearer(token)).await;
        if answer.status == 200 {
            return (200, String::new());
        }
        let id = answer.request_id();
        for _ in 0..1_000 {
            let trail = std::fs::read_to_string(self.dir.path().join("gateway-audit.jsonl")).unwrap_or_default();
            let events = trail.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(event) = events.into_iter().find(|event| event["request_id"] == id.as_str()) {
                return (answer.status, event["reason"].as_str().unwrap_or_default().to_owned());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("request {id} is not in the trail");
    }
}

/// A token of another issuer is admitted for the holder of its certificate, and for nobody else; everything that RFC 9068 §4 and RFC
/// 8705 §3 have a resource check is checked.
#[tokio::test]
async fn the_gateway_guards_another_issuers_resource() {
    let (issuer, second, stranger) = (Issuer::new("one"), Issuer::new("two"), Issuer::new("one"));
    let gateway = Deployment::start(&[&issuer, &second]).await;
    let (alice, mallory) = (gateway.alice.clone(), gateway.mallory.clone());
    let token = issuer.token(&alice, "at+jwt", &[]);

    assert_eq!(gateway.present(Some(&mallory), &token).await, (401, "binding_certificate_mismatch".to_owned()));
    assert_eq!(gateway.present(None, &token).await, (401, "binding_certificate_absent".to_owned()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let jkt = json!({ "jkt": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" });
    let both = json!({ "x5t#S256": alice.thumbprint(), "jkt": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" });
    let unknown = json!({ "x5t#S256": alice.thumbprint(), "x-new": "1" });
    let excepted = json!({ "x-known": "1" });
    let sha1 = json!({ "x5t#S256": &alice.thumbprint()[..27] });
    let table: Vec<(&str, String, u16, &str)> = vec![
        ("another key of the same name", stranger.token(&alice, "at+jwt", &[]), 401, "token_signature"),
        ("another iss", issuer.token(&alice, "at+jwt", &[("iss", json!("https://other.example"))]), 401, "token_issuer"),
        ("a longer iss", issuer.token(&alice, "at+jwt", &[("iss", json!("https://issuer.example/a"))]), 401, "token_issuer"),
        ("another aud", issuer.token(&alice, "at+jwt", &[("aud", json!("https://api.example"))]), 401, "token_audience"),
        ("no aud", issuer.token(&alice, "at+jwt", &[("aud", Value::Null)]), 401, "token_audience"),
        ("expired", issuer.token(&alice, "at+jwt", &[("exp", json!(now - 1)), ("iat", json!(now - 60))]), 401, "token_expired"),
        ("no exp", issuer.token(&alice, "at+jwt", &[("exp", Value::Null)]), 401, "token_claim"),
        ("exp as text", issuer.token(&alice, "at+jwt", &[("exp", json!((now + 60).to_string()))]), 401, "token_claim"),
        ("not yet", issuer.token(&alice, "at+jwt", &[("nbf", json!(now + 600))]), 401, "token_not_yet_valid"),
        ("an ID token", issuer.token(&alice, "JWT", &[]), 401, "token_type"),
        ("too little scope", issuer.token(&alice, "at+jwt", &[("scope", json!("write"))]), 403, "token_scope"),
        ("no cnf", issuer.token(&alice, "at+jwt", &[("cnf", Value::Null)]), 401, "cnf_absent"),
        ("an empty cnf", issuer.token(&alice, "at+jwt", &[("cnf", json!({}))]), 401, "cnf_malformed"),
        ("a cnf that is no object", issuer.token(&alice, "at+jwt", &[("cnf", json!("x"))]), 401, "cnf_malformed"),
        ("a truncated thumbprint", issuer.token(&alice, "at+jwt", &[("cnf", sha1)]), 401, "cnf_malformed"),
        ("a DPoP key", issuer.token(&alice, "at+jwt", &[("cnf", jkt)]), 401, "binding_proof_absent"),
        ("a certificate and a DPoP key", issuer.token(&alice, "at+jwt", &[("cnf", both)]), 401, "binding_proof_absent"),
        ("nothing but an excepted cnf member", issuer.token(&alice, "at+jwt", &[("cnf", excepted)]), 401, "cnf_malformed"),
        ("a cnf member nobody knows", issuer.token(&alice, "at+jwt", &[("cnf", unknown)]), 401, "cnf_unknown"),
    ];
    for (what, token, status, reason) in table {
        assert_eq!(gateway.present(Some(&alice), &token).await, (status, reason.to_owned()), "{what}");
    }
    gateway.upstream.assert_untouched();

    assert_eq!(gateway.present(Some(&alice), &token).await.0, 200);
    assert_eq!(gateway.present(Some(&alice), &second.token(&alice, "application/at+jwt", &[])).await.0, 200);
    let known = json!({ "x5t#S256": alice.thumbprint(), "x-known": "1" });
    assert_eq!(gateway.present(Some(&alice), &issuer.token(&alice, "at+jwt", &[("cnf", known)])).await.0, 200);
    let several = issuer.token(&alice, "AT+JWT", &[("aud", json!(["urn:x", AUDIENCE])), ("scope", json!("write read"))]);
    assert_eq!(gateway.present(Some(&alice), &several).await.0, 200);
    assert_eq!(gateway.upstream.requests().len(), 4);
    // No database, and nothing else that was not asked for.
    let mut files: Vec<String> = std::fs::read_dir(gateway.dir.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        ["gateway-audit.jsonl", "gateway.log", "gateway.sock", "gateway.toml", "jwks.json", "server-key.pem", "server.pem"]
    );
}

/// One route takes the tokens of several issuers, each verified with its own issuer's keys, whatever their names. One of them calls
/// all its JWTs `JWT`: its ID tokens are refused all the same.
#[tokio::test]
async fn one_route_takes_the_tokens_of_several_issuers() {
    let second = r#"authorization_server = ["other", "lax"]"#;
    let more = r#"
[authorization_server.lax]
issuer = "https://lax.example"
jwks_file = "lax.json"
token_types = ["JWT"]
client_id_claim = "azp"
scope_claim = "scp"
"#;
    let configuration = CONFIGURATION.replace(r#"authorization_server = "other""#, second) + more;
    // Of the same name, so that nothing but `iss` tells which one counts.
    let (strict, lax) = (Issuer::new("one"), Issuer::new("one"));
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&strict]), ("lax.json", &[&lax])]).await;
    let (alice, mallory) = (gateway.alice.clone(), gateway.mallory.clone());
    let of_lax = |typ: &str, changes: &[(&str, Value)]| {
        let mut members = vec![
            ("iss", json!("https://lax.example")),
            ("client_id", Value::Null),
            ("azp", json!("app")),
            ("scope", Value::Null),
            ("scp", json!(["read"])),
            ("jti", Value::Null),
        ];
        members.extend(changes.iter().cloned());
        lax.token(&alice, typ, &members)
    };
    let good = [strict.token(&alice, "at+jwt", &[]), of_lax("JWT", &[])];
    for token in &good {
        assert_eq!(gateway.present(Some(&alice), token).await.0, 200);
    }
    assert_eq!(gateway.upstream.requests().len(), 2);
    gateway.upstream.forget();
    for token in &good {
        assert_eq!(gateway.present(Some(&mallory), token).await, (401, "binding_certificate_mismatch".to_owned()));
    }
    let iss = |name: &str| ("iss", json!(name));
    let table = [
        ("the lax issuer in the strict one's name", lax.token(&alice, "at+jwt", &[]), "token_signature"),
        (
            "the strict issuer in the lax one's name",
            strict.token(&alice, "JWT", &[iss("https://lax.example")]),
            "token_signature",
        ),
        ("a third issuer", strict.token(&alice, "at+jwt", &[iss("https://third.example")]), "token_issuer"),
        ("no issuer", strict.token(&alice, "at+jwt", &[("iss", Value::Null)]), "token_issuer"),
        ("two issuers", strict.token(&alice, "at+jwt", &[("iss", json!([ISSUER, "https://lax.example"]))]), "token_issuer"),
        ("the lax type from the strict issuer", strict.token(&alice, "JWT", &[]), "token_type"),
        ("an ID token by its nonce", of_lax("JWT", &[("nonce", json!("n"))]), "token_type"),
        ("an ID token by its at_hash", of_lax("JWT", &[("at_hash", json!("h"))]), "token_type"),
        ("an ID token by its audience", of_lax("JWT", &[("aud", json!([AUDIENCE, "app"]))]), "token_type"),
        ("an ID token by what it calls itself", of_lax("JWT", &[("typ", json!("ID"))]), "token_type"),
        ("another type", of_lax("at+jwt", &[]), "token_type"),
        ("no client", of_lax("JWT", &[("azp", Value::Null)]), "token_claim"),
        ("not a JWT", "opaque".to_owned(), "token_malformed"),
    ];
    for (what, token, reason) in table {
        assert_eq!(gateway.present(Some(&alice), &token).await, (401, reason.to_owned()), "{what}");
    }
    gateway.upstream.assert_untouched();
}
