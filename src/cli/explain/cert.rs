//! `symbolon explain cert`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::super::cert::date;
use super::super::{ConfigArgument, print};
use super::Lines;
use crate::app::{fetch_lists, load_stored_anchors, open_store};
use crate::clients::{Authentication, Client, Published};
use crate::config::Loaded;
use crate::domain::{ClientId, Clock as _, SystemClock, Timestamp};
use crate::jose::digest::sha256;
use crate::jose::random::SystemRandomness;
use crate::pki::ocsp::OcspStatus;
use crate::pki::path::Path as CertificatePath;
use crate::pki::{Certificate, DistinguishedName, pem};
use crate::store::Store;
use crate::trust::revocation::RevocationRules;
use crate::trust::{AnchorOrigin, AnchorSet, AnchorSets, OcspKnowledge, RevocationMode, StoredAnchors};

const DAY_SECONDS: u64 = 86_400;
/// Rules read at once.
const PAGE: i64 = 1_000;

/// What a certificate says, who accepts it, and what registration would
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon explain cert alice.pem
  symbolon explain cert alice.pem --client alice
  symbolon explain cert chain.pem --anchors partners --config gateway.toml")]
pub struct Cert {
    /// A PEM file: the certificate, and behind it what the client sends with it
    file: PathBuf,
    /// A registered client, whose registration and anchor set are compared with it
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    /// An anchor set to be judged against; more than once for several. Default: every one that the configuration has
    #[arg(long, value_name = "SET")]
    anchors: Vec<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Cert {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = self.config.load()?;
        let chain = pem::load_certificates(&self.file)?;
        let from = format!("{} (a file: nobody has shown that he holds the key)", self.file.display());
        let asked = Asked { loaded: &loaded, client: self.client.as_ref(), is_named: true, anchors: &self.anchors };
        let mut lines = Lines::default();
        asked.explain(&mut lines, &from, &chain).await?;
        print(lines.0)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whom a certificate is put beside.
pub(super) struct Asked<'a> {
    pub(super) loaded: &'a Loaded,
    /// The client whose registration it may be.
    pub(super) client: Option<&'a ClientId>,
    /// Whether the operator named that client, and so wants to hear that there is none.
    pub(super) is_named: bool,
    /// The anchor sets; none: every one that the configuration has.
    pub(super) anchors: &'a [String],
}

impl Asked<'_> {
    /// Everything that can be told of a certificate, and of what came with it: `chain` begins with it.
    pub(super) async fn explain(&self, lines: &mut Lines, from: &str, chain: &[Certificate]) -> anyhow::Result<()> {
        let loaded = self.loaded;
        let now = SystemClock::new().now()?;
        let (certificate, above) = chain.split_first().context("no certificate")?;
        lines.heading("certificate");
        lines.say("from", from);
        describe(lines, certificate, now);
        for above in above {
            lines.say("came with", format!("{} (SPKI SHA-256 {})", above.subject(), above.spki_sha256().to_hex()));
        }

        let store = match &loaded.settings.issuer {
            Some(_) => Some(open_store(loaded, &SystemClock::new(), &SystemRandomness).await?),
            None => None,
        };
        let client = match (self.client, &store) {
            (None, _) => None,
            (Some(_), None) => anyhow::bail!("{} is no authorization server's: it knows no clients", loaded.file.display()),
            (Some(client_id), Some(store)) => match store.client(client_id).await? {
                Some(record) => Some(Client::from_record(&record)?),
                None if self.is_named => anyhow::bail!("there is no client `{client_id}`"),
                None => None,
            },
        };
        let stored = match &store {
            Some(store) if loaded.settings.anchor_set.values().any(|set| set.stored) => load_stored_anchors(store).await?,
            _ => StoredAnchors::default(),
        };
        let sets = AnchorSets::load(&loaded.settings.anchor_set, &loaded.base_dir, Some(&stored)).context("[anchor_set]")?;
        self.judge(lines, sets, chain, client.as_ref(), now).await?;
        revocation(lines, store.as_ref(), certificate).await?;
        if let Some(client) = &client {
            registration(lines, client, certificate, now);
        }
        accepting(lines, certificate);
        if let Some(store) = store {
            store.close().await;
        }
        Ok(())
    }

