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
    /// The server ended the handshake with this alert.
    HandshakeRefused(rustls::AlertDescription),
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
        Err(error) => return alert(&error).map(Outcome::HandshakeRefused).ok_or_else(|| error.into()),
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
        Err(error) => {
            let ended = connection.await.ok().and_then(Result::err);
            let alert = ended.iter().chain([&error]).find_map(|error| alert(error));
            return alert.map(Outcome::HandshakeRefused).ok_or_else(|| error.into());
        }
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    connection.abort();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Outcome::Answer { status: head.status, headers: head.headers, body })
}

/// The alert that is somewhere among the causes of an error.
fn alert(error: &(dyn std::error::Error + 'static)) -> Option<rustls::AlertDescription> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()).find_map(
        |error| match error {
            rustls::Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        },
    )
}
