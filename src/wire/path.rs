//! One canonical path, used to match a route, to decide, and to forward.
//!
//! A path that two programs could read differently is refused instead of guessed at: what the gateway decided about must be what
//! the upstream serves.

use std::fmt;

/// The longest path that is looked at, in bytes.
const MAX_BYTES: usize = 8_192;

/// A path in canonical form: ASCII, no empty or dot segment, percent-encoding only where a character needs it and with upper-case
/// digits (RFC 3986 §6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    /// What is forwarded.
    text: String,
    /// The same with every percent-encoding resolved, where there is one left: what is matched, so that no spelling dodges a route.
    decoded: Option<String>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than 8 KiB.
    #[error("the path is too long")]
    TooLong,
    /// Does not start with `/` (also `*`).
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// A character that RFC 3986 §3.3 does not allow: a backslash, a raw byte outside ASCII, a control character, …
    #[error("the path has a character that must be percent-encoded")]
    Character,
    /// `%` without two hexadecimal digits, or an encoding of something that is not UTF-8.
    #[error("the path has a malformed percent-encoding")]
    Encoding,
    /// `%2F`, `%5C`, an encoded control character, or the double encoding of a slash, backslash, dot or percent sign.
    #[error("the path encodes a separator or a control character")]
    EncodedSeparator,
    /// `//`, also when only a path parameter stands between.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, raw, encoded, or with a path parameter behind it.
    #[error("the path has a dot segment")]
    DotSegment,
}

impl CanonicalPath {
    /// Reads the path of a request target, without its query.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > MAX_BYTES {
            return Err(PathError::TooLong);
        }
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        let mut text = String::with_capacity(raw.len());
        let mut decoded: Vec<u8> = Vec::new();
        let mut has_encoding = false;
        let mut rest = raw.as_bytes();
        while let [byte, after @ ..] = rest {
            let byte = *byte;
            rest = after;
            if byte != b'%' {
                if !is_path_character(byte) {
                    return Err(PathError::Character);
                }
                text.push(char::from(byte));
                if has_encoding {
                    decoded.push(byte);
                }
                continue;
            }
            let octet = octet(rest)?;
            rest = rest.get(2..).unwrap_or_default();
            match octet {
                b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(PathError::EncodedSeparator),
                b'%' if hides_another_encoding(rest) => return Err(PathError::EncodedSeparator),
                _ if is_unreserved(octet) => {
                    text.push(char::from(octet));
                    if has_encoding {
                        decoded.push(octet);
                    }
                }
                _ => {
                    if !has_encoding {
                        has_encoding = true;
                        decoded.extend_from_slice(text.as_bytes());
                    }
                    push_encoded(&mut text, octet);
                    decoded.push(octet);
                }
            }
        }
        let decoded = if has_encoding { Some(String::from_utf8(decoded).map_err(|_| PathError::Encoding)?) } else { None };
        check_segments(decoded.as_deref().unwrap_or(&text))?;
        Ok(Self { text, decoded })
    }

    /// The path as it is forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path behind its first `segments` segments: empty, or with a slash at its start.
    pub fn behind(&self, segments: usize) -> &str {
        let mut starts = self.text.match_indices('/').map(|(at, _)| at);
        starts.nth(segments).and_then(|at| self.text.get(at..)).unwrap_or_default()
    }

    /// The path as it is matched: every percent-encoding resolved. Slashes separate segments here exactly as in [`Self::as_str`].
    pub fn decoded(&self) -> &str {
        self.decoded.as_deref().unwrap_or(&self.text)
    }

    /// The decoded path as a program reads it that takes `;` for the start of a segment's parameters, when that differs.
    pub fn without_parameters(&self) -> Option<String> {
        let decoded = self.decoded();
        decoded.contains(';').then(|| {
            let mut text = String::with_capacity(decoded.len());
            for segment in decoded.split('/').skip(1) {
                text.push('/');
                text.push_str(name_of(segment));
            }
            text
        })
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `unreserved` of RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 §3.3 without percent-encodings, and `/`.
const fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// The octet that two hexadecimal digits at the start of `rest` stand for.
fn octet(rest: &[u8]) -> Result<u8, PathError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let [high, low, ..] = *rest else { return Err(PathError::Encoding) };
    let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(PathError::Encoding) };
    Ok(high << 4 | low)
}

