//! What went over the wire and must stand nowhere in the clear: collected by every caller of a deployment, by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::call::{Answer, Call};

/// Members of JSON and parameters of forms, queries and cookies whose values are secret, in any spelling that contains one of these.
const SECRET_NAMES: &[&str] = &[
    "token",
    "secret",
    "password",
    "passphrase",
    "assertion",
    "cookie",
    "csrf",
    "otp",
    "totp",
    "recovery",
    "request_uri",
    "ticket",
];
/// Names that are secret as they stand.
const SECRET_EXACTLY: &[&str] =
    &["answer", "attempt", "credential", "errand", "code", "device_code", "user_code", "state", "nonce", "code_verifier"];
/// Personal data.
const PERSONAL: &[&str] =
    &["email", "phone_number", "given_name", "family_name", "birthdate", "preferred_username", "username", "street_address"];
/// Names that contain one of the above and say nothing secret.
const HARMLESS: &[&str] = &[
    "token_type",
    "token_type_hint",
    "token_endpoint",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "session_state",
    "requested_token_type",
    "subject_token_type",
];
/// Shorter values would be found by chance.
const SHORTEST: usize = 8;
/// The same for personal data, which are words.
const SHORTEST_PERSONAL: usize = 12;

/// What a deployment's callers sent and received that is secret.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    secrets: Arc<Mutex<BTreeMap<Vec<u8>, String>>>,
}

impl Wire {
    /// Remembers a secret under a name for messages.
    pub fn note(&self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        if secret.len() >= SHORTEST {
            self.secrets.lock().expect("unpoisoned").entry(secret.to_vec()).or_insert_with(|| name.to_owned());
        }
    }

    /// Everything remembered: the name and the value.
    pub fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        self.secrets.lock().expect("unpoisoned").iter().map(|(secret, name)| (name.clone(), secret.clone())).collect()
    }

    /// Looks through a request.
    pub fn sent(&self, call: &Call) {
        self.fields(call.target.split_once('?').map_or("", |(_, query)| query));
        self.headers(&call.headers);
        self.body(&call.headers, &call.body);
    }

    /// Looks through an answer.
    pub fn received(&self, answer: &Answer) {
        self.headers(&answer.headers);
        self.body(&answer.headers, &answer.body);
    }

    /// Looks through header fields, such as those that an upstream received.
    pub fn headers(&self, headers: &[(String, String)]) {
        for (name, value) in headers {
            match name.to_ascii_lowercase().as_str() {
                "authorization" | "proxy-authorization" => {
                    let credentials = value.split_once(' ').map_or(value.as_str(), |(_, credentials)| credentials);
                    self.note("authorization", credentials);
                    // Basic: the password within.
                    let decoded = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    if let Some((_, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
                        self.note("password of Basic", password);
                    }
                }
                "cookie" => {
                    for pair in value.split(';') {
                        self.note("cookie", pair.split_once('=').map_or(pair, |(_, value)| value).trim());
                    }
                }
                "set-cookie" => {
                    let pair = value.split(';').next().unwrap_or_default();
                    self.note("cookie", pair.split_once('=').map_or(pair, |(_, value)| value).trim());
                }
                "location" => {
                    for part in value.split(['?', '#']).skip(1) {
                        self.fields(part);
                    }
                }
                // Signed words, such as the gateway's to its upstream.
                _ if value.starts_with("eyJ") && value.matches('.').count() == 2 => self.jwt(name, value),
                _ => {}
            }
        }
    }

    fn body(&self, headers: &[(String, String)], body: &[u8]) {
        let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map_or("", |(_, value)| value);
        if kind.contains("x-www-form-urlencoded") {
            self.fields(&String::from_utf8_lossy(body));
        } else if kind.contains("json")
            && let Ok(value) = serde_json::from_slice(body)
        {
            self.json("", &value);
        }
    }

    fn fields(&self, encoded: &str) {
        for (name, value) in url::form_urlencoded::parse(encoded.as_bytes()) {
            self.field(&name, &value);
        }
    }

    fn json(&self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.field(name, text),
            Value::Array(items) => items.iter().for_each(|item| self.json(name, item)),
            Value::Object(members) => members.iter().for_each(|(name, value)| self.json(name, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn field(&self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        let is_secret = !HARMLESS.contains(&name.as_str())
            && !name.ends_with("_endpoint")
            && !name.ends_with("_supported")
            // Names of algorithms.
            && !name.ends_with("_response_alg")
            && !name.ends_with("_response_enc")
            // A place that the client publishes at is public; the name of a pushed request is not.
            && (name != "request_uri" || value.starts_with("urn:"))
            && (SECRET_NAMES.iter().any(|secret| name.contains(secret)) || SECRET_EXACTLY.contains(&name.as_str()));
        let is_personal = PERSONAL.contains(&name.as_str()) && value.len() >= SHORTEST_PERSONAL;
        if is_secret || is_personal {
            match value.matches('.').count() {
                2 | 4 if value.starts_with("eyJ") => self.jwt(&name, value),
                _ => self.note(&name, value),
            }
        }
    }

    /// A signed token is given away by its signature as well.
    fn jwt(&self, name: &str, value: &str) {
        self.note(name, value);
        if let Some((_, signature)) = value.rsplit_once('.') {
            self.note(&format!("signature of {name}"), signature);
        }
    }
}

#[test]
fn secrets_are_collected_by_the_names_of_their_fields() {
    let wire = Wire::default();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", "the-code-itself"),
        ("client_id", "somebody-known"),
        ("client_secret", "very-secret"),
    ];
    wire.sent(
        &Call::form("/token?login_hint=x&id_token_hint=hint-of-a-token", &form).header("Cookie", "a=cookie-one; b=cookie-two"),
    );
    wire.sent(&Call::get("/x").bearer("sy_at_of-an-opaque-token").replacing("X-Assertion", "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"));
    wire.sent(&Call::get("/x").header("Authorization", &format!("Basic {}", STANDARD.encode("me:pass-of-basic"))));
    let headers = |list: &[(&str, &str)]| list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let json = r#"{"access_token":"an-access-token","token_type":"Bearer-or-more","keys":[{"email":"alice@example"}],"token_endpoint":"https://as"}"#;
    let answer = Answer {
        status: 200,
        headers: headers(&[("content-type", "application/json"), ("set-cookie", "s=cookie-three; Path=/")]),
        body: json.into(),
    };
    wire.received(&answer);
    let answer = Answer {
        status: 302,
        headers: headers(&[("location", "https://c/cb?code=code-in-redirect&state=state-of-client")]),
        body: vec![],
    };
    wire.received(&answer);
    let values: Vec<String> = wire.secrets().into_iter().map(|(_, value)| String::from_utf8(value).expect("text")).collect();
    for expected in [
        "the-code-itself",
        "very-secret",
        "hint-of-a-token",
        "cookie-one",
        "cookie-two",
        "cookie-three",
        "sy_at_of-an-opaque-token",
        "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl",
        "c2lnbmF0dXJl",
        "pass-of-basic",
        "an-access-token",
        "alice@example",
        "code-in-redirect",
        "state-of-client",
    ] {
        assert!(values.iter().any(|value| value == expected), "{expected} is not among {values:?}");
    }
    for harmless in ["Bearer-or-more", "https://as", "somebody-known", "authorization_code"] {
        assert!(!values.iter().any(|value| value == harmless), "{harmless}");
    }
}
