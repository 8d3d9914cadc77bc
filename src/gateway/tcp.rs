//! Connections that are not HTTP: TLS ends here, and the client's certificate is all that lets them in.
//!
//! [`Gateway::carry`] is one connection from its handshake to its end:
//!
//! ```text
//! admit     the route of the server name: address, certificate, place   -> Leave
//! begin     a place in the audit trail, without which nobody is let through
//! connect   the upstreams in turn, behind the PROXY protocol header     -> Outbound
//! join      bytes both ways, for as long as the leave stands
//! ```
//!
//! Nothing is connected to before the leave is there. A stream that is cut looks cut at both ends: the client misses the end that TLS has
//! for it (RFC 8446 §6.1), and the upstream's connection is reset.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Gateway;
use super::address::AddressRange;
use super::certificate::{accepted, sets, unrevoked};
use super::certificate_rule::CertificateRules;
use super::limits::Concurrency;
use super::tunnel::{TunnelEnd, join};
use super::upstreams::{Named, Outcome, Upstreams};
use crate::domain::{Clock, ClockUnreadable, RandomnessUnavailable, RequestId, Timestamp};
use crate::event::{AuditEvent, Reason, TcpDecision, Trailed};
use crate::pki::Certificate;
use crate::pki::name::AttributeType;
use crate::resource::{AdmitError, Moment, RevocationCheck, Standing};
use crate::telemetry::audit::{AuditSink, AuditUnavailable, Shown};
use crate::telemetry::metrics::{DECISIONS, DENIALS, STREAM_ENDS, STREAMS};
use crate::tls::{ConnectionFacts, HostPolicy, OutboundTls, PeerCertificateError};
use crate::trust::PeerTrust;
use crate::wire::proxy_protocol::{self, About, AboutTls, CertificateShown};

/// How long a client that was told of the connection's end may take to go.
const GOODBYE: Duration = Duration::from_secs(5);
/// The label of connections whose host names no route, which is a defect.
const NO_ROUTE: &str = "-";

/// A protected place that is not spoken to in HTTP.
#[derive(Debug)]
pub(super) struct TcpRoute {
    pub(super) name: String,
    /// Where clients find it, for people to read.
    pub(super) places: Vec<TcpPlace>,
    pub(super) upstreams: Upstreams<TcpUpstream>,
    /// How long connecting may take, an upstream's handshake included.
    pub(super) connect: Duration,
    /// The set that certificates must come from here, beside those of listener and host.
    pub(super) anchor_set: Option<String>,
    pub(super) certificate_rules: CertificateRules,
    /// Addresses that may connect; any, when there is none here.
    pub(super) addresses: Vec<AddressRange>,
    /// Whose revocations of certificates count.
    pub(super) revocations: Vec<RevocationCheck>,
    /// The longest silence.
    pub(super) idle: Duration,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) announced: Announced,
}

/// A server name of a route.
#[derive(Debug)]
pub(super) struct TcpPlace {
    /// `NAME:PORT`.
    pub(super) name: String,
    /// Whose certificates count there: every one of these sets must accept.
    pub(super) anchor_sets: Vec<String>,
}

/// Where connections of a route go.
#[derive(Debug)]
pub(super) struct TcpUpstream {
    /// `HOST:PORT`.
    pub(super) place: String,
    /// How it is spoken to, and the name that it must prove, where it speaks TLS.
    pub(super) tls: Option<(Arc<OutboundTls>, ServerName<'static>)>,
}

impl Named for TcpUpstream {
    fn name(&self) -> &str {
        &self.place
    }
}

/// Whether upstreams are told whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// Its bytes are all that they get.
    No,
    /// A PROXY protocol header comes first.
    Yes,
}

/// A connection whose handshake has finished.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// What the handshake has made known.
    pub connection: &'a ConnectionFacts,
    /// What is known of its certificate's path, where there is a certificate.
    pub trust: Option<&'a Arc<PeerTrust>>,
    /// Our address that it has come to.
    pub reached: SocketAddr,
}

