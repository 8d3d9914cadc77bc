//! `/sign-in/certificate`: to the host that asks for certificates, and back with what was shown there. See [`crate::identity`].

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, header};

use super::certificate_pages::CertificateRefusedPage;
use super::pages::{Leads, answer, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::sign_in::Waiting;
use super::{Peer, Web, extract, path, second_factor};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::identity::{Aim, Errand, Form, Proven, SignInError, Surroundings};
use crate::oauth::PersonCertificates;
use crate::oauth::parameters::Parameters;
use crate::telemetry::metrics;

/// Where people show certificates; nothing is here where they may not.
pub(super) fn settings(web: &Web) -> Result<&PersonCertificates, WebError> {
    web.server.person_certificates.as_ref().ok_or(WebError::NotFound)
}

/// Where an errand leads.
pub(super) fn place_of(settings: &PersonCertificates, errand: &str) -> String {
    format!("{}?errand={errand}", settings.url.join(path::SHOW_CERTIFICATE))
}

/// Why a certificate did not do; the words for a password's refusal would mislead.
pub(super) fn told(error: SignInError) -> WebError {
    match error {
        SignInError::Wrong(reason) => WebError::Person(PersonRefusal::Certificate(reason)),
        other => PersonRefusal::from(other).into(),
    }
}

/// Sends a browser for its certificate, from the sign-in page.
pub async fn begin(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let outcome = async {
        let settings = settings(&web)?;
        let parameters = extract::form(request, web.body_limits).await?;
        let waiting = Waiting::of(&parameters).map_err(extract::ExtractError::from)?;
        let csrf = parameters.get("csrf").unwrap_or_default();
        let sessions = &web.server.sessions;
        let form = sessions.check_form(Form::SignIn, &headers, csrf).map_err(PersonRefusal::from)?;
        let (token, _) = sessions.form_token(Form::Certificate, &headers)?.ok_or_else(WebError::defect)?;
        let now = web.server.clock.now().map_err(WebError::from_clock)?;
        let waiting = (waiting.interaction, waiting.device);
        let errand = web.server.people.send_for_certificate(&form, &token, Aim::SignIn, waiting, now)?;
        Ok(see_other(&place_of(settings, &errand)))
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// Judges the certificate of this connection, and sends its browser back. Nothing is known here of who is signed in there.
pub async fn show(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let parameters = extract::query(&request);
    let mut errand = None;
    let judged = parameters.map_err(WebError::from).and_then(|parameters| judge(&web, &peer, &parameters, &mut errand));
    let error = match judged {
        Ok(response) => return response,
        Err(error) => error,
    };
    let rejection = rejection_of(&error);
    let Some(errand) = errand else { return web.pages.refusal(rejection, id.as_str()) };
    let back = web.server.issuer.join(&way_back(&errand));
    let page = CertificateRefusedPage { problem: &rejection.description, back: &back, request_id: id.as_str() };
    let shown = answer(web.pages.certificate_refused(&page), rejection.status, Leads::Here);
    refused(shown, rejection)
}

fn judge(web: &Web, peer: &Peer, parameters: &Parameters, known: &mut Option<Errand>) -> Result<Response, WebError> {
    settings(web)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let sealed = parameters.get("errand").unwrap_or_default();
    let over = || told(SignInError::Wrong(Reason::SignInOver));
    let errand = known.insert(web.server.people.errand(sealed, now).ok_or_else(over)?);
    let trusted = web.server.judge_person(&peer.presenter(), now);
    let trusted = trusted.map_err(|error| told(SignInError::Wrong(error.reason())))?;
    let answer = web.server.people.certificate_answer(errand.clone(), &trusted, now).map_err(told)?;
    let to = match errand.aim() {
        Aim::SignIn => path::SIGN_IN_CERTIFICATE,
        Aim::Link => path::ACCOUNT_CERTIFICATES_ADD,
    };
    Ok(see_other(&format!("{}?answer={answer}", web.server.issuer.join(to))))
}

/// Where somebody goes on who has no good certificate.
fn way_back(errand: &Errand) -> String {
    match (errand.aim(), errand.interaction(), errand.device()) {
        (Aim::Link, ..) => path::ACCOUNT.to_owned(),
        (Aim::SignIn, Some(interaction), _) => format!("{}?interaction={interaction}", path::SIGN_IN),
        (Aim::SignIn, None, Some(device)) => format!("{}?device={device}", path::SIGN_IN),
        (Aim::SignIn, None, None) => path::SIGN_IN.to_owned(),
    }
}

/// Takes a browser back, and signs its person in.
pub async fn returned(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(request_id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let parameters = extract::query(&request);
    let headers = request.headers().clone();
    let at = Surroundings { headers: &headers, peer_address: peer.facts().peer_address, request_id: &request_id };
    let outcome = async { sign_in(&web, &parameters?, at).await };
    outcome.await.unwrap_or_else(|error| web.pages.refusal(rejection_of(&error), request_id.as_str()))
}

async fn sign_in(web: &Web, parameters: &Parameters, at: Surroundings<'_>) -> Result<Response, WebError> {
    settings(web)?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let (people, sessions) = (&web.server.people, &web.server.sessions);
    let sealed = parameters.get("answer").unwrap_or_default();
    let answer = people.open_certificate_answer(sealed, Aim::SignIn, now).map_err(told)?;
    let errand = answer.errand();
    let form = match sessions.check_returning(Form::Certificate, at.headers, errand.form()) {
        Ok(form) => form,
        Err(error) => {
            people.void_certificate_answer(&answer, now).await.map_err(told)?;
            return Err(PersonRefusal::from(error).into());
        }
    };
    let from = (at.peer_address.ip(), web.server.clock.monotonic());
    let proven = people.by_certificate(&form, &answer, from, now).await;
    let counted = match &proven {
        Ok(Proven::Whole(_)) => "signed_in",
        Ok(Proven::First(_)) => "code_asked",
        Err(SignInError::Wrong(_)) => "wrong",
        Err(SignInError::TooMany { .. }) => "too_many",
        Err(SignInError::Failed(_)) => "failed",
    };
    metrics::SIGN_INS.with([counted]).increment(1);
    let waiting = Waiting { interaction: errand.interaction(), device: errand.device() };
    let authenticated = match proven.map_err(told)? {
        Proven::Whole(authenticated) => authenticated,
        Proven::First(first) => return second_factor::ask(web, at.headers, &first, waiting, now),
    };
    let (_, cookie) = sessions.begin(authenticated, at, now).await?;
    let mut response = see_other(&waiting.onward(web));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}
