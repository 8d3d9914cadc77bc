//! State that lasts: SQLite or PostgreSQL, through the same SQL text.
//!
//! - One file per aggregate; its statements are constants at the end of the file, the same for both engines. Only the migrations
//!   (`migrations/sqlite`, `migrations/postgres`), which are appended to and never edited, differ.
//! - SQLite has one writer and many readers; its commits are on the disk when they are answered (WAL, `synchronous=FULL`).
//! - Every secret column is sealed for its row (see [`crate::seal`]) and named `*_sealed`. A canary tells at the start whether the
//!   master keys are this deployment's, before anything is written.
//! - Every change of the control plane is numbered under one lock in its own transaction: the change feed. Its audit
//!   event commits with it.
//! - Time is a parameter; no statement asks the database for it.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::settings::StoreSettings;
use crate::domain::{DeploymentId, Randomness, Timestamp};
use crate::seal::KeyRing;

mod account;
mod audit;
mod authorization_code;
mod browser_session;
mod client;
mod consent;
mod engine;
mod error;
mod feed;
mod grant_family;
mod interaction;
mod migration;
mod person_key;
mod pushed_request;
mod replay;
mod revocation;
mod sealed;
mod secret;
mod signing_key;
#[cfg(test)]
mod tests;
mod work;

pub use account::{AccountChange, AccountRecord, AccountState, Added, NewAccount};
pub use audit::PendingEvent;
pub use authorization_code::{CodeRecord, CodeSpent, Finished, Finishes, NewCode};
pub use browser_session::{NewSession, SessionRecord};
pub use client::{ClientRecord, Put, PutMode};
pub use error::StoreError;
pub use feed::{Change, ChangeCursor, ChangeKind, ChangeWatch, Changes};
pub use grant_family::{FamilyRecord, NewFamily, Rotated};
pub use person_key::{PersonKeys, SealedPersonKey};
pub use replay::Claimed;
pub use revocation::{NewRule, RuleWindow};
pub use signing_key::{KeyStep, SigningKeyRecord, SigningKeyState};

use engine::{Db, Target};
use sealed::CANARY;
use work::{Work, within};

/// The state of one deployment. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    deployment: DeploymentId,
    ring: Arc<KeyRing>,
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
    /// The schema's version and the master keys are checked before the first write.
    pub async fn open(
        settings: &StoreSettings,
        base_dir: &Path,
        ring: Arc<KeyRing>,
        randomness: &dyn Randomness,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let target = Target::parse(&settings.url, base_dir)?;
        let found = migration::look(&target).await?;
        if let Some((deployment, canary)) = found.deployment {
            check_canary(&target, &ring, &deployment, &canary)?;
        }
        let db = target.connect(settings).await?;
        migration::migrate(&migration::STATE, &target, &db).await?;
        let deployment = ensure_deployment(&target, &db, &ring, randomness, now).await?;
        let store = Self { inner: Arc::new(Inner { db, deployment, ring, committed: watch::Sender::new(0) }) };
        store.announce(store.sequence().await?);
        Ok(store)
    }

    /// Which deployment this is.
    pub fn deployment(&self) -> &DeploymentId {
        &self.inner.deployment
    }

    /// The master keys that seal this deployment's state.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.inner.ring
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

/// Gives the deployment of this database, made now if it has none. Of many processes that start at once, one makes it.
async fn ensure_deployment(
    target: &Target,
    db: &Db,
    ring: &KeyRing,
    randomness: &dyn Randomness,
    now: Timestamp,
) -> Result<DeploymentId, StoreError> {
    let fresh = DeploymentId::random(randomness)?;
    let canary = CANARY.seal(ring, &fresh, "1", CANARY_TEXT)?;
    let mut work = Work::begin(db).await?;
    within!(&mut work, execute: sqlx::query(INSERT_DEPLOYMENT).bind(fresh.as_str()).bind(now.seconds()).bind(&canary))?;
    let (deployment, canary): (String, Vec<u8>) = within!(&mut work, fetch_one: sqlx::query_as(DEPLOYMENT))?;
    let deployment = check_canary(target, ring, &deployment, &canary)?;
    work.commit().await?;
    Ok(deployment)
}

fn check_canary(target: &Target, ring: &KeyRing, deployment: &str, canary: &[u8]) -> Result<DeploymentId, StoreError> {
    let deployment: DeploymentId = deployment
        .parse()
        .map_err(|problem| StoreError::Corrupt(format!("{target}: table deployment: deployment_id {deployment:?} {problem}")))?;
    match ring.open_row(&CANARY.context(&deployment, "1"), canary) {
        Ok(text) if *text == CANARY_TEXT => Ok(deployment),
        Ok(_) => Err(StoreError::Corrupt(format!("{target}: table deployment: the canary says something else"))),
        Err(problem) => {
            let configured = ring.key_ids().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            Err(StoreError::MasterKey { database: target.to_string(), deployment, configured, problem })
        }
    }
}

const DEPLOYMENT: &str = "SELECT deployment_id, canary_sealed FROM deployment WHERE id = 1";
const INSERT_DEPLOYMENT: &str = "INSERT INTO deployment (id, deployment_id, created, canary_sealed) VALUES (1, $1, $2, $3) \
     ON CONFLICT (id) DO NOTHING";
