//! A throw-away PostgreSQL server for one test process: started on first use, gone with the process however it ends.
//!
//! Used by the integration tests and, by path, by the store's own tests; it therefore names nothing of the crate.
//! `SYMBOLON_TEST_POSTGRES_URL` names a server to use instead, with the right to create databases.

#![allow(clippy::expect_used, reason = "a test that cannot start its server fails there and then")]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

#[path = "left_out.rs"]
pub mod left_out;
pub use left_out::left_out;

/// Whether the server writes its log to the disk before it answers, as one that is meant to last does. Set before its first use.
pub static DURABLE: AtomicBool = AtomicBool::new(false);

/// A fresh, empty database: its URL. `None`, with the reason printed, when there is no PostgreSQL at hand.
///
/// # Panics
/// When there is none although `SYMBOLON_TEST_REQUIRE` lists `postgres`.
pub async fn database() -> Option<String> {
    // The first use starts a server and waits for it: off the runtime's threads.
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await.expect("the starter did not panic");
    let base = match server {
        Ok(base) => base,
        Err(reason) => {
            leave_out(reason);
            return None;
        }
    };
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("symbolon_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&base.url("postgres")).await.expect("the test server accepts connections");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.expect("CREATE DATABASE");
    connection.close().await.expect("closed");
    Some(base.url(&name))
}

/// Says why PostgreSQL is left out of a test.
pub fn leave_out(reason: &str) {
    let required = std::env::var("SYMBOLON_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == "postgres"), "PostgreSQL is required here, but {reason}");
    left_out(&format!("tests with PostgreSQL: {reason}"));
}

static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();

enum Server {
    /// One of ours, in this directory.
    Started(PathBuf),
    /// One that the environment names.
    Given(String),
}

impl Server {
    fn url(&self, database: &str) -> String {
        match self {
            Self::Started(directory) => format!("postgres://postgres@localhost/{database}?host={}", directory.display()),
            Self::Given(url) => {
                let (address, parameters) = url.split_once('?').map_or((url.as_str(), None), |(left, right)| (left, Some(right)));
                let scheme_end = address.find("://").map_or(0, |at| at + 3);
                let server = address[scheme_end..].find('/').map_or(address, |slash| &address[..scheme_end + slash]);
                let parameters = parameters.map(|text| format!("?{text}")).unwrap_or_default();
                format!("{server}/{database}{parameters}")
            }
        }
    }
}

fn start() -> Result<Server, String> {
    if let Ok(url) = std::env::var("SYMBOLON_TEST_POSTGRES_URL") {
        return Ok(Server::Given(url));
    }
    let cluster = Cluster::create()?;
    cluster.start("-c listen_addresses= -c max_connections=300")?;
    Ok(Server::Started(PathBuf::from(cluster.directory)))
}

/// A server of its own that takes connections over TLS alone, on 127.0.0.1 at this port, from whoever shows a certificate of `authority`
/// for the user `symbolon`; with an empty database of that name. All three are PEM. `None` where no server can be started.
#[allow(dead_code, reason = "the store's own tests have no certificates")]
pub async fn secured(certificate: String, key: String, authority: String, port: u16) -> Option<()> {
    let started = tokio::task::spawn_blocking(move || start_secured(&certificate, &key, &authority, port)).await;
    let directory = match started.expect("the starter did not panic") {
        Ok(directory) => directory,
        Err(reason) => {
            leave_out(&reason);
            return None;
        }
    };
    let url = format!("postgres://postgres@localhost:{port}/postgres?host={directory}");
    let mut connection = PgConnection::connect(&url).await.expect("the test server accepts connections");
    for statement in ["CREATE ROLE symbolon LOGIN", "CREATE DATABASE symbolon OWNER symbolon"] {
        sqlx::query(statement).execute(&mut connection).await.expect(statement);
    }
    connection.close().await.expect("closed");
    Some(())
}

fn start_secured(certificate: &str, key: &str, authority: &str, port: u16) -> Result<String, String> {
    let cluster = Cluster::create()?;
    let rules = "local all all trust\nhostssl all symbolon 127.0.0.1/32 trust clientcert=verify-full\n";
    for (name, text) in [("server.pem", certificate), ("server.key", key), ("ca.pem", authority), ("pg_hba.conf", rules)] {
        let path = format!("{}/{name}", cluster.data);
        std::fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
        run(&[], Path::new("chmod"), &["600", &path])?;
        if is_root() {
            run(&[], Path::new("chown"), &["postgres", &path])?;
        }
    }
    cluster.start(&format!(
        "-c listen_addresses=127.0.0.1 -c port={port} \
         -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key -c ssl_ca_file=ca.pem"
    ))?;
    Ok(cluster.directory)
}

/// A server that its test stops and starts.
#[allow(dead_code, reason = "the store's own tests and benches let theirs run")]
pub struct Own {
    cluster: Cluster,
}

#[allow(dead_code, reason = "the store's own tests and benches let theirs run")]
impl Own {
    /// Starts one, with an empty database: its URL. `None` where no server can be started.
    pub async fn start() -> Option<(Self, String)> {
        let started = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::create()?;
            cluster.start(Self::OPTIONS)?;
            Ok::<_, String>(cluster)
        });
        match started.await.expect("the starter did not panic") {
            Ok(cluster) => {
                let url = format!("postgres://postgres@localhost/postgres?host={}", cluster.directory);
                Some((Self { cluster }, url))
            }
            Err(reason) => {
                leave_out(&reason);
                None
            }
        }
    }

    const OPTIONS: &str = "-c listen_addresses=";

    /// Ends it at once, as when its machine is lost: every connection breaks, nothing is written back.
    pub fn crash(&self) {
        let Cluster { bin, as_user, data, .. } = &self.cluster;
        run(as_user, &bin.join("pg_ctl"), &["-D", data, "-m", "immediate", "-w", "stop"]).expect("stopped");
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.cluster.start(Self::OPTIONS).expect("started");
    }
}

