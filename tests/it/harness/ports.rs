//! Ports that nobody else has: below the range from which the system serves port 0 and outgoing connections.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port that is free on 127.0.0.1 now and that no other test of this process is given.
pub fn free() -> u16 {
    for _ in 0..COUNT {
        // Processes begin at places that are far apart.
        let start = (std::process::id() % 97) as u16 * 200;
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// The first of `count` ports in a row.
pub fn row(count: u16) -> u16 {
    loop {
        let first = free();
        let rest: Vec<u16> = (1..count).map(|_| free()).collect();
        if rest.iter().zip(1..).all(|(port, distance)| *port == first + distance) {
            return first;
        }
    }
}
