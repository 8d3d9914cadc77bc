//! `POST /token` (RFC 6749 §3.2, §5.1).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use serde::Serialize;

use super::edge::no_store_json;
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::domain::RequestId;

/// A successful answer (RFC 6749 §5.1).
#[derive(Debug, Serialize)]
struct Answer {
    access_token: String,
    token_type: &'static str,
    expires_in: u32,
    /// Left out when empty: no scope has no spelling (RFC 6749 §3.3).
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// Mints an access token for an authenticated client.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let taken = extract::form(request, web.body_limits).await?;
    let issued = web.server.token(&taken.from(&peer), request_id).await?;
    let answer =
        Answer { access_token: issued.access_token, token_type: "Bearer", expires_in: issued.expires_in, scope: issued.scope };
    // The token has no character to be escaped; the rest is short but for the scope.
    let room = answer.access_token.len() + answer.scope.len() + 128;
    Ok(no_store_json(&answer, room))
}
