//! `symbolon client secret rotate|list|revoke`. A running server takes a change in within a second.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::client::{open, unknown};
use super::{ConfigArgument, print};
use crate::clients::{Client as Registration, generate_secret};
use crate::domain::{ClientId, Clock as _, Lifetime, SystemClock, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::jose::random::SystemRandomness;
use crate::store::{SecretRecord, SecretReplaced, Store};

/// The longest time that a replaced secret may live on, in hours: a year.
const LONGEST_HOURS: u32 = 8_760;

/// Change the secret of a client without an outage
#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Make another secret and print it, once; the one before it lives on for a while
    Rotate(Rotate),
    /// List the live secrets by number: when each was made, when it ends
    List(List),
    /// End a secret now
    Revoke(Revoke),
}

/// Make another secret
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client secret rotate legacy
  symbolon client secret rotate legacy --keep-old 0

A client has at most two live secrets. The database keeps only what is needed to check them, sealed.")]
pub struct Rotate {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    /// Hours for which the secret before it is still taken; 0 ends it at once
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=i64::from(LONGEST_HOURS)))]
    keep_old: u32,
    #[command(flatten)]
    config: ConfigArgument,
}

/// List the live secrets
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client secret list legacy")]
pub struct List {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    #[command(flatten)]
    config: ConfigArgument,
}

/// End a secret now
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client secret revoke legacy 1")]
pub struct Revoke {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    /// The secret's number, as `symbolon client secret list` has it
    number: u32,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Secret {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Rotate(rotate) => rotate.run().await,
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}

/// A client whose secrets are worked on.
struct Opened {
    store: Store,
    client: Registration,
    known: Option<SecretRecord>,
    now: Timestamp,
}

impl Opened {
    async fn of(config: &ConfigArgument, client_id: &ClientId) -> anyhow::Result<Self> {
        let store = open(&config.load()?).await?;
        let record = store.client(client_id).await?.with_context(|| unknown(client_id))?;
        let client = Registration::from_record(&record).context("the stored registration")?;
        Ok(Self { store, client, known: record.secret, now: SystemClock::new().now()? })
    }

    /// Writes what was changed, unless somebody else was faster.
    async fn replace(&self, changed: &Registration, event: AuditEvent) -> anyhow::Result<()> {
        let (Some(known), Some(next)) = (&self.known, changed.to_record().secret) else {
            bail!("client `{}` has no secret", self.client.client_id);
        };
        let event = Trailed { time: self.now, event };
        let replaced = self.store.replace_client_secret(&self.client.client_id, known, &next, &event).await;
        self.store.close().await;
        match replaced? {
            SecretReplaced::Now => Ok(()),
            SecretReplaced::ChangedMeanwhile => bail!("the client's secrets were changed by somebody else meanwhile: look again"),
        }
    }
}

impl Rotate {
    async fn run(self) -> anyhow::Result<()> {
        let opened = Opened::of(&self.config, &self.client_id).await?;
        let secret = generate_secret(&SystemRandomness)?;
        let others_until = opened.now.plus(Lifetime::from_seconds(self.keep_old * 3_600));
        let (changed, number) = opened.client.with_another_secret(&secret, opened.now, others_until)?;
        let client_id = self.client_id.clone();
        opened.replace(&changed, AuditEvent::ClientSecretAdded { client_id, secret: number, others_until }).await?;
        // Shown here and never again.
        print(format!("secret {number}\nclient_secret {}\n", *secret))?;
        match self.keep_old {
            0 => print("the secret before it is not taken any more\n"),
            _ => print(format!("the secret before it is taken until {}\n", super::cert::date(others_until))),
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let opened = Opened::of(&self.config, &self.client_id).await?;
        opened.store.close().await;
        let mut text = format!("{:<6}  {:<20}  UNTIL\n", "NUMBER", "MADE");
        for life in opened.client.secret_lives(opened.now)? {
            let date = |date: Option<Timestamp>| date.map_or_else(|| "-".to_owned(), |date| super::cert::date(date).to_string());
            text.push_str(&format!("{:<6}  {:<20}  {}\n", life.number, date(life.made), date(life.until)));
        }
        print(text)
    }
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let opened = Opened::of(&self.config, &self.client_id).await?;
        let changed = opened.client.without_secret(self.number, opened.now)?;
        let (client_id, secret) = (self.client_id.clone(), self.number);
        opened.replace(&changed, AuditEvent::ClientSecretRevoked { client_id, secret }).await?;
        print(format!("secret {secret} of {} is not taken any more\n", self.client_id))
    }
}
