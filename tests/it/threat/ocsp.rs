//! OCSP (RFC 6960): responders that are down, that lie, and that speak for somebody else.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::withdrawn_certificate::{refused_with, token_request};
use super::{passed, refused};
use crate::harness::publisher::Publisher;
use crate::harness::{Authority, Call, Http, Identity, Leaf, Setup, Stack, command::symbolon, left_out, ports};

const HOUR: i64 = 3_600;
const GOOD: &[u8] = b"\x80\x00";
const UNKNOWN: &[u8] = b"\x82\x00";
/// In January 2026, for keyCompromise.
const REVOKED: &[u8] = b"\xa1\x16\x18\x0f20260101000000Z\xa0\x03\x0a\x01\x01";

pub(super) async fn prepared(set: &str, outbound: &str) -> Stack {
    let anchors = "files = [\"client-ca.pem\"]".to_owned();
    let changes = vec![(anchors.clone(), format!("{anchors}\nocsp_refresh_seconds = 1\n{set}"))];
    let outbound = format!("\n[outbound]\n{outbound}\n");
    let setup = Setup {
        server_changes: changes.clone(),
        gateway_changes: changes,
        server: outbound.clone(),
        gateway: outbound,
        ..Setup::default()
    };
    setup.prepare("sqlite:symbolon.db".into()).await
}

pub(super) const INSIDE: &str = "allow_ranges = [\"127.0.0.0/8\"]";

pub(super) async fn verdict(stack: &Stack, identity: &Identity) -> String {
    let answer = stack.ask(identity, &[]).await;
    if answer.status == 200 { "200".into() } else { stack.reason_of(answer.request_id()).await }
}

/// OpenSSL's responder, and what it knows.
pub(super) struct Responder {
    port: u16,
    process: Option<Child>,
}

