//! What is measured: the shipped program, set up by its own command line as anybody would, on SQLite, with audit trail and metrics.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{Read as _, Write as _};

use crate::growth::{self, Size};
use crate::process::{Core, Running, resident_mib};

/// A server and a gateway that run.
pub struct Deployment {
    dir: PathBuf,
    ports: Ports,
    pub server: Running,
    pub gateway: Running,
    /// Resident memory of both before anybody has asked for anything, in MiB.
    pub at_rest_mib: [f64; 2],
}

struct Ports {
    public: u16,
    mtls: u16,
    metrics: u16,
    gateway: u16,
}

impl Deployment {
    /// Makes certificates, configurations and registrations in an empty directory, and starts both.
    pub fn start(program: &Path, dir: &Path, upstream: SocketAddr, size: Size) -> anyhow::Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let [public, mtls, metrics, gateway] = free_ports()?;
        let ports = Ports { public, mtls, metrics, gateway };
        let run = |arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(&dir).output()?;
            ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            anyhow::Ok(())
        };
        run(&["ca", "init"])?;
        run(&["cert", "issue", "--name", "server", "--server", "--dns", "localhost", "--ip", "127.0.0.1"])?;
        run(&["cert", "issue", "--name", "alice", "--client"])?;
        run(&["cert", "issue", "--name", "gateway", "--client"])?;
        seal_key(&dir.join("seal.key"))?;
        if size.revoked > 0 {
            growth::revocation_list(size, &dir)?;
        }
        std::fs::write(dir.join("symbolon.toml"), server_toml(&ports, size))?;
        std::fs::write(dir.join("gateway.toml"), gateway_toml(&ports, upstream, size))?;
        let (jwt, opaque) = (format!("https://localhost:{gateway}/jwt"), format!("https://localhost:{gateway}/opaque"));
        let alice = ["client", "add", "alice", "--subject-dn", "CN=alice", "--scope", "read write"];
        run(&[&alice[..], &["--resource", &jwt, "--resource", &opaque]].concat())?;
        run(&["client", "add", "gateway", "--subject-dn", "CN=gateway", "--no-grants"])?;
        for documents in growth::registrations(size, &jwt) {
            std::fs::write(dir.join("clients.json"), documents.to_string())?;
            run(&["client", "apply", "clients.json"])?;
        }

        let path = |name: &str| dir.join(name);
        let text = |name: &str| path(name).display().to_string();
        let serve = ["serve", "--until-stdin-closes", "--config", &text("symbolon.toml")];
        let mut server = Running::server(program, &serve, &path("server.log"), Core::Measured)?;
        wait_for(&mut server, mtls)?;
        let gate = ["gateway", "--until-stdin-closes", "--config", &text("gateway.toml")];
        let mut gateway = Running::server(program, &gate, &path("gateway.log"), Core::Measured)?;
        wait_for(&mut gateway, ports.gateway)?;
        let at_rest_mib = [resident_mib(server.pid())?, resident_mib(gateway.pid())?];
        Ok(Self { dir, ports, server, gateway, at_rest_mib })
    }

    /// A file's path.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The mutual-TLS host of the server.
    pub fn mtls(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.mtls).into()
    }

    /// The gateway.
    pub fn gateway_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.gateway).into()
    }

    /// The issuer of the tokens.
    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.ports.public)
    }

    /// The identifier of a resource, which is also its URL at the gateway: `jwt` or `opaque`.
    pub fn resource(&self, name: &str) -> String {
        format!("https://localhost:{}/{name}", self.ports.gateway)
    }
}

/// Ports that nobody listens on at the moment.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.local_addr()?.port();
    }
    Ok(ports)
}

/// Until somebody listens there: a program under a profiler may take a while.
pub fn wait_for(process: &mut Running, port: u16) -> anyhow::Result<()> {
    for _ in 0..4_800 {
        process.check()?;
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    anyhow::bail!("nobody listens on port {port}")
}

fn seal_key(path: &Path) -> anyhow::Result<()> {
    let mut key = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context("seal.key")?;
    Ok(file.write_all(STANDARD.encode(key).as_bytes())?)
}

fn server_toml(ports: &Ports, size: Size) -> String {
    let lists = lists(size);
    let Ports { public, mtls, metrics, gateway } = ports;
    format!(
        r#"
issuer = "https://localhost:{public}"
mtls_url = "https://127.0.0.1:{mtls}"

[store]
url = "sqlite:symbolon.db"

[[seal.key]]
id = "bench"
file = "seal.key"

[[listener]]
name = "public"
address = "127.0.0.1:{public}"
services = ["authorization_server"]
[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"

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

[[listener]]
name = "metrics"
address = "127.0.0.1:{metrics}"
services = ["metrics"]
host = []

[anchor_set.clients]
files = ["ca.pem"]
{lists}

[[resource]]
identifier = "https://localhost:{gateway}/jwt"
scopes = ["read", "write"]
access_token_format = "jwt"
access_token_lifetime_seconds = 3600
introspection_clients = ["gateway"]

[[resource]]
identifier = "https://localhost:{gateway}/opaque"
scopes = ["read", "write"]
access_token_format = "opaque"
access_token_lifetime_seconds = 3600
introspection_clients = ["gateway"]

[revocation_feed]
clients = ["gateway"]

[audit]
file = "server-audit.jsonl"
"#
    )
}

/// The key of an anchor set that names its revocation lists.
fn lists(size: Size) -> &'static str {
    if size.revoked > 0 { "crl_files = [\"ca.crl\"]" } else { "" }
}

fn gateway_toml(ports: &Ports, upstream: SocketAddr, size: Size) -> String {
    let lists = lists(size);
    let Ports { public, gateway, .. } = ports;
    let host = format!("localhost:{gateway}");
    let others = growth::routes(size, &host, &upstream.to_string(), &format!("https://{host}/jwt"));
    format!(
        r#"
[gateway]
issuer = "https://localhost:{gateway}"

[[listener]]
name = "gateway"
address = "127.0.0.1:{gateway}"
services = ["gateway"]
[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[anchor_set.clients]
files = ["ca.pem"]
{lists}

[authorization_server.bench]
issuer = "https://localhost:{public}"
ca_file = "ca.pem"
client_id = "gateway"
certificate_file = "gateway.pem"
key_file = "gateway-key.pem"
revocation_feed = true

[[route]]
name = "jwt"
host = "localhost:{gateway}"
path = "/jwt"
upstream = "http://{upstream}"
authorization_server = "bench"
audience = "https://localhost:{gateway}/jwt"
scopes = ["read"]
token = "jwt"
proof_of_possession = "strict"

[[route]]
name = "signed"
host = "localhost:{gateway}"
path = "/signed"
upstream = "http://{upstream}"
authorization_server = "bench"
audience = "https://localhost:{gateway}/jwt"
scopes = ["read"]
token = "jwt"
proof_of_possession = "strict"
assertion_reuse = "per_request"
{others}
[audit]
file = "gateway-audit.jsonl"
"#
    )
}
