//! The refusal of a protected resource of ours (RFC 6750 §3, RFC 9449 §7.1).

use axum::response::Response;
use http::{HeaderValue, header};

use super::reject::{Rejected, Rejection, respond};
use crate::binding::dpop::DPOP_NONCE;
use crate::oauth::protected_resource::Denied;
use crate::resource::Terms;

/// The answer to a request that was denied, with a challenge for each scheme that the resource takes.
pub fn challenge(denied: Denied, terms: &Terms<'_>) -> Response {
    let rejection = Rejection {
        status: denied.answer.status(),
        error: denied.answer.error(),
        description: denied.answer.description().to_owned(),
        header: None,
        reason: denied.reason,
        body_unread: false,
    };
    let mut response = respond(&rejection);
    for challenge in denied.answer.challenges(denied.scheme, terms) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    put_nonce(&mut response, denied.dpop_nonce);
    response.extensions_mut().insert(Rejected { rejection, client_id: None });
    response
}

/// The nonce for the caller's next proof (RFC 9449 §8.2, §9).
pub fn put_nonce(response: &mut Response, nonce: Option<String>) {
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}
