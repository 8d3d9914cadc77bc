//! The gateway's assertion at the upstream: the samples of the guide, in each language that is here, and the library's own verifier,
//! before the same forgeries.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::any;
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use symbolon::domain::{Clock, SystemClock};
use symbolon::fetch::{Client, FetchLimits};
use symbolon::jose::Algorithm;
use symbolon::resource::{AssertionLayer, AssertionVerifier, ExpectedAssertion, IssuerKeys, VerifiedAssertion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::forged_token::{Key, input};
use crate::harness::authority::write_private;
use crate::harness::{Call, Setup, Stack, left_out, token};

/// A deployment whose gateway signs with a key that this test has too. `/rust` leads to another upstream.
async fn start(port: u16) -> (Stack, Key) {
    let key = Key::generate();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&key.pkcs8));
    let written = "[gateway]\nissuer = \"{gateway}\"\n".to_owned();
    let route = format!(
        "[[route]]\nname = \"rust\"\nhost = \"{{gateway_authority}}\"\npath = \"/rust\"\nupstream = \"http://127.0.0.1:{port}\"\n\
         authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\n"
    );
    let setup = Setup {
        gateway_changes: vec![(written.clone(), format!("{written}assertion_key_file = \"assertion.pem\"\n"))],
        gateway: route,
        ..Setup::default()
    };
    let mut stack = setup.prepare("sqlite:symbolon.db".into()).await;
    write_private(&stack.path("assertion.pem"), &pem);
    stack.start_server().await;
    stack.start_gateway().await;
    (stack, key)
}

/// What each case says: its name, the method of the request, all values of the header, and whether it is good.
fn cases(key: &Key, genuine: &str) -> Vec<(&'static str, &'static str, Vec<String>, bool)> {
    let (header, claims) = (token::header(genuine), token::claims(genuine));
    let thief = Key::generate();
    let changed = |value: &Value, name: &str, to: Value| {
        let mut value = value.clone();
        match to {
            Value::Null => drop(value.as_object_mut().expect("an object").remove(name)),
            to => value[name] = to,
        }
        value.to_string()
    };
    let (h, c) = (header.to_string(), claims.to_string());
    let headed = |name, to| changed(&header, name, to);
    let claiming = |name, to| key.jwt(&h, &changed(&claims, name, to));
    let signature = genuine.rsplit_once('.').expect("a signature").1;
    let hmac = {
        let signed = input(&headed("alg", json!("HS256")), &c);
        let tag =
            aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key.point()), signed.as_bytes());
        format!("{signed}.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let one = |text: String| vec![text];
    vec![
        ("the gateway's", "GET", one(genuine.to_owned()), true),
        ("one of ours that is the same", "GET", one(key.jwt(&h, &c)), true),
        ("nothing", "GET", vec![], false),
        ("twice", "GET", vec![genuine.to_owned(), genuine.to_owned()], false),
        ("another method", "POST", one(genuine.to_owned()), false),
        ("two parts", "GET", one(genuine.rsplit_once('.').expect("a signature").0.to_owned()), false),
        ("four parts", "GET", one(format!("{genuine}.{signature}")), false),
        ("no JWT", "GET", one("forged".to_owned()), false),
        ("dots", "GET", one("..".to_owned()), false),
        ("no base64url", "GET", one(format!("!!{genuine}")), false),
        ("no signature", "GET", one(format!("{}.", input(&h, &c))), false),
        ("alg none", "GET", one(format!("{}.", input(&headed("alg", json!("none")), &c))), false),
        ("alg none, signed", "GET", one(key.jwt(&headed("alg", json!("none")), &c)), false),
        ("HMAC with the public key", "GET", one(hmac), false),
        ("another algorithm", "GET", one(key.jwt(&headed("alg", json!("ES384")), &c)), false),
        ("an access token", "GET", one(key.jwt(&headed("typ", json!("at+jwt")), &c)), false),
        ("any JWT", "GET", one(key.jwt(&headed("typ", json!("JWT")), &c)), false),
        ("no typ", "GET", one(key.jwt(&headed("typ", Value::Null), &c)), false),
        ("crit", "GET", one(key.jwt(&headed("crit", json!(["exp"])), &c)), false),
        ("an unknown key", "GET", one(thief.jwt(&headed("kid", json!("another")), &c)), false),
        ("no kid, another key", "GET", one(thief.jwt(&headed("kid", Value::Null), &c)), false),
        ("another key of that name", "GET", one(thief.jwt(&h, &c)), false),
        ("its own key", "GET", one(thief.jwt(&headed("jwk", thief.jwk("x")), &c)), false),
        ("a place of keys", "GET", one(thief.jwt(&headed("jku", json!("https://127.0.0.1:1/")), &c)), false),
        ("an altered payload", "GET", one(format!("{}.{signature}", input(&h, &changed(&claims, "sub", json!("root"))))), false),
        ("a signature of zeros", "GET", one(format!("{}.{}", input(&h, &c), "A".repeat(86))), false),
        ("half a signature", "GET", one(format!("{}.{}", input(&h, &c), &signature[..43])), false),
        ("another gateway", "GET", one(claiming("iss", json!("https://evil.example"))), false),
        ("no iss", "GET", one(claiming("iss", Value::Null)), false),
        ("another upstream's", "GET", one(claiming("aud", json!("other.example"))), false),
        ("several audiences", "GET", one(claiming("aud", json!([claims["aud"], "other.example"]))), false),
        ("no aud", "GET", one(claiming("aud", Value::Null)), false),
        ("expired", "GET", one(claiming("exp", json!(now - 10))), false),
        ("no exp", "GET", one(claiming("exp", Value::Null)), false),
        ("exp in words", "GET", one(claiming("exp", json!((now + 60).to_string()))), false),
        ("from the future", "GET", one(claiming("iat", json!(now + 900))), false),
        ("payload no object", "GET", one(key.jwt(&h, "[]")), false),
    ]
}

