//! The resource gateway: a reverse proxy that lets a request through only when its sender proves to hold the key that its token is
//! bound to: the certificate of the connection it came on, or the key of its DPoP proof.
//!
//! [`Gateway::handle`] is one request from its head to its answer:
//!
//! ```text
//! inspect   sanity     one reading of host, path and framing, or 400
//! route     route      host, then the longest path, then methods and header fields
//! visit     session    whose browser it is, where the route takes sessions
//! decide    resource   presented → verified → proven → admitted
//! strip     strip      what a client may not say                     -> Stripped<Request>
//! assert    assertion  the signed word of the gateway
//! forward   forward    (Stripped<Request>, Admission, Upstream), the only way to an upstream
//! ```
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
pub mod limits;
pub mod metadata;
mod overview;
pub mod pattern;
pub mod redirect;
pub mod reject;
pub mod route;
pub mod session;
pub mod strip;
pub mod template;
pub mod tunnel;
pub mod upstream;
pub mod upstreams;
mod visit;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, request};
use http_body::Body as _;

use crate::binding::Presenter;
use crate::binding::dpop::{self, DPOP_NONCE};
use crate::config::settings::CertificateHeaderSetting;
use crate::domain::{Clock, Cnf, Randomness, RandomnessUnavailable, RequestId, Thumbprint, Timestamp};
use crate::event::{AccessDecision, Reason};
use crate::resource::{Admission, Asked, Granted, Moment, Presented, Protection, Refusal, present};
use crate::telemetry::audit::AuditSink;
use crate::tls::{CertificateMode, ConnectionFacts, PolicySet};
use crate::token::TokenFacts;
use crate::trust::{CurrentAnchors, PeerTrust};

use crate::wire::{self, Arriving, Target};
use address::AddressRange;
use answer_rules::{AnswerRules, FAPI_INTERACTION_ID, NotForPage, Preflight, Told};
use assertion::{Asserted, Asserter, AssertionTerms, Style};
use body::Body;
use certificate::Verdict;
use certificate_header::{Fields, Shown};
use certificate_rule::CertificateRules;
use decision::{Admitted, RouteMetrics};
use forward::{Again, Forwarded, Statement, forward};
use limits::{Concurrency, RateLimit};
use metadata::PublishedMetadata;
use pattern::Conditions;
use redirect::Redirect;
use reject::{Doing, Form, Rejection, Unread};
use route::{Asking, Rewrite, RouteError, RouteTable};
use session::{Sessions, Visitor};
use strip::Reserved;
use template::{Filling, Template};
use tunnel::{NoBody, Upgrade};
use upstreams::Upstreams;

pub use build::{BuildError, Surroundings};
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
    redirects: RouteTable<Redirect>,
    reserved: Arc<Reserved>,
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
    /// `Strict-Transport-Security` of every answer.
    strict_transport: Option<HeaderValue>,
}

