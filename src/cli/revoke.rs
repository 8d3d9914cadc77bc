//! `symbolon cert revoke`, `cert restore`, `cert list-revoked`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::cert::date;
use super::{ConfigArgument, print};
use crate::app::open_store;
use crate::domain::{Clock as _, RevocationRule, RuleKind, SystemClock, Thumbprint, ThumbprintError};
use crate::jose::random::SystemRandomness;
use crate::oauth::administration::{FOR_EVER, NamedCertificates};
use crate::pki::crl::Serial;
use crate::pki::{DistinguishedName, pem};
use crate::store::{CertificateRule, Store};

/// Rules read at once.
const PAGE: i64 = 1_000;

/// Revoke a certificate: its holder is nobody any more, and every token bound to it is dead
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert revoke alice.pem
  symbolon cert revoke --thumbprint A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0 --note 'laptop lost'
  symbolon cert revoke --serial 1A:2B --issuer 'CN=Client CA,O=Example'
  symbolon cert revoke alice.pem --by key

A running server refuses it within a second, and so do gateways that follow the revocation feed. By key, every certificate with that key is
meant, also one that is issued later.")]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// A word for the audit trail
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Take a revocation back
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert restore alice.pem
  symbolon cert restore --serial 1A:2B --issuer 'CN=Client CA,O=Example'

Name it as it was revoked: see `symbolon cert list-revoked`. Tokens that were bound to it count again until they expire.")]
pub struct Restore {
    #[command(flatten)]
    which: Which,
    /// A word for the audit trail
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

/// List what is revoked by `cert revoke`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert list-revoked --config symbolon.toml")]
pub struct ListRevoked {
    #[command(flatten)]
    config: ConfigArgument,
}

/// The certificate that is meant.
#[derive(Debug, Args)]
struct Which {
    /// A PEM file with the certificate; of a chain, the first
    #[arg(required_unless_present_any = ["thumbprint", "serial", "key"])]
    file: Option<PathBuf>,
    /// What of the file's certificate counts
    #[arg(long, value_enum, default_value_t, requires = "file")]
    by: By,
    /// Its x5t#S256 instead of the file: SHA-256 of the DER in base64url without padding
    #[arg(long, value_name = "X5T", conflicts_with_all = ["file", "serial", "key"], allow_hyphen_values = true)]
    thumbprint: Option<Thumbprint>,
    /// Its number in hexadecimal, with the name of its issuer
    #[arg(long, value_name = "HEX", conflicts_with_all = ["file", "key"], requires = "issuer", value_parser = serial)]
    serial: Option<Serial>,
    /// The name of the issuer as the certificate has it, such as `CN=Client CA,O=Example` (RFC 4514)
    #[arg(long, value_name = "DN", requires = "serial", value_parser = name)]
    issuer: Option<Box<DistinguishedName>>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), in base64url or hexadecimal
    #[arg(long = "spki", value_name = "SHA256", conflicts_with = "file", allow_hyphen_values = true, value_parser = key)]
    key: Option<Thumbprint>,
}

/// What of a certificate counts.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum By {
    /// This certificate alone
    #[default]
    Thumbprint,
    /// Every certificate of the same issuer's name with the same number
    Serial,
    /// Every certificate with the same key
    Key,
}

fn serial(text: &str) -> Result<Serial, String> {
    Serial::from_hex(text).ok_or_else(|| "not a serial number in hexadecimal of at most twenty octets".to_owned())
}

fn name(text: &str) -> Result<Box<DistinguishedName>, String> {
    DistinguishedName::parse(text).map(Box::new).map_err(|error| error.to_string())
}

/// `symbolon cert show` and `openssl` print keys in hexadecimal.
fn key(text: &str) -> Result<Thumbprint, ThumbprintError> {
    match text.parse() {
        Err(ThumbprintError::Hexadecimal(key) | ThumbprintError::Colons(key)) => Ok(key),
        parsed => parsed,
    }
}

impl Which {
    fn named(&self) -> anyhow::Result<NamedCertificates> {
        if let Some(file) = &self.file {
            let chain = pem::load_certificates(file)?;
            let kind = match self.by {
                By::Thumbprint => RuleKind::Certificate,
                By::Serial => RuleKind::CertificateSerial,
                By::Key => RuleKind::CertificateKey,
            };
            let named = NamedCertificates::of(chain.first().context("no certificate")?, kind);
            return named.context("its serial number is longer than twenty octets");
        }
        Ok(match (self.thumbprint, self.serial, &self.issuer, self.key) {
            (Some(thumbprint), ..) => NamedCertificates::by_thumbprint(&thumbprint),
            (None, Some(serial), Some(issuer), _) => NamedCertificates::by_serial(serial, issuer),
            (None, None, _, Some(key)) => NamedCertificates::by_key(&key),
            _ => bail!("name a file, a thumbprint, a serial number with its issuer, or a key"),
        })
    }
}

async fn open(config: &ConfigArgument) -> anyhow::Result<Store> {
    open_store(&config.load()?, &SystemClock::new(), &SystemRandomness).await
}

impl Revoke {
    pub async fn run(self) -> anyhow::Result<()> {
        let named = self.which.named()?;
        let store = open(&self.config).await?;
        let revoked = named.revoke(&store, self.note, SystemClock::new().now()?).await;
        store.close().await;
        print(told("revoked", &revoked?))
    }
}

impl Restore {
    pub async fn run(self) -> anyhow::Result<()> {
        let named = self.which.named()?;
        let store = open(&self.config).await?;
        let restored = named.restore(&store, self.note, SystemClock::new().now()?).await;
        store.close().await;
        match restored? {
            Some(rules) => print(told("restored", &rules)),
            None => bail!("no rule in force revokes {} {}: see `symbolon cert list-revoked`", word(named.kind), named.value),
        }
    }
}

impl ListRevoked {
    pub async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config).await?;
        let mut text = format!("{:<8}  {:<11}  {:<20}  WHICH\n", "RULE", "BY", "UNTIL");
        let mut after = 0;
        loop {
            let page = store.certificate_rules(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.rule.sequence;
            for CertificateRule { rule, because } in page {
                let because = because.map(|because| format!("  (with {because})")).unwrap_or_default();
                let until = if rule.expires >= FOR_EVER { "for ever".to_owned() } else { date(rule.expires) };
                let (sequence, by, value) = (rule.sequence, word(rule.kind), rule.value);
                text.push_str(&format!("{sequence:<8}  {by:<11}  {until:<20}  {value}{because}\n"));
            }
        }
        store.close().await;
        print(text)
    }
}

fn word(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::CertificateSerial => "serial",
        RuleKind::CertificateKey => "key",
        _ => "thumbprint",
    }
}

/// The rule that was named, and those that were made for it.
fn told(done: &str, rules: &[RevocationRule]) -> String {
    let mut text = String::new();
    for (position, rule) in rules.iter().enumerate() {
        let indent = if position == 0 { "" } else { "  with it: " };
        text.push_str(&format!("{indent}{done} {} (rule {})\n", rule.value, rule.sequence));
    }
    text
}
