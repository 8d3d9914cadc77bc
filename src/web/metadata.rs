//! `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, header};

use super::Web;

/// What this server can do.
pub async fn get(State(web): State<Arc<Web>>) -> Response {
    let mut response = Response::new(Body::from(web.metadata.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
