//! One person's key: what is sealed with it can be opened by nobody once the key is deleted, whatever copies of the sealed value
//! there are.

use chacha20poly1305::aead::Generate as _;
use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{RowContext, SealError};
use crate::domain::{Randomness, RandomnessUnavailable, Redacted};

const VERSION: u8 = 1;
const PERSON: u8 = 3;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
/// The longest plaintext, in bytes.
const MAX_PLAINTEXT: usize = 1024 * 1024;

/// The key of one person, 256 random bits.
#[derive(Debug)]
pub struct PersonKey(Redacted<[u8; 32]>);

impl PersonKey {
    /// A new one.
    pub fn random(randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        randomness.fill(&mut *bytes)?;
        Ok(Self(Redacted::new(*bytes)))
    }

    /// The key of these bytes; nothing when they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = Zeroizing::new(<[u8; 32]>::try_from(bytes).ok()?);
        Some(Self(Redacted::new(*key)))
    }

    /// Its bytes, to be sealed.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Seals a value for its place.
    ///
    /// # Errors
    /// [`SealError::Randomness`] and [`SealError::TooLong`].
    pub fn seal(&self, context: &RowContext<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XNonce::try_generate().map_err(|_| SealError::Randomness)?;
        self.seal_with(context, plaintext, &nonce)
    }

    pub(super) fn seal_with(&self, context: &RowContext<'_>, plaintext: &[u8], nonce: &XNonce) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SealError::TooLong);
        }
        let mut body = Zeroizing::new(plaintext.to_vec());
        let cipher = XChaCha20Poly1305::new(self.0.expose().into());
        let associated = associated_data(context)?;
        let tag =
            cipher.encrypt_inout_detached(nonce, &associated, body.as_mut_slice().into()).map_err(|_| SealError::TooLong)?;
        Ok([&[VERSION, PERSON], nonce.as_slice(), &body, &tag].concat())
    }

    /// Opens a value that [`PersonKey::seal`] made for the same place.
    ///
    /// # Errors
    /// [`SealError::Malformed`] and [`SealError::PersonBroken`].
    pub fn open(&self, context: &RowContext<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(&[VERSION, PERSON]).ok_or(SealError::Malformed)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LENGTH).ok_or(SealError::Malformed)?;
        let at = rest.len().checked_sub(TAG_LENGTH).ok_or(SealError::Malformed)?;
        let (body, tag) = rest.split_at_checked(at).ok_or(SealError::Malformed)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| SealError::Malformed)?;
        let tag = tag.try_into().map_err(|_| SealError::Malformed)?;
        let mut plaintext = Zeroizing::new(body.to_vec());
        let cipher = XChaCha20Poly1305::new(self.0.expose().into());
        let associated = associated_data(context)?;
        let opened = cipher.decrypt_inout_detached(&nonce, &associated, plaintext.as_mut_slice().into(), &tag);
        opened.map_err(|_| SealError::PersonBroken)?;
        Ok(plaintext)
    }
}

/// What a value begins with that says whose it is, before what that person's key sealed.
pub const NAMED: [u8; 2] = [VERSION, 5];

/// Says whose a sealed value is, for rows that do not: `01 05 n subject[n]`, then the value.
///
/// # Errors
/// [`SealError::TooLong`] for a subject of more than 255 bytes.
pub fn name_person(subject: &str, own: &[u8]) -> Result<Vec<u8>, SealError> {
    let length = u8::try_from(subject.len()).map_err(|_| SealError::TooLong)?;
    Ok([&NAMED, &[length][..], subject.as_bytes(), own].concat())
}

/// Whose a value is, and what their key sealed.
pub fn named_person(value: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = value.strip_prefix(&NAMED)?.split_first()?;
    let (subject, own) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(subject).ok()?, own))
}

fn associated_data(context: &RowContext<'_>) -> Result<Vec<u8>, SealError> {
    let mut bytes = vec![VERSION, PERSON];
    for part in [context.deployment.as_str(), context.table, context.column, context.row] {
        let length = u32::try_from(part.len()).map_err(|_| SealError::TooLong)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeploymentId;
    use crate::jose::random::SystemRandomness;

    #[test]
    fn a_value_opens_for_its_person_in_its_place_alone() {
        let [one, other]: [DeploymentId; 2] = ["one", "other"].map(|id| id.parse().expect("an id"));
        let place = RowContext { deployment: &one, table: "account", column: "profile_sealed", row: "alice" };
        let key = PersonKey::random(&SystemRandomness).expect("a key");
        let sealed = key.seal(&place, b"her data").expect("sealed");
        assert_eq!(key.open(&place, &sealed).expect("opens").as_slice(), b"her data");
        assert_ne!(sealed, key.seal(&place, b"her data").expect("sealed"), "a nonce of its own");
        let elsewhere = [
            RowContext { deployment: &other, ..place },
            RowContext { table: "browser_session", ..place },
            RowContext { column: "password_sealed", ..place },
            RowContext { row: "bob", ..place },
        ];
        for context in elsewhere {
            assert_eq!(key.open(&context, &sealed), Err(SealError::PersonBroken), "{context:?}");
        }
        let mallory = PersonKey::random(&SystemRandomness).expect("a key");
        assert_eq!(mallory.open(&place, &sealed), Err(SealError::PersonBroken));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(&place, &altered).is_err(), "byte {at}");
            assert!(key.open(&place, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(!format!("{key:?}").contains(|c: char| c.is_ascii_digit()), "{key:?}");
    }
}
