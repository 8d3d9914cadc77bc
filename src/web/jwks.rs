//! `GET /jwks` (RFC 7517 §5).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, header};

use super::Web;

/// Our public keys. Readers may keep them for five minutes.
pub async fn get(State(web): State<Arc<Web>>) -> Response {
    let mut response = Response::new(Body::from(web.server.keys.load().jwks().clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
