//! `symbolon ca init`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::files::{self, Readers};
use super::print;
use crate::domain::{Clock as _, Lifetime, SystemClock};
use crate::jose::random::SystemRandomness;
use crate::pki::authority::DevelopmentAuthority;

/// Make a certification authority for development
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Make the authority's certificate (ca.pem) and private key (ca-key.pem)
    Init(Init),
}

/// Make the authority's certificate and private key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon ca init --dir pki && symbolon cert issue --dir pki --name alice --client

This authority is for development: it keeps its key in a file and publishes no revocation.")]
pub struct Init {
    /// Where the files go
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The common name of the authority
    #[arg(long, default_value = "Symbolon development CA")]
    name: String,
    /// Days that the authority is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

impl Ca {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Init(init) = self;
        let now = SystemClock::new().now()?;
        let validity = Lifetime::from_seconds(init.days * 86_400);
        let authority = DevelopmentAuthority::generate(&init.name, now, validity, &SystemRandomness)?;
        files::directory(&init.dir)?;
        let (certificate, key) = (init.dir.join("ca.pem"), init.dir.join("ca-key.pem"));
        files::ensure_absent(&key)?;
        files::ensure_absent(&certificate)?;
        files::create(&key, authority.key_pem().as_bytes(), Readers::Owner)?;
        files::create(&certificate, authority.certificate_pem().as_bytes(), Readers::Everyone)?;
        print(format!("{}\n{}\n", certificate.display(), key.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
