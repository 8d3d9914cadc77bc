//! RFC 9728: what a protected resource says of itself.

use serde_json::json;

use crate::harness::{Call, Setup};

/// §3.1: "the well-known URI string is inserted between the host component and the path"; §3.3: `resource` is "identical to the
/// protected resource's resource identifier value"; §5.1: `resource_metadata` in the challenge.
#[tokio::test]
async fn metadata_are_where_the_challenge_says() {
    let gateway_changes = vec![(
        "path = \"/reports\"\nupstream = \"{upstream}\"\nauthorization_server = \"test\"\naudience = \"{reports}\"".to_owned(),
        "path = \"/reports\"\nupstream = \"{upstream}\"\nauthorization_server = \"test\"\naudience = [\"urn:reports\", \"{reports}\"]"
            .to_owned(),
    )];
    let stack = Setup { gateway_changes, ..Setup::default() }.start().await;
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts")).await;
    let url = stack.fill("{gateway}/.well-known/oauth-protected-resource/accounts");
    for challenge in answer.challenges() {
        assert!(challenge.ends_with(&format!(", resource_metadata=\"{url}\"")), "{challenge}");
    }
    assert_eq!(answer.challenges().len(), 2);

    let path = "/.well-known/oauth-protected-resource/accounts";
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get(path)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let issuer = stack.fill("{issuer}");
    let expected = json!({
        "resource": stack.accounts,
        "authorization_servers": [issuer],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
        "tls_client_certificate_bound_access_tokens": true,
        "dpop_signing_alg_values_supported": ["ES256", "ES384", "PS256", "EdDSA"],
        "dpop_bound_access_tokens_required": false,
    });
    assert_eq!(answer.json(), expected);

    // A resource that is no place here has none, neither by the path of another of its names nor on another host.
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/reports",
        "/.well-known/oauth-protected-resource/accounts/write",
    ] {
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get(path)).await;
        assert_eq!((answer.status, answer.error().as_str()), (404, "not_found"), "{path}");
    }
    let answer = stack.nobody().send(&stack.public_authority, &Call::get(path)).await;
    assert_eq!(answer.status, 404);
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::new("POST", path)).await;
    assert_eq!(answer.status, 405);
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/reports")).await;
    assert!(!answer.challenge().contains("resource_metadata"), "{}", answer.challenge());
    stack.upstream.assert_untouched();
    // Any of its audiences will do.
    let token = stack.opaque_token(&stack.alice).await;
    assert_eq!(stack.at_reports(&stack.alice, &token).await.status, 200);
}

/// Whoever asks for HTML reads a page, with the same request id and the same challenge.
#[tokio::test]
async fn people_read_pages() {
    let stack = Setup::default().start().await;
    let call = Call::get("/accounts").header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let answer = stack.nobody().send(&stack.gateway_authority, &call).await;
    assert_eq!((answer.status, answer.header("content-type")), (401, Some("text/html; charset=utf-8")));
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    assert!(answer.text().contains(&answer.request_id()), "{}", answer.text());
    assert!(answer.challenge().starts_with("Bearer realm="));
    assert_eq!(stack.reason_of(answer.request_id()).await, "token_absent");
}
