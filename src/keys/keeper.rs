//! Who moves keys through their life, by the clock and by command.

use std::collections::BTreeSet;

use super::{KeyLife, KeysError, SigningKeys};
use crate::config::settings::{RegistrationModeSetting, Settings, SigningSettings};
use crate::domain::{KeyId, Lifetime, Randomness, Timestamp};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::store::{KeyStep, RuleWindow, SigningKeyRecord, SigningKeyState, Store};

/// How long a retired key stays published: the longest life of a token, a day, and as long again for verifiers that go on with the
/// keys they fetched a day ago.
pub const RETENTION: Lifetime = Lifetime::from_seconds(2 * 86_400);

/// Shorter than this, verifiers that fetch keys every five minutes would meet tokens of keys they have not seen.
const SHORTEST_AHEAD_SECONDS: u32 = 600;

/// Which keys there are to be, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlan {
    /// What access tokens are signed with where their resource does not say otherwise.
    pub default: Algorithm,
    /// Every algorithm that keys are kept for, the default among them.
    pub algorithms: BTreeSet<Algorithm>,
    /// How long a key signs. None: until it is rotated by command.
    pub rotation: Option<Lifetime>,
    /// How long a key is published before it signs.
    pub ahead: Lifetime,
}

/// Why the configuration makes no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not an algorithm of ours.
    #[error("{key}: {problem}")]
    Algorithm {
        /// The configuration's key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Keys would be used before they are known.
    #[error(
        "publish_ahead_seconds must be at least {SHORTEST_AHEAD_SECONDS}, for verifiers that fetch keys every five minutes; it is {0}"
    )]
    Ahead(u32),
    /// A key would retire before the next one may sign.
    #[error("rotation_seconds ({rotation}) must be more than publish_ahead_seconds ({ahead}), or 0 for no rotation by itself")]
    Rotation {
        /// As configured.
        rotation: u32,
        /// As configured.
        ahead: u32,
    },
}

impl KeyPlan {
    /// The plan of a deployment: what `[signing]` says, and RS256 for clients that register themselves (OpenID Connect Registration §2).
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn of(settings: &Settings) -> Result<Self, PlanError> {
        let mut plan = Self::from_settings(&settings.signing)?;
        if settings.registration.mode != RegistrationModeSetting::Off {
            plan.algorithms.insert(Algorithm::RS256);
        }
        Ok(plan)
    }

    /// Checks the configuration's section.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn from_settings(settings: &SigningSettings) -> Result<Self, PlanError> {
        let read = |key, name: &str| -> Result<Algorithm, PlanError> {
            name.parse().map_err(|error: crate::jose::AlgorithmUnknown| PlanError::Algorithm { key, problem: error.to_string() })
        };
        let default = read("algorithm", &settings.algorithm)?;
        let mut algorithms = BTreeSet::from([default]);
        for name in &settings.more_algorithms {
            algorithms.insert(read("more_algorithms", name)?);
        }
        let (rotation, ahead) = (settings.rotation_seconds, settings.publish_ahead_seconds);
        if ahead < SHORTEST_AHEAD_SECONDS {
            return Err(PlanError::Ahead(ahead));
        }
        if rotation != 0 && rotation <= ahead {
            return Err(PlanError::Rotation { rotation, ahead });
        }
        let rotation = (rotation != 0).then(|| Lifetime::from_seconds(rotation));
        Ok(Self { default, algorithms, rotation, ahead: Lifetime::from_seconds(ahead) })
    }
}

/// Takes the steps that are due. Every replica has one; the store lets each step be taken once.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    /// Where keys are.
    pub store: &'a Store,
    /// The source of keys.
    pub randomness: &'a dyn Randomness,
}

