//! `symbolon sample-upstream`: an upstream to try a gateway with. It answers with what it received, and verifies the gateway's
//! signed assertion the way any upstream should.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use clap::Args;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::domain::SystemClock;
use crate::fetch;
use crate::jose::Algorithm;
use crate::resource::{AssertionVerifier, ExpectedAssertion, IssuerKeys, Moment};
use crate::tls;

/// The most of a request's body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Run an upstream that answers with what it received and verifies the gateway's assertion
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon sample-upstream --listen 127.0.0.1:8000 --gateway https://localhost:9443 --ca ca.pem --audience localhost:9443")]
pub struct SampleUpstream {
    /// Where to listen, plain HTTP
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The `iss` of the gateway's assertions; its keys are fetched from there
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// The certification authority of the gateway's server certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The `aud` that assertions must have
    #[arg(long)]
    audience: String,
    /// The header that carries the assertion
    #[arg(long, default_value = "X-Symbolon-Assertion")]
    header: String,
}

impl SampleUpstream {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let upstream = Upstream::new(&self.gateway, &self.ca, self.audience, self.header)?;
        let listener = TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        super::print(format!("listening on http://{}\n", self.listen))?;
        Arc::new(upstream).serve(listener).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The upstream as a value.
#[derive(Debug)]
pub struct Upstream {
    verifier: AssertionVerifier,
    clock: SystemClock,
    received: AtomicU64,
}

impl Upstream {
    /// An upstream behind the gateway that calls itself `gateway`.
    pub fn new(gateway: &str, ca: &std::path::Path, audience: String, header: String) -> anyhow::Result<Self> {
        let keys_url = format!("{gateway}/.well-known/symbolon/jwks.json");
        let keys_url = keys_url.parse().with_context(|| format!("gateway `{gateway}` is not a URL"))?;
        let header = header.parse().with_context(|| format!("`{header}` is not a header name"))?;
        let tls = tls::load_client_config(ca, None, &[], Arc::new(SystemClock::new()))?;
        let client = fetch::Client::new(tls, fetch::FetchLimits::default());
        let keys = IssuerKeys::published(keys_url, client, vec![Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]);
        let expected = ExpectedAssertion { header, ..ExpectedAssertion::new(gateway, &audience) };
        Ok(Self { verifier: AssertionVerifier::new(keys, expected), clock: SystemClock::new(), received: AtomicU64::new(0) })
    }

    /// How many requests have arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Answers every request.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let upstream = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let upstream = upstream.clone();
                    async move { Ok::<_, Infallible>(upstream.answer(request).await) }
                });
                let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service).await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
        self.received.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let body_bytes = Limited::new(body, MAX_BODY).collect().await.map(|body| body.to_bytes().len()).ok();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &head.headers {
            headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        let verified = match Moment::read(&self.clock) {
            Ok(moment) => self.verifier.verify(&head.method, &head.headers, moment).await,
            Err(error) => Err(error.into()),
        };
        let assertion = match verified {
            Ok(assertion) => json!({ "verified": true, "claims": assertion.claims() }),
            Err(error) => json!({ "verified": false, "problem": error.to_string() }),
        };
        let answer = json!({
            "method": head.method.as_str(),
            "target": head.uri.to_string(),
            "headers": headers,
            "body_bytes": body_bytes,
            "assertion": assertion,
        });
        let mut response = Response::new(Full::from(format!("{answer:#}\n")));
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        response
    }
}
