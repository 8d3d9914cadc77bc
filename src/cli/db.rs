//! `symbolon db status|migrate|backup|restore|check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{ConfigArgument, print};
use crate::app::{ControlError, Question, ask, master_keys, open_keys, open_store};
use crate::domain::{Clock as _, SystemClock};
use crate::jose::random::SystemRandomness;
use crate::store::maintenance;

/// Look at the database, migrate, back up, restore and check it
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Say where the database is, its schema's version and its deployment; nothing is written
    Status(Status),
    /// Make or migrate the schema, as a start of the server does
    Migrate(Migrate),
    /// Write a copy of a SQLite database to a new file, beside a running server
    Backup(Backup),
    /// Put a copy in the place of the SQLite database of a stopped server
    Restore(Restore),
    /// Read the whole database and open every sealed value
    Check(Check),
}

/// Say where the database is, its schema's version and its deployment
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon db status")]
pub struct Status {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Make or migrate the schema
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon db migrate --config symbolon.toml")]
pub struct Migrate {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Write a copy of a SQLite database to a new file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon db backup /backup/symbolon-$(date +%F).db --config symbolon.toml

The copy is sealed like the database: keep the master key elsewhere. PostgreSQL is backed up with its own tools.")]
pub struct Backup {
    /// The file to be made
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Put a copy in the place of the database
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon db restore /backup/symbolon-2026-11-01.db --config symbolon.toml

Stop every process that uses the database first. What was in its place is kept beside it.")]
pub struct Restore {
    /// The copy
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Read the whole database and open every sealed value
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon db check")]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Db {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Status(status) => status.run().await?,
            Self::Migrate(migrate) => migrate.run().await?,
            Self::Backup(backup) => backup.run().await?,
            Self::Restore(restore) => restore.run().await?,
            Self::Check(check) => check.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Status {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let status = maintenance::status(&loaded.settings.store, &loaded.base_dir).await?;
        let version = match status.version {
            Some(version) if version < status.known => format!("{version}, this program brings it to {}", status.known),
            Some(version) => format!("{version}, the newest this program knows"),
            None => format!("none yet, this program brings it to {}", status.known),
        };
        let deployment = status.deployment.unwrap_or_else(|| "none yet".to_owned());
        print(format!("database    {}\nschema      {version}\ndeployment  {deployment}\n", status.database))
    }
}

impl Migrate {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let before = maintenance::status(&loaded.settings.store, &loaded.base_dir).await?;
        open_store(&loaded, &SystemClock::new(), &SystemRandomness).await?.close().await;
        let from = before.version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        print(format!("schema version {from} -> {}\n", before.known))
    }
}

impl Backup {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        maintenance::backup(&loaded.settings.store, &loaded.base_dir, &self.file).await?;
        print(format!("wrote {}\n", self.file.display()))
    }
}

impl Restore {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        if !matches!(ask(&loaded, &Question::Status).await, Err(ControlError::NotRunning(_))) {
            bail!("a process runs with this configuration: stop it, and every other one that uses the database");
        }
        let suffix = format!(".before-restore-{}", SystemClock::new().now()?);
        let masters = master_keys(&loaded)?;
        let aside = maintenance::restore(&loaded.settings.store, &loaded.base_dir, &masters, &self.file, &suffix).await?;
        let aside = aside.map(|aside| format!("; what was there is {}", aside.display())).unwrap_or_default();
        print(format!("restored {}{aside}\n", self.file.display()))
    }
}

impl Check {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let store = open_store(&loaded, &SystemClock::new(), &SystemRandomness).await?;
        let keys = open_keys(&loaded, &store, SystemClock::new().now()?).await?;
        let checked = store.check(&loaded.settings.store, &loaded.base_dir).await;
        keys.close().await;
        store.close().await;
        let checked = checked?;
        if checked.broken > 0 {
            bail!("{} sealed values do not open, {} do: restore a backup", checked.broken, checked.opened);
        }
        print(format!("sound; every sealed value opens ({})\n", checked.opened))
    }
}
