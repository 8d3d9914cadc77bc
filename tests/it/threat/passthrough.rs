//! Connections that are passed on unread: by the server name, and by nothing else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{passed, refused};
use crate::harness::command::symbolon;
use crate::harness::{Call, Http, Setup, Stack, Tls};

/// The gateway's listener passes `as.example` on to the authorization server, which shakes hands itself, and every other name below
/// `example` to a place that writes down what comes.
async fn start() -> (Stack, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let received = Arc::new(Mutex::new(Vec::new()));
    let shared = received.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let received = shared.clone();
            tokio::spawn(async move {
                let mut buffer = [0u8; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    received.lock().expect("unpoisoned").extend_from_slice(&buffer[..length]);
                }
            });
        }
    });
    let listed = "services = [\"gateway\"]\n".to_owned();
    let more = format!(
        "{listed}passthrough = [{{ names = [\"AS.example\"], upstream = \"127.0.0.1:{{mtls_port}}\" }}, \
         {{ names = [\"*.example\"], upstream = \"127.0.0.1:{port}\" }}]\n"
    );
    let gateway = "\n[limits]\nhandshake_seconds = 3\n".to_owned();
    (Setup { gateway, gateway_changes: vec![(listed, more)], ..Setup::default() }.start().await, received)
}

fn port(stack: &Stack) -> u16 {
    stack.gateway_authority.rsplit_once(':').expect("a port").1.parse().expect("a port")
}

/// TLS reaches the other side as the client speaks it: that side sees the client's own certificate, and issues a token bound to it. The
/// name counts in any case and with a trailing dot; nothing said inside, whatever `Host` it names, reaches a route of the gateway.
#[tokio::test]
async fn a_name_that_is_passed_on_ends_where_it_leads() {
    let (stack, received) = start().await;
    let form = [("grant_type", "client_credentials"), ("client_id", "alice"), ("resource", stack.accounts.as_str())];
    let mut tokens = Vec::new();
    for (name, tls, http) in
        [("as.example", Tls::V13, Http::V1), ("AS.Example", Tls::V12, Http::V1), ("as.example.", Tls::V13, Http::V2)]
    {
        let alice = stack.caller(&stack.alice).server_name(name).tls(tls).http(http);
        let authority = format!("as.example:{}", port(&stack));
        let answer = alice.send(&authority, &Call::form("/token", &form)).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        tokens.push(answer.json()["access_token"].as_str().expect("a token").to_owned());
        // A request for the gateway's own host has come the wrong way, there as here.
        let mut connection = alice.connect(&stack.gateway_authority).await.expect("a connection");
        let answer = connection.send(&Call::get("/accounts").bearer(&tokens[0])).await;
        assert_eq!(answer.status, 421, "{name}: {}", answer.text());
        stack.upstream.assert_untouched();
    }
    let answer = stack.at_gateway(&stack.alice, &tokens[0]).await;
    passed(&stack, &answer, "the gateway's own name");
    let answer = stack.at_gateway(&stack.mallory, &tokens[0]).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "a thief, as ever").await;
    // `public.example` is served here, so that `*.example` is not for it.
    let answer = stack.nobody().send(&stack.public_authority, &Call::get("/accounts")).await;
    refused(&stack, &answer, 401, "unauthorized", "token_absent", "public.example").await;
    assert_eq!(*received.lock().expect("unpoisoned"), b"");
    // A name that nobody has is no way in.
    let stranger = stack.nobody().server_name("stranger.test").connect(&stack.gateway_authority).await;
    stranger.map(|_| ()).expect_err("an alert");
}

/// A client hello counts when it is whole, however many pieces and records it comes in; what is none is passed on to nobody, and whoever
/// says half of one keeps no place.
#[tokio::test]
async fn only_a_whole_client_hello_is_passed_on() {
    let (stack, received) = start().await;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "other.example".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).expect("written");
    }
    let took = || received.lock().expect("unpoisoned").clone();
    // Byte by byte: passed on as it came, when it is whole.
    let mut stream = TcpStream::connect(("127.0.0.1", port(&stack))).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    for piece in hello[..hello.len() - 1].chunks(97) {
        stream.write_all(piece).await.expect("written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(took(), b"");
    stream.write_all(&hello[hello.len() - 1..]).await.expect("written");
    stream.write_all(b"and what follows").await.expect("written");
    let whole = [&hello[..], b"and what follows"].concat();
    let started = Instant::now();
    while took().len() < whole.len() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not passed on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(took(), whole);
    drop(stream);
    // The same handshake message in records of its own.
    received.lock().expect("unpoisoned").clear();
    let mut stream = TcpStream::connect(("127.0.0.1", port(&stack))).await.expect("connected");
    let message = &hello[5..];
    let records: Vec<u8> = message
        .chunks(40)
        .flat_map(|piece| [&[22, 3, 1][..], &u16::try_from(piece.len()).expect("short").to_be_bytes(), piece].concat())
        .collect();
    stream.write_all(&records).await.expect("written");
    let started = Instant::now();
    while took().len() < records.len() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not passed on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(took(), records);
    drop(stream);

    received.lock().expect("unpoisoned").clear();
    let half = &hello[..hello.len() / 2];
    for bytes in [
        half,
        b"",
        b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        &[22, 3, 1, 255, 255],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port(&stack))).await.expect("connected");
        stream.write_all(bytes).await.expect("written");
        let mut sink = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut sink)).await;
        assert!(ended.is_ok(), "{bytes:?}: it keeps its place");
    }
    assert_eq!(took(), b"");
}

