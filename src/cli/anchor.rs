//! `symbolon anchor add|list|remove`: authorities of anchor sets that are in the store.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::cert::date;
use super::{ConfigArgument, print};
use crate::app::{check_stored, open_store};
use crate::config::Loaded;
use crate::domain::{Clock as _, SystemClock, Thumbprint, ThumbprintError, Timestamp};
use crate::jose::random::SystemRandomness;
use crate::pki::{Certificate, pem};
use crate::store::{AnchorAdded, AnchorRecord, AnchorRow, MOST_ANCHORS, Store};
use crate::trust::StoredAnchors;

/// Bytes that a label may have.
const LABEL_BYTES: usize = 128;

/// Add, list and remove authorities that are in the store
#[derive(Debug, Subcommand)]
pub enum Anchor {
    /// Accept an authority in an anchor set, on every server with this database
    Add(Add),
    /// List the authorities that are in the store
    List(List),
    /// Accept an authority no more, on every server with this database
    Remove(Remove),
}

/// Accept an authority in an anchor set, on every server with this database
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon anchor add --set clients partner-ca.pem
  symbolon anchor add --set clients old-ca.pem new-ca.pem --label 'Partner, until May'

The set must have `stored = true` in the configuration. Every running server with this database accepts what it issues within a second.
Another certificate of a key that is there takes the place of the first. Gateways have no database: they are told by their files.")]
pub struct Add {
    /// The anchor set, `[anchor_set.NAME]`
    #[arg(long, value_name = "NAME")]
    set: String,
    /// PEM files with certificates of authorities
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What you call them
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    #[command(flatten)]
    config: ConfigArgument,
}

/// List the authorities that are in the store
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon anchor list
  symbolon anchor list --set clients

Authorities in files are not listed: `symbolon explain cert FILE` says which one accepts a certificate, and from where it is.")]
pub struct List {
    /// Those of this anchor set alone
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Accept an authority no more, on every server with this database
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon anchor remove --set clients 9f0c6a52e1d24c3b8a7f60518293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5
  symbolon anchor remove --set clients A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0

Every running server with this database refuses what it has issued within a second, also on connections that are open. The same authority
in a file of the set counts on.")]
pub struct Remove {
    /// The anchor set, `[anchor_set.NAME]`
    #[arg(long, value_name = "NAME")]
    set: String,
    /// SHA-256 of its public key (SubjectPublicKeyInfo) or of its certificate, in base64url or hexadecimal
    #[arg(value_name = "SPKI-OR-THUMBPRINT", allow_hyphen_values = true, value_parser = digest)]
    anchor: Thumbprint,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Both spellings that `anchor list`, `cert show` and `openssl` print.
fn digest(text: &str) -> Result<Thumbprint, ThumbprintError> {
    match text.parse() {
        Err(ThumbprintError::Hexadecimal(digest) | ThumbprintError::Colons(digest)) => Ok(digest),
        parsed => parsed,
    }
}

impl Anchor {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run().await,
            Self::List(list) => list.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

async fn open(loaded: &Loaded) -> anyhow::Result<Store> {
    open_store(loaded, &SystemClock::new(), &SystemRandomness).await
}

impl Add {
    pub async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        consenting(&loaded, &self.set)?;
        if self.label.len() > LABEL_BYTES {
            bail!("--label has {} bytes: at most {LABEL_BYTES}", self.label.len());
        }
        let mut certificates = Vec::new();
        for file in &self.files {
            for certificate in pem::load_certificates(file)? {
                // The same judgement as of files.
                let judged = StoredAnchors::default().add(&self.set, certificate.clone());
                judged.with_context(|| file.display().to_string())?;
                certificates.push(certificate);
            }
        }
        let now = SystemClock::new().now()?;
        let store = open(&loaded).await?;
        let told = self.add(&loaded, &store, &certificates, now).await;
        store.close().await;
        print(told?)
    }

