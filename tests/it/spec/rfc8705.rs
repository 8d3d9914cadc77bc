//! RFC 8705: mutual-TLS client authentication and certificate-bound access tokens.

use crate::harness::Stack;

/// §3: "the protected resource MUST obtain, from its TLS implementation layer, the client certificate used for mutual TLS and MUST
/// verify that the certificate matches the certificate associated with the access token. If they do not match, the resource access
/// attempt MUST be rejected with an error per RFC 6750 using an HTTP 401 status code and the `invalid_token` error code."
#[tokio::test]
async fn another_certificate_is_401_invalid_token() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let answer = stack.at_gateway(&stack.mallory, &token).await;
    assert_eq!(answer.status, 401);
    assert!(answer.challenge().contains("error=\"invalid_token\""), "{}", answer.challenge());
    assert_eq!(stack.reason_of(answer.request_id()).await, "binding_certificate_mismatch");
    stack.upstream.assert_untouched();

    assert_eq!(stack.at_gateway(&stack.alice, &token).await.status, 200);
    assert_eq!(stack.upstream.requests().len(), 1);
}
