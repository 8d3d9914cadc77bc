//! `symbolon status`, `symbolon reload`: asking a running process over its control socket.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgument, print};
use crate::app::{Question, ask};

/// Ask a running process whether it can do its work
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon status --config symbolon.toml && echo ready")]
pub struct Status {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Have a running process read certificates, keys and anchor sets again
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon reload --config gateway.toml")]
pub struct Reload {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Status {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        tell(self.config, Question::Status).await
    }
}

impl Reload {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        tell(self.config, Question::Reload).await
    }
}

pub(super) async fn tell(config: ConfigArgument, question: Question) -> anyhow::Result<ExitCode> {
    let answer = ask(&config.load()?, &question).await?;
    print(format!("{answer:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}
