//! The life of the authorization server's signing keys: made, current, retired.
//!
//! The data plane reads an immutable [`SigningKeys`] snapshot; it is loaded again when the change feed tells of a signing key.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::{KeyId, Randomness, Timestamp};
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::adapter::{KeySigner, TokenSigner};
use crate::jose::jwk::{JwkSet, PublicJwk};
use crate::jose::jws::{Compact, JwsError};
use crate::jose::sign::{SignError, SigningKey};
use crate::jose::verify::{VerifiedJws, VerifyingKeys};
use crate::store::{KeyAdded, SigningKeyRecord, SigningKeyState, Store, StoreError};
use crate::token;

/// The signing keys at one moment.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    current: Arc<SigningKey>,
    signer: Arc<TokenSigner>,
    set: Arc<JwkSet>,
    verifying: VerifyingKeys,
    jwks: Bytes,
}

/// Why there are no signing keys to use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed, or a sealed key did not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key could not be made.
    #[error("a signing key could not be made: {0}")]
    Make(SignError),
    /// No key is current.
    #[error("no signing key is current: start `symbolon serve` once to make one")]
    Absent,
    /// `signing.algorithm` is not one that keys are made for.
    #[error("signing.algorithm: `{0}` is not one that signing keys are made for: write `ES256`, `ES384` or `EdDSA`")]
    Algorithm(String),
    /// A stored key is not what its row says.
    #[error("the stored signing key {key_id} is not what its row says ({problem}): restore a backup")]
    Corrupt {
        /// The row.
        key_id: KeyId,
        /// What is wrong.
        problem: String,
    },
}

impl KeysError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => error.reason(),
            Self::Make(error) => error.reason(),
            Self::Absent => Reason::SigningKeyAbsent,
            Self::Algorithm(_) | Self::Corrupt { .. } => Reason::Defect,
        }
    }
}

/// The algorithms that signing keys are made for.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// Reads `signing.algorithm`.
pub fn algorithm(name: &str) -> Result<Algorithm, KeysError> {
    match name.parse() {
        Ok(algorithm @ (Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA)) => Ok(algorithm),
        _ => Err(KeysError::Algorithm(name.to_owned())),
    }
}

impl SigningKeys {
    /// The deployment's keys; the first one is made, sealed and stored now when there is none. Of many replicas that start at once
    /// one makes it, and all use it.
    pub async fn ensure(
        store: &Store,
        algorithm: Algorithm,
        randomness: &dyn Randomness,
        now: Timestamp,
    ) -> Result<Self, KeysError> {
        match Self::load(store).await {
            Err(KeysError::Absent) => {}
            loaded => return loaded,
        }
        let key = SigningKey::generate(algorithm, randomness).map_err(KeysError::Make)?;
        let record = SigningKeyRecord {
            key_id: key.key_id().clone(),
            algorithm: algorithm.to_string(),
            state: SigningKeyState::Current,
            public_jwk: serde_json::Value::Object(key.public_jwk().to_members()).to_string(),
            private_pkcs8: key.to_pkcs8().map_err(KeysError::Make)?,
            created: now,
        };
        match store.add_signing_key_if_none(&record).await? {
            KeyAdded::Added => tracing::info!(key_id = %record.key_id, algorithm = %record.algorithm, "made a signing key"),
            KeyAdded::Present => {}
        }
        Self::load(store).await
    }

