//! Header fields of the operator's own, filled with what the gateway knows: `${ssl_client_s_dn}`, `${token.sub}`.

use std::borrow::Cow;
use std::str::FromStr;

use http::HeaderValue;
use serde_json::Value;

use super::certificate_header::{Shown, compact_date, escaped_pem, hex, openssl_date, sha1_hex};
use crate::domain::{RequestId, Timestamp};
use crate::pki::Certificate;
use crate::tls::PeerCertificate;
use crate::token::TokenFacts;

/// The longest value, in bytes. A longer one is left away.
const MAX_VALUE_BYTES: usize = 16_384;
const SECONDS_OF_A_DAY: u64 = 86_400;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `$` before something else than `{` or another `$`.
    #[error("has a `$` that is followed by neither `{{` nor `$`")]
    Dollar,
    /// `${` without `}`.
    #[error("has a `${{` without `}}`")]
    Open,
    /// A name that nothing has.
    #[error("names `{0}`, which is nothing that is known of a request")]
    Unknown(String),
    /// A character that no header field has.
    #[error("has a character that no header field has")]
    Character,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    Verify,
    Fingerprint,
    FingerprintSha256,
    EscapedCertificate,
    Subject,
    CommonName,
    Issuer,
    Serial,
    SerialWithColons,
    Start,
    End,
    CompactStart,
    CompactEnd,
    DaysLeft,
    Sub,
    ClientId,
    Scope,
    TokenIssuer,
    TokenId,
    Claim(String),
    RequestId,
    Route,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// A value with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// What fills them.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// The certificate.
    pub shown: Shown<'a>,
    /// The token.
    pub facts: &'a TokenFacts,
    /// The request.
    pub request_id: &'a RequestId,
    /// The route's name.
    pub route: &'a str,
    /// The time.
    pub now: Timestamp,
}

impl Variable {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ssl_client_verify" => Self::Verify,
            "ssl_client_fingerprint" => Self::Fingerprint,
            "ssl_client_fingerprint_sha256" => Self::FingerprintSha256,
            "ssl_client_escaped_cert" => Self::EscapedCertificate,
            "ssl_client_s_dn" => Self::Subject,
            "ssl_client_s_dn_parsed" => Self::CommonName,
            "ssl_client_i_dn" => Self::Issuer,
            "ssl_client_serial" => Self::Serial,
            "ssl_client_serial_colons" => Self::SerialWithColons,
            "ssl_client_v_start" => Self::Start,
            "ssl_client_v_end" => Self::End,
            "ssl_client_v_start_compact" => Self::CompactStart,
            "ssl_client_v_end_compact" => Self::CompactEnd,
            "ssl_client_v_remain" => Self::DaysLeft,
            "token.sub" => Self::Sub,
            "token.client_id" => Self::ClientId,
            "token.scope" => Self::Scope,
            "token.iss" => Self::TokenIssuer,
            "token.jti" => Self::TokenId,
            "request.id" => Self::RequestId,
            "route" => Self::Route,
            _ => Self::Claim(name.strip_prefix("claim.").filter(|name| !name.is_empty())?.to_owned()),
        })
    }

    fn fill<'a>(&'a self, filling: &Filling<'a>) -> Option<Cow<'a, str>> {
        let borrowed = |text: &'a str| Some(Cow::Borrowed(text));
        let facts = filling.facts;
        match self {
            Self::Verify => Some(filling.shown.verdict.text().into()),
            Self::Sub => borrowed(facts.subject.as_ref()?.as_str()),
            Self::ClientId => borrowed(facts.client_id.as_ref()?.as_str()),
            Self::Scope => Some(facts.scope.to_string().into()).filter(|_| !facts.scope.is_empty()),
            Self::TokenIssuer => borrowed(facts.issuer.as_str()),
            Self::TokenId => borrowed(facts.token_id.as_ref()?.as_str()),
            Self::RequestId => borrowed(filling.request_id.as_str()),
            Self::Route => borrowed(filling.route),
            Self::Claim(name) => match facts.others.get(name)? {
                Value::String(text) => borrowed(text),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string().into()),
                Value::Array(values) => {
                    // What has a comma in it could be read as two.
                    let one = |value: &'a Value| value.as_str().filter(|text| !text.contains(','));
                    Some(values.iter().map(one).collect::<Option<Vec<_>>>()?.join(",").into())
                }
                Value::Null | Value::Object(_) => None,
            },
            Self::Fingerprint | Self::FingerprintSha256 | Self::EscapedCertificate => {
                self.of_certificate(filling.shown.bare().map(PeerCertificate::leaf)?, filling.now)
            }
            // What a certificate says that no authority stands for is not repeated.
            _ => self.of_certificate(filling.shown.vouched().map(PeerCertificate::leaf)?, filling.now),
        }
    }

    fn of_certificate<'a>(&self, leaf: &'a Certificate, now: Timestamp) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Fingerprint => sha1_hex(leaf).into(),
            Self::FingerprintSha256 => hex(leaf.thumbprint().as_bytes()).into(),
            Self::EscapedCertificate => escaped_pem(leaf).into(),
            Self::Subject => leaf.subject().rfc_2253().into(),
            Self::CommonName => leaf.subject().last_common_name()?.into(),
            Self::Issuer => leaf.issuer().rfc_2253().into(),
            Self::Serial => leaf.serial_hex().to_uppercase().into(),
            Self::SerialWithColons => {
                let serial = leaf.serial_hex().to_uppercase();
                let bytes: Vec<_> = serial.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
                bytes.join(":").into()
            }
            Self::Start => openssl_date(leaf.not_before())?.into(),
            Self::End => openssl_date(leaf.not_after())?.into(),
            Self::CompactStart => compact_date(leaf.not_before())?.into(),
            Self::CompactEnd => compact_date(leaf.not_after())?.into(),
            Self::DaysLeft => (leaf.not_after().seconds_since(now) / SECONDS_OF_A_DAY).to_string().into(),
            _ => return None,
        })
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(TemplateError::Character);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            if let Some(after) = after.strip_prefix('$') {
                parts.push(Part::Text("$".into()));
                rest = after;
            } else {
                let after = after.strip_prefix('{').ok_or(TemplateError::Dollar)?;
                let (name, after) = after.split_once('}').ok_or(TemplateError::Open)?;
                parts.push(Part::Variable(Variable::named(name).ok_or_else(|| TemplateError::Unknown(name.to_owned()))?));
                rest = after;
            }
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self(parts))
    }
}

