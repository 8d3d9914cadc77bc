//! An upstream that is not spoken to in HTTP: it says everything back, and writes down what comes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use symbolon::wire::proxy_protocol::{FIXED_BYTES, Fixed, Origin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::client::PATIENCE;

/// What it says when its client has said all.
pub const GOODBYE: &[u8] = b"goodbye";

/// The upstream.
#[derive(Clone, Debug)]
pub struct TcpUpstream {
    /// Where it listens.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    bytes: Vec<u8>,
    ended: usize,
    broken: usize,
    told: Vec<(Origin, Vec<u8>)>,
}

/// What comes first on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Bytes,
    Header,
}

impl TcpUpstream {
    /// Starts one on a port of its own.
    pub async fn start() -> Self {
        Self::start_with(First::Bytes).await
    }

    /// The same, which expects a PROXY protocol header first.
    pub async fn expecting_headers() -> Self {
        Self::start_with(First::Header).await
    }

    async fn start_with(first: First) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let upstream = Self { port, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().expect("unpoisoned").connections += 1;
                let state = state.clone();
                tokio::spawn(async move {
                    let end = serve(stream, first, &state).await;
                    let mut state = state.lock().expect("unpoisoned");
                    match end {
                        Ok(()) => state.ended += 1,
                        Err(_) => state.broken += 1,
                    }
                });
            }
        });
        upstream
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("unpoisoned"))
    }

    /// Every byte received.
    pub fn bytes(&self) -> Vec<u8> {
        self.with(|state| state.bytes.clone())
    }

    /// Connections that were made.
    pub fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    /// Headers that came: whom each speaks for, and the members behind the addresses.
    pub fn told(&self) -> Vec<(Origin, Vec<u8>)> {
        self.with(|state| state.told.clone())
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        self.with(|state| *state = State::default());
    }

    /// Nobody has connected and not one byte has come (since the last [`TcpUpstream::forget`]).
    #[track_caller]
    pub fn assert_untouched(&self) {
        self.with(|state| {
            assert_eq!((state.connections, state.bytes.as_slice()), (0, &b""[..]), "something reached the upstream");
        });
    }

    /// Waits until so many connections have come to their end, whichever way.
    pub async fn wait_for_end(&self, connections: usize) {
        let started = Instant::now();
        while self.with(|state| state.ended + state.broken) < connections {
            assert!(started.elapsed() < PATIENCE, "{connections} connections do not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many connections have ended as they should, and so many were reset.
    #[track_caller]
    pub fn wait_for_ends(&self, ended: usize, broken: usize) -> impl Future<Output = ()> + use<> {
        let (upstream, started) = (self.clone(), Instant::now());
        async move {
            loop {
                let seen = upstream.with(|state| (state.ended, state.broken));
                if seen == (ended, broken) {
                    return;
                }
                assert!(started.elapsed() < PATIENCE, "connections ended, and were reset: {seen:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, first: First, state: &Mutex<State>) -> std::io::Result<()> {
    if first == First::Header {
        let mut fixed = [0; FIXED_BYTES];
        stream.read_exact(&mut fixed).await?;
        let parsed = Fixed::parse(&fixed).map_err(std::io::Error::other)?;
        let mut rest = vec![0; parsed.rest()];
        stream.read_exact(&mut rest).await?;
        let origin = parsed.origin(&rest).map_err(std::io::Error::other)?;
        let addresses = if fixed[13] == 0x11 { 12 } else { 36 };
        state.lock().expect("unpoisoned").told.push((origin, rest.split_off(addresses)));
    }
    let mut buffer = vec![0u8; 16_384];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            stream.write_all(GOODBYE).await?;
            return stream.shutdown().await;
        }
        state.lock().expect("unpoisoned").bytes.extend_from_slice(&buffer[..length]);
        stream.write_all(&buffer[..length]).await?;
    }
}
