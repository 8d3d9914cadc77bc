//! `symbolon user remove-passkey`.

use anyhow::{Context as _, bail};
use clap::Args;

use super::user::{named, now, open};
use super::{ConfigArgument, print};
use crate::domain::PasskeyId;
use crate::store::{Unlinked, Unlinking};

/// Take a passkey away from a person, and end their sessions
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user remove-passkey alice 3q2-7wAAAAAAAAAAAAAAAA")]
pub struct RemovePasskey {
    /// The username
    username: String,
    /// The passkey, as `symbolon user show` has it
    passkey: String,
    #[command(flatten)]
    config: ConfigArgument,
}

impl RemovePasskey {
    pub async fn run(self) -> anyhow::Result<()> {
        let passkey: PasskeyId = self.passkey.parse().with_context(|| format!("`{}`", self.passkey))?;
        let open = open(&self.config.load()?).await?;
        let removed = async {
            let person = named(&open, &self.username).await?;
            anyhow::Ok(open.people.take_passkey_away(&person.subject, &passkey, Unlinking::Operator, now()?).await?)
        };
        let removed = removed.await;
        open.close().await;
        match removed? {
            Unlinked::Now(_) => print(format!("{} has {passkey} no more: sessions ended\n", self.username)),
            Unlinked::Absent | Unlinked::LastWayIn => {
                bail!("{} has no such passkey; `symbolon user show` lists them", self.username)
            }
        }
    }
}
