//! Whatever is not forwarded becomes an answer here, and nowhere else.

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};

use super::assertion::AssertError;
use super::body::Body;
use super::forward::ForwardError;
use super::forward_auth::QuestionError;
use super::limits::TooMuch;
use super::route::RouteError;
use super::session::SessionError;
use crate::binding::dpop::DPOP_NONCE;
use crate::domain::{ClockUnreadable, RandomnessUnavailable, RequestId};
use crate::event::Reason;
use crate::resource::{AdmissionEnded, Denied, Refusal, Terms};
use crate::telemetry::audit::AuditUnavailable;
use crate::tls::PeerCertificateError;
use crate::wire::SanityError;

/// Why a request is not forwarded, or has no answer of its upstream.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Two programs could read it differently.
    #[error("{0}")]
    Sanity(#[from] SanityError),
    /// Its authority belongs to another TLS policy than its connection.
    #[error("the request's authority belongs to another connection")]
    Misdirected,
    /// No route.
    #[error("{0}")]
    Route(#[from] RouteError),
    /// The published keys are read, not written.
    #[error("only GET and HEAD are served here")]
    ReadOnly,
    /// The route is not for this address.
    #[error("this address is not served here")]
    Address,
    /// The route is not for this method, but for these.
    #[error("this method is not served here")]
    Method(Vec<Method>),
    /// The connection's certificate is of no use.
    #[error("{0}")]
    Certificate(#[from] PeerCertificateError),
    /// The connection's certificate is not accepted here, or not any more.
    #[error("the certificate is not accepted: {0}")]
    Untrusted(Reason),
    /// The connection's certificate is none that the route is for.
    #[error("the certificate is none that is served here")]
    CertificateRule,
    /// The route is not for that page, or not for what it wants to send.
    #[error("the route is not for pages of this origin, or not for this method of theirs")]
    Page,
    /// One request too many of this caller.
    #[error("one request too many of this caller")]
    TooMuch(TooMuch),
    /// As many requests as the route serves at once.
    #[error("the route serves as many requests as it may")]
    Crowded,
    /// Not admitted.
    #[error("{}", .0.refusal)]
    Refused(Box<Denied>),
    /// Nothing can be recorded.
    #[error("{0}")]
    Audit(#[from] AuditUnavailable),
    /// The clock.
    #[error("{0}")]
    Clock(#[from] ClockUnreadable),
    /// The randomness.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// The assertion.
    #[error("{0}")]
    Assert(#[from] AssertError),
    /// The upstream.
    #[error("{0}")]
    Forward(#[from] ForwardError),
    /// Nobody is signed in in this browser: it is led to where it can.
    #[error("nobody is signed in: {reason}")]
    SignIn {
        /// Where to.
        location: HeaderValue,
        /// Why nobody is.
        reason: Reason,
    },
    /// Nobody is signed in, although there is a session's cookie, and the caller is not one that reads pages.
    #[error("nobody is signed in: {0}")]
    NotSignedIn(Reason),
    /// A session, or its provider.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// The question of a proxy in front is none, or the request that it asks about claims what we say.
    #[error("{0}")]
    Question(#[from] QuestionError),
    /// The endpoint is for this method alone.
    #[error("this method is not served here")]
    SessionMethod(Method),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal.into()))
    }
}

impl From<TooMuch> for Rejection {
    fn from(too_much: TooMuch) -> Self {
        Self::TooMuch(too_much)
    }
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        Self::Refused(Box::new(denied))
    }
}

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// The caller's.
    Denied,
    /// Ours, or that of a server behind us.
    Fault,
}

impl Rejection {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Sanity(error) => error.reason(),
            Self::Misdirected => Reason::RequestMisdirected,
            Self::Route(error) => error.reason(),
            Self::ReadOnly => Reason::MethodNotAllowed,
            Self::Address => Reason::PolicyAddress,
            Self::Method(_) => Reason::PolicyMethod,
            Self::Certificate(error) => error.reason(),
            Self::Untrusted(reason) => *reason,
            Self::CertificateRule => Reason::PolicyCertificate,
            Self::Page => Reason::PolicyOrigin,
            Self::TooMuch(_) => Reason::RateLimited,
            Self::Crowded => Reason::RouteCrowded,
            Self::Refused(denied) => denied.refusal.reason(),
            Self::Audit(error) => error.reason(),
            Self::Clock(ClockUnreadable) => Reason::ClockUnreadable,
            Self::Randomness(RandomnessUnavailable) => Reason::RandomnessUnavailable,
            Self::Assert(error) => error.reason(),
            Self::Forward(error) => error.reason(),
            Self::SignIn { reason, .. } | Self::NotSignedIn(reason) => *reason,
            Self::Session(error) => error.reason(),
            Self::SessionMethod(_) => Reason::MethodNotAllowed,
            Self::Question(error) => error.reason(),
        }
    }

    /// Whose doing it was.
    pub fn doing(&self) -> Doing {
        if self.status().is_server_error() { Doing::Fault } else { Doing::Denied }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.answer().0
    }

    /// Status, error code and description.
    fn answer(&self) -> (StatusCode, &'static str, &'static str) {
        const BUSY: &str = "temporarily_unavailable";
        match self {
            Self::Sanity(error) => match error {
                SanityError::TooManyHeaders => {
                    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "invalid_request", "The request has too many header fields")
                }
                SanityError::Method => (StatusCode::BAD_REQUEST, "invalid_request", "This method is not served"),
                SanityError::HostAbsent | SanityError::HostDuplicate | SanityError::Host(_) | SanityError::HostDiffers => {
                    (StatusCode::BAD_REQUEST, "invalid_request", "The request does not name one host")
                }
                SanityError::Scheme => (StatusCode::BAD_REQUEST, "invalid_request", "The request's scheme must be https"),
                SanityError::Path(_) | SanityError::Query => {
                    (StatusCode::BAD_REQUEST, "invalid_request", "The request's path or query is malformed or ambiguous")
                }
                SanityError::TransferEncoding | SanityError::ContentLength => {
                    (StatusCode::BAD_REQUEST, "invalid_request", "The request's length is ambiguous")
                }
            },
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This authority is not served on this connection: open another",
            ),
            Self::Route(RouteError::Unknown) => (StatusCode::NOT_FOUND, "not_found", "Nothing is served here"),
            Self::Route(RouteError::Header) => {
                (StatusCode::BAD_REQUEST, "invalid_request", "A header field that tells routes apart is ambiguous")
            }
            Self::Route(RouteError::Ambiguous) => {
                (StatusCode::BAD_REQUEST, "invalid_request", "The request's path or query is malformed or ambiguous")
            }
            Self::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Only GET and HEAD are served here"),
            Self::Address => (StatusCode::FORBIDDEN, "access_denied", "This address is not served here"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "This method is not served here"),
            Self::Certificate(PeerCertificateError::Header(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_request", "What the proxy in front says of the certificate cannot be read")
            }
            Self::Certificate(_) => (StatusCode::UNAUTHORIZED, "invalid_token", "The client certificate cannot be used"),
            Self::Untrusted(Reason::CertificateAbsent) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "A client certificate is needed here")
            }
            Self::Untrusted(_) => (StatusCode::UNAUTHORIZED, "invalid_token", "The client certificate is not accepted here"),
            Self::CertificateRule => (StatusCode::FORBIDDEN, "access_denied", "This client certificate is not served here"),
            Self::Page => (StatusCode::FORBIDDEN, "access_denied", "This is not served to pages of that origin"),
            Self::TooMuch(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "This caller asks for too much: come again later")
            }
            Self::Crowded => (StatusCode::SERVICE_UNAVAILABLE, BUSY, "As many requests are under way here as may be"),
            Self::Refused(denied) => {
                let answer = denied.refusal.answer();
                (answer.status(), answer.error(), answer.description())
            }
            Self::Audit(_) => (StatusCode::SERVICE_UNAVAILABLE, BUSY, "The gateway cannot take more requests at the moment"),
            Self::Clock(_) | Self::Randomness(_) | Self::Assert(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", "The gateway has a fault")
            }
            Self::Forward(ForwardError::Request(_)) => {
                (StatusCode::BAD_GATEWAY, "server_error", "The request could not be passed on")
            }
            Self::Forward(ForwardError::Upload) => {
                (StatusCode::BAD_REQUEST, "invalid_request", "The request's body broke off or is not HTTP")
            }
            Self::Forward(ForwardError::UploadStalled) => {
                (StatusCode::REQUEST_TIMEOUT, "invalid_request", "The request's body did not arrive in time")
            }
            Self::Forward(ForwardError::Ended(AdmissionEnded::Expired)) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The access token expired")
            }
            Self::Forward(ForwardError::Ended(AdmissionEnded::Revoked)) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The access token was revoked")
            }
            Self::Forward(ForwardError::Ended(AdmissionEnded::Certificate(_))) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The client certificate is not accepted here")
            }
            Self::Forward(ForwardError::Ended(AdmissionEnded::Session(_))) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The session is over")
            }
            Self::SignIn { .. } => (StatusCode::SEE_OTHER, "unauthorized", "Sign in"),
            Self::NotSignedIn(_) => (StatusCode::UNAUTHORIZED, "unauthorized", "The session is over, or not one of this place"),
            Self::Session(error) => error.answer(),
            Self::Question(QuestionError::Asker) => (StatusCode::FORBIDDEN, "access_denied", "Only a trusted proxy may ask here"),
            Self::Question(QuestionError::Claim(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_request", "The request has a header field that only the gateway may write")
            }
            Self::Question(_) => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The proxy in front does not say in one way which request it asks about",
            ),
            Self::SessionMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "This method is not served here"),
            Self::Forward(ForwardError::Ended(AdmissionEnded::Clock)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", "The gateway has a fault")
            }
            Self::Forward(ForwardError::SetAside) => {
                (StatusCode::SERVICE_UNAVAILABLE, BUSY, "What is behind this route is not there at the moment")
            }
            Self::Forward(ForwardError::Timeout) => {
                (StatusCode::BAD_GATEWAY, "upstream_error", "The application did not answer in time")
            }
            Self::Forward(ForwardError::Failed(_) | ForwardError::Length | ForwardError::Upgraded) => {
                (StatusCode::BAD_GATEWAY, "upstream_error", "The application cannot be reached or does not answer properly")
            }
        }
    }

    /// The answer. `terms` are those of the route, once one is known; `unread` is whether the request's body was left unread.
    pub fn into_response(
        self,
        request_id: Option<&RequestId>,
        terms: Option<&Terms<'_>>,
        unread: Unread,
        form: Form,
    ) -> Response<Body> {
        let (status, error, description) = self.answer();
        let body = match form {
            Form::Json => {
                serde_json::json!({ "error": error, "error_description": description, "request_id": request_id }).to_string()
            }
            Form::Page => page(status, description, request_id),
        };
        let mut response = Response::new(Body::from(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match form {
            Form::Json => drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"))),
            Form::Page => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
                headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            }
        }
        headers.insert(VARY, HeaderValue::from_static("accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self {
            Self::Refused(denied) => {
                let answer = denied.refusal.answer();
                for challenge in terms.map(|terms| answer.challenges(denied.scheme, terms)).unwrap_or_default() {
                    headers.append(WWW_AUTHENTICATE, challenge);
                }
                if let Some(nonce) = &denied.dpop_nonce {
                    headers.insert(DPOP_NONCE, nonce.clone());
                }
            }
            Self::Certificate(_) | Self::Untrusted(_) | Self::Forward(ForwardError::Ended(_)) | Self::Session(_)
                if status == StatusCode::UNAUTHORIZED =>
            {
                let challenge = format!("Bearer error=\"{error}\", error_description=\"{description}\"");
                if let Ok(challenge) = HeaderValue::try_from(challenge) {
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
            }
            Self::SignIn { location, .. } => {
                headers.insert(LOCATION, location.clone());
                headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            }
            // Without an error code: nothing was presented that a program could present again.
            Self::NotSignedIn(_) => {
                let answer = Refusal::Absent.answer();
                for challenge in terms.map(|terms| answer.challenges(None, terms)).unwrap_or_default() {
                    headers.append(WWW_AUTHENTICATE, challenge);
                }
            }
            Self::SessionMethod(method) => {
                if let Ok(allow) = HeaderValue::try_from(method.as_str()) {
                    headers.insert(ALLOW, allow);
                }
            }
            Self::Method(methods) => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                if let Ok(allow) = HeaderValue::try_from(names.join(", ")) {
                    headers.insert(ALLOW, allow);
                }
            }
            Self::TooMuch(TooMuch { seconds }) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::ReadOnly => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            _ => {}
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if unread == Unread::ClosesConnection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// How the caller wants to read of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As programs do.
    #[default]
    Json,
    /// As people do.
    Page,
}

impl Form {
    /// A page for whoever asks for HTML by name, and not for JSON as much (RFC 9110 §12.5.1).
    pub fn wanted(headers: &HeaderMap) -> Self {
        let quality = |wanted: &str| {
            let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            let ranges = fields.flat_map(|value| value.split(','));
            let qualities = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
                let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
                // In thousandths; what cannot be read counts for nothing.
                Some(q.map_or(1_000, |q| q.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1_000.0) as u16)))
            });
            qualities.max().unwrap_or_default()
        };
        let page = quality("text/html");
        if page > 0 && page > quality("application/json") { Self::Page } else { Self::Json }
    }
}

