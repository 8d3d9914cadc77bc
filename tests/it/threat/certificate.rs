//! Certificates without their keys, and of other authorities.

use super::{passed, refused};
use crate::harness::{Authority, Call, Http, Leaf, Setup, Stack, Tls};

/// RFC 8705 §3: the binding rests on the proof of possession in the handshake (RFC 8446 §4.4.3, RFC 5246 §7.4.8).
#[tokio::test]
async fn a_certificate_without_its_key_is_only_paper() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let paper = stack.alice.with_key_of(&stack.mallory);
    for tls in [Tls::V12, Tls::V13] {
        for http in [Http::V1, Http::V2] {
            let call = Call::get("/accounts").bearer(&token);
            for (thief, what) in
                [(stack.caller(&paper), "another's key"), (stack.caller(&stack.alice).tampering(), "one bit of the signature")]
            {
                let outcome = thief.tls(tls).http(http).try_send(&stack.gateway_authority, &call).await;
                let error = outcome.map(|answer| answer.status).expect_err(what);
                assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{what} {tls:?} {http:?}: {error}");
                stack.upstream.assert_untouched();
            }
            let answer = stack.caller(&stack.alice).tls(tls).http(http).send(&stack.gateway_authority, &call).await;
            passed(&stack, &answer, (tls, http));
        }
        let form = [("grant_type", "client_credentials"), ("client_id", "alice")];
        let call = Call::form("/token", &form);
        for thief in [stack.caller(&paper), stack.caller(&stack.alice).tampering()] {
            thief.tls(tls).try_send(&stack.mtls_authority, &call).await.expect_err("no handshake");
        }
        let answer = stack.caller(&stack.alice).tls(tls).send(&stack.mtls_authority, &call).await;
        assert_eq!(answer.status, 200);
    }
    assert!(!stack.events("gateway-audit.jsonl").iter().any(|event| event["certificate"] == stack.mallory.thumbprint()));
}

/// A route's set and the host's must both accept: an authority that only the host takes opens nothing of the route's, although it is called as the
/// route's is, and although its certificates were accepted on this very connection before.
#[tokio::test]
async fn a_route_has_an_authority_of_its_own_beside_the_hosts() {
    let partners = Authority::new("Client CA");
    let both = ("files = [\"client-ca.pem\"]".to_owned(), "files = [\"client-ca.pem\", \"partners.pem\"]".to_owned());
    let gateway = r#"
[anchor_set.partners]
files = ["partners.pem"]

[[route]]
name = "partners"
host = "{gateway_authority}"
path = "/partners"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
anchor_set = "partners"
"#;
    let changes = vec![both];
    let setup = Setup { gateway: gateway.into(), gateway_changes: changes.clone(), server_changes: changes, ..Setup::default() };
    let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("partners.pem", &partners.pem)]).await;
    stack.start_server().await;
    stack.start_gateway().await;
    let partner = partners.issue(Leaf::client("alice"));
    let tokens = [stack.token(&stack.alice).await, stack.token(&partner).await];
    for http in [Http::V1, Http::V2] {
        let alice = stack.caller(&stack.alice).http(http).prepared();
        let mut connection = alice.connect(&stack.gateway_authority).await.expect("a connection");
        for _ in 0..2 {
            passed(&stack, &connection.send(&Call::get("/accounts").bearer(&tokens[0])).await, http);
            let answer = connection.send(&Call::get("/partners").bearer(&tokens[0])).await;
            refused(&stack, &answer, 401, "invalid_token", "certificate_signature", http).await;
        }
        let partner = stack.caller(&partner).http(http).prepared();
        let mut connection = partner.connect(&stack.gateway_authority).await.expect("a connection");
        for path in ["/accounts", "/partners"] {
            passed(&stack, &connection.send(&Call::get(path).bearer(&tokens[1])).await, (http, path));
        }
    }
}

