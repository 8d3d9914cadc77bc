//! A deployment with a TCP route at `as.example`, on the gateway's port.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Identity, Leaf};
use super::client::{Caller, PATIENCE};
use super::stack::{Setup, Stack};
use super::tcp_upstream::TcpUpstream;

const HOST: &str = r#"[[listener.host]]
names = ["as.example"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "databases"
tcp_route = "db"
"#;

const ROUTE: &str = r#"
[[tcp_route]]
name = "db"
upstream = "127.0.0.1:{port}"
authorization_server = "test"
"#;

const SETS: &str = r#"
[anchor_set.databases]
files = ["db-ca.pem"]
crl_files = ["db.crl"]
"#;

/// What differs from one deployment to another.
#[derive(Clone, Debug, Default)]
pub struct TcpSetup {
    /// Replacements in the host and the route: `(this, by that)`.
    pub changes: Vec<(String, String)>,
    /// Added to the route.
    pub route: String,
    /// Added at the end of the configuration.
    pub more: String,
}

/// The deployment.
pub struct TcpPlace {
    pub stack: Stack,
    /// Issues the certificates that count here, and nowhere else.
    pub authority: Authority,
    /// One of those, `CN=carol`.
    pub carol: Identity,
    /// Behind the route.
    pub upstream: TcpUpstream,
    /// `as.example:PORT`.
    pub place: String,
}

impl TcpPlace {
    /// With this added to the route.
    pub async fn start(route: &str) -> Self {
        TcpSetup { route: route.to_owned(), ..TcpSetup::default() }.start(TcpUpstream::start().await).await
    }

    /// A caller with this certificate, that offers no protocol.
    pub fn caller(&self, identity: &Identity) -> Caller {
        self.nobody().showing(identity)
    }

    /// A caller without one.
    pub fn nobody(&self) -> Caller {
        self.stack.nobody().alpn(&[])
    }

    /// A stream that was let through: it has said something back.
    pub async fn open(&self, caller: &Caller) -> TlsStream<TcpStream> {
        let mut stream = caller.raw(&self.place).await.expect("a connection");
        says_back(&mut stream, b"are you there?").await;
        stream
    }

    /// Speaks on a stream, and hears nothing but its end.
    pub async fn is_closed(&self, stream: &mut TlsStream<TcpStream>) {
        // It may be closed already.
        let _ = stream.write_all(b"stolen").await;
        let _ = stream.flush().await;
        let mut heard = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "the connection stays open");
        assert_eq!(heard, b"");
    }

    /// Events of this name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.stack.events("gateway-audit.jsonl").into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The event with this number, counted from 0, of those of this name.
    pub async fn event(&self, name: &str, number: usize) -> Value {
        let started = Instant::now();
        loop {
            if let Some(event) = self.events(name).get(number) {
                return event.clone();
            }
            assert!(started.elapsed() < PATIENCE, "there is no {name} number {number}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How the first connection ended that came with this certificate.
    pub async fn end_of(&self, identity: &Identity) -> Value {
        let is_its = |event: &Value| event["certificate"] == identity.thumbprint();
        let begun = self.events("tcp_connection").into_iter().find(is_its).expect("it was let through");
        let started = Instant::now();
        loop {
            let mut ended = self.events("tcp_connection_ended").into_iter();
            if let Some(event) = ended.find(|event| event["request_id"] == begun["request_id"]) {
                return event;
            }
            assert!(started.elapsed() < PATIENCE, "it has not ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What `caller` gets: nothing. The private reason, of the decision with this number, is given back.
    pub async fn refused(&self, caller: &Caller, number: usize) -> Value {
        self.upstream.forget();
        let mut stream = caller.raw(&self.place).await.expect("a handshake");
        self.is_closed(&mut stream).await;
        let event = self.event("tcp_connection", number).await;
        self.upstream.assert_untouched();
        event
    }
}

impl TcpSetup {
    /// Starts one with this upstream.
    pub async fn start(self, upstream: TcpUpstream) -> TcpPlace {
        let mut place = self.prepare(upstream).await;
        place.stack.start_server().await;
        place.stack.start_gateway().await;
        place
    }

    /// Makes the files and starts nothing.
    pub async fn prepare(self, upstream: TcpUpstream) -> TcpPlace {
        let mark = "[anchor_set.clients]";
        let route = ROUTE.replace("{port}", &upstream.port.to_string());
        let written = format!("{HOST}\n{mark}{SETS}{route}{}{}", self.route, self.more);
        let written = self.changes.iter().fold(written, |text, (from, to)| {
            assert!(text.contains(from.as_str()), "`{from}` is not in the configuration");
            text.replace(from, to)
        });
        let (host, more) = written.split_once(mark).expect("the mark");
        let setup = Setup {
            gateway: more.to_owned(),
            gateway_changes: vec![(mark.to_owned(), format!("{host}\n{mark}"))],
            ..Setup::default()
        };
        let authority = Authority::new("Database CA");
        let carol = authority.issue(Leaf::client("carol"));
        let list = authority.revocation_list(&[], 3_600);
        let files = [("db-ca.pem", authority.pem.as_str()), ("db.crl", list.as_str())];
        let stack = setup.prepare_with("sqlite:symbolon.db".into(), &files).await;
        carol.write(stack.dir.path());
        let place = stack.gateway_authority.replace("localhost", "as.example");
        TcpPlace { stack, authority, carol, upstream, place }
    }
}

/// Says something, and hears the same.
#[track_caller]
pub fn says_back<'a, S: AsyncRead + AsyncWrite + Unpin>(stream: &'a mut S, text: &'a [u8]) -> impl Future<Output = ()> + 'a {
    let from = std::panic::Location::caller();
    async move {
        stream.write_all(text).await.unwrap_or_else(|error| panic!("{error} (from {from})"));
        stream.flush().await.expect("an open stream");
        let mut back = vec![0u8; text.len()];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("in time");
        read.unwrap_or_else(|error| panic!("{error} (from {from})"));
        assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(text));
    }
}