struct Sample {
    language: &'static str,
    /// What must succeed for the language to count as present.
    probe: &'static [&'static str],
    run: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const SAMPLES: [Sample; 5] = [
    Sample {
        language: "Python",
        probe: &["python3", "-c", "import cryptography"],
        run: &["python3", "verify.py"],
        environment: &[("SSL_CERT_FILE", "server-ca.pem")],
    },
    Sample {
        language: "JavaScript",
        probe: &["node", "--version"],
        run: &["node", "verify.mjs"],
        environment: &[("NODE_EXTRA_CA_CERTS", "server-ca.pem")],
    },
    Sample {
        language: "Go",
        probe: &["go", "version"],
        run: &["go", "run", "verify.go"],
        environment: &[("SSL_CERT_FILE", "server-ca.pem"), ("GO111MODULE", "off"), ("GOTOOLCHAIN", "local")],
    },
    Sample {
        language: "Java",
        probe: &[
            "keytool",
            "-importcert",
            "-noprompt",
            "-alias",
            "ca",
            "-file",
            "server-ca.pem",
            "-keystore",
            "ca.p12",
            "-storepass",
            "changeit",
        ],
        run: &["java", "-Djavax.net.ssl.trustStore=ca.p12", "-Djavax.net.ssl.trustStorePassword=changeit", "Verify.java"],
        environment: &[],
    },
    Sample {
        language: "Ruby",
        probe: &["ruby", "-ropenssl", "-rjson", "-e", "1"],
        run: &["ruby", "verify.rb"],
        environment: &[("SSL_CERT_FILE", "server-ca.pem")],
    },
];

