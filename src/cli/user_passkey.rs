//! `symbolon user remove-passkey`.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::user::{named, now, open};
use super::{ConfigArgument, print};
use crate::app::OpenPeople;
use crate::domain::{PasskeyId, Subject};
use crate::store::{Unlinked, Unlinking};

/// Take a passkey away from a person, and end their sessions
#[derive(Debug, Args)]
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

/// A person's passkeys, for `symbolon user show`.
pub async fn listed(open: &OpenPeople, subject: &Subject) -> anyhow::Result<Value> {
    let passkeys = open.people.passkeys(subject).await?;
    let shown = passkeys.iter().map(|one| {
        json!({
            "passkey": one.passkey,
            "name": one.name,
            "synchronised": one.is_synchronised,
            "created": one.created,
            "used": one.used,
        })
    });
    Ok(shown.collect())
}
