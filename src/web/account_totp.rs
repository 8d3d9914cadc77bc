//! `/account/totp`: one's own second factor, set up and taken away.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode, header};

use super::account::{Sent, page, sent};
use super::pages::{Leads, answer, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::second_factor_pages::SetUpPage;
use super::{Peer, Web, path};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::identity::{Candidate, CodeAttempt, PersonError, SignInError, Surroundings};

/// Makes a secret and shows it.
pub async fn begin(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        let candidate = web.server.people.candidate(&sent.form, &sent.person, sent.now)?;
        show(&web, &sent, &candidate, None, StatusCode::OK).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// Takes the proof that the person's authenticator has the secret.
pub async fn confirm(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        set_up(&web, &peer, &id, sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// Takes it away.
pub async fn remove(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        take_away(&web, &peer, sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

fn attempt<'a>(web: &Web, peer: &Peer, sent: &'a Sent) -> CodeAttempt<'a> {
    let code = sent.parameters.get("code").unwrap_or_default();
    CodeAttempt { code, address: peer.facts().peer_address.ip(), now: sent.now, monotonic: web.server.clock.monotonic() }
}

async fn show(
    web: &Web,
    sent: &Sent,
    candidate: &Candidate,
    problem: Option<&str>,
    status: StatusCode,
) -> Result<Response, WebError> {
    let claims = web.server.people.claims(&sent.person.subject).await?.unwrap_or_default();
    let username = claims.preferred_username.unwrap_or_default();
    let (secret, uri) = (candidate.secret.to_grouped(), candidate.secret.to_uri(web.pages.name(), &username));
    let shown = SetUpPage {
        csrf: sent.parameters.get("csrf").unwrap_or_default(),
        secret: &secret,
        uri: &uri,
        sealed: &candidate.sealed,
        username: &username,
        problem,
    };
    Ok(answer(web.pages.set_up(&shown), status, Leads::Here))
}

async fn set_up(web: &Web, peer: &Peer, request_id: &RequestId, sent: Sent) -> Result<Response, WebError> {
    let field = |name| sent.parameters.get(name).unwrap_or_default();
    let people = &web.server.people;
    let over = || PersonRefusal::SignIn(SignInError::Wrong(Reason::SignInOver));
    let candidate = people.candidate_of(field("sealed"), &sent.person, sent.now).ok_or_else(over)?;
    let peer_address = peer.facts().peer_address;
    let (password, attempt) = (field("current_password"), attempt(web, peer, &sent));
    match people.set_up(&sent.form, &sent.person, &candidate, password, attempt).await {
        Ok(done) => {
            web.server.sessions_ended(&done.ended);
            let at = Surroundings { headers: &sent.headers, peer_address, request_id };
            let (_, cookie) = web.server.sessions.begin(done.authenticated, at, sent.now).await?;
            let mut response = answer(web.pages.recovery_codes(&done.recovery_codes), StatusCode::OK, Leads::Here);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => {
            let rejection = told(error)?;
            let shown = show(web, &sent, &candidate, Some(&rejection.description), rejection.status).await?;
            Ok(refused(shown, rejection))
        }
    }
}

async fn take_away(web: &Web, peer: &Peer, sent: Sent) -> Result<Response, WebError> {
    let password = sent.parameters.get("current_password").unwrap_or_default();
    let attempt = attempt(web, peer, &sent);
    match web.server.people.take_away(&sent.form, &sent.person, password, attempt).await {
        Ok(()) => Ok(see_other(&format!("{}?done=totp", web.pages.path(path::ACCOUNT)))),
        Err(error) => {
            let rejection = told(error)?;
            let problem = (None, Some(rejection.description.as_str()));
            let shown = page(web, &sent.headers, &sent.person, sent.now, problem, rejection.status).await?;
            Ok(refused(shown, rejection))
        }
    }
}

/// What the person reads; faults of ours are told on a page of their own.
fn told(error: PersonError) -> Result<super::reject::Rejection, WebError> {
    match WebError::from(PersonRefusal::from(error)) {
        error @ WebError::Person(_) => Ok(rejection_of(&error)),
        other => Err(other),
    }
}
