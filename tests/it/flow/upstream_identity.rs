//! Upstreams over TLS: whom they must prove to be, and who the gateway is to them.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Call, Identity, Leaf, Setup, Stack};

/// An upstream that lets nobody in without a certificate. It writes down who asked for what, under which name it was asked.
pub async fn upstream(stack: &Stack, identity: &Identity) -> (u16, Arc<Mutex<Vec<String>>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(stack.client_ca.certificate.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().expect("a verifier");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key())
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(Mutex::new(vec![]));
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let connection = stream.get_ref().1;
                let leaf = connection.peer_certificates().expect("a certificate")[0].clone().into_owned();
                let subject = symbolon::pki::Certificate::from_der(leaf).expect("readable").subject().to_string();
                let name = connection.server_name().unwrap_or("-").to_owned();
                let mut head = Vec::new();
                loop {
                    while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&head[..end]).into_owned();
                        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                        seen.lock().expect("unpoisoned").push(format!("{path} {subject} {name}"));
                        head.drain(..end + 4);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                    match stream.read_buf(&mut head).await {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            });
        }
    });
    (port, seen)
}

/// Two routes to one place as two clients of it: connections are never shared across identities, however warm they are. The name and
/// the key that the upstream must prove are the route's.
#[tokio::test]
async fn each_route_has_an_identity_and_connections_of_its_own() {
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let backend = stack.server_ca.issue(Leaf { ip: vec![], ..Leaf::server(&["backend.example"]) });
    let (port, seen) = upstream(&stack, &backend).await;
    let certificate = symbolon::pki::Certificate::from_der(backend.chain[0].clone()).expect("a certificate");
    let key = certificate.spki_sha256().to_string();
    let route = |name: &str, who: &str, more: &str| {
        stack.fill(&format!(
            r#"
[[route]]
name = "{name}"
host = "{{gateway_authority}}"
path = "/{name}"
upstream = "https://127.0.0.1:{port}"
upstream_ca_file = "server-ca.pem"
upstream_certificate_file = "{who}.pem"
upstream_key_file = "{who}-key.pem"
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
{more}
"#
        ))
    };
    let name = "upstream_server_name = \"backend.example\"";
    let other_key = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    let routes = [
        route("one", "alice", name),
        route("two", "mallory", &format!("{name}\nupstream_keys = [\"{other_key}\", \"{key}\"]")),
        route("nameless", "alice", ""),
        route("misnamed", "alice", "upstream_server_name = \"other.example\""),
        route("pinned", "alice", &format!("{name}\nupstream_keys = [\"{other_key}\"]")),
    ];
    let mut file = std::fs::OpenOptions::new().append(true).open(stack.gateway_config()).expect("a file");
    file.write_all(routes.concat().as_bytes()).expect("written");
    drop(file);
    stack.start_gateway().await;
    let token = stack.token(&stack.alice).await;
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    let mut expected = vec![];
    for round in 0..4 {
        for (route, who) in [("one", "alice"), ("two", "mallory")] {
            let answer = connection.send(&Call::get(&format!("/{route}/{round}")).bearer(&token)).await;
            assert_eq!(answer.status, 200, "{route}: {}", answer.text());
            expected.push(format!("/{route}/{round} CN={who} backend.example"));
        }
    }
    assert_eq!(*seen.lock().expect("unpoisoned"), expected);
    for route in ["nameless", "misnamed", "pinned"] {
        let answer = connection.send(&Call::get(&format!("/{route}")).bearer(&token)).await;
        let verdict = stack.verdict(&answer).await;
        assert_eq!(verdict, (502, "upstream_error".into(), "upstream_unavailable".into()), "{route}");
    }
    assert_eq!(seen.lock().expect("unpoisoned").len(), expected.len(), "not one request to whom it was not meant for");
}
