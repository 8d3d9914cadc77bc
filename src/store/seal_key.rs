//! The keys of the ring, each wrapped by a master key from its first commit.
//!
//! A new key is published first and seals a few seconds later ([`ACTIVATION_DELAY`]): by then every process that hears the change feed
//! can open what it seals. Keys that were replaced go on opening, until no row is left under them and nothing is alive that others carry.

use std::sync::PoisonError;

use zeroize::Zeroizing;

use super::engine::{Db, read};
use super::migration::FoundKey;
use super::sealed::WRAPPED_KEY;
use super::work::{NumberedWork, Work, within};
use super::{ChangeKind, Store, StoreError};
use crate::domain::{DeploymentId, Lifetime, Randomness, Redacted, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::seal::{DataKey, KeyRing, MasterKeys, SealKeyId};

/// From the publication of a ring key until it seals. Every replica hears of it within a second; the rest is for clocks that differ.
pub const ACTIVATION_DELAY: Lifetime = Lifetime::from_seconds(5);
/// From the moment a key is replaced until no process seals with it any more.
pub const SETTLE: Lifetime = Lifetime::from_seconds(60);
/// How long a key that seals no more is kept at least, whatever was noted of it: whoever still worked with a ring that old has been gone for
/// long, and everything that others carry has expired but for refresh tokens, which live as long as their rows.
pub const KEEP_RETIRED: Lifetime = Lifetime::from_seconds(2 * 86_400);
/// What is written down beyond the last bearer's expiry, so that it need not be written again with each bearer.
const BEARER_MARGIN: Lifetime = Lifetime::from_seconds(3_600);
/// Ring keys that there may be at once: one for each day of more than two years. Every process holds them all.
const MAX_RING_KEYS: usize = 1_000;

/// Where a ring key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealKeyState {
    /// Known everywhere, about to seal.
    Next,
    /// The one that seals.
    Active,
    /// Opens what it sealed; seals no more.
    Retired,
}

impl SealKeyState {
    /// The name, as the command line prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// What is stored about a ring key, beside the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealKeyRecord {
    /// Its name.
    pub id: SealKeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it begins to seal.
    pub activates: Timestamp,
    /// When its successor begins to seal.
    pub retired: Option<Timestamp>,
    /// When no row was left under it.
    pub resealed: Option<Timestamp>,
    /// Until then something sealed with it may be alive that others carry, as far as it was noted.
    pub bearers_expire: Timestamp,
    /// The master key that wraps it.
    pub master_key: SealKeyId,
}

impl SealKeyRecord {
    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> SealKeyState {
        match self.retired {
            Some(retired) if retired <= now => SealKeyState::Retired,
            _ if self.activates > now => SealKeyState::Next,
            _ => SealKeyState::Active,
        }
    }

    /// When the key can go, once no row is left under it; `None` while it has no successor.
    pub fn can_go(&self) -> Option<Timestamp> {
        self.retired.map(|retired| retired.plus(KEEP_RETIRED).max(self.bearers_expire))
    }
}

/// A ring key as the process holds it.
#[derive(Clone, Debug)]
pub(super) struct HeldKey {
    pub(super) record: SealKeyRecord,
    key: DataKey,
}

/// The keys of a deployment, unwrapped.
pub(super) struct Keys {
    ring: Vec<HeldKey>,
    lasting: DataKey,
    lasting_master: SealKeyId,
}

impl Keys {
    /// The ring at a moment.
    pub(super) fn ring(&self, now: Timestamp) -> Option<KeyRing> {
        let (active, others) = divide(&self.ring, now)?;
        Some(KeyRing::new(&active, &others, &self.lasting))
    }

    /// Whether one master key wraps them all.
    pub(super) fn are_wrapped_by(&self, master: &SealKeyId) -> bool {
        self.lasting_master == *master && self.ring.iter().all(|held| held.record.master_key == *master)
    }

    pub(super) fn into_held(self) -> Vec<HeldKey> {
        self.ring
    }
}

/// The key that seals at `now`, and the others. When all lie in the future, the clock went back: the first one seals.
fn divide(held: &[HeldKey], now: Timestamp) -> Option<(DataKey, Vec<DataKey>)> {
    let order = |key: &&HeldKey| (key.record.activates, key.record.id.clone());
    let begun = held.iter().filter(|key| key.record.activates <= now).max_by_key(order);
    let active = begun.or_else(|| held.iter().min_by_key(order))?;
    let others = held.iter().filter(|key| key.record.id != active.record.id);
    Some((active.key.clone(), others.map(|key| key.key.clone()).collect()))
}

