//! TCP routes: who gets in, and when a stream ends. There is no token, so that everything hangs on the certificate.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::flow::operations::{metrics_listener, plain};
use crate::harness::client::PATIENCE;
use crate::harness::tcp_route::{TcpSetup, says_back};
use crate::harness::{Authority, Call, Identity, Leaf, TcpPlace, TcpUpstream, Tls, command::symbolon, ports};

/// Within a second, and what a busy machine needs beside.
const SECOND: Duration = Duration::from_millis(1_300);

async fn reload(place: &TcpPlace) {
    symbolon(place.stack.dir.path(), &["reload", "--config", "gateway.toml"]).await.ok();
}

/// Without a certificate, or with one that is not good, the handshake succeeds and the connection is closed: the upstream is not even
/// connected to. The reason is in the trail, `explain` finds it, and it is counted.
#[tokio::test]
async fn nobody_gets_in_without_a_good_certificate() {
    let port = ports::free();
    let names = "certificate_names = [\"dns:carol.example\", \"dns:dora.example\"]\n".to_owned();
    let setup = TcpSetup { route: names, more: metrics_listener(port), ..TcpSetup::default() };
    let mut place = setup.start(TcpUpstream::start().await).await;
    let named = |name: &str| Leaf { dns: vec![format!("{name}.example")], ..Leaf::client(name) };
    place.carol = place.authority.issue(named("carol"));
    let namesake = Authority::new("Database CA");
    let others: Vec<(&str, Option<Identity>, &[&str])> = vec![
        ("none", None, &["certificate_absent"]),
        (
            "an authority of the same name",
            Some(namesake.issue(named("carol"))),
            &["certificate_signature", "certificate_unknown_issuer"],
        ),
        ("of another host's authority", Some(place.stack.client_ca.issue(named("carol"))), &["certificate_unknown_issuer"]),
        ("signed by itself", Some(named("carol").self_signed()), &["certificate_unknown_issuer"]),
        ("expired", Some(place.authority.issue(Leaf { not_after: -60, ..named("carol") })), &["certificate_expired"]),
        ("the authority's own", Some(place.authority.as_client()), &["certificate_authority_as_client"]),
        ("not named", Some(place.authority.issue(named("eve"))), &["policy_certificate"]),
    ];
    let mut number = 0;
    for (what, identity, reasons) in &others {
        for tls in [Tls::V12, Tls::V13] {
            let caller = identity.as_ref().map_or_else(|| place.nobody(), |identity| place.caller(identity)).tls(tls);
            let event = place.refused(&caller, number).await;
            number += 1;
            assert!(reasons.contains(&event["reason"].as_str().unwrap_or_default()), "{what}: {event}");
            assert_eq!(
                (&event["route"], &event["server_name"], &event["upstream"]),
                (&"db".into(), &"as.example".into(), &().into())
            );
            let id = event["request_id"].as_str().expect("an id");
            let said = symbolon(place.stack.dir.path(), &["explain", id, "--config", "gateway.toml"]).await.ok();
            assert!(said.contains(event["reason"].as_str().expect("a reason")), "{what}: {said}");
            // Whoever is named in a good certificate gets in.
            let mut stream = place.open(&place.caller(&place.carol).tls(tls)).await;
            let event = place.event("tcp_connection", number).await;
            number += 1;
            assert_eq!((&event["reason"], &event["certificate"]), (&().into(), &place.carol.thumbprint().into()), "{event}");
            stream.shutdown().await.expect("closed");
            // The other side says all it has to say as well, before this one is gone.
            stream.read_to_end(&mut Vec::new()).await.expect("closed");
            place.upstream.wait_for_ends(1, 0).await;
        }
    }
    let (_, counted) = plain(port, "/metrics").await;
    for line in [
        "symbolon_gateway_decisions_total{route=\"db\",decision=\"allow\"} 14",
        "symbolon_gateway_decisions_total{route=\"db\",decision=\"deny\"} 14",
        "symbolon_gateway_denials_total{route=\"db\",reason=\"certificate_absent\"} 2",
        "symbolon_gateway_stream_ends_total{route=\"db\",reason=\"closed\"} 14",
        "symbolon_gateway_streams{route=\"db\"} 0",
    ] {
        assert!(counted.lines().any(|told| told == line), "{line}:\n{counted}");
    }
}

