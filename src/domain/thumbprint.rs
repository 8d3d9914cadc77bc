//! SHA-256 thumbprints, as `x5t#S256` and `jkt` spell them (RFC 8705 §3.1, RFC 7638, RFC 9449 §6.1).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A SHA-256 digest that names a certificate or a key. Written as 43 characters of base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Wraps a digest that the caller computed.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The raw digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Lower-case hexadecimal, as `openssl x509 -fingerprint -sha256` prints it without colons.
    pub fn to_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Reads what [`Self::to_hex`] writes, in either case; `None` for anything else.
    pub fn parse_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// Equality whose duration does not depend on where the digests differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Why a text is not a thumbprint. The common mistakes are recognised and named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThumbprintError {
    /// 64 hexadecimal digits.
    #[error("this is the SHA-256 digest in hexadecimal; `x5t#S256` is base64url without padding: {0}")]
    Hexadecimal(Thumbprint),
    /// Pairs of hexadecimal digits between colons.
    #[error("this is the SHA-256 digest as OpenSSL prints it, with colons; `x5t#S256` is base64url without padding: {0}")]
    Colons(Thumbprint),
    /// 40 hexadecimal digits or 27 characters of base64url: SHA-1.
    #[error("this has the length of a SHA-1 digest; `x5t#S256` is SHA-256")]
    Sha1,
    /// Padded base64url.
    #[error("`x5t#S256` has no padding: leave the trailing `=` away")]
    Padded,
    /// Standard base64 (`+`, `/`).
    #[error("this is standard base64; `x5t#S256` is base64url: `-` for `+`, `_` for `/`")]
    StandardAlphabet,
    /// Anything else.
    #[error("a thumbprint is 43 characters of base64url without padding")]
    Malformed,
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut digest = [0u8; 32];
    for (target, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        *target = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 43
            && let Ok(bytes) = URL_SAFE_NO_PAD.decode(text)
            && let Ok(digest) = <[u8; 32]>::try_from(bytes)
        {
            return Ok(Self(digest));
        }
        if text.len() > 128 {
            return Err(ThumbprintError::Malformed);
        }
        let without_colons = text.replace(':', "");
        if let Some(digest) = from_hex(&without_colons) {
            return Err(if text.contains(':') {
                ThumbprintError::Colons(Self(digest))
            } else {
                ThumbprintError::Hexadecimal(Self(digest))
            });
        }
        let is_hex = without_colons.bytes().all(|byte| byte.is_ascii_hexdigit());
        Err(match text.len() {
            _ if is_hex && without_colons.len() == 40 => ThumbprintError::Sha1,
            27 | 28 if text.trim_end_matches('=').len() == 27 => ThumbprintError::Sha1,
            44 if text.ends_with('=') => ThumbprintError::Padded,
            43 if text.contains(['+', '/']) => ThumbprintError::StandardAlphabet,
            _ => ThumbprintError::Malformed,
        })
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 43];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The thumbprint of RFC 8705 Appendix A.
    const APPENDIX_A: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

    #[test]
    fn writes_what_it_read() {
        let thumbprint: Thumbprint = APPENDIX_A.parse().expect("the RFC's own example");
        assert_eq!(thumbprint.to_string(), APPENDIX_A);
    }

    #[test]
    fn names_the_common_mistakes() {
        let thumbprint: Thumbprint = APPENDIX_A.parse().expect("the RFC's own example");
        let hex = thumbprint.to_hex();
        let colons = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII")).collect::<Vec<_>>().join(":");
        let table: &[(&str, ThumbprintError)] = &[
            (&hex, ThumbprintError::Hexadecimal(thumbprint)),
            (&hex.to_uppercase(), ThumbprintError::Hexadecimal(thumbprint)),
            (&colons, ThumbprintError::Colons(thumbprint)),
            (&format!("{APPENDIX_A}="), ThumbprintError::Padded),
            (&APPENDIX_A.replace('A', "+"), ThumbprintError::StandardAlphabet),
            ("da39a3ee5e6b4b0d3255bfef95601890afd80709", ThumbprintError::Sha1),
            ("2jmj7l5rSw0yVb_vlWAYkK_YBwk", ThumbprintError::Sha1),
            ("", ThumbprintError::Malformed),
            (&APPENDIX_A[..42], ThumbprintError::Malformed),
            // Trailing bits that no encoder writes: two spellings of one digest must not both be accepted.
            ("A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v1", ThumbprintError::Malformed),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Thumbprint>().as_ref(), Err(expected), "{text}");
        }
    }
}
