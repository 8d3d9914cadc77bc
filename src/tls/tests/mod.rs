//! Handshakes, between rustls as we set it up and a client that may misbehave.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::ManualClock;
use crate::pki::fixture::{Authority, Identity, NOW, date, self_signed};

use super::*;

mod resumption;

static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(NOW))
}

/// One listener's certificate authority and policies.
struct Listener {
    server_ca: Authority,
    policies: Arc<ArcSwap<PolicySet>>,
    acceptor: Acceptor,
}

fn host(ca: &Authority, name: &str, mode: ClientCertificateMode, hints: Vec<Vec<u8>>, epoch: u64) -> HostPolicy {
    let server = ca.server(&[name]);
    let identity = ServerIdentity { chain: vec![server.certificate.der().clone()], key: server.key_der() };
    let suites = SuiteProfile::Default;
    let spec = HostPolicySpec {
        names: vec![name.into()],
        identity,
        client_certificate: mode,
        certificate_source: crate::tls::CertificateSource::Handshake,
        anchor_sets: vec![],
        certificate_mode: None,
        tcp: None,
        mark: [0; 32],
        hints,
        suites,
    };
    HostPolicy::new(spec, epoch, clock()).expect("a policy")
}

impl Listener {
    fn new(hosts: &[(&str, ClientCertificateMode)], limits: AcceptLimits) -> Self {
        let server_ca = Authority::new("Server CA");
        let set = PolicySet::new(hosts.iter().map(|(name, mode)| host(&server_ca, name, *mode, vec![], 1)));
        let policies = Arc::new(ArcSwap::from_pointee(set.expect("a set")));
        let acceptor = Acceptor::new(Arc::clone(&policies), limits);
        Self { server_ca, policies, acceptor }
    }

    fn requesting() -> Self {
        Self::new(&[("localhost", ClientCertificateMode::Request)], AcceptLimits::default())
    }

    async fn connect(&self, client: &Arc<ClientConfig>, name: &str) -> (Result<ConnectionFacts, AcceptError>, io::Result<()>) {
        let (near, far) = duplex(64 * 1024);
        let serve = async {
            let mut accepted = self.acceptor.accept(far, SocketAddr::from(([127, 0, 0, 1], 1))).await?;
            // One exchange, so that tickets reach the client before the connection ends.
            let mut byte = [0u8; 1];
            let exchange = async {
                accepted.stream.read_exact(&mut byte).await?;
                accepted.stream.write_all(&byte).await?;
                accepted.stream.shutdown().await
            };
            exchange.await.map_err(AcceptError::Handshake)?;
            Ok(accepted.facts)
        };
        let ask = async {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let mut stream: TlsStream<DuplexStream> = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
            stream.write_all(b"x").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            if answer == b"x" { Ok(()) } else { Err(io::Error::other("no answer")) }
        };
        tokio::join!(serve, ask)
    }
}

#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Signs, and alters one bit of what it signed.
#[derive(Debug)]
struct Tampering<T>(T);

impl SigningKey for Tampering<Arc<dyn SigningKey>> {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered).map(|signer| Box::new(Tampering(signer)) as Box<dyn Signer>)
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Signer for Tampering<Box<dyn Signer>> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut signature = self.0.sign(message)?;
        if let Some(last) = signature.last_mut() {
            *last ^= 1;
        }
        Ok(signature)
    }
    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

fn signing_key(key: PrivateKeyDer<'static>) -> Arc<dyn SigningKey> {
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key")
}

fn shows(identity: &Identity) -> Option<CertifiedKey> {
    Some(CertifiedKey::new(vec![identity.certificate.der().clone()], signing_key(identity.key_der())))
}

fn client(listener: &Listener, versions: &[&'static SupportedProtocolVersion], shown: Option<CertifiedKey>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(listener.server_ca.certificate.der().clone()).expect("an authority");
    let config = ClientConfig::builder_with_details(suites::client_provider(), Arc::new(ClockTime(clock())))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Shows(shown.map(Arc::new))));
    Arc::new(config)
}

fn thumbprint(facts: &ConnectionFacts) -> Option<crate::domain::Thumbprint> {
    facts.peer.as_ref().expect("a readable certificate").as_ref().map(|peer| peer.thumbprint())
}

