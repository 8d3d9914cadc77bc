//! One request over one connection, as a client with a given certificate sees it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// The longest an exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// What came back.
#[derive(Debug)]
pub enum Outcome {
    /// An answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: HeaderMap,
        /// Its body, when that is JSON.
        body: Value,
    },
    /// The server ended the handshake: what TLS says about it.
    HandshakeFailed(String),
}

/// A request to make.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Where to.
    pub url: &'a str,
    /// Header fields, spelled as given.
    pub headers: Vec<(&'a str, String)>,
    /// A form.
    pub form: Vec<(&'a str, &'a str)>,
}

/// Makes a request on a new connection.
pub async fn exchange(tls: Arc<rustls::ClientConfig>, call: &Call<'_>) -> anyhow::Result<Outcome> {
    tokio::time::timeout(PATIENCE, make(tls, call)).await.with_context(|| format!("{} did not answer in time", call.url))?
}

async fn make(tls: Arc<rustls::ClientConfig>, call: &Call<'_>) -> anyhow::Result<Outcome> {
    let url: Url = call.url.parse().with_context(|| call.url.to_owned())?;
    let host = url.host_str().context("a URL without host")?.to_owned();
    let port = url.port_or_known_default().context("a URL without port")?;
    let socket = TcpStream::connect(("127.0.0.1", port)).await.with_context(|| format!("cannot connect to {}", call.url))?;
    let name = ServerName::try_from(host.clone()).with_context(|| host.clone())?;
    let stream = match TlsConnector::from(tls).connect(name, socket).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Outcome::HandshakeFailed(error.to_string())),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.form).finish();
    let mut request = Request::builder()
        .method(call.method)
        .uri(&url[url::Position::BeforePath..])
        .header(header::HOST, format!("{host}:{port}"));
    if !call.form.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let response = match sender.send_request(request.body(Full::<Bytes>::from(body))?).await {
        Ok(response) => response,
        // In TLS 1.3 the server judges the client's proof after the client believes the handshake done.
        Err(error) => return handshake_alert(connection.await, error),
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    connection.abort();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Outcome::Answer { status: head.status, headers: head.headers, body })
}

fn handshake_alert(
    connection: Result<Result<(), hyper::Error>, tokio::task::JoinError>,
    error: hyper::Error,
) -> anyhow::Result<Outcome> {
    let ended = connection.ok().and_then(Result::err);
    for error in ended.iter().chain([&error]) {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(present) = cause {
            let alert = present
                .downcast_ref::<std::io::Error>()
                .and_then(|error| error.get_ref())
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::AlertReceived(alert)) = alert {
                return Ok(Outcome::HandshakeFailed(format!("the server's alert: {alert:?}")));
            }
            cause = present.source();
        }
    }
    Err(error.into())
}
