//! What people do at `/account`.

use super::browser::{Browser, field};
use super::call::Answer;

/// Takes back what an application may do.
pub async fn withdraw(browser: &mut Browser, client_id: &str) -> Answer {
    let csrf = field(&browser.account().await, "csrf");
    browser.post("/account/applications", &[("csrf", &csrf), ("client_id", client_id)]).await
}

/// Asks for the file.
pub async fn export(browser: &mut Browser) -> Answer {
    let csrf = field(&browser.account().await, "csrf");
    browser.post("/account/export", &[("csrf", &csrf)]).await
}

/// Deletes the account, having typed this.
pub async fn leave(browser: &mut Browser, typed: &str) -> Answer {
    let csrf = field(&browser.account().await, "csrf");
    browser.post("/account/delete", &[("csrf", &csrf), ("confirmation", typed)]).await
}
