//! Keys and introspection against a server of one's own, over TLS.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _};

use super::*;
use crate::domain::{Clock, Cnf, Issuer, Lifetime, ManualClock, Timestamp};
use crate::event::Reason;
use crate::fetch::{Client, FetchLimits};
use crate::jose::Algorithm;
use crate::jose::jwk::JwkSet;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest};
use crate::pki::pem;
use crate::tls::{
    ClientCertificateMode, HostPolicy, HostPolicySpec, PeerCertificate, ServerIdentity, SuiteProfile, client_config,
};
use crate::token::{AccessToken, introspection};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const DAY: Lifetime = Lifetime::from_seconds(86_400);

/// What the server says at each path, and how often it was asked.
#[derive(Default)]
struct Script {
    answers: HashMap<String, (StatusCode, String)>,
    asked: HashMap<String, usize>,
    /// Answers wait this long.
    delay: Duration,
}

struct Server {
    issuer: Issuer,
    server: Arc<AuthorizationServer>,
    script: Arc<Mutex<Script>>,
    clock: Arc<ManualClock>,
    authority: DevelopmentAuthority,
}

impl Server {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let shared: Arc<dyn Clock> = clock.clone();
        let authority = DevelopmentAuthority::generate("CA", NOW, DAY, &SystemRandomness).expect("an authority");
        let mut request = IssueRequest::new("CN=localhost".parse().expect("a name"), CertificateUsage::Server, DAY);
        request.dns = vec!["localhost".into()];
        let certificate = authority.issue(&request, NOW, &SystemRandomness).expect("a certificate");
        let spec = HostPolicySpec {
            names: vec!["localhost".into()],
            identity: ServerIdentity {
                chain: vec![certificate.certificate.der().clone()],
                key: pem::private_key(certificate.key_pem.as_bytes()).expect("a key"),
            },
            client_certificate: ClientCertificateMode::None,
            certificate_source: crate::tls::CertificateSource::Handshake,
            anchor_sets: vec![],
            certificate_mode: None,
            tcp: None,
            mark: [0; 32],
            hints: vec![],
            suites: SuiteProfile::Default,
        };
        let policy = HostPolicy::new(spec, 1, Arc::clone(&shared)).expect("a policy");
        let mut config = rustls::ServerConfig::clone(policy.server_config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = Arc::new(Mutex::new(Script::default()));
        let shared_script = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&shared_script));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&script)));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        let issuer: Issuer = format!("https://localhost:{port}").parse().expect("an issuer");
        let tls = client_config([authority.certificate().der().clone()], None, &[], shared).expect("TLS");
        let client = Client::new(tls, FetchLimits::default());
        let this =
            Self { server: Arc::new(AuthorizationServer::new(issuer.clone(), Some(client))), issuer, script, clock, authority };
        let issuer = this.issuer.as_str();
        this.say(
            "/.well-known/oauth-authorization-server",
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "introspection_endpoint": format!("{issuer}/introspect") }),
        );
        this
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("no panic")
    }

    fn say(&self, path: &str, document: serde_json::Value) {
        self.script().answers.insert(path.into(), (StatusCode::OK, document.to_string()));
    }

    fn fail(&self, path: &str) {
        self.script().answers.insert(path.into(), (StatusCode::SERVICE_UNAVAILABLE, String::new()));
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let set = JwkSet::from_keys(keys.iter().map(|key| key.public_jwk().clone()).collect());
        self.say("/jwks", serde_json::from_slice(&set.to_json()).expect("JSON"));
    }

    fn asked(&self, path: &str) -> usize {
        self.script().asked.get(path).copied().unwrap_or_default()
    }

    fn moment(&self) -> Moment {
        Moment::read(self.clock.as_ref()).expect("a clock")
    }

    fn verifier(&self, introspection: Option<Introspection>) -> TokenVerifier {
        let keys = IssuerKeys::fetched(Arc::clone(&self.server), vec![Algorithm::ES256]);
        TokenVerifier::new(self.issuer.clone(), keys, introspection, Lifetime::from_seconds(5))
    }

    fn introspection(&self, seconds: u32) -> Introspection {
        let client_id = "gateway".parse().expect("a client");
        Introspection::new(Arc::clone(&self.server), client_id, Lifetime::from_seconds(seconds))
    }

    fn access_token(&self, cnf: Option<Cnf>) -> AccessToken {
        AccessToken {
            issuer: self.issuer.clone(),
            subject: "alice".parse().expect("a subject"),
            client_id: "alice".parse().expect("a client"),
            token_id: "jti".parse().expect("an id"),
            family: "family".parse().expect("an id"),
            audience: vec!["https://api.example".parse().expect("an audience")],
            scope: "read".parse().expect("a scope"),
            issued_at: NOW,
            expires: NOW.plus(DAY).plus(DAY).plus(DAY),
            cnf,
            actors: crate::domain::Actors::default(),
        }
    }

    fn token(&self, key: &SigningKey) -> String {
        key.sign_compact("at+jwt", &self.access_token(None).to_jwt_payload()).expect("a signature")
    }
}

