//! `GET` and `POST /userinfo` (OpenID Connect Core §5.3).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use super::challenge::{challenge, put_nonce};
use super::edge::{no_store, no_store_json};
use super::reject::WebError;
use super::{Peer, Web, extract};
use crate::binding::Presenter;
use crate::binding::dpop;
use crate::domain::Scope;
use crate::oauth::protected_resource::{Denied, ResourceError, ResourceRequest};
use crate::oauth::userinfo::Userinfo;
use crate::resource::{self, PresentError, Presented, Terms};

/// Tells about the person whom the access token speaks of.
pub async fn serve(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request<Body>,
) -> Result<Response, WebError> {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let presented = presented(&web, request).await?;
    let certificate = peer.facts().peer.as_ref().ok().and_then(Option::as_deref);
    let asked = ResourceRequest {
        method: method.as_str(),
        presented,
        proof: dpop::presented(&headers),
        presenter: Presenter::known(certificate, peer.facts().peer_thumbprint.as_ref()),
    };
    let (userinfo, nonce) = match web.server.userinfo(asked).await {
        Ok(told) => told,
        Err(ResourceError::Failed(error)) => return Err(error.into()),
        Err(ResourceError::Denied(denied)) => return Ok(refuse(&web, denied)),
    };
    let mut response = match userinfo {
        Userinfo::Plain(members) => no_store_json(&members, 512),
        Userinfo::Jwt(jwt) => {
            let mut response = no_store(Response::new(Body::from(jwt)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwt"));
            response
        }
    };
    put_nonce(&mut response, nonce);
    Ok(response)
}

/// The token: in the header, or in the form of a POST (RFC 6750 §2.2), never in both.
async fn presented(web: &Web, request: Request<Body>) -> Result<Result<Presented, PresentError>, WebError> {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let is_form = request.method() == Method::POST && headers.contains_key(header::CONTENT_TYPE);
    if headers.contains_key(header::AUTHORIZATION) || !is_form {
        return Ok(resource::present(&headers, &uri));
    }
    let parameters = extract::form(request, web.body_limits).await?;
    let Some(token) = parameters.get("access_token") else { return Ok(resource::present(&headers, &uri)) };
    let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) else { return Ok(Err(PresentError::Malformed)) };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    Ok(resource::present(&headers, &Uri::default()))
}

/// RFC 6750 §3, RFC 9449 §7.1.
fn refuse(web: &Web, denied: Denied) -> Response {
    let Some(audience) = web.server.resources.userinfo() else { return WebError::defect().into_response() };
    let scopes: Scope = "openid".parse().unwrap_or_default();
    let algorithms = web.server.dpop.rules().algorithms.as_slice();
    let terms = Terms { audience, scopes: &scopes, bearer: true, dpop: Some(algorithms), step_up: None, resource_metadata: None };
    challenge(denied, &terms)
}
