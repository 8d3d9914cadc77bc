//! The target of a request, in the one spelling in which two are compared: RFC 9449 §4.3 demands the normalisation of RFC 3986
//! §6.2.2 and §6.2.3, and leaves query and fragment out.

use std::fmt;

use url::Url;

/// The longest `htu` that is looked at, in bytes.
const MAX_BYTES: usize = 4_096;

/// An `https` URI without query and fragment: scheme and host in lower case, no default port, no dot segments, percent-encoding only
/// where it is needed and in upper case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetUri(String);

/// The text names no target of an HTTP request over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an absolute https URI")]
pub struct TargetUriError;

impl TargetUri {
    /// Reads a URI. Query and fragment are dropped, everything else counts.
    ///
    /// # Errors
    /// For what is no `https` URI in the syntax of RFC 3986, for user information, and for what is too long.
    pub fn parse(text: &str) -> Result<Self, TargetUriError> {
        const SCHEME: &str = "https://";
        // The URL parser mends what browsers mend: backslashes, blanks, missing slashes. None of it is a URI.
        let is_uri = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let has_scheme = text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        if text.len() > MAX_BYTES || !is_uri || !has_scheme {
            return Err(TargetUriError);
        }
        let authority = text.get(SCHEME.len()..).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(TargetUriError);
        }
        let url = Url::parse(text).map_err(|_| TargetUriError)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TargetUriError)?;
        let mut normal = format!("{SCHEME}{host}");
        if let Some(port) = url.port() {
            use fmt::Write as _;
            let _ = write!(normal, ":{port}");
        }
        normalise_path(url.path(), &mut normal)?;
        Ok(Self(normal))
    }

    /// The URI in its normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-encoded unreserved characters are decoded, all other encodings written in upper case (RFC 3986 §6.2.2.1, §6.2.2.2).
fn normalise_path(path: &str, normal: &mut String) -> Result<(), TargetUriError> {
    let mut parts = path.split('%');
    normal.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(TargetUriError)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TargetUriError);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| TargetUriError)?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 3986 §6.2.2, §6.2.3 and the examples there, over `https`.
    #[test]
    fn equivalent_uris_have_one_spelling() {
        let table = [
            ("https://server.example.com/token", "https://server.example.com/token"),
            ("HTTPS://Server.Example.COM/token", "https://server.example.com/token"),
            ("https://server.example.com:443/token", "https://server.example.com/token"),
            ("https://server.example.com:/token", "https://server.example.com/token"),
            ("https://server.example.com:8443/token", "https://server.example.com:8443/token"),
            ("https://server.example.com", "https://server.example.com/"),
            ("https://server.example.com?x=1", "https://server.example.com/"),
            ("https://server.example.com/token?x=/../y", "https://server.example.com/token"),
            ("https://server.example.com/token#x", "https://server.example.com/token"),
            ("https://example.com/a/./b/../c", "https://example.com/a/c"),
            ("https://example.com/a/%2e%2E/c", "https://example.com/c"),
            ("https://example.com/%7Ejane/%2dx", "https://example.com/~jane/-x"),
            ("https://example.com/a%2fb%3a", "https://example.com/a%2Fb%3A"),
            ("https://example.com/A", "https://example.com/A"),
            ("https://example.com/a/", "https://example.com/a/"),
            ("https://[2001:DB8:0:0:0:0:0:1]/", "https://[2001:db8::1]/"),
        ];
        for (text, normal) in table {
            assert_eq!(TargetUri::parse(text).map(|uri| uri.to_string()), Ok(normal.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_https_uri_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_BYTES));
        for text in [
            "",
            "/token",
            "//example.com/token",
            "http://example.com/token",
            "https:example.com/token",
            "https:///token",
            "https://?x",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com\\@other.example/",
            "https://example.com/a b",
            " https://example.com/",
            "https://example.com/\n",
            "https://ex\u{e4}mple.com/",
            "https://example.com/%",
            "https://example.com/%2",
            "https://example.com/%zz",
            "https://example.com/%+1",
            "https://example.com:port/",
            "https://example.com:65536/",
            &long,
        ] {
            assert_eq!(TargetUri::parse(text), Err(TargetUriError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own(text in "https://[a-z.]{1,12}(:[0-9]{1,4})?(/[a-zA-Z0-9%._~!-]{0,12}){0,4}") {
            if let Ok(uri) = TargetUri::parse(&text) {
                prop_assert_eq!(TargetUri::parse(uri.as_str()), Ok(uri.clone()));
            }
        }
    }
}
