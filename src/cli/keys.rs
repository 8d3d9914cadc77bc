//! `symbolon keys list|rotate|revoke`, and what is said about the keys that seal in `seal_keys`. A running server takes a change in
//! within a second.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::seal_keys::{ListSeal, Rewrap, RotateSeal};
use super::{ConfigArgument, print};
use crate::app::open_store;
use crate::config::Loaded;
use crate::domain::{Clock as _, KeyId, SystemClock, Timestamp};
use crate::jose::Algorithm;
use crate::jose::random::SystemRandomness;
use crate::keys::{Keeper, KeyPlan, SigningKeys};
use crate::store::{SigningKeyState, Store};

/// List, rotate and revoke the keys that sign and the keys that seal
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List the signing keys: which sign, which will, which are published until the last token they signed has expired
    List(List),
    /// Publish a new signing key, which takes over when every verifier has had time to see it
    Rotate(Rotate),
    /// Revoke a signing key that was stolen: everything it signed is refused from now on
    Revoke(Revoke),
    /// List the seal keys: who wraps them, what is still under them, when they can go
    ListSeal(ListSeal),
    /// Make a new seal key; it seals a few seconds later, and running servers reseal what older ones sealed
    RotateSeal(RotateSeal),
    /// Wrap every seal key by the first master key of the configuration
    Rewrap(Rewrap),
}

/// List the signing keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys list")]
pub struct List {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Publish a new signing key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys rotate
  symbolon keys rotate --algorithm PS256 --now")]
pub struct Rotate {
    /// The algorithm whose key is rotated; without it, that of access tokens
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// Let the new key sign at once. Verifiers that do not fetch keys for an unknown `kid` refuse its tokens until they do
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Revoke a signing key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon keys revoke -JXmVbyTTrGnnEGGqfKTuwLm1nJNkhRZlHHBDnIYtWk

Every token that the key signed is refused: by this server at once, by gateways that follow the revocation feed within
a second, elsewhere when verifiers fetch the keys again. Clients have to ask for new tokens.")]
pub struct Revoke {
    /// The key's `kid`
    #[arg(allow_hyphen_values = true)]
    key_id: KeyId,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Keys {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(List { config }) => list(&Opened::of(&config).await?).await?,
            Self::Rotate(rotate) => rotate.run().await?,
            Self::Revoke(revoke) => revoke.run().await?,
            Self::ListSeal(list) => list.run().await?,
            Self::RotateSeal(rotate) => rotate.run().await?,
            Self::Rewrap(rewrap) => rewrap.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A deployment's keys, to be worked on.
struct Opened {
    store: Store,
    plan: KeyPlan,
    now: Timestamp,
}

impl Opened {
    async fn of(config: &ConfigArgument) -> anyhow::Result<Self> {
        let loaded: Loaded = config.load()?;
        let plan = KeyPlan::of(&loaded.settings).context("[signing]")?;
        let clock = SystemClock::new();
        let store = open_store(&loaded, &clock, &SystemRandomness).await?;
        Ok(Self { store, plan, now: clock.now()? })
    }

    fn keeper(&self) -> Keeper<'_> {
        Keeper { store: &self.store, randomness: &SystemRandomness }
    }
}

async fn list(opened: &Opened) -> anyhow::Result<()> {
    let keys = SigningKeys::load(&opened.store).await?;
    let mut text = format!("{:<43}  {:<9}  {:<7}  SINCE\n", "KID", "ALGORITHM", "STATE");
    for life in keys.lives() {
        let since = match life.state {
            SigningKeyState::Next => life.created,
            SigningKeyState::Current => life.activated.unwrap_or(life.created),
            SigningKeyState::Retired => life.retired.unwrap_or(life.created),
        };
        let since = super::cert::date(since);
        text.push_str(&format!("{:<43}  {:<9}  {:<7}  {since}\n", life.key_id, life.algorithm.name(), life.state.code()));
    }
    opened.store.close().await;
    print(text)
}

impl Rotate {
    async fn run(self) -> anyhow::Result<()> {
        let opened = Opened::of(&self.config).await?;
        let next = opened.keeper().rotate_planned(&opened.plan, self.algorithm, self.now, opened.now).await?;
        opened.store.close().await;
        if self.now {
            return print(format!("{} signs from now on\n", next.key_id));
        }
        let hours = opened.plan.ahead.seconds() / 3600;
        print(format!("{} is published, and signs as soon as it has been for {hours} hours\n", next.key_id))
    }
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let opened = Opened::of(&self.config).await?;
        let revoked = opened.keeper().revoke(&self.key_id, opened.now).await?;
        opened.store.close().await;
        match revoked {
            Some(life) => print(format!("revoked {}; what it signed is refused\n", life.key_id)),
            None => bail!("there is no signing key `{}`: see `symbolon keys list`", self.key_id),
        }
    }
}
