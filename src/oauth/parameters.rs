//! Request parameters (RFC 6749 §3.1, §3.2): one value each, unknown ones ignored, empty ones omitted.

use super::error::{ErrorCode, Refusal};
use crate::event::Reason;

/// Parameters that may repeat: `resource` (RFC 8707 §2) and `audience` (RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The most parameters one request may have.
const MAX_PARAMETERS: usize = 64;

/// Room for what most requests have.
const USUAL_PARAMETERS: usize = 6;

fn is_damaged(text: &str) -> bool {
    text.bytes().any(|byte| byte == 0) || (!text.is_ascii() && text.contains('\u{fffd}'))
}

/// The parameters of one request, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes `application/x-www-form-urlencoded` (RFC 6749 Appendix B), from a body or a query.
    pub fn parse(encoded: &[u8]) -> Result<Self, Refusal> {
        let malformed =
            |description: &'static str| Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, description);
        let mut parameters: Vec<(String, String)> = Vec::with_capacity(USUAL_PARAMETERS);
        for (name, value) in url::form_urlencoded::parse(encoded) {
            // The decoder replaces invalid UTF-8 by U+FFFD, which no parameter of ours can contain.
            if is_damaged(&name) || is_damaged(&value) {
                return Err(malformed("a parameter is not valid UTF-8 or contains NUL"));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(malformed("too many parameters"));
            }
            if !REPEATABLE.contains(&name.as_ref()) && parameters.iter().any(|(seen, _)| *seen == name) {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    Reason::ParameterDuplicate,
                    "a parameter appears more than once (RFC 6749 section 3.2)",
                ));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// Parameters that were read elsewhere: out of a request object.
    pub(super) const fn of(parameters: Vec<(String, String)>) -> Self {
        Self(parameters)
    }

    /// These, and of `others` what these do not name.
    pub(super) fn filled_from(mut self, others: &Self) -> Self {
        let more: Vec<_> = others.0.iter().filter(|(name, _)| self.get(name).is_none()).cloned().collect();
        self.0.extend(more);
        self
    }

    /// Leaves one out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(seen, _)| seen != name);
    }

    /// Every name, in the order they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a parameter. A parameter without value counts as omitted (RFC 6749 §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(seen, value)| seen == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may repeat.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(seen, value)| seen == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    pub fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterAbsent, format!("the parameter {name} is missing"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_but_for_resource_and_audience() {
        let reason = |text: &str| Parameters::parse(text.as_bytes()).err().map(|refusal| refusal.reason);
        let table = [
            ("grant_type=client_credentials&client_id=a", None),
            ("a=1&a=1", Some(Reason::ParameterDuplicate)),
            ("a=&a=1", Some(Reason::ParameterDuplicate)),
            ("scope=a&%73cope=b", Some(Reason::ParameterDuplicate)),
            ("resource=https://a&resource=https://b", None),
            ("audience=a&audience=b", None),
            ("a=%ff", Some(Reason::ParameterMalformed)),
            ("a=%00", Some(Reason::ParameterMalformed)),
            ("%00=a", Some(Reason::ParameterMalformed)),
        ];
        for (text, expected) in table {
            assert_eq!(reason(text), expected, "{text}");
        }
        let many: String = (0..65).map(|index| format!("p{index}=1&")).collect();
        assert_eq!(reason(&many), Some(Reason::ParameterMalformed));
    }

    #[test]
    fn empty_ones_count_as_omitted() {
        let parameters = Parameters::parse(b"a=&b=+x%20y").expect("valid");
        assert_eq!((parameters.get("a"), parameters.get("b")), (None, Some(" x y")));
        assert_eq!(parameters.require("a").map_err(|refusal| refusal.reason), Err(Reason::ParameterAbsent));
    }
}
