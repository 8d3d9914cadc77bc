//! `GET` and `POST /sign-in`: username and password. An authorization request that waits for it is named by `interaction`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::pages::{Leads, SignInPage, answer, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Peer, Web, extract, path};
use crate::domain::{RequestId, Timestamp};
use crate::event::Reason;
use crate::identity::{Attempt, Form, SignInError, Surroundings};
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// The longest name of an interaction, in bytes.
const MAX_INTERACTION: usize = 128;

/// The name of the authorization request that waits, as `interaction` has it. Nothing but letters, digits, `-` and `_`: it goes into a
/// path of ours, and leads nowhere else.
#[derive(Clone, Copy, Debug)]
struct Interaction<'a>(Option<&'a str>);

impl<'a> Interaction<'a> {
    fn of(parameters: &'a Parameters) -> Result<Self, Refusal> {
        let fits = |text: &str| {
            text.len() <= MAX_INTERACTION && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match parameters.get("interaction") {
            Some(text) if !fits(text) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "this link is not one of this server's"))
            }
            interaction => Ok(Self(interaction)),
        }
    }

    /// Where a sign-in leads.
    fn onward(self, web: &Web) -> String {
        match self.0 {
            Some(id) => format!("{}?interaction={id}", web.pages.path(path::RESUME)),
            None => web.pages.path(path::ACCOUNT),
        }
    }
}

/// Shows the form. Whoever is signed in already, and is not sent here by an authorization request, is led to their account.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match show(&web, request.headers().clone(), extract::query(&request)).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn show(web: &Web, headers: HeaderMap, query: Result<Parameters, extract::ExtractError>) -> Result<Response, WebError> {
    let parameters = query?;
    let interaction = Interaction::of(&parameters).map_err(extract::ExtractError::from)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    if interaction.0.is_none() && web.server.sessions.current(&headers, now).await?.is_some() {
        return Ok(see_other(&web.pages.path(path::ACCOUNT)));
    }
    form(web, &headers, SignInPage { interaction: interaction.0, ..SignInPage::default() }, StatusCode::OK)
}

/// The form, and the cookie that its token stands on.
fn form(web: &Web, headers: &HeaderMap, page: SignInPage<'_>, status: StatusCode) -> Result<Response, WebError> {
    let Some((token, cookie)) = web.server.sessions.form_token(Form::SignIn, headers)? else {
        return Err(WebError::defect());
    };
    let mut response = answer(web.pages.sign_in(&SignInPage { csrf: token.as_str(), ..page }), status, Leads::ToClient);
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Signs somebody in, or shows the form again with the reason why not.
pub async fn post(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers().clone();
    let refusal = |error: &WebError| web.pages.refusal(rejection_of(error), request_id.as_str());
    let parameters = match extract::form(request, web.body_limits).await {
        Ok(parameters) => parameters,
        Err(error) => return refusal(&error.into()),
    };
    let interaction = match Interaction::of(&parameters) {
        Ok(interaction) => interaction,
        Err(error) => return refusal(&extract::ExtractError::from(error).into()),
    };
    let surroundings = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &request_id };
    let outcome = sign_in(&web, &parameters, interaction, surroundings).await;
    metrics::SIGN_INS.with([outcome_name(&outcome)]).increment(1);
    let error = match outcome {
        Ok(response) => return response,
        Err(error) => error,
    };
    let rejection = rejection_of(&error);
    let page = SignInPage {
        interaction: interaction.0,
        username: parameters.get("username").unwrap_or_default(),
        problem: Some(&rejection.description),
        csrf: "",
    };
    match form(&web, &headers, page, rejection.status) {
        Ok(shown) => refused(shown, rejection),
        Err(error) => refusal(&error),
    }
}

async fn sign_in(
    web: &Web,
    parameters: &Parameters,
    interaction: Interaction<'_>,
    at: Surroundings<'_>,
) -> Result<Response, WebError> {
    let now: Timestamp = web.server.clock.now().map_err(WebError::from_clock)?;
    let field = |name| parameters.get(name).unwrap_or_default();
    let form = web.server.sessions.check_form(Form::SignIn, at.headers, field("csrf")).map_err(PersonRefusal::from)?;
    let attempt = Attempt {
        username: field("username"),
        password: field("password"),
        address: at.peer_address.ip(),
        monotonic: web.server.clock.monotonic(),
    };
    let authenticated = web.server.people.authenticate(&form, &attempt).await.map_err(PersonRefusal::from)?;
    let (_, cookie) = web.server.sessions.begin(authenticated, at, now).await?;
    let mut response = see_other(&interaction.onward(web));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

const fn outcome_name(outcome: &Result<Response, WebError>) -> &'static str {
    match outcome {
        Ok(_) => "signed_in",
        Err(WebError::Person(PersonRefusal::SignIn(SignInError::Wrong(_)))) => "wrong",
        Err(WebError::Person(PersonRefusal::SignIn(SignInError::TooMany { .. }))) => "too_many",
        Err(_) => "failed",
    }
}
