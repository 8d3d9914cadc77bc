//! The word to a proxy in front that forwards by itself: nginx (`auth_request`), Traefik, Caddy and others ask about each request, and the
//! gateway says whether it may go on, and as whose.
//!
//! ```text
//! hop       app        the question is a trusted proxy's             -> TrustedHop
//! original  here       the request that it asks about, in one way    -> request::Parts
//! inspect   sanity     one reading of its host and path
//! claims    strip      nothing in it that we say who calls with
//! admit     passage    as when the gateway forwards
//! say       here       200 with every field that any route says, set or empty
//! ```
//!
//! What was decided, and why:
//!
//! - **Four statuses.** nginx takes 2xx for yes, 401 and 403 for no, and answers 500 for anything else. So a refusal is 401 or 403, whatever
//!   it would be elsewhere; its body says the rest. A fault of ours is 5xx.
//! - **Nothing is removed here**, since the request goes on from elsewhere. A proxy that copies our fields may keep what the client has
//!   sent under their names, or under look-alikes: such a request is refused. Every answer has all of the fields, empty where they say
//!   nothing, for proxies that write empty fields over those of the client. The field in which the proxy itself tells the certificate is
//!   taken from the question: what the client has sent under that name is not seen here, and is the proxy's to remove.
//! - **What needs an answer of the gateway's own is not served**: sessions, sign-in, redirects, preflights. Routes that have them serve the
//!   callers with tokens.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, LOCATION, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, request};

use super::body::Body;
use super::certificate::Verdict;
use super::decision::RouteMetrics;
use super::passage::Passage;
use super::reject::{Rejection, Unread};
use super::route::{Asking, RouteError};
use super::session;
use super::strip::{PARTS, folded};
use super::tunnel::is_websocket;
use super::{Case, DPOP_NONCE, Face, Gateway, REQUEST_ID, check_direction, without_content};
use crate::event::Reason;
use crate::gateway::certificate::VERIFY;
use crate::tls::{ConnectionFacts, PolicySet, TrustedHop};
use crate::trust::PeerTrust;
use crate::wire::{self, Arriving};

/// In which fields a proxy tells the request that it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `X-Original-Method` and `X-Original-URL`, which is a whole URL.
    Original,
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    Forwarded,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Proof that it is a trusted proxy, where it is one.
    pub hop: Option<TrustedHop>,
    /// How it tells the request.
    pub dialect: Dialect,
}

/// Why a question is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a trusted proxy's.
    #[error("whoever asks is not a trusted proxy")]
    Asker,
    /// A field that tells the request is not there.
    #[error("`{0}` is missing")]
    Absent(&'static str),
    /// A field that tells the request is there more than once, or is no text.
    #[error("`{0}` has no single value")]
    Several(&'static str),
    /// A method, scheme, host or target that is none.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// The request has a field that the gateway says who calls with.
    #[error("the request claims what the gateway says: `{0}`")]
    Claim(HeaderName),
    /// The request has the cookie of a browser session of the gateway, which the proxy would pass on: to the upstream it is as good as a
    /// password.
    #[error("the request carries the cookie of a browser session of the gateway, which would reach the upstream")]
    Cookie,
    /// The request asks for another protocol than its route allows: what follows would be judged by nobody.
    #[error("the request asks for another protocol than its route allows")]
    Upgrade,
}

impl QuestionError {
    /// The private reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Asker => Reason::ProxyUntrusted,
            Self::Absent(_) | Self::Several(_) | Self::Malformed(_) | Self::Upgrade => Reason::OriginalRequest,
            Self::Claim(_) | Self::Cookie => Reason::IdentityClaimed,
        }
    }
}

/// Every name under which some route says who calls: nobody else may, and each answer has all of them.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    names: Vec<HeaderName>,
    /// As the laxest upstream reads them.
    folded: Vec<String>,
}

/// Fields that some programs take for the request's path, whatever its target says: another one than was judged.
const OTHER_TARGETS: [&str; 3] = ["x-original-url", "x-original-uri", "x-rewrite-url"];
/// What is ours whether or not it means anything.
const OURS: &str = "x-symbolon-";

