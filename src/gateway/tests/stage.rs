//! What a request through the gateway needs: authorities, an issuer, an upstream that writes every byte down.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails")]

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::*;
use crate::config::settings::Settings;
use crate::domain::{Cnf, Lifetime, ManualClock, Timestamp};
use crate::jose::Algorithm;
use crate::jose::jwk::JwkSet;
use crate::jose::random::SystemRandomness;
use crate::jose::sign::SigningKey;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest, IssuedCertificate};
use crate::pki::pem;
use crate::tls::{ClientCertificateMode, HostPolicy, HostPolicySpec, PeerCertificate, ServerIdentity, SuiteProfile};
use crate::token::AccessToken as Token;

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(super) const DAY: Lifetime = Lifetime::from_seconds(86_400);
pub(super) const ISSUER: &str = "https://as.example";
pub(super) const AUDIENCE: &str = "https://api.example";

/// The bytes of an audit trail.
#[derive(Clone, Default)]
pub(super) struct Trail(pub(super) Arc<Mutex<Vec<u8>>>);

impl io::Write for Trail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What every connection's bytes were, one entry a request.
pub(super) type Received = Arc<Mutex<Vec<String>>>;

pub(super) struct Stage {
    pub(super) gateway: Arc<Gateway>,
    pub(super) policies: PolicySet,
    pub(super) clock: Arc<ManualClock>,
    pub(super) issuer_key: SigningKey,
    pub(super) alice: Arc<PeerCertificate>,
    pub(super) mallory: Arc<PeerCertificate>,
    pub(super) received: Received,
    pub(super) trail: Trail,
    pub(super) audit: AuditSink,
    /// Holds the rest of an upstream's streaming answer back until told.
    pub(super) release: tokio::sync::watch::Sender<bool>,
}

pub(super) fn issue(authority: &DevelopmentAuthority, name: &str, usage: CertificateUsage) -> IssuedCertificate {
    let subject = format!("CN={name}").parse().expect("a name");
    let mut request = IssueRequest::new(subject, usage, DAY);
    request.dns = vec![name.to_owned()];
    authority.issue(&request, NOW, &SystemRandomness).expect("a certificate")
}

pub(super) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    io::Write::write_all(&mut file, text.as_bytes()).expect("room");
}

/// An upstream without any HTTP library: it writes down what comes and answers `ok`, or slowly where the path says so.
pub(super) async fn upstream(received: Received, release: tokio::sync::watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (received, mut release) = (Arc::clone(&received), release.clone());
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut buffer = [0u8; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    bytes.extend_from_slice(&buffer[..length]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some(end) = text.find("\r\n\r\n") else { continue };
                    if text.contains("transfer-encoding: chunked") && !text.ends_with("0\r\n\r\n") {
                        continue;
                    }
                    if let Some(length) = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next())
                        && text.len() < end + 4 + length.parse::<usize>().expect("a number")
                    {
                        continue;
                    }
                    received.lock().expect("no panic").push(text.clone());
                    bytes.clear();
                    let head =
                        "HTTP/1.1 200 OK\r\nX-Who-Calls: upstream\r\nX-App: yes\r\nConnection: x-app-hop\r\nX-App-Hop: 1\r\n";
                    if text.starts_with("GET /slow") {
                        let first = format!("{head}Content-Length: 10\r\n\r\nfirst");
                        stream.write_all(first.as_bytes()).await.expect("an open pipe");
                        let _ = release.wait_for(|released| *released).await;
                        let _ = stream.write_all(b"-last").await;
                    } else {
                        let whole = format!("{head}Content-Length: 2\r\n\r\nok");
                        stream.write_all(whole.as_bytes()).await.expect("an open pipe");
                    }
                }
            });
        }
    });
    address
}

impl Stage {
    pub(super) async fn set() -> Self {
        Self::set_with("", 64).await
    }

    /// `more` is added to the settings of the route.
    pub(super) async fn set_with(more: &str, queue: u32) -> Self {
        let trail = Trail::default();
        Self::set_writing(more, queue, trail.clone(), trail).await
    }

