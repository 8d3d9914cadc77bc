//! `/sign-in/at/NAME`: to another OpenID Provider by POST, and back by GET. See [`crate::identity`].

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::pages::{Leads, answer, refused, see_other};
use super::provider_pages::{LinkPage, ProviderRefusedPage};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::sign_in::Waiting;
use super::{Peer, Web, extract, path, second_factor};
use crate::domain::{RequestId, Timestamp};
use crate::identity::{
    Aim, AtProvider, AtProviderError, Demand, Form, IdentityProvider, Proven, ProviderAnswer, SignInError, Surroundings, Trip,
};
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// The provider of a name; nothing is here where there is none.
pub(super) fn provider<'a>(web: &'a Web, name: &str) -> Result<&'a IdentityProvider, WebError> {
    web.server.identity_providers.named(name).ok_or(WebError::NotFound)
}

/// The words for whoever was not signed in by a provider.
pub(super) fn told(error: AtProviderError) -> WebError {
    match error {
        AtProviderError::Refused(reason) | AtProviderError::Unavailable(reason) => PersonRefusal::Provider(reason).into(),
        AtProviderError::Failed(fault) => fault.into(),
    }
}

/// The same for whom their account there opens none here.
pub(super) fn told_sign_in(error: SignInError) -> WebError {
    match error {
        SignInError::Wrong(reason) => PersonRefusal::Provider(reason).into(),
        other => PersonRefusal::from(other).into(),
    }
}

/// Sends a browser to a provider, from the sign-in page.
pub async fn begin(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers().clone();
    let mut back = None;
    let outcome = async {
        let provider = provider(&web, &name)?;
        let parameters = extract::form(request, web.body_limits).await?;
        let waiting = Waiting::of(&parameters).map_err(extract::ExtractError::from)?;
        back = Some(waiting.sign_in(&web));
        let csrf = parameters.get("csrf").unwrap_or_default();
        let form = web.server.sessions.check_form(Form::SignIn, &headers, csrf).map_err(PersonRefusal::from)?;
        let demand = match (parameters.get("again"), waiting.interaction) {
            (Some(_), _) => Demand::NOW,
            (None, Some(interaction)) => web.server.demand_of_interaction(interaction, &headers).await?,
            (None, None) => Demand::default(),
        };
        let trip = Trip {
            aim: Aim::SignIn,
            waiting: (waiting.interaction, waiting.device),
            demand,
            session: None,
            headers: &headers,
            address: peer.facts().peer_address.ip(),
        };
        let now = web.server.clock.now().map_err(WebError::from_clock)?;
        let providers = &web.server.identity_providers;
        let (url, cookies) = web.server.people.send_to_provider(&form, (providers, provider), trip, now).await.map_err(told)?;
        let mut response = see_other(&url);
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    };
    let outcome = outcome.await;
    outcome.unwrap_or_else(|error: WebError| refusal(&web, &error, back.as_deref(), &id))
}

/// A refusal with a way on. Every other way to sign in is still there.
pub(super) fn refusal(web: &Web, error: &WebError, back: Option<&str>, id: &RequestId) -> Response {
    let rejection = rejection_of(error);
    let (Some(back), WebError::Person(PersonRefusal::Provider(_))) = (back, error) else {
        return web.pages.refusal(rejection, id.as_str());
    };
    let page = ProviderRefusedPage { problem: &rejection.description, back, request_id: id.as_str() };
    let shown = answer(web.pages.provider_refused(&page), rejection.status, Leads::Here);
    refused(shown, rejection)
}

/// Takes a browser back that a provider sends, and signs its person in or asks whether to link.
pub async fn returned(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let parameters = extract::query(&request);
    let headers = request.headers().clone();
    let at = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &id };
    let mut back = web.pages.path(path::SIGN_IN);
    let mut cleared = None;
    let outcome = async {
        let provider = provider(&web, &name)?;
        let parameters = parameters?;
        let brought = ProviderAnswer {
            state: parameters.get("state"),
            code: parameters.get("code"),
            error: parameters.get("error"),
            iss: parameters.get("iss"),
        };
        cleared = web.server.people.end_of_trip(&brought);
        take(&web, provider, &brought, at, &mut back).await
    };
    let outcome = outcome.await;
    let mut response = outcome.unwrap_or_else(|error: WebError| refusal(&web, &error, Some(&back), &id));
    if let Some(cookie) = cleared {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

async fn take(
    web: &Web,
    provider: &IdentityProvider,
    brought: &ProviderAnswer<'_>,
    at: Surroundings<'_>,
    back: &mut String,
) -> Result<Response, WebError> {
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let (people, providers) = (&web.server.people, &web.server.identity_providers);
    let address = at.peer_address.ip();
    let there = people.back_from_provider((providers, provider), brought, (at.headers, address), now).await.map_err(told)?;
    let waiting = Waiting { interaction: there.interaction(), device: there.device() };
    *back = match there.aim() {
        Aim::SignIn => waiting.sign_in(web),
        Aim::Link => web.pages.path(path::ACCOUNT),
    };
    match there.aim() {
        Aim::SignIn => sign_in(web, provider, &there, waiting, at, now).await,
        Aim::Link => ask(web, provider, &there, at.headers, now).await,
    }
}

async fn sign_in(
    web: &Web,
    provider: &IdentityProvider,
    there: &AtProvider,
    waiting: Waiting<'_>,
    at: Surroundings<'_>,
    now: Timestamp,
) -> Result<Response, WebError> {
    let proven = web.server.people.by_provider(provider, there, now).await;
    let counted = match &proven {
        Ok(Proven::Whole(_)) => "signed_in",
        Ok(Proven::First(_)) => "code_asked",
        Err(SignInError::Wrong(_)) => "wrong",
        Err(SignInError::TooMany { .. }) => "too_many",
        Err(SignInError::Failed(_)) => "failed",
    };
    metrics::SIGN_INS.with([counted]).increment(1);
    let authenticated = match proven.map_err(told_sign_in)? {
        Proven::Whole(authenticated) => authenticated,
        Proven::First(first) => return second_factor::ask(web, at.headers, &first, waiting, now),
    };
    let (_, cookie) = web.server.sessions.begin(authenticated, at, now).await?;
    let mut response = see_other(&waiting.onward(web));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Shows which account it is that somebody signed in to there. Nothing is changed by that.
async fn ask(
    web: &Web,
    provider: &IdentityProvider,
    there: &AtProvider,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Response, WebError> {
    let Some(person) = web.server.sessions.current(headers, now).await? else {
        return Ok(see_other(&web.pages.path(path::SIGN_IN)));
    };
    let (held, title) = web.server.people.hold_account(there, provider, &person, now).map_err(told_sign_in)?;
    let token = web.server.sessions.form_token(Form::Account, headers)?.ok_or_else(WebError::defect)?.0;
    let page = LinkPage { csrf: token.as_str(), account: &held, title: &title, provider: provider.label() };
    Ok(answer(web.pages.link_account(&page), StatusCode::OK, Leads::Here))
}

/// The parameters that name a provider in a form of the account page.
pub(super) fn named<'a>(web: &'a Web, parameters: &Parameters) -> Result<&'a IdentityProvider, WebError> {
    provider(web, parameters.get("provider").unwrap_or_default())
}
