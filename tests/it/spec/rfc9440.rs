//! RFC 9440: telling the upstream the client's certificate; and other dialects of the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::harness::{Call, Http, Leaf, Setup};

const ROUTES: &str = r#"
[[route]]
name = "told"
host = "{gateway_authority}"
path = "/told"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
certificate_headers = ["rfc9440_with_chain", "nginx", "xfcc"]
assertion_reuse = "per_request"
request_header = [
    { name = "X-Who", value = "${token.sub} as ${ssl_client_s_dn_parsed} at ${route}" },
    { name = "X-Email", value = "${claim.email}" },
]

[[route]]
name = "unbound"
host = "{gateway_authority}"
path = "/unbound"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = "danger_off"
certificate_mode = "permissive"
certificate_headers = ["rfc9440", "nginx", "xfcc", "traefik", "alb", "x_ssl_client_cert"]
"#;

/// §2.2: "Client-Cert" is the DER of the certificate as a Byte Sequence; §2.3: "Client-Cert-Chain" has "the same order as presented", the
/// leaf left out; §2.4, §4: "any occurrence of the Client-Cert and Client-Cert-Chain header fields in the original incoming request
/// MUST be removed or overwritten".
#[tokio::test]
async fn the_upstream_is_told_the_certificate_of_the_connection_and_nothing_a_client_says() {
    let stack = Setup { gateway: ROUTES.to_owned(), ..Setup::default() }.start().await;
    let intermediate = stack.client_ca.intermediate("Intermediate");
    let alice = intermediate.issue(Leaf::client("alice"));
    let token = stack.token(&alice).await;
    for http in [Http::V1, Http::V2] {
        let call = Call::get("/told")
            .bearer(&token)
            .header("client-cert", ":AAAA:")
            .header("client_cert_chain", ":AAAA:")
            .header("ssl-client-verify", "SUCCESS")
            .header("x-forwarded-client-cert", "Hash=00")
            .header("x-who", "root")
            .header("x_email", "root@example");
        stack.upstream.forget();
        let answer = stack.caller(&alice).http(http).send(&stack.gateway_authority, &call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let request = stack.upstream.last();
        let encoded = |index: usize| format!(":{}:", STANDARD.encode(&alice.chain[index]));
        assert_eq!(request.values("client-cert"), [encoded(0).as_str()]);
        assert_eq!(request.values("client-cert-chain"), [encoded(1).as_str()]);
        assert_eq!(request.values("ssl-client-verify"), ["SUCCESS"]);
        assert_eq!(request.values("ssl-client-subject-dn"), ["CN=alice"]);
        assert_eq!(request.values("ssl-client-issuer-dn"), ["CN=Intermediate"]);
        let hash: String = Sha256::digest(&alice.chain[0]).iter().map(|byte| format!("{byte:02x}")).collect();
        let [xfcc] = request.values("x-forwarded-client-cert").try_into().expect("one field");
        let xfcc: &str = xfcc;
        assert!(xfcc.starts_with(&format!("Hash={hash};Cert=\"")) && xfcc.contains(";Subject=\"CN=alice\""), "{xfcc}");
        assert_eq!(request.values("x-who"), ["alice as alice at told"]);
        for absent in ["x-email", "x_email", "client_cert_chain"] {
            assert!(request.values(absent).is_empty(), "{absent}");
        }
        // Fields of one route are nobody's to set on another.
        stack.upstream.forget();
        let call = Call::get("/accounts").bearer(&token).header("x-who", "root").header("X_EMAIL", "x");
        assert_eq!(stack.caller(&alice).http(http).send(&stack.gateway_authority, &call).await.status, 200);
        let request = stack.upstream.last();
        for absent in ["x-who", "x_email", "client-cert", "ssl-client-verify"] {
            assert!(request.values(absent).is_empty(), "{absent}");
        }
    }
    // Somebody else's certificate, of an authority that nobody trusts: what has no word for that stays away.
    let stranger = crate::harness::Authority::new("Client CA").issue(Leaf::client("alice"));
    stack.upstream.forget();
    let call = Call::get("/unbound").bearer(&token).header("client-cert", ":AAAA:").header("x-ssl-client-cert", "x");
    assert_eq!(stack.caller(&stranger).send(&stack.gateway_authority, &call).await.status, 200);
    let request = stack.upstream.last();
    assert_eq!(request.values("ssl-client-verify"), ["FAILED:certificate_signature"]);
    for absent in [
        "client-cert",
        "x-forwarded-client-cert",
        "x-forwarded-tls-client-cert",
        "x-amzn-mtls-clientcert-leaf",
        "x-ssl-client-cert",
    ] {
        assert!(request.values(absent).is_empty(), "{absent}");
    }
    stack.upstream.forget();
    assert_eq!(stack.nobody().send(&stack.gateway_authority, &call).await.status, 200);
    assert_eq!(stack.upstream.last().values("ssl-client-verify"), ["NONE"]);
}

/// An assertion names method and route; one is for one request where the route wants that, and is used again where it does not.
#[tokio::test]
async fn assertions_are_for_their_method_and_route() {
    let stack = Setup { gateway: ROUTES.to_owned(), ..Setup::default() }.start().await;
    let token = stack.token(&stack.alice).await;
    let assertion = async |method: &str, path: &str| {
        stack.upstream.forget();
        let call = Call::new(method, path).bearer(&token);
        assert_eq!(stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status, 200);
        let values: Vec<String> = stack.upstream.last().values("x-symbolon-assertion").iter().map(ToString::to_string).collect();
        let [value]: [String; 1] = values.try_into().expect("one assertion");
        let claims = crate::harness::token::claims(&value);
        assert_eq!((claims["method"].as_str(), claims["exp"].is_i64()), (Some(method), true));
        (value, claims)
    };
    let (first, claims) = assertion("GET", "/accounts").await;
    assert_eq!(claims["route"], "accounts");
    assert_eq!(assertion("GET", "/accounts/x").await.0, first);
    assert_ne!(assertion("POST", "/accounts").await.0, first);
    let (first, claims) = assertion("GET", "/told").await;
    assert_eq!(claims["route"], "told");
    let (second, more) = assertion("GET", "/told").await;
    assert_ne!(first, second);
    assert_ne!(claims["jti"], more["jti"]);
    // Our own word is no token.
    stack.upstream.forget();
    let answer = stack.at_gateway(&stack.alice, &first).await;
    assert_eq!(stack.verdict(&answer).await.0, 401);
    stack.upstream.assert_untouched();
}
