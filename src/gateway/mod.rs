//! The resource gateway: a reverse proxy that lets a request through only when its sender proves to hold the key that its token is
//! bound to: the certificate of the connection it came on, or the key of its DPoP proof.
//!
//! [`Gateway::handle`] is one request from its head to its answer:
//!
//! ```text
//! inspect   sanity     one reading of host, path and framing, or 400
//! route     route      host, then the longest path, then methods and header fields
//! visit     session    whose browser it is, where the route takes sessions
//! admit     passage    what the route asks for: presented → verified → proven → admitted
//! strip     strip      what a client may not say                     -> Stripped<Request>
//! assert    assertion  the signed word of the gateway
//! forward   forward    (Stripped<Request>, Admission, Upstream), the only way to an upstream
//! ```
//!
//! [`Gateway::judge`] tells the same story to a proxy in front, up to the assertion, and leaves the forwarding to that.
//!
//! [`Gateway::carry`] is a connection that is not HTTP, and has no token: its certificate decides alone.
//!
//! It knows no room of the authorization server and needs no database: it is a client of authorization servers.

pub mod address;
pub mod answer_rules;
pub mod assertion;
pub mod body;
pub mod build;
pub mod certificate;
pub mod certificate_header;
pub mod certificate_rule;
pub mod decision;
pub mod feed;
pub mod forward;
pub mod forward_auth;
pub mod limits;
pub mod metadata;
mod overview;
mod passage;
pub mod pattern;
pub mod redirect;
pub mod reject;
pub mod route;
pub mod session;
pub mod strip;
pub mod tcp;
pub mod template;
pub mod tunnel;
pub mod upstream;
pub mod upstreams;
mod visit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, request};
use http_body::Body as _;

use crate::binding::dpop::DPOP_NONCE;
use crate::config::settings::CertificateHeaderSetting;
use crate::domain::{Clock, Randomness, RandomnessUnavailable, RequestId, Thumbprint};
use crate::event::AccessDecision;
use crate::resource::{Moment, Protection};
use crate::telemetry::audit::AuditSink;
use crate::tls::{CertificateMode, ConnectionFacts, PolicySet};
use crate::token::TokenFacts;
use crate::trust::{CurrentAnchors, PeerTrust};

use crate::wire::{self, Arriving, Target, in_step};
use address::AddressRange;
use answer_rules::{AnswerRules, NotForPage, Preflight, StrictTransport, Told};
use assertion::{Asserter, AssertionTerms, Style};
use body::Body;
use certificate::Verdict;
use certificate_rule::CertificateRules;
use decision::RouteMetrics;
use forward::{Again, Forwarded, Statement, forward};
use forward_auth::Claims;
use limits::{Concurrency, RateLimit};
use metadata::PublishedMetadata;
use passage::Passage;
use pattern::Conditions;
use redirect::Redirect;
use reject::{Doing, Form, Rejection, Unread};
use route::{Asking, Rewrite, RouteError, RouteTable};
use session::{Sessions, Visitor};
use strip::Reserved;
use tcp::TcpRoute;
use template::Template;
use tunnel::{NoBody, Upgrade};
use upstreams::Upstreams;

pub use build::{BuildError, Surroundings, unmet_certificate_rules};
pub use tunnel::{Tunnel, TunnelSlot};

/// Where the gateway's keys are published, on every host of it, to anybody.
pub const JWKS_PATH: &str = "/.well-known/symbolon/jwks.json";

/// Where upstreams of Pomerium look for them, published where assertions are written for those.
pub const POMERIUM_JWKS_PATH: &str = "/.well-known/pomerium/jwks.json";

/// The header that tells the caller the request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One protected place.
#[derive(Debug)]
struct Route {
    name: String,
    /// Its host and path, as people know it.
    place: String,
    /// Methods that are served; any, when there is none here.
    methods: Vec<Method>,
    /// Addresses that may connect; any, when there is none here.
    addresses: Vec<AddressRange>,
    /// Its place in the settings: part of what an assertion is for.
    index: usize,
    upstreams: Upstreams,
    again: Again,
    /// What else a request must have to belong to it.
    conditions: Conditions,
    protection: Protection,
    /// The set that certificates must come from here, beside those of listener and host.
    anchor_set: Option<String>,
    certificate_mode: Option<CertificateMode>,
    certificate_rules: CertificateRules,
    assertion: AssertionTerms,
    certificate_headers: Vec<CertificateHeaderSetting>,
    request_headers: Vec<(HeaderName, Template)>,
    /// What becomes of the path.
    rewrite: Option<Rewrite>,
    /// Whether WebSocket connections are passed on.
    websocket: bool,
    access_token: AccessToken,
    rate_limit: Option<RateLimit>,
    concurrency: Option<Concurrency>,
    answer_rules: AnswerRules,
    /// Sessions that people may come with instead of a token.
    sessions: Option<Arc<Sessions>>,
    metrics: OnceLock<RouteMetrics>,
}

