//! The pages in a real browser: by keyboard, on a phone, in the dark. Pictures are left in `target/tmp/screenshots`.

use std::sync::Arc;

use crate::harness::app::{App, PASSWORD as BOBS, add_bob};
use crate::harness::browser::Browser;
use crate::harness::chromium::Chromium;
use crate::harness::command::symbolon_told;
use crate::harness::totp::Authenticator;
use crate::harness::{Setup, Stack};
use crate::spec::rfc8628::{ask, poll, television};

const PASSWORD: &str = "lantern-orbit-velvet-fjord";
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// A person signs in by keyboard alone, sees their account, changes to a phone and signs out; the browser finds nothing that breaks the
/// pages' own policy; the redirect after a sign-in is followed.
#[tokio::test]
async fn a_person_signs_in_with_a_real_browser() {
    let Some(browser) = Chromium::start().await else { return };
    let browser = Arc::new(browser);
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let profile = ["--name", "Ada Lovelace", "--email", "ada@example.com", "--email-verified", "--group", "engineering"];
    let arguments = [&["user", "add", "ada", "--password-stdin"][..], &profile].concat();
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    let told = tokio::spawn(story(browser.clone(), stack)).await;
    // Whatever happened, the browser ends with its test.
    if let Ok(browser) = Arc::try_unwrap(browser) {
        browser.quit().await;
    }
    told.expect("the story comes to its end");
}

