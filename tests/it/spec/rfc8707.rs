//! RFC 8707: resource indicators.

use serde_json::json;

use crate::harness::{Setup, token};

/// §2: "resource: Indicates the target service or resource to which access is being requested. Its value MUST be an absolute URI ...
/// MUST NOT include a fragment"; "invalid_target: The requested resource is invalid, missing, unknown, or malformed."; §2.2: the token's
/// audience is the resource that was named.
#[tokio::test]
async fn the_resource_becomes_the_audience_or_is_an_invalid_target() {
    let resource = |name: &str| {
        format!(
            "[[resource]]\nidentifier = \"https://{name}.example/\"\nscopes = [\"read\", \"{name}\"]\naudiences = [\"urn:{name}\"]\n"
        )
    };
    let setup = Setup {
        without_gateway: true,
        server: format!("{}{}", resource("one"), resource("two")),
        clients: vec![json!({
            "client_id": "alice", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
            "scope": "read write two", "resources": ["{accounts}", "{reports}", "https://two.example/"],
        })],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let (accounts, reports) = (stack.accounts.as_str(), stack.reports.as_str());
    let good: [(&[(&str, &str)], serde_json::Value, &str); 4] = [
        // The first one registered is the default.
        (&[], json!(accounts), "read write"),
        (&[("resource", accounts)], json!(accounts), "read write"),
        (&[("resource", "https://two.example/")], json!("urn:two"), "read two"),
        // "Multiple `resource` parameters MAY be used".
        (&[("resource", accounts), ("resource", "https://two.example/")], json!([accounts, "urn:two"]), "read two write"),
    ];
    for (more, audience, scope) in good {
        let answer = stack.ask(&stack.alice, more).await;
        assert_eq!(answer.status, 200, "{more:?}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(token::claims(answer["access_token"].as_str().expect("a token"))["aud"], audience, "{more:?}");
        let mut granted: Vec<&str> = answer["scope"].as_str().expect("a scope").split(' ').collect();
        granted.sort_unstable();
        assert_eq!(granted.join(" "), scope, "{more:?}");
    }
    // Only as it is written, only what exists, only what the client may have, and one format a token.
    let fragment = format!("{accounts}#a");
    let slash = format!("{accounts}/");
    let bad: [&[(&str, &str)]; 8] = [
        &[("resource", "https://unknown.example/")],
        &[("resource", "https://one.example/")],
        &[("resource", "https://two.example")],
        &[("resource", &fragment)],
        &[("resource", &slash)],
        &[("resource", "accounts")],
        &[("resource", accounts), ("resource", "https://one.example/")],
        &[("resource", accounts), ("resource", reports)],
    ];
    for more in bad {
        let answer = stack.ask(&stack.alice, more).await;
        let expected = (400, "invalid_target".to_owned(), "resource_not_allowed".to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{more:?}");
    }
    // §2.2: a scope counts only where it exists.
    let answer = stack.ask(&stack.alice, &[("resource", accounts), ("scope", "two")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_scope".to_owned(), "scope_not_allowed".to_owned()));
    let answer = stack.ask(&stack.alice, &[("resource", "https://two.example/"), ("scope", "two")]).await;
    assert_eq!(answer.json()["scope"], "two");
}
