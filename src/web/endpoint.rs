//! The endpoints by name, for metrics and audit events: a bounded variety, whatever path a caller invents.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;

use super::path as page;
use crate::oauth::metadata::path;
use crate::telemetry::metrics::{self, REQUEST_SECONDS, REQUESTS};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/token`.
    Token,
    /// `/introspect`.
    Introspection,
    /// `/revoke`.
    Revocation,
    /// The revocation feed.
    RevocationFeed,
    /// `/jwks`.
    Jwks,
    /// `/authorize` and its resumption.
    Authorization,
    /// `/par`.
    PushedRequest,
    /// `/device-authorization`.
    DeviceAuthorization,
    /// `/device`.
    Device,
    /// `/consent`.
    Consent,
    /// `/userinfo`.
    Userinfo,
    /// `/sign-in`.
    SignIn,
    /// `/sign-out`, `/signed-out`.
    SignOut,
    /// `/register` and below.
    Registration,
    /// `/end-session` and its confirmation.
    EndSession,
    /// `/account` and below.
    Account,
    /// `/assets/`.
    Assets,
    /// The administration API.
    Admin,
    /// `/livez`, `/readyz`.
    Health,
    /// `/.well-known/`.
    Metadata,
    /// Anything else.
    Other,
}

impl Endpoint {
    const COUNT: usize = 21;

    /// The endpoint at a path of a server whose issuer has the path `base`.
    pub fn of(request_path: &str, base: &str) -> Self {
        let Some(below) = request_path.strip_prefix(base) else {
            return Self::beside(request_path);
        };
        match below {
            path::TOKEN => Self::Token,
            path::INTROSPECTION => Self::Introspection,
            path::REVOCATION => Self::Revocation,
            path::REVOCATION_FEED => Self::RevocationFeed,
            path::JWKS => Self::Jwks,
            path::AUTHORIZATION | page::RESUME => Self::Authorization,
            path::PUSHED_REQUEST => Self::PushedRequest,
            path::DEVICE_AUTHORIZATION => Self::DeviceAuthorization,
            path::DEVICE => Self::Device,
            page::CONSENT => Self::Consent,
            path::USERINFO => Self::Userinfo,
            page::SIGN_IN
            | page::SIGN_IN_CODE
            | page::SIGN_IN_CERTIFICATE
            | page::SHOW_CERTIFICATE
            | page::SIGN_IN_PASSKEY
            | page::SIGN_IN_PASSKEY_OPTIONS => Self::SignIn,
            other if other.starts_with("/sign-in/at/") => Self::SignIn,
            page::SIGN_OUT | page::SIGNED_OUT => Self::SignOut,
            path::REGISTRATION => Self::Registration,
            other if other.starts_with("/register/") => Self::Registration,
            path::END_SESSION | page::CONFIRM_SIGN_OUT => Self::EndSession,
            page::ACCOUNT => Self::Account,
            other if other.starts_with("/account/") => Self::Account,
            other if other.starts_with("/assets/") => Self::Assets,
            other if other.starts_with("/.well-known/") => Self::Metadata,
            _ => Self::beside(request_path),
        }
    }

    /// What does not lie below the issuer's path.
    fn beside(request_path: &str) -> Self {
        match request_path {
            "/livez" | "/readyz" => Self::Health,
            other if other.starts_with("/.well-known/") => Self::Metadata,
            _ => Self::Other,
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspection => "introspection",
            Self::Revocation => "revocation",
            Self::RevocationFeed => "revocation_feed",
            Self::Jwks => "jwks",
            Self::Authorization => "authorization",
            Self::PushedRequest => "pushed_request",
            Self::DeviceAuthorization => "device_authorization",
            Self::Device => "device",
            Self::Consent => "consent",
            Self::Userinfo => "userinfo",
            Self::SignIn => "sign_in",
            Self::SignOut => "sign_out",
            Self::Registration => "registration",
            Self::EndSession => "end_session",
            Self::Account => "account",
            Self::Assets => "assets",
            Self::Admin => "admin",
            Self::Health => "health",
            Self::Metadata => "metadata",
            Self::Other => "other",
        }
    }
}

/// The metrics of each endpoint, looked up once.
#[derive(Debug, Default)]
pub struct EndpointMetrics([OnceLock<OfEndpoint>; Endpoint::COUNT]);

#[derive(Debug)]
struct OfEndpoint {
    served: metrics::CounterHandle,
    seconds: metrics::HistogramHandle,
}

impl EndpointMetrics {
    /// A request was answered.
    pub fn answered(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let name = endpoint.name();
        let Some(slot) = self.0.get(endpoint as usize) else { return };
        let known = slot.get_or_init(|| OfEndpoint {
            served: REQUESTS.with([name, StatusCode::OK.as_str()].map(str::to_owned)),
            seconds: REQUEST_SECONDS.with([name]),
        });
        match status {
            StatusCode::OK => known.served.increment(1),
            other => REQUESTS.with([name.to_owned(), other.as_str().to_owned()]).increment(1),
        }
        known.seconds.record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_lies_below_the_issuers_path() {
        for (request_path, base, expected) in [
            ("/token", "", Endpoint::Token),
            ("/op/token", "/op", Endpoint::Token),
            ("/token", "/op", Endpoint::Other),
            ("/op/introspect", "/op", Endpoint::Introspection),
            ("/introspect", "/op", Endpoint::Other),
            ("/op/token/", "/op", Endpoint::Other),
            ("/optoken", "/op", Endpoint::Other),
            ("/livez", "/op", Endpoint::Health),
            ("/op/.well-known/openid-configuration", "/op", Endpoint::Metadata),
            ("/.well-known/oauth-authorization-server/op", "/op", Endpoint::Metadata),
        ] {
            assert_eq!(Endpoint::of(request_path, base), expected, "{request_path} below {base:?}");
        }
    }
}
