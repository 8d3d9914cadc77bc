//! Names that nobody vouches for tell an upstream nothing.

use serde_json::json;

use crate::harness::upstream::Received;
use crate::harness::{Call, Identity, Leaf, Setup, Stack};

const DIALECTS: &str = r#"certificate_headers = ["rfc9440_with_chain", "nginx", "xfcc", "traefik", "alb", "x_ssl_client_cert"]
request_header = [
    { name = "X-Who", value = "${ssl_client_s_dn_parsed}" },
    { name = "X-Key", value = "${ssl_client_fingerprint_sha256}" },
]"#;

fn route(name: &str, more: &str) -> String {
    format!(
        r#"
[[route]]
name = "{name}"
host = "{{gateway_authority}}"
path = "/{name}"
upstream = "{{upstream}}"
authorization_server = "test"
audience = "{{accounts}}"
token = "jwt"
{more}
{DIALECTS}
"#
    )
}

/// What says who the client is by a name in its certificate.
const NAMES: [&str; 5] = [
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-amzn-mtls-clientcert-subject",
    "x-who",
];

async fn told(stack: &Stack, identity: &Identity, path: &str, token: &str) -> Received {
    stack.upstream.forget();
    let answer = stack.caller(identity).send(&stack.gateway_authority, &Call::get(path).bearer(token)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    stack.upstream.last()
}

/// A client whose token is bound to a certificate that it signed itself writes any name into it. No dialect without a word for worth
/// repeats one, neither where no anchor set is asked nor where the one that is asked refuses it. The same names in a certificate of the
/// authority are told.
#[tokio::test]
async fn a_name_that_a_client_wrote_itself_reaches_no_upstream() {
    let admin =
        || Leaf { uri: vec!["spiffe://example/admin".into()], dns: vec!["admin.example".into()], ..Leaf::client("robot") };
    let robot = admin().self_signed();
    let setup = Setup {
        clients: vec![json!({
            "client_id": "robot",
            "token_endpoint_auth_method": "self_signed_tls_client_auth",
            "jwks": { "keys": [robot.jwk()] },
            "scope": "read",
            "resources": ["{accounts}"],
        })],
        gateway: [
            route("unasked", ""),
            route("permissive", "certificate_mode = \"permissive\""),
            route("refused", "certificate_mode = \"permissive\"\nanchor_set = \"clients\""),
            route("asked", "anchor_set = \"clients\""),
        ]
        .concat(),
        gateway_changes: vec![(
            "client_certificate = \"request\"\nanchor_set = \"clients\"".into(),
            "client_certificate = \"request\"".into(),
        )],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let token = stack.token(&robot).await;
    for (path, verdict, bare) in [
        ("/unasked", "FAILED:certificate_no_anchors", 1),
        ("/permissive", "FAILED:certificate_no_anchors", 1),
        ("/refused", "FAILED:certificate_unknown_issuer", 0),
    ] {
        let request = told(&stack, &robot, path, &token).await;
        assert_eq!(request.values("ssl-client-verify"), [verdict], "{path}");
        for name in NAMES {
            assert!(request.values(name).is_empty(), "{path}: {name}: {:?}", request.values(name));
        }
        // Where nobody is asked, the certificate that the token is bound to, for whoever knows its key.
        for name in ["client-cert", "x-ssl-client-cert", "x-key"] {
            assert_eq!(request.values(name).len(), bare, "{path}: {name}");
        }
        assert!(request.values("client-cert-chain").is_empty(), "{path}");
    }
    let answer = stack.caller(&robot).send(&stack.gateway_authority, &Call::get("/asked").bearer(&token)).await;
    assert_eq!(stack.verdict(&answer).await.2, "certificate_unknown_issuer");

    let vouched = stack.client_ca.issue(Leaf { uri: admin().uri, dns: admin().dns, ..Leaf::client("alice") });
    let token = stack.token(&vouched).await;
    for path in ["/asked", "/refused"] {
        let request = told(&stack, &vouched, path, &token).await;
        assert_eq!(request.values("ssl-client-verify"), ["SUCCESS"], "{path}");
        for name in NAMES.into_iter().chain(["client-cert", "x-ssl-client-cert", "x-key"]) {
            assert_eq!(request.values(name).len(), 1, "{path}: {name}");
        }
        assert!(request.values("x-forwarded-client-cert")[0].contains("URI=spiffe://example/admin;DNS=admin.example"));
        assert_eq!(request.values("x-who"), ["alice"], "{path}");
    }
    let request = told(&stack, &vouched, "/unasked", &token).await;
    assert!(request.values("x-who").is_empty(), "an authority that is not asked vouches for nothing");
}
