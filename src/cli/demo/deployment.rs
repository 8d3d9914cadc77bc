//! The files of one demonstration: an authority, certificates, two configurations, a database, and `demo.env`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::Ports;
use crate::cli::cert;
use crate::cli::client;
use crate::cli::files::{self, Readers};
use crate::cli::user;
use crate::config::load;
use crate::domain::{Clock as _, Lifetime, Randomness as _, SystemClock, Timestamp};
use crate::identity::PersonClaims;
use crate::jose::base64url;
use crate::jose::random::SystemRandomness;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest};
use crate::pki::name::DistinguishedName;
use crate::pki::{Certificate, pem};
use crate::seal::Password;

/// How long the demonstration's certificates are valid. A directory older than that is to be removed.
const VALIDITY: Lifetime = Lifetime::from_seconds(30 * 86_400);

/// The person of the demonstration.
const PERSON: &str = "ada";

/// Where everything is.
#[derive(Debug)]
pub struct Deployment {
    dir: PathBuf,
    ports: Ports,
}

impl Deployment {
    /// Makes what is not there yet, and writes the configurations for these ports.
    pub async fn prepare(dir: &Path, ports: Ports) -> anyhow::Result<Self> {
        files::directory(dir)?;
        let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
        let text = dir.to_str().filter(|text| !text.contains(['\'', '"', '\\', '\n']));
        if text.is_none() {
            bail!("{}: choose a --dir whose path has no quotes or backslashes", dir.display());
        }
        let deployment = Self { dir, ports };
        deployment.make_certificates()?;
        deployment.make_seal_key()?;
        files::replace(&deployment.server_config(), deployment.server_toml().as_bytes(), Readers::Owner)?;
        files::replace(&deployment.gateway_config(), deployment.gateway_toml().as_bytes(), Readers::Owner)?;
        deployment.register_clients().await?;
        deployment.add_person().await?;
        files::replace(&deployment.path("demo.env"), deployment.environment()?.as_bytes(), Readers::Owner)?;
        Ok(deployment)
    }

    /// A file of the deployment.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The authorization server's configuration.
    pub fn server_config(&self) -> PathBuf {
        self.path("symbolon.toml")
    }

