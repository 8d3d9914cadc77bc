//! Databases to measure on, as a deployment has them, and the engines' own pools beside.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use symbolon::config::settings::StoreSettings;
use symbolon::domain::{Redacted, Timestamp};
use symbolon::jose::random::SystemRandomness;
use symbolon::seal::MasterKeys;
use symbolon::store::{PersonKeys, Store};

use crate::postgres;

/// Everything happens at this time.
pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// And ends at that.
pub const LATER: Timestamp = Timestamp::from_seconds(1_900_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database with a store in it.
pub struct Place {
    pub store: Store,
    pub keys: PersonKeys,
    pub url: String,
    pub directory: tempfile::TempDir,
}

/// An empty one; `None`, with the reason printed, where there is no such engine.
pub async fn place(engine: Engine, connections: usize) -> anyhow::Result<Option<Place>> {
    // On the disk of the build: that of temporary files may be memory.
    let directory = tempfile::tempdir_in(PathBuf::from(env!("CARGO_TARGET_TMPDIR")))?;
    let url = match engine {
        Engine::Sqlite => "sqlite:bench.db".to_owned(),
        Engine::Postgres => match postgres::database().await {
            Some(url) => url,
            None => return Ok(None),
        },
    };
    let max_connections = u32::try_from(connections)?;
    let settings = StoreSettings { url: url.clone(), person_keys_url: None, max_connections, wait_seconds: 60 };
    let id = "bench".parse().map_err(|_| anyhow::anyhow!("a key id"))?;
    let masters = Arc::new(MasterKeys::from_keys(vec![(id, Redacted::new([7; 32]))])?);
    let store = Store::open(&settings, directory.path(), masters, &SystemRandomness, NOW).await?;
    let keys = PersonKeys::open(&settings, directory.path(), &store, NOW).await?;
    Ok(Some(Place { store, keys, url, directory }))
}

/// The engine without us, with the same promise: a commit that was answered is on the disk.
#[derive(Clone)]
pub enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Place {
    /// Connections beside the store's.
    pub async fn raw(&self, connections: usize) -> anyhow::Result<Raw> {
        Ok(match self.url.strip_prefix("sqlite:") {
            Some(file) => {
                let options = SqliteConnectOptions::new()
                    .filename(self.directory.path().join(file))
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .pragma("secure_delete", "ON")
                    .busy_timeout(std::time::Duration::from_secs(60));
                let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(std::time::Duration::from_secs(60));
                Raw::Sqlite(pool.connect_with(options).await?)
            }
            None => Raw::Postgres(PgPoolOptions::new().max_connections(u32::try_from(connections)?).connect(&self.url).await?),
        })
    }
}

impl Raw {
    pub async fn run(&self, sql: &'static str) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
        .context(sql)
    }

    /// One transaction of as many inserts, each of 400 bytes, under keys in no order.
    pub async fn commit(&self, statements: usize) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(pool) => {
                let mut unit = pool.begin_with("BEGIN IMMEDIATE").await?;
                for _ in 0..statements {
                    let key = uuid::Uuid::new_v4().as_bytes().to_vec();
                    sqlx::query(INSERT).bind(key).bind([7u8; 400].as_slice()).execute(&mut *unit).await?;
                }
                unit.commit().await?;
            }
            Self::Postgres(pool) => {
                let mut unit = pool.begin().await?;
                for _ in 0..statements {
                    let key = uuid::Uuid::new_v4().as_bytes().to_vec();
                    sqlx::query(INSERT).bind(key).bind([7u8; 400].as_slice()).execute(&mut *unit).await?;
                }
                unit.commit().await?;
            }
        }
        Ok(())
    }

    pub async fn make_floor(&self) -> anyhow::Result<()> {
        self.run(match self {
            Self::Sqlite(_) => "CREATE TABLE floor (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT",
            Self::Postgres(_) => "CREATE TABLE floor (key BYTEA NOT NULL PRIMARY KEY, value BYTEA NOT NULL)",
        })
        .await
    }
}

const INSERT: &str = "INSERT INTO floor (key, value) VALUES ($1, $2)";