/// Nothing in it comes from the caller.
fn page(status: StatusCode, description: &str, request_id: Option<&RequestId>) -> String {
    let title = status.canonical_reason().unwrap_or("Not served");
    let code = status.as_u16();
    let id = request_id.map(RequestId::as_str).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{code} {title}</h1><p>{description}.</p><p>Request {id}</p></body></html>\n"
    )
}

/// What becomes of a connection whose request's body was left unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is none, or HTTP/2 ends its stream alone.
    Harmless,
    /// HTTP/1.1: what follows must not be taken for the next request.
    ClosesConnection,
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tables of a test")]
mod tests {
    use super::*;
    use crate::binding::BindingError;
    use crate::binding::dpop::{DpopError, NonceError};
    use crate::gateway::session::TooLarge;
    use crate::relying_party::{LogoutTokenError, ProviderError};
    use crate::resource::{AdmitError, IntrospectionError, KeysError, PresentError, VerifyError};
    use crate::wire::AuthorityError;
    use crate::wire::PathError;

    /// The whole table: what each rejection tells the caller, and what it tells us.
    #[test]
    fn public_answers_and_private_reasons() {
        let (audience, scopes) = ("https://api.example".parse().expect("an audience"), "read".parse().expect("a scope"));
        let terms =
            Terms { audience: &audience, scopes: &scopes, bearer: true, dpop: None, step_up: None, resource_metadata: None };
        let mut table = String::new();
        let rejections: Vec<Rejection> = vec![
            SanityError::Method.into(),
            SanityError::HostAbsent.into(),
            SanityError::HostDuplicate.into(),
            SanityError::Host(AuthorityError::Character).into(),
            SanityError::HostDiffers.into(),
            SanityError::Scheme.into(),
            SanityError::Path(PathError::DotSegment).into(),
            SanityError::Query.into(),
            SanityError::TransferEncoding.into(),
            SanityError::ContentLength.into(),
            SanityError::TooManyHeaders.into(),
            Rejection::Misdirected,
            RouteError::Unknown.into(),
            RouteError::Ambiguous.into(),
            RouteError::Header.into(),
            Rejection::ReadOnly,
            Rejection::Address,
            Rejection::Method(vec![Method::GET]),
            PeerCertificateError::TooMany { count: 11, limit: 10 }.into(),
            PeerCertificateError::Header(crate::pki::proxy_header::HeaderError::Several).into(),
            Rejection::Untrusted(Reason::CertificateAbsent),
            Rejection::Untrusted(Reason::CertificateUnknownIssuer),
            Rejection::CertificateRule,
            Rejection::Page,
            Rejection::SignIn { location: HeaderValue::from_static("https://op.example/"), reason: Reason::GatewaySessionAbsent },
            Rejection::NotSignedIn(Reason::GatewaySessionBroken),
            Rejection::SessionMethod(Method::POST),
            QuestionError::Asker.into(),
            QuestionError::Absent("x-original-url").into(),
            QuestionError::Claim(http::HeaderName::from_static("x-symbolon-assertion")).into(),
            SessionError::CertificateAbsent.into(),
            SessionError::CertificateMismatch.into(),
            SessionError::ForeignPage.into(),
            SessionError::Malformed.into(),
            SessionError::Foreign.into(),
            SessionError::Expired.into(),
            SessionError::Circle.into(),
            SessionError::Declined("access_denied".into()).into(),
            SessionError::Issuer.into(),
            SessionError::Provider(ProviderError::Refused("invalid_grant".into())).into(),
            SessionError::Provider(ProviderError::IdToken("nonce".into())).into(),
            SessionError::Provider(ProviderError::Unavailable("away".into())).into(),
            SessionError::Logout(LogoutTokenError::Signature).into(),
            SessionError::LogoutReplayed.into(),
            SessionError::LogoutAbsent.into(),
            SessionError::LogoutUnknown.into(),
            SessionError::Form.into(),
            SessionError::Overloaded.into(),
            SessionError::TooLarge(TooLarge).into(),
            SessionError::Encoding.into(),
            ForwardError::Ended(AdmissionEnded::Session(Reason::GatewaySessionEnded)).into(),
            Rejection::TooMuch(TooMuch { seconds: 7 }),
            Rejection::Crowded,
            Refusal::Absent.into(),
            Refusal::Present(PresentError::Ambiguous).into(),
            Refusal::Present(PresentError::InQuery).into(),
            Refusal::Present(PresentError::Malformed).into(),
            Refusal::Verify(VerifyError::NotAJwt).into(),
            Refusal::Verify(VerifyError::Issuer).into(),
            Refusal::Verify(VerifyError::Inactive).into(),
            Refusal::Verify(VerifyError::Keys(KeysError::TooOld)).into(),
            Refusal::Verify(VerifyError::Introspection(IntrospectionError::NoEndpoint)).into(),
            Refusal::Verify(VerifyError::Introspection(IntrospectionError::Overloaded)).into(),
            Refusal::Binding(BindingError::CnfAbsent).into(),
            Refusal::Binding(BindingError::CertificateAbsent).into(),
            Refusal::Binding(BindingError::NothingShown).into(),
            Refusal::Binding(BindingError::CertificateMismatch).into(),
            Refusal::Binding(BindingError::ProofUnsupported).into(),
            Refusal::Binding(BindingError::ProofAbsent).into(),
            Refusal::Binding(BindingError::KeyMismatch).into(),
            Refusal::Binding(BindingError::SchemeMismatch).into(),
            Refusal::Dpop(DpopError::Absent).into(),
            Refusal::Dpop(DpopError::Ambiguous).into(),
            Refusal::Dpop(DpopError::Malformed).into(),
            Refusal::Dpop(DpopError::Type).into(),
            Refusal::Dpop(DpopError::Algorithm).into(),
            Refusal::Dpop(DpopError::Key).into(),
            Refusal::Dpop(DpopError::Signature).into(),
            Refusal::Dpop(DpopError::Method).into(),
            Refusal::Dpop(DpopError::Target).into(),
            Refusal::Dpop(DpopError::Time).into(),
            Refusal::Dpop(DpopError::Token).into(),
            Refusal::Dpop(DpopError::Replayed).into(),
            Refusal::Dpop(DpopError::NonceAbsent).into(),
            Refusal::Dpop(DpopError::Nonce(NonceError::Foreign)).into(),
            Refusal::Dpop(DpopError::Nonce(NonceError::Expired)).into(),
            Refusal::Dpop(DpopError::ReplayUnknown).into(),
            Refusal::Admit(AdmitError::Audience).into(),
            Refusal::Admit(AdmitError::Client).into(),
            Refusal::Admit(AdmitError::Scope).into(),
            Refusal::Admit(AdmitError::Claim("groups".into())).into(),
            Refusal::Admit(AdmitError::AuthenticationContext).into(),
            Refusal::Admit(AdmitError::AuthenticationAge).into(),
            Refusal::Admit(AdmitError::Stale).into(),
            AuditUnavailable::QueueFull.into(),
            ClockUnreadable.into(),
            RandomnessUnavailable.into(),
            AssertError::Encoding.into(),
            ForwardError::Upload.into(),
            ForwardError::UploadStalled.into(),
            ForwardError::Ended(AdmissionEnded::Expired).into(),
            ForwardError::Ended(AdmissionEnded::Revoked).into(),
            ForwardError::Ended(AdmissionEnded::Certificate(Reason::CertificateRevoked)).into(),
            ForwardError::Ended(AdmissionEnded::Clock).into(),
            ForwardError::SetAside.into(),
            ForwardError::Timeout.into(),
            ForwardError::Length.into(),
            ForwardError::Upgraded.into(),
        ];
        for rejection in rejections {
            use std::fmt::Write as _;
            let reason = rejection.reason();
            let (_, error, description) = rejection.answer();
            let doing = rejection.doing();
            let response = rejection.into_response(None, Some(&terms), Unread::Harmless, Form::Json);
            let status = response.status().as_u16();
            let challenge = response.headers().get(WWW_AUTHENTICATE);
            // A fault never makes a client throw its token away; a 401 always says what is wanted (RFC 9110 §11.6.1).
            assert!(challenge.is_none() || doing == Doing::Denied, "{reason}");
            assert!(challenge.is_some() || status != 401, "{reason}");
            let _ = writeln!(table, "{reason}: {status} {error}: {description}");
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn who_asks_for_html_reads_html() {
        let table = [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/json", Form::Json),
            ("text/html", Form::Page),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Page),
            ("application/json, text/html", Form::Json),
            ("application/json;q=0.5, TEXT/HTML", Form::Page),
            ("text/html;q=0", Form::Json),
            ("text/html;q=x", Form::Json),
        ];
        for (accept, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::wanted(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn the_body_names_the_request_and_an_unread_one_closes_the_connection() {
        let id: RequestId = "abc".parse().expect("an id");
        let response = Rejection::Misdirected.into_response(Some(&id), None, Unread::ClosesConnection, Form::Json);
        assert_eq!(response.headers().get(CONNECTION), Some(&HeaderValue::from_static("close")));
        let Body::Whole(Some(body)) = response.into_body() else { panic!("a whole body") };
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["request_id"], "abc");
        assert_eq!(body["error"], "misdirected_request");
        let response = Rejection::Misdirected.into_response(Some(&id), None, Unread::Harmless, Form::Json);
        assert_eq!(response.headers().get(CONNECTION), None);
    }
}
