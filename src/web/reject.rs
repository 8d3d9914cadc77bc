//! The only place in the authorization server that turns errors into HTTP.

mod administration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::extract::ExtractError;
use crate::binding::dpop::DPOP_NONCE;
use crate::domain::{ClientId, ClockUnreadable};
use crate::event::Reason;
use crate::identity::{self, FormForeign, PasswordRefused, PersonError, SignInError, Stale};
use crate::oauth::administration::AdministrationError;
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::seal::PasswordError;

/// Seconds after which a caller may try again when something of ours was unavailable.
const RETRY_AFTER_SECONDS: u64 = 1;

/// How an error looks from outside, and why in truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status.
    pub status: StatusCode,
    /// `error`.
    pub error: &'static str,
    /// `error_description`.
    pub description: String,
    /// A header beyond the usual ones.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// The private reason.
    pub reason: Reason,
    /// Whether what is left of the request's body was not read, so that the connection cannot be used again.
    pub body_unread: bool,
}

/// Everything that can go wrong between a request and its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebError {
    /// The endpoint said no, or could not.
    Oauth(OauthError),
    /// The request could not be read.
    Extract(ExtractError),
    /// No endpoint has this path.
    NotFound,
    /// The endpoint does not know this method; the value of `Allow`.
    MethodNotAllowed(&'static str),
    /// The authority belongs to another TLS policy than the connection (RFC 9110 §15.5.20).
    Misdirected,
    /// Two programs could read the request differently.
    Ambiguous,
    /// What the proxy in front says of the client's certificate cannot be read in one way.
    ProxyHeader,
    /// A page for people said no, or could not.
    Person(PersonRefusal),
    /// The administration API said no.
    Administration(AdministrationError),
}

/// Why a person was not served what they asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonRefusal {
    /// Not signed in.
    SignIn(SignInError),
    /// Not by this certificate, or none was linked.
    Certificate(Reason),
    /// Not by this passkey, or none was made.
    Passkey(Reason),
    /// Not by this account elsewhere.
    Provider(Reason),
    /// The person could not sign in any more.
    LastWayIn,
    /// The sign-in is too long ago.
    Stale(Stale),
    /// The form did not come from our own page.
    Form(FormForeign),
    /// The new password was not typed twice alike.
    Repeated,
    /// The new password is no password.
    Unusable(PasswordError),
    /// The new password may not be chosen.
    Guessable(PasswordRefused),
    /// The account is gone.
    AccountGone,
    /// Ours.
    Failed(identity::Fault),
}

impl From<SignInError> for PersonRefusal {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Failed(fault) => Self::Failed(fault),
            other => Self::SignIn(other),
        }
    }
}

impl From<FormForeign> for PersonRefusal {
    fn from(error: FormForeign) -> Self {
        Self::Form(error)
    }
}

impl From<PersonError> for PersonRefusal {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Unproven(reason) => Self::SignIn(SignInError::Wrong(reason)),
            PersonError::TooMany { retry_after_seconds } => Self::SignIn(SignInError::TooMany { retry_after_seconds }),
            PersonError::Password(refused) => Self::Guessable(refused),
            PersonError::Unknown | PersonError::Username(_) | PersonError::NameTaken => Self::AccountGone,
            PersonError::Failed(fault) => Self::Failed(fault),
            PersonError::Store(error) => Self::Failed(error.into()),
        }
    }
}

impl From<PersonRefusal> for WebError {
    fn from(refusal: PersonRefusal) -> Self {
        match refusal {
            PersonRefusal::Failed(fault) => fault.into(),
            other => Self::Person(other),
        }
    }
}

impl From<identity::Fault> for WebError {
    fn from(fault: identity::Fault) -> Self {
        Self::Oauth(fault.into())
    }
}

impl WebError {
    /// The client that was named, once it is known to exist.
    pub fn client_id(&self) -> Option<&ClientId> {
        match self {
            Self::Oauth(OauthError::Refused(refusal)) | Self::Extract(ExtractError::Refused(refusal)) => {
                refusal.client_id.as_ref()
            }
            _ => None,
        }
    }

    /// The clock cannot be read.
    pub fn from_clock(error: ClockUnreadable) -> Self {
        Self::Oauth(error.into())
    }

    /// A bug.
    pub const fn defect() -> Self {
        Self::Oauth(OauthError::Failed(Fault::Defect(Reason::Defect)))
    }
}

