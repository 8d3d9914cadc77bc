//! What idle connections cost.

use std::time::Duration;

use crate::harness::{Call, Http, Setup};

/// Connections that are opened when nothing else is said; `SYMBOLON_TEST_IDLE=10000` measures as many as one process is meant to hold.
const FEW: usize = 500;
/// Opened before measuring.
const WARM: usize = 200;
/// What the process may take with ten thousand, in KiB: 250 MB.
const LIMIT_KIB: u64 = 250_000_000 / 1_024;
const MANY: u64 = 10_000;

/// What a process has of its own in memory. Its text is not counted: a build without optimization has several times as much of it, and
/// the system drops it when it needs the room.
fn own_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// After this a connection has given back what a request needed.
const AT_REST: Duration = Duration::from_millis(2_500);

/// Ten thousand idle mutual-TLS connections take less than 250 MB: of fewer, each takes no more than its part, whether it has been used
/// before or not. What those of HTTP/2 keep is told beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_cheap() {
    let wanted = std::env::var("SYMBOLON_TEST_IDLE").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or_else(|| {
        eprintln!(
            "{FEW} connections are opened; left out: the whole 10,000 (SYMBOLON_TEST_IDLE=10000, with `ulimit -n` above 20000)"
        );
        FEW
    });
    let limits = "\n[limits]\nconnections_per_address = 20000\nrequest_head_seconds = 3000\n";
    for (http, used) in [(Http::V1, false), (Http::V1, true), (Http::V2, true)] {
        let stack = Setup { gateway: limits.into(), ..Setup::default() }.start().await;
        let pid = stack.gateway.as_ref().expect("it runs").id();
        let call = Call::get("/.well-known/symbolon/jwks.json");
        let alice = stack.caller(&stack.alice).http(http);
        let open = async |count: usize| {
            let mut connections = Vec::with_capacity(count);
            while connections.len() < count {
                let batch = (0..50.min(count - connections.len())).map(|_| {
                    let (alice, authority, call) = (alice.clone(), stack.gateway_authority.clone(), call.clone());
                    tokio::spawn(async move {
                        let mut connection = alice.connect(&authority).await.expect("a connection");
                        if used {
                            assert_eq!(connection.send(&call).await.status, 200);
                        }
                        connection
                    })
                });
                for connection in batch.collect::<Vec<_>>() {
                    connections.push(connection.await.expect("no panic"));
                }
            }
            connections
        };
        // What handshakes and requests under way take stays with the process, for those that come after.
        let warm = open(WARM).await;
        tokio::time::sleep(AT_REST).await;
        let before = own_kib(pid);
        let mut connections = Vec::new();
        while connections.len() < count - WARM {
            connections.extend(open((count - WARM - connections.len()).min(100)).await);
            if used {
                tokio::time::sleep(AT_REST / 2).await;
            }
        }
        tokio::time::sleep(AT_REST).await;
        let after = own_kib(pid);
        let each = (after.saturating_sub(before)) * 1_024 / connections.len() as u64;
        eprintln!("{http:?}, used {used}: {count} connections: {} MiB, {each} bytes each", after / 1_024);
        assert!(
            http == Http::V2 || before + each * MANY / 1_024 < LIMIT_KIB,
            "{http:?}: {before} KiB and {each} bytes a connection"
        );
        drop((warm, connections));
    }
}

/// A connection that rested between two requests goes on where it was: with the next request, also in two pieces, and with two at once.
#[tokio::test]
async fn a_rested_connection_serves_on() {
    let stack = Setup::default().start().await;
    let get = Call::get("/.well-known/symbolon/jwks.json").bytes(&stack.gateway_authority);
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    for pieces in [vec![&get[..]], vec![&get[..1], &get[1..]], vec![&get[..9], &get[9..]], vec![&get[..], &get[..7], &get[7..]]] {
        let requests = pieces.iter().map(|piece| piece.len()).sum::<usize>() / get.len();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                tokio::time::sleep(AT_REST).await;
            }
            connection.write(piece).await.expect("written");
        }
        for _ in 0..requests {
            assert_eq!(connection.read().await.expect("an answer").status, 200);
        }
        tokio::time::sleep(AT_REST).await;
    }
}
