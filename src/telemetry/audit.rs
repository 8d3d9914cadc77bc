//! The audit trail: one JSON object a line, appended to a file or to standard output.
//!
//! [`AuditSink::record`] never waits: events go through a bounded queue to a thread that writes them, [`LINGER`] later at the most.
//! A process that dies loses what is in the queue; what was written is the operating system's to keep. While the queue is full, or
//! the file cannot be written, `record` refuses, and whoever asked must refuse too: nothing is issued or admitted that leaves no
//! trace.

mod recent;
mod reservation;
mod target;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::settings::AuditSettings;
use crate::domain::RequestId;
use crate::event::{Reason, Trailed};
use crate::telemetry::metrics::AUDIT_EVENTS;

use recent::Recent;
pub use recent::RecentRefusal;
pub use reservation::Reservation;
use rustls::pki_types::CertificateDer;

use target::Target;
use writer::Writer;

/// How long an event waits for others to be written with it.
pub const LINGER: Duration = Duration::from_millis(10);

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditUnavailable {
    /// Events come faster than they can be written.
    #[error("the audit queue is full")]
    QueueFull,
    /// The last attempt to write failed, and none has worked since.
    #[error("the audit trail cannot be written")]
    Failing,
    /// The writer has ended.
    #[error("the audit trail is closed")]
    Closed,
    /// The event has no form in JSON.
    #[error("the audit event cannot be written as JSON")]
    Unwritable,
}

impl AuditUnavailable {
    /// The private reason for refusing what would have been recorded.
    pub fn reason(&self) -> Reason {
        match self {
            Self::QueueFull | Self::Failing | Self::Closed | Self::Unwritable => Reason::AuditUnavailable,
        }
    }
}

/// Why the audit trail cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened for appending.
    #[error("cannot open the audit trail `{}` for appending: {source}; set `audit.file` to a file that can be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start the thread that writes the audit trail: {0}")]
    Thread(io::Error),
}

/// Where events go. Clones share one queue; the writer ends when the last is dropped, after writing what is left.
#[derive(Clone, Debug)]
pub struct AuditSink {
    queue: mpsc::Sender<Message>,
    state: Arc<State>,
}

enum Message {
    Event(Encoded),
    /// A line that was written as JSON before.
    Line(String),
    Flush(oneshot::Sender<Result<(), AuditUnavailable>>),
}

/// An event as it is written, made where it happened: what it is made of stays with the thread that allocated it.
#[derive(Debug)]
struct Encoded {
    line: Vec<u8>,
    refused: Option<RequestId>,
    /// What the peer of a refused request has shown.
    shown: recent::Chain,
}

/// The certificate that the peer of a request has shown, and what it sent after that.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its own.
    pub leaf: &'a CertificateDer<'static>,
    /// Perhaps intermediates, perhaps anything.
    pub chain: &'a [CertificateDer<'static>],
}

impl Encoded {
    /// Room for most events, in bytes.
    const USUAL: usize = 768;

    fn new(event: &Trailed, shown: Option<Shown<'_>>) -> Result<Self, AuditUnavailable> {
        let mut line = Vec::with_capacity(Self::USUAL);
        serde_json::to_writer(&mut line, event).map_err(|error| {
            tracing::error!(%error, "an audit event cannot be written as JSON");
            AuditUnavailable::Unwritable
        })?;
        line.push(b'\n');
        let shown = shown.map(|shown| [shown.leaf].into_iter().chain(shown.chain).cloned().collect()).unwrap_or_default();
        Ok(Self { line, refused: event.event.refused_request().cloned(), shown })
    }
}

/// What the sink and the writer tell each other.
#[derive(Debug, Default)]
struct State {
    failing: AtomicBool,
    refused: AtomicU64,
    recent: Recent,
}

impl AuditSink {
    /// Opens the trail and starts its writer. A relative file starts at `base_dir`; a new one is readable by its owner alone.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread started.
    pub fn start(settings: &AuditSettings, base_dir: &Path) -> Result<Self, AuditError> {
        let target = match &settings.file {
            Some(file) => {
                let path = base_dir.join(file);
                Target::file(&path).map_err(|source| AuditError::Open { path, source })?
            }
            None => Target::stream(io::stdout()),
        };
        Self::start_with(target, settings.queue)
    }

    /// Writes the trail to `stream`: for programs that embed this one, and for tests.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to_stream(stream: impl io::Write + Send + 'static, queue: u32) -> Result<Self, AuditError> {
        Self::start_with(Target::stream(stream), queue)
    }

    fn start_with(target: Target, queue: u32) -> Result<Self, AuditError> {
        let capacity = usize::try_from(queue).unwrap_or(usize::MAX).clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (queue, messages) = mpsc::channel(capacity);
        let state = Arc::new(State::default());
        let writer = Writer::new(target, messages, state.clone());
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run()).map_err(AuditError::Thread)?;
        Ok(Self { queue, state })
    }

    /// Puts an event in the queue, without waiting.
    ///
    /// # Errors
    /// When it was not taken; what it speaks of must not happen then.
    pub fn record(&self, event: Trailed) -> Result<(), AuditUnavailable> {
        self.put(&event, None)
    }

    fn put(&self, event: &Trailed, shown: Option<Shown<'_>>) -> Result<(), AuditUnavailable> {
        let taken = match self.state.failing.load(Ordering::Acquire) {
            true => Err(AuditUnavailable::Failing),
            false => self
                .queue
                .try_reserve()
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(()) => AuditUnavailable::QueueFull,
                    mpsc::error::TrySendError::Closed(()) => AuditUnavailable::Closed,
                })
                .and_then(|place| Encoded::new(event, shown).map(|event| place.send(Message::Event(event)))),
        };
        if taken.is_err() {
            self.state.refused.fetch_add(1, Ordering::Relaxed);
            AUDIT_EVENTS.with(["refused"]).increment(1);
        }
        taken
    }

    /// Puts the event of a refusal in the queue, if less than half of it is taken: anybody can be refused as often as he likes, and
    /// must not be able to keep out the events without which nothing is issued or admitted. What the peer has shown is remembered for a while
    /// with the event, and not written.
    ///
    /// # Errors
    /// When it was not taken. The refusal stands; the event is counted as refused.
    pub fn record_refusal(&self, event: &Trailed, shown: Option<Shown<'_>>) -> Result<(), AuditUnavailable> {
        if self.queue.capacity() * 2 <= self.queue.max_capacity() {
            self.state.refused.fetch_add(1, Ordering::Relaxed);
            AUDIT_EVENTS.with(["refused"]).increment(1);
            return Err(AuditUnavailable::QueueFull);
        }
        self.put(event, shown)
    }

    /// Puts a line in the queue that tells of an event which has committed already; waits for room.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn copy(&self, line: String) -> Result<(), AuditUnavailable> {
        self.queue.send(Message::Line(line)).await.map_err(|_| AuditUnavailable::Closed)
    }

    /// What the trail says of a request that was refused a short while ago, by the id the caller was told, and what was shown with it.
    pub fn recent(&self, request_id: &str) -> Option<RecentRefusal> {
        self.state.recent.find(request_id)
    }

    /// Events that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Waits until everything recorded before is written: at shutdown, and before an answer that must not be given without.
    ///
    /// # Errors
    /// When it cannot be written now.
    pub async fn flush(&self) -> Result<(), AuditUnavailable> {
        let (done, waiting) = oneshot::channel();
        self.queue.send(Message::Flush(done)).await.map_err(|_| AuditUnavailable::Closed)?;
        waiting.await.unwrap_or(Err(AuditUnavailable::Closed))
    }
}
