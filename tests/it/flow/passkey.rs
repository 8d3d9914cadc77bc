//! People sign in with passkeys (W3C Web Authentication).

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, Returned, add_bob, go_on};
use crate::harness::browser::{Browser, field, problem};
use crate::harness::command::{symbolon, symbolon_told};
use crate::harness::own_account::export;
use crate::harness::passkey::{BACKED_UP, ELIGIBLE, Passkey, listed};
use crate::harness::totp::{Authenticator, first_factor, second_factor};
use crate::harness::{App, Engine, Setup, Stack, token};

const SINGLE: &str = "https://refeds.org/profile/sfa";
const MULTI: &str = "https://refeds.org/profile/mfa";

async fn id_token(app: &App, stack: &Stack, answer: &crate::harness::Answer) -> Value {
    let tokens = app.redeem(stack, Returned::of(answer).get("code")).await.json();
    token::claims(tokens["id_token"].as_str().unwrap_or_else(|| panic!("{tokens}")))
}

/// 1. Bob signs in with his password and makes two passkeys: one bound to its device, one that is synchronised.
/// 2. In another browser an application's request leads to the sign-in page. He gives no username; `amr` and `acr` say what his passkey says
///    of itself and no more (RFC 8176 §2).
/// 3. He takes his data along, which names the passkeys.
/// 4. He takes one away: other sessions end, and it is worth nothing. The other one goes on working.
/// 5. An operator sees it, and takes it away.
/// 6. His account is removed, and everything of them with it.
async fn a_person_makes_a_passkey_and_signs_in_without_a_username(engine: Engine) {
    let Some(stack) = (Setup { engine, without_gateway: true, ..App::setup() }).try_start().await else { return };
    let bob = add_bob(&stack).await;
    let issuer = stack.fill("{issuer}");

    // 1.
    let mut at_home = Browser::new(&stack);
    assert_eq!(at_home.sign_in("bob", PASSWORD).await.status, 303);
    let mut key = Passkey::registered(&issuer, &mut at_home, "Bob's <key>").await;
    // They are listed by when they were made, to the second.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let mut phone = Passkey::new(&issuer).but(|passkey| {
        passkey.flags |= ELIGIBLE | BACKED_UP;
        passkey.count = 0;
    });
    let done = phone.register(&mut at_home, "").await;
    assert_eq!(done.header("location"), Some("/account?done=passkey"), "{}", done.text());
    let account = at_home.get("/account?done=passkey").await;
    assert!(account.text().contains("You can sign in with this passkey now."), "{}", account.text());
    assert_eq!(listed(&account), ["Bob's <key>", "Passkey"]);
    assert_eq!(account.text().matches("synchronised").count(), 1);
    stack.wait_for_event("server-audit.jsonl", "passkey_added").await;

    // 2.
    let (app, mut browser) = (App::alice(&stack), Browser::new(&stack));
    let led = browser.get(&app.url(&[("acr_values", MULTI)])).await;
    let sign_in = led.header("location").expect("away").to_owned();
    assert!(sign_in.starts_with("/sign-in?interaction="), "{sign_in}");
    let answer = key.sign_in(&mut browser, &sign_in).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let claims = id_token(&app, &stack, &go_on(&mut browser, answer).await).await;
    assert_eq!((&claims["sub"], &claims["amr"], &claims["acr"]), (&json!(bob), &json!(["swk", "user", "mfa"]), &json!(MULTI)));
    assert!(browser.account().await.text().contains("Last used"));
    // Where an authenticator does not count, it need not go up.
    for _ in 0..2 {
        let mut elsewhere = Browser::new(&stack);
        assert_eq!(phone.sign_in(&mut elsewhere, "/sign-in").await.header("location"), Some("/account"));
        assert!(elsewhere.account().await.text().contains("Bob Builder"));
    }

    // 3.
    let data = export(&mut at_home).await.json();
    let passkeys: Vec<(&Value, &Value)> =
        data["passkeys"].as_array().expect("some").iter().map(|one| (&one["name"], &one["synchronised"])).collect();
    assert_eq!(passkeys, [(&json!("Bob's <key>"), &json!(false)), (&json!("Passkey"), &json!(true))]);

    // 4.
    let account = at_home.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("passkey", &*field(&account, "passkey"))];
    let removed = at_home.post("/account/passkeys/remove", &form).await;
    assert_eq!(removed.header("location"), Some("/account?done=passkey-removed"), "{}", removed.text());
    assert_eq!(listed(&at_home.account().await), ["Passkey"]);
    assert!(!browser.is_signed_in().await);
    let refused = key.sign_in(&mut browser, "/sign-in").await;
    assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (422, "passkey_unknown"));
    assert_eq!(phone.sign_in(&mut browser, "/sign-in").await.status, 303);
    stack.wait_for_event("server-audit.jsonl", "passkey_removed").await;

    // 5.
    let dir = stack.dir.path();
    let shown: Value = serde_json::from_str(&symbolon(dir, &["user", "show", "bob"]).await.ok()).expect("JSON");
    let shown = shown["passkeys"].as_array().expect("a list");
    assert_eq!((shown.len(), &shown[0]["name"], &shown[0]["synchronised"]), (1, &json!("Passkey"), &json!(true)));
    let named = shown[0]["passkey"].as_str().expect("its name");
    symbolon(dir, &["user", "remove-passkey", "bob", named]).await.ok();
    assert!(!browser.is_signed_in().await && !at_home.is_signed_in().await, "all sessions end");
    let again = symbolon(dir, &["user", "remove-passkey", "bob", named]).await.failed();
    assert!(again.contains("bob has no such passkey"), "{again}");
    assert_eq!(at_home.sign_in("bob", PASSWORD).await.status, 303);
    let mut phone = Passkey::registered(&issuer, &mut at_home, "another").await;

    // 6.
    symbolon(stack.dir.path(), &["user", "remove", "bob"]).await.ok();
    assert_eq!(stack.count("SELECT COUNT(*) FROM passkey").await, 0);
    let refused = phone.sign_in(&mut browser, "/sign-in").await;
    assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (422, "passkey_unknown"));
}

