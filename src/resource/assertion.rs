//! The gateway's assertion as an upstream reads it: [`AssertionLayer`] before any `tower` service, [`AssertionVerifier`] for the rest.
//!
//! Behind the gateway there is no token to look at and no certificate: there is the gateway's signed word about both. Whoever comes around
//! the gateway has none.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use symbolon::domain::{Clock, SystemClock};
//! use symbolon::fetch::{Client, FetchLimits};
//! use symbolon::jose::Algorithm;
//! use symbolon::resource::{AssertionLayer, AssertionVerifier, ExpectedAssertion, IssuerKeys};
//!
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
//! let tls = symbolon::tls::load_client_config("gateway-ca.pem".as_ref(), None, &[], Arc::clone(&clock))?;
//! let keys = "https://gateway.example/.well-known/symbolon/jwks.json".parse()?;
//! let keys = IssuerKeys::published(keys, Client::new(tls, FetchLimits::default()), vec![Algorithm::ES256]);
//! let expected = ExpectedAssertion::new("https://gateway.example", "api.example");
//! let layer = AssertionLayer::new(AssertionVerifier::new(keys, expected), clock);
//! // Router::new().route("/", get(|Extension(caller): Extension<VerifiedAssertion>| async move { … })).layer(layer)
//! # Ok(()) }
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};
use tower::{Layer, Service};

use super::keys::{IssuerKeys, KeysError, SignatureError};
use super::moment::Moment;
use crate::domain::{Clock, ClockUnreadable, Lifetime, Timestamp};
use crate::jose::jws::{Compact, JwsError};

/// `typ` of an assertion: no other kind of JWT can be taken for one, and it for no other.
pub const ASSERTION_TYPE: &str = "symbolon-assertion+jwt";

/// The header that carries it, where the gateway's settings name no other.
const HEADER: HeaderName = HeaderName::from_static("x-symbolon-assertion");
/// By how much the gateway's clock may differ from ours.
const LEEWAY: Lifetime = Lifetime::from_seconds(5);

/// What an assertion must say.
#[derive(Clone, Debug)]
pub struct ExpectedAssertion {
    /// `iss`: the gateway.
    pub issuer: String,
    /// `aud`: this upstream. The route's authority, or its `assertion_audience`.
    pub audience: String,
    /// The header that carries it.
    pub header: HeaderName,
    /// By how much the gateway's clock may differ.
    pub leeway: Lifetime,
}

impl ExpectedAssertion {
    /// In `X-Symbolon-Assertion`, with five seconds between the clocks.
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self { issuer: issuer.to_owned(), audience: audience.to_owned(), header: HEADER, leeway: LEEWAY }
    }
}

/// Why a request does not come from the gateway, as far as can be told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AssertionError {
    /// No assertion: the request has come around the gateway.
    #[error("there is no assertion")]
    Absent,
    /// More than one.
    #[error("there is more than one assertion")]
    Several,
    /// Not a JWS, or one that the gateway has not signed.
    #[error("the assertion is not the gateway's: {0}")]
    Jws(#[from] JwsError),
    /// A JWT of another kind.
    #[error("`typ` is not an assertion's")]
    Type,
    /// A claim that is missing, of the wrong type, or not what is expected.
    #[error("`{0}` is not what is expected")]
    Claim(&'static str),
    /// After `exp`.
    #[error("the assertion has expired")]
    Expired,
    /// There are no keys to verify it with.
    #[error("the gateway's keys: {0}")]
    Keys(KeysError),
    /// The clock.
    #[error("{0}")]
    Clock(#[from] ClockUnreadable),
}

impl AssertionError {
    /// 503 where it is nobody's fault outside, 403 otherwise: what the gateway lets through always has an assertion, so that there is
    /// nothing to ask the caller for.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Keys(_) | Self::Clock(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl From<SignatureError> for AssertionError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Jws(error) => Self::Jws(error),
            SignatureError::Keys(error) => Self::Keys(error),
        }
    }
}

/// Proof that the gateway let this request through, and for whom.
#[derive(Clone, Debug)]
pub struct VerifiedAssertion(Arc<Map<String, Value>>);

impl VerifiedAssertion {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// `sub`: whom the token is about.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// `client_id`: who asked for the token.
    pub fn client_id(&self) -> Option<&str> {
        self.text("client_id")
    }

