//! Paths that are no endpoint: the page at the issuer's own URL, and everything else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};

use super::Web;
use super::pages::{Leads, answer};
use super::reject::{WebError, rejection_of};
use crate::domain::RequestId;
use crate::oauth::metadata::path;

/// What a person sees who opens the issuer's URL.
pub async fn home(State(web): State<Arc<Web>>) -> Response {
    let issuer = &web.server.issuer;
    let jwks = format!("{}{}", issuer.path(), path::JWKS);
    answer(web.pages.home(issuer.as_str(), &web.metadata_path(), &jwks), StatusCode::OK, Leads::Here)
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
    web.pages.refusal(rejection_of(&WebError::NotFound), request_id.as_str())
}