impl Template {
    /// The value, where everything that it names is known and can stand in a header field: a field is whole or absent.
    pub fn fill(&self, filling: &Filling<'_>) -> Option<HeaderValue> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(variable) => text.push_str(&variable.fill(filling)?),
            }
        }
        if text.len() > MAX_VALUE_BYTES || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return None;
        }
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::gateway::certificate::Verdict;
    use crate::gateway::certificate_header::Bound;
    use crate::token::tests::access_token;

    #[test]
    fn a_field_is_whole_or_absent() {
        let mut facts = access_token().facts(None);
        facts.others = Arc::new(
            json!({ "email": "a@example", "level": 3, "groups": ["a", "b"], "odd": ["a,b"], "bad": "a\r\nx: y", "other": {} })
                .as_object()
                .cloned()
                .expect("an object"),
        );
        let request_id: RequestId = "abc".parse().expect("an id");
        let shown = Shown { peer: None, verdict: Verdict::None, bound: Bound::No };
        let filling =
            Filling { shown, facts: &facts, request_id: &request_id, route: "api", now: Timestamp::from_seconds(1_100) };
        let table = [
            ("plain", Some("plain")),
            ("${token.sub} of ${route}, $$1", Some("alice of api, $1")),
            ("${claim.email}/${claim.level}", Some("a@example/3")),
            ("${claim.groups}", Some("a,b")),
            ("${request.id}", Some("abc")),
            ("${ssl_client_verify}", Some("NONE")),
            ("${claim.odd}", None),
            ("${claim.bad}", None),
            ("${claim.other}", None),
            ("x${claim.absent}", None),
            ("${ssl_client_s_dn}", None),
        ];
        for (text, expected) in table {
            let value = text.parse::<Template>().expect(text).fill(&filling);
            assert_eq!(value.as_ref().map(|value| value.to_str().expect("ASCII")), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let table = [
            ("$x", TemplateError::Dollar),
            ("$", TemplateError::Dollar),
            ("${x", TemplateError::Open),
            ("${x}", TemplateError::Unknown("x".into())),
            ("${claim.}", TemplateError::Unknown("claim.".into())),
            ("a\nb", TemplateError::Character),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Template>(), Err(error), "{text}");
        }
    }
}
