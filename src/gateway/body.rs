//! Bodies that stream both ways, and end with the admission they were let through by.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::strip::Reserved;
use crate::domain::Clock;
use crate::resource::{Admission, AdmissionEnded};
use crate::wire::Arriving;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The other side's doing.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// What it was let through by has ended.
    #[error("{0}")]
    Ended(AdmissionEnded),
    /// Nothing came for longer than the route allows.
    #[error("the answer stood still for too long")]
    Stalled,
}

/// When a body last moved, for telling a slow one from a dead one.
#[derive(Clone, Debug)]
pub struct Progress {
    milliseconds: Arc<AtomicU64>,
    /// Whether the client was the last to be waited for.
    waits: Arc<AtomicBool>,
    broken: Arc<OnceLock<Broken>>,
    clock: Arc<dyn Clock>,
}

/// Why a client's body did not reach the upstream whole, whatever the upstream made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The client broke off, or what it sent is not HTTP.
    Client,
    /// What it was let through by has ended.
    Ended(AdmissionEnded),
}

impl Progress {
    /// It moves now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let progress = Self { milliseconds: Arc::default(), waits: Arc::default(), broken: Arc::default(), clock };
        progress.moved();
        progress
    }

    /// It has just moved.
    pub(super) fn moved(&self) {
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(now, Ordering::Relaxed);
    }

    /// Whether the upstream would take more, and the client has not sent it.
    pub fn waits_for_client(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    fn waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Why it did not arrive whole, if it did not and that is no fault of the upstream's.
    pub fn broken(&self) -> Option<Broken> {
        self.broken.get().copied()
    }

    /// How long it has not moved.
    pub fn idle(&self) -> Duration {
        self.clock.monotonic().saturating_sub(Duration::from_millis(self.milliseconds.load(Ordering::Relaxed)))
    }
}

/// A body that passes through the gateway.
pub struct Passing<B> {
    inner: B,
    admission: Admission,
    clock: Arc<dyn Clock>,
    reserved: Arc<Reserved>,
    progress: Option<Progress>,
    /// Made when the body first has to wait: most never do.
    ended: Option<Pin<Box<dyn Future<Output = AdmissionEnded> + Send>>>,
    /// Whether a frame has passed: the first comes right behind the admission.
    begun: Begun,
    /// How long it may stand still, and the wait for that.
    stall: Option<Duration>,
    still: Option<Pin<Box<Sleep>>>,
    /// One of the route's places, given back at the end.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl<B> std::fmt::Debug for Passing<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passing").finish_non_exhaustive()
    }
}

impl<B> Passing<B> {
    /// A client's body on its way to an upstream.
    pub fn request(
        inner: B,
        admission: Admission,
        clock: Arc<dyn Clock>,
        reserved: Arc<Reserved>,
        progress: Option<Progress>,
    ) -> Self {
        Self { inner, admission, clock, reserved, progress, ended: None, begun: Begun::No, stall: None, still: None, place: None }
    }

    /// An upstream's body on its way to a client.
    pub fn response(
        inner: B,
        admission: Admission,
        clock: Arc<dyn Clock>,
        reserved: Arc<Reserved>,
        stall: Option<Duration>,
    ) -> Self {
        Self { inner, admission, clock, reserved, progress: None, ended: None, begun: Begun::No, stall, still: None, place: None }
    }

    fn breaks(&self, why: Broken) {
        if let Some(progress) = &self.progress {
            let _ = progress.broken.set(why);
        }
    }
}

impl<B> HttpBody for Passing<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    BodyError: From<B::Error>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let polled = Pin::new(&mut this.inner).poll_frame(context);
            if let Some(progress) = &this.progress {
                progress.waits(polled.is_pending());
            }
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if this.begun == Begun::Yes
                        && let Err(ended) = this.admission.standing(this.clock.as_ref())
                    {
                        this.breaks(Broken::Ended(ended));
                        return Poll::Ready(Some(Err(BodyError::Ended(ended))));
                    }
                    this.begun = Begun::Yes;
                    this.still = None;
                    if let Some(progress) = &this.progress {
                        progress.moved();
                    }
                    match frame.into_trailers() {
                        Err(frame) => return Poll::Ready(Some(Ok(frame))),
                        Ok(trailers) => {
                            let allowed = this.reserved.trailers(trailers);
                            if !allowed.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::trailers(allowed))));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.breaks(Broken::Client);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    if let Some(stall) = this.stall {
                        let still = this.still.get_or_insert_with(|| Box::pin(sleep(stall)));
                        if still.as_mut().poll(context).is_ready() {
                            return Poll::Ready(Some(Err(BodyError::Stalled)));
                        }
                    }
                    let ended = this.ended.get_or_insert_with(|| Box::pin(this.admission.ended(Arc::clone(&this.clock))));
                    return ended.as_mut().poll(context).map(|ended| {
                        this.breaks(Broken::Ended(ended));
                        Some(Err(BodyError::Ended(ended)))
                    });
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What is sent to an upstream.
#[derive(Debug)]
pub enum Sent {
    /// A client's body.
    Passing(Box<Passing<Arriving>>),
    /// None.
    Nothing,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Passing(body) => Pin::new(body.as_mut()).poll_frame(context),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passing(body) => body.is_end_stream(),
            Self::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passing(body) => body.size_hint(),
            Self::Nothing => SizeHint::with_exact(0),
        }
    }
}

/// The body of every answer of the gateway.
#[derive(Debug)]
pub enum Body {
    /// Ours, whole.
    Whole(Option<Bytes>),
    /// An upstream's.
    Passing(Box<Passing<Incoming>>),
}

impl Body {
    /// The same, which holds a place until it has passed.
    pub fn holding(mut self, place: Option<OwnedSemaphorePermit>) -> Self {
        if let Self::Passing(body) = &mut self {
            body.place = place;
        }
        self
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing(body) => Pin::new(body.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passing(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            }
            Self::Passing(body) => body.size_hint(),
        }
    }
}
