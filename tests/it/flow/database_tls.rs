//! PostgreSQL over TLS: verified both ways.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::command::symbolon;
use crate::harness::process::Process;
use crate::harness::{Authority, Leaf, Setup, ports, postgres};

/// 1. A server that takes TLS with a client certificate alone: the deployment works.
/// 2. A server certificate of another authority, or no certificate of ours, or another user's, or a server under another name: nothing is read or
///    written.
#[tokio::test]
async fn the_database_is_verified_and_so_are_we() {
    let (authority, other) = (Authority::new("Database CA"), Authority::new("Database CA"));
    let directory = tempfile::tempdir().expect("a directory");
    let server = authority.issue(Leaf::server(&["db.example"]));
    let port = ports::free();
    let chain = (server.certificate_pem.clone(), server.key_pem.clone(), authority.pem.clone());
    if postgres::secured(chain.0, chain.1, chain.2, port).await.is_none() {
        return;
    }
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, issued) in [("symbolon", &authority), ("stranger", &authority)] {
        issued.issue(Leaf::client(name)).write(directory.path());
    }
    std::fs::write(path("ca.pem"), &authority.pem).expect("written");
    std::fs::write(path("other-ca.pem"), &other.pem).expect("written");
    let url = |root: &str, identity: Option<&str>| {
        let own = identity.map_or_else(String::new, |name| {
            format!("&sslcert={}&sslkey={}", path(&format!("{name}.pem")), path(&format!("{name}-key.pem")))
        });
        format!("postgres://symbolon@127.0.0.1:{port}/symbolon?sslmode=verify-full&sslrootcert={}{own}", path(root))
    };
    let good = url("ca.pem", Some("symbolon"));
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.prepare(good.clone()).await;
    stack.start_server().await;
    let token = stack.token(&stack.alice).await;
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    assert_eq!(stack.introspect(&token).await["active"], false);

    let config = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    // The certificate is for `db.example` and 127.0.0.1.
    let elsewhere = good.replace("@127.0.0.1:", "@localhost:");
    for (what, bad) in [
        ("another authority", url("other-ca.pem", Some("symbolon"))),
        (
            "the public's",
            url("ca.pem", Some("symbolon")).replace(&format!("sslrootcert={}", path("ca.pem")), "sslrootcert=public"),
        ),
        ("another host's certificate", elsewhere.clone()),
        ("no certificate", url("ca.pem", None)),
        ("another's certificate", url("ca.pem", Some("stranger"))),
    ] {
        std::fs::write(stack.path("bad.toml"), config.replace(&good, &bad)).expect("written");
        let said = symbolon(stack.dir.path(), &["client", "list", "--config", "bad.toml"]).await.failed();
        assert!(said.contains("the database does not answer"), "{what}: {said}");
    }
    assert!(symbolon(stack.dir.path(), &["client", "list"]).await.ok().contains("alice"));
    // Whoever asks for the authority alone says so.
    std::fs::write(stack.path("ca.toml"), config.replace(&good, &elsewhere.replace("verify-full", "verify-ca")))
        .expect("written");
    assert!(symbolon(stack.dir.path(), &["client", "list", "--config", "ca.toml"]).await.ok().contains("alice"));
}

/// What a place that waits for connections was told, byte for byte: one entry for each connection. It answers the wish for TLS with
/// this byte.
async fn database(answer: u8) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let said = Arc::new(Mutex::new(vec![]));
    let heard = said.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let index = {
                let mut heard = heard.lock().expect("unpoisoned");
                heard.push(vec![]);
                heard.len() - 1
            };
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 1_024];
                let mut answered = false;
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    heard.lock().expect("unpoisoned")[index].extend_from_slice(&bytes[..count]);
                    if !answered && stream.write_all(&[answer]).await.is_err() {
                        return;
                    }
                    answered = true;
                }
            });
        }
    });
    (port, said)
}

/// 1. A URL over a network that names no authority, or a mode that makes do with less, opens no connection: the setting and the remedy are
///    named. Mozilla's public roots are asked where they are named, and nowhere else.
/// 2. Whoever answers that there is no TLS is told nothing more: no name, no password.
#[tokio::test]
async fn nothing_is_said_to_a_database_that_nobody_vouches_for() {
    // PostgreSQL's `SSLRequest`: what may be said before it is known who listens.
    const WISH: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    let (port, said) = database(b'N').await;
    // A network's address as far as its spelling goes, and this machine's.
    let url = |query: &str| format!("postgres://symbolon:hunter2@127.1:{port}/symbolon{query}");
    let plain = "sqlite:symbolon.db".to_owned();
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.prepare(plain.clone()).await;
    let config = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let with = |url: &str| std::fs::write(stack.path("network.toml"), config.replace(&plain, url)).expect("written");
    let network = stack.path("network.toml");
    for (query, remedy) in [
        ("", "sslrootcert=public"),
        ("?sslmode=verify-full", "add `sslrootcert=FILE`"),
        ("?sslmode=verify-ca", "add `sslrootcert=FILE`"),
        ("?sslrootcert=system", "the system's roots are never used"),
        ("?sslmode=prefer", "`sslmode=disable` where clear is meant"),
        ("?sslmode=allow&sslrootcert=server-ca.pem", "`sslmode=disable` where clear is meant"),
        ("?sslmode=require&sslrootcert=server-ca.pem", "`sslmode=verify-full`"),
        ("?application_name=sslmode=disable", "add `sslrootcert=FILE`"),
    ] {
        with(&url(query));
        let problem = Process::try_start("serve", &network).await.err().unwrap_or_else(|| panic!("{query}: started"));
        assert!(problem.contains("store.url: ") && problem.contains(remedy), "{query}: {problem}");
        assert!(!problem.contains("hunter2"), "{query}: {problem}");
    }
    assert!(said.lock().expect("unpoisoned").is_empty(), "nobody was spoken to");
    let authority = stack.path("server-ca.pem").display().to_string();
    for query in [format!("?sslrootcert={authority}"), "?sslrootcert=public".into(), "?sslmode=require".into()] {
        with(&url(&query));
        let problem = Process::try_start("serve", &network).await.err().unwrap_or_else(|| panic!("{query}: started"));
        assert!(problem.contains("does not support TLS"), "{query}: {problem}");
        let said = std::mem::take(&mut *said.lock().expect("unpoisoned"));
        assert!(!said.is_empty() && said.iter().all(|said| said == WISH), "{query}: {said:?}");
    }
    stack.start_server().await;
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "the one thing corrected");
}
