//! The only way to an upstream: with a request that was stripped and an admission.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{Body, Broken, Passing, Progress};
use super::certificate::{VERIFY, Verdict};
use super::certificate_header::Fields;
use super::strip::{Reserved, Stripped};
use super::tunnel::{Upgrade, is_websocket};
use super::upstream::{Protocol, Upstream};
use crate::domain::Clock;
use crate::event::Reason;
use crate::resource::{Admission, AdmissionEnded};
use crate::wire::{Arriving, Authority, CanonicalPath};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Why there is no answer of the upstream.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The request could not be written for the upstream. Cannot happen with a canonical path.
    #[error("the request could not be written: {0}")]
    Request(#[from] http::Error),
    /// Not connected, broken off, or not HTTP.
    #[error("the upstream failed: {0}")]
    Failed(#[from] hyper_util::client::legacy::Error),
    /// The client's body broke off or is not HTTP, so the upstream could not be sent all of it.
    #[error("the request's body broke off")]
    Upload,
    /// What the request was let through by ended while its body was passing.
    #[error("{0} while the request was passing")]
    Ended(AdmissionEnded),
    /// No response head in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// An upgrade that nobody asked for.
    #[error("the upstream switched protocols unasked")]
    Upgraded,
}

impl ForwardError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Request(_) => Reason::Defect,
            Self::Failed(error) => match malformed(error) {
                Some(()) => Reason::UpstreamMalformed,
                None => Reason::UpstreamUnavailable,
            },
            Self::Upload => Reason::BodyIncomplete,
            Self::Ended(ended) => ended.reason(),
            Self::Timeout => Reason::UpstreamUnavailable,
            Self::Upgraded => Reason::UpstreamMalformed,
        }
    }
}

/// Whether the upstream spoke, but not HTTP that we pass on.
fn malformed(error: &hyper_util::client::legacy::Error) -> Option<()> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<hyper::Error>().is_some_and(|cause| cause.is_parse()) {
            return Some(());
        }
        source = cause.source();
    }
    None
}

