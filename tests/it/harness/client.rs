//! A TLS client that shows any certificate, with or without its key, and speaks HTTP/1.1 by the byte, or HTTP/2.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SignatureAlgorithm, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Identity;
use super::call::{Answer, Call};
use super::wire::Wire;

/// The longest that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The TLS versions to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    V12,
    V13,
    Both,
}

/// The HTTP version to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    V1,
    V2,
}

/// How to connect. Cheap to clone; sessions are resumed only between connections of one [`Caller::prepared`] value.
#[derive(Clone, Debug)]
pub struct Caller {
    authority: CertificateDer<'static>,
    identity: Option<Identity>,
    tampering: bool,
    tls: Tls,
    http: Http,
    alpn: Option<Vec<Vec<u8>>>,
    server_name: Option<String>,
    local: Option<IpAddr>,
    preface: Vec<u8>,
    config: Option<Arc<ClientConfig>>,
    wire: Wire,
}

impl Caller {
    /// Shows no certificate, and accepts servers of `authority`.
    pub fn anonymous(authority: &CertificateDer<'static>) -> Self {
        Self {
            authority: authority.clone(),
            identity: None,
            tampering: false,
            tls: Tls::Both,
            http: Http::V1,
            alpn: None,
            server_name: None,
            local: None,
            preface: vec![],
            config: None,
            wire: Wire::default(),
        }
    }

    /// Notes the secrets it sends and receives there.
    pub fn noting(mut self, wire: &Wire) -> Self {
        self.wire = wire.clone();
        self
    }

    /// Shows this certificate, whatever the server says it wants, and signs with this key, whether they fit or not.
    pub fn showing(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// Shows none.
    pub fn nothing(mut self) -> Self {
        self.identity = None;
        self
    }

    /// Signs correctly, then alters one bit of the signature.
    pub fn tampering(mut self) -> Self {
        self.tampering = true;
        self
    }

    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    /// Offers these protocols (ALPN) instead of those of HTTP.
    pub fn alpn(mut self, names: &[&str]) -> Self {
        self.alpn = Some(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        self
    }

    /// Asks for this server name (SNI) whatever the authority says. An address sends none.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Connects from this address of the machine.
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.local = Some(address.into());
        self
    }

    /// Says this before the first byte of TLS.
    pub fn beginning_with(mut self, bytes: &[u8]) -> Self {
        self.preface = bytes.to_vec();
        self
    }

    /// Keeps TLS sessions from one connection to the next, so that they are resumed.
    pub fn prepared(mut self) -> Self {
        self.config = Some(self.client_config());
        self
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        if let Some(config) = &self.config {
            return config.clone();
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority");
        let versions: &[_] = match self.tls {
            Tls::V12 => &[&rustls::version::TLS12],
            Tls::V13 => &[&rustls::version::TLS13],
            Tls::Both => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let shown = self.identity.as_ref().map(|identity| {
            let mut key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&identity.key()).expect("a key");
            if self.tampering {
                key = Arc::new(Tampering(key));
            }
            Arc::new(CertifiedKey::new(identity.chain.clone(), key))
        });
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Shows(shown)));
        config.alpn_protocols = match (&self.alpn, self.http) {
            (Some(names), _) => names.clone(),
            (None, Http::V1) => vec![b"http/1.1".to_vec()],
            (None, Http::V2) => vec![b"h2".to_vec()],
        };
        Arc::new(config)
    }

    /// A bare TLS connection to `authority` (`host:port`; always on 127.0.0.1). In TLS 1.3 a server's objection to the client's
    /// proof comes with the first read.
    pub async fn raw(&self, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let (host, port) = authority.rsplit_once(':').expect("host:port");
        let socket = TcpSocket::new_v4()?;
        if let Some(local) = self.local {
            socket.bind((local, 0).into())?;
        }
        let mut socket = socket.connect(([127, 0, 0, 1], port.parse().expect("a port")).into()).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&self.preface).await?;
        self.over(socket, host).await
    }

    /// A bare TLS connection over a socket that is connected already, to a server of this name.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S, host: &str) -> io::Result<TlsStream<S>> {
        let host = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(host).expect("a server name");
        within(TlsConnector::from(self.client_config()).connect(name, socket)).await
    }

    /// A connection to `authority` (`host:port`) for requests.
    pub async fn connect(&self, authority: &str) -> io::Result<Connection> {
        let stream = self.raw(authority).await?;
        let authority = authority.to_owned();
        let tls_version = stream.get_ref().1.protocol_version();
        let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let protocol = match self.http {
            Http::V1 => Protocol::V1 { stream: Box::new(stream), buffer: Vec::new() },
            Http::V2 => {
                let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
                let task = tokio::spawn(async move { connection.await.map_err(|error| format!("{error:?}")) });
                Protocol::V2 { sender, task }
            }
        };
        Ok(Connection { authority, protocol, tls_version, resumed, wire: self.wire.clone() })
    }

    /// One request on a connection of its own. `Err` is a connection that was refused or broken.
    pub async fn try_send(&self, authority: &str, call: &Call) -> io::Result<Answer> {
        self.connect(authority).await?.try_send(call).await
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, authority: &str, call: &Call) -> impl Future<Output = Answer> + use<> {
        let (caller, authority, call) = (self.clone(), authority.to_owned(), call.clone());
        let place = std::panic::Location::caller();
        async move {
            match caller.try_send(&authority, &call).await {
                Ok(answer) => answer,
                Err(error) => panic!("{} {} at {authority} (from {place}): {error:?}", call.method, call.target),
            }
        }
    }
}