impl From<OauthError> for WebError {
    fn from(error: OauthError) -> Self {
        Self::Oauth(error)
    }
}

impl From<AdministrationError> for WebError {
    fn from(error: AdministrationError) -> Self {
        Self::Administration(error)
    }
}

impl From<ExtractError> for WebError {
    fn from(error: ExtractError) -> Self {
        Self::Extract(error)
    }
}

fn rejection(status: StatusCode, error: &'static str, description: impl Into<String>, reason: Reason) -> Rejection {
    Rejection { status, error, description: description.into(), header: None, reason, body_unread: false }
}

/// The table: every error, its status and its code.
pub fn rejection_of(error: &WebError) -> Rejection {
    match error {
        WebError::Oauth(OauthError::Refused(refusal)) => refusal_of(refusal),
        WebError::Oauth(OauthError::Failed(Fault::Unavailable(reason))) => Rejection {
            header: Some((header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))),
            ..rejection(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::TemporarilyUnavailable.as_str(),
                "the server cannot do this right now; try again",
                *reason,
            )
        },
        WebError::Oauth(OauthError::Failed(Fault::Defect(reason))) => rejection(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::ServerError.as_str(),
            "the server met an unexpected condition; the request id leads its operator to the log",
            *reason,
        ),
        WebError::Oauth(OauthError::Throttled(throttled, _)) => Rejection {
            header: Some((header::RETRY_AFTER, HeaderValue::from(throttled.retry_after_seconds))),
            ..rejection(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::TemporarilyUnavailable.as_str(),
                "too many attempts, or too many that failed; try again later",
                Reason::ClientThrottled,
            )
        },
        WebError::Extract(error) => extract_rejection_of(error),
        WebError::NotFound => rejection(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", Reason::NotFound),
        WebError::MethodNotAllowed(allow) => Rejection {
            header: Some((header::ALLOW, HeaderValue::from_static(allow))),
            ..rejection(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorCode::InvalidRequest.as_str(),
                format!("this endpoint takes {allow}"),
                Reason::MethodNotAllowed,
            )
        },
        WebError::Misdirected => rejection(
            StatusCode::MISDIRECTED_REQUEST,
            ErrorCode::InvalidRequest.as_str(),
            "this host is served under another TLS policy than this connection: connect again",
            Reason::RequestMisdirected,
        ),
        WebError::Ambiguous => Rejection {
            body_unread: true,
            ..rejection(
                StatusCode::BAD_REQUEST,
                ErrorCode::InvalidRequest.as_str(),
                "the request is ambiguous: exactly one Host that agrees with the target",
                Reason::RequestAmbiguous,
            )
        },
        WebError::ProxyHeader => Rejection {
            body_unread: true,
            ..rejection(
                StatusCode::BAD_REQUEST,
                ErrorCode::InvalidRequest.as_str(),
                "what the proxy in front says of the client certificate cannot be read",
                Reason::ProxyHeaderMalformed,
            )
        },
        WebError::Person(refusal) => person_rejection_of(refusal),
        WebError::Administration(error) => administration::rejection_of(error),
    }
}

