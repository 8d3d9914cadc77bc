//! Request objects: an authorization request as a JWT that its client has signed (RFC 9101, OpenID Connect Core §6, FAPI 2.0 Message
//! Signing §5.3).
//!
//! ```text
//! request, or what request_uri names -> JWT signed by a registered key -> for us, from this client, now -> Parameters, which are then read like any others
//! ```

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::parameters::Parameters;
use super::profiles::{Demand, OutsideParameters, Rules};
use super::server::AuthorizationServer;
use crate::clients::{Client, ClientKeysError, Profile, Published, RequestSigning, RequestUri};
use crate::domain::{Issuer, Lifetime, Timestamp};
use crate::event::Reason;
use crate::jose::jws::{Compact, JwsError, Unsigned};

/// How far `nbf` may lie back, and how far `exp` may lie behind it (FAPI 2.0 Message Signing §5.3.1).
const LONGEST: Lifetime = Lifetime::from_seconds(3_600);
/// By how much clocks may differ: FAPI 2.0 Security Profile §5.3.2.1 has ten seconds accepted, and more than sixty refused.
const LEEWAY: Lifetime = Lifetime::from_seconds(10);
/// `typ` (RFC 9101 §4, §10.8). Without one, or with the one of any JWT, OpenID Connect's clients are understood too.
const TYPES: [&str; 3] = ["oauth-authz-req+jwt", "application/oauth-authz-req+jwt", "JWT"];
/// What is asked for at a `request_uri` (RFC 9101 §9.4.1).
const MEDIA_TYPE: &str = "application/oauth-authz-req+jwt";
/// Claims of the JWT, which are no parameters (RFC 7519 §4.1).
const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// What this server reads as text.
const TEXTS: [&str; 18] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "response_mode",
    "nonce",
    "display",
    "prompt",
    "ui_locales",
    "id_token_hint",
    "login_hint",
    "acr_values",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "request",
    "request_uri",
];

/// Where a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// At the authorization endpoint.
    Authorization,
    /// At the endpoint for pushed requests, where only the object counts under every profile (RFC 9126 §3).
    Pushed,
}

/// What is wrong with a request object. Told to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestObjectError {
    /// Not a JWT that is read.
    #[error("request is not a JWT that this server reads (RFC 9101 section 4)")]
    Malformed,
    /// Another kind of JWT.
    #[error("request: typ is another JWT's (RFC 9101 section 10.8)")]
    Type,
    /// Not the registered algorithm, or none of the profile's.
    #[error("request: its alg is not one that this client may sign requests with")]
    Algorithm,
    /// An extension.
    #[error("request: the header has crit or b64")]
    Critical,
    /// The client has no such key.
    #[error("request: no registered key of this client fits its kid and alg")]
    KeyUnknown,
    /// The keys cannot be had.
    #[error("request: the keys at the jwks_uri of this client could not be fetched")]
    KeysUnavailable,
    /// The signature does not verify.
    #[error("request: the signature does not verify")]
    Signature,
    /// A claim is missing, mistyped, or must not be there.
    #[error("request: {0} is missing, of the wrong type, or contradicts the rest of the request")]
    Claim(&'static str),
    /// `client_id`, `iss` or `sub`.
    #[error("request: client_id and iss must be the client, and sub must not (RFC 9101 section 5, section 10.8)")]
    Client,
    /// `aud`.
    #[error("request: aud must be or contain the issuer identifier of this server")]
    Audience,
    /// After `exp`.
    #[error("request: it has expired")]
    Expired,
    /// Before `nbf` or `iat`.
    #[error("request: nbf or iat is in the future")]
    NotYetValid,
    /// Too wide a window.
    #[error("request: nbf must be at most an hour ago, and exp at most an hour after it")]
    Lifetime,
}

impl RequestObjectError {
    /// The private reason.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Malformed => Reason::RequestObjectMalformed,
            Self::Type => Reason::RequestObjectType,
            Self::Algorithm => Reason::RequestObjectAlgorithm,
            Self::Critical => Reason::RequestObjectCritical,
            Self::KeyUnknown => Reason::RequestObjectKeyUnknown,
            Self::KeysUnavailable => Reason::ClientKeysUnavailable,
            Self::Signature => Reason::RequestObjectSignature,
            Self::Claim(_) => Reason::RequestObjectClaim,
            Self::Client => Reason::RequestObjectClient,
            Self::Audience => Reason::RequestObjectAudience,
            Self::Expired => Reason::RequestObjectExpired,
            Self::NotYetValid => Reason::RequestObjectNotYetValid,
            Self::Lifetime => Reason::RequestObjectLifetime,
        }
    }
}

