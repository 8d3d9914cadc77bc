//! Revocation lists that are fetched from where certificates say (RFC 5280 §4.2.1.13), and everything that such a place can answer.

use std::time::{Duration, Instant};

use super::withdrawn_certificate::{refused_with, token_request};
use super::{passed, refused};
use crate::harness::publisher::Publisher;
use crate::harness::{Authority, Call, Http, Identity, Leaf, Setup, Stack, command::symbolon, left_out};

const HOUR: i64 = 3_600;

/// A deployment whose anchor sets fetch lists, with these lines more. `{lists}` is the publisher's URL.
async fn prepared(publisher: &Publisher, set: &str, outbound: &str) -> Stack {
    let anchors = "files = [\"client-ca.pem\"]".to_owned();
    let set = set.replace("{lists}", &at(publisher, ""));
    let changes = vec![(anchors.clone(), format!("{anchors}\ncrl_refresh_seconds = 1\n{set}"))];
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

fn at(publisher: &Publisher, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", publisher.port)
}

const INSIDE: &str = "allow_ranges = [\"127.0.0.0/8\"]";

/// A client of the name `alice` whose certificate names this list.
fn pointed(stack: &Stack, publisher: &Publisher, path: &str) -> Identity {
    stack.client_ca.issue(Leaf { crl_points: vec![at(publisher, path)], ..Leaf::client("alice") })
}

async fn verdict(stack: &Stack, identity: &Identity) -> String {
    let answer = stack.ask(identity, &[]).await;
    if answer.status == 200 { "200".into() } else { stack.reason_of(answer.request_id()).await }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The list is there before the first answer; what it says later stops the next request on connections that were there; and what was
/// fetched serves until its `nextUpdate`, whatever the place answers meanwhile.
#[tokio::test]
async fn a_list_is_fetched_kept_and_followed() {
    let publisher = Publisher::start_plain().await;
    let mut stack = prepared(&publisher, "crl_fetch = true", INSIDE).await;
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    let (alice, other) = (pointed(&stack, &publisher, "/ca.crl"), pointed(&stack, &publisher, "/ca.crl"));
    alice.write(stack.dir.path());
    // The gateway is a client too.
    let gateway = Leaf { crl_points: vec![at(&publisher, "/ca.crl")], ..Leaf::client("gateway") };
    stack.client_ca.issue(gateway).write(stack.dir.path());
    stack.start_server().await;
    assert_eq!(publisher.requests().len(), 0, "nobody has named it yet");
    stack.start_gateway().await;
    let token = stack.token(&alice).await;
    let call = Call::get("/accounts").bearer(&token);
    let caller = stack.caller(&alice).http(Http::V2).prepared();
    let mut server = caller.connect(&stack.mtls_authority).await.expect("a connection");
    let mut gateway = caller.connect(&stack.gateway_authority).await.expect("a connection");
    passed(&stack, &gateway.send(&call).await, "the first request waits for the list");
    assert_eq!(server.send(&token_request()).await.status, 200);
    let said = symbolon(stack.dir.path(), &["explain", "cert", "alice.pem", "--config", "symbolon.toml"]).await.ok();
    assert!(said.contains("accepted by `CN=Client CA`") && said.contains("number 1: 0 revoked"), "{said}");

    // It is fetched again by itself. While the place is of no use, what is known counts.
    publisher.withdraw("/ca.crl");
    let before = publisher.times("/ca.crl");
    until("another try at both", async || publisher.times("/ca.crl") > before + 2).await;
    passed(&stack, &gateway.send(&call).await, "the list is still in force");
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[&alice.chain[0]], HOUR).as_bytes());
    until("the gateway follows", async || gateway.send(&call).await.status == 401).await;
    stack.upstream.forget();
    refused(&stack, &gateway.send(&call).await, 401, "invalid_token", "certificate_revoked", "on the same connection").await;
    until("the server follows", async || server.send(&token_request()).await.status == 401).await;
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    assert_eq!(verdict(&stack, &other).await, "200", "only what is listed");

    // An older list, replayed by whoever stands between, takes nobody off it.
    let replayed = stack.client_ca.revocation_list_from(&[], -60, HOUR);
    publisher.publish_at("/ca.crl", replayed.as_bytes());
    let before = publisher.times("/ca.crl");
    until("another try at both", async || publisher.times("/ca.crl") > before + 2).await;
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    // A newer one does: the one thing corrected.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    until("the list says so", async || server.send(&token_request()).await.status == 200).await;

    // Past its nextUpdate it is too old, and nothing newer comes.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[], 1).as_bytes());
    until("too old", async || server.send(&token_request()).await.status == 401).await;
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revocation_stale");
}