    /// Every set that is named, one after the other: all that apply at once must accept.
    async fn judge(
        &self,
        lines: &mut Lines,
        sets: AnchorSets,
        shown: &[Certificate],
        client: Option<&Client>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let loaded = self.loaded;
        let (certificate, above) = shown.split_first().context("no certificate")?;
        let chain: Vec<_> = above.iter().map(|certificate| certificate.der().clone()).collect();
        let sets = fetch_lists(loaded, sets, certificate, &chain).await?.load().clone();
        let mut names: BTreeSet<&str> = self.anchors.iter().map(String::as_str).collect();
        names.extend(client.and_then(|client| client.anchor_set.as_deref()));
        if self.anchors.is_empty() {
            names.extend(sets.iter().map(|set| set.name()));
        }
        lines.heading("path");
        if names.is_empty() {
            lines.say("no set", "the configuration has no [anchor_set]: no certificate of any authority is accepted");
        }
        for name in names {
            let set = sets.get(name).with_context(|| format!("there is no [anchor_set.{name}] in {}", loaded.file.display()))?;
            lines.say(&format!("`{name}`"), verdict(set, certificate, above, now));
            for (_, list) in set.revocation_lists().iter() {
                let number = list.number().map(|number| format!(" number {number}")).unwrap_or_default();
                let (from, until) = (date(list.this_update()), date(list.next_update()));
                let fresh = if list.is_current(now) { "in force" } else { "not in force" };
                let text = format!("`{}`{number}: {} revoked, from {from} until {until}, {fresh}", list.issuer(), list.len());
                let parts = std::iter::once(text).chain(sources(loaded, set, &list.digest()));
                lines.say("  revocation list", parts.collect::<Vec<_>>().join(", "));
            }
            for (url, problem) in set.revocation_lists().problems() {
                lines.say("  no list", format!("{url}: {problem}"));
            }
            if let Ok(path) = set.path(certificate, &chain, now) {
                lines.say("  issued", issued(set, &path, shown));
                set.ocsp_knowledge(&path, now).iter().for_each(|known| lines.say("  OCSP", status(known, now)));
            }
        }
        for listener in &loaded.settings.listener {
            for host in &listener.host {
                let named: Vec<_> = listener.anchor_set.iter().chain(&host.anchor_set).map(|name| format!("`{name}`")).collect();
                if !named.is_empty() {
                    let host = host.names.join(", ");
                    lines.say("asked for by", format!("{host} on listener `{}`: {}", listener.name, named.join(" and ")));
                }
            }
        }
        Ok(())
    }
}

/// Where a list has come from: files of the set that hold it now, and URLs.
fn sources(loaded: &Loaded, set: &AnchorSet, digest: &[u8; 32]) -> Vec<String> {
    let holds = |file: &Path| {
        let lists = pem::load_revocation_lists(file).unwrap_or_default();
        lists.iter().any(|der| sha256(der) == *digest)
    };
    let named = loaded.settings.anchor_set.get(set.name()).map(|settings| settings.crl_files.as_slice()).unwrap_or_default();
    let files = named.iter().flat_map(|named| pem::files_of(&loaded.resolve(named)).unwrap_or_default());
    let files = files.filter(|file| holds(file)).map(|file| format!("from `{}`", file.display()));
    files.chain(set.list_urls(digest).into_iter().map(|url| format!("fetched from {url}"))).collect()
}

/// The subjects of a path, from the certificate upwards.
fn issued(set: &AnchorSet, path: &CertificatePath, shown: &[Certificate]) -> String {
    let left_out = set.intermediates().iter().filter_map(|der| Certificate::from_der(der.clone()).ok());
    let known: Vec<Certificate> = shown.iter().cloned().chain(left_out).chain(set.anchors().certificates().cloned()).collect();
    let mut text = shown.first().map(|certificate| format!("`{}`", certificate.subject())).unwrap_or_default();
    for link in path.links() {
        let issuer = known.iter().find(|issuer| issuer.thumbprint() == link.issuer_certificate);
        text += &issuer.map(|issuer| format!(" by `{}`", issuer.subject())).unwrap_or_default();
    }
    text
}