async fn within<T>(wait: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// One connection, for as many requests as it lives.
pub struct Connection {
    authority: String,
    protocol: Protocol,
    /// The TLS version in use.
    pub tls_version: Option<ProtocolVersion>,
    /// Whether the TLS session was resumed.
    pub resumed: bool,
    wire: Wire,
}

enum Protocol {
    V1 { stream: Box<TlsStream<TcpStream>>, buffer: Vec<u8> },
    V2 { sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>, task: tokio::task::JoinHandle<Result<(), String>> },
}

impl Connection {
    /// Makes a request and reads its answer.
    #[track_caller]
    pub fn send<'a>(&'a mut self, call: &'a Call) -> impl Future<Output = Answer> + 'a {
        let place = std::panic::Location::caller();
        async move {
            match self.try_send(call).await {
                Ok(answer) => answer,
                Err(error) => panic!("{} {} (from {place}): {error:?}", call.method, call.target),
            }
        }
    }

    /// Makes a request and reads its answer, or the end of the connection.
    pub async fn try_send(&mut self, call: &Call) -> io::Result<Answer> {
        self.wire.sent(call);
        let answer = self.exchange(call).await?;
        self.wire.received(&answer);
        Ok(answer)
    }

    async fn exchange(&mut self, call: &Call) -> io::Result<Answer> {
        let authority = self.authority.clone();
        match &mut self.protocol {
            Protocol::V1 { stream, buffer } => {
                within(async {
                    let written = async { stream.write_all(&call.bytes(&authority)).await.and(stream.flush().await) }.await;
                    // A server that has heard enough answers and closes while the rest is still being written.
                    let answer = read_answer(stream, buffer, &call.method).await;
                    if answer.is_err() { written.and(answer) } else { answer }
                })
                .await
            }
            Protocol::V2 { sender, .. } => {
                let mut request =
                    http::Request::builder().method(call.method.as_str()).uri(format!("https://{authority}{}", call.target));
                for (name, value) in &call.headers {
                    request = request.header(name, value);
                }
                let request = request.body(Full::new(Bytes::from(call.body.clone()))).map_err(io::Error::other)?;
                within(async {
                    let response = sender.send_request(request).await.map_err(io::Error::other)?;
                    let (head, body) = response.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
                    Ok(Answer { status: head.status.as_u16(), headers, body: body.to_vec() })
                })
                .await
            }
        }
    }

    /// Writes bytes as they are (HTTP/1.1 alone).
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Protocol::V1 { stream, .. } = &mut self.protocol else { panic!("raw bytes are for HTTP/1.1") };
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    /// Reads one answer (HTTP/1.1 alone).
    pub async fn read(&mut self) -> io::Result<Answer> {
        let Protocol::V1 { stream, buffer } = &mut self.protocol else { panic!("raw bytes are for HTTP/1.1") };
        within(read_answer(stream, buffer, "GET")).await
    }

    /// Whether the server has closed the connection, or does within `wait` (HTTP/1.1 alone).
    pub async fn closed_within(&mut self, wait: Duration) -> bool {
        let Protocol::V1 { stream, .. } = &mut self.protocol else { panic!("raw bytes are for HTTP/1.1") };
        let mut byte = [0u8; 1];
        matches!(tokio::time::timeout(wait, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }
}

async fn read_answer(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>, method: &str) -> io::Result<Answer> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    loop {
        let end = fill_until(stream, buffer, b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| malformed("no status line"))?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let body = if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            Vec::new()
        } else if let Some(length) = find("content-length") {
            let length: usize = length.parse().map_err(|_| malformed("content-length"))?;
            fill_to(stream, buffer, length).await?;
            buffer.drain(..length).collect()
        } else if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            let mut body = Vec::new();
            loop {
                let end = fill_until(stream, buffer, b"\r\n").await?;
                let size = String::from_utf8_lossy(&buffer[..end]).split(';').next().unwrap_or_default().trim().to_owned();
                let size = usize::from_str_radix(&size, 16).map_err(|_| malformed("chunk size"))?;
                buffer.drain(..end + 2);
                fill_to(stream, buffer, size + 2).await?;
                body.extend(buffer.drain(..size));
                buffer.drain(..2);
                if size == 0 {
                    break body;
                }
            }
        } else {
            stream.read_to_end(buffer).await?;
            std::mem::take(buffer)
        };
        return Ok(Answer { status, headers, body });
    }
}

async fn fill(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

async fn fill_to(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Ok(())
}

async fn fill_until(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>, end: &[u8]) -> io::Result<usize> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Ok(at);
        }
        fill(stream, buffer).await?;
    }
}

#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

#[derive(Debug)]
struct Tampering<T>(T);

impl SigningKey for Tampering<Arc<dyn SigningKey>> {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered).map(|signer| Box::new(Tampering(signer)) as Box<dyn Signer>)
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Signer for Tampering<Box<dyn Signer>> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut signature = self.0.sign(message)?;
        if let Some(last) = signature.last_mut() {
            *last ^= 1;
        }
        Ok(signature)
    }
    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}
