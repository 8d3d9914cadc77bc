//! `symbolon explain`: why was I refused?

mod cert;
mod request;
mod token;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ConfigArgument;
use crate::pki::name::must_be_hex;

/// Say why a request, a certificate or a token was refused
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  symbolon explain 3q2-7wAAAAAAAAAAAAAAAA --config gateway.toml
  symbolon explain 3q2-7wAAAAAAAAAAAAAAAA --event | jq .reason
  symbolon explain cert alice.pem --client alice
  symbolon explain token --cert alice.pem < token.txt")]
pub struct Explain {
    #[command(subcommand)]
    what: Option<What>,
    /// The X-Request-Id that the caller was told: a running process is asked about it
    #[arg(allow_hyphen_values = true, required = true)]
    request_id: Option<String>,
    /// Tell the event alone, as JSON, and nothing of the certificate
    #[arg(long)]
    event: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a certificate says, who accepts it, and what registration would
    Cert(cert::Cert),
    /// What an access token says, whether it stands, and whose certificate it is bound to
    Token(token::Token),
}

impl Explain {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match (self.what, self.request_id) {
            (Some(What::Cert(cert)), _) => cert.run().await,
            (Some(What::Token(token)), _) => token.run().await,
            (None, Some(request_id)) => request::explain(&self.config, request_id, self.event).await,
            (None, None) => anyhow::bail!("name a request, `cert` or `token`"),
        }
    }
}

/// Lines of `name  value`, told one under the other.
#[derive(Debug, Default)]
struct Lines(String);

impl Lines {
    /// One line, whatever the value is: it may be a stranger's, and neither moves the terminal nor looks like another line.
    fn say(&mut self, name: &str, value: impl AsRef<str>) {
        use std::fmt::Write as _;
        // A `String` takes everything.
        let _ = write!(self.0, "  {name:<14} ");
        for character in value.as_ref().chars() {
            let _ = match must_be_hex(character) {
                true => write!(self.0, "{}", character.escape_unicode()),
                false => write!(self.0, "{character}"),
            };
        }
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0 = format!("{}{gap}{text}\n", self.0);
    }
}
