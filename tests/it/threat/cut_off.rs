//! The database is there and gives nothing: its disk is full, or PostgreSQL is cut off.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::passed;
use crate::harness::client::PATIENCE;
use crate::harness::{Engine, Setup, Stack, left_out, postgres};

const UNAVAILABLE: (u16, &str, &str) = (503, "temporarily_unavailable", "store_unavailable");

/// What must be written is not, and says so; what needs no write goes on, at the server and at the gateway.
async fn only_writing_fails(stack: &Stack, token: &str) {
    let answer = stack.revoke(&stack.alice, token).await;
    let (status, error, reason) = stack.verdict(&answer).await;
    assert_eq!((status, error.as_str(), reason.as_str()), UNAVAILABLE, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert_eq!(stack.introspect(token).await["active"], true, "nothing was revoked, and nobody was told so");
    let another = stack.token(&stack.alice).await;
    passed(stack, &stack.at_gateway(&stack.alice, &another).await, "a JWT");
}

/// Until a revocation is taken again, which nobody had to help.
async fn recovers(stack: &Stack, token: &str) {
    let started = Instant::now();
    while stack.revoke(&stack.alice, token).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stack.introspect(token).await["active"], false);
}

/// Processor time that a process has used, in clock ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system")
}

/// A loop that waits for nothing would take all of a second; what goes on by itself, in a build without optimization, a few hundredths.
pub(super) async fn rests(process: u32, state: &str) {
    let before = ticks(process);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let used = ticks(process) - before;
    assert!(used < 25, "{state}: it is busy with nothing: {used} of 100 ticks");
}

async fn limit_files(process: u32, bytes: &str) {
    let arguments = [format!("--pid={process}"), format!("--fsize={bytes}")];
    let status = tokio::process::Command::new("prlimit").args(arguments).status().await.expect("prlimit (util-linux)");
    assert!(status.success());
}

/// A file system of its own, of sixteen megabytes; nothing where this user may mount none.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    async fn mount() -> Option<Self> {
        let place = tempfile::tempdir().expect("a directory");
        let mut command = tokio::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(place.path()).stderr(std::process::Stdio::null());
        let mounted = command.status().await.is_ok_and(|status| status.success());
        if !mounted {
            left_out::left_out("a disk that is full: file systems cannot be mounted here");
        }
        mounted.then_some(Self(place))
    }

    /// Takes what space there is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).expect("a file");
        while std::io::Write::write_all(&mut file, &[0; 4_096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// The disk of the database is full (`ENOSPC`): SQLite says so, and what is done about it.
#[tokio::test]
async fn a_full_disk_stops_writing_and_nothing_else() {
    let Some(disk) = SmallDisk::mount().await else { return };
    let mut stack = Setup::default().prepare(format!("sqlite:{}/symbolon.db", disk.0.path().display())).await;
    stack.start_server().await;
    stack.start_gateway().await;
    let process = stack.server.as_ref().expect("running").id();
    let tokens = [stack.token(&stack.alice).await, stack.token(&stack.alice).await];
    disk.fill();
    let started = Instant::now();
    loop {
        let token = stack.token(&stack.alice).await;
        if stack.revoke(&stack.alice, &token).await.status != 200 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the disk is never full");
    }
    only_writing_fails(&stack, &tokens[0]).await;
    rests(process, "full").await;
    disk.free();
    recovers(&stack, &tokens[0]).await;
    recovers(&stack, &tokens[1]).await;
}

/// No file can grow (`EFBIG`): neither the database nor the audit trail.
#[tokio::test]
async fn files_that_cannot_grow_stop_writing_and_nothing_else() {
    let stack = Setup::default().start().await;
    let process = stack.server.as_ref().expect("running").id();
    let tokens = [stack.token(&stack.alice).await, stack.token(&stack.alice).await];
    // The log before a write may have room left over from before: it is used up first.
    let length = |name: &str| std::fs::metadata(stack.path(name)).map_or(0, |metadata| metadata.len());
    let room = length("symbolon.db-wal").max(length("server-audit.jsonl") + 200_000);
    limit_files(process, &format!("{room}:unlimited")).await;
    let started = Instant::now();
    loop {
        let token = stack.token(&stack.alice).await;
        if stack.revoke(&stack.alice, &token).await.status != 200 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the disk is never full");
    }
    only_writing_fails(&stack, &tokens[0]).await;
    rests(process, "full").await;
    limit_files(process, "unlimited:unlimited").await;
    recovers(&stack, &tokens[0]).await;
    recovers(&stack, &tokens[1]).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Joined,
    /// Connections break, and new ones are refused.
    Cut,
    /// Bytes go nowhere, and nobody is told.
    Silent,
}

/// PostgreSQL's socket, with a hand on the wire.
struct Between {
    wire: watch::Sender<Wire>,
    /// Where the socket in between is.
    directory: tempfile::TempDir,
}

impl Between {
    fn new(socket: PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("a socket");
        let (wire, hand) = watch::channel(Wire::Joined);
        let socket = Arc::new(socket);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, socket.clone(), hand.clone()));
            }
        });
        Self { wire, directory }
    }
}

