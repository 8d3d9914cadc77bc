//! `GET /livez`, `GET /readyz`: for whoever restarts us, and for whoever sends us traffic.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Web;
use super::edge::no_store;

/// The process answers.
pub async fn live() -> Response {
    no_store((StatusCode::OK, "ok\n"))
}

/// The database answers too.
pub async fn ready(State(web): State<Arc<Web>>) -> Response {
    match web.server.store.ping().await {
        Ok(()) => no_store((StatusCode::OK, "ok\n")),
        Err(_) => no_store((StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")),
    }
}