impl Claims {
    /// These.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names: Vec<HeaderName> = names.into_iter().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self { folded: names.iter().map(folded).collect(), names }
    }

    /// The first field that a client may not have sent.
    fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderName> {
        headers.keys().find(|name| {
            let name = folded(name);
            name.starts_with(OURS)
                || OTHER_TARGETS.contains(&name.as_str())
                || PARTS.iter().any(|part| name.contains(part))
                || self.folded.contains(&name)
        })
    }
}

/// The fields of each dialect.
const METHOD: [&str; 2] = ["x-original-method", "x-forwarded-method"];
const URL: &str = "x-original-url";
const PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_URI: &str = "x-forwarded-uri";

/// The one value of a field.
fn said<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, QuestionError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(QuestionError::Absent(name))?;
    if values.next().is_some() {
        return Err(QuestionError::Several(name));
    }
    value.to_str().map_err(|_| QuestionError::Several(name))
}

/// The request that a trusted proxy asks about, with the header that it asks with.
fn original(head: request::Parts, dialect: Dialect, _by: TrustedHop) -> Result<request::Parts, QuestionError> {
    let (method_field, host_field) = match dialect {
        Dialect::Original => (METHOD[0], URL),
        Dialect::Forwarded => (METHOD[1], FORWARDED_HOST),
    };
    let method = said(&head.headers, method_field)?;
    let (host, target) = match dialect {
        Dialect::Original => {
            let rest = said(&head.headers, URL)?.strip_prefix("https://").ok_or(QuestionError::Malformed(URL))?;
            // A query without a path is no target that a client could have sent.
            let slash = rest.find(['/', '?', '#']).filter(|at| rest.as_bytes().get(*at) == Some(&b'/'));
            let (host, target) = slash.map(|at| rest.split_at(at)).ok_or(QuestionError::Malformed(URL))?;
            (host, (URL, target))
        }
        Dialect::Forwarded => {
            if said(&head.headers, PROTO)? != "https" {
                return Err(QuestionError::Malformed(PROTO));
            }
            let target = (FORWARDED_URI, said(&head.headers, FORWARDED_URI)?);
            (said(&head.headers, FORWARDED_HOST)?, target)
        }
    };
    let mut new = Request::new(()).into_parts().0;
    new.method = Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Malformed(method_field))?;
    new.uri = uri(target)?;
    new.version = Version::HTTP_11;
    let host = HeaderValue::from_str(host).map_err(|_| QuestionError::Malformed(host_field))?;
    new.headers = head.headers;
    let told: &[&str] = match dialect {
        Dialect::Original => &[METHOD[0], URL],
        Dialect::Forwarded => &[METHOD[1], PROTO, FORWARDED_HOST, FORWARDED_URI],
    };
    for name in told {
        new.headers.remove(*name);
    }
    // Those of the question.
    new.headers.remove(CONTENT_LENGTH);
    new.headers.remove(TRANSFER_ENCODING);
    new.headers.insert(HOST, host);
    Ok(new)
}

