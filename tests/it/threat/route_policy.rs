//! Routes for some callers alone.

use super::{passed, refused};
use crate::harness::command::symbolon;
use crate::harness::{Call, Http, Setup};

const ROUTES: &str = r#"
[[route]]
name = "hers"
host = "{gateway_authority}"
path = "/hers"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
client_ids = ["alice", "bob"]
methods = ["GET", "HEAD"]
addresses = ["127.0.0.0/8", "2001:db8::/32"]

[[route]]
name = "elsewhere"
host = "{gateway_authority}"
path = "/elsewhere"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
addresses = ["10.0.0.0/8"]

[[route]]
name = "open"
host = "{gateway_authority}"
path = "/open"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
proof_of_possession = "danger_off"
"#;

/// A good token and its certificate are not enough where the route is for another client, method or address; and whoever is refused for
/// that is not told to fetch another token.
#[tokio::test]
async fn a_route_for_others_is_not_served() {
    let stack = Setup { gateway: ROUTES.to_owned(), ..Setup::default() }.start().await;
    let (hers, his) = (stack.token(&stack.alice).await, stack.token(&stack.mallory).await);
    for http in [Http::V1, Http::V2] {
        let alice = stack.caller(&stack.alice).http(http);
        let mallory = stack.caller(&stack.mallory).http(http);
        let answer = mallory.send(&stack.gateway_authority, &Call::get("/hers").bearer(&his)).await;
        refused(&stack, &answer, 403, "access_denied", "policy_client", http).await;
        assert!(answer.challenges().is_empty(), "{:?}", answer.challenges());
        // Her client, and not her certificate: the binding comes first.
        let answer = mallory.send(&stack.gateway_authority, &Call::get("/hers").bearer(&hers)).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", http).await;
        for method in ["POST", "DELETE", "get"] {
            let answer = alice.send(&stack.gateway_authority, &Call::new(method, "/hers").bearer(&hers)).await;
            refused(&stack, &answer, 405, "invalid_request", "policy_method", (http, method)).await;
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
        let answer = alice.send(&stack.gateway_authority, &Call::get("/elsewhere").bearer(&hers)).await;
        refused(&stack, &answer, 403, "access_denied", "policy_address", http).await;
        let answer = alice.send(&stack.gateway_authority, &Call::get("/hers").bearer(&hers)).await;
        passed(&stack, &answer, http);
        let answer = mallory.send(&stack.gateway_authority, &Call::get("/accounts").bearer(&his)).await;
        passed(&stack, &answer, http);
    }
}

/// `gateway check` says what is enforced, and refuses what could not be.
#[tokio::test]
async fn the_overview_says_what_each_route_requires() {
    let stack = Setup { gateway: ROUTES.to_owned(), ..Setup::default() }.prepare("sqlite:symbolon.db".to_owned()).await;
    let check = async || symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
    let text = check().await.ok().replace(&stack.gateway_authority, "GATEWAY").replace(&stack.public_authority, "PUBLIC");
    insta::assert_snapshot!(text.replace(&stack.issuer_authority, "ISSUER"));
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    for (from, to, words) in [
        ("\"10.0.0.0/8\"", "\"10.0.0.1/8\"", "`route.elsewhere.addresses`: `10.0.0.1/8` has bits set after its prefix"),
        ("[\"GET\", \"HEAD\"]", "[\"get\"]", "`route.hers.methods`: `get`: methods are written in capitals"),
        ("[\"alice\", \"bob\"]", "[\"\"]", "`route.hers.client_ids`"),
    ] {
        std::fs::write(stack.gateway_config(), written.replace(from, to)).expect("written");
        let said = check().await.failed();
        assert!(said.contains(words), "{said}");
    }
}
