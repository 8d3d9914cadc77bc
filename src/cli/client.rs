//! `symbolon client add|list|show|remove|apply`. A running server takes a change in within a second.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{ConfigArgument, print};
use crate::app::{open_store, registration_rules};
use crate::clients::{Client as Registration, RegisteredCertificate, generate_secret, removal_window};
use crate::config::Loaded;
use crate::domain::{ClientId, Clock as _, Lifetime, SystemClock};
use crate::jose::random::SystemRandomness;
use crate::oauth::resources::LONGEST_LIFETIME_SECONDS;
use crate::pki::pem;
use crate::store::{ClientRecord, KeptSecret, Put, PutMode, SecretRecord, Store};

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
    /// Change the secret of a client without an outage
    #[command(subcommand)]
    Secret(super::client_secret::Secret),
}

/// Register a client
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client add alice --subject-dn CN=alice --resource https://api.example --scope 'read write'
  symbolon client add robot --self-signed-certificate robot.pem --resource https://api.example
  symbolon client add gateway --san-dns gateway.internal --no-grants
  symbolon client add service --jwks service.json --resource https://api.example
  symbolon client add legacy --generate-secret client_secret_basic --danger-unbound-tokens")]
pub struct Add {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    #[command(flatten)]
    identity: Identity,
    /// The one algorithm of its assertions, such as `ES256`, or `HS256` with client_secret_jwt
    #[arg(long, value_name = "ALG")]
    signing_alg: Option<String>,
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

/// How the client proves who it is: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Identity {
    /// private_key_jwt: a JSON file with the client's public keys, a JWK Set
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// private_key_jwt: where the client publishes its public keys
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// client_secret_basic, client_secret_post or client_secret_jwt: make a secret and print it, once
    #[arg(long, value_name = "METHOD", value_parser = ["client_secret_basic", "client_secret_post", "client_secret_jwt"])]
    generate_secret: Option<String>,
    /// none: a public client, which proves nothing
    #[arg(long)]
    public: bool,
    /// self_signed_tls_client_auth: where the client publishes its certificates, as a JWK Set with `x5c`
    #[arg(long, value_name = "URL")]
    self_signed_jwks_uri: Option<String>,
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
#[command(after_help = "Examples:
  symbolon client list")]
pub struct List {
    #[command(flatten)]
    config: ConfigArgument,
}

/// Show a registration as JSON
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client show alice")]
pub struct Show {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Remove a client and revoke its tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon client remove alice")]
pub struct Remove {
    /// The client_id
    #[arg(allow_hyphen_values = true)]
    client_id: ClientId,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Make registrations what a file says
#[derive(Debug, Args)]
#[command(after_help = "Examples:
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
            Self::Secret(secret) => secret.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let mut metadata = self.metadata()?;
        let secret = match &self.identity.generate_secret {
            Some(_) => Some(generate_secret(&SystemRandomness)?),
            None => None,
        };
        if let Some(secret) = &secret {
            metadata.insert("client_secret".to_owned(), json!(secret.as_str()));
        }
        let store = open(&loaded).await?;
        let now = SystemClock::new().now()?;
        let registration = match checked(&loaded, &store, &Value::Object(metadata), None) {
            Ok(registration) => registration,
            Err(problem) => {
                store.close().await;
                return Err(problem);
            }
        };
        let put = store.put_client(&registration.to_record(), PutMode::Add, now).await;
        store.close().await;
        match put? {
            Put::Exists | Put::ChangedMeanwhile => {
                bail!("client `{}` exists: change it with `symbolon client apply`", registration.client_id)
            }
            Put::Added | Put::Changed | Put::Unchanged => print(format!("added {}\n", registration.client_id))?,
        }
        match secret {
            // Shown here and never again: the database has only what is needed to check it, sealed.
            Some(secret) => print(format!("client_secret {}\n", *secret)),
            None => Ok(()),
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
        let mut method = |name: &str| set("token_endpoint_auth_method", json!(name));
        if let Some(file) = &identity.self_signed_certificate {
            method("self_signed_tls_client_auth");
            set("jwks", json!({ "keys": self_signed_keys(file)? }));
        } else if let Some(uri) = &identity.self_signed_jwks_uri {
            method("self_signed_tls_client_auth");
            set("jwks_uri", json!(uri));
        } else if let Some(file) = &identity.jwks {
            method("private_key_jwt");
            set("jwks", read_json(file)?);
        } else if let Some(uri) = &identity.jwks_uri {
            method("private_key_jwt");
            set("jwks_uri", json!(uri));
        } else if let Some(name) = &identity.generate_secret {
            method(name);
        } else if identity.public {
            method("none");
        } else {
            method("tls_client_auth");
            for (name, value) in subjects {
                if let Some(value) = value {
                    set(name, json!(value));
                }
            }
        }
        if let Some(algorithm) = &self.signing_alg {
            set("token_endpoint_auth_signing_alg", json!(algorithm));
        }
        if let Some(anchor_set) = &self.anchor_set {
            set("anchor_set", json!(anchor_set));
        }
        set("grant_types", if self.no_grants || self.identity.public { json!([]) } else { json!(["client_credentials"]) });
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
        let documents = match read_json(&self.file)? {
            Value::Array(documents) => documents,
            document => vec![document],
        };
        let store = open(&loaded).await?;
        let result = put_all(&store, &loaded, &documents, self.dry_run).await.with_context(|| name.to_string());
        store.close().await;
        for Applied { client_id, put, difference } in result? {
            let word = match put {
                Put::Added => "added",
                Put::Changed => "changed",
                Put::Unchanged | Put::Exists | Put::ChangedMeanwhile => "unchanged",
            };
            print(format!("{}{word} {client_id}\n", if self.dry_run { "would be " } else { "" }))?;
            for line in difference.iter().filter(|_| self.dry_run) {
                print(format!("  {line}\n"))?;
            }
        }
        Ok(())
    }
}

/// Makes registrations what these documents say. All are checked before the first is written.
pub async fn apply(loaded: &Loaded, documents: &[Value]) -> anyhow::Result<()> {
    let store = open(loaded).await?;
    let result = put_all(&store, loaded, documents, false).await;
    store.close().await;
    result.map(drop)
}

/// What became of one document.
struct Applied {
    client_id: ClientId,
    put: Put,
    /// A line for each member that differs from what is registered.
    difference: Vec<String>,
}

async fn put_all(store: &Store, loaded: &Loaded, documents: &[Value], dry_run: bool) -> anyhow::Result<Vec<Applied>> {
    let now = SystemClock::new().now()?;
    let mut results = Vec::new();
    for (registration, known) in registrations(store, loaded, documents).await? {
        let record = registration.to_record();
        let difference = known.as_ref().map(|known| difference(known, &record)).transpose()?.unwrap_or_default();
        let put = match known {
            _ if !dry_run => store.put_client(&record, PutMode::AddOrChange, now).await?,
            None => Put::Added,
            Some(known) if known == record => Put::Unchanged,
            Some(_) => Put::Changed,
        };
        results.push(Applied { client_id: record.client_id, put, difference });
    }
    Ok(results)
}

/// What a registration says and another does not, member by member. Of secrets only that they differ.
fn difference(known: &ClientRecord, next: &ClientRecord) -> anyhow::Result<Vec<String>> {
    let read = |record: &ClientRecord| -> anyhow::Result<Map<String, Value>> {
        serde_json::from_str(&record.metadata_json).context("the stored registration")
    };
    let (before, after) = (read(known)?, read(next)?);
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) if before == after => {}
            (Some(before), Some(after)) => lines.push(format!("{name}: {before} -> {after}")),
            (Some(before), None) => lines.push(format!("{name}: {before} -> nothing")),
            (None, Some(after)) => lines.push(format!("{name}: nothing -> {after}")),
            (None, None) => {}
        }
    }
    if known.secret != next.secret {
        lines.push("client_secret: another one".to_owned());
    }
    Ok(lines)
}

