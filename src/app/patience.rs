//! How long a peer may keep a connection open while nothing moves.
//!
//! HTTP/1.1 has hyper's limit on the time between two heads. HTTP/2 has none: a peer that is silent after the handshake, that answers
//! pings and asks for nothing, or that asks and then takes no answer, would keep its place for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::wire::Arrivals;

/// How long a peer may take no byte of what is written to it.
pub(super) const WRITE_STALL: Duration = Duration::from_secs(60);

/// What moves on one connection.
#[derive(Debug, Default)]
pub(super) struct Movement {
    /// Grows with everything that the peer does or takes.
    moves: AtomicU64,
    /// Requests without a whole answer.
    open: AtomicUsize,
    /// Those of them that wait for us and not for the peer.
    ours: AtomicUsize,
    /// Bytes that the peer has not taken yet.
    untaken: AtomicBool,
    /// Which requests have arrived whole.
    arrivals: Arc<Arrivals>,
}

impl Movement {
    /// Completes when the peer has asked for nothing during `limit`, or has taken nothing of what it asked for during twice that.
    pub(super) async fn rest(&self, limit: Duration) {
        let mut rounds = 0;
        loop {
            let seen = self.moves.load(Ordering::Acquire);
            sleep(limit).await;
            let moved = self.moves.load(Ordering::Acquire) != seen || self.ours.load(Ordering::Acquire) > 0;
            rounds = if moved { 0 } else { rounds + 1 };
            if rounds > usize::from(self.open.load(Ordering::Acquire) > 0) {
                return;
            }
        }
    }

    /// Completes when a request has been answered since the call, the peer has taken all of it, nothing has moved during `limit`, and
    /// every request so far has arrived whole: an answer may be complete long before the request is.
    pub(super) fn quiet(&self, limit: Duration) -> impl Future<Output = ()> {
        // Now, and not when the future is first polled: by then the first request may have been answered.
        let began = self.moves.load(Ordering::Acquire);
        async move {
            loop {
                let seen = self.moves.load(Ordering::Acquire);
                sleep(limit).await;
                let now = self.moves.load(Ordering::Acquire);
                let waits = self.open.load(Ordering::Acquire) > 0 || self.untaken.load(Ordering::Acquire);
                if now == seen && now != began && !waits && self.arrivals.are_whole() {
                    return;
                }
            }
        }
    }

    /// The request bodies of the connection.
    pub(super) const fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Open {
        self.moves.fetch_add(1, Ordering::AcqRel);
        self.open.fetch_add(1, Ordering::AcqRel);
        let mut open = Open { movement: Arc::clone(self), turn: Turn::Peers };
        open.waits_for(Turn::Ours);
        open
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Ours,
    Peers,
}

/// A request without a whole answer.
#[derive(Debug)]
pub(super) struct Open {
    movement: Arc<Movement>,
    turn: Turn,
}

impl Open {
    fn waits_for(&mut self, turn: Turn) {
        match (self.turn, turn) {
            (Turn::Peers, Turn::Ours) => drop(self.movement.ours.fetch_add(1, Ordering::AcqRel)),
            (Turn::Ours, Turn::Peers) => drop(self.movement.ours.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.turn = turn;
    }

    /// Puts the body under watch: from now on it is for the peer to take it.
    pub(super) fn answered(mut self, body: Body) -> Body {
        self.waits_for(Turn::Peers);
        Body::new(Watched { body, open: self })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.waits_for(Turn::Peers);
        self.movement.moves.fetch_add(1, Ordering::AcqRel);
        self.movement.open.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Watched {
    body: Body,
    open: Open,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.open.movement.moves.fetch_add(1, Ordering::AcqRel);
        let polled = Pin::new(&mut this.body).poll_frame(context);
        this.open.waits_for(if polled.is_pending() { Turn::Ours } else { Turn::Peers });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that fails when the peer takes nothing for [`WRITE_STALL`].
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    movement: Arc<Movement>,
    /// Read already, and not yet told.
    unread: Bytes,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) const fn new(stream: S, movement: Arc<Movement>, limit: Duration) -> Self {
        Self { stream, movement, unread: Bytes::new(), limit, stalled: None }
    }

    /// Takes back what was read and not used.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        // A copy, so that not all of the buffer stays that they were read into.
        self.unread = Bytes::copy_from_slice(bytes);
    }

    /// Waits until the peer begins to speak; whether it does. Nothing needs to be set up for one that never does.
    pub(super) async fn begins(&mut self) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        if self.unread.is_empty() {
            let mut first = [0u8; 1];
            let length = self.stream.read(&mut first).await?;
            self.unread = Bytes::copy_from_slice(first.get(..length).unwrap_or_default());
        }
        Ok(!self.unread.is_empty())
    }

    /// Turns waiting into failing once it has lasted too long.
    fn judge<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            if self.stalled.take().is_some() {
                self.movement.untaken.store(false, Ordering::Release);
            }
            return polled;
        }
        let limit = self.limit;
        self.movement.untaken.store(true, Ordering::Release);
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0 && !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    async fn rests(movement: &Movement, limits: f64) -> bool {
        tokio::time::timeout(LIMIT.mul_f64(limits), movement.rest(LIMIT)).await.is_ok()
    }

