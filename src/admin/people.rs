//! People: `symbolon user list`, `show`, `disable` and `enable`, and the end of their sessions.

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::{Asked, Call, Refused, Served};
use crate::clients::{LONGEST_TOKEN_LIFETIME, removal_window, session_window};
use crate::domain::Subject;
use crate::event::{Reason, SessionEnd};
use crate::identity::{Person, PersonError};
use crate::oauth::administration::{AdministrationError, Need};
use crate::oauth::error::OauthError;
use crate::store::{Ended, Ending};
use crate::web::reject::WebError;

/// `GET …/people`: a page of them, in the order of `sub`; or whoever has a username.
pub async fn list(asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = listed(&call).await;
    Ok(call.answer(served))
}

async fn listed(call: &Call) -> Result<Served, WebError> {
    let parameters = call.query(&["after", "limit", "username"])?;
    let page = call.page(&parameters)?;
    let people = &call.web().server.people;
    let found = match parameters.get("username") {
        Some(username) => match people.named(username).await {
            Ok(person) => person.into_iter().collect(),
            // What cannot be a username is nobody's.
            Err(PersonError::Username(_)) => Vec::new(),
            Err(PersonError::Store(error)) => return Err(OauthError::from(error).into()),
            Err(_) => return Err(WebError::defect()),
        },
        None => people.page(&page.after, page.reach()).await.map_err(OauthError::from)?,
    };
    let key = |person: &Person| person.subject.to_string();
    Ok(Served::ok(page.render("people", found, key, |person| Value::Object(person.to_members()))))
}

/// `GET …/people/{sub}`: what is known of a person, and by what they sign in.
pub async fn show(Path(subject): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = shown(&call, &subject).await;
    Ok(call.answer(served))
}

async fn shown(call: &Call, subject: &str) -> Result<Served, WebError> {
    let people = &call.web().server.people;
    let person = people.account_of(&named(subject)?).await.map_err(OauthError::from)?.ok_or_else(unknown)?;
    Ok(Served::ok(Value::Object(people.described(&person).await.map_err(OauthError::from)?)))
}

/// `POST …/people/{sub}/disable`: keeps a person out: sessions end, tokens are revoked.
pub async fn disable(Path(subject): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = disabled(&call, &subject).await;
    Ok(call.answer(served))
}

async fn disabled(call: &Call, subject: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let subject = named(subject)?;
    let window = removal_window(call.now(), LONGEST_TOKEN_LIFETIME);
    let ended = call.store().disable_account(&subject, window, call.now()).await.map_err(OauthError::from)?;
    Ok(told(call, &ended.ok_or_else(unknown)?))
}

/// `POST …/people/{sub}/enable`: lets a person in again.
pub async fn enable(Path(subject): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = enabled(&call, &subject).await;
    Ok(call.answer(served))
}

async fn enabled(call: &Call, subject: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    match call.store().enable_account(&named(subject)?, call.now()).await.map_err(OauthError::from)? {
        true => Ok(Served::nothing()),
        false => Err(unknown()),
    }
}

/// `DELETE …/people/{sub}/sessions`: ends every session of a person, and what hangs on them.
pub async fn end_sessions(Path(subject): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = sessions_ended(&call, &subject).await;
    Ok(call.answer(served))
}

async fn sessions_ended(call: &Call, subject: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let (subject, store, now) = (named(subject)?, call.store(), call.now());
    store.account(&subject).await.map_err(OauthError::from)?.ok_or_else(unknown)?;
    let ending = Ending { why: SessionEnd::EndedByOperator, window: session_window(now), at: now };
    let ended = store.end_sessions_of(&subject, None, &ending).await.map_err(OauthError::from)?;
    Ok(told(call, &ended))
}

fn told(call: &Call, ended: &Ended) -> Served {
    call.web().server.revocations.update(|rules| rules.with(ended.rules.clone()));
    Served::ok(json!({ "sessions_ended": ended.sessions.len() }))
}

fn named(subject: &str) -> Result<Subject, WebError> {
    subject.parse().map_err(|_| unknown())
}

fn unknown() -> WebError {
    AdministrationError::Unknown { what: "person", reason: Reason::AccountUnknown }.into()
}
