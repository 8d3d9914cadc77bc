//! An application that people sign in to: a client at the authorization endpoint.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::authority::Identity;
use super::browser::{Browser, field};
use super::call::{Answer, Call};
use super::command::symbolon_told;
use super::stack::{Setup, Stack};

/// RFC 7636 Appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const PASSWORD: &str = "lantern-orbit-velvet-fjord";

/// A client with the certificate of alice or mallory.
#[derive(Clone)]
pub struct App {
    pub identity: Identity,
    pub redirect_uri: String,
}

impl App {
    /// Metadata of the client `name`, changed.
    pub fn metadata(name: &str, changes: Value) -> Value {
        let mut metadata = json!({
            "client_id": name,
            "client_name": format!("App of {name}"),
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": format!("CN={name}"),
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [format!("https://{name}.example/cb")],
            "scope": "openid profile email groups offline_access read write",
            "resources": ["{accounts}"],
        });
        for (member, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(metadata.as_object_mut().expect("an object").remove(member)),
                value => metadata[member] = value.clone(),
            }
        }
        metadata
    }

    /// A deployment whose alice and mallory are applications.
    pub fn setup() -> Setup {
        let clients = vec![Self::metadata("alice", json!({})), Self::metadata("mallory", json!({}))];
        Setup { clients, ..Setup::default() }
    }

    /// The application alice.
    pub fn alice(stack: &Stack) -> Self {
        Self { identity: stack.alice.clone(), redirect_uri: "https://alice.example/cb".into() }
    }

    /// The application mallory.
    pub fn mallory(stack: &Stack) -> Self {
        Self { identity: stack.mallory.clone(), redirect_uri: "https://mallory.example/cb".into() }
    }

    pub fn client_id(&self) -> &str {
        &self.identity.name
    }

    /// A good request, with these parameters instead or beside. An empty value leaves one away.
    pub fn request(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut parameters: BTreeMap<String, String> = [
            ("response_type", "code"),
            ("client_id", self.client_id()),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid read"),
            ("state", "af0ifjsldkj"),
            ("nonce", "n-0S6_WzA2Mj"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in more {
            parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The URL of such a request.
    pub fn url(&self, more: &[(&str, &str)]) -> String {
        url_of(&self.request(more))
    }

    /// A browser goes through a request to its end: it signs in and allows where it is asked.
    pub async fn authorize(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Returned {
        let answer = browser.get(&self.url(more)).await;
        Returned::of(&go_on(browser, answer).await)
    }

    /// The code of such a request.
    pub async fn code(&self, browser: &mut Browser, more: &[(&str, &str)]) -> String {
        let returned = self.authorize(browser, more).await;
        returned.parameters.get("code").unwrap_or_else(|| panic!("no code: {returned:?}")).clone()
    }

    /// A token request of this application.
    pub async fn token(&self, stack: &Stack, form: &[(&str, &str)]) -> Answer {
        let form = [&[("client_id", self.client_id())], form].concat();
        stack.post(&self.identity, "/token", &form).await
    }

    /// Redeems a code as it should be.
    pub async fn redeem(&self, stack: &Stack, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", VERIFIER),
        ];
        self.token(stack, &form).await
    }

    /// The whole flow.
    pub async fn tokens(&self, stack: &Stack, browser: &mut Browser, more: &[(&str, &str)]) -> Value {
        let code = self.code(browser, more).await;
        let answer = self.redeem(stack, &code).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Uses a refresh token.
    pub async fn refresh(&self, stack: &Stack, refresh_token: &str) -> Answer {
        self.token(stack, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }
}

/// What came back to an application.
#[derive(Clone, Debug)]
pub struct Returned {
    /// Where to, without what was added.
    pub to: String,
    pub parameters: BTreeMap<String, String>,
}

impl Returned {
    /// Reads a redirection away from the server.
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 303, "{}", answer.text());
        let location = answer.header("location").expect("a location");
        let at = location.find(['?', '#']).unwrap_or_else(|| panic!("no answer in {location}"));
        let pairs = url::form_urlencoded::parse(&location.as_bytes()[at + 1..]).into_owned();
        Self { to: location[..at].to_owned(), parameters: pairs.collect() }
    }

    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// `/authorize?…`
pub fn url_of(parameters: &[(String, String)]) -> String {
    format!("/authorize?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// Follows redirections within the server, signs in as bob and allows, until the browser is led away or told something.
pub async fn go_on(browser: &mut Browser, mut answer: Answer) -> Answer {
    for _ in 0..8 {
        let Some(location) = answer.header("location").filter(|location| location.starts_with('/')).map(str::to_owned) else {
            return answer;
        };
        let page = browser.get(&location).await;
        answer = match location.split('?').next() {
            Some("/sign-in") if page.status == 200 => fill_in_sign_in(browser, &page).await,
            Some("/consent") if page.status == 200 => decide(browser, &page, "allow").await,
            _ => page,
        };
    }
    panic!("led in a circle")
}

/// Sends the sign-in page as bob.
pub async fn fill_in_sign_in(browser: &mut Browser, page: &Answer) -> Answer {
    let (csrf, interaction) = (field(page, "csrf"), field(page, "interaction"));
    let form = [("csrf", csrf.as_str()), ("interaction", &interaction), ("username", "bob"), ("password", PASSWORD)];
    browser.post("/sign-in", &form).await
}

/// Sends the consent page.
pub async fn decide(browser: &mut Browser, page: &Answer, decision: &str) -> Answer {
    let (csrf, interaction) = (field(page, "csrf"), field(page, "interaction"));
    browser.post("/consent", &[("csrf", csrf.as_str()), ("interaction", &interaction), ("decision", decision)]).await
}

/// Adds the person bob; gives their subject.
pub async fn add_bob(stack: &Stack) -> String {
    let arguments =
        ["user", "add", "bob", "--password-stdin", "--email", "bob@example.org", "--name", "Bob Builder", "--group", "staff"];
    let said = symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    said.trim_end().rsplit(' ').next().expect("a subject").to_owned()
}

/// A POST of such a request, as another site makes it: without cookies.
pub fn posted(parameters: &[(String, String)]) -> Call {
    let pairs: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Call::form("/authorize", &pairs)
}
