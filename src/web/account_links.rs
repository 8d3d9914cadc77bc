//! `/account/linked`: the accounts elsewhere that one signs in with, linked and taken away.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode, header};

use super::account::{Sent, fresh, moment, sent};
use super::account_pages::{AccountLinked, AccountLinks, AccountProvider};
use super::account_ways_in::Naming;
use super::pages::{Leads, answer, see_other};
use super::provider_sign_in::{named, provider, refusal, told, told_sign_in};
use super::reject::{WebError, rejection_of};
use super::{Peer, Web, path};
use crate::domain::{RequestId, Subject};
use crate::identity::{Aim, Demand, Fault, Trip};

/// What the account page shows of them; nothing where there are none and could be none.
pub(super) async fn shown(web: &Web, subject: &Subject) -> Result<Option<AccountLinks>, WebError> {
    let links = web.server.people.linked_accounts(subject).await.map_err(Fault::from)?;
    let providers = web.server.identity_providers.all();
    if links.is_empty() && providers.len() == 0 {
        return Ok(None);
    }
    let linked = links.into_iter().map(|link| AccountLinked {
        id: link.link.as_str().to_owned(),
        title: link.label.title,
        provider: link.label.provider_label,
        since: moment(link.created),
    });
    let providers =
        providers.map(|provider| AccountProvider { name: provider.name().to_owned(), label: provider.label().to_owned() });
    Ok(Some(AccountLinks { linked: linked.collect(), providers: providers.collect() }))
}

/// Leads to the provider. By a link, since a form of this page leads nowhere but here.
pub async fn begin(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        let provider = named(&web, &sent.parameters)?;
        if let Err(stale) = fresh(&web, &sent) {
            return Ok(*stale);
        }
        let trip = Trip {
            aim: Aim::Link,
            waiting: (None, None),
            demand: Demand::default(),
            session: Some(&sent.person.session_id),
            headers: &sent.headers,
            address: peer.facts().peer_address.ip(),
        };
        let providers = &web.server.identity_providers;
        let led = web.server.people.send_to_provider(&sent.form, (providers, provider), trip, sent.now).await;
        let (url, cookies) = led.map_err(told)?;
        let mut response = answer(web.pages.go_to_provider(provider.label(), &url), StatusCode::OK, Leads::Here);
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    };
    let outcome = outcome.await;
    outcome.unwrap_or_else(|error: WebError| refusal(&web, &error, Some(&web.pages.path(path::ACCOUNT)), &id))
}

/// Links one.
pub async fn add(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        link(&web, &sent).await
    };
    let outcome = outcome.await;
    outcome.unwrap_or_else(|error: WebError| refusal(&web, &error, Some(&web.pages.path(path::ACCOUNT)), &id))
}

async fn link(web: &Web, sent: &Sent) -> Result<Response, WebError> {
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let people = &web.server.people;
    let sealed = sent.parameters.get("account").unwrap_or_default();
    let held = people.held_account(sealed, &sent.person, sent.now).map_err(told_sign_in)?;
    let provider = provider(web, held.provider())?;
    people.link_account(&sent.form, &fresh, (&sent.person, provider), &held, sent.now).await.map_err(told_sign_in)?;
    Ok(see_other(&format!("{}?done=linked", web.pages.path(path::ACCOUNT))))
}

/// The field that names the one to be taken away.
const NAMING: Naming = Naming { field: "account", absent: "`account` names no linked account of yours", done: "unlinked" };

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
    let gone = web.server.people.unlink_account(&sent.form, &fresh, &sent.person, &link, sent.now).await?;
    NAMING.answer(web, sent, gone).await
}
