//! Files are read again without a restart and without dropping a connection: all of them, or none.

use std::time::{Duration, Instant};

use crate::harness::process::Process;
use crate::harness::{Authority, Call, Http, Leaf, Setup, Stack, command::symbolon};

const RELOAD: [&str; 3] = ["reload", "--config", "symbolon.toml"];

fn token_request(client_id: &str) -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client_id)])
}

/// An authority that is taken away stops the next request of a connection that was there before, and every new one; TLS sessions
/// from before are not resumed. Given back, everything works again, on the same connection.
#[tokio::test]
async fn an_authority_taken_away_is_gone_for_connections_that_were_there() {
    let stack = Stack::start().await;
    let alice = stack.caller(&stack.alice).prepared();
    let mut before = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(before.send(&token_request("alice")).await.status, 200);
    let mut resuming = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert_eq!(resuming.send(&token_request("alice")).await.status, 200);
    assert!(resuming.resumed, "sessions are resumed where nothing changed");

    // The other authority has the same name.
    let other = Authority::new("Client CA");
    std::fs::write(stack.path("client-ca.pem"), &other.pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    let answer = before.send(&token_request("alice")).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{}", answer.text());
    assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_signature", "the name fits, the key does not");
    let mut after = alice.connect(&stack.mtls_authority).await.expect("a connection");
    assert!(!after.resumed, "no session outlives a reload");
    assert_eq!(after.send(&token_request("alice")).await.status, 401);
    // Whoever the new authority vouches for is let in.
    let impostor = other.issue(Leaf::client("alice"));
    assert_eq!(stack.ask(&impostor, &[]).await.status, 200);

    std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert_eq!(before.send(&token_request("alice")).await.status, 200);
}

/// A file that cannot be read leaves everything as it was, and the command, the audit trail and the metric say so.
#[tokio::test]
async fn a_garbled_file_changes_nothing() {
    let stack = Stack::start().await;
    for (name, text) in [("client-ca.pem", "garbled"), ("client-ca.pem", ""), ("server.pem", "garbled")] {
        let path = stack.path(name);
        let good = std::fs::read(&path).expect(name);
        std::fs::write(&path, text).expect("written");
        let said = symbolon(stack.dir.path(), &RELOAD).await.failed();
        assert!(said.contains(name), "{said}");
        assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "{name}");
        std::fs::write(&path, good).expect("written");
    }
    let failures = || {
        let trail = std::fs::read_to_string(stack.path("server-audit.jsonl")).unwrap_or_default();
        trail.matches("\"event\":\"reload_failed\"").count()
    };
    for _ in 0..200 {
        if failures() >= 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // More when the watcher came between.
    assert!(failures() >= 3);
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200);
}

