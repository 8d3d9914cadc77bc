//! `POST /sign-out`, `GET /signed-out`: the end of this browser's session.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode, header};

use super::pages::{Leads, answer, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Web, extract, path};
use crate::domain::RequestId;
use crate::identity::Form;

/// Ends the session. Whoever has none is signed out already.
pub async fn post(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match sign_out(&web, request).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn sign_out(web: &Web, request: Request<Body>) -> Result<Response, WebError> {
    let headers = request.headers().clone();
    let parameters = extract::form(request, web.body_limits).await?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let mut response = see_other(&web.pages.path(path::SIGNED_OUT));
    if let Some(person) = web.server.sessions.current(&headers, now).await? {
        let token = parameters.get("csrf").unwrap_or_default();
        let form = web.server.sessions.check_form(Form::Account, &headers, token).map_err(PersonRefusal::from)?;
        let cookie = web.server.sessions.end(&form, &person, now).await?;
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Says that it is done.
pub async fn done(State(web): State<Arc<Web>>) -> Response {
    answer(web.pages.signed_out(), StatusCode::OK, Leads::Here)
}
