//! Handshakes on a listener.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::policy::{HostPolicy, PolicySet};
use super::{PeerCertificate, PeerCertificateError, PeerLimits, PeerThumbprint};
use crate::domain::Thumbprint;
use crate::event::CertificateOrigin;

/// A fatal `unrecognized_name` alert as a plaintext record (RFC 8446 §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// How long a client may keep us waiting while others wait for its turn.
const UNDISTURBED: Duration = Duration::from_millis(500);

/// Limits of handshakes on one listener.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// From the first byte waited for to the handshake's end, waiting for a turn included.
    pub handshake: Duration,
    /// Handshakes under way at once, counted from the client hello.
    pub handshakes: usize,
    /// What a client may send.
    pub peer: PeerLimits,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), handshakes: 512, peer: PeerLimits::default() }
    }
}

#[cfg(feature = "server")]
impl From<&crate::config::settings::LimitSettings> for AcceptLimits {
    fn from(settings: &crate::config::settings::LimitSettings) -> Self {
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            handshake: Duration::from_secs(settings.handshake_seconds.into()),
            handshakes: size(settings.handshakes),
            peer: PeerLimits {
                chain_certificates: size(settings.chain_certificates),
                certificate_bytes: size(settings.certificate_bytes),
            },
        }
    }
}

/// Accepts TLS connections on one listener, under whatever policies are current when a connection comes in.
#[derive(Clone, Debug)]
pub struct Acceptor {
    policies: Arc<ArcSwap<PolicySet>>,
    limits: AcceptLimits,
    turns: Arc<Turns>,
}

/// Turns at shaking hands. Where there is none left, whoever has kept us waiting longest gives theirs up: clients that say hello and
/// then fall silent would otherwise shut everybody out.
#[derive(Debug)]
struct Turns {
    free: Semaphore,
    /// Of clients that take long, the longest first.
    bells: Mutex<VecDeque<Weak<Notify>>>,
}

impl Turns {
    async fn take(&self) -> Result<SemaphorePermit<'_>, AcceptError> {
        if let Ok(turn) = self.free.try_acquire() {
            return Ok(turn);
        }
        let turn = self.free.acquire();
        tokio::pin!(turn);
        loop {
            self.ring();
            if let Ok(turn) = tokio::time::timeout(UNDISTURBED, &mut turn).await {
                return turn.map_err(|_| AcceptError::Closing);
            }
        }
    }

    /// Tells the client that has taken longest.
    fn ring(&self) {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(bell) = bells.pop_front() {
            if let Some(bell) = bell.upgrade() {
                return bell.notify_one();
            }
        }
    }

    /// Completes when somebody needs a turn that was taken a while ago.
    async fn wanted(&self) {
        tokio::time::sleep(UNDISTURBED).await;
        let bell = Arc::new(Notify::new());
        {
            let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that have ended go before room is made for more.
            if bells.len() == bells.capacity() {
                bells.retain(|bell| bell.strong_count() > 0);
            }
            bells.push_back(Arc::downgrade(&bell));
        }
        bell.notified().await;
    }
}

/// A finished handshake.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The connection.
    pub stream: TlsStream<IO>,
    /// What is known of it.
    pub facts: ConnectionFacts,
}

/// What a handshake has made known. Stays with the connection.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// Where it comes from.
    pub peer_address: SocketAddr,
    /// The server name that the client asked for, lower case.
    pub server_name: Option<String>,
    /// The policy that it was accepted under.
    pub policy: Arc<HostPolicy>,
    /// The certificate that the client holds the key of, if it showed one; not judged.
    pub peer: Result<Option<Arc<PeerCertificate>>, PeerCertificateError>,
    /// The thumbprint of the client's certificate, where a trusted proxy tells no more of it than that.
    pub peer_thumbprint: Option<PeerThumbprint>,
    /// Where the certificate comes from, or would have.
    pub certificate_origin: Option<CertificateOrigin>,
    /// TLS 1.2 or 1.3.
    pub version: ProtocolVersion,
    /// The protocol chosen by ALPN (RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// Whether the session was resumed, so that possession was shown in the handshake it comes from.
    pub resumed: bool,
}

