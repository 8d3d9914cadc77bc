//! The live secrets of one client: usually one, two while the client is being given another.
//!
//! A secret is changed without an outage by adding the next one, telling the client, and letting the old one end at a stated time.

use std::fmt;

use zeroize::Zeroizing;

use super::secret::{self, SecretError, SecretHash, SecretKnown, SecretMismatch, SharedSecret};
use super::{Authentication, AuthenticationMethod, Client};
use crate::domain::{ClientId, Timestamp};
use crate::jose::mac::MacAlgorithm;
use crate::store::{KeptSecret, SecretKey, SecretRecord};

/// The first byte of a [`SecretRecord`] that holds several secrets, or one with dates; see [`Secrets`].
const LIST: u8 = 3;
/// Where a record says nothing of a date.
const NO_DATE: i64 = i64::MIN;

/// One secret of a client, with its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretLife {
    /// Counted up with each one that the client was given.
    pub number: u32,
    /// When it was made; `None` for one that a document gave.
    pub made: Option<Timestamp>,
    /// From when on it is not taken any more; `None` while nothing has replaced it.
    pub until: Option<Timestamp>,
}

impl SecretLife {
    /// Whether it is taken at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The secrets of a client, as keyed hashes or whole.
///
/// Kept as one record: a single one without dates as it is, and else, after a byte of its own, for each: number (four bytes), made and
/// until (eight each, seconds since the epoch), length (two), the record of the secret. All big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets<T>(Vec<(SecretLife, T)>);

/// Why a client's secrets stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretChangeError {
    /// The client proves itself otherwise.
    #[error("this client authenticates with {0}, which has no secret")]
    NoSecret(AuthenticationMethod),
    /// Two are live already.
    #[error(
        "this client has two live secrets already: `symbolon client secret revoke` one of them, or wait for the older to end"
    )]
    TooMany,
    /// There is none of this number.
    #[error("this client has no live secret {0}: `symbolon client secret list` names them")]
    Unknown(u32),
    /// It could not authenticate any more.
    #[error("this is the client's only secret that stays: `symbolon client secret rotate` first, or remove the client")]
    Last,
    /// The new one is not good enough.
    #[error("the secret {0}")]
    Weak(#[from] SecretError),
}

impl<T> Secrets<T> {
    /// The most that are live at once.
    pub const MAX: usize = 2;

    /// The one secret of a document.
    pub(super) fn only(value: T) -> Self {
        Self(vec![(SecretLife { number: 1, made: None, until: None }, value)])
    }

    /// Those that are taken at `now`.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &T> {
        self.0.iter().filter(move |(life, _)| life.is_live(now)).map(|(_, value)| value)
    }

    /// The dates of those that are taken at `now`, oldest first.
    pub fn lives(&self, now: Timestamp) -> Vec<SecretLife> {
        self.0.iter().map(|(life, _)| *life).filter(|life| life.is_live(now)).collect()
    }
}

impl<T: Clone> Secrets<T> {
    /// With one more, made at `now`; the others end at `others_until`, or when they would have ended anyway. Gives its number.
    fn with(&self, value: T, now: Timestamp, others_until: Timestamp) -> Result<(Self, u32), SecretChangeError> {
        let mut next: Vec<_> = self.0.iter().filter(|(life, _)| life.is_live(now)).cloned().collect();
        if next.len() >= Self::MAX {
            return Err(SecretChangeError::TooMany);
        }
        for (life, _) in &mut next {
            life.until = Some(life.until.map_or(others_until, |until| until.min(others_until)));
        }
        let number = self.0.iter().map(|(life, _)| life.number).max().unwrap_or_default().saturating_add(1);
        next.push((SecretLife { number, made: Some(now), until: None }, value));
        Ok((Self(next), number))
    }

    /// Without the one of this number. Of those that stay one must have no end.
    fn without(&self, number: u32, now: Timestamp) -> Result<Self, SecretChangeError> {
        let live = || self.0.iter().filter(|(life, _)| life.is_live(now));
        if !live().any(|(life, _)| life.number == number) {
            return Err(SecretChangeError::Unknown(number));
        }
        let next: Vec<_> = live().filter(|(life, _)| life.number != number).cloned().collect();
        if next.iter().any(|(life, _)| life.until.is_none()) { Ok(Self(next)) } else { Err(SecretChangeError::Last) }
    }
}

impl Secrets<SecretHash> {
    /// Compares with each live one, in constant time.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn check(&self, client_id: &ClientId, presented: &str, now: Timestamp) -> Result<SecretKnown, SecretMismatch> {
        self.live(now).find_map(|hash| hash.check(client_id, presented).ok()).ok_or(SecretMismatch)
    }
}

/// What is kept as the record of one secret.
pub trait Kept {
    fn to_bytes(&self) -> Vec<u8>;

    /// What it was hashed with, if it is a hash.
    fn key(&self) -> Option<&SecretKey>;
}

impl<T: Kept> Secrets<T> {
    /// As the store keeps them.
    pub(super) fn to_record(&self) -> SecretRecord {
        let key = self.0.first().and_then(|(_, value)| value.key()).cloned();
        SecretRecord::new(self.to_bytes(), key)
    }

