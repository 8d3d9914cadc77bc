//! An application federates to us with a client library of somebody else: discovery, the code flow with PKCE through the real pages, an
//! ID token it verifies, a token bound to its certificate, userinfo, the gateway.

use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClientId, CsrfToken, HttpRequest, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _, TokenUrl, UserInfoUrl,
};

use crate::harness::app::{Returned, add_bob, go_on};
use crate::harness::browser::Browser;
use crate::harness::{App, exchange, token};

#[tokio::test]
async fn an_application_federates_with_a_foreign_library() {
    let stack = App::setup().start().await;
    let subject = add_bob(&stack).await;
    let app = App::alice(&stack);
    let caller = stack.caller(&stack.alice);
    let http = |request: HttpRequest| exchange(caller.clone(), request);

    // 1. Discovery, with the keys.
    let issuer = IssuerUrl::new(format!("https://{}", stack.issuer_authority)).expect("an issuer");
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.expect("discovery");
    let mtls = |path: &str| format!("https://{}{path}", stack.mtls_authority);
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new("alice".into()), None)
        .set_redirect_uri(RedirectUrl::new(app.redirect_uri.clone()).expect("a URL"))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::new(mtls("/token")).expect("a URL"))
        .set_user_info_url(UserInfoUrl::new(mtls("/userinfo")).expect("a URL"));

    // 2. The person, in a browser: sign-in, consent, back.
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(["email", "read"].map(|scope| Scope::new(scope.into())))
        .set_pkce_challenge(challenge)
        .url();
    let mut browser = Browser::new(&stack);
    let answer = browser.get(&format!("{}?{}", url.path(), url.query().expect("a query"))).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!(returned.get("state"), state.secret());

    // 3. The code becomes tokens; the library verifies the ID token.
    let tokens = client
        .exchange_code(AuthorizationCode::new(returned.get("code").to_owned()))
        .set_pkce_verifier(verifier)
        .request_async(&http)
        .await
        .expect("tokens");
    let id_token = tokens.id_token().expect("an ID token");
    let verifier = client.id_token_verifier();
    let claims = id_token.claims(&verifier, &nonce).expect("a good ID token");
    assert_eq!(claims.subject().as_str(), subject);
    let algorithm = id_token.signing_alg().expect("an algorithm");
    let key = id_token.signing_key(&verifier).expect("a key");
    let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key).expect("a hash");
    assert_eq!(claims.access_token_hash(), Some(&hash));
    let other = Nonce::new("another".into());
    assert!(id_token.claims(&verifier, &other).is_err());

    // 4. Who it is.
    let userinfo: CoreUserInfoClaims = client
        .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))
        .request_async(&http)
        .await
        .expect("userinfo");
    assert_eq!(userinfo.email().map(|email| email.as_str()), Some("bob@example.org"));

    // 5. The token opens the resource for the application's certificate alone.
    let access_token = tokens.access_token().secret();
    assert_eq!(token::claims(access_token)["cnf"]["x5t#S256"], stack.alice.thumbprint());
    assert_eq!(stack.at_gateway(&stack.alice, access_token).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, access_token).await.status, 401);
}
