//! The load generator: a closed loop on each of some connections, over mutual TLS. It checks every answer.
//!
//! It is a process of its own with one thread, and does as little as it can beside checking: requests are written as prepared
//! bytes, and the server's certificate is compared with the expected one instead of being verified anew.
//!
//! It never sleeps: waking it would be done, and paid for, by the server's core, and the more often the slower the server is.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::answer::{Answer, Checker, Expectation, OwnedAnswer};
use crate::process::{self, processor_seconds};

/// Time before counting begins: connections are made and caches are filled.
const WARM_UP: Duration = Duration::from_millis(400);

/// What to ask, how, and of whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub target: Target,
    pub connections: usize,
    pub mode: Mode,
    pub seconds: f64,
    /// Whose processor time counts.
    pub server_pid: u32,
}

/// One request and where it goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub address: SocketAddr,
    pub server_name: String,
    /// PEM files: the certificate that the server must show, and the client's own with its key.
    pub server_certificate: String,
    pub certificate: String,
    pub key: String,
    pub group: Group,
    /// The request as it goes over the wire.
    pub request: String,
    pub expectation: Expectation,
}

/// The key exchange that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// All that the library has, the hybrid of X25519 and ML-KEM-768 before the others.
    Any,
    /// X25519, which every program has.
    X25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    KeptAlive,
    NewConnection,
    /// Kept alive, and so many requests a second over all connections, at times that do not depend on the answers. How long an answer
    /// took counts from when its request was due.
    Paced {
        per_second: u32,
    },
}

/// When a connection's next request is due.
struct Pace {
    start: Instant,
    /// Between two requests of all connections.
    apart: Duration,
    next: u32,
    connections: u32,
}

impl Pace {
    fn new(mode: Mode, index: usize, connections: usize) -> anyhow::Result<Option<Self>> {
        let Mode::Paced { per_second } = mode else { return Ok(None) };
        let apart = Duration::from_secs(1).checked_div(per_second).context("a pace")?;
        Ok(Some(Self { start: Instant::now(), apart, next: u32::try_from(index)?, connections: u32::try_from(connections)? }))
    }

    /// Waits awake.
    async fn due(&mut self) -> Instant {
        let due = self.start + self.apart * self.next;
        self.next += self.connections;
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        due
    }
}

/// What was counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    pub requests: u64,
    pub seconds: f64,
    pub server_processor_seconds: f64,
    /// Without what it spent on waiting awake.
    pub load_processor_seconds: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Protocol version, suite and group.
    pub tls: String,
}

/// Runs as the load process.
pub fn run() -> anyhow::Result<()> {
    let orders: Orders = process::orders()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = LocalSet::new().block_on(&runtime, measure(Rc::new(orders)))?;
    process::answer(&counted)
}

/// Asks once and gives the whole answer.
pub async fn probe(target: &Target) -> anyhow::Result<OwnedAnswer> {
    let mut connection = Connection::open(&Connector::new(target)?, target, 0).await?;
    connection.ask(target.request.as_bytes()).await?;
    Ok(connection.answer()?.clone_owned())
}

async fn measure(orders: Rc<Orders>) -> anyhow::Result<Counted> {
    let connector = Rc::new(Connector::new(&orders.target)?);
    let (count, stop, tls) =
        (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(Phase::Counting)), Rc::new(RefCell::new(String::new())));
    let times: Rc<RefCell<Vec<u32>>> = Rc::default();
    let mut tasks = Vec::new();
    for index in 0..orders.connections {
        let (orders, connector, count, stop) = (orders.clone(), connector.clone(), count.clone(), stop.clone());
        let (times, tls) = (times.clone(), tls.clone());
        tasks.push(tokio::task::spawn_local(async move {
            let mut checker = Checker::new(&orders.target.expectation)?;
            let mut kept: Option<Connection> = None;
            let mut pace = Pace::new(orders.mode, index, orders.connections)?;
            if pace.is_some() {
                kept = Some(Connection::open(&connector, &orders.target, index).await?);
            }
            while stop.get() == Phase::Counting {
                let started = match &mut pace {
                    Some(pace) => pace.due().await,
                    None => Instant::now(),
                };
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => Connection::open(&connector, &orders.target, index).await?,
                };
                connection.ask(orders.target.request.as_bytes()).await?;
                checker.check(&connection.answer()?)?;
                times.borrow_mut().push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
                count.set(count.get() + 1);
                if tls.borrow().is_empty() {
                    *tls.borrow_mut() = connection.description();
                }
                match orders.mode {
                    Mode::KeptAlive | Mode::Paced { .. } => kept = Some(connection),
                    Mode::NewConnection => {
                        let _ = connection.stream.shutdown().await;
                    }
                }
            }
            anyhow::Ok(())
        }));
    }
    let idle = Rc::new(Cell::new(Duration::ZERO));
    tokio::task::spawn_local(stay_awake(count.clone(), idle.clone()));
    tokio::time::sleep(WARM_UP).await;
    times.borrow_mut().clear();
    let own = std::process::id();
    let (first, begin) = (count.get(), Instant::now());
    let (server, load) = (processor_seconds(orders.server_pid)?, processor_seconds(own)?);
    let idle_before = idle.get();
    tokio::time::sleep(Duration::from_secs_f64(orders.seconds)).await;
    let requests = count.get() - first;
    let seconds = begin.elapsed().as_secs_f64();
    let (server, load) = (processor_seconds(orders.server_pid)? - server, processor_seconds(own)? - load);
    let idle = (idle.get() - idle_before).as_secs_f64();
    stop.set(Phase::Over);
    for task in tasks {
        task.await??;
    }
    ensure!(requests > 0, "no answer within {seconds} seconds");
    let mut times = times.take();
    times.sort_unstable();
    let quantile = |part: f64| f64::from(times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default()) / 1000.0;
    Ok(Counted {
        requests,
        seconds,
        server_processor_seconds: server,
        load_processor_seconds: load * (1.0 - idle / seconds).clamp(0.0, 1.0),
        p50: quantile(0.5),
        p99: quantile(0.99),
        tls: tls.take(),
    })
}

