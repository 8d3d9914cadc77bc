//! TCP routes: what passes, to whom, and what upstreams are told.

use std::time::Duration;

use symbolon::wire::proxy_protocol::Origin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::harness::client::PATIENCE;
use crate::harness::proxy::{Program, Proxy};
use crate::harness::tcp_route::{TcpSetup, says_back};
use crate::harness::tcp_upstream::GOODBYE;
use crate::harness::{TcpPlace, TcpUpstream, Tls, ports};

async fn rest(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
    end.expect("the end that TLS has for it");
    rest
}

/// 1. Bytes pass both ways, however many. 2. Each side may say that it has said all, and still hears the
/// other.
#[tokio::test]
async fn a_stream_passes_both_ways() {
    let place = TcpPlace::start("").await;
    for tls in [Tls::V12, Tls::V13] {
        place.upstream.forget();
        let stream = place.open(&place.caller(&place.carol).tls(tls)).await;
        let sent: Vec<u8> = (0..2_000_000u32).map(|number| (number % 251) as u8).collect();
        let (mut read, mut write) = split(stream);
        let writing = {
            let sent = sent.clone();
            tokio::spawn(async move {
                write.write_all(&sent).await.expect("written");
                write.flush().await.expect("written");
                write
            })
        };
        let mut heard = vec![0u8; sent.len()];
        tokio::time::timeout(PATIENCE, read.read_exact(&mut heard)).await.expect("in time").expect("all of it");
        assert!(heard == sent, "{tls:?}: other bytes");
        let mut stream = read.unsplit(writing.await.expect("written"));
        stream.shutdown().await.expect("closed");
        // The upstream speaks last.
        assert_eq!(rest(&mut stream).await, GOODBYE, "{tls:?}");
        place.upstream.wait_for_ends(1, 0).await;
    }
    let ended = place.event("tcp_connection_ended", 1).await;
    assert_eq!(ended["reason"], serde_json::Value::Null);
}

/// Whoever does not read holds up whoever writes: the gateway keeps no more than a little of it.
#[tokio::test]
async fn a_slow_reader_holds_up_the_writer() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (begin, begins) = tokio::sync::oneshot::channel::<()>();
    let reader = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        begins.await.expect("told to begin");
        let mut read = 0;
        let mut buffer = vec![0u8; 65_536];
        loop {
            match stream.read(&mut buffer).await.expect("an orderly end") {
                0 => return read,
                length => read += length,
            }
        }
    });
    let upstream = TcpUpstream::start().await;
    let changes = vec![(format!("127.0.0.1:{}", upstream.port), format!("127.0.0.1:{port}"))];
    let place = TcpSetup { changes, ..TcpSetup::default() }.start(upstream).await;
    let mut stream = place.caller(&place.carol).raw(&place.place).await.expect("a connection");
    let (piece, mut written) = (vec![7u8; 65_536], 0);
    // What the system keeps for two connections is less than this.
    while let Ok(taken) = tokio::time::timeout(Duration::from_secs(2), stream.write(&piece)).await {
        written += taken.expect("an open stream");
        assert!(written < 256 << 20, "somebody keeps it all");
    }
    begin.send(()).expect("it waits");
    stream.shutdown().await.expect("closed");
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!(reader.await.expect("read"), written);
}

/// An upstream that says all it has to say at once, and goes on listening.
#[tokio::test]
async fn an_upstream_may_say_all_first() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"that is all").await.expect("written");
        stream.shutdown().await.expect("closed");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("an end");
        heard
    });
    let upstream = TcpUpstream::start().await;
    let changes = vec![(format!("127.0.0.1:{}", upstream.port), format!("127.0.0.1:{port}"))];
    let place = TcpSetup { changes, ..TcpSetup::default() }.start(upstream).await;
    let mut stream = place.caller(&place.carol).raw(&place.place).await.expect("a connection");
    assert_eq!(rest(&mut stream).await, b"that is all");
    stream.write_all(b"and I have this").await.expect("written");
    stream.shutdown().await.expect("closed");
    assert_eq!(heard.await.expect("heard"), b"and I have this");
}