/// What people read: which of username and password was wrong, and whether there is such an account, is not theirs to know.
fn person_rejection_of(refusal: &PersonRefusal) -> Rejection {
    let wrong = "access_denied";
    match refusal {
        PersonRefusal::SignIn(SignInError::Wrong(
            reason @ (Reason::SecondFactorWrong | Reason::SecondFactorReplayed | Reason::SecondFactorAbsent),
        )) => rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, "The code is not right, or was used before.", *reason),
        PersonRefusal::SignIn(SignInError::Wrong(reason @ Reason::SecondFactorPresent)) => {
            rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, "Two-step sign-in is on already: turn it off first.", *reason)
        }
        PersonRefusal::SignIn(SignInError::Wrong(reason @ Reason::ConfirmationWrong)) => {
            rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, "That is not your username: nothing was deleted.", *reason)
        }
        PersonRefusal::SignIn(SignInError::Wrong(reason @ Reason::SignInOver)) => {
            rejection(StatusCode::FORBIDDEN, wrong, "That took too long. Please begin again.", *reason)
        }
        PersonRefusal::SignIn(SignInError::Wrong(reason)) => {
            rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, "The username or the password is not right.", *reason)
        }
        PersonRefusal::SignIn(SignInError::TooMany { retry_after_seconds }) => Rejection {
            header: Some((header::RETRY_AFTER, HeaderValue::from(*retry_after_seconds))),
            ..rejection(
                StatusCode::TOO_MANY_REQUESTS,
                wrong,
                format!("Too many attempts. Try again in {retry_after_seconds} seconds."),
                Reason::AttemptsTooMany,
            )
        },
        PersonRefusal::SignIn(SignInError::Failed(fault)) | PersonRefusal::Failed(fault) => rejection_of(&(*fault).into()),
        PersonRefusal::Form(foreign) => rejection(
            StatusCode::FORBIDDEN,
            ErrorCode::InvalidRequest.as_str(),
            "This page had grown old, or did not come from this server. Please try once more.",
            foreign.reason(),
        ),
        PersonRefusal::Certificate(reason) => rejection(StatusCode::FORBIDDEN, wrong, certificate_words(*reason), *reason),
        PersonRefusal::Passkey(reason) => rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, passkey_words(*reason), *reason),
        PersonRefusal::Provider(reason) => {
            let (status, words) = provider_words(*reason);
            rejection(status, wrong, words, *reason)
        }
        PersonRefusal::LastWayIn => rejection(
            StatusCode::UNPROCESSABLE_ENTITY,
            wrong,
            "Without it you could not sign in any more: add another way first.",
            Reason::LastWayIn,
        ),
        PersonRefusal::Stale(stale) => {
            rejection(StatusCode::FORBIDDEN, wrong, "For this, please sign in once more.", stale.reason())
        }
        PersonRefusal::Repeated => rejection(
            StatusCode::UNPROCESSABLE_ENTITY,
            wrong,
            "The new password was not typed twice alike.",
            Reason::PasswordRefused,
        ),
        PersonRefusal::Unusable(problem) => {
            rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, sentence(problem), Reason::PasswordRefused)
        }
        PersonRefusal::Guessable(problem) => {
            rejection(StatusCode::UNPROCESSABLE_ENTITY, wrong, sentence(problem), Reason::PasswordRefused)
        }
        PersonRefusal::AccountGone => {
            rejection(StatusCode::FORBIDDEN, wrong, "This account is not there any more.", Reason::AccountUnknown)
        }
    }
}

/// What people read whose certificate does not do. Why it is not trusted is not theirs to know.
const fn certificate_words(reason: Reason) -> &'static str {
    match reason {
        Reason::SignInOver => "That took too long. Please begin again.",
        Reason::CertificateAbsent => "Your browser showed no certificate.",
        Reason::CertificateNotAsked => "This host does not ask for certificates.",
        Reason::CertificateExpired => "This certificate has expired.",
        Reason::CertificateAnswerReplayed => "This was done already. Please begin again.",
        Reason::CertificateAmbiguous => "This certificate belongs to an account already, or to more than one.",
        Reason::CertificatesTooMany => "You have as many certificates as there may be: remove one first.",
        Reason::CertificateUnlinked => "This certificate belongs to no account here.",
        Reason::AccountDisabled | Reason::AccountUnknown | Reason::PersonKeyAbsent => "Nobody may sign in to this account.",
        _ => "This certificate is not accepted here.",
    }
}

/// What people read whose passkey does not do. What of it was wrong, and whether there is such an account, is not theirs to know.
const fn passkey_words(reason: Reason) -> &'static str {
    match reason {
        Reason::SignInOver => "That took too long. Please begin again.",
        Reason::PasskeyTaken => "This device has a passkey for an account here already.",
        Reason::PasskeysTooMany => "You have as many passkeys as there may be: remove one first.",
        _ => "This passkey was not accepted. Try again, or use another way.",
    }
}

/// What people read who are not signed in by another provider. Whether their account there opens one here, and whether its person may
/// sign in, is one answer.
const fn provider_words(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::ProviderUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The place where you wanted to sign in does not answer at the moment. Try again later, or sign in in another way.",
        ),
        Reason::ProviderBusy => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too many people sign in there at the moment. Try again in a moment.")
        }
        Reason::ProviderDeclined => (StatusCode::FORBIDDEN, "You were not signed in there."),
        Reason::SignInOver => (StatusCode::FORBIDDEN, "That took too long. Please begin again."),
        Reason::UsernamesTaken => (
            StatusCode::FORBIDDEN,
            "No account could be made for you: every username that fits is taken. Ask whoever runs this server.",
        ),
        Reason::LinkedAccountTaken => (StatusCode::FORBIDDEN, "This account opens an account here already."),
        Reason::LinkedAccountsTooMany => {
            (StatusCode::FORBIDDEN, "You have linked as many accounts as there may be: remove one first.")
        }
        Reason::LinkedAccountUnknown
        | Reason::ProviderClaim
        | Reason::AccountDisabled
        | Reason::AccountUnknown
        | Reason::PersonKeyAbsent => (
            StatusCode::FORBIDDEN,
            "This account opens no account here. If you have one, sign in to it in another way and link the two there.",
        ),
        _ => (StatusCode::BAD_REQUEST, "The sign-in could not be completed. Please begin again."),
    }
}