/// What the gateway itself says to the upstream: set after everything of that kind was stripped.
#[derive(Debug)]
pub struct Statement<'a> {
    /// The path that was matched and decided about.
    pub path: &'a CanonicalPath,
    /// The path that the upstream is asked for, where that is another.
    pub rewritten: Option<String>,
    /// The authority that was asked for.
    pub authority: &'a Authority,
    /// Who connected.
    pub peer_address: SocketAddr,
    /// The header of the assertion, and the assertion.
    pub assertion: (&'a HeaderName, HeaderValue),
    /// What the connection's certificate is worth, on routes that say so.
    pub certificate: Option<Verdict>,
    /// More fields: the certificate in the route's dialects, and the route's own.
    pub fields: Fields,
    /// The `Authorization` to pass on, where the route does.
    pub authorization: Option<HeaderValue>,
    /// What the client asks to switch to, where the route passes that on.
    pub upgrade: Upgrade,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Forwarded {
    /// For the client.
    pub response: Response<Body>,
    /// The upstream's side of the tunnel, where it has agreed to switch.
    pub upgraded: Option<OnUpgrade>,
}

/// Sends an admitted request to its upstream and returns the answer, both bodies streaming. Tried once.
///
/// # Errors
/// See [`ForwardError`]; all are faults on our side of the client.
pub async fn forward(
    request: Stripped<Request<Arriving>>,
    admission: Admission,
    upstream: &Upstream,
    statement: Statement<'_>,
    reserved: &Arc<Reserved>,
    clock: &Arc<dyn Clock>,
) -> Result<Forwarded, ForwardError> {
    let (mut head, body) = request.into_inner().into_parts();
    head.uri = target(upstream, statement.rewritten.as_deref().unwrap_or(statement.path.as_str()), head.uri.query())?;
    head.extensions.clear();
    // What the client spoke is its own hop's business.
    head.version = upstream.protocol().version();
    let headers = &mut head.headers;
    join_cookies(headers)?;
    match upstream.protocol() {
        Protocol::Http1 => drop(headers.insert(HOST, upstream.host().clone())),
        // The authority stands in the target. Servers of gRPC want to hear that trailers are read.
        Protocol::Http2 => drop(headers.insert(TE, HeaderValue::from_static("trailers"))),
    }
    statement.upgrade.write(headers);
    headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(statement.peer_address.ip().to_string()).map_err(http::Error::from)?);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(X_FORWARDED_HOST, HeaderValue::try_from(statement.authority.as_str()).map_err(http::Error::from)?);
    let (name, assertion) = statement.assertion;
    headers.insert(name, assertion);
    if let Some(verdict) = statement.certificate.and_then(Verdict::header_value) {
        headers.insert(VERIFY, verdict);
    }
    for (name, value) in statement.fields {
        headers.insert(name, value);
    }
    if let Some(authorization) = statement.authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    // hyper would leave a body away that comes with a method that seldom has one and with a length that is not known.
    if upstream.protocol() == Protocol::Http1 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // A body that is still arriving keeps the upstream's clock from running.
    let progress = (!body.is_end_stream()).then(|| Progress::new(Arc::clone(clock)));
    let body = Passing::request(body, admission.clone(), Arc::clone(clock), Arc::clone(reserved), progress.clone());
    let answer = upstream.send(Request::from_parts(head, body));
    let answer = match within(upstream, answer, progress.as_ref()).await {
        Err(ForwardError::Failed(error)) => match progress.as_ref().and_then(Progress::broken) {
            Some(Broken::Client) => return Err(ForwardError::Upload),
            Some(Broken::Ended(ended)) => return Err(ForwardError::Ended(ended)),
            None => return Err(ForwardError::Failed(error)),
        },
        answer => answer?,
    };
    let mut answer = answer;
    let upgraded = match (answer.status(), statement.upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Upgrade::WebSocket) if is_websocket(answer.headers()) => {
            Some(hyper::upgrade::on(&mut answer))
        }
        (StatusCode::SWITCHING_PROTOCOLS, _) => return Err(ForwardError::Upgraded),
        _ => None,
    };
    let mut response = answer.map(|body| match &upgraded {
        Some(_) => Body::Whole(None),
        None => Body::Passing(Box::new(Passing::response(body, admission, Arc::clone(clock), Arc::clone(reserved)))),
    });
    reserved.strip_response(&mut response);
    if upgraded.is_some() {
        statement.upgrade.write(response.headers_mut());
    }
    *response.version_mut() = Version::HTTP_11;
    response.extensions_mut().clear();
    Ok(Forwarded { response, upgraded })
}

/// HTTP/2 may spread a cookie over several fields; behind it there must be one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), http::Error> {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1 {
        let whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..])).map_err(http::Error::from)?;
        headers.insert(COOKIE, whole);
    }
    Ok(())
}

fn target(upstream: &Upstream, path: &str, query: Option<&str>) -> Result<Uri, http::Error> {
    let path_and_query = match query {
        None => PathAndQuery::try_from(path)?,
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}"))?,
    };
    Uri::builder()
        .scheme(upstream.scheme().clone())
        .authority(upstream.authority().clone())
        .path_and_query(path_and_query)
        .build()
}

/// Waits for the response's head, as long as the upstream may take from when the request's body last moved.
async fn within(
    upstream: &Upstream,
    answer: hyper_util::client::legacy::ResponseFuture,
    progress: Option<&Progress>,
) -> Result<Response<Incoming>, ForwardError> {
    let timeout = upstream.timeout();
    let Some(progress) = progress else {
        return Ok(tokio::time::timeout(timeout, answer).await.map_err(|_| ForwardError::Timeout)??);
    };
    tokio::pin!(answer);
    loop {
        let left = timeout.saturating_sub(progress.idle());
        if left.is_zero() {
            return Err(ForwardError::Timeout);
        }
        if let Ok(answer) = tokio::time::timeout(left, &mut answer).await {
            return Ok(answer?);
        }
    }
}