/// What could not be meant is refused, and `gateway check` lists what is open to anybody.
#[tokio::test]
async fn what_is_passed_on_is_listed() {
    let (stack, _) = start().await;
    let check = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await.ok();
    assert!(check.contains(&format!("  AS.example:{}: anybody (TLS is passed on to 127.0.0.1:", port(&stack))), "{check}");
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    for (from, to, words) in [
        ("\"AS.example\"", "\"Public.example.\"", "`public.example` is served here and passed on"),
        ("\"AS.example\"", "\"*\"", "`*` would pass on what nobody has thought of"),
        ("\"AS.example\"", "\"*.example\"", "`*.example` is passed on twice"),
        ("upstream = \"127.0.0.1:", "upstream = \"127.0.0.1/", "is not where anything can be passed on to"),
    ] {
        std::fs::write(stack.path("other.toml"), written.replacen(from, to, 1)).expect("written");
        let said = symbolon(stack.dir.path(), &["gateway", "check", "--config", "other.toml"]).await.failed();
        assert!(said.contains(words), "{said}");
    }
}

/// The other side is told whose a connection is by the gateway alone: limits, `addresses` and the trail go by the client's own address there,
/// and what a client says of himself is no header.
#[tokio::test]
async fn the_other_side_is_told_whose_a_connection_is() {
    let inner = crate::harness::ports::free();
    let listed = "services = [\"gateway\"]\n".to_owned();
    let more = format!(
        "{listed}passthrough = [{{ names = [\"as.example\"], upstream = \"127.0.0.1:{inner}\", send_proxy_protocol = true }}]\n"
    );
    let gateway = format!(
        "[[listener]]\nname = \"inner\"\naddress = \"127.0.0.1:{inner}\"\nservices = [\"gateway\"]\nproxy_protocol = [\"127.0.0.1/32\"]\n\n\
         [[listener.host]]\nnames = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n\
         client_certificate = \"request\"\nanchor_set = \"clients\"\n\n\
         [[route]]\nname = \"inner\"\nhost = \"as.example\"\npath = \"/inner\"\nupstream = \"{{upstream}}\"\n\
         authorization_server = \"test\"\naudience = \"{{accounts}}\"\ntoken = \"jwt\"\naddresses = [\"127.0.0.9\"]\n"
    );
    let stack = Setup { gateway, gateway_changes: vec![(listed, more)], ..Setup::default() }.start().await;
    let authority = format!("as.example:{}", port(&stack));
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/inner").bearer(&token);
    let answer = stack.caller(&stack.alice).from([127, 0, 0, 9]).send(&authority, &call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stack.upstream.last().values("x-forwarded-for"), ["127.0.0.9"]);
    let event = stack.event_of(answer.request_id()).await;
    assert!(event["peer_address"].as_str().expect("an address").starts_with("127.0.0.9:"), "{event}");
    stack.upstream.forget();
    let answer = stack.caller(&stack.alice).from([127, 0, 0, 8]).send(&authority, &call).await;
    refused(&stack, &answer, 403, "access_denied", "policy_address", "from elsewhere").await;
    let answer = stack.caller(&stack.mallory).from([127, 0, 0, 9]).send(&authority, &call).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", "a thief").await;
    // A client's own header is no client hello, and reaches nobody.
    let own = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[127, 0, 0, 9, 127, 0, 0, 1, 1, 1, 1, 1]].concat();
    let forged = stack.caller(&stack.alice).from([127, 0, 0, 8]).beginning_with(&own).try_send(&authority, &call).await;
    assert!(forged.is_err(), "{forged:?}");
    stack.upstream.assert_untouched();
}