/// Where the host demands a certificate the handshake itself fails, with an alert; so it does for whoever offers protocols that are not
/// spoken here, such as a browser that was led here, and for names that nobody has. None of them reaches the upstream.
#[tokio::test]
async fn a_handshake_that_must_not_succeed_fails() {
    let demanded = (
        "client_certificate = \"request\"\nanchor_set = \"databases\"",
        "client_certificate = \"require\"\nanchor_set = \"databases\"",
    );
    let changes = vec![(demanded.0.to_owned(), demanded.1.to_owned())];
    let place = TcpSetup { changes, ..TcpSetup::default() }.start(TcpUpstream::start().await).await;
    for (round, tls) in [Tls::V12, Tls::V13].into_iter().enumerate() {
        // In TLS 1.3 the objection comes with the first read.
        let none = place.nobody().tls(tls);
        let alert = match none.raw(&place.place).await {
            Ok(mut stream) => stream.read_u8().await.map(drop),
            Err(error) => Err(error),
        };
        let alert = alert.expect_err("an alert").to_string();
        assert!(alert.contains("CertificateRequired") || alert.contains("HandshakeFailure"), "{tls:?}: {alert}");
        let event = place.event("tcp_connection", round * 2).await;
        assert_eq!((&event["reason"], &event["route"]), (&"certificate_absent".into(), &"db".into()), "{event}");
        let id = event["request_id"].as_str().expect("an id");
        let said = symbolon(place.stack.dir.path(), &["explain", id, "--config", "gateway.toml"]).await.ok();
        assert!(said.contains("certificate_absent"), "{said}");
        for (what, caller) in [
            ("a browser", place.stack.caller(&place.carol).tls(tls)),
            ("another protocol", place.caller(&place.carol).tls(tls).alpn(&["postgresql"])),
            ("a stranger's name", place.caller(&place.carol).tls(tls).server_name("db.example")),
            ("no name", place.caller(&place.carol).tls(tls).server_name("127.0.0.1")),
            (
                "another's key",
                place.caller(&Identity { key_pem: place.stack.alice.key_pem.clone(), ..place.carol.clone() }).tls(tls),
            ),
        ] {
            let failed = match caller.raw(&place.place).await {
                Ok(mut stream) => stream.read_u8().await.map(drop),
                Err(error) => Err(error),
            };
            failed.expect_err(what);
        }
        place.upstream.assert_untouched();
        place.open(&place.caller(&place.carol).tls(tls)).await;
        place.upstream.forget();
        // Nobody else came as far as a decision.
        let event = place.event("tcp_connection", round * 2 + 1).await;
        assert_eq!((&event["reason"], &event["certificate"]), (&().into(), &place.carol.thumbprint().into()), "{event}");
    }
}

/// A resumed session carries the certificate of its handshake, and no verdict: it is judged anew, and what was revoked since is refused.
#[tokio::test]
async fn a_resumed_session_is_judged_anew() {
    let place = TcpPlace::start("").await;
    let stranger = place.stack.client_ca.issue(Leaf::client("carol"));
    let mut number = 0;
    for tls in [Tls::V12, Tls::V13] {
        let caller = place.caller(&stranger).tls(tls).prepared();
        for round in 0..2 {
            place.upstream.forget();
            let mut stream = caller.raw(&place.place).await.expect("a handshake");
            let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            assert_eq!(resumed, round > 0, "{tls:?}: or this shows nothing");
            place.is_closed(&mut stream).await;
            let event = place.event("tcp_connection", number).await;
            number += 1;
            assert_eq!(event["reason"], "certificate_unknown_issuer", "{event}");
            place.upstream.assert_untouched();
        }
        let good = place.authority.issue(Leaf::client("dora"));
        good.write(place.stack.dir.path());
        let caller = place.caller(&good).tls(tls).prepared();
        for round in 0..2 {
            let mut stream = place.open(&caller).await;
            let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            assert_eq!(resumed, round > 0, "{tls:?}");
            stream.shutdown().await.expect("closed");
            let event = place.event("tcp_connection", number).await;
            number += 1;
            let from = if resumed { "resumed_handshake" } else { "handshake" };
            assert_eq!((&event["reason"], &event["certificate_origin"]["from"]), (&().into(), &from.into()), "{event}");
        }
        symbolon(place.stack.dir.path(), &["cert", "revoke", "dora.pem", "--config", "symbolon.toml"]).await.ok();
        let started = Instant::now();
        loop {
            place.upstream.forget();
            let mut stream = caller.raw(&place.place).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{tls:?}");
            // It may reach the upstream until the gateway has heard.
            let _ = stream.write_all(b"stolen").await;
            let mut byte = [0];
            let heard = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.expect("in time");
            let event = place.event("tcp_connection", number).await;
            number += 1;
            if event["reason"] == "certificate_revoked" {
                assert!(!matches!(heard, Ok(1..)));
                place.upstream.assert_untouched();
                break;
            }
            assert!(started.elapsed() < SECOND, "{event}");
            // What was let through has come to its end there too, before anything is forgotten.
            drop(stream);
            place.upstream.wait_for_end(1).await;
        }
    }
}