/// A server's files, which go with this process.
struct Cluster {
    bin: PathBuf,
    /// What a command is run by: PostgreSQL refuses to run as root.
    as_user: &'static [&'static str],
    /// Holds the socket too, whose path may have about 100 bytes.
    directory: String,
    data: String,
}

impl Cluster {
    fn create() -> Result<Self, String> {
        let bin = binaries()
            .ok_or("`initdb` is neither in PATH nor in /usr/lib/postgresql/*/bin (Debian: apt-get install postgresql)")?;
        let as_user: &[&str] = if is_root() { &["runuser", "-u", "postgres", "--"] } else { &[] };
        let directory = run(as_user, Path::new("mktemp"), &["-d", "--suffix=.symbolon-pg"])?.trim().to_owned();
        let data = format!("{directory}/data");
        run(as_user, &bin.join("initdb"), &["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])?;
        Ok(Self { bin, as_user, directory, data })
    }

    fn start(&self, options: &str) -> Result<(), String> {
        let Self { bin, as_user, directory, data } = self;
        let fsync = if DURABLE.load(Ordering::Relaxed) { "on" } else { "off" };
        let options = format!("{options} -c unix_socket_directories={directory} -c fsync={fsync} -c log_min_messages=fatal");
        watch(as_user, bin, directory, data)?;
        let log = format!("{directory}/log");
        run(as_user, &bin.join("pg_ctl"), &["-D", data, "-o", &options, "-l", &log, "-w", "-t", "60", "start"]).map(drop)
    }
}

/// One of the programs that come with the server, such as `pg_dump`.
#[allow(dead_code, reason = "the store's own tests and benches have no use for it")]
pub fn program(name: &str) -> PathBuf {
    let beside = binaries().map(|bin| bin.join(name)).filter(|program| program.is_file());
    beside.unwrap_or_else(|| PathBuf::from(name))
}

/// Starts a shell that waits for the end of its input, which comes when this process ends (also by SIGKILL), then stops the server
/// and removes its directory.
fn watch(as_user: &[&str], bin: &Path, directory: &str, data: &str) -> Result<(), String> {
    let script = "trap '' INT TERM HUP; cat >/dev/null; \"$1\" -D \"$2\" -m immediate -w stop >/dev/null 2>&1; rm -rf \"$3\"";
    let pg_ctl = bin.join("pg_ctl");
    let pg_ctl = pg_ctl.display().to_string();
    let mut watcher = command(as_user, Path::new("sh"))
        .args(["-c", script, "watcher", &pg_ctl, data, directory])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("no shell watches over it: {error}"))?;
    // Held open for as long as this process lives.
    std::mem::forget(watcher.stdin.take());
    Ok(())
}

fn command(as_user: &[&str], program: &Path) -> Command {
    match as_user.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

fn run(as_user: &[&str], program: &Path, arguments: &[&str]) -> Result<String, String> {
    let name = program.display();
    // Output goes to a file-like pipe of its own; `pg_ctl start` leaves a daemon behind that must not hold it.
    let mut child = command(as_user, program)
        .args(arguments)
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(if program.ends_with("pg_ctl") { Stdio::null() } else { Stdio::piped() })
        .stderr(if program.ends_with("pg_ctl") { Stdio::null() } else { Stdio::piped() })
        .spawn()
        .map_err(|error| format!("{name} does not start: {error}"))?;
    let (mut output, mut errors) = (String::new(), String::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut output).map_err(|error| format!("{name}: {error}"))?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut errors).map_err(|error| format!("{name}: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(output) } else { Err(format!("{name} failed ({status}): {}", errors.trim())) }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Where `initdb` is: in PATH, or the newest version where Debian and Red Hat put it.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|directory| directory.join("initdb").is_file());
    in_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
        let mut found: Vec<(u32, PathBuf)> = versions
            .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
            .filter(|(_, bin)| bin.join("initdb").is_file())
            .collect();
        found.sort();
        found.pop().map(|(_, bin)| bin)
    })
}
