//! Clients: the documents of `symbolon client apply`.

use axum::extract::Path;
use axum::response::Response;
use http::header;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::asked::{Asked, Call, Refused, Served};
use crate::clients::{Client, LONGEST_TOKEN_LIFETIME, generate_secret, removal_window};
use crate::domain::ClientId;
use crate::event::Reason;
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::oauth::administration::{AdministrationError, Need};
use crate::oauth::error::{Fault, OauthError};
use crate::store::{ClientRecord, KeptSecret, Put, PutMode, SecretRecord};
use crate::web::reject::WebError;

/// How often a PUT without precondition goes by what somebody else has made of the registration meanwhile.
const ATTEMPTS: usize = 4;

/// `GET …/clients`: a page of them.
pub async fn list(asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = listed(&call).await;
    Ok(call.answer(served))
}

async fn listed(call: &Call) -> Result<Served, WebError> {
    let page = call.page(&call.query(&["after", "limit"])?)?;
    let records = call.web().server.store.clients_after(&page.after, page.reach().into()).await.map_err(OauthError::from)?;
    let shown = |record: &ClientRecord| match Client::from_record(record) {
        Ok(client) => json!({
            "client_id": client.client_id,
            "token_endpoint_auth_method": client.authentication.method().to_string(),
            "scope": client.scope,
            "resources": client.resources,
        }),
        Err(problem) => json!({ "client_id": record.client_id, "unusable": problem.to_string() }),
    };
    Ok(Served::ok(page.render("clients", records, |record| record.client_id.to_string(), shown)))
}

/// `GET …/clients/{client_id}`: its registration, which may be put again.
pub async fn show(Path(client_id): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = shown(&call, &client_id).await;
    Ok(call.answer(served))
}

async fn shown(call: &Call, client_id: &str) -> Result<Served, WebError> {
    let client_id = named(client_id)?;
    let record = call.web().server.store.client(&client_id).await.map_err(OauthError::from)?.ok_or_else(unknown)?;
    Ok(Served::ok(document(&record)?).tagged(etag(&record)))
}

/// `POST …/clients`: another client. A secret is made for one that authenticates by a secret and brings none, and is told here alone.
pub async fn add(asked: Asked) -> Result<Response, Refused> {
    let mut call = asked.admit(Need::Write).await?;
    let served = added(&mut call).await;
    Ok(call.answer(served))
}

async fn added(call: &mut Call) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let mut members = call.document().await?;
    let by_secret =
        members.get("token_endpoint_auth_method").and_then(Value::as_str).is_some_and(|m| m.starts_with("client_secret_"));
    let secret = match by_secret && !members.contains_key("client_secret") {
        true => Some(generate_secret(&*call.web().server.randomness).map_err(OauthError::from)?),
        false => None,
    };
    if let Some(secret) = &secret {
        members.insert("client_secret".to_owned(), json!(secret.as_str()));
    }
    let client = checked(call, members, None, None)?;
    let record = client.to_record();
    match call.store().put_client(&record, PutMode::Add, call.now()).await.map_err(OauthError::from)? {
        Put::Exists | Put::ChangedMeanwhile => return Err(AdministrationError::ClientExists.into()),
        Put::Added | Put::Changed | Put::Unchanged => {}
    }
    let mut told = document(&record)?;
    if let (Some(secret), Value::Object(told)) = (secret, &mut told) {
        told.insert("client_secret".to_owned(), json!(secret.as_str()));
        told.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    Ok(Served::created(told).tagged(etag(&record)))
}

/// `PUT …/clients/{client_id}`: makes the registration what the document says. The same document again writes nothing.
pub async fn put(Path(client_id): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let mut call = asked.admit(Need::Write).await?;
    let served = changed(&mut call, &client_id).await;
    Ok(call.answer(served))
}

