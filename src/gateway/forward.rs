//! The only way to an upstream: with a request that was stripped and an admission.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::REQUEST_ID;
use super::body::{Body, Broken, Passing, Progress, Sent};
use super::certificate::{VERIFY, Verdict};
use super::certificate_header::Fields;
use super::strip::{Reserved, Stripped};
use super::tunnel::{Upgrade, is_websocket};
use super::upstream::{Protocol, Upstream};
use super::upstreams::{Outcome, Upstreams};
use crate::domain::{Clock, RequestId};
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
    /// The client stopped sending its body, so the upstream had nothing to answer.
    #[error("the request's body stood still for too long")]
    UploadStalled,
    /// What the request was let through by ended while its body was passing.
    #[error("{0} while the request was passing")]
    Ended(AdmissionEnded),
    /// Every upstream is set aside.
    #[error("every upstream is set aside")]
    SetAside,
    /// No response head in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// An answer with a length and a transfer coding.
    #[error("the upstream's answer has two lengths")]
    Length,
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
            Self::Upload | Self::UploadStalled => Reason::BodyIncomplete,
            Self::Ended(ended) => ended.reason(),
            Self::SetAside => Reason::UpstreamSetAside,
            Self::Timeout => Reason::UpstreamUnavailable,
            Self::Length | Self::Upgraded => Reason::UpstreamMalformed,
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

/// Whether the upstream reset the one stream, and its connection lives.
fn reset(error: &hyper_util::client::legacy::Error) -> Option<()> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_reset) {
            return Some(());
        }
        source = cause.source();
    }
    None
}

/// What the gateway itself says to the upstream: set after everything of that kind was stripped.
#[derive(Debug)]
pub struct Statement<'a> {
    /// The request's id, as its caller and the audit trail know it.
    pub request_id: &'a RequestId,
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
    /// How often, and when, the request may be tried again.
    pub again: Again,
}

/// How often, and when, a request may be tried again. Only one without a body ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// How often.
    pub times: u32,
    /// Whether also when it may have been received: where it is idempotent, and nothing in it is good once.
    pub received: Received,
}

/// Whether a request may be tried again that may have been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Never.
    Never,
    /// When its method is idempotent (RFC 9110 §9.2.2).
    Idempotent,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Forwarded {
    /// For the client.
    pub response: Response<Body>,
    /// The upstream's side of the tunnel, where it has agreed to switch.
    pub upgraded: Option<OnUpgrade>,
}

/// Sends an admitted request to an upstream and returns the answer, both bodies streaming.
///
/// # Errors
/// See [`ForwardError`]; all are faults on our side of the client.
pub async fn forward(
    request: Stripped<Request<Arriving>>,
    admission: Admission,
    upstreams: &Upstreams,
    statement: Statement<'_>,
    reserved: &Arc<Reserved>,
    clock: &Arc<dyn Clock>,
) -> Result<Forwarded, ForwardError> {
    let (mut head, body) = request.into_inner().into_parts();
    head.extensions.clear();
    let path = statement.rewritten.as_deref().unwrap_or(statement.path.as_str());
    let target = match head.uri.query() {
        None => PathAndQuery::try_from(path),
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
    };
    let target = target.map_err(http::Error::from)?;
    let again = statement.again;
    let upgrade = statement.upgrade;
    state(&mut head.headers, statement)?;
    // A body that is still arriving keeps the upstream's clock from running. One that has passed cannot be sent again.
    let (mut body, mut left, progress) = match body.is_end_stream() {
        true => (Sent::Nothing, again.times, None),
        false => {
            let progress = Progress::new(Arc::clone(clock));
            let (admission, clock, reserved) = (admission.clone(), Arc::clone(clock), Arc::clone(reserved));
            let passing = Passing::request(body, admission, clock, reserved, Some(progress.clone()));
            (Sent::Passing(Box::new(passing)), 0, Some(progress))
        }
    };
    let idempotent = again.received == Received::Idempotent && upgrade == Upgrade::No && is_idempotent(&head.method);
    let mut tried = Vec::new();
    let mut failed = None;
    let (answer, stall) = loop {
        // The same one again where there is no other.
        let other = upstreams.choose(&tried);
        let chosen = if other.is_none() && !tried.is_empty() { upstreams.choose(&[]) } else { other };
        let Some(chosen) = chosen else { return Err(failed.unwrap_or(ForwardError::SetAside)) };
        let upstream = chosen.upstream();
        let whole = if left > 0 { head.clone() } else { std::mem::replace(&mut head, Request::new(()).into_parts().0) };
        let request = address(whole, std::mem::replace(&mut body, Sent::Nothing), upstream, &target)?;
        match within(upstream, upstream.send(request), progress.as_ref()).await {
            Ok(answer) => {
                chosen.came(Outcome::Answered);
                break (answer, upstream.stall());
            }
            Err(ForwardError::Failed(error)) => {
                match progress.as_ref().and_then(Progress::broken) {
                    Some(Broken::Client) => return Err(ForwardError::Upload),
                    Some(Broken::Ended(ended)) => return Err(ForwardError::Ended(ended)),
                    None => {}
                }
                let (unsent, spoke) = (error.is_connect(), malformed(&error).is_some());
                // What it says may be the caller's doing: nobody can set an upstream aside by asking for something odd.
                let index = chosen.index();
                chosen.came(if spoke || reset(&error).is_some() { Outcome::Answered } else { Outcome::Failed });
                let error = ForwardError::Failed(error);
                if left == 0 || !(unsent || idempotent && !spoke) || admission.standing(clock.as_ref()).is_err() {
                    return Err(error);
                }
                left -= 1;
                tracing::debug!(upstream = %upstream.authority(), %error, "request is tried again");
                tried.push(index);
                failed = Some(error);
            }
            Err(error) => {
                if matches!(error, ForwardError::Timeout) {
                    chosen.came(Outcome::Failed);
                }
                return Err(error);
            }
        }
    };
    answered(answer, upgrade, admission, stall, reserved, clock)
}