/// What becomes of the access token behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccessToken {
    Removed,
    Passed,
}

impl Route {
    /// What is asked of a caller before its token is looked at.
    fn admits_caller(&self, method: &Method, address: IpAddr) -> Result<(), Rejection> {
        if !self.addresses.is_empty() && !self.addresses.iter().any(|range| range.contains(address).is_some()) {
            return Err(Rejection::Address);
        }
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return Err(Rejection::Method(self.methods.clone()));
        }
        Ok(())
    }
}

/// The gateway: an immutable value, replaced as a whole when its settings change.
#[derive(Debug)]
pub struct Gateway {
    routes: RouteTable<Route>,
    tcp_routes: BTreeMap<String, Arc<TcpRoute>>,
    redirects: RouteTable<Redirect>,
    reserved: Arc<Reserved>,
    /// What requests that proxies ask about must not have, and every word to a proxy has.
    claims: Claims,
    asserter: Asserter,
    jwks: Bytes,
    metadata: PublishedMetadata,
    max_headers: usize,
    audit: AuditSink,
    anchors: Arc<CurrentAnchors>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    servers: Vec<build::Server>,
    /// What listeners pass on unread, for people to read.
    passed_on: Vec<String>,
    strict_transport: StrictTransport,
}

/// What a caller meets of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    /// The proxy, which forwards.
    Proxy,
    /// The word to a proxy in front, which does.
    ForwardAuth,
}

/// What is known of a request while it is being decided about.
struct Case<'a> {
    face: Face,
    connection: &'a ConnectionFacts,
    trust: Option<&'a Arc<PeerTrust>>,
    verdict: Option<Verdict>,
    request_id: RequestId,
    decision: AccessDecision,
    route: Option<Arc<Route>>,
    told: Told,
    preflight: Option<Preflight>,
    unread: Unread,
    form: Form,
    /// Whoever is signed in, where the request came with a session and no token.
    visitor: Option<Box<Visitor>>,
    /// `Set-Cookie` fields for the answer.
    cookies: Vec<HeaderValue>,
    /// Whether a browser can be told to come back to this host over HTTPS alone.
    came_by_name: bool,
}

impl Case<'_> {
    /// The connection's certificate, where somebody vouches for it: the token that is bound to it, or the anchor sets that apply.
    fn vouched(&self, facts: &TokenFacts) -> Option<Thumbprint> {
        let named = match &self.visitor {
            Some(visitor) => visitor.certificate(),
            None => facts.certificate().copied(),
        };
        let bound = |shown: &Thumbprint| named.is_some_and(|named| named.matches(shown));
        self.decision.certificate.filter(|shown| bound(shown) || self.verdict == Some(Verdict::Success))
    }
}

impl Gateway {
    /// Whether a request names an authority that has routes here: for listeners that serve something else too.
    pub fn serves(&self, head: &request::Parts) -> bool {
        wire::inspect(head, self.max_headers)
            .is_ok_and(|target| self.routes.serves(&target.authority) || self.redirects.serves(&target.authority))
    }

