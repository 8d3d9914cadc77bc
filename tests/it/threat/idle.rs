//! What idle connections cost.

use std::time::Duration;

use crate::harness::{Call, Http, Setup};

/// Connections that are opened when nothing else is said; `SYMBOLON_TEST_IDLE=10000` measures as many as one process is meant to hold.
const FEW: usize = 500;
/// What the whole process may take with ten thousand, in KiB: 250 MB.
const LIMIT_KIB: u64 = 250_000_000 / 1_024;
const MANY: u64 = 10_000;

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Ten thousand idle mutual-TLS connections take less than 250 MB: of fewer, each takes no more than its part. What connections keep that
/// have been used before is told beside it.
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
        // What handshakes under way take stays with the process.
        let warm = open(100).await;
        let before = resident_kib(pid);
        let connections = open(count - 100).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = resident_kib(pid);
        let each = (after.saturating_sub(before)) * 1_024 / (count as u64 - 100);
        eprintln!("{http:?}, used {used}: {count} connections: {} MiB, {each} bytes each", after / 1_024);
        assert!(used || before + each * MANY / 1_024 < LIMIT_KIB, "{http:?}: {before} KiB and {each} bytes a connection");
        drop((warm, connections));
    }
}