async fn answer(request: Request<Incoming>, script: Arc<Mutex<Script>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let delay = {
        let mut script = script.lock().expect("no panic");
        *script.asked.entry(path.clone()).or_default() += 1;
        script.delay
    };
    let _ = request.into_body().collect().await;
    // What is said is what is true when the question arrives.
    let (status, body) =
        script.lock().expect("no panic").answers.get(&path).cloned().unwrap_or((StatusCode::NOT_FOUND, String::new()));
    tokio::time::sleep(delay).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    Ok(response)
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key")
}

#[tokio::test]
async fn keys_roll_over_and_outages_are_survived() {
    let server = Server::start().await;
    let (old, new, unknown) = (key(), key(), key());
    let verifier = server.verifier(None);
    let verify = async |token: &str| {
        verifier.verify(token, Verification::Auto, server.moment()).await.map(|_| ()).map_err(|error| error.reason())
    };
    let (old_token, new_token, unknown_token) = (server.token(&old), server.token(&new), server.token(&unknown));

    // Down from the start: a fault of ours, not the token's.
    server.fail("/jwks");
    assert_eq!(verify(&old_token).await, Err(Reason::IssuerKeysUnavailable));
    server.publish(&[&old]);
    server.clock.advance(Lifetime::from_seconds(1));
    assert_eq!(verify(&old_token).await, Ok(()));
    let fetches = server.asked("/jwks");

    // A new key is found with the first token that names it.
    server.publish(&[&old, &new]);
    server.clock.advance(Lifetime::from_seconds(10));
    assert_eq!(verify(&new_token).await, Ok(()));
    assert_eq!(server.asked("/jwks"), fetches + 1);

    // A storm of unknown keys is one fetch every ten seconds.
    for _ in 0..20 {
        assert_eq!(verify(&unknown_token).await, Err(Reason::TokenKeyUnknown));
    }
    assert_eq!(server.asked("/jwks"), fetches + 1);
    server.clock.advance(Lifetime::from_seconds(10));
    let storm = (0..20).map(|_| verify(&unknown_token));
    futures_util::future::join_all(storm).await;
    assert_eq!(server.asked("/jwks"), fetches + 2);

    // The issuer goes away, or publishes nonsense: known keys stay, for a day.
    server.fail("/jwks");
    server.clock.advance(Lifetime::from_seconds(60));
    assert_eq!(verify(&unknown_token).await, Err(Reason::TokenKeyUnknown));
    assert_eq!(verify(&new_token).await, Ok(()));
    server.say("/jwks", json!({ "keys": [] }));
    server.clock.advance(Lifetime::from_seconds(60));
    assert_eq!(verify(&unknown_token).await, Err(Reason::TokenKeyUnknown));
    assert_eq!(verify(&new_token).await, Ok(()));
    server.clock.advance(DAY);
    assert_eq!(verify(&new_token).await, Err(Reason::IssuerKeysUnavailable));
}

#[tokio::test]
async fn a_withdrawn_key_takes_remembered_claims_with_it() {
    let server = Server::start().await;
    let (stolen, new) = (key(), key());
    server.publish(&[&stolen]);
    let verifier = server.verifier(None);
    let token = server.token(&stolen);
    let verify = async |token: &str| verifier.verify(token, Verification::Jwt, server.moment()).await.map(|_| ());
    for _ in 0..2 {
        assert!(verify(&token).await.is_ok());
    }
    server.publish(&[&new]);
    server.clock.advance(Lifetime::from_seconds(10));
    assert!(verify(&server.token(&new)).await.is_ok());
    assert_eq!(verify(&token).await.map_err(|error| error.reason()), Err(Reason::TokenKeyUnknown));
}

