//! The `Authorization` header as clients use it: `Basic` with their name and secret (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What the header says.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// There is none.
    Absent,
    /// A client's name and secret.
    Basic(Scheme, BasicCredentials),
    /// `Basic`, and what follows cannot be read.
    Malformed(Scheme),
    /// Another scheme, by which no client authenticates.
    Other(Scheme),
    /// More than one header.
    Several(Scheme),
}

/// The two parts of `Basic`, decoded.
#[derive(Clone)]
pub struct BasicCredentials {
    /// The client, as it calls itself.
    pub client_id: String,
    /// Its secret; never empty.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicCredentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Authorization {
    /// Reads the values of every `Authorization` header of a request.
    pub fn read<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Self {
        let Some(value) = values.next() else { return Self::Absent };
        let scheme = Scheme::of(value);
        if values.next().is_some() {
            return Self::Several(scheme);
        }
        if !scheme.as_str().eq_ignore_ascii_case("Basic") {
            return Self::Other(scheme);
        }
        match basic(value) {
            Some(credentials) => Self::Basic(scheme, credentials),
            None => Self::Malformed(scheme),
        }
    }
}

/// RFC 7617 §2, with both parts in the form encoding as RFC 6749 §2.3.1 has them.
fn basic(value: &[u8]) -> Option<BasicCredentials> {
    let (_, encoded) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
    let text = std::str::from_utf8(&decoded).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    let (client_id, secret) = (form_decoded(client_id)?, Zeroizing::new(form_decoded(secret)?));
    (!client_id.is_empty() && !secret.is_empty()).then_some(BasicCredentials { client_id, secret })
}

/// `application/x-www-form-urlencoded` backwards (RFC 6749 Appendix B). A `%` that begins no escape is refused: two programs could read
/// it differently.
fn form_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok().filter(|text| !text.chars().any(char::is_control))
}

/// An authentication scheme as a client named it (RFC 9110 §11.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme(String);

impl Scheme {
    /// The longest name that is taken for a scheme's, in bytes.
    const LONGEST: usize = 32;

    /// The scheme of an `Authorization` header. What is no token counts as the scheme that OAuth clients use, `Basic`.
    fn of(value: &[u8]) -> Self {
        let is_token_character = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let name = value.split(|byte| *byte == b' ').next().unwrap_or_default();
        match std::str::from_utf8(name) {
            Ok(name) if (1..=Self::LONGEST).contains(&name.len()) && name.bytes().all(is_token_character) => {
                Self(name.to_owned())
            }
            _ => Self("Basic".to_owned()),
        }
    }

    /// The name, a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Authorization {
        Authorization::read(std::iter::once(value.as_bytes()))
    }

    #[test]
    fn a_scheme_is_a_token_or_basic() {
        let long = "a".repeat(33);
        for (value, scheme) in [
            ("Basic YTpi", "Basic"),
            ("bearer x", "bearer"),
            ("DPoP", "DPoP"),
            ("\"<b>\" x", "Basic"),
            ("", "Basic"),
            (&long, "Basic"),
        ] {
            assert_eq!(Scheme::of(value.as_bytes()).as_str(), scheme, "{value}");
        }
    }

    #[test]
    fn the_example_of_rfc_6749_section_2_3_1() {
        let Authorization::Basic(scheme, credentials) = read("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3") else {
            panic!("Basic");
        };
        assert_eq!(scheme.as_str(), "Basic");
        assert_eq!((credentials.client_id.as_str(), credentials.secret.as_str()), ("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"));
        assert!(!format!("{credentials:?}").contains("7Fjfp"));
    }

    #[test]
    fn both_parts_are_form_encoded() {
        let table = [
            ("a:b", Some(("a", "b"))),
            ("spiffe%3A%2F%2Fexample%2Fa:b%3Ac+d%2b", Some(("spiffe://example/a", "b:c d+"))),
            // The first colon is the one between the parts.
            ("a:b:c", Some(("a", "b:c"))),
            ("%61:%C3%A4", Some(("a", "\u{e4}"))),
            ("a:", None),
            (":b", None),
            ("a", None),
            ("", None),
            ("a:%", None),
            ("a:%4", None),
            ("a:%zz", None),
            ("a:%ff", None),
            ("a:b%00", None),
            ("a:b\n", None),
        ];
        for (text, expected) in table {
            for scheme in ["Basic", "basic"] {
                let read = read(&format!("{scheme} {}", STANDARD.encode(text)));
                let found = match &read {
                    Authorization::Basic(_, credentials) => Some((credentials.client_id.as_str(), credentials.secret.as_str())),
                    _ => None,
                };
                assert_eq!(found, expected, "{text}");
            }
        }
        for value in ["Basic", "Basic ", "Basic !", "Basic YTpi=", "Basic YTp\u{e4}"] {
            assert!(matches!(read(value), Authorization::Malformed(_)), "{value}");
        }
    }

    #[test]
    fn two_headers_are_too_many() {
        let values = [&b"Basic YTpi"[..], b"Bearer x"];
        assert!(matches!(Authorization::read(values.into_iter()), Authorization::Several(scheme) if scheme.as_str() == "Basic"));
        assert!(matches!(Authorization::read(std::iter::empty()), Authorization::Absent));
        assert!(matches!(read("Bearer x"), Authorization::Other(_)));
    }
}
