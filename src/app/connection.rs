//! Connections: accepted under limits, shaken hands with, served, and ended in an orderly way.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Front;
use super::listener::{Listener, ListenerTls, Places};
use super::passthrough::{Ends, Passthrough, Replayed, hello};
use super::patience::{Movement, Patient, WRITE_STALL};
use super::proxied::origin;
use super::proxies::Neighbour;
use crate::config::settings::LimitSettings;
use crate::gateway::tcp::Arrived;
use crate::gateway::{Tunnel, TunnelSlot};
use crate::telemetry::metrics;
use crate::tls::AcceptError;
use crate::web::Peer;
use crate::wire::Arriving;
use crate::wire::proxy_protocol::Origin;

/// Seconds between HTTP/2 pings on a quiet connection, and to wait for their answer.
const HTTP2_PING: Duration = Duration::from_secs(30);

/// Header fields of a request that hyper takes over HTTP/1.1 when it is told nothing.
const HTTP1_HEADERS: u32 = 100;

/// How long a peer that was told of the connection's end may take to go.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long an HTTP/1.1 connection may rest between two requests before the memory for the next one is given back.
const QUIET: Duration = Duration::from_secs(1);

/// How long to wait after the system refused to accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long before the end of a shutdown streams are cut that have not ended: what is said of them is still written down.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What stands where the address of a peer would: one at a Unix socket has none.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Accepts connections until `stop`; each runs as a task of `tracker`.
pub async fn accept(
    listener: Listener,
    front: Arc<Front>,
    limits: Arc<LimitSettings>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    let connections = Arc::new(Semaphore::new(limits.connections as usize));
    let places = Places::new(limits.connections_per_address);
    let name: Arc<str> = listener.name.as_str().into();
    let crowded = metrics::CONNECTIONS_REFUSED.with([listener.name.clone()]);
    loop {
        // At the limit the next peer waits in the system's queue instead of taking memory here.
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = connections.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.socket.accept() => accepted.map(|(socket, address)| listener.sort(socket, address)),
            accepted = from_unix_socket(&listener) => accepted.map(Accepted::Unix),
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = %name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Closed without a word: whoever has his share already learns nothing by a handshake that we pay for.
        let place = match &accepted {
            // Theirs is the share of whom they speak for.
            Accepted::Unix(_) | Accepted::Proxied(..) => None,
            Accepted::Tcp(_, peer_address) => {
                let Some(place) = places.take(peer_address.ip()) else {
                    crowded.increment(1);
                    tracing::debug!(listener = %name, %peer_address, "this address has its share of connections");
                    continue;
                };
                Some(place)
            }
        };
        let task = Connection {
            tls: listener.tls.clone(),
            passthrough: listener.passthrough.clone(),
            places: places.clone(),
            front: front.clone(),
            limits: limits.clone(),
            // Its own, so that connections do not meet at one lock.
            stop: stop.child_token(),
            listener: name.clone(),
        };
        let open = metrics::CONNECTIONS.with([listener.name.clone()]);
        tracker.spawn(async move {
            open.increment(1);
            match accepted {
                Accepted::Tcp(socket, peer_address) => task.run(socket, peer_address, peer_address).await,
                Accepted::Proxied(socket, proxy) => task.run_proxied(socket, proxy).await,
                Accepted::Unix(socket) => task.run_unix(socket).await,
            }
            open.decrement(1);
            drop((permit, place));
        });
    }
}

/// A connection that has come in.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    /// From a proxy that says first whom it speaks for.
    Proxied(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    fn sort(&self, socket: TcpStream, address: SocketAddr) -> Accepted {
        match self.proxy_protocol.iter().any(|range| range.contains(address.ip())) {
            true => Accepted::Proxied(socket, address),
            false => Accepted::Tcp(socket, address),
        }
    }
}

async fn from_unix_socket(listener: &Listener) -> std::io::Result<UnixStream> {
    match &listener.unix_socket {
        Some((socket, _)) => socket.accept().await.map(|(socket, _)| socket),
        None => std::future::pending().await,
    }
}

struct Connection {
    tls: Option<ListenerTls>,
    passthrough: Option<Arc<Passthrough>>,
    places: Arc<Places>,
    front: Arc<Front>,
    limits: Arc<LimitSettings>,
    stop: CancellationToken,
    listener: Arc<str>,
}

