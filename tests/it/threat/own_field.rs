//! Fields that the gateway itself sets for upstreams, against clients and against the operator's own slips.

use crate::harness::command::symbolon;
use crate::harness::{Call, Http, Setup, Stack};

/// The id by which the audit trail knows a request is the one that its upstream and its caller are told, whatever the client calls it.
#[tokio::test]
async fn the_upstream_is_told_our_request_id() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    for http in [Http::V1, Http::V2] {
        for name in ["X-Request-Id", "x_request_id"] {
            stack.upstream.forget();
            let call = Call::get("/accounts").bearer(&token).header(name, "forged").header("X-Correlation", "kept");
            let answer = stack.caller(&stack.alice).http(http).send(&stack.gateway_authority, &call).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let received = stack.upstream.last();
            assert_eq!(received.values("x-request-id"), [answer.request_id().as_str()], "{http:?} {name}");
            assert!(!format!("{:?}", received.headers).contains("forged"), "{:?}", received.headers);
            assert_eq!(received.values("x-correlation"), ["kept"]);
            assert_eq!(stack.event_of(answer.request_id()).await["route"], "accounts");
        }
    }
}

/// A field of the operator's own that would take another's place is refused before anything is served, and `gateway check` lists every
/// open place.
#[tokio::test]
async fn a_field_of_the_operators_own_takes_no_place_of_ours() {
    let route = r#"
[[route]]
name = "own"
host = "{gateway_authority}"
path = "/own"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
certificate_headers = ["xfcc"]
request_header = [{ name = "X-Own", value = "${route}" }]
"#;
    let changes = vec![("[gateway]\n".to_owned(), "[gateway]\nassertion_style = \"pomerium\"\n".to_owned())];
    let setup = Setup { gateway: route.to_owned(), gateway_changes: changes, ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".to_owned()).await;
    let check = async || symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    let open = "/.well-known/pomerium/jwks.json on every host: anybody";
    assert!(check().await.ok().contains(open));
    for name in ["X-Symbolon-Assertion", "X_Symbolon_Assertion", "X-Symbolon-Client-Verify", "X-Forwarded-Client-Cert"] {
        std::fs::write(stack.gateway_config(), written.replace("X-Own", name)).expect("written");
        let said = check().await.failed();
        assert!(said.contains(&format!("route.own.request_header.{}", name.to_lowercase())), "{said}");
    }
    let twice = "{ name = \"X-Own\", value = \"a\" }, { name = \"X-Own\"";
    std::fs::write(stack.gateway_config(), written.replace("{ name = \"X-Own\"", twice)).expect("written");
    assert!(check().await.failed().contains("is a field that is set already"));
    std::fs::write(stack.gateway_config(), written.replace("assertion_style = \"pomerium\"\n", "")).expect("written");
    assert!(!check().await.ok().contains(open));
}