/// Why a connection is not let through, or could not be.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error("the host names no route")]
    Route,
    #[error("this address is not served here")]
    Address,
    #[error("{0}")]
    Certificate(#[from] PeerCertificateError),
    #[error("the certificate is not accepted: {0}")]
    Untrusted(Reason),
    #[error("the certificate is none that is served here")]
    CertificateRule,
    #[error("{0}")]
    Stale(#[from] AdmitError),
    #[error("as many connections are open as may be")]
    Crowded,
    #[error("{0}")]
    Audit(#[from] AuditUnavailable),
    #[error("{0}")]
    Clock(#[from] ClockUnreadable),
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    #[error("no upstream can be connected to: {0}")]
    Upstream(io::Error),
    #[error("every upstream is set aside")]
    SetAside,
}

impl TcpError {
    fn reason(&self) -> Reason {
        match self {
            Self::Route => Reason::RouteUnknown,
            Self::Address => Reason::PolicyAddress,
            Self::Certificate(error) => error.reason(),
            Self::Untrusted(reason) => *reason,
            Self::CertificateRule => Reason::PolicyCertificate,
            Self::Stale(error) => error.reason(),
            Self::Crowded => Reason::RouteCrowded,
            Self::Audit(error) => error.reason(),
            Self::Clock(ClockUnreadable) => Reason::ClockUnreadable,
            Self::Randomness(RandomnessUnavailable) => Reason::RandomnessUnavailable,
            Self::Upstream(_) => Reason::UpstreamUnavailable,
            Self::SetAside => Reason::UpstreamSetAside,
        }
    }

    /// As decisions are counted.
    const fn decision(&self) -> &'static str {
        match self {
            Self::Address | Self::Certificate(_) | Self::Untrusted(_) | Self::CertificateRule => "deny",
            Self::Route | Self::Stale(_) | Self::Crowded | Self::Audit(_) | Self::Clock(_) => "fault",
            Self::Randomness(_) | Self::Upstream(_) | Self::SetAside => "fault",
        }
    }
}

/// A connection may be led to an upstream, for as long as this stands. Made only by [`Gateway::admit_tcp`].
#[derive(Debug)]
struct Leave {
    standing: Standing,
    /// One of the route's places.
    _place: Option<OwnedSemaphorePermit>,
}

/// A connection to an upstream. Unless both sides have said all, it is reset: what was cut must not be taken for finished.
#[derive(Debug)]
struct Outbound {
    socket: Socket,
    finished: Finished,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finished {
    No,
    Yes,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if self.finished == Finished::No {
            let socket = match &self.socket {
                Socket::Plain(socket) => socket,
                Socket::Tls(stream) => stream.get_ref().0,
            };
            // Gone already, otherwise.
            let _ = socket.set_zero_linger();
        }
    }
}

impl Outbound {
    async fn join<S: AsyncRead + AsyncWrite + Unpin>(&mut self, client: S, idle: Duration, clock: Arc<dyn Clock>) -> TunnelEnd {
        let end = match &mut self.socket {
            Socket::Plain(socket) => join(client, socket, idle, clock).await,
            Socket::Tls(stream) => join(client, stream, idle, clock).await,
        };
        if matches!(end, TunnelEnd::Closed) {
            self.finished = Finished::Yes;
        }
        end
    }
}

impl TcpUpstream {
    async fn connect(&self, header: &[u8]) -> io::Result<Outbound> {
        let mut socket = TcpStream::connect(&self.place).await?;
        socket.set_nodelay(true)?;
        socket.write_all(header).await?;
        let socket = match &self.tls {
            None => Socket::Plain(socket),
            Some((tls, name)) => {
                let stream = TlsConnector::from(tls.config()).connect(name.clone(), socket).await?;
                Socket::Tls(Box::new(stream))
            }
        };
        Ok(Outbound { socket, finished: Finished::No })
    }
}

/// A connection that is open: its end is told, whatever it is.
struct Open<'a> {
    sink: &'a AuditSink,
    clock: &'a dyn Clock,
    request_id: RequestId,
    route: &'a str,
    /// Why it ended; absent where both sides had said all.
    reason: Option<Reason>,
}

impl<'a> Open<'a> {
    fn new(gateway: &'a Gateway, request_id: RequestId, route: &'a str) -> Self {
        STREAMS.with([route.to_owned()]).increment(1.0);
        // Until something else is known: nobody who is dropped can say more.
        let reason = Some(Reason::StreamStopped);
        Self { sink: &gateway.audit, clock: gateway.clock.as_ref(), request_id, route, reason }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let route = self.route.to_owned();
        STREAMS.with([route.clone()]).decrement(1.0);
        STREAM_ENDS.with([route.clone(), self.reason.map_or("closed", Reason::code).to_owned()]).increment(1);
        let event = AuditEvent::TcpConnectionEnded { request_id: self.request_id.clone(), route, reason: self.reason };
        // Ending needs no leave.
        let _ = self.sink.record(trailed(self.clock, event));
    }
}

fn trailed(clock: &dyn Clock, event: AuditEvent) -> Trailed {
    Trailed { time: clock.now().unwrap_or(Timestamp::from_seconds(0)), event }
}

impl Gateway {
    /// Leads a connection to an upstream, or closes it. Completes when it has ended; dropped before that, it cuts it.
    pub async fn carry<S: AsyncRead + AsyncWrite + Unpin>(&self, mut client: S, arrived: Arrived<'_>) {
        let connection = arrived.connection;
        let mut decision = TcpDecision {
            route: connection.policy.tcp_route().unwrap_or(NO_ROUTE).to_owned(),
            server_name: connection.server_name.clone(),
            peer_address: Some(connection.peer_address),
            certificate: connection.thumbprint(),
            certificate_origin: connection.certificate_origin.clone(),
            ..TcpDecision::default()
        };
        if let Err(error) = self.lead(&mut client, arrived, &mut decision).await {
            let shown = connection.peer.as_ref().ok().and_then(Option::as_ref).map(|certificate| certificate.shown());
            self.refuse_tcp(decision, &error, shown);
            // There is nothing more to say, and the client may be gone.
            let _ = tokio::time::timeout(GOODBYE, client.shutdown()).await;
        }
    }

    /// Tells of a client whose handshake failed because it has shown no certificate, at a host that is not for HTTP.
    pub fn certificate_absent(&self, policy: &HostPolicy, server_name: Option<&str>, peer_address: SocketAddr) {
        let Some(route) = policy.tcp_route() else { return };
        let decision = TcpDecision {
            request_id: RequestId::random(self.randomness.as_ref()).ok(),
            route: route.to_owned(),
            server_name: server_name.map(str::to_owned),
            peer_address: Some(peer_address),
            ..TcpDecision::default()
        };
        self.refuse_tcp(decision, &TcpError::Untrusted(Reason::CertificateAbsent), None);
    }

    /// Tells of a connection that was not let through. Refusing needs no leave.
    fn refuse_tcp(&self, mut decision: TcpDecision, error: &TcpError, shown: Option<Shown<'_>>) {
        let reason = error.reason();
        DECISIONS.with([decision.route.clone(), error.decision().to_owned()]).increment(1);
        DENIALS.with([decision.route.clone(), reason.code().to_owned()]).increment(1);
        match error.decision() {
            "deny" => tracing::debug!(%reason, route = decision.route, "connection refused"),
            _ => tracing::warn!(%reason, route = decision.route, %error, "connection not served"),
        }
        decision.reason = Some(reason);
        let event = trailed(self.clock.as_ref(), AuditEvent::TcpConnection(decision));
        let _ = self.audit.record_refusal(&event, shown);
    }

    /// The story of one connection. An error is for whoever was not let through.
    async fn lead<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut S,
        arrived: Arrived<'_>,
        decision: &mut TcpDecision,
    ) -> Result<(), TcpError> {
        let request_id = RequestId::random(self.randomness.as_ref())?;
        decision.request_id = Some(request_id.clone());
        let route = self.tcp_routes.get(&decision.route).ok_or(TcpError::Route)?;
        let leave = self.admit_tcp(route, arrived)?;
        let kept = self.audit.reserve()?;
        let header = match route.announced {
            Announced::No => Vec::new(),
            Announced::Yes => announcement(arrived, &request_id),
        };
        let ended = leave.standing.ended(Arc::clone(&self.clock));
        tokio::pin!(ended);
        let mut outbound = tokio::select! {
            connected = route.connect(&header, decision) => connected?,
            why = &mut ended => return Err(TcpError::Untrusted(why.reason())),
        };
        DECISIONS.with([route.name.clone(), "allow".to_owned()]).increment(1);
        let told = AuditEvent::TcpConnection(std::mem::take(decision));
        kept.record(trailed(self.clock.as_ref(), told));
        let mut open = Open::new(self, request_id, &route.name);
        let end = tokio::select! {
            end = outbound.join(client, route.idle, Arc::clone(&self.clock)) => end,
            why = ended => TunnelEnd::Ended(why),
        };
        tracing::debug!(route = route.name, %end, "connection ended");
        open.reason = match end {
            TunnelEnd::Closed => None,
            TunnelEnd::Broken(_) => Some(Reason::StreamBroken),
            TunnelEnd::Silence => Some(Reason::StreamIdle),
            TunnelEnd::Ended(why) => Some(why.reason()),
        };
        Ok(())
    }

    /// Whether a connection may have its route: by its certificate, which is judged now and not by what a session remembers.
    fn admit_tcp(&self, route: &TcpRoute, arrived: Arrived<'_>) -> Result<Leave, TcpError> {
        let Arrived { connection, trust, .. } = arrived;
        let moment = Moment::read(self.clock.as_ref())?;
        let address = connection.peer_address.ip();
        if !route.addresses.is_empty() && !route.addresses.iter().any(|range| range.contains(address).is_some()) {
            return Err(TcpError::Address);
        }
        connection.peer.as_ref().map_err(Clone::clone)?;
        let trust = trust.ok_or(TcpError::Untrusted(Reason::CertificateAbsent))?;
        route.revocations.iter().try_for_each(|check| check.check_age(moment))?;
        let certificate = accepted(trust, sets(route.anchor_set.as_ref(), connection), &self.anchors);
        let feeds = route.revocations.iter().map(|check| unrevoked(trust, &check.revocations)).collect();
        let standing = Standing::rest_on(certificate, feeds, moment.wall).map_err(TcpError::Untrusted)?;
        route.certificate_rules.check(trust.peer().leaf()).ok_or(TcpError::CertificateRule)?;
        let place = match &route.concurrency {
            Some(concurrency) => Some(concurrency.take().ok_or(TcpError::Crowded)?),
            None => None,
        };
        Ok(Leave { standing, _place: place })
    }
}