#[tokio::test]
async fn a_person_makes_a_passkey_and_signs_in_without_a_username_on_sqlite() {
    a_person_makes_a_passkey_and_signs_in_without_a_username(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_person_makes_a_passkey_and_signs_in_without_a_username_on_postgres() {
    a_person_makes_a_passkey_and_signs_in_without_a_username(Engine::Postgres).await;
}

/// A passkey is two factors: whoever signed in with a password alone steps up with it, in the same session, as with a code; an essential
/// `acr` is met; `max_age` and `prompt` have it used once more, with another `auth_time`.
#[tokio::test]
async fn a_passkey_steps_up() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let (app, mut browser) = (App::alice(&stack), Browser::new(&stack));
    let answer = browser.get(&app.url(&[])).await;
    let first = id_token(&app, &stack, &go_on(&mut browser, answer).await).await;
    assert_eq!((&first["amr"], &first["acr"]), (&json!(["pwd"]), &json!(SINGLE)));
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut browser, "key").await;
    // Making one is no sign-in.
    let answer = browser.get(&app.url(&[])).await;
    let same = id_token(&app, &stack, &go_on(&mut browser, answer).await).await;
    assert_eq!((&same["amr"], &same["auth_time"]), (&first["amr"], &first["auth_time"]));

    let essential = format!(r#"{{"id_token":{{"acr":{{"essential":true,"values":["{MULTI}"]}}}}}}"#);
    let mut before = first;
    for more in [("acr_values", MULTI), ("prompt", "login"), ("max_age", "1")] {
        // Sign-ins are told apart from requests by whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        let led = browser.get(&app.url(&[more])).await;
        let sign_in = led.header("location").expect("away").to_owned();
        assert!(sign_in.starts_with("/sign-in?interaction="), "{more:?}: {sign_in}");
        let answer = passkey.sign_in(&mut browser, &sign_in).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let claims = id_token(&app, &stack, &go_on(&mut browser, answer).await).await;
        assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["swk", "user", "mfa"]), &json!(MULTI)), "{more:?}");
        assert_eq!(claims["sid"], before["sid"], "the session stays the same");
        assert!(claims["auth_time"].as_i64() > before["auth_time"].as_i64(), "{more:?}");
        before = claims;
    }
    let answer = browser.get(&app.url(&[("claims", &essential)])).await;
    let claims = id_token(&app, &stack, &go_on(&mut browser, answer).await).await;
    assert_eq!(claims["acr"], MULTI);
}

