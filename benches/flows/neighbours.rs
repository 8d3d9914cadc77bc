//! Other people's proxies, from packages: nginx, which asks for certificates and checks no token, and HAProxy, which checks all that it can.
//!
//! Both pass requests on to the same upstream as the gateway, over kept connections, on one thread, and write no access log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::answer::PublicKey;
use crate::deployment::{Deployment, free_ports, wait_for};
use crate::process::{Core, Running};

/// A proxy that can be measured beside the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Mutual TLS, and every request is passed on.
    Nginx,
    /// The token's signature, algorithm, issuer, audience, dates and binding, for every request.
    Haproxy,
}

/// One that runs, and where.
pub struct Started {
    pub address: SocketAddr,
    pub process: Running,
}

/// What a token must be for HAProxy.
pub struct Rules<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    pub key: &'a PublicKey,
}

impl Neighbour {
    /// What it is called in a report.
    pub const fn name(self) -> &'static str {
        self.package()
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// Its program. Debian has them where only the administrator looks.
    fn program(self) -> Option<PathBuf> {
        let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
        folders.map(|folder| Path::new(folder).join(self.package())).into_iter().find(|path| path.exists())
    }

    /// Starts it between clients and this upstream; nothing where it is not installed, which is said.
    pub fn start(self, deployment: &Deployment, upstream: SocketAddr, rules: &Rules<'_>) -> anyhow::Result<Option<Started>> {
        let Some(program) = self.program() else {
            eprintln!("{0} is not installed and left out: --install, or apt-get install {0}", self.package());
            return Ok(None);
        };
        let [port] = free_ports()?;
        let folder = PathBuf::from(deployment.file(self.package()));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("proxy.conf");
        let (folder, file) = (folder.display().to_string(), file.display().to_string());
        let text = match self {
            Self::Nginx => nginx(deployment, &folder, port, upstream),
            Self::Haproxy => haproxy(deployment, &folder, port, upstream, rules)?,
        };
        std::fs::write(&file, text)?;
        let arguments = match self {
            Self::Nginx => vec!["-p", &folder, "-c", &file, "-e", "stderr"],
            Self::Haproxy => vec!["-db", "-f", &file],
        };
        let log = PathBuf::from(&folder).join("output");
        let mut process = Running::server(&program, &arguments, &log, Core::Measured)?.that_ignores_its_input();
        wait_for(&mut process, port)?;
        Ok(Some(Started { address: ([127, 0, 0, 1], port).into(), process }))
    }
}

/// Installs both from the distribution's packages, where they are missing.
pub fn install() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        [Neighbour::Nginx, Neighbour::Haproxy].iter().filter(|one| one.program().is_none()).map(|one| one.package()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let arguments = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let status = Command::new("apt-get").args(arguments).args(&missing).env("DEBIAN_FRONTEND", "noninteractive").status()?;
    ensure!(status.success(), "apt-get install {}: {status}", missing.join(" "));
    Ok(())
}

fn nginx(deployment: &Deployment, folder: &str, port: u16, upstream: SocketAddr) -> String {
    let [certificate, key, authorities] = ["server.pem", "server-key.pem", "ca.pem"].map(|name| deployment.file(name));
    format!(
        r#"daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream application {{
        server {upstream};
        keepalive 64;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {authorities};
        ssl_verify_client on;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ecdh_curve X25519:P-256;
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"#
    )
}

fn haproxy(
    deployment: &Deployment,
    folder: &str,
    port: u16,
    upstream: SocketAddr,
    Rules { issuer, audience, key }: &Rules<'_>,
) -> anyhow::Result<String> {
    // It wants certificate and key in one file, and the issuer's key as a file.
    let read = |name: &str| std::fs::read_to_string(deployment.file(name));
    std::fs::write(format!("{folder}/server.pem"), [read("server.pem")?, read("server-key.pem")?].concat())?;
    std::fs::write(format!("{folder}/issuer.pem"), public_key_pem(key))?;
    let authorities = deployment.file("ca.pem");
    Ok(format!(
        r#"global
    nbthread 1
    maxconn 2000
    ssl-default-bind-curves X25519:P-256
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    http-reuse always

frontend clients
    bind 127.0.0.1:{port} ssl crt {folder}/server.pem ca-file {authorities} verify required alpn http/1.1
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.algorithm) var(txn.bearer),jwt_header_query('$.alg')
    http-request set-var(txn.now) date()
    http-request set-var(txn.certificate) ssl_c_der,sha2(256),ub64enc
    http-request set-var(txn.bound) var(txn.bearer),jwt_payload_query('$.cnf.x5t#S256')
    http-request deny deny_status 401 unless {{ var(txn.algorithm) -m str ES256 }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.algorithm,"{folder}/issuer.pem") -m int 1 }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str {issuer} }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str {audience} }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now) -m int gt 0 }}
    http-request deny deny_status 401 unless {{ var(txn.bound),strcmp(txn.certificate) eq 0 }}
    default_backend application

backend application
    server upstream {upstream}
"#
    ))
}

/// SubjectPublicKeyInfo of a point on P-256 (RFC 5480 §2.1.1).
fn public_key_pem(PublicKey(point): &PublicKey) -> String {
    const BEFORE: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let text = STANDARD.encode([&BEFORE[..], point].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &text[..64], &text[64..])
}
