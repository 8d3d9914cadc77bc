//! The keys of people, in a database of their own: its backups are kept for less long than those of what the keys open. Once a key
//! and the backups that hold it are gone, no copy of the other database says anything of that person.
//!
//! On SQLite it is a file, `person-keys.db`; on PostgreSQL a schema, [`SCHEMA`], of the same database or another.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions as _, Connection as _};

use super::engine::{Db, Target, read};
use super::migration::{self, PERSON_KEYS};
use super::personal::People;
use super::sealed::PERSON_KEY;
use super::work::{Work, within};
use super::{Store, StoreError};
use crate::config::settings::StoreSettings;
use crate::domain::{Subject, Timestamp};
use crate::seal::PersonKey;

/// The schema on PostgreSQL.
pub const SCHEMA: &str = "symbolon_person_keys";
/// The file beside a SQLite database.
const FILE: &str = "person-keys.db";

/// The keys of the people of one deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PersonKeys {
    db: Arc<Db>,
    store: Store,
}

/// A person's key as it is stored.
#[derive(Clone, Debug)]
pub struct SealedPersonKey {
    subject: Subject,
    sealed: Vec<u8>,
}

impl PersonKeys {
    /// Opens the database that `settings` name, a file relative to `base_dir`, and makes it when it does not exist yet.
    ///
    /// It belongs to the deployment of `store`: another one's is refused, and so is an empty one when there are people already.
    pub async fn open(settings: &StoreSettings, base_dir: &Path, store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let target = target(settings, base_dir)?;
        make_schema(&target).await?;
        let db = target.connect(settings).await?;
        migration::migrate(&PERSON_KEYS, &target, &db).await?;
        let keys = Self { db: Arc::new(db), store: store.clone() };
        keys.belong(&target, now).await?;
        // The first one stays: it is the same database.
        let _ = store.inner.people.set(People::new(keys.db.clone()));
        Ok(keys)
    }

    /// Notes whose people these are, or refuses.
    async fn belong(&self, target: &Target, now: Timestamp) -> Result<(), StoreError> {
        let deployment = self.store.deployment().as_str();
        let mut known: Option<(String,)> = read!(&*self.db, fetch_optional: sqlx::query_as(DEPLOYMENT))?;
        if known.is_none() {
            if self.store.has_accounts().await? {
                return Err(StoreError::PersonKeys(format!(
                    "{target} is empty, and there are people whose data opens only with their keys: restore the latest backup of the \
                     keys, or name the right database"
                )));
            }
            let mut work = Work::begin(&*self.db).await?;
            within!(&mut work, execute: sqlx::query(INSERT_DEPLOYMENT).bind(deployment).bind(now.seconds()))?;
            known = within!(&mut work, fetch_optional: sqlx::query_as(DEPLOYMENT))?;
            work.commit().await?;
        }
        match known {
            Some((known,)) if known != deployment => Err(StoreError::PersonKeys(format!(
                "{target} has the keys of the people of deployment {known}, and this one is {deployment}: name another database"
            ))),
            _ => Ok(()),
        }
    }

    /// The key of a person as it is stored; nothing when there is none, or none any more.
    pub async fn find(&self, subject: &Subject) -> Result<Option<SealedPersonKey>, StoreError> {
        let row: Option<(Vec<u8>,)> = read!(&*self.db, fetch_optional: sqlx::query_as(ONE).bind(subject.as_str()))?;
        Ok(row.map(|(sealed,)| SealedPersonKey { subject: subject.clone(), sealed }))
    }

    /// Opens a key.
    pub fn open_key(&self, key: &SealedPersonKey) -> Result<PersonKey, StoreError> {
        let opened = opened(&self.store, &key.subject, &key.sealed)?;
        self.store.hold_person_key(&key.subject, &opened);
        Ok(opened)
    }

    /// Seals a key without storing it.
    pub fn seal_key(&self, subject: &Subject, key: &PersonKey) -> Result<SealedPersonKey, StoreError> {
        let sealed = self.store.seal(&PERSON_KEY, subject.as_str(), key.expose())?;
        Ok(SealedPersonKey { subject: subject.clone(), sealed })
    }

    /// The key of a person, opened.
    pub async fn key(&self, subject: &Subject) -> Result<Option<PersonKey>, StoreError> {
        self.find(subject).await?.map(|sealed| self.open_key(&sealed)).transpose()
    }

