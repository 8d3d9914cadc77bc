//! What may be used once is used once: of a hundred who try at the same time, at two processes on one database, exactly one succeeds.
//!
//! That every table which holds what may be used once is raced for at two processes is shown beside the store
//! (`src/store/tests/trials.rs`), which learns of new ones by itself; here it is what comes over sockets. Each race is counted at the clients
//! and in the database, and both must agree.

use std::time::Instant;

use crate::harness::app::{CHALLENGE, PASSWORD, VERIFIER, add_bob};
use crate::harness::assertion::{JWT_BEARER, Signer};
use crate::harness::browser::{Browser, field};
use crate::harness::{Answer, App, Call, Caller, Connection, Engine, Prover, Setup, Stack, tell};
use serde_json::json;

/// How many try at once, half of them at each process.
const TRIES: usize = 100;

/// Races of each thing: all of them are more than a hundred on each engine. `SYMBOLON_TEST_ROUNDS=100` makes it a hundred of each.
fn rounds() -> usize {
    std::env::var("SYMBOLON_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(17)
}

#[derive(Clone, Copy, Debug)]
enum Thing {
    Code,
    RefreshToken,
    PushedRequest,
    Interaction,
    DpopProof,
    ClientAssertion,
}

impl Thing {
    const ALL: [Self; 6] =
        [Self::Code, Self::RefreshToken, Self::PushedRequest, Self::Interaction, Self::DpopProof, Self::ClientAssertion];

    /// What the database has counted of it.
    const fn query(self) -> &'static str {
        match self {
            Self::Code => {
                "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"token_issued\"%\"grant_type\":\"authorization_code\"%'"
            }
            Self::RefreshToken => {
                "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"token_issued\"%\"grant_type\":\"refresh_token\"%'"
            }
            Self::PushedRequest | Self::Interaction => {
                "SELECT COUNT(*) FROM audit WHERE event LIKE '%\"event\":\"authorization_granted\"%'"
            }
            Self::DpopProof | Self::ClientAssertion => "SELECT COUNT(*) FROM replay",
        }
    }

    fn has_won(self, answer: &Answer) -> bool {
        match self {
            Self::PushedRequest | Self::Interaction => {
                answer.status == 303 && answer.header("location").is_some_and(|location| location.contains("?code="))
            }
            _ => answer.status == 200,
        }
    }
}

/// One deployment, its people and its clients.
struct Field {
    stack: Stack,
    browser: Browser,
    assertions: Signer,
    proofs: Prover,
}

impl Field {
    async fn start(engine: Engine, grace_seconds: u32) -> Option<Self> {
        let assertions = Signer::key("ES256", "k");
        let alice = |client_id: &str, more: serde_json::Value| {
            let mut client = json!({
                "client_id": client_id, "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
                "scope": "read", "resources": ["{accounts}"],
            });
            for (name, value) in more.as_object().expect("an object") {
                match value {
                    serde_json::Value::Null => drop(client.as_object_mut().expect("an object").remove(name)),
                    value => client[name] = value.clone(),
                }
            }
            client
        };
        let public = json!({
            "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null, "dpop_bound_access_tokens": false,
            "tls_client_certificate_bound_access_tokens": false, "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": ["https://public.example/cb"],
        });
        let signing = json!({
            "token_endpoint_auth_method": "private_key_jwt", "tls_client_auth_subject_dn": null, "jwks": assertions.jwks(),
        });
        let setup = Setup {
            engine,
            without_gateway: true,
            server: format!(
                "[authorization]\nrefresh_token_grace_seconds = {grace_seconds}\n\
                 [limits]\nclient_failures_per_minute = 60000\naddress_failures_per_minute = 60000\n"
            ),
            clients: vec![
                App::metadata("alice", json!({})),
                alice("public", public),
                alice("prover", json!({ "dpop_bound_access_tokens": true })),
                alice("signer", signing),
            ],
            // A hundred who wait for one writer on a busy machine are not told to come again.
            server_changes: vec![("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 60".to_owned())],
            ..Setup::default()
        };
        let stack = setup.try_start().await?;
        add_bob(&stack).await;
        let mut browser = Browser::new(&stack);
        assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
        Some(Self { stack, browser, assertions, proofs: Prover::new() })
    }

