//! `/sign-in/passkey`: with a passkey, without a username. The browser asks what to sign when its person wants to, and sends what was signed
//! as a form like any other. See [`crate::identity`].

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Request, header};
use serde_json::json;

use super::edge::no_store;
use super::pages::see_other;
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::sign_in::{self, Waiting};
use super::{Peer, Web, extract, path, second_factor};
use crate::domain::RequestId;
use crate::identity::{Form, PasskeyAttempt, SignInError, Surroundings};
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// Passkeys are used here; nothing is here where they cannot be.
pub(super) fn offered(web: &Web) -> Result<(), WebError> {
    if web.server.people.has_passkeys() { Ok(()) } else { Err(WebError::NotFound) }
}

/// Why a passkey did not do; the words for a password's refusal would mislead.
pub(super) fn told(error: SignInError) -> WebError {
    match error {
        SignInError::Wrong(reason) => WebError::Person(PersonRefusal::Passkey(reason)),
        other => PersonRefusal::from(other).into(),
    }
}

/// Gives a browser what its person's passkey is to sign.
pub async fn options(State(web): State<Arc<Web>>, Extension(peer): Extension<Arc<Peer>>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let outcome = async {
        offered(&web)?;
        let parameters = extract::form(request, web.body_limits).await?;
        ask(&web, &peer, &parameters, &headers).await
    };
    outcome.await.unwrap_or_else(|error: WebError| error.into_response())
}

async fn ask(web: &Web, peer: &Peer, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, WebError> {
    let token = parameters.get("csrf").unwrap_or_default();
    // From the sign-in page, or instead of a code: what is signed counts for that page alone.
    let sessions = &web.server.sessions;
    let form = sessions.check_form(Form::SignIn, headers, token);
    let form = form.or_else(|_| sessions.check_form(Form::SecondFactor, headers, token)).map_err(PersonRefusal::from)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let at = (peer.facts().peer_address.ip(), web.server.clock.monotonic());
    let ceremony = web.server.people.ask_for_passkey(&form, token, at, now).await.map_err(told)?;
    let body = json!({ "attempt": ceremony.attempt, "public_key": ceremony.options });
    let mut response = no_store(body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// There is nothing to see here.
pub async fn get(State(web): State<Arc<Web>>) -> Response {
    see_other(&web.pages.path(path::SIGN_IN))
}

/// Signs somebody in, or shows the page that they come from with the reason why not.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers().clone();
    let refusal = |error: &WebError| web.pages.refusal(rejection_of(error), request_id.as_str());
    let parameters = match offered(&web) {
        Ok(()) => extract::form(request, web.body_limits).await.map_err(WebError::from),
        Err(error) => Err(error),
    };
    let parameters = match parameters {
        Ok(parameters) => parameters,
        Err(error) => return refusal(&error),
    };
    let waiting = match Waiting::of(&parameters) {
        Ok(waiting) => waiting,
        Err(error) => return refusal(&extract::ExtractError::from(error).into()),
    };
    let at = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &request_id };
    let outcome = sign_in(&web, &parameters, waiting, at).await;
    let counted = match &outcome {
        Ok(_) => "signed_in",
        Err(WebError::Person(PersonRefusal::Passkey(_))) => "wrong",
        Err(_) => "failed",
    };
    metrics::SIGN_INS.with([counted]).increment(1);
    match outcome {
        Ok(response) => response,
        Err(error @ WebError::Person(PersonRefusal::Passkey(_))) => {
            let again = match parameters.get("held") {
                Some(held) => {
                    let csrf = parameters.get("csrf").unwrap_or_default();
                    Ok(second_factor::again(&web, csrf, held, waiting, &error))
                }
                None => sign_in::again(&web, &headers, waiting, &error),
            };
            again.unwrap_or_else(|error| refusal(&error))
        }
        Err(error) => refusal(&error),
    }
}

async fn sign_in(web: &Web, parameters: &Parameters, waiting: Waiting<'_>, at: Surroundings<'_>) -> Result<Response, WebError> {
    let field = |name| parameters.get(name).unwrap_or_default();
    let (held, csrf) = (parameters.get("held"), field("csrf"));
    let kind = if held.is_some() { Form::SecondFactor } else { Form::SignIn };
    let form = web.server.sessions.check_form(kind, at.headers, csrf).map_err(PersonRefusal::from)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let attempt = PasskeyAttempt { attempt: field("attempt"), credential: field("credential"), now };
    let people = &web.server.people;
    let authenticated = match held {
        Some(held) => people.second_factor_by_passkey(&form, held, csrf, attempt).await,
        None => people.by_passkey(&form, csrf, attempt).await,
    };
    let authenticated = authenticated.map_err(told)?;
    let (_, cookie) = web.server.sessions.begin(authenticated, at, now).await?;
    let mut response = see_other(&waiting.onward(web));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}
