use sqlx::error::DatabaseError;

use crate::domain::{DeploymentId, RandomnessUnavailable};
use crate::event::Reason;
use crate::seal::SealError;

/// Why the store could not do what it was asked. Messages name the thing and the remedy; none carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Locked, full, cut off, too busy: it may work again later, and nothing was changed unless the commit's answer was lost.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// `store.url` is not one we can open.
    #[error("store.url: {0}")]
    Url(String),
    /// The database file or its directory cannot be used.
    #[error("{0}")]
    File(String),
    /// The database was migrated by a newer program.
    #[error(
        "the database {database} has schema version {found}, this program knows versions up to {known}: \
         start the newer program, or restore a backup made before the upgrade"
    )]
    NewerSchema {
        /// The database.
        database: String,
        /// Its schema version.
        found: i64,
        /// The newest schema version this program knows.
        known: i64,
    },
    /// PostgreSQL older than 15.
    #[error("{database} is PostgreSQL {found}; version {needed} or newer is needed: upgrade the database server")]
    OldServer {
        /// The database.
        database: String,
        /// The server's major version.
        found: i64,
        /// The oldest major version that is tested.
        needed: i64,
    },
    /// Not a database of ours, or one whose migrations were altered or interrupted.
    #[error("the schema of {database} cannot be migrated: {problem}")]
    Schema {
        /// The database.
        database: String,
        /// What is wrong with it.
        problem: String,
    },
    /// None of the configured master keys opens the canary or a wrapped key. Nothing was written.
    #[error(
        "the master keys configured in [[seal.key]] ({configured}) do not open deployment {deployment} in {database} ({problem}): \
         configure the key file this deployment was made with; nothing was written"
    )]
    MasterKey {
        /// The database.
        database: String,
        /// The deployment that the database belongs to.
        deployment: DeploymentId,
        /// The ids of the configured keys.
        configured: String,
        /// What the seal said.
        problem: SealError,
    },
    /// There are as many ring keys as there may be.
    #[error("there are {0} seal keys already: let a running server reseal what the older ones sealed first")]
    TooManySealKeys(usize),
    /// The database of people's keys is another deployment's, or empty although there are people.
    #[error("store.person_keys_url: {0}")]
    PersonKeys(String),
    /// A sealed value did not open: altered, moved, or sealed by a key that is gone.
    #[error("the sealed value in {column} of row {row} does not open: {problem}")]
    Seal {
        /// `table.column`.
        column: String,
        /// The row.
        row: String,
        /// What the seal said.
        problem: SealError,
    },
    /// A stored value that this program would not have written.
    #[error("{0}")]
    Corrupt(String),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// A statement or a value that should have worked: a bug.
    #[error("the database refused a statement: {0}")]
    Defect(String),
}

impl StoreError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unavailable(_) | Self::File(_) => Reason::StoreUnavailable,
            Self::Url(_) | Self::PersonKeys(_) | Self::NewerSchema { .. } | Self::OldServer { .. } | Self::Schema { .. } => {
                Reason::StoreUnavailable
            }
            Self::TooManySealKeys(_) => Reason::SealBroken,
            Self::MasterKey { problem, .. } | Self::Seal { problem, .. } => problem.reason(),
            Self::Randomness(_) => Reason::RandomnessUnavailable,
            Self::Corrupt(_) | Self::Defect(_) => Reason::Defect,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Unavailable(
                "no connection became free within store.wait_seconds; raise store.max_connections if this lasts".into(),
            ),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
                Self::Unavailable(error.to_string())
            }
            sqlx::Error::Io(problem) => Self::Unavailable(problem.to_string()),
            sqlx::Error::Tls(problem) => Self::Unavailable(format!("TLS to the database: {problem}")),
            // A connection that broke off in the middle of an answer.
            sqlx::Error::Protocol(problem) => Self::Unavailable(problem),
            sqlx::Error::Database(problem) => from_database(problem.as_ref()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Corrupt(format!("a stored value has the wrong type: {error}"))
            }
            other => Self::Defect(other.to_string()),
        }
    }
}

/// Sorts an engine's own error into "try again later" and "a bug".
fn from_database(error: &dyn DatabaseError) -> StoreError {
    let message = error.message().to_owned();
    let Some(code) = error.code() else { return StoreError::Defect(message) };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The low byte of SQLite's extended result code is the primary one.
        return match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(5 | 6) => StoreError::Unavailable(format!("{message}: another process held it longer than store.wait_seconds")),
            Ok(8) => {
                StoreError::Unavailable(format!("{message}: let the server's user write the database file and its directory"))
            }
            Ok(13) => StoreError::Unavailable(format!("{message}: free space on its disk")),
            Ok(7 | 9 | 10 | 14 | 15) => StoreError::Unavailable(message),
            Ok(11 | 26) => {
                StoreError::Corrupt(format!("the database file is damaged or not SQLite ({message}): restore a backup"))
            }
            _ => StoreError::Defect(format!("{message} (SQLite {code})")),
        };
    }
    // PostgreSQL's SQLSTATE: class 08 connection, 53 resources, 57 operator, 58 system, 28 authorization; 40 lost a race;
    // 55P03 a lock not granted in time; 25006 a standby that only reads; 3D000 no such database.
    match code.get(..2) {
        _ if code == "53100" => StoreError::Unavailable(format!("{message}: free space on the disk of PostgreSQL")),
        Some("08" | "28" | "40" | "53" | "57" | "58") => StoreError::Unavailable(message),
        _ if matches!(&*code, "55P03" | "25006" | "3D000") => StoreError::Unavailable(message),
        Some("XX") => StoreError::Corrupt(format!("PostgreSQL reports damage: {message}")),
        _ => StoreError::Defect(format!("{message} (SQLSTATE {code})")),
    }
}