impl Keeper<'_> {
    /// The deployment's keys, with a current one for the default algorithm: it is made now when there is none. Of many replicas that
    /// start at once one makes it, and all use it.
    pub async fn ensure(&self, plan: &KeyPlan, now: Timestamp) -> Result<SigningKeys, KeysError> {
        let keys = SigningKeys::load(self.store).await?;
        if keys.current(plan.default).is_some() {
            return Ok(keys);
        }
        self.add(plan.default, SigningKeyState::Current, now).await?;
        let keys = SigningKeys::load(self.store).await?;
        keys.current(plan.default).map(drop).ok_or(KeysError::Absent(plan.default))?;
        Ok(keys)
    }

    /// Takes every step that is due at `now`.
    pub async fn keep(&self, plan: &KeyPlan, now: Timestamp) -> Result<(), KeysError> {
        let keys = SigningKeys::load(self.store).await?;
        for algorithm in &plan.algorithms {
            self.keep_algorithm(&keys, *algorithm, plan, now).await?;
        }
        for life in keys.lives() {
            let unused = !plan.algorithms.contains(&life.algorithm);
            match (life.state, life.retired) {
                (SigningKeyState::Current, _) if unused => drop(self.store.retire_signing_key(&life.key_id, now).await?),
                (SigningKeyState::Retired, Some(retired)) if retired.plus(RETENTION) <= now => {
                    self.store.delete_retired_signing_key(&life.key_id, now.minus(RETENTION), now).await?;
                    tracing::info!(key_id = %life.key_id, "deleted a retired signing key");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The deployment's keys, with a current one for every algorithm of the plan.
    pub async fn ensure_all(&self, plan: &KeyPlan, now: Timestamp) -> Result<SigningKeys, KeysError> {
        let keys = self.ensure(plan, now).await?;
        if plan.algorithms.iter().all(|algorithm| keys.current(*algorithm).is_some()) {
            return Ok(keys);
        }
        self.keep(plan, now).await?;
        SigningKeys::load(self.store).await
    }

    async fn keep_algorithm(
        &self,
        keys: &SigningKeys,
        algorithm: Algorithm,
        plan: &KeyPlan,
        now: Timestamp,
    ) -> Result<(), KeysError> {
        let in_state = |state| keys.lives().iter().find(|life| life.algorithm == algorithm && life.state == state);
        let Some(current) = in_state(SigningKeyState::Current) else {
            return self.add(algorithm, SigningKeyState::Current, now).await;
        };
        let due = plan.rotation.map(|rotation| current.activated.unwrap_or(current.created).plus(rotation));
        match (in_state(SigningKeyState::Next), due) {
            // Made by the clock or by command: it has been seen by everybody.
            (Some(next), _) if next.created.plus(plan.ahead) <= now => self.activate(next, now).await,
            (None, Some(due)) if due.minus(plan.ahead) <= now => self.add(algorithm, SigningKeyState::Next, now).await,
            _ => Ok(()),
        }
    }

    /// Rotates the key of an algorithm of the plan, as an operator does; without one, that of access tokens.
    ///
    /// # Errors
    /// [`KeysError::Unplanned`], or when the store fails.
    pub async fn rotate_planned(
        &self,
        plan: &KeyPlan,
        algorithm: Option<Algorithm>,
        at_once: bool,
        now: Timestamp,
    ) -> Result<KeyLife, KeysError> {
        let algorithm = algorithm.unwrap_or(plan.default);
        if !plan.algorithms.contains(&algorithm) {
            let kept: Vec<_> = plan.algorithms.iter().map(|algorithm| algorithm.name()).collect();
            return Err(KeysError::Unplanned { algorithm, kept: kept.join(", ") });
        }
        // What is due by the clock comes first; above all the first key of an algorithm.
        self.keep(plan, now).await?;
        self.rotate(algorithm, at_once, now).await
    }

    /// Publishes a next key for an algorithm, unless there is one; it signs as soon as every verifier has had time to see it. `at_once`: it
    /// signs now, and verifiers that do not fetch keys for an unknown `kid` refuse its tokens until they do.
    pub async fn rotate(&self, algorithm: Algorithm, at_once: bool, now: Timestamp) -> Result<KeyLife, KeysError> {
        let next = |keys: &SigningKeys| {
            let lives = keys.lives().iter();
            lives.into_iter().find(|life| life.algorithm == algorithm && life.state == SigningKeyState::Next).cloned()
        };
        let mut keys = SigningKeys::load(self.store).await?;
        if next(&keys).is_none() {
            self.add(algorithm, SigningKeyState::Next, now).await?;
            keys = SigningKeys::load(self.store).await?;
        }
        let next = next(&keys).ok_or(KeysError::Absent(algorithm))?;
        if at_once {
            self.activate(&next, now).await?;
        }
        Ok(next)
    }

    /// Revokes a key: it is published no more, whatever it signed is refused, and another one signs in its place. None when there is no such
    /// key.
    pub async fn revoke(&self, key_id: &KeyId, now: Timestamp) -> Result<Option<KeyLife>, KeysError> {
        let keys = SigningKeys::load(self.store).await?;
        let Some(life) = keys.lives().iter().find(|life| life.key_id == *key_id).cloned() else { return Ok(None) };
        let replacement = self.make(life.algorithm, SigningKeyState::Current, now).await?;
        // Whoever has the key can write any `iat` that is not in the future: the rule covers all until verifiers have forgotten the key.
        let end = now.plus(RETENTION);
        let window = RuleWindow { before: end, expires: end };
        match self.store.revoke_signing_key(key_id, &replacement, window, now).await? {
            KeyStep::Taken => Ok(Some(life)),
            KeyStep::Nothing => Ok(None),
        }
    }

    async fn activate(&self, next: &KeyLife, now: Timestamp) -> Result<(), KeysError> {
        match self.store.activate_signing_key(next.algorithm.name(), &next.key_id, now).await? {
            KeyStep::Taken => tracing::info!(key_id = %next.key_id, algorithm = %next.algorithm, "a signing key took over"),
            KeyStep::Nothing => {}
        }
        Ok(())
    }

    async fn add(&self, algorithm: Algorithm, state: SigningKeyState, now: Timestamp) -> Result<(), KeysError> {
        let record = self.make(algorithm, state, now).await?;
        match self.store.add_signing_key(&record).await? {
            KeyStep::Taken => tracing::info!(key_id = %record.key_id, %algorithm, state = state.code(), "made a signing key"),
            KeyStep::Nothing => {}
        }
        Ok(())
    }

    async fn make(&self, algorithm: Algorithm, state: SigningKeyState, now: Timestamp) -> Result<SigningKeyRecord, KeysError> {
        let key = match algorithm {
            // A large prime takes long to find: not on a thread that answers requests.
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => {
                let made = tokio::task::spawn_blocking(move || SigningKey::generate_rsa(algorithm)).await;
                made.unwrap_or(Err(crate::jose::sign::SignError::Failed))
            }
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA => {
                SigningKey::generate(algorithm, self.randomness)
            }
        }
        .map_err(KeysError::Make)?;
        Ok(SigningKeyRecord {
            key_id: key.key_id().clone(),
            algorithm: algorithm.to_string(),
            state,
            public_jwk: serde_json::Value::Object(key.public_jwk().to_members()).to_string(),
            private_pkcs8: key.to_pkcs8().map_err(KeysError::Make)?,
            created: now,
            activated: (state == SigningKeyState::Current).then_some(now),
            retired: None,
        })
    }
}