/// What becomes of an upstream's answer on its way to the client.
fn answered(
    mut answer: Response<Incoming>,
    upgrade: Upgrade,
    admission: Admission,
    stall: Option<Duration>,
    reserved: &Arc<Reserved>,
    clock: &Arc<dyn Clock>,
) -> Result<Forwarded, ForwardError> {
    // One that names two ends has none that we could name to the client (RFC 9112 §6.3).
    let has = |name| answer.headers().contains_key(name);
    if answer.version() < Version::HTTP_2 && has(TRANSFER_ENCODING) && has(CONTENT_LENGTH) {
        return Err(ForwardError::Length);
    }
    let upgraded = match (answer.status(), upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Upgrade::WebSocket) if is_websocket(answer.headers()) => {
            Some(hyper::upgrade::on(&mut answer))
        }
        (StatusCode::SWITCHING_PROTOCOLS, _) => return Err(ForwardError::Upgraded),
        _ => None,
    };
    let mut response = answer.map(|body| match &upgraded {
        Some(_) => Body::Whole(None),
        None => Body::Passing(Box::new(Passing::response(body, admission, Arc::clone(clock), Arc::clone(reserved), stall))),
    });
    reserved.strip_response(&mut response);
    if upgraded.is_some() {
        upgrade.write(response.headers_mut());
    }
    *response.version_mut() = Version::HTTP_11;
    response.extensions_mut().clear();
    Ok(Forwarded { response, upgraded })
}

/// Writes what the gateway says, whichever upstream hears it.
fn state(headers: &mut HeaderMap, statement: Statement<'_>) -> Result<(), http::Error> {
    join_cookies(headers)?;
    statement.upgrade.write(headers);
    headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(statement.peer_address.ip().to_string())?);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(X_FORWARDED_HOST, HeaderValue::try_from(statement.authority.as_str())?);
    headers.insert(REQUEST_ID, HeaderValue::try_from(statement.request_id.as_str())?);
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
    Ok(())
}

/// A request for one upstream.
fn address(
    mut head: request::Parts,
    body: Sent,
    upstream: &Upstream,
    target: &PathAndQuery,
) -> Result<Request<Sent>, http::Error> {
    let uri = Uri::builder().scheme(upstream.scheme().clone()).authority(upstream.authority().clone());
    head.uri = uri.path_and_query(target.clone()).build()?;
    // What the client spoke is its own hop's business.
    head.version = upstream.protocol().version();
    match upstream.protocol() {
        Protocol::Http1 => drop(head.headers.insert(HOST, upstream.host().clone())),
        // The authority stands in the target. Servers of gRPC want to hear that trailers are read.
        Protocol::Http2 => drop(head.headers.insert(TE, HeaderValue::from_static("trailers"))),
    }
    // hyper would leave a body away that comes with a method that seldom has one and with a length that is not known.
    if upstream.protocol() == Protocol::Http1 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(Request::from_parts(head, body))
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
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
            return Err(match progress.waits_for_client() {
                true => ForwardError::UploadStalled,
                false => ForwardError::Timeout,
            });
        }
        if let Ok(answer) = tokio::time::timeout(left, &mut answer).await {
            return Ok(answer?);
        }
    }
}
