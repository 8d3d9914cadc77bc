//! The PROXY protocol: whom a proxy speaks for that passes TLS on unread; from trusted addresses alone, and there always.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{passed, refused};
use crate::harness::proxy::{Program, Proxy};
use crate::harness::{Call, Caller, Setup, Stack, ports};

/// Where the trusted proxy is; everybody else comes from 127.0.0.1.
const TRUSTED: [u8; 4] = [127, 0, 0, 2];
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn header(command: u8, transport: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
    [SIGNATURE, &[command, transport], &length, rest].concat()
}

/// TCP over IPv4 from this address, port 4711, to 192.0.2.1, port 443.
fn told(client: [u8; 4]) -> Vec<u8> {
    header(0x21, 0x11, &[&client[..], &[192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb]].concat())
}

async fn stack() -> Stack {
    let services = "services = [\"gateway\"]".to_owned();
    let setup = Setup {
        gateway_changes: vec![(services.clone(), format!("{services}\nproxy_protocol = [\"127.0.0.2/32\"]"))],
        gateway: "\n[limits]\nhandshake_seconds = 2\nconnections_per_address = 3\n".into(),
        ..Setup::default()
    };
    setup.start().await
}

/// What the gateway took for the address of the request.
async fn address_of(stack: &Stack, caller: &Caller, call: &Call) -> String {
    let answer = caller.send(&stack.gateway_authority, call).await;
    let event = stack.event_of(answer.request_id()).await;
    passed(stack, &answer, &event);
    event["peer_address"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn a_trusted_proxy_says_whom_it_speaks_for_and_nobody_else_does() {
    let stack = stack().await;
    let call = Call::get("/accounts").bearer(&stack.token(&stack.alice).await);
    let (alice, client) = (stack.caller(&stack.alice), [203, 0, 113, 7]);
    let proxied = alice.clone().from(TRUSTED);
    assert_eq!(address_of(&stack, &proxied.clone().beginning_with(&told(client)), &call).await, "203.0.113.7:4711");
    let v6 = [&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0x12, 0x67, 0x01, 0xbb]].concat();
    let v6 = proxied.clone().beginning_with(&header(0x21, 0x21, &v6));
    assert_eq!(address_of(&stack, &v6, &call).await, "[2001:db8::7]:4711");
    let member = [&told(client)[16..], &[0x20, 0, 1, 7]].concat();
    let with_member = proxied.clone().beginning_with(&header(0x21, 0x11, &member));
    assert_eq!(address_of(&stack, &with_member, &call).await, "203.0.113.7:4711");
    // Its own health check, and whoever needs no proxy.
    let own = address_of(&stack, &proxied.clone().beginning_with(&header(0x20, 0, &[])), &call).await;
    assert!(own.starts_with("127.0.0.2:"), "{own}");
    let own = address_of(&stack, &alice, &call).await;
    assert!(own.starts_with("127.0.0.1:"), "{own}");
    for (what, caller) in [
        ("from elsewhere", alice.clone().beginning_with(&told(client))),
        ("no header", proxied.clone()),
        ("version 1", proxied.clone().beginning_with(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n")),
        ("twice", proxied.clone().beginning_with(&[told(client), told(client)].concat())),
        ("another command", proxied.clone().beginning_with(&header(0x22, 0x11, &told(client)[16..]))),
        ("UDP", proxied.clone().beginning_with(&header(0x21, 0x12, &told(client)[16..]))),
        ("nobody knows who", proxied.clone().beginning_with(&header(0x21, 0, &[]))),
        ("too short", proxied.clone().beginning_with(&header(0x21, 0x11, &told(client)[17..]))),
        ("too long", proxied.clone().beginning_with(&header(0x20, 0, &[0; 537]))),
        ("a member that is cut off", proxied.clone().beginning_with(&header(0x21, 0x11, &member[..15]))),
    ] {
        assert!(caller.try_send(&stack.gateway_authority, &call).await.is_err(), "{what}");
        stack.upstream.assert_untouched();
    }
    // Half a header, and silence.
    let port = stack.fill("{gateway_port}").parse::<u16>().expect("a port");
    for part in [&told(client)[..10], &told(client)[..20]] {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((TRUSTED, 0).into()).expect("bound");
        let mut socket = socket.connect(([127, 0, 0, 1], port).into()).await.expect("connected");
        socket.write_all(part).await.expect("written");
        let started = Instant::now();
        assert!(matches!(socket.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
    // A share is that of whom the proxy speaks for: the proxy itself has none.
    let mut held = Vec::new();
    let connect = |client: [u8; 4]| {
        let caller = proxied.clone().beginning_with(&told(client));
        let authority = stack.gateway_authority.clone();
        async move { caller.connect(&authority).await }
    };
    for _ in 0..3 {
        held.push(connect(client).await.expect("within its share"));
        held.push(connect([203, 0, 113, 8]).await.expect("within its share"));
    }
    assert!(connect(client).await.is_err(), "beyond its share");
    held.push(connect([203, 0, 113, 9]).await.expect("another's share"));
    assert_eq!(address_of(&stack, &proxied.beginning_with(&told([198, 51, 100, 1])), &call).await, "198.51.100.1:4711");
}

/// What a proxy tells of certificates is believed by the address of its own socket, never by the one that it tells.
#[tokio::test]
async fn an_address_that_is_told_makes_nobody_a_proxy() {
    let port = ports::free();
    let text = format!(
        "\n[[listener]]\nname = \"proxied\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"gateway\"]\nproxy_protocol = [\"127.0.0.2/31\"]\n\
         certificate_source = \"trusted_proxy_header\"\ntrusted_proxy = {{ preset = \"rfc9440\", addresses = [\"127.0.0.3\"] }}\n\n\
         [[listener.host]]\nnames = [\"*\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\nanchor_set = \"clients\"\n"
    );
    let stack = Setup { gateway: text, ..Setup::default() }.start().await;
    use base64::Engine as _;
    let value = format!(":{}:", base64::engine::general_purpose::STANDARD.encode(&stack.alice.chain[0]));
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&token).header("Host", &stack.gateway_authority).header("Client-Cert", &value);
    let authority = format!("localhost:{port}");
    let answer = stack.nobody().from(TRUSTED).beginning_with(&told([127, 0, 0, 3])).send(&authority, &call).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "told").await;
    let answer = stack.nobody().from([127, 0, 0, 3]).beginning_with(&told([203, 0, 113, 7])).send(&authority, &call).await;
    passed(&stack, &answer, "its own");
}

/// HAProxy itself, told as in docs/proxies.md.
#[tokio::test]
async fn haproxy_says_whom_it_speaks_for() {
    let front = ports::free();
    let services = "services = [\"gateway\"]".to_owned();
    let setup = Setup {
        gateway_changes: vec![(services.clone(), format!("{services}\nproxy_protocol = [\"127.0.0.1\"]"))],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let backend =
        crate::harness::proxy::example("haproxy", 1).replace("symbolon.internal:8443", &stack.fill("127.0.0.1:{gateway_port}"));
    let configuration = format!(
        "defaults\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\nfrontend in\n    mode tcp\n    bind 127.0.0.1:{front}\n    \
         default_backend symbolon\n\n{backend}"
    );
    let Some(_proxy) = Proxy::start(Program::Haproxy, &configuration, &[front]).await else { return };
    let call = Call::get("/accounts").bearer(&stack.token(&stack.alice).await).header("Host", &stack.gateway_authority);
    let caller = stack.caller(&stack.alice).from([127, 0, 0, 5]);
    let answer = caller.send(&format!("localhost:{front}"), &call).await;
    let event = stack.event_of(answer.request_id()).await;
    passed(&stack, &answer, "through HAProxy");
    assert!(event["peer_address"].as_str().is_some_and(|address| address.starts_with("127.0.0.5:")), "{event}");
    assert!(caller.try_send(&stack.gateway_authority, &call).await.is_ok_and(|answer| answer.status == 200), "from elsewhere");
}
