//! Certificates on their authority's revocation list (RFC 5280 §5), and lists that are missing, too old, or somebody else's.

use std::time::{Duration, Instant};

use super::withdrawn_certificate::{refused_with, streams_until_cut, token_request};
use super::{passed, refused};
use crate::harness::process::Process;
use crate::harness::{Authority, Call, Http, Identity, Leaf, Setup, Stack, command::symbolon};

const HOUR: i64 = 3_600;

/// A deployment whose anchor sets have their lists in the folder `lists`, which is not there yet.
async fn prepared(more: &str) -> Stack {
    let anchors = "files = [\"client-ca.pem\"]".to_owned();
    let changes = vec![(anchors.clone(), format!("{anchors}\ncrl_files = [\"lists\"]\n{more}"))];
    let setup = Setup { server_changes: changes.clone(), gateway_changes: changes, ..Setup::default() };
    setup.prepare("sqlite:symbolon.db".into()).await
}

/// Puts a list in place of the one that was there, as a cautious script does.
fn publish(stack: &Stack, list: &str) {
    std::fs::create_dir_all(stack.path("lists")).expect("a folder");
    std::fs::write(stack.path("lists/.new"), list).expect("written");
    std::fs::rename(stack.path("lists/.new"), stack.path("lists/ca.crl")).expect("renamed");
}

fn revoke(stack: &Stack, revoked: &[&Identity], seconds: i64) {
    let revoked: Vec<_> = revoked.iter().map(|identity| &identity.chain[0]).collect();
    publish(stack, &stack.client_ca.revocation_list(&revoked, seconds));
}

async fn reload(stack: &Stack) {
    for config in ["symbolon.toml", "gateway.toml"] {
        symbolon(stack.dir.path(), &["reload", "--config", config]).await.ok();
    }
}