impl TcpRoute {
    /// A connection to the upstream whose turn it is, or to the next: nothing of the client's is lost where one does not answer.
    async fn connect(&self, header: &[u8], decision: &mut TcpDecision) -> Result<Outbound, TcpError> {
        let mut tried = Vec::new();
        let mut last = TcpError::SetAside;
        while let Some(chosen) = self.upstreams.choose(&tried) {
            let upstream = chosen.upstream();
            decision.upstream = Some(upstream.place.clone());
            tried.push(chosen.index());
            let connected = tokio::time::timeout(self.connect, upstream.connect(header)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(outbound) => {
                    chosen.came(Outcome::Answered);
                    return Ok(outbound);
                }
                Err(error) => {
                    tracing::debug!(upstream = upstream.place, %error, "upstream cannot be connected to");
                    chosen.came(Outcome::Failed);
                    last = TcpError::Upstream(error);
                }
            }
        }
        Err(last)
    }
}

/// What an upstream is told of a connection whose certificate has been accepted.
fn announcement(arrived: Arrived<'_>, request_id: &RequestId) -> Vec<u8> {
    let Arrived { connection, trust, reached } = arrived;
    let tls = trust.map(|trust| AboutTls {
        version: if connection.version == ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" },
        shown: if connection.resumed { CertificateShown::Earlier } else { CertificateShown::Here },
        common_name: common_name(trust.peer().leaf()),
    });
    let about = About {
        authority: connection.server_name.as_deref(),
        alpn: connection.alpn.as_deref(),
        unique_id: Some(request_id.as_str()),
        tls,
    };
    proxy_protocol::header(connection.peer_address, reached, &about)
}

/// The common name of a certificate that has one, where no program could read another.
fn common_name(certificate: &Certificate) -> Option<&str> {
    let names = certificate.subject().texts(&AttributeType::parse("CN")?)?;
    match names.as_slice() {
        [only] if !only.chars().any(char::is_control) => Some(only),
        _ => None,
    }
}
