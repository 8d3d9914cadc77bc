//! A web server over TLS that answers as it is told, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Leaf};

/// Somebody else's server, at `localhost` and `127.0.0.1`.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Where it listens.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    answer: Vec<u8>,
    /// By path, in place of `answer`.
    places: BTreeMap<String, Vec<u8>>,
    /// Paths that are asked for in vain: the connection stays, and nothing comes.
    hanging: BTreeSet<String>,
    delay: Duration,
    connections: usize,
    requests: Vec<String>,
    bodies: Vec<String>,
}

impl Publisher {
    /// Starts one with a certificate of `authority`. It answers 404 until told otherwise.
    pub async fn start(authority: &Authority) -> Self {
        let identity = authority.issue(Leaf::server(&["localhost"]));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), identity.key())
            .expect("a certificate");
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Starts one without TLS, as authorities publish their revocation lists.
    pub async fn start_plain() -> Self {
        Self::serve(None).await
    }

    async fn serve(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        let places = BTreeMap::new();
        let hanging = BTreeSet::new();
        let state = State { answer, places, hanging, delay: Duration::ZERO, connections: 0, requests: vec![], bodies: vec![] };
        let publisher = Self { port, state: Arc::new(Mutex::new(state)) };
        let shared = publisher.state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("unpoisoned").connections += 1;
                let (acceptor, state) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => answer_one(stream, state).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                answer_one(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        publisher
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Answers with these bytes from now on.
    pub fn answer_with(&self, answer: impl Into<Vec<u8>>) {
        self.state.lock().expect("unpoisoned").answer = answer.into();
    }

    /// Answers 200 with these bytes at one path from now on, whatever it answers elsewhere.
    pub fn publish_at(&self, path: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.as_bytes(), body].concat();
        self.state.lock().expect("unpoisoned").places.insert(path.to_owned(), answer);
    }

    /// Answers with these bytes at one path from now on, head and all.
    pub fn answer_at(&self, path: &str, answer: impl Into<Vec<u8>>) {
        self.state.lock().expect("unpoisoned").places.insert(path.to_owned(), answer.into());
    }

    /// Answers at this path as anywhere else again.
    pub fn withdraw(&self, path: &str) {
        self.state.lock().expect("unpoisoned").places.remove(path);
    }

    /// Takes what is sent to this path from now on, and says nothing for as long as the connection stays.
    pub fn hang_at(&self, path: &str) {
        self.state.lock().expect("unpoisoned").hanging.insert(path.to_owned());
    }

    /// Answers there again.
    pub fn hang_no_more(&self) {
        self.state.lock().expect("unpoisoned").hanging.clear();
    }

    /// How often a path was asked for.
    pub fn times(&self, path: &str) -> usize {
        self.requests().iter().filter(|line| line.split(' ').nth(1) == Some(path)).count()
    }

    /// Answers 200 with this document from now on.
    pub fn publish(&self, document: &serde_json::Value) {
        let body = document.to_string();
        self.answer_with(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Waits so long before each answer.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().expect("unpoisoned").delay = delay;
    }

    /// The request lines that arrived.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("unpoisoned").requests.clone()
    }

    /// The bodies that arrived, of requests that have one.
    pub fn bodies(&self) -> Vec<String> {
        self.state.lock().expect("unpoisoned").bodies.clone()
    }

    /// Connections that were made.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("unpoisoned").connections
    }
}

async fn answer_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_default() + 4;
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    while head.len() < end + length.unwrap_or_default() {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let body = String::from_utf8_lossy(&head[end..]).into_owned();
    let (answer, delay, hangs) = {
        let mut state = state.lock().expect("unpoisoned");
        let path = line.split(' ').nth(1).unwrap_or_default();
        let (place, hangs) = (state.places.get(path).cloned(), state.hanging.contains(path));
        state.requests.push(line);
        if length.is_some() {
            state.bodies.push(body);
        }
        (place.unwrap_or_else(|| state.answer.clone()), state.delay, hangs)
    };
    if hangs {
        // Until whoever asks gives up.
        while stream.read_buf(&mut head).await.is_ok_and(|count| count > 0) {}
        return;
    }
    tokio::time::sleep(delay).await;
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
