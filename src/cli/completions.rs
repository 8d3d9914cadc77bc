//! `symbolon completions SHELL`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon completions bash > /etc/bash_completion.d/symbolon")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "symbolon", &mut script);
        print(String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
