use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::target::{Followed, Target};
use super::{AuditUnavailable, LINGER, Message, State};
use crate::telemetry::metrics::{AUDIT_EVENTS, AUDIT_WRITE_FAILURES};

/// How long to wait before writing is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;

/// The thread that writes.
pub(super) struct Writer {
    target: Target,
    messages: mpsc::Receiver<Message>,
    state: Arc<State>,
    /// Lines that are not wholly written yet.
    pending: Vec<u8>,
    /// Bytes of the first of them that are written.
    begun: usize,
    pending_events: u64,
    waiting: Vec<oneshot::Sender<Result<(), AuditUnavailable>>>,
    refusals_told: u64,
}

/// Whether anybody can still send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Open,
    Closed,
}

impl Writer {
    pub(super) fn new(target: Target, messages: mpsc::Receiver<Message>, state: Arc<State>) -> Self {
        let (pending, waiting) = (Vec::new(), Vec::new());
        Self { target, messages, state, pending, begun: 0, pending_events: 0, waiting, refusals_told: 0 }
    }

    /// Runs until the last sink is dropped.
    pub(super) fn run(mut self) {
        loop {
            if self.pending.is_empty() && !self.is_failing() {
                match self.messages.blocking_recv() {
                    Some(message) => self.take(message),
                    None => return,
                }
            }
            // Somebody who waits for a flush does not wait for more events.
            if self.waiting.is_empty() {
                std::thread::sleep(if self.is_failing() { RETRY } else { LINGER });
            }
            let queue = self.gather();
            self.write();
            self.tell_refusals();
            if queue == Queue::Closed && self.messages.is_empty() {
                if self.pending_events > 0 {
                    tracing::error!(
                        events = self.pending_events,
                        "audit events are lost: the trail could not be written until the end"
                    );
                }
                return;
            }
        }
    }

    /// Takes what is in the queue. While writing fails nothing new is let in, so this ends with what had been taken before.
    fn gather(&mut self) -> Queue {
        while self.pending.len() < GATHERED_BYTES || self.is_failing() {
            match self.messages.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return Queue::Open,
                Err(TryRecvError::Disconnected) => return Queue::Closed,
            }
        }
        Queue::Open
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => {
                if let Some(request_id) = event.refused {
                    self.state.recent.remember(request_id.as_str(), event.line.trim_ascii_end(), event.shown);
                }
                self.pending.extend_from_slice(&event.line);
                self.pending_events += 1;
            }
            Message::Line(line) => {
                // One event, one line, whatever the line was made of.
                self.pending.extend(line.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
                self.pending.push(b'\n');
                self.pending_events += 1;
            }
            Message::Flush(done) => self.waiting.push(done),
        }
    }

    fn write(&mut self) {
        let result = self.write_pending();
        match &result {
            Ok(()) => {
                AUDIT_EVENTS.with(["written"]).increment(self.pending_events);
                self.pending_events = 0;
                if self.state.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(target_name = self.target.name(), "the audit trail is written again");
                }
            }
            Err(error) => {
                AUDIT_WRITE_FAILURES.alone().increment(1);
                if !self.state.failing.swap(true, Ordering::AcqRel) {
                    let target_name = self.target.name();
                    tracing::error!(target_name, %error, "the audit trail cannot be written: nothing is issued or admitted until it can");
                }
            }
        }
        for done in self.waiting.drain(..) {
            let _ = done.send(result.as_ref().map(|_| ()).map_err(|_| AuditUnavailable::Failing));
        }
    }

    fn write_pending(&mut self) -> std::io::Result<()> {
        if self.target.follow()? == Followed::Another {
            self.begun = 0;
        }
        let mut written = self.begun;
        let result = loop {
            match self.pending.get(written..) {
                Some(rest) if !rest.is_empty() => match self.target.write(rest) {
                    Ok(count) => written = written.saturating_add(count),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                },
                _ => break self.target.flush(),
            }
        };
        // A line that is half written stays whole here: the rest of it may have to go to another file, from its start.
        let whole = match self.pending.iter().take(written).rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None => 0,
        };
        self.pending.drain(..whole);
        self.begun = written.saturating_sub(whole);
        result
    }

    fn tell_refusals(&mut self) {
        let refused = self.state.refused.load(Ordering::Relaxed);
        if refused > self.refusals_told && !self.is_failing() {
            tracing::warn!(events = refused - self.refusals_told, "audit events were refused");
            self.refusals_told = refused;
        }
    }

    fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Acquire)
    }
}
