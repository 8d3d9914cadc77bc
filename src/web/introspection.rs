//! `POST /introspect` (RFC 7662 §2, RFC 9701 §4).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, header};

use super::edge::{no_store, no_store_json};
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::domain::RequestId;
use crate::oauth::introspect::{AnswerForm, Introspected};

/// The media type of a signed answer (RFC 9701 §8.4).
const SIGNED: &str = "application/token-introspection+jwt";

/// Tells an authenticated resource server what a token says.
pub async fn post(web: &Web, peer: &Peer, request_id: &RequestId, request: Request<Body>) -> Result<Response, WebError> {
    let form = form(request.headers());
    let taken = extract::client_form(request, web.body_limits).await?;
    let answer = web.server.introspect(&taken.from(peer), form, request_id).await?;
    Ok(match answer {
        Introspected::Plain(members) => no_store_json(&members, 768),
        Introspected::Signed(jwt) => {
            let mut response = no_store(Response::new(Body::from(jwt)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SIGNED));
            response
        }
    })
}

/// What `Accept` asks for. Whoever names the media type of RFC 9701 gets it, unless with a weight of zero (RFC 9110 §12.4.2).
fn form(headers: &HeaderMap) -> AnswerForm {
    let accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let is_signed = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(SIGNED));
        let refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
        };
        named && !parts.any(refused)
    };
    match accepted.into_iter().any(is_signed) {
        true => AnswerForm::Signed,
        false => AnswerForm::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_answer_is_for_whoever_asks_for_it() {
        for (accept, expected) in [
            ("", AnswerForm::Plain),
            ("*/*", AnswerForm::Plain),
            ("application/json", AnswerForm::Plain),
            ("application/jwt", AnswerForm::Plain),
            ("application/token-introspection+jwt", AnswerForm::Signed),
            ("Application/Token-Introspection+JWT; q=0.5, application/json", AnswerForm::Signed),
            ("application/json, application/token-introspection+jwt;q=0", AnswerForm::Plain),
        ] {
            let value = HeaderValue::from_static(accept);
            assert_eq!(form(&HeaderMap::from_iter([(header::ACCEPT, value)])), expected, "{accept}");
        }
    }
}
