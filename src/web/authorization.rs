//! `GET` and `POST /authorize`, and `GET /authorize/resume` (RFC 6749 §3.1, OpenID Connect Core §3.1.2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, header};

use super::pages::see_other;
use super::reject::{Rejected, WebError, refusal_of, rejection_of};
use super::{Peer, Web, extract, form_post, path};
use crate::domain::RequestId;
use crate::identity::SignedIn;
use crate::oauth::authorization::{Answer, InteractionId, Method, Outcome};
use crate::oauth::parameters::Parameters;

/// Answers an authorization request that a browser brings with its cookies.
pub async fn get(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let outcome = async {
        let parameters = parameters?;
        let login = signed_in(&web, &headers).await?;
        let outcome = web.server.authorize(&parameters, Method::Get, login.as_ref(), peer.facts().peer_address.ip(), &id).await?;
        tell_in_turn(&web, &headers, outcome, None)
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Keeps a request that another site posted: cookies do not travel with that, so that the browser comes again by GET.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        let outcome = web.server.authorize(&parameters, Method::Post, None, peer.facts().peer_address.ip(), &id).await?;
        tell(&web, outcome, None)
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Goes on where signing in had interrupted.
pub async fn resume(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let outcome = async {
        let interaction = interaction(&web, &parameters?, &headers)?;
        let login = signed_in(&web, &headers).await?;
        let outcome = web.server.resume(&interaction, login.as_ref(), &id).await?;
        tell_in_turn(&web, &headers, outcome, Some(&interaction))
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Leads the browser on. Where it begins one more interaction than it may keep, the oldest go.
fn tell_in_turn(web: &Web, headers: &HeaderMap, outcome: Outcome, from: Option<&InteractionId>) -> Result<Response, WebError> {
    let cleared = match &outcome {
        Outcome::SignIn(id) | Outcome::Consent(id) | Outcome::Resume(id) => {
            web.server.clear_oldest_interaction_cookies(headers, id)
        }
        Outcome::Answer(_) => Vec::new(),
    };
    let mut response = tell(web, outcome, from)?;
    for cookie in cleared {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The interaction that a request names, if this browser began it.
pub fn interaction(web: &Web, parameters: &Parameters, headers: &HeaderMap) -> Result<InteractionId, WebError> {
    let named = parameters.get("interaction").unwrap_or_default();
    Ok(web.server.interaction_of(named, headers).map_err(extract::ExtractError::Refused)?)
}

/// Who is signed in in the browser of a request.
pub async fn signed_in(web: &Web, headers: &HeaderMap) -> Result<Option<SignedIn>, WebError> {
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    Ok(web.server.sessions.current(headers, now).await?)
}

/// What must not go to any client is told on a page of ours.
pub fn page_of(web: &Web, error: &WebError, id: &RequestId) -> Response {
    let mut response = web.pages.refusal(rejection_of(error), id.as_str());
    if let (Some(rejected), Some(client_id)) = (response.extensions_mut().get_mut::<Rejected>(), error.client_id()) {
        rejected.client_id = Some(client_id.clone());
    }
    response
}

/// Leads the browser on. `from` is the interaction it comes from.
pub fn tell(web: &Web, outcome: Outcome, from: Option<&InteractionId>) -> Result<Response, WebError> {
    let to = |page: &str, id: &InteractionId| -> Result<Response, WebError> {
        let mut response = see_other(&format!("{}?interaction={}", web.pages.path(page), id.as_str()));
        if from != Some(id) {
            response.headers_mut().append(header::SET_COOKIE, web.server.interaction_cookie(id)?);
        }
        Ok(response)
    };
    let mut response = match &outcome {
        Outcome::SignIn(id) => to(path::SIGN_IN, id)?,
        Outcome::Consent(id) => to(path::CONSENT, id)?,
        Outcome::Resume(id) => to(path::RESUME, id)?,
        Outcome::Answer(answer) => to_client(answer),
    };
    if let (Outcome::Answer(_), Some(from)) = (&outcome, from)
        && let Some(cookie) = web.server.clear_interaction_cookie(from)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// RFC 9700 §4.12: 303, so that no browser repeats the form that led here.
fn to_client(answer: &Answer) -> Response {
    let mut response = match answer.location() {
        Some(location) => see_other(&location),
        None => form_post::page(answer),
    };
    if let Some(refusal) = &answer.refusal {
        let mut rejection = refusal_of(refusal);
        rejection.status = response.status();
        response.extensions_mut().insert(Rejected { rejection, client_id: refusal.client_id.clone() });
    }
    response
}