impl ConnectionFacts {
    /// What is wrong with what a trusted proxy says of the client's certificate: then nothing can be answered.
    ///
    /// # Errors
    /// [`PeerCertificateError::Header`] alone. Other certificates that are of no use matter only where one is needed.
    pub fn check_header(&self) -> Result<(), &PeerCertificateError> {
        match &self.peer {
            Err(error @ PeerCertificateError::Header(_)) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// SHA-256 of the client's certificate, as far as that is known.
    pub fn thumbprint(&self) -> Option<Thumbprint> {
        let certificate = self.peer.as_ref().ok().and_then(Option::as_deref).map(PeerCertificate::thumbprint);
        certificate.or(self.peer_thumbprint.map(|known| known.thumbprint()))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client took too long, or its turn never came.
    #[error("the handshake took longer than {} s", .0.as_secs())]
    Timeout(Duration),
    /// The client kept us waiting while others waited for its turn.
    #[error("the handshake stood still while others waited")]
    GaveWay,
    /// The listener is closing.
    #[error("the listener is closing")]
    Closing,
    /// No TLS, or a client hello that is none.
    #[error("no usable client hello: {0}")]
    ClientHello(#[source] std::io::Error),
    /// A server name that nobody here answers to.
    #[error("no host here is called `{}`", .0.as_deref().unwrap_or("(no server name)"))]
    UnknownName(Option<String>),
    /// The handshake failed: no common version or suite, a required certificate missing, possession not shown.
    #[error("the handshake failed: {0}")]
    Handshake(#[source] std::io::Error),
    /// The host demands a certificate, and the client has shown none.
    #[error("the handshake failed: {error}")]
    CertificateAbsent {
        /// The policy of the host.
        policy: Arc<HostPolicy>,
        /// The server name that the client asked for.
        server_name: Option<String>,
        /// As rustls says it.
        #[source]
        error: std::io::Error,
    },
    /// A finished handshake that names no version: a bug.
    #[error("the handshake finished without a protocol version")]
    Version,
}

impl AcceptError {
    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::GaveWay => "gave_way",
            Self::Closing => "closing",
            Self::ClientHello(_) => "client_hello",
            Self::UnknownName(_) => "unknown_name",
            Self::Handshake(_) | Self::CertificateAbsent { .. } => "handshake",
            Self::Version => "defect",
        }
    }
}

impl Acceptor {
    /// Accepts under `policies`, which may be exchanged while connections come in.
    pub fn new(policies: Arc<ArcSwap<PolicySet>>, limits: AcceptLimits) -> Self {
        let free = Semaphore::new(limits.handshakes.clamp(1, Semaphore::MAX_PERMITS));
        Self { policies, limits, turns: Arc::new(Turns { free, bells: Mutex::default() }) }
    }

    /// The policies that are current.
    pub fn policies(&self) -> Arc<PolicySet> {
        self.policies.load_full()
    }

    /// Performs a handshake, under one timeout for all of it.
    ///
    /// # Errors
    /// Why there is no connection. A client certificate that cannot be read or trusted is no reason: see [`ConnectionFacts::peer`].
    pub async fn accept<IO>(&self, io: IO, peer_address: SocketAddr) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(self.limits.handshake, self.handshake(io, peer_address)).await {
            Ok(result) => result,
            Err(_) => Err(AcceptError::Timeout(self.limits.handshake)),
        }
    }

    async fn handshake<IO>(&self, io: IO, peer_address: SocketAddr) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await.map_err(AcceptError::ClientHello)?;
        // Only now does a handshake cost anything: whoever stays silent keeps nobody waiting.
        let _turn = self.turns.take().await?;
        let server_name = hello.client_hello().server_name().map(str::to_owned);
        let policies = self.policies.load_full();
        let Some(policy) = policies.for_server_name(server_name.as_deref()).cloned() else {
            let mut io = hello.io;
            // The client may be gone; there is nothing more to say to it.
            let _ = io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = io.shutdown().await;
            return Err(AcceptError::UnknownName(server_name));
        };
        let stream = tokio::select! {
            biased;
            stream = hello.into_stream(Arc::clone(policy.server_config())) => stream,
            () = self.turns.wanted() => return Err(AcceptError::GaveWay),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) if shows_none(&error) => return Err(AcceptError::CertificateAbsent { policy, server_name, error }),
            Err(error) => return Err(AcceptError::Handshake(error)),
        };
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let peer = PeerCertificate::from_connection(connection, &self.limits.peer).map(|peer| peer.map(Arc::new));
        let origin = if resumed { CertificateOrigin::ResumedHandshake } else { CertificateOrigin::Handshake };
        let facts = ConnectionFacts {
            peer_address,
            server_name,
            policy,
            certificate_origin: Some(origin).filter(|_| !matches!(peer, Ok(None))),
            peer,
            peer_thumbprint: None,
            version: connection.protocol_version().ok_or(AcceptError::Version)?,
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            resumed,
        };
        Ok(Accepted { stream, facts })
    }
}

/// Whether a handshake failed for want of a certificate.
fn shows_none(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::NoCertificatesPresented))
}