/// A passkey stands in for the code after the password, for the same person, in the same browser: `amr` says all three. It needs no code after
/// itself. Whoever set two-step sign-in up and knows the password alone gets no further with another person's passkey.
#[tokio::test]
async fn a_passkey_stands_in_for_the_code() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let issuer = stack.fill("{issuer}");
    let said = ["user", "add", "mallory", "--password-stdin"];
    symbolon_told(stack.dir.path(), &said, &format!("{PASSWORD}\n")).await.ok();
    let (app, mut browser, mut mallory) = (App::alice(&stack), Browser::new(&stack), Browser::new(&stack));
    app.tokens(&stack, &mut browser, &[]).await;
    let mut passkey = Passkey::registered(&issuer, &mut browser, "bob's").await;
    assert_eq!(mallory.sign_in("mallory", PASSWORD).await.status, 303);
    let mut mallorys = Passkey::registered(&issuer, &mut mallory, "mallory's").await;
    let (authenticator, _) = Authenticator::set_up(&mut browser, PASSWORD).await;

    let over = "That took too long. Please begin again.";
    let no = "This passkey was not accepted. Try again, or use another way.";
    let asked_for = async |browser: &mut Browser, page: &crate::harness::Answer| {
        let csrf = field(page, "csrf");
        let answer = browser.post("/sign-in/passkey/options", &[("csrf", &csrf)]).await.json();
        (answer["attempt"].as_str().expect("one").to_owned(), answer["public_key"].clone())
    };
    let sent = async |browser: &mut Browser, page: &crate::harness::Answer, held: &str, attempt: &str, credential: &str| {
        let csrf = field(page, "csrf");
        let form = [("csrf", &*csrf), ("held", held), ("attempt", attempt), ("credential", credential)];
        browser.post("/sign-in/passkey", &form).await
    };
    let mut thief = Browser::new(&stack);
    let page = first_factor(&mut thief, "bob", PASSWORD).await;
    assert!(page.text().contains("Use a passkey instead"), "{}", page.text());
    let held = field(&page, "held");
    // Another person's passkey, which signs in by itself, at the sign-in page.
    let (attempt, options) = asked_for(&mut thief, &page).await;
    mallorys.count += 1;
    let answer = sent(&mut thief, &page, &held, &attempt, &mallorys.used(&options)).await;
    let verdict = (answer.status, stack.reason_of(answer.request_id()).await, problem(&answer).unwrap_or_default());
    assert_eq!(verdict, (422, "passkey_user_mismatch".into(), no.into()));
    assert!(answer.text().contains("Your code") && !thief.is_signed_in().await);
    // What was held for another browser, and what was asked for at the page before.
    let mut other = Browser::new(&stack);
    let others = first_factor(&mut other, "bob", PASSWORD).await;
    let (attempt, options) = asked_for(&mut other, &others).await;
    passkey.count += 1;
    let answer = sent(&mut other, &others, &held, &attempt, &passkey.used(&options)).await;
    let verdict = (answer.status, stack.reason_of(answer.request_id()).await, problem(&answer).unwrap_or_default());
    assert_eq!(verdict, (422, "sign_in_over".into(), over.into()));
    let before = crate::harness::passkey::ask(&mut other, "/sign-in").await;
    let answer = sent(&mut other, &others, &field(&others, "held"), &before.attempt, &passkey.used(&before.options)).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "passkey_challenge_foreign");
    assert!(!other.is_signed_in().await);
    // The right one.
    let (attempt, options) = asked_for(&mut thief, &page).await;
    passkey.count += 1;
    let answer = sent(&mut thief, &page, &held, &attempt, &passkey.used(&options)).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account")), "{}", answer.text());
    let answer = thief.get(&app.url(&[])).await;
    let claims = id_token(&app, &stack, &go_on(&mut thief, answer).await).await;
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "swk", "user", "mfa"]), &json!(MULTI)));
    // Without a password it is two factors by itself, and the code goes on working.
    let mut alone = Browser::new(&stack);
    assert_eq!(passkey.sign_in(&mut alone, "/sign-in").await.header("location"), Some("/account"));
    let page = first_factor(&mut other, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut other, &page, &authenticator.code(1)).await.status, 303);
}

