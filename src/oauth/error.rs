//! The verdict of every endpoint: a refusal is the presenter's doing, a fault is ours.

use std::borrow::Cow;

use super::client_auth::{Scheme, Throttled};
use crate::domain::{ClientId, ClockUnreadable, RandomnessUnavailable};
use crate::event::Reason;
use crate::identity;
use crate::store::StoreError;

/// The error codes that our endpoints answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// RFC 6749 §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2.
    InvalidClient,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 9449 §5.
    InvalidDpopProof,
    /// RFC 9449 §8.
    UseDpopNonce,
    /// RFC 6749 §4.1.2.1.
    AccessDenied,
    /// RFC 6749 §4.1.2.1.
    UnsupportedResponseType,
    /// OpenID Connect Core §3.1.2.6.
    LoginRequired,
    /// OpenID Connect Core §3.1.2.6.
    ConsentRequired,
    /// OpenID Connect Core §3.1.2.6, RFC 9101 §7.
    InvalidRequestUri,
    /// RFC 9101 §7, OpenID Connect Core §3.1.2.6.
    InvalidRequestObject,
    /// OpenID Connect Core §3.1.2.6.
    RequestNotSupported,
    /// OpenID Connect Core §3.1.2.6.
    RequestUriNotSupported,
    /// OpenID Connect Core §3.1.2.6.
    RegistrationNotSupported,
    /// OpenID Connect Core Error Code unmet_authentication_requirements §2.
    UnmetAuthenticationRequirements,
    /// RFC 6750 §3.1, of a token for registering a client.
    InvalidToken,
    /// RFC 7591 §3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2.
    InvalidClientMetadata,
    /// RFC 8628 §3.5.
    AuthorizationPending,
    /// RFC 8628 §3.5.
    SlowDown,
    /// RFC 8628 §3.5.
    ExpiredToken,
    /// RFC 7591 §3.2.2.
    InvalidSoftwareStatement,
    /// RFC 7591 §3.2.2.
    UnapprovedSoftwareStatement,
    /// RFC 6749 §4.1.2.1; at the token endpoint our documented extension, with 503 and `Retry-After`.
    TemporarilyUnavailable,
    /// RFC 6749 §4.1.2.1; at the token endpoint our documented extension, with 500.
    ServerError,
}

impl ErrorCode {
    /// Every code there is.
    pub const ALL: &'static [Self] = &[
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
        Self::InvalidGrant,
        Self::InvalidTarget,
        Self::InvalidDpopProof,
        Self::UseDpopNonce,
        Self::AccessDenied,
        Self::UnsupportedResponseType,
        Self::LoginRequired,
        Self::ConsentRequired,
        Self::InvalidRequestUri,
        Self::InvalidRequestObject,
        Self::RequestNotSupported,
        Self::RequestUriNotSupported,
        Self::RegistrationNotSupported,
        Self::UnmetAuthenticationRequirements,
        Self::InvalidToken,
        Self::InvalidRedirectUri,
        Self::InvalidClientMetadata,
        Self::AuthorizationPending,
        Self::SlowDown,
        Self::ExpiredToken,
        Self::InvalidSoftwareStatement,
        Self::UnapprovedSoftwareStatement,
        Self::TemporarilyUnavailable,
        Self::ServerError,
    ];

    /// The code as the RFC spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::InvalidToken => "invalid_token",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InvalidSoftwareStatement => "invalid_software_statement",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// The presenter's doing: what the caller is told, and why in truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The RFC's error code.
    pub code: ErrorCode,
    /// `error_description`: safe to show to anyone, ASCII without `"` and `\` (RFC 6749 §5.2).
    pub description: Cow<'static, str>,
    /// The private reason.
    pub reason: Reason,
    /// The client that was named, once it is known to exist.
    pub client_id: Option<ClientId>,
    /// The scheme that the client tried in the `Authorization` header, to be answered in kind (RFC 6749 §5.2).
    pub challenge: Option<Scheme>,
    /// The nonce that the next DPoP proof is to have (RFC 9449 §8).
    pub dpop_nonce: Option<String>,
}

impl Refusal {
    /// A refusal of a request that names no known client yet.
    pub fn new(code: ErrorCode, reason: Reason, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), reason, client_id: None, challenge: None, dpop_nonce: None }
    }

    /// The same refusal, of a known client.
    pub fn of(mut self, client_id: &ClientId) -> Self {
        self.client_id = Some(client_id.clone());
        self
    }
}

/// Ours: the caller did nothing wrong and may try again, or met a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something we depend on does not answer: 503 with `Retry-After`.
    Unavailable(Reason),
    /// A bug, or a state that should not be: 500, logged once.
    Defect(Reason),
}

impl Fault {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Unavailable(reason) | Self::Defect(reason) => reason,
        }
    }
}

/// Why an endpoint did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthError {
    /// The presenter's doing.
    Refused(Refusal),
    /// Ours.
    Failed(Fault),
    /// Too many failed authentications, of this known client or from this address: 429 with `Retry-After`.
    Throttled(Throttled, Option<ClientId>),
}

impl OauthError {
    /// The same, of a known client.
    pub fn of(self, client_id: &ClientId) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(refusal.of(client_id)),
            Self::Failed(fault) => Self::Failed(fault),
            Self::Throttled(throttled, _) => Self::Throttled(throttled, Some(client_id.clone())),
        }
    }
}

impl From<Refusal> for OauthError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for OauthError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<identity::Fault> for Fault {
    fn from(fault: identity::Fault) -> Self {
        match fault {
            identity::Fault::Unavailable(reason) => Self::Unavailable(reason),
            identity::Fault::Defect(reason) => Self::Defect(reason),
        }
    }
}

impl From<identity::Fault> for OauthError {
    fn from(fault: identity::Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl From<StoreError> for OauthError {
    fn from(error: StoreError) -> Self {
        Self::Failed(Fault::from(error))
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        identity::Fault::from(error).into()
    }
}

impl From<ClockUnreadable> for OauthError {
    fn from(_: ClockUnreadable) -> Self {
        Self::Failed(Fault::Unavailable(Reason::ClockUnreadable))
    }
}

impl From<RandomnessUnavailable> for OauthError {
    fn from(_: RandomnessUnavailable) -> Self {
        Self::Failed(Fault::Unavailable(Reason::RandomnessUnavailable))
    }
}