/// `%25` followed by digits that a second decoding would turn into a separator, a dot, a control character or one more `%`.
fn hides_another_encoding(rest: &[u8]) -> bool {
    matches!(octet(rest), Ok(b'/' | b'\\' | b'.' | b'%' | b';' | 0..=0x1f | 0x7f))
}

fn push_encoded(text: &mut String, octet: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(octet >> 4)]));
    text.push(char::from(DIGITS[usize::from(octet & 15)]));
}

/// What stands before a segment's parameters.
fn name_of(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn check_segments(path: &str) -> Result<(), PathError> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match name_of(segment) {
            "." | ".." => return Err(PathError::DotSegment),
            // A trailing slash is the one place for an empty segment; `/;x` would be one to a program that cuts parameters.
            "" if !segment.is_empty() || segments.peek().is_some() => return Err(PathError::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tables of a test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_spelling_remains_of_equivalent_ones() {
        let table = [
            ("/", "/", "/"),
            ("/a/b/", "/a/b/", "/a/b/"),
            ("/%61dmin", "/admin", "/admin"),
            ("/%7euser/a%2Db", "/~user/a-b", "/~user/a-b"),
            ("/a%20b", "/a%20b", "/a b"),
            ("/caf%c3%a9", "/caf%C3%A9", "/café"),
            ("/%40me", "/%40me", "/@me"),
            ("/a;v=1/b", "/a;v=1/b", "/a;v=1/b"),
            ("/100%25", "/100%25", "/100%"),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
            ("/...", "/...", "/..."),
            ("/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="),
        ];
        for (raw, text, decoded) in table {
            let path = CanonicalPath::parse(raw).unwrap_or_else(|error| panic!("{raw}: {error}"));
            assert_eq!((path.as_str(), path.decoded()), (text, decoded), "{raw}");
        }
    }

    #[test]
    fn refuses_what_two_programs_could_read_differently() {
        use PathError::*;
        let table = [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("a", NotAbsolute),
            ("//", EmptySegment),
            ("//evil.example/x", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a/;x/b", EmptySegment),
            ("/a/;x", EmptySegment),
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/%2e%2e/b", DotSegment),
            ("/a/.%2E/b", DotSegment),
            ("/a/%2e", DotSegment),
            ("/a/..;/b", DotSegment),
            ("/a/..;x=1/b", DotSegment),
            ("/a/..%3b/b", DotSegment),
            ("/a%2fb", EncodedSeparator),
            ("/a%2Fb", EncodedSeparator),
            ("/a%5cb", EncodedSeparator),
            ("/a%00", EncodedSeparator),
            ("/a%0d%0aX: y", EncodedSeparator),
            ("/a%7f", EncodedSeparator),
            ("/a%252fb", EncodedSeparator),
            ("/%252e%252e/b", EncodedSeparator),
            ("/%25252f", EncodedSeparator),
            ("/a\\b", Character),
            ("/\\..\\b", Character),
            ("/a b", Character),
            ("/é", Character),
            ("/a\tb", Character),
            ("/a\"b", Character),
            ("/a<b", Character),
            ("/a{b}", Character),
            ("/a^b", Character),
            ("/a|b", Character),
            ("/a%", Encoding),
            ("/a%2", Encoding),
            ("/a%zz", Encoding),
            ("/a%+1", Encoding),
            ("/a%c0%af", Encoding),
            ("/a%ff", Encoding),
        ];
        for (raw, expected) in table {
            assert_eq!(CanonicalPath::parse(raw), Err(expected), "{raw}");
        }
        assert_eq!(CanonicalPath::parse(&format!("/{}", "a".repeat(MAX_BYTES))), Err(TooLong));
    }

    #[test]
    fn parameters_are_set_apart_where_there_are_any() {
        let table = [("/a/b", None), ("/admin;x=1/b", Some("/admin/b")), ("/admin%3Bx/b;y", Some("/admin/b"))];
        for (raw, expected) in table {
            let path = CanonicalPath::parse(raw).expect(raw);
            assert_eq!(path.without_parameters().as_deref(), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(raw in "(/|/[ -~%./;a-f0-9]{0,40})") {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                let again = CanonicalPath::parse(path.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&path));
                prop_assert_eq!(path.as_str().matches('/').count(), path.decoded().matches('/').count());
                prop_assert!(!path.decoded().split('/').any(|segment| segment == ".." || segment == "."));
            }
        }
    }
}