/// A certificate that its authority revokes opens nothing from the moment at which the list is there, also on connections that were made
/// before; others go on. Where lists must be, one that is too old lets nobody in.
#[tokio::test]
async fn a_certificate_on_its_authoritys_list_opens_nothing() {
    let mut stack = prepared("").await;
    revoke(&stack, &[], HOUR);
    stack.start_server().await;
    stack.start_gateway().await;
    let tokens = [stack.token(&stack.alice).await, stack.token(&stack.mallory).await];
    let calls = tokens.map(|token| Call::get("/accounts").bearer(&token));
    let alice = stack.caller(&stack.alice).http(Http::V2).prepared();
    let mut server = alice.connect(&stack.mtls_authority).await.expect("a connection");
    let mut gateway = alice.connect(&stack.gateway_authority).await.expect("a connection");
    assert_eq!(server.send(&token_request()).await.status, 200);
    passed(&stack, &gateway.send(&calls[0]).await, "before");

    // Noticed by itself: nobody reloads.
    revoke(&stack, &[&stack.alice], HOUR);
    let started = Instant::now();
    while gateway.send(&calls[0]).await.status == 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the list is not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stack.upstream.forget();
    refused(&stack, &gateway.send(&calls[0]).await, 401, "invalid_token", "certificate_revoked", "on the same connection").await;
    reload(&stack).await;
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revoked");
    let mut resumed = alice.connect(&stack.gateway_authority).await.expect("a connection");
    assert!(resumed.resumed, "a list ends no sessions; it is asked every time");
    refused(&stack, &resumed.send(&calls[0]).await, 401, "invalid_token", "certificate_revoked", "on a resumed session").await;
    let said = symbolon(stack.dir.path(), &["explain", "cert", "alice.pem", "--config", "symbolon.toml"]).await.ok();
    for word in ["refused: certificate_revoked: `CN=Client CA` has revoked number", "keyCompromise", "number 1: 1 revoked, from"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    passed(&stack, &stack.caller(&stack.mallory).send(&stack.gateway_authority, &calls[1]).await, "mallory's is not revoked");

    // A list that cannot be read changes nothing, and is told.
    stack.upstream.forget();
    publish(&stack, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    let said = symbolon(stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.failed();
    assert!(said.contains("lists/ca.crl") && said.contains("not a DER-encoded certificate revocation list"), "{said}");
    refused(&stack, &gateway.send(&calls[0]).await, 401, "invalid_token", "certificate_revoked", "as before").await;

    // Too old: nobody knows who has been revoked since.
    revoke(&stack, &[], 0);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    reload(&stack).await;
    for (identity, call) in [(&stack.alice, &calls[0]), (&stack.mallory, &calls[1])] {
        let answer = stack.caller(identity).send(&stack.gateway_authority, call).await;
        refused(&stack, &answer, 401, "invalid_token", "certificate_revocation_stale", &identity.name).await;
    }
    assert_eq!(refused_with(&stack, &mut server, &token_request(), 401).await, "certificate_revocation_stale");

    // The one thing corrected.
    revoke(&stack, &[], HOUR);
    reload(&stack).await;
    passed(&stack, &gateway.send(&calls[0]).await, "the list says so");
    assert_eq!(server.send(&token_request()).await.status, 200);
}

/// What streams ends with the list that revokes the certificate of an authority above it.
#[tokio::test]
async fn an_open_stream_ends_with_the_list() {
    let mut stack = prepared("intermediate_files = [\"intermediate.pem\"]").await;
    let intermediate = stack.client_ca.intermediate("Intermediate CA");
    std::fs::write(stack.path("intermediate.pem"), &intermediate.pem).expect("written");
    let both = |revoked: &[&Identity]| {
        let above: Vec<_> = revoked.iter().map(|identity| &identity.chain[1]).collect();
        [stack.client_ca.revocation_list(&above, HOUR), intermediate.revocation_list(&[], HOUR)].concat()
    };
    let identity = intermediate.issue(Leaf::client("alice"));
    let (before, after) = (both(&[]), both(&[&identity]));
    publish(&stack, &before);
    stack.start_server().await;
    stack.start_gateway().await;
    let token = stack.token(&identity).await;
    let cut = streams_until_cut(&stack, &identity, &token, async {
        publish(&stack, &after);
        reload(&stack).await;
    });
    assert!(cut.await < Duration::from_millis(1_300));
    stack.upstream.forget();
    let answer = stack.at_gateway(&identity, &token).await;
    refused(&stack, &answer, 401, "invalid_token", "certificate_revoked", "the authority above it").await;
    stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // What the root itself signed stands under a list that says nothing of it.
    let token = stack.token(&stack.alice).await;
    assert_eq!(stack.at_gateway(&stack.alice, &token).await.status, 200, "another path");
}

/// Nothing starts on lists that are missing, empty, garbled or another authority's, and the message says which and what to do. (Caddy
/// CVE-2026-27586 went on with the system's authorities; Pomerium without a list lets everybody in.)
#[tokio::test]
async fn nothing_starts_without_the_lists_that_are_named() {
    let stack = prepared("").await;
    let twin = Authority::new("Client CA").revocation_list(&[], HOUR);
    let other = Authority::new("Other CA").revocation_list(&[], HOUR);
    let good = stack.client_ca.revocation_list(&[], HOUR);
    let table: [(&str, Option<&str>, &str); 6] = [
        ("no folder", None, "lists: cannot be read"),
        ("no list", Some(""), "lists/ca.crl: has no revocation list"),
        ("a certificate", Some(&stack.client_ca.pem), "lists/ca.crl: has no revocation list"),
        ("garbled", Some("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), "lists/ca.crl: not a DER-encoded"),
        ("the name of the true one", Some(&twin), "another authority has the same name"),
        ("another's", Some(&other), "add its certificate to `files` or `intermediate_files`"),
    ];
    for (what, list, expected) in table {
        if let Some(list) = list {
            publish(&stack, list);
        }
        for (command, config) in [("serve", "symbolon.toml"), ("gateway", "gateway.toml")] {
            let problem =
                Process::try_start(command, &stack.path(config)).await.err().unwrap_or_else(|| panic!("{what}: started"));
            assert!(problem.contains("anchor set `clients`") && problem.contains(expected), "{what}: {problem}");
        }
    }
    publish(&stack, &good);
    let server = Process::try_start("serve", &stack.server_config()).await.expect("with the list in its place");
    let gateway = Process::try_start("gateway", &stack.gateway_config()).await.expect("with the list in its place");
    gateway.stop().await;
    server.stop().await;
}
