//! `symbolon serve`, `symbolon gateway`.

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, print};
use crate::app::{self, Role};
use crate::telemetry::log;

/// Run the authorization server
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon serve --config symbolon.toml
  SYMBOLON__LOG__FILTER=debug symbolon serve")]
pub struct Serve {
    #[command(flatten)]
    config: ConfigArgument,
    /// Stop when standard input ends, so that no child outlives its parent
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Run the gateway
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon gateway --config gateway.toml
  symbolon gateway check --config gateway.toml   what each route requires, and of whom
  symbolon config check --config gateway.toml")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Gateway {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    #[command(flatten)]
    config: ConfigArgument,
    /// Stop when standard input ends, so that no child outlives its parent
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// What else can be done with a gateway's configuration.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// List what each route requires, and which are reachable without proof of a key, by whom; nothing is started
    Check(GatewayCheck),
}

/// List what each route requires
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon gateway check --config gateway.toml")]
pub struct GatewayCheck {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Serve {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        run(self.config, Role::Server, self.until_stdin_closes).await
    }
}

impl Gateway {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(GatewayCommand::Check(check)) = self.command {
            print(app::gateway_overview(&check.config.load()?)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        run(self.config, Role::Gateway, self.until_stdin_closes).await
    }
}

async fn run(config: ConfigArgument, role: Role, until_stdin_closes: bool) -> anyhow::Result<ExitCode> {
    let loaded = config.load()?;
    log::init(&loaded.settings.log)?;
    let stop = CancellationToken::new();
    if until_stdin_closes {
        let stop = stop.clone();
        // A thread of its own: the runtime's would keep the process, and what it has to say, until standard input ends.
        std::thread::spawn(move || {
            let mut byte = [0u8; 1];
            while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
            stop.cancel();
        });
    }
    app::run(loaded, role, stop).await?;
    Ok(ExitCode::SUCCESS)
}
