//! An answer to a client that the browser posts (OAuth 2.0 Form Post Response Mode §2).

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};

use crate::jose::digest::sha256;
use crate::oauth::authorization::Answer;

/// Sends the form as soon as it is there. Without JavaScript a button does.
const SCRIPT: &str = "document.forms[0].submit()";

/// The one script of this server's pages may run, and no other. Where the form leads is the client's redirect URI; where that leads
/// further is the client's affair.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(sha256(SCRIPT.as_bytes()));
    format!("default-src 'none'; script-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'")
});

/// The page.
pub fn page(answer: &Answer) -> Response {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Continue to the application</title></head>\n<body>\n",
    );
    html.push_str(&format!("<form method=\"post\" action=\"{}\">\n", escaped(&answer.redirect_uri)));
    for (name, value) in &answer.parameters {
        html.push_str(&format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value)));
    }
    html.push_str("<p>You are being led back to the application.</p>\n<button type=\"submit\">Continue</button>\n</form>\n");
    html.push_str(&format!("<script>{SCRIPT}</script>\n</body></html>\n"));
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Text as it may stand in an attribute between double quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_attribute() {
        assert_eq!(escaped(r#""><script>alert('x')&"#), "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&amp;");
        assert!(POLICY.contains("script-src 'sha256-") && !POLICY.contains("unsafe"));
    }
}