/// A key that is garbled alone or another's, a revocation list that is gone, garbled or somebody else's, an intermediate that is gone or none: the file
/// is named, and everything stays as it was, also what else was changed at the same time. Another intermediate is another path.
#[tokio::test]
async fn each_file_of_no_use_is_named_and_nothing_else_changes() {
    let anchors = "files = [\"client-ca.pem\"]".to_owned();
    let more = "crl_files = [\"ca.crl\"]\nrevocation = \"soft\"\nintermediate_files = [\"between.pem\"]";
    let setup = Setup {
        server_changes: vec![(anchors.clone(), format!("{anchors}\n{more}"))],
        server: "\n[reload]\nwatch_files = false\n".into(),
        without_gateway: true,
        ..Setup::default()
    };
    let files = [("ca.crl", "placeholder"), ("between.pem", "placeholder")];
    let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &files).await;
    let between = stack.client_ca.intermediate("Between");
    // Leaves the intermediate to the server.
    let mut bob = between.issue(Leaf::client("alice"));
    bob.chain.truncate(1);
    std::fs::write(stack.path("between.pem"), &between.pem).expect("written");
    let list = stack.client_ca.revocation_list(&[&stack.mallory.chain[0]], 3_600);
    std::fs::write(stack.path("ca.crl"), list).expect("written");
    stack.start_server().await;
    let first = shown(&stack).await;
    let mut open = stack.caller(&bob).connect(&stack.mtls_authority).await.expect("a connection");
    let twin = Authority::new("Client CA");
    let other_key = std::fs::read_to_string(stack.path("alice-key.pem")).expect("a key");
    let impostor = twin.issue(Leaf::client("alice"));
    let others_list = Authority::new("Client CA").revocation_list(&[], 3_600);
    let table = [
        ("server-key.pem", Some("garbled")),
        ("server-key.pem", Some(other_key.as_str())),
        ("ca.crl", None),
        ("ca.crl", Some("garbled")),
        ("ca.crl", Some(others_list.as_str())),
        ("between.pem", None),
        ("between.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ];
    for (number, (name, text)) in table.into_iter().enumerate() {
        let path = stack.path(name);
        let good = std::fs::read_to_string(&path).expect(name);
        std::fs::write(stack.path("client-ca.pem"), format!("{}{}", stack.client_ca.pem, twin.pem)).expect("written");
        match text {
            Some(text) => std::fs::write(&path, text).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
        let said = symbolon(stack.dir.path(), &RELOAD).await.failed();
        assert!(said.contains(name), "{name}: {said}");
        let started = Instant::now();
        while failures(&stack) < number + 1 {
            assert!(started.elapsed() < Duration::from_secs(10), "{name}: no alarm");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(open.send(&token_request("alice")).await.status, 200, "{name}: an open connection");
        for (identity, expected) in [(&bob, ""), (&stack.alice, ""), (&stack.mallory, "certificate_revoked")] {
            assert_eq!(stack.verdict(&stack.ask(identity, &[]).await).await.2, expected, "{name}: {}", identity.name);
        }
        assert_eq!(stack.ask(&impostor, &[]).await.status, 401, "{name}: what was good of the files");
        assert_eq!(shown(&stack).await, first, "{name}");
        std::fs::write(&path, good).expect("written");
        std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
    }
    // The name is the same, the key another: no path any more, on the connection that was there and on new ones.
    std::fs::write(stack.path("between.pem"), &stack.client_ca.intermediate("Between").pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    let answer = open.send(&token_request("alice")).await;
    let reason = stack.verdict(&answer).await.2;
    assert!(["certificate_signature", "certificate_unknown_issuer"].contains(&reason.as_str()), "{reason}");
    assert_eq!(stack.ask(&bob, &[]).await.status, 401);
    assert_eq!(stack.ask(&stack.alice, &[]).await.status, 200, "who needs none");
    std::fs::write(stack.path("between.pem"), &between.pem).expect("written");
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert_eq!(open.send(&token_request("alice")).await.status, 200, "the one thing corrected");
}

/// SIGHUP reads everything again, where nobody looks whether files have changed; a file that is of no use then changes nothing.
#[tokio::test]
async fn a_hangup_reads_the_files_again() {
    let settings = "\n[reload]\nwatch_files = false\n";
    let stack = Setup { server: settings.into(), without_gateway: true, ..Setup::default() }.start().await;
    let first = shown(&stack).await;
    let mut open = stack.caller(&stack.alice).connect(&stack.mtls_authority).await.expect("a connection");
    let process = stack.server.as_ref().expect("it runs").id().to_string();
    let hang_up = || {
        let status = std::process::Command::new("kill").args(["-HUP", &process]).status();
        assert!(status.expect("kill").success());
    };
    let renewed = stack.server_ca.issue(Leaf::server(&["localhost", "as.example"]));
    renewed.write(stack.dir.path());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(shown(&stack).await, first, "nobody has said so yet");
    hang_up();
    shows(&stack, &renewed.thumbprint()).await;
    assert_eq!(open.send(&token_request("alice")).await.status, 200, "open connections stay");
    std::fs::write(stack.path("client-ca.pem"), "garbled").expect("written");
    hang_up();
    let started = Instant::now();
    while failures(&stack) == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "no alarm");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(open.send(&token_request("alice")).await.status, 200);
    std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
    hang_up();
    let started = Instant::now();
    while open.send(&token_request("alice")).await.status == 200 {
        assert!(started.elapsed() < Duration::from_secs(10), "the authority is still accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing starts with a certificate, key or authority's file that is missing, empty or garbled, or half of a pair: there is nothing to fall back
/// upon, least of all the system's authorities.
#[tokio::test]
async fn nothing_starts_with_a_file_that_is_of_no_use() {
    let stack = Setup::default().prepare("sqlite:symbolon.db".into()).await;
    let other = std::fs::read(stack.path("alice-key.pem")).expect("a key");
    for name in ["client-ca.pem", "server.pem", "server-key.pem"] {
        let path = stack.path(name);
        let good = std::fs::read(&path).expect(name);
        let mut cases = vec![("missing", None), ("empty", Some(vec![])), ("garbled", Some(b"garbled".to_vec()))];
        if name == "server-key.pem" {
            cases.push(("another's", Some(other.clone())));
        }
        for (what, bytes) in cases {
            match bytes {
                None => std::fs::remove_file(&path).expect("removed"),
                Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            }
            if path.exists() {
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
            }
            for (command, config) in [("serve", stack.server_config()), ("gateway", stack.gateway_config())] {
                let problem =
                    Process::try_start(command, &config).await.err().unwrap_or_else(|| panic!("{name} {what}: started"));
                assert!(problem.contains(name), "{name} {what}: {problem}");
            }
        }
        std::fs::write(&path, good).expect("written");
    }
    let server = Process::try_start("serve", &stack.server_config()).await.expect("the one thing corrected");
    let gateway = Process::try_start("gateway", &stack.gateway_config()).await.expect("the one thing corrected");
    gateway.stop().await;
    server.stop().await;
}

/// The thumbprint of the certificate that the server shows now.
async fn shown(stack: &Stack) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let stream = stack.nobody().raw(&stack.mtls_authority).await.expect("a connection");
    let certificate = &stream.get_ref().1.peer_certificates().expect("certificates")[0];
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(certificate))
}

/// Waits until the server shows this certificate.
async fn shows(stack: &Stack, thumbprint: &str) {
    let started = Instant::now();
    while shown(stack).await != thumbprint {
        assert!(started.elapsed() < Duration::from_secs(10), "another certificate is shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn failures(stack: &Stack) -> usize {
    let trail = std::fs::read_to_string(stack.path("server-audit.jsonl")).unwrap_or_default();
    trail.matches("\"event\":\"reload_failed\"").count()
}

/// Nobody needs to say that files have changed. A certificate whose key is not there yet, an empty file, or none: the old ones stay, one
/// alarm is raised, and what was made right is taken.
#[tokio::test]
async fn changed_files_are_read_without_being_told() {
    let metrics =
        "\n[[listener]]\nname = \"metrics\"\naddress = \"127.0.0.1:{metrics_port}\"\nservices = [\"metrics\"]\nhost = []\n";
    let port = crate::harness::ports::free();
    let stack = Setup { server: metrics.replace("{metrics_port}", &port.to_string()), without_gateway: true, ..Setup::default() };
    let stack = stack.start().await;
    let first = shown(&stack).await;
    let mut open = stack.caller(&stack.alice).connect(&stack.mtls_authority).await.expect("a connection");
    let renewed = stack.server_ca.issue(Leaf::server(&["localhost", "as.example"]));
    let key = std::fs::read_to_string(stack.path("server-key.pem")).expect("a key");
    let gauges = || async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    };

    // Half of a pair, for longer than anybody needs to write the other half.
    std::fs::write(stack.path("server.pem"), &renewed.certificate_pem).expect("written");
    let started = Instant::now();
    while failures(&stack) == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "no alarm");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shown(&stack).await, first);
    assert!(gauges().await.contains("symbolon_reload_failing 1"));
    crate::harness::authority::write_private(&stack.path("server-key.pem"), &renewed.key_pem);
    shows(&stack, &renewed.thumbprint()).await;
    let text = gauges().await;
    assert!(
        text.contains("symbolon_reload_failing 0") && text.contains("symbolon_reload_failures_total 1"),
        "one alarm, and over"
    );
    for gauge in [
        "symbolon_certificate_not_after_seconds{listener=\"mtls\",host=\"127.0.0.1\"} 1",
        "symbolon_anchor_not_after_seconds{anchor_set=\"clients\",",
    ] {
        assert!(text.contains(gauge), "{gauge} is not in\n{text}");
    }
    // Quickly one after the other: no alarm at all.
    std::fs::write(stack.path("server-key.pem"), &key).expect("written");
    std::fs::rename(stack.path("server.pem"), stack.path("server-old.pem")).expect("renamed");
    let again = stack.server_ca.issue(Leaf::server(&["localhost", "as.example"]));
    again.write(stack.dir.path());
    shows(&stack, &again.thumbprint()).await;
    assert_eq!(failures(&stack), 1);
    assert_eq!(open.send(&token_request("alice")).await.status, 200, "open connections know nothing of all that");

    // Trust follows its file too, on connections that are open.
    std::fs::remove_file(stack.path("client-ca.pem")).expect("removed");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(failures(&stack), 2);
    assert_eq!(open.send(&token_request("alice")).await.status, 200, "a missing file takes nobody's trust away");
    std::fs::write(stack.path("client-ca.pem"), Authority::new("Other").pem).expect("written");
    let started = Instant::now();
    while open.send(&token_request("alice")).await.status == 200 {
        assert!(started.elapsed() < Duration::from_secs(10), "still trusted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How Kubernetes changes a mounted secret: the files are links through `..data`, which is a link that is swapped.
#[tokio::test]
async fn a_swapped_symbolic_link_is_a_change() {
    use std::os::unix::fs::symlink;
    let changes = ["server.pem", "server-key.pem"].map(|name| (format!("\"{name}\""), format!("\"secret/{name}\"")));
    let setup = Setup { server_changes: changes.to_vec(), without_gateway: true, ..Setup::default() };
    let mut stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let secret = stack.path("secret");
    let put = |stack: &Stack, version: &str| {
        let identity = stack.server_ca.issue(Leaf::server(&["localhost", "as.example"]));
        std::fs::create_dir_all(secret.join(version)).expect("a directory");
        identity.write(&secret.join(version));
        symlink(version, secret.join("..data_tmp")).expect("a link");
        std::fs::rename(secret.join("..data_tmp"), secret.join("..data")).expect("swapped");
        identity.thumbprint()
    };
    let first = put(&stack, "..2026_01");
    for name in ["server.pem", "server-key.pem"] {
        symlink(format!("..data/{name}"), secret.join(name)).expect("a link");
    }
    stack.start_server().await;
    assert_eq!(shown(&stack).await, first);
    let second = put(&stack, "..2026_02");
    std::fs::remove_dir_all(secret.join("..2026_01")).expect("removed");
    shows(&stack, &second).await;
    assert_eq!(failures(&stack), 0);
}

/// A reload that changes nothing of a host leaves its sessions alone; one that changes another host's certificate too.
#[tokio::test]
async fn a_reload_ends_only_the_sessions_of_what_changed() {
    let own = (
        "names = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"".to_owned(),
        "names = [\"as.example\"]\ncertificate_file = \"as.pem\"\nkey_file = \"as-key.pem\"".to_owned(),
    );
    let setup = Setup {
        server_changes: vec![own],
        server: "\n[reload]\nwatch_files = false\n".into(),
        without_gateway: true,
        ..Setup::default()
    };
    let mut stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let renew = |stack: &Stack| {
        let identity = stack.server_ca.issue(Leaf { name: "as".into(), ..Leaf::server(&["as.example"]) });
        identity.write(stack.dir.path());
    };
    renew(&stack);
    stack.start_server().await;
    let alice = stack.caller(&stack.alice).prepared();
    let resumes = async |authority: &str| {
        let mut connection = alice.connect(authority).await.expect("a connection");
        assert_eq!(connection.send(&token_request("alice")).await.status, 200);
        connection.resumed
    };
    for authority in [&stack.mtls_authority, &stack.as_authority] {
        assert!(!resumes(authority).await);
        assert!(resumes(authority).await);
    }
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert!(resumes(&stack.mtls_authority).await && resumes(&stack.as_authority).await, "nothing changed");
    renew(&stack);
    symbolon(stack.dir.path(), &RELOAD).await.ok();
    assert!(resumes(&stack.mtls_authority).await, "nothing of this host changed");
    assert!(!resumes(&stack.as_authority).await, "another certificate");
}

/// While certificates, keys and anchors are read again under load, on connections that stay and on ones that come and go, over HTTP/1.1
/// and HTTP/2, no request is lost and none is answered otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_drops_no_request() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let stack = Setup { gateway: "\n[reload]\nwatch_files = false\n".into(), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let call = Call::get("/accounts").bearer(&token);
    let load = [(Http::V1, true), (Http::V2, true), (Http::V1, false), (Http::V2, false)].map(|(http, stays)| {
        let (caller, authority, call) = (stack.caller(&stack.alice).http(http), stack.gateway_authority.clone(), call.clone());
        let (done, served) = (done.clone(), served.clone());
        tokio::spawn(async move {
            let mut connection = caller.connect(&authority).await.expect("a connection");
            while !done.load(Ordering::Relaxed) {
                if !stays {
                    connection = caller.connect(&authority).await.expect("a connection");
                }
                let answer = connection.try_send(&call).await;
                let answer = answer.unwrap_or_else(|error| panic!("{http:?}, stays: {stays}: {error}"));
                assert_eq!(answer.status, 200, "{http:?}, stays: {stays}: {}", answer.text());
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let mut before = 0;
    for round in 0..8 {
        let renewed = stack.server_ca.issue(Leaf::server(&["localhost", "as.example", "public.example"]));
        renewed.write(stack.dir.path());
        // The same authority, and one more beside it every second time: trust itself changes too.
        let other = if round % 2 == 0 { Authority::new("Client CA").pem } else { String::new() };
        std::fs::write(stack.path("client-ca.pem"), format!("{}{other}", stack.client_ca.pem)).expect("written");
        symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
        let stream = stack.nobody().raw(&stack.gateway_authority).await.expect("a connection");
        let shown = &stream.get_ref().1.peer_certificates().expect("certificates")[0];
        assert_eq!(shown.as_ref(), renewed.chain[0].as_ref(), "the new certificate is shown");
        let started = Instant::now();
        while served.load(Ordering::Relaxed) < before + 20 {
            assert!(started.elapsed() < Duration::from_secs(20), "nothing is served any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        before = served.load(Ordering::Relaxed);
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no request is lost");
    }
    assert_eq!(stack.upstream.requests().len(), served.load(Ordering::Relaxed));
}
