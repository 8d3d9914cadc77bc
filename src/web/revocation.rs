//! `POST /revoke` (RFC 7009 §2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};

use super::edge::no_store;
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::domain::RequestId;

/// Revokes a token of the calling client. The answer has no body (RFC 7009 §2.2).
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let taken = extract::client_form(request, web.body_limits).await?;
    web.server.revoke(&taken.from(&peer), &request_id).await?;
    Ok(no_store(StatusCode::OK))
}