/// `hard` fails closed on every answer that is not the list, each with a reason of its own; `soft` goes on.
#[tokio::test]
async fn every_answer_that_is_no_list_has_its_reason() {
    let publisher = Publisher::start_plain().await;
    let mut stack = prepared(&publisher, "crl_fetch = true", INSIDE).await;
    let ca = &stack.client_ca;
    let delta = b"\x30\x0d\x06\x03\x55\x1d\x1b\x01\x01\xff\x04\x03\x02\x01\x01";
    let scope = |content: &[u8]| {
        let length = u8::try_from(content.len()).expect("short");
        let value = [&[0x30, length][..], content].concat();
        let value = [&[0x04, length + 2][..], &value].concat();
        [&[0x30, length + 2 + 2 + 8][..], b"\x06\x03\x55\x1d\x1c\x01\x01\xff", &value].concat()
    };
    let elsewhere = scope(b"\xa0\x0f\xa0\x0d\x86\x0bhttp://a.b/");
    let unknown = b"\x30\x0e\x06\x03\x2a\x03\x04\x01\x01\xff\x04\x04\x30\x02\x05\x00";
    let table: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("/missing", None, "certificate_revocation_unreachable"),
        ("/garbled", Some(b"\x30\x03\x01\x01".to_vec()), "certificate_revocation_malformed"),
        ("/page", Some(b"<html>Sign in</html>".to_vec()), "certificate_revocation_malformed"),
        ("/cut", Some(ca.crafted_list(&[])[..100].to_vec()), "certificate_revocation_malformed"),
        ("/twin", Some(Authority::new("Client CA").crafted_list(&[])), "certificate_revocation_signer"),
        ("/other", Some(Authority::new("Other CA").crafted_list(&[])), "certificate_revocation_signer"),
        ("/delta", Some(ca.crafted_list(&[delta])), "certificate_revocation_delta"),
        ("/indirect", Some(ca.crafted_list(&[&scope(b"\x84\x01\xff")])), "certificate_revocation_indirect"),
        ("/reasons", Some(ca.crafted_list(&[&scope(b"\x83\x02\x01\x40")])), "certificate_revocation_partial"),
        ("/critical", Some(ca.crafted_list(&[unknown])), "certificate_revocation_unsupported"),
        ("/stale", Some(ca.revocation_list_from(&[], -100, -50).into_bytes()), "certificate_revocation_stale"),
    ];
    stack.start_server().await;
    for (path, list, reason) in &table {
        if let Some(list) = list {
            publisher.publish_at(path, list);
        }
        let identity = pointed(&stack, &publisher, path);
        let caller = stack.caller(&identity).prepared();
        let mut connection = caller.connect(&stack.mtls_authority).await.expect("a connection");
        assert_eq!(refused_with(&stack, &mut connection, &token_request(), 401).await, *reason, "{path}");
        assert!(publisher.times(path) > 0, "{path}");
        if *path == "/stale" {
            // A list without a partition speaks of all: what follows would stand under it.
            break;
        }
    }
    // A partition speaks of its own certificates alone.
    publisher.publish_at("/elsewhere", &stack.client_ca.crafted_list(&[&elsewhere]));
    let other_partition = verdict(&stack, &pointed(&stack, &publisher, "/elsewhere")).await;
    assert_eq!(other_partition, "certificate_revocation_stale");
    // And the same certificates with the list they should have had.
    publisher.publish_at("/missing", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    until("what is good is fetched", async || verdict(&stack, &pointed(&stack, &publisher, "/missing")).await == "200").await;
}

