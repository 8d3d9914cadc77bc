//! `GET` and `POST /consent`: the person allows or denies what a client asks for (OpenID Connect Core §3.1.2.4).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};

use super::authorization::{interaction, page_of, signed_in, tell};
use super::pages::{self, ConsentLink, ConsentScope, Leads};
use super::reject::{PersonRefusal, WebError};
use super::{Web, extract};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::identity::Form;
use crate::oauth::authorization::{ConsentPage, Decided};
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;

/// What the scopes of OpenID Connect mean, in the words of the person who is asked.
const MEANINGS: [(&str, &str, Option<&str>); 7] = [
    ("openid", "know that it is you", None),
    ("profile", "see your name and profile", Some("Your name, username, language and time zone.")),
    ("email", "see your e-mail address", None),
    ("address", "see your postal address", None),
    ("phone", "see your telephone number", None),
    ("groups", "see which groups you are in", None),
    (
        "offline_access",
        "go on while you are away",
        Some("It keeps what you allow here after you sign out, until you take it back."),
    ),
];

/// Asks.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let (parameters, headers) = (extract::query(&request), request.into_parts().0.headers);
    let shown = async { ask(&web, &parameters?, &headers, &id).await };
    shown.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

/// Takes the answer.
pub async fn post(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    let outcome = async {
        let parameters = extract::form(request, web.body_limits).await?;
        answer(&web, &parameters, &headers, &id).await
    };
    outcome.await.unwrap_or_else(|error| page_of(&web, &error, &id))
}

async fn ask(web: &Web, parameters: &Parameters, headers: &HeaderMap, id: &RequestId) -> Result<Response, WebError> {
    let interaction = interaction(web, parameters, headers)?;
    let login = signed_in(web, headers).await?;
    let page = match web.server.consent_page(&interaction, login.as_ref(), id).await? {
        Ok(page) => page,
        Err(outcome) => return tell(web, outcome, Some(&interaction)),
    };
    let person = match &login {
        Some(login) => web.server.people.claims(&login.subject).await?.unwrap_or_default(),
        None => return Err(WebError::defect()),
    };
    let person = person.name.or(person.preferred_username).unwrap_or_default();
    let token = web.server.sessions.form_token(Form::Consent, headers)?.ok_or_else(WebError::defect)?.0;
    let links: Vec<ConsentLink<'_>> = page.links.iter().map(|(title, uri)| ConsentLink { title, uri }).collect();
    let (scopes, destination) = (scopes(&page), page.destination.as_str());
    let shown = pages::ConsentPage {
        client: &page.client_name,
        client_uri: (!destination.is_empty()).then_some(destination),
        person: &person,
        scopes: &scopes,
        links: &links,
        interaction: interaction.as_str(),
        csrf: token.as_str(),
    };
    Ok(pages::answer(web.pages.consent(&shown), StatusCode::OK, Leads::ToClient))
}

/// What a scope means, as far as that is known.
pub(super) fn meaning_of(scope: &str) -> ConsentScope<'_> {
    match MEANINGS.iter().find(|(name, ..)| *name == scope) {
        Some((_, title, detail)) => ConsentScope { title, detail: *detail },
        None => ConsentScope { title: scope, detail: None },
    }
}

fn scopes(page: &ConsentPage) -> Vec<ConsentScope<'_>> {
    let scopes = page.scopes.iter().map(|scope| meaning_of(scope));
    let claims = page.claims.iter().map(|claim| ConsentScope { title: claim, detail: Some("A single detail about you.") });
    scopes.chain(claims).collect()
}

async fn answer(web: &Web, parameters: &Parameters, headers: &HeaderMap, id: &RequestId) -> Result<Response, WebError> {
    let interaction = interaction(web, parameters, headers)?;
    let login = signed_in(web, headers).await?;
    let token = parameters.get("csrf").unwrap_or_default();
    let form = web.server.sessions.check_form(Form::Consent, headers, token).map_err(PersonRefusal::from)?;
    let decided = parameters.get("decision").and_then(Decided::named).ok_or_else(|| {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "the form has no answer");
        extract::ExtractError::Refused(refusal)
    })?;
    let outcome = web.server.decide_consent(&interaction, decided, &form, login.as_ref(), id).await?;
    tell(web, outcome, Some(&interaction))
}