/// Every document as a registration, beside what is registered under its name now.
async fn registrations(
    store: &Store,
    loaded: &Loaded,
    documents: &[Value],
) -> anyhow::Result<Vec<(Registration, Option<ClientRecord>)>> {
    let mut registrations: Vec<(Registration, _)> = Vec::new();
    let mut named = std::collections::HashSet::new();
    for (index, document) in documents.iter().enumerate() {
        let name = document.get("client_id").and_then(Value::as_str).unwrap_or("without client_id");
        let known = match name.parse() {
            Ok(client_id) => store.client(&client_id).await?,
            Err(_) => None,
        };
        let secret = known.as_ref().and_then(|known: &ClientRecord| known.secret.as_ref());
        let registration = checked(loaded, store, document, secret).with_context(|| format!("client {} ({name})", index + 1))?;
        if !named.insert(registration.client_id.clone()) {
            bail!("client `{}` is there twice", registration.client_id);
        }
        registrations.push((registration, known));
    }
    Ok(registrations)
}

fn read_json(file: &Path) -> anyhow::Result<Value> {
    let name = file.display();
    let text = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
    serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))
}

/// A registration that this configuration can serve.
///
/// `secret` is what is kept of the client's secret already.
fn checked(loaded: &Loaded, store: &Store, document: &Value, secret: Option<&SecretRecord>) -> anyhow::Result<Registration> {
    let rules = registration_rules(loaded, loaded.file.display().to_string())?;
    let secret = KeptSecret { key: Some(&store.secret_key()), record: secret };
    Ok(rules.check(document.to_string().as_bytes(), None, secret)?)
}

pub(super) async fn open(loaded: &Loaded) -> anyhow::Result<Store> {
    open_store(loaded, &SystemClock::new(), &SystemRandomness).await
}

pub(super) fn unknown(client_id: &ClientId) -> String {
    format!("there is no client `{client_id}`: `symbolon client list` names them all")
}
