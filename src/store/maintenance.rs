//! What operators do with a database: look, copy, check, put a copy back.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::engine::{Db, Target, create_new_file, sqlite_options};
use super::migration::{self, Found};
use super::reseal::{RowKey, page};
use super::sealed::{PERSON_KEYS_SEALED_COLUMNS, SEALED_COLUMNS, SealedColumn, Under};
use super::{Store, StoreError, check_canary, master_key_error, person_key, seal_key};
use crate::config::settings::StoreSettings;
use crate::seal::MasterKeys;

/// What a database is, found without writing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseStatus {
    /// Where it is, without password.
    pub database: String,
    /// Its schema's version; `None` before its first use.
    pub version: Option<i64>,
    /// The newest version this program knows.
    pub known: i64,
    /// The deployment it belongs to.
    pub deployment: Option<String>,
}

/// What a check found in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Sealed values that open.
    pub opened: u64,
    /// Sealed values that do not; each is in the log with its place.
    pub broken: u64,
}

/// Sealed values that are read at once.
const PAGE: i64 = 256;

/// Looks at the database that `settings.url` names.
///
/// # Errors
/// Also when it is of a newer version than this program: both are named.
pub async fn status(settings: &StoreSettings, base_dir: &Path) -> Result<DatabaseStatus, StoreError> {
    let target = Target::parse(&settings.url, base_dir)?;
    let Found { version, deployment, .. } = migration::look(&target).await?;
    let deployment = deployment.map(|(id, _)| id);
    Ok(DatabaseStatus { database: target.to_string(), version, known: migration::known_version(), deployment })
}

/// Writes a copy of a SQLite database to a new file, beside any number of running processes: one moment's state, whole.
///
/// # Errors
/// [`StoreError::File`] when the file exists, or for PostgreSQL, which has tools of its own.
pub async fn backup(settings: &StoreSettings, base_dir: &Path, file: &Path) -> Result<(), StoreError> {
    let source = sqlite_file(settings, base_dir)?;
    if !source.exists() {
        return Err(StoreError::File(format!("there is no database {}", source.display())));
    }
    create_new_file(file)?;
    let copied = copy(&source, file).await;
    if copied.is_err() {
        let _ = std::fs::remove_file(file);
    }
    copied
}

async fn copy(source: &Path, file: &Path) -> Result<(), StoreError> {
    let Some(name) = file.to_str() else {
        return Err(StoreError::File(format!("{}: the name is not UTF-8", file.display())));
    };
    let mut connection = sqlite_options(source).read_only(true).busy_timeout(WAIT).connect().await?;
    sqlx::query(COPY).bind(name).execute(&mut connection).await?;
    connection.close().await?;
    sound(file).await?;
    sync(file)
}

/// Puts a copy in the place of a SQLite database that no process has open. The copy is checked first: sound, of a version this program
/// knows, and of a deployment that the master keys open. What was in its place is kept under the name that is given back.
///
/// # Errors
/// Before anything was changed: whatever is wrong with the copy.
pub async fn restore(
    settings: &StoreSettings,
    base_dir: &Path,
    masters: &MasterKeys,
    file: &Path,
    suffix: &str,
) -> Result<Option<PathBuf>, StoreError> {
    let place = sqlite_file(settings, base_dir)?;
    if !file.exists() {
        return Err(StoreError::File(format!("there is no file {}", file.display())));
    }
    let fresh = with_suffix(&place, ".restoring");
    let _ = std::fs::remove_file(&fresh);
    create_new_file(&fresh)?;
    let prepared = async {
        // Through SQLite, so that a copy with a log of its own is read whole, and the given file stays as it is.
        copy(file, &fresh).await?;
        let target = Target::Sqlite(fresh.clone());
        let found = migration::look(&target).await?;
        let Some((deployment, canary)) = found.deployment else {
            return Err(StoreError::File(format!("{} is not a database of this program", file.display())));
        };
        let deployment = check_canary(&target, masters, &deployment, &canary)?;
        seal_key::check(masters, &deployment, &found.seal_keys)
            .map_err(|error| master_key_error(&target, masters, &deployment, error))
    };
    if let Err(problem) = prepared.await {
        let _ = std::fs::remove_file(&fresh);
        return Err(problem);
    }
    let aside = place.exists().then(|| with_suffix(&place, suffix));
    if let Some(aside) = &aside {
        // The log belongs to its database, so it goes with it.
        for part in ["-wal", "-shm", ""] {
            moved(&with_suffix(&place, part), &with_suffix(aside, part))?;
        }
    }
    moved(&fresh, &place)?;
    sync(&place)?;
    Ok(aside)
}

