//! The public side of a refusal (RFC 6750 §3).

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};

use crate::domain::{Audience, Scope};

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No token was presented: 401 without an error code (RFC 6750 §3.1).
    TokenWanted,
    /// 400 `invalid_request`.
    InvalidRequest(&'static str),
    /// 401 `invalid_token`.
    InvalidToken(&'static str),
    /// 403 `insufficient_scope`.
    InsufficientScope,
    /// A fault of ours: 503 without a challenge, since a client that reads `invalid_token` throws a good token away.
    Unavailable(&'static str),
}

impl Answer {
    /// The status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TokenWanted | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error code: RFC 6750 §3.1, or ours where that has none.
    pub const fn error(self) -> &'static str {
        match self {
            Self::TokenWanted => "unauthorized",
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidToken(_) => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::Unavailable(_) => "temporarily_unavailable",
        }
    }

    /// What a developer is told. Plain ASCII without `"` and `\` (RFC 6750 §3).
    pub const fn description(self) -> &'static str {
        match self {
            Self::TokenWanted => "An access token is required",
            Self::InsufficientScope => "The access token does not have the required scope",
            Self::InvalidRequest(text) | Self::InvalidToken(text) | Self::Unavailable(text) => text,
        }
    }

    /// `WWW-Authenticate`, where the answer is a challenge. `audience` is the realm; `scopes` what would be enough.
    pub fn challenge(self, audience: &Audience, scopes: &Scope) -> Option<HeaderValue> {
        let with_error = match self {
            Self::TokenWanted => false,
            Self::InvalidRequest(_) | Self::InvalidToken(_) | Self::InsufficientScope => true,
            Self::Unavailable(_) => return None,
        };
        let mut text = String::with_capacity(160);
        text.push_str("Bearer realm=\"");
        for character in audience.as_str().chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
        if with_error {
            let _ = write!(text, ", error=\"{}\", error_description=\"{}\"", self.error(), self.description());
        }
        if !scopes.is_empty() && matches!(self, Self::TokenWanted | Self::InsufficientScope) {
            let _ = write!(text, ", scope=\"{scopes}\"");
        }
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_standard() {
        let audience: Audience = "https://api.example".parse().expect("an audience");
        let scopes: Scope = "read write".parse().expect("a scope");
        let table = [
            (Answer::TokenWanted, 401, Some(r#"Bearer realm="https://api.example", scope="read write""#)),
            (
                Answer::InvalidToken("The access token expired"),
                401,
                Some(
                    r#"Bearer realm="https://api.example", error="invalid_token", error_description="The access token expired""#,
                ),
            ),
            (
                Answer::InvalidRequest("No"),
                400,
                Some(r#"Bearer realm="https://api.example", error="invalid_request", error_description="No""#),
            ),
            (
                Answer::InsufficientScope,
                403,
                Some(
                    r#"Bearer realm="https://api.example", error="insufficient_scope", error_description="The access token does not have the required scope", scope="read write""#,
                ),
            ),
            (Answer::Unavailable("Try again"), 503, None),
        ];
        for (answer, status, challenge) in table {
            assert_eq!(answer.status().as_u16(), status);
            let header = answer.challenge(&audience, &scopes);
            assert_eq!(header.as_ref().map(|value| value.to_str().expect("ASCII")), challenge, "{answer:?}");
        }
    }

    #[test]
    fn a_realm_cannot_break_out_of_its_quotes() {
        let audience: Audience = r#"a"b\c"#.parse().expect("an audience");
        let header = Answer::TokenWanted.challenge(&audience, &Scope::default()).expect("a challenge");
        assert_eq!(header, r#"Bearer realm="a\"b\\c""#);
    }
}
