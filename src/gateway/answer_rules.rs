//! What a route says in every answer, its own and its upstream's: leave for pages of other origins, header fields, the name of an
//! interaction.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, STRICT_TRANSPORT_SECURITY,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};

use super::body::Body;
use crate::domain::{Randomness, RandomnessUnavailable};

/// The name of an interaction (FAPI 1.0 Baseline §6.2.1: "shall set the response header `x-fapi-interaction-id` to the value received from
/// the corresponding FAPI client request header or to a \[RFC4122\] UUID value if the request header was not provided").
pub const FAPI_INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// `Strict-Transport-Security` (RFC 6797 §6.1) in answers to requests that came by a name.
#[derive(Clone, Debug)]
pub enum StrictTransport {
    /// What the operator set, whatever the upstream says.
    Always(HeaderValue),
    /// Where nothing is set, the upstream knows best.
    UnlessUpstreamSays(HeaderValue),
}

impl StrictTransport {
    /// Writes it into an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        match self {
            Self::Always(value) => drop(headers.insert(STRICT_TRANSPORT_SECURITY, value.clone())),
            Self::UnlessUpstreamSays(value) => drop(headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| value.clone())),
        }
    }
}

/// What pages can read beside what a route exposes: why they were refused, the nonce for the next proof, the request's name.
const EXPOSED: &str = "dpop-nonce, retry-after, www-authenticate, x-fapi-interaction-id, x-request-id";

/// For which pages a route is.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins, as browsers name them.
    pub origins: Vec<HeaderValue>,
    /// Methods that they may use.
    pub methods: Vec<Method>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: HeaderValue,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: HeaderValue,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: HeaderValue,
    /// `Access-Control-Max-Age`.
    pub max_age: HeaderValue,
    /// Whether requests may come with cookies.
    pub credentials: Credentials,
}

/// Whether pages may send what the browser holds for the route's host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// They may not.
    #[default]
    Omitted,
    /// They may.
    Included,
}

impl Cors {
    /// The fields that are always exposed, and these.
    pub fn exposing(names: &[HeaderName]) -> String {
        names.iter().fold(EXPOSED.to_owned(), |text, name| format!("{text}, {name}"))
    }

    fn allows(&self, origin: &HeaderValue) -> Option<Origin> {
        self.origins.contains(origin).then(|| Origin(origin.clone()))
    }
}

/// A page's origin that a route is for.
#[derive(Clone, Debug)]
pub struct Origin(HeaderValue);

/// The one origin that a request names.
fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// The method that a browser asks about before it sends a request (Fetch §3.2.2).
pub fn preflight(head: &request::Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    let mut asked = head.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = asked.next().filter(|_| asked.next().is_none())?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// A page of an origin, or a method, that the route is not for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotForPage;

/// What a route says in its answers.
#[derive(Debug, Default)]
pub struct AnswerRules {
    /// For which pages.
    pub cors: Option<Cors>,
    /// Fields that are set, whatever the upstream says.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are removed from what the upstream says.
    pub remove: Vec<HeaderName>,
    /// Whether interactions are named.
    pub fapi: Interactions,
}

/// Whether interactions are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interactions {
    /// What upstreams say passes.
    #[default]
    Unnamed,
    /// Each answer has the name that the request had, or a new one.
    Named,
}

/// What is known of a request that its answer depends on.
#[derive(Debug, Default)]
pub struct Told {
    origin: Option<Origin>,
    /// The interaction's name, which the upstream is told too.
    pub interaction: Option<HeaderValue>,
}

impl AnswerRules {
    /// Reads what the answer will depend on.
    ///
    /// # Errors
    /// When a name must be made and there is no randomness.
    pub fn read(&self, headers: &HeaderMap, randomness: &dyn Randomness) -> Result<Told, RandomnessUnavailable> {
        let interaction = match self.fapi {
            Interactions::Unnamed => None,
            Interactions::Named => Some(interaction(headers, randomness)?),
        };
        let origin = self.cors.as_ref().zip(origin(headers)).and_then(|(cors, origin)| cors.allows(origin));
        Ok(Told { origin, interaction })
    }

    /// The answer to a browser that asks before. It carries no token, and proves nothing.
    ///
    /// # Errors
    /// When the route is not for that page, or for that method.
    pub fn preflight(&self, method: &Method, told: &Told) -> Option<Result<Response<Body>, NotForPage>> {
        let cors = self.cors.as_ref()?;
        if told.origin.is_none() || !cors.methods.contains(method) {
            return Some(Err(NotForPage));
        }
        let mut response = Response::new(Body::Whole(None));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.clone());
        Some(Ok(response))
    }

    /// Removes what no answer of the upstream keeps.
    pub fn clean(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// Writes them into an answer, whoever gives it. A preflight's own fields stay.
    pub fn write(&self, headers: &mut HeaderMap, told: &Told, is_preflight: Option<Preflight>) {
        // Before `Vary` is added to.
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        if let Some(cors) = &self.cors {
            // What the upstream thinks of origins is not asked for: one place decides.
            if is_preflight.is_none() {
                let theirs = |name: &&HeaderName| name.as_str().starts_with("access-control-");
                for name in headers.keys().filter(theirs).cloned().collect::<Vec<_>>() {
                    headers.remove(name);
                }
            }
            headers.append(VARY, HeaderValue::from_static("origin"));
            if let Some(Origin(origin)) = &told.origin {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose_headers.clone());
                if cors.credentials == Credentials::Included {
                    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
        }
        if let Some(interaction) = &told.interaction {
            headers.insert(FAPI_INTERACTION_ID, interaction.clone());
        }
    }
}

/// An answer to a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preflight;

/// The name that a request brings, where it brings one UUID; a new one otherwise.
fn interaction(headers: &HeaderMap, randomness: &dyn Randomness) -> Result<HeaderValue, RandomnessUnavailable> {
    let mut values = headers.get_all(FAPI_INTERACTION_ID).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && value.to_str().is_ok_and(|text| text.len() == 36 && uuid::Uuid::parse_str(text).is_ok())
    {
        return Ok(value.clone());
    }
    let mut bytes = [0u8; 16];
    randomness.fill(&mut bytes)?;
    let made = uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string();
    HeaderValue::try_from(made).map_err(|_| RandomnessUnavailable)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that fails")]
mod tests {
    use super::*;

    /// What the gateway says of origins stands beside what the operator sets, and removing is about the upstream alone.
    #[test]
    fn rules_leave_what_the_gateway_says() {
        let cors = Cors {
            origins: vec![HeaderValue::from_static("https://app.example")],
            methods: vec![Method::GET],
            allow_methods: HeaderValue::from_static("GET"),
            allow_headers: HeaderValue::from_static("authorization"),
            expose_headers: HeaderValue::from_static("x-total"),
            max_age: HeaderValue::from_static("600"),
            credentials: Credentials::Omitted,
        };
        let rules = AnswerRules {
            cors: Some(cors),
            set: vec![(VARY, HeaderValue::from_static("accept"))],
            remove: vec![VARY, http::header::CACHE_CONTROL],
            fapi: Interactions::Unnamed,
        };
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static("*"));
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public"));
        rules.clean(&mut headers);
        assert!(headers.is_empty());
        // As a refusal has it.
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        rules.write(&mut headers, &Told::default(), None);
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["accept", "origin"]);
        assert_eq!(headers.get(http::header::CACHE_CONTROL).expect("kept"), "no-store");
    }
}
