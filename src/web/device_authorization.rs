//! `POST /device-authorization` (RFC 8628 §3.1, §3.2).

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

/// A successful answer (§3.2).
#[derive(Debug, Serialize)]
struct Answer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u32,
    interval: u32,
}

/// Takes a device's request in.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let taken = extract::client_form(request, web.body_limits).await?;
    let given = web.server.authorize_device(&taken.from(&peer)).await?;
    let answer = Answer {
        device_code: given.device_code,
        user_code: given.user_code.to_string(),
        verification_uri: given.verification_uri,
        verification_uri_complete: given.verification_uri_complete,
        expires_in: given.expires_in,
        interval: given.interval,
    };
    Ok(no_store_json(&answer, 512))
}
