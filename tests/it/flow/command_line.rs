//! The command line as a transcript: what it says, and that a running server heeds it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::command::{Said, symbolon};
use crate::harness::{Call, Engine, Identity, Leaf, Setup, Stack, token};

async fn client(stack: &Stack, arguments: &[&str]) -> Said {
    symbolon(stack.dir.path(), &[&["client"], arguments].concat()).await
}

/// Asks for a token until the answer has this status, and gives how long that took.
async fn until(stack: &Stack, identity: &Identity, client_id: &str, status: u16) -> Duration {
    let started = Instant::now();
    let call = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client_id)]);
    let mut connection = stack.caller(identity).connect(&stack.mtls_authority).await.expect("connected");
    while connection.send(&call).await.status != status {
        assert!(started.elapsed() < Duration::from_secs(20), "`{client_id}` does not become {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// 1. A client is added and listed, and a running server takes it in.
/// 2. It gets a token.
/// 3. Another process removes it: within a second the server, which has the client cached and used, refuses it, and its tokens
///    are dead at the gateway too.
async fn registrations_reach_a_running_server(engine: Engine) {
    let Some(stack) = Stack::start_on(engine).await else { return };
    let bob = stack.client_ca.issue(Leaf::client("bob"));
    until(&stack, &bob, "bob", 401).await;
    let resource = stack.accounts.clone();
    let added = client(&stack, &["add", "bob", "--subject-dn", "CN=bob", "--resource", &resource, "--scope", "read"]).await.ok();
    assert_eq!(added, "added bob\n");
    let took = until(&stack, &bob, "bob", 200).await;
    assert!(took < Duration::from_secs(2), "{took:?}");

    let listed = client(&stack, &["list"]).await.ok();
    assert!(listed.contains(&format!("bob  tls_client_auth  scope \"read\"  resources {resource}\n")), "{listed}");
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["alice", "bob", "gateway", "mallory"]);
    let shown: Value = serde_json::from_str(&client(&stack, &["show", "bob"]).await.ok()).expect("JSON");
    let expected = json!({
        "client_id": "bob",
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject_dn": "CN=bob",
        "tls_client_certificate_bound_access_tokens": true,
        "dpop_bound_access_tokens": false,
        "grant_types": ["client_credentials"],
        "scope": "read",
        "resources": [resource],
    });
    assert_eq!(shown, expected);

    let token = stack.token(&bob).await;
    assert_eq!(stack.at_gateway(&bob, &token).await.status, 200);
    assert_eq!(client(&stack, &["remove", "bob"]).await.ok(), "removed bob and revoked its tokens\n");
    let took = until(&stack, &bob, "bob", 401).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let answer = stack.wait_at_gateway(&bob, &Call::get("/accounts").bearer(&token), 401).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), "token_revoked".to_owned()));
    // Registered again, it gets new tokens, and the old ones stay dead. The rule's window covers clocks that differ by two seconds.
    stack.register(&[stack.person("bob")]).await;
    let started = Instant::now();
    while stack.at_gateway(&bob, &stack.token(&bob).await).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "a client that was added again gets no token that counts");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stack.at_gateway(&bob, &token).await.status, 401);
}

#[tokio::test]
async fn registrations_reach_a_running_server_on_sqlite() {
    registrations_reach_a_running_server(Engine::Sqlite).await;
}

#[tokio::test]
async fn registrations_reach_a_running_server_on_postgres() {
    registrations_reach_a_running_server(Engine::Postgres).await;
}

/// `client apply` makes registrations what the file says, says what it did, changes nothing when run again, and nothing at all when one
/// of them is wrong.
#[tokio::test]
async fn apply_says_what_it_does() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let file = |clients: Value| std::fs::write(stack.path("clients.json"), clients.to_string()).expect("written");
    let apply = async |more: &[&str]| client(&stack, &[&["apply", "clients.json"], more].concat()).await;
    let mut bob = stack.person("bob");
    file(json!([bob, stack.person("alice")]));
    assert_eq!(apply(&["--dry-run"]).await.ok(), "would be added bob\nwould be unchanged alice\n");
    assert!(client(&stack, &["show", "bob"]).await.failed().contains("there is no client `bob`"));
    assert_eq!(apply(&[]).await.ok(), "added bob\nunchanged alice\n");
    assert_eq!(apply(&[]).await.ok(), "unchanged bob\nunchanged alice\n");
    bob["scope"] = json!("read");
    file(bob.clone());
    assert_eq!(apply(&[]).await.ok(), "changed bob\n");
    let identity = stack.client_ca.issue(Leaf::client("bob"));
    until(&stack, &identity, "bob", 200).await;
    let started = Instant::now();
    while stack.ask(&identity, &[]).await.json()["scope"] != "read" {
        assert!(started.elapsed() < Duration::from_secs(2), "the change is not taken in");
    }

    let carol = stack.person("carol");
    let mut wrong = stack.person("dave");
    wrong["tls_client_auth_san_dn"] = json!("dave");
    file(json!([carol, wrong]));
    assert_eq!(
        apply(&[]).await.failed(),
        "error: clients.json: client 2 (dave): `tls_client_auth_san_dn` is not known client metadata: did you mean \
         `tls_client_auth_san_dns`?\n"
    );
    assert!(client(&stack, &["show", "carol"]).await.failed().contains("there is no client `carol`"), "all or nothing");
    file(json!([carol, carol]));
    assert_eq!(apply(&[]).await.failed(), "error: clients.json: client `carol` is there twice\n");
    std::fs::write(stack.path("clients.json"), "{").expect("written");
    assert!(apply(&[]).await.failed().starts_with("error: clients.json is not JSON: "));
}