/// An error's words as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}

/// A refusal of ours, as it looks from outside.
pub fn refusal_of(refusal: &Refusal) -> Rejection {
    let status = match refusal.code {
        // RFC 6749 §5.2.
        ErrorCode::InvalidClient | ErrorCode::InvalidToken => StatusCode::UNAUTHORIZED,
        ErrorCode::InvalidRequest
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::InvalidDpopProof
        | ErrorCode::UseDpopNonce
        | ErrorCode::InvalidGrant
        | ErrorCode::AccessDenied
        | ErrorCode::UnsupportedResponseType
        | ErrorCode::LoginRequired
        | ErrorCode::ConsentRequired
        | ErrorCode::InvalidRequestUri
        | ErrorCode::InvalidRequestObject
        | ErrorCode::InvalidRedirectUri
        | ErrorCode::InvalidClientMetadata
        | ErrorCode::InvalidSoftwareStatement
        | ErrorCode::UnapprovedSoftwareStatement
        | ErrorCode::RequestNotSupported
        | ErrorCode::RequestUriNotSupported
        | ErrorCode::RegistrationNotSupported
        | ErrorCode::AuthorizationPending
        | ErrorCode::SlowDown
        | ErrorCode::ExpiredToken
        | ErrorCode::UnmetAuthenticationRequirements => StatusCode::BAD_REQUEST,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let challenge = refusal
        .challenge
        .as_ref()
        .and_then(|scheme| HeaderValue::try_from(format!("{} realm=\"clients\"", scheme.as_str())).ok())
        .map(|challenge| (header::WWW_AUTHENTICATE, challenge));
    // RFC 6750 §3.
    let challenge = match refusal.code {
        ErrorCode::InvalidToken => {
            let value = HeaderValue::from_static("Bearer realm=\"registration\", error=\"invalid_token\"");
            Some((header::WWW_AUTHENTICATE, value))
        }
        _ => challenge,
    };
    let nonce =
        refusal.dpop_nonce.as_deref().and_then(|nonce| HeaderValue::from_str(nonce).ok()).map(|nonce| (DPOP_NONCE, nonce));
    Rejection {
        // A failed authentication never has a nonce: proofs are looked at after it.
        header: challenge.or(nonce),
        ..rejection(status, refusal.code.as_str(), refusal.description.clone(), refusal.reason)
    }
}

fn extract_rejection_of(error: &ExtractError) -> Rejection {
    let code = ErrorCode::InvalidRequest.as_str();
    match error {
        ExtractError::ContentType => Rejection {
            body_unread: true,
            ..rejection(
                StatusCode::BAD_REQUEST,
                code,
                "the body must be application/x-www-form-urlencoded in UTF-8 (RFC 6749 Appendix B)",
                Reason::ContentType,
            )
        },
        ExtractError::NotJson => Rejection {
            body_unread: true,
            ..rejection(
                StatusCode::BAD_REQUEST,
                code,
                "the body must be application/json (RFC 7591 section 3.1)",
                Reason::ContentType,
            )
        },
        ExtractError::TooLarge => Rejection {
            body_unread: true,
            ..rejection(StatusCode::PAYLOAD_TOO_LARGE, code, "the body is larger than this server takes", Reason::BodyTooLarge)
        },
        ExtractError::TooSlow => Rejection {
            body_unread: true,
            ..rejection(StatusCode::REQUEST_TIMEOUT, code, "the body did not arrive in time", Reason::BodyIncomplete)
        },
        ExtractError::Broken => Rejection {
            body_unread: true,
            ..rejection(StatusCode::BAD_REQUEST, code, "the body broke off or is not HTTP", Reason::BodyIncomplete)
        },
        ExtractError::Refused(refusal) => refusal_of(refusal),
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let rejection = rejection_of(&self);
        let mut response = respond(&rejection);
        let client_id = match self {
            Self::Oauth(OauthError::Refused(refusal)) | Self::Extract(ExtractError::Refused(refusal)) => refusal.client_id,
            Self::Oauth(OauthError::Throttled(_, client_id)) => client_id,
            _ => None,
        };
        response.extensions_mut().insert(Rejected { rejection, client_id });
        response
    }
}

/// Left in a response for the audit trail.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// How it looked from outside, and why in truth.
    pub rejection: Rejection,
    /// The client that was named, once it was known to exist.
    pub client_id: Option<ClientId>,
}

