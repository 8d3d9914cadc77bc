//! Passkeys in a real browser with a virtual authenticator (W3C Web Authentication §11).

use std::sync::Arc;

use serde_json::json;

use crate::harness::app::{App, CHALLENGE, PASSWORD, add_bob};
use crate::harness::browser::Browser;
use crate::harness::chromium::Chromium;
use crate::harness::{Setup, Stack};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// A person makes a passkey, signs out, signs in with it to an application without typing anything, steps up with it, and takes it away; the
/// browser finds nothing that breaks the pages' own policy. Without an authenticator there is another way.
#[tokio::test]
async fn a_person_signs_in_with_a_passkey_in_a_real_browser() {
    let Some(browser) = Chromium::start().await else { return };
    let browser = Arc::new(browser);
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    // What is asked about is consent given before: the browser is led to an address that nobody serves.
    App::alice(&stack).tokens(&stack, &mut Browser::new(&stack), &[]).await;
    let told = tokio::spawn(story(browser.clone(), stack)).await;
    if let Ok(browser) = Arc::try_unwrap(browser) {
        browser.quit().await;
    }
    told.expect("the story comes to its end");
}

async fn story(browser: Arc<Chromium>, stack: Stack) {
    let issuer = stack.fill("{issuer}");
    browser.screen(390, 780, true, false).await;
    let authenticator = browser.authenticator(true).await;
    browser.open(&format!("{issuer}/sign-in")).await;
    assert_eq!(browser.label("#passkey").await, "Sign in with a passkey");
    browser.picture("sign-in-passkey-phone").await;
    assert!(!browser.is_too_wide().await);

    // Nobody has a passkey here yet: the page says so, and the password does.
    browser.set_verified(&authenticator, false).await;
    browser.click("#passkey").await;
    browser.reads(&["No passkey was used. You can try again."]).await;
    browser.set_verified(&authenticator, true).await;
    browser.click("#username").await;
    browser.press(&format!("bob{TAB}{PASSWORD}{ENTER}")).await;
    browser.reads(&["Bob Builder", "Sign in by fingerprint, face or PIN"]).await;

    browser.click("form[action$='/account/passkeys'] button").await;
    browser.reads(&["Add a passkey", "Make a passkey"]).await;
    assert_eq!(browser.label("#name").await, "Its name");
    browser.picture("passkey-add-phone").await;
    assert!(!browser.is_too_wide().await);
    // The focus is where one begins to type.
    browser.press(&format!("Laptop{ENTER}")).await;
    browser.reads(&["You can sign in with this passkey now.", "Laptop"]).await;
    assert_eq!(browser.label("button[name=passkey]").await, "Remove the passkey Laptop");
    browser.screen(1280, 2200, false, true).await;
    browser.picture("account-passkey-dark").await;
    // A device makes one for each account.
    browser.click("form[action$='/account/passkeys'] button").await;
    browser.reads(&["Make a passkey"]).await;
    browser.press(&format!("Laptop again{ENTER}")).await;
    browser.reads(&["This device has a passkey for your account already."]).await;
    browser.click("main .after a").await;
    browser.reads(&["Bob Builder"]).await;
    browser.click("form.inline button").await;
    browser.arrives(&format!("{issuer}/signed-out")).await;

    // To an application, without a username.
    let app = App::alice(&stack);
    let authorize = |more: &[(&str, &str)]| format!("{issuer}{}", app.url(more));
    browser.open(&authorize(&[("code_challenge", CHALLENGE)])).await;
    browser.reads(&["Sign in with a passkey"]).await;
    browser.picture("sign-in-passkey-dark").await;
    browser.click("#passkey").await;
    let first = browser.arrives_below(&app.redirect_uri).await;
    let tokens = app.redeem(&stack, &code_of(&first)).await.json();
    let claims = crate::harness::token::claims(tokens["id_token"].as_str().unwrap_or_else(|| panic!("{tokens}")));
    assert_eq!(claims["amr"], json!(["swk", "user", "mfa"]));

    // Signed in with the password alone, and asked for more.
    browser.open(&format!("{issuer}/account")).await;
    browser.reads(&["Bob Builder", "Last used"]).await;
    browser.click("form.inline button").await;
    browser.arrives(&format!("{issuer}/signed-out")).await;
    browser.open(&format!("{issuer}/sign-in")).await;
    browser.press(&format!("bob{TAB}{PASSWORD}{ENTER}")).await;
    browser.reads(&["Bob Builder"]).await;
    browser.open(&authorize(&[("acr_values", "https://refeds.org/profile/mfa")])).await;
    browser.reads(&["Sign in with a passkey"]).await;
    browser.click("#passkey").await;
    let second = browser.arrives_below(&app.redirect_uri).await;
    let tokens = app.redeem(&stack, &code_of(&second)).await.json();
    let claims = crate::harness::token::claims(tokens["id_token"].as_str().unwrap_or_else(|| panic!("{tokens}")));
    assert_eq!(claims["acr"], "https://refeds.org/profile/mfa");

    // Nothing but addresses that nobody serves, and nothing that a policy forbids.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| !line.contains("Content Security Policy")), "{complaints:?}");
    browser.open(&format!("{issuer}/account")).await;
    browser.click("button[name=passkey]").await;
    browser.reads(&["The passkey is removed here."]).await;
    browser.click("form.inline button").await;
    browser.arrives(&format!("{issuer}/signed-out")).await;
    browser.open(&format!("{issuer}/sign-in")).await;
    browser.click("#passkey").await;
    browser.reads(&["This passkey was not accepted. Try again, or use another way."]).await;
}

/// The code in an address.
fn code_of(url: &str) -> String {
    let url = url::Url::parse(url).expect("an address");
    url.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{url}")).1.into_owned()
}
