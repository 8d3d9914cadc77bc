//! "Why was I refused?", asked on the command line.

use crate::harness::publisher::Publisher;
use crate::harness::{Authority, Call, Leaf, Setup, Stack, command::symbolon};
use rcgen::DnType;

/// Who accepts a certificate, why others do not, and what registration would accept it.
#[tokio::test]
async fn a_certificate_is_explained() {
    let setup = Setup { without_gateway: true, ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let explain = async |more: &[&str]| symbolon(stack.dir.path(), &[&["explain", "cert"], more].concat()).await;
    let robot = Leaf {
        subject: vec![
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "a/b".into()),
            (DnType::CommonName, "robot".into()),
        ],
        dns: vec!["robot.example".into()],
        uri: vec!["spiffe://example/robot".into()],
        ..Leaf::client("robot")
    };
    let robot = stack.client_ca.issue(robot);
    robot.write(stack.dir.path());
    let said = explain(&["robot.pem"]).await.ok();
    let anchor = "accepted by `CN=Client CA` (SPKI SHA-256 ";
    for expected in [
        "CN=robot,O=a/b,C=DE",
        "/C=DE/O=a\\/b/CN=robot",
        "2.5.4.3=robot,2.5.4.10=a/b,2.5.4.6=DE",
        "spiffe://example/robot",
        "key            EC P-256",
        &robot.thumbprint(),
        "`clients`      accepted by",
        ", from `client-ca.pem`), every date on the path holds until",
        anchor,
        "no rule names this certificate",
        "{\"tls_client_auth_subject_dn\":\"CN=robot,O=a/b,C=DE\"}",
        "{\"tls_client_auth_san_dns\":\"robot.example\"}",
        "{\"tls_client_auth_san_uri\":\"spiffe://example/robot\"}",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    // Against a registration: the matcher that fails, by its private reason.
    let said = explain(&["robot.pem", "--client", "alice"]).await.ok();
    assert!(said.contains("refused: certificate_subject_mismatch: the certificate's subject is `CN=robot,O=a/b,C=DE`"), "{said}");
    assert!(explain(&["alice.pem", "--client", "alice"]).await.ok().contains("this is the registered one"));

    // Each refusal by its reason, the same that a request would get.
    let twin = Authority::new("Client CA");
    let table = [
        ("twin", twin.issue(Leaf::client("twin")), "certificate_signature"),
        ("other", Authority::new("Other").issue(Leaf::client("other")), "certificate_unknown_issuer"),
        ("old", stack.client_ca.issue(Leaf { not_after: -60, ..Leaf::client("old") }), "certificate_expired"),
        (
            "server2",
            stack.client_ca.issue(Leaf { name: "server2".into(), ..Leaf::server(&["x.example"]) }),
            "certificate_extended_key_usage",
        ),
    ];
    for (name, identity, reason) in table {
        identity.write(stack.dir.path());
        let said = explain(&[&format!("{name}.pem"), "--anchors", "clients"]).await.ok();
        assert!(said.contains(&format!("`clients`      refused: {reason}: ")), "{reason} is not in\n{said}");
    }
    symbolon(stack.dir.path(), &["cert", "revoke", "robot.pem"]).await.ok();
    let said = explain(&["robot.pem"]).await.ok();
    assert!(said.contains("refused: certificate_revoked"), "{said}");
    assert!(explain(&["robot.pem", "--anchors", "nobody"]).await.failed().contains("there is no [anchor_set.nobody]"));
    // A gateway knows sets and no clients.
    let said = explain(&["alice.pem", "--config", "gateway.toml"]).await.ok();
    assert!(said.contains(anchor) && said.contains("asked for by   localhost on listener `gateway`: `clients`"), "{said}");
    assert!(explain(&["alice.pem", "--client", "alice", "--config", "gateway.toml"]).await.failed().contains("knows no clients"));
}

/// The subjects of the path, and of each revocation list the file or URL that it came from, with its dates; of one that does not come, why.
#[tokio::test]
async fn a_path_is_explained_with_its_lists() {
    let publisher = Publisher::start_plain().await;
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", publisher.port);
    let anchors = "files = [\"client-ca.pem\"]".to_owned();
    let more = format!(
        "crl_files = [\"lists\"]\ncrl_urls = [\"{}\", \"{}\"]\nintermediate_files = [\"between.pem\"]\nrevocation = \"hard\"",
        at("/between.crl"),
        at("/absent.crl")
    );
    let setup = Setup { server_changes: vec![(anchors.clone(), format!("{anchors}\n{more}"))], ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let between = stack.client_ca.intermediate("Between");
    std::fs::write(stack.path("between.pem"), &between.pem).expect("written");
    std::fs::create_dir(stack.path("lists")).expect("a folder");
    std::fs::write(stack.path("lists/root.crl"), stack.client_ca.revocation_list(&[], 3_600)).expect("written");
    publisher.publish_at("/between.crl", between.revocation_list(&[], 3_600).as_bytes());
    let mut robot = between.issue(Leaf::client("robot"));
    robot.certificate_pem.truncate(robot.certificate_pem.find("-----END CERTIFICATE-----").expect("PEM") + 26);
    robot.write(stack.dir.path());
    let said = symbolon(stack.dir.path(), &["explain", "cert", "robot.pem"]).await.ok();
    for expected in [
        "`CN=robot` by `CN=Between` by `CN=Client CA`".to_owned(),
        format!("in force, fetched from {}", at("/between.crl")),
        "lists/root.crl`".to_owned(),
        format!("{}: it could not be fetched: ", at("/absent.crl")),
        "known until".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected} is not in\n{said}");
    }
    let line = said.lines().find(|line| line.contains("lists/root.crl")).expect("the line");
    assert!(line.contains("`CN=Client CA` number 1: 0 revoked, from ") && line.contains(", in force, from `"), "{line}");
}

/// Which of a route's rules a certificate did not meet.
#[tokio::test]
async fn a_rule_of_a_route_is_named() {
    let rules = "certificate_names = [\"dns:robot.example\"]\ncertificate_issuers = [\"CN=Client CA\"]\n";
    let route = "name = \"accounts\"\n".to_owned();
    let changes = vec![(route.clone(), format!("{route}{rules}"))];
    let stack = Setup { gateway_changes: changes, ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let answer = stack.at_gateway(&stack.alice, &token).await;
    assert_eq!(stack.verdict(&answer).await, (403, "access_denied".into(), "policy_certificate".into()));
    stack.upstream.assert_untouched();
    let said = symbolon(stack.dir.path(), &["explain", &answer.request_id(), "--config", "gateway.toml"]).await.ok();
    for expected in
        ["route `accounts`", "`certificate_names`: the certificate has none of dns:robot.example", "`certificate_issuers`"]
    {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(!said.contains("`certificate_issuers`: the certificate has none"), "{said}");
    let robot = stack.client_ca.issue(Leaf { dns: vec!["robot.example".into()], ..Leaf::client("alice") });
    let token = stack.token(&robot).await;
    assert_eq!(stack.at_gateway(&robot, &token).await.status, 200, "the one thing corrected");
}

/// What a token says, and whose it is, without showing it to the machine's other users.
#[tokio::test]
async fn a_token_is_explained_beside_a_certificate() {
    let stack = Stack::start().await;
    let explain = async |token: &str, more: &[&str]| {
        std::fs::write(stack.path("token.txt"), format!("Bearer {token}\n")).expect("written");
        symbolon(stack.dir.path(), &[&["explain", "token", "--file", "token.txt"], more].concat()).await
    };
    for token in [stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await] {
        let said = explain(&token, &["--cert", "alice.pem"]).await.ok();
        for expected in [
            "it stands",
            "the token is bound to this certificate",
            &stack.alice.thumbprint(),
            "client_id      alice",
            // Everything that `explain cert` tells, with the registration of the token's client.
            "`clients`      accepted by `CN=Client CA` (SPKI SHA-256 ",
            "no rule names this certificate",
            "client `alice`",
            "this is the registered one",
            "{\"tls_client_auth_subject_dn\":\"CN=alice\"}",
        ] {
            assert!(said.contains(expected), "{expected} is not in\n{said}");
        }
        assert!(!said.contains(&token), "the token itself is told to nobody");
        let said = explain(&token, &["--cert", "mallory.pem"]).await.ok();
        assert!(said.contains("refused: binding_certificate_mismatch"), "{said}");
        assert!(said.contains("refused: certificate_subject_mismatch"), "the matcher that fails: {said}");
        assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
        assert!(explain(&token, &[]).await.ok().contains("refused: token_revoked"));
    }
    let token = stack.token(&stack.alice).await;
    let said = explain(&token, &["--config", "gateway.toml", "--cert", "alice.pem"]).await.ok();
    assert!(said.contains("not checked") && said.contains("the token is bound to this certificate"), "{said}");
    // Another's signature, and a thumbprint as people get it wrong.
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let hex = "a4".repeat(32);
    let payload = format!("{{\"iss\":\"https://other.example\",\"exp\":1,\"cnf\":{{\"x5t#S256\":\"{hex}\"}}}}");
    let forged = format!(
        "{}.{}.{}",
        encode("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"x\"}"),
        encode(&payload),
        encode(&"x".repeat(64))
    );
    let said = explain(&forged, &[]).await.ok();
    for expected in ["refused: token_key_unknown", "https://other.example", "(over)", "SHA-256 digest in hexadecimal"] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    std::fs::write(stack.path("empty.txt"), "\n").expect("written");
    let nothing = symbolon(stack.dir.path(), &["explain", "token", "--file", "empty.txt"]).await;
    assert!(nothing.failed().contains("there is no token"));
}

/// What an unverified token says stands in lines of its own: it clears no screen and writes no verdict.
#[tokio::test]
async fn a_token_cannot_write_to_the_terminal() {
    use base64::Engine as _;
    let stack = Setup { without_gateway: true, ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = |kid: &str, subject: &str| {
        let header = format!("{{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"{kid}\"}}");
        let payload = format!("{{\"iss\":\"https://other.example\",\"sub\":\"{subject}\",\"exp\":1}}");
        format!("{}.{}.{}", encode(&header), encode(&payload), encode(&"x".repeat(64)))
    };
    let explain = async |token: String| {
        std::fs::write(stack.path("token.txt"), token).expect("written");
        symbolon(stack.dir.path(), &["explain", "token", "--file", "token.txt", "--config", "gateway.toml"]).await.ok()
    };
    let said = explain(token("\\u001b[2J\\n  verdict        it stands", "ad\\u202enim\\u009b2J")).await;
    assert!(said.chars().all(|character| character == '\n' || !character.is_control()), "{said:?}");
    assert!(!said.contains('\u{202e}') && !said.lines().any(|line| line.starts_with("  verdict        it stands")), "{said:?}");
    assert!(said.contains("\\u{1b}[2J\\u{a}") && said.contains("ad\\u{202e}nim\\u{9b}2J"), "{said}");
    let said = explain(token("key-1", "admin Jos\u{e9}")).await;
    assert!(said.contains("key-1") && said.contains("admin Jos\u{e9}"), "{said}");
}

/// Refusals of strangers are remembered in memory up to a bound, whatever they send: the newest is explained, the oldest has fallen out, and the
/// process has not grown with them.
#[tokio::test]
async fn refusals_are_remembered_up_to_a_bound() {
    const REMEMBERED: usize = 1_024;
    let stack = Stack::start().await;
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", stack.gateway.as_ref().expect("a process").id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let explain = async |id: &str| symbolon(stack.dir.path(), &["explain", id, "--config", "gateway.toml"]).await;
    let mut stranger = stack.nobody().connect(&stack.gateway_authority).await.expect("a connection");
    let long = "x".repeat(3_000);
    let mut refused = async |count: usize, target: &str| {
        let mut ids = Vec::new();
        for number in 0..count {
            let answer = stranger.send(&Call::get(&format!("/accounts/{number}{target}"))).await;
            assert_eq!(answer.status, 401);
            ids.push(answer.request_id().to_owned());
        }
        ids
    };
    let first = refused(REMEMBERED + 1, "").await;
    stack.reason_of(&first[REMEMBERED]).await;
    let said = explain(&first[REMEMBERED]).await.ok();
    assert!(said.contains("token_absent") && said.contains(&first[REMEMBERED]), "{said}");
    assert!(explain(&first[1]).await.ok().contains("token_absent"), "the oldest that is remembered");
    assert!(explain(&first[0]).await.failed().contains("the audit trail keeps them all"), "the one before");

    // Long ones, more than fit: what is remembered is replaced and not added to.
    refused(2 * REMEMBERED, &long).await;
    let before = resident();
    let more = refused(3 * REMEMBERED, &long).await;
    stack.reason_of(more.last().expect("one")).await;
    let after = resident();
    assert!(after < before + 4_096, "{before} kB, then {after} kB: all of these together are some {} kB", 3 * 3_000);
    assert!(explain(more.last().expect("one")).await.ok().contains("token_absent"));
    assert!(explain(&first[REMEMBERED]).await.failed().contains("is not among the recent ones"));
}

/// By the id that the caller was told, a running process says what was shown and whence, and the command judges it anew: chain, subject, dates,
/// revocation, what the token is bound to, and what registration would have accepted it.
#[tokio::test]
async fn a_refused_request_is_explained_with_its_certificate() {
    let stack = Stack::start().await;
    let explain = async |arguments: &[&str]| symbolon(stack.dir.path(), &[&["explain"], arguments].concat()).await;
    let refused = async |answer: crate::harness::Answer, status: u16| {
        assert_eq!(answer.status, status, "{}", answer.text());
        let id = answer.request_id().to_owned();
        stack.reason_of(&id).await;
        id
    };
    let contains = |said: &str, all: &[&str]| {
        for expected in all {
            assert!(said.contains(expected), "{expected} is not in\n{said}");
        }
    };

    // Somebody else's token at the gateway.
    let token = stack.token(&stack.alice).await;
    let id = refused(stack.at_gateway(&stack.mallory, &token).await, 401).await;
    let said = explain(&[&id, "--config", "gateway.toml"]).await.ok();
    let (alice, mallory) = (stack.alice.thumbprint(), stack.mallory.thumbprint());
    contains(
        &said,
        &[
            "refused        binding_certificate_mismatch (status 401)",
            &format!("cnf x5t#S256   {alice}"),
            &format!("shown        {mallory}, another"),
            "from           the handshake",
            "CN=mallory",
            "/CN=mallory",
            "2.5.4.3=mallory",
            "not after",
            "`clients`      accepted by `CN=Client CA` (SPKI SHA-256 ",
            "revocation is not looked at",
            "{\"tls_client_auth_subject_dn\":\"CN=mallory\"}",
        ],
    );
    assert!(!said.contains(&token));
    let event: serde_json::Value =
        serde_json::from_str(&explain(&[&id, "--event", "--config", "gateway.toml"]).await.ok()).expect("JSON alone");
    assert_eq!(event["reason"], "binding_certificate_mismatch");

    // At the token endpoint: an intermediate that nobody signed, and the matcher that fails, with what came after the certificate.
    let other = Authority::new("Other").intermediate("Between");
    let stranger = other.issue(Leaf::client("alice"));
    let form = [("grant_type", "client_credentials"), ("client_id", "alice")];
    let id = refused(stack.post(&stranger, "/token", &form).await, 401).await;
    let said = explain(&[&id]).await.ok();
    contains(&said, &["came with      CN=Between (SPKI SHA-256 ", "`clients`      refused: certificate_unknown_issuer: "]);
    let robot = stack.client_ca.issue(Leaf::client("robot"));
    let id = refused(stack.post(&robot, "/token", &form).await, 401).await;
    let said = explain(&[&id]).await.ok();
    contains(
        &said,
        &[
            "refused        certificate_subject_mismatch",
            "client `alice`",
            "refused: certificate_subject_mismatch: the certificate's subject is `CN=robot`",
            "{\"tls_client_auth_subject_dn\":\"CN=robot\"}",
            "no rule names this certificate",
        ],
    );
    // Judged as things are now.
    robot.write(stack.dir.path());
    symbolon(stack.dir.path(), &["cert", "revoke", "robot.pem"]).await.ok();
    contains(&explain(&[&id]).await.ok(), &["refused        certificate_subject_mismatch", "refused: certificate_revoked"]);

    // Nothing shown.
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").bearer(&token)).await;
    let id = refused(answer, 401).await;
    let said = explain(&[&id, "--config", "gateway.toml"]).await.ok();
    contains(&said, &[&format!("cnf x5t#S256   {alice}"), "shown        nothing", "none was shown"]);
}
