//! `POST /par` (RFC 9126 §2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};
use serde::Serialize;

use super::edge::no_store_json;
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::oauth::client_auth::ClientRequest;
use crate::oauth::dpop::PresentedProof;
use crate::oauth::metadata::path;

/// A successful answer (RFC 9126 §2.2).
#[derive(Debug, Serialize)]
struct Answer {
    request_uri: String,
    expires_in: u32,
}

/// Takes an authorization request from an authenticated client.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let proof = PresentedProof::of(request.headers());
    let taken = extract::client_form(request, web.body_limits).await?;
    // RFC 9126 §2: the server "MUST accept its issuer identifier, token endpoint URL, or pushed authorization request endpoint URL".
    let asked = ClientRequest { own_audience: Some(path::PUSHED_REQUEST), ..taken.from(&peer) };
    let pushed = web.server.push(&asked, &proof).await?;
    let mut response = no_store_json(&Answer { request_uri: pushed.request_uri, expires_in: pushed.expires_in }, 160);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
