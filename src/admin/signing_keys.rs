//! Signing keys: `symbolon keys list`, `rotate` and `revoke`.

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::{Asked, Call, Refused, Served};
use crate::domain::KeyId;
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::keys::{Keeper, KeyLife, KeysError, SigningKeys};
use crate::oauth::administration::{AdministrationError, Need};
use crate::oauth::error::{Fault, OauthError};
use crate::store::Store;
use crate::web::reject::WebError;

/// `GET …/signing-keys`: every key that is published.
pub async fn list(asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = listed(&call).await;
    Ok(call.answer(served))
}

async fn listed(call: &Call) -> Result<Served, WebError> {
    call.query(&[])?;
    let keys = SigningKeys::load(&call.web().server.store).await.map_err(refused)?;
    let shown: Vec<Value> = keys.lives().iter().map(shown).collect();
    Ok(Served::ok(json!({ "signing_keys": shown })))
}

fn shown(life: &KeyLife) -> Value {
    json!({
        "kid": life.key_id, "alg": life.algorithm.name(), "state": life.state.code(), "created": life.created,
        "activated": life.activated, "retired": life.retired,
    })
}

/// `POST …/signing-keys`: publishes a key that takes over when every verifier has had time to see it, or at once.
pub async fn rotate(asked: Asked) -> Result<Response, Refused> {
    let mut call = asked.admit(Need::Write).await?;
    let served = rotated(&mut call).await;
    Ok(call.answer(served))
}

async fn rotated(call: &mut Call) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let members = call.object(&["alg", "at_once"]).await?;
    let wrong = |what: &str| AdministrationError::invalid(format!("{what} is not what it must be"));
    let algorithm = match members.get("alg") {
        None => None,
        Some(Value::String(name)) => Some(name.parse::<Algorithm>().map_err(|_| wrong("alg"))?),
        Some(_) => return Err(wrong("alg").into()),
    };
    let at_once = match members.get("at_once") {
        None => false,
        Some(Value::Bool(at_once)) => *at_once,
        Some(_) => return Err(wrong("at_once").into()),
    };
    let store = call.store();
    let next = keeper(call, &store).rotate_planned(&call.web().server.key_plan, algorithm, at_once, call.now()).await;
    let next = next.map_err(refused)?;
    let keys = SigningKeys::load(&store).await.map_err(refused)?;
    let life = keys.lives().iter().find(|life| life.key_id == next.key_id).unwrap_or(&next);
    Ok(Served::created(shown(life)))
}

/// `DELETE …/signing-keys/{kid}`: revokes it, and with it everything that it signed.
pub async fn revoke(Path(key_id): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = revoked(&call, &key_id).await;
    Ok(call.answer(served))
}

async fn revoked(call: &Call, key_id: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let unknown = || WebError::from(AdministrationError::Unknown { what: "signing key", reason: Reason::SigningKeyUnknown });
    let key_id: KeyId = key_id.parse().map_err(|_| unknown())?;
    let store = call.store();
    let revoked = keeper(call, &store).revoke(&key_id, call.now()).await.map_err(refused)?;
    revoked.map(|_| Served::nothing()).ok_or_else(unknown)
}

fn keeper<'a>(call: &'a Call, store: &'a Store) -> Keeper<'a> {
    Keeper { store, randomness: &*call.web().server.randomness }
}

fn refused(error: KeysError) -> WebError {
    match error {
        KeysError::Unplanned { .. } => AdministrationError::invalid(error.to_string()).into(),
        KeysError::Store(error) => OauthError::from(error).into(),
        error @ (KeysError::Make(_) | KeysError::Corrupt { .. }) => OauthError::from(Fault::Defect(error.reason())).into(),
        error @ KeysError::Absent(_) => OauthError::from(Fault::Unavailable(error.reason())).into(),
    }
}
