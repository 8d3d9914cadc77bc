use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{Service, service_fn};
use url::Url;

use super::connect::{Resolver, check_uri};
use super::{FetchError, OutboundPolicy, OutboundRefusal};

/// Idle connections kept for one host.
const IDLE_CONNECTIONS: usize = 8;
/// How long a connection may stand idle before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a busy HTTP/2 connection is asked whether it still lives.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of an answer's head.
const HEAD_BYTES: u32 = 32_768;
/// Header fields of an answer.
const HEADERS: usize = 100;

type BoxError = Box<dyn Error + Send + Sync>;
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Seconds for name resolution, TCP and TLS together.
    pub connect_seconds: u32,
    /// Seconds from the start of a request to the last byte of its answer, connecting included.
    pub total_seconds: u32,
    /// Bytes of an answer's body, and of a form.
    pub body_bytes: u64,
}

impl Default for FetchLimits {
    /// 5 s to connect, 10 s in all, 1 MiB.
    fn default() -> Self {
        Self { connect_seconds: 5, total_seconds: 10, body_bytes: 1_048_576 }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status, whatever it is: a redirect is not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Makes requests as one TLS identity and keeps its connections. Clones share them.
///
/// Must be used inside a Tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its connections.
    http: Arc<ArcSwap<Pool>>,
    limits: FetchLimits,
    schemes: Schemes,
    policy: Option<Arc<OutboundPolicy>>,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// Which URLs are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schemes {
    Https,
    /// What is fetched carries its own signature.
    HttpToo,
}

impl Client {
    /// A client that trusts and identifies itself as `tls` says. Its ALPN list is replaced by `h2` and `http/1.1`.
    ///
    /// It connects wherever a URL says: for URLs that the operator wrote.
    pub fn new(tls: Arc<rustls::ClientConfig>, limits: FetchLimits) -> Self {
        Self::with(tls, limits, None, Schemes::Https)
    }

    /// The same for URLs that somebody else chose: it goes only where `policy` allows.
    pub fn guarded(tls: Arc<rustls::ClientConfig>, limits: FetchLimits, policy: OutboundPolicy) -> Self {
        Self::with(tls, limits, Some(Arc::new(policy)), Schemes::Https)
    }

    /// A client for what carries a signature of its own, such as revocation lists: `http` too, as authorities publish them (RFC 5280 §8
    /// advises against `https` there). Without `policy` it connects wherever a URL says: for URLs that the operator wrote.
    pub fn for_signed(tls: Arc<rustls::ClientConfig>, limits: FetchLimits, policy: Option<OutboundPolicy>) -> Self {
        Self::with(tls, limits, policy.map(Arc::new), Schemes::HttpToo)
    }

    fn with(tls: Arc<rustls::ClientConfig>, limits: FetchLimits, policy: Option<Arc<OutboundPolicy>>, schemes: Schemes) -> Self {
        let http = ArcSwap::from_pointee(pool(tls, limits, policy.clone(), schemes));
        Self { http: Arc::new(http), limits, schemes, policy }
    }

    /// Goes on as another TLS identity, with other servers to believe. Requests under way come to their end; the next one finds no
    /// connection from before. Clones follow.
    pub fn renew(&self, tls: Arc<rustls::ClientConfig>) {
        self.http.store(Arc::new(pool(tls, self.limits, self.policy.clone(), self.schemes)));
    }

    /// The same client, its connections shared, with another limit on a whole request: for a long poll.
    pub fn with_total_seconds(&self, total_seconds: u32) -> Self {
        Self { limits: FetchLimits { total_seconds, ..self.limits }, ..self.clone() }
    }

    /// The same client, its connections shared, with another limit on the bytes of an answer's body.
    pub fn with_body_bytes(&self, body_bytes: u64) -> Self {
        Self { limits: FetchLimits { body_bytes, ..self.limits }, ..self.clone() }
    }

    /// The limits in force.
    pub fn limits(&self) -> FetchLimits {
        self.limits
    }

    /// Fetches `url` with GET, asking for JSON.
    ///
    /// # Errors
    /// Whatever kept an answer from arriving whole. An answer of any status is returned as it is.
    pub async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.send(Method::GET, url, None, HeaderMap::new()).await
    }

