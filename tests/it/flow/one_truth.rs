//! One truth about a token: a small model of its life, and random histories that drive a real server and a real gateway. After every step
//! introspection says at once, and the gateway as soon as it has heard of the step, exactly what the model says.
//!
//! `SYMBOLON_TEST_SEED` repeats a run, `SYMBOLON_TEST_HISTORIES` asks for more of them; how many there were in a second is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::app::{PASSWORD, add_bob};
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{Answer, App, Call, Caller, Connection, Identity, Leaf, Setup, Stack, token};
use crate::threat::rebinding;

/// Steps of a history.
const STEPS: usize = 14;
/// Seconds that tokens for `reports` live; those for `accounts` outlive every history.
const SHORT: i64 = 4;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How soon a change is in force everywhere: a second, and a moment for a busy machine.
const IN_FORCE: Duration = Duration::from_secs(3);
/// How soon a gateway has the keys that it does not know, when it asked for others a moment ago.
const KEYS_AGAIN: Duration = Duration::from_secs(15);

/// xorshift64*: a run can be repeated from its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).expect("small") % limit
    }
}

/// A connection, made again when the other side has closed it.
struct Line {
    caller: Caller,
    authority: String,
    open: Option<Connection>,
}

impl Line {
    fn to(caller: Caller, authority: &str) -> Self {
        Self { caller, authority: authority.to_owned(), open: None }
    }

    async fn send(&mut self, call: &Call) -> Answer {
        if let Some(open) = &mut self.open
            && let Ok(answer) = open.try_send(call).await
        {
            return answer;
        }
        let fresh = self.caller.connect(&self.authority).await.expect("a connection");
        self.open.insert(fresh).send(call).await
    }
}

/// A token as the model sees it.
struct Token {
    text: String,
    client: usize,
    certificate: String,
    identity: Identity,
    /// `kid`; none of an opaque one, which no signing key made.
    key: Option<String>,
    /// Whether it is bound to no key: what a public client without one gets. No route of the gateway takes it.
    unbound: bool,
    family: Option<usize>,
    expires: i64,
    revoked: bool,
}

#[derive(Default)]
struct Model {
    tokens: Vec<Token>,
    removed: BTreeSet<usize>,
    certificates: BTreeSet<String>,
    keys: BTreeSet<String>,
    /// Refresh tokens, by client; and whether they were revoked.
    families: Vec<(usize, String, bool)>,
    /// Refresh tokens that were replaced, by family.
    replaced: Vec<(usize, String)>,
    /// The thumbprint that the refresh token of the client with a certificate and no proof is bound to.
    bound: String,
}

impl Model {
    /// A token that came of another by exchange ends with the grant of that one, and with its own client, certificate and key; not with the
    /// other token alone, nor with that one's client, certificate or key.
    fn is_active(&self, token: &Token, now: i64) -> bool {
        !token.revoked
            && now < token.expires
            && !self.removed.contains(&token.client)
            && !self.certificates.contains(&token.certificate)
            && !token.key.as_ref().is_some_and(|key| self.keys.contains(key))
            && !token.family.is_some_and(|family| self.families[family].2)
    }
}

/// The client that proves nothing, whose refresh tokens are rotated.
const PUBLIC: usize = 2;
/// The client that proves nothing, whose refresh token is bound to its certificate, and follows it to the next.
const REBOUND: usize = 3;
/// The service that exchanges the tokens of all others.
const SERVICE: usize = 4;
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

struct World {
    stack: Stack,
    model: Model,
    /// Clients, each with the certificates that are left to it.
    clients: Vec<(App, Vec<Identity>)>,
    history: Vec<String>,
}

impl World {
    fn usable(&self, chance: &mut Chance) -> Option<(usize, Identity)> {
        let left: Vec<usize> = (0..self.clients.len()).filter(|client| !self.model.removed.contains(client)).collect();
        let client = *left.get(chance.below(left.len().max(1)))?;
        let mut identity = self.clients[client].1.last()?.clone();
        identity.name = self.clients[client].0.client_id().to_owned();
        Some((client, identity))
    }

