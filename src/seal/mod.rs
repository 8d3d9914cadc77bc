//! Sealing: what is kept secret in the database, and values that only we can read in other people's hands.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under keys derived from the ring's master keys with HKDF-SHA256 (RFC 5869). Every
//! object has a nonce of its own from the operating system. Where an object belongs is associated data: a sealed value moved to
//! another row, issuer or purpose does not open. There are two kinds, with different keys, and neither opens as the other.
//!
//! People's data is sealed twice: under a key of the person's own ([`PersonKey`]), and the result as a row like any other. The person's
//! keys are kept apart, so that deleting one ends what every copy of the database says of that person.
//!
//! ```text
//! row     01 01 n id[n]                                    nonce[24] ciphertext tag[16]
//! bearer  01 02 n id[n] purpose expires[8] audience[16]    nonce[24] ciphertext tag[16]     in base64url
//! person  01 03                                            nonce[24] ciphertext tag[16]     under one person's key, inside of a row
//!         |  |  |
//!         |  |  the master key's name, 1 to 32 bytes, preceded by its length
//!         |  kind
//!         version
//!
//! associated data    everything before the nonce, then for a row or a person: deployment, table, column, row
//!                                                 for a bearer: the issuer
//!                    each as its length in four bytes, big-endian, and its bytes
//! expires            seconds since the epoch, signed, big-endian
//! audience           the first 16 bytes of HMAC-SHA256 over issuer, then audience, each with its length in eight bytes
//! key                HKDF-SHA256(no salt, master key, "symbolon seal 1 " label), 32 bytes
//! labels             "row", "bearer " and the purpose ("access-token", "refresh-token", "interaction"), "audience", "blind-index", "purpose"
//! ```

mod envelope;
mod key_file;
mod key_source;
mod password;
mod person;
mod ring;

pub use envelope::{AudienceTag, BearerContext, OpenedBearer, Purpose, RowContext};
pub use key_file::{KeyFileError, KeyTextError, create_key_file};
pub use key_source::{KeySource, KeySourceError};
pub use password::{
    Argon2Parameters, Argon2ParametersError, HashError, HashLimits, Password, PasswordError, PasswordHash, PasswordHasher,
    PasswordVerified,
};
pub use person::PersonKey;
pub use ring::{KeyRing, KeyRingError, SealKeyId, SealKeyIdError};

use crate::event::Reason;

/// Why something was not sealed or did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no randomness, so nothing was sealed.
    #[error("the operating system's random number generator failed")]
    Randomness,
    /// Too long to seal, or a context part is.
    #[error("too long to seal")]
    TooLong,
    /// Not a sealed value of this kind and version.
    #[error("not a sealed value of this kind")]
    Malformed,
    /// Sealed with a master key that is not in the ring.
    #[error("sealed with the master key `{0}`, which is not configured: add it to `seal.key` again")]
    KeyUnknown(SealKeyId),
    /// Altered, moved to another place, or sealed with another key of that name.
    #[error("the sealed value does not open: it was altered, belongs elsewhere, or the master key `{0}` is another one now")]
    Broken(SealKeyId),
    /// Altered, moved to another place, or another person's.
    #[error(
        "the sealed value does not open with this person's key: it was altered, belongs elsewhere, or the key is another one now"
    )]
    PersonBroken,
}

impl SealError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Randomness => Reason::RandomnessUnavailable,
            Self::TooLong => Reason::Defect,
            Self::Malformed | Self::KeyUnknown(_) | Self::Broken(_) | Self::PersonBroken => Reason::SealBroken,
        }
    }
}

#[cfg(test)]
mod tests;