/// What a responder says, how old it is, and who signed it.
fn status(known: &OcspKnowledge, now: Timestamp) -> String {
    let mut text = format!("number {}, from {}:", known.serial, known.url);
    if let Some(answer) = &known.answer {
        let said = match answer.status {
            OcspStatus::Good => "good".to_owned(),
            OcspStatus::Revoked { since, reason } => format!("revoked since {} ({})", date(since), reason.name()),
        };
        let fresh = if answer.next_update < now { "not in force" } else { "in force" };
        text += &format!(" {said}, from {} until {}, {fresh}", date(answer.this_update), date(answer.next_update));
        if let Some(delegate) = &answer.delegate {
            let serial = delegate.serial.map(|serial| serial.to_string()).unwrap_or_default();
            text += &format!(", signed by a responder whose own certificate (number {serial}) lists are asked about");
        }
    }
    match &known.problem {
        Some(problem) if known.answer.is_some() => format!("{text}; {problem}"),
        Some(problem) => format!("{text} {problem}"),
        None => text,
    }
}

/// What a certificate says, in the words that registrations use.
fn describe(lines: &mut Lines, certificate: &Certificate, now: Timestamp) {
    names(lines, "subject", certificate.subject());
    names(lines, "issuer", certificate.issuer());
    lines.say("serial", certificate.serial_hex());
    lines.say("version", certificate.version().to_string());
    lines.say("key", certificate.key().to_string());
    let sans = certificate.sans();
    sans.dns.iter().for_each(|name| lines.say("SAN DNS", name));
    sans.uri.iter().for_each(|name| lines.say("SAN URI", name));
    sans.ip.iter().for_each(|address| lines.say("SAN IP", address.to_string()));
    sans.email.iter().for_each(|address| lines.say("SAN e-mail", address));
    if sans.unread > 0 {
        lines.say("SAN others", format!("{} of kinds that are not looked at (such as otherName)", sans.unread));
    }
    lines.say("not before", date(certificate.not_before()));
    let left = match certificate.check_dates(now) {
        Ok(()) => format!("{} days left", certificate.not_after().seconds_since(now) / DAY_SECONDS),
        Err(error) => format!("refused: {}", error.reason()),
    };
    lines.say("not after", format!("{} ({left})", date(certificate.not_after())));
    let usages = certificate.extended_key_usages().map_or_else(|| "it does not say".to_owned(), |usages| usages.join(" "));
    lines.say("usages", usages);
    lines.say("x5t#S256", certificate.thumbprint().to_string());
    lines.say("in hexadecimal", certificate.thumbprint().to_hex());
    lines.say("SPKI SHA-256", certificate.spki_sha256().to_hex());
}

fn names(lines: &mut Lines, what: &str, name: &DistinguishedName) {
    if name.is_empty() {
        return lines.say(what, "(empty)");
    }
    lines.say(what, name.to_string());
    if what == "subject" {
        lines.say("  RFC 2253", name.rfc_2253());
        lines.say("  OpenSSL", name.openssl());
        lines.say("  by number", name.by_number());
    }
}