/// What is known of a request while it is being decided about.
struct Case<'a> {
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
        let unread = match request.version() < Version::HTTP_2 && !request.body().is_end_stream() {
            true => Unread::ClosesConnection,
            false => Unread::Harmless,
        };
        let Ok(request_id) = RequestId::random(self.randomness.as_ref()) else {
            let rejection = Rejection::from(RandomnessUnavailable);
            let status = rejection.status().as_u16();
            decision::refused(&self.audit, self.clock.as_ref(), AccessDecision::default(), &rejection, status);
            return rejection.into_response(None, None, unread, Form::Json);
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
        let mut case = Case {
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
        if let Some(strict) = &self.strict_transport {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, strict.clone());
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
            return self.serve_session(endpoint, &head, &target, body, case).await;
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
        let route = Arc::clone(case.route.insert(Arc::clone(self.routes.find(asking)?)));
        case.decision.route = Some(route.name.clone());
        case.told = route.answer_rules.read(&head.headers, self.randomness.as_ref())?;

        route.admits_caller(&head.method, case.connection.peer_address.ip())?;
        let presented = present(&head.headers, &head.uri).map_err(Refusal::from)?;
        let presented = self.with_session(&route, presented, (&head, &target), case).await?;
        let authorization = match (presented.token(), route.access_token) {
            (Some(token), AccessToken::Passed) => Some(token.header_value()),
            _ => None,
        };
        let asked = Asked {
            method: head.method.as_str(),
            authority: target.authority.as_str(),
            path: target.path.as_str(),
            proof: dpop::presented(&head.headers),
        };
        let (granted, now) = match self.decide(&route, presented, &asked, case).await {
            Ok(decided) => decided,
            Err(rejection) => return Err(self.sign_in_again(rejection, &route, (&head, &target), case).await),
        };
        let Granted { admission, dpop_key, dpop_nonce } = self.resting(granted, &route, case);
        case.decision.dpop_key = dpop_key;
        decision::tell(&mut case.decision, admission.facts());
        if let Some(limit) = &route.rate_limit {
            let origin = case.visitor.as_ref().map_or(limits::Origin::Request, |_| limits::Origin::Session);
            limit.count(admission.facts(), case.vouched(admission.facts()), origin)?;
        }
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
        let asserted = Asserted {
            index: route.index,
            route: &route.name,
            terms: &route.assertion,
            method: stripped.get().method(),
            certificate: case.decision.certificate,
            cnf: match &case.visitor {
                Some(visitor) => visitor.certificate().map(Cnf::certificate),
                None => admission.facts().cnf,
            },
        };
        let assertion = self.asserter.assert(&admission, &asserted, now, self.randomness.as_ref())?;
        let mut fields = self.fields(&route, &admission, case, now);
        fields.extend(case.told.interaction.clone().map(|name| (FAPI_INTERACTION_ID, name)));
        let admitted = Admitted::begin(&self.audit, Arc::clone(&self.clock), std::mem::take(&mut case.decision)).map_err(
            |(unavailable, decision)| {
                case.decision = *decision;
                Rejection::from(unavailable)
            },
        )?;
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
        let answer = forward(stripped, admission, &route.upstreams, statement, &self.reserved, &self.clock).await;
        metrics.answered(self.clock.monotonic().saturating_sub(decided));
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

    /// What the upstream is told of the certificate, and the fields of the route's own.
    fn fields(&self, route: &Route, admission: &Admission, case: &Case<'_>, now: Timestamp) -> Fields {
        if route.certificate_headers.is_empty() && route.request_headers.is_empty() {
            return Fields::new();
        }
        let shown = Shown {
            peer: case.connection.peer.as_ref().ok().and_then(Option::as_deref),
            verdict: certificate::worth(admission, route, case.connection, case.trust, &self.anchors, now),
            bound: certificate::bound(
                admission,
                case.rests_on(admission),
                route,
                case.connection,
                case.trust,
                &self.anchors,
                now,
            ),
        };
        let mut fields: Fields =
            route.certificate_headers.iter().flat_map(|dialect| certificate_header::write(*dialect, &shown)).collect();
        let facts = admission.facts();
        let filling = Filling { shown, facts, request_id: &case.request_id, route: &route.name, now };
        let filled = route.request_headers.iter().filter_map(|(name, template)| Some((name.clone(), template.fill(&filling)?)));
        fields.extend(filled);
        fields
    }

    /// Whether this caller may have this route: from the live connection, on every request.
    async fn decide(
        &self,
        route: &Route,
        presented: Presented,
        asked: &Asked<'_>,
        case: &mut Case<'_>,
    ) -> Result<(Granted, Timestamp), Rejection> {
        let moment = Moment::read(self.clock.as_ref())?;
        let certificate = case.connection.peer.as_ref().map_err(|error| Rejection::Certificate(error.clone()))?;
        let presenter = match (&case.visitor, &route.sessions) {
            // The token is ours; what the browser has proven was held against its session.
            (Some(_), Some(sessions)) => Presenter::ourselves(sessions.own_certificate()),
            _ => Presenter::known(certificate.as_deref(), case.connection.peer_thumbprint.as_ref()),
        };
        let issuer = presented.token().and_then(|token| route.protection.issuer_of(token.as_str()).ok());
        let verdict = route.protection.decide(presented, &presenter, asked, moment).await;
        if let Some(issuer) = issuer {
            decision::count_introspection(&issuer.name, &verdict);
        }
        match verdict {
            Ok(Granted { admission, dpop_key, dpop_nonce }) => {
                let facts = Arc::clone(admission.facts());
                let rests_on = case.rests_on(&admission);
                match certificate::judge(admission, rests_on, route, case.connection, case.trust, &self.anchors, moment.wall) {
                    Ok((admission, verdict)) => {
                        case.verdict = verdict;
                        case.decision.certificate_verdict = verdict.map(Verdict::text);
                        Ok((Granted { admission, dpop_key, dpop_nonce }, moment.wall))
                    }
                    Err(reason) => {
                        decision::tell(&mut case.decision, &facts);
                        Err(match reason {
                            Reason::PolicyCertificate => Rejection::CertificateRule,
                            reason => Rejection::Untrusted(reason),
                        })
                    }
                }
            }
            Err(denied) => {
                if let Some(facts) = &denied.facts {
                    decision::tell(&mut case.decision, facts);
                }
                Err(denied.into())
            }
        }
    }

    fn reject(&self, rejection: Rejection, case: &mut Case<'_>) -> Response<Body> {
        let terms = case.route.as_ref().map(|route| route.protection.terms());
        let decision = std::mem::take(&mut case.decision);
        decision::refused(&self.audit, self.clock.as_ref(), decision, &rejection, rejection.status().as_u16());
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