/// What a client of PostgreSQL says that begins with TLS (`sslnegotiation=direct`): it agrees on `postgresql`, and the first to speak is
/// the client.
#[tokio::test]
async fn a_protocol_is_agreed_on() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut startup = vec![0u8; usize::try_from(stream.read_u32().await.expect("a length")).expect("short") - 4];
        stream.read_exact(&mut startup).await.expect("a startup message");
        // AuthenticationOk, ReadyForQuery.
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.expect("written");
        let mut query = [0u8; 14];
        stream.read_exact(&mut query).await.expect("a query");
        stream.write_all(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I").await.expect("written");
        let mut terminate = Vec::new();
        stream.read_to_end(&mut terminate).await.expect("an end");
        (startup, query.to_vec(), terminate)
    });
    let upstream = TcpUpstream::start().await;
    let changes = vec![
        (format!("127.0.0.1:{}", upstream.port), format!("127.0.0.1:{port}")),
        ("tcp_route = \"db\"".to_owned(), "tcp_route = \"db\"\nalpn = [\"postgresql\"]".to_owned()),
    ];
    let place = TcpSetup { changes, ..TcpSetup::default() }.start(upstream).await;
    let caller = place.caller(&place.carol).alpn(&["http/1.1", "postgresql"]);
    let mut stream = caller.raw(&place.place).await.expect("a connection");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"postgresql"[..]));
    let startup = b"\0\x03\0\0user\0carol\0\0";
    stream.write_u32(u32::try_from(startup.len() + 4).expect("short")).await.expect("written");
    stream.write_all(startup).await.expect("written");
    let mut ready = [0u8; 15];
    stream.read_exact(&mut ready).await.expect("ready");
    stream.write_all(b"Q\0\0\0\x0dSELECT 1\0").await.expect("written");
    let mut answer = [0u8; 20];
    stream.read_exact(&mut answer).await.expect("an answer");
    stream.write_all(b"X\0\0\0\x04").await.expect("written");
    stream.shutdown().await.expect("closed");
    assert_eq!(rest(&mut stream).await, b"");
    let (heard, query, terminate) = server.await.expect("served");
    assert_eq!(
        (heard.as_slice(), query.as_slice(), terminate.as_slice()),
        (&startup[..], &b"Q\0\0\0\x0dSELECT 1\0"[..], &b"X\0\0\0\x04"[..])
    );
    // A client that offers others alone fails its handshake, also where some are listed.
    let other = place.caller(&place.carol).alpn(&["http/1.1"]).raw(&place.place).await;
    other.map(drop).expect_err("no protocol in common");
}

/// An upstream that expects a PROXY protocol header is told the client's address, the server name, the connection's id in the audit trail
/// and what its certificate says.
#[tokio::test]
async fn an_upstream_is_told_whose_a_connection_is() {
    let setup = TcpSetup { route: "send_proxy_protocol = true\n".to_owned(), ..TcpSetup::default() };
    let place = setup.start(TcpUpstream::expecting_headers().await).await;
    for (round, tls, version) in [(0, Tls::V12, "TLSv1.2"), (1, Tls::V13, "TLSv1.3")] {
        let caller = place.caller(&place.carol).tls(tls).from([127, 0, 0, 7]).prepared();
        for resumed in [false, true] {
            place.upstream.forget();
            let mut stream = place.open(&caller).await;
            let (origin, members) = place.upstream.told().pop().expect("a header");
            let Origin::Client(address) = origin else { panic!("{origin:?}") };
            assert_eq!(address.ip().to_string(), "127.0.0.7");
            let event = place.event("tcp_connection", round * 2 + usize::from(resumed)).await;
            assert_eq!(event["peer_address"], address.to_string());
            let id = event["request_id"].as_str().expect("an id");
            let flags = if resumed { 5 } else { 7 };
            let inner = [&[flags, 0, 0, 0, 0, 0x21, 0, 7], version.as_bytes(), &[0x22, 0, 5], b"carol"].concat();
            let expected = [&b"\x02\0\x0aas.example\x05\0\x16"[..], id.as_bytes(), &[0x20, 0, 23], &inner].concat();
            assert_eq!(members, expected, "{tls:?} {resumed}");
            stream.shutdown().await.expect("closed");
            assert_eq!(rest(&mut stream).await, GOODBYE);
        }
    }
}

