//! RFC 9207: the issuer in the authorization response.

use crate::harness::app::{Returned, add_bob};
use crate::harness::browser::Browser;
use crate::harness::{App, Setup};

/// §2: "the authorization server MUST indicate its identity by including the `iss` parameter in the response", "including error
/// responses"; §3: the metadata says so.
#[tokio::test]
async fn every_answer_names_its_issuer() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let issuer = format!("https://{}", stack.issuer_authority);
    let returned = Returned::of(&browser.get(&app.url(&[("prompt", "none")])).await);
    assert_eq!((returned.get("error"), returned.get("iss")), ("login_required", issuer.as_str()));
    assert_eq!(app.authorize(&mut browser, &[]).await.get("iss"), issuer);
    let answer = browser.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(answer["authorization_response_iss_parameter_supported"], true);
}
