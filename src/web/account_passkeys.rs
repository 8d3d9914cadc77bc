//! `/account/passkeys`: the passkeys that one signs in with, made and taken away.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};

use super::account::{Sent, fresh, sent};
use super::account_ways_in::{Naming, at_account};
use super::pages::{Leads, answer_with_script, refused, see_other};
use super::passkey_pages::AddPasskeyPage;
use super::passkey_sign_in::{offered, told};
use super::reject::{PersonRefusal, Rejection, WebError, rejection_of};
use super::{Peer, Web, path};
use crate::domain::RequestId;
use crate::identity::{Fresh, PasskeyAttempt};

/// Shows the page on which one is made.
pub async fn begin(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        offered(&web)?;
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        let fresh = match fresh(&web, &sent) {
            Ok(fresh) => fresh,
            Err(stale) => return Ok(*stale),
        };
        match show(&web, &peer, &sent, &fresh, None).await {
            Err(error @ WebError::Person(PersonRefusal::Passkey(_))) => at_account(&web, &sent, rejection_of(&error)).await,
            other => other,
        }
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn show(web: &Web, peer: &Peer, sent: &Sent, fresh: &Fresh, problem: Option<&Rejection>) -> Result<Response, WebError> {
    let at = (peer.facts().peer_address.ip(), web.server.clock.monotonic());
    let ceremony = web.server.people.begin_passkey(&sent.form, fresh, &sent.person, at, sent.now).await.map_err(told)?;
    let shown = AddPasskeyPage {
        csrf: sent.parameters.get("csrf").unwrap_or_default(),
        attempt: &ceremony.attempt,
        public_key: &ceremony.options.to_string(),
        problem: problem.map(|rejection| rejection.description.as_str()),
    };
    let status = problem.map_or(StatusCode::OK, |rejection| rejection.status);
    Ok(answer_with_script(web.pages.add_passkey(&shown), status, Leads::Here))
}

/// Adds the one that was made, or asks for another with the reason why not.
pub async fn add(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        offered(&web)?;
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        keep(&web, &peer, &sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn keep(web: &Web, peer: &Peer, sent: &Sent) -> Result<Response, WebError> {
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let field = |name| sent.parameters.get(name).unwrap_or_default();
    let attempt = PasskeyAttempt { attempt: field("attempt"), credential: field("credential"), now: sent.now };
    let added = web.server.people.add_passkey(&sent.form, &fresh, &sent.person, field("name"), attempt).await;
    match added.map_err(told) {
        Ok(()) => Ok(see_other(&format!("{}?done=passkey", web.pages.path(path::ACCOUNT)))),
        Err(error @ WebError::Person(PersonRefusal::Passkey(_))) => {
            let rejection = rejection_of(&error);
            match show(web, peer, sent, &fresh, Some(&rejection)).await {
                Ok(shown) => Ok(refused(shown, rejection)),
                // There cannot be another attempt now: the reason why this one failed is what counts.
                Err(WebError::Person(_)) => at_account(web, sent, rejection).await,
                Err(other) => Err(other),
            }
        }
        Err(error) => Err(error),
    }
}

/// The field that names the one to be taken away.
const NAMING: Naming = Naming { field: "passkey", absent: "`passkey` names no passkey of yours", done: "passkey-removed" };

/// Takes one away.
pub async fn remove(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        take_away(&web, &sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn take_away(web: &Web, sent: &Sent) -> Result<Response, WebError> {
    let passkey = NAMING.of(sent)?;
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let gone = web.server.people.remove_passkey(&sent.form, &fresh, &sent.person, &passkey, sent.now).await?;
    NAMING.answer(web, sent, gone).await
}
