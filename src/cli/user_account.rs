//! `symbolon user unlink-account`.

use anyhow::{Context as _, bail};
use clap::Args;

use super::user::{named, now, open};
use super::{ConfigArgument, print};
use crate::domain::AccountLinkId;
use crate::store::Unlinked;

/// Take an account at another provider away from a person, and end their sessions
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user unlink-account alice 3q2-7wAAAAAAAAAAAAAAAA")]
pub struct UnlinkAccount {
    /// The username
    username: String,
    /// The link, as `symbolon user show` has it
    link: String,
    #[command(flatten)]
    config: ConfigArgument,
}

impl UnlinkAccount {
    pub async fn run(self) -> anyhow::Result<()> {
        let link: AccountLinkId = self.link.parse().with_context(|| format!("`{}`", self.link))?;
        let open = open(&self.config.load()?).await?;
        let unlinked = async {
            let person = named(&open, &self.username).await?;
            anyhow::Ok(open.people.unlink_account_of(&person.subject, &link, now()?).await?)
        };
        let unlinked = unlinked.await;
        open.close().await;
        match unlinked? {
            Unlinked::Now(_) => print(format!("{} has {link} no more: sessions ended\n", self.username)),
            Unlinked::Absent | Unlinked::LastWayIn => {
                bail!("{} has no such account; `symbolon user show` lists them", self.username)
            }
        }
    }
}