/// The answer: JSON as RFC 6749 §5.2 has it.
pub fn respond(rejection: &Rejection) -> Response {
    let body = json!({ "error": rejection.error, "error_description": rejection.description });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = rejection.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some((name, value)) = &rejection.header {
        headers.insert(name, value.clone());
    }
    if rejection.body_unread {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client_auth::Throttled;

    #[test]
    fn every_error_has_its_answer() {
        let refused = |code| WebError::Oauth(Refusal::new(code, Reason::ParameterAbsent, "why").into());
        let mut errors: Vec<WebError> = ErrorCode::ALL.iter().map(|code| refused(*code)).collect();
        errors.extend([
            WebError::Oauth(Fault::Unavailable(Reason::StoreUnavailable).into()),
            WebError::Oauth(Fault::Defect(Reason::Defect).into()),
            WebError::Extract(ExtractError::ContentType),
            WebError::Extract(ExtractError::NotJson),
            WebError::Extract(ExtractError::TooLarge),
            WebError::Extract(ExtractError::TooSlow),
            WebError::Extract(ExtractError::Broken),
            WebError::Extract(Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterDuplicate, "why").into()),
            WebError::Oauth(OauthError::Throttled(Throttled { retry_after_seconds: 7 }, None)),
            WebError::Oauth(
                Refusal {
                    dpop_nonce: Some("fresh".into()),
                    ..Refusal::new(ErrorCode::UseDpopNonce, Reason::DpopNonceAbsent, "why")
                }
                .into(),
            ),
            WebError::NotFound,
            WebError::MethodNotAllowed("POST"),
            WebError::Misdirected,
            WebError::Ambiguous,
            WebError::ProxyHeader,
        ]);
        errors.extend(
            [
                PersonRefusal::SignIn(SignInError::Wrong(Reason::PasswordWrong)),
                PersonRefusal::SignIn(SignInError::Wrong(Reason::SecondFactorWrong)),
                PersonRefusal::SignIn(SignInError::Wrong(Reason::SecondFactorPresent)),
                PersonRefusal::SignIn(SignInError::Wrong(Reason::SignInOver)),
                PersonRefusal::SignIn(SignInError::Wrong(Reason::ConfirmationWrong)),
                PersonRefusal::SignIn(SignInError::TooMany { retry_after_seconds: 60 }),
                PersonRefusal::Certificate(Reason::CertificateUnlinked),
                PersonRefusal::Passkey(Reason::PasskeySignature),
                PersonRefusal::Provider(Reason::ProviderUnavailable),
                PersonRefusal::Provider(Reason::ProviderIdToken),
                PersonRefusal::Provider(Reason::LinkedAccountUnknown),
                PersonRefusal::LastWayIn,
                PersonRefusal::Stale(Stale),
                PersonRefusal::Form(FormForeign),
                PersonRefusal::Repeated,
                PersonRefusal::Unusable(PasswordError::Control),
                PersonRefusal::Guessable(PasswordRefused::Guessable),
                PersonRefusal::AccountGone,
            ]
            .map(WebError::Person),
        );
        errors.extend(
            [
                AdministrationError::Unknown { what: "client", reason: Reason::ClientUnknown },
                AdministrationError::ClientExists,
                AdministrationError::ChangedMeanwhile,
                AdministrationError::Precondition,
                AdministrationError::ContentType,
                AdministrationError::Registration { description: "why".into(), reason: Reason::ParameterMalformed },
                AdministrationError::invalid("why"),
            ]
            .map(WebError::Administration),
        );
        let table: Vec<String> = errors
            .iter()
            .map(rejection_of)
            .map(|row| {
                let header = row.header.map(|(name, value)| format!(" {name}: {}", value.to_str().unwrap_or("?")));
                let close = if row.body_unread { " close" } else { "" };
                format!("{} {} [{}]{}{close}", row.status.as_u16(), row.error, row.reason, header.unwrap_or_default())
            })
            .collect();
        insta::assert_snapshot!("answers", table.join("\n"));
    }
}
