//! `symbolon keys list-seal|rotate-seal|rewrap`: the keys that seal state. Running servers take a change in within a second.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ConfigArgument, print};
use crate::app::open_store;
use crate::domain::{Clock as _, SystemClock, Timestamp};
use crate::jose::random::SystemRandomness;
use crate::store::{SealKeyRecord, SealKeyState, Store};

/// List the seal keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys list-seal --json")]
pub struct ListSeal {
    /// Print JSON, with times in seconds since 1970
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Make a new seal key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys rotate-seal")]
pub struct RotateSeal {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Wrap every seal key by the first master key of the configuration
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys rewrap

A start of the server does the same. To change the master key of a deployment:
  1. add the new [[seal.key]] in the second place, for every process, and restart each
  2. move it to the first place, and restart each; `symbolon keys list-seal` names the key that wraps
  3. take the old one away")]
pub struct Rewrap {
    #[command(flatten)]
    config: ConfigArgument,
}

async fn open(config: &ConfigArgument) -> anyhow::Result<Store> {
    open_store(&config.load()?, &SystemClock::new(), &SystemRandomness).await
}

impl ListSeal {
    pub async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config).await?;
        // Not before: the first key may have been made just now.
        let now = SystemClock::new().now()?;
        let (keys, rows) = tokio::try_join!(store.seal_keys(), store.sealed_rows())?;
        store.close().await;
        let rows = |key: &SealKeyRecord| rows.get(&key.id).copied().unwrap_or_default();
        if self.json {
            let list: Vec<_> = keys
                .iter()
                .map(|key| {
                    json!({
                        "id": key.id.as_str(),
                        "state": key.state(now).name(),
                        "created": key.created,
                        "activates": key.activates,
                        "retired": key.retired,
                        "master_key": key.master_key.as_str(),
                        "rows": rows(key),
                        "can_go": key.can_go(),
                    })
                })
                .collect();
            return print(format!("{:#}\n", json!(list)));
        }
        let mut table =
            format!("{:<16}  {:<8}  {:<20}  {:<16}  {:>10}  CAN GO\n", "SEAL KEY", "STATE", "CREATED", "MASTER KEY", "ROWS");
        for key in &keys {
            let go = match (key.state(now), key.can_go()) {
                (SealKeyState::Retired, Some(moment)) if rows(key) > 0 => format!("once resealed, from {} on", date(moment)?),
                (SealKeyState::Retired, Some(moment)) => format!("from {} on", date(moment)?),
                _ => "-".to_owned(),
            };
            let (state, created) = (key.state(now).name(), date(key.created)?);
            let _ = writeln!(
                table,
                "{}  {state:<8}  {created:<20}  {:<16}  {:>10}  {go}",
                key.id,
                key.master_key.as_str(),
                rows(key)
            );
        }
        print(table)
    }
}

impl RotateSeal {
    pub async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config).await?;
        let now = SystemClock::new().now()?;
        let key = store.rotate_seal_key(&SystemRandomness, now).await?;
        store.close().await;
        let seconds = key.activates.seconds_since(now);
        print(format!("seal key {} seals in {seconds} seconds; running servers then reseal what older keys sealed\n", key.id))
    }
}

impl Rewrap {
    pub async fn run(self) -> anyhow::Result<()> {
        // Opening does it.
        let store = open(&self.config).await?;
        let keys = store.seal_keys().await?;
        let masters: Vec<String> = store.master_keys().key_ids().map(|id| format!("`{id}`")).collect();
        store.close().await;
        let (first, others) = masters.split_first().context("no master key")?;
        let mut text = format!("master key {first} wraps every seal key ({})\n", keys.len());
        if !others.is_empty() {
            let _ = writeln!(text, "no longer needed, once every process starts with {first} first: {}", others.join(", "));
        }
        print(text)
    }
}

fn date(moment: Timestamp) -> anyhow::Result<String> {
    Ok(OffsetDateTime::from_unix_timestamp(moment.seconds())?.format(&Rfc3339)?)
}