#[tokio::test]
async fn introspection_is_asked_every_time_and_shared_only_by_those_who_came_before() {
    let server = Server::start().await;
    let active = serde_json::Value::from(introspection::answer(&server.access_token(None).facts(None)));
    server.say("/introspect", active.clone());
    let verifier = server.verifier(Some(server.introspection(0)));
    let verify = async || {
        verifier
            .verify("sy_at_opaque", Verification::Auto, server.moment())
            .await
            .map(|token| token.source())
            .map_err(|error| error.reason())
    };
    assert_eq!(verify().await, Ok(Source::Introspection));
    assert_eq!(verify().await, Ok(Source::Introspection));
    assert_eq!(server.asked("/introspect"), 2);

    // Ten at once: the first is under way, the other nine share the next question.
    server.script().delay = Duration::from_millis(100);
    let revoke = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.say("/introspect", json!({ "active": false }));
        // The question under way was answered before; whoever asks now must hear of it.
        verify().await
    };
    let (first, others, late) = tokio::join!(verify(), futures_util::future::join_all((0..9).map(|_| verify())), revoke);
    assert_eq!(first, Ok(Source::Introspection));
    assert_eq!(late, Err(Reason::TokenInactive));
    assert!(others.iter().all(|answer| *answer == Ok(Source::Introspection) || *answer == Err(Reason::TokenInactive)));
    assert!(server.asked("/introspect") <= 4, "{}", server.asked("/introspect"));

    server.script().delay = Duration::ZERO;
    let table = [
        (StatusCode::OK, active.to_string(), Ok(Source::Introspection)),
        (StatusCode::OK, json!({ "active": false }).to_string(), Err(Reason::TokenInactive)),
        (StatusCode::OK, json!({ "active": "true" }).to_string(), Err(Reason::IntrospectionUnavailable)),
        (StatusCode::OK, "[]".into(), Err(Reason::IntrospectionUnavailable)),
        (StatusCode::UNAUTHORIZED, json!({ "error": "invalid_client" }).to_string(), Err(Reason::IntrospectionUnavailable)),
        (StatusCode::INTERNAL_SERVER_ERROR, String::new(), Err(Reason::IntrospectionUnavailable)),
    ];
    for (status, body, expected) in table {
        server.script().answers.insert("/introspect".into(), (status, body.clone()));
        assert_eq!(verify().await, expected, "{status} {body}");
    }
    for (cnf, reason) in [(json!({ "x": 1 }), Reason::CnfUnknown), (json!(null), Reason::CnfMalformed)] {
        let mut answer = active.clone();
        answer["cnf"] = cnf;
        server.say("/introspect", answer);
        assert_eq!(verify().await, Err(reason));
    }
}

#[tokio::test]
async fn a_kept_answer_lasts_as_long_as_it_may() {
    let server = Server::start().await;
    server.say("/introspect", introspection::answer(&server.access_token(None).facts(None)).into());
    let introspection = server.introspection(10);
    let ask = async || introspection.ask("token", [1; 32], server.moment()).await.expect("an answer").is_some();
    assert!(ask().await && ask().await);
    assert_eq!(server.asked("/introspect"), 1);
    server.say("/introspect", json!({ "active": false }));
    server.clock.advance(Lifetime::from_seconds(9));
    assert!(ask().await);
    server.clock.advance(Lifetime::from_seconds(1));
    assert!(!ask().await);
    assert!(!ask().await);
    assert_eq!(server.asked("/introspect"), 3);
}

/// Inactive tokens are remembered apart, and no longer than they may.
#[tokio::test]
async fn a_kept_refusal_lasts_as_long_as_it_may() {
    let server = Server::start().await;
    server.say("/introspect", json!({ "active": false }));
    let client_id = "gateway".parse().expect("a client");
    let lifetimes = [0, 5].map(Lifetime::from_seconds);
    let introspection =
        Introspection::with(Arc::clone(&server.server), client_id, ClientAuthentication::Certificate, None, lifetimes);
    let ask = async |token: u8| introspection.ask("token", [token; 32], server.moment()).await.expect("an answer").is_some();
    assert!(!ask(1).await && !ask(1).await);
    assert_eq!(server.asked("/introspect"), 1);
    server.say("/introspect", introspection::answer(&server.access_token(None).facts(None)).into());
    assert!(ask(2).await, "another token is another question");
    server.clock.advance(Lifetime::from_seconds(4));
    assert!(!ask(1).await);
    server.clock.advance(Lifetime::from_seconds(1));
    assert!(ask(1).await && ask(1).await);
    assert_eq!(server.asked("/introspect"), 4);
}