/// Errors name the thing and the remedy, in one line, and the exit code says that nothing was done.
#[tokio::test]
async fn errors_name_the_thing_and_the_remedy() {
    let stack = Setup::default().prepare("sqlite:symbolon.db".into()).await;
    let long = "a".repeat(70_000);
    let text = std::fs::read_to_string(stack.server_config()).expect("read").replace("server-key.pem", "alice-key.pem");
    std::fs::write(stack.path("other-key.toml"), &text).expect("written");
    let line = 1 + text.lines().position(|line| line == "key_file = \"alice-key.pem\"").expect("the first of them");
    let table: [(&[&str], &str); 16] = [
        (&["client", "show", "nobody"], "there is no client `nobody`: `symbolon client list` names them all"),
        (&["client", "remove", "nobody"], "there is no client `nobody`: `symbolon client list` names them all"),
        (
            &["client", "add", "alice", "--subject-dn", "CN=alice"],
            "client `alice` exists: change it with `symbolon client apply`",
        ),
        (
            &["client", "add", "bob", "--subject-dn", "bob"],
            "`tls_client_auth_subject_dn` is not a name: `bob` has no `=`: a name is written as `CN=…,O=…` (RFC 4514)",
        ),
        (
            &["client", "add", "bob", "--subject-dn", "CN=bob", "--resource", "https://x.example"],
            "resource `https://x.example` is not configured: add a [[resource]] with this identifier to symbolon.toml",
        ),
        (
            &["client", "add", "bob", "--subject-dn", "CN=bob", "--anchor-set", "nope"],
            "anchor set `nope` is not configured: add [anchor_set.nope] to symbolon.toml",
        ),
        (
            &["client", "add", "bob", "--self-signed-certificate", "nothing.pem"],
            "nothing.pem: cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["client", "list", "--config", "nothing.toml"],
            "cannot read the configuration file `nothing.toml`: No such file or directory (os error 2); name the right one with \
             --config FILE",
        ),
        (&["client", "apply", "nothing.json"], "cannot read nothing.json: No such file or directory (os error 2)"),
        (&["config", "check", "unknown-key.toml"], "unknown-key.toml:2: unknown key `lisener`; did you mean `listener`?"),
        (&["config", "check", "unknown-member.toml"], "unknown-member.toml:2: unknown key `ur` in `store`; did you mean `url`?"),
        (&["cert", "show", "nothing.pem"], "nothing.pem: cannot be read: No such file or directory (os error 2)"),
        (&["cert", "show", "seal.key"], "seal.key: has no certificate: expected `-----BEGIN CERTIFICATE-----`"),
        (
            &["cert", "issue", "--name", "x", "--client"],
            "cannot read ./ca.pem: make an authority with `symbolon ca init --dir .`: No such file or directory (os error 2)",
        ),
        (&["status"], "nothing listens on symbolon.sock: is the process running with this configuration?"),
        (
            &["config", "check", "other-key.toml"],
            &format!(
                "other-key.toml:{line}: listener `public`: host `localhost`: the key in `key_file` (alice-key.pem) is not that of the \
                 certificate in `certificate_file` (server.pem)"
            ),
        ),
    ];
    std::fs::write(stack.path("unknown-key.toml"), "\nlisener = 1\n").expect("written");
    std::fs::write(stack.path("unknown-member.toml"), "[store]\nur = \"x\"\n").expect("written");
    for (arguments, message) in table {
        let said = symbolon(stack.dir.path(), arguments).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert_eq!(said.stderr, format!("error: {message}\n"), "{arguments:?}");
    }
    // Misuse is 2, with the usage.
    for arguments in [&["client", "add", "bob"][..], &["completions", "tcsh"], &["serv"], &["client", "show", &long]] {
        let said = symbolon(stack.dir.path(), arguments).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(said.stderr.starts_with("error: "), "{arguments:?}: {}", said.stderr);
    }
}

