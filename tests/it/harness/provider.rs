//! Another OpenID Provider, made by the test: it says what it is told to say, good or bad. And a deployment whose people sign in there.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcKeyPair;
use josekit::jws::{ES256, JwsHeader};
use serde_json::{Value, json};

use super::app::{App, add_bob};
use super::authority::{Authority, write_private};
use super::browser::{Browser, field};
use super::call::Answer;
use super::postgres;
use super::publisher::Publisher;
use super::stack::{Engine, Setup, Stack};

/// Our secret there.
const SECRET: &str = "a-secret-that-corp-knows-too";

/// The settings of the provider `corp`, which names itself in its answers, and of `other`, which does not.
const SETTINGS: &str = r#"
[[identity_provider]]
name = "corp"
label = "Corp & Co"
issuer = "{corp}"
ca_file = "provider-ca.pem"
client_id = "symbolon"
client_secret_file = "corp-secret"
algorithms = ["ES256"]

[[identity_provider]]
name = "other"
label = "Other"
issuer = "{other}"
ca_file = "provider-ca.pem"
client_id = "symbolon"
client_auth = "client_secret_post"
client_secret_file = "corp-secret"
algorithms = ["ES256"]
amr = ["pwd", "mfa"]
"#;

/// A provider that says what it is told to.
pub struct TestProvider {
    pub publisher: Publisher,
    pub issuer: String,
    pair: EcKeyPair,
}

impl TestProvider {
    /// Starts one that is all right.
    pub async fn start(authority: &Authority, names_itself: bool) -> Self {
        let publisher = Publisher::start(authority).await;
        let issuer = publisher.url("");
        let provider = Self { publisher, issuer, pair: ES256.generate_key_pair().expect("a key") };
        let metadata = json!({
            "issuer": provider.issuer,
            "authorization_endpoint": format!("{}/authorize", provider.issuer),
            "token_endpoint": format!("{}/token", provider.issuer),
            "userinfo_endpoint": format!("{}/userinfo", provider.issuer),
            "jwks_uri": format!("{}/jwks", provider.issuer),
            "authorization_response_iss_parameter_supported": names_itself,
        });
        provider.publish("/.well-known/openid-configuration", &metadata);
        provider.publish("/jwks", &json!({ "keys": [provider.jwk()] }));
        provider
    }

    /// Answers with this document at a path.
    pub fn publish(&self, path: &str, document: &Value) {
        self.publisher.publish_at(path, document.to_string().as_bytes());
    }

    /// Its public key.
    pub fn jwk(&self) -> Value {
        let mut jwk: Jwk = self.pair.to_jwk_public_key();
        jwk.set_key_id("one");
        jwk.set_key_use("sig");
        jwk.set_algorithm("ES256");
        serde_json::to_value(jwk.as_ref()).expect("JSON")
    }

    /// The public key as it stands in a file.
    pub fn public_pem(&self) -> Vec<u8> {
        self.pair.to_pem_public_key()
    }

    /// What a good ID token says of `sub`, changed; `null` removes a member.
    pub fn claims(&self, trip: &Led, sub: &str, changes: &Value) -> Value {
        let now = seconds();
        let mut claims = json!({
            "iss": self.issuer, "sub": sub, "aud": "symbolon", "exp": now + 60, "iat": now, "nonce": trip.get("nonce"),
            "email": format!("{sub}@corp.example"),
        });
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    /// Signs as this provider.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = JwsHeader::new();
        header.set_key_id("one");
        let signer = ES256.signer_from_jwk(&self.pair.to_jwk_private_key()).expect("a signer");
        josekit::jws::serialize_compact(claims.to_string().as_bytes(), &header, &signer).expect("a token")
    }

    /// Every code is good for this ID token from now on.
    pub fn issue(&self, id_token: &str) {
        let answer = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": id_token });
        self.publish("/token", &answer);
    }

    /// Every code is good for an ID token that says this.
    pub fn say(&self, trip: &Led, sub: &str, changes: &Value) {
        self.issue(&self.sign(&self.claims(trip, sub, changes)));
    }
}

/// Seconds since the epoch.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token without a signature, or with this one.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Where a browser was led.
#[derive(Clone, Debug)]
pub struct Led {
    /// Without the query.
    pub to: String,
    parameters: BTreeMap<String, String>,
}

