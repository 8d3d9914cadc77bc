//! `POST /introspect` (RFC 7662 §2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;

use super::edge::no_store_json;
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::domain::RequestId;

/// Tells an authenticated resource server what a token says.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let taken = extract::client_form(request, web.body_limits).await?;
    let answer = web.server.introspect(&taken.from(&peer), &request_id).await?;
    Ok(no_store_json(&answer, 768))
}