/// What `serve` and `gateway` say when they cannot start.
#[tokio::test]
async fn a_process_that_cannot_start_says_why() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let base = std::fs::read_to_string(stack.server_config()).expect("read");
    let mtls_port = stack.mtls_authority.rsplit_once(':').expect("host:port").1.to_owned();
    let exposed = stack.path("exposed.key");
    std::fs::copy(stack.path("seal.key"), &exposed).expect("copied");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    }
    std::fs::write(stack.path("garbled.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let replaced = |from: &str, to: &str| {
        assert!(base.contains(from), "{from}");
        base.replacen(from, to, 1)
    };
    let issuer_port = stack.issuer_authority.rsplit_once(':').expect("host:port").1;
    // Another port for the one listener that is not in question.
    let free = |text: String| text.replace(issuer_port, &crate::harness::ports::free().to_string());
    let elsewhere = |text: String| free(text.replace(&mtls_port, &crate::harness::ports::free().to_string()));
    let cases = [
        ("a taken port", free(base.clone()), vec![format!("port {mtls_port} is taken")]),
        ("no issuer", elsewhere(base.lines().skip(1).collect::<Vec<_>>().join("\n")), vec!["`issuer` is missing".into()]),
        ("http", elsewhere(replaced("issuer = \"https", "issuer = \"http")), vec!["`issuer` = \"http:".into(), "https".into()]),
        (
            "a missing master key",
            elsewhere(replaced("seal.key\"", "none.key\"")),
            vec!["there is no file".into(), "openssl rand -base64 32".into()],
        ),
        (
            "an exposed master key",
            elsewhere(replaced("seal.key\"", "exposed.key\"")),
            vec!["may be read by others".into(), "chmod 600".into()],
        ),
        ("a missing authority", elsewhere(replaced("client-ca.pem", "none.pem")), vec!["[anchor_set]".into(), "none.pem".into()]),
        (
            "a garbled authority",
            elsewhere(replaced("client-ca.pem", "garbled.pem")),
            vec!["[anchor_set]".into(), "garbled.pem".into()],
        ),
        ("a leaf as authority", elsewhere(replaced("client-ca.pem", "alice.pem")), vec!["[anchor_set]".into(), "alice".into()]),
        (
            "an unknown anchor set",
            elsewhere(replaced("anchor_set = \"clients\"", "anchor_set = \"nope\"")),
            vec!["`nope`".into()],
        ),
        ("a missing certificate", elsewhere(replaced("\"server.pem\"", "\"none.pem\"")), vec!["none.pem".into()]),
    ];
    for (what, text, words) in cases {
        let name = format!("{}.toml", what.replace(' ', "-"));
        std::fs::write(stack.path(&name), text).expect("written");
        let said = symbolon(stack.dir.path(), &["serve", "--config", &name]).await;
        assert_eq!(said.code, Some(1), "{what}: {}", said.stderr);
        let last = said.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && !said.stderr.contains("panicked"), "{what}: {}", said.stderr);
        for word in words {
            assert!(last.contains(&word), "{what}: `{word}` is not in: {last}");
        }
    }
}