pub(super) const RING: &str = "ring";
const LASTING: &str = "lasting";

type Row = (String, String, i64, i64, Option<i64>, Option<i64>, i64, String, Vec<u8>);

fn record(row: &Row) -> Result<SealKeyRecord, StoreError> {
    let (id, _, created, activates, retired, resealed, bearers_expire, master_key, _) = row;
    let name = |text: &str| {
        text.parse().map_err(|problem| StoreError::Corrupt(format!("table seal_key, key {id:?}: {text:?}: {problem}")))
    };
    Ok(SealKeyRecord {
        id: name(id)?,
        created: Timestamp::from_seconds(*created),
        activates: Timestamp::from_seconds(*activates),
        retired: retired.map(Timestamp::from_seconds),
        resealed: resealed.map(Timestamp::from_seconds),
        bearers_expire: Timestamp::from_seconds(*bearers_expire),
        master_key: name(master_key)?,
    })
}

fn unwrapped(
    masters: &MasterKeys,
    deployment: &DeploymentId,
    id: &str,
    wrapped: &[u8],
) -> Result<Redacted<[u8; 32]>, StoreError> {
    let value =
        masters.unwrap(&WRAPPED_KEY.context(deployment, id), wrapped).map_err(|problem| WRAPPED_KEY.broken(id, problem))?;
    let key = <[u8; 32]>::try_from(value.as_slice());
    key.map(Redacted::new).map_err(|_| StoreError::Corrupt(format!("table seal_key, key {id:?}: it is not 32 bytes long")))
}

/// Unwraps what was found before anything is written.
pub(super) fn check(masters: &MasterKeys, deployment: &DeploymentId, found: &[FoundKey]) -> Result<(), StoreError> {
    found.iter().try_for_each(|(id, wrapped)| unwrapped(masters, deployment, id, wrapped).map(drop))
}

/// Every key of a deployment; `None` when it has none yet.
pub(super) async fn load(db: &Db, masters: &MasterKeys, deployment: &DeploymentId) -> Result<Option<Keys>, StoreError> {
    let rows: Vec<Row> = read!(db, fetch_all: sqlx::query_as(ALL))?;
    let (mut ring, mut lasting) = (Vec::new(), None);
    for row in &rows {
        let key = unwrapped(masters, deployment, &row.0, &row.8)?;
        let record = record(row)?;
        let key = DataKey { id: record.id.clone(), key };
        match row.1.as_str() {
            LASTING => lasting = Some((key, record.master_key)),
            _ => ring.push(HeldKey { key, record }),
        }
    }
    match lasting {
        Some((lasting, lasting_master)) if !ring.is_empty() => Ok(Some(Keys { ring, lasting, lasting_master })),
        None if rows.is_empty() => Ok(None),
        _ => Err(StoreError::Corrupt("table seal_key: a key is missing: restore a backup".into())),
    }
}

/// Makes the first ring key and the lasting key, unless there are keys.
pub(super) async fn ensure(
    unit: &mut NumberedWork,
    masters: &MasterKeys,
    deployment: &DeploymentId,
    randomness: &dyn Randomness,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (present,): (i64,) = within!(&mut unit.work, fetch_one: sqlx::query_as(COUNT))?;
    if present > 0 {
        return Ok(());
    }
    for purpose in [RING, LASTING] {
        insert(&mut unit.work, masters, deployment, purpose, randomness, now, now).await?;
    }
    Ok(())
}

pub(super) async fn insert(
    work: &mut Work,
    masters: &MasterKeys,
    deployment: &DeploymentId,
    purpose: &str,
    randomness: &dyn Randomness,
    created: Timestamp,
    activates: Timestamp,
) -> Result<SealKeyId, StoreError> {
    let id = SealKeyId::random(randomness)?;
    let mut key = Zeroizing::new([0u8; 32]);
    randomness.fill(&mut *key)?;
    let wrapped = WRAPPED_KEY.wrap(masters, deployment, id.as_str(), &*key)?;
    within!(work, execute: sqlx::query(INSERT)
            .bind(id.as_str())
            .bind(purpose)
            .bind(created.seconds())
            .bind(activates.seconds())
            .bind(masters.active_key_id().as_str())
            .bind(&wrapped))?;
    Ok(id)
}