fn verdict(set: &AnchorSet, certificate: &Certificate, above: &[Certificate], now: Timestamp) -> String {
    if set.anchors().is_empty() {
        return "refused: certificate_no_anchors: the set is empty".into();
    }
    let chain: Vec<_> = above.iter().map(|certificate| certificate.der().clone()).collect();
    match set.path(certificate, &chain, now) {
        Ok(path) => {
            let anchor = set.anchors().certificates().find(|anchor| anchor.spki_sha256() == path.anchor());
            let subject = anchor.map(|anchor| anchor.subject().to_string()).unwrap_or_default();
            let until = date(path.not_after());
            let lists = set.revocation_lists();
            let listed = match (lists.mode(), set.check_revocation(&path, now)) {
                (_, Err(error)) => return format!("refused: {}: {error}", error.reason()),
                (RevocationMode::Off, _) => "revocation is not looked at".to_owned(),
                (RevocationMode::Soft, _) => "nobody says that it is revoked".to_owned(),
                (RevocationMode::Hard, Ok(until)) => {
                    format!("known until {} not to be revoked", until.map(date).unwrap_or_default())
                }
            };
            let origins: Vec<_> = set.origins(path.anchor()).iter().map(origin).collect();
            format!(
                "accepted by `{subject}` (SPKI SHA-256 {}, from {}), every date on the path holds until {until}, {listed}",
                path.anchor().to_hex(),
                origins.join(" and ")
            )
        }
        Err(error) => format!("refused: {}: {error}", error.reason()),
    }
}

fn origin(origin: &AnchorOrigin) -> String {
    match origin {
        AnchorOrigin::File(file) => format!("`{}`", file.display()),
        AnchorOrigin::Store => "the store".to_owned(),
    }
}

async fn revocation(lines: &mut Lines, store: Option<&Store>, certificate: &Certificate) -> anyhow::Result<()> {
    lines.heading("revocation");
    match store {
        None => lines.say("source", "rules of the authorization server, which the gateway follows: ask there"),
        Some(store) => {
            let mut rules = RevocationRules::default();
            loop {
                let page = store.revocation_rules(rules.sequence(), PAGE).await?;
                if page.is_empty() {
                    break;
                }
                rules = rules.with(page);
            }
            let (count, sequence) = (rules.len(), rules.sequence());
            lines.say("source", format!("{count} rules in the database, read now, up to number {sequence}"));
            let verdict = match rules.check_certificate(certificate) {
                Ok(()) => "no rule names this certificate".to_owned(),
                Err(revoked) => format!("refused: {}: {revoked}", revoked.reason()),
            };
            lines.say("verdict", verdict);
        }
    }
    Ok(())
}

fn registration(lines: &mut Lines, client: &Client, certificate: &Certificate, now: Timestamp) {
    lines.heading(&format!("client `{}`", client.client_id));
    lines.say("method", client.authentication.method().name());
    let matched = match &client.authentication {
        Authentication::TlsClientAuth(matcher) => matcher.check(certificate),
        Authentication::SelfSignedTlsClientAuth(Published::Here(registered)) => registered.check(certificate, now),
        Authentication::SelfSignedTlsClientAuth(Published::At(uri)) => {
            return lines.say("verdict", format!("one of those at {}, which the server asks: not looked at here", uri.url()));
        }
        _ => return lines.say("verdict", "this method does not look at certificates"),
    };
    let verdict = match matched {
        Ok(_) => "this is the registered one".to_owned(),
        Err(error) => format!("refused: {}: {error}", error.reason()),
    };
    lines.say("verdict", verdict);
}

/// What a registration would have to say to accept this certificate: any one of these.
fn accepting(lines: &mut Lines, certificate: &Certificate) {
    lines.heading("would be accepted by any one of");
    let mut say = |value: serde_json::Value| lines.say("metadata", value.to_string());
    if !certificate.subject().is_empty() {
        say(json!({ "tls_client_auth_subject_dn": certificate.subject().to_string() }));
    }
    let sans = certificate.sans();
    // A wildcard cannot be registered.
    for name in sans.dns.iter().filter(|name| !name.contains('*')) {
        say(json!({ "tls_client_auth_san_dns": name }));
    }
    sans.uri.iter().for_each(|uri| say(json!({ "tls_client_auth_san_uri": uri })));
    sans.ip.iter().for_each(|address| say(json!({ "tls_client_auth_san_ip": address })));
    sans.email.iter().for_each(|address| say(json!({ "tls_client_auth_san_email": address })));
    lines.say("or by itself", "`symbolon client add ID --self-signed-certificate FILE`");
}
