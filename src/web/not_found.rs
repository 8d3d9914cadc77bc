//! Paths that are no endpoint: the page at the issuer's own URL, and everything else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Web;
use super::pages::CONTENT_SECURITY_POLICY;
use super::reject::{Rejected, WebError, rejection_of};
use crate::domain::RequestId;
use crate::oauth::metadata::path;

/// What a person sees who opens the issuer's URL.
pub async fn home(State(web): State<Arc<Web>>) -> Response {
    let issuer = &web.server.issuer;
    let jwks = format!("{}{}", issuer.path(), path::JWKS);
    page(web.pages.home(issuer.as_str(), &web.metadata_path(), &jwks).ok(), StatusCode::OK)
}

/// Nothing is here.
pub async fn fallback(State(web): State<Arc<Web>>, Extension(request_id): Extension<RequestId>, headers: HeaderMap) -> Response {
    let wants_page = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.split(',').any(|range| range.trim_start().starts_with("text/html")));
    if !wants_page {
        return WebError::NotFound.into_response();
    }
    let rejection = rejection_of(&WebError::NotFound);
    let mut response =
        page(web.pages.error("Not found", "There is nothing at this address.", request_id.as_str()).ok(), rejection.status);
    response.extensions_mut().insert(Rejected { rejection, client_id: None });
    response
}

fn page(html: Option<String>, status: StatusCode) -> Response {
    let Some(html) = html else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
