#![allow(clippy::panic, reason = "a test that fails")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::domain::{ClientId, Timestamp};
use crate::event::AuditEvent;

fn event(client: &str) -> Trailed {
    let client_id: ClientId = client.parse().unwrap();
    Trailed { time: Timestamp::from_seconds(1_700_000_000), event: AuditEvent::ClientAdded { client_id } }
}

fn line(client: &str) -> String {
    format!("{{\"time\":1700000000,\"event\":\"client_added\",\"client_id\":\"{client}\"}}\n")
}

fn settings(file: &str) -> AuditSettings {
    AuditSettings { file: Some(file.into()), ..AuditSettings::default() }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A stream that takes `room` bytes and then fails, until it is given more.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

impl Disk {
    fn with_room(room: usize) -> Self {
        Self(Arc::new(Mutex::new((room, Vec::new()))))
    }

    fn give(&self, room: usize) {
        self.0.lock().unwrap().0 = room;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
    }
}

impl io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        let taken = bytes.len().min(disk.0);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.0 -= taken;
        disk.1.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 5 s");
}

#[tokio::test]
async fn lines_are_appended_in_order_to_a_private_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    for clients in [["alice", "bob"], ["carol", "dave"]] {
        let sink = AuditSink::start(&settings("audit.jsonl"), directory.path()).unwrap();
        for client in clients {
            sink.record(event(client)).unwrap();
        }
        sink.flush().await.unwrap();
    }
    assert_eq!(read(&path), ["alice", "bob", "carol", "dave"].map(line).concat());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn an_event_is_written_without_a_flush() {
    let disk = Disk::with_room(usize::MAX);
    let sink = AuditSink::to_stream(disk.clone(), 8).unwrap();
    sink.record(event("alice")).unwrap();
    until(|| disk.text() == line("alice")).await;
}

#[tokio::test]
async fn dropping_the_last_sink_writes_what_is_left() {
    let disk = Disk::with_room(usize::MAX);
    let sink = AuditSink::to_stream(disk.clone(), 8).unwrap();
    sink.clone().record(event("alice")).unwrap();
    drop(sink);
    until(|| disk.text() == line("alice")).await;
}

/// A stream that stands still until the lock is free.
struct Slow(Arc<Mutex<()>>);
impl io::Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _waiting = self.0.lock().unwrap();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_counts() {
    let gate = Arc::new(Mutex::new(()));
    let sink = AuditSink::to_stream(Slow(gate.clone()), 2).unwrap();
    let held = gate.lock().unwrap();
    let refused = (0..1_000)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            sink.record(event("alice")).err()
        })
        .unwrap();
    assert_eq!(refused, AuditUnavailable::QueueFull);
    assert_eq!(refused.reason(), Reason::AuditUnavailable);
    assert_eq!(sink.refused(), 1);
    drop(held);
    sink.flush().await.unwrap();
    assert_eq!(sink.record(event("alice")), Ok(()));
}

/// However many refusals there are, room is left for what must not happen without a trace.
#[tokio::test]
async fn refusals_leave_half_of_the_queue_free() {
    let gate = Arc::new(Mutex::new(()));
    let sink = AuditSink::to_stream(Slow(gate.clone()), 8).unwrap();
    let held = gate.lock().unwrap();
    let refused = (0..1_000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(1));
        sink.record_refusal(&event("mallory"), None).err()
    });
    assert_eq!(refused, Some(AuditUnavailable::QueueFull));
    for _ in 0..4 {
        assert_eq!(sink.record(event("alice")), Ok(()));
    }
    assert_eq!(sink.record(event("alice")), Err(AuditUnavailable::QueueFull));
    drop(held);
    sink.flush().await.unwrap();
}

#[tokio::test]
async fn a_failing_trail_refuses_until_it_works_and_loses_nothing() {
    let half = line("alice").len() + 7;
    let disk = Disk::with_room(half);
    let sink = AuditSink::to_stream(disk.clone(), 8).unwrap();
    sink.record(event("alice")).unwrap();
    sink.record(event("bob")).unwrap();
    assert_eq!(sink.flush().await, Err(AuditUnavailable::Failing));
    assert_eq!(sink.record(event("carol")), Err(AuditUnavailable::Failing));
    assert_eq!(disk.text().len(), half);

    disk.give(usize::MAX);
    until(|| sink.record(event("dave")).is_ok()).await;
    sink.flush().await.unwrap();
    assert_eq!(disk.text(), ["alice", "bob", "dave"].map(line).concat());
}

#[tokio::test]
async fn a_line_goes_whole_to_the_file_that_replaces_a_full_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let mut target = Target::file(&path).unwrap();
    assert!(matches!(target.follow(), Ok(target::Followed::Same)));
    std::fs::rename(&path, directory.path().join("audit.jsonl.1")).unwrap();
    assert!(matches!(target.follow(), Ok(target::Followed::Another)));
    assert!(matches!(target.follow(), Ok(target::Followed::Same)));

    let sink = AuditSink::start(&settings("audit.jsonl"), directory.path()).unwrap();
    sink.record(event("alice")).unwrap();
    sink.flush().await.unwrap();
    std::fs::rename(&path, directory.path().join("audit.jsonl.2")).unwrap();
    sink.record(event("bob")).unwrap();
    sink.flush().await.unwrap();
    assert_eq!(read(&directory.path().join("audit.jsonl.2")), line("alice"));
    assert_eq!(read(&path), line("bob"));
}

#[tokio::test]
async fn half_a_line_left_by_a_crash_does_not_spoil_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    std::fs::write(&path, "{\"time\":17").unwrap();
    let sink = AuditSink::start(&settings("audit.jsonl"), directory.path()).unwrap();
    sink.record(event("alice")).unwrap();
    sink.flush().await.unwrap();
    assert_eq!(read(&path), format!("{{\"time\":17\n{}", line("alice")));
}

#[tokio::test]
async fn a_file_that_goes_away_and_cannot_come_back_fails_closed() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("trail");
    std::fs::create_dir(&folder).unwrap();
    let sink = AuditSink::start(&settings("trail/audit.jsonl"), directory.path()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    sink.record(event("alice")).unwrap();
    assert_eq!(sink.flush().await, Err(AuditUnavailable::Failing));
    assert_eq!(sink.record(event("bob")), Err(AuditUnavailable::Failing));
    std::fs::create_dir(&folder).unwrap();
    until(|| sink.record(event("carol")).is_ok()).await;
    sink.flush().await.unwrap();
    assert_eq!(read(&folder.join("audit.jsonl")), ["alice", "carol"].map(line).concat());
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = AuditSink::start(&settings("missing/audit.jsonl"), directory.path()).unwrap_err().to_string();
    let path = directory.path().join("missing/audit.jsonl");
    let start = format!("cannot open the audit trail `{}` for appending: No such file or directory", path.display());
    assert!(error.starts_with(&start), "{error}");
    assert!(error.ends_with("; set `audit.file` to a file that can be written"), "{error}");
}