    async fn keep(&mut self, client: usize, identity: Identity, answer: &serde_json::Value, family: Option<usize>) {
        let text = answer["access_token"].as_str().expect("a token").to_owned();
        let key = text.contains('.').then(|| token::header(&text)["kid"].as_str().expect("kid").to_owned());
        let lasts = answer["expires_in"].as_i64().expect("expires_in");
        // Which second it was made in, its answer does not say.
        let expires = match key {
            Some(_) => token::claims(&text)["exp"].as_i64(),
            None => self.stack.introspect(&text).await["exp"].as_i64(),
        };
        let by_answer = crate::harness::dpop::now() + lasts;
        let expires = expires.unwrap_or(by_answer);
        assert!((by_answer - 2..=by_answer).contains(&expires), "{expires} is not {lasts} seconds from now");
        let unbound = client == PUBLIC;
        let certificate = if unbound { String::new() } else { identity.thumbprint() };
        self.model.tokens.push(Token { text, client, certificate, identity, key, unbound, family, expires, revoked: false });
    }

    async fn run(&mut self, arguments: &[&str]) {
        symbolon(self.stack.dir.path(), arguments).await.ok();
    }

    /// Takes a step; gives whether the server itself was asked for it.
    async fn step(&mut self, chance: &mut Chance) -> bool {
        let now = crate::harness::dpop::now();
        let active: Vec<usize> =
            (0..self.model.tokens.len()).filter(|at| self.model.is_active(&self.model.tokens[*at], now)).collect();
        let draw = chance.below(28);
        let told = match draw {
            0..=6 => {
                let Some((client, identity)) = self.usable(chance).filter(|(client, _)| ![PUBLIC, REBOUND].contains(client))
                else {
                    return true;
                };
                let resource = if draw.is_multiple_of(2) { self.stack.accounts.clone() } else { self.stack.reports.clone() };
                let answer = self.stack.ask(&identity, &[("resource", &resource)]).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                self.keep(client, identity, &answer.json(), None).await;
                format!("issued to {client}")
            }
            7..=10 => {
                let live: Vec<usize> = (0..self.model.families.len())
                    .filter(|family| {
                        !self.model.families[*family].2 && !self.model.removed.contains(&self.model.families[*family].0)
                    })
                    .collect();
                let Some(family) = live.get(chance.below(live.len().max(1))).copied() else { return true };
                let (client, refresh_token, _) = self.model.families[family].clone();
                let app = &self.clients[client].0;
                let Some(mut identity) = self.clients[client].1.last().cloned() else { return true };
                identity.name = app.client_id().to_owned();
                let answer = App { identity: identity.clone(), ..app.clone() }.refresh(&self.stack, &refresh_token).await;
                if client == REBOUND && identity.thumbprint() != self.model.bound {
                    // The certificate that it is bound to was revoked: nobody can use it.
                    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{:#?}", self.history);
                    return true;
                }
                assert_eq!(answer.status, 200, "{}", answer.text());
                let body = answer.json();
                let next = body["refresh_token"].as_str().map(str::to_owned);
                assert_eq!(next.is_some(), client == PUBLIC, "{body}");
                self.keep(client, identity, &body, Some(family)).await;
                match next {
                    None => format!("refreshed family {family} of {client}"),
                    Some(next) => {
                        self.model.families[family].1 = next;
                        self.model.replaced.push((family, refresh_token));
                        format!("refreshed family {family} of {client}, and rotated its refresh token")
                    }
                }
            }
            11..=13 => {
                let Some(at) = active.get(chance.below(active.len().max(1))).copied() else { return true };
                let (client, text) = (self.model.tokens[at].client, self.model.tokens[at].text.clone());
                let Some(mut identity) = self.clients[client].1.last().cloned() else { return true };
                identity.name = self.clients[client].0.client_id().to_owned();
                assert_eq!(self.stack.revoke(&identity, &text).await.status, 200);
                self.model.tokens[at].revoked = true;
                format!("revoked token {at}")
            }
            14 => {
                let family = chance.below(self.model.families.len());
                let (client, refresh_token, _) = self.model.families[family].clone();
                if self.model.removed.contains(&client) {
                    return true;
                }
                let Some(mut identity) = self.clients[client].1.last().cloned() else { return true };
                identity.name = self.clients[client].0.client_id().to_owned();
                assert_eq!(self.stack.revoke(&identity, &refresh_token).await.status, 200);
                self.model.families[family].2 = true;
                format!("revoked family {family}")
            }
            15 => {
                let client = chance.below(self.clients.len());
                // Each client keeps one: what is renewed has a successor.
                if self.clients[client].1.len() < 2 {
                    return true;
                }
                let identity = self.clients[client].1.pop().expect("two");
                let thumbprint = identity.thumbprint();
                self.run(&["cert", "revoke", "--thumbprint", &thumbprint]).await;
                self.model.certificates.insert(thumbprint);
                format!("revoked a certificate of {client}, which goes on with another")
            }
            16 => {
                let Some((client, identity)) = self.usable(chance) else { return true };
                if self.model.removed.len() + 1 == self.clients.len() {
                    return true;
                }
                self.run(&["client", "remove", &identity.name]).await;
                self.model.removed.insert(client);
                format!("removed client {client}")
            }
            17 => {
                self.run(&["keys", "rotate", "--now"]).await;
                "rotated the signing key".to_owned()
            }
            18 => {
                let keys: Vec<String> = active.iter().filter_map(|at| self.model.tokens[*at].key.clone()).collect();
                let Some(key) = keys.get(chance.below(keys.len().max(1))).cloned() else { return true };
                self.run(&["keys", "revoke", &key]).await;
                self.model.keys.insert(key);
                "revoked a signing key".to_owned()
            }
            19 => {
                let live: Vec<(usize, String)> =
                    self.model.replaced.iter().filter(|(family, _)| !self.model.families[*family].2).cloned().collect();
                let Some((family, replaced)) = live.get(chance.below(live.len().max(1))).cloned() else { return true };
                let client = self.model.families[family].0;
                if self.model.removed.contains(&client) {
                    return true;
                }
                let answer = self.clients[client].0.refresh(&self.stack, &replaced).await;
                assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{:#?}", self.history);
                self.model.families[family].2 = true;
                format!("presented a refresh token of family {family} that was replaced")
            }
            20..=22 => {
                let Some(mut identity) = self.clients[SERVICE].1.last().cloned() else { return true };
                identity.name = self.clients[SERVICE].0.client_id().to_owned();
                // What is its own it can exchange with the certificate of that alone.
                let given = |token: &Token| token.client != SERVICE || token.certificate == identity.thumbprint();
                let given: Vec<usize> = active.iter().copied().filter(|at| given(&self.model.tokens[*at])).collect();
                let Some(at) = given.get(chance.below(given.len().max(1))).copied() else { return true };
                if self.model.removed.contains(&SERVICE) {
                    return true;
                }
                let subject = &self.model.tokens[at];
                let (family, ends) = (subject.family, subject.expires);
                let resource = if chance.below(2) == 0 { &self.stack.accounts } else { &self.stack.reports };
                let form = [
                    ("grant_type", EXCHANGE),
                    ("client_id", identity.name.as_str()),
                    ("subject_token", subject.text.as_str()),
                    ("subject_token_type", ACCESS_TOKEN),
                    ("resource", resource.as_str()),
                    ("scope", "read"),
                ];
                let answer = self.stack.post(&identity, "/token", &form).await;
                if answer.status != 200 && ends <= crate::harness::dpop::now() {
                    return true;
                }
                assert_eq!(answer.status, 200, "{} {:#?}", answer.text(), self.history);
                self.keep(SERVICE, identity, &answer.json(), family).await;
                let child = self.model.tokens.last().expect("kept");
                assert!(child.expires <= ends, "it outlives what it came of");
                format!("token {at} was exchanged for token {}", self.model.tokens.len() - 1)
            }
            23..=24 => {
                let Some(mut shown) = self.clients[REBOUND].1.last().cloned() else { return true };
                let is_over = self.model.families[REBOUND].2 || self.model.removed.contains(&REBOUND);
                if is_over || shown.thumbprint() != self.model.bound {
                    return true;
                }
                let name = self.clients[REBOUND].0.client_id().to_owned();
                shown.name.clone_from(&name);
                let next = self.stack.client_ca.issue(Leaf::client(&name));
                let refresh_token = self.model.families[REBOUND].1.clone();
                let jwt = rebinding::signed(&self.stack, &next, &refresh_token, json!({}), json!({ "iss": name }));
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", name.as_str()),
                    ("refresh_token", refresh_token.as_str()),
                    ("certificate_rebinding", jwt.as_str()),
                ];
                let answer = self.stack.post(&shown, "/token", &form).await;
                assert_eq!(answer.status, 200, "{} {:#?}", answer.text(), self.history);
                self.keep(REBOUND, shown.clone(), &answer.json(), Some(REBOUND)).await;
                self.model.bound = next.thumbprint();
                self.clients[REBOUND].1.push(next);
                let app = App { identity: shown, ..self.clients[REBOUND].0.clone() };
                let answer = app.refresh(&self.stack, &refresh_token).await;
                assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{:#?}", self.history);
                "rebound the refresh token of the public client to its next certificate".to_owned()
            }
            25 => {
                let Some(client) = [0, 1, SERVICE].get(chance.below(3)).copied() else { return true };
                let next = self.stack.client_ca.issue(Leaf::client(self.clients[client].0.client_id()));
                self.clients[client].1.push(next);
                format!("renewed the certificate of {client}")
            }
            _ => {
                let server = self.stack.server.take().expect("running");
                if chance.below(2) == 0 {
                    server.kill().await;
                } else {
                    server.stop().await;
                }
                self.stack.start_server().await;
                "started the server again".to_owned()
            }
        };
        self.history.push(told);
        // Certificates, clients and keys are changed by the command line, beside the server.
        !(15..=18).contains(&draw)
    }

    /// What the server says, and then what the gateway does, of every token. What was asked of the server itself is in force there when it
    /// is answered.
    async fn compare(&self, at_once: bool) {
        // A change that another process made is in force within a second.
        let started = Instant::now();
        let mut server = Line::to(self.stack.caller(&self.stack.gateway_identity), &self.stack.mtls_authority);
        let mut gateways: BTreeMap<String, Line> = BTreeMap::new();
        for (at, held) in self.model.tokens.iter().enumerate() {
            let gateway = gateways
                .entry(held.identity.thumbprint())
                .or_insert_with(|| Line::to(self.stack.caller(&held.identity), &self.stack.gateway_authority));
            let about = Call::form("/introspect", &[("token", &held.text), ("client_id", "gateway")]);
            let call = Call::get(if held.key.is_some() { "/accounts" } else { "/reports" }).bearer(&held.text);
            loop {
                let before = crate::harness::dpop::now();
                let answer = server.send(&about).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let says = answer.json()["active"] == json!(true);
                let mut admits = gateway.send(&call).await.status == 200;
                let after = crate::harness::dpop::now();
                let expected = self.model.is_active(held, before);
                if held.unbound {
                    assert!(!admits, "token {at} is bound to no key: {:#?}", self.history);
                    admits = expected;
                }
                // In the second in which it expires, either is right; and a gateway allows for clocks that differ.
                if expected != self.model.is_active(held, after) {
                    continue;
                }
                if held.key.is_some() && before >= held.expires {
                    admits = expected;
                }
                if (says, admits) == (expected, expected) {
                    break;
                }
                // A gateway asks for keys that it does not know at most so often: a token of a key made a moment after another one waits.
                let patience = if (says, expected, admits) == (true, true, false) { KEYS_AGAIN } else { IN_FORCE };
                assert!(
                    started.elapsed() < patience && (says == expected || !at_once),
                    "token {at}: the model says {expected}, introspection {says}, the gateway {admits}, after {:#?}",
                    self.history
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn server_and_gateway_say_what_the_model_says() {
    let seed = number("SYMBOLON_TEST_SEED", crate::harness::dpop::now().unsigned_abs()).max(1);
    println!("SYMBOLON_TEST_SEED={seed}");
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let histories = number("SYMBOLON_TEST_HISTORIES", 3);
    let short = (
        "access_token_format = \"opaque\"".to_owned(),
        format!("access_token_format = \"opaque\"\naccess_token_lifetime_seconds = {SHORT}"),
    );
    let server = "[authorization]\nrefresh_token_grace_seconds = 0\n".to_owned();
    let services: Vec<String> = (0..histories).map(|history| format!("\"app-{history}-{SERVICE}\"")).collect();
    let told = "introspection_clients = [\"gateway\"".to_owned();
    let exchanging = (format!("{told}]"), format!("{told}, {}]", services.join(", ")));
    let stack = Setup { server_changes: vec![short, exchanging], server, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    let mut world = World { stack, model: Model::default(), clients: Vec::new(), history: Vec::new() };
    let (started, mut steps) = (Instant::now(), 0);
    for history in 0..histories {
        world.model = Model::default();
        world.clients.clear();
        world.history = vec![format!("history {history} of seed {seed}")];
        let names: Vec<String> = (0..=SERVICE).map(|client| format!("app-{history}-{client}")).collect();
        let registrations: Vec<serde_json::Value> = names
            .iter()
            .enumerate()
            .map(|(client, name)| {
                let changes = match client {
                    PUBLIC => json!({
                        "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null,
                        "tls_client_certificate_bound_access_tokens": false,
                    }),
                    REBOUND => json!({
                        "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null, "refresh_token_rebinding": true,
                    }),
                    SERVICE => json!({
                        "grant_types": ["client_credentials", EXCHANGE], "redirect_uris": null, "scope": "read",
                        "resources": ["{accounts}", "{reports}"],
                    }),
                    _ => json!({
                        "grant_types": ["authorization_code", "client_credentials", "refresh_token"],
                        "resources": ["{accounts}", "{reports}"],
                    }),
                };
                let app = App::metadata(name, changes);
                serde_json::from_str(&world.stack.fill(&app.to_string())).expect("JSON")
            })
            .collect();
        world.stack.register(&registrations).await;
        for (client, name) in names.iter().enumerate() {
            let identities =
                vec![world.stack.client_ca.issue(Leaf::client(name)), world.stack.client_ca.issue(Leaf::client(name))];
            let identity = identities[1].clone();
            let app = App { identity: identity.clone(), redirect_uri: format!("https://{name}.example/cb") };
            if client == SERVICE {
                world.clients.push((app, identities));
                continue;
            }
            let tokens = app.tokens(&world.stack, &mut browser, &[("scope", "read")]).await;
            world.clients.push((app, identities));
            world.model.families.push((client, tokens["refresh_token"].as_str().expect("one").to_owned(), false));
            if client == REBOUND {
                world.model.bound = identity.thumbprint();
            }
            world.keep(client, identity, &tokens, Some(client)).await;
        }
        for _ in 0..STEPS {
            let at_once = world.step(&mut chance).await;
            world.compare(at_once).await;
            steps += 1;
        }
        // Time goes by, and the short-lived ones are over.
        if history + 1 == histories && world.model.tokens.iter().any(|token| token.key.is_none()) {
            tokio::time::sleep(Duration::from_secs(SHORT.unsigned_abs() + 1)).await;
            world.history.push("expired".into());
            world.compare(true).await;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{histories} histories, {steps} steps in {seconds:.1} s: {:.2} histories a second", histories as f64 / seconds);
}