/// A list without an end, one whose signature is made with SHA-1, one beyond the limit, one that is said to be elsewhere, and one that never comes:
/// under `hard` each lets nobody in, and the log says which it was. Who waits for the last keeps nobody else waiting, with whatever list.
#[tokio::test]
async fn a_list_that_cannot_count_lets_nobody_in_and_holds_nobody_up() {
    const SECONDS: u64 = 3;
    let publisher = Publisher::start_plain().await;
    let outbound = format!("{INSIDE}\ncrl_bytes = 65536\ntotal_seconds = {SECONDS}");
    let mut stack = prepared(&publisher, "crl_fetch = true", &outbound).await;
    let good = |stack: &Stack, path: &str| stack.client_ca.revocation_list_at(&at(&publisher, path), &[]);
    let table = [
        ("/endless", "certificate_revocation_unsupported", "it has no nextUpdate"),
        ("/sha1", "certificate_revocation_unsupported", "its signature algorithm 1.2.840.10045.4.1 does not count"),
        ("/large", "certificate_revocation_unreachable", "65536 bytes"),
        ("/moved", "certificate_revocation_unreachable", "302"),
        ("/hangs", "certificate_revocation_unreachable", "3 s"),
    ];
    publisher.publish_at("/endless", &stack.client_ca.endless_list());
    let sha1 = stack.client_ca.sha1_list(stack.dir.path());
    match &sha1 {
        Some(list) => publisher.publish_at("/sha1", list),
        None => left_out("a list that is signed with SHA-1: there is no openssl that signs so"),
    }
    // Good, but for its length: text around PEM is passed over.
    publisher.publish_at("/large", format!("{}{}", good(&stack, "/large"), "more\n".repeat(20_000)).as_bytes());
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", at(&publisher, "/target"));
    publisher.answer_at("/moved", moved);
    publisher.publish_at("/target", good(&stack, "/moved").as_bytes());
    publisher.hang_at("/hangs");
    publisher.publish_at("/well", good(&stack, "/well").as_bytes());
    publisher.publish_at("/well/too", good(&stack, "/well/too").as_bytes());
    let well = pointed(&stack, &publisher, "/well");
    let identities = table.map(|(path, ..)| pointed(&stack, &publisher, path));
    stack.start_server().await;
    assert_eq!(verdict(&stack, &well).await, "200");
    let timed = async |identity: &Identity| {
        let started = Instant::now();
        (verdict(&stack, identity).await, started.elapsed())
    };
    let hanging = async {
        let (found, took) = timed(&identities[4]).await;
        assert!(took < Duration::from_secs(2 * SECONDS), "{took:?}");
        found
    };
    let meanwhile = async {
        until("it hangs", async || publisher.times("/hangs") > 0).await;
        // One that is known, one that is fetched now, and each of those that are of no use.
        let others = [well, pointed(&stack, &publisher, "/well/too")];
        for identity in &others {
            let (found, took) = timed(identity).await;
            assert!(found == "200" && took < Duration::from_millis(1_500), "{found} {took:?}");
        }
        for ((path, reason, _), identity) in table.iter().zip(&identities).take(4) {
            if *path == "/sha1" && sha1.is_none() {
                continue;
            }
            let (found, took) = timed(identity).await;
            assert!(found == *reason && took < Duration::from_millis(1_500), "{path}: {found} {took:?}");
        }
        assert_eq!(publisher.times("/hangs"), 1, "all the while");
    };
    let (found, ()) = tokio::join!(hanging, meanwhile);
    assert_eq!(found, table[4].1);
    assert_eq!(publisher.times("/target"), 0, "nobody is followed elsewhere");
    let log = stack.server.as_ref().expect("it runs").log();
    for (path, _, word) in table.iter().filter(|(path, ..)| publisher.times(path) > 0) {
        let told = log.lines().any(|line| line.contains(&at(&publisher, path)) && line.contains(word));
        assert!(told, "{path}: {word} is not in\n{log}");
    }
    // The one thing corrected.
    publisher.hang_no_more();
    for ((path, ..), identity) in table.iter().zip(&identities) {
        publisher.publish_at(path, good(&stack, path).as_bytes());
        until(path, async || verdict(&stack, identity).await == "200").await;
    }
}

