//! `symbolon cert issue`, `symbolon cert show`; see `revoke` for the rest.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::files::{self, Readers};
use super::print;
use super::revoke::{ListRevoked, Restore, Revoke};
use crate::domain::{Clock as _, Lifetime, SystemClock, Timestamp};
use crate::jose::random::SystemRandomness;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest, self_signed};
use crate::pki::name::DistinguishedName;
use crate::pki::{Certificate, pem};

/// Issue a certificate from a development authority, show one, or revoke one
#[derive(Debug, Subcommand)]
pub enum Cert {
    /// Issue a certificate and its private key: NAME.pem and NAME-key.pem
    Issue(Box<Issue>),
    /// Show what a certificate says, in the words that registrations use
    Show(Show),
    /// Revoke a certificate and every token that is bound to it
    Revoke(Revoke),
    /// Take a revocation back
    Restore(Restore),
    /// List what is revoked
    ListRevoked(ListRevoked),
}

/// Issue a certificate and its private key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert issue --dir pki --name alice --client
  symbolon cert issue --dir pki --name server --server --dns as.example --ip 127.0.0.1
  symbolon cert issue --dir pki --name robot --client --self-signed")]
pub struct Issue {
    /// The directory of the authority (ca.pem, ca-key.pem), where the new files go too
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The name of the files, and the common name unless --subject says otherwise
    #[arg(long)]
    name: String,
    /// The whole subject, such as `CN=alice,O=Example` (RFC 4514) or `/O=Example/CN=alice`
    #[arg(long, value_name = "DN")]
    subject: Option<String>,
    /// A DNS name
    #[arg(long)]
    dns: Vec<String>,
    /// An IP address
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// A URI
    #[arg(long)]
    uri: Vec<String>,
    /// An e-mail address
    #[arg(long)]
    email: Vec<String>,
    /// For a TLS client
    #[arg(long, required_unless_present = "server")]
    client: bool,
    /// For a TLS server
    #[arg(long, conflicts_with = "client")]
    server: bool,
    /// Signed by itself instead of the authority, for self_signed_tls_client_auth
    #[arg(long)]
    self_signed: bool,
    /// Days that it is valid
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=825))]
    days: u32,
}

/// Show what a certificate says
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon cert show pki/alice.pem")]
pub struct Show {
    /// A PEM file
    file: PathBuf,
}

impl Cert {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Revoke(revoke) => revoke.run().await?,
            Self::Restore(restore) => restore.run().await?,
            Self::ListRevoked(list) => list.run().await?,
            Self::Issue(issue) => issue.run()?,
            Self::Show(show) => {
                for certificate in pem::load_certificates(&show.file)? {
                    print(description(&certificate))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Issue {
    fn run(self) -> anyhow::Result<()> {
        let now = SystemClock::new().now()?;
        let subject = match &self.subject {
            Some(text) => DistinguishedName::parse(text).with_context(|| format!("--subject \"{text}\""))?,
            None => DistinguishedName::common_name(&self.name),
        };
        let usage = if self.server { CertificateUsage::Server } else { CertificateUsage::Client };
        let mut request = IssueRequest::new(subject, usage, Lifetime::from_seconds(self.days * 86_400));
        request.dns = self.dns;
        request.ip = self.ip;
        request.uri = self.uri;
        request.email = self.email;
        let issued = if self.self_signed {
            files::directory(&self.dir)?;
            self_signed(&request, now, &SystemRandomness)?
        } else {
            authority(&self.dir)?.issue(&request, now, &SystemRandomness)?
        };
        let (certificate, key) = (self.dir.join(format!("{}.pem", self.name)), self.dir.join(format!("{}-key.pem", self.name)));
        files::ensure_absent(&key)?;
        files::ensure_absent(&certificate)?;
        files::create(&key, issued.key_pem.as_bytes(), Readers::Owner)?;
        files::create(&certificate, issued.certificate_pem.as_bytes(), Readers::Everyone)?;
        print(format!("{}\n{}\nx5t#S256  {}\n", certificate.display(), key.display(), issued.certificate.thumbprint()))
    }
}

/// The development authority in a directory.
pub fn authority(dir: &Path) -> anyhow::Result<DevelopmentAuthority> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: make an authority with `symbolon ca init --dir {}`", path.display(), dir.display())
        })
    };
    Ok(DevelopmentAuthority::from_pem(&read("ca.pem")?, &read("ca-key.pem")?)?)
}

fn description(certificate: &Certificate) -> String {
    let mut lines = vec![
        ("subject".to_owned(), certificate.subject().to_string()),
        ("issuer".to_owned(), certificate.issuer().to_string()),
        ("serial".to_owned(), certificate.serial_hex()),
        ("not before".to_owned(), date(certificate.not_before())),
        ("not after".to_owned(), date(certificate.not_after())),
        ("x5t#S256".to_owned(), certificate.thumbprint().to_string()),
        ("SHA-256".to_owned(), certificate.thumbprint().to_hex()),
        ("SPKI SHA-256".to_owned(), certificate.spki_sha256().to_hex()),
    ];
    let sans = certificate.sans();
    let more = |name: &str, values: &mut dyn Iterator<Item = String>| {
        values.map(|value| (format!("SAN {name}"), value)).collect::<Vec<_>>()
    };
    lines.extend(more("DNS", &mut sans.dns.iter().cloned()));
    lines.extend(more("URI", &mut sans.uri.iter().cloned()));
    lines.extend(more("IP", &mut sans.ip.iter().map(ToString::to_string)));
    lines.extend(more("e-mail", &mut sans.email.iter().cloned()));
    lines.into_iter().map(|(name, value)| format!("{name:<13} {value}\n")).chain(["\n".to_owned()]).collect()
}

pub(super) fn date(moment: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(moment.seconds())
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| moment.to_string())
}
