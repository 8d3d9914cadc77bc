//! What goes wrong with browser sessions.

use http::StatusCode;

use super::cookie::TooLarge;
use crate::domain::RandomnessUnavailable;
use crate::event::Reason;
use crate::relying_party::{LogoutTokenError, ProviderError};
use crate::seal::SealError;

/// Why a request about a session is refused, or fails.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session was opened with a certificate, or only those are served.
    #[error("the session needs a certificate, and the connection has none")]
    CertificateAbsent,
    /// The session was opened with another certificate.
    #[error("the session was opened with another certificate")]
    CertificateMismatch,
    /// A page of another origin.
    #[error("a request that changes something does not come from a page of this host")]
    ForeignPage,
    /// What the provider sent the browser back with.
    #[error("the answer to a sign-in is malformed")]
    Malformed,
    /// Another browser's sign-in, or another certificate's.
    #[error("the sign-in was not begun in this browser")]
    Foreign,
    /// Too long ago.
    #[error("the sign-in was begun too long ago")]
    Expired,
    /// Session after session was over as soon as it had begun.
    #[error("several sessions in a row were over as soon as they had begun")]
    Circle,
    /// The provider said no.
    #[error("the provider did not sign the person in: {0}")]
    Declined(String),
    /// Another provider's answer.
    #[error("the answer to a sign-in is another provider's")]
    Issuer,
    /// The provider.
    #[error("{0}")]
    Provider(#[from] ProviderError),
    /// A logout token that is none.
    #[error("{0}")]
    Logout(#[from] LogoutTokenError),
    /// A logout token that came before.
    #[error("the logout token was used before")]
    LogoutReplayed,
    /// Not exactly one logout token in the form.
    #[error("the request has no logout token, or several")]
    LogoutAbsent,
    /// The form did not arrive.
    #[error("the form did not arrive whole, or is too large")]
    Form,
    /// The memory of logout tokens is full.
    #[error("nobody can say whether the logout token was used before")]
    LogoutUnknown,
    /// Too many sign-ins at once.
    #[error("too many browsers sign in at once")]
    Overloaded,
    /// More than fits into cookies.
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    /// Sealing.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// No randomness.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// A bug.
    #[error("a session could not be written")]
    Encoding,
}

impl SessionError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::CertificateAbsent => Reason::GatewaySessionCertificateAbsent,
            Self::CertificateMismatch => Reason::GatewaySessionCertificateMismatch,
            Self::ForeignPage => Reason::PolicyOrigin,
            Self::Malformed => Reason::GatewaySignInMalformed,
            Self::Foreign => Reason::GatewaySignInForeign,
            Self::Expired => Reason::GatewaySignInExpired,
            Self::Circle => Reason::GatewaySignInCircle,
            Self::Declined(_) => Reason::GatewaySignInDeclined,
            Self::Issuer => Reason::GatewaySignInIssuer,
            Self::Provider(error) => error.reason(),
            Self::Logout(_) | Self::LogoutAbsent => Reason::LogoutToken,
            Self::LogoutReplayed => Reason::LogoutTokenReplayed,
            Self::Form => Reason::BodyIncomplete,
            Self::LogoutUnknown => Reason::ReplayUnknown,
            Self::Overloaded => Reason::Overloaded,
            Self::TooLarge(TooLarge) => Reason::GatewaySessionTooLarge,
            Self::Seal(error) => error.reason(),
            Self::Randomness(RandomnessUnavailable) => Reason::RandomnessUnavailable,
            Self::Encoding => Reason::Defect,
        }
    }

    /// Status, error code and description.
    pub fn answer(&self) -> (StatusCode, &'static str, &'static str) {
        const AGAIN: &str = "The sign-in could not be completed: go back to where you came from and begin again";
        match self {
            Self::CertificateAbsent => (StatusCode::UNAUTHORIZED, "invalid_token", "A client certificate is needed here"),
            Self::CertificateMismatch => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The session was opened with another client certificate")
            }
            Self::ForeignPage => (StatusCode::FORBIDDEN, "access_denied", "This is not served to pages of that origin"),
            Self::Malformed | Self::Foreign | Self::Expired | Self::Issuer => (StatusCode::BAD_REQUEST, "invalid_request", AGAIN),
            Self::Provider(ProviderError::Refused(_) | ProviderError::IdToken(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_request", AGAIN)
            }
            Self::Circle => (
                StatusCode::FORBIDDEN,
                "access_denied",
                "You were signed in several times in a row, and each time the session was over at once: wait a minute, sign out where \
                 you sign in, and try again",
            ),
            Self::Declined(_) => (StatusCode::FORBIDDEN, "access_denied", "The provider did not sign you in"),
            Self::Provider(ProviderError::Unavailable(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The provider that people sign in at cannot be reached at the moment",
            ),
            Self::Logout(_) | Self::LogoutReplayed | Self::LogoutAbsent => {
                (StatusCode::BAD_REQUEST, "invalid_request", "The logout token is not accepted")
            }
            Self::Form => (StatusCode::BAD_REQUEST, "invalid_request", "The form did not arrive whole, or is too large"),
            Self::LogoutUnknown | Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The gateway cannot take more requests at the moment",
            ),
            Self::TooLarge(_) => (StatusCode::BAD_GATEWAY, "server_error", "What the provider issued is too large for a session"),
            Self::Seal(_) | Self::Randomness(_) | Self::Encoding => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", "The gateway has a fault")
            }
        }
    }
}
