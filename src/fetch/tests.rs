use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;

/// What a test's server does with a request's path.
enum Answer {
    Now(Response<Full<Bytes>>),
    Never,
}

struct Server {
    port: u16,
    authority: Authority,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()))
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Server {
    /// A server on a port of its own, that asks for a certificate and answers with what it saw.
    async fn start(alpn: &[&[u8]]) -> Self {
        let authority = Authority::new();
        let (chain, key) = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(authority.roots().into(), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(acceptor.clone(), tcp));
            }
        });
        Self { port, authority, connections }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("https://localhost:{}{path}", self.port)).unwrap()
    }

    fn client(&self, limits: FetchLimits) -> Client {
        let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Client::new(Arc::new(config.with_root_certificates(self.authority.roots()).with_no_client_auth()), limits)
    }

    fn client_with_certificate(&self) -> Client {
        let (chain, key) = self.authority.issue("gateway.example", ExtendedKeyUsagePurpose::ClientAuth);
        let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(self.authority.roots()).with_client_auth_cert(chain, key).unwrap();
        Client::new(Arc::new(config), FetchLimits::default())
    }
}

async fn serve(acceptor: TlsAcceptor, tcp: tokio::net::TcpStream) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let certified = tls.get_ref().1.peer_certificates().is_some();
    let service = service_fn(move |request: Request<Incoming>| async move {
        match answer(request, certified).await {
            Answer::Now(response) => Ok::<_, Infallible>(response),
            Answer::Never => std::future::pending().await,
        }
    });
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
}

async fn answer(request: Request<Incoming>, certified: bool) -> Answer {
    let (head, body) = request.into_parts();
    let text = |text: String| Answer::Now(Response::new(Full::from(text)));
    match head.uri.path() {
        "/echo" => {
            let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
            let field = |name: header::HeaderName| show(&head.headers, name);
            text(format!(
                "{} {} {:?} accept={} type={} certificate={certified} body={body}",
                head.method,
                head.uri.path_and_query().unwrap(),
                head.version,
                field(header::ACCEPT),
                field(header::CONTENT_TYPE),
            ))
        }
        "/moved" => Answer::Now(Response::builder().status(302).header(header::LOCATION, "/echo").body(Full::default()).unwrap()),
        "/broken" => Answer::Now(Response::builder().status(500).body(Full::from("sorry")).unwrap()),
        "/large" => text("x".repeat(1_000)),
        _ => Answer::Never,
    }
}

fn show(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn body(fetched: &Fetched) -> &str {
    std::str::from_utf8(&fetched.body).unwrap()
}

const HTTP1: &[&[u8]] = &[b"http/1.1"];
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

#[tokio::test]
async fn get_and_post_over_both_versions() {
    for (alpn, version) in [(HTTP1, "HTTP/1.1"), (BOTH, "HTTP/2.0")] {
        let server = Server::start(alpn).await;
        let client = server.client(FetchLimits::default());
        let got = client.get(&server.url("/echo?after=7#part")).await.unwrap();
        assert_eq!(got.status, StatusCode::OK);
        let expected = format!("GET /echo?after=7 {version} accept=application/json type= certificate=false body=");
        assert_eq!(body(&got), expected);
        let posted = client.post_form(&server.url("/echo"), &[("token", "a+b c&d"), ("hint", "é")]).await.unwrap();
        assert_eq!(
            body(&posted),
            format!(
                "POST /echo {version} accept=application/json type=application/x-www-form-urlencoded certificate=false \
                 body=token=a%2Bb+c%26d&hint=%C3%A9"
            )
        );
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection is used again");
    }
}

#[tokio::test]
async fn identity_of_the_configuration_is_shown() {
    let server = Server::start(BOTH).await;
    let got = server.client_with_certificate().get(&server.url("/echo")).await.unwrap();
    assert!(body(&got).contains("certificate=true"), "{}", body(&got));
}

#[tokio::test]
async fn an_answer_of_any_status_is_an_answer_and_redirects_are_not_followed() {
    let server = Server::start(BOTH).await;
    let client = server.client(FetchLimits::default());
    let moved = client.get(&server.url("/moved")).await.unwrap();
    assert_eq!((moved.status, show(&moved.headers, header::LOCATION).as_str()), (StatusCode::FOUND, "/echo"));
    let broken = client.get(&server.url("/broken")).await.unwrap();
    assert_eq!((broken.status, body(&broken)), (StatusCode::INTERNAL_SERVER_ERROR, "sorry"));
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (server, stranger) = (Server::start(BOTH).await, Server::start(BOTH).await);
    let error = stranger.client(FetchLimits::default()).get(&server.url("/echo")).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error:?}");
    let start = format!("cannot connect to `localhost:{}`: ", server.port);
    let text = error.to_string();
    assert!(text.starts_with(&start) && text.contains("invalid peer certificate"), "{text}");
}

#[tokio::test]
async fn another_name_is_not_trusted() {
    let server = Server::start(BOTH).await;
    let url = Url::parse(&format!("https://127.0.0.1:{}/echo", server.port)).unwrap();
    let error = server.client(FetchLimits::default()).get(&url).await.unwrap_err().to_string();
    assert!(error.contains("certificate not valid for name \"127.0.0.1\""), "{error}");
}

#[tokio::test]
async fn bodies_and_waits_are_limited() {
    let server = Server::start(BOTH).await;
    let limits = FetchLimits { connect_seconds: 1, total_seconds: 1, body_bytes: 999 };
    let client = server.client(limits);
    let large = client.get(&server.url("/large")).await.unwrap_err();
    assert_eq!(large.to_string(), format!("the answer of `{}` is larger than 999 bytes", server.url("/large")));
    let whole = server.client(FetchLimits { body_bytes: 1_000, ..limits }).get(&server.url("/large")).await.unwrap();
    assert_eq!(whole.body.len(), 1_000);
    let form = client.post_form(&server.url("/echo"), &[("token", &"x".repeat(1_000))]).await.unwrap_err();
    assert_eq!(form.to_string(), format!("the form for `{}` is larger than 999 bytes", server.url("/echo")));
    let never = client.get(&server.url("/never?secret=1")).await.unwrap_err();
    assert_eq!(never.to_string(), format!("`{}` did not answer within 1 s", server.url("/never")));
    let patient = client.with_total_seconds(2);
    let waited = tokio::time::timeout(Duration::from_millis(1_500), patient.get(&server.url("/never"))).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_while_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = Server::start(BOTH).await;
    let client = server.client(FetchLimits { connect_seconds: 1, total_seconds: 5, ..FetchLimits::default() });
    let error = client.get(&Url::parse(&format!("https://localhost:{port}/")).unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`localhost:{port}` did not accept a connection within 1 s"));
}

#[tokio::test]
async fn nobody_listening_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let server = Server::start(BOTH).await;
    let url = Url::parse(&format!("https://localhost:{free}/")).unwrap();
    let error = server.client(FetchLimits::default()).get(&url).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to `localhost:{free}`: ")), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn what_is_not_https_is_not_fetched() {
    let server = Server::start(BOTH).await;
    let client = server.client(FetchLimits::default());
    let refused = HashMap::from([
        ("http://localhost/", "`http://localhost/` cannot be fetched: only `https` is fetched"),
        ("file:///etc/passwd", "`file:///etc/passwd` cannot be fetched: only `https` is fetched"),
        ("https://me:secret@localhost/", "`https://localhost/` cannot be fetched: it must not contain user information"),
    ]);
    for (url, message) in refused {
        let error = client.get(&Url::parse(url).unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}
