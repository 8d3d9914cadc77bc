//! Stapling of our own certificates (RFC 6066 §8, RFC 8446 §4.4.2.1): what OpenSSL's client is shown, whatever responders say.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::ocsp::Responder;
use crate::harness::publisher::Publisher;
use crate::harness::{Authority, Identity, Leaf, Setup, Stack, command::symbolon, left_out, ports};

const GOOD: &[u8] = b"\x80\x00";
const UNKNOWN: &[u8] = b"\x82\x00";
const REVOKED: &[u8] = b"\xa1\x16\x18\x0f20260101000000Z\xa0\x03\x0a\x01\x01";
const HOUR: i64 = 3_600;

fn listener(port: u16, names: &[&str]) -> String {
    let host = |name: &&str| {
        format!(
            "\n[[listener.host]]\nnames = [\"{name}.example\"]\ncertificate_file = \"{name}-chain.pem\"\nkey_file = \"{name}-key.pem\"\n\
             ocsp_stapling = true\n"
        )
    };
    let hosts: String = names.iter().map(host).collect();
    format!("\n[[listener]]\nname = \"stapling\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"gateway\"]\n{hosts}")
}

/// A server's certificate that names a responder, and its files.
fn server(stack: &Stack, name: &str, url: String) -> Identity {
    let identity =
        stack.client_ca.issue(Leaf { name: name.into(), ocsp: Some(url), ..Leaf::server(&[&format!("{name}.example")]) });
    identity.write(stack.dir.path());
    let chain = format!("{}{}", identity.certificate_pem, stack.client_ca.pem);
    std::fs::write(stack.path(&format!("{name}-chain.pem")), chain).expect("written");
    identity
}

/// What `openssl s_client -status` is shown of an answer: `good`, or nothing. The handshake succeeds in any case.
async fn shown(port: u16, name: &str, version: &str) -> String {
    let (address, name) = (format!("127.0.0.1:{port}"), format!("{name}.example"));
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", &name, "-status", version]).stdin(Stdio::null());
    let said = command.output().await.expect("openssl");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("BEGIN CERTIFICATE") && !said.contains("Cipher is (NONE)"), "{name}: {said}");
    match (said.contains("OCSP response: no response sent"), said.split("Cert Status: ").nth(1)) {
        (true, None) => "nothing".into(),
        (false, Some(status)) => status.split_whitespace().next().unwrap_or_default().to_owned(),
        other => panic!("{other:?}: {said}"),
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn has_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !found {
        left_out("tests with OpenSSL at the other end: there is no openssl");
    }
    found
}

/// With OpenSSL's own responder: fetched ahead of the first client that asks, in TLS 1.2 and 1.3, and shown while the responder is down.
#[tokio::test]
async fn openssls_responder_is_stapled() {
    if !has_openssl() {
        return;
    }
    let (port, mut responder) = (ports::free(), Responder::new());
    let mut stack = Setup { gateway: listener(port, &["own"]), ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    let own = server(&stack, "own", responder.url());
    responder.start(&stack, &[(&own, "V")]).await;
    stack.start_server().await;
    stack.start_gateway().await;
    until("stapled", async || shown(port, "own", "-tls1_3").await == "good").await;
    responder.stop();
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(shown(port, "own", version).await, "good", "{version}");
    }
    // A reload makes nothing of it forgotten.
    symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
    assert_eq!(shown(port, "own", "-tls1_3").await, "good");
    // The certificate is another: the answer is not about it.
    server(&stack, "own", responder.url());
    symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(shown(port, "own", "-tls1_3").await, "nothing");
}

/// Only what is good, about this very certificate, signed by who may, and within its dates is shown; nothing that a responder does takes the
/// handshake down.
#[tokio::test]
async fn nothing_but_a_good_answer_is_stapled() {
    if !has_openssl() {
        return;
    }
    let names = ["good", "delegate", "short", "revoked", "unknown", "other", "signer", "past", "garbage", "missing", "down"];
    let (port, publisher) = (ports::free(), Publisher::start_plain().await);
    let mut stack = Setup { gateway: listener(port, &names), ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    let at = |name: &str| format!("http://127.0.0.1:{}/{name}", if name == "down" { 1 } else { publisher.port });
    let all: Vec<Identity> = names.iter().map(|name| server(&stack, name, at(name))).collect();
    let about = |name: &str| &all[names.iter().position(|other| *other == name).expect("a name")].chain[0];
    let ca = &stack.client_ca;
    let signing = Leaf {
        name: "responder".into(),
        extended_key_usages: vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning],
        ..Leaf::client("responder")
    };
    let delegate = ca.issue(signing);
    let stranger = Authority::new("Client CA");
    for (name, body) in [
        ("good", ca.ocsp_response(about("good"), GOOD, (-60, Some(HOUR)), None)),
        ("delegate", ca.ocsp_response(about("delegate"), GOOD, (-60, Some(HOUR)), Some(&delegate))),
        ("short", ca.ocsp_response(about("short"), GOOD, (-60, Some(6)), None)),
        ("revoked", ca.ocsp_response(about("revoked"), REVOKED, (-60, Some(HOUR)), None)),
        ("unknown", ca.ocsp_response(about("unknown"), UNKNOWN, (-60, Some(HOUR)), None)),
        ("other", ca.ocsp_response(about("good"), GOOD, (-60, Some(HOUR)), None)),
        ("signer", stranger.ocsp_response(about("signer"), GOOD, (-60, Some(HOUR)), None)),
        ("past", ca.ocsp_response(about("past"), GOOD, (-HOUR, Some(-1)), None)),
        ("garbage", b"0\x03\x0a\x01\x03".to_vec()),
    ] {
        publisher.publish_at(&format!("/{name}"), &body);
    }
    stack.start_server().await;
    stack.start_gateway().await;
    until("short", async || shown(port, "short", "-tls1_3").await == "good").await;
    publisher.withdraw("/short");
    until("asked", async || names.iter().all(|name| *name == "down" || publisher.times(&format!("/{name}")) > 0)).await;
    until("delegate", async || shown(port, "delegate", "-tls1_2").await == "good").await;
    assert_eq!(shown(port, "good", "-tls1_3").await, "good");
    for name in &names[3..] {
        assert_eq!(shown(port, name, "-tls1_3").await, "nothing", "{name}");
    }
    until("it has ended", async || shown(port, "short", "-tls1_3").await == "nothing").await;
}

