//! What answers on a listener: the authorization server, its administration API, the gateway, or the process's own health and metrics.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::administration::AdminService;
use super::proxies::{Neighbour, Proxies};
use super::revocation_lists::ListFetcher;
use super::sealing::Sealing;
use crate::gateway::Gateway;
use crate::gateway::forward_auth::Asker;
use crate::store::Store;
use crate::telemetry::metrics;
use crate::web::{Edge, Peer};
use crate::wire::Arriving;

/// The services of one listener.
#[derive(Debug, Default)]
pub struct Front {
    /// The authorization server's routes.
    pub server: Option<Edge>,
    /// The gateway, for the authorities that it has routes for.
    pub gateway: Option<Arc<Gateway>>,
    /// The gateway, for the questions of proxies in front.
    pub forward_auth: Option<Arc<Gateway>>,
    /// The administration API, for its own authority and paths.
    pub admin: Option<AdminService>,
    /// `/metrics`, `/livez`, `/readyz`.
    pub metrics: Option<Health>,
    /// Fetches revocation lists, where an anchor set asks for it.
    pub lists: Option<Arc<ListFetcher>>,
    /// What is taken from proxies in front; absent where clients shake hands themselves.
    pub proxies: Option<Arc<Proxies>>,
}

/// What the health answers stand on.
#[derive(Clone, Debug)]
pub struct Health {
    /// The database, where there is one.
    pub store: Option<Store>,
    /// The gateway, where there is one.
    pub gateway: Option<Arc<Gateway>>,
    /// How the ring stands, where there is one.
    pub sealing: Option<Arc<Sealing>>,
}

impl Health {
    /// Whether this process can do its work, or what it lacks.
    pub async fn ready(&self) -> Result<(), &'static str> {
        if let Some(store) = &self.store {
            store.ping().await.map_err(|_| "the database does not answer")?;
        }
        if self.sealing.as_ref().is_some_and(|sealing| sealing.status().problem.is_some()) {
            return Err("a seal key that was made elsewhere cannot be taken in: see the log");
        }
        if let Some(gateway) = &self.gateway {
            gateway.ready()?;
        }
        Ok(())
    }

    async fn answer(&self, request: &Request<Arriving>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET alone\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let mut response = text(StatusCode::OK, metrics::render());
                let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, prometheus);
                response
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.ready().await {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            },
            _ => text(StatusCode::NOT_FOUND, "there is nothing at this path\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Front {
    /// Answers one request. `peer` is absent on a plain listener, which serves metrics alone.
    pub async fn call(&self, mut request: Request<Arriving>, peer: Option<(Arc<Peer>, Neighbour)>) -> Response<Body> {
        let Some((peer, neighbour)) = peer else {
            return match &self.metrics {
                Some(health) => health.answer(&request).await,
                None => text(StatusCode::NOT_FOUND, "nothing is served here\n"),
            };
        };
        if let (Some(lists), Some(trust)) = (&self.lists, peer.trust()) {
            lists.ready(trust).await;
        }
        let peer = match &self.proxies {
            None => peer,
            Some(proxies) => {
                let (client, hop) = proxies.client(&peer, neighbour, request.headers_mut());
                let client = Arc::new(client);
                if let (Some(lists), Some(trust)) = (&self.lists, client.trust()) {
                    lists.ready(trust).await;
                }
                if let Some(gateway) = &self.forward_auth {
                    let asker = Asker { hop, dialect: proxies.dialect() };
                    let policies = client.policies();
                    let word = Box::pin(gateway.judge(request, client.facts(), client.trust(), &policies, asker));
                    return word.await.map(Body::new);
                }
                client
            }
        };
        let (request, admin) = match &self.admin {
            Some(admin) => {
                let (head, body) = request.into_parts();
                let is_for_admin = admin.serves(&head);
                (Request::from_parts(head, body), Some(admin).filter(|_| is_for_admin))
            }
            None => (request, None),
        };
        if let Some(admin) = admin {
            return Box::pin(admin.edge.answer(request.map(Body::new), peer)).await;
        }
        let (request, gateway) = match &self.gateway {
            Some(gateway) if self.server.is_some() => {
                let (head, body) = request.into_parts();
                let is_for_gateway = gateway.serves(&head);
                (Request::from_parts(head, body), Some(gateway).filter(|_| is_for_gateway))
            }
            gateway => (request, gateway.as_ref()),
        };
        if let Some(gateway) = gateway {
            let policies = peer.policies();
            // In a box: it is several kilobytes, and what holds it is moved with each request, also with those of the server.
            return Box::pin(gateway.handle(request, peer.facts(), peer.trust(), &policies)).await.map(Body::new);
        }
        match (&self.server, &self.metrics, &self.admin) {
            (Some(server), ..) => server.answer(request.map(Body::new), peer).await,
            (None, Some(health), _) => health.answer(&request).await,
            // Whoever misses the API's own place is told so as the API tells it.
            (None, None, Some(admin)) => Box::pin(admin.nowhere.answer(request.map(Body::new), peer)).await,
            (None, None, None) => text(StatusCode::NOT_FOUND, "nothing is served here\n"),
        }
    }
}