#[tokio::test]
async fn any_certificate_passes_and_is_told() {
    let listener = Listener::requesting();
    let ca = Authority::new("Client CA");
    let expired = ca.leaf("expired", |params| params.not_after = date(NOW.minus(crate::domain::Lifetime::from_seconds(9))));
    let critical = ca.leaf("critical", |params| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    for identity in [ca.client("alice"), self_signed("alice"), expired, critical] {
        for (versions, version) in [(TLS12, ProtocolVersion::TLSv1_2), (TLS13, ProtocolVersion::TLSv1_3)] {
            let (facts, answer) = listener.connect(&client(&listener, versions, shows(&identity)), "localhost").await;
            answer.expect("served");
            let facts = facts.expect("accepted");
            assert_eq!(thumbprint(&facts), Some(identity.certificate.thumbprint()));
            assert_eq!((facts.version, facts.resumed), (version, false));
            assert_eq!(facts.server_name.as_deref(), Some("localhost"));
        }
    }
    let (facts, answer) = listener.connect(&client(&listener, TLS13, None), "localhost").await;
    answer.expect("served");
    assert_eq!(thumbprint(&facts.expect("accepted")), None);
}

#[tokio::test]
async fn a_certificate_without_its_key_fails_the_handshake() {
    let listener = Listener::requesting();
    let ca = Authority::new("Client CA");
    let (alice, mallory) = (ca.client("alice"), ca.client("mallory"));
    let critical = ca.leaf("alice", |params| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    for versions in [TLS12, TLS13] {
        for victim in [&alice, &critical] {
            let chain = vec![victim.certificate.der().clone()];
            // rustls would notice a foreign key by itself if it were asked to; `CertifiedKey::new` does not ask.
            let stolen = CertifiedKey::new(chain.clone(), signing_key(mallory.key_der()));
            let corrupted = CertifiedKey::new(chain, Arc::new(Tampering(signing_key(victim.key_der()))));
            for shown in [stolen, corrupted] {
                let (facts, answer) = listener.connect(&client(&listener, versions, Some(shown)), "localhost").await;
                assert!(matches!(facts, Err(AcceptError::Handshake(_))), "{facts:?}");
                answer.expect_err("not served");
            }
        }
        // The same without tampering, so that it is the signature that made the difference.
        let (facts, _) = listener.connect(&client(&listener, versions, shows(&critical)), "localhost").await;
        facts.expect("accepted");
    }
}

#[tokio::test]
async fn a_version_1_certificate_is_for_the_judge() {
    let listener = Listener::requesting();
    let (certificate, key) = version_1();
    let identity = || Some(CertifiedKey::new(vec![certificate.clone()], signing_key(key.clone_key())));
    for versions in [TLS12, TLS13] {
        let (facts, answer) = listener.connect(&client(&listener, versions, identity()), "localhost").await;
        answer.expect("served");
        let facts = facts.expect("accepted");
        let peer = facts.peer.expect("readable").expect("shown");
        assert_eq!(peer.leaf().version(), 1);
        let tampering = Arc::new(Tampering(signing_key(key.clone_key())));
        let corrupted = CertifiedKey::new(vec![certificate.clone()], tampering);
        let (facts, _) = listener.connect(&client(&listener, versions, Some(corrupted)), "localhost").await;
        assert!(matches!(facts, Err(AcceptError::Handshake(_))), "{facts:?}");
    }
}

/// A version 1 certificate: the to-be-signed part of a version 3 one without its version and extensions. Its signature is
/// wrong, which nothing here looks at.
fn version_1() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let identity = self_signed("mtls");
    let der = identity.certificate.der();
    let (_, parsed) = X509Certificate::from_der(der).expect("a certificate");
    let sequence = |parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[0x30, 0x82], &length[..], &content].concat()
    };
    let subject = parsed.subject().as_raw();
    let validity_start = parsed.issuer().as_raw().as_ptr() as usize - der.as_ptr() as usize + parsed.issuer().as_raw().len();
    let validity_end = subject.as_ptr() as usize - der.as_ptr() as usize;
    let algorithm: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let tbs = sequence(&[
        &[0x02, 0x01, 0x02],
        algorithm,
        parsed.issuer().as_raw(),
        &der[validity_start..validity_end],
        subject,
        parsed.public_key().raw,
    ]);
    let certificate = sequence(&[&tbs, algorithm, &[0x03, 0x02, 0x00, 0x00]]);
    (certificate.into(), identity.key_der())
}