async fn changed(call: &mut Call, client_id: &str) -> Result<Served, WebError> {
    let client_id: ClientId =
        client_id.parse().map_err(|problem| AdministrationError::invalid(format!("client_id {problem}")))?;
    let (wanted, absent) =
        (call.field(header::IF_MATCH)?.map(str::to_owned), call.field(header::IF_NONE_MATCH)?.map(str::to_owned));
    if absent.as_deref().is_some_and(|text| text.trim() != "*") || (wanted.is_some() && absent.is_some()) {
        return Err(AdministrationError::Precondition.into());
    }
    let members = call.document().await?;
    let store = call.store();
    for _ in 0..ATTEMPTS {
        let known = store.client(&client_id).await.map_err(OauthError::from)?;
        if !holds(wanted.as_deref(), absent.is_some(), known.as_ref()) {
            return Err(AdministrationError::ChangedMeanwhile.into());
        }
        let secret = known.as_ref().and_then(|known| known.secret.as_ref());
        let record = checked(call, members.clone(), Some(&client_id), secret)?.to_record();
        let mode = known.as_ref().map_or(PutMode::Add, PutMode::Change);
        let outcome = match store.put_client(&record, mode, call.now()).await.map_err(OauthError::from)? {
            Put::Added => "added",
            Put::Changed => "changed",
            Put::Unchanged => "unchanged",
            // Somebody was faster: what the request goes by is looked at again.
            Put::Exists | Put::ChangedMeanwhile => continue,
        };
        let told = json!({ "outcome": outcome, "client": document(&record)? });
        let served = if outcome == "added" { Served::created(told) } else { Served::ok(told) };
        return Ok(served.tagged(etag(&record)));
    }
    Err(OauthError::from(Fault::Unavailable(Reason::RegistrationChanged)).into())
}

/// RFC 9110 §13.1.1, §13.1.2.
fn holds(wanted: Option<&str>, must_be_absent: bool, known: Option<&ClientRecord>) -> bool {
    let Some(known) = known else { return wanted.is_none() };
    let is_it = |wanted: &str| wanted.split(',').any(|one| one.trim() == "*" || one.trim() == etag(known));
    !must_be_absent && wanted.is_none_or(is_it)
}

/// `DELETE …/clients/{client_id}`: removes it, and revokes its tokens.
pub async fn remove(Path(client_id): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = removed(&call, &client_id).await;
    Ok(call.answer(served))
}

async fn removed(call: &Call, client_id: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let client_id = named(client_id)?;
    let window = removal_window(call.now(), LONGEST_TOKEN_LIFETIME);
    let made = call.store().remove_client(&client_id, window, call.now()).await.map_err(OauthError::from)?;
    let made = made.ok_or_else(unknown)?;
    call.web().server.revocations.update(|rules| rules.with(made.clone()));
    Ok(Served::nothing())
}

fn checked(
    call: &Call,
    members: Map<String, Value>,
    expected: Option<&ClientId>,
    secret: Option<&SecretRecord>,
) -> Result<Client, AdministrationError> {
    let document = Zeroizing::new(Value::Object(members).to_string());
    let secret = KeptSecret { key: Some(&call.store().secret_key()), record: secret };
    Ok(call.admin().administration.registrations().check(document.as_bytes(), expected, secret)?)
}

fn named(client_id: &str) -> Result<ClientId, WebError> {
    client_id.parse().map_err(|_| unknown())
}

fn unknown() -> WebError {
    AdministrationError::Unknown { what: "client", reason: Reason::ClientUnknown }.into()
}

/// The registration without its secret.
fn document(record: &ClientRecord) -> Result<Value, WebError> {
    serde_json::from_str(&record.metadata_json).map_err(|_| WebError::defect())
}

/// The version of a registration (RFC 9110 §8.8.3). Its secret is no part of it.
fn etag(record: &ClientRecord) -> String {
    format!("\"{}\"", base64url::encode(sha256(record.metadata_json.as_bytes())))
}
