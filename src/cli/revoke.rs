//! `symbolon cert revoke`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{ConfigArgument, print};
use crate::app::open_store;
use crate::domain::{Clock as _, RuleKind, SystemClock, Thumbprint, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::jose::random::SystemRandomness;
use crate::pki::pem;
use crate::store::{NewRule, RuleWindow};

/// When no certificate says until when it could be used: the last second of the year 9999 (RFC 5280 §4.1.2.5).
const FOR_EVER: Timestamp = Timestamp::from_seconds(253_402_300_799);

/// Revoke a certificate: its holder is nobody any more, and every token bound to it is dead
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert revoke alice.pem
  symbolon cert revoke --thumbprint A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0 --note 'laptop lost'

A running server refuses it within a second, and so do gateways that follow the revocation feed. There is no way back: issue a new
certificate.")]
pub struct Revoke {
    /// A PEM file with the certificate; of a chain, the first
    #[arg(required_unless_present = "thumbprint")]
    file: Option<PathBuf>,
    /// Its x5t#S256 instead of the file: SHA-256 of the DER in base64url without padding
    #[arg(long, value_name = "X5T", conflicts_with = "file", allow_hyphen_values = true)]
    thumbprint: Option<Thumbprint>,
    /// A word for the audit trail
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Revoke {
    pub async fn run(self) -> anyhow::Result<()> {
        let (certificate, expires) = match (&self.file, self.thumbprint) {
            (Some(file), _) => {
                let chain = pem::load_certificates(file)?;
                let certificate = chain.first().context("no certificate")?;
                (certificate.thumbprint(), certificate.not_after())
            }
            (None, Some(thumbprint)) => (thumbprint, FOR_EVER),
            (None, None) => anyhow::bail!("name a file or a thumbprint"),
        };
        let store = open_store(&self.config.load()?, &SystemClock::new(), &SystemRandomness).await?;
        let now = SystemClock::new().now()?;
        // A certificate does not come back: what another replica issues before it hears of the rule is hit too.
        let window = RuleWindow { before: FOR_EVER, expires: expires.max(now).plus(crate::oauth::BEYOND_EXPIRY) };
        let rule = NewRule { kind: RuleKind::Certificate, value: certificate.to_string(), window };
        let event = AuditEvent::CertificateRevoked { certificate, note: self.note };
        let revoked = store.revoke(&rule, &Trailed { time: now, event }).await;
        store.close().await;
        let rule = revoked?;
        print(format!("revoked {certificate} (rule {})\n", rule.sequence))
    }
}
