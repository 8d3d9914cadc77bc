//! A `tower` layer that protects any HTTP service: what the gateway does, without the gateway.
//!
//! The server that accepts connections (see [`crate::tls`]) puts an `Arc<PeerCertificate>` into each request's extensions, from the
//! connection that the request came on; a request without one has no certificate. DPoP proofs are taken where the [`Protection`] says
//! so. The service behind the layer finds the [`Admission`](super::Admission) in the extensions.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::challenge::Answer;
use super::dpop::Asked;
use super::moment::Moment;
use super::present::{Scheme, present};
use super::protection::{Denied, Protection, Refusal};
use crate::binding::Presenter;
use crate::binding::dpop::{self, DPOP_NONCE};
use crate::domain::Clock;
use crate::event::Reason;
use crate::tls::PeerCertificate;

/// Puts a [`Protection`] before a service.
#[derive(Clone, Debug)]
pub struct ResourceLayer {
    protection: Arc<Protection>,
    clock: Arc<dyn Clock>,
    public_authority: Option<Arc<str>>,
}

impl ResourceLayer {
    /// Protects what it is laid over.
    pub fn new(protection: Arc<Protection>, clock: Arc<dyn Clock>) -> Self {
        Self { protection, clock, public_authority: None }
    }

    /// The authority under which callers know the service (`host` or `host:port`), for their DPoP proofs. Without it a request's own
    /// counts: that of its URI, or its `Host` field.
    pub fn with_public_authority(self, authority: &str) -> Self {
        Self { public_authority: Some(authority.into()), ..self }
    }
}

impl<S> Layer<S> for ResourceLayer {
    type Service = ProtectedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProtectedService { inner, layer: self.clone() }
    }
}

/// A service behind a [`ResourceLayer`].
#[derive(Clone, Debug)]
pub struct ProtectedService<S> {
    inner: S,
    layer: ResourceLayer,
}

impl<S, B, R> Service<Request<B>> for ProtectedService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let ResourceLayer { protection, clock, public_authority } = self.layer.clone();
        // The service that was made ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            // An admission that somebody else put there is worth nothing.
            request.extensions_mut().remove::<super::Admission>();
            let presented = present(request.headers(), request.uri());
            let certificate = request.extensions().get::<Arc<PeerCertificate>>().cloned();
            let Ok(moment) = Moment::read(clock.as_ref()) else {
                let answer = Answer::Unavailable("The clock cannot be read");
                return Ok(refuse(answer, None, &protection, Reason::ClockUnreadable));
            };
            let decision = match presented {
                Err(error) => Err(Denied::from(Refusal::from(error))),
                Ok(presented) => {
                    let presenter = Presenter::connection(certificate.as_deref());
                    let asked = Asked {
                        method: request.method().as_str(),
                        authority: public_authority.as_deref().unwrap_or_else(|| authority(&request)),
                        path: request.uri().path(),
                        proof: dpop::presented(request.headers()),
                    };
                    protection.decide(presented, &presenter, &asked, moment).await
                }
            };
            let (mut response, nonce) = match decision {
                Ok(granted) => {
                    request.extensions_mut().insert(granted.admission);
                    (inner.call(request).await?, granted.dpop_nonce)
                }
                Err(Denied { refusal, scheme, dpop_nonce, .. }) => {
                    (refuse(refusal.answer(), scheme, &protection, refusal.reason()), dpop_nonce)
                }
            };
            if let Some(nonce) = nonce {
                response.headers_mut().insert(DPOP_NONCE, nonce);
            }
            Ok(response)
        })
    }
}

/// Whom a request addresses; nobody where it names none, or two.
fn authority<B>(request: &Request<B>) -> &str {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, None) => authority.as_str(),
        (None, Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    }
}

fn refuse<R: From<Bytes>>(answer: Answer, scheme: Option<Scheme>, protection: &Protection, reason: Reason) -> Response<R> {
    tracing::debug!(%reason, status = answer.status().as_u16(), "request refused");
    let body = serde_json::json!({ "error": answer.error(), "error_description": answer.description() });
    let mut response = Response::new(R::from(Bytes::from(body.to_string())));
    *response.status_mut() = answer.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for challenge in answer.challenges(scheme, &protection.terms()) {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
    response
}
