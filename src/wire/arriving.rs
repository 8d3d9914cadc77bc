//! Bodies that are still arriving, and who has to know.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

/// What is known of the request bodies of one connection. As long as one of them is under way, or was left before its end, the bytes
/// that come next belong to it: whoever reads them as a new request lets the body's author ask in the connection's name.
#[derive(Debug, Default)]
pub struct Arrivals {
    under_way: AtomicUsize,
    left: AtomicBool,
}

impl Arrivals {
    /// Whether every body that began to arrive has been read to its end: what comes next is the head of a request.
    pub fn are_whole(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0 && !self.left.load(Ordering::Acquire)
    }

    /// From now on nobody can tell any more where a request ends.
    pub fn lose(&self) {
        self.left.store(true, Ordering::Release);
    }
}

/// The body of a request, which tells [`Arrivals`] whether it has arrived.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    /// Until its end.
    arrivals: Option<Arc<Arrivals>>,
}

impl Arriving {
    /// Takes note of `body`.
    pub fn new(body: Incoming, arrivals: &Arc<Arrivals>) -> Self {
        let arrivals = (!body.is_end_stream()).then(|| Arc::clone(arrivals));
        if let Some(arrivals) = &arrivals {
            arrivals.under_way.fetch_add(1, Ordering::AcqRel);
        }
        Self { body, arrivals }
    }

    fn arrived(&mut self) {
        if let Some(arrivals) = self.arrivals.take() {
            arrivals.under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(arrivals) = &self.arrivals {
            // Before the count: nobody must find the connection whole in between.
            arrivals.lose();
            self.arrived();
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_end = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_end {
            self.arrived();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
