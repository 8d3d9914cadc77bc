//! OCSP responders that hang, that are themselves revoked, and that are gone when a process begins anew.

use std::time::{Duration, Instant};

use super::ocsp::{INSIDE, prepared, responders_leaf, verdict};
use super::withdrawn_certificate::{refused_with, token_request};
use crate::harness::publisher::Publisher;
use crate::harness::{Authority, Http, Identity, Leaf, Stack, command::symbolon};

const HOUR: i64 = 3_600;
const NOW: (i64, Option<i64>) = (-10, Some(HOUR));
const GOOD: &[u8] = b"\x80\x00";
const REVOKED: &[u8] = b"\xa1\x16\x18\x0f20260101000000Z\xa0\x03\x0a\x01\x01";
/// Seconds for an answer, in these tests.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a request takes that waits for nobody: far less, also where the machine is busy.
const AT_ONCE: Duration = Duration::from_millis(1_500);

fn asking(stack: &Stack, publisher: &Publisher, name: &str, path: &str) -> Identity {
    let url = format!("http://127.0.0.1:{}{path}", publisher.port);
    stack.client_ca.issue(Leaf { ocsp: Some(url), ..Leaf::client(name) })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn timed(stack: &Stack, identity: &Identity) -> (String, Duration) {
    let started = Instant::now();
    (verdict(stack, identity).await, started.elapsed())
}

async fn restart(stack: &mut Stack) {
    stack.server.take().expect("a process").kill().await;
    stack.start_server().await;
}

/// A responder that takes the question and says nothing costs the first request of a certificate the time that is set, and no more: `hard`
/// refuses with its reason, `soft` goes on. Nobody else waits, however many hang, and when it answers it is believed.
#[tokio::test]
async fn a_responder_that_hangs_holds_up_nobody_else() {
    for (mode, expected) in [("hard", "certificate_ocsp_unreachable"), ("soft", "200")] {
        let publisher = Publisher::start_plain().await;
        let outbound = format!("{INSIDE}\ntotal_seconds = {}", PATIENCE.as_secs());
        let mut stack = prepared(&format!("ocsp = true\nrevocation = \"{mode}\""), &outbound).await;
        let (bob, other) = (asking(&stack, &publisher, "alice", "/well"), asking(&stack, &publisher, "alice", "/well/too"));
        for (identity, path) in [(&bob, "/well"), (&other, "/well/too")] {
            publisher.publish_at(path, &stack.client_ca.ocsp_response(&identity.chain[0], GOOD, NOW, None));
        }
        publisher.hang_at("/hangs");
        let hanging: Vec<Identity> = (0..12).map(|_| asking(&stack, &publisher, "alice", "/hangs")).collect();
        stack.start_server().await;
        assert_eq!(verdict(&stack, &bob).await, "200", "{mode}");
        let (alice, all) = tokio::join!(timed(&stack, &hanging[0]), async {
            until("it hangs", async || publisher.times("/hangs") > 0).await;
            let others = futures_util::future::join_all(hanging[1..].iter().map(|identity| timed(&stack, identity)));
            let meanwhile = async {
                until("more hang", async || publisher.times("/hangs") > 1).await;
                // One that is known, and one that is asked about now.
                let known = timed(&stack, &bob).await;
                let asked = timed(&stack, &other).await;
                assert_eq!((known.0.as_str(), asked.0.as_str()), ("200", "200"), "{mode}");
                assert!(known.1 < AT_ONCE && asked.1 < AT_ONCE, "{mode}: {known:?} {asked:?}");
            };
            tokio::join!(others, meanwhile).0
        });
        for (found, took) in [vec![alice], all].concat() {
            assert_eq!(found, expected, "{mode}");
            assert!(took < PATIENCE * 2, "{mode}: {took:?}");
        }
        // It is known by now that nothing comes about the first: nobody waits again.
        let (found, took) = timed(&stack, &hanging[0]).await;
        assert!(found == expected && took < AT_ONCE, "{mode}: {found} {took:?}");
        // The one thing corrected.
        publisher.publish_at("/hangs", &stack.client_ca.ocsp_response(&hanging[0].chain[0], GOOD, NOW, None));
        publisher.hang_no_more();
        until("it answers", async || verdict(&stack, &hanging[0]).await == "200").await;
    }
}

/// RFC 6960 §4.2.2.2.1: a responder with `id-pkix-ocsp-nocheck` is not asked about. Of every other, the issuer's lists are asked whether it has
/// been revoked: what one that has been says counts for nothing, and under `hard` one that no list speaks of makes nothing good; what it calls
/// revoked stays so.
#[tokio::test]
async fn a_responder_is_asked_about_unless_its_issuer_says_otherwise() {
    const REFUSED: &str = "certificate_ocsp_responder";
    let publisher = Publisher::start_plain().await;
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", publisher.port);
    for mode in ["hard", "soft"] {
        let set = format!("ocsp = true\ncrl_fetch = true\ncrl_refresh_seconds = 1\nrevocation = \"{mode}\"");
        let mut stack = prepared(&set, INSIDE).await;
        let ca = &stack.client_ca;
        // (what, whether nobody need ask, whether a list names the responder, what it says, hard, soft)
        let table: [(&str, bool, Option<bool>, &[u8], &str, &str); 8] = [
            ("nocheck", true, None, GOOD, "200", "200"),
            ("nocheck-revoked", true, None, REVOKED, "certificate_revoked", "certificate_revoked"),
            ("unlisted", false, None, GOOD, REFUSED, "200"),
            ("unlisted-revoked", false, None, REVOKED, "certificate_revoked", "certificate_revoked"),
            ("well", false, Some(false), GOOD, "200", "200"),
            ("well-revoked", false, Some(false), REVOKED, "certificate_revoked", "certificate_revoked"),
            ("listed", false, Some(true), GOOD, REFUSED, "200"),
            ("listed-revoked", false, Some(true), REVOKED, REFUSED, "200"),
        ];
        let cases: Vec<_> = table
            .into_iter()
            .map(|(what, ocsp_no_check, list, status, hard, soft)| {
                let place = at(&format!("/{mode}/{what}.crl"));
                let leaf = Leaf { name: "responder".into(), ocsp_no_check, crl_points: vec![place.clone()], ..responders_leaf() };
                let responder = ca.issue(leaf);
                let url = at(&format!("/{mode}/{what}"));
                let identity = ca.issue(Leaf { ocsp: Some(url), ..Leaf::client("alice") });
                let response = ca.ocsp_response(&identity.chain[0], status, NOW, Some(&responder));
                publisher.publish_at(&format!("/{mode}/{what}"), &response);
                if let Some(is_listed) = list {
                    let revoked: Vec<_> = responder.chain.iter().take(usize::from(is_listed)).collect();
                    publisher.publish_at(&format!("/{mode}/{what}.crl"), ca.revocation_list_at(&place, &revoked).as_bytes());
                }
                (what, identity, responder, if mode == "hard" { hard } else { soft })
            })
            .collect();
        stack.start_server().await;
        let ca = &stack.client_ca;
        for (what, identity, _, expected) in &cases {
            assert_eq!(verdict(&stack, identity).await, *expected, "{mode}: {what}");
            let is_asked = publisher.times(&format!("/{mode}/{what}.crl")) > 0;
            assert_eq!(is_asked, !what.starts_with("nocheck"), "{mode}: {what}");
        }
        if mode == "soft" {
            continue;
        }
        // A responder that is revoked later: the next request on the same connection is refused, and explained.
        let (what, identity, responder, _) = &cases[4];
        let caller = stack.caller(identity).http(Http::V2).prepared();
        let mut connection = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert_eq!(connection.send(&token_request()).await.status, 200);
        let path = format!("/{mode}/{what}.crl");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        publisher.publish_at(&path, ca.revocation_list_at(&at(&path), &[&responder.chain[0]]).as_bytes());
        until("the list says so", async || connection.send(&token_request()).await.status == 401).await;
        assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, REFUSED);
        Identity { name: "well".into(), ..identity.clone() }.write(stack.dir.path());
        let said = symbolon(stack.dir.path(), &["explain", "cert", "well.pem", "--config", "symbolon.toml"]).await.ok();
        let serial = responder.serial_hex().to_lowercase().trim_start_matches('0').to_owned();
        for word in [
            format!("signed by a responder whose own certificate (number {serial}) lists are asked about"),
            format!("the certificate of the responder that signed the answer: `CN=Client CA` has revoked number {serial}"),
            format!("refused: {REFUSED}"),
        ] {
            assert!(said.contains(&word), "{word}: {said}");
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        publisher.publish_at(&path, ca.revocation_list_at(&at(&path), &[]).as_bytes());
        until("it is taken back", async || connection.send(&token_request()).await.status == 200).await;
    }
}

/// A responder that has lost its own certificate takes nothing back: what was revoked before stays so, however new and good its answer is, and
/// whether a list must speak (`hard`) or need not (`soft`). A responder in good standing does.
#[tokio::test]
async fn a_revoked_responder_takes_nothing_back() {
    for mode in ["hard", "soft"] {
        let publisher = Publisher::start_plain().await;
        let list = format!("http://127.0.0.1:{}/ca.crl", publisher.port);
        let set = format!("ocsp = true\ncrl_urls = [\"{list}\"]\ncrl_refresh_seconds = 1\nrevocation = \"{mode}\"");
        let mut stack = prepared(&set, INSIDE).await;
        let ca = &stack.client_ca;
        let alice = asking(&stack, &publisher, "alice", "/alice");
        let responder = |name: &str| ca.issue(Leaf { name: name.into(), ocsp_no_check: false, ..responders_leaf() });
        let (rogue, well) = (responder("rogue"), responder("well"));
        let says = |stack: &Stack, status: &[u8], from: i64, by: Option<&Identity>| {
            publisher.publish_at("/alice", &stack.client_ca.ocsp_response(&alice.chain[0], status, (from, Some(HOUR)), by));
        };
        // The list knows of the rogue, and says nothing against alice.
        publisher.publish_at("/ca.crl", ca.revocation_list(&[&rogue.chain[0]], HOUR).as_bytes());
        says(&stack, REVOKED, -60, None);
        stack.start_server().await;
        let caller = stack.caller(&alice).http(Http::V2).prepared();
        let mut connection = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, "certificate_revoked", "{mode}");
        says(&stack, GOOD, -10, Some(&rogue));
        let before = publisher.times("/alice");
        until("it is asked again", async || publisher.times("/alice") > before + 2).await;
        assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, "certificate_revoked", "{mode}: still");
        // The one thing corrected: the same words, by who may say them.
        says(&stack, GOOD, -10, Some(&well));
        until("it is taken back", async || connection.send(&token_request()).await.status == 200).await;
    }
}

