//! The page of `/.symbolon/`: who is signed in in this browser. No token stands in it, nor anything that leads to one.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use super::PATH;
use super::state::Session;
use crate::domain::Timestamp;
use crate::gateway::body::Body;

/// What is told of one kind of sessions.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) issuer: &'a str,
    /// The session and its end, where somebody is signed in.
    pub(super) session: Option<(Session, Timestamp)>,
}

/// The page.
pub(super) fn page(shown: &[Shown<'_>], now: Timestamp) -> Response<Body> {
    let mut text = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Sessions</title></head>\n<body><h1>Sessions</h1>\n",
    );
    for Shown { name, issuer, session } in shown {
        let _ = writeln!(text, "<h2>{}</h2>", escaped(name));
        let Some((session, until)) = session else {
            text.push_str("<p>You are not signed in.</p>\n");
            continue;
        };
        let who = session.name.as_deref().unwrap_or(session.subject.as_str());
        let _ = writeln!(
            text,
            "<dl><dt>Signed in as</dt><dd>{}</dd><dt>At</dt><dd>{}</dd><dt>For</dt><dd>{} minutes</dd><dt>At most for another</dt>\
             <dd>{} minutes</dd><dt>Bound to</dt><dd>{}</dd></dl>\n\
             <form method=\"post\" action=\"{PATH}{}/sign-out\"><button>Sign out</button></form>",
            escaped(who),
            escaped(issuer),
            now.seconds_since(session.begun) / 60,
            until.seconds_since(now) / 60,
            if session.certificate.is_some() { "the certificate of this browser" } else { "nothing but this browser's cookie" },
            escaped(name),
        );
    }
    text.push_str("</body></html>\n");
    let mut response = Response::new(Body::from(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_text() {
        assert_eq!(escaped("<b onclick='x'>\"Bob\" & co"), "&lt;b onclick=&#x27;x&#x27;&gt;&quot;Bob&quot; &amp; co");
    }
}
