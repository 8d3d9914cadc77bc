//! The gateway alone before an issuer of somebody else, whose tokens may say anything.

use std::time::{Duration, SystemTime};

use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcKeyPair;
use josekit::jws::{ES256, JwsHeader};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;
use super::{Answer, Authority, Call, Caller, Identity, Leaf, Upstream, configuration, ports};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "https://api.example/";

pub const CONFIGURATION: &str = r#"[gateway]
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
pub struct Issuer {
    pair: EcKeyPair,
    kid: &'static str,
}

impl Issuer {
    pub fn new(kid: &'static str) -> Self {
        Self { pair: ES256.generate_key_pair().expect("a key"), kid }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk: Jwk = self.pair.to_jwk_public_key();
        jwk.set_key_id(self.kid);
        jwk.set_key_use("sig");
        jwk.set_algorithm("ES256");
        serde_json::to_value(jwk.as_ref()).expect("JSON")
    }

    /// A token bound to a certificate, with these members changed; `null` removes one.
    pub fn token(&self, identity: &Identity, typ: &str, changes: &[(&str, Value)]) -> String {
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

pub struct Deployment {
    pub dir: TempDir,
    pub authority: String,
    pub nobody: Caller,
    pub upstream: Upstream,
    pub alice: Identity,
    pub mallory: Identity,
    /// Issues what clients show.
    pub client_ca: Authority,
    _process: Process,
}

impl Deployment {
    pub async fn start(keys: &[&Issuer]) -> Self {
        Self::start_with(CONFIGURATION, &[("jwks.json", keys)]).await
    }

    /// With this configuration, and files of keys.
    pub async fn start_with(configuration: &str, files: &[(&str, &[&Issuer])]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (server_ca, client_ca) = (Authority::new("Server CA"), Authority::new("Anyone's CA"));
        server_ca.issue(Leaf::server(&["localhost"])).write(dir.path());
        for (name, keys) in files {
            let jwks = json!({ "keys": keys.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>() });
            std::fs::write(dir.path().join(name), jwks.to_string()).expect("written");
        }
        std::fs::write(dir.path().join("client-ca.pem"), &client_ca.pem).expect("written");
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
            client_ca,
            _process: process,
        }
    }

    /// `GET` of a path as this caller.
    pub async fn get(&self, identity: Option<&Identity>, path: &str, token: &str) -> Answer {
        let caller = identity.map_or(self.nobody.clone(), |identity| self.nobody.clone().showing(identity));
        caller.send(&self.authority, &Call::get(path).bearer(token)).await
    }

    /// Status and private reason of a request with this token.
    pub async fn present(&self, identity: Option<&Identity>, token: &str) -> (u16, String) {
        self.verdict(&self.get(identity, "/", token).await).await
    }

    /// Status and private reason of an answer.
    pub async fn verdict(&self, answer: &Answer) -> (u16, String) {
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