/// `ca init`, `cert issue`, `cert show`: what they make is what a client needs.
#[tokio::test]
async fn the_development_authority_issues_what_clients_need() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = async |arguments: &[&str]| symbolon(dir.path(), arguments).await;
    assert_eq!(run(&["ca", "init", "--dir", "pki"]).await.ok(), "pki/ca.pem\npki/ca-key.pem\n");
    let issued = run(&[
        "cert",
        "issue",
        "--dir",
        "pki",
        "--name",
        "robot",
        "--client",
        "--subject",
        "CN=robot,O=Example\\, Inc.",
        "--dns",
        "robot.example",
        "--uri",
        "spiffe://example/robot",
        "--ip",
        "192.0.2.7",
        "--email",
        "robot@example.com",
    ])
    .await
    .ok();
    assert!(issued.starts_with("pki/robot.pem\npki/robot-key.pem\nx5t#S256  "), "{issued}");
    let shown = run(&["cert", "show", "pki/robot.pem"]).await.ok();
    let thumbprint = issued.trim_end().rsplit_once(' ').expect("a thumbprint").1;
    for line in [
        "subject       CN=robot,O=Example\\, Inc.",
        "issuer        CN=Symbolon development CA",
        &format!("x5t#S256      {thumbprint}"),
        "SAN DNS       robot.example",
        "SAN URI       spiffe://example/robot",
        "SAN IP        192.0.2.7",
        "SAN e-mail    robot@example.com",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(dir.path().join(name)).expect("a file").permissions().mode() & 0o777
    };
    assert_eq!((mode("pki/ca-key.pem"), mode("pki/robot-key.pem")), (0o600, 0o600));
    // Nothing is overwritten.
    let before = std::fs::read(dir.path().join("pki/ca-key.pem")).expect("read");
    let message = "error: pki/ca-key.pem exists and is not overwritten: move it away or choose another name\n";
    assert_eq!(run(&["ca", "init", "--dir", "pki"]).await.failed(), message);
    let message = "error: pki/robot-key.pem exists and is not overwritten: move it away or choose another name\n";
    assert_eq!(run(&["cert", "issue", "--dir", "pki", "--name", "robot", "--client"]).await.failed(), message);
    assert_eq!(std::fs::read(dir.path().join("pki/ca-key.pem")).expect("read"), before);
    // A certificate without its key is given no other key.
    std::fs::create_dir(dir.path().join("half")).expect("a directory");
    std::fs::copy(dir.path().join("pki/ca.pem"), dir.path().join("half/ca.pem")).expect("copied");
    let message = "error: half/ca.pem exists and is not overwritten: move it away or choose another name\n";
    assert_eq!(run(&["ca", "init", "--dir", "half"]).await.failed(), message);
    assert!(!dir.path().join("half/ca-key.pem").exists());
    // Another program agrees.
    let verified = crate::harness::command::run(
        dir.path(),
        "openssl",
        &["verify", "-purpose", "sslclient", "-CAfile", "pki/ca.pem", "pki/robot.pem"],
    )
    .await;
    assert_eq!(verified.ok(), "pki/robot.pem: OK\n");
}

/// `config check` says ok of a good file and starts nothing; `config print` shows each value with its source; `config reference` and
/// `completions` print.
#[tokio::test]
async fn configurations_are_checked_and_printed() {
    let stack = Setup::default().prepare("sqlite:symbolon.db".into()).await;
    let run = async |arguments: &[&str]| symbolon(stack.dir.path(), arguments).await;
    let before = std::fs::read_dir(stack.dir.path()).expect("a directory").count();
    assert_eq!(run(&["config", "check", "symbolon.toml"]).await.ok(), "symbolon.toml: ok\n");
    assert_eq!(run(&["config", "check", "--config", "gateway.toml"]).await.ok(), "gateway.toml: ok\n");
    assert_eq!(std::fs::read_dir(stack.dir.path()).expect("a directory").count(), before, "nothing was written");
    let printed = run(&["config", "print"]).await.ok();
    assert!(printed.contains(&format!("issuer = \"https://{}\"  # symbolon.toml:1\n", stack.issuer_authority)), "{printed}");
    assert!(printed.contains("wait_seconds = 5  # default\n"), "{printed}");
    // What is printed is a configuration: it can be read again, and says the same.
    std::fs::write(stack.path("printed.toml"), &printed).expect("written");
    assert_eq!(run(&["config", "check", "printed.toml"]).await.ok(), "printed.toml: ok\n");
    let reference = run(&["config", "reference"]).await.ok();
    for key in ["mtls_url", "access_token_lifetime_seconds", "max_revocation_staleness_seconds"] {
        assert!(reference.contains(key), "{key}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell]).await.ok().contains("introspect")
                || run(&["completions", shell]).await.ok().contains("demo")
        );
    }
}

/// `status` and `explain` of a running process: the private reason of a request by the id that its caller was told.
#[tokio::test]
async fn a_running_process_can_be_asked() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let run = async |arguments: &[&str]| symbolon(stack.dir.path(), arguments).await;
    assert!(run(&["status"]).await.ok().contains("ready"));
    assert!(run(&["status", "--config", "gateway.toml"]).await.ok().contains("ready"));
    let answer = stack.at_gateway(&stack.mallory, &token).await;
    let explained = run(&["explain", "--config", "gateway.toml", &answer.request_id()]).await.ok();
    assert!(explained.contains("binding_certificate_mismatch"), "{explained}");
    assert!(explained.contains(token::claims(&token)["jti"].as_str().expect("jti")), "{explained}");
    let unknown = run(&["explain", "nonsense"]).await.failed();
    assert_eq!(unknown, "error: request `nonsense` is not among the recent ones; the audit trail keeps them all\n");
}