/// The target, as the client has written it. A parser that leaves a fragment away, as that of URIs does, would have another request judged than
/// the one that goes on.
fn uri((name, target): (&'static str, &str)) -> Result<http::Uri, QuestionError> {
    let malformed = || QuestionError::Malformed(name);
    if !target.starts_with('/') {
        return Err(malformed());
    }
    let parsed = PathAndQuery::try_from(target).map_err(|_| malformed())?;
    if parsed.as_str() != target {
        return Err(malformed());
    }
    http::Uri::builder().path_and_query(parsed).build().map_err(|_| malformed())
}

impl Gateway {
    /// Says whether the request that a proxy in front asks about may go on. `connection` and `trust` are those of its client, as far as the
    /// proxy tells; `policies` are the listener's.
    pub async fn judge(
        &self,
        question: Request<Arriving>,
        connection: &ConnectionFacts,
        trust: Option<&Arc<PeerTrust>>,
        policies: &PolicySet,
        asker: Asker,
    ) -> Response<Body> {
        let is_head = question.method() == Method::HEAD;
        let mut case = match self.open(&question, connection, trust, Face::ForwardAuth) {
            Ok(case) => case,
            Err(response) => return *response,
        };
        let id = HeaderValue::from_str(case.request_id.as_str());
        let head = question.into_parts().0;
        let mut response = match self.word(head, policies, asker, &mut case).await {
            Ok(response) => response,
            Err(rejection) => {
                let mut response = self.reject(rejection, &mut case);
                if let Some(route) = &case.route {
                    route.answer_rules.write(response.headers_mut(), &case.told, None);
                }
                no(&mut response);
                response
            }
        };
        if let Ok(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if case.unread == Unread::ClosesConnection {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_head { without_content(response) } else { response }
    }

    /// The story of one question.
    async fn word(
        &self,
        head: request::Parts,
        policies: &PolicySet,
        asker: Asker,
        case: &mut Case<'_>,
    ) -> Result<Response<Body>, Rejection> {
        let started = self.clock.monotonic();
        let hop = asker.hop.ok_or(QuestionError::Asker)?;
        let head = original(head, asker.dialect, hop)?;
        case.decision.method = head.method.as_str().to_owned();
        case.decision.path = head.uri.path().to_owned();
        let target = wire::inspect(&head, self.max_headers)?;
        case.decision.authority = target.authority.as_str().to_owned();
        case.decision.path = target.path.as_str().to_owned();
        check_direction(&target, case.connection, policies)?;
        case.connection.check_header().map_err(|error| Rejection::Certificate(error.clone()))?;
        let asking = Asking { authority: &target.authority, path: &target.path, method: &head.method, headers: &head.headers };
        match self.redirects.find(asking) {
            // What has moved reaches no upstream anywhere.
            Ok(_) => return Err(RouteError::Unknown.into()),
            Err(RouteError::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
        let route = Arc::clone(self.routes.find(asking)?);
        if let Some(name) = self.claims.of(&head.headers) {
            return Err(QuestionError::Claim(name.clone()).into());
        }
        if session::carried(&head.headers) {
            return Err(QuestionError::Cookie.into());
        }
        if head.headers.contains_key(UPGRADE) && !(route.websocket && is_websocket(&head.headers)) {
            return Err(QuestionError::Upgrade.into());
        }
        let Passage { admission, dpop_nonce, now, .. } = self.admit(&route, (&head, &target), case).await?;
        let (assertion, fields) = self.said(&route, &admission, &head.method, case, now)?;
        let admitted = self.begin(case)?;
        let metrics = route.metrics.get_or_init(|| RouteMetrics::new(&route.name));
        metrics.admitted(self.clock.monotonic().saturating_sub(started));
        let mut response = Response::new(Body::from(Bytes::new()));
        let headers = response.headers_mut();
        for name in &self.claims.names {
            headers.insert(name.clone(), HeaderValue::from_static(""));
        }
        headers.insert(self.asserter.header().clone(), assertion);
        if let Some(verdict) = case.verdict.and_then(Verdict::header_value) {
            headers.insert(VERIFY, verdict);
        }
        for (name, value) in fields {
            headers.insert(name, value);
        }
        if let Some(nonce) = dpop_nonce {
            headers.insert(DPOP_NONCE, nonce);
        }
        // A proxy that keeps it would let others pass by it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        admitted.answered(StatusCode::OK.as_u16(), None);
        Ok(response)
    }
}

/// What a proxy in front understands of a refusal.
fn no(response: &mut Response<Body>) {
    let status = response.status();
    if !status.is_server_error() && status != StatusCode::UNAUTHORIZED {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response.headers_mut().remove(LOCATION);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> request::Parts {
        let mut builder = Request::builder().uri("/ask").header("host", "symbolon.internal").header("content-length", "0");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    fn hop() -> TrustedHop {
        TrustedHop::by_unix_socket()
    }

    #[test]
    fn the_request_is_read_as_it_was_written() {
        for (url, host, target) in [
            ("https://api.example/a?b=c", "api.example", "/a?b=c"),
            ("https://api.example:8443/", "api.example:8443", "/"),
            ("https://api.example/a//b/../c%2f", "api.example", "/a//b/../c%2f"),
            ("https://api.example/a?b=/?c", "api.example", "/a?b=/?c"),
        ] {
            let asked = original(head(&[(URL, url), (METHOD[0], "PUT")]), Dialect::Original, hop()).expect(url);
            assert_eq!((asked.method.as_str(), asked.uri.to_string().as_str()), ("PUT", target));
            assert_eq!((&asked.headers[HOST], asked.headers.len()), (&HeaderValue::from_str(host).expect("a value"), 1));
            let fields = [(PROTO, "https"), (FORWARDED_HOST, host), (FORWARDED_URI, target), (METHOD[1], "PUT")];
            let same = original(head(&fields), Dialect::Forwarded, hop()).expect(url);
            assert_eq!((same.method, same.uri, same.headers), (asked.method, asked.uri, asked.headers));
        }
    }

    #[test]
    fn what_has_two_readings_is_no_question() {
        use QuestionError::*;
        let good = (METHOD[0], "GET");
        for (fields, expected) in [
            (&[good][..], Absent(URL)),
            (&[(URL, "https://a/x")], Absent(METHOD[0])),
            (&[good, (URL, "https://a/x"), (URL, "https://a/x")], Several(URL)),
            (&[good, good, (URL, "https://a/x")], Several(METHOD[0])),
            (&[good, (URL, "http://a/x")], Malformed(URL)),
            (&[good, (URL, "HTTPS://a/x")], Malformed(URL)),
            (&[good, (URL, "/x")], Malformed(URL)),
            (&[good, (URL, "https://a")], Malformed(URL)),
            (&[good, (URL, "https://a?b/c")], Malformed(URL)),
            (&[good, (URL, "https://a#b/c")], Malformed(URL)),
            (&[good, (URL, "https://a/b#c")], Malformed(URL)),
            (&[good, (URL, "https://a/b?c#d")], Malformed(URL)),
            (&[good, (URL, "https://a/b c")], Malformed(URL)),
            (&[(METHOD[0], "G T"), (URL, "https://a/x")], Malformed(METHOD[0])),
            // The other dialect's fields tell nothing.
            (&[(METHOD[1], "GET"), (PROTO, "https"), (FORWARDED_HOST, "a"), (FORWARDED_URI, "/x")], Absent(METHOD[0])),
        ] {
            assert_eq!(original(head(fields), Dialect::Original, hop()).err(), Some(expected), "{fields:?}");
        }
        let whole = [(METHOD[1], "GET"), (PROTO, "https"), (FORWARDED_HOST, "a"), (FORWARDED_URI, "/x")];
        for left_out in 0..whole.len() {
            let fields: Vec<_> = whole.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, field)| *field).collect();
            assert_eq!(original(head(&fields), Dialect::Forwarded, hop()).err(), Some(Absent(whole[left_out].0)));
            let twice: Vec<_> = whole.iter().chain([&whole[left_out]]).copied().collect();
            assert_eq!(original(head(&twice), Dialect::Forwarded, hop()).err(), Some(Several(whole[left_out].0)));
        }
        for (at, value) in [(1, "http"), (1, "https, http"), (3, "x"), (3, ""), (3, "/x#y"), (3, "*"), (3, "https://b/x")] {
            let mut fields = whole;
            fields[at].1 = value;
            assert_eq!(original(head(&fields), Dialect::Forwarded, hop()).err(), Some(Malformed(whole[at].0)), "{value}");
        }
    }

    #[test]
    fn nobody_claims_what_we_say() {
        let claims = Claims::new(["x-who", "client-cert", "x_user"].map(HeaderName::from_static));
        for (name, is_ours) in [
            ("x-who", true),
            ("x_who", true),
            ("x.who", true),
            ("client_cert", true),
            ("x-user", true),
            ("x-symbolon-client-verify", true),
            ("x_symbolon_anything", true),
            ("x-rewrite-url", true),
            ("x_original_url", true),
            ("x-whom", false),
            ("authorization", false),
            ("x-forwarded-for", false),
            ("x-request-id", false),
        ] {
            let headers: HeaderMap = [(HeaderName::from_static(name), HeaderValue::from_static(""))].into_iter().collect();
            assert_eq!(claims.of(&headers).is_some(), is_ours, "{name}");
        }
    }
}
