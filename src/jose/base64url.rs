//! base64url without padding (RFC 7515 §2), one spelling for each value.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text is not base64url without padding: another alphabet, padding, white space, or trailing bits that are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding (RFC 7515 §2)")]
pub struct Base64UrlError;

/// Writes bytes.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Writes bytes at the end of `text`.
pub fn append(bytes: impl AsRef<[u8]>, text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// How many characters `length` bytes take.
pub(crate) const fn encoded_length(length: usize) -> usize {
    length / 3 * 4 + [0, 2, 3][length % 3]
}

/// Reads bytes.
///
/// # Errors
/// When the text is not exactly what [`encode`] would have written.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Base64UrlError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Base64UrlError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_7515_appendix_c() {
        assert_eq!(encode([3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(decode("A-z_4ME"), Ok(vec![3, 236, 255, 224, 193]));
    }

    #[test]
    fn every_value_has_one_spelling() {
        for text in ["A-z_4ME=", "A+z/4ME", "A-z_4MF", "A-z_4M", "A-z_4ME\n", " A-z_4ME", "A-z_4M\u{e9}", "A", "="] {
            assert_eq!(decode(text), Err(Base64UrlError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_is_what_encode_writes(text in "[A-Za-z0-9_-]{0,12}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(bytes), text);
            }
        }

        #[test]
        fn lengths_are_known_in_advance(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(encode(&bytes).len(), encoded_length(bytes.len()));
            prop_assert_eq!(decode(encode(&bytes)), Ok(bytes));
        }
    }
}
