//! `/account/applications`, `/account/export`, `/account/delete`: what was allowed is taken back, what is known is taken along, and one
//! leaves.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::account::{Sent, fresh, page, sent};
use super::edge::no_store;
use super::pages::{Leads, answer, refused, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Web, extract, path};
use crate::domain::{ClientId, RequestId, Timestamp};
use crate::event::Reason;
use crate::identity::{AccountLink, CertificateLink, Fault, PasskeyView, SessionView};
use crate::oauth::error::{ErrorCode, OauthError, Refusal};

const DOWNLOAD: HeaderValue = HeaderValue::from_static("attachment; filename=\"account.json\"");

/// Takes back what an application was allowed.
pub async fn withdraw(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        let unknown = || {
            let words = "`client_id` names no application of yours";
            extract::ExtractError::Refused(Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, words))
        };
        let named = sent.parameters.get("client_id").and_then(|text| text.parse::<ClientId>().ok()).ok_or_else(unknown)?;
        if !web.server.withdraw(&sent.form, &sent.person, &named, &id, sent.now).await? {
            return Err(unknown().into());
        }
        Ok(see_other(&format!("{}?done=application", web.pages.path(path::ACCOUNT))))
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// Gives everything that is known of a person, as a file.
pub async fn export(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        if let Err(stale) = fresh(&web, &sent) {
            return Ok(*stale);
        }
        let mut response = no_store(format!("{:#}\n", known(&web, &sent).await?));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_DISPOSITION, DOWNLOAD);
        Ok(response)
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

/// RFC 3339.
fn written(at: Timestamp) -> Value {
    OffsetDateTime::from_unix_timestamp(at.seconds()).ok().and_then(|time| time.format(&Rfc3339).ok()).into()
}

/// All of it but what proves that one is oneself: hashes, keys, codes.
async fn known(web: &Web, sent: &Sent) -> Result<Value, WebError> {
    let (server, person, now) = (&web.server, &sent.person, sent.now);
    let account = server.people.account_of(&person.subject).await.map_err(Fault::from)?.ok_or(PersonRefusal::AccountGone)?;
    let sessions = server.sessions.list(person, now).await?;
    let applications = server.applications(person, now).await?;
    let certificates = server.people.certificates(&person.subject).await.map_err(Fault::from)?;
    let passkeys = server.people.passkeys(&person.subject).await.map_err(Fault::from)?;
    let linked = server.people.linked_accounts(&person.subject).await.map_err(Fault::from)?;
    let codes = server.people.recovery_codes_left(&person.subject).await?;
    let session = |session: &SessionView| {
        json!({
            "sid": session.session_id,
            "signed_in": written(session.auth_time),
            "last_used": written(session.used),
            "address": session.address,
            "user_agent": session.user_agent,
        })
    };
    let certificate = |CertificateLink { created, label, .. }: &CertificateLink| json!({ "known_by": label.by, "title": label.title, "not_after": label.not_after.map(written), "added": written(*created) });
    let passkey = |passkey: &PasskeyView| {
        json!({
            "name": passkey.name,
            "synchronised": passkey.is_synchronised,
            "added": written(passkey.created),
            "last_used": written(passkey.used),
        })
    };
    let linked_account = |AccountLink { created, label, .. }: &AccountLink| json!({ "provider": label.provider_label, "issuer": label.issuer, "sub": label.sub, "title": label.title, "added": written(*created) });
    let mut all = Vec::new();
    for application in &applications {
        // The name that this application knows the person by.
        let client = server.clients.client(&application.client_id);
        let subject = client.map(|client| server.subject_for(&client, &person.subject)).transpose();
        all.push(json!({
            "client_id": application.client_id,
            "name": application.name,
            "sub": subject.map_err(OauthError::from)?,
            "scopes": application.scopes,
            "claims": application.claims,
            "allowed": application.since.map(written),
        }));
    }
    Ok(json!({
        "exported": written(now),
        "sub": person.subject,
        "created": written(account.created),
        "claims": account.claims,
        "password": account.has_password,
        "two_step_sign_in": codes.map(|left| json!({ "recovery_codes_left": left })),
        "certificates": certificates.iter().map(certificate).collect::<Value>(),
        "passkeys": passkeys.iter().map(passkey).collect::<Value>(),
        "linked_accounts": linked.iter().map(linked_account).collect::<Value>(),
        "sessions": sessions.iter().map(session).collect::<Value>(),
        "applications": all,
    }))
}

/// Removes one's own account.
pub async fn delete(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    let outcome = async {
        if !web.allows_deletion {
            return Err(WebError::NotFound);
        }
        let Some(sent) = sent(&web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
        leave(&web, &sent).await
    };
    outcome.await.unwrap_or_else(|error: WebError| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn leave(web: &Web, sent: &Sent) -> Result<Response, WebError> {
    let fresh = match fresh(web, sent) {
        Ok(fresh) => fresh,
        Err(stale) => return Ok(*stale),
    };
    let typed = sent.parameters.get("confirmation").unwrap_or_default();
    match web.server.leave(&sent.form, &fresh, &sent.person, typed, sent.now).await {
        Ok(()) => {
            let mut response = answer(web.pages.account_deleted(), StatusCode::OK, Leads::Here);
            response.headers_mut().append(header::SET_COOKIE, web.server.sessions.clear_cookie()?);
            Ok(response)
        }
        Err(error) => {
            let error = WebError::from(PersonRefusal::from(error));
            if !matches!(error, WebError::Person(PersonRefusal::SignIn(_))) {
                return Err(error);
            }
            let rejection = rejection_of(&error);
            let told = (None, Some(rejection.description.as_str()));
            let shown = page(web, &sent.headers, &sent.person, sent.now, told, rejection.status).await?;
            Ok(refused(shown, rejection))
        }
    }
}
