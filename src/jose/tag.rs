//! HMAC-SHA256 (RFC 2104), for values that only we have to recognise.

use aws_lc_rs::hmac;

/// A key that marks values as ours. It has no readable `Debug`.
pub struct MacKey(hmac::Key);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl MacKey {
    /// A key of these bytes, which nothing else may be done with.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of a list of parts. Each counts with its length, so that two lists never have one tag for being joined alike.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0u8; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_key_and_one_list() {
        let key = MacKey::new(&[7; 32]);
        let tag = key.tag(&[b"ab", b"c"]);
        assert_eq!(key.tag(&[b"ab", b"c"]), tag);
        assert_ne!(key.tag(&[b"a", b"bc"]), tag);
        assert_ne!(key.tag(&[b"ab", b"c", b""]), tag);
        assert_ne!(MacKey::new(&[8; 32]).tag(&[b"ab", b"c"]), tag);
        // HMAC-SHA256 over `00 00 00 00 00 00 00 00`, computed with openssl dgst.
        let known = MacKey::new(&[7; 32]).tag(&[b""]).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(known, "6f99c7f51964fbcc442164d53b5fa9dc927a765f0cb5cf3cbc1760dc283bd0b4");
    }
}