    /// Stores the key of a person who has none yet.
    pub async fn add(&self, key: &SealedPersonKey, now: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(&*self.db).await?;
        let subject = key.subject.as_str();
        within!(&mut work, execute: sqlx::query(INSERT).bind(subject).bind(&key.sealed).bind(now.seconds()))?;
        work.commit().await
    }

    /// Deletes the key of a person. What was sealed with it stays shut from now on.
    pub async fn delete(&self, subject: &Subject) -> Result<(), StoreError> {
        let mut work = Work::begin(&*self.db).await?;
        within!(&mut work, execute: sqlx::query(DELETE).bind(subject.as_str()))?;
        work.commit().await?;
        self.store.forget_person_key(subject.as_str());
        if let Db::Sqlite { writer, .. } = &*self.db {
            // The key is overwritten in the file, and the log that still holds it is emptied. Readers may be in the way: then the
            // next one does it.
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn db(&self) -> Arc<Db> {
        self.db.clone()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

fn opened(store: &Store, subject: &Subject, sealed: &[u8]) -> Result<PersonKey, StoreError> {
    let opened = store.unseal(&PERSON_KEY, subject.as_str(), sealed)?;
    PersonKey::from_bytes(&opened)
        .ok_or_else(|| StoreError::Corrupt(format!("table person_key: the key of {subject} is not 32 bytes")))
}

/// The key of a person, read and opened.
pub(super) async fn read_key(store: &Store, db: &Db, subject: &Subject) -> Result<Option<PersonKey>, StoreError> {
    let row: Option<(Vec<u8>,)> = read!(db, fetch_optional: sqlx::query_as(ONE).bind(subject.as_str()))?;
    row.map(|(sealed,)| opened(store, subject, &sealed)).transpose()
}

pub(super) fn target(settings: &StoreSettings, base_dir: &Path) -> Result<Target, StoreError> {
    let named = settings.person_keys_url.as_deref();
    let in_key = |error| match error {
        StoreError::Url(problem) => StoreError::PersonKeys(problem),
        other => other,
    };
    let target = match (Target::parse(named.unwrap_or(&settings.url), base_dir).map_err(in_key)?, named) {
        (Target::Sqlite(path), None) => Target::Sqlite(path.with_file_name(FILE)),
        (target, _) => target,
    };
    if let (Target::Sqlite(keys), Target::Sqlite(state)) = (&target, Target::parse(&settings.url, base_dir)?)
        && *keys == state
    {
        return Err(StoreError::PersonKeys(
            "it is the same file as store.url: keys kept beside what they open protect nothing".into(),
        ));
    }
    Ok(match target {
        Target::Postgres(options) => Target::Postgres(Box::new(options.options([("search_path", SCHEMA)]))),
        sqlite => sqlite,
    })
}

/// Makes the schema on PostgreSQL. Of many processes at once, one does.
async fn make_schema(target: &Target) -> Result<(), StoreError> {
    let Target::Postgres(options) = target else { return Ok(()) };
    let mut connection = options.connect().await.map_err(|error| target.unreachable(error))?;
    let mut transaction = connection.begin().await?;
    sqlx::query(LOCK_SCHEMA).execute(&mut *transaction).await?;
    sqlx::query(MAKE_SCHEMA).execute(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

const DEPLOYMENT: &str = "SELECT deployment_id FROM deployment WHERE id = 1";
const INSERT_DEPLOYMENT: &str =
    "INSERT INTO deployment (id, deployment_id, created) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING";
const ONE: &str = "SELECT key_sealed FROM person_key WHERE subject = $1";
const INSERT: &str = "INSERT INTO person_key (subject, key_sealed, created) VALUES ($1, $2, $3)";
const DELETE: &str = "DELETE FROM person_key WHERE subject = $1";
const LOCK_SCHEMA: &str = "SELECT pg_advisory_xact_lock(hashtext('symbolon_person_keys'))";
const MAKE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS symbolon_person_keys";

#[cfg(test)]
impl Store {
    /// The keys of people that were opened beside this store.
    pub(super) fn person_keys(&self) -> PersonKeys {
        PersonKeys { db: self.inner.people.get().expect("open").db().clone(), store: self.clone() }
    }
}

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "person_key",
    write: |store, mark| {
        Box::pin(async move {
            let keys = store.person_keys();
            let sealed = keys.seal_key(&mark.id(), &mark.key()).expect("sealed");
            keys.add(&sealed, super::trial::NOW).await.expect("added");
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let key = store.person_keys().key(&mark.id()).await.expect("read");
            key.is_some_and(|key| key.expose() == mark.key().expose())
        })
    },
    uses: super::trial::Uses::Many("a key opens until its person is removed"),
};
