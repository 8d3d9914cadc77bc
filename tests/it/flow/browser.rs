//! The pages in a real browser: by keyboard, on a phone, in the dark. Pictures are left in `target/tmp/screenshots`.

use std::sync::Arc;

use crate::harness::chromium::Chromium;
use crate::harness::command::symbolon_told;
use crate::harness::{Setup, Stack};

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
