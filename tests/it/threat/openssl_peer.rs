//! TLS as OpenSSL sees it, from both ends: sessions of every kind, renegotiation, compression and early data with `openssl s_client`; suites and groups of
//! upstreams with `openssl s_server`.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::passed;
use crate::harness::command::symbolon;
use crate::harness::{Authority, Call, Leaf, Setup, Stack, left_out, ports};

fn has_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !found {
        left_out("tests with OpenSSL at the other end: there is no openssl");
    }
    found
}

/// What `openssl s_client` says that sends a request, until the server has closed.
async fn s_client(stack: &Stack, authority: &str, name: &str, more: &[&str], request: &str) -> String {
    let address = format!("127.0.0.1:{}", authority.rsplit_once(':').expect("a port").1);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", name, "-ign_eof"]).args(more);
    command.current_dir(stack.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("openssl");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(request.as_bytes()).await.expect("written");
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await;
    let output = output.expect("it ends").expect("its output");
    [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

fn status(said: &str) -> u16 {
    let line = said.split("HTTP/1.1 ").nth(1).unwrap_or_else(|| panic!("no answer: {said}"));
    line.get(..3).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn is_resumed(said: &str) -> bool {
    let (reused, new) = (said.contains("\nReused, TLS"), said.contains("\nNew, TLS"));
    assert!(reused != new, "{said}");
    reused
}

/// A second host of the gateway's listener that asks for certificates, of another anchor set.
async fn two_hosts() -> Stack {
    let host = "\n[[listener.host]]\nnames = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n\
                client_certificate = \"request\"\nanchor_set = \"others\"\n\n[anchor_set.others]\nfiles = [\"others-ca.pem\"]\n";
    let mark = "[anchor_set.clients]";
    let changes = vec![(mark.into(), format!("{host}\n{mark}"))];
    let mut stack = Setup { gateway_changes: changes, ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    std::fs::write(stack.path("others-ca.pem"), Authority::new("Others CA").pem).expect("written");
    stack.start_server().await;
    stack.start_gateway().await;
    stack.alice.write(stack.dir.path());
    stack
}

const ALICE: [&str; 4] = ["-cert", "alice.pem", "-key", "alice-key.pem"];

/// RFC 5246 §7.3 (session ids), RFC 5077 (tickets), RFC 8446 §2.2 (PSK): all three are offered and resumed under the policy that they were made
/// under, with the certificate of their first handshake; and never under another host's, nor after a reload that changed whom it accepts,
/// whichever way round. Without resumption there is no certificate, and with one it is judged anew.
#[tokio::test]
async fn ids_tickets_and_psks_are_resumed_under_their_own_policy_alone() {
    if !has_openssl() {
        return;
    }
    let stack = two_hosts().await;
    let authority = stack.gateway_authority.clone();
    let token = stack.token(&stack.alice).await;
    let request =
        format!("GET /accounts HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    let reload = async || symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
    for (kind, version) in [("ids", &["-tls1_2", "-no_ticket"][..]), ("tickets", &["-tls1_2"]), ("PSKs", &["-tls1_3"])] {
        let with = |more: &[&'static str]| [version, more].concat();
        let shown = |more: &[&'static str]| [version, &ALICE, more].concat();
        let send = async |name: &str, more: Vec<&str>| s_client(&stack, &authority, name, &more, &request).await;

        let first = send("localhost", shown(&["-sess_out", "own.session"])).await;
        assert!(status(&first) == 200 && !is_resumed(&first), "{kind}: {first}");
        let ticket = first.contains("TLS session ticket:");
        let id = first.lines().find_map(|line| line.trim().strip_prefix("Session-ID: ")).unwrap_or_default();
        match kind {
            "ids" => assert!(!ticket && id.len() == 64, "{kind}: {first}"),
            _ => assert!(ticket, "{kind}: {first}"),
        }
        assert!(first.contains("Compression: NONE"), "{first}");
        assert_eq!(stack.upstream.requests().len(), 1);
        stack.upstream.forget();
        // Under its own policy: without showing the certificate again, it is alice's.
        let again = send("localhost", with(&["-sess_in", "own.session"])).await;
        assert!(status(&again) == 200 && is_resumed(&again), "{kind}: {again}");
        assert_eq!(stack.upstream.requests().len(), 1);
        stack.upstream.forget();

        // Into another policy, and out of it.
        let other = send("as.example", with(&["-sess_in", "own.session"])).await;
        assert!(!is_resumed(&other) && status(&other) == 421, "{kind}: {other}");
        let other = send("as.example", shown(&["-sess_out", "other.session"])).await;
        assert!(!is_resumed(&other) && status(&other) == 421, "{kind}: {other}");
        let back = send("as.example", with(&["-sess_in", "other.session"])).await;
        assert!(is_resumed(&back), "{kind}: it is good where it is from, or what follows shows nothing: {back}");
        for session in ["other.session", "own.session"] {
            let name = if session == "own.session" { "public.example" } else { "localhost" };
            let elsewhere = send(name, with(&["-sess_in", session])).await;
            assert!(!is_resumed(&elsewhere), "{kind}: {elsewhere}");
            assert_eq!(
                status(&elsewhere),
                if name == "localhost" { 401 } else { 421 },
                "{kind}: nobody's certificate: {elsewhere}"
            );
        }
        stack.upstream.assert_untouched();

        // After a reload: another authority of the same name.
        std::fs::write(stack.path("client-ca.pem"), Authority::new("Client CA").pem).expect("written");
        reload().await;
        for more in [with(&["-sess_in", "own.session"]), shown(&["-sess_in", "own.session"])] {
            let after = send("localhost", more).await;
            assert!(!is_resumed(&after) && status(&after) == 401, "{kind}: {after}");
        }
        stack.upstream.assert_untouched();
        let untouched = send("as.example", with(&["-sess_in", "other.session"])).await;
        assert!(is_resumed(&untouched), "{kind}: of a host that stayed as it was: {untouched}");
        std::fs::write(stack.path("client-ca.pem"), &stack.client_ca.pem).expect("written");
        reload().await;
        let late = send("localhost", with(&["-sess_in", "own.session"])).await;
        assert!(!is_resumed(&late) && status(&late) == 401, "{kind}: the session of before is gone for good: {late}");
        // The one thing corrected.
        let good = send("localhost", shown(&[])).await;
        assert_eq!(status(&good), 200, "{kind}: {good}");
        stack.upstream.forget();
    }
}

/// RFC 8446 §4.3.2, §4.4.2.4, RFC 5246 §7.4.4: each host hints at its own authorities, by the name in the hello. A handshake fails for one reason
/// alone, a missing certificate at a host that requires one; a bad one is told in HTTP.
#[tokio::test]
async fn hosts_hint_at_their_own_authorities_and_only_a_missing_certificate_fails_a_handshake() {
    if !has_openssl() {
        return;
    }
    let host = "\n[[listener.host]]\nnames = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n\
                client_certificate = \"require\"\nanchor_set = \"others\"\n\n[anchor_set.others]\nfiles = [\"others-ca.pem\"]\n";
    let mark = "[anchor_set.clients]";
    let route = "\n[[route]]\nname = \"required\"\nhost = \"as.example:{gateway_port}\"\npath = \"/accounts\"\nupstream = \"{upstream}\"\n\
                 authorization_server = \"test\"\naudience = \"{accounts}\"\ncertificate_mode = \"enforce\"\n";
    let changes = vec![(mark.into(), format!("{host}\n{mark}"))];
    let setup = Setup { gateway_changes: changes, gateway: route.into(), ..Setup::default() };
    let others = Authority::new("Others CA");
    let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("others-ca.pem", &others.pem)]).await;
    stack.start_server().await;
    stack.start_gateway().await;
    let port = stack.gateway_authority.rsplit_once(':').expect("a port").1.to_owned();
    stack.alice.write(stack.dir.path());
    let expired = Leaf { name: "expired".into(), not_after: -60, ..Leaf::client("alice") };
    others.issue(expired).write(stack.dir.path());
    others.issue(Leaf { name: "good".into(), ..Leaf::client("alice") }).write(stack.dir.path());
    let token = stack.token(&stack.alice).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let ask = async |name: &str, who: Option<&str>| {
            let files = who.map(|who| (format!("{who}.pem"), format!("{who}-key.pem")));
            let mut more = vec![version];
            if let Some((certificate, key)) = &files {
                more.extend(["-cert", certificate, "-key", key]);
            }
            let authorization = if who == Some("alice") { format!("Authorization: Bearer {token}\r\n") } else { String::new() };
            let request = format!("GET /accounts HTTP/1.1\r\nHost: {name}:{port}\r\n{authorization}Connection: close\r\n\r\n");
            s_client(&stack, &stack.gateway_authority, name, &more, &request).await
        };
        for (name, own, foreign) in
            [("localhost", "CN = Client CA", "CN = Others CA"), ("as.example", "CN = Others CA", "CN = Client CA")]
        {
            let said = ask(name, Some("good")).await;
            let hints = said.split("Acceptable client certificate CA names").nth(1).unwrap_or_else(|| panic!("{said}"));
            let hints = hints.split("Requested Signature Algorithms").next().unwrap_or_default();
            let hints = hints.split("Client Certificate Types").next().unwrap_or_default();
            assert!(hints.contains(own) && !hints.contains(foreign), "{name} {version}: {hints}");
        }
        let said = ask("public.example", Some("good")).await;
        assert!(said.contains("No client certificate CA names sent"), "{version}: {said}");
        let said = ask("as.example", None).await;
        assert!(!said.contains("HTTP/1.1 ") && said.contains("alert"), "{version}: {said}");
        for (who, reason) in [("expired", "token_absent"), ("alice", "certificate_unknown_issuer"), ("good", "token_absent")] {
            let said = ask("as.example", Some(who)).await;
            assert_eq!(status(&said), 401, "{who} {version}: {said}");
            let id = said.to_lowercase().split("x-request-id: ").nth(1).and_then(|rest| Some(rest.lines().next()?.len()));
            let place = said.to_lowercase().find("x-request-id: ").expect("an id") + "x-request-id: ".len();
            let id = said.get(place..place + id.expect("an id")).expect("an id").trim().to_owned();
            assert_eq!(stack.reason_of(&id).await, reason, "{who} {version}");
        }
        assert_eq!(status(&ask("localhost", None).await), 401, "where one is only asked for, the handshake goes on without");
        stack.upstream.assert_untouched();
    }
}

/// RFC 5246 §7.2.2, RFC 9325 §3.5: a client that asks for another handshake on its connection gets none, and what it sends after is no request.
#[tokio::test]
async fn nobody_renegotiates() {
    if !has_openssl() {
        return;
    }
    let stack = Stack::start().await;
    stack.alice.write(stack.dir.path());
    let address = format!("127.0.0.1:{}", stack.gateway_authority.rsplit_once(':').expect("a port").1);
    let request = format!("GET /.well-known/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.gateway_authority);
    for (renegotiates, options) in [(false, &[][..]), (true, &[]), (true, &["-legacy_renegotiation"])] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-connect", &address, "-servername", "localhost"]).args(ALICE).args(options);
        command.current_dir(stack.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("openssl");
        let mut stdin = child.stdin.take().expect("piped");
        let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let mut said = Vec::new();
        while !said.windows(b"Verify return code".len()).any(|window| window == b"Verify return code") {
            assert!(stdout.read_buf(&mut said).await.expect("read") > 0, "it ended: {}", String::from_utf8_lossy(&said));
        }
        if renegotiates {
            stdin.write_all(b"R\n").await.expect("written");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // It may have been closed.
        let _ = stdin.write_all(request.as_bytes()).await;
        let mut errors = Vec::new();
        let rest = async { tokio::join!(stdout.read_to_end(&mut said), stderr.read_to_end(&mut errors)) };
        let is_over = tokio::time::timeout(Duration::from_secs(3), rest).await.is_ok();
        drop(stdin);
        let said = [said, errors].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect::<String>();
        assert!(is_over || renegotiates, "the connection does not end: {said}");
        assert_eq!(said.contains("HTTP/1.1 404"), !renegotiates, "{said}");
        assert_eq!(said.contains("RENEGOTIATING"), renegotiates, "{said}");
        // OpenSSL tells whom it has verified in each handshake.
        assert_eq!(said.matches("verify return:").count(), 3, "{said}");
    }
}

/// OpenSSL's session, made to say that the server allows early data.
fn allowing_early_data(pem: &str) -> String {
    let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let der = STANDARD.decode(base64).expect("base64");
    let length = |bytes: &[u8]| match bytes[1] {
        0x82 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        0x81 => (3, usize::from(bytes[2])),
        short => (2, usize::from(short)),
    };
    let (head, content) = length(&der);
    let mut fields = &der[head..head + content];
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while let [tag, ..] = fields {
        let (head, content) = length(fields);
        // `max_early_data` is [15].
        let side = if *tag < 0xaf { &mut before } else { &mut after };
        assert_ne!(*tag, 0xaf, "the server allows it by itself");
        side.extend_from_slice(&fields[..head + content]);
        fields = &fields[head + content..];
    }
    let content = [&before[..], b"\xaf\x04\x02\x02\x40\x00", &after].concat();
    let long = u16::try_from(content.len()).expect("short").to_be_bytes();
    let encoded = STANDARD.encode([&[0x30, 0x82][..], &long, &content].concat());
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN SSL SESSION PARAMETERS-----\n{}\n-----END SSL SESSION PARAMETERS-----\n", lines.join("\n"))
}

/// RFC 8446 §8, RFC 8470: no early data. Sessions allow none, and what a client sends early all the same is passed over: only what it sends after the
/// handshake is a request.
#[tokio::test]
async fn early_data_is_no_request() {
    if !has_openssl() {
        return;
    }
    let stack = Stack::start().await;
    stack.alice.write(stack.dir.path());
    let token = stack.token(&stack.alice).await;
    let authority = stack.gateway_authority.clone();
    let request = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
    };
    let first: Vec<&str> = [&["-tls1_3", "-sess_out", "own.session"][..], &ALICE].concat();
    let said = s_client(&stack, &authority, "localhost", &first, &request("/accounts/first")).await;
    assert!(status(&said) == 200 && said.contains("Max Early Data: 0"), "{said}");
    stack.upstream.forget();
    let session = std::fs::read_to_string(stack.path("own.session")).expect("a session");
    std::fs::write(stack.path("early.session"), allowing_early_data(&session)).expect("written");
    std::fs::write(stack.path("early"), request("/accounts/early")).expect("written");
    let early = ["-tls1_3", "-sess_in", "early.session", "-early_data", "early"];
    let said = s_client(&stack, &authority, "localhost", &early, &request("/accounts/late")).await;
    assert!(said.contains("Early data was rejected"), "it was not sent, or it was taken: {said}");
    assert_eq!(status(&said), 200, "{said}");
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    let requests = stack.upstream.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(format!("{requests:?}").contains("/accounts/late"), "{requests:?}");
}

/// Groups of clients, one at a time: X25519MLKEM768, X25519 and P-256, and no other; our order where a client has several.
#[tokio::test]
async fn three_groups_are_taken_and_no_other() {
    let stack = Stack::start().await;
    let port: u16 = stack.gateway_authority.rsplit_once(':').expect("a port").1.parse().expect("a number");
    let [hybrid, x25519, p256, p384] =
        [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1].map(|group| (group.name(), group));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let is_13 = version.version == rustls::ProtocolVersion::TLSv1_3;
        let table = [
            (vec![hybrid], Some(hybrid).filter(|_| is_13)),
            (vec![x25519], Some(x25519)),
            (vec![p256], Some(p256)),
            (vec![p384], None),
            (vec![p384, p256], Some(p256)),
            (vec![hybrid, x25519, p256], Some(if is_13 { hybrid } else { x25519 })),
        ];
        for (offered, expected) in table {
            let names: Vec<_> = offered.iter().map(|(name, _)| *name).collect();
            let mut roots = rustls::RootCertStore::empty();
            roots.add(stack.server_ca.certificate.clone()).expect("a root");
            let kx_groups = offered.into_iter().map(|(_, group)| group).collect();
            let provider = rustls::crypto::CryptoProvider { kx_groups, ..rustls::crypto::aws_lc_rs::default_provider() };
            let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]);
            let Ok(config) = config else {
                assert_eq!(names, [hybrid.0], "a group of TLS 1.3 alone");
                continue;
            };
            let config = config.with_root_certificates(roots).with_no_client_auth();
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
            let name = ServerName::try_from("localhost").expect("a name");
            let connected = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            let taken = connected.ok().and_then(|stream| Some(stream.get_ref().1.negotiated_key_exchange_group()?.name()));
            assert_eq!(taken, expected.map(|(name, _)| name), "{names:?} {:?}", version.version);
        }
    }
}

/// OpenSSL's server, until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Upstreams: TLS 1.2 and 1.3 with the AEAD suites and ECDHE, P-384 too. CBC, static RSA, finite-field Diffie-Hellman, CCM and older versions are refused,
/// and no request is sent.
#[tokio::test]
async fn upstreams_are_spoken_to_with_good_suites_alone() {
    if !has_openssl() {
        return;
    }
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    stack.server_ca.issue(Leaf { name: "ec".into(), ..Leaf::server(&["localhost"]) }).write(stack.dir.path());
    stack.server_ca.issue_rsa(Leaf { name: "rsa".into(), ..Leaf::server(&["localhost"]) }).write(stack.dir.path());
    // (what OpenSSL is told, its certificate, the suite that is agreed on)
    let table: &[(&str, &str, Option<&str>)] = &[
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "ec", Some("ECDHE-ECDSA-AES256-GCM-SHA384")),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ec", Some("ECDHE-ECDSA-AES128-GCM-SHA256")),
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "ec", Some("ECDHE-ECDSA-CHACHA20-POLY1305")),
        ("-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", "rsa", Some("ECDHE-RSA-AES256-GCM-SHA384")),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "rsa", Some("ECDHE-RSA-AES128-GCM-SHA256")),
        ("-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305", "rsa", Some("ECDHE-RSA-CHACHA20-POLY1305")),
        ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", "ec", Some("TLS_AES_256_GCM_SHA384")),
        ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", "ec", Some("TLS_AES_128_GCM_SHA256")),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "ec", Some("TLS_CHACHA20_POLY1305_SHA256")),
        ("-tls1_2 -groups P-384 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "ec", Some("ECDHE-ECDSA-AES256-GCM-SHA384")),
        ("-tls1_3 -groups P-384", "ec", Some("TLS_AES_256_GCM_SHA384")),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384", "ec", None),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", "rsa", None),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-SHA", "rsa", None),
        ("-tls1_2 -cipher AES256-GCM-SHA384", "rsa", None),
        ("-tls1_2 -cipher AES128-SHA", "rsa", None),
        ("-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384", "rsa", None),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-CCM", "ec", None),
        ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "ec", None),
        ("-tls1_3 -groups ffdhe2048", "ec", None),
        ("-tls1_3 -groups P-521", "ec", None),
        ("-tls1_1 -cipher ALL:@SECLEVEL=0", "rsa", None),
    ];
    let mut servers = Vec::new();
    let mut routes = String::new();
    for (number, (options, certificate, _)) in table.iter().enumerate() {
        let port = ports::free();
        let (file, key) = (format!("{certificate}.pem"), format!("{certificate}-key.pem"));
        let log = std::fs::File::create(stack.path(&format!("s_server-{number}.log"))).expect("a file");
        let mut command = std::process::Command::new("openssl");
        command.args(["s_server", "-accept", &port.to_string(), "-cert", &file, "-key", &key, "-www"]);
        command.args(options.split(' ')).current_dir(stack.dir.path()).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a file")).stdout(log);
        servers.push(Server(command.spawn().expect("openssl")));
        let started = Instant::now();
        let said = || std::fs::read_to_string(stack.path(&format!("s_server-{number}.log"))).unwrap_or_default();
        while !said().contains("ACCEPT") {
            assert!(started.elapsed() < Duration::from_secs(10), "{options}: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        routes += &stack.fill(&format!(
            r#"
[[route]]
name = "upstream-{number}"
host = "{{gateway_authority}}"
path = "/{number}"
upstream = "https://localhost:{port}"
upstream_ca_file = "server-ca.pem"
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
"#
        ));
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(stack.gateway_config()).expect("a file");
    file.write_all(routes.as_bytes()).expect("written");
    drop(file);
    stack.start_gateway().await;
    let token = stack.token(&stack.alice).await;
    let mut connection = stack.caller(&stack.alice).connect(&stack.gateway_authority).await.expect("a connection");
    passed(&stack, &connection.send(&Call::get("/accounts").bearer(&token)).await, "the token is good");
    for (number, (options, _, suite)) in table.iter().enumerate() {
        let answer = connection.send(&Call::get(&format!("/{number}")).bearer(&token)).await;
        match suite {
            Some(suite) => {
                assert_eq!(answer.status, 200, "{options}: {}", answer.text());
                // Its page tells the session.
                assert!(answer.text().contains(&format!("Cipher is {suite}")), "{options}: {}", answer.text());
            }
            None => {
                let verdict = stack.verdict(&answer).await;
                assert_eq!(verdict, (502, "upstream_error".into(), "upstream_unavailable".into()), "{options}");
            }
        }
    }
}
