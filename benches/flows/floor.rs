//! The floors: the least that has to be done for the same bytes on the wire, by the same libraries.
//!
//! Each is hyper on tokio-rustls with client certificates verified by webpki: no framework, no OAuth, no audit, no metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs as provider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::answer::{PublicKey, SIGNATURE_TEXT, SIGNED};
use crate::process;

/// The listeners to open, and the files for their TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub certificate: String,
    pub key: String,
    pub client_authorities: String,
    pub floors: Vec<Kind>,
}

/// What one listener does. Lengths in bytes; those of answers are over the wire, with the head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Answers the same each time.
    Constant { answer: usize },
    /// Signs once for each answer.
    Signing { answer: usize, payload: usize },
    /// Passes on, unchanged and unchecked.
    Proxy { upstream: SocketAddr },
}

/// Where the listeners are, in the order of the orders, and the key that signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    pub addresses: Vec<SocketAddr>,
    pub key: PublicKey,
}

type Body = Either<Full<Bytes>, Incoming>;

struct Floor {
    kind: Kind,
    signer: Arc<EcdsaKeyPair>,
    randomness: SystemRandom,
    payload: Vec<u8>,
    body: Bytes,
    padding: String,
    client: Client<HttpConnector, Incoming>,
}

/// Runs as the floors' process.
pub fn run() -> anyhow::Result<()> {
    let orders: Orders = process::orders()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ready = runtime.block_on(start(orders))?;
    process::answer(&ready)?;
    process::until_released();
    Ok(())
}

async fn start(orders: Orders) -> anyhow::Result<Ready> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(&orders)?));
    let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("a key")?;
    let key = PublicKey(signer.public_key().as_ref().to_vec());
    let signer = Arc::new(signer);
    let mut addresses = Vec::new();
    for kind in orders.floors {
        let floor = Arc::new(Floor::new(kind, signer.clone())?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (floor, acceptor) = (floor.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request| {
                        let floor = floor.clone();
                        async move { floor.answer(request).await }
                    });
                    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }
    Ok(Ready { addresses, key })
}

fn tls(orders: &Orders) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&orders.client_authorities)?)?;
    let mut provider = provider::default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    let provider = Arc::new(provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = CertificateDer::pem_file_iter(&orders.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&orders.key)?)?;
    // As many tickets over the wire as any server sends that wants sessions resumed.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What hyper writes before a body whose length has this many digits.
fn head_length(digits: usize) -> usize {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: \r\n\r\n".len() + digits + date
}

fn body_length(answer: usize) -> anyhow::Result<usize> {
    (1..=5usize)
        .filter_map(|digits| Some((digits, answer.checked_sub(head_length(digits))?)))
        .find(|(digits, body)| body.to_string().len() == *digits)
        .map(|(_, body)| body)
        .with_context(|| format!("no body makes an answer of {answer} bytes"))
}

impl Floor {
    fn new(kind: Kind, signer: Arc<EcdsaKeyPair>) -> anyhow::Result<Self> {
        let (body, payload) = match &kind {
            Kind::Constant { answer } => (body_length(*answer)?, 0),
            Kind::Signing { answer, payload } => (body_length(*answer)?, *payload),
            Kind::Proxy { .. } => (0, 0),
        };
        let around = SIGNED.0.len() + SIGNATURE_TEXT + SIGNED.1.len() + 2;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        Ok(Self {
            kind,
            signer,
            randomness: SystemRandom::new(),
            payload: vec![b'x'; payload],
            body: vec![b'x'; body].into(),
            padding: "x".repeat(body.saturating_sub(around)),
            client,
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let body = match &self.kind {
            Kind::Proxy { upstream } => return Ok(self.pass_on(request, *upstream).await),
            Kind::Constant { .. } => {
                let _ = request.into_body().collect().await;
                self.body.clone()
            }
            Kind::Signing { .. } => {
                let _ = request.into_body().collect().await;
                self.signed()
            }
        };
        let mut response = Response::new(Either::Left(Full::from(body)));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        Ok(response)
    }

    fn signed(&self) -> Bytes {
        let mut body = String::with_capacity(self.body.len());
        body.push_str(SIGNED.0);
        if let Ok(signature) = self.signer.sign(&self.randomness, &self.payload) {
            URL_SAFE_NO_PAD.encode_string(signature, &mut body);
        }
        body.push_str(SIGNED.1);
        body.push_str(&self.padding);
        body.push_str("\"}");
        body.into()
    }

    async fn pass_on(&self, mut request: Request<Incoming>, upstream: SocketAddr) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = format!("http://{upstream}{path}").parse() {
            *request.uri_mut() = uri;
        }
        match self.client.request(request).await {
            Ok(response) => response.map(Either::Right),
            Err(error) => {
                let mut response = Response::new(Either::Left(Full::from(error.to_string())));
                *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                response
            }
        }
    }
}

/// The upstream behind gateway and proxy: it answers the same each time to whoever shows a token or an assertion.
pub mod upstream {
    use super::*;

    /// Bytes of its body.
    const BODY: usize = 256;

    /// Where it is and what it answers.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct Ready {
        pub address: SocketAddr,
        pub body: String,
    }

    /// Runs as the upstream's process.
    pub fn run() -> anyhow::Result<()> {
        let (): () = process::orders()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let body = format!("{{\"padding\":\"{}\"}}", "x".repeat(BODY - 14));
            process::answer(&Ready { address: listener.local_addr()?, body: body.clone() })?;
            std::thread::spawn(|| {
                process::until_released();
                std::process::exit(0);
            });
            let body = Bytes::from(body);
            loop {
                let (socket, _) = listener.accept().await?;
                let _ = socket.set_nodelay(true);
                let body = body.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let headers = request.headers();
                        let shown = headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-symbolon-assertion");
                        let mut response = Response::new(Full::<Bytes>::from(body.clone()));
                        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                        if !shown {
                            *response.status_mut() = http::StatusCode::FORBIDDEN;
                        }
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        })
    }
}
