//! `GET` and `POST /sign-in`: username and password. An authorization request that waits for it is named by `interaction`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::pages::{Leads, SignInPage, answer, answer_with_script, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Peer, Web, extract, path, second_factor};
use crate::domain::{RequestId, Timestamp};
use crate::event::Reason;
use crate::identity::{Attempt, Form, Proven, SignInError, Surroundings};
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// The longest name of what waits, in bytes.
const MAX_NAME: usize = 128;

/// What waits for somebody to sign in: the authorization request that `interaction` names, or a device with the code in `device`. Nothing but
/// letters, digits, `-` and `_`: it goes into a path of ours, and leads nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    pub(super) interaction: Option<&'a str>,
    pub(super) device: Option<&'a str>,
}

impl<'a> Waiting<'a> {
    pub(super) fn of(parameters: &'a Parameters) -> Result<Self, Refusal> {
        let fits = |text: &str| {
            text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let named = |name| match parameters.get(name) {
            Some(text) if !fits(text) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "this link is not one of this server's"))
            }
            found => Ok(found),
        };
        Ok(Self { interaction: named("interaction")?, device: named("device")? })
    }

    const fn is_nothing(self) -> bool {
        self.interaction.is_none() && self.device.is_none()
    }

    /// Where a sign-in leads.
    pub(super) fn onward(self, web: &Web) -> String {
        match (self.interaction, self.device) {
            (Some(id), _) => format!("{}?interaction={id}", web.pages.path(path::RESUME)),
            (None, Some(device)) => super::device::onward(web, device),
            (None, None) => web.pages.path(path::ACCOUNT),
        }
    }

    /// The sign-in page that remembers it.
    pub(super) fn sign_in(self, web: &Web) -> String {
        let page = web.pages.path(path::SIGN_IN);
        match (self.interaction, self.device) {
            (Some(interaction), _) => format!("{page}?interaction={interaction}"),
            (None, Some(device)) => format!("{page}?device={device}"),
            (None, None) => page,
        }
    }

    /// The form that remembers it.
    fn page(self, web: &'a Web) -> SignInPage<'a> {
        let certificates = web.server.person_certificates.is_some();
        SignInPage {
            interaction: self.interaction,
            device: self.device,
            certificates,
            passkeys: web.server.people.has_passkeys(),
            providers: Some(&web.server.identity_providers),
            ..SignInPage::default()
        }
    }
}

/// Shows the form. Whoever is signed in already, and is not sent here by an authorization request or to do it `again`, is led to their
/// account.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match show(&web, request.headers().clone(), extract::query(&request)).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn show(web: &Web, headers: HeaderMap, query: Result<Parameters, extract::ExtractError>) -> Result<Response, WebError> {
    let parameters = query?;
    let waiting = Waiting::of(&parameters).map_err(extract::ExtractError::from)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let again = parameters.get("again").is_some();
    if waiting.is_nothing() && !again && web.server.sessions.current(&headers, now).await?.is_some() {
        return Ok(see_other(&web.pages.path(path::ACCOUNT)));
    }
    let notice = again.then_some("For this, please sign in once more. Then do it again.");
    form(web, &headers, SignInPage { notice, ..waiting.page(web) }, StatusCode::OK)
}

/// The form, and the cookie that its token stands on.
fn form(web: &Web, headers: &HeaderMap, page: SignInPage<'_>, status: StatusCode) -> Result<Response, WebError> {
    let Some((token, cookie)) = web.server.sessions.form_token(Form::SignIn, headers)? else {
        return Err(WebError::defect());
    };
    let html = web.pages.sign_in(&SignInPage { csrf: token.as_str(), ..page });
    let mut response = match page.passkeys {
        true => answer_with_script(html, status, Leads::ToClient),
        false => answer(html, status, Leads::ToClient),
    };
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The form again, after something else than a password failed.
pub(super) fn again(web: &Web, headers: &HeaderMap, waiting: Waiting<'_>, error: &WebError) -> Result<Response, WebError> {
    let rejection = rejection_of(error);
    let page = SignInPage { problem: Some(&rejection.description), ..waiting.page(web) };
    Ok(refused(form(web, headers, page, rejection.status)?, rejection))
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
    let waiting = match Waiting::of(&parameters) {
        Ok(waiting) => waiting,
        Err(error) => return refusal(&extract::ExtractError::from(error).into()),
    };
    let surroundings = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &request_id };
    let outcome = sign_in(&web, &parameters, waiting, surroundings).await;
    metrics::SIGN_INS.with([outcome_name(&outcome)]).increment(1);
    let error = match outcome {
        Ok(Step::SignedIn(response) | Step::CodeAsked(response)) => return response,
        Err(error) => error,
    };
    let rejection = rejection_of(&error);
    let page = SignInPage {
        username: parameters.get("username").unwrap_or_default(),
        problem: Some(&rejection.description),
        ..waiting.page(&web)
    };
    match form(&web, &headers, page, rejection.status) {
        Ok(shown) => refused(shown, rejection),
        Err(error) => refusal(&error),
    }
}

async fn sign_in(web: &Web, parameters: &Parameters, waiting: Waiting<'_>, at: Surroundings<'_>) -> Result<Step, WebError> {
    let now: Timestamp = web.server.clock.now().map_err(WebError::from_clock)?;
    let field = |name| parameters.get(name).unwrap_or_default();
    let form = web.server.sessions.check_form(Form::SignIn, at.headers, field("csrf")).map_err(PersonRefusal::from)?;
    let attempt = Attempt {
        username: field("username"),
        password: field("password"),
        address: at.peer_address.ip(),
        monotonic: web.server.clock.monotonic(),
    };
    let authenticated = match web.server.people.authenticate(&form, &attempt).await.map_err(PersonRefusal::from)? {
        Proven::Whole(authenticated) => authenticated,
        Proven::First(first) => return Ok(Step::CodeAsked(second_factor::ask(web, at.headers, &first, waiting, now)?)),
    };
    let (_, cookie) = web.server.sessions.begin(authenticated, at, now).await?;
    let mut response = see_other(&waiting.onward(web));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(Step::SignedIn(response))
}

/// How far a right password leads.
enum Step {
    SignedIn(Response),
    CodeAsked(Response),
}

const fn outcome_name(outcome: &Result<Step, WebError>) -> &'static str {
    match outcome {
        Ok(Step::SignedIn(_)) => "signed_in",
        Ok(Step::CodeAsked(_)) => "code_asked",
        Err(WebError::Person(PersonRefusal::SignIn(SignInError::Wrong(_)))) => "wrong",
        Err(WebError::Person(PersonRefusal::SignIn(SignInError::TooMany { .. }))) => "too_many",
        Err(_) => "failed",
    }
}
