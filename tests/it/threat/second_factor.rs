//! The second factor: guessed, replayed, raced, skipped, set up by somebody else.

use crate::harness::app::{App, PASSWORD, Returned, add_bob, go_on};
use crate::harness::browser::{Browser, field};
use crate::harness::totp::{Authenticator, first_factor, second_factor};
use crate::harness::{Call, Engine, Setup, Stack};

async fn start(engine: Engine) -> Option<(Stack, Browser)> {
    let stack = Setup { engine, without_gateway: true, ..Setup::default() }.try_start().await?;
    add_bob(&stack).await;
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    Some((stack, browser))
}

/// RFC 6238 §5.2: "The verifier MUST NOT accept the second attempt of the OTP after the successful validation has been issued for the first
/// OTP": not later, not an earlier one, and of thirty at once one.
async fn a_code_counts_once(engine: Engine) {
    let Some((stack, mut browser)) = start(engine).await else { return };
    let (authenticator, recovery) = Authenticator::set_up(&mut browser, PASSWORD).await;
    for code in [authenticator.code(1), recovery[0].clone()] {
        let mut thieves = Vec::new();
        for _ in 0..5 {
            let mut thief = Browser::new(&stack);
            let page = first_factor(&mut thief, "bob", PASSWORD).await;
            thieves.push((thief, page));
        }
        let tries = thieves.iter_mut().map(|(thief, page)| second_factor(thief, page, &code));
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 303).count(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_code_counts_once_on_sqlite() {
    a_code_counts_once(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_code_counts_once_on_postgres() {
    a_code_counts_once(Engine::Postgres).await;
}

/// Codes are tried by whoever knows the password, from wherever: five, and then one every five minutes. The right one is worth nothing
/// meanwhile. The person gets in by a recovery code.
#[tokio::test]
async fn codes_cannot_be_guessed() {
    let Some((stack, mut browser)) = start(Engine::Sqlite).await else { return };
    let (authenticator, recovery) = Authenticator::set_up(&mut browser, PASSWORD).await;
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        let mut thief = Browser::new(&stack);
        let page = first_factor(&mut thief, "bob", PASSWORD).await;
        for _ in 0..2 {
            let answer = second_factor(&mut thief, &page, "nonsense").await;
            verdicts.push((answer.status, stack.reason_of(answer.request_id()).await));
        }
    }
    let wrong = (422, "second_factor_wrong".to_owned());
    assert_eq!(verdicts[..5], [wrong.clone(), wrong.clone(), wrong.clone(), wrong.clone(), wrong]);
    assert_eq!(verdicts[5], (429, "attempts_too_many".to_owned()));
    let mut thief = Browser::new(&stack);
    let page = first_factor(&mut thief, "bob", PASSWORD).await;
    let answer = second_factor(&mut thief, &page, &authenticator.code(1)).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    let mut bob = Browser::new(&stack);
    let page = first_factor(&mut bob, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut bob, &page, &recovery[0]).await.status, 303);
    let mut thief = Browser::new(&stack);
    let page = first_factor(&mut thief, "bob", PASSWORD).await;
    let mut tries = Vec::new();
    for _ in 0..12 {
        tries.push(second_factor(&mut thief, &page, &other_than(&recovery[0])).await.status);
    }
    assert_eq!((tries[0], tries[11]), (422, 429), "{tries:?}");
    assert!(browser.is_signed_in().await, "whoever is in stays in");
}

/// A code of the same form that nobody was given.
fn other_than(code: &str) -> String {
    code.chars().map(|letter| if letter == '-' { letter } else { 'Z' }).collect()
}

/// Changing the password takes the password alone, and so is no sign-in: a request that wants the person to sign in anew, with both
/// factors, is not served by it. Nor is a password worth anything, half way through a sign-in, once it was replaced.
#[tokio::test]
async fn a_changed_password_is_no_sign_in() {
    const NEXT: &str = "meadow copper quilt ninety";
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    let (authenticator, _) = Authenticator::set_up(&mut browser, PASSWORD).await;
    // Sign-ins are told apart from requests by whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let location = browser.get(&app.url(&[("prompt", "login")])).await.header("location").expect("away").to_owned();
    assert!(location.starts_with("/sign-in?"), "{location}");
    let mut half_way = Browser::new(&stack);
    let held = first_factor(&mut half_way, "bob", PASSWORD).await;
    let (account, before) = (browser.account().await, browser.session_cookie());
    let form = [
        ("csrf", &*field(&account, "csrf")),
        ("current_password", PASSWORD),
        ("new_password", NEXT),
        ("repeated_password", NEXT),
    ];
    let changed = browser.post("/account/password", &form).await;
    assert_eq!(changed.status, 303, "{}", changed.text());
    assert_ne!(browser.session_cookie(), before, "whoever has a copy is out");
    let answer = browser.get(&location.replace("/sign-in", "/authorize/resume")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some(&*location)), "still to sign in");
    let answer = second_factor(&mut half_way, &held, &authenticator.code(1)).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over");
    // With both it goes on.
    let page = browser.get(&location).await;
    let interaction = field(&page, "interaction");
    let form = [("csrf", &*field(&page, "csrf")), ("interaction", &*interaction), ("username", "bob"), ("password", NEXT)];
    let page = browser.post("/sign-in", &form).await;
    let form = [
        ("csrf", &*field(&page, "csrf")),
        ("held", &*field(&page, "held")),
        ("interaction", &*interaction),
        ("code", &*authenticator.code(1)),
    ];
    let answer = browser.post("/sign-in/code", &form).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
}

/// What a password was worth goes nowhere else: not to another browser, not altered, not with another form's token, not without the code.
#[tokio::test]
async fn the_code_cannot_be_skipped() {
    let Some((stack, mut browser)) = start(Engine::Sqlite).await else { return };
    let (authenticator, _) = Authenticator::set_up(&mut browser, PASSWORD).await;
    let (mut bob, mut thief) = (Browser::new(&stack), Browser::new(&stack));
    let page = first_factor(&mut bob, "bob", PASSWORD).await;
    let held = field(&page, "held");
    let code = authenticator.code(1);
    // The thief has a form of their own: another cookie, another token.
    let form_of_thief = thief.get("/sign-in").await;
    let stolen = [("csrf", &*field(&form_of_thief, "csrf")), ("held", &*held), ("code", &*code)];
    let answer = thief.post("/sign-in/code", &stolen).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "form_foreign");
    let stolen = [("csrf", &*field(&page, "csrf")), ("held", &*held), ("code", &*code)];
    let answer = thief.post("/sign-in/code", &stolen).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "form_foreign");
    let mut altered = held.clone();
    altered.replace_range(held.len() - 2.., if held.ends_with("AA") { "BB" } else { "AA" });
    for (held, reason) in [("", "sign_in_over"), (&*altered, "sign_in_over"), (&*held, "second_factor_wrong")] {
        let form = [("csrf", &*field(&page, "csrf")), ("held", held), ("code", "")];
        let answer = bob.post("/sign-in/code", &form).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
        assert!(!bob.is_signed_in().await);
    }
    let form = [("csrf", &*field(&page, "csrf")), ("held", &*held), ("code", &*code)];
    assert_eq!(bob.send(Call::form("/sign-in/code", &form).header("Sec-Fetch-Site", "cross-site")).await.status, 403);
    assert_eq!(second_factor(&mut bob, &page, &code).await.status, 303);
}

