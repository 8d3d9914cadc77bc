//! The public side of a refusal (RFC 6750 §3, RFC 9449 §7.1).

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};

use super::admission::StepUp;
use super::present::Scheme;
use crate::domain::{Audience, Scope};
use crate::jose::Algorithm;

/// What a resource says of itself in a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// `realm`.
    pub audience: &'a Audience,
    /// `scope`: what would be enough.
    pub scopes: &'a Scope,
    /// Whether tokens may come with the Bearer scheme.
    pub bearer: bool,
    /// `algs`: the algorithms of proofs, where tokens may come with the DPoP scheme.
    pub dpop: Option<&'a [Algorithm]>,
    /// `acr_values` and `max_age`: what a sign-in must be (RFC 9470 §3).
    pub step_up: Option<&'a StepUp>,
    /// `resource_metadata`: the URL of the resource's metadata (RFC 9728 §5.1).
    pub resource_metadata: Option<&'a str>,
}

impl Terms<'_> {
    fn schemes(&self) -> impl Iterator<Item = Scheme> {
        let bearer = self.bearer.then_some(Scheme::Bearer);
        bearer.into_iter().chain(self.dpop.map(|_| Scheme::Dpop))
    }
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No token was presented: 401 without an error code (RFC 6750 §3.1).
    TokenWanted,
    /// 400 `invalid_request`.
    InvalidRequest(&'static str),
    /// 401 `invalid_token`.
    InvalidToken(&'static str),
    /// 401 `invalid_dpop_proof` (RFC 9449 §7.1).
    InvalidProof(&'static str),
    /// 401 `use_dpop_nonce` (RFC 9449 §9).
    UseNonce(&'static str),
    /// 403 `insufficient_scope`.
    InsufficientScope,
    /// 401 `insufficient_user_authentication` (RFC 9470 §3).
    InsufficientAuthentication(&'static str),
    /// 403 `access_denied`, without a challenge: no other token of this caller would do.
    Denied(&'static str),
    /// A fault of ours: 503 without a challenge, since a client that reads `invalid_token` throws a good token away.
    Unavailable(&'static str),
}

impl Answer {
    /// The status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TokenWanted
            | Self::InvalidToken(_)
            | Self::InvalidProof(_)
            | Self::UseNonce(_)
            | Self::InsufficientAuthentication(_) => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope | Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error code: RFC 6750 §3.1, or ours where that has none.
    pub const fn error(self) -> &'static str {
        match self {
            Self::TokenWanted => "unauthorized",
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidToken(_) => "invalid_token",
            Self::InvalidProof(_) => "invalid_dpop_proof",
            Self::UseNonce(_) => "use_dpop_nonce",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientAuthentication(_) => "insufficient_user_authentication",
            Self::Denied(_) => "access_denied",
            Self::Unavailable(_) => "temporarily_unavailable",
        }
    }

    /// What a developer is told. Plain ASCII without `"` and `\` (RFC 6750 §3).
    pub const fn description(self) -> &'static str {
        match self {
            Self::TokenWanted => "An access token is required",
            Self::InsufficientScope => "The access token does not have the required scope",
            Self::InvalidRequest(text)
            | Self::InvalidToken(text)
            | Self::InvalidProof(text)
            | Self::UseNonce(text)
            | Self::InsufficientAuthentication(text)
            | Self::Denied(text)
            | Self::Unavailable(text) => text,
        }
    }

    /// `WWW-Authenticate`, where the answer is a challenge: one field for each scheme that the resource takes (RFC 9449 §7.2), the one
    /// that was used first, with the error. Only an answer of 401 names the others too.
    pub fn challenges(self, used: Option<Scheme>, terms: &Terms<'_>) -> Vec<HeaderValue> {
        let error = match self {
            Self::TokenWanted => None,
            Self::Unavailable(_) | Self::Denied(_) => return Vec::new(),
            _ => Some((self.error(), self.description())),
        };
        let about = terms.schemes().find(|scheme| used == Some(*scheme)).or_else(|| terms.schemes().next());
        let others = terms.schemes().filter(|scheme| Some(*scheme) != about && self.status() == StatusCode::UNAUTHORIZED);
        let first = about.map(|scheme| challenge(scheme, error, self, terms));
        let rest = others.map(|scheme| challenge(scheme, None, self, terms));
        first.into_iter().chain(rest).filter_map(|text| HeaderValue::try_from(text).ok()).collect()
    }
}

fn challenge(scheme: Scheme, error: Option<(&str, &str)>, answer: Answer, terms: &Terms<'_>) -> String {
    let wants_scope = matches!(answer, Answer::TokenWanted | Answer::InsufficientScope);
    let mut text = String::with_capacity(240);
    text.push_str(match scheme {
        Scheme::Bearer => "Bearer realm=\"",
        Scheme::Dpop => "DPoP realm=\"",
    });
    escape(&mut text, terms.audience.as_str());
    text.push('"');
    if let Some((error, description)) = error {
        let _ = write!(text, ", error=\"{error}\", error_description=\"{description}\"");
    }
    if wants_scope && !terms.scopes.is_empty() {
        let _ = write!(text, ", scope=\"{}\"", terms.scopes);
    }
    if let (Scheme::Dpop, Some(algorithms)) = (scheme, terms.dpop) {
        let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let _ = write!(text, ", algs=\"{}\"", names.join(" "));
    }
    if let (Answer::InsufficientAuthentication(_), Some(step_up)) = (answer, terms.step_up) {
        if !step_up.acr_values.is_empty() {
            text.push_str(", acr_values=\"");
            escape(&mut text, &step_up.acr_values.join(" "));
            text.push('"');
        }
        if let Some(max_age) = step_up.max_age {
            let _ = write!(text, ", max_age=\"{}\"", max_age.seconds());
        }
    }
    if let Some(url) = terms.resource_metadata {
        text.push_str(", resource_metadata=\"");
        escape(&mut text, url);
        text.push('"');
    }
    text
}

/// As a quoted string has it (RFC 9110 §5.6.4).
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: &[Algorithm] = &[Algorithm::ES256, Algorithm::PS256];

    fn told(answer: Answer, used: Option<Scheme>, bearer: bool, dpop: bool) -> Vec<String> {
        let audience: Audience = "https://api.example".parse().expect("an audience");
        let scopes: Scope = "read write".parse().expect("a scope");
        let terms = Terms {
            audience: &audience,
            scopes: &scopes,
            bearer,
            dpop: dpop.then_some(ALGORITHMS),
            step_up: None,
            resource_metadata: None,
        };
        answer.challenges(used, &terms).iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
    }

    #[test]
    fn answers_are_those_of_the_standard() {
        const WANTED: &str = r#"Bearer realm="https://api.example", scope="read write""#;
        let table = [
            (Answer::TokenWanted, 401, vec![WANTED]),
            (
                Answer::InvalidToken("The access token expired"),
                401,
                vec![
                    r#"Bearer realm="https://api.example", error="invalid_token", error_description="The access token expired""#,
                ],
            ),
            (
                Answer::InvalidRequest("No"),
                400,
                vec![r#"Bearer realm="https://api.example", error="invalid_request", error_description="No""#],
            ),
            (
                Answer::InsufficientScope,
                403,
                vec![
                    r#"Bearer realm="https://api.example", error="insufficient_scope", error_description="The access token does not have the required scope", scope="read write""#,
                ],
            ),
            (Answer::Unavailable("Try again"), 503, vec![]),
        ];
        for (answer, status, challenges) in table {
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(told(answer, Some(Scheme::Bearer), true, false), challenges, "{answer:?}");
        }
    }

    /// RFC 9449 §7.1 and §7.2.
    #[test]
    fn each_scheme_has_a_challenge_and_the_one_used_has_the_error() {
        const BEARER: &str = r#"Bearer realm="https://api.example""#;
        const DPOP: &str = r#"DPoP realm="https://api.example", algs="ES256 PS256""#;
        let (bearer, dpop) = (Some(Scheme::Bearer), Some(Scheme::Dpop));
        let invalid = Answer::InvalidToken("No");
        let error = r#", error="invalid_token", error_description="No""#;
        let dpop_error = format!(r#"DPoP realm="https://api.example"{error}, algs="ES256 PS256""#);
        let bearer_error = format!("{BEARER}{error}");
        assert_eq!(told(invalid, dpop, true, true), [dpop_error.as_str(), BEARER]);
        assert_eq!(told(invalid, bearer, true, true), [bearer_error.as_str(), DPOP]);
        // A scheme that is not taken here: the other one tells why.
        assert_eq!(told(invalid, bearer, false, true), [dpop_error.as_str()]);
        assert_eq!(told(invalid, dpop, true, false), [bearer_error.as_str()]);
        let scoped = [
            r#"Bearer realm="https://api.example", scope="read write""#,
            r#"DPoP realm="https://api.example", scope="read write", algs="ES256 PS256""#,
        ];
        assert_eq!(told(Answer::TokenWanted, None, true, true), scoped);
        assert_eq!(
            told(Answer::InvalidProof("No"), dpop, false, true),
            [r#"DPoP realm="https://api.example", error="invalid_dpop_proof", error_description="No", algs="ES256 PS256""#]
        );
        assert_eq!(
            told(Answer::UseNonce("No"), dpop, false, true),
            [r#"DPoP realm="https://api.example", error="use_dpop_nonce", error_description="No", algs="ES256 PS256""#]
        );
        assert_eq!(told(Answer::InsufficientScope, dpop, true, true).len(), 1);
        assert_eq!(told(Answer::Unavailable("No"), dpop, true, true).len(), 0);
    }

    #[test]
    fn a_realm_cannot_break_out_of_its_quotes() {
        let audience: Audience = r#"a"b\c"#.parse().expect("an audience");
        let terms = Terms {
            audience: &audience,
            scopes: &Scope::default(),
            bearer: true,
            dpop: None,
            step_up: None,
            resource_metadata: None,
        };
        assert_eq!(Answer::TokenWanted.challenges(None, &terms), [r#"Bearer realm="a\"b\\c""#]);
    }
}
