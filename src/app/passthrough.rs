//! Connections that are passed on unread, by the server name that they ask for: TLS ends at the other side, and so does every rule of
//! ours.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::bail;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::config::settings::ListenerSettings;
use crate::domain::Clock;
use crate::gateway::tunnel::{SILENCE, TunnelEnd, join};
use crate::wire::proxy_protocol::{self, About};

/// The longest time to connect to the other side.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of a client hello, at most. Those of today have two thousand.
const HELLO_BYTES: usize = 32_768;

/// Where connections of some server names go.
#[derive(Debug)]
pub struct Passthrough {
    names: HashMap<String, Arc<Destination>>,
    /// By what stands behind `*.`.
    domains: HashMap<String, Arc<Destination>>,
    /// Names that are served here.
    served: HashSet<String>,
    clock: Arc<dyn Clock>,
}

/// Where connections go.
#[derive(Debug)]
pub struct Destination {
    upstream: String,
    announced: Announced,
}

/// Whether the other side is told whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// Its bytes are all that it gets.
    No,
    /// A PROXY protocol header comes first.
    Yes,
}

/// Whose a connection is, where it has come to, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The client.
    pub client: SocketAddr,
    /// Our address.
    pub reached: SocketAddr,
    /// The server name that it asks for.
    pub server_name: &'a str,
}

impl Passthrough {
    /// What a listener passes on; `None` when that is nothing.
    pub fn of(written: &ListenerSettings, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<Self>>> {
        if written.passthrough.is_empty() {
            return Ok(None);
        }
        let (mut names, mut domains) = (HashMap::new(), HashMap::new());
        let served: HashSet<String> = written.host.iter().flat_map(|host| &host.names).map(|name| normal(name)).collect();
        for entry in &written.passthrough {
            let announced = if entry.send_proxy_protocol { Announced::Yes } else { Announced::No };
            let upstream = Arc::new(Destination { upstream: entry.upstream.clone(), announced });
            let has_port =
                entry.upstream.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !has_port {
                bail!(
                    "listener `{}`: `{}` is not where anything can be passed on to: write HOST:PORT",
                    written.name,
                    entry.upstream
                );
            }
            for name in entry.names.iter().map(|name| normal(name)) {
                if name == "*" || name.is_empty() {
                    bail!(
                        "listener `{}`: `passthrough` is for names; `*` would pass on what nobody has thought of",
                        written.name
                    );
                }
                if served.contains(&name) {
                    bail!("listener `{}`: `{name}` is served here and passed on: take it away from one of them", written.name);
                }
                let earlier = match name.strip_prefix("*.") {
                    Some(domain) => domains.insert(domain.to_owned(), upstream.clone()),
                    None => names.insert(name.clone(), upstream.clone()),
                };
                if earlier.is_some() {
                    bail!("listener `{}`: `{name}` is passed on twice", written.name);
                }
            }
        }
        Ok(Some(Arc::new(Self { names, domains, served, clock: clock.clone() })))
    }

    /// Where a server name goes. A name that is served here counts before `*.domain`.
    pub fn find(&self, name: &str) -> Option<Arc<Destination>> {
        let domain = || self.domains.get(name.split_once('.')?.1).filter(|_| !self.served.contains(name));
        self.names.get(name).or_else(domain).cloned()
    }

    /// Carries a connection whose client has said `hello`, until one of its ends comes.
    pub async fn carry(&self, client: Replayed, to: &Destination, ends: Ends<'_>) -> TunnelEnd {
        let connected = tokio::time::timeout(CONNECT, to.connect(ends)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(socket) => join(client, socket, SILENCE, self.clock.clone()).await,
            Err(error) => {
                tracing::warn!(upstream = to.upstream, %error, "cannot pass a connection on");
                error.into()
            }
        }
    }
}

impl Destination {
    async fn connect(&self, ends: Ends<'_>) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(&self.upstream).await?;
        socket.set_nodelay(true)?;
        if self.announced == Announced::Yes {
            let about = About { authority: Some(ends.server_name), ..About::default() };
            socket.write_all(&proxy_protocol::header(ends.client, ends.reached, &about)).await?;
        }
        Ok(socket)
    }
}

/// As names are compared: as TLS policies do it.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Reads a client hello, in however many pieces it comes, and gives the bytes with the server name that it asks for. What is no hello
/// asks for none, and is for the handshake to refuse.
///
/// # Errors
/// When the peer is gone.
pub async fn hello(socket: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut bytes = Vec::new();
    while bytes.len() < HELLO_BYTES {
        let before = bytes.len();
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fresh = bytes.get(before..).unwrap_or_default();
        while !fresh.is_empty() {
            if !matches!(acceptor.read_tls(&mut fresh), Ok(1..)) {
                return Ok((bytes, None));
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(normal);
                    return Ok((bytes, name));
                }
                Ok(None) => {}
                Err(_) => return Ok((bytes, None)),
            }
        }
    }
    Ok((bytes, None))
}

/// A socket some of whose bytes have been read already: they are read again first.
#[derive(Debug)]
pub struct Replayed {
    read: Vec<u8>,
    at: usize,
    socket: TcpStream,
}

impl Replayed {
    /// With these bytes before what the socket has still to say.
    pub const fn new(read: Vec<u8>, socket: TcpStream) -> Self {
        Self { read, at: 0, socket }
    }
}

impl AsyncRead for Replayed {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.read.get(this.at..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        this.at += length;
        if this.at == this.read.len() {
            (this.read, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
