//! `symbolon user link-certificate|unlink-certificate`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::user::{named, now, open};
use super::{ConfigArgument, print};
use crate::domain::CertificateLinkId;
use crate::identity::KnownBy;
use crate::pki::pem;
use crate::store::{Linked, Unlinked, Unlinking};

/// Let a person sign in with a certificate
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user link-certificate alice --file alice.pem          # also when it is renewed with the same key
  symbolon user link-certificate alice --file alice.pem --exact  # this one alone
  symbolon user link-certificate alice --name spiffe://example.org/people/alice

The certificate must come from the authorities of [certificate_sign_in] all the same.")]
pub struct LinkCertificate {
    /// The username
    username: String,
    /// The certificate, PEM
    #[arg(long, value_name = "FILE", required_unless_present = "name")]
    file: Option<PathBuf>,
    /// This certificate alone, not its key
    #[arg(long, requires = "file")]
    exact: bool,
    /// Whatever certificate has this name in `name_field`
    #[arg(long, conflicts_with = "file")]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Take a certificate away from a person, and end their sessions
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user unlink-certificate alice 3q2-7wAAAAAAAAAAAAAAAA")]
pub struct UnlinkCertificate {
    /// The username
    username: String,
    /// The link, as `symbolon user show` has it
    link: String,
    #[command(flatten)]
    config: ConfigArgument,
}

impl LinkCertificate {
    pub async fn run(self) -> anyhow::Result<()> {
        let (known_by, title, not_after) = match (&self.file, &self.name) {
            (Some(file), _) => {
                let certificates = pem::load_certificates(file)?;
                let [certificate] = certificates.as_slice() else {
                    bail!("{}: there is more than one certificate; write the person's own alone", file.display());
                };
                let known_by = match self.exact {
                    true => KnownBy::Certificate(certificate.thumbprint()),
                    false => KnownBy::Key(certificate.spki_sha256()),
                };
                (known_by, certificate.subject().to_string(), Some(certificate.not_after()))
            }
            (None, Some(name)) if !name.is_empty() && name.len() <= 255 => (KnownBy::Name(name.clone()), name.clone(), None),
            (None, _) => bail!("--name: write what stands in the certificate, at most 255 bytes"),
        };
        let open = open(&self.config.load()?).await?;
        let linked = async {
            let person = named(&open, &self.username).await?;
            anyhow::Ok(open.people.link(&person.subject, &known_by, &title, not_after, now()?).await?)
        };
        let linked = linked.await;
        open.close().await;
        match linked? {
            Linked::Now => print(format!("{} signs in with {title}\n", self.username)),
            Linked::Taken => bail!("it is linked to an account already: `symbolon user show` tells to which"),
            Linked::TooMany => bail!("{} has as many certificates as there may be: unlink one first", self.username),
            Linked::NoAccount => bail!("{} is disabled", self.username),
        }
    }
}

impl UnlinkCertificate {
    pub async fn run(self) -> anyhow::Result<()> {
        let link: CertificateLinkId = self.link.parse().with_context(|| format!("`{}`", self.link))?;
        let open = open(&self.config.load()?).await?;
        let unlinked = async {
            let person = named(&open, &self.username).await?;
            anyhow::Ok(open.people.unlink(&person.subject, &link, Unlinking::Operator, now()?).await?)
        };
        let unlinked = unlinked.await;
        open.close().await;
        match unlinked? {
            Unlinked::Now(_) => print(format!("{} has {link} no more: sessions ended\n", self.username)),
            Unlinked::Absent | Unlinked::LastWayIn => {
                bail!("{} has no such certificate; `symbolon user show` lists them", self.username)
            }
        }
    }
}