impl Responder {
    pub(super) fn new() -> Self {
        Self { port: ports::free(), process: None }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Starts it again, knowing these certificates.
    pub(super) async fn start(&mut self, stack: &Stack, known: &[(&Identity, &str)]) {
        self.stop();
        let line = |(identity, state): &(&Identity, &str)| {
            let revoked = if *state == "R" { "260101000000Z,keyCompromise" } else { "" };
            format!("{state}\t491231235959Z\t{revoked}\t{}\tunknown\t/CN={}\n", identity.serial_hex(), identity.name)
        };
        std::fs::write(stack.path("index.txt"), known.iter().map(line).collect::<String>()).expect("written");
        std::fs::write(stack.path("client-ca-key.pem"), stack.client_ca.key_pem()).expect("written");
        let port = self.port.to_string();
        let arguments = [
            "ocsp",
            "-index",
            "index.txt",
            "-port",
            &port,
            "-CA",
            "client-ca.pem",
            "-rsigner",
            "client-ca.pem",
            "-rkey",
            "client-ca-key.pem",
            "-nmin",
            "10",
            "-ignore_err",
        ];
        // It serves one connection after the other, and one that is only tried out is never done.
        let log = std::fs::File::create(stack.path("responder.log")).expect("a file");
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(stack.dir.path()).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a file")).stdout(log);
        self.process = Some(command.spawn().expect("openssl"));
        let started = Instant::now();
        while !std::fs::read_to_string(stack.path("responder.log")).is_ok_and(|log| log.contains("ACCEPT")) {
            assert!(started.elapsed() < Duration::from_secs(10), "openssl ocsp does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// With OpenSSL's own responder: the answer is there before the first request is, what it says later stops the next request on the same
/// connection, and while it is down its last answer stands.
#[tokio::test]
async fn openssls_responder_is_asked_and_followed() {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return left_out("OpenSSL's responder: there is no openssl");
    }
    let mut responder = Responder::new();
    let mut stack = prepared("ocsp = true", INSIDE).await;
    let identity = |name: &str| stack.client_ca.issue(Leaf { ocsp: Some(responder.url()), ..Leaf::client(name) });
    let (alice, mallory, gateway) = (identity("alice"), identity("mallory"), identity("gateway"));
    gateway.write(stack.dir.path());
    alice.write(stack.dir.path());
    responder.start(&stack, &[(&alice, "V"), (&gateway, "V")]).await;
    stack.start_server().await;
    stack.start_gateway().await;
    let token = stack.token(&alice).await;
    let call = Call::get("/accounts").bearer(&token);
    let caller = stack.caller(&alice).http(Http::V2).prepared();
    let mut server = caller.connect(&stack.mtls_authority).await.expect("a connection");
    let mut at_gateway = caller.connect(&stack.gateway_authority).await.expect("a connection");
    passed(&stack, &at_gateway.send(&call).await, "good");
    let said = symbolon(stack.dir.path(), &["explain", "cert", "alice.pem", "--config", "symbolon.toml"]).await.ok();
    assert!(said.contains("not to be revoked"), "{said}");
    let serial = alice.serial_hex().to_lowercase();
    let words = format!("number {}, from {}: good, from ", serial.trim_start_matches('0'), responder.url());
    let line = said.lines().find(|line| line.contains("OCSP")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&words) && line.ends_with(", in force"), "{words}: {said}");
    assert_eq!(verdict(&stack, &mallory).await, "certificate_ocsp_unknown", "not in the responder's index");
    // Down: what is known stands.
    responder.stop();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.send(&token_request()).await.status, 200);
    responder.start(&stack, &[(&alice, "R"), (&gateway, "V")]).await;
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    assert_eq!(refused_with(&stack, &mut at_gateway, &call, 401).await, "certificate_revoked");
    stack.upstream.forget();
    refused(&stack, &at_gateway.send(&call).await, 401, "invalid_token", "certificate_revoked", "on the same connection").await;
}

/// The certificate of a responder that an authority lets sign for it.
pub(super) fn responders_leaf() -> Leaf {
    Leaf { extended_key_usages: vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning], ..Leaf::client("Responder") }
}

/// Every answer that is of no use has a reason of its own under `hard`, and none under `soft`; whoever may sign for the issuer is believed.
#[tokio::test]
async fn every_answer_of_no_use_has_its_reason() {
    let responder = Publisher::start_plain().await;
    for mode in ["hard", "soft"] {
        let mut stack = prepared(&format!("ocsp = true\nrevocation = \"{mode}\""), INSIDE).await;
        let ca = &stack.client_ca;
        let delegate = |leaf: Leaf, ca: &Authority| ca.issue(Leaf { name: "responder".into(), ..leaf });
        let signing = || Leaf { ocsp_no_check: true, ..responders_leaf() };
        let other = Authority::new("Client CA");
        let now = (-10, Some(HOUR));
        type Make<'a> = Box<dyn Fn(&Identity) -> Option<Vec<u8>> + 'a>;
        let by = |status: &'static [u8], window: (i64, Option<i64>), signer: Option<Identity>| -> Make<'_> {
            Box::new(move |about: &Identity| Some(ca.ocsp_response(&about.chain[0], status, window, signer.as_ref())))
        };
        let another = stack.client_ca.issue(Leaf::client("alice"));
        let table: Vec<(&str, Make<'_>, &str)> = vec![
            ("good", by(GOOD, now, None), "200"),
            ("good, without nextUpdate", by(GOOD, (-10, None), None), "200"),
            ("a delegate", by(GOOD, now, Some(delegate(signing(), ca))), "200"),
            ("revoked", by(REVOKED, now, None), "certificate_revoked"),
            ("revoked, by a delegate", by(REVOKED, now, Some(delegate(signing(), ca))), "certificate_revoked"),
            ("nothing there", Box::new(|_| None), "certificate_ocsp_unreachable"),
            ("a page", Box::new(|_| Some(b"<html>".to_vec())), "certificate_ocsp_malformed"),
            ("tryLater", Box::new(|_| Some(b"\x30\x03\x0a\x01\x03".to_vec())), "certificate_ocsp_refused"),
            ("unauthorized", Box::new(|_| Some(b"\x30\x03\x0a\x01\x06".to_vec())), "certificate_ocsp_refused"),
            ("unknown", by(UNKNOWN, now, None), "certificate_ocsp_unknown"),
            ("too old", by(GOOD, (-HOUR, Some(-10)), None), "certificate_ocsp_stale"),
            ("from the future", by(GOOD, (HOUR, Some(2 * HOUR)), None), "certificate_ocsp_stale"),
            ("too old without nextUpdate", by(GOOD, (-HOUR, None), None), "certificate_ocsp_stale"),
            (
                "about another certificate",
                Box::new(|_| Some(ca.ocsp_response(&another.chain[0], GOOD, now, None))),
                "certificate_ocsp_malformed",
            ),
            (
                "a delegate without the usage",
                by(GOOD, now, Some(delegate(Leaf::client("Responder"), ca))),
                "certificate_ocsp_signer",
            ),
            (
                "an expired delegate",
                by(GOOD, now, Some(delegate(Leaf { not_after: -60, ..signing() }, ca))),
                "certificate_ocsp_signer",
            ),
            (
                "a delegate that nobody speaks of",
                by(GOOD, now, Some(delegate(responders_leaf(), ca))),
                "certificate_ocsp_responder",
            ),
            ("another authority's delegate", by(GOOD, now, Some(delegate(signing(), &other))), "certificate_ocsp_signer"),
            ("a client of the authority", by(GOOD, now, Some(ca.issue(Leaf::client("mallory")))), "certificate_ocsp_signer"),
            (
                "the authority of the same name",
                Box::new(|about| Some(other.ocsp_response(&about.chain[0], GOOD, now, None))),
                "certificate_ocsp_signer",
            ),
            (
                "altered",
                Box::new(|about| {
                    let mut response = ca.ocsp_response(&about.chain[0], REVOKED, now, None);
                    let place = response.windows(4).position(|window| window == b"2026").expect("a date");
                    response[place + 3] = b'5';
                    Some(response)
                }),
                "certificate_ocsp_signer",
            ),
        ];
        let cases: Vec<(&str, Identity, &str)> = table
            .into_iter()
            .enumerate()
            .map(|(number, (what, make, expected))| {
                let path = format!("/{mode}/{number}");
                let url = format!("http://127.0.0.1:{}{path}", responder.port);
                let identity = ca.issue(Leaf { ocsp: Some(url), ..Leaf::client("alice") });
                if let Some(response) = make(&identity) {
                    responder.publish_at(&path, &response);
                }
                (what, identity, expected)
            })
            .collect();
        stack.start_server().await;
        for (number, (what, identity, expected)) in cases.iter().enumerate() {
            let found = verdict(&stack, identity).await;
            match *expected {
                expected if mode == "soft" && expected != "certificate_revoked" => assert_eq!(found, "200", "{mode}: {what}"),
                expected => assert_eq!(found, expected, "{mode}: {what}"),
            }
            assert!(responder.times(&format!("/{mode}/{number}")) > 0, "{what}: it was not asked");
        }
        if mode == "hard" {
            assert_eq!(verdict(&stack, &stack.alice).await, "certificate_revocation_unknown", "names no responder, and no list");
        }
    }
}

/// Nobody is asked about a stranger's certificate, nothing inside is asked unless the operator says so, and the operator's own responder is
/// asked about every certificate.
#[tokio::test]
async fn a_stranger_names_no_responder() {
    let responder = Publisher::start_plain().await;
    let mut stack = prepared("ocsp = true", "").await;
    stack.start_server().await;
    let url = format!("http://127.0.0.1:{}/asked", responder.port);
    let leaf = || Leaf { ocsp: Some(url.clone()), ..Leaf::client("alice") };
    assert_eq!(verdict(&stack, &Authority::new("Other").issue(leaf())).await, "certificate_unknown_issuer");
    assert_eq!(verdict(&stack, &leaf().self_signed()).await, "certificate_unknown_issuer");
    assert_eq!(
        verdict(&stack, &stack.client_ca.issue(leaf())).await,
        "certificate_ocsp_unreachable",
        "of the authority, but inside"
    );
    assert_eq!(responder.requests().len(), 0);
    let mut stack = prepared(&format!("ocsp_url = \"{url}\""), "").await;
    responder.publish_at("/asked", &stack.client_ca.ocsp_response(&stack.alice.chain[0], GOOD, (-10, Some(HOUR)), None));
    stack.start_server().await;
    assert_eq!(verdict(&stack, &stack.alice).await, "200", "the one thing corrected");
    assert_eq!(verdict(&stack, &stack.mallory).await, "certificate_ocsp_malformed", "alice's answer is not mallory's");
}