    /// A hundred connections, half of them to each of the two processes.
    async fn connections(&self, replica: &str) -> Vec<Connection> {
        // What is sent a hundred times need not be looked for a hundred times.
        let caller = Caller::anonymous(&self.stack.server_ca.certificate).showing(&self.stack.alice);
        let mut connections = Vec::new();
        for number in 0..TRIES {
            let authority = if number.is_multiple_of(2) { &self.stack.mtls_authority } else { replica };
            connections.push(caller.connect(authority).await.expect("a connection"));
        }
        connections
    }

    /// The application `client_id`, with alice's certificate.
    fn app(&self, client_id: &str) -> App {
        let mut identity = self.stack.alice.clone();
        identity.name = client_id.to_owned();
        App { identity, redirect_uri: format!("https://{client_id}.example/cb") }
    }

    /// A fresh thing, as the request that uses it up.
    async fn prepare(&mut self, thing: Thing) -> Call {
        let resource = self.stack.accounts.clone();
        let cookies: Vec<String> = self.browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        match thing {
            Thing::Code => {
                let app = self.app("alice");
                let code = app.code(&mut self.browser, &[("scope", "read")]).await;
                let form = [
                    ("grant_type", "authorization_code"),
                    ("client_id", "alice"),
                    ("code", &code),
                    ("redirect_uri", &app.redirect_uri),
                    ("code_verifier", VERIFIER),
                ];
                Call::form("/token", &form)
            }
            Thing::RefreshToken => {
                let app = self.app("public");
                let tokens = app.tokens(&self.stack, &mut self.browser, &[("scope", "read")]).await;
                let token = tokens["refresh_token"].as_str().expect("one");
                let form = [("grant_type", "refresh_token"), ("client_id", "public"), ("refresh_token", token)];
                Call::form("/token", &form)
            }
            Thing::PushedRequest => {
                let app = self.app("alice");
                let pushed = [
                    ("client_id", "alice"),
                    ("response_type", "code"),
                    ("redirect_uri", &*app.redirect_uri),
                    ("scope", "read"),
                    ("code_challenge", CHALLENGE),
                    ("code_challenge_method", "S256"),
                ];
                let answer = self.stack.post(&self.stack.alice, "/par", &pushed).await;
                let body = answer.json();
                let request_uri = body["request_uri"].as_str().expect("a name");
                let query: String = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs([("client_id", "alice"), ("request_uri", request_uri)])
                    .finish();
                Call::get(&format!("/authorize?{query}")).header("Cookie", &cookies)
            }
            Thing::Interaction => {
                let app = self.app("alice");
                let asked = self.browser.get(&app.url(&[("scope", "read"), ("prompt", "consent")])).await;
                let location = asked.header("location").expect("to the consent").to_owned();
                let page = self.browser.get(&location).await;
                let (csrf, interaction) = (field(&page, "csrf"), field(&page, "interaction"));
                let form = [("csrf", csrf.as_str()), ("interaction", &interaction), ("decision", "allow")];
                let cookies: Vec<String> = self.browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                Call::form("/consent", &form).header("Cookie", &cookies.join("; "))
            }
            Thing::DpopProof => {
                let form = [("grant_type", "client_credentials"), ("client_id", "prover"), ("resource", &resource)];
                Call::form("/token", &form).proof(&self.proofs.prove("POST", &self.stack.token_url()))
            }
            Thing::ClientAssertion => {
                let issuer = format!("https://{}", self.stack.issuer_authority);
                let assertion = self.assertions.assertion("signer", &issuer);
                let form = [
                    ("grant_type", "client_credentials"),
                    ("client_assertion_type", JWT_BEARER),
                    ("client_assertion", &assertion),
                    ("resource", &resource),
                ];
                Call::form("/token", &form)
            }
        }
    }
}

