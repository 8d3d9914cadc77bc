//! The two engines: where the database is, how it is opened, and how one SQL text runs on either.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, SqlitePool};

use super::StoreError;
use super::postgres_url::connect_options;
use crate::config::settings::StoreSettings;

/// The database, open.
#[derive(Clone, Debug)]
pub(super) enum Db {
    /// SQLite: one connection that writes, many that read.
    Sqlite {
        /// The one writer.
        writer: SqlitePool,
        /// Connections that cannot write.
        reader: SqlitePool,
    },
    /// PostgreSQL.
    Postgres(PgPool),
}

impl Db {
    /// Closes every connection; waits for those in use. SQLite's log is written back to its file.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Runs one query, such as `read!(db, fetch_all: sqlx::query_as(SQL).bind(x))`, on whichever engine is open: outside a
/// transaction, and on SQLite's readers, so it can only read.
macro_rules! read {
    ($db:expr, $fetch:ident: $query:expr) => {
        match $db {
            $crate::store::engine::Db::Sqlite { reader, .. } => $query.$fetch(reader).await,
            $crate::store::engine::Db::Postgres(pool) => {
                $crate::store::engine::answered($crate::store::engine::patience(pool), $query.$fetch(pool)).await
            }
        }
    };
}
pub(super) use read;

/// How long PostgreSQL is waited for: a connection, and then an answer, for as long as it may take on its own side, and a moment more.
pub(super) fn patience(pool: &PgPool) -> Duration {
    pool.options().get_acquire_timeout() * 2 + Duration::from_millis(500)
}

/// Ends the wait for a server that has vanished without a word; one that is merely slow ends its work by its own limits before.
pub(super) async fn answered<T>(wait: Duration, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(wait, asked).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))
}

/// Where the database is. Its `Display` never shows a password.
#[derive(Clone)]
pub(super) enum Target {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PgConnectOptions>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => {
                let database = options.get_database().unwrap_or_else(|| options.get_username());
                match options.get_socket() {
                    Some(socket) => write!(f, "postgres://{}/{database}", socket.display()),
                    None => write!(f, "postgres://{}:{}/{database}", options.get_host(), options.get_port()),
                }
            }
        }
    }
}

impl Target {
    pub(super) fn parse(url: &str, base_dir: &Path) -> Result<Self, StoreError> {
        if let Some(file) = url.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            if file.is_empty() || file.contains(":memory:") {
                return Err(StoreError::Url("name a file, as in `sqlite:symbolon.db`: state in memory would be lost".into()));
            }
            if file.contains('?') {
                return Err(StoreError::Url("a SQLite URL takes no parameters: write `sqlite:FILE`".into()));
            }
            return Ok(Self::Sqlite(base_dir.join(file)));
        }
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Ok(Self::Postgres(Box::new(connect_options(url)?)));
        }
        Err(StoreError::Url("write `sqlite:FILE` or `postgres://USER@HOST/DATABASE`".into()))
    }

    /// Opens pools. An absent SQLite file is created, readable by its owner alone.
    pub(super) async fn connect(&self, settings: &StoreSettings) -> Result<Db, StoreError> {
        let wait = Duration::from_secs(u64::from(settings.wait_seconds.max(1)));
        let connections = settings.max_connections.max(1);
        match self {
            Self::Sqlite(path) => {
                create_file(path)?;
                let options = sqlite_options(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A commit is on the disk before it is answered: a revocation survives the loss of power.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .pragma("trusted_schema", "OFF")
                    // What is deleted is overwritten, so that a copy of the file holds no more than the database says.
                    .pragma("secure_delete", "ON")
                    .pragma("journal_size_limit", "67108864")
                    .busy_timeout(wait);
                let pool = |connections| {
                    SqlitePoolOptions::new()
                        .max_connections(connections)
                        .acquire_timeout(wait)
                        .idle_timeout(None)
                        .max_lifetime(None)
                };
                // When a commit fails, say because the disk is full, SQLite may have rolled back by itself; the driver goes on to believe
                // that a transaction is open, and such a connection would never write again.
                let writer = pool(1).after_release(|connection, _| {
                    Box::pin(async move {
                        connection.ping().await?;
                        Ok(!connection.is_in_transaction())
                    })
                });
                let writer = writer.connect_with(options.clone()).await.map_err(|error| self.unreachable(error))?;
                let reader = pool(connections).connect_with(sqlite_options(path).busy_timeout(wait).read_only(true)).await;
                Ok(Db::Sqlite { writer, reader: reader.map_err(|error| self.unreachable(error))? })
            }
            Self::Postgres(options) => {
                let milliseconds = wait.as_millis().to_string();
                let pool = PgPoolOptions::new()
                    // One more: the listener of the change feed keeps a connection for good.
                    .max_connections(connections.saturating_add(1))
                    .acquire_timeout(wait)
                    // What has rested for a while is asked whether it is there still: a server that was restarted is not noticed by
                    // those who come next. What was in use a moment ago was asked when it came back.
                    .test_before_acquire(false)
                    .before_acquire(move |connection, rest| {
                        Box::pin(async move {
                            if rest.idle_for < FRESH {
                                return Ok(true);
                            }
                            answered(wait, connection.ping()).await.map(|()| true)
                        })
                    })
                    // A connection that does not answer is dropped: waiting for it would keep its place in the pool.
                    .after_release(move |connection, _| {
                        Box::pin(async move { answered(wait, connection.ping()).await.map(|()| true) })
                    })
                    .after_connect(move |connection, _| {
                        let milliseconds = milliseconds.clone();
                        Box::pin(async move {
                            sqlx::query(SESSION).bind(milliseconds).execute(connection).await?;
                            Ok(())
                        })
                    })
                    .connect_with((**options).clone())
                    .await;
                Ok(Db::Postgres(pool.map_err(|error| self.unreachable(error))?))
            }
        }
    }

    /// Names the database in an error of opening it.
    pub(super) fn unreachable(&self, error: sqlx::Error) -> StoreError {
        match StoreError::from(error) {
            StoreError::Unavailable(problem) => StoreError::Unavailable(format!("{self}: {problem}")),
            StoreError::Corrupt(problem) => StoreError::Corrupt(format!("{self}: {problem}")),
            StoreError::Defect(problem) => StoreError::Defect(format!("{self}: {problem}")),
            other => other,
        }
    }
}

/// How long a connection may rest before it is asked whether it is there still.
const FRESH: Duration = Duration::from_secs(1);

/// PostgreSQL sessions wait for nothing longer than we do, and their commits are on the disk when they are answered.
const SESSION: &str = "SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', $1, false), \
     set_config('idle_in_transaction_session_timeout', '60000', false), \
     CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END";

pub(super) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(false).disable_statement_logging()
}

/// Makes an empty database file that only its owner can read; SQLite gives its companions the same mode.
fn create_file(path: &Path) -> Result<(), StoreError> {
    match create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path).display();
            Err(StoreError::File(format!(
                "the directory {directory} of the database does not exist: create it, or correct store.url"
            )))
        }
        Err(error) => Err(StoreError::File(format!(
            "the database file {} cannot be created ({error}): let the server's user write its directory, or correct store.url",
            path.display()
        ))),
    }
}

/// Makes an empty file that only its owner can read, for a copy of a database; it must not be there.
pub(super) fn create_new_file(path: &Path) -> Result<(), StoreError> {
    create(path).map_err(|error| StoreError::File(format!("{} cannot be made: {error}", path.display())))
}

fn create(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