/// What a responder has said is there after a restart, whether it is gone, hangs, or says something older: verified again, until its `nextUpdate`.
/// Without the folder, and with a file that somebody has altered, `hard` refuses.
#[tokio::test]
async fn an_answer_is_kept_over_a_restart_and_verified_again() {
    let publisher = Publisher::start_plain().await;
    let outbound = format!("{INSIDE}\ncrl_cache = \"kept\"\ntotal_seconds = {}", PATIENCE.as_secs());
    let mut stack = prepared("ocsp = true", &outbound).await;
    let (alice, revoked) = (asking(&stack, &publisher, "alice", "/alice"), asking(&stack, &publisher, "alice", "/revoked"));
    let about = |identity: &Identity, status: &[u8], window: (i64, Option<i64>)| {
        stack.client_ca.ocsp_response(&identity.chain[0], status, window, None)
    };
    let short = about(&alice, GOOD, (-60, Some(-1)));
    let older = about(&revoked, GOOD, (-60, Some(HOUR)));
    let another = about(&revoked, GOOD, NOW);
    let twin = Authority::new("Client CA").ocsp_response(&alice.chain[0], GOOD, NOW, None);
    publisher.publish_at("/alice", &about(&alice, GOOD, NOW));
    publisher.publish_at("/revoked", &about(&revoked, REVOKED, NOW));
    stack.start_server().await;
    assert_eq!(verdict(&stack, &alice).await, "200");
    let kept = kept_files(&stack);
    let [file] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(verdict(&stack, &revoked).await, "certificate_revoked");
    assert_eq!(kept_files(&stack).len(), 2);
    let good = std::fs::read(file).expect("the answer");

    // The responder is gone; then it hangs, and nobody waits for it.
    publisher.withdraw("/alice");
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "200", "what was kept serves");
    publisher.hang_at("/alice");
    restart(&mut stack).await;
    let (found, took) = timed(&stack, &alice).await;
    assert!(found == "200" && took < AT_ONCE, "{found} {took:?}");
    publisher.hang_no_more();
    // Whoever stands between has an older answer, which is in force: the kept one is newer, now and after the next restart.
    publisher.publish_at("/revoked", &older);
    for _ in 0..2 {
        restart(&mut stack).await;
        let before = publisher.times("/revoked");
        assert_eq!(verdict(&stack, &revoked).await, "certificate_revoked", "no older one");
        until("it was asked all the same", async || publisher.times("/revoked") > before).await;
        assert_eq!(verdict(&stack, &revoked).await, "certificate_revoked", "no older one");
    }
    let mut altered = good.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (what, bytes, reason) in [
        ("altered", altered, "certificate_ocsp_unreachable"),
        ("cut off", good[..good.len() / 2].to_vec(), "certificate_ocsp_unreachable"),
        ("another authority's", twin, "certificate_ocsp_unreachable"),
        ("about another certificate", another, "certificate_ocsp_unreachable"),
        ("past its nextUpdate", short, "certificate_ocsp_unreachable"),
        ("nothing", Vec::new(), "certificate_ocsp_unreachable"),
        ("too long", [&good[..], &[0; 65_536]].concat(), "certificate_ocsp_unreachable"),
        ("the one thing corrected", good, "200"),
    ] {
        std::fs::write(file, bytes).expect("written");
        restart(&mut stack).await;
        assert_eq!(verdict(&stack, &alice).await, reason, "{what}");
    }
}

/// What was revoked stays so over a restart, also past the answer's `nextUpdate`, and also under `soft`.
#[tokio::test]
async fn what_was_revoked_stays_so_over_a_restart() {
    let publisher = Publisher::start_plain().await;
    let outbound = format!("{INSIDE}\ncrl_cache = \"kept\"");
    let mut stack = prepared("ocsp = true\nrevocation = \"soft\"", &outbound).await;
    let alice = asking(&stack, &publisher, "alice", "/alice");
    publisher.publish_at("/alice", &stack.client_ca.ocsp_response(&alice.chain[0], REVOKED, (-10, Some(2)), None));
    stack.start_server().await;
    assert_eq!(verdict(&stack, &alice).await, "certificate_revoked");
    publisher.withdraw("/alice");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "certificate_revoked", "past its nextUpdate");
    for file in kept_files(&stack) {
        std::fs::remove_file(file).expect("removed");
    }
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "200", "nobody says so any more");
}

fn kept_files(stack: &Stack) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(stack.path("kept/ocsp")).expect("the folder").flatten().map(|file| file.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "ocsp")).collect()
}