async fn carry(mut near: UnixStream, socket: Arc<PathBuf>, mut hand: watch::Receiver<Wire>) {
    if *hand.borrow() == Wire::Cut {
        return;
    }
    let Ok(mut far) = UnixStream::connect(&*socket).await else { return };
    loop {
        let state = *hand.borrow_and_update();
        match state {
            Wire::Cut => return,
            Wire::Silent => {
                if hand.changed().await.is_err() {
                    return;
                }
            }
            Wire::Joined => tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => return,
                changed = hand.changed() => if changed.is_err() { return },
            },
        }
    }
}

/// PostgreSQL is restarted or cut off, with a word and without.
#[tokio::test]
async fn a_lost_postgres_stops_what_needs_it_and_nothing_else() {
    let Some(url) = postgres::database().await else { return };
    let Some((_, directory)) = url.split_once("?host=") else {
        return postgres::leave_out("it is not behind a socket");
    };
    let between = Between::new(PathBuf::from(directory).join(".s.PGSQL.5432"));
    let url = url.replace(directory, &between.directory.path().display().to_string());
    let change = ("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 1".to_owned());
    let mut stack = Setup { server_changes: vec![change], ..Setup::default() }.prepare(url).await;
    stack.start_server().await;
    stack.start_gateway().await;
    let process = stack.server.as_ref().expect("running").id();
    for state in [Wire::Cut, Wire::Silent] {
        let tokens = [stack.token(&stack.alice).await, stack.token(&stack.alice).await];
        between.wire.send_replace(state);
        let started = Instant::now();
        only_writing_fails(&stack, &tokens[0]).await;
        assert!(started.elapsed() < Duration::from_secs(10), "{state:?}: {:?}", started.elapsed());
        // Again, when every connection of the pool has been tried.
        only_writing_fails(&stack, &tokens[1]).await;
        rests(process, &format!("{state:?}")).await;
        between.wire.send_replace(Wire::Joined);
        for token in &tokens {
            recovers(&stack, token).await;
        }
    }
}

/// PostgreSQL takes nothing more: its disk is full (`disk_full`, 53100), or somebody holds what every change has to lock.
#[tokio::test]
async fn a_full_or_locked_postgres_stops_writing_and_nothing_else() {
    use sqlx::Connection as _;
    let change = ("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 1".to_owned());
    let setup = Setup { engine: Engine::Postgres, server_changes: vec![change], ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let process = stack.server.as_ref().expect("running").id();
    let mut database = sqlx::PgConnection::connect(&stack.fill("{store}")).await.expect("the database");
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$; \
                CREATE TRIGGER full_disk BEFORE INSERT ON revocation_rule FOR EACH ROW EXECUTE FUNCTION full_disk()";
    let locked = "BEGIN; SELECT value FROM change_counter FOR UPDATE";
    for (state, begins, ends) in [("full", full, "DROP TRIGGER full_disk ON revocation_rule"), ("locked", locked, "ROLLBACK")] {
        let tokens = [stack.token(&stack.alice).await, stack.token(&stack.alice).await];
        sqlx::raw_sql(begins).execute(&mut database).await.expect(state);
        for token in &tokens {
            only_writing_fails(&stack, token).await;
        }
        rests(process, state).await;
        sqlx::raw_sql(ends).execute(&mut database).await.expect(state);
        for token in &tokens {
            recovers(&stack, token).await;
        }
    }
}

/// PostgreSQL itself crashes, twice, and is started again: what was answered is there, and the server finds it by itself.
#[tokio::test]
async fn a_restarted_postgres_is_found_again() {
    let Some((database, url)) = postgres::Own::start().await else { return };
    let change = ("url = \"{store}\"".to_owned(), "url = \"{store}\"\nwait_seconds = 1".to_owned());
    let mut stack = Setup { server_changes: vec![change], ..Setup::default() }.prepare(url).await;
    stack.start_server().await;
    stack.start_gateway().await;
    for _ in 0..2 {
        let (token, before) = (stack.token(&stack.alice).await, stack.token(&stack.alice).await);
        assert_eq!(stack.revoke(&stack.alice, &before).await.status, 200);
        database.crash();
        only_writing_fails(&stack, &token).await;
        rests(stack.server.as_ref().expect("running").id(), "without its database").await;
        database.start_again();
        recovers(&stack, &token).await;
        assert_eq!(stack.introspect(&before).await["active"], false, "it was answered before the crash");
    }
}