async fn story(browser: Arc<Chromium>, stack: Stack) {
    let issuer = stack.fill("{issuer}");
    browser.screen(1280, 860, false, false).await;
    browser.open(&format!("{issuer}/account")).await;
    browser.arrives(&format!("{issuer}/sign-in")).await;
    browser.picture("sign-in").await;
    assert_eq!(browser.label("#username").await, "Username");
    assert_eq!(browser.label("#password").await, "Password");
    assert_eq!(browser.label("button").await, "Sign in");

    // The focus is where one begins to type.
    browser.press(&format!("ada{TAB}not my password{TAB}{ENTER}")).await;
    browser.reads(&["The username or the password is not right."]).await;
    browser.screen(390, 780, true, true).await;
    browser.picture("sign-in-refused-phone-dark").await;
    assert!(!browser.is_too_wide().await);
    // A 4xx is told by the browser itself; nothing else is there to complain about.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("422")), "{complaints:?}");

    // What was typed is kept, and the focus is on the password.
    browser.press(&format!("{PASSWORD}{ENTER}")).await;
    browser.arrives(&format!("{issuer}/account")).await;
    browser.reads(&["Ada Lovelace", "on Linux", "this browser"]).await;
    assert!(!browser.is_too_wide().await);
    browser.picture("account-phone-dark").await;
    browser.screen(1280, 1100, false, false).await;
    browser.picture("account").await;
    for (field, label) in [
        ("#current_password", "Current password"),
        ("#new_password", "New password"),
        ("#repeated_password", "New password again"),
    ] {
        assert_eq!(browser.label(field).await, label);
    }

    // A sign-in that something waits for leads on, although the form's page allows no script and no frame.
    browser.open(&format!("{issuer}/sign-in?interaction=waiting")).await;
    browser.press(&format!("ada{TAB}{PASSWORD}{ENTER}")).await;
    browser.arrives(&format!("{issuer}/authorize/resume?interaction=waiting")).await;
    browser.complaints().await;

    browser.open(&format!("{issuer}/account")).await;
    browser.click("form.inline button").await;
    browser.arrives(&format!("{issuer}/signed-out")).await;
    browser.picture("signed-out").await;
    browser.open(&format!("{issuer}/account")).await;
    browser.arrives(&format!("{issuer}/sign-in")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// A person sets two-step sign-in up, connects a device by its code, signing in with both steps on the way, and all of it by keyboard.
#[tokio::test]
async fn a_person_connects_a_device_with_two_steps() {
    let Some(browser) = Chromium::start().await else { return };
    let browser = Arc::new(browser);
    let setup = Setup { without_gateway: true, clients: vec![television("alice", serde_json::json!({}))], ..Setup::default() };
    let stack = setup.start().await;
    let arguments = ["user", "add", "ada", "--password-stdin", "--name", "Ada Lovelace"];
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    let told = tokio::spawn(two_steps(browser.clone(), stack)).await;
    if let Ok(browser) = Arc::try_unwrap(browser) {
        browser.quit().await;
    }
    told.expect("the story comes to its end");
}

async fn two_steps(browser: Arc<Chromium>, stack: Stack) {
    let issuer = stack.fill("{issuer}");
    browser.screen(390, 780, true, false).await;
    browser.open(&format!("{issuer}/sign-in")).await;
    browser.press(&format!("ada{TAB}{PASSWORD}{ENTER}")).await;
    browser.reads(&["Two-step sign-in", "Set it up"]).await;
    browser.click("form[action$='/account/totp'] button").await;
    browser.reads(&["Set two-step sign-in up"]).await;
    browser.picture("two-step-set-up-phone").await;
    assert!(!browser.is_too_wide().await);
    let authenticator = Authenticator::typed(&browser.text("#secret").await);
    browser.press(&format!("{}{TAB}{PASSWORD}{ENTER}", authenticator.code(0))).await;
    browser.reads(&["Two-step sign-in is on", "They are not shown again"]).await;
    browser.picture("recovery-codes-phone").await;
    assert!(!browser.is_too_wide().await);
    browser.click("main a").await;
    browser.reads(&["You have 10 recovery codes left"]).await;
    browser.screen(1280, 1400, false, false).await;
    browser.picture("account-two-step").await;
    browser.click("form.inline button").await;
    browser.arrives(&format!("{issuer}/signed-out")).await;

    let begun = ask(&stack, &stack.alice, &[("scope", "openid read")]).await.json();
    let user_code = begun["user_code"].as_str().expect("one");
    browser.screen(390, 780, true, true).await;
    browser.open(begun["verification_uri"].as_str().expect("a page")).await;
    browser.arrives(&format!("{issuer}/sign-in?device=enter")).await;
    browser.press(&format!("ada{TAB}{PASSWORD}{ENTER}")).await;
    browser.reads(&["Your code"]).await;
    assert_eq!(browser.label("#code").await, "Code");
    browser.picture("sign-in-code-phone-dark").await;
    browser.press(&format!("{}{ENTER}", authenticator.code(1))).await;
    browser.arrives(&format!("{issuer}/device")).await;
    assert_eq!(browser.label("#user_code").await, "Code");
    browser.picture("device-phone-dark").await;
    browser.press(&format!("{}{ENTER}", user_code.to_lowercase())).await;
    browser.reads(&["Connect App of alice?", user_code, "the device is in front of you"]).await;
    browser.picture("device-confirm-phone-dark").await;
    assert!(!browser.is_too_wide().await);
    browser.click("button[value=allow]").await;
    browser.reads(&["Your device is connected"]).await;
    assert_eq!(poll(&stack, &stack.alice, begun["device_code"].as_str().expect("one")).await.status, 200);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// A person is led to the host that asks for certificates and back, has none, signs in by password, takes back what an application may do, and
/// deletes the account.
#[tokio::test]
async fn a_person_takes_back_and_leaves() {
    let Some(browser) = Chromium::start().await else { return };
    let browser = Arc::new(browser);
    let certificates = "[anchor_set.people]\nfiles = [\"client-ca.pem\"]\n\n[certificate_sign_in]\nurl = \"{mtls_url}\"\nanchor_set = \"people\"\n".to_owned();
    let stack = Setup { without_gateway: true, server: certificates, ..App::setup() }.start().await;
    add_bob(&stack).await;
    App::alice(&stack).tokens(&stack, &mut Browser::new(&stack), &[]).await;
    let told = tokio::spawn(leaving(browser.clone(), stack)).await;
    if let Ok(browser) = Arc::try_unwrap(browser) {
        browser.quit().await;
    }
    told.expect("the story comes to its end");
}

async fn leaving(browser: Arc<Chromium>, stack: Stack) {
    let issuer = stack.fill("{issuer}");
    browser.screen(390, 780, true, false).await;
    browser.open(&format!("{issuer}/sign-in")).await;
    assert_eq!(browser.label("#certificate").await, "Sign in with a certificate");
    browser.picture("sign-in-certificate-phone").await;
    browser.click("#certificate").await;
    browser.reads(&["That certificate does not work here", "Your browser showed no certificate."]).await;
    browser.picture("certificate-refused-phone").await;
    assert!(!browser.is_too_wide().await);
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("403")), "{complaints:?}");
    browser.click("main a").await;
    browser.arrives(&format!("{issuer}/sign-in")).await;
    browser.press(&format!("bob{TAB}{BOBS}{ENTER}")).await;
    browser.reads(&["Bob Builder", "App of alice", "None yet."]).await;
    assert!(!browser.is_too_wide().await);
    assert_eq!(browser.label("button[name=client_id]").await, "Take back what App of alice may do");
    browser.screen(1280, 1900, false, false).await;
    browser.picture("account-whole").await;
    browser.click("form[action$='/account/certificates'] button").await;
    browser.reads(&["Choose a certificate"]).await;
    browser.picture("certificate-choose").await;
    browser.click("main .after a").await;
    browser.reads(&["Bob Builder"]).await;
    browser.click("button[name=client_id]").await;
    browser.reads(&["may do nothing in your name any more", "You have allowed no application anything."]).await;
    assert_eq!(browser.label("#confirmation").await, "Your username, bob, to confirm");
    browser.click("#confirmation").await;
    browser.press(&format!("bobby{ENTER}")).await;
    browser.reads(&["nothing was deleted"]).await;
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("422")), "{complaints:?}");
    browser.click("#confirmation").await;
    browser.press(&format!("bob{ENTER}")).await;
    browser.reads(&["Your account is deleted"]).await;
    browser.picture("account-deleted").await;
    browser.open(&format!("{issuer}/account")).await;
    browser.arrives(&format!("{issuer}/sign-in")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
