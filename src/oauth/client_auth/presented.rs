//! What a request presents for its client: exactly one mechanism (RFC 6749 §2.3), before anybody looks the client up.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Authorization, Carried, ClientRequest, Scheme, invalid_client};
use crate::event::Reason;
use crate::jose::json;
use crate::jose::jws::{Compact, JwsError};
use crate::jose::mac::MacCompact;
use crate::oauth::error::{ErrorCode, Refusal};

/// `client_assertion_type` (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The mechanism, and whom the request says it comes from.
#[derive(Debug)]
pub(super) struct Presented<'a> {
    pub(super) client_id: Cow<'a, str>,
    pub(super) credentials: Credentials<'a>,
}

/// The credentials. A certificate on the connection is none of these: it may accompany every one of them (RFC 8705 §3).
#[derive(Debug)]
pub(super) enum Credentials<'a> {
    /// Nothing but `client_id`.
    Nothing,
    /// `Authorization: Basic`.
    Basic(&'a str),
    /// `client_secret`.
    Post(&'a str),
    /// `client_assertion`.
    Assertion(Assertion<'a>),
}

/// An assertion, read as far as that is possible without a key.
#[derive(Debug)]
pub(super) enum Assertion<'a> {
    /// To be verified with a public key.
    Signed(Compact<'a>),
    /// To be verified with a secret.
    Authenticated(MacCompact<'a>),
    /// Not readable.
    Broken(JwsError),
    /// `client_assertion_type` is another one.
    OtherType,
    /// One of the two parameters is missing.
    Incomplete(&'static str),
}

fn ambiguous() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRequest,
        Reason::ClientMethodAmbiguous,
        "the request authenticates its client in more than one way (RFC 6749 section 2.3)",
    )
}

impl<'a> Presented<'a> {
    pub(super) fn read(request: &ClientRequest<'a>) -> Result<Self, Refusal> {
        let parameters = request.parameters;
        let named = parameters.get("client_id");
        let secret = parameters.get("client_secret");
        let assertion = parameters.get("client_assertion");
        let assertion_type = parameters.get("client_assertion_type");
        let has_assertion = assertion.is_some() || assertion_type.is_some();
        if request.carried == Carried::Query && (secret.is_some() || has_assertion) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                Reason::ParameterMalformed,
                "credentials must not be in the request URI (RFC 6749 section 2.3.1)",
            ));
        }
        let has_header = !matches!(request.authorization, Authorization::Absent);
        if u8::from(has_header) + u8::from(secret.is_some()) + u8::from(has_assertion) > 1 {
            return Err(ambiguous());
        }
        let challenged = |scheme: &Scheme, reason| Refusal {
            challenge: Some(scheme.clone()),
            ..invalid_client(reason, "client authentication failed")
        };
        match request.authorization {
            Authorization::Absent => {}
            Authorization::Several(_) => return Err(ambiguous()),
            Authorization::Other(scheme) => return Err(challenged(scheme, Reason::ClientMethodMismatch)),
            Authorization::Malformed(scheme) => return Err(challenged(scheme, Reason::ClientCredentialsMalformed)),
            Authorization::Basic(_, credentials) => {
                if named.is_some_and(|named| named != credentials.client_id) {
                    return Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        Reason::ClientIdMismatch,
                        "client_id is another client than the one in the Authorization header",
                    ));
                }
                let client_id = Cow::Borrowed(credentials.client_id.as_str());
                return Ok(Self { client_id, credentials: Credentials::Basic(&credentials.secret) });
            }
        }
        if has_assertion {
            return Self::assertion(named, assertion, assertion_type);
        }
        let Some(named) = named else {
            return Err(invalid_client(
                Reason::ClientIdAbsent,
                "the request names no client: client_id is required, also with mutual-TLS client authentication (RFC 8705 section 2)",
            ));
        };
        let credentials = secret.map_or(Credentials::Nothing, Credentials::Post);
        Ok(Self { client_id: Cow::Borrowed(named), credentials })
    }

    /// `client_id` is optional beside an assertion (RFC 7521 §4.2), whose `sub` names the client. Nothing is believed yet.
    fn assertion(named: Option<&'a str>, text: Option<&'a str>, kind: Option<&'a str>) -> Result<Self, Refusal> {
        let (assertion, claims) = match (text, kind) {
            (None, _) => (Assertion::Incomplete("client_assertion"), None),
            (_, None) => (Assertion::Incomplete("client_assertion_type"), None),
            (_, Some(kind)) if kind != JWT_BEARER => (Assertion::OtherType, None),
            (Some(text), Some(_)) => read(text),
        };
        let subject = claims.as_ref().and_then(|claims| claims.get("sub")).and_then(Value::as_str);
        let client_id = match (named, subject) {
            (Some(named), Some(subject)) if named != subject => {
                return Err(invalid_client(
                    Reason::ClientIdMismatch,
                    "client_id is another client than the sub of client_assertion",
                ));
            }
            (Some(named), _) => Cow::Borrowed(named),
            (None, Some(subject)) => Cow::Owned(subject.to_owned()),
            (None, None) => {
                let reason = assertion.problem().unwrap_or(Reason::AssertionClaim);
                return Err(invalid_client(reason, "client_assertion names no client, and there is no client_id"));
            }
        };
        Ok(Self { client_id, credentials: Credentials::Assertion(assertion) })
    }
}

fn read(text: &str) -> (Assertion<'_>, Option<Map<String, Value>>) {
    let (assertion, payload) = match Compact::parse(text) {
        Ok(compact) => {
            let claims = json::parse_object(compact.unverified_payload());
            (Assertion::Signed(compact), claims)
        }
        Err(problem) => match MacCompact::parse(text) {
            Ok(compact) => {
                let claims = json::parse_object(compact.unverified_payload());
                (Assertion::Authenticated(compact), claims)
            }
            Err(_) => return (Assertion::Broken(problem), None),
        },
    };
    match payload {
        Ok(claims) => (assertion, Some(claims)),
        Err(problem) => (Assertion::Broken(JwsError::Payload(problem)), None),
    }
}

impl Assertion<'_> {
    /// Why it cannot be taken from anybody.
    pub(super) fn problem(&self) -> Option<Reason> {
        match self {
            Self::Signed(_) | Self::Authenticated(_) => None,
            Self::Broken(problem) => Some(reason_of(problem)),
            Self::OtherType => Some(Reason::AssertionType),
            Self::Incomplete(_) => Some(Reason::ParameterAbsent),
        }
    }
}

/// What is wrong with a JWS, said of an assertion.
pub(in crate::oauth) const fn reason_of(problem: &JwsError) -> Reason {
    match problem {
        JwsError::TooLong
        | JwsError::Parts
        | JwsError::Encoding(_)
        | JwsError::Header(_)
        | JwsError::HeaderParameter(_)
        | JwsError::AlgorithmAbsent
        | JwsError::Payload(_) => Reason::AssertionMalformed,
        JwsError::AlgorithmUnknown | JwsError::AlgorithmMismatch(_) => Reason::AssertionAlgorithm,
        JwsError::Critical | JwsError::UnencodedPayload => Reason::AssertionCritical,
        JwsError::KeyUnknown => Reason::AssertionKeyUnknown,
        JwsError::Signature => Reason::AssertionSignature,
    }
}
