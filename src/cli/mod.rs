//! The command line: one file per command.

mod anchor;
mod ca;
mod cert;
mod client;
mod client_secret;
mod completions;
mod config;
mod control;
mod db;
mod demo;
mod explain;
mod files;
mod keys;
mod revoke;
mod run;
mod sample_upstream;
mod seal_keys;
mod user;
mod user_account;
mod user_certificate;
mod user_passkey;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::config::{Loaded, load};
use crate::telemetry::log::Colour;

/// An OAuth 2.0 authorization server whose tokens are bound to the client's certificate (RFC 8705), and the gateway that enforces
/// the binding on every request.
#[derive(Debug, Parser)]
#[command(name = "symbolon", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  symbolon demo                                  watch a bound token being minted, honoured, and refused
  symbolon serve --config symbolon.toml          run the authorization server
  symbolon gateway --config gateway.toml         run the gateway
  symbolon client list --config symbolon.toml    see which programs may ask for tokens
  symbolon user add alice                        let a person sign in")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole story on this machine: a bound token, a gateway, a thief
    Demo(demo::Demo),
    /// Run the authorization server
    Serve(run::Serve),
    /// Run the gateway
    Gateway(run::Gateway),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Register, list, show and remove clients
    #[command(subcommand)]
    Client(client::Client),
    /// Add, list, show, change and remove people
    #[command(subcommand)]
    User(user::User),
    /// List, rotate and revoke the keys that sign and the keys that seal
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Look at the database, migrate, back up, restore and check it
    #[command(subcommand)]
    Db(db::Db),
    /// Add, list and remove authorities that are in the store
    #[command(subcommand)]
    Anchor(anchor::Anchor),
    /// Make a certification authority for development
    #[command(subcommand)]
    Ca(ca::Ca),
    /// Issue a certificate from a development authority, show one, or revoke one
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Ask a running process whether it can do its work
    Status(control::Status),
    /// Have a running process read certificates, keys and anchor sets again
    Reload(control::Reload),
    /// Say why a request, a certificate or a token was refused
    Explain(explain::Explain),
    /// Run an upstream that answers with what it received and verifies the gateway's assertion
    SampleUpstream(sample_upstream::SampleUpstream),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// The configuration that a command works on.
#[derive(Clone, Debug, Args)]
struct ConfigArgument {
    /// The configuration file; any value in it can be overridden by a variable such as SYMBOLON__STORE__URL
    #[arg(long, short, value_name = "FILE", env = "SYMBOLON_CONFIG", default_value = "symbolon.toml")]
    config: PathBuf,
}

impl ConfigArgument {
    fn load(&self) -> anyhow::Result<Loaded> {
        load_file(&self.config)
    }
}

fn load_file(path: &Path) -> anyhow::Result<Loaded> {
    Ok(load(path, std::env::vars())?)
}

/// Runs the command line and gives the process's exit code: 0 done, 1 could not, 2 misused.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run_command(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let (red, plain) = match Colour::on(&std::io::stderr()) {
                Colour::On => ("\x1b[1;31m", "\x1b[0m"),
                Colour::Off => ("", ""),
            };
            let _ = writeln!(std::io::stderr(), "{red}error:{plain} {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes. Many an error tells its cause itself; that is not said again.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.is_empty() => cause,
        cause if told.contains(&cause) => told,
        cause => format!("{told}: {cause}"),
    })
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(command) => runtime()?.block_on(command.run()),
        Command::Serve(command) => runtime()?.block_on(command.run()),
        Command::Gateway(command) => runtime()?.block_on(command.run()),
        Command::Config(command) => command.run(),
        Command::Client(command) => runtime()?.block_on(command.run()),
        Command::User(command) => runtime()?.block_on(command.run()),
        Command::Keys(command) => runtime()?.block_on(command.run()),
        Command::Db(command) => runtime()?.block_on(command.run()),
        Command::Anchor(command) => runtime()?.block_on(command.run()).map(|()| ExitCode::SUCCESS),
        Command::Ca(command) => command.run(),
        Command::Cert(command) => runtime()?.block_on(command.run()),
        Command::Status(command) => runtime()?.block_on(command.run()),
        Command::Reload(command) => runtime()?.block_on(command.run()),
        Command::Explain(command) => runtime()?.block_on(command.run()),
        Command::SampleUpstream(command) => runtime()?.block_on(command.run()),
        Command::Completions(command) => command.run(),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Writes to standard output; a reader that went away is not an error.
fn print(text: impl AsRef<str>) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_ref().as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("standard output"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("a.pem: {0}")]
        struct Told(#[source] std::io::Error);
        let error = anyhow::Error::new(Told(std::io::Error::other("broken"))).context("[anchor_set]");
        assert_eq!(super::told(&error), "[anchor_set]: a.pem: broken");
    }

    /// One in 64 identifiers in base64url begins like an option.
    #[test]
    fn identifiers_may_begin_with_a_hyphen() {
        const ID: &str = "-JXmVbyTTrGnnEGGqfKTuwLm1nJNkhRZlHHBDnIYtWk";
        let table: [&[&str]; 9] = [
            &["keys", "revoke", ID],
            &["keys", "revoke", ID, "--config", "symbolon.toml"],
            &["client", "show", ID],
            &["client", "remove", ID],
            &["client", "secret", "rotate", ID],
            &["cert", "revoke", "--thumbprint", ID],
            &["anchor", "remove", "--set", "clients", ID],
            &["explain", ID],
            &["explain", "token", ID],
        ];
        for arguments in table {
            let parsed = super::Cli::try_parse_from([&["symbolon"], arguments].concat());
            assert!(parsed.is_ok(), "{arguments:?}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }

    /// Every command that does something shows how it is used, and what it shows is understood.
    #[test]
    fn every_command_has_examples() {
        let mut seen = 0;
        let mut left = vec![(super::Cli::command(), String::from("symbolon"))];
        while let Some((command, name)) = left.pop() {
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                left.push((inner.clone(), format!("{name} {}", inner.get_name())));
            }
            if command.is_subcommand_required_set() || command.get_arguments().next().is_none() && command.has_subcommands() {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| !line.is_empty()).collect();
            assert!(examples.iter().any(|line| line.contains(&name)), "{name}: {help}");
            for line in examples.into_iter().filter(|line| line.contains("symbolon ")) {
                // Each command of the line, as a shell would take it apart; what stands after three blanks or a `#` explains.
                let text = line.replace("$(date +%F)", "2026-11-01");
                let text = text.trim_start().split(" #").next().unwrap_or_default().split("   ").next().unwrap_or_default();
                for part in text.split([';', '|', '<', '>']).flat_map(|part| part.split("&&")) {
                    let Some(at) = part.find("symbolon ") else { continue };
                    let unquoted = part[at..].split('\'').enumerate();
                    let words = unquoted.flat_map(|(number, words)| match number % 2 {
                        0 => words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                        _ => vec![words.to_owned()],
                    });
                    let parsed = super::Cli::try_parse_from(words);
                    assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