/// What ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Revoked,
    Listed,
    AuthorityGone,
    Expired,
}

/// A certificate that is revoked, on a list, out of its dates, or of an authority that is gone ends the open stream within a second. The
/// end looks like a cut at both sides.
#[tokio::test]
async fn an_open_stream_ends_with_its_certificate() {
    let place = TcpPlace::start("").await;
    for (ending, reasons) in [
        (Ending::Revoked, &["certificate_revoked"][..]),
        (Ending::Listed, &["certificate_revoked"]),
        (Ending::AuthorityGone, &["certificate_unknown_issuer", "certificate_signature"]),
        (Ending::Expired, &["certificate_expired"]),
    ] {
        let not_after = if ending == Ending::Expired { 7 } else { 86_400 };
        let dora = place.authority.issue(Leaf { not_after, ..Leaf::client("dora") });
        let expires = Instant::now() + Duration::from_secs(8);
        dora.write(place.stack.dir.path());
        place.upstream.forget();
        let mut stream = place.open(&place.caller(&dora)).await;
        let mut other = place.open(&place.caller(&place.carol)).await;
        match ending {
            Ending::Revoked => {
                symbolon(place.stack.dir.path(), &["cert", "revoke", "dora.pem", "--config", "symbolon.toml"]).await.ok();
            }
            Ending::Listed => {
                let list = place.authority.revocation_list(&[&dora.chain[0]], 3_600);
                std::fs::write(place.stack.path("db.crl"), list).expect("written");
                reload(&place).await;
            }
            Ending::AuthorityGone => {
                let another = Authority::new("Database CA");
                std::fs::write(place.stack.path("db-ca.pem"), &another.pem).expect("written");
                std::fs::write(place.stack.path("db.crl"), another.revocation_list(&[], 3_600)).expect("written");
                reload(&place).await;
            }
            Ending::Expired => {}
        }
        let started = Instant::now();
        let mut heard = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the stream ends");
        let error = end.expect_err("no end that TLS has for it");
        assert_eq!((error.kind(), heard.as_slice()), (std::io::ErrorKind::UnexpectedEof, &b""[..]), "{ending:?}");
        if ending == Ending::Expired {
            assert!(Instant::now() < expires + SECOND && Instant::now() + SECOND > expires, "{ending:?}");
        } else {
            assert!(started.elapsed() < SECOND, "{ending:?}: {:?}", started.elapsed());
        }
        if ending == Ending::AuthorityGone {
            let _ = tokio::time::timeout(PATIENCE, other.read_to_end(&mut heard)).await.expect("the other stream ends too");
            place.upstream.wait_for_ends(0, 2).await;
            std::fs::write(place.stack.path("db-ca.pem"), &place.authority.pem).expect("written");
            std::fs::write(place.stack.path("db.crl"), place.authority.revocation_list(&[], 3_600)).expect("written");
            reload(&place).await;
            other = place.open(&place.caller(&place.carol)).await;
        } else {
            place.upstream.wait_for_ends(0, 1).await;
        }
        // Whoever's certificate is still good goes on.
        says_back(&mut other, b"still here").await;
        other.shutdown().await.expect("closed");
        place.upstream.wait_for_ends(1, if ending == Ending::AuthorityGone { 2 } else { 1 }).await;
        let ended = place.end_of(&dora).await;
        assert!(reasons.contains(&ended["reason"].as_str().unwrap_or_default()), "{ending:?}: {ended:?}");
    }
}