#[tokio::test]
async fn only_a_host_that_requires_a_certificate_fails_without_one() {
    use ClientCertificateMode::{None as Never, Request, Require};
    let listener = Listener::new(&[("never", Never), ("asked", Request), ("required", Require)], AcceptLimits::default());
    let alice = Authority::new("Client CA").client("alice");
    for versions in [TLS12, TLS13] {
        for (name, shown, expected) in [
            ("never", true, Some(false)),
            ("never", false, Some(false)),
            ("asked", true, Some(true)),
            ("asked", false, Some(false)),
            ("required", true, Some(true)),
            ("required", false, None),
        ] {
            let shown = if shown { shows(&alice) } else { None };
            let (facts, _) = listener.connect(&client(&listener, versions, shown), name).await;
            assert_eq!(facts.ok().map(|facts| thumbprint(&facts).is_some()), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn an_oversize_or_unreadable_chain_is_told_apart_from_none() {
    let ca = Authority::new("Client CA");
    let alice = ca.client("alice");
    let limits = PeerLimits { chain_certificates: 2, certificate_bytes: 1_000 };
    let hosts = [("localhost", ClientCertificateMode::Request)];
    let listener = Listener::new(&hosts, AcceptLimits { peer: limits, ..AcceptLimits::default() });
    let leaf = alice.certificate.der().clone();
    let junk = CertificateDer::from(vec![0x30, 0x80, 0xff]);
    let big = CertificateDer::from(vec![0u8; 1_001]);
    let with = |chain: Vec<CertificateDer<'static>>| Some(CertifiedKey::new(chain, signing_key(alice.key_der())));
    let trailing = CertificateDer::from([leaf.as_ref(), &[0]].concat());
    let table: [(Vec<CertificateDer<'static>>, Option<PeerCertificateError>); 4] = [
        (vec![leaf.clone(), junk.clone()], None),
        (vec![leaf.clone(), junk.clone(), junk], Some(PeerCertificateError::TooMany { count: 3, limit: 2 })),
        (vec![leaf, big], Some(PeerCertificateError::TooLarge { bytes: 1_001, limit: 1_000 })),
        (vec![trailing], None),
    ];
    for (position, (chain, expected)) in table.into_iter().enumerate() {
        let (facts, _) = listener.connect(&client(&listener, TLS13, with(chain)), "localhost").await;
        match (position, facts) {
            // Trailing bytes: the key cannot be read without doubt, so possession is not shown.
            (3, facts) => assert!(matches!(facts, Err(AcceptError::Handshake(_))), "{facts:?}"),
            (_, facts) => assert_eq!(facts.expect("accepted").peer.err(), expected),
        }
    }
}

#[tokio::test]
async fn a_name_that_nobody_answers_to_gets_an_alert() {
    let listener = Listener::requesting();
    let (facts, answer) = listener.connect(&client(&listener, TLS13, None), "elsewhere").await;
    assert!(matches!(facts, Err(AcceptError::UnknownName(Some(name))) if name == "elsewhere"));
    let error = answer.expect_err("not served").to_string();
    assert!(error.contains("UnrecognisedName") || error.contains("UnrecognizedName"), "{error}");
}

#[tokio::test]
async fn a_client_that_falls_silent_after_its_hello_shuts_nobody_out() {
    let limits = AcceptLimits { handshakes: 2, ..AcceptLimits::default() };
    let listener = Listener::new(&[("localhost", ClientCertificateMode::Request)], limits);
    let client = client(&listener, TLS13, None);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let (mut near, far) = duplex(64 * 1024);
        let name = ServerName::try_from("localhost").expect("a name");
        let mut half = rustls::ClientConnection::new(Arc::clone(&client), name).expect("a client");
        let mut hello = Vec::new();
        half.write_tls(&mut hello).expect("a hello");
        near.write_all(&hello).await.expect("sent");
        let acceptor = listener.acceptor.clone();
        stalled.push((near, tokio::spawn(async move { acceptor.accept(far, address).await.map(drop) })));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (facts, answer) = listener.connect(&client, "localhost").await;
    assert!(facts.is_ok() && answer.is_ok(), "{facts:?} {answer:?}");
    let (_, first) = stalled.remove(0);
    assert!(matches!(first.await.expect("no panic"), Err(AcceptError::GaveWay)));
    // Nobody needs the second turn: it lasts as long as the handshake may.
    assert!(!stalled[0].1.is_finished());
    stalled[0].1.abort();
}

#[tokio::test]
async fn a_silent_or_senseless_client_is_cut_off() {
    let limits = AcceptLimits { handshake: Duration::from_millis(50), handshakes: 1, peer: PeerLimits::default() };
    let listener = Listener::new(&[("localhost", ClientCertificateMode::None)], limits);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let (_silent, far) = duplex(1_024);
    assert!(matches!(listener.acceptor.accept(far, address).await, Err(AcceptError::Timeout(_))));
    let (mut senseless, far) = duplex(1_024);
    senseless.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    assert!(matches!(listener.acceptor.accept(far, address).await, Err(AcceptError::ClientHello(_))));
}

#[tokio::test]
async fn silence_takes_no_turn_but_a_stalled_handshake_does() {
    let limits = AcceptLimits { handshakes: 1, ..AcceptLimits::default() };
    let listener = Listener::new(&[("localhost", ClientCertificateMode::None)], limits);
    let config = client(&listener, TLS13, None);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let (_silent, far) = duplex(1_024);
    tokio::select! {
        biased;
        result = listener.acceptor.accept(far, address) => unreachable!("silent: {:?}", result.map(|_| ())),
        (facts, _) = listener.connect(&config, "localhost") => assert!(facts.is_ok()),
    }
    // Says hello, and then nothing more.
    let (mut stalling, far) = duplex(64 * 1024);
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").expect("a name");
    rustls::ClientConnection::new(Arc::clone(&config), name).expect("a client").write_tls(&mut hello).expect("written");
    stalling.write_all(&hello).await.expect("written");
    let second = tokio::time::timeout(Duration::from_millis(100), listener.connect(&config, "localhost"));
    tokio::select! {
        biased;
        result = listener.acceptor.accept(far, address) => unreachable!("stalling: {:?}", result.map(|_| ())),
        result = second => assert!(result.is_err(), "the only turn is taken"),
    }
    let (facts, _) = listener.connect(&config, "localhost").await;
    facts.expect("the turn is free again");
}

/// Writes down which authorities the server named.
#[derive(Debug, Default)]
struct Listens(std::sync::Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Listens {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().expect("not poisoned") = hints.iter().map(|hint| hint.to_vec()).collect();
        None
    }
    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn clients_are_told_the_authorities_of_the_host_they_asked_for() {
    let listener = Listener::requesting();
    let (ca, twin) = (Authority::new("Client CA"), Authority::new("Client CA"));
    let anchors = crate::pki::path::Anchors::new([ca.certificate.clone(), twin.certificate]).expect("anchors");
    let many: Vec<Vec<u8>> = (0..=0xffu8).map(|byte| vec![byte; 250]).collect();
    let mode = ClientCertificateMode::Request;
    let hosts = [("asked", anchors.subjects()), ("open", vec![]), ("many", many)];
    let hosts = hosts.map(|(name, hints)| host(&listener.server_ca, name, mode, hints, 2));
    listener.policies.store(Arc::new(PolicySet::new(hosts).expect("a set")));
    for versions in [TLS12, TLS13] {
        // Two authorities of one name are one hint; more than a message holds are none.
        for (name, expected) in [("asked", 1), ("open", 0), ("many", 0)] {
            let listens = Arc::new(Listens::default());
            let mut config = (*client(&listener, versions, None)).clone();
            config.client_auth_cert_resolver = Arc::clone(&listens) as Arc<dyn ResolvesClientCert>;
            let (facts, _) = listener.connect(&Arc::new(config), name).await;
            facts.expect("accepted");
            assert_eq!(listens.0.lock().expect("not poisoned").len(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn our_own_client_trusts_whom_it_was_told_to_trust() {
    let listener = Listener::requesting();
    let alice = Authority::new("Client CA").client("alice");
    let identity = ClientIdentity { chain: vec![alice.certificate.der().clone()], key: alice.key_der() };
    let authorities = [listener.server_ca.certificate.der().clone()];
    let config = client_config(authorities, Some(identity), &[b"http/1.1"], clock()).expect("a configuration");
    let (facts, answer) = listener.connect(&config, "localhost").await;
    answer.expect("served");
    let facts = facts.expect("accepted");
    assert_eq!((thumbprint(&facts), facts.alpn.as_deref()), (Some(alice.certificate.thumbprint()), Some(&b"http/1.1"[..])));
    let stranger = [Authority::new("Server CA").certificate.der().clone()];
    let config = client_config(stranger, None, &[], clock()).expect("a configuration");
    let (_, answer) = listener.connect(&config, "localhost").await;
    answer.expect_err("another authority of the same name");
    assert!(matches!(client_config([], None, &[], clock()), Err(ClientTlsError::NoAuthority)));
}