    async fn add(&self, loaded: &Loaded, store: &Store, certificates: &[Certificate], now: Timestamp) -> anyhow::Result<String> {
        // As a server would have it. A row that is of no use is told by `anchor list` and may be what this one is to take the place of.
        let mut stored = StoredAnchors::default();
        for AnchorRow { set, opened, .. } in store.anchors().await? {
            if let Ok(record) = opened {
                stored.add(&set, record.certificate)?;
            }
        }
        for certificate in certificates {
            stored.add(&self.set, certificate.clone())?;
        }
        check_stored(loaded, &stored)?;
        let mut told = String::new();
        for certificate in certificates {
            let record = AnchorRecord { certificate: certificate.clone(), label: self.label.clone(), added: now };
            let done = match store.add_anchor(&self.set, &record).await? {
                AnchorAdded::Now => "added",
                AnchorAdded::Instead => "added in place of another certificate of this key:",
                AnchorAdded::Already => "already there:",
                AnchorAdded::TooMany => bail!(
                    "{told}[anchor_set.{}] has {MOST_ANCHORS} authorities in the store: remove some first (`symbolon anchor remove`)",
                    self.set
                ),
            };
            let (key, subject) = (certificate.spki_sha256().to_hex(), certificate.subject());
            told.push_str(&format!("{done} {key} `{subject}`\n"));
            if let Err(problem) = certificate.check_dates(now) {
                let (from, until) = (date(certificate.not_before()), date(certificate.not_after()));
                let reason = problem.reason();
                told.push_str(&format!(
                    "  warning: {reason}: it is valid from {from} until {until}, and accepts nobody outside of that\n"
                ));
            }
        }
        Ok(told)
    }
}

/// Checks that a set takes anchors from the store.
fn consenting(loaded: &Loaded, set: &str) -> anyhow::Result<()> {
    let (sets, file) = (&loaded.settings.anchor_set, loaded.file.display());
    match sets.get(set) {
        Some(settings) if settings.stored => Ok(()),
        Some(_) => bail!("{file}: [anchor_set.{set}] takes no authorities from the store: set `stored = true` there"),
        None if sets.is_empty() => bail!("{file}: there is no [anchor_set.{set}], nor any other"),
        None => {
            let names: Vec<_> = sets.keys().map(|name| format!("`{name}`")).collect();
            bail!("{file}: there is no [anchor_set.{set}]: there are {}", names.join(", "))
        }
    }
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let store = open(&loaded).await?;
        let rows = store.anchors().await;
        store.close().await;
        let mut text = String::new();
        for row in rows?.into_iter().filter(|row| self.set.as_ref().is_none_or(|set| *set == row.set)) {
            let AnchorRow { set, spki, opened } = row;
            let in_force = match loaded.settings.anchor_set.get(&set) {
                Some(settings) if settings.stored => "",
                Some(_) => " (not in force: the configuration has no `stored = true` there)",
                None => " (not in force: the configuration has no such set)",
            };
            text.push_str(&format!("[anchor_set.{set}]{in_force}\n"));
            match opened {
                Ok(record) => text.push_str(&told(&record)),
                Err(problem) => text.push_str(&format!("  key          {spki}\n  of no use    {problem}\n")),
            }
        }
        if text.is_empty() {
            text.push_str("no authority is in the store\n");
        }
        print(text)
    }
}

fn told(record: &AnchorRecord) -> String {
    let AnchorRecord { certificate, label, added } = record;
    let mut text = format!("  subject      {}\n", certificate.subject());
    text.push_str(&format!("  key          {}\n", certificate.spki_sha256().to_hex()));
    text.push_str(&format!("  x5t#S256     {}\n", certificate.thumbprint()));
    text.push_str(&format!("  not after    {}\n", date(certificate.not_after())));
    text.push_str(&format!("  added        {}\n", date(*added)));
    if !label.is_empty() {
        text.push_str(&format!("  label        {}\n", label.escape_default()));
    }
    text
}

impl Remove {
    pub async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let now = SystemClock::new().now()?;
        let store = open(&loaded).await?;
        let told = self.remove(&store, now).await;
        store.close().await;
        print(told?)
    }

    async fn remove(&self, store: &Store, now: Timestamp) -> anyhow::Result<String> {
        let rows = store.anchors().await?;
        let own: Vec<&AnchorRow> = rows.iter().filter(|row| row.set == self.set).collect();
        let is_meant = |row: &&AnchorRow| {
            let certificate = row.opened.as_ref().map(|record| record.certificate.thumbprint());
            row.spki == self.anchor.to_string() || certificate.is_ok_and(|thumbprint| thumbprint == self.anchor)
        };
        let Some(row) = own.into_iter().find(is_meant) else { bail!("{}", self.absent(&rows)) };
        let key: Thumbprint = row.spki.parse().with_context(|| format!("table anchor: key `{}`", row.spki))?;
        let Some(removed) = store.remove_anchor(&self.set, &key, now).await? else { bail!("{}", self.absent(&rows)) };
        let left = match removed.left {
            0 => {
                format!("[anchor_set.{}] has none left in the store: without authorities in files it accepts nobody\n", self.set)
            }
            left => format!("[anchor_set.{}] has {left} left in the store\n", self.set),
        };
        Ok(format!("removed {}\n{left}", key.to_hex()))
    }

    fn absent(&self, rows: &[AnchorRow]) -> String {
        let sets: std::collections::BTreeSet<_> = rows.iter().map(|row| format!("`{}`", row.set)).collect();
        let sets = Vec::from_iter(sets).join(", ");
        let there = if sets.is_empty() { "no set has any".to_owned() } else { format!("sets that have any: {sets}") };
        format!(
            "[anchor_set.{}] has no authority {} in the store ({there}): see `symbolon anchor list`",
            self.set,
            self.anchor.to_hex()
        )
    }
}