/// RFC 8705 §2.1: the subject counts only under an authority that is trusted for it, and an authority is its key, not its name.
#[tokio::test]
async fn another_authority_is_not_trusted_whatever_it_is_called() {
    let stack = Stack::start().await;
    // The name of the true one, another key.
    let (twin, other) = (Authority::new("Client CA"), Authority::new("Other CA"));
    let mut grafted = twin.issue(Leaf::client("alice"));
    grafted.chain.push(stack.client_ca.certificate.clone());
    let table = [
        (twin.issue(Leaf::client("alice")), "certificate_signature"),
        (other.issue(Leaf::client("alice")), "certificate_unknown_issuer"),
        (Leaf::client("alice").self_signed(), "certificate_unknown_issuer"),
        (grafted, "certificate_signature"),
    ];
    for (identity, reason) in table {
        let answer = stack.ask(&identity, &[]).await;
        let verdict = stack.verdict(&answer).await;
        assert_eq!((verdict.0, verdict.1.as_str()), (401, "invalid_client"), "{reason}: {}", answer.text());
        // Both say that no path was found; which of them depends on how far one was followed.
        assert!([reason, "certificate_unknown_issuer"].contains(&verdict.2.as_str()), "{reason}: {}", verdict.2);
        assert!(answer.json()["access_token"].is_null());
    }
    // The same subject by the true authority.
    let answer = stack.ask(&stack.client_ca.issue(Leaf::client("alice")), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Nobody can tell from an answer which clients exist, unless he has a certificate.
#[tokio::test]
async fn strangers_do_not_learn_which_clients_exist() {
    let stack = Stack::start().await;
    for extra in [None, Some(("client_secret", "x")), Some(("client_assertion", "x"))] {
        for path in ["/token", "/introspect", "/revoke"] {
            let mut answers = Vec::new();
            for client_id in ["alice", "nobody"] {
                let mut form = vec![("grant_type", "client_credentials"), ("client_id", client_id), ("token", "x")];
                form.extend(extra);
                let answer = stack.nobody().send(&stack.mtls_authority, &Call::form(path, &form)).await;
                let headers: Vec<_> =
                    answer.headers.iter().filter(|(name, _)| name != "x-request-id" && name != "date").collect();
                answers.push(format!("{} {headers:?} {}", answer.status, answer.text()));
            }
            assert_eq!(answers[0], answers[1], "{path} {extra:?}");
            assert!(answers[0].starts_with("401"), "{}", answers[0]);
        }
    }
    let answer = stack.ask(&stack.alice, &[]).await;
    assert_eq!(answer.status, 200);
}

/// A certificate that two readers could understand differently is of no use, and says so.
#[tokio::test]
async fn a_chain_beyond_the_limits_is_no_certificate() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let mut long = stack.alice.clone();
    long.chain.extend(std::iter::repeat_n(stack.client_ca.certificate.clone(), 10));
    let answer = stack.at_gateway(&long, &token).await;
    refused(&stack, &answer, 401, "invalid_token", "certificate_too_large", "eleven certificates").await;
    long.chain.pop();
    let answer = stack.at_gateway(&long, &token).await;
    passed(&stack, &answer, "ten certificates");
}

/// What an authority may not issue, and what two programs could read differently: names outside its constraints, an authority below one that may have none
/// (RFC 5280 §4.2.1.9, §4.2.1.10), an alternative name with a NUL in it; and an intermediate that nobody sent. The same certificates without the fault
/// authenticate, also with an alternative name of a kind that is not read.
#[tokio::test]
async fn what_an_authority_may_not_issue_is_refused_with_its_reason() {
    let stack = Stack::start().await;
    let ca = &stack.client_ca;
    let constrained = |host: &str| {
        ca.intermediate_with("Constrained", |params| {
            let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName(host.to_owned())];
            params.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
        })
    };
    let long = |length: u8| {
        let short = ca.intermediate_with("Short", |params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(length));
        });
        short.intermediate("Below")
    };
    let named = |dns: &str| Leaf { dns: vec![dns.to_owned()], ..Leaf::client("alice") };
    let mut lonely = long(1).issue(Leaf::client("alice"));
    lonely.chain.truncate(1);
    for (what, bad, reason, good) in [
        (
            "name constraints",
            constrained("inside.example").issue(named("a.outside.example")),
            "certificate_name_constraints",
            constrained("inside.example").issue(named("a.inside.example")),
        ),
        ("path length", long(0).issue(Leaf::client("alice")), "certificate_path", long(1).issue(Leaf::client("alice"))),
        ("a NUL", ca.issue(named("alice.example\0.evil.example")), "certificate_malformed", ca.issue(named("alice.example"))),
        (
            "a NUL beside a kind that is not read",
            ca.issue(Leaf { principal: Some("alice@example".into()), ..named("a\0.example") }),
            "certificate_malformed",
            ca.issue(Leaf { principal: Some("alice@example\0".into()), ..named("alice.example") }),
        ),
        ("no intermediate", lonely, "certificate_unknown_issuer", long(1).issue(Leaf::client("alice"))),
    ] {
        let answer = stack.ask(&bad, &[]).await;
        let verdict = stack.verdict(&answer).await;
        assert_eq!(
            (verdict.0, verdict.1.as_str(), verdict.2.as_str()),
            (401, "invalid_client", reason),
            "{what}: {}",
            answer.text()
        );
        let answer = stack.ask(&good, &[]).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
    // A name of a kind that is not read is nobody's name: neither the subject's nor an alternative one.
    let principal = ca.issue(Leaf { principal: Some("alice".into()), ..Leaf::client("nobody") });
    let answer = stack.post(&principal, "/token", &[("grant_type", "client_credentials"), ("client_id", "alice")]).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_subject_mismatch");
}

/// The kinds of keys and the sizes that a set asks for.
#[tokio::test]
async fn a_key_of_a_kind_that_the_set_refuses_is_no_key() {
    let files = "files = [\"client-ca.pem\"]";
    for rule in ["keys = [\"p256\", \"p384\"]", "min_rsa_bits = 3072"] {
        let changes = vec![(files.to_owned(), format!("{files}\n{rule}"))];
        let stack = Setup { server_changes: changes, without_gateway: true, ..Setup::default() }.start().await;
        let answer = stack.ask(&stack.client_ca.issue_rsa(Leaf::client("alice")), &[]).await;
        let verdict = stack.verdict(&answer).await;
        assert_eq!((verdict.0, verdict.1.as_str(), verdict.2.as_str()), (401, "invalid_client", "certificate_key"), "{rule}");
        assert_eq!(stack.ask(&stack.client_ca.issue(Leaf::client("alice")), &[]).await.status, 200, "{rule}");
    }
}