/// A stolen session sets nothing up: that takes the password; nor does another site, nor a secret that was begun in another session. With
/// one in place there is no second.
#[tokio::test]
async fn nobody_else_sets_it_up() {
    let Some((stack, mut browser)) = start(Engine::Sqlite).await else { return };
    let mut other = Browser::new(&stack);
    assert_eq!(other.sign_in("bob", PASSWORD).await.status, 303);
    let begin = async |browser: &mut Browser| {
        let account = browser.account().await;
        browser.post("/account/totp", &[("csrf", &field(&account, "csrf"))]).await
    };
    assert_eq!(browser.post("/account/totp", &[("csrf", "x")]).await.status, 403);
    let (page, foreign) = (begin(&mut browser).await, begin(&mut other).await);
    let authenticator = Authenticator::read(&page);
    let csrf = field(&page, "csrf");
    let cases = [
        (field(&page, "sealed"), authenticator.code(0), "not the password", "password_wrong"),
        (field(&page, "sealed"), "000000".into(), PASSWORD, "second_factor_wrong"),
        (field(&foreign, "sealed"), Authenticator::read(&foreign).code(0), PASSWORD, "sign_in_over"),
    ];
    for (sealed, code, password, reason) in cases {
        let form = [("csrf", &*csrf), ("sealed", &*sealed), ("code", &*code), ("current_password", password)];
        let answer = browser.post("/account/totp/confirm", &form).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
        assert!(browser.account().await.text().contains("Set it up"), "{reason}");
    }
    Authenticator::set_up(&mut browser, PASSWORD).await;
    let page = begin(&mut browser).await;
    let code = Authenticator::read(&page).code(0);
    let form = [
        ("csrf", &*field(&page, "csrf")),
        ("sealed", &*field(&page, "sealed")),
        ("code", &*code),
        ("current_password", PASSWORD),
    ];
    let answer = browser.post("/account/totp/confirm", &form).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (422, "second_factor_present"));
}
