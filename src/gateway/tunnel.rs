//! Connections that stop being HTTP: WebSocket (RFC 6455), from an admitted request on.
//!
//! Nothing that a client sends behind its request reaches an upstream before that has agreed to switch. A tunnel rests on the admission
//! of its request: it ends when the token expires or is revoked, and when the certificate is not good any more.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{HeaderValue, Method, Version, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::OwnedSemaphorePermit;

use super::body::Progress;
use crate::domain::Clock;
use crate::resource::{Admission, AdmissionEnded};

/// How long the upstream may take to switch once it has agreed.
const SWITCH: Duration = Duration::from_secs(10);
/// The longest silence in both directions, where nothing else is written.
pub const SILENCE: Duration = Duration::from_secs(600);
/// Bytes under way in each direction.
const BUFFER_BYTES: usize = 16_384;

/// What a client asks to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing, or nothing that the route passes on.
    No,
    /// WebSocket.
    WebSocket,
}

impl Upgrade {
    /// Whether a request is the opening of a WebSocket (RFC 6455 §4.1): without a body, so that there is no doubt where it ends.
    pub fn wanted(head: &request::Parts, is_empty: NoBody) -> Self {
        let NoBody::Yes = is_empty else { return Self::No };
        let lists = |name, wanted: &str| {
            let fields = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            fields.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(wanted))
        };
        let opens = head.method == Method::GET
            && head.version == Version::HTTP_11
            && lists(CONNECTION, "upgrade")
            && is_websocket(&head.headers)
            && head.headers.get("sec-websocket-version").is_some_and(|version| version == "13");
        if opens { Self::WebSocket } else { Self::No }
    }

    /// Says so in the header of a request or an answer, from which it was stripped.
    pub fn write(self, headers: &mut HeaderMap) {
        if self == Self::WebSocket {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
    }
}

/// Whether a request has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It may have one.
    No,
    /// It has none.
    Yes,
}

/// Whether `Upgrade` names WebSocket and nothing else.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(UPGRADE).iter();
    let first = fields.next().and_then(|value| value.to_str().ok());
    first.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) && fields.next().is_none()
}

/// Where the connection that a request came on finds its tunnel: it carries it itself, so that a tunnel counts as its connection.
#[derive(Clone, Debug, Default)]
pub struct TunnelSlot(Arc<Mutex<Option<Box<Tunnel>>>>);

impl TunnelSlot {
    /// Leaves a tunnel for the connection.
    pub(super) fn put(&self, tunnel: Tunnel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tunnel));
    }

    /// The tunnel, when there is one.
    pub fn take(&self) -> Option<Box<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub enum TunnelEnd {
    /// Both sides have said all they had to say.
    #[error("both sides closed")]
    Closed,
    /// One of them broke off, or did not switch.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// Nothing was said for too long.
    #[error("nothing was said for too long")]
    Silence,
    /// What it was let through by has ended.
    #[error("{0}")]
    Ended(AdmissionEnded),
}

/// The upstream's side of a tunnel, to be joined with the connection that asked for it.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) upstream: OnUpgrade,
    pub(super) admission: Admission,
    pub(super) clock: Arc<dyn Clock>,
    /// One of the route's places.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

impl Tunnel {
    /// Carries bytes both ways between `client` and the upstream until one of the ends comes. Both are closed behind it.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, client: S) -> TunnelEnd {
        let Self { upstream, admission, clock, _place } = self;
        let ended = admission.ended(Arc::clone(&clock));
        tokio::select! {
            end = carry(client, upstream, clock) => end,
            why = ended => TunnelEnd::Ended(why),
        }
    }
}

async fn carry(client: impl AsyncRead + AsyncWrite + Unpin, upstream: OnUpgrade, clock: Arc<dyn Clock>) -> TunnelEnd {
    let upstream = match tokio::time::timeout(SWITCH, upstream).await {
        Ok(Ok(upstream)) => upstream,
        Ok(Err(error)) => return io::Error::other(error).into(),
        Err(_) => return io::Error::from(io::ErrorKind::TimedOut).into(),
    };
    join(client, TokioIo::new(upstream), SILENCE, clock).await
}

/// Carries bytes both ways between two connections, until both have said all, one breaks off, or nothing is said for too long.
pub async fn join(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Duration,
    clock: Arc<dyn Clock>,
) -> TunnelEnd {
    let (from_client, to_client) = split(client);
    let (from_upstream, to_upstream) = split(upstream);
    let progress = Progress::new(clock);
    let copied = async { tokio::try_join!(pump(from_client, to_upstream, &progress), pump(from_upstream, to_client, &progress)) };
    tokio::select! {
        copied = copied => match copied {
            Ok(_) => TunnelEnd::Closed,
            Err(error) => error.into(),
        },
        () = silence(&progress, patience) => TunnelEnd::Silence,
    }
}

async fn silence(progress: &Progress, patience: Duration) {
    loop {
        let left = patience.saturating_sub(progress.idle());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, progress: &Progress) -> io::Result<()> {
    let mut buffer = vec![0u8; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        to.flush().await?;
        progress.moved();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_opening_of_a_websocket_is_one() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let wanted = |method: Method, version: Version, fields: &[(&'static str, &'static str)], is_empty| {
            let mut request = http::Request::builder().method(method).version(version).body(()).expect("a request");
            for (name, value) in fields {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            Upgrade::wanted(&request.into_parts().0, is_empty)
        };
        let is = |fields: &[(&'static str, &'static str)]| wanted(Method::GET, Version::HTTP_11, fields, NoBody::Yes);
        assert_eq!(is(&good), Upgrade::WebSocket);
        assert_eq!(wanted(Method::POST, Version::HTTP_11, &good, NoBody::Yes), Upgrade::No);
        assert_eq!(wanted(Method::GET, Version::HTTP_2, &good, NoBody::Yes), Upgrade::No);
        assert_eq!(wanted(Method::GET, Version::HTTP_10, &good, NoBody::Yes), Upgrade::No);
        assert_eq!(wanted(Method::GET, Version::HTTP_11, &good, NoBody::No), Upgrade::No);
        for left_out in 0..3 {
            let fields: Vec<_> = good.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, field)| *field).collect();
            assert_eq!(is(&fields), Upgrade::No, "{left_out}");
        }
        assert_eq!(is(&[&good[..], &[("upgrade", "h2c")]].concat()), Upgrade::No);
        assert_eq!(is(&[("connection", "upgrade"), ("upgrade", "h2c"), ("sec-websocket-version", "13")]), Upgrade::No);
    }
}
