//! What the API says of itself to anybody (RFC 9728).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::Admin;

/// The document.
pub async fn get(State(admin): State<Arc<Admin>>) -> Response {
    let server = &admin.web.server;
    Json(admin.administration.metadata(&server.issuer, &server.dpop.rules().algorithms)).into_response()
}
