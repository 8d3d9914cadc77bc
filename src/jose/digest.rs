//! SHA-2 and HMAC.

use aws_lc_rs::{digest, hmac};

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut array = [0u8; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

/// The SHA-1 digest of `bytes`: for names that others have given things by it, never for security.
pub fn legacy_sha1(bytes: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let mut array = [0u8; 20];
    array.copy_from_slice(digest.as_ref());
    array
}

/// The SHA-384 digest of `bytes`.
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    let digest = digest::digest(&digest::SHA384, bytes);
    let mut array = [0u8; 48];
    array.copy_from_slice(digest.as_ref());
    array
}

/// The SHA-512 digest of `bytes`.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    let digest = digest::digest(&digest::SHA512, bytes);
    let mut array = [0u8; 64];
    array.copy_from_slice(digest.as_ref());
    array
}

/// HMAC-SHA256 of `bytes` under `key` (RFC 2104).
pub fn hmac_sha256(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes);
    let mut array = [0u8; 32];
    array.copy_from_slice(tag.as_ref());
    array
}

/// HMAC-SHA1 of `bytes` under `key` (RFC 2104): for one-time passwords (RFC 4226), whose authenticators know nothing else.
pub fn hmac_sha1(key: &[u8], bytes: &[u8]) -> [u8; 20] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), bytes);
    let mut array = [0u8; 20];
    array.copy_from_slice(tag.as_ref());
    array
}

#[cfg(test)]
mod tests {
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_longer_examples_of_fips_180() {
        assert!(hex(&super::sha384(b"abc")).starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"));
        assert!(hex(&super::sha512(b"abc")).starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }

    /// RFC 4231 §4.2, whose key of 20 bytes is padded with zeros as HMAC pads it.
    #[test]
    fn the_first_example_of_rfc_4231() {
        let mut key = [0u8; 32];
        key[..20].fill(0x0b);
        let tag = hex(&super::hmac_sha256(&key, b"Hi There"));
        assert_eq!(tag, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn the_first_example_of_fips_180() {
        let digest = super::sha256(b"abc").map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
