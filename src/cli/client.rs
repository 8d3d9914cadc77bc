//! `symbolon client add|list|show|remove|apply`. A running server takes a change in within a second.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{ConfigArgument, print};
use crate::app::open_store;
use crate::clients::{Client as Registration, RegisteredCertificate, removal_window};
use crate::config::Loaded;
use crate::domain::{ClientId, Clock as _, Lifetime, SystemClock};
use crate::jose::random::SystemRandomness;
use crate::keys::KeyPlan;
use crate::oauth::resources::{LONGEST_LIFETIME_SECONDS, Resources};
use crate::pki::pem;
use crate::store::{Put, PutMode, Store};

/// The largest file of registrations that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Register, list, show and remove clients
#[derive(Debug, Subcommand)]
pub enum Client {
    /// Register a client
    Add(Box<Add>),
    /// List every client
    List(List),
    /// Show a registration as JSON
    Show(Show),
    /// Remove a client and revoke its tokens
    Remove(Remove),
    /// Make registrations what a file says; running it again changes nothing
    Apply(Apply),
}

/// Register a client
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client add alice --subject-dn CN=alice --resource https://api.example --scope 'read write'
  symbolon client add robot --self-signed-certificate robot.pem --resource https://api.example
  symbolon client add gateway --san-dns gateway.internal --no-grants")]
pub struct Add {
    /// The client_id
    client_id: ClientId,
    #[command(flatten)]
    identity: Identity,
    /// The anchor set that the certificate must come from, beside the host's
    #[arg(long, value_name = "NAME")]
    anchor_set: Option<String>,
    /// A resource it may ask tokens for; the first is the default
    #[arg(long = "resource", value_name = "IDENTIFIER")]
    resources: Vec<String>,
    /// The scope it may ask for, separated by spaces
    #[arg(long, default_value = "")]
    scope: String,
    /// It may use no grant: for gateways and resource servers that only introspect
    #[arg(long)]
    no_grants: bool,
    /// Bind its tokens to the key of a DPoP proof (RFC 9449) instead of its certificate
    #[arg(long, conflicts_with = "danger_unbound_tokens")]
    dpop: bool,
    /// Give it plain bearer tokens, worth as much in a thief's hands
    #[arg(long)]
    danger_unbound_tokens: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// What the client's certificate must be: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Identity {
    /// tls_client_auth: the subject, such as `CN=alice,O=Example` or `/O=Example/CN=alice`
    #[arg(long, value_name = "DN")]
    subject_dn: Option<String>,
    /// tls_client_auth: a DNS name in the certificate
    #[arg(long, value_name = "NAME")]
    san_dns: Option<String>,
    /// tls_client_auth: a URI in the certificate
    #[arg(long, value_name = "URI")]
    san_uri: Option<String>,
    /// tls_client_auth: an IP address in the certificate
    #[arg(long, value_name = "ADDRESS")]
    san_ip: Option<String>,
    /// tls_client_auth: an e-mail address in the certificate
    #[arg(long, value_name = "ADDRESS")]
    san_email: Option<String>,
    /// self_signed_tls_client_auth: a PEM file with one or more certificates, any of which the client may show
    #[arg(long, value_name = "FILE")]
    self_signed_certificate: Option<PathBuf>,
}

/// List every client
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Show a registration as JSON
#[derive(Debug, Args)]
pub struct Show {
    /// The client_id
    client_id: ClientId,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Remove a client and revoke its tokens
#[derive(Debug, Args)]
pub struct Remove {
    /// The client_id
    client_id: ClientId,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Make registrations what a file says
#[derive(Debug, Args)]
#[command(after_help = "Example:
  symbolon client apply clients.json --dry-run

The file is a JSON array of client metadata in the words of RFC 7591 and RFC 8705. Clients it does not name stay as they are.")]
pub struct Apply {
    /// A JSON file: one registration, or an array of them
    file: PathBuf,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Client {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(add) => add.run().await?,
            Self::List(list) => list.run().await?,
            Self::Show(show) => show.run().await?,
            Self::Remove(remove) => remove.run().await?,
            Self::Apply(apply) => apply.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let registration = checked(&loaded, &Value::Object(self.metadata()?))?;
        let store = open(&loaded).await?;
        let now = SystemClock::new().now()?;
        let put = store.put_client(&registration.to_record(), PutMode::Add, now).await;
        store.close().await;
        match put? {
            Put::Exists => bail!("client `{}` exists: change it with `symbolon client apply`", registration.client_id),
            Put::Added | Put::Changed | Put::Unchanged => print(format!("added {}\n", registration.client_id)),
        }
    }