    /// Whether the keys of every issuer are here, so that the first request needs not wait for them, and no route refuses everybody
    /// because revocations may be missing.
    pub fn ready(&self) -> Result<(), &'static str> {
        let moment = Moment::read(self.clock.as_ref()).map_err(|_| "the clock cannot be read")?;
        if !self.servers.iter().all(|server| server.has_keys(moment)) {
            return Err("the keys of an authorization server have not been fetched yet");
        }
        if self.routes.routes().any(|route| route.protection.check_revocations(moment).is_err()) {
            return Err("a revocation feed has not been heard for too long");
        }
        if self.tcp_routes.values().flat_map(|route| &route.revocations).any(|check| check.check_age(moment).is_err()) {
            return Err("a revocation feed has not been heard for too long");
        }
        Ok(())
    }

    /// Answers one request that came on a connection, whose certificate `trust` knows. `policies` are those of the listener, to tell
    /// requests that came the wrong way.
    pub async fn handle(
        &self,
        request: Request<Arriving>,
        connection: &ConnectionFacts,
        trust: Option<&Arc<PeerTrust>>,
        policies: &PolicySet,
    ) -> Response<Body> {
        let mut case = match self.open(&request, connection, trust, Face::Proxy) {
            Ok(case) => case,
            Err(response) => return *response,
        };
        let is_head = request.method() == Method::HEAD;
        let id = HeaderValue::from_str(case.request_id.as_str());
        let mut response = match self.answer(request, policies, &mut case).await {
            Ok(response) => response,
            Err(rejection) => self.reject(rejection, &mut case),
        };
        if let Some(route) = &case.route {
            route.answer_rules.write(response.headers_mut(), &case.told, case.preflight);
        }
        if case.visitor.is_some() || !case.cookies.is_empty() {
            session::keep_private(response.headers_mut(), &case.cookies);
        }
        for cookie in case.cookies.drain(..) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if case.came_by_name {
            self.strict_transport.write(response.headers_mut());
        }
        // Ours, whatever the upstream says: it leads to the audit event.
        if let Ok(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if is_head { without_content(response) } else { response }
    }

    /// The story of one request.
    async fn answer(
        &self,
        request: Request<Arriving>,
        policies: &PolicySet,
        case: &mut Case<'_>,
    ) -> Result<Response<Body>, Rejection> {
        let started = self.clock.monotonic();
        let (mut head, body) = request.into_parts();
        let target = wire::inspect(&head, self.max_headers)?;
        case.decision.authority = target.authority.as_str().to_owned();
        case.came_by_name = target.authority.is_public_name();
        case.decision.path = target.path.as_str().to_owned();
        check_direction(&target, case.connection, policies)?;
        case.connection.check_header().map_err(|error| Rejection::Certificate(error.clone()))?;
        let is_jwks = target.path.as_str() == JWKS_PATH
            || self.asserter.style() == Style::Pomerium && target.path.as_str() == POMERIUM_JWKS_PATH;
        if is_jwks && self.routes.serves(&target.authority) {
            return publish(&head.method, self.jwks.clone(), "application/jwk-set+json");
        }
        if let Some(document) = self.metadata.find(&target) {
            return publish(&head.method, document, "application/json");
        }
        if let Some(endpoint) = self.session_endpoint(&target) {
            return Box::pin(self.serve_session(endpoint, &head, &target, body, case)).await;
        }
        let asking = Asking { authority: &target.authority, path: &target.path, method: &head.method, headers: &head.headers };
        match self.redirects.find(asking) {
            Ok(redirect) => return Ok(redirect.answer(&target.path, head.uri.query())),
            Err(RouteError::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(answer) = self.preflight(&head, asking, case) {
            return answer;
        }
        let route = Arc::clone(self.routes.find(asking)?);
        // A proxy in front asks about it, and nothing passes here.
        if route.upstreams.members().next().is_none() {
            return Err(RouteError::Unknown.into());
        }
        in_step().await;
        let Passage { admission, dpop_nonce, authorization, now } = self.admit(&route, (&head, &target), case).await?;
        // Held until the last byte of the answer.
        let place = match &route.concurrency {
            Some(concurrency) => Some(concurrency.take().ok_or(Rejection::Crowded)?),
            None => None,
        };

        let no_body = if body.is_end_stream() { NoBody::Yes } else { NoBody::No };
        let slot = head.extensions.remove::<TunnelSlot>();
        let upgrade = match &slot {
            Some(_) if route.websocket => Upgrade::wanted(&head, no_body),
            _ => Upgrade::No,
        };
        let stripped = self.reserved.strip(Request::from_parts(head, body));
        let (assertion, fields) = self.said(&route, &admission, stripped.get().method(), case, now)?;
        let admitted = self.begin(case)?;
        let metrics = route.metrics.get_or_init(|| RouteMetrics::new(&route.name));
        let decided = self.clock.monotonic();
        metrics.admitted(decided.saturating_sub(started));

        let statement = Statement {
            request_id: &case.request_id,
            path: &target.path,
            rewritten: route.rewrite.as_ref().map(|rewrite| rewrite.apply(&target.path)),
            authority: &target.authority,
            peer_address: case.connection.peer_address,
            assertion: (self.asserter.header(), assertion),
            certificate: case.verdict,
            fields,
            upgrade,
            authorization,
            again: route.again,
        };
        let kept = admission.clone();
        in_step().await;
        let answer = forward(stripped, admission, &route.upstreams, statement, &self.reserved, &self.clock).await;
        metrics.answered(self.clock.monotonic().saturating_sub(decided));
        in_step().await;
        let mut response = match answer {
            Ok(Forwarded { mut response, upgraded }) => {
                admitted.answered(response.status().as_u16(), None);
                route.answer_rules.clean(response.headers_mut());
                if let (Some(slot), Some(upstream)) = (slot, upgraded) {
                    slot.put(Tunnel { upstream, admission: kept, clock: Arc::clone(&self.clock), _place: place });
                    response
                } else {
                    response.map(|body| body.holding(place))
                }
            }
            Err(error) => {
                let rejection = Rejection::from(error);
                let reason = rejection.reason();
                match rejection.doing() {
                    Doing::Fault => tracing::warn!(%reason, route = route.name, error = %rejection, "upstream failed"),
                    Doing::Denied => tracing::debug!(%reason, route = route.name, "request broke off"),
                }
                let response = rejection.into_response(Some(&case.request_id), None, case.unread, case.form);
                admitted.answered(response.status().as_u16(), Some(reason));
                response
            }
        };
        if let Some(nonce) = dpop_nonce {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        Ok(response)
    }

    /// The answer to a browser that asks whether a page of another origin may send what it wants to, where the route that it would send
    /// it to is for pages.
    fn preflight(
        &self,
        head: &request::Parts,
        asking: Asking<'_>,
        case: &mut Case<'_>,
    ) -> Option<Result<Response<Body>, Rejection>> {
        let method = answer_rules::preflight(head)?;
        let route =
            self.routes.find(Asking { method: &method, ..asking }).ok().filter(|route| route.answer_rules.cors.is_some())?;
        case.decision.route = Some(route.name.clone());
        case.told = match route.answer_rules.read(&head.headers, self.randomness.as_ref()) {
            Ok(told) => told,
            Err(error) => return Some(Err(error.into())),
        };
        case.preflight = Some(Preflight);
        let route = Arc::clone(case.route.insert(Arc::clone(route)));
        if let Err(rejection) = route.admits_caller(&method, case.connection.peer_address.ip()) {
            return Some(Err(rejection));
        }
        Some(route.answer_rules.preflight(&method, &case.told)?.map_err(|NotForPage| Rejection::Page))
    }

    /// Begins the case of a request.
    fn open<'a>(
        &self,
        request: &Request<Arriving>,
        connection: &'a ConnectionFacts,
        trust: Option<&'a Arc<PeerTrust>>,
        face: Face,
    ) -> Result<Case<'a>, Box<Response<Body>>> {
        let unread = match request.version() < Version::HTTP_2 && !request.body().is_end_stream() {
            true => Unread::ClosesConnection,
            false => Unread::Harmless,
        };
        let Ok(request_id) = RequestId::random(self.randomness.as_ref()) else {
            let rejection = Rejection::from(RandomnessUnavailable);
            let status = rejection.status().as_u16();
            decision::refused(&self.audit, self.clock.as_ref(), AccessDecision::default(), &rejection, status, None);
            return Err(Box::new(rejection.into_response(None, None, unread, Form::Json)));
        };
        let form = Form::wanted(request.headers());
        let decision = AccessDecision {
            request_id: Some(request_id.clone()),
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            peer_address: Some(connection.peer_address),
            certificate: connection.thumbprint(),
            certificate_origin: connection.certificate_origin.clone(),
            ..AccessDecision::default()
        };
        Ok(Case {
            face,
            connection,
            trust,
            verdict: None,
            request_id,
            decision,
            route: None,
            told: Told::default(),
            preflight: None,
            unread,
            form,
            visitor: None,
            cookies: Vec::new(),
            came_by_name: false,
        })
    }

    fn reject(&self, rejection: Rejection, case: &mut Case<'_>) -> Response<Body> {
        let terms = case.route.as_ref().map(|route| route.protection.terms());
        let decision = std::mem::take(&mut case.decision);
        let shown = case.connection.peer.as_ref().ok().and_then(Option::as_ref).map(|certificate| certificate.shown());
        decision::refused(&self.audit, self.clock.as_ref(), decision, &rejection, rejection.status().as_u16(), shown);
        rejection.into_response(Some(&case.request_id), terms.as_ref(), case.unread, case.form)
    }
}

/// A document for anybody.
fn publish(method: &Method, document: Bytes, content_type: &'static str) -> Result<Response<Body>, Rejection> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Rejection::ReadOnly);
    }
    let mut response = Response::new(Body::from(document));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// The answer to HEAD: what GET would have, but for the content (RFC 9110 §9.3.2). Over HTTP/2 nobody else leaves it away.
fn without_content(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Body::Whole(Some(bytes)) = &body {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        return Response::from_parts(head, Body::Whole(None));
    }
    Response::from_parts(head, body)
}

/// A request whose authority belongs to another policy than its connection was let in under other rules (RFC 9110 §15.5.20).
fn check_direction(target: &Target, connection: &ConnectionFacts, policies: &PolicySet) -> Result<(), Rejection> {
    match policies.for_authority(target.authority.host()) {
        Some(policy) if policy.id() == connection.policy.id() => Ok(()),
        _ => Err(Rejection::Misdirected),
    }
}

#[cfg(test)]
mod tests;