/// Whoever says half of a client hello, or nothing, keeps no place, and reaches nobody.
#[tokio::test]
async fn a_slow_handshake_reaches_nobody() {
    let more = "\n[limits]\nhandshake_seconds = 2\n".to_owned();
    let place = TcpSetup { more, ..TcpSetup::default() }.start(TcpUpstream::start().await).await;
    let port: u16 = place.place.rsplit_once(':').expect("a port").1.parse().expect("a port");
    for bytes in [&b""[..], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], b"\0\0\0\x08\x04\xd2\x16\x2f", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
        socket.write_all(bytes).await.expect("written");
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "{bytes:?}: it keeps its place");
        place.upstream.assert_untouched();
    }
    place.open(&place.caller(&place.carol)).await;
}

/// One connection too many is closed; one that is silent for too long ends; one from elsewhere does not begin.
#[tokio::test]
async fn places_silence_and_addresses_are_limited() {
    let place = TcpPlace::start("max_concurrent = 1\nidle_seconds = 2\naddresses = [\"127.0.0.1\", \"127.0.0.9\"]\n").await;
    let carol = place.caller(&place.carol);
    let mut first = place.open(&carol).await;
    let event = place.refused(&carol, 1).await;
    assert_eq!(event["reason"], "route_crowded", "{event}");
    says_back(&mut first, b"the first goes on").await;
    first.shutdown().await.expect("closed");
    assert_eq!(place.event("tcp_connection_ended", 0).await["reason"], serde_json::Value::Null);
    let event = place.refused(&carol.clone().from([127, 0, 0, 8]), 2).await;
    assert_eq!(event["reason"], "policy_address", "{event}");

    place.upstream.forget();
    let mut silent = place.open(&carol.from([127, 0, 0, 9])).await;
    let started = Instant::now();
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut heard)).await.expect("it ends");
    end.expect_err("a cut");
    assert!((2..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(place.event("tcp_connection_ended", 1).await["reason"], "stream_idle");
    place.upstream.wait_for_ends(0, 1).await;
}

/// No HTTP is spoken at the route's name, and a request for it that comes by another name has come the wrong way.
#[tokio::test]
async fn the_name_is_not_for_http() {
    let place = TcpPlace::start("").await;
    let stack = &place.stack;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&token).header("Host", &place.place);
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
    super::refused(stack, &answer, 421, "misdirected_request", "request_misdirected", "by another name").await;
    // What looks like HTTP is bytes there.
    let mut stream = place.open(&place.caller(&place.carol)).await;
    says_back(&mut stream, &Call::get("/accounts").bearer(&token).bytes(&stack.gateway_authority)).await;
    stack.upstream.assert_untouched();
    assert_eq!(stack.at_gateway(&stack.alice, &token).await.status, 200);
}

/// A stream that its client breaks off without the end that TLS has for it (RFC 8446 §6.1) does not look finished to the upstream.
#[tokio::test]
async fn a_stream_that_is_cut_is_not_taken_for_finished() {
    let place = TcpPlace::start("").await;
    let carol = place.caller(&place.carol);
    let stream = place.open(&carol).await;
    let (mut socket, _) = stream.into_inner();
    socket.shutdown().await.expect("closed");
    place.upstream.wait_for_ends(0, 1).await;
    assert_eq!(place.event("tcp_connection_ended", 0).await["reason"], "stream_broken");
    let mut stream = place.open(&carol).await;
    stream.shutdown().await.expect("closed");
    place.upstream.wait_for_ends(1, 1).await;
}