    fn metadata(&self) -> anyhow::Result<Map<String, Value>> {
        let mut metadata = Map::new();
        let mut set = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
        set("client_id", json!(self.client_id));
        let identity = &self.identity;
        let subjects = [
            ("tls_client_auth_subject_dn", &identity.subject_dn),
            ("tls_client_auth_san_dns", &identity.san_dns),
            ("tls_client_auth_san_uri", &identity.san_uri),
            ("tls_client_auth_san_ip", &identity.san_ip),
            ("tls_client_auth_san_email", &identity.san_email),
        ];
        match &identity.self_signed_certificate {
            Some(file) => {
                set("token_endpoint_auth_method", json!("self_signed_tls_client_auth"));
                set("jwks", json!({ "keys": self_signed_keys(file)? }));
            }
            None => {
                set("token_endpoint_auth_method", json!("tls_client_auth"));
                for (name, value) in subjects {
                    if let Some(value) = value {
                        set(name, json!(value));
                    }
                }
            }
        }
        if let Some(anchor_set) = &self.anchor_set {
            set("anchor_set", json!(anchor_set));
        }
        set("grant_types", if self.no_grants { json!([]) } else { json!(["client_credentials"]) });
        set("resources", json!(self.resources));
        set("scope", json!(self.scope));
        if self.dpop {
            set("dpop_bound_access_tokens", json!(true));
        }
        if self.danger_unbound_tokens {
            set("tls_client_certificate_bound_access_tokens", json!(false));
        }
        Ok(metadata)
    }
}

fn self_signed_keys(file: &Path) -> anyhow::Result<Vec<Map<String, Value>>> {
    let certificates = pem::load_certificates(file)?;
    let key = |certificate| RegisteredCertificate::from_certificate(certificate).map(|registered| registered.to_jwk());
    certificates.iter().map(key).collect::<Result<_, _>>().with_context(|| file.display().to_string())
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config.load()?).await?;
        let records = store.clients().await;
        store.close().await;
        for record in records? {
            match Registration::from_record(&record) {
                Ok(client) => print(format!(
                    "{}  {}  scope \"{}\"  resources {}\n",
                    client.client_id,
                    client.authentication.method(),
                    client.scope,
                    client.resources.join(" ")
                ))?,
                Err(problem) => print(format!("{}  unusable: {problem}\n", record.client_id))?,
            }
        }
        Ok(())
    }
}

impl Show {
    async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config.load()?).await?;
        let record = store.client(&self.client_id).await;
        store.close().await;
        let record = record?.with_context(|| unknown(&self.client_id))?;
        let metadata: Value = serde_json::from_str(&record.metadata_json).context("the stored registration")?;
        print(format!("{metadata:#}\n"))
    }
}

impl Remove {
    async fn run(self) -> anyhow::Result<()> {
        let store = open(&self.config.load()?).await?;
        let now = SystemClock::new().now()?;
        let window = removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS));
        let removed = store.remove_client(&self.client_id, window, now).await;
        store.close().await;
        removed?.with_context(|| unknown(&self.client_id))?;
        print(format!("removed {} and revoked its tokens\n", self.client_id))
    }
}

impl Apply {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let name = self.file.display();
        let length = std::fs::metadata(&self.file).with_context(|| format!("cannot read {name}"))?.len();
        if length > MAX_FILE {
            bail!("{name} is larger than {MAX_FILE} bytes: split it");
        }
        let text = std::fs::read(&self.file).with_context(|| format!("cannot read {name}"))?;
        let documents = match serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))? {
            Value::Array(documents) => documents,
            document => vec![document],
        };
        let registrations = registrations(&loaded, &documents).with_context(|| name.to_string())?;
        let store = open(&loaded).await?;
        let result = put_all(&store, &registrations, self.dry_run).await;
        store.close().await;
        for (client_id, put) in result? {
            let word = match put {
                Put::Added => "added",
                Put::Changed => "changed",
                Put::Unchanged | Put::Exists => "unchanged",
            };
            print(format!("{}{word} {client_id}\n", if self.dry_run { "would be " } else { "" }))?;
        }
        Ok(())
    }
}

/// Makes registrations what these documents say. All are checked before the first is written.
pub async fn apply(loaded: &Loaded, documents: &[Value]) -> anyhow::Result<()> {
    let registrations = registrations(loaded, documents)?;
    let store = open(loaded).await?;
    let result = put_all(&store, &registrations, false).await;
    store.close().await;
    result.map(drop)
}

async fn put_all(store: &Store, registrations: &[Registration], dry_run: bool) -> anyhow::Result<Vec<(ClientId, Put)>> {
    let now = SystemClock::new().now()?;
    let mut results = Vec::new();
    for registration in registrations {
        let record = registration.to_record();
        let put = if dry_run {
            match store.client(&record.client_id).await? {
                None => Put::Added,
                Some(known) if known.metadata_json == record.metadata_json => Put::Unchanged,
                Some(_) => Put::Changed,
            }
        } else {
            store.put_client(&record, PutMode::AddOrChange, now).await?
        };
        results.push((record.client_id, put));
    }
    Ok(results)
}

fn registrations(loaded: &Loaded, documents: &[Value]) -> anyhow::Result<Vec<Registration>> {
    let mut registrations: Vec<Registration> = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let name = document.get("client_id").and_then(Value::as_str).unwrap_or("without client_id");
        let registration = checked(loaded, document).with_context(|| format!("client {} ({name})", index + 1))?;
        if registrations.iter().any(|known| known.client_id == registration.client_id) {
            bail!("client `{}` is there twice", registration.client_id);
        }
        registrations.push(registration);
    }
    Ok(registrations)
}

/// A registration that this configuration can serve.
fn checked(loaded: &Loaded, document: &Value) -> anyhow::Result<Registration> {
    let registration = Registration::from_metadata(document.to_string().as_bytes(), None)?;
    let keys = KeyPlan::from_settings(&loaded.settings.signing).context("[signing]")?;
    let resources = Resources::from_settings(&loaded.settings.resource, &keys)?;
    if let Some(unknown) = registration.resources.iter().find(|identifier| resources.get(identifier).is_none()) {
        bail!("resource `{unknown}` is not configured: add a [[resource]] with this identifier to {}", loaded.file.display());
    }
    if let Some(unknown) = registration.anchor_set.as_ref().filter(|name| !loaded.settings.anchor_set.contains_key(*name)) {
        bail!("anchor set `{unknown}` is not configured: add [anchor_set.{unknown}] to {}", loaded.file.display());
    }
    Ok(registration)
}

async fn open(loaded: &Loaded) -> anyhow::Result<Store> {
    open_store(loaded, &SystemClock::new(), &SystemRandomness).await
}

fn unknown(client_id: &ClientId) -> String {
    format!("there is no client `{client_id}`: `symbolon client list` names them all")
}
