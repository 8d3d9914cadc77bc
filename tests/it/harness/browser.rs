//! A browser without a window: cookies, forms, redirects.

use super::call::{Answer, Call};
use super::client::Caller;
use super::stack::Stack;

/// A browser at the issuer's host. It keeps cookies as browsers do, and holds every one of them to what a session's cookie must be.
#[derive(Clone)]
pub struct Browser {
    caller: Caller,
    authority: String,
    /// Name and value.
    pub cookies: Vec<(String, String)>,
}

impl Browser {
    /// A new one, without cookies.
    pub fn new(stack: &Stack) -> Self {
        Self { caller: stack.nobody(), authority: stack.issuer_authority.clone(), cookies: vec![] }
    }

    /// One that shows a certificate, or none, somewhere else than at the issuer's host.
    pub fn at(caller: Caller, authority: &str) -> Self {
        Self { caller, authority: authority.to_owned(), cookies: vec![] }
    }

    /// Sends a request with this browser's cookies, and keeps those of the answer.
    pub async fn send(&mut self, call: Call) -> Answer {
        let mut call = call.header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0");
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            call = call.header("Cookie", &cookies.join("; "));
        }
        let answer = self.caller.send(&self.authority, &call).await;
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(set);
        }
        answer
    }

    fn keep(&mut self, set: &str) {
        let mut parts = set.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie");
        let attributes: Vec<&str> = parts.collect();
        assert!(name.starts_with("__Host-symbolon-"), "{set}");
        assert_eq!(attributes[..4], ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"], "{set}");
        self.cookies.retain(|(known, _)| known != name);
        if !attributes.contains(&"Max-Age=0") {
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(Call::get(target)).await
    }

    pub async fn post(&mut self, target: &str, form: &[(&str, &str)]) -> Answer {
        self.send(Call::form(target, form)).await
    }

    /// Fills the sign-in form in and sends it.
    pub async fn sign_in(&mut self, username: &str, password: &str) -> Answer {
        let page = self.get("/sign-in").await;
        let csrf = if page.status == 200 { field(&page, "csrf") } else { String::new() };
        self.post("/sign-in", &[("csrf", &csrf), ("username", username), ("password", password)]).await
    }

    /// The account page; it must be shown.
    pub async fn account(&mut self) -> Answer {
        let page = self.get("/account").await;
        assert_eq!(page.status, 200, "{}", page.text());
        page
    }

    /// Whether this browser is signed in.
    pub async fn is_signed_in(&mut self) -> bool {
        let page = self.get("/account").await;
        match page.status {
            200 => true,
            303 => {
                assert_eq!(page.header("location"), Some("/sign-in"));
                false
            }
            other => panic!("{other}: {}", page.text()),
        }
    }

    /// The cookie of a session, its name and value.
    pub fn session_cookie(&self) -> Option<(String, String)> {
        self.cookies.iter().find(|(name, _)| name.starts_with("__Host-symbolon-session-")).cloned()
    }
}

/// The value of the first field of this name in a page.
#[track_caller]
pub fn field(page: &Answer, name: &str) -> String {
    let text = page.text();
    let start = format!("name=\"{name}\" value=\"");
    let at = text.find(&start).unwrap_or_else(|| panic!("no `{name}` in {text}")) + start.len();
    unescaped(text[at..].split('"').next().expect("a value"))
}

/// Every value of the fields of this name.
pub fn fields(page: &Answer, name: &str) -> Vec<String> {
    let text = page.text();
    let start = format!("name=\"{name}\" value=\"");
    text.split(&start).skip(1).map(|rest| unescaped(rest.split('"').next().expect("a value"))).collect()
}

/// The text of the alert in a page; nothing when there is none.
pub fn problem(page: &Answer) -> Option<String> {
    let text = page.text();
    let rest = text.split_once("role=\"alert\"")?.1.split_once('>')?.1;
    rest.split('<').next().map(unescaped)
}

pub fn unescaped(text: &str) -> String {
    [("&#x2f;", "/"), ("&#x27;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
        .into_iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}