    pub(super) async fn set_writing(more: &str, queue: u32, writer: impl io::Write + Send + 'static, trail: Trail) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let clock = Arc::new(ManualClock::at(NOW));
        let shared: Arc<dyn Clock> = clock.clone();
        let authority = DevelopmentAuthority::generate("CA", NOW, DAY, &SystemRandomness).expect("an authority");
        let peer = |name: &str| {
            Arc::new(PeerCertificate::for_test(issue(&authority, name, CertificateUsage::Client).certificate, vec![]))
        };
        let issuer_key = SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key");
        let jwks = JwkSet::from_keys(vec![issuer_key.public_jwk().clone()]).to_json();
        std::fs::write(at("jwks.json"), jwks).expect("room");
        std::fs::write(at("ca.pem"), authority.certificate_pem()).expect("room");
        let own = issue(&authority, "gateway", CertificateUsage::Client);
        std::fs::write(at("gateway.pem"), &own.certificate_pem).expect("room");
        write_private(&at("gateway.key"), &own.key_pem);

        let received = Received::default();
        let (release, released) = tokio::sync::watch::channel(false);
        let upstream = upstream(Arc::clone(&received), released).await;
        let settings: Settings = toml::from_str(&format!(
            r#"
            [gateway]
            issuer = "https://gw.example"
            assertion_header = "X-Who-Calls"
            [authorization_server.as]
            issuer = "{ISSUER}"
            jwks_file = "jwks.json"
            ca_file = "ca.pem"
            client_id = "gateway"
            certificate_file = "gateway.pem"
            key_file = "gateway.key"
            {feed}
            [[route]]
            name = "api"
            host = "gw.example"
            path = "/"
            upstream = "http://{upstream}"
            authorization_server = "as"
            audience = "{AUDIENCE}"
            scopes = ["read"]
            token = "jwt"
            {route}
            "#,
            feed = if more.contains("revocation") { "revocation_feed = true" } else { "" },
            route = more,
        ))
        .expect("settings");
        let audit = AuditSink::to_stream(writer, queue).expect("a thread");
        let surroundings = Surroundings {
            base_dir: directory.path().to_owned(),
            clock: Arc::clone(&shared),
            randomness: Arc::new(SystemRandomness),
            audit: audit.clone(),
            anchors: Arc::new(crate::trust::CurrentAnchors::new(crate::trust::AnchorSets::default())),
            outbound: Arc::new(crate::tls::OutboundRegister::new(Arc::clone(&shared))),
        };
        let gateway = Arc::new(Gateway::from_settings(&settings, surroundings).expect("a gateway"));
        let policy = |name: &str, mode| {
            let certificate = issue(&authority, name, CertificateUsage::Server);
            let identity = ServerIdentity {
                chain: vec![certificate.certificate.der().clone()],
                key: pem::private_key(certificate.key_pem.as_bytes()).expect("a key"),
            };
            let spec = HostPolicySpec {
                names: vec![name.to_owned()],
                identity,
                client_certificate: mode,
                certificate_source: crate::tls::CertificateSource::Handshake,
                anchor_sets: vec![],
                certificate_mode: None,
                tcp: None,
                mark: [0; 32],
                hints: vec![],
                suites: SuiteProfile::Default,
            };
            HostPolicy::new(spec, 1, Arc::clone(&shared)).expect("a policy")
        };
        let policies = PolicySet::new([
            policy("gw.example", ClientCertificateMode::Request),
            policy("open.example", ClientCertificateMode::None),
        ])
        .expect("policies");
        let (alice, mallory) = (peer("alice"), peer("mallory"));
        Self { gateway, policies, clock, issuer_key, alice, mallory, received, trail, audit, release }
    }

    pub(super) fn token(&self) -> String {
        self.token_with(|_| {})
    }

    pub(super) fn token_with(&self, change: impl FnOnce(&mut Token)) -> String {
        let mut token = Token {
            issuer: ISSUER.parse().expect("an issuer"),
            subject: "alice".parse().expect("a subject"),
            client_id: "alice".parse().expect("a client"),
            token_id: "jti-1".parse().expect("an id"),
            family: "family-1".parse().expect("an id"),
            audience: vec![AUDIENCE.parse().expect("an audience")],
            scope: "read write".parse().expect("a scope"),
            issued_at: NOW,
            expires: NOW.plus(Lifetime::from_seconds(300)),
            cnf: Some(Cnf::certificate(self.alice.thumbprint())),
            actors: crate::domain::Actors::default(),
        };
        change(&mut token);
        self.issuer_key.sign_compact("at+jwt", &token.to_jwt_payload()).expect("a signature")
    }

    pub(super) fn facts(&self, peer: Option<&Arc<PeerCertificate>>) -> Arc<ConnectionFacts> {
        Arc::new(ConnectionFacts {
            peer_address: SocketAddr::from(([192, 0, 2, 7], 4711)),
            server_name: Some("gw.example".into()),
            policy: Arc::clone(self.policies.for_authority("gw.example").expect("a policy")),
            peer: Ok(peer.cloned()),
            peer_thumbprint: None,
            certificate_origin: peer.map(|_| crate::event::CertificateOrigin::Handshake),
            version: ProtocolVersion::TLSv1_3,
            alpn: None,
            resumed: false,
        })
    }

    /// Opens a connection as `peer`.
    pub(super) fn connect(self: &Arc<Self>, peer: Option<&Arc<PeerCertificate>>) -> tokio::io::DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (stage, facts) = (Arc::clone(self), self.facts(peer));
        tokio::spawn(async move {
            let trust = facts.peer.clone().expect("readable").map(|peer| Arc::new(crate::trust::PeerTrust::new(peer)));
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let request = request.map(|body| crate::wire::Arriving::new(body, &Arc::default()));
                let (stage, facts, trust) = (Arc::clone(&stage), Arc::clone(&facts), trust.clone());
                async move {
                    let answer = stage.gateway.handle(request, &facts, trust.as_ref(), &stage.policies).await;
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await;
        });
        client
    }

    /// Sends bytes on a new connection and reads until it is closed.
    pub(super) async fn exchange(self: &Arc<Self>, peer: Option<&Arc<PeerCertificate>>, bytes: &str) -> String {
        let mut connection = self.connect(peer);
        connection.write_all(bytes.as_bytes()).await.expect("an open pipe");
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut answer)).await;
        assert!(reading.is_ok(), "the connection stays open: {}", String::from_utf8_lossy(&answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn get(self: &Arc<Self>, peer: Option<&Arc<PeerCertificate>>, token: &str) -> String {
        let request =
            format!("GET /a HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        self.exchange(peer, &request).await
    }

    pub(super) fn received(&self) -> Vec<String> {
        std::mem::take(&mut *self.received.lock().expect("no panic"))
    }

    pub(super) async fn events(&self) -> Vec<serde_json::Value> {
        self.audit.flush().await.expect("written");
        let bytes = std::mem::take(&mut *self.trail.0.lock().expect("no panic"));
        String::from_utf8(bytes).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}
