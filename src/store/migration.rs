//! The schema: looked at before anything is written, then brought up to date under a lock.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions as _, Connection as _};

use super::StoreError;
use super::engine::{Db, Target, sqlite_options};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static PERSON_KEYS_SQLITE: Migrator = sqlx::migrate!("migrations/person_keys/sqlite");
static PERSON_KEYS_POSTGRES: Migrator = sqlx::migrate!("migrations/person_keys/postgres");

/// A history of migrations, one for each engine.
pub(super) struct Schema {
    sqlite: &'static Migrator,
    postgres: &'static Migrator,
}

/// The database of the deployment.
pub(super) const STATE: Schema = Schema { sqlite: &SQLITE, postgres: &POSTGRES };
/// The database of people's keys.
pub(super) const PERSON_KEYS: Schema = Schema { sqlite: &PERSON_KEYS_SQLITE, postgres: &PERSON_KEYS_POSTGRES };

impl Schema {
    /// The newest version this program knows; the same on both engines.
    fn known_version(&self) -> i64 {
        self.sqlite.iter().map(|migration| migration.version).max().unwrap_or(0)
    }
}

/// The oldest PostgreSQL that is tested.
const OLDEST_POSTGRES: i64 = 15;

/// The newest version of the deployment's database that this program knows.
pub(super) fn known_version() -> i64 {
    STATE.known_version()
}

/// What stands in a database before we touch it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest migration that was applied.
    pub(super) version: Option<i64>,
    /// The deployment it belongs to, with its canary.
    pub(super) deployment: Option<(String, Vec<u8>)>,
    /// The wrapped keys.
    pub(super) seal_keys: Vec<FoundKey>,
}

/// A wrapped key: its name and its value.
pub(super) type FoundKey = (String, Vec<u8>);

/// Looks without writing. An absent or empty SQLite file has nothing in it.
pub(super) async fn look(target: &Target) -> Result<Found, StoreError> {
    let in_target = |error| target.unreachable(error);
    let found = match target {
        Target::Sqlite(path) => {
            if !path.exists() {
                return Ok(Found::default());
            }
            let options = sqlite_options(path).read_only(true).busy_timeout(std::time::Duration::from_secs(5));
            let mut connection = options.connect().await.map_err(in_target)?;
            let tables: Vec<(String,)> = sqlx::query_as(SQLITE_TABLES).fetch_all(&mut connection).await.map_err(in_target)?;
            let has = |name: &str| tables.iter().any(|(table,)| table == name);
            if !tables.is_empty() && !has("_sqlx_migrations") {
                return Err(foreign(target));
            }
            let mut found = Found::default();
            if has("_sqlx_migrations") {
                found.version = sqlx::query_as(VERSION)
                    .fetch_one(&mut connection)
                    .await
                    .map(|row: (Option<i64>,)| row.0)
                    .map_err(in_target)?;
            }
            if has("deployment") {
                found.deployment = sqlx::query_as(super::DEPLOYMENT).fetch_optional(&mut connection).await.map_err(in_target)?;
            }
            if has("seal_key") {
                found.seal_keys = sqlx::query_as(super::seal_key::WRAPPED).fetch_all(&mut connection).await.map_err(in_target)?;
            }
            connection.close().await.map_err(in_target)?;
            found
        }
        Target::Postgres(options) => {
            let mut connection = options.connect().await.map_err(in_target)?;
            let (server,): (i64,) = sqlx::query_as(POSTGRES_SERVER).fetch_one(&mut connection).await.map_err(in_target)?;
            if server < OLDEST_POSTGRES {
                return Err(StoreError::OldServer { database: target.to_string(), found: server, needed: OLDEST_POSTGRES });
            }
            let (migrations, deployment, seal_keys): (bool, bool, bool) =
                sqlx::query_as(POSTGRES_TABLES).fetch_one(&mut connection).await.map_err(in_target)?;
            if deployment && !migrations {
                return Err(foreign(target));
            }
            let mut found = Found::default();
            if migrations {
                found.version = sqlx::query_as(VERSION)
                    .fetch_one(&mut connection)
                    .await
                    .map(|row: (Option<i64>,)| row.0)
                    .map_err(in_target)?;
            }
            if deployment {
                found.deployment = sqlx::query_as(super::DEPLOYMENT).fetch_optional(&mut connection).await.map_err(in_target)?;
            }
            if seal_keys {
                found.seal_keys = sqlx::query_as(super::seal_key::WRAPPED).fetch_all(&mut connection).await.map_err(in_target)?;
            }
            connection.close().await.map_err(in_target)?;
            found
        }
    };
    match found.version {
        Some(version) if version > known_version() => {
            Err(StoreError::NewerSchema { database: target.to_string(), found: version, known: known_version() })
        }
        _ => Ok(found),
    }
}

fn foreign(target: &Target) -> StoreError {
    let problem = "it holds another program's tables: name an empty database or a new file in store.url".to_owned();
    StoreError::Schema { database: target.to_string(), problem }
}

/// Applies what is missing. Any number of processes may do so at once: one does the work, the others wait for it.
pub(super) async fn migrate(schema: &Schema, target: &Target, db: &Db) -> Result<(), StoreError> {
    let applied = match (db, target) {
        (Db::Sqlite { writer, .. }, _) => {
            // All or nothing, and the write lock keeps other processes out.
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            let applied = schema.sqlite.run(&mut *transaction).await;
            if applied.is_ok() {
                transaction.commit().await?;
            }
            applied
        }
        (Db::Postgres(_), Target::Postgres(options)) => {
            // A connection of its own: a migration may take longer than a request may wait. The migrator takes an advisory lock.
            let mut connection = options.connect().await.map_err(|error| target.unreachable(error))?;
            let applied = schema.postgres.run(&mut connection).await;
            connection.close().await?;
            applied
        }
        (Db::Postgres(_), Target::Sqlite(_)) => return Err(StoreError::Defect("a pool of another engine".into())),
    };
    applied.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => target.unreachable(error),
        MigrateError::VersionMissing(found) => {
            StoreError::NewerSchema { database: target.to_string(), found, known: schema.known_version() }
        }
        other => StoreError::Schema { database: target.to_string(), problem: other.to_string() },
    })
}

const VERSION: &str = "SELECT MAX(version) FROM _sqlx_migrations";
const SQLITE_TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
const POSTGRES_SERVER: &str = "SELECT CAST(current_setting('server_version_num') AS BIGINT) / 10000";
const POSTGRES_TABLES: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL, to_regclass('deployment') IS NOT NULL, \
     to_regclass('seal_key') IS NOT NULL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_have_the_same_migrations() {
        for schema in [STATE, PERSON_KEYS] {
            let list =
                |migrator: &Migrator| migrator.iter().map(|one| (one.version, one.description.to_string())).collect::<Vec<_>>();
            assert_eq!(list(schema.sqlite), list(schema.postgres));
            let versions: Vec<_> = schema.sqlite.iter().map(|migration| migration.version).collect();
            assert!(versions.is_sorted_by(|one, next| one < next), "no number twice");
        }
    }
}
