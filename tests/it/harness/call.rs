//! One request and its answer.

use std::fmt::Write as _;

use serde_json::Value;

/// A request. Over HTTP/1.1 it is written exactly as given: names keep their case, nothing is added but `Host` (unless given)
/// and `Content-Length` (for a body, unless given or `Transfer-Encoding` is).
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// The request target: a path with query, or whatever a test wants to say.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: vec![], body: vec![] }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with an encoded form.
    pub fn form(target: &str, parameters: &[(&str, &str)]) -> Self {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        Self::new("POST", target).header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    /// Adds a header field; the same name may be added again.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Gives a header field another value.
    pub fn replacing(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    /// `Authorization: Bearer TOKEN`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(present, _)| present.eq_ignore_ascii_case(name))
    }

    /// As it goes over the wire in HTTP/1.1.
    pub fn bytes(&self, authority: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            let _ = write!(head, "Host: {authority}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let has_body = !self.body.is_empty() || self.method == "POST";
        if has_body && !self.has("content-length") && !self.has("transfer-encoding") {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that is there at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(present, _)| present == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }

    /// The body as JSON; `null` when it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `error` of the body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The first `WWW-Authenticate` field, which tells of the error; or nothing.
    pub fn challenge(&self) -> &str {
        self.challenges().first().copied().unwrap_or_default()
    }

    /// The request's id, from the header or from the body; empty when the answer names none.
    pub fn request_id(&self) -> String {
        match self.header("x-request-id") {
            Some(id) => id.to_owned(),
            None => self.json()["request_id"].as_str().unwrap_or_default().to_owned(),
        }
    }
}