/// RFC 9701 §5: an answer must be a JWT of the server, for this client, made just now.
#[tokio::test]
async fn signed_answers_are_verified() {
    let server = Server::start().await;
    let (key, other) = (key(), key());
    server.publish(&[&key]);
    let keys = IssuerKeys::fetched(Arc::clone(&server.server), vec![Algorithm::ES256]);
    let client_id = "gateway".parse().expect("a client");
    let authentication = ClientAuthentication::Certificate;
    let lifetimes = [0, 0].map(Lifetime::from_seconds);
    let introspection = Introspection::with(Arc::clone(&server.server), client_id, authentication, Some(keys), lifetimes);
    let active = serde_json::Value::from(introspection::answer(&server.access_token(None).facts(None)));
    let good = json!({
        "iss": server.issuer.as_str(), "aud": "gateway", "iat": NOW.seconds(), "token_introspection": active,
    });
    let changed = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    const TYPE: &str = "token-introspection+jwt";
    let table = [
        (&key, TYPE, good.clone(), None),
        (&key, "application/token-introspection+jwt", changed("aud", json!(["x", "gateway"])), None),
        (&key, "at+jwt", good.clone(), Some("typ")),
        (&key, TYPE, changed("iss", json!("https://other.example")), Some("iss")),
        (&key, TYPE, changed("aud", json!("other")), Some("aud")),
        (&key, TYPE, changed("iat", json!(NOW.seconds() - 61)), Some("iat")),
        (&key, TYPE, changed("iat", json!(NOW.seconds() + 61)), Some("iat")),
        (&key, TYPE, changed("token_introspection", json!("x")), Some("token_introspection")),
        (&other, TYPE, good.clone(), Some("signature")),
    ];
    for (signer, typ, claims, wrong) in table {
        let jwt = signer.sign_compact(typ, claims.to_string().as_bytes()).expect("signed");
        server.script().answers.insert("/introspect".into(), (StatusCode::OK, jwt));
        match (introspection.ask("token", [1; 32], server.moment()).await, wrong) {
            (Ok(Some(facts)), None) => assert_eq!(facts.subject.as_ref().map(|subject| subject.as_str()), Some("alice")),
            (Err(IntrospectionError::Signed(what)), Some(wrong)) => assert_eq!(what, wrong),
            (Err(IntrospectionError::Signature(_)), Some("signature")) => {}
            (answer, wrong) => panic!("{wrong:?}: {answer:?}"),
        }
    }
    // Plain JSON is no answer where a signed one is wanted.
    server.say("/introspect", active);
    let answer = introspection.ask("token", [1; 32], server.moment()).await;
    assert!(matches!(answer, Err(IntrospectionError::Signature(_))), "{answer:?}");
}

#[tokio::test]
async fn the_layer_protects_any_service() {
    let server = Server::start().await;
    let key = key();
    server.publish(&[&key]);
    let peer = |name: &str| {
        let request = IssueRequest::new(format!("CN={name}").parse().expect("a name"), CertificateUsage::Client, DAY);
        let issued = server.authority.issue(&request, NOW, &SystemRandomness).expect("a certificate");
        Arc::new(PeerCertificate::for_test(issued.certificate, vec![]))
    };
    let (alice, mallory) = (peer("alice"), peer("mallory"));
    let claims = server.access_token(Some(Cnf::certificate(alice.thumbprint())));
    let token = key.sign_compact("at+jwt", &claims.to_jwt_payload()).expect("a signature");
    let protection = Protection {
        issuers: vec![AcceptedIssuer { name: "server".into(), verifier: Arc::new(server.verifier(None)), revocations: None }],
        verification: Verification::Jwt,
        binding: crate::binding::Policy::Strict,
        dpop: None,
        requirements: Requirements {
            scopes: "read".parse().expect("a scope"),
            ..Requirements::audience("https://api.example".parse().expect("an audience"))
        },
        resource_metadata: None,
    };
    let layer = layer::ResourceLayer::new(Arc::new(protection), server.clock.clone());
    let service = layer.layer(tower::service_fn(async |request: Request<()>| {
        let admission = request.extensions().get::<Admission>().expect("an admission");
        let subject = admission.facts().subject.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok::<_, Infallible>(Response::new(Bytes::from(subject)))
    }));
    let table = [
        (Some(&token), Some(&alice), 200, None),
        (Some(&token), Some(&mallory), 401, Some("invalid_token")),
        (Some(&token), None, 401, Some("invalid_token")),
        (None, Some(&alice), 401, None),
    ];
    for (token, peer, status, error) in table {
        let mut request = Request::new(());
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a value");
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(Arc::clone(peer));
        }
        let response = service.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status);
        let challenge = response.headers().get(http::header::WWW_AUTHENTICATE).map(|value| value.to_str().expect("ASCII"));
        assert_eq!(challenge.is_some(), status == 401);
        assert_eq!(challenge.is_some_and(|challenge| challenge.contains("error=")), error.is_some(), "{challenge:?}");
        if status == 200 {
            assert_eq!(response.into_body(), "alice");
        }
    }
}