/// Runs a program in the deployment's folder; `None` when it cannot be started or fails.
async fn output(dir: &Path, words: &[&str], environment: &[(&str, &str)], text: &str) -> Option<String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).env_clear().kill_on_drop(true);
    for name in ["PATH", "HOME", "GOCACHE"] {
        command.env(name, std::env::var_os(name).unwrap_or_default());
    }
    command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if std::env::var_os("GOCACHE").is_none() {
        command.env_remove("GOCACHE");
    }
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().expect("piped");
    // It may end without reading.
    let _ = stdin.write_all(text.as_bytes()).await;
    drop(stdin);
    let output =
        tokio::time::timeout(Duration::from_secs(180), child.wait_with_output()).await.expect("it ends").expect("it runs");
    if !output.status.success() {
        eprintln!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The guide's samples take the gateway's assertion, with the keys that the gateway publishes, and nothing that only looks like one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_samples_of_the_guide_take_the_gateways_word_and_no_other() {
    let (stack, key) = start(1).await;
    let access = stack.token(&stack.alice).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/verify");
    for entry in std::fs::read_dir(&folder).expect("samples").flatten() {
        std::fs::copy(entry.path(), stack.path(&entry.file_name().to_string_lossy())).expect("copied");
    }
    let (issuer, audience) = (stack.fill("{gateway}"), stack.gateway_authority.clone());
    let keys = format!("{issuer}/.well-known/symbolon/jwks.json");
    for sample in SAMPLES {
        if output(stack.dir.path(), sample.probe, &[], "").await.is_none() {
            left_out(&format!("the sample that verifies an assertion: {} is not here", sample.language));
            continue;
        }
        // Fresh, however long the sample before took.
        let answer = stack.caller(&stack.alice).send(&audience, &Call::get("/accounts?fresh").bearer(&access)).await;
        assert_eq!(answer.status, 200);
        let genuine = stack.upstream.last().values("x-symbolon-assertion")[0].to_owned();
        let mut claims = token::claims(&genuine);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        claims["exp"] = json!(now + 300);
        let long = key.jwt(&token::header(&genuine).to_string(), &claims.to_string());
        let cases = cases(&key, &long);
        let lines: String = cases.iter().map(|(_, method, values, _)| format!("{method} {}\n", values.join(" "))).collect();
        let words = [sample.run, &[keys.as_str(), issuer.as_str(), audience.as_str()]].concat();
        let said = output(stack.dir.path(), &words, sample.environment, &lines).await.expect(sample.language);
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said.len(), cases.len(), "{}: {said:#?}", sample.language);
        for ((what, _, _, good), said) in cases.iter().zip(&said) {
            match good {
                true => assert_eq!(serde_json::from_str::<Value>(said).expect(said), claims, "{}: {what}", sample.language),
                false => assert!(said.starts_with("refused: "), "{}: {what}: {said}", sample.language),
            }
        }
        // One that the gateway itself has signed, as it came.
        let said =
            output(stack.dir.path(), &words, sample.environment, &format!("GET {genuine}\n")).await.expect(sample.language);
        assert!(said.starts_with('{') || said == "refused: exp\n", "{}: {said}", sample.language);
    }
}

/// The library's layer before a service: whoever comes through the gateway is known by its word, whoever comes around it is refused.
#[tokio::test]
async fn an_upstream_in_rust_serves_nobody_who_comes_around_the_gateway() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (stack, key) = start(port).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let verifier = |gateway: &str| {
        let tls = symbolon::tls::load_client_config(&stack.path("server-ca.pem"), None, &[], Arc::clone(&clock)).expect("TLS");
        let url = format!("{gateway}/.well-known/symbolon/jwks.json").parse().expect("a URL");
        let keys = IssuerKeys::published(url, Client::new(tls, FetchLimits::default()), vec![Algorithm::ES256]);
        AssertionVerifier::new(keys, ExpectedAssertion::new(&stack.fill("{gateway}"), &stack.gateway_authority))
    };
    let tell = any(|Extension(caller): Extension<VerifiedAssertion>| async move {
        Json(json!({
            "subject": caller.subject(),
            "client": caller.client_id(),
            "scopes": caller.scopes().collect::<Vec<_>>(),
            "certificate": caller.certificate(),
            "route": caller.claim("route"),
            "id": caller.id().is_some(),
        }))
    });
    let router = Router::new()
        .route("/rust", tell.clone())
        .layer(AssertionLayer::new(verifier(&stack.fill("{gateway}")), Arc::clone(&clock)))
        // Its gateway's keys cannot be had.
        .merge(Router::new().route("/cut-off", tell).layer(AssertionLayer::new(verifier("https://localhost:1"), clock.clone())));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let access = stack.token(&stack.alice).await;
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &Call::get("/rust").bearer(&access)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({
        "subject": "alice", "client": "alice", "scopes": ["read", "write"], "certificate": stack.alice.thumbprint(), "route": "rust", "id": true,
    });
    assert_eq!(answer.json(), expected);

    stack.at_gateway(&stack.alice, &access).await;
    let genuine = stack.upstream.last().values("x-symbolon-assertion")[0].to_owned();
    let around = async |path: &str, method: &str, assertions: &[String]| {
        let fields: String = assertions.iter().map(|value| format!("X-Symbolon-Assertion: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n{fields}\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    for (what, method, assertions, good) in cases(&key, &genuine) {
        assert_eq!(around("/rust", method, &assertions).await, if good { "200" } else { "403" }, "{what}");
    }
    assert_eq!(around("/cut-off", "GET", &[genuine]).await, "503");
}
