//! PostgreSQL over TLS: verified both ways.

use crate::harness::command::symbolon;
use crate::harness::{Authority, Leaf, Setup, ports, postgres};

/// 1. A server that takes TLS with a client certificate alone: the deployment works.
/// 2. A server certificate of another authority, or no certificate of ours, or another user's: nothing is read or written.
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
    for (what, bad) in [
        ("another authority", url("other-ca.pem", Some("symbolon"))),
        ("no certificate", url("ca.pem", None)),
        ("another's certificate", url("ca.pem", Some("stranger"))),
    ] {
        std::fs::write(stack.path("bad.toml"), config.replace(&good, &bad)).expect("written");
        let said = symbolon(stack.dir.path(), &["client", "list", "--config", "bad.toml"]).await.failed();
        assert!(said.contains("the database does not answer"), "{what}: {said}");
    }
    assert!(symbolon(stack.dir.path(), &["client", "list"]).await.ok().contains("alice"));
}
