//! The account page in other hands: another site's form, another person's names, an old session, a second click.

use crate::harness::app::{App, PASSWORD, add_bob};
use crate::harness::browser::{Browser, field};
use crate::harness::command::symbolon_told;
use crate::harness::own_account::{export, leave, withdraw};
use crate::harness::{Call, Setup, Stack};

async fn start(server: &str) -> (Stack, Browser) {
    let stack = Setup { without_gateway: true, server: server.to_owned(), ..App::setup() }.start().await;
    add_bob(&stack).await;
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    (stack, browser)
}

const FORMS: [(&str, (&str, &str)); 3] = [
    ("/account/applications", ("client_id", "alice")),
    ("/account/export", ("x", "x")),
    ("/account/delete", ("confirmation", "bob")),
];

/// Whoever lures a browser that is signed in gets nothing done there, and nothing told.
#[tokio::test]
async fn another_site_does_nothing_at_the_account() {
    let (stack, mut bob) = start("").await;
    let app = App::alice(&stack);
    app.tokens(&stack, &mut bob, &[]).await;
    let csrf = field(&bob.account().await, "csrf");
    let of_sign_in = field(&Browser::new(&stack).get("/sign-in").await, "csrf");
    for (target, more) in FORMS {
        for wrong in ["", "x", &of_sign_in] {
            let answer = bob.post(target, &[("csrf", wrong), more]).await;
            assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"), "{target}");
            assert!(!answer.text().contains("bob@example.org"));
        }
        let call = Call::form(target, &[("csrf", &csrf), more]).header("Sec-Fetch-Site", "cross-site");
        assert_eq!(bob.send(call).await.status, 403, "{target}");
        assert_eq!(bob.get(target).await.status, 405, "{target}: nothing is done by a link");
        let answer = Browser::new(&stack).post(target, &[("csrf", &csrf), more]).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")), "{target}: nobody is signed in");
    }
    assert!(bob.account().await.text().contains("App of alice"));
    assert_eq!(withdraw(&mut bob, "alice").await.status, 303);
    assert_eq!(export(&mut bob).await.status, 200);
    assert_eq!(leave(&mut bob, "bob").await.status, 200);
}

/// A person names applications of their own alone; what another person has allowed stays. The second click finds nothing.
#[tokio::test]
async fn nobody_takes_back_what_another_person_allowed() {
    let (stack, mut bob) = start("").await;
    let arguments = ["user", "add", "carol", "--password-stdin"];
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
    let app = App::alice(&stack);
    let tokens = app.tokens(&stack, &mut bob, &[("scope", "openid offline_access read")]).await;
    let mut carol = Browser::new(&stack);
    assert_eq!(carol.sign_in("carol", PASSWORD).await.status, 303);
    for named in ["alice", "nobody", "", "bob alice"] {
        let answer = withdraw(&mut carol, named).await;
        assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (400, "parameter_malformed"), "{named}");
    }
    let known = export(&mut carol).await;
    assert!(!known.text().contains("alice") && !known.text().contains("bob"), "{}", known.text());
    let answer = leave(&mut carol, "bob").await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (422, "confirmation_wrong"));
    assert_eq!(app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await.status, 200);
    assert_eq!(withdraw(&mut bob, "alice").await.status, 303);
    assert_eq!(withdraw(&mut bob, "alice").await.status, 400, "a second click");
    assert!(bob.is_signed_in().await && carol.is_signed_in().await);
}

/// Of many withdrawals and redemptions at once, nothing is left that works.
#[tokio::test]
async fn a_code_that_is_redeemed_meanwhile_does_not_outlive_the_consent() {
    let (stack, mut bob) = start("").await;
    let app = App::alice(&stack);
    for _ in 0..6 {
        let code = app.code(&mut bob, &[("scope", "openid offline_access read")]).await;
        let csrf = field(&bob.account().await, "csrf");
        let mut clicking = bob.clone();
        let form = [("csrf", csrf.as_str()), ("client_id", "alice")];
        let (redeemed, withdrawn) = tokio::join!(app.redeem(&stack, &code), clicking.post("/account/applications", &form));
        assert_eq!(withdrawn.status, 303, "{}", withdrawn.text());
        if redeemed.status == 200 {
            let tokens = redeemed.json();
            let refused = app.refresh(&stack, tokens["refresh_token"].as_str().expect("one")).await;
            assert_eq!(refused.error(), "invalid_grant");
            assert_eq!(stack.introspect(tokens["access_token"].as_str().expect("one")).await["active"], false);
        } else {
            assert_eq!(stack.reason_of(redeemed.request_id()).await, "consent_withdrawn");
        }
    }
}

/// Whoever finds a browser open, or has a copy of its cookie, takes no data along and deletes nothing: that asks for a sign-in of just now. To
/// take something back does not.
#[tokio::test]
async fn an_old_session_neither_tells_nor_deletes() {
    let (stack, mut bob) = start("[session]\nfresh_seconds = 2\n").await;
    App::alice(&stack).tokens(&stack, &mut bob, &[]).await;
    tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
    for (target, more) in &FORMS[1..] {
        let csrf = field(&bob.account().await, "csrf");
        let answer = bob.post(target, &[("csrf", &csrf), *more]).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in?again=yes")), "{target}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "session_stale", "{target}");
        assert!(!answer.text().contains("example.org"));
    }
    assert_eq!(withdraw(&mut bob, "alice").await.status, 303);
    let page = bob.get("/sign-in?again=yes").await;
    let form = [("csrf", &*field(&page, "csrf")), ("username", "bob"), ("password", PASSWORD)];
    assert_eq!(bob.post("/sign-in", &form).await.status, 303);
    assert_eq!(leave(&mut bob, " BOB ").await.status, 200);
}

/// What is typed is the username; anything else deletes nothing. Where the operator does not want it there is no such thing.
#[tokio::test]
async fn nothing_is_deleted_by_mistake() {
    let (stack, mut bob) = start("").await;
    for typed in ["", "yes", "bobby", "bob@example.org", "DELETE"] {
        let answer = leave(&mut bob, typed).await;
        assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (422, "confirmation_wrong"), "{typed}");
        assert!(answer.text().contains("nothing was deleted"), "{}", answer.text());
    }
    assert!(bob.is_signed_in().await);
    let form = [("csrf", &*field(&bob.account().await, "csrf")), ("confirmation", "bob")];
    assert_eq!(bob.post("/account/delete", &form).await.status, 200);
    assert_eq!(bob.post("/account/delete", &form).await.header("location"), Some("/sign-in"), "a second click");

    let (stack, mut bob) = start("[pages]\naccount_deletion = false\n").await;
    assert!(!bob.account().await.text().contains("Delete"));
    let answer = leave(&mut bob, "bob").await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (404, "not_found"));
    assert!(bob.is_signed_in().await);
}