    fn to_bytes(&self) -> Vec<u8> {
        if let [(SecretLife { number: 1, made: None, until: None }, value)] = self.0.as_slice() {
            return value.to_bytes();
        }
        let mut bytes = vec![LIST];
        for (life, value) in &self.0 {
            let record = Zeroizing::new(value.to_bytes());
            let date = |date: Option<Timestamp>| date.map_or(NO_DATE, Timestamp::seconds).to_be_bytes();
            bytes.extend_from_slice(&life.number.to_be_bytes());
            bytes.extend_from_slice(&date(life.made));
            bytes.extend_from_slice(&date(life.until));
            // A secret has at most 256 characters.
            bytes.extend_from_slice(&(record.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&record);
        }
        bytes
    }
}

/// What a record holds: each secret's life and its own record. `None` when it is damaged.
fn read(record: &SecretRecord) -> Option<Vec<(SecretLife, SecretRecord)>> {
    let Some(mut rest) = record.expose().strip_prefix(&[LIST]) else {
        return Some(vec![(SecretLife { number: 1, made: None, until: None }, record.clone())]);
    };
    let date =
        |bytes: [u8; 8]| Some(i64::from_be_bytes(bytes)).filter(|seconds| *seconds != NO_DATE).map(Timestamp::from_seconds);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (number, more) = rest.split_first_chunk::<4>()?;
        let (made, more) = more.split_first_chunk::<8>()?;
        let (until, more) = more.split_first_chunk::<8>()?;
        let (length, more) = more.split_first_chunk::<2>()?;
        let (value, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let life = SecretLife { number: u32::from_be_bytes(*number), made: date(*made), until: date(*until) };
        found.push((life, SecretRecord::new(value.to_vec(), None)));
        rest = more;
    }
    Some(found).filter(|found| !found.is_empty())
}

/// The secrets of a registration: what its document gives, and what the store has kept. A document whose secret is one of those kept
/// changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretSource<'a> {
    pub(super) given: Option<&'a str>,
    pub(super) kept: KeptSecret<'a>,
}

impl SecretSource<'_> {
    /// For a client that sends its secret. What was kept whole serves as well. `None` when there is nothing of use.
    pub(super) fn hashes(self, client_id: &ClientId) -> Option<Result<Secrets<SecretHash>, SecretError>> {
        let key = self.kept.key?;
        let given = self.given.map(|secret| SecretHash::of(client_id, secret, key));
        self.join(given, |record| secret::hash(record, client_id, key))
    }

    /// For a client that authenticates assertions. `None` when only hashes were kept.
    pub(super) fn shared(self, algorithm: Option<MacAlgorithm>) -> Option<Result<Secrets<SharedSecret>, SecretError>> {
        let given = self.given.map(|secret| SharedSecret::new(secret, algorithm));
        self.join(given, |record| secret::shared(record, algorithm))
    }

    fn join<T: PartialEq>(
        self,
        given: Option<Result<T, SecretError>>,
        read_one: impl Fn(&SecretRecord) -> Option<Result<T, SecretError>>,
    ) -> Option<Result<Secrets<T>, SecretError>> {
        let kept = || -> Option<Result<Secrets<T>, SecretError>> {
            let kept = read(self.kept.record?)?;
            let values: Option<Result<Vec<_>, _>> =
                kept.into_iter().map(|(life, record)| Some(read_one(&record)?.map(|value| (life, value)))).collect();
            Some(values?.map(Secrets))
        };
        match given {
            None => kept(),
            Some(Err(problem)) => Some(Err(problem)),
            Some(Ok(given)) => match kept() {
                Some(Ok(kept)) if kept.0.iter().any(|(_, value)| *value == given) => Some(Ok(kept)),
                _ => Some(Ok(Secrets::only(given))),
            },
        }
    }
}

impl Client {
    /// The dates of its live secrets, oldest first.
    ///
    /// # Errors
    /// When it has none.
    pub fn secret_lives(&self, now: Timestamp) -> Result<Vec<SecretLife>, SecretChangeError> {
        match &self.authentication {
            Authentication::ClientSecretBasic(secrets) | Authentication::ClientSecretPost(secrets) => Ok(secrets.lives(now)),
            Authentication::ClientSecretJwt { secret, .. } => Ok(secret.lives(now)),
            other => Err(SecretChangeError::NoSecret(other.method())),
        }
    }