impl From<&JwsError> for RequestObjectError {
    fn from(problem: &JwsError) -> Self {
        match problem {
            JwsError::AlgorithmUnknown | JwsError::AlgorithmMismatch(_) => Self::Algorithm,
            JwsError::Critical | JwsError::UnencodedPayload => Self::Critical,
            JwsError::KeyUnknown => Self::KeyUnknown,
            JwsError::Signature => Self::Signature,
            JwsError::TooLong
            | JwsError::Parts
            | JwsError::Encoding(_)
            | JwsError::Header(_)
            | JwsError::HeaderParameter(_)
            | JwsError::AlgorithmAbsent
            | JwsError::Payload(_) => Self::Malformed,
        }
    }
}

impl From<RequestObjectError> for Refusal {
    fn from(problem: RequestObjectError) -> Self {
        Self::new(ErrorCode::InvalidRequestObject, problem.reason(), problem.to_string())
    }
}

impl AuthorizationServer {
    /// The parameters that count: those of the request object where there is one.
    ///
    /// # Errors
    /// A request object that is not in order, or none where one is demanded.
    pub(super) async fn unfold<'p>(
        &self,
        parameters: &'p Parameters,
        client: &Client,
        rules: &Rules,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<Cow<'p, Parameters>, OauthError> {
        let of = |refusal: Refusal| OauthError::from(refusal.of(&client.client_id));
        let text = match (parameters.get("request"), parameters.get("request_uri")) {
            (Some(_), Some(_)) => {
                // OpenID Connect Core §6.2, RFC 9101 §5.
                let description = "request and request_uri exclude each other (RFC 9101 section 5)";
                return Err(of(Refusal::new(ErrorCode::InvalidRequest, Reason::RequestUnsupported, description)));
            }
            (Some(text), None) => Some(Cow::Borrowed(text)),
            (None, Some(uri)) => {
                Some(Cow::Owned(self.fetch_request(uri, client, rules).await.map_err(|error| error.of(&client.client_id))?))
            }
            (None, None) => None,
        };
        let Some(text) = text else {
            return match rules.signed_request {
                Demand::Optional => Ok(Cow::Borrowed(parameters)),
                Demand::Required => Err(of(Refusal::new(
                    ErrorCode::InvalidRequest,
                    Reason::RequestObjectAbsent,
                    "this client must sign its authorization requests (RFC 9101)",
                ))),
            };
        };
        let claims = self.request_claims(&text, client, rules).await;
        let inner = claims.and_then(|claims| {
            check_claims(&claims, client, rules, &self.issuer, now)?;
            parameters_of(&claims)
        });
        let merged = inner.and_then(|inner| combine(inner, parameters, client, rules.outside_parameters, arrival));
        merged.map(Cow::Owned).map_err(|problem| of(problem.into()))
    }

    /// The request object that the client publishes at one of its registered places (OpenID Connect Core §6.2, RFC 9101 §5.2). Nothing is
    /// fetched from anywhere else, and nothing for clients that must push.
    async fn fetch_request(&self, uri: &str, client: &Client, rules: &Rules) -> Result<String, OauthError> {
        let (Some(outbound), Demand::Optional) = (self.client_keys.outbound(), rules.pushed_request) else {
            let description = "request_uri must be one of a pushed request here (RFC 9126)";
            return Err(Refusal::new(ErrorCode::RequestUriNotSupported, Reason::RequestUnsupported, description).into());
        };
        let named = uri.parse::<RequestUri>().ok();
        let registered = &client.messages.request_uris;
        let uri = named.filter(|named| registered.iter().any(|one| one.names_the_same_as(named))).ok_or_else(|| {
            let description = "this request_uri is none of those that this client is registered for";
            Refusal::new(ErrorCode::InvalidRequestUri, Reason::RequestUriUnregistered, description)
        })?;
        let _permit = self.request_fetches.enter(&client.client_id).ok_or(Fault::Unavailable(Reason::Overloaded))?;
        let unavailable = |problem: &dyn std::fmt::Display| {
            tracing::warn!(client_id = %client.client_id, %problem, "cannot fetch the request object of a client");
            let description = "what this request_uri names could not be fetched";
            OauthError::from(Refusal::new(ErrorCode::InvalidRequestUri, Reason::RequestUriUnavailable, description))
        };
        let answer = outbound.get_as(uri.url(), MEDIA_TYPE).await.map_err(|problem| unavailable(&problem))?;
        if answer.status != http::StatusCode::OK {
            return Err(unavailable(&answer.status));
        }
        let text = std::str::from_utf8(&answer.body).map_err(|_| Refusal::from(RequestObjectError::Malformed))?;
        Ok(text.trim_ascii().to_owned())
    }

    /// The claims, once the signature has verified; or unsigned ones, where that means no more than parameters do.
    async fn request_claims(&self, text: &str, client: &Client, rules: &Rules) -> Result<Map<String, Value>, RequestObjectError> {
        let registered = client.messages.request_object_signing_alg;
        let may_be_unsigned = rules.profile == Profile::Openid
            && rules.signed_request == Demand::Optional
            && matches!(registered, None | Some(RequestSigning::Unsigned));
        let compact = match Compact::parse(text) {
            Ok(compact) => compact,
            Err(JwsError::AlgorithmUnknown) if may_be_unsigned => {
                let unsigned = Unsigned::parse(text).map_err(|problem| RequestObjectError::from(&problem))?;
                check_type(unsigned.header())?;
                return unsigned.unverified_claims().map_err(|problem| RequestObjectError::from(&problem));
            }
            Err(problem) => return Err((&problem).into()),
        };
        check_type(compact.header())?;
        let is_registered = registered.is_none_or(|signing| signing == RequestSigning::Signed(compact.algorithm()));
        if !is_registered || !rules.algorithms.contains(&compact.algorithm()) {
            return Err(RequestObjectError::Algorithm);
        }
        let verified = match client.keys() {
            None => return Err(RequestObjectError::KeyUnknown),
            Some(Published::Here(keys)) => keys.verify(&compact).map_err(ClientKeysError::from),
            Some(Published::At(uri)) => self.client_keys.verify(&client.client_id, uri, &compact, self.clock.monotonic()).await,
        };
        match verified {
            Ok(verified) => Ok(verified.claims().clone()),
            Err(ClientKeysError::Jws(problem)) => Err((&problem).into()),
            Err(ClientKeysError::Certificate(_)) => Err(RequestObjectError::KeyUnknown),
            Err(ClientKeysError::Unavailable(problem)) => {
                tracing::warn!(client_id = %client.client_id, %problem, "cannot fetch the keys of a client");
                Err(RequestObjectError::KeysUnavailable)
            }
        }
    }
}

