//! RFC 8707: resource indicators.

use serde_json::json;

use super::rfc8628;
use crate::harness::app::{Returned, VERIFIER, add_bob, go_on, url_of};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Setup, token};

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

/// §2.2: `resource` in a token request says where that token is to be used: within what was granted, with the scopes that exist there, when
/// a code is redeemed and when a refresh token is used.
#[tokio::test]
async fn what_a_person_granted_is_narrowed_and_never_widened() {
    let resource = |name: &str| {
        format!(
            "[[resource]]\nidentifier = \"https://{name}.example/\"\nscopes = [\"read\", \"{name}\"]\naudiences = [\"urn:{name}\"]\n"
        )
    };
    let (one, two) = ("https://one.example/", "https://two.example/");
    let client = App::metadata(
        "alice",
        json!({
            "scope": "openid profile offline_access read one two", "resources": [one, two],
            "grant_types": ["authorization_code", "refresh_token", rfc8628::GRANT],
        }),
    );
    let server = format!("{}{}", resource("one"), resource("two"));
    let stack = Setup { without_gateway: true, server, clients: vec![client], ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let both = [one.to_owned(), two.to_owned()];
    let code = async |browser: &mut Browser, scope: &str, resources: &[String]| {
        let mut parameters = app.request(&[("scope", scope)]);
        parameters.extend(resources.iter().map(|resource| ("resource".to_owned(), resource.clone())));
        let answer = browser.get(&url_of(&parameters)).await;
        Returned::of(&go_on(browser, answer).await).get("code").to_owned()
    };
    let redeem = async |code: &str, resource: &str| {
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", app.redirect_uri.as_str())];
        form.push(("code_verifier", VERIFIER));
        form.extend((!resource.is_empty()).then_some(("resource", resource)));
        app.token(&stack, &form).await
    };
    let refresh = async |token: &str, resource: &str| {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        form.extend((!resource.is_empty()).then_some(("resource", resource)));
        app.token(&stack, &form).await
    };
    #[track_caller]
    fn is_for(answer: &Answer, audience: serde_json::Value, scope: &str) -> String {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let claims = token::claims(answer["access_token"].as_str().expect("a token"));
        let mut granted: Vec<&str> = answer["scope"].as_str().expect("a scope").split(' ').collect();
        granted.sort_unstable();
        assert_eq!((&claims["aud"], granted.join(" ")), (&audience, scope.to_owned()));
        assert_eq!(claims["scope"], answer["scope"]);
        answer["refresh_token"].as_str().unwrap_or_default().to_owned()
    }
    let foreign = (400, "invalid_target".to_owned(), "resource_not_allowed".to_owned());

    // Nothing named: the default was granted, and no refresh goes beyond it.
    let granted = code(&mut browser, "read one", &[]).await;
    assert_eq!(stack.verdict(&redeem(&granted, two).await).await, foreign, "not what was granted");
    let token = is_for(&redeem(&granted, "").await, json!("urn:one"), "one read");
    assert_eq!(stack.verdict(&refresh(&token, two).await).await, foreign);
    is_for(&refresh(&token, one).await, json!("urn:one"), "one read");

    // Both: each token may be for one of them, with the scope that exists there.
    let granted = code(&mut browser, "read one two", &both).await;
    assert_eq!(stack.verdict(&redeem(&granted, "https://unknown.example/").await).await, foreign);
    let token = is_for(&redeem(&granted, two).await, json!("urn:two"), "read two");
    is_for(&refresh(&token, one).await, json!("urn:one"), "one read");
    is_for(&refresh(&token, "").await, json!(["urn:one", "urn:two"]), "one read two");
    assert_eq!(stack.verdict(&refresh(&token, "https://unknown.example/").await).await, foreign);

    // What a device was allowed is narrowed like that too, and a resource that was not granted uses nothing up.
    let begun =
        rfc8628::ask(&stack, &app.identity, &[("scope", "read one two"), ("resource", one), ("resource", two)]).await.json();
    rfc8628::decide(&mut browser, begun["user_code"].as_str().expect("one"), "allow").await;
    let device_code = begun["device_code"].as_str().expect("one");
    let redeem_device = async |resource: &str| {
        let form = [("grant_type", rfc8628::GRANT), ("device_code", device_code), ("resource", resource)];
        app.token(&stack, &form).await
    };
    assert_eq!(stack.verdict(&redeem_device("https://unknown.example/").await).await, foreign);
    is_for(&redeem_device(two).await, json!("urn:two"), "read two");

    // The userinfo endpoint goes with each.
    let granted = code(&mut browser, "openid profile offline_access two", &both).await;
    let userinfo = stack.fill("{issuer}/userinfo");
    let token = is_for(&redeem(&granted, two).await, json!(["urn:two", userinfo]), "offline_access openid profile two");
    is_for(&refresh(&token, one).await, json!(["urn:one", userinfo]), "offline_access openid profile");
}