/// A certificate that no authority of the set has signed makes nobody fetch anything, and what an authority names is fetched from public
/// places alone unless the operator says otherwise.
#[tokio::test]
async fn a_stranger_names_no_url() {
    let publisher = Publisher::start_plain().await;
    let mut stack = prepared(&publisher, "crl_fetch = true", "").await;
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    stack.start_server().await;
    let leaf = || Leaf { crl_points: vec![at(&publisher, "/ca.crl")], ..Leaf::client("alice") };
    assert_eq!(verdict(&stack, &Authority::new("Client CA").issue(leaf())).await, "certificate_signature");
    assert_eq!(verdict(&stack, &Authority::new("Other").issue(leaf())).await, "certificate_unknown_issuer");
    assert_eq!(verdict(&stack, &leaf().self_signed()).await, "certificate_unknown_issuer");
    // Of the authority itself, but inside.
    assert_eq!(verdict(&stack, &stack.client_ca.issue(leaf())).await, "certificate_revocation_unreachable");
    assert_eq!(publisher.requests().len(), 0);
    // The one thing corrected: the operator names it.
    let mut stack = prepared(&publisher, "crl_urls = [\"{lists}/configured.crl\"]", "").await;
    publisher.publish_at("/configured.crl", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    stack.start_server().await;
    assert_eq!(verdict(&stack, &stack.alice).await, "200", "a certificate that names no list");
    assert_eq!(publisher.times("/ca.crl"), 0);
}

/// An operator's URL that does not answer: `hard` lets nobody in, `soft` everybody whom no list names.
#[tokio::test]
async fn soft_goes_on_and_hard_does_not() {
    let publisher = Publisher::start_plain().await;
    for (mode, expected) in [("hard", "certificate_revocation_unreachable"), ("soft", "200")] {
        let set = format!("crl_urls = [\"{{lists}}/{mode}.crl\"]\nrevocation = \"{mode}\"");
        let mut stack = prepared(&publisher, &set, "").await;
        stack.start_server().await;
        assert_eq!(verdict(&stack, &stack.alice).await, expected, "{mode}");
        publisher.publish_at(&format!("/{mode}.crl"), stack.client_ca.revocation_list(&[&stack.alice.chain[0]], HOUR).as_bytes());
        until("revoked", async || verdict(&stack, &stack.alice).await == "certificate_revoked").await;
        assert_eq!(verdict(&stack, &stack.mallory).await, "200", "{mode}: who is not listed");
    }
    for (set, word) in [
        ("crl_urls = [\"ldap://a/b\"]", "is no URL with `http` or `https`"),
        ("crl_urls = [\"{lists}/a\"]\nrevocation = \"off\"", "`revocation` is `off`"),
    ] {
        let stack = prepared(&publisher, set, "").await;
        let said = symbolon(stack.dir.path(), &["config", "check", "--config", "symbolon.toml"]).await.failed();
        assert!(said.contains(word), "{said}");
    }
}

/// A list that was fetched is there after a restart, where its place does not answer: it is verified again, serves until its `nextUpdate`, and is
/// not replaced by an older one. Without the folder, and with a file that somebody has altered, `hard` refuses.
#[tokio::test]
async fn a_list_is_kept_over_a_restart_and_verified_again() {
    let publisher = Publisher::start_plain().await;
    let inside = format!("{INSIDE}\ncrl_cache = \"lists\"\ntotal_seconds = 2");
    let mut stack = prepared(&publisher, "crl_fetch = true", &inside).await;
    let (alice, revoked) = (pointed(&stack, &publisher, "/ca.crl"), pointed(&stack, &publisher, "/ca.crl"));
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[&revoked.chain[0]], HOUR).as_bytes());
    stack.start_server().await;
    assert_eq!(verdict(&stack, &alice).await, "200");
    let restart = async |stack: &mut Stack| {
        stack.server.take().expect("a process").kill().await;
        stack.start_server().await;
    };
    let kept = kept_files(&stack);
    let [file] = &kept[..] else { panic!("{kept:?}") };
    let good = std::fs::read(file).expect("the list");

    // The place is gone, and the process begins anew.
    publisher.withdraw("/ca.crl");
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "200", "what was kept serves");
    assert_eq!(verdict(&stack, &revoked).await, "certificate_revoked", "and is read");
    // Whoever stands between has an older list, which is in force: the kept one is newer.
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list_from(&[], -60, HOUR).as_bytes());
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &revoked).await, "certificate_revoked", "no older one");
    publisher.withdraw("/ca.crl");
    for (what, bytes) in [
        ("altered", {
            let mut bytes = good.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("another authority's", Authority::new("Client CA").revocation_list(&[], HOUR).into_bytes()),
        ("nothing", Vec::new()),
    ] {
        std::fs::write(file, bytes).expect("written");
        restart(&mut stack).await;
        assert_eq!(verdict(&stack, &alice).await, "certificate_revocation_unreachable", "{what}");
    }
    std::fs::write(file, stack.client_ca.revocation_list_from(&[], -60, -1)).expect("written");
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "certificate_revocation_stale", "past its nextUpdate");
    std::fs::remove_file(file).expect("removed");
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "certificate_revocation_unreachable", "without it");
    std::fs::write(file, &good).expect("written");
    restart(&mut stack).await;
    assert_eq!(verdict(&stack, &alice).await, "200", "the one thing corrected");
}