impl Led {
    #[track_caller]
    pub fn of(url: &str) -> Self {
        let (to, query) = url.split_once('?').unwrap_or_else(|| panic!("{url}"));
        let parameters = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { to: to.to_owned(), parameters }
    }

    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// A deployment with bob, whose people sign in at two providers.
pub struct Federated {
    pub stack: Stack,
    pub corp: TestProvider,
    pub other: TestProvider,
    /// `sub` of bob.
    pub bob: String,
}

impl Federated {
    /// Starts one. Nothing when the engine is not at hand.
    pub async fn start(engine: Engine, changes: &[(&str, &str)], more: &str) -> Option<Self> {
        let store = match engine {
            Engine::Sqlite => "sqlite:symbolon.db".to_owned(),
            Engine::Postgres => postgres::database().await?,
        };
        let authority = Authority::new("Provider CA");
        let (corp, other) = (TestProvider::start(&authority, true).await, TestProvider::start(&authority, false).await);
        let settings = changes.iter().fold(SETTINGS.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let settings = settings.replace("{corp}", &corp.issuer).replace("{other}", &other.issuer);
        let setup = App::setup();
        let setup = Setup { server: format!("{settings}{more}"), ..setup };
        let mut stack = setup.prepare_with(store, &[("provider-ca.pem", authority.pem.as_str())]).await;
        write_private(&stack.path("corp-secret"), SECRET);
        stack.start_server().await;
        let bob = add_bob(&stack).await;
        Some(Self { stack, corp, other, bob })
    }

    pub fn provider(&self, name: &str) -> &TestProvider {
        match name {
            "corp" => &self.corp,
            "other" => &self.other,
            _ => panic!("{name}"),
        }
    }

    /// Presses the button of a provider on a sign-in page.
    pub async fn press(&self, browser: &mut Browser, sign_in: &str, name: &str) -> Answer {
        press(browser, sign_in, name).await
    }

    /// Is led to a provider from the sign-in page.
    pub async fn leave(&self, browser: &mut Browser, sign_in: &str, name: &str) -> Led {
        let led = self.press(browser, sign_in, name).await;
        assert_eq!(led.status, 303, "{}", led.text());
        let led = Led::of(led.header("location").expect("a location"));
        assert_eq!(led.to, format!("{}/authorize", self.provider(name).issuer));
        led
    }

    /// The query of a good answer.
    pub fn good(&self, trip: &Led, name: &str) -> Vec<(String, String)> {
        let all = [("code", "c0de"), ("state", trip.get("state")), ("iss", &self.provider(name).issuer)];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Comes back with this query.
    pub async fn come_back(&self, browser: &mut Browser, name: &str, query: &[(String, String)]) -> Answer {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        browser.get(&format!("/sign-in/at/{name}?{query}")).await
    }

    /// The way there and back, as `sub`; what the browser is told in the end.
    pub async fn sign_in(&self, browser: &mut Browser, sign_in: &str, name: &str, sub: &str) -> Answer {
        let trip = self.leave(browser, sign_in, name).await;
        self.provider(name).say(&trip, sub, &json!({}));
        self.come_back(browser, name, &self.good(&trip, name)).await
    }

    /// Begins to link an account; whoever is signed in is led to the provider.
    pub async fn leave_to_link(&self, browser: &mut Browser, name: &str) -> Led {
        let account = browser.account().await;
        let page = browser.post("/account/linked", &[("csrf", &field(&account, "csrf")), ("provider", name)]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        Led::of(&place(&page))
    }

    /// Links an account as its person does.
    pub async fn link(&self, browser: &mut Browser, name: &str, sub: &str) -> Answer {
        let trip = self.leave_to_link(browser, name).await;
        self.provider(name).say(&trip, sub, &json!({}));
        let page = self.come_back(browser, name, &self.good(&trip, name)).await;
        assert!(page.text().contains("Link this account?"), "{}", page.text());
        let form = [("csrf", &*field(&page, "csrf")), ("account", &*field(&page, "account"))];
        browser.post("/account/linked/add", &form).await
    }

    /// Status and private reason.
    pub async fn verdict(&self, answer: &Answer) -> (u16, String) {
        let reason = if answer.status < 400 { String::new() } else { self.stack.reason_of(answer.request_id()).await };
        (answer.status, reason)
    }
}

/// Presses the button of a provider on a sign-in page.
pub async fn press(browser: &mut Browser, sign_in: &str, name: &str) -> Answer {
    let page = browser.get(sign_in).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let mut form = vec![("csrf", field(&page, "csrf"))];
    for hidden in ["interaction", "device", "again"] {
        if page.text().contains(&format!("name=\"{hidden}\"")) {
            form.push((hidden, field(&page, hidden)));
        }
    }
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.post(&format!("/sign-in/at/{name}"), &form).await
}

/// Where the page leads on which one goes to a provider.
pub fn place(page: &Answer) -> String {
    let text = page.text();
    let rest = text.split_once("class=\"button\" href=\"").expect("a link").1;
    rest.split('"').next().expect("a link").replace("&#x2f;", "/").replace("&amp;", "&")
}