/// At the end of the process an open stream has the time of the shutdown to come to its end, and no more; nobody new is let in.
#[tokio::test]
async fn a_shutdown_waits_for_streams_and_not_for_ever() {
    let more = "\n[limits]\nshutdown_seconds = 3\n".to_owned();
    let mut place = TcpSetup { more, ..TcpSetup::default() }.start(TcpUpstream::start().await).await;
    let carol = place.caller(&place.carol);
    let mut finishing = place.open(&carol).await;
    let mut lasting = place.open(&carol).await;
    let started = Instant::now();
    let stopping = tokio::spawn(place.stack.gateway.take().expect("a gateway").stop());
    tokio::time::sleep(Duration::from_millis(700)).await;
    says_back(&mut finishing, b"a last word").await;
    finishing.shutdown().await.expect("closed");
    place.upstream.wait_for_ends(1, 0).await;
    says_back(&mut lasting, b"on and on").await;
    assert!(carol.raw(&place.place).await.is_err(), "nobody new");
    assert_eq!(stopping.await.expect("stopped"), Some(0));
    assert!((2..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    place.upstream.wait_for_ends(1, 1).await;
    let ended = place.events("tcp_connection_ended");
    let reasons: Vec<_> = ended.iter().map(|event| event["reason"].as_str().unwrap_or_default()).collect();
    assert_eq!(reasons, ["", "stream_stopped"]);
}

/// What could not be meant is refused before anything starts, and `gateway check` lists what each route demands.
#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let route = "certificate_names = [\"dns:carol.example\"]\nmax_concurrent = 9\n".to_owned();
    let place = TcpSetup { route, ..TcpSetup::default() }.prepare(TcpUpstream::start().await).await;
    let stack = &place.stack;
    let check = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await.ok();
    let (port, upstream) = (place.place.rsplit_once(':').expect("a port").1, place.upstream.port);
    let expected = format!(
        "db  tls://as.example:{port}\n  proof       of the certificate's key, in the handshake; there is no token\n  \
         certificate a good one from everybody at as.example:{port}, by `databases`\n  named       dns:carol.example\n  \
         revocation  lists and OCSP as the sets say; rules of 1 authorization servers\n  addresses   any\n  \
         upstreams   127.0.0.1:{upstream}\n  at once     9 connections\n  silence     600 seconds at most\n\n"
    );
    assert!(check.contains(&expected), "{check}");
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    let asks = "client_certificate = \"request\"\nanchor_set = \"databases\"\n";
    let (upstream, tcp) = (format!("upstream = \"127.0.0.1:{upstream}\""), "tcp_route = \"db\"");
    for (from, to, words) in [
        ("names = [\"as.example\"]", "names = [\"*\"]", "an address and `*` are asked for without one"),
        ("names = [\"as.example\"]", "names = [\"as.example\", \"127.0.0.1\"]", "an address and `*` are asked for without one"),
        (asks, "", "a `tcp_route` lets nobody through without a certificate"),
        (asks, "client_certificate = \"request\"\n", "no certificate would be accepted"),
        (tcp, "tcp_route = \"other\"", "`db` is named by no host"),
        (tcp, "tcp_route = \"db\"\ncertificate_mode = \"permissive\"", "take `certificate_mode` away"),
        (tcp, "tcp_route = \"db\"\nalpn = [\"\"]", "each of `alpn` must have 1 to 32 bytes"),
        ("names = [\"localhost\"]", "names = [\"localhost\"]\nalpn = [\"h2\"]", "`alpn` is for hosts with a `tcp_route`"),
        ("names = [\"localhost\"]", "names = [\"localhost\"]\ntcp_route = \"other\"", "there is no [[tcp_route]] named `other`"),
        ("name = \"db\"", "name = \"accounts\"", "two routes are named `accounts`"),
        (&upstream, "upstream = \"127.0.0.1\"", "`127.0.0.1` is not `HOST:PORT`"),
        (&upstream, "upstream = []", "must name at least one"),
        ("max_concurrent = 9", "idle_seconds = 0", "idle_seconds"),
        ("max_concurrent = 9", "upstream_server_name = \"db\"", "which need `upstream_ca_file`"),
        ("max_concurrent = 9", "anchor_set = \"nobody\"", "there is no `[anchor_set.nobody]`"),
        ("revocation_feed = true", "revocation_feed = false", "`test` says nothing without `revocation_feed`"),
    ] {
        assert!(written.contains(from), "{from}");
        let mut changed = written.replacen(from, to, 1);
        if words.contains("two routes") {
            changed = changed.replacen(tcp, "tcp_route = \"accounts\"", 1);
        }
        std::fs::write(stack.path("other.toml"), changed).expect("written");
        let said = symbolon(stack.dir.path(), &["gateway", "check", "--config", "other.toml"]).await.failed();
        assert!(said.contains(words), "{words}: {said}");
    }
}
