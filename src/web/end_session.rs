//! `GET` and `POST /end-session` and the page that asks (OpenID Connect RP-Initiated Logout §2): a client signs its person out.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};

use super::authorization::{page_of, signed_in};
use super::pages::{ConfirmSignOutPage, Leads, answer, see_other};
use super::reject::{PersonRefusal, WebError};
use super::{Web, extract, path, sign_out};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::identity::{Form, Leave};
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::logout::LogoutRequest;
use crate::oauth::parameters::Parameters;

/// Takes a request that a browser brings with its cookies.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let outcome = async {
        let asked = web.server.logout_request(&parameters?).map_err(extract::ExtractError::from)?;
        go_on(&web, &asked, &headers).await
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Takes a request that another site posts: cookies do not travel with that, so that the browser comes again by GET.
pub async fn post(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        let asked = web.server.logout_request(&parameters).map_err(extract::ExtractError::from)?;
        let now = web.server.clock.now().map_err(WebError::from_clock)?;
        let sealed = web.server.seal_logout(&asked, now)?;
        Ok(see_other(&format!("{}?request={sealed}", web.pages.path(path::CONFIRM_SIGN_OUT))))
    };
    outcome.await.unwrap_or_else(|error: WebError| page_of(&web, &error, &id))
}

/// Goes on with a request that was posted.
pub async fn resume(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let outcome = async { go_on(&web, &sealed(&web, &parameters?)?, &headers).await };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Takes the person's answer.
pub async fn confirm(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        decide(&web, &parameters, &headers).await
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

fn sealed(web: &Web, parameters: &Parameters) -> Result<LogoutRequest, WebError> {
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    Ok(web.server.open_logout(parameters.get("request").unwrap_or_default(), now)?)
}

/// Ends the session that the client knows; asks about any other.
async fn go_on(web: &Web, asked: &LogoutRequest, headers: &HeaderMap) -> Result<Response, WebError> {
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let Some(person) = signed_in(web, headers).await? else {
        return Ok(sign_out::done(web, None, web.server.after_logout(asked)));
    };
    // §2: "the OP MUST ask the End-User this question if an id_token_hint was not provided or if the supplied ID Token does not belong to
    // the current OP session".
    if let Some(session_id) = asked.hinted().filter(|session_id| **session_id == person.session_id) {
        let signed_out = web.server.sign_out(Leave::Client(session_id), &person, now).await?;
        return Ok(sign_out::done(web, Some(signed_out), web.server.after_logout(asked)));
    }
    let claims = web.server.people.claims(&person.subject).await?.unwrap_or_default();
    let token = web.server.sessions.form_token(Form::SignOut, headers)?.ok_or_else(WebError::defect)?.0;
    let client = asked.client_id().and_then(|client_id| web.server.name_of_client(client_id));
    let page = ConfirmSignOutPage {
        client: client.as_deref(),
        person: &claims.name.or(claims.preferred_username).unwrap_or_default(),
        request: &web.server.seal_logout(asked, now)?,
        csrf: token.as_str(),
    };
    Ok(answer(web.pages.confirm_sign_out(&page), StatusCode::OK, Leads::ToClient))
}

async fn decide(web: &Web, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, WebError> {
    let asked = sealed(web, parameters)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let Some(person) = signed_in(web, headers).await? else {
        return Ok(sign_out::done(web, None, web.server.after_logout(&asked)));
    };
    let token = parameters.get("csrf").unwrap_or_default();
    let form = web.server.sessions.check_form(Form::SignOut, headers, token).map_err(PersonRefusal::from)?;
    match parameters.get("decision") {
        Some("sign_out") => {
            let signed_out = web.server.sign_out(Leave::Form(&form), &person, now).await?;
            Ok(sign_out::done(web, Some(signed_out), web.server.after_logout(&asked)))
        }
        // §3: the browser is led to the client "after a logout has been performed".
        Some("stay") => Ok(see_other(&web.pages.path(path::ACCOUNT))),
        _ => {
            let refusal = Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "the form has no answer");
            Err(extract::ExtractError::Refused(refusal).into())
        }
    }
}