/// A responder that hangs delays no handshake; what it says later replaces what it said, before that is over: another answer is shown in its
/// place, and one that says `revoked` ends it.
#[tokio::test]
async fn a_staple_is_replaced_and_ended_and_waited_for_by_nobody() {
    if !has_openssl() {
        return;
    }
    let names = ["renewed", "revoked", "hung"];
    let (port, publisher) = (ports::free(), Publisher::start_plain().await);
    let mut stack = Setup { gateway: listener(port, &names), ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    let at = |name: &str| format!("http://127.0.0.1:{}/{name}", publisher.port);
    let all: Vec<Identity> = names.iter().map(|name| server(&stack, name, at(name))).collect();
    // Asked again after three quarters of what is left of these.
    const LASTS: i64 = 16;
    let ca = &stack.client_ca;
    for (name, identity) in names.iter().zip(&all) {
        publisher.publish_at(&format!("/{name}"), &ca.ocsp_response(&identity.chain[0], GOOD, (-60, Some(LASTS)), None));
    }
    let published = Instant::now();
    publisher.hang_at("/hung");
    stack.start_server().await;
    stack.start_gateway().await;
    for name in ["renewed", "revoked"] {
        until(name, async || shown(port, name, "-tls1_3").await == "good").await;
    }
    assert!(publisher.times("/hung") > 0, "it was not asked");
    for version in ["-tls1_2", "-tls1_3"] {
        let started = Instant::now();
        assert_eq!(shown(port, "hung", version).await, "nothing", "{version}");
        assert!(started.elapsed() < Duration::from_millis(1_500), "{version}: {:?}", started.elapsed());
    }
    let ca = &stack.client_ca;
    publisher.publish_at("/renewed", &ca.ocsp_response(&all[0].chain[0], GOOD, (-10, Some(HOUR)), None));
    publisher.publish_at("/revoked", &ca.ocsp_response(&all[1].chain[0], REVOKED, (-10, Some(HOUR)), None));
    until("it is shown no more", async || shown(port, "revoked", "-tls1_3").await == "nothing").await;
    let lasts = Duration::from_secs(LASTS.unsigned_abs());
    assert!(published.elapsed() < lasts, "the answer was over anyway: {:?}", published.elapsed());
    tokio::time::sleep_until((published + lasts + Duration::from_secs(2)).into()).await;
    assert_eq!(shown(port, "renewed", "-tls1_3").await, "good", "the first answer is over");
    assert_eq!(shown(port, "revoked", "-tls1_2").await, "nothing");
}

/// What could never be asked about is refused at start, with what is missing.
#[tokio::test]
async fn a_certificate_that_nobody_can_be_asked_about_is_refused() {
    let setup = Setup { gateway: listener(1, &["own"]), without_gateway: true, ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let own = server(&stack, "own", "http://127.0.0.1:1/".into());
    let mute = stack.client_ca.issue(Leaf { name: "own".into(), ..Leaf::server(&["own.example"]) });
    let above = &stack.client_ca.pem;
    for (chain, key, words) in [
        (own.certificate_pem.clone(), &own, "must follow it"),
        (format!("{}{}", own.certificate_pem, Authority::new("Client CA").pem), &own, "is not its issuer's"),
        (format!("{}{above}", mute.certificate_pem), &mute, "names no OCSP responder"),
        (format!("{}{above}", own.certificate_pem), &own, ""),
    ] {
        key.write(stack.dir.path());
        std::fs::write(stack.path("own-chain.pem"), chain).expect("written");
        let said = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
        assert_eq!(said.code == Some(0), words.is_empty(), "{}", said.stderr);
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
}