/// Wraps every key that another master key wraps by the first one. Gives how many there were.
pub(super) async fn rewrap(work: &mut Work, masters: &MasterKeys, deployment: &DeploymentId) -> Result<u32, StoreError> {
    let rows: Vec<FoundKey> = within!(&mut *work, fetch_all: sqlx::query_as(WRAPPED))?;
    let mut rewrapped = 0;
    for (id, wrapped) in rows.iter().filter(|(_, wrapped)| masters.needs_rewrap(wrapped)) {
        let key = unwrapped(masters, deployment, id, wrapped)?;
        let again = WRAPPED_KEY.wrap(masters, deployment, id, key.expose())?;
        within!(&mut *work, execute: sqlx::query(REWRAP).bind(id).bind(masters.active_key_id().as_str()).bind(&again))?;
        rewrapped += 1;
    }
    Ok(rewrapped)
}

impl Store {
    /// What is stored about each ring key, oldest first.
    pub async fn seal_keys(&self) -> Result<Vec<SealKeyRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        rows.iter().filter(|row| row.1 == RING).map(record).collect()
    }

    /// Makes a ring key and publishes it. It seals from `activates` on. Commits with its event, `seal_key_created`.
    ///
    /// # Errors
    /// [`StoreError::TooManySealKeys`] when there are too many already.
    pub async fn rotate_seal_key(&self, randomness: &dyn Randomness, now: Timestamp) -> Result<SealKeyRecord, StoreError> {
        let (masters, deployment) = (&self.inner.masters, &self.inner.deployment);
        let mut unit = NumberedWork::begin(self).await?;
        let rows: Vec<Row> = within!(&mut unit.work, fetch_all: sqlx::query_as(ALL))?;
        let present = rows.iter().filter(|row| row.1 == RING).map(record).collect::<Result<Vec<_>, _>>()?;
        if present.len() >= MAX_RING_KEYS {
            return Err(StoreError::TooManySealKeys(present.len()));
        }
        let newest = present.iter().max_by_key(|key| (key.activates, key.id.clone()));
        let begins = newest.map_or(now, |newest| newest.activates.max(now)).plus(ACTIVATION_DELAY);
        let id = insert(&mut unit.work, masters, deployment, RING, randomness, now, begins).await?;
        if let Some(newest) = newest {
            within!(&mut unit.work, execute: sqlx::query(RETIRE).bind(newest.id.as_str()).bind(begins.seconds()))?;
        }
        unit.record_change(ChangeKind::SealKey, id.as_str(), now).await?;
        let event = AuditEvent::SealKeyCreated { seal_key: id.to_string(), activates: begins };
        unit.commit(self, &Trailed { time: now, event }).await?;
        Ok(SealKeyRecord {
            id,
            created: now,
            activates: begins,
            retired: None,
            resealed: None,
            bearers_expire: Timestamp::from_seconds(0),
            master_key: masters.active_key_id().clone(),
        })
    }

    /// Takes in the ring keys as they are stored, for everyone in this process who seals or opens.
    ///
    /// # Errors
    /// When a key that is new here is wrapped by a master key that this process does not have: then the ring stays as it was.
    pub async fn take_in_seal_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(ALL))?;
        let known = self.held_keys();
        let mut held = Vec::new();
        for row in rows.iter().filter(|row| row.1 == RING) {
            let record = record(row)?;
            // A key never changes under its name, whoever wraps it now.
            let key = match known.iter().find(|known| known.record.id == record.id) {
                Some(known) => known.key.clone(),
                None => {
                    DataKey { id: record.id.clone(), key: unwrapped(&self.inner.masters, self.deployment(), &row.0, &row.8)? }
                }
            };
            held.push(HeldKey { record, key });
        }
        if held.is_empty() {
            return Err(StoreError::Corrupt("table seal_key: a key is missing: restore a backup".into()));
        }
        *self.inner.seal_keys.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.activate_seal_keys(now);
        Ok(())
    }

    /// Lets the key seal whose turn it is. Nothing is read.
    pub fn activate_seal_keys(&self, now: Timestamp) {
        let held = self.held_keys();
        if let Some((active, others)) = divide(&held, now) {
            let ring = &self.inner.ring;
            if ring.active_key_id() != active.id || ring.key_ids().len() != held.len() {
                ring.replace(&active, &others);
            }
        }
    }

    /// What this process knows of the ring keys.
    pub fn known_seal_keys(&self) -> Vec<SealKeyRecord> {
        self.held_keys().into_iter().map(|held| held.record).collect()
    }

    fn held_keys(&self) -> Vec<HeldKey> {
        self.inner.seal_keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down how long the bearers live that this process has sealed, where that is not yet known.
    pub async fn note_bearers(&self) -> Result<(), StoreError> {
        for (id, expires) in self.inner.ring.bearers_expire() {
            let noted = self.held_keys().iter().any(|held| held.record.id == id && held.record.bearers_expire >= expires);
            if noted {
                continue;
            }
            let until = expires.plus(BEARER_MARGIN);
            let mut work = Work::begin(self).await?;
            within!(&mut work, execute: sqlx::query(NOTE_BEARERS).bind(id.as_str()).bind(until.seconds()))?;
            work.commit().await?;
            let mut held = self.inner.seal_keys.lock().unwrap_or_else(PoisonError::into_inner);
            for key in held.iter_mut().filter(|key| key.record.id == id) {
                key.record.bearers_expire = key.record.bearers_expire.max(until);
            }
        }
        Ok(())
    }

    /// Notes that no row is left under a key that seals no more.
    pub(super) async fn mark_resealed(&self, id: &SealKeyId, now: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(RESEALED).bind(id.as_str()).bind(now.seconds()))?;
        work.commit().await
    }

    /// Deletes the keys that nothing needs any more: replaced long ago, without rows, and with no bearer alive. Gives which.
    ///
    /// That none is alive does not rest on what was noted, which a process that was killed may not have done: access tokens and what is carried
    /// for minutes have expired by then, and a refresh token's family was committed before the token was given away, with the token's own end.
    /// Commits with an event for each, `seal_key_deleted`.
    pub async fn delete_seal_keys(&self, now: Timestamp) -> Result<Vec<SealKeyId>, StoreError> {
        let may_go = |key: &SealKeyRecord| key.resealed.is_some() && key.can_go().is_some_and(|moment| moment <= now);
        let candidates: Vec<_> = self.seal_keys().await?.into_iter().filter(may_go).collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.sealed_rows().await?;
        let mut deleted = Vec::new();
        for key in candidates {
            if rows.get(&key.id).is_some_and(|count| *count > 0) {
                // A row came back, perhaps with a restored table: it is resealed first.
                let mut work = Work::begin(self).await?;
                within!(&mut work, execute: sqlx::query(NOT_RESEALED).bind(key.id.as_str()))?;
                work.commit().await?;
                continue;
            }
            let mut unit = NumberedWork::begin(self).await?;
            let sealed_until = key.retired.unwrap_or(now).plus(SETTLE).seconds();
            let gone = within!(&mut unit.work, execute: sqlx::query(DELETE)
                .bind(key.id.as_str())
                .bind(now.seconds())
                .bind(sealed_until))?;
            if gone == 0 {
                continue;
            }
            unit.record_change(ChangeKind::SealKey, key.id.as_str(), now).await?;
            let event = AuditEvent::SealKeyDeleted { seal_key: key.id.to_string() };
            unit.commit(self, &Trailed { time: now, event }).await?;
            deleted.push(key.id);
        }
        Ok(deleted)
    }
}