impl Connection {
    /// One that a proxy passes on: as if it came from whom the proxy tells.
    async fn run_proxied(self, mut socket: TcpStream, proxy: SocketAddr) {
        let patience = Duration::from_secs(self.limits.handshake_seconds.into());
        let origin = tokio::select! {
            () = self.stop.cancelled() => return,
            origin = Box::pin(origin(&mut socket, patience)) => origin,
        };
        let peer_address = match origin {
            Ok(Origin::Proxy) => return Box::pin(self.run(socket, proxy, proxy)).await,
            Ok(Origin::Client(address)) => address,
            Err(error) => {
                metrics::HANDSHAKES.with([&*self.listener, "proxy_protocol"].map(str::to_owned)).increment(1);
                tracing::info!(listener = %self.listener, %proxy, %error, "a proxy does not say whom it speaks for");
                return;
            }
        };
        let Some(_place) = self.places.take(peer_address.ip()) else {
            metrics::CONNECTIONS_REFUSED.with([self.listener.to_string()]).increment(1);
            tracing::debug!(listener = %self.listener, %peer_address, "this address has its share of connections");
            return;
        };
        Box::pin(self.run(socket, peer_address, proxy)).await;
    }

    /// One that comes from `peer_address`, or is passed on by `neighbour` for it.
    async fn run(self, mut socket: TcpStream, peer_address: SocketAddr, neighbour: SocketAddr) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer_address, %error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else {
            return Box::pin(self.serve(socket, None, false)).await;
        };
        let mut read = Vec::new();
        if let Some(passthrough) = &self.passthrough {
            let patience = Duration::from_secs(self.limits.handshake_seconds.into());
            let said = tokio::select! {
                () = self.stop.cancelled() => return,
                said = tokio::time::timeout(patience, Box::pin(hello(&mut socket))) => said,
            };
            // Whoever says nothing is told nothing.
            let Ok(Ok((bytes, name))) = said else { return };
            read = bytes;
            if let Some((name, upstream)) = name.and_then(|name| passthrough.find(&name).map(|found| (name, found))) {
                metrics::HANDSHAKES.with([&*self.listener, "passed_on"].map(str::to_owned)).increment(1);
                // Gone already, if it has no address.
                let Ok(reached) = socket.local_addr() else { return };
                let ends = Ends { client: peer_address, reached, server_name: &name };
                return tokio::select! {
                    end = Box::pin(passthrough.carry(Replayed::new(read, socket), &upstream, ends)) => {
                        tracing::debug!(listener = %self.listener, %end, "connection that was passed on ended");
                    }
                    () = self.stop.cancelled() => {}
                };
            }
        }
        let reached = socket.local_addr().unwrap_or(NO_ADDRESS);
        self.shake_hands(tls, Replayed::new(read, socket), (peer_address, reached), Neighbour::Address(neighbour)).await;
    }

    /// The same for one that came by the Unix socket, where nothing is passed on unread.
    async fn run_unix(self, socket: UnixStream) {
        if let Some(tls) = &self.tls {
            Box::pin(self.shake_hands(tls, socket, (NO_ADDRESS, NO_ADDRESS), Neighbour::UnixSocket)).await;
        }
    }

    /// Shakes hands with who comes from the first address and has reached the second.
    async fn shake_hands<S>(
        &self,
        tls: &ListenerTls,
        socket: S,
        (peer_address, reached): (SocketAddr, SocketAddr),
        neighbour: Neighbour,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accepted = tokio::select! {
            () = self.stop.cancelled() => return,
            // On the heap, and gone when it is done: a handshake takes more room than an idle connection should keep.
            accepted = Box::pin(tls.acceptor.accept(socket, peer_address)) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let outcome = if accepted.facts.resumed { "resumed" } else { "full" };
                metrics::HANDSHAKES.with([&*self.listener, outcome].map(str::to_owned)).increment(1);
                let http2 = accepted.facts.alpn.as_deref() == Some(b"h2");
                let peer = Arc::new(Peer::new(Arc::new(accepted.facts), tls.policies.clone()));
                if peer.facts().policy.tcp_route().is_some() {
                    return Box::pin(self.lead(accepted.stream, &peer, reached)).await;
                }
                Box::pin(self.serve(accepted.stream, Some((peer, neighbour)), http2)).await;
            }
            Err(error) => {
                metrics::HANDSHAKES.with([&*self.listener, error.label()].map(str::to_owned)).increment(1);
                tracing::info!(listener = %self.listener, %peer_address, reason = error.label(), %error, "handshake failed");
                if let (AcceptError::CertificateAbsent { policy, server_name, .. }, Some(gateway)) = (&error, &self.front.gateway)
                {
                    gateway.certificate_absent(policy, server_name.as_deref(), peer_address);
                }
            }
        }
    }

    /// One of a host that is not for HTTP.
    async fn lead<S>(&self, stream: S, peer: &Peer, reached: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(gateway) = &self.front.gateway else { return };
        if let (Some(lists), Some(trust)) = (&self.front.lists, peer.trust()) {
            lists.ready(trust).await;
        }
        let arrived = Arrived { connection: peer.facts(), trust: peer.trust(), reached };
        let bound = Duration::from_secs(self.limits.shutdown_seconds.into()).saturating_sub(LAST_WORDS);
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(bound).await;
        };
        tokio::select! {
            () = gateway.carry(stream, arrived) => {}
            () = late => {}
        }
    }

    async fn serve<S>(&self, stream: S, peer: Option<(Arc<Peer>, Neighbour)>, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = self.front.clone();
        let movement = Arc::new(Movement::default());
        let moving = movement.clone();
        // Only HTTP/1.1 can be left for another protocol, and only through a gateway.
        let slot = (!http2 && front.gateway.is_some()).then(TunnelSlot::default);
        let tunnel = slot.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (front, peer, open) = (front.clone(), peer.clone(), moving.begin());
            if let Some(slot) = &slot {
                request.extensions_mut().insert(slot.clone());
            }
            // hyper has dropped a `Content-Length` that stood beside it: after such a request the connection must not be used again
            // (RFC 9112 §6.1), and which request was such a one cannot be told any more.
            let is_last = request.headers().contains_key(TRANSFER_ENCODING);
            if is_last {
                moving.arrivals().lose();
            }
            let request = request.map(|body| Arriving::new(body, moving.arrivals()));
            async move {
                let mut response = front.call(request, peer).await.map(|body| open.answered(body));
                if is_last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<Response<Body>, Infallible>(response)
            }
        });
        let mut stream = Patient::new(stream, movement.clone(), WRITE_STALL);
        let limits = &self.limits;
        let idle = Duration::from_secs(limits.request_head_seconds.into());
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.http2_streams)
                .max_header_list_size(limits.request_head_bytes)
                .keep_alive_interval(HTTP2_PING)
                .keep_alive_timeout(HTTP2_PING);
            // Each protocol's machinery on the heap, so that a connection has no room for the other's.
            let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                ended = connection.as_mut() => log_end(ended),
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    log_end(connection.await);
                }
                () = movement.rest(idle) => {
                    connection.as_mut().graceful_shutdown();
                    // A peer that has not even begun to speak does not hear the goodbye.
                    if let Ok(ended) = tokio::time::timeout(GOODBYE, connection).await {
                        log_end(ended);
                    }
                }
            }
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .max_buf_size((limits.request_head_bytes as usize).max(8_192));
            // Its own limit costs nothing; for another it makes and fills two tables for each request.
            if limits.request_headers != HTTP1_HEADERS {
                builder.max_headers(limits.request_headers as usize);
            }
            loop {
                // hyper's buffers for HTTP/1.1 take more than all the rest of an idle connection: they are made when the peer speaks.
                let begins = tokio::select! {
                    () = self.stop.cancelled() => false,
                    begins = tokio::time::timeout(idle, stream.begins()) => matches!(begins, Ok(Ok(true))),
                };
                if !begins {
                    // The peer may be gone; there is nothing more to say to it.
                    let _ = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
                    return;
                }
                let quiet = movement.quiet(QUIET);
                let mut connection = Box::new(builder.serve_connection(TokioIo::new(stream), service.clone()));
                let done = tokio::select! {
                    ended = &mut *connection => match ended {
                        Ok(()) => Done::WithHttp,
                        Err(error) => return log_end(Err(error)),
                    },
                    () = self.stop.cancelled() => {
                        Pin::new(&mut *connection).graceful_shutdown();
                        return log_end(connection.await);
                    }
                    () = quiet => Done::ForNow,
                };
                // Nothing is left to write, and what has been read behind it goes with it.
                let parts = connection.into_parts();
                stream = parts.io.into_inner();
                stream.unread(&parts.read_buf);
                if done == Done::WithHttp {
                    break;
                }
            }
            // On the heap: few connections get here before they are closed.
            Box::pin(self.leave(stream, tunnel.and_then(|slot| slot.take()))).await;
        }
    }
}

/// Why HTTP/1.1 is not spoken at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Between two requests.
    ForNow,
    /// For good.
    WithHttp,
}

impl Connection {
    /// What becomes of a connection that HTTP/1.1 is done with: a tunnel, which has its place, or nothing.
    async fn leave<S>(&self, mut stream: S, tunnel: Option<Box<Tunnel>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tunnel) = tunnel else {
            // hyper leaves this to us where a request asked to switch and nothing came of it.
            let _ = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
            return;
        };
        tokio::select! {
            end = tunnel.run(stream) => tracing::debug!(listener = %self.listener, %end, "tunnel ended"),
            () = self.stop.cancelled() => {}
        }
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        // A peer that hangs up is everyday; what it did is worth a line only when someone looks for it.
        tracing::debug!(%error, "connection ended");
    }
}