    /// `scope`, in single tokens.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.text("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty())
    }

    /// The thumbprint of the certificate that was proven, in base64url (RFC 8705 §3.1).
    pub fn certificate(&self) -> Option<&str> {
        self.0.get("cnf")?.get("x5t#S256")?.as_str()
    }

    /// `jti`: another for each request where the route says `assertion_reuse = "per_request"`.
    pub fn id(&self) -> Option<&str> {
        self.text("jti")
    }

    /// Any claim, also those that the route chose.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Verifies assertions of one gateway for one upstream.
#[derive(Clone, Debug)]
pub struct AssertionVerifier {
    keys: IssuerKeys,
    expected: Arc<ExpectedAssertion>,
}

impl AssertionVerifier {
    /// With the gateway's keys.
    pub fn new(keys: IssuerKeys, expected: ExpectedAssertion) -> Self {
        Self { keys, expected: Arc::new(expected) }
    }

    /// The assertion of a request: exactly one, signed by the gateway, for this upstream and this method, and not expired.
    ///
    /// # Errors
    /// See [`AssertionError`].
    pub async fn verify(
        &self,
        method: &Method,
        headers: &HeaderMap,
        moment: Moment,
    ) -> Result<VerifiedAssertion, AssertionError> {
        let expected = &*self.expected;
        let mut values = headers.get_all(&expected.header).iter();
        let text = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_err(|_| AssertionError::Jws(JwsError::Parts))?,
            (None, _) => return Err(AssertionError::Absent),
            (Some(_), Some(_)) => return Err(AssertionError::Several),
        };
        let compact = Compact::parse(text)?;
        if compact.typ() != Some(ASSERTION_TYPE) {
            return Err(AssertionError::Type);
        }
        let (verified, _) = self.keys.verify(&compact, moment).await?;
        let claims = verified.claims();
        for (name, value) in [("iss", expected.issuer.as_str()), ("aud", &expected.audience), ("method", method.as_str())] {
            if claims.get(name).and_then(Value::as_str) != Some(value) {
                return Err(AssertionError::Claim(name));
            }
        }
        let date =
            |name| claims.get(name).and_then(Value::as_i64).ok_or(AssertionError::Claim(name)).map(Timestamp::from_seconds);
        if moment.wall >= date("exp")?.plus(expected.leeway) {
            return Err(AssertionError::Expired);
        }
        if date("iat")? > moment.wall.plus(expected.leeway) {
            return Err(AssertionError::Claim("iat"));
        }
        Ok(VerifiedAssertion(Arc::new(claims.clone())))
    }
}

/// Lets through what the gateway has let through. The service behind it finds the [`VerifiedAssertion`] in the request's extensions.
#[derive(Clone, Debug)]
pub struct AssertionLayer {
    verifier: AssertionVerifier,
    clock: Arc<dyn Clock>,
}

impl AssertionLayer {
    /// Protects what it is laid over.
    pub fn new(verifier: AssertionVerifier, clock: Arc<dyn Clock>) -> Self {
        Self { verifier, clock }
    }
}

impl<S> Layer<S> for AssertionLayer {
    type Service = AssertedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AssertedService { inner, layer: self.clone() }
    }
}

/// A service behind an [`AssertionLayer`].
#[derive(Clone, Debug)]
pub struct AssertedService<S> {
    inner: S,
    layer: AssertionLayer,
}

impl<S, B, R> Service<Request<B>> for AssertedService<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let AssertionLayer { verifier, clock } = self.layer.clone();
        // The service that was made ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let verified = match Moment::read(clock.as_ref()) {
                Ok(moment) => verifier.verify(&head.method, &head.headers, moment).await,
                Err(error) => Err(error.into()),
            };
            match verified {
                Ok(assertion) => {
                    head.extensions.insert(assertion);
                    inner.call(Request::from_parts(head, body)).await
                }
                Err(error) => Ok(refuse(&error)),
            }
        })
    }
}

/// The reason is for the log: whoever comes around the gateway learns nothing.
fn refuse<R: From<Bytes>>(error: &AssertionError) -> Response<R> {
    let status = error.status();
    tracing::debug!(%error, status = status.as_u16(), "request without a good assertion");
    let code = if status.is_server_error() { "temporarily_unavailable" } else { "access_denied" };
    let mut response = Response::new(R::from(Bytes::from(serde_json::json!({ "error": code }).to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