const ALL: &str = "SELECT id, purpose, created, activates, retired, resealed, bearers_expire, master_key, wrapped_sealed \
     FROM seal_key ORDER BY activates, id";
const COUNT: &str = "SELECT COUNT(*) FROM seal_key";
pub(super) const WRAPPED: &str = "SELECT id, wrapped_sealed FROM seal_key ORDER BY id";
const INSERT: &str = "INSERT INTO seal_key (id, purpose, created, activates, bearers_expire, master_key, wrapped_sealed) \
     VALUES ($1, $2, $3, $4, 0, $5, $6)";
const RETIRE: &str = "UPDATE seal_key SET retired = $2 WHERE id = $1";
const REWRAP: &str = "UPDATE seal_key SET master_key = $2, wrapped_sealed = $3 WHERE id = $1";
const NOTE_BEARERS: &str = "UPDATE seal_key SET bearers_expire = $2 WHERE id = $1 AND bearers_expire < $2";
const RESEALED: &str = "UPDATE seal_key SET resealed = $2 WHERE id = $1 AND resealed IS NULL";
const NOT_RESEALED: &str = "UPDATE seal_key SET resealed = NULL WHERE id = $1";
/// Families that began while the key sealed may have refresh tokens under it.
const DELETE: &str = "DELETE FROM seal_key WHERE id = $1 AND resealed IS NOT NULL AND bearers_expire <= $2 \
     AND NOT EXISTS (SELECT family_id FROM grant_family WHERE created <= $3 AND expires > $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "seal_key",
    write: |store, mark| {
        Box::pin(async move {
            store.rotate_seal_key(&mark.beside("key"), super::trial::NOW).await.expect("rotated");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            store.take_in_seal_keys(super::trial::NOW).await.expect("every key unwraps");
            let id = SealKeyId::random(&mark.beside("key")).expect("a name");
            store.seal_keys().await.expect("keys").iter().any(|key| key.id == id)
        })
    },
    uses: super::trial::Uses::Many("a key seals until its turn is over"),
};
