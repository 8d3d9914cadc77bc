//! State that lasts: SQLite or PostgreSQL, through the same SQL text.
//!
//! - One file per aggregate; its statements are constants at the end of the file, the same for both engines. Only the migrations
//!   (`migrations/sqlite`, `migrations/postgres`), which are appended to and never edited, differ.
//! - SQLite has one writer and many readers; its commits are on the disk when they are answered (WAL, `synchronous=FULL`).
//! - Every secret column is sealed for its row (see [`crate::seal`]) and named `*_sealed`. The keys that seal are stored too, wrapped by the
//!   configured master keys. A canary tells at the start whether these are this deployment's, before anything is written.
//! - Every change of the control plane is numbered under one lock in its own transaction: the change feed. Its audit
//!   event commits with it.
//! - Time is a parameter; no statement asks the database for it.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;

use crate::config::settings::StoreSettings;
use crate::domain::{DeploymentId, Randomness, Timestamp};
use crate::event::{Administrator, AuditEvent, Trailed};
use crate::seal::{KeyRing, MasterKeys};

mod account;
mod account_certificate;
mod anchor;
mod audit;
mod authorization_code;
mod browser_session;
mod certificate;
mod client;
mod client_registration;
mod consent;
mod device_authorization;
mod engine;
mod error;
mod expiry;
mod feed;
mod grant_family;
mod interaction;
mod linked_account;
mod logout_notice;
pub mod maintenance;
mod migration;
mod passkey;
mod passkey_ceremony;
mod person_key;
mod personal;
mod postgres_url;
mod pushed_request;
mod replay;
mod reseal;
mod revocation;
mod seal_key;
mod sealed;
mod second_factor;
mod secret;
mod signing_key;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod trial;
mod way_in;
mod work;

pub use account::{AccountChange, AccountRecord, AccountState, Added, NewAccount};
pub use account_certificate::{CertificateLinkRecord, NewCertificateLink};
pub use anchor::{AnchorAdded, AnchorRecord, AnchorRemoved, AnchorRow, MOST_ANCHORS};
pub use audit::PendingEvent;
pub use authorization_code::{CodeRecord, CodeSpent, Finished, Finishes, NewCode};
pub use browser_session::{Ended, Ending, NewSession, SessionCertificate, SessionRecord};
pub use certificate::{CertificateRule, Noted, SeenCertificate, always};
pub use client::{ClientRecord, KeptSecret, Put, PutMode, SecretKey, SecretRecord, SecretReplaced};
pub use client_registration::{Registered, RegistrationReplaced, RegistrationToken};
pub use device_authorization::{DeviceAdded, DeviceRecord, DeviceState, NewDeviceAuthorization, Polled};
pub use error::StoreError;
pub use feed::{Change, ChangeCursor, ChangeKind, ChangeWatch, Changes};
pub use grant_family::{Begun, FamilyRecord, NewFamily, Parent, Rebound, Rotated};
pub use linked_account::{AccountLinkRecord, AddedLinked, NewAccountLink};
pub use logout_notice::LogoutNotice;
pub use passkey::{NewPasskey, PasskeyRecord, PasskeyUsed};
pub use person_key::{PersonKeys, SealedPersonKey};
pub use replay::Claimed;
pub use reseal::{Pass, Resealed};
pub use revocation::{NewRule, RuleWindow};
pub use seal_key::{ACTIVATION_DELAY, KEEP_RETIRED, SETTLE, SealKeyRecord, SealKeyState};
pub use second_factor::{NewSecondFactor, TotpRecord};
pub use signing_key::{KeyStep, SigningKeyRecord, SigningKeyState};
pub use way_in::{Linked, Unlinked, Unlinking};

use engine::{Db, Target, read};
use sealed::CANARY;
use work::{NumberedWork, within};

/// The state of one deployment. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Who asked for what is written through this value, where an administrator did.
    administrator: Option<Arc<Administrator>>,
}

struct Inner {
    db: Db,
    deployment: DeploymentId,
    ring: Arc<KeyRing>,
    masters: Arc<MasterKeys>,
    secret_key: SecretKey,
    /// What the ring was made of.
    seal_keys: Mutex<Vec<seal_key::HeldKey>>,
    /// The keys of people, once their database is open.
    people: OnceLock<personal::People>,
    /// The newest change that this process knows to be committed.
    committed: watch::Sender<i64>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("deployment", &self.inner.deployment).finish_non_exhaustive()
    }
}

/// What the canary says when it is opened.
const CANARY_TEXT: &[u8] = b"symbolon canary";

impl Store {
    /// Opens the database that `settings.url` names, a file relative to `base_dir`; makes the file, the schema and the deployment
    /// when they do not exist yet.
    ///
    /// The schema's version and the master keys are checked before the first write. What an older master key wraps is wrapped by the first
    /// one before this returns.
    pub async fn open(
        settings: &StoreSettings,
        base_dir: &Path,
        masters: Arc<MasterKeys>,
        randomness: &dyn Randomness,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let target = Target::parse(&settings.url, base_dir)?;
        let found = migration::look(&target).await?;
        if let Some((deployment, canary)) = found.deployment {
            let deployment = check_canary(&target, &masters, &deployment, &canary)?;
            seal_key::check(&masters, &deployment, &found.seal_keys)
                .map_err(|error| master_key_error(&target, &masters, &deployment, error))?;
        }
        let db = target.connect(settings).await?;
        migration::migrate(&migration::STATE, &target, &db).await?;
        let (deployment, keys) = ensure_deployment(&target, &db, &masters, randomness, now).await?;
        let missing = || StoreError::Corrupt(format!("{target}: table seal_key: a key is missing: restore a backup"));
        let ring = Arc::new(keys.ring(now).ok_or_else(missing)?);
        let secret_key = SecretKey::new(ring.lasting_key(client::SECRET_PURPOSE));
        let seal_keys = Mutex::new(keys.into_held());
        let committed = watch::Sender::new(0);
        let inner = Arc::new(Inner { db, deployment, ring, masters, secret_key, seal_keys, people: OnceLock::new(), committed });
        let store = Self { inner, administrator: None };
        store.announce(store.sequence().await?);
        Ok(store)
    }