    /// The gateway's configuration.
    pub fn gateway_config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    /// The issuer, on a host that never asks for a certificate.
    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.ports.issuer)
    }

    /// The base of the mutual-TLS host.
    pub fn mtls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.mtls)
    }

    /// The gateway's own URL, and the `iss` of its assertions.
    pub fn gateway_url(&self) -> String {
        format!("https://{}", self.gateway_authority())
    }

    /// The gateway's authority, and the `aud` of its assertions.
    pub fn gateway_authority(&self) -> String {
        format!("localhost:{}", self.ports.gateway)
    }

    /// The resource whose tokens are JWTs: its identifier, its audience and its URL.
    pub fn accounts(&self) -> String {
        format!("{}/accounts", self.gateway_url())
    }

    /// The resource whose tokens are opaque.
    pub fn reports(&self) -> String {
        format!("{}/reports", self.gateway_url())
    }

    /// The certificate in a file of the deployment.
    pub fn certificate(&self, name: &str) -> anyhow::Result<Certificate> {
        pem::load_certificates(&self.path(name))?.into_iter().next().with_context(|| format!("{name}: no certificate"))
    }

    fn make_certificates(&self) -> anyhow::Result<()> {
        let now = SystemClock::new().now()?;
        if !self.path("ca.pem").exists() {
            let authority = DevelopmentAuthority::generate("Symbolon demo CA", now, VALIDITY, &SystemRandomness)?;
            files::create(&self.path("ca-key.pem"), authority.key_pem().as_bytes(), Readers::Owner)?;
            files::create(&self.path("ca.pem"), authority.certificate_pem().as_bytes(), Readers::Everyone)?;
        }
        let authority = cert::authority(&self.dir)?;
        if now > authority.certificate().not_after() {
            bail!("{}: the certificates of this demonstration have expired: remove the directory", self.dir.display());
        }
        for (name, usage) in [
            ("server", CertificateUsage::Server),
            // Of its own: the gateway knows no key of the server's.
            ("gateway-server", CertificateUsage::Server),
            ("alice", CertificateUsage::Client),
            ("mallory", CertificateUsage::Client),
            ("gateway", CertificateUsage::Client),
        ] {
            self.issue(&authority, name, usage, now)?;
        }
        Ok(())
    }

    fn issue(&self, authority: &DevelopmentAuthority, name: &str, usage: CertificateUsage, now: Timestamp) -> anyhow::Result<()> {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}-key.pem")));
        if certificate.exists() && key.exists() {
            return Ok(());
        }
        let mut request = IssueRequest::new(DistinguishedName::common_name(name), usage, VALIDITY);
        if usage == CertificateUsage::Server {
            request.dns = vec!["localhost".to_owned()];
            request.ip = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        }
        let issued = authority.issue(&request, now, &SystemRandomness)?;
        files::replace(&key, issued.key_pem.as_bytes(), Readers::Owner)?;
        files::replace(&certificate, issued.certificate_pem.as_bytes(), Readers::Everyone)
    }

    fn make_seal_key(&self) -> anyhow::Result<()> {
        let path = self.path("seal.key");
        if path.exists() {
            return Ok(());
        }
        let mut key = zeroize::Zeroizing::new([0u8; 32]);
        SystemRandomness.fill(&mut *key)?;
        let text = zeroize::Zeroizing::new(base64url::encode(*key));
        files::create(&path, text.as_bytes(), Readers::Owner)
    }

    async fn register_clients(&self) -> anyhow::Result<()> {
        let person = |name: &str| {
            json!({
                "client_id": name,
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_subject_dn": format!("CN={name}"),
                "grant_types": ["client_credentials"],
                "scope": "read write",
                "resources": [self.accounts(), self.reports()],
            })
        };
        let gateway = json!({
            "client_id": "gateway",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": "CN=gateway",
            "grant_types": [],
        });
        let loaded = load(&self.server_config(), [])?;
        client::apply(&loaded, &[person("alice"), person("mallory"), gateway]).await
    }

    /// The person of the demonstration. Their password is made once and kept in a file of its own.
    async fn add_person(&self) -> anyhow::Result<()> {
        let path = self.path("person.password");
        let fresh = !path.exists();
        if fresh {
            files::create(&path, user::generated()?.expose().as_bytes(), Readers::Owner)?;
        }
        let claims = PersonClaims {
            name: Some("Ada Lovelace".to_owned()),
            given_name: Some("Ada".to_owned()),
            family_name: Some("Lovelace".to_owned()),
            email: Some("ada@example.com".to_owned()),
            email_verified: Some(true),
            groups: vec!["engineering".to_owned()],
            ..PersonClaims::default()
        };
        let loaded = load(&self.server_config(), [])?;
        user::ensure(&loaded, PERSON, claims, &self.password()?, fresh).await
    }

    /// The password of the demonstration's person.
    fn password(&self) -> anyhow::Result<Password> {
        let path = self.path("person.password");
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
        Password::prepare(text.trim_end()).with_context(|| path.display().to_string())
    }

    fn server_toml(&self) -> String {
        let Ports { issuer, mtls, .. } = self.ports;
        format!(
            r#"# The authorization server of the demonstration.
issuer = "{issuer_url}"
mtls_url = "{mtls_url}"

[store]
url = "sqlite:symbolon.db"

[[seal.key]]
id = "demo"
file = "seal.key"

# The host for browsers and for reading metadata: it never asks for a certificate.
[[listener]]
name = "public"
address = "127.0.0.1:{issuer}"
services = ["authorization_server"]

[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"

# The host for clients with certificates.
[[listener]]
name = "mtls"
address = "127.0.0.1:{mtls}"
services = ["authorization_server"]

[[listener.host]]
names = ["127.0.0.1"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[anchor_set.clients]
files = ["ca.pem"]

[[resource]]
identifier = "{accounts}"
scopes = ["read", "write"]
access_token_format = "jwt"
introspection_clients = ["gateway"]

[[resource]]
identifier = "{reports}"
scopes = ["read", "write"]
access_token_format = "opaque"
introspection_clients = ["gateway"]

[revocation_feed]
clients = ["gateway"]

[audit]
file = "symbolon-audit.jsonl"
"#,
            issuer_url = self.issuer(),
            mtls_url = self.mtls_url(),
            accounts = self.accounts(),
            reports = self.reports(),
        )
    }

    fn gateway_toml(&self) -> String {
        let Ports { gateway, upstream, .. } = self.ports;
        format!(
            r#"# The gateway of the demonstration: it knows the issuer's URL, its own certificate and its routes.
[gateway]
issuer = "{gateway_url}"

[[listener]]
name = "gateway"
address = "127.0.0.1:{gateway}"
services = ["gateway"]

[[listener.host]]
names = ["localhost"]
certificate_file = "gateway-server.pem"
key_file = "gateway-server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[anchor_set.clients]
files = ["ca.pem"]

[authorization_server.demo]
issuer = "{issuer}"
ca_file = "ca.pem"
client_id = "gateway"
certificate_file = "gateway.pem"
key_file = "gateway-key.pem"
revocation_feed = true

# Tokens here are JWTs: verified with the issuer's keys.
[[route]]
name = "accounts"
host = "{authority}"
path = "/accounts"
upstream = "http://127.0.0.1:{upstream}"
authorization_server = "demo"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"
proof_of_possession = "strict"

# Tokens here are opaque: introspected.
[[route]]
name = "reports"
host = "{authority}"
path = "/reports"
upstream = "http://127.0.0.1:{upstream}"
authorization_server = "demo"
audience = "{reports}"
scopes = ["read"]
token = "introspection"
proof_of_possession = "strict"

[audit]
file = "gateway-audit.jsonl"
"#,
            gateway_url = self.gateway_url(),
            authority = self.gateway_authority(),
            issuer = self.issuer(),
            accounts = self.accounts(),
            reports = self.reports(),
        )
    }

    /// What scripts need, readable by a shell.
    fn environment(&self) -> anyhow::Result<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let password = self.password()?;
        Ok([
            ("ISSUER", self.issuer()),
            ("MTLS_URL", self.mtls_url()),
            ("GATEWAY", self.accounts()),
            ("UPSTREAM", format!("http://127.0.0.1:{}", self.ports.upstream)),
            ("AUDIENCE", self.accounts()),
            ("CA", path("ca.pem")),
            ("ALICE_ID", "alice".to_owned()),
            ("ALICE_CERT", path("alice.pem")),
            ("ALICE_KEY", path("alice-key.pem")),
            ("MALLORY_ID", "mallory".to_owned()),
            ("MALLORY_CERT", path("mallory.pem")),
            ("MALLORY_KEY", path("mallory-key.pem")),
            ("CONFIG", path("symbolon.toml")),
            ("GATEWAY_CONFIG", path("gateway.toml")),
            ("PERSON", PERSON.to_owned()),
            ("PASSWORD", password.expose().to_owned()),
            ("SIGN_IN", format!("{}/sign-in", self.issuer())),
        ]
        .map(|(name, value)| format!("{name}='{value}'\n"))
        .concat())
    }

    /// What to paste next.
    pub fn invitation(&self) -> String {
        format!(
            r#"
Everything stays up until Ctrl-C. In another terminal:

  . '{env}'
  TOKEN=$(curl -s --cacert "$CA" --cert "$ALICE_CERT" --key "$ALICE_KEY" \
    -d grant_type=client_credentials -d "client_id=$ALICE_ID" "$MTLS_URL/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl --cacert "$CA" --cert "$ALICE_CERT" --key "$ALICE_KEY" -H "Authorization: Bearer $TOKEN" "$GATEWAY"         # admitted
  curl -i --cacert "$CA" --cert "$MALLORY_CERT" --key "$MALLORY_KEY" -H "Authorization: Bearer $TOKEN" "$GATEWAY"  # refused
  curl --cacert "$CA" "$ISSUER/.well-known/oauth-authorization-server"

In a browser (its certificate comes from {ca}): {issuer}/sign-in
as {person}, whose password is in demo.env.
"#,
            ca = self.path("ca.pem").display(),
            issuer = self.issuer(),
            person = PERSON,
            env = self.path("demo.env").display()
        )
    }
}
