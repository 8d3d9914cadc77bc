//! Somebody who signs in at the gateway with a browser: the server is the provider.

use serde_json::{Value, json};

use super::App;
use super::app::{add_bob, go_on};
use super::browser::Browser;
use super::call::{Answer, Call};
use super::client::Caller;
use super::stack::{Setup, Stack};

/// Sessions, and the routes that take them.
pub const SESSIONS: &str = r#"
[gateway.sessions.staff]
authorization_server = "test"
scopes = ["read"]
resources = ["{accounts}"]
back_channel_logout = true

[gateway.sessions.other]
authorization_server = "test"
scopes = ["read"]
resources = ["{accounts}"]

[[route]]
name = "app"
host = "{gateway_authority}"
path = "/app"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"
sessions = "staff"

[[route]]
name = "elsewhere"
host = "{gateway_authority}"
path = "/elsewhere"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"
sessions = "other"

[[route]]
name = "public-app"
host = "public.example:{gateway_port}"
path = "/app"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"
sessions = "staff"
"#;

/// The server may reach the gateway.
pub const OUTBOUND: &str = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n";

/// What a browser says when a person follows a link.
pub const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// The gateway's registration as a client that signs people in, changed.
pub fn gateway_client(changes: Value) -> Value {
    let mut all = json!({
        "redirect_uris": [
            "{gateway}/.symbolon/staff/callback",
            "{gateway}/.symbolon/other/callback",
            "https://public.example:{gateway_port}/.symbolon/staff/callback",
        ],
        "post_logout_redirect_uris": ["{gateway}/.symbolon/"],
        "backchannel_logout_uri": "{gateway}/.symbolon/staff/back-channel-logout",
        "backchannel_logout_session_required": true,
    });
    all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    App::metadata("gateway", all)
}

/// A deployment with sessions and bob.
pub async fn with_sessions(changes: &[(&str, &str)], setup: Setup) -> Stack {
    let sessions = changes.iter().fold(SESSIONS.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let mut clients = vec![gateway_client(json!({}))];
    clients.extend(setup.clients.iter().cloned());
    let stack = Setup { gateway: sessions + &setup.gateway, server: format!("{OUTBOUND}{}", setup.server), clients, ..setup };
    let stack = stack.start().await;
    add_bob(&stack).await;
    stack
}

/// A browser with its cookies at the gateway and at the provider.
#[derive(Clone)]
pub struct Person {
    pub gateway: Browser,
    pub provider: Browser,
}

impl Person {
    /// One without certificate.
    pub fn new(stack: &Stack) -> Self {
        Self::showing(stack, stack.nobody())
    }

    /// One whose connections to the gateway are these.
    pub fn showing(stack: &Stack, caller: Caller) -> Self {
        Self { gateway: Browser::at(caller, &stack.gateway_authority), provider: Browser::new(stack) }
    }

    /// Follows a link.
    pub async fn follow(&mut self, target: &str) -> Answer {
        self.gateway.send(link(target)).await
    }

    /// Goes to the provider where the gateway led, signs in there as bob, and gives where the provider leads back to: the target at the
    /// gateway.
    pub async fn at_provider(&mut self, stack: &Stack, led: &Answer) -> String {
        assert_eq!(led.status, 303, "{}", led.text());
        let location = led.header("location").expect("a location").to_owned();
        let target = location.strip_prefix(&stack.fill("{issuer}")).unwrap_or_else(|| panic!("{location}"));
        let answer = self.provider.get(target).await;
        let answer = go_on(&mut self.provider, answer).await;
        let location = answer.header("location").unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        location.strip_prefix(&stack.fill("{gateway}")).unwrap_or_else(|| panic!("{location}")).to_owned()
    }

    /// Signs in to have this page, and gives it.
    pub async fn sign_in(&mut self, stack: &Stack, target: &str) -> Answer {
        let led = self.follow(target).await;
        let callback = self.at_provider(stack, &led).await;
        let back = self.follow(&callback).await;
        assert_eq!(
            (back.status, back.header("location")),
            (303, Some(stack.fill(&format!("{{gateway}}{target}")).as_str())),
            "{}",
            back.text()
        );
        self.follow(target).await
    }

    /// Sends a form from a page of the gateway's own.
    pub async fn send_form(&mut self, stack: &Stack, target: &str) -> Answer {
        let origin = stack.fill("{gateway}");
        self.gateway.send(Call::form(target, &[]).header("Sec-Fetch-Site", "same-origin").header("Origin", &origin)).await
    }

    /// What the browser would send of its session.
    pub fn session_cookie(&self) -> String {
        let of_sessions = self.gateway.cookies.iter().filter(|(name, _)| !name.contains(".in-"));
        of_sessions.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

/// A link that is followed.
pub fn link(target: &str) -> Call {
    Call::get(target).header("Accept", HTML).header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
}
