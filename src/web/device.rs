//! `GET` and `POST /device`: a person types the code that a device shows, compares it, and allows or denies (RFC 8628 §3.3).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};

use super::account::moment;
use super::authorization::{page_of, signed_in};
use super::consent::meaning_of;
use super::pages::{self, DeviceConfirmPage, Leads, answer, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Web, extract, path};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::identity::{Form, SignedIn};
use crate::oauth::authorization::Decided;
use crate::oauth::device::UserCode;
use crate::oauth::error::{ErrorCode, OauthError, Refusal};
use crate::oauth::metadata::path as endpoint;
use crate::oauth::parameters::Parameters;

/// Where somebody signs in who is to come back with this code, or to type one.
fn sign_in_first(web: &Web, typed: Option<&str>) -> Response {
    let code = typed.and_then(UserCode::typed).map_or_else(|| "enter".to_owned(), |code| code.to_string());
    see_other(&format!("{}?device={code}", web.pages.path(path::SIGN_IN)))
}

/// Where to go on after signing in; `device` is what [`sign_in_first`] wrote.
pub fn onward(web: &Web, device: &str) -> String {
    let page = web.pages.path(endpoint::DEVICE);
    match UserCode::typed(device) {
        Some(code) => format!("{page}?user_code={code}"),
        None => page,
    }
}

/// Asks for the code, or what to do with the device that shows it.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let shown = async { show(&web, &parameters?, &headers).await };
    shown.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Takes the answer.
pub async fn post(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        decide(&web, &parameters, &headers, &id).await
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

async fn show(web: &Web, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, WebError> {
    let typed = parameters.get("user_code");
    let Some(login) = signed_in(web, headers).await? else { return Ok(sign_in_first(web, typed)) };
    let Some(typed) = typed else { return Ok(answer(web.pages.device("", None), StatusCode::OK, Leads::Here)) };
    let page = match web.server.device_page(typed, &login).await {
        Ok(page) => page,
        Err(error) => return again(web, typed, error),
    };
    let token = web.server.sessions.form_token(Form::Device, headers)?.ok_or_else(WebError::defect)?.0;
    let (person, address, asked) = (name_of(web, &login).await?, page.address.to_string(), moment(page.asked));
    let scopes: Vec<_> = page.scopes.iter().map(|scope| meaning_of(scope)).collect();
    let shown = DeviceConfirmPage {
        client: &page.client_name,
        person: &person,
        user_code: &page.user_code,
        address: &address,
        asked: &asked,
        scopes: &scopes,
        csrf: token.as_str(),
    };
    Ok(answer(web.pages.device_confirm(&shown), StatusCode::OK, Leads::Here))
}

async fn decide(web: &Web, parameters: &Parameters, headers: &HeaderMap, id: &RequestId) -> Result<Response, WebError> {
    let typed = parameters.get("user_code").unwrap_or_default();
    let Some(login) = signed_in(web, headers).await? else { return Ok(sign_in_first(web, Some(typed))) };
    let token = parameters.get("csrf").unwrap_or_default();
    let form = web.server.sessions.check_form(Form::Device, headers, token).map_err(PersonRefusal::from)?;
    let decided = parameters.get("decision").and_then(Decided::named).ok_or_else(|| {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "the form has no answer");
        extract::ExtractError::Refused(refusal)
    })?;
    match web.server.decide_device(typed, decided, &form, &login, id).await {
        Ok(client) => {
            let allowed = decided == Decided::Allow;
            Ok(answer(web.pages.device_done(&client, allowed), StatusCode::OK, Leads::Here))
        }
        Err(error) => again(web, typed, error),
    }
}

/// The form once more, with the reason why.
fn again(web: &Web, typed: &str, error: OauthError) -> Result<Response, WebError> {
    let is_persons = match &error {
        OauthError::Refused(refusal) => refusal.reason == Reason::UserCodeUnknown,
        OauthError::Throttled(..) => true,
        OauthError::Failed(_) => false,
    };
    let error = WebError::Oauth(error);
    if !is_persons {
        return Err(error);
    }
    let rejection = rejection_of(&error);
    let page = web.pages.device(typed, Some(&rejection.description));
    Ok(refused(pages::answer(page, rejection.status, Leads::Here), rejection))
}

async fn name_of(web: &Web, login: &SignedIn) -> Result<String, WebError> {
    let person = web.server.people.claims(&login.subject).await?.unwrap_or_default();
    Ok(person.name.or(person.preferred_username).unwrap_or_default())
}