/// Passkeys belong to domain names. Where the issuer's host is an address there are none, and nothing speaks of them; so it is where they are
/// turned off.
#[tokio::test]
async fn where_there_can_be_no_passkeys_nothing_speaks_of_them() {
    let at_address = vec![("issuer = \"{issuer}\"\nmtls_url = \"{mtls_url}\"".to_owned(), "issuer = \"{mtls_url}\"".to_owned())];
    let cases = [
        (Setup { server_changes: at_address, ..App::setup() }, true),
        (Setup { server: "[passkeys]\noffered = false\n".into(), ..App::setup() }, false),
    ];
    for (setup, is_address) in cases {
        let stack = Setup { without_gateway: true, ..setup }.start().await;
        add_bob(&stack).await;
        let mut browser = match is_address {
            true => Browser::at(stack.nobody(), &stack.mtls_authority),
            false => Browser::new(&stack),
        };
        let page = browser.get("/sign-in").await;
        assert!(page.status == 200 && !page.text().to_lowercase().contains("passkey"), "{}", page.text());
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(!policy.contains("script-src") && !policy.contains("connect-src"), "{policy}");
        let csrf = field(&page, "csrf");
        for path in ["/sign-in/passkey/options", "/sign-in/passkey"] {
            assert_eq!(browser.post(path, &[("csrf", &csrf)]).await.status, 404, "{path}");
        }
        assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303, "everything else works");
        let account = browser.account().await;
        assert!(!account.text().to_lowercase().contains("passkey"), "{}", account.text());
        let csrf = field(&account, "csrf");
        for path in ["/account/passkeys", "/account/passkeys/add"] {
            assert_eq!(browser.post(path, &[("csrf", &csrf)]).await.status, 404, "{path}");
        }
    }
}

/// The relying party's id may be a domain above the issuer's host, and nothing else: the server says so before it starts.
#[tokio::test]
async fn a_wrong_relying_party_is_refused_at_the_start() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let config = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    for (more, words) in [
        ("[passkeys]\nrp_id = \"example.com\"\n", "neither the issuer's host nor a domain above it"),
        ("[passkeys]\nrp_id = \"host\"\n", "neither the issuer's host nor a domain above it"),
        ("[passkeys]\nrp_id = \"localhost\"\noffered = false\n", "nobody could use a passkey"),
        ("[passkeys]\nrp_ip = \"localhost\"\n", "did you mean `rp_id`?"),
    ] {
        std::fs::write(stack.path("bad.toml"), format!("{config}\n{more}")).expect("written");
        let said = symbolon(stack.dir.path(), &["config", "check", "--config", "bad.toml"]).await.failed();
        assert!(said.contains(words), "{more}: {said}");
    }
    std::fs::write(stack.path("good.toml"), format!("{config}\n[passkeys]\nrp_id = \"localhost\"\n")).expect("written");
    symbolon(stack.dir.path(), &["config", "check", "--config", "good.toml"]).await.ok();
}