const HAPROXY: &str = "defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend behind
    mode http
    bind 127.0.0.1:PORT accept-proxy
    http-request return status 200 content-type text/plain lf-string \"%[src] %[fc_pp_authority] %[fc_pp_unique_id] end\"
";

/// HAProxy reads what is told.
#[tokio::test]
async fn haproxy_reads_what_is_told() {
    let port = ports::free();
    let upstream = TcpUpstream::start().await;
    let Some(_haproxy) = Proxy::start(Program::Haproxy, &HAPROXY.replace("PORT", &port.to_string()), &[port]).await else {
        return;
    };
    let setup = TcpSetup {
        changes: vec![(format!("127.0.0.1:{}", upstream.port), format!("127.0.0.1:{port}"))],
        route: "send_proxy_protocol = true\n".to_owned(),
        ..TcpSetup::default()
    };
    let place = setup.start(upstream).await;
    let mut stream = place.caller(&place.carol).from([127, 0, 0, 7]).raw(&place.place).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time");
    let event = place.event("tcp_connection", 0).await;
    let expected = format!("127.0.0.7 as.example {} end", event["request_id"].as_str().expect("an id"));
    assert!(answer.ends_with(&expected), "{expected} is not in {answer}");
}

/// The bytes go on under TLS where the upstream speaks it, and only to one that proves its name; one that cannot be connected to is passed
/// over.
#[tokio::test]
async fn an_upstream_is_passed_over_or_must_prove_its_name() {
    let (dead, upstream) = (ports::free(), TcpUpstream::start().await);
    let at = format!("upstream = \"127.0.0.1:{}\"", upstream.port);
    let several = format!("upstream = [\"127.0.0.1:{dead}\", \"127.0.0.1:{}\"]", upstream.port);
    let changes = vec![(at.clone(), several)];
    let place =
        TcpSetup { changes, route: "upstream_failures = 2\n".to_owned(), ..TcpSetup::default() }.start(upstream.clone()).await;
    for round in 0..4 {
        let mut stream = place.open(&place.caller(&place.carol)).await;
        stream.shutdown().await.expect("closed");
        let event = place.event("tcp_connection", round).await;
        assert_eq!((&event["reason"], &event["upstream"]), (&().into(), &format!("127.0.0.1:{}", upstream.port).into()));
    }
    drop(place);

    for (name, reason) in [("as.example", ""), ("wrong.example", "upstream_unavailable")] {
        let upstream = TcpUpstream::start().await;
        let at = format!("upstream = \"127.0.0.1:{}\"", upstream.port);
        let changes = vec![(at, "upstream = \"127.0.0.1:{mtls_port}\"".to_owned())];
        let route = format!("upstream_ca_file = \"server-ca.pem\"\nupstream_server_name = \"{name}\"\n");
        let place = TcpSetup { changes, route, ..TcpSetup::default() }.start(upstream).await;
        let mut stream = place.caller(&place.carol).raw(&place.place).await.expect("a connection");
        let request = format!("GET /jwks HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", place.stack.as_authority);
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
        let event = place.event("tcp_connection", 0).await;
        assert_eq!(event["reason"].as_str().unwrap_or_default(), reason, "{event}");
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), reason.is_empty(), "{name}: {answer}");
    }
}

/// An upstream that is not there: the connection is closed, and the next one is served when it is back.
#[tokio::test]
async fn a_dead_upstream_is_told_and_tried_again() {
    let (port, upstream) = (ports::free(), TcpUpstream::start().await);
    let changes = vec![(format!("127.0.0.1:{}", upstream.port), format!("127.0.0.1:{port}"))];
    let route = "upstream_failures = 1\nupstream_rest_seconds = 1\n".to_owned();
    let place = TcpSetup { changes, route, ..TcpSetup::default() }.start(upstream).await;
    let carol = place.caller(&place.carol);
    for (number, reason) in ["upstream_unavailable", "upstream_set_aside"].into_iter().enumerate() {
        let mut stream = carol.raw(&place.place).await.expect("a handshake");
        place.is_closed(&mut stream).await;
        assert_eq!(place.event("tcp_connection", number).await["reason"], reason);
    }
    let back = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = back.accept().await {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let mut stream = carol.raw(&place.place).await.expect("a connection");
    says_back(&mut stream, b"again").await;
}