fn check_type(header: &Map<String, Value>) -> Result<(), RequestObjectError> {
    match header.get("typ").and_then(Value::as_str) {
        Some(typ) if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) => Err(RequestObjectError::Type),
        _ => Ok(()),
    }
}

/// Judges the claims of the JWT. Pure.
fn check_claims(
    claims: &Map<String, Value>,
    client: &Client,
    rules: &Rules,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<(), RequestObjectError> {
    use RequestObjectError::{Audience, Claim, Client as Foreign, Expired, Lifetime, NotYetValid};
    let client_id = client.client_id.as_str();
    let text = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Claim(name)),
    };
    if text("iss")?.is_some_and(|iss| iss != client_id) {
        return Err(Foreign);
    }
    // RFC 9101 §10.8: it would pass for a client assertion.
    if text("sub")?.is_some_and(|sub| sub == client_id) {
        return Err(Foreign);
    }
    let is_for_us = match claims.get("aud") {
        None => rules.request_object_bounds == Demand::Optional,
        Some(Value::String(audience)) => audience == issuer.as_str(),
        Some(Value::Array(list)) => list.iter().any(|audience| audience.as_str() == Some(issuer.as_str())),
        Some(_) => return Err(Claim("aud")),
    };
    if !is_for_us {
        return Err(Audience);
    }
    let (expires, begins) = (moment(claims, "exp")?, moment(claims, "nbf")?);
    if expires.is_some_and(|expires| now >= expires) {
        return Err(Expired);
    }
    for start in [begins, moment(claims, "iat")?].into_iter().flatten() {
        if start > now.plus(LEEWAY) {
            return Err(NotYetValid);
        }
    }
    if rules.request_object_bounds == Demand::Required {
        let (expires, begins) = (expires.ok_or(Claim("exp"))?, begins.ok_or(Claim("nbf"))?);
        if begins.plus(LONGEST) < now || expires > begins.plus(LONGEST) {
            return Err(Lifetime);
        }
    }
    Ok(())
}