    /// The deployment's keys, as they are stored.
    pub async fn load(store: &Store) -> Result<Self, KeysError> {
        let mut current = None;
        let mut published = Vec::new();
        for record in store.signing_keys().await? {
            let corrupt = |problem: String| KeysError::Corrupt { key_id: record.key_id.clone(), problem };
            let public = PublicJwk::from_json(record.public_jwk.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
            if public.key_id() != Some(record.key_id.as_str()) {
                return Err(corrupt("its public half has another `kid`".into()));
            }
            if record.state == SigningKeyState::Current {
                let algorithm = record.algorithm.parse::<Algorithm>().map_err(|error| corrupt(error.to_string()))?;
                let key = SigningKey::from_pkcs8(&record.private_pkcs8, algorithm).map_err(|error| corrupt(error.to_string()))?;
                if *key.public_jwk() != public {
                    return Err(corrupt("its private half belongs to another key".into()));
                }
                current = Some(Arc::new(key));
            }
            published.push(public);
        }
        let set = JwkSet::from_keys(published);
        let jwks = Bytes::from(set.to_json());
        let verifying = VerifyingKeys::new(&set, &ALGORITHMS);
        let current = current.ok_or(KeysError::Absent)?;
        let signer = TokenSigner::new(Box::new(KeySigner::new(current.clone())), token::jwt::TYPE).map_err(KeysError::Make)?;
        Ok(Self { current, signer: Arc::new(signer), set: Arc::new(set), verifying, jwks })
    }

    /// The key that signs now.
    pub fn current(&self) -> &Arc<SigningKey> {
        &self.current
    }

    /// Signs access tokens with it.
    pub fn signer(&self) -> &TokenSigner {
        &self.signer
    }

    /// The public halves of every key whose tokens may be alive, or that will sign next.
    pub fn public_keys(&self) -> &Arc<JwkSet> {
        &self.set
    }

    /// Verifies a token of ours with the key that its `kid` names.
    ///
    /// # Errors
    /// No such key, or a signature that is not its own.
    pub fn verify(&self, jws: &Compact<'_>) -> Result<VerifiedJws, JwsError> {
        self.verifying.verify(jws)
    }

    /// The JWKS document (RFC 7517 §5), as it is served.
    pub fn jwks(&self) -> &Bytes {
        &self.jwks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::StoreSettings;
    use crate::domain::Redacted;
    use crate::jose::jws::Compact;
    use crate::jose::random::SystemRandomness;
    use crate::jose::verify::VerifyingKey;
    use crate::seal::MasterKeys;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    async fn store(directory: &tempfile::TempDir) -> Store {
        let key = ("test".parse().expect("a key id"), Redacted::new([7; 32]));
        let masters = Arc::new(MasterKeys::from_keys(vec![key]).expect("a key"));
        Store::open(&StoreSettings::default(), directory.path(), masters, &SystemRandomness, NOW).await.expect("opens")
    }

    #[tokio::test]
    async fn a_key_is_made_once_and_is_the_same_after_a_restart() {
        for name in ["ES256", "ES384", "EdDSA"] {
            let directory = tempfile::tempdir().expect("a directory");
            let algorithm = algorithm(name).expect("usable");
            let first = store(&directory).await;
            assert!(matches!(SigningKeys::load(&first).await, Err(KeysError::Absent)));
            let second = store(&directory).await;
            let (one, two) = tokio::join!(
                SigningKeys::ensure(&first, algorithm, &SystemRandomness, NOW),
                SigningKeys::ensure(&second, algorithm, &SystemRandomness, NOW)
            );
            let (one, two) = (one.expect("made"), two.expect("found"));
            assert_eq!(one.jwks(), two.jwks());
            first.close().await;
            second.close().await;
            let again =
                SigningKeys::ensure(&store(&directory).await, Algorithm::ES256, &SystemRandomness, NOW).await.expect("loaded");
            assert_eq!(again.current().key_id(), one.current().key_id(), "another algorithm in the file makes no second key");

            // What the loaded key signs, the published key verifies.
            let token = again.current().sign_compact("at+jwt", br#"{"sub":"a"}"#).expect("signed");
            let document = JwkSet::from_json(one.jwks()).expect("a set");
            let jws = Compact::parse(&token).expect("compact");
            let candidates: Vec<_> = document.candidates(jws.key_id(), algorithm).collect();
            assert_eq!(candidates.len(), 1);
            VerifyingKey::new(candidates[0], algorithm).expect("usable").verify(&jws).expect("verified");
            let text = String::from_utf8(one.jwks().to_vec()).expect("text");
            assert!(!text.contains("\"d\""), "no private member: {text}");
        }
    }

    #[test]
    fn keys_are_made_for_three_algorithms() {
        for name in ["RS256", "PS256", "ES512", "HS256", "none", "es256", ""] {
            let error = algorithm(name).expect_err(name);
            assert!(error.to_string().contains("`ES256`, `ES384` or `EdDSA`"));
        }
    }
}
