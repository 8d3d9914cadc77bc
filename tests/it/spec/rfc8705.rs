//! RFC 8705: mutual-TLS client authentication and certificate-bound access tokens.

use std::net::IpAddr;

use rcgen::{DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::harness::command::symbolon;
use crate::harness::stack::PROTOCOLS;
use crate::harness::{Answer, Authority, Call, Engine, Identity, Leaf, Setup, Stack, token};

fn token_call(client_id: &str) -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client_id)])
}

#[track_caller]
fn access_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().expect("access_token").to_owned()
}

/// A client like alice, recognised by `member` of its metadata.
fn person(client_id: &str, member: &str, value: &str) -> Value {
    json!({
        "client_id": client_id,
        "token_endpoint_auth_method": "tls_client_auth",
        member: value,
        "scope": "read",
        "resources": ["{accounts}"],
    })
}

/// §2.1: the PKI method, with each of the five subjects of §2.1.2 ("A client using the `tls_client_auth` authentication method MUST
/// use exactly one of the below metadata parameters to indicate the certificate subject value that the authorization server is to
/// expect"); §3: the token is bound to the certificate of the connection.
#[tokio::test]
async fn each_kind_of_subject_authenticates_and_binds() {
    let setup = Setup {
        without_gateway: true,
        clients: vec![
            person("by-dn", "tls_client_auth_subject_dn", "CN=robot,OU=Lab,O=Example\\, Inc.,C=DE"),
            person("by-openssl-dn", "tls_client_auth_subject_dn", "/C=DE/O=Example, Inc./OU=Lab/CN=robot"),
            person("by-dns", "tls_client_auth_san_dns", "Robot.Example"),
            person("by-uri", "tls_client_auth_san_uri", "spiffe://example/robot"),
            person("by-ip4", "tls_client_auth_san_ip", "192.0.2.7"),
            person("by-ip6", "tls_client_auth_san_ip", "2001:db8:0:0::7"),
            person("by-email", "tls_client_auth_san_email", "robot@example.com"),
        ],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let full_name = Leaf {
        subject: vec![
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "Example, Inc.".into()),
            (DnType::OrganizationalUnitName, "Lab".into()),
            (DnType::CommonName, "robot".into()),
        ],
        ..Leaf::client("robot")
    };
    let address = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
    let nobody = Leaf { subject: vec![(DnType::CommonName, "nobody".into())], ..Leaf::client("robot") };
    let dns = |name: &str| Leaf { dns: vec!["first.example".into(), name.into()], ..nobody.clone() };
    let uri = |uri: &str| Leaf { uri: vec![uri.into()], ..nobody.clone() };
    let ip = |text: &str| Leaf { ip: address(text), ..nobody.clone() };
    let email = |address: &str| Leaf { email: vec![address.into()], ..nobody.clone() };
    let table = [
        ("by-dn", full_name.clone(), Leaf::client("robot"), "certificate_subject_mismatch"),
        ("by-openssl-dn", full_name, Leaf::client("robot"), "certificate_subject_mismatch"),
        ("by-dns", dns("robot.example"), dns("robot.example.com"), "certificate_san_mismatch"),
        ("by-uri", uri("spiffe://example/robot"), uri("spiffe://example/Robot"), "certificate_san_mismatch"),
        ("by-ip4", ip("192.0.2.7"), ip("192.0.2.8"), "certificate_san_mismatch"),
        ("by-ip6", ip("2001:db8::7"), ip("::ffff:192.0.2.7"), "certificate_san_mismatch"),
        ("by-email", email("robot@EXAMPLE.com"), email("ROBOT@example.com"), "certificate_san_mismatch"),
    ];
    for (client_id, right, wrong, reason) in table {
        for (tls, http) in PROTOCOLS {
            let wrong = stack.client_ca.issue(wrong.clone());
            let caller = stack.caller(&wrong).tls(tls).http(http);
            let answer = caller.send(&stack.mtls_authority, &token_call(client_id)).await;
            let expected = (401, "invalid_client".to_owned(), reason.to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{client_id} {tls:?} {http:?}");

            let right = stack.client_ca.issue(right.clone());
            let caller = stack.caller(&right).tls(tls).http(http);
            let answer = caller.send(&stack.mtls_authority, &token_call(client_id)).await;
            assert_eq!(token::claims(&access_token(&answer))["cnf"], json!({ "x5t#S256": right.thumbprint() }), "{client_id}");
        }
    }
}

/// §2.1.2: "tls_client_auth_subject_dn: A string representation -- as defined in [RFC4514] -- of the expected subject distinguished
/// name of the certificate": a name in the opposite order is another name.
#[tokio::test]
async fn a_subject_backwards_is_another_subject() {
    let setup = Setup {
        without_gateway: true,
        clients: vec![
            person("backwards", "tls_client_auth_subject_dn", "O=Example,CN=robot"),
            person("forwards", "tls_client_auth_subject_dn", "CN=robot,O=Example"),
        ],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let subject = vec![(DnType::OrganizationName, "Example".into()), (DnType::CommonName, "robot".into())];
    let robot = stack.caller(&stack.client_ca.issue(Leaf { subject, ..Leaf::client("robot") }));
    let answer = robot.send(&stack.mtls_authority, &token_call("backwards")).await;
    let expected = (401, "invalid_client".to_owned(), "certificate_subject_mismatch".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    access_token(&robot.send(&stack.mtls_authority, &token_call("forwards")).await);
}

/// §2.1: the PKI method "relies on a validated certificate chain [RFC5280] and a single subject distinguished name (DN) or a single
/// subject alternative name (SAN) to authenticate the client"; §2: otherwise "the authorization server returns a normal OAuth 2.0
/// error response per Section 5.2 of [RFC6749] with the `invalid_client` error code". One row for every way in which a certificate can
/// be no good.
async fn bad_certificates_are_invalid_client(engine: Engine) {
    let setup = Setup {
        engine,
        without_gateway: true,
        server: "[anchor_set.other]\nfiles = [\"other-ca.pem\"]\n".into(),
        ..Setup::default()
    };
    let store = match engine {
        Engine::Sqlite => Some("sqlite:symbolon.db".to_owned()),
        Engine::Postgres => crate::harness::postgres::database().await,
    };
    let Some(store) = store else { return };
    let other_ca = Authority::new("Other CA");
    let mut stack = setup.prepare_with(store, &[("other-ca.pem", &other_ca.pem)]).await;
    let both = json!({
        "client_id": "both", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=both",
        "anchor_set": "other", "resources": [stack.accounts],
    });
    stack.apply(&[both]).await.ok();
    stack.start_server().await;

    let ca = &stack.client_ca;
    let alice = || Leaf::client("alice");
    let impostor_ca = Authority::new("Client CA");
    let server_only = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let expired_below = ca.intermediate("Below");
    let without_intermediate = {
        let mut identity = ca.intermediate("Hidden").issue(alice());
        identity.chain.truncate(1);
        identity
    };
    let table: Vec<(&str, Option<Identity>, &str, &str)> = vec![
        ("none", None, "alice", "certificate_absent"),
        ("an authority nobody named", Some(other_ca.issue(alice())), "alice", "certificate_unknown_issuer"),
        ("an authority of the same name", Some(impostor_ca.issue(alice())), "alice", "certificate_signature"),
        ("signed by itself", Some(alice().self_signed()), "alice", "certificate_unknown_issuer"),
        ("an intermediate left out", Some(without_intermediate), "alice", "certificate_unknown_issuer"),
        ("expired", Some(ca.issue(Leaf { not_after: -60, ..alice() })), "alice", "certificate_expired"),
        ("not yet valid", Some(ca.issue(Leaf { not_before: 3_600, ..alice() })), "alice", "certificate_not_yet_valid"),
        (
            "serverAuth alone",
            Some(ca.issue(Leaf { extended_key_usages: server_only, ..alice() })),
            "alice",
            "certificate_extended_key_usage",
        ),
        (
            "a key not for signatures",
            Some(ca.issue(Leaf { key_usages: vec![KeyUsagePurpose::KeyAgreement], ..alice() })),
            "alice",
            "certificate_key_usage",
        ),
        (
            "an authority as client",
            Some(ca.issue(Leaf { is_authority: true, ..alice() })),
            "alice",
            "certificate_authority_as_client",
        ),
        ("the root itself", Some(ca.as_client()), "alice", "certificate_authority_as_client"),
        ("another's", Some(stack.mallory.clone()), "alice", "certificate_subject_mismatch"),
        ("an unknown client", Some(stack.alice.clone()), "nobody", "client_unknown"),
        ("a client_id in other letters", Some(stack.alice.clone()), "Alice", "client_unknown"),
        ("the host's set but not the client's", Some(ca.issue(Leaf::client("both"))), "both", "certificate_unknown_issuer"),
        ("the client's set but not the host's", Some(other_ca.issue(Leaf::client("both"))), "both", "certificate_unknown_issuer"),
    ];
    for (what, identity, client_id, reason) in table {
        let caller = identity.as_ref().map_or(stack.nobody(), |identity| stack.caller(identity));
        let answer = caller.send(&stack.mtls_authority, &token_call(client_id)).await;
        let expected = (401, "invalid_client".to_owned(), reason.to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{what}");
        assert_eq!(answer.json().get("access_token"), None, "{what}");
    }
    // What differs from the rows above is the certificate alone.
    access_token(&stack.caller(&stack.alice).send(&stack.mtls_authority, &token_call("alice")).await);
    let below = expired_below.issue(alice());
    access_token(&stack.caller(&below).send(&stack.mtls_authority, &token_call("alice")).await);
}

#[tokio::test]
async fn bad_certificates_are_invalid_client_on_sqlite() {
    bad_certificates_are_invalid_client(Engine::Sqlite).await;
}

#[tokio::test]
async fn bad_certificates_are_invalid_client_on_postgres() {
    bad_certificates_are_invalid_client(Engine::Postgres).await;
}

/// §2.2: "the client's certificate chain is not validated by the server in this case. The client is successfully authenticated if the
/// certificate that it presented during the handshake matches one of the certificates configured or registered for that particular
/// client."
#[tokio::test]
async fn a_self_signed_certificate_authenticates_when_it_is_registered() {
    let robot = Leaf::client("robot").self_signed();
    let next = Leaf::client("robot").self_signed();
    let expired = Leaf { not_after: -60, ..Leaf::client("robot") }.self_signed();
    let setup = Setup {
        clients: vec![json!({
            "client_id": "robot",
            "token_endpoint_auth_method": "self_signed_tls_client_auth",
            "jwks": { "keys": [robot.jwk(), next.jwk(), expired.jwk()] },
            "scope": "read",
            "resources": ["{accounts}"],
        })],
        // A host that names a set takes certificates of that set alone.
        gateway_changes: vec![(
            "client_certificate = \"request\"\nanchor_set = \"clients\"".into(),
            "client_certificate = \"request\"".into(),
        )],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let table: [(&str, Option<Identity>, &str); 4] = [
        ("none", None, "certificate_absent"),
        ("of the same name", Some(Leaf::client("robot").self_signed()), "certificate_not_registered"),
        ("from a trusted authority", Some(stack.client_ca.issue(Leaf::client("robot"))), "certificate_not_registered"),
        ("registered and expired", Some(expired), "certificate_expired"),
    ];
    for (tls, http) in PROTOCOLS {
        for (what, identity, reason) in &table {
            let caller = identity.as_ref().map_or(stack.nobody(), |identity| stack.caller(identity)).tls(tls).http(http);
            let answer = caller.send(&stack.mtls_authority, &token_call("robot")).await;
            let expected = (401, "invalid_client".to_owned(), (*reason).to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{what} {tls:?} {http:?}");
        }
        for identity in [&robot, &next] {
            let caller = stack.caller(identity).tls(tls).http(http);
            let bound = access_token(&caller.send(&stack.mtls_authority, &token_call("robot")).await);
            assert_eq!(token::claims(&bound)["cnf"], json!({ "x5t#S256": identity.thumbprint() }));
            // The resource needs no authority for it either: the binding is to this very certificate.
            let answer = caller.send(&stack.gateway_authority, &Call::get("/accounts").bearer(&bound)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    // Each method is its own: a client of one cannot use the other.
    let answer = stack.caller(&Leaf::client("alice").self_signed()).send(&stack.mtls_authority, &token_call("alice")).await;
    assert_eq!(answer.error(), "invalid_client");
}

/// §3: "If they do not match, the resource access attempt MUST be rejected with an error per [RFC6750] using an HTTP 401 status code
/// and the `invalid_token` error code", for JWTs (§3.1) and introspected tokens (§3.2), in every version of TLS and HTTP.
async fn the_resource_rejects_other_certificates(engine: Engine) {
    let Some(stack) = Stack::start_on(engine).await else { return };
    let jwt = stack.token(&stack.alice).await;
    let opaque = stack.opaque_token(&stack.alice).await;
    assert_eq!(opaque.split('.').count(), 1, "an opaque token shows nothing");
    // The same subject and the same authority, another certificate: bound is bound.
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    for (path, token) in [("/accounts", &jwt), ("/reports", &opaque)] {
        let call = Call::get(path).bearer(token);
        for (tls, http) in PROTOCOLS {
            let table = [
                ("mallory", stack.caller(&stack.mallory), "binding_certificate_mismatch"),
                ("renewed", stack.caller(&renewed), "binding_certificate_mismatch"),
                ("none", stack.nobody(), "binding_certificate_absent"),
            ];
            for (who, caller, reason) in table {
                let answer = caller.tls(tls).http(http).send(&stack.gateway_authority, &call).await;
                let what = format!("{who} {path} {tls:?} {http:?}");
                assert_eq!(answer.status, 401, "{what}: {}", answer.text());
                assert!(answer.challenge().starts_with("Bearer "), "{what}: {}", answer.challenge());
                assert!(answer.challenge().contains(r#"error="invalid_token""#), "{what}: {}", answer.challenge());
                assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{what}");
            }
            stack.upstream.assert_untouched();
            let answer = stack.caller(&stack.alice).tls(tls).http(http).send(&stack.gateway_authority, &call).await;
            assert_eq!(answer.status, 200, "{path} {tls:?} {http:?}: {}", answer.text());
            stack.upstream.forget();
        }
    }
}

#[tokio::test]
async fn the_resource_rejects_other_certificates_on_sqlite() {
    the_resource_rejects_other_certificates(Engine::Sqlite).await;
}

#[tokio::test]
async fn the_resource_rejects_other_certificates_on_postgres() {
    the_resource_rejects_other_certificates(Engine::Postgres).await;
}

/// §3: the comparison is made on every request: a connection on which a token was refused, or admitted, has no memory of it.
#[tokio::test]
async fn every_request_of_a_connection_is_judged() {
    let stack = Stack::start().await;
    let (hers, other) = (stack.token(&stack.mallory).await, stack.token(&stack.alice).await);
    let mut connection = stack.caller(&stack.mallory).connect(&stack.gateway_authority).await.expect("connected");
    for (token, status) in [(&hers, 200), (&other, 401), (&hers, 200), (&other, 401)] {
        assert_eq!(connection.send(&Call::get("/accounts").bearer(token)).await.status, status);
    }
    // And one token that was admitted on one connection is judged anew on another.
    assert_eq!(stack.at_gateway(&stack.alice, &other).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, &other).await.status, 401);
}

/// §3.1: `x5t#S256` is the base64url-encoded SHA-256 hash of the DER encoding of the certificate; §3.2: introspection answers have the
/// same member.
#[tokio::test]
async fn the_confirmation_is_the_thumbprint_in_jwt_and_introspection() {
    let stack = Stack::start().await;
    let expected = json!({ "x5t#S256": stack.alice.thumbprint() });
    let jwt = stack.token(&stack.alice).await;
    assert_eq!(token::claims(&jwt)["cnf"], expected);
    let opaque = stack.opaque_token(&stack.alice).await;
    for token in [&jwt, &opaque] {
        let answer = stack.introspect(token).await;
        assert_eq!((&answer["active"], &answer["cnf"]), (&json!(true), &expected));
    }
}

/// Appendix A: the certificate and its thumbprint, as the RFC has them.
#[tokio::test]
async fn appendix_a() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = "-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
";
    std::fs::write(dir.path().join("mtls.pem"), certificate).expect("written");
    let shown = symbolon(dir.path(), &["cert", "show", "mtls.pem"]).await.ok();
    assert!(shown.contains("A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"), "{shown}");
    assert!(shown.contains("CN=mtls"), "{shown}");
}

/// §5: "mtls_endpoint_aliases: OPTIONAL. A JSON object containing alternative authorization server endpoints that, when present, an
/// OAuth client intending to do mutual TLS uses in preference to the conventional endpoints"; §3.3: "Boolean value indicating server
/// support for mutual-TLS client certificate-bound access tokens".
#[tokio::test]
async fn the_aliases_lead_to_endpoints_that_take_certificates() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let call = Call::get("/.well-known/oauth-authorization-server");
    let metadata = stack.nobody().send(&stack.issuer_authority, &call).await.json();
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], json!(true));
    let aliases = metadata["mtls_endpoint_aliases"].as_object().expect("an object");
    for (name, url) in aliases {
        let url: url::Url = url.as_str().expect("a URL").parse().expect("a URL");
        assert_eq!(
            format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port")),
            stack.mtls_authority,
            "{name}"
        );
        assert!(metadata[name].is_string(), "{name} has a conventional endpoint too");
    }
    for name in ["token_endpoint", "introspection_endpoint", "revocation_endpoint"] {
        assert!(aliases.contains_key(name), "{name}");
    }
    // At the conventional endpoint no certificate is asked for, so that none can authenticate: the answer says where to go.
    let alice = stack.caller(&stack.alice);
    let answer = alice.send(&stack.issuer_authority, &token_call("alice")).await;
    let expected = (401, "invalid_client".to_owned(), "certificate_absent".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert!(answer.text().contains("mtls_endpoint_aliases"), "{}", answer.text());
    access_token(&alice.send(&stack.mtls_authority, &token_call("alice")).await);
}

/// §3.4: "tls_client_certificate_bound_access_tokens: Boolean value used to indicate the client's intention to use mutual-TLS client
/// certificate-bound access tokens." A client that says no gets plain tokens, which a strict resource refuses.
#[tokio::test]
async fn a_client_may_decline_and_a_strict_resource_still_refuses() {
    let mut plain = person("alice", "tls_client_auth_subject_dn", "CN=alice");
    plain["tls_client_certificate_bound_access_tokens"] = json!(false);
    let stack = Setup { clients: vec![plain], ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    assert_eq!(token::claims(&token).get("cnf"), None);
    let answer = stack.at_gateway(&stack.alice, &token).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), "cnf_absent".to_owned()));
    stack.upstream.assert_untouched();
    // Where a route says that it takes plain tokens, it does, from anyone; and a bound one still has to be proven.
    let optional = |token: &str| Call::get("/optional").bearer(token);
    assert_eq!(stack.nobody().send(&stack.gateway_authority, &optional(&token)).await.status, 200);
    let bound = stack.token(&stack.mallory).await;
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &optional(&bound)).await;
    let expected = (401, "invalid_token".to_owned(), "binding_certificate_mismatch".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert_eq!(stack.caller(&stack.mallory).send(&stack.gateway_authority, &optional(&bound)).await.status, 200);
}

/// §7.1 and RFC 8446 §4.4.3: a certificate proves nothing without its key: the handshake fails, in either version.
#[tokio::test]
async fn a_certificate_without_its_key_opens_nothing() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let call = Call::get("/accounts").bearer(&token);
    for (tls, http) in PROTOCOLS {
        let thief = stack.caller(&stack.alice.with_key_of(&stack.mallory)).tls(tls).http(http);
        let tampering = stack.caller(&stack.alice).tampering().tls(tls).http(http);
        for caller in [thief, tampering] {
            assert!(caller.try_send(&stack.gateway_authority, &call).await.is_err(), "{tls:?} {http:?}");
            assert!(caller.try_send(&stack.mtls_authority, &token_call("alice")).await.is_err(), "{tls:?} {http:?}");
        }
        stack.upstream.assert_untouched();
        let alice = stack.caller(&stack.alice).tls(tls).http(http);
        assert_eq!(alice.send(&stack.gateway_authority, &call).await.status, 200);
        stack.upstream.forget();
    }
}