/// The layer does DPoP: the proof is for the request as its caller addressed it, and for one request.
#[tokio::test]
async fn the_layer_takes_proofs() {
    use crate::binding::dpop::tests::Prover;
    use crate::binding::dpop::{DPOP_NONCE, Dpop, NonceRule, Nonces, ProofRules};
    let server = Server::start().await;
    let key = key();
    server.publish(&[&key]);
    let prover = Prover::new(Algorithm::ES256);
    let claims = server.access_token(Some(Cnf::dpop(prover.0.public_jwk().thumbprint())));
    let token = key.sign_compact("at+jwt", &claims.to_jwt_payload()).expect("a signature");
    let seconds = Lifetime::from_seconds;
    let rules =
        ProofRules { algorithms: vec![Algorithm::ES256], max_age: seconds(60), leeway: seconds(5), nonce: NonceRule::Required };
    let nonces = Nonces::of_process("service", &SystemRandomness, seconds(300)).expect("randomness");
    let acceptance = DpopAcceptance {
        dpop: Arc::new(Dpop::with_memory_since(NOW, rules, nonces)),
        memory: Arc::new(crate::binding::ReplayCache::new(100, server.clock.clone())),
    };
    let protection = Protection {
        issuers: vec![AcceptedIssuer { name: "server".into(), verifier: Arc::new(server.verifier(None)), revocations: None }],
        verification: Verification::Jwt,
        binding: crate::binding::Policy::Dpop,
        dpop: Some(Arc::new(acceptance)),
        requirements: Requirements {
            scopes: "read".parse().expect("a scope"),
            ..Requirements::audience("https://api.example".parse().expect("an audience"))
        },
        resource_metadata: None,
    };
    let protection = Arc::new(protection);
    let clock = server.clock.clone();
    let own = layer::ResourceLayer::new(Arc::clone(&protection), clock.clone());
    let public = layer::ResourceLayer::new(protection, clock).with_public_authority("api.example:8443");
    let send = async |layer: &layer::ResourceLayer, host: &str, proof: &str| {
        let inner = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
        let request = Request::get("/a?query").header("host", host).header("authorization", format!("DPoP {token}"));
        let request = request.header("dpop", proof).body(()).expect("a request");
        let response = layer.layer(inner).oneshot(request).await.expect("infallible");
        let text = |name: &http::HeaderName| {
            response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned()).unwrap_or_default()
        };
        (response.status().as_u16(), text(&http::header::WWW_AUTHENTICATE), text(&DPOP_NONCE))
    };
    let ath = crate::jose::base64url::encode(crate::jose::digest::sha256(token.as_bytes()));
    let prove = |url: &str, jti: &str, nonce: Option<&str>| {
        let claims = json!({
            "htm": "GET", "htu": url, "jti": jti, "ath": ath, "iat": NOW.seconds(), "nonce": nonce,
        });
        prover.prove(&json!({}), &claims)
    };
    let url = "https://api.example/a";
    let (status, challenge, nonce) = send(&own, "api.example", &prove(url, "1", None)).await;
    assert_eq!(status, 401);
    assert!(challenge.starts_with("DPoP ") && challenge.contains("use_dpop_nonce"), "{challenge}");
    let good = prove(url, "2", Some(&nonce));
    assert_eq!(send(&own, "other.example", &good).await.0, 401);
    assert_eq!(send(&own, "api.example", &good).await, (200, String::new(), String::new()));
    let (status, challenge, _) = send(&own, "api.example", &good).await;
    assert!(status == 401 && challenge.contains("invalid_dpop_proof"), "{challenge}");
    // Behind something that says another `Host`.
    let proof = prove("https://api.example:8443/a", "3", Some(&nonce));
    assert_eq!(send(&public, "10.0.0.1", &proof).await.0, 200);
    // In the second half of the nonce's life the next one comes with the answer.
    server.clock.advance(seconds(150));
    let (status, _, next) = send(&own, "api.example", &prove(url, "4", Some(&nonce))).await;
    assert!(status == 200 && !next.is_empty() && next != nonce);
}
