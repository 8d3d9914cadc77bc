//! An upstream that records every byte it receives.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The application behind the gateway.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it listens.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    connections: usize,
    requests: Vec<Received>,
    answer: Option<Vec<u8>>,
    hasty: bool,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// Header fields, spelled as they arrived.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What stood behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Received {
    /// All values of a header, whatever its case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(present, _)| present.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

impl Upstream {
    /// Starts one on a port of its own. It answers every request with 200 and `{"upstream":true}` until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let upstream = Self { port, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().expect("unpoisoned").connections += 1;
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        upstream
    }

    /// Every byte received on every connection, in the order of arrival.
    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().expect("unpoisoned").bytes.clone()
    }

    /// Every complete request.
    pub fn requests(&self) -> Vec<Received> {
        self.state.lock().expect("unpoisoned").requests.clone()
    }

    /// The last complete request.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.requests().pop().expect("a request reached the upstream")
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        let mut state = self.state.lock().expect("unpoisoned");
        state.bytes.clear();
        state.requests.clear();
    }

    /// Not one byte has arrived (since the last [`Upstream::forget`]).
    #[track_caller]
    pub fn assert_untouched(&self) {
        let bytes = self.bytes();
        assert!(bytes.is_empty(), "the upstream received {} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes));
    }

    /// Answers with these bytes from now on: a whole HTTP/1.1 response.
    pub fn answer_with(&self, response: impl Into<Vec<u8>>) {
        self.state.lock().expect("unpoisoned").answer = Some(response.into());
    }
}

impl Upstream {
    /// Answers from now on as soon as a head has arrived, and then reads the body.
    pub fn answer_early(&self) {
        self.state.lock().expect("unpoisoned").hasty = true;
    }
}

async fn serve(mut stream: tokio::net::TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    let mut answered = false;
    loop {
        while let Some((received, length)) = parse(&buffer) {
            buffer.drain(..length);
            let answer = {
                let mut state = state.lock().expect("unpoisoned");
                state.requests.push(received);
                state.answer.clone()
            };
            let answer = answer.unwrap_or_else(|| {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"upstream\":true}".to_vec()
            });
            if !std::mem::take(&mut answered) && stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        let early = state.lock().expect("unpoisoned").hasty && !answered && buffer.windows(4).any(|window| window == b"\r\n\r\n");
        if early {
            answered = true;
            if stream.write_all(EARLY).await.is_err() {
                return;
            }
        }
        let before = buffer.len();
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => state.lock().expect("unpoisoned").bytes.extend_from_slice(&buffer[before..]),
        }
    }
}

/// An answer that does not wait for the body.
const EARLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";

/// The first request in the buffer and its length, once it is complete.
fn parse(buffer: &[u8]) -> Option<(Received, usize)> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut received = Received { line, headers, body: Vec::new(), trailers: Vec::new() };
    let mut at = end + 4;
    if received.values("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let rest = buffer.get(at..)?;
            let line_end = rest.windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&rest[..line_end]).trim(), 16).ok()?;
            if size == 0 {
                at += line_end + 2;
                while let Some(end) = buffer.get(at..)?.windows(2).position(|window| window == b"\r\n").filter(|end| *end > 0) {
                    let line = String::from_utf8_lossy(&buffer[at..at + end]).into_owned();
                    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                    received.trailers.push((name.to_owned(), value.trim().to_owned()));
                    at += end + 2;
                }
                return buffer.get(at..at + 2).map(|_| (received, at + 2));
            }
            let data = rest.get(line_end + 2..line_end + 2 + size)?;
            rest.get(line_end + 2 + size..line_end + 4 + size)?;
            received.body.extend_from_slice(data);
            at += line_end + 4 + size;
        }
    }
    let length = received.values("content-length").first().and_then(|value| value.parse().ok()).unwrap_or(0usize);
    received.body = buffer.get(at..at + length)?.to_vec();
    Some((received, at + length))
}
