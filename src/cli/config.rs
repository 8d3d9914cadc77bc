//! `symbolon config check`, `symbolon config print`, `symbolon config reference`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ConfigArgument, print};
use crate::app;
use crate::config;

/// Check or print a configuration
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check that a configuration and the files it names can be used; nothing is started or written
    Check(Check),
    /// Print the configuration in force, each value with its source; secrets are hidden
    Print(Print),
    /// Print the reference of every key
    #[command(after_help = "Examples:\n  symbolon config reference > reference.md")]
    Reference,
}

/// Check that a configuration and the files it names can be used
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon config check symbolon.toml
  symbolon config check --config gateway.toml")]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgument,
    /// The same file, without the flag
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

/// Print the configuration in force
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon config print --config symbolon.toml
  SYMBOLON__LOG__FILTER=debug symbolon config print")]
pub struct Print {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Config {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => {
                let path = check.file.unwrap_or(check.config.config);
                let loaded = super::load_file(&path)?;
                app::check(&loaded)?;
                let mut told = format!("{}: ok\n", path.display());
                for (name, _) in loaded.settings.anchor_set.iter().filter(|(_, set)| set.stored) {
                    told.push_str(&format!(
                        "[anchor_set.{name}] takes authorities from the store, which was not looked at: see `symbolon anchor list`\n"
                    ));
                }
                print(told)?;
            }
            Self::Print(print_command) => print(config::print(&print_command.config.load()?))?,
            Self::Reference => print(config::reference())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
