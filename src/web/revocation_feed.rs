//! `GET /revocation-feed`: revocation rules for gateways.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use http::Request;

use super::edge::no_store;
use super::reject::WebError;
use super::{Peer, Web, extract};

/// Tells an authenticated gateway what was revoked after a sequence number, waiting for news if it asks to.
pub async fn get(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let taken = extract::client_query(&request)?;
    let page = web.server.revocation_feed(&taken.from(&peer)).await?;
    Ok(no_store(Json(page)))
}
