//! The answer of the authorization endpoint to the client (RFC 6749 §4.1.2, RFC 9207, Form Post Response Mode, JARM).

use url::form_urlencoded::Serializer;

use serde_json::{Map, Value, json};

use super::request::Destination;
use crate::clients::{Carrier, Client, Message};
use crate::domain::{Issuer, Lifetime, Timestamp};
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::oauth::error::{Fault, Refusal};
use crate::oauth::server::AuthorizationServer;

/// How long a signed answer may be taken for one: JARM §2.1 recommends at most ten minutes.
const SIGNED_LIFETIME: Lifetime = Lifetime::from_seconds(300);

/// An answer on its way through the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where to, and how.
    pub redirect_uri: String,
    /// How.
    pub carrier: Carrier,
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
        Self {
            redirect_uri: destination.redirect_uri.as_str().to_owned(),
            carrier: destination.response_mode.carrier(),
            parameters,
            refusal,
        }
    }

    /// The URL to send the browser to; `None` for an answer that is posted.
    pub fn location(&self) -> Option<String> {
        let encoded = || Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        let uri = &self.redirect_uri;
        match self.carrier {
            Carrier::Query => Some(with_query(uri, &encoded())),
            Carrier::Fragment => Some(format!("{uri}#{}", encoded())),
            Carrier::FormPost => None,
        }
    }
}

impl AuthorizationServer {
    /// What a client's signed answers are signed with: what it is registered for, else what its ID tokens are. `None` when there is no
    /// such key.
    pub fn authorization_algorithm(&self, client: &Client) -> Option<Algorithm> {
        self.response_algorithm(client, client.messages.authorization_signed_response_alg)
    }

    /// The answer as its response mode has it: a mode of JARM puts everything into one signed JWT, an error too (JARM §2.1, §2.3).
    pub(super) async fn secured(&self, answer: Answer, destination: &Destination, now: Timestamp) -> Result<Answer, Fault> {
        if !destination.response_mode.is_signed() {
            return Ok(answer);
        }
        let client = &destination.client;
        let algorithm = self.authorization_algorithm(client).ok_or(Fault::Unavailable(Reason::SigningKeyAbsent))?;
        // `iss` is among the parameters already (RFC 9207).
        let mut claims: Map<String, Value> =
            answer.parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        claims.insert("aud".to_owned(), json!(client.client_id));
        claims.insert("exp".to_owned(), json!(now.plus(SIGNED_LIFETIME)));
        let keys = self.keys.load_full();
        let signer = keys.signer(algorithm, TokenType::Jwt).ok_or(Fault::Unavailable(Reason::SigningKeyAbsent))?;
        let jwt = signer.sign_compact(Value::Object(claims).to_string().as_bytes());
        let jwt = jwt.map_err(|error| Fault::Defect(error.reason()))?;
        let jwt = self.encrypted(client, Message::Authorization, Content::Jwt, jwt).await?;
        Ok(Answer { parameters: vec![("response", jwt)], ..answer })
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
            ("https://a.example/cb", Carrier::Query, Some("https://a.example/cb?code=x+y&iss=https%3A%2F%2Fas.example")),
            ("https://a.example/cb?t=1", Carrier::Query, Some("https://a.example/cb?t=1&code=x+y&iss=https%3A%2F%2Fas.example")),
            ("https://a.example/cb?", Carrier::Query, Some("https://a.example/cb?code=x+y&iss=https%3A%2F%2Fas.example")),
            ("com.example.app:/cb", Carrier::Fragment, Some("com.example.app:/cb#code=x+y&iss=https%3A%2F%2Fas.example")),
            ("https://a.example/cb", Carrier::FormPost, None),
        ];
        for (redirect_uri, carrier, expected) in table {
            let parameters = vec![("code", "x y".to_owned()), ("iss", "https://as.example".to_owned())];
            let answer = Answer { redirect_uri: redirect_uri.to_owned(), carrier, parameters, refusal: None };
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
