//! `POST /sign-in/code`: the second factor, after username and password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::pages::{Leads, answer, answer_with_script, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::second_factor_pages::CodePage;
use super::sign_in::Waiting;
use super::{Peer, Web, extract, path};
use crate::domain::{RequestId, Timestamp};
use crate::event::Reason;
use crate::identity::{CodeAttempt, FirstFactor, Form, SignInError, Surroundings};
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// Asks whoever proved a password for the code.
pub fn ask(
    web: &Web,
    headers: &HeaderMap,
    first: &FirstFactor,
    waiting: Waiting<'_>,
    now: Timestamp,
) -> Result<Response, WebError> {
    let (token, cookie) = web.server.sessions.form_token(Form::SecondFactor, headers)?.ok_or_else(WebError::defect)?;
    let held = web.server.people.hold(first, token.as_str(), now)?;
    let mut response = page(web, (token.as_str(), &held), None, waiting, StatusCode::OK);
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The page that asks, for the form's token and what is held.
fn page(web: &Web, (csrf, held): (&str, &str), problem: Option<&str>, waiting: Waiting<'_>, status: StatusCode) -> Response {
    let passkeys = web.server.people.has_passkeys();
    let html = web.pages.code(&CodePage { csrf, held, problem, waiting, passkeys });
    match passkeys {
        true => answer_with_script(html, status, Leads::ToClient),
        false => answer(html, status, Leads::ToClient),
    }
}

/// Asks once more, after something else than a code failed.
pub fn again(web: &Web, csrf: &str, held: &str, waiting: Waiting<'_>, error: &WebError) -> Response {
    let rejection = rejection_of(error);
    refused(page(web, (csrf, held), Some(&rejection.description), waiting, rejection.status), rejection)
}

/// There is nothing to see before a password was proven.
pub async fn get(State(web): State<Arc<Web>>) -> Response {
    see_other(&web.pages.path(path::SIGN_IN))
}

/// Takes the code, or asks once more with the reason why not.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers().clone();
    let at = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &request_id };
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        sign_in(&web, &parameters, at).await
    };
    outcome.await.unwrap_or_else(|error| web.pages.refusal(rejection_of(&error), request_id.as_str()))
}

async fn sign_in(web: &Web, parameters: &Parameters, at: Surroundings<'_>) -> Result<Response, WebError> {
    let waiting = Waiting::of(parameters).map_err(extract::ExtractError::from)?;
    let field = |name| parameters.get(name).unwrap_or_default();
    let (csrf, held) = (field("csrf"), field("held"));
    let form = web.server.sessions.check_form(Form::SecondFactor, at.headers, csrf).map_err(PersonRefusal::from)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let address = at.peer_address.ip();
    let attempt = CodeAttempt { code: field("code"), address, now, monotonic: web.server.clock.monotonic() };
    let proven = web.server.people.second_factor(&form, held, csrf, attempt).await;
    let counted = match &proven {
        Ok(_) => "signed_in",
        Err(SignInError::Wrong(_)) => "wrong",
        Err(SignInError::TooMany { .. }) => "too_many",
        Err(SignInError::Failed(_)) => "failed",
    };
    metrics::SIGN_INS.with([counted]).increment(1);
    match proven {
        Ok(authenticated) => {
            let (_, cookie) = web.server.sessions.begin(authenticated, at, now).await?;
            let mut response = see_other(&waiting.onward(web));
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => {
            let is_over = error == SignInError::Wrong(Reason::SignInOver);
            let error = WebError::from(PersonRefusal::from(error));
            if is_over || !matches!(error, WebError::Person(_)) {
                return Err(error);
            }
            Ok(again(web, csrf, held, waiting, &error))
        }
    }
}
