//! What happens to every request before and after its endpoint: an id, the checks that any endpoint relies on, the headers that
//! any answer carries, and the audit event of a refusal.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, Request, header};
use serde::Serialize;
use tower::ServiceExt as _;

use super::endpoint::Endpoint;
use super::reject::{Rejected, WebError};
use super::router::router;
use super::{Peer, Web, cors, introspection, token};
use crate::domain::RequestId;
use crate::event::{AuditEvent, Reason, Trailed};
use crate::oauth::error::{Fault, OauthError};
use crate::telemetry::metrics;
use crate::wire;

/// The header that tells the caller the request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// Two years, as the preload list wants it.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// An answer that no cache may keep (RFC 6749 §5.1).
pub fn no_store(content: impl IntoResponse) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// An answer in JSON that no cache may keep. `room` is how many bytes it is likely to take.
pub fn no_store_json(content: &impl Serialize, room: usize) -> Response {
    let mut body = Vec::with_capacity(room);
    if serde_json::to_writer(&mut body, content).is_err() {
        return WebError::Oauth(OauthError::Failed(Fault::Defect(Reason::Defect))).into_response();
    }
    let mut response = no_store(Response::new(Body::from(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The endpoint takes POST alone.
pub async fn only_post() -> WebError {
    WebError::MethodNotAllowed("POST")
}

/// The endpoint takes GET alone.
pub async fn only_get() -> WebError {
    WebError::MethodNotAllowed("GET, HEAD")
}

/// The page takes GET and POST.
pub async fn get_or_post() -> WebError {
    WebError::MethodNotAllowed("GET, HEAD, POST")
}

/// The place takes GET, PUT and DELETE.
pub async fn get_put_or_delete() -> WebError {
    WebError::MethodNotAllowed("GET, HEAD, PUT, DELETE")
}

/// The authorization server over HTTP, or its administration API: its routes, and what happens around every one of them.
///
/// Not a layer of the router: that would box and clone itself and the endpoint for each request.
#[derive(Clone, Debug)]
pub struct Edge {
    web: Arc<Web>,
    router: Router,
    surface: Surface,
}

/// What stands behind an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    /// The endpoints of the authorization server, told apart by their paths.
    AuthorizationServer,
    /// The administration API: none of those is here, whatever a path says.
    Admin,
}

impl Edge {
    /// Puts the routes behind the edge.
    pub fn new(web: Arc<Web>) -> Self {
        Self { router: router(web.clone()), web, surface: Surface::AuthorizationServer }
    }

    /// Puts the routes of the administration API behind the same edge.
    pub const fn of_admin(web: Arc<Web>, router: Router) -> Self {
        Self { web, router, surface: Surface::Admin }
    }

    /// Answers one request that came on the connection of `peer`.
    pub async fn answer(&self, request: Request<Body>, peer: Arc<Peer>) -> Response {
        every_request(&self.web, &self.router, self.surface, peer, request).await
    }
}

async fn every_request(web: &Web, router: &Router, surface: Surface, peer: Arc<Peer>, request: Request<Body>) -> Response {
    let started = web.server.clock.monotonic();
    let Ok(request_id) = RequestId::random(&*web.server.randomness) else {
        return WebError::Oauth(OauthError::Failed(Fault::Unavailable(Reason::RandomnessUnavailable))).into_response();
    };
    let endpoint = match surface {
        Surface::AuthorizationServer => Endpoint::of(request.uri().path(), web.server.issuer.path()),
        Surface::Admin => Endpoint::Admin,
    };
    let (head, body) = request.into_parts();
    let target = wire::inspect(&head, web.max_headers).map_err(|_| WebError::Ambiguous);
    let target = target.and_then(|target| peer.facts().check_header().map(|()| target).map_err(|_| WebError::ProxyHeader));
    let authority = target
        .map(|target| target.authority)
        .and_then(|authority| peer.may_ask_for(authority.host()).map(|()| authority).map_err(|_| WebError::Misdirected));
    let shared = cors::shared(endpoint, &head.headers, &web.server.clients.current());
    let is_preflight = cors::is_preflight(&head.method, &head.headers);
    let mut request = Request::from_parts(head, body);
    let (mut response, strict_transport) = match authority {
        Ok(authority) => {
            let strict = authority.is_public_name();
            if let Some(shared) = shared.as_ref().filter(|_| is_preflight) {
                (shared.preflight(), strict)
            } else {
                let response = match (endpoint, request.method()) {
                    // What machines ask for all the time goes past the router, whose boxes and clones are a tenth of such an answer.
                    // In a box of its own: a future that holds every branch is moved with each request, also with the others.
                    (Endpoint::Token, &Method::POST) => Box::pin(token::post(web, &peer, &request_id, request)).await,
                    (Endpoint::Introspection, &Method::POST) => {
                        Box::pin(introspection::post(web, &peer, &request_id, request)).await
                    }
                    _ => {
                        let extensions = request.extensions_mut();
                        extensions.insert(request_id.clone());
                        extensions.insert(peer.clone());
                        let Ok(response) = router.clone().oneshot(request).await;
                        Ok(response)
                    }
                };
                (response.unwrap_or_else(IntoResponse::into_response), strict)
            }
        }
        Err(error) => (error.into_response(), false),
    };
    if let Some(shared) = &shared {
        shared.give(&mut response);
    }
    if surface == Surface::Admin
        && let Some(rejected) = response.extensions().get::<Rejected>().cloned()
    {
        rejected.tell_request(&mut response, &request_id);
    }
    finish(&mut response, &request_id, strict_transport);
    record(web, &peer, &response, &request_id, endpoint.name());
    web.metrics.answered(endpoint, response.status(), web.server.clock.monotonic().saturating_sub(started));
    response
}

fn finish(response: &mut Response, request_id: &RequestId, strict_transport: bool) {
    let is_refusal = response.extensions().get::<Rejected>().is_some();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    if strict_transport {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if is_refusal {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.entry(header::PRAGMA).or_insert(HeaderValue::from_static("no-cache"));
    }
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
}

/// A refusal goes to the audit trail and the log. It never waits and never costs a database write: when half of the queue is taken the
/// refusal stands and the event is counted as dropped.
fn record(web: &Web, peer: &Peer, response: &Response, request_id: &RequestId, endpoint: &'static str) {
    let Some(rejected) = response.extensions().get::<Rejected>() else { return };
    let rejection = &rejected.rejection;
    let shown = peer.facts().peer.as_ref().ok().and_then(Option::as_ref);
    let certificate = shown.map(|certificate| certificate.thumbprint());
    metrics::REFUSALS.with([endpoint, rejection.reason.code()]).increment(1);
    tracing::info!(%request_id, endpoint, reason = %rejection.reason, status = rejection.status.as_u16(), "refused");
    let Ok(time) = web.server.clock.now() else { return };
    let event = AuditEvent::RequestRefused {
        request_id: request_id.clone(),
        endpoint,
        client_id: rejected.client_id.clone(),
        peer_address: Some(peer.facts().peer_address),
        certificate,
        certificate_origin: peer.facts().certificate_origin.clone(),
        error: rejection.error,
        reason: rejection.reason,
        status: rejection.status.as_u16(),
    };
    let _ = web.server.audit.record_refusal(&Trailed { time, event }, shown.map(|certificate| certificate.shown()));
}