fn kept_files(stack: &Stack) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(stack.path("lists")).expect("the folder").flatten().map(|file| file.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "crl")).collect()
}

/// What is kept is what was in force, and not the last answer alone: whoever stands between and answers with another authority's newest list
/// gets nothing forgotten, neither by the answer nor by the restart after it, also under `soft` and past the list's `nextUpdate`.
#[tokio::test]
async fn all_that_was_known_of_a_place_is_kept() {
    let publisher = Publisher::start_plain().await;
    let inside = format!("{INSIDE}\ncrl_cache = \"lists\"\ntotal_seconds = 2");
    let set = "crl_urls = [\"{lists}/ca.crl\"]\nrevocation = \"soft\"\nintermediate_files = [\"other.pem\"]";
    let mut stack = prepared(&publisher, set, &inside).await;
    let other = Authority::new("Other CA");
    std::fs::write(stack.path("other.pem"), &other.pem).expect("written");
    let revoked = stack.alice.chain[0].clone();
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list_from(&[&revoked], -60, 4).as_bytes());
    stack.start_server().await;
    until("revoked", async || verdict(&stack, &stack.alice).await == "certificate_revoked").await;
    // The other authority's list alone, and time goes by.
    publisher.publish_at("/ca.crl", other.revocation_list(&[], HOUR).as_bytes());
    let before = publisher.times("/ca.crl");
    until("fetched", async || publisher.times("/ca.crl") > before + 5).await;
    assert_eq!(verdict(&stack, &stack.alice).await, "certificate_revoked", "the list is too old, and says it all the same");
    let kept = kept_files(&stack);
    let [file] = &kept[..] else { panic!("{kept:?}") };
    let text = std::fs::read_to_string(file).expect("the lists");
    assert_eq!(text.matches("BEGIN X509 CRL").count(), 2, "{text}");
    for what in ["the place answers with the other's", "the place does not answer"] {
        stack.server.take().expect("a process").kill().await;
        stack.start_server().await;
        until("read", async || verdict(&stack, &stack.alice).await == "certificate_revoked").await;
        assert_eq!(std::fs::read_to_string(file).expect("the lists"), text, "{what}");
        publisher.withdraw("/ca.crl");
    }
    assert_eq!(verdict(&stack, &stack.mallory).await, "200", "who is not listed");
    // The authority's own newest list, which takes it back.
    publisher.publish_at("/ca.crl", stack.client_ca.revocation_list(&[], HOUR).as_bytes());
    until("taken back", async || verdict(&stack, &stack.alice).await == "200").await;
}
