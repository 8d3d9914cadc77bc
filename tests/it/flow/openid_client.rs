//! A client library of somebody else (openidconnect, over oauth2) gets a bound token, on our own TLS connections.

use openidconnect::core::{CoreClient, CoreJsonWebKeySet};
use openidconnect::{AuthType, ClientId, HttpRequest, IssuerUrl, OAuth2TokenResponse as _, RequestTokenError, Scope, TokenUrl};

use crate::harness::{Call, Stack, exchange, token};

#[tokio::test]
async fn a_foreign_client_library_gets_a_bound_token() {
    let stack = Stack::start().await;
    // 1. Where to: from the metadata, the mutual-TLS alias (RFC 8705 section 5).
    let call = Call::get("/.well-known/oauth-authorization-server");
    let metadata = stack.nobody().send(&stack.issuer_authority, &call).await.json();
    let endpoint = metadata["mtls_endpoint_aliases"]["token_endpoint"].as_str().expect("a URL").to_owned();
    let issuer = IssuerUrl::new(metadata["issuer"].as_str().expect("a URL").to_owned()).expect("an issuer");
    let client = CoreClient::new(ClientId::new("alice".into()), issuer, CoreJsonWebKeySet::default())
        .set_token_uri(TokenUrl::new(endpoint).expect("a URL"))
        .set_auth_type(AuthType::RequestBody);

    // 2. The token, with what was asked for.
    let alice = stack.caller(&stack.alice);
    let http = |request: HttpRequest| exchange(alice.clone(), request);
    let answer = client
        .exchange_client_credentials()
        .add_scope(Scope::new("read".into()))
        .add_extra_param("resource", &stack.accounts)
        .request_async(&http)
        .await
        .expect("a token");
    assert_eq!(answer.expires_in().map(|time| time.as_secs()), Some(300));
    assert_eq!(
        answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        Some(vec!["read".to_owned()])
    );
    assert!(answer.refresh_token().is_none());
    let bound = answer.access_token().secret();
    assert_eq!(token::claims(bound)["cnf"]["x5t#S256"], stack.alice.thumbprint());

    // 3. It opens the resource for alice.
    assert_eq!(stack.at_gateway(&stack.alice, bound).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, bound).await.status, 401);

    // 4. The library reads our refusals as the standard's.
    let mallory = stack.caller(&stack.mallory);
    let http = |request: HttpRequest| exchange(mallory.clone(), request);
    match client.exchange_client_credentials().request_async(&http).await {
        Err(RequestTokenError::ServerResponse(error)) => assert_eq!(error.error().as_ref(), "invalid_client"),
        other => panic!("{other:?}"),
    }
}
