//! SHA-256.

use aws_lc_rs::digest;

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut array = [0u8; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_example_of_fips_180() {
        let digest = super::sha256(b"abc").map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