/// Looks for events again and again. A turn in which no answer came was waiting.
async fn stay_awake(count: Rc<Cell<u64>>, idle: Rc<Cell<Duration>>) {
    let (mut seen, mut turn) = (count.get(), Instant::now());
    loop {
        tokio::task::yield_now().await;
        let took = turn.elapsed();
        turn += took;
        if count.get() == seen {
            idle.set(idle.get() + took);
        }
        seen = count.get();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Counting,
    Over,
}

struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    fn new(target: &Target) -> anyhow::Result<Self> {
        let expected = CertificateDer::from_pem_file(&target.server_certificate)?;
        let chain = CertificateDer::pem_file_iter(&target.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if target.group == Group::X25519 {
            provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        }
        let provider = Arc::new(provider);
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ExactlyThis { expected, schemes }))
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&target.key)?)?;
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), name: target.server_name.clone().try_into()? })
    }
}

/// The server is a child of the same bench on this machine: its certificate is known, and checking it costs the load generator
/// the time it needs for asking.
#[derive(Debug)]
struct ExactlyThis {
    expected: CertificateDer<'static>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for ExactlyThis {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *end_entity == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("another server's certificate".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

struct Connection {
    stream: TlsStream<tokio::net::TcpStream>,
    buffer: Vec<u8>,
    head: usize,
    end: usize,
}

impl Connection {
    async fn open(connector: &Connector, target: &Target, index: usize) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // An address of its own for each task: one address does not have ports enough for every new connection.
        let host = u8::try_from(index % 250)?.saturating_add(2);
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
        let stream = socket.connect(target.address).await?;
        stream.set_nodelay(true)?;
        let stream = connector.tls.connect(connector.name.clone(), stream).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(8_192), head: 0, end: 0 })
    }

    fn description(&self) -> String {
        let (_, tls) = self.stream.get_ref();
        let version = tls.protocol_version().and_then(|version| version.as_str()).unwrap_or("?");
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        let group = tls.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or("?");
        format!("{version} {suite} {group}")
    }

    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (mut searched, mut end) = (0, None);
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection ended: {}", String::from_utf8_lossy(&self.buffer));
            }
            if end.is_none() {
                match self.buffer.windows(4).skip(searched).position(|window| window == b"\r\n\r\n") {
                    Some(at) => {
                        self.head = searched + at + 4;
                        let head = std::str::from_utf8(self.buffer.get(..self.head).unwrap_or_default())?;
                        let length = head
                            .split("\r\n")
                            .filter_map(|line| line.split_once(": "))
                            .find_map(|(name, value)| name.eq_ignore_ascii_case("content-length").then_some(value))
                            .with_context(|| format!("no content-length: {head}"))?;
                        end = Some(self.head + length.parse::<usize>()?);
                    }
                    None => searched = self.buffer.len().saturating_sub(3),
                }
            }
            match end {
                Some(end) if self.buffer.len() == end => {
                    self.end = end;
                    return Ok(());
                }
                Some(end) if self.buffer.len() > end => bail!("more than one answer"),
                _ => {}
            }
        }
    }

    fn answer(&self) -> anyhow::Result<Answer<'_>> {
        let whole = self.buffer.get(..self.end).context("an answer")?;
        let (head, body) = whole.split_at_checked(self.head).context("an answer")?;
        Ok(Answer { head, body })
    }
}
