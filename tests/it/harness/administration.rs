//! The administration API, beside the endpoints of the mutual-TLS host, and whoever may use it.

use serde_json::{Value, json};

use super::authority::{Identity, Leaf};
use super::call::{Answer, Call};
use super::dpop::Prover;
use super::stack::{Setup, Stack};

/// What is added to a server's configuration.
pub const SECTION: &str = r#"
[[resource]]
identifier = "{mtls_url}/admin"
scopes = ["symbolon:read", "symbolon:write"]

[admin]
resource = "{mtls_url}/admin"
"#;

/// The listener of the mutual-TLS host, as it stands and with the API beside.
pub const BESIDE: (&str, &str) = (
    "address = \"127.0.0.1:{mtls_port}\"\nservices = [\"authorization_server\"]",
    "address = \"127.0.0.1:{mtls_port}\"\nservices = [\"authorization_server\", \"admin\"]",
);

/// Metadata of a client that may use the API.
pub fn operator(name: &str, scope: &str, changes: &Value) -> Value {
    let mut metadata = json!({
        "client_id": name,
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject_dn": format!("CN={name}"),
        "scope": scope,
        "resources": ["{mtls_url}/admin"],
    });
    for (member, value) in changes.as_object().expect("an object") {
        metadata[member] = value.clone();
    }
    metadata
}

/// A deployment with the API and the client `operator`.
pub fn setup() -> Setup {
    Setup {
        without_gateway: true,
        server: SECTION.into(),
        server_changes: vec![(BESIDE.0.into(), BESIDE.1.into())],
        clients: vec![operator("operator", "symbolon:read symbolon:write", &json!({}))],
        ..Setup::default()
    }
}

/// Somebody with a token for the API.
pub struct Operator {
    pub identity: Identity,
    pub token: String,
}

impl Operator {
    /// The client `operator`, with both scopes.
    pub async fn of(stack: &Stack) -> Self {
        Self::named(stack, "operator").await
    }

    /// A client of the authority of clients.
    pub async fn named(stack: &Stack, name: &str) -> Self {
        let identity = stack.client_ca.issue(Leaf::client(name));
        let token = admin_token(stack, &identity, &[]).await;
        Self { identity, token }
    }

    /// Sends a request with its token.
    pub async fn send(&self, stack: &Stack, call: Call) -> Answer {
        stack.caller(&self.identity).send(&stack.mtls_authority, &call.bearer(&self.token)).await
    }

    pub async fn get(&self, stack: &Stack, path: &str) -> Answer {
        self.send(stack, Call::get(path)).await
    }

    /// A request with a JSON body.
    pub async fn tell(&self, stack: &Stack, method: &str, path: &str, body: &Value) -> Answer {
        self.send(stack, json_call(method, path, body)).await
    }

    pub async fn delete(&self, stack: &Stack, path: &str) -> Answer {
        self.send(stack, Call::new("DELETE", path)).await
    }
}

/// A request with a JSON body.
pub fn json_call(method: &str, path: &str, body: &Value) -> Call {
    Call::new(method, path).header("Content-Type", "application/json").body(body.to_string())
}

/// A token for the API, of a client with this certificate.
pub async fn admin_token(stack: &Stack, identity: &Identity, more: &[(&str, &str)]) -> String {
    let resource = stack.fill("{mtls_url}/admin");
    let form = [&[("resource", resource.as_str())], more].concat();
    let answer = stack.ask(identity, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().expect("access_token").to_owned()
}

/// A token for the API that is bound to a DPoP key.
pub async fn dpop_admin_token(stack: &Stack, identity: &Identity, key: &Prover) -> String {
    stack.dpop_token(identity, key, &stack.fill("{mtls_url}/admin")).await
}
