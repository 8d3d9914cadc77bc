//! A reading that takes long undoes nothing and keeps nobody waiting.

use std::io::Write as _;
use std::time::Duration;

use crate::harness::client::PATIENCE;
use crate::harness::command::{run, symbolon};
use crate::harness::{Authority, Leaf, Setup};

const RELOAD: [&str; 3] = ["reload", "--config", "symbolon.toml"];

/// 1. A reload begins and its file does not come: a pipe that nobody has written to yet.
/// 2. The authority is replaced, and more reloads are asked for than the process has threads. Requests and the control socket are
///    answered all the while.
/// 3. The first reload gets the old authority to read. The new one is in force in the end, and the old one is not.
#[tokio::test]
async fn a_slow_reading_undoes_no_later_one_and_keeps_nobody_waiting() {
    let setup = Setup { without_gateway: true, server: "[reload]\nwatch_files = false\n".into(), ..Setup::default() };
    let stack = setup.start().await;
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200);
    let (file, other) = (stack.path("client-ca.pem"), Authority::new("Client CA"));
    let impostor = other.issue(Leaf::client("alice"));
    std::fs::remove_file(&file).expect("removed");
    run(stack.dir.path(), "/usr/bin/mkfifo", &["client-ca.pem"]).await.ok();

    let directory = stack.dir.path().to_owned();
    let reload = || {
        let directory = directory.clone();
        tokio::spawn(async move { symbolon(&directory, &RELOAD).await })
    };
    let slow = reload();
    let pipe = file.clone();
    // This waits for somebody who reads.
    let opening = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
    let mut pipe = tokio::time::timeout(PATIENCE, opening).await.expect("it is read").expect("joined").expect("opened");

    std::fs::write(stack.path("new.pem"), &other.pem).expect("written");
    std::fs::rename(stack.path("new.pem"), &file).expect("renamed");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let more: Vec<_> = (0..=threads).map(|_| reload()).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..4 {
        let answer = tokio::time::timeout(Duration::from_secs(5), stack.ask(&stack.alice, &[])).await.expect("in time");
        assert_eq!(answer.status, 200, "nothing was put in force yet: {}", answer.text());
    }
    symbolon(stack.dir.path(), &["status", "--config", "symbolon.toml"]).await.ok();

    pipe.write_all(stack.client_ca.pem.as_bytes()).expect("written");
    drop(pipe);
    slow.await.expect("joined").ok();
    for one in more {
        one.await.expect("joined").ok();
    }
    let answer = stack.ask(&stack.alice, &[]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{}", answer.text());
    assert_eq!(stack.ask(&impostor, &[]).await.status, 200);
}
