//! How a request presents its access token: the `Authorization` header alone (RFC 6750 §2.1, RFC 9449 §7.1).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};

use crate::event::Reason;

/// What a request presents.
#[derive(Clone, Debug)]
pub enum Presented {
    /// With the Bearer scheme; what it is bound to is yet to be seen.
    Bearer(PresentedToken),
    /// With the DPoP scheme; what proof there is is yet to be seen.
    Dpop(PresentedToken),
    /// Nothing, or credentials of a scheme that is not ours.
    Nothing,
}

/// An authentication scheme for access tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750 §2.1.
    #[default]
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

impl Presented {
    /// The scheme that was used, if one was.
    pub const fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Bearer(_) => Some(Scheme::Bearer),
            Self::Dpop(_) => Some(Scheme::Dpop),
            Self::Nothing => None,
        }
    }

    /// The token, if there is one.
    pub const fn token(&self) -> Option<&PresentedToken> {
        match self {
            Self::Bearer(token) | Self::Dpop(token) => Some(token),
            Self::Nothing => None,
        }
    }
}

/// A token as it was presented. Not verified. Has no readable `Debug`: whoever logs it hands it on.
#[derive(Clone)]
pub struct PresentedToken {
    /// The header's value; shared, not copied.
    value: HeaderValue,
    /// Where the token starts in it.
    start: usize,
}

impl std::fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PresentedToken {
    /// A token that did not come with the request: whoever keeps it presents it for the caller.
    ///
    /// # Errors
    /// [`PresentError::Malformed`].
    pub fn kept(token: &str) -> Result<Self, PresentError> {
        let scheme = "Bearer ";
        if !is_b64token(token.as_bytes()) {
            return Err(PresentError::Malformed);
        }
        let mut value = HeaderValue::try_from(format!("{scheme}{token}")).map_err(|_| PresentError::Malformed)?;
        value.set_sensitive(true);
        Ok(Self { value, start: scheme.len() })
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        self.value.to_str().ok().and_then(|text| text.get(self.start..)).unwrap_or_default()
    }

    /// The whole header value, for passing it on; marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        self.value.clone()
    }
}

/// Why the presentation itself is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentError {
    /// Two `Authorization` fields.
    #[error("the request has more than one Authorization field")]
    Ambiguous,
    /// `access_token` in the query (RFC 6750 §2.3, which RFC 9700 §4.3.2 forbids).
    #[error("an access token must not be sent in the query")]
    InQuery,
    /// A scheme without a token of the syntax of RFC 6750 §2.1.
    #[error("the access token is malformed")]
    Malformed,
}

impl PresentError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Ambiguous | Self::InQuery => Reason::TokenAmbiguous,
            Self::Malformed => Reason::TokenMalformed,
        }
    }
}

/// Finds the token of a request.
pub fn present(headers: &HeaderMap, uri: &Uri) -> Result<Presented, PresentError> {
    if uri.query().is_some_and(names_access_token) {
        return Err(PresentError::InQuery);
    }
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = fields.next() else { return Ok(Presented::Nothing) };
    if fields.next().is_some() {
        return Err(PresentError::Ambiguous);
    }
    let bytes = value.as_bytes();
    let scheme_length = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at(scheme_length);
    let present = if scheme.eq_ignore_ascii_case(b"bearer") {
        Presented::Bearer
    } else if scheme.eq_ignore_ascii_case(b"dpop") {
        Presented::Dpop
    } else {
        return Ok(Presented::Nothing);
    };
    let token = rest.trim_ascii_start();
    if !is_b64token(token) {
        return Err(PresentError::Malformed);
    }
    let mut value = value.clone();
    value.set_sensitive(true);
    Ok(present(PresentedToken { start: bytes.len() - token.len(), value }))
}

/// Whether a query has a parameter of that name, however it is encoded.
fn names_access_token(query: &str) -> bool {
    // A cheap look first: the name needs these letters, or an encoding.
    (query.contains('%') || query.contains("access"))
        && url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 §2.1).
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // Without a branch for each byte, so that many are looked at together: tokens have a thousand.
    !body.is_empty() && body.iter().fold(true, |all, byte| all & allowed(*byte))
}

#[cfg(test)]
#[allow(clippy::type_complexity, reason = "tables of a test")]
mod tests {
    use super::*;

    fn token(uri: &str, fields: &[&str]) -> Result<Option<String>, PresentError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field.as_bytes()).expect("a field value"));
        }
        present(&headers, &uri.parse().expect("a URI")).map(|presented| match presented {
            Presented::Bearer(token) => Some(token.as_str().to_owned()),
            Presented::Dpop(token) => Some(format!("DPoP {}", token.as_str())),
            Presented::Nothing => None,
        })
    }

    #[test]
    fn one_header_and_nothing_else_presents_a_token() {
        use PresentError::*;
        let table: &[(&str, &[&str], Result<Option<&str>, PresentError>)] = &[
            ("/", &["Bearer mF_9.B5f-4.1JqM"], Ok(Some("mF_9.B5f-4.1JqM"))),
            ("/", &["bearer  abc+/=="], Ok(Some("abc+/=="))),
            ("/?x=access_token", &["BEARER abc"], Ok(Some("abc"))),
            ("/", &[], Ok(None)),
            ("/", &["Basic dTpw"], Ok(None)),
            ("/", &["DPoP abc"], Ok(Some("DPoP abc"))),
            ("/", &["dpop  abc"], Ok(Some("DPoP abc"))),
            ("/", &["DPoP"], Err(Malformed)),
            ("/", &["DPoP a", "Bearer a"], Err(Ambiguous)),
            ("/?access_token=a", &["DPoP a"], Err(InQuery)),
            ("/", &["Bearerabc"], Ok(None)),
            ("/", &[""], Ok(None)),
            ("/", &["Bearer"], Err(Malformed)),
            ("/", &["Bearer "], Err(Malformed)),
            ("/", &["Bearer ="], Err(Malformed)),
            ("/", &["Bearer a b"], Err(Malformed)),
            ("/", &["Bearer a,b"], Err(Malformed)),
            ("/", &["Bearer a=b"], Err(Malformed)),
            ("/", &["Bearer \"a\""], Err(Malformed)),
            ("/", &["Bearer é"], Err(Malformed)),
            ("/", &["Bearer a", "Bearer a"], Err(Ambiguous)),
            ("/", &["Basic dTpw", "Bearer a"], Err(Ambiguous)),
            ("/?access_token=a", &[], Err(InQuery)),
            ("/?x=1&access%5ftoken=a", &["Bearer a"], Err(InQuery)),
        ];
        for (uri, fields, expected) in table {
            assert_eq!(token(uri, fields), expected.map(|token| token.map(str::to_owned)), "{uri} {fields:?}");
        }
    }
}
