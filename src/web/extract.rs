//! What a handler takes out of a request: a form, or a query, within limits.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::BodyExt as _;

use super::Peer;
use crate::oauth::client_auth::{Authorization, Carried, ClientRequest, refuse_credentials};
use crate::oauth::error::Refusal;
use crate::oauth::parameters::Parameters;

/// Limits on a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: usize,
    /// Time for all of it to arrive.
    pub time: Duration,
}

/// Why nothing could be taken out of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtractError {
    /// Not `application/x-www-form-urlencoded`, or in another character set than UTF-8.
    ContentType,
    /// Not `application/json`.
    NotJson,
    /// Larger than the limit.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It broke off.
    Broken,
    /// It arrived, and is not a set of parameters.
    Refused(Refusal),
}

impl From<Refusal> for ExtractError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A request of a client, taken apart. The one way to [`ClientRequest`], so that no endpoint can forget a part of it.
#[derive(Debug)]
pub struct Taken {
    parameters: Parameters,
    carried: Carried,
    authorization: Authorization,
}

impl Taken {
    /// The request as it came on the connection of `peer`.
    pub fn from<'a>(&'a self, peer: &'a Peer) -> ClientRequest<'a> {
        ClientRequest {
            parameters: &self.parameters,
            carried: self.carried,
            authorization: &self.authorization,
            presenter: peer.presenter(),
            own_audience: None,
        }
    }
}

/// A client's request with a form.
pub async fn client_form(request: Request<Body>, limits: BodyLimits) -> Result<Taken, ExtractError> {
    let (parameters, authorization) = read_form(request, limits).await?;
    Ok(Taken { parameters: parameters?, carried: Carried::Body, authorization })
}

/// A client's request with a query.
pub fn client_query(request: &Request<Body>) -> Result<Taken, ExtractError> {
    Ok(Taken { parameters: read_query(request)?, carried: Carried::Query, authorization: authorization(request.headers()) })
}

/// The parameters of a person's form. A client's credentials beside it are refused.
pub async fn form(request: Request<Body>, limits: BodyLimits) -> Result<Parameters, ExtractError> {
    let (parameters, authorization) = read_form(request, limits).await?;
    refuse_credentials(&authorization)?;
    Ok(parameters?)
}

/// The parameters of a person's query. A client's credentials beside it are refused.
pub fn query(request: &Request<Body>) -> Result<Parameters, ExtractError> {
    refuse_credentials(&authorization(request.headers()))?;
    read_query(request)
}

/// The body of a request that is JSON, as it came.
pub async fn json(request: Request<Body>, limits: BodyLimits) -> Result<Bytes, ExtractError> {
    let (head, body) = request.into_parts();
    let mut values = head.headers.get_all(header::CONTENT_TYPE).iter();
    let essence = match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        _ => return Err(ExtractError::NotJson),
    };
    if essence != "application/json" {
        return Err(ExtractError::NotJson);
    }
    tokio::time::timeout(limits.time, collect(body, limits.bytes)).await.map_err(|_| ExtractError::TooSlow)?
}

/// RFC 6749 §3.2, Appendix B.
async fn read_form(
    request: Request<Body>,
    limits: BodyLimits,
) -> Result<(Result<Parameters, Refusal>, Authorization), ExtractError> {
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.bytes as u64) {
        return Err(ExtractError::TooLarge);
    }
    let body = tokio::time::timeout(limits.time, collect(body, limits.bytes)).await.map_err(|_| ExtractError::TooSlow)??;
    Ok((Parameters::parse(&body), authorization(&head.headers)))
}

fn read_query(request: &Request<Body>) -> Result<Parameters, ExtractError> {
    Ok(Parameters::parse(request.uri().query().unwrap_or_default().as_bytes())?)
}

fn authorization(headers: &HeaderMap) -> Authorization {
    Authorization::read(headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ExtractError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| ExtractError::ContentType)?,
        _ => return Err(ExtractError::ContentType),
    };
    let mut parts = value.split(';').map(str::trim);
    let is_form = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let is_utf8 = parts.all(|parameter| {
        parameter.split_once('=').is_none_or(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    });
    if is_form && is_utf8 { Ok(()) } else { Err(ExtractError::ContentType) }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ExtractError> {
    let mut collected = BytesMut::new();
    // Most forms come in one piece, which is taken as it is.
    let mut whole: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        // Trailers carry nothing that a form could mean.
        let Ok(data) = frame.map_err(|_| ExtractError::Broken)?.into_data() else { continue };
        let before = collected.len() + whole.as_ref().map_or(0, Bytes::len);
        if before + data.len() > limit {
            return Err(ExtractError::TooLarge);
        }
        if before == 0 {
            whole = Some(data);
            continue;
        }
        if let Some(first) = whole.take() {
            collected.extend_from_slice(&first);
        }
        collected.extend_from_slice(&data);
    }
    Ok(whole.unwrap_or_else(|| collected.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forms_in_utf8_are_read() {
        let table: &[(&[&str], bool)] = &[
            (&["application/x-www-form-urlencoded"], true),
            (&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"], true),
            (&["application/x-www-form-urlencoded;charset=\"utf-8\""], true),
            (&["application/x-www-form-urlencoded; charset=iso-8859-1"], false),
            (&["application/json"], false),
            (&["text/plain"], false),
            (&["application/x-www-form-urlencoded", "application/json"], false),
            (&[], false),
        ];
        for (values, accepted) in table {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(header::CONTENT_TYPE, value.parse().expect("header"));
            }
            assert_eq!(check_content_type(&headers).is_ok(), *accepted, "{values:?}");
        }
    }
}
