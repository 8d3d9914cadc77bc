//! Cross-origin requests from browsers (Fetch §3.2): metadata and keys are for every page; the token, revocation and userinfo endpoints
//! are for pages of origins at which a client has a redirect URI. No cookie goes with any of them, and none is allowed to.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::endpoint::Endpoint;
use crate::clients::Directory;

/// What a page may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, dpop");
/// What a page may read beside what every page may: the nonce for its next DPoP proof, why a token was refused, the request's name.
const EXPOSED: HeaderValue = HeaderValue::from_static("dpop-nonce, www-authenticate, x-request-id");
/// How long a browser may remember the answer to its question, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// For whose pages an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Everyone,
    Registered,
    Nobody,
}

const fn audience(endpoint: Endpoint) -> Audience {
    match endpoint {
        Endpoint::Metadata | Endpoint::Jwks => Audience::Everyone,
        Endpoint::Token | Endpoint::Revocation | Endpoint::Userinfo => Audience::Registered,
        _ => Audience::Nobody,
    }
}

/// Leave for the page that a request comes from to read the answer.
#[derive(Clone, Debug)]
pub struct Shared(HeaderValue);

/// The leave that a request's page has, if it comes from one and may be answered.
pub fn shared(endpoint: Endpoint, headers: &HeaderMap, clients: &Directory) -> Option<Shared> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    match audience(endpoint) {
        Audience::Everyone => Some(Shared(HeaderValue::from_static("*"))),
        Audience::Registered if origin.to_str().is_ok_and(|origin| clients.has_origin(origin)) => Some(Shared(origin.clone())),
        Audience::Registered | Audience::Nobody => None,
    }
}

/// Whether a browser asks before it sends the request itself.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl Shared {
    /// The answer to a browser that asks before.
    pub fn preflight(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        response
    }

    /// Lets the page read an answer.
    pub fn give(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}
