//! The answer of the authorization endpoint to the client (RFC 6749 §4.1.2, RFC 9207, Form Post Response Mode).

use url::form_urlencoded::Serializer;

use super::request::{Destination, ResponseMode};
use crate::domain::Issuer;
use crate::oauth::error::{ErrorCode, Refusal};

/// An answer on its way through the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where to, and how.
    pub redirect_uri: String,
    /// How.
    pub mode: ResponseMode,
    /// What it says.
    pub parameters: Vec<(&'static str, String)>,
    /// The refusal it tells, if it does.
    pub refusal: Option<Refusal>,
}

impl Answer {
    /// A code.
    pub fn code(destination: &Destination, issuer: &Issuer, code: &str) -> Self {
        Self::new(destination, issuer, vec![("code", code.to_owned())], None)
    }

    /// A refusal.
    pub fn refusal(destination: &Destination, issuer: &Issuer, refusal: Refusal) -> Self {
        let parameters =
            vec![("error", refusal.code.as_str().to_owned()), ("error_description", refusal.description.clone().into_owned())];
        Self::new(destination, issuer, parameters, Some(refusal))
    }

    /// An error of ours (RFC 6749 §4.1.2.1).
    pub fn fault(destination: &Destination, issuer: &Issuer, code: ErrorCode) -> Self {
        Self::new(destination, issuer, vec![("error", code.as_str().to_owned())], None)
    }

    fn new(
        destination: &Destination,
        issuer: &Issuer,
        mut parameters: Vec<(&'static str, String)>,
        refusal: Option<Refusal>,
    ) -> Self {
        if let Some(state) = &destination.state {
            parameters.push(("state", state.clone()));
        }
        // RFC 9207 §2: in every answer, also in errors.
        parameters.push(("iss", issuer.as_str().to_owned()));
        Self { redirect_uri: destination.redirect_uri.as_str().to_owned(), mode: destination.response_mode, parameters, refusal }
    }

    /// The URL to send the browser to; `None` for an answer that is posted.
    pub fn location(&self) -> Option<String> {
        let encoded = || Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        let uri = &self.redirect_uri;
        match self.mode {
            ResponseMode::Query => Some(with_query(uri, &encoded())),
            ResponseMode::Fragment => Some(format!("{uri}#{}", encoded())),
            ResponseMode::FormPost => None,
        }
    }
}

/// A URI with more in its query.
pub fn with_query(uri: &str, encoded: &str) -> String {
    let joint = match (uri.contains('?'), uri.ends_with(['?', '&'])) {
        (false, _) => "?",
        (true, true) => "",
        (true, false) => "&",
    };
    format!("{uri}{joint}{encoded}")
}

/// The part of a redirect URI that a page's policy names as a place its form may lead to.
pub fn form_target(redirect_uri: &str) -> Option<String> {
    let url = url::Url::parse(redirect_uri).ok()?;
    Some(match url.scheme() {
        "https" | "http" => url.origin().ascii_serialization(),
        private => format!("{private}:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_added_to_what_the_redirect_uri_has() {
        let table = [
            ("https://a.example/cb", ResponseMode::Query, Some("https://a.example/cb?code=x+y&iss=https%3A%2F%2Fas.example")),
            (
                "https://a.example/cb?t=1",
                ResponseMode::Query,
                Some("https://a.example/cb?t=1&code=x+y&iss=https%3A%2F%2Fas.example"),
            ),
            ("https://a.example/cb?", ResponseMode::Query, Some("https://a.example/cb?code=x+y&iss=https%3A%2F%2Fas.example")),
            ("com.example.app:/cb", ResponseMode::Fragment, Some("com.example.app:/cb#code=x+y&iss=https%3A%2F%2Fas.example")),
            ("https://a.example/cb", ResponseMode::FormPost, None),
        ];
        for (redirect_uri, mode, expected) in table {
            let parameters = vec![("code", "x y".to_owned()), ("iss", "https://as.example".to_owned())];
            let answer = Answer { redirect_uri: redirect_uri.to_owned(), mode, parameters, refusal: None };
            assert_eq!(answer.location().as_deref(), expected);
        }
    }

    #[test]
    fn a_form_may_lead_to_the_clients_own_place_alone() {
        assert_eq!(form_target("https://a.example:8443/cb?x=1").as_deref(), Some("https://a.example:8443"));
        assert_eq!(form_target("com.example.app:/cb").as_deref(), Some("com.example.app:"));
        assert_eq!(form_target("http://127.0.0.1:5/cb").as_deref(), Some("http://127.0.0.1:5"));
    }
}
