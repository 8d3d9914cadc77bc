//! Where admitted requests go.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;

use super::body::Sent;
use crate::tls::OutboundTls;

/// Idle connections kept for one upstream.
const IDLE_CONNECTIONS: usize = 256;
/// How long a connection may stand idle before it is closed. Shorter than what servers usually allow, so that they seldom close one
/// that we are about to use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a response's head, at most.
const HEAD_BYTES: u32 = 65_536;
/// Bytes of one HTTP/2 response that may wait here for its client. All together are not limited again: one client that does not read
/// would keep everybody else's responses from arriving on the connection that they share.
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How long an HTTP/2 connection may be silent before it is asked whether it still lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Why an upstream's URL is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    #[error("`{0}` is not an upstream: write `http://HOST:PORT` or `https://HOST:PORT`, without path, query or user")]
    Url(String),
    /// No name that a server could have.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// `https` without authorities, or authorities without `https`.
    #[error("`{0}`: an `https` upstream needs `upstream_ca_file`, and only such a one can use it")]
    Authorities(String),
}

#[derive(Clone, Debug)]
enum Client {
    Plain(Box<legacy::Client<HttpConnector, Sent>>),
    /// Made anew, without any of its connections, when the identity changes.
    Tls(Arc<ArcSwap<TlsClient>>),
}

type TlsClient = legacy::Client<HttpsConnector<HttpConnector>, Sent>;

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, and nothing else: known beforehand without TLS, agreed on with it.
    Http2,
}

impl Protocol {
    /// As messages name it.
    pub const fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 => Version::HTTP_2,
        }
    }
}

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub struct UpstreamSpec<'a> {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub url: &'a str,
    /// For `https` alone.
    pub tls: Option<Arc<OutboundTls>>,
    /// The name that it must prove, where that is not its host.
    pub server_name: Option<&'a str>,
    /// What is spoken.
    pub protocol: Protocol,
    /// How long a response's head may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a response's body may stand still.
    pub stall: Option<Duration>,
}

/// One upstream, with connections of its own: they are never shared with another route, whose TLS identity may differ.
#[derive(Debug)]
pub struct Upstream {
    client: Client,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    protocol: Protocol,
    timeout: Duration,
    stall: Option<Duration>,
}

impl Upstream {
    /// Must be made inside a Tokio runtime.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub fn new(spec: UpstreamSpec<'_>) -> Result<Self, UpstreamError> {
        let UpstreamSpec { url, tls, server_name, protocol, timeout, connect_timeout, stall } = spec;
        let wrong = || UpstreamError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(wrong()) };
        if parts.path_and_query.is_some_and(|path| path != "/") || authority.as_str().contains('@') || authority.host().is_empty()
        {
            return Err(wrong());
        }
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .retry_canceled_requests(false)
            .set_host(false)
            .http2_only(protocol == Protocol::Http2)
            .http1_max_buf_size(HEAD_BYTES as usize)
            .http2_max_header_list_size(HEAD_BYTES)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_INTERVAL)
            // A request that is given up leaves the connection idle, and no wiser.
            .http2_keep_alive_while_idle(true);
        let client = match (scheme == Scheme::HTTPS, tls) {
            (false, None) if scheme == Scheme::HTTP => Client::Plain(Box::new(builder.build(tcp))),
            (true, Some(tls)) => {
                tcp.enforce_http(false);
                let name =
                    |name: &str| ServerName::try_from(name.to_owned()).map_err(|_| UpstreamError::ServerName(name.to_owned()));
                let server_name = server_name.map(name).transpose()?;
                let make = move |config| builder.build(connector(config, tcp.clone(), server_name.clone(), protocol));
                let client = Arc::new(ArcSwap::from_pointee(make(tls.config())));
                let renewed = client.clone();
                tls.follow(move |state| renewed.store(Arc::new(make(state.config()))));
                Client::Tls(client)
            }
            (true, None) | (false, Some(_)) => return Err(UpstreamError::Authorities(url.to_owned())),
            (false, None) => return Err(wrong()),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        Ok(Self { client, scheme, authority, host, protocol, timeout, stall })
    }

    /// The scheme.
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// `HOST[:PORT]`.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The same, as `Host` says it.
    pub const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// What is spoken.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How long a response's head may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long a response's body may stand still.
    pub const fn stall(&self) -> Option<Duration> {
        self.stall
    }

    /// Whether it answers a `GET` of this path with 2xx within `patience`. Nothing of any request is in it.
    pub(super) async fn is_well(&self, path: &PathAndQuery, patience: Duration) -> bool {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path.clone());
        let Ok(uri) = uri.build() else { return false };
        let mut request = http::Request::new(Sent::Nothing);
        *request.uri_mut() = uri;
        *request.version_mut() = self.protocol.version();
        if self.protocol == Protocol::Http1 {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        let answer = tokio::time::timeout(patience, self.send(request)).await;
        matches!(answer, Ok(Ok(answer)) if answer.status().is_success())
    }

    /// Sends a request. Only `forward` does, and the health check.
    pub(super) fn send(&self, request: http::Request<Sent>) -> legacy::ResponseFuture {
        match &self.client {
            Client::Plain(client) => client.request(request),
            Client::Tls(client) => client.load().request(request),
        }
    }
}

/// Opens connections with this configuration, to servers that prove this name, or the one they are asked for under.
fn connector(
    config: Arc<rustls::ClientConfig>,
    tcp: HttpConnector,
    server_name: Option<ServerName<'static>>,
    protocol: Protocol,
) -> HttpsConnector<HttpConnector> {
    let mut config = Arc::unwrap_or_clone(config);
    // hyper-rustls sets the list itself, and panics over one that is there already.
    config.alpn_protocols.clear();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    let builder = match server_name {
        None => builder,
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
    };
    match protocol {
        Protocol::Http1 => builder.enable_http1().wrap_connector(tcp),
        Protocol::Http2 => builder.enable_http2().wrap_connector(tcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upstream_is_a_host_and_nothing_else() {
        let table = [
            ("http://127.0.0.1:8080", None),
            ("http://app.internal/", None),
            ("http://[::1]:8080", None),
            ("https://app.internal", Some(UpstreamError::Authorities("https://app.internal".into()))),
            ("http://app.internal/base", Some(UpstreamError::Url("http://app.internal/base".into()))),
            ("http://app.internal?x", Some(UpstreamError::Url("http://app.internal?x".into()))),
            ("http://u:p@app.internal", Some(UpstreamError::Url("http://u:p@app.internal".into()))),
            ("ftp://app.internal", Some(UpstreamError::Url("ftp://app.internal".into()))),
            ("app.internal:80", Some(UpstreamError::Url("app.internal:80".into()))),
            ("", Some(UpstreamError::Url(String::new()))),
        ];
        let timeout = Duration::from_secs(1);
        for (url, expected) in table {
            assert_eq!(
                Upstream::new(UpstreamSpec {
                    url,
                    tls: None,
                    server_name: None,
                    protocol: Protocol::Http1,
                    timeout,
                    connect_timeout: timeout,
                    stall: None,
                })
                .err(),
                expected,
                "{url}"
            );
        }
    }
}
