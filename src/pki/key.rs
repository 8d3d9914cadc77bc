//! What kind of key a certificate holds.

use std::fmt;

use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Kinds of keys that a path may rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// RSA of any size.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    /// The name, as the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A certificate's key: its kind, and its size where that differs from key to key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// RSA, with the bits of its modulus.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// A kind whose size is fixed.
    Fixed(KeyType),
    /// Something else: the algorithm's dotted object identifier.
    Other(String),
}

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const CURVES: [(&str, KeyType); 3] =
    [("1.2.840.10045.3.1.7", KeyType::P256), ("1.3.132.0.34", KeyType::P384), ("1.3.132.0.35", KeyType::P521)];

impl PublicKeyKind {
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Self {
        let algorithm = key.algorithm.algorithm.to_id_string();
        match algorithm.as_str() {
            RSA_ENCRYPTION => match key.parsed() {
                Ok(PublicKey::RSA(rsa)) => Self::Rsa { bits: bits(rsa.modulus) },
                _ => Self::Other(algorithm),
            },
            EC_PUBLIC_KEY => {
                let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
                let curve = curve.map(|curve| curve.to_id_string());
                let known = CURVES.iter().find(|(oid, _)| curve.as_deref() == Some(*oid)).map(|(_, kind)| *kind);
                known.map(Self::Fixed).unwrap_or(Self::Other(curve.unwrap_or(algorithm)))
            }
            ED25519 => Self::Fixed(KeyType::Ed25519),
            _ => Self::Other(algorithm),
        }
    }

    /// The kind, where it is one that is known here.
    pub fn key_type(&self) -> Option<KeyType> {
        match self {
            Self::Rsa { .. } => Some(KeyType::Rsa),
            Self::Fixed(kind) => Some(*kind),
            Self::Other(_) => None,
        }
    }
}

/// The significant bits of a big-endian number.
fn bits(number: &[u8]) -> usize {
    match number.iter().position(|byte| *byte != 0).and_then(|start| number.get(start..)) {
        Some([first, rest @ ..]) => rest.len() * 8 + (8 - first.leading_zeros() as usize),
        _ => 0,
    }
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA with {bits} bits"),
            Self::Fixed(KeyType::Ed25519) => f.write_str("Ed25519"),
            Self::Fixed(KeyType::P256) => f.write_str("EC P-256"),
            Self::Fixed(KeyType::P384) => f.write_str("EC P-384"),
            Self::Fixed(KeyType::P521) => f.write_str("EC P-521"),
            Self::Fixed(KeyType::Rsa) => f.write_str("RSA"),
            Self::Other(oid) => write!(f, "another kind ({oid})"),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_modulus_is_as_long_as_its_highest_bit_says() {
        let table: [(&[u8], usize); 5] = [(&[], 0), (&[0, 0], 0), (&[1], 1), (&[0, 0x80, 0], 16), (&[0x7f, 0xff], 15)];
        for (number, expected) in table {
            assert_eq!(super::bits(number), expected, "{number:?}");
        }
    }
}
