//! People sign in with certificates.

use serde_json::json;

use crate::harness::app::{App, PASSWORD, Returned, go_on};
use crate::harness::browser::{Browser, field};
use crate::harness::certified::{Certified, leaf, naming};
use crate::harness::command::symbolon;
use crate::harness::totp::{Authenticator, second_factor};
use crate::harness::{Engine, token};

const SINGLE: &str = "https://refeds.org/profile/sfa";
const MULTI: &str = "https://refeds.org/profile/mfa";

/// 1. Bob links a certificate on his account page, having seen which one it is.
/// 2. He signs in with it for an application that wants him to sign in anew: `amr` and `acr` as configured (RFC 8176), the session is his.
/// 3. So he does with another certificate of the same key.
/// 4. He takes it away: other sessions end, and it is worth nothing.
async fn a_person_links_a_certificate_and_signs_in(engine: Engine) {
    let Some(certified) = Certified::start(engine, "").await else { return };
    let (stack, mine) = (&certified.stack, certified.people.issue(leaf("Bob's laptop")));

    // 1.
    let mut at_home = Browser::new(stack);
    assert_eq!(at_home.sign_in("bob", PASSWORD).await.status, 303);
    let done = certified.add(&mut at_home, &mine).await;
    assert_eq!(done.header("location"), Some("/account?done=certificate"), "{}", done.text());
    let account = at_home.get("/account?done=certificate").await;
    assert!(account.text().contains("CN=Bob&#x27;s laptop"), "{}", account.text());
    stack.wait_for_event("server-audit.jsonl", "certificate_linked").await;

    // 2.
    let (app, mut browser) = (App::alice(stack), Browser::new(stack));
    let led = browser.get(&app.url(&[("prompt", "login"), ("acr_values", SINGLE)])).await;
    let sign_in = led.header("location").expect("away").to_owned();
    let before = browser.cookies.clone();
    let answer = certified.sign_in(&mut browser, &mine, &sign_in).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(browser.session_cookie().is_some() && before.iter().all(|cookie| Some(cookie) != browser.session_cookie().as_ref()));
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    let tokens = app.redeem(stack, returned.get("code")).await.json();
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&claims["sub"], &claims["amr"], &claims["acr"]), (&json!(certified.bob), &json!(["swk"]), &json!(SINGLE)));
    // Events that commit with a change are copied to the trail a moment later.
    let thumbprint = json!(mine.thumbprint());
    let started = std::time::Instant::now();
    while !stack
        .events("server-audit.jsonl")
        .iter()
        .any(|event| event["event"] == "signed_in" && event["certificate"] == thumbprint)
    {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "the trail does not say by which certificate");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    // 3.
    let renewed = certified.people.renew(&mine, leaf("Bob's laptop"));
    let mut elsewhere = Browser::new(stack);
    assert_eq!(certified.sign_in(&mut elsewhere, &renewed, "/sign-in").await.status, 303);
    assert!(elsewhere.account().await.text().contains("Bob Builder"));

    // 4.
    let account = at_home.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("certificate", &*field(&account, "certificate"))];
    let removed = at_home.post("/account/certificates/remove", &form).await;
    assert_eq!(removed.header("location"), Some("/account?done=certificate-removed"), "{}", removed.text());
    assert!(at_home.account().await.text().contains("None yet."));
    assert!(!browser.is_signed_in().await && !elsewhere.is_signed_in().await);
    let refused = certified.sign_in(&mut browser, &mine, "/sign-in").await;
    assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (403, "certificate_unlinked"));
    stack.wait_for_event("server-audit.jsonl", "certificate_unlinked").await;
}

#[tokio::test]
async fn a_person_links_a_certificate_and_signs_in_on_sqlite() {
    a_person_links_a_certificate_and_signs_in(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_person_links_a_certificate_and_signs_in_on_postgres() {
    a_person_links_a_certificate_and_signs_in(Engine::Postgres).await;
}

/// A certificate is one factor: an account with a second one asks for that, and steps up with it. The session of the same person stays.
#[tokio::test]
async fn a_second_factor_is_asked_for_after_the_certificate() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let (stack, mine) = (&certified.stack, certified.people.issue(leaf("bob-key")));
    certified.link("bob", &mine).await;
    let (app, mut browser) = (App::alice(stack), Browser::new(stack));
    assert_eq!(certified.sign_in(&mut browser, &mine, "/sign-in").await.status, 303);
    let tokens = app.tokens(stack, &mut browser, &[]).await;
    let first = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&first["amr"], &first["acr"]), (&json!(["swk"]), &json!(SINGLE)));
    let (authenticator, recovery_codes) = Authenticator::set_up(&mut browser, PASSWORD).await;
    let mut thief = Browser::new(stack);
    let page = certified.sign_in(&mut thief, &mine, "/sign-in").await;
    assert!(page.status == 200 && page.text().contains("Your code"), "{}", page.text());
    assert!(!thief.is_signed_in().await, "the certificate alone is not enough");

    // Sign-ins are told apart from requests by whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let led = browser.get(&app.url(&[("prompt", "login"), ("acr_values", MULTI)])).await;
    let sign_in = led.header("location").expect("away").to_owned();
    let page = certified.sign_in(&mut browser, &mine, &sign_in).await;
    let form = [
        ("csrf", &*field(&page, "csrf")),
        ("held", &*field(&page, "held")),
        ("interaction", &*field(&page, "interaction")),
        ("code", &*authenticator.code(1)),
    ];
    let answer = browser.post("/sign-in/code", &form).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    let tokens = app.redeem(stack, returned.get("code")).await.json();
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["swk", "otp", "mfa"]), &json!(MULTI)));
    assert_eq!(claims["sid"], first["sid"]);
    // What the password was worth is not mixed up with it, in a browser where a certificate was shown before.
    let page = crate::harness::totp::first_factor(&mut thief, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut thief, &page, &recovery_codes[0]).await.status, 303);
    let tokens = app.tokens(stack, &mut thief, &[]).await;
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!(claims["amr"], json!(["pwd", "otp", "mfa"]));
}

