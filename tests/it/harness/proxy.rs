//! Other people's proxies, as processes that end with their test: nginx, HAProxy, Apache and Caddy, where they are installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::left_out;

/// A program that ends clients' TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Nginx,
    Haproxy,
    Apache,
    Caddy,
}

impl Program {
    const fn executable(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Apache => "apache2",
            Self::Caddy => "caddy",
        }
    }

    /// Its path, or why it is left out. Debian has them where only the administrator looks.
    fn find(self) -> Option<String> {
        let name = self.executable();
        let known = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| format!("{folder}/{name}"));
        let found = known.into_iter().find(|path| Path::new(path).exists());
        if found.is_none() {
            left_out(&format!("what `{name}` sends: it is not installed (Debian: apt-get install {name})"));
        }
        found
    }
}

/// What stands around the examples of docs/proxies.md, for each program.
const NGINX: &str = "daemon off;
master_process off;
user root;
pid {dir}/nginx.pid;
error_log stderr;
events {}
http {
access_log off;
client_body_temp_path {dir}/body;
proxy_temp_path {dir}/proxy;
fastcgi_temp_path {dir}/fastcgi;
uwsgi_temp_path {dir}/uwsgi;
scgi_temp_path {dir}/scgi;
EXAMPLES
}
";

const HAPROXY: &str = "defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s

EXAMPLES
";

const APACHE: &str = "ServerRoot {dir}
ServerName localhost
PidFile {dir}/apache.pid
DefaultRuntimeDir {dir}
Mutex pthread
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LISTEN
SSLSessionCache none
EXAMPLES
";

const CADDY: &str = "{
	admin off
	auto_https off
	storage file_system {dir}/storage
}
EXAMPLES
";

/// One that runs.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    _dir: TempDir,
}

impl Proxy {
    /// Starts a program with examples of the documentation that listen at these ports; `None` where it is not installed.
    pub async fn start_example(program: Program, examples: &str, ports: &[u16]) -> Option<Self> {
        let around = match program {
            Program::Nginx => NGINX,
            Program::Haproxy => HAPROXY,
            Program::Apache => APACHE,
            Program::Caddy => CADDY,
        };
        let listen: String = ports.iter().map(|port| format!("Listen 127.0.0.1:{port}\n")).collect();
        Self::start(program, &around.replace("LISTEN", &listen).replace("EXAMPLES", examples), ports).await
    }

    /// Starts a program with a configuration and waits until it listens at these ports; `None` where it is not installed. In the
    /// configuration `{dir}` is a folder of its own.
    pub async fn start(program: Program, configuration: &str, ports: &[u16]) -> Option<Self> {
        let path = program.find()?;
        let dir = tempfile::Builder::new().prefix("symbolon-proxy-").tempdir().expect("a folder");
        let folder = dir.path().to_str().expect("UTF-8").to_owned();
        let file = dir.path().join("proxy.conf");
        std::fs::write(&file, configuration.replace("{dir}", &folder)).expect("written");
        let file = file.to_str().expect("UTF-8");
        let log = std::fs::File::create(dir.path().join("output")).expect("a file");
        // Each in the foreground as one process, so that it ends with its parent's handle.
        let mut command = Command::new(path);
        match program {
            Program::Nginx => command.args(["-p", &folder, "-c", file, "-e", "stderr"]),
            Program::Haproxy => command.args(["-db", "-f", file]),
            Program::Apache => command.args(["-X", "-f", file]),
            Program::Caddy => {
                command.env("HOME", &folder).env("XDG_CONFIG_HOME", &folder).env("XDG_DATA_HOME", &folder);
                command.args(["run", "--adapter", "caddyfile", "--config", file])
            }
        };
        command.current_dir(dir.path()).stdin(Stdio::null()).stderr(log.try_clone().expect("a file")).stdout(log);
        let mut proxy = Self { child: command.spawn().expect("the program starts"), _dir: dir };
        let started = Instant::now();
        for port in ports {
            while std::net::TcpStream::connect(("127.0.0.1", *port)).is_err() {
                let said = || std::fs::read_to_string(format!("{folder}/output")).unwrap_or_default();
                assert!(proxy.child.try_wait().expect("a child").is_none(), "{program:?} has ended: {}", said());
                assert!(started.elapsed() < Duration::from_secs(20), "{program:?} does not listen: {}", said());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example of docs/proxies.md: the one with this number, counted from 0, of those in this language.
pub fn example(language: &str, number: usize) -> String {
    let text = include_str!("../../../docs/proxies.md");
    let mut blocks = text.split("\n```").filter_map(|part| part.strip_prefix(&format!("{language}\n")));
    format!("{}\n", blocks.nth(number).expect("an example"))
}

/// The same with what differs from one deployment to another: where the proxy listens, where Symbolon is, the name of both, and the
/// folder with the files.
pub fn filled_example(language: &str, listens_at: u16, symbolon: &str, dir: &str) -> String {
    filled(language, 0, listens_at, symbolon, dir)
}

/// That of the example with this number.
pub fn filled(language: &str, number: usize, listens_at: u16, symbolon: &str, dir: &str) -> String {
    let front = format!("127.0.0.1:{listens_at}");
    let replacements = [
        ("listen 443", format!("listen {front}")),
        ("bind :443", format!("bind {front}")),
        ("*:443", front),
        ("api.example.com {", format!("https://localhost:{listens_at} {{\n\tbind 127.0.0.1")),
        // As it was called before Caddy 2.8.
        ("tls_trust_pool file", "tls_trusted_ca_certs".to_owned()),
        ("symbolon.internal:8444", symbolon.to_owned()),
        ("symbolon.internal:8443", symbolon.to_owned()),
        ("frontend api", format!("frontend api-{listens_at}")),
        ("backend symbolon", format!("backend symbolon-{listens_at}")),
        ("api.example.com", "localhost".to_owned()),
        ("/etc/ssl/api", format!("{dir}/server")),
        ("/etc/ssl/symbolon-ca.pem", format!("{dir}/server-ca.pem")),
        ("/etc/ssl/", format!("{dir}/")),
    ];
    replacements.iter().fold(example(language, number), |text, (this, that)| text.replace(this, that))
}