async fn exactly_one_succeeds(engine: Engine) {
    let Some(mut field) = Field::start(engine, 0).await else { return };
    let (_replica, [_, replica]) = field.stack.start_replica().await;
    let mut connections = field.connections(&replica).await;
    // Consent is given once, and remembered.
    for client_id in ["alice", "public"] {
        field.app(client_id).code(&mut field.browser.clone(), &[("scope", "read")]).await;
    }
    let started = Instant::now();
    let (mut races, mut won) = (0, 0);
    for thing in Thing::ALL {
        for _ in 0..rounds() {
            let call = field.prepare(thing).await;
            let before = field.stack.count(thing.query()).await;
            let tries = connections.iter_mut().map(|connection| connection.send(&call));
            let answers = futures_util::future::join_all(tries).await;
            let winners = answers.iter().filter(|answer| thing.has_won(answer)).count();
            let told: Vec<String> =
                answers.iter().filter(|answer| !(400..500).contains(&answer.status)).map(Answer::text).collect();
            let counted = field.stack.count(thing.query()).await - before;
            assert_eq!((winners, counted), (1, 1), "{thing:?}: {told:?}");
            let others = answers.iter().filter(|answer| (400..500).contains(&answer.status)).count();
            assert_eq!(others, TRIES - 1, "{thing:?}: {told:?}");
            (races, won) = (races + 1, won + winners);
        }
    }
    let seconds = started.elapsed().as_secs();
    tell(&format!(
        "{engine:?}: {races} races of {TRIES} at two processes, {won} won, counted at the clients and in the database ({seconds} s)"
    ));
}

/// Within the grace a token may be sent again by whoever got no answer. Of a hundred who send it at the same time one rotates it, and all get
/// the token that is the present one then: nobody is told to forget his grant, and nobody gets one of his own.
async fn a_hundred_retries_are_one_rotation(engine: Engine) {
    const ROTATIONS: &str = "SELECT CAST(COALESCE(SUM(generation - 1), 0) AS BIGINT) FROM grant_family";
    let Some(mut field) = Field::start(engine, 60).await else { return };
    let (_replica, [_, replica]) = field.stack.start_replica().await;
    let mut connections = field.connections(&replica).await;
    let app = field.app("public");
    for round in 0..rounds() {
        let call = field.prepare(Thing::RefreshToken).await;
        let before = field.stack.count(ROTATIONS).await;
        let rotations = async || field.stack.count(ROTATIONS).await - before;
        let tries = connections.iter_mut().map(|connection| connection.send(&call));
        let answers = futures_util::future::join_all(tries).await;
        let mut tokens: Vec<String> = Vec::new();
        for answer in &answers {
            assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
            tokens.push(answer.json()["refresh_token"].as_str().expect("one").to_owned());
        }
        assert_eq!(rotations().await, 1, "round {round}");
        // All are the same token, each sealed anew: the first that is used replaces it, and the others are retries again.
        for token in tokens.iter().step_by(33) {
            assert_eq!(app.refresh(&field.stack, token).await.status, 200, "round {round}");
            assert_eq!(rotations().await, 2, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_hundred_retries_are_one_rotation_on_sqlite() {
    a_hundred_retries_are_one_rotation(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_hundred_retries_are_one_rotation_on_postgres() {
    a_hundred_retries_are_one_rotation(Engine::Postgres).await;
}

#[tokio::test]
async fn exactly_one_succeeds_on_sqlite() {
    exactly_one_succeeds(Engine::Sqlite).await;
}

#[tokio::test]
async fn exactly_one_succeeds_on_postgres() {
    exactly_one_succeeds(Engine::Postgres).await;
}
