//! `POST /register`, and `GET`, `PUT` and `DELETE /register/{client_id}` (RFC 7591 §3, RFC 7592 §2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::edge::{no_store, no_store_json};
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::event::Reason;
use crate::oauth::registration_token::{Registrant, ShownCertificate};

/// Room for what most answers take.
const ROOM: usize = 2_048;

/// Registers a client.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let headers = request.headers().clone();
    let body = extract::json(request, web.body_limits).await?;
    let told = web.server.register(&body, &registrant(&headers, &peer)).await?;
    let mut response = no_store_json(&told, ROOM);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Tells a client its registration.
pub async fn get(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    Ok(no_store_json(&web.server.registered(&client_id, &registrant(&headers, &peer)).await?, ROOM))
}

/// Replaces it.
pub async fn put(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(client_id): Path<String>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let headers = request.headers().clone();
    let body = extract::json(request, web.body_limits).await?;
    let told = web.server.update_registration(&client_id, &registrant(&headers, &peer), &body).await?;
    Ok(no_store_json(&told, ROOM))
}

/// Removes it.
pub async fn delete(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    web.server.remove_registration(&client_id, &registrant(&headers, &peer)).await?;
    Ok(no_store(StatusCode::NO_CONTENT))
}

/// Who asks, by header and connection.
fn registrant<'a>(headers: &'a HeaderMap, peer: &'a Peer) -> Registrant<'a> {
    let facts = peer.facts();
    let certificate = match (&facts.peer, &facts.peer_thumbprint) {
        (Ok(Some(certificate)), _) => ShownCertificate::Whole(certificate),
        (Ok(None), None) => ShownCertificate::Nothing,
        (Ok(None), Some(_)) => ShownCertificate::Useless(Reason::CertificateAbsent),
        (Err(error), _) => ShownCertificate::Useless(error.reason()),
    };
    Registrant { bearer: bearer(headers), certificate, address: facts.peer_address.ip() }
}

/// The one bearer token of a request, in its header (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        }
        _ => None,
    }
}
