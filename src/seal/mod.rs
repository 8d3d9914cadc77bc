//! Sealing: what is kept secret in the database, and values that only we can read in other people's hands.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under keys derived with HKDF-SHA256 (RFC 5869). Every object has a nonce of its own
//! from the operating system. Where an object belongs is associated data: a sealed value moved to another row, issuer or purpose does
//! not open. There are four kinds, with different keys, and none opens as another.
//!
//! Two layers of keys. The *ring*'s keys seal rows and bearers; they are random, stored in the database, and change by
//! `symbolon keys rotate-seal`. The configured *master keys* wrap the ring's keys (and a canary, and the lasting key), and nothing else, so
//! that changing a master key rewrites a handful of rows. The *lasting key* never changes: it makes keyed digests to look sealed values
//! up by, so that digests stored long ago are still found; and it seals people's keys, which lie in a database of their own and must open
//! beside a backup of the other one from before a rotation.
//!
//! People's data is sealed twice: under a key of the person's own ([`PersonKey`]), and the result as a row like any other. The person's
//! keys are kept apart, so that deleting one ends what every copy of the database says of that person.
//!
//! ```text
//! row      01 01 n id[n]                                    nonce[24] ciphertext tag[16]
//! bearer   01 02 n id[n] purpose expires[8] audience[16]    nonce[24] ciphertext tag[16]     in base64url
//! person   01 03                                            nonce[24] ciphertext tag[16]     under one person's key, inside of a row
//! named    01 05 n subject[n]                               a person's value               inside of a row that does not say whose it is
//! wrapped  01 04 n id[n]                                    nonce[24] ciphertext tag[16]
//!          |  |  |
//!          |  |  the name of the ring's key (for wrapped: of the master key), 1 to 32 bytes, preceded by its length
//!          |  kind
//!          version
//!
//! associated data    everything before the nonce, then for all but a bearer:     deployment, table, column, row
//!                                                  for a bearer:                 the issuer
//!                    each as its length in four bytes, big-endian, and its bytes
//! expires            seconds since the epoch, signed, big-endian
//! purpose            01 access token, 02 refresh token, 03 interaction, 04 logout, 05 second factor, 06 gateway session,
//!                    07 gateway sign-in
//! audience           the first 16 bytes of HMAC-SHA256 over issuer, then audience, each with its length in eight bytes
//! key                HKDF-SHA256(no salt, key of 32 bytes, "symbolon seal 1 " label), 32 bytes
//! labels             of a ring key:      "row", "bearer " and the purpose ("access-token", "refresh-token",
//!                    "interaction", "logout", "second-factor", "gateway-session", "gateway-sign-in"), "audience"
//!                    of a master key:    "wrap"
//!                    of the lasting key: "row", "blind-index", "purpose"
//! blind index        HMAC-SHA256 over the purpose, then the value, each with its length in eight bytes
//! ```
//!
//! Vectors: `tests.rs` beside this file has one of each, computed by another program.

mod envelope;
mod key_file;
mod key_id;
mod key_source;
mod master;
mod password;
mod person;
mod plaintext;
mod ring;

pub use envelope::{AudienceTag, BearerContext, OpenedBearer, Purpose, ROW_PREFIX_LENGTH, RowContext, row_key_id};
pub use key_file::{KeyFileError, KeyTextError, create_key_file};
pub use key_id::{SealKeyId, SealKeyIdError};
pub use key_source::{KeySource, KeySourceError};
pub use master::{MasterKeys, MasterKeysError};
pub use password::{
    Argon2Parameters, Argon2ParametersError, HashError, HashLimits, Password, PasswordError, PasswordHash, PasswordHasher,
    PasswordVerified,
};
pub use person::{NAMED, PersonKey, name_person, named_person};
pub use plaintext::Plaintext;
pub use ring::{DataKey, KeyRing};

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
    /// Sealed with a key that this process does not have.
    #[error("sealed with the key `{0}`, which this process does not have")]
    KeyUnknown(SealKeyId),
    /// Altered, moved to another place, or sealed with another key of that name.
    #[error("the sealed value does not open: it was altered, belongs elsewhere, or the key `{0}` is another one now")]
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