impl Store {
    /// Reads everything: SQLite's own check of its files, then every sealed value is opened, down to the person's own seal where it says whose it
    /// is. People's keys too, once their database is open.
    pub async fn check(&self, settings: &StoreSettings, base_dir: &Path) -> Result<Checked, StoreError> {
        let mut targets = vec![Target::parse(&settings.url, base_dir)?];
        let mut databases: Vec<(&Db, &'static [SealedColumn])> = vec![(&self.inner.db, SEALED_COLUMNS)];
        if let Some(people) = self.inner.people.get() {
            targets.push(person_key::target(settings, base_dir)?);
            databases.push((&**people.db(), PERSON_KEYS_SEALED_COLUMNS));
        }
        for target in targets {
            if let Target::Sqlite(path) = target {
                sound(&path).await?;
            }
        }
        let mut checked = Checked::default();
        for (db, column) in databases.into_iter().flat_map(|(db, columns)| columns.iter().map(move |column| (db, column))) {
            let mut after = RowKey::least(column.keyed);
            loop {
                // No value begins with a zero byte.
                let rows = page(db, column, &after, &[0], PAGE).await?;
                let Some((last, _)) = rows.last() else { break };
                after = last.clone();
                for (row, value) in &rows {
                    match self.opens(column, &row.name(), value).await {
                        Ok(()) => checked.opened += 1,
                        Err(problem @ (StoreError::Seal { .. } | StoreError::Corrupt(_))) => {
                            tracing::error!(%problem, "a sealed value does not open");
                            checked.broken += 1;
                        }
                        Err(problem) => return Err(problem),
                    }
                }
            }
        }
        Ok(checked)
    }

    async fn opens(&self, column: &SealedColumn, row: &str, value: &[u8]) -> Result<(), StoreError> {
        match column.under {
            // A removed person's is nobody's any more, and shut for good.
            Under::Person if self.inner.people.get().is_some() => self.unseal_of(column, row, value).await.map(drop),
            Under::Ring | Under::Person | Under::Lasting => self.unseal(column, row, value).map(drop),
            Under::Master => {
                let context = column.context(&self.inner.deployment, row);
                self.inner.masters.unwrap(&context, value).map(drop).map_err(|problem| column.broken(row, problem))
            }
        }
    }
}

fn sqlite_file(settings: &StoreSettings, base_dir: &Path) -> Result<PathBuf, StoreError> {
    match Target::parse(&settings.url, base_dir)? {
        Target::Sqlite(path) => Ok(path),
        Target::Postgres(_) => Err(StoreError::File(
            "PostgreSQL is backed up and restored with its own tools: pg_dump and pg_restore, or pg_basebackup with its log"
                .into(),
        )),
    }
}

/// SQLite reads its file from end to end.
async fn sound(file: &Path) -> Result<(), StoreError> {
    let mut connection: SqliteConnection = sqlite_options(file).read_only(true).busy_timeout(WAIT).connect().await?;
    let lines: Vec<(String,)> = sqlx::query_as(CHECK).fetch_all(&mut connection).await?;
    connection.close().await?;
    match lines.as_slice() {
        [(line,)] if line == "ok" => Ok(()),
        lines => {
            let first = lines.first().map(|(line,)| line.as_str()).unwrap_or_default();
            Err(StoreError::Corrupt(format!("{} is damaged ({first}): restore a backup", file.display())))
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn moved(from: &Path, to: &Path) -> Result<(), StoreError> {
    match std::fs::rename(from, to) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File(format!("{} cannot be moved to {}: {problem}", from.display(), to.display())))
        }
        _ => Ok(()),
    }
}

/// The file and its name are on the disk.
fn sync(file: &Path) -> Result<(), StoreError> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    for path in [file, directory] {
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|problem| StoreError::File(format!("{}: {problem}", path.display())))?;
    }
    Ok(())
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(5);
const COPY: &str = "VACUUM INTO $1";
const CHECK: &str = "PRAGMA integrity_check(1)";
