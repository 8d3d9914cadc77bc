//! `POST /token` (RFC 6749 §3.2, §5.1).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Request};
use serde::Serialize;

use super::edge::no_store_json;
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::binding::dpop::DPOP_NONCE;
use crate::domain::RequestId;
use crate::oauth::dpop::PresentedProof;

/// A successful answer (RFC 6749 §5.1).
#[derive(Debug, Serialize)]
struct Answer {
    access_token: String,
    token_type: &'static str,
    /// RFC 8693 §2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    expires_in: u32,
    /// Left out when empty: no scope has no spelling (RFC 6749 §3.3).
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// OpenID Connect Core §3.1.3.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// Mints an access token for an authenticated client.
pub async fn post(web: &Web, peer: &Peer, request_id: &RequestId, request: Request<Body>) -> Result<Response, WebError> {
    let proof = PresentedProof::of(request.headers());
    let taken = extract::client_form(request, web.body_limits).await?;
    let (issued, nonce) = web.server.token(&taken.from(peer), &proof, request_id.clone()).await?;
    let answer = Answer {
        access_token: issued.access_token,
        token_type: issued.token_type,
        issued_token_type: issued.issued_token_type,
        expires_in: issued.expires_in,
        scope: issued.scope,
        refresh_token: issued.refresh_token,
        id_token: issued.id_token,
    };
    // The token has no character to be escaped; the rest is short but for the scope.
    let more = [&answer.refresh_token, &answer.id_token].into_iter().flatten().map(|token| token.len() + 32).sum::<usize>();
    let room = answer.access_token.len() + answer.scope.len() + more + 224;
    let mut response = no_store_json(&answer, room);
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    Ok(response)
}