    #[tokio::test]
    async fn who_asks_for_nothing_or_takes_nothing_keeps_no_place() {
        let movement = Arc::new(Movement::default());
        assert!(rests(&movement, 20.0).await, "nothing was asked for");
        let open = movement.begin();
        assert!(!rests(&movement, 3.5).await, "the answer is ours to give");
        let body = open.answered(Body::from("whole"));
        assert!(!rests(&movement, 1.5).await, "a slow reader has twice the time");
        assert!(rests(&movement, 20.0).await, "the answer was not taken");
        drop(body);
        assert!(rests(&movement, 20.0).await);
        let mut streaming = movement.begin().answered(Body::from_stream(futures_util::stream::pending::<io::Result<Bytes>>()));
        assert!(futures_util::FutureExt::now_or_never(streaming.frame()).is_none());
        assert!(!rests(&movement, 3.5).await, "what is streamed is ours to give too");
    }

    #[tokio::test]
    async fn a_connection_is_quiet_between_requests_alone() {
        let movement = Arc::new(Movement::default());
        let quiet = |limits: f64| {
            let movement = movement.clone();
            async move { tokio::time::timeout(LIMIT.mul_f64(limits), movement.quiet(LIMIT)).await.is_ok() }
        };
        assert!(!quiet(3.5).await, "nothing was asked for yet: a head that comes byte by byte must meet its limit");
        let open = movement.begin();
        assert!(!quiet(3.5).await, "a request is under way");
        let waiting = movement.quiet(LIMIT);
        drop(open);
        assert!(tokio::time::timeout(LIMIT * 20, waiting).await.is_ok(), "also when it was answered before anybody waited");
        movement.untaken.store(true, Ordering::Release);
        let waiting = movement.quiet(LIMIT);
        drop(movement.begin());
        assert!(tokio::time::timeout(LIMIT.mul_f64(3.5), waiting).await.is_err(), "the peer has not taken the answer");
    }

    #[tokio::test]
    async fn what_was_taken_back_is_read_again() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Patient::new(near, Arc::default(), LIMIT);
        near.unread(b"GET");
        far.write_all(b" /").await.expect("room for it");
        assert!(near.begins().await.expect("it has"));
        let mut read = [0u8; 5];
        near.read_exact(&mut read).await.expect("all of it");
        assert_eq!(&read, b"GET /");
        far.write_all(b"G").await.expect("room for it");
        assert!(near.begins().await.expect("it has"));
        drop(far);
        assert_eq!(near.read(&mut read).await.expect("the byte it began with"), 1);
        assert!(!near.begins().await.expect("an end"));
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_left() {
        let (near, far) = tokio::io::duplex(8);
        let mut near = Patient::new(near, Arc::default(), LIMIT);
        near.write_all(b"12345678").await.expect("room for it");
        let error = near.write_all(b"9").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