/// `amr` says what the operator knows of the certificates: with `mfa` they are two factors.
#[tokio::test]
async fn a_smart_card_is_two_factors_where_the_operator_says_so() {
    let Some(certified) = Certified::start(Engine::Sqlite, "amr = [\"hwk\", \"sc\", \"pin\", \"mfa\"]\n").await else { return };
    let stack = &certified.stack;
    // The certificate itself names the account; nothing is linked.
    let card = certified.people.issue(naming("card", "bob"));
    let (app, mut browser) = (App::alice(stack), Browser::new(stack));
    assert_eq!(certified.sign_in(&mut browser, &card, "/sign-in").await.status, 303);
    let tokens = app.tokens(stack, &mut browser, &[("acr_values", MULTI)]).await;
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["hwk", "sc", "pin", "mfa"]), &json!(MULTI)));
    Authenticator::set_up(&mut browser, PASSWORD).await;
    let mut again = Browser::new(stack);
    assert_eq!(certified.sign_in(&mut again, &card, "/sign-in").await.status, 303, "no code is asked for");
}

/// An operator links a key, one certificate, or a name, sees what is linked, and takes it away, which ends the person's sessions.
#[tokio::test]
async fn an_operator_links_certificates() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let stack = &certified.stack;
    let dir = stack.dir.path();
    let (exact, key) = (certified.people.issue(leaf("exact")), certified.people.issue(leaf("key")));
    let named = certified.people.issue(naming("named", "employee/4711"));
    exact.write(dir);
    symbolon(dir, &["user", "link-certificate", "bob", "--file", "exact.pem", "--exact"]).await.ok();
    certified.link("bob", &key).await;
    symbolon(dir, &["user", "link-certificate", "bob", "--name", "employee/4711"]).await.ok();
    let twice = symbolon(dir, &["user", "link-certificate", "bob", "--name", "employee/4711"]).await.failed();
    assert!(twice.contains("linked to an account already"), "{twice}");

    let mut browser = Browser::new(stack);
    for identity in [&exact, &key, &named, &certified.people.renew(&key, leaf("key"))] {
        let mut browser = Browser::new(stack);
        assert_eq!(certified.sign_in(&mut browser, identity, "/sign-in").await.status, 303, "{}", identity.name);
    }
    let other = certified.people.renew(&exact, leaf("exact"));
    let refused = certified.sign_in(&mut browser, &other, "/sign-in").await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "certificate_unlinked", "that one alone");

    assert_eq!(certified.sign_in(&mut browser, &key, "/sign-in").await.status, 303);
    let shown: serde_json::Value = serde_json::from_str(&symbolon(dir, &["user", "show", "bob"]).await.ok()).expect("JSON");
    let links = shown["certificates"].as_array().expect("a list");
    let found: Vec<_> =
        links.iter().map(|link| (link["by"].as_str().unwrap_or(""), link["title"].as_str().unwrap_or(""))).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!([("certificate", "CN=exact"), ("key", "CN=key"), ("name", "employee/4711")].iter().all(|link| found.contains(link)));
    let of_key = links.iter().find(|link| link["by"] == "key").expect("it")["link"].as_str().expect("a name");
    symbolon(dir, &["user", "unlink-certificate", "bob", of_key]).await.ok();
    assert!(!browser.is_signed_in().await);
    let again = symbolon(dir, &["user", "unlink-certificate", "bob", of_key]).await.failed();
    assert!(again.contains("no such certificate"), "{again}");
}

/// Where nobody may sign in with a certificate there is no button and no such page; and settings that cannot be meant are refused.
#[tokio::test]
async fn without_the_setting_there_is_nothing() {
    let stack = crate::harness::Setup { without_gateway: true, ..crate::harness::Setup::default() }.start().await;
    let mut browser = Browser::new(&stack);
    assert!(!browser.get("/sign-in").await.text().contains("certificate"));
    for target in ["/sign-in/certificate?answer=x", "/sign-in/certificate/show?errand=x"] {
        assert_eq!(browser.get(target).await.status, 404, "{target}");
    }
    let text = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let issuer = stack.fill("{issuer}");
    for (settings, words) in [
        ("anchor_set = \"clients\"".to_owned(), "`url` is missing"),
        ("url = \"https://as.example\"".to_owned(), "`anchor_set` is missing"),
        ("url = \"https://as.example\"\nanchor_set = \"nobody\"".to_owned(), "there is no [anchor_set.nobody]"),
        (format!("url = \"{issuer}\"\nanchor_set = \"clients\""), "another host than the issuer's"),
        ("url = \"https://as.example/x\"\nanchor_set = \"clients\"".to_owned(), "the path of `issuer`"),
        ("url = \"https://as.example\"\nanchor_set = \"clients\"\namr = [\"pwd\"]".to_owned(), "none of `swk`"),
        ("url = \"https://as.example\"\nanchor_set = \"clients\"\nname_field = \"cn\"".to_owned(), "san_email"),
        ("url = \"https://as.example:8443\"\nanchor_set = \"clients\"".to_owned(), "people could authenticate as clients there"),
    ] {
        std::fs::write(stack.path("bad.toml"), format!("{text}\n[certificate_sign_in]\n{settings}\n")).expect("written");
        let said = symbolon(stack.dir.path(), &["config", "check", "--config", "bad.toml"]).await.failed();
        assert!(said.contains(words), "{settings}: {said}");
    }
}
