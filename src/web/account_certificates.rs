//! `/account/certificates`: the certificates that one signs in with, linked and taken away.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};

use super::account::{self, Sent, fresh, sent};
use super::account_ways_in::Naming;
use super::certificate_pages::AddCertificatePage;
use super::certificate_sign_in::{place_of, settings, told};
use super::pages::{Leads, answer, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Web, extract, path};
use crate::domain::{RequestId, Timestamp};
use crate::identity::{Aim, CertificateAnswer, Form, FormChecked};
use crate::oauth::parameters::Parameters;

/// Leads to the host that asks for certificates. By a link, since a form of this page leads nowhere but here.
pub async fn begin(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let settings = settings(&web)?;
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        if let Err(stale) = fresh(&web, &sent) {
            return Ok(*stale);
        }
        let token = web.server.sessions.form_token(Form::LinkCertificate, &sent.headers)?.ok_or_else(WebError::defect)?.0;
        let errand = web.server.people.send_for_certificate(&sent.form, &token, Aim::Link, (None, None), sent.now)?;
        let page = web.pages.choose_certificate(&place_of(settings, &errand));
        Ok(answer(page, StatusCode::OK, Leads::Here))
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// Shows which certificate it is that a browser brings back. Nothing is changed by that.
pub async fn returned(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let outcome = async { ask(&web, &parameters?, &headers).await };
    outcome.await.unwrap_or_else(|error| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// What a browser brings back that was sent from the account of whoever is signed in.
async fn read(
    web: &Web,
    parameters: &Parameters,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(CertificateAnswer, FormChecked), WebError> {
    settings(web)?;
    let sealed = parameters.get("answer").unwrap_or_default();
    let answer = web.server.people.open_certificate_answer(sealed, Aim::Link, now).map_err(told)?;
    let returned = web.server.sessions.check_returning(Form::LinkCertificate, headers, answer.errand().form());
    match returned {
        Ok(returned) => Ok((answer, returned)),
        Err(error) => {
            web.server.people.void_certificate_answer(&answer, now).await.map_err(told)?;
            Err(PersonRefusal::from(error).into())
        }
    }
}

async fn ask(web: &Web, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, WebError> {
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    if web.server.sessions.current(headers, now).await?.is_none() {
        return Ok(see_other(&web.pages.path(path::SIGN_IN)));
    }
    let (brought, _) = read(web, parameters, headers, now).await?;
    let token = web.server.sessions.form_token(Form::Account, headers)?.ok_or_else(WebError::defect)?.0;
    let until = account::moment(brought.not_after());
    let page = AddCertificatePage {
        csrf: token.as_str(),
        answer: parameters.get("answer").unwrap_or_default(),
        subject: brought.subject(),
        until: &until,
    };
    Ok(answer(web.pages.add_certificate(&page), StatusCode::OK, Leads::Here))
}

/// Links it.
pub async fn add(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        link(&web, &sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn link(web: &Web, sent: &Sent) -> Result<Response, WebError> {
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let (brought, returned) = read(web, &sent.parameters, &sent.headers, sent.now).await?;
    let proofs = (&returned, &sent.form);
    web.server.people.link_certificate(proofs, &fresh, &sent.person, &brought, sent.now).await.map_err(told)?;
    Ok(see_other(&format!("{}?done=certificate", web.pages.path(path::ACCOUNT))))
}

/// The field that names the one to be taken away.
const NAMING: Naming =
    Naming { field: "certificate", absent: "`certificate` names no certificate of yours", done: "certificate-removed" };

/// Takes one away.
pub async fn remove(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        unlink(&web, &sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn unlink(web: &Web, sent: &Sent) -> Result<Response, WebError> {
    let link = NAMING.of(sent)?;
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let gone = web.server.people.unlink_certificate(&sent.form, &fresh, &sent.person, &link, sent.now).await?;
    NAMING.answer(web, sent, gone).await
}