    /// The same store in an administrator's hands: every event that commits with a change made through it names them.
    pub fn in_hands_of(&self, administrator: Arc<Administrator>) -> Self {
        Self { inner: self.inner.clone(), administrator: Some(administrator) }
    }

    /// Which deployment this is.
    pub fn deployment(&self) -> &DeploymentId {
        &self.inner.deployment
    }

    /// The keys that seal this deployment's state.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.inner.ring
    }

    /// The configured keys, which wrap those.
    pub fn master_keys(&self) -> &MasterKeys {
        &self.inner.masters
    }

    /// Whether the database answers: one small read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.sequence().await.map(drop)
    }

    /// Closes every connection; waits for those in use. SQLite's log is written back to its file.
    pub async fn close(&self) {
        self.inner.db.close().await;
    }
}

/// Gives the deployment of this database with its keys, made now if there are none, and wrapped by the first master key. Of many
/// processes that start at once, one does it.
async fn ensure_deployment(
    target: &Target,
    db: &Db,
    masters: &MasterKeys,
    randomness: &dyn Randomness,
    now: Timestamp,
) -> Result<(DeploymentId, seal_key::Keys), StoreError> {
    let named = |deployment: &DeploymentId, error| master_key_error(target, masters, deployment, error);
    let found: Option<(String, Vec<u8>)> = read!(db, fetch_optional: sqlx::query_as(DEPLOYMENT))?;
    if let Some((deployment, canary)) = found {
        let deployment = check_canary(target, masters, &deployment, &canary)?;
        let keys = seal_key::load(db, masters, &deployment).await.map_err(|error| named(&deployment, error))?;
        if let Some(keys) = keys.filter(|keys| !masters.needs_rewrap(&canary) && keys.are_wrapped_by(masters.active_key_id())) {
            return Ok((deployment, keys));
        }
    }
    let fresh = DeploymentId::random(randomness)?;
    let canary = CANARY.wrap(masters, &fresh, "1", CANARY_TEXT)?;
    let mut unit = NumberedWork::begin(db).await?;
    within!(&mut unit.work, execute: sqlx::query(INSERT_DEPLOYMENT).bind(fresh.as_str()).bind(now.seconds()).bind(&canary))?;
    let (deployment, canary): (String, Vec<u8>) = within!(&mut unit.work, fetch_one: sqlx::query_as(DEPLOYMENT))?;
    let deployment = check_canary(target, masters, &deployment, &canary)?;
    seal_key::ensure(&mut unit, masters, &deployment, randomness, now).await?;
    let rewrapped = seal_key::rewrap(&mut unit.work, masters, &deployment).await.map_err(|error| named(&deployment, error))?;
    if masters.needs_rewrap(&canary) {
        let canary = CANARY.wrap(masters, &deployment, "1", CANARY_TEXT)?;
        within!(&mut unit.work, execute: sqlx::query(SET_CANARY).bind(&canary))?;
    }
    if rewrapped > 0 {
        let master_key = masters.active_key_id();
        tracing::info!(%master_key, keys = rewrapped, "another master key wraps the seal keys now");
        let event = AuditEvent::SealKeysRewrapped { master_key: master_key.to_string(), keys: rewrapped };
        unit.work.record_event(&Trailed { time: now, event }).await?;
    }
    unit.work.commit().await?;
    let keys = seal_key::load(db, masters, &deployment).await.map_err(|error| named(&deployment, error))?;
    let missing = || StoreError::Corrupt(format!("{target}: table seal_key is empty"));
    Ok((deployment, keys.ok_or_else(missing)?))
}

fn check_canary(target: &Target, masters: &MasterKeys, deployment: &str, canary: &[u8]) -> Result<DeploymentId, StoreError> {
    let deployment: DeploymentId = deployment
        .parse()
        .map_err(|problem| StoreError::Corrupt(format!("{target}: table deployment: deployment_id {deployment:?} {problem}")))?;
    match masters.unwrap(&CANARY.context(&deployment, "1"), canary) {
        Ok(text) if *text == CANARY_TEXT => Ok(deployment),
        Ok(_) => Err(StoreError::Corrupt(format!("{target}: table deployment: the canary says something else"))),
        Err(problem) => Err(master_key_error(target, masters, &deployment, CANARY.broken("1", problem))),
    }
}

/// Says which master keys are configured when what they should open does not.
fn master_key_error(target: &Target, masters: &MasterKeys, deployment: &DeploymentId, error: StoreError) -> StoreError {
    let StoreError::Seal { problem, .. } = error else { return error };
    let configured = masters.key_ids().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
    StoreError::MasterKey { database: target.to_string(), deployment: deployment.clone(), configured, problem }
}

const DEPLOYMENT: &str = "SELECT deployment_id, canary_sealed FROM deployment WHERE id = 1";
const INSERT_DEPLOYMENT: &str = "INSERT INTO deployment (id, deployment_id, created, canary_sealed) VALUES (1, $1, $2, $3) \
     ON CONFLICT (id) DO NOTHING";
const SET_CANARY: &str = "UPDATE deployment SET canary_sealed = $1 WHERE id = 1";