    /// The same client with one more secret; the others end at `others_until`. Gives the new one's number.
    ///
    /// # Errors
    /// See [`SecretChangeError`].
    pub fn with_another_secret(
        &self,
        secret: &str,
        now: Timestamp,
        others_until: Timestamp,
    ) -> Result<(Self, u32), SecretChangeError> {
        let hashed = |secrets: &Secrets<SecretHash>| {
            // There is one at least, and all are of the same deployment.
            let key = secrets
                .0
                .iter()
                .find_map(|(_, kept)| kept.key())
                .ok_or(SecretChangeError::NoSecret(self.authentication.method()))?;
            let hash = SecretHash::of(&self.client_id, secret, key)?;
            secrets.with(hash, now, others_until)
        };
        let (authentication, number) = match &self.authentication {
            Authentication::ClientSecretBasic(secrets) => {
                let (secrets, number) = hashed(secrets)?;
                (Authentication::ClientSecretBasic(secrets), number)
            }
            Authentication::ClientSecretPost(secrets) => {
                let (secrets, number) = hashed(secrets)?;
                (Authentication::ClientSecretPost(secrets), number)
            }
            Authentication::ClientSecretJwt { secret: secrets, algorithm } => {
                let shared = SharedSecret::new(secret, *algorithm)?;
                let (secret, number) = secrets.with(shared, now, others_until)?;
                (Authentication::ClientSecretJwt { secret, algorithm: *algorithm }, number)
            }
            other => return Err(SecretChangeError::NoSecret(other.method())),
        };
        Ok((Self { authentication, ..self.clone() }, number))
    }

    /// The same client without the secret of this number.
    ///
    /// # Errors
    /// See [`SecretChangeError`].
    pub fn without_secret(&self, number: u32, now: Timestamp) -> Result<Self, SecretChangeError> {
        let authentication = match &self.authentication {
            Authentication::ClientSecretBasic(secrets) => Authentication::ClientSecretBasic(secrets.without(number, now)?),
            Authentication::ClientSecretPost(secrets) => Authentication::ClientSecretPost(secrets.without(number, now)?),
            Authentication::ClientSecretJwt { secret, algorithm } => {
                Authentication::ClientSecretJwt { secret: secret.without(number, now)?, algorithm: *algorithm }
            }
            other => return Err(SecretChangeError::NoSecret(other.method())),
        };
        Ok(Self { authentication, ..self.clone() })
    }
}

impl fmt::Display for SecretLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret {}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::generate_secret;
    use crate::jose::random::SystemRandomness;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(NOW.seconds() + seconds)
    }

    fn client(method: &str, kept: Option<&SecretRecord>, given: Option<&str>) -> Client {
        let mut document = serde_json::json!({ "client_id": "robot", "token_endpoint_auth_method": method });
        if let Some(given) = given {
            document["client_secret"] = given.into();
        }
        Client::from_text_keeping(&document.to_string(), kept).expect("a client")
    }

    #[test]
    fn the_old_secret_lives_until_its_time_and_no_third_one_is_made() {
        for method in ["client_secret_basic", "client_secret_post", "client_secret_jwt"] {
            let [first, second, third] = [(); 3].map(|()| generate_secret(&SystemRandomness).expect("random"));
            let before = client(method, None, Some(&first));
            let (after, number) = before.with_another_secret(&second, NOW, at(60)).expect("another");
            assert_eq!(number, 2);
            // As it comes back from the store, whatever the document says of the same secrets.
            let record = after.to_record().secret.expect("a record");
            for given in [None, Some(first.as_str()), Some(second.as_str())] {
                assert_eq!(client(method, Some(&record), given), after, "{method}");
            }
            assert_eq!(after.secret_lives(at(59)).expect("secrets").len(), 2);
            assert_eq!(after.secret_lives(at(60)).expect("secrets").len(), 1);
            if let Authentication::ClientSecretBasic(secrets) = &after.authentication {
                let check = |secret: &str, now| secrets.check(&after.client_id, secret, now).is_ok();
                assert!(check(&first, at(59)) && check(&second, at(59)) && check(&second, at(1_000_000)));
                assert!(!check(&first, at(60)) && !check(&third, NOW));
            }
            let too_many = after.with_another_secret(&third, at(59), at(120)).err();
            assert_eq!(too_many, Some(SecretChangeError::TooMany));
            let (later, number) = after.with_another_secret(&third, at(60), at(120)).expect("a third, when the first has ended");
            assert_eq!((number, later.secret_lives(at(60)).expect("secrets").len()), (3, 2));
            // A secret of another making replaces them all.
            let given = client(method, Some(&record), Some(&third));
            assert_eq!(given.secret_lives(NOW).expect("secrets").len(), 1);
        }
    }

    #[test]
    fn one_that_stays_is_left() {
        let [first, second] = [(); 2].map(|()| generate_secret(&SystemRandomness).expect("random"));
        let before = client("client_secret_basic", None, Some(&first));
        assert_eq!(before.without_secret(1, NOW).err(), Some(SecretChangeError::Last));
        let (after, _) = before.with_another_secret(&second, NOW, at(60)).expect("another");
        assert_eq!(after.without_secret(2, NOW).err(), Some(SecretChangeError::Last), "the first ends by itself");
        assert_eq!(after.without_secret(3, NOW).err(), Some(SecretChangeError::Unknown(3)));
        let alone = after.without_secret(1, NOW).expect("one is left");
        assert_eq!(alone.secret_lives(NOW).expect("secrets").iter().map(|life| life.number).collect::<Vec<_>>(), [2]);
        let record = alone.to_record().secret.expect("a record");
        assert_eq!(client("client_secret_basic", Some(&record), None), alone);
        assert!(!format!("{alone:?}").contains(&second[..8]));
    }
}
