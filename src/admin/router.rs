//! Every route of the administration API, on one page.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};

use super::{Admin, clients, metadata, people, revocations, signing_keys};
use crate::web::edge;
use crate::web::reject::WebError;

/// The table of contents. Served behind [`edge::Edge`].
pub fn router(admin: Arc<Admin>) -> Router {
    let base = admin.administration.base().to_owned();
    let below = |path: &str| format!("{base}{path}");
    Router::new()
        .route(&below("/clients"), get(clients::list).post(clients::add).fallback(edge::get_or_post))
        .route(
            &below("/clients/{client_id}"),
            get(clients::show).put(clients::put).delete(clients::remove).fallback(edge::get_put_or_delete),
        )
        .route(&below("/signing-keys"), get(signing_keys::list).post(signing_keys::rotate).fallback(edge::get_or_post))
        .route(&below("/signing-keys/{key_id}"), delete(signing_keys::revoke).fallback(only_delete))
        .route(&below("/revocations"), get(revocations::list).post(revocations::add).fallback(edge::get_or_post))
        .route(&below("/revocations/{sequence}"), delete(revocations::take_back).fallback(only_delete))
        .route(&below("/people"), get(people::list).fallback(edge::only_get))
        .route(&below("/people/{subject}"), get(people::show).fallback(edge::only_get))
        .route(&below("/people/{subject}/disable"), post(people::disable).fallback(edge::only_post))
        .route(&below("/people/{subject}/enable"), post(people::enable).fallback(edge::only_post))
        .route(&below("/people/{subject}/sessions"), delete(people::end_sessions).fallback(only_delete))
        .route(admin.administration.metadata_path(), get(metadata::get).fallback(edge::only_get))
        .fallback(not_found)
        .with_state(admin)
}

async fn only_delete() -> WebError {
    WebError::MethodNotAllowed("DELETE")
}

/// Where nothing is.
pub fn nothing() -> Router {
    Router::new().fallback(not_found)
}

async fn not_found() -> Response {
    WebError::NotFound.into_response()
}