/// A `NumericDate` (RFC 7519 §2). A fraction is cut off; a string is not a number.
fn moment(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, RequestObjectError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match (value.as_i64(), value.as_f64()) {
        (Some(seconds), _) => seconds,
        (None, Some(seconds)) if seconds.abs() < 9.0e15 => seconds.floor() as i64,
        _ => return Err(RequestObjectError::Claim(name)),
    };
    Ok(Some(Timestamp::from_seconds(seconds)))
}

/// The claims as parameters (RFC 9101 §4, OpenID Connect Core §6.1). Unknown ones are ignored, like unknown parameters.
fn parameters_of(claims: &Map<String, Value>) -> Result<Parameters, RequestObjectError> {
    let mut parameters = Vec::with_capacity(claims.len());
    let mut put = |name: &str, value: &str| match value.contains('\0') {
        true => Err(RequestObjectError::Malformed),
        false => {
            parameters.push((name.to_owned(), value.to_owned()));
            Ok(())
        }
    };
    for (name, value) in claims.iter().filter(|(name, _)| !REGISTERED_CLAIMS.contains(&name.as_str())) {
        match (name.as_str(), value) {
            (_, Value::String(text)) => put(name, text)?,
            ("max_age", Value::Number(number)) => put(name, &number.to_string())?,
            ("max_age", _) => return Err(RequestObjectError::Claim("max_age")),
            // "this value is the JSON object itself" (OpenID Connect Core §5.5).
            ("claims", Value::Object(_)) => put(name, &value.to_string())?,
            ("claims", _) => return Err(RequestObjectError::Claim("claims")),
            ("resource", Value::Array(list)) => {
                for one in list {
                    put(name, one.as_str().ok_or(RequestObjectError::Claim("resource"))?)?;
                }
            }
            ("resource", _) => return Err(RequestObjectError::Claim("resource")),
            ("registration", _) => put(name, "object")?,
            (name, _) => {
                if let Some(known) = TEXTS.iter().find(|known| **known == name) {
                    return Err(RequestObjectError::Claim(known));
                }
            }
        }
    }
    Ok(Parameters::of(parameters))
}

/// Puts the object's parameters in the place of those around it, or before them.
fn combine(
    inner: Parameters,
    outer: &Parameters,
    client: &Client,
    outside: OutsideParameters,
    arrival: Arrival,
) -> Result<Parameters, RequestObjectError> {
    // RFC 9101 §4: "request and request_uri parameters MUST NOT be included in Request Objects".
    for name in ["request", "request_uri"] {
        if inner.get(name).is_some() {
            return Err(RequestObjectError::Claim(name));
        }
    }
    let fill = outside == OutsideParameters::FillGaps && arrival == Arrival::Authorization;
    match inner.get("client_id") {
        Some(client_id) if client_id == client.client_id.as_str() => {}
        // OpenID Connect Core §6.1 asks for it outside alone.
        None if fill => {}
        None => return Err(RequestObjectError::Claim("client_id")),
        Some(_) => return Err(RequestObjectError::Client),
    }
    if !fill {
        return Ok(inner);
    }
    // OpenID Connect Core §6.1: "The values for these parameters MUST match those in the Request Object, if present."
    match (outer.get("response_type"), inner.get("response_type")) {
        (None, _) => return Err(RequestObjectError::Claim("response_type")),
        (Some(outer), Some(inner)) if outer != inner => return Err(RequestObjectError::Claim("response_type")),
        _ => {}
    }
    let mut filled = inner.filled_from(outer);
    filled.remove("request");
    filled.remove("request_uri");
    Ok(filled)
}

#[cfg(test)]
mod tests;
