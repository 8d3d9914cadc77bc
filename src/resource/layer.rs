//! A `tower` layer that protects any HTTP service: what the gateway does, without the gateway.
//!
//! The server that accepts connections (see [`crate::tls`]) puts an `Arc<PeerCertificate>` into each request's extensions, from the
//! connection that the request came on; a request without one has no certificate. The service behind the layer finds the
//! [`Admission`](super::Admission) in the extensions.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::challenge::Answer;
use super::moment::Moment;
use super::present::present;
use super::protection::{Protection, Refusal};
use crate::binding::Presenter;
use crate::domain::Clock;
use crate::event::Reason;
use crate::tls::PeerCertificate;

/// Puts a [`Protection`] before a service.
#[derive(Clone, Debug)]
pub struct ResourceLayer {
    protection: Arc<Protection>,
    clock: Arc<dyn Clock>,
}

impl ResourceLayer {
    /// Protects what it is laid over.
    pub fn new(protection: Arc<Protection>, clock: Arc<dyn Clock>) -> Self {
        Self { protection, clock }
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
        let ResourceLayer { protection, clock } = self.layer.clone();
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
                return Ok(refuse(answer, &protection, Reason::ClockUnreadable));
            };
            let decision = match presented {
                Err(error) => Err(Refusal::from(error)),
                Ok(presented) => {
                    let presenter = Presenter::connection(certificate.as_deref());
                    protection.decide(presented, &presenter, moment).await.map_err(|denied| denied.refusal)
                }
            };
            match decision {
                Ok(admission) => {
                    request.extensions_mut().insert(admission);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refuse(refusal.answer(), &protection, refusal.reason())),
            }
        })
    }
}

fn refuse<R: From<Bytes>>(answer: Answer, protection: &Protection, reason: Reason) -> Response<R> {
    tracing::debug!(%reason, status = answer.status().as_u16(), "request refused");
    let body = serde_json::json!({ "error": answer.error(), "error_description": answer.description() });
    let mut response = Response::new(R::from(Bytes::from(body.to_string())));
    *response.status_mut() = answer.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let requirements = &protection.requirements;
    if let Some(challenge) = answer.challenge(&requirements.audience, &requirements.scopes) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