    /// The same with more header fields.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_with(&self, url: &Url, headers: HeaderMap) -> Result<Fetched, FetchError> {
        self.send(Method::GET, url, None, headers).await
    }

    /// Fetches `url` with GET, asking for this media type.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_as(&self, url: &Url, accept: &'static str) -> Result<Fetched, FetchError> {
        let mut request = self.request(Method::GET, url, None)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        self.within_time(url, request).await
    }

    /// Posts `body` to `url` as this media type, asking for that one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_as(
        &self,
        url: &Url,
        (content_type, accept): (&'static str, &'static str),
        body: Vec<u8>,
    ) -> Result<Fetched, FetchError> {
        let mut request = self.request(Method::POST, url, None)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        *request.body_mut() = Full::from(body);
        self.within_time(url, request).await
    }

    /// Posts `fields` to `url` as `application/x-www-form-urlencoded`, asking for JSON.
    ///
    /// # Errors
    /// As [`Client::get`], and when the encoded form is larger than the limit on bodies.
    pub async fn post_form(&self, url: &Url, fields: &[(&str, &str)]) -> Result<Fetched, FetchError> {
        self.post_form_with(url, fields, HeaderMap::new()).await
    }

    /// The same with more header fields, which take the place of those that are sent anyway.
    ///
    /// # Errors
    /// As [`Client::post_form`].
    pub async fn post_form_with(&self, url: &Url, fields: &[(&str, &str)], headers: HeaderMap) -> Result<Fetched, FetchError> {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        if form.len() as u64 > self.limits.body_bytes {
            return Err(FetchError::FormTooLarge { url: shown(url), limit: self.limits.body_bytes });
        }
        self.send(Method::POST, url, Some(form), headers).await
    }

    /// Posts a form that somebody else has encoded, with these header fields beside or instead of those that are sent anyway.
    ///
    /// # Errors
    /// As [`Client::post_form`].
    pub async fn post_encoded(&self, url: &Url, form: String, headers: HeaderMap) -> Result<Fetched, FetchError> {
        if form.len() as u64 > self.limits.body_bytes {
            return Err(FetchError::FormTooLarge { url: shown(url), limit: self.limits.body_bytes });
        }
        self.send(Method::POST, url, Some(form), headers).await
    }

    async fn send(&self, method: Method, url: &Url, form: Option<String>, headers: HeaderMap) -> Result<Fetched, FetchError> {
        let mut request = self.request(method, url, form)?;
        request.headers_mut().extend(headers);
        self.within_time(url, request).await
    }

    async fn within_time(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError> {
        let seconds = self.limits.total_seconds;
        let timeout = || FetchError::Timeout { url: shown(url), seconds };
        tokio::time::timeout(Duration::from_secs(seconds.into()), self.exchange(url, request)).await.map_err(|_| timeout())?
    }

    async fn exchange(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError> {
        let answer = self.http.load().request(request);
        let response = answer.await.map_err(|error| self.refine(url, error))?;
        let (head, body) = response.into_parts();
        let body = self.read(url, body).await?;
        Ok(Fetched { status: head.status, headers: head.headers, body })
    }

    async fn read(&self, url: &Url, body: Incoming) -> Result<Bytes, FetchError> {
        let limit = self.limits.body_bytes;
        let too_large = || FetchError::BodyTooLarge { url: shown(url), limit };
        if body.size_hint().lower() > limit {
            return Err(too_large());
        }
        match Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(source) => Err(FetchError::Broken { url: shown(url), source }),
        }
    }

    fn request(&self, method: Method, url: &Url, form: Option<String>) -> Result<Request<Full<Bytes>>, FetchError> {
        let refused = |problem| FetchError::Url { url: shown(url), problem };
        match (self.schemes, url.scheme()) {
            (_, "https") | (Schemes::HttpToo, "http") => {}
            (Schemes::Https, _) => return Err(refused("only `https` is fetched")),
            (Schemes::HttpToo, _) => return Err(refused("only `http` and `https` are fetched")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it must not contain user information"));
        }
        let uri: Uri = url.as_str().parse().map_err(|_| refused("it is not a URI"))?;
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("symbolon/", env!("CARGO_PKG_VERSION"))));
        if let Some(form) = form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            *request.body_mut() = Full::from(form);
        }
        Ok(request)
    }

    fn refine(&self, url: &Url, error: legacy::Error) -> FetchError {
        if !error.is_connect() {
            return FetchError::Broken { url: shown(url), source: error.into() };
        }
        let authority = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        if let Some(refusal) = refusal_in(&error) {
            return FetchError::Forbidden { authority, refusal };
        }
        let timed_out = error.source().is_some_and(|cause| cause.is::<tokio::time::error::Elapsed>());
        match timed_out {
            true => FetchError::ConnectTimeout { authority, seconds: self.limits.connect_seconds },
            false => FetchError::Connect { authority, source: error.into() },
        }
    }
}

/// Connections as this identity. None is there yet.
fn pool(tls: Arc<rustls::ClientConfig>, limits: FetchLimits, policy: Option<Arc<OutboundPolicy>>, schemes: Schemes) -> Pool {
    let mut tls = Arc::unwrap_or_clone(tls);
    // hyper-rustls sets the list itself, and panics over one that is there already.
    tls.alpn_protocols.clear();
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new(policy.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let https = HttpsConnectorBuilder::new().with_tls_config(tls);
    let https = match schemes {
        Schemes::Https => https.https_only(),
        Schemes::HttpToo => https.https_or_http(),
    };
    let https = https.enable_all_versions().wrap_connector(tcp);
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(HEAD_BYTES as usize)
        .http1_max_headers(HEADERS)
        .http2_max_header_list_size(HEAD_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_INTERVAL)
        .build(within(https, limits.connect_seconds, policy))
}

/// The policy's objection, however deep the libraries have wrapped it.
fn refusal_in(error: &(dyn Error + 'static)) -> Option<OutboundRefusal> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref::<OutboundRefusal>()) {
            return Some(refusal.clone());
        }
        cause = error.source();
    }
    None
}

/// Connects by `connector` where `policy` allows, giving up after `seconds` over name resolution, TCP and TLS together.
fn within<C>(connector: C, seconds: u32, policy: Option<Arc<OutboundPolicy>>) -> Connector
where
    C: Service<Uri, Response = MaybeHttpsStream<TokioIo<TcpStream>>, Error = BoxError> + Clone + Send + Sync + 'static,
    C::Future: Future + Send + 'static,
{
    BoxCloneSyncService::new(service_fn(move |uri: Uri| {
        let mut connector = connector.clone();
        let allowed = check_uri(policy.as_deref(), &uri);
        async move {
            allowed?;
            let connect = async {
                std::future::poll_fn(|context| connector.poll_ready(context)).await?;
                connector.call(uri).await
            };
            match tokio::time::timeout(Duration::from_secs(seconds.into()), connect).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(elapsed.into()),
            }
        }
    }))
}

/// The URL as errors show it: without user information, and without the query, which may hold what is secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
