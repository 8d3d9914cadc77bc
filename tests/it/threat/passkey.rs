//! Passkeys: what thieves, forgers, phishing pages and copied authenticators try.

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, add_bob};
use crate::harness::browser::{Browser, field, problem};
use crate::harness::command::{symbolon, symbolon_told};
use crate::harness::passkey::{ELIGIBLE, PRESENT, Passkey, VERIFIED, ask, ask_to_make, keep, listed, send};
use crate::harness::{Answer, App, Call, Engine, Setup, Stack};

const REFUSED: &str = "This passkey was not accepted. Try again, or use another way.";
const OVER: &str = "That took too long. Please begin again.";

async fn start(more: &str) -> Stack {
    let stack = Setup { without_gateway: true, server: more.into(), ..App::setup() }.start().await;
    add_bob(&stack).await;
    stack
}

async fn signed_in(stack: &Stack, name: &str) -> Browser {
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in(name, PASSWORD).await.status, 303);
    browser
}

async fn add(stack: &Stack, name: &str) {
    let arguments = ["user", "add", name, "--password-stdin"];
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
}

/// Status, private reason, and what the person reads.
async fn verdict(stack: &Stack, answer: &Answer) -> (u16, String, String) {
    let told = problem(answer).unwrap_or_default();
    (answer.status, stack.reason_of(answer.request_id()).await, told)
}

fn refused(reason: &str) -> (u16, String, String) {
    (422, reason.to_owned(), REFUSED.to_owned())
}

/// Everything that an assertion is held to (Web Authentication Level 3 §7.2), one thing wrong at a time, with one public answer for all; the
/// same with the one thing corrected signs in, in the same browser.
async fn what_is_wrong_with_one_thing_signs_nobody_in(engine: Engine) {
    let Some(stack) = (Setup { engine, without_gateway: true, ..App::setup() }).try_start().await else { return };
    add_bob(&stack).await;
    add(&stack, "mallory").await;
    let issuer = stack.fill("{issuer}");
    let mut good = Passkey::registered(&issuer, &mut signed_in(&stack, "bob").await, "bob's").await;
    let mallorys = Passkey::registered(&issuer, &mut signed_in(&stack, "mallory").await, "mallory's").await;
    let unknown = Passkey::new(&issuer).but(|passkey| passkey.handle.clone_from(&good.handle));
    let other_challenge = ask(&mut Browser::new(&stack), "/sign-in").await.options["challenge"].as_str().expect("one").to_owned();
    good.count = 10;
    let cases: Vec<(&str, Passkey, &str)> = vec![
        ("another origin", good.but(|p| p.origin = "https://localhost.example".into()), "passkey_origin"),
        ("another port", good.but(|p| p.origin = "https://localhost".into()), "passkey_origin"),
        ("no TLS", good.but(|p| p.origin = issuer.replace("https", "http")), "passkey_origin"),
        ("a host below", good.but(|p| p.origin = issuer.replace("localhost", "evil.localhost")), "passkey_origin"),
        ("within another page", good.but(|p| p.cross_origin = true), "passkey_origin"),
        ("another relying party", good.but(|p| p.rp_id = "localhost.example".into()), "passkey_relying_party"),
        ("another challenge", good.but(|p| p.challenge = Some(other_challenge.clone())), "passkey_challenge_mismatch"),
        ("no challenge", good.but(|p| p.challenge = Some(String::new())), "passkey_challenge_mismatch"),
        ("made, not used", good.but(|p| p.kind = Some("webauthn.create")), "passkey_malformed"),
        ("nobody verified", good.but(|p| p.flags = PRESENT), "passkey_user_unverified"),
        ("nobody there", good.but(|p| p.flags = VERIFIED), "passkey_user_absent"),
        ("neither", good.but(|p| p.flags = 0), "passkey_user_absent"),
        ("synchronised all at once", good.but(|p| p.flags |= ELIGIBLE), "passkey_backup"),
        ("a signature with one bit flipped", good.but(|p| p.flipped = true), "passkey_signature"),
        ("an id that nobody has", unknown.clone(), "passkey_unknown"),
        ("another key under his id", unknown.but(|p| p.id.clone_from(&good.id)), "passkey_signature"),
        ("another person's name", good.but(|p| p.handle.clone_from(&mallorys.handle)), "passkey_user_mismatch"),
        ("no name", good.but(|p| p.handle = None), "passkey_user_mismatch"),
        ("an empty name", good.but(|p| p.handle = Some(vec![])), "passkey_user_mismatch"),
        ("her passkey in his name", mallorys.but(|p| p.handle.clone_from(&good.handle)), "passkey_user_mismatch"),
        ("her id on his passkey", good.but(|p| p.id.clone_from(&mallorys.id)), "passkey_user_mismatch"),
    ];
    let mut pages = std::collections::BTreeSet::new();
    for (what, passkey, reason) in cases {
        let mut browser = Browser::new(&stack);
        let asked = ask(&mut browser, "/sign-in").await;
        let answer = send(&mut browser, &asked, &passkey.used(&asked.options)).await;
        assert_eq!(verdict(&stack, &answer).await, refused(reason), "{what}");
        pages.insert(answer.text().replace(&asked.csrf, "CSRF"));
        assert!(!browser.is_signed_in().await, "{what}");
        // The attempt is over, also for the right passkey; the next one is as good as any.
        let answer = send(&mut browser, &asked, &good.used(&asked.options)).await;
        assert_eq!(verdict(&stack, &answer).await, (422, "sign_in_over".into(), OVER.into()), "{what}: a second time");
        assert!(!browser.is_signed_in().await, "{what}");
        let done = good.sign_in(&mut browser, "/sign-in").await;
        assert_eq!(done.header("location"), Some("/account"), "{what}, corrected: {}", done.text());
        assert!(browser.account().await.text().contains("Bob Builder"), "{what}");
    }
    assert_eq!(pages.len(), 1, "what was wrong is not told");
}

#[tokio::test]
async fn what_is_wrong_with_one_thing_signs_nobody_in_on_sqlite() {
    what_is_wrong_with_one_thing_signs_nobody_in(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_is_wrong_with_one_thing_signs_nobody_in_on_postgres() {
    what_is_wrong_with_one_thing_signs_nobody_in(Engine::Postgres).await;
}

/// What was signed counts once, in the browser that asked, for what it asked for.
#[tokio::test]
async fn what_was_signed_counts_once_in_the_browser_that_asked() {
    let stack = start("").await;
    let issuer = stack.fill("{issuer}");
    let mut at_home = signed_in(&stack, "bob").await;
    let mut passkey = Passkey::registered(&issuer, &mut at_home, "bob's").await;

    // Replayed: at once, and as the answer to another challenge.
    let mut bob = Browser::new(&stack);
    let asked = ask(&mut bob, "/sign-in").await;
    passkey.count += 1;
    let signed = passkey.used(&asked.options);
    assert_eq!(send(&mut bob, &asked, &signed).await.status, 303);
    let mut thief = bob.clone();
    thief.cookies.retain(|(name, _)| !name.contains("-session-"));
    let answer = send(&mut thief, &asked, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, (422, "sign_in_over".into(), OVER.into()));
    let again = ask(&mut thief, "/sign-in").await;
    let answer = send(&mut thief, &again, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_mismatch"));
    assert!(!thief.is_signed_in().await);

    // Mallory asks, and has bob's browser sign and send it: neither is signed in, and the attempt is dead for both.
    let (mut mallory, mut bob) = (Browser::new(&stack), Browser::new(&stack));
    let mallorys = ask(&mut mallory, "/sign-in").await;
    passkey.count += 1;
    let signed = passkey.used(&mallorys.options);
    let mut bobs = ask(&mut bob, "/sign-in").await;
    bobs.attempt.clone_from(&mallorys.attempt);
    let answer = send(&mut bob, &bobs, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_foreign"));
    let answer = send(&mut mallory, &mallorys, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, (422, "sign_in_over".into(), OVER.into()));
    assert!(!bob.is_signed_in().await && !mallory.is_signed_in().await);
    // Bob signed for his own browser, and mallory brings it to his own attempt, or to bob's with his own cookie.
    let bobs = ask(&mut bob, "/sign-in").await;
    let signed = passkey.used(&bobs.options);
    let mallorys = ask(&mut mallory, "/sign-in").await;
    let answer = send(&mut mallory, &mallorys, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_mismatch"));
    let mut stolen = ask(&mut mallory, "/sign-in").await;
    stolen.attempt.clone_from(&bobs.attempt);
    let answer = send(&mut mallory, &stolen, &signed).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_foreign"));
    let foreign = Call::form("/sign-in/passkey", &[("csrf", &bobs.csrf), ("attempt", &bobs.attempt), ("credential", &signed)]);
    let answer = mallory.send(foreign.clone()).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "form_foreign");
    let answer = bob.send(foreign.header("Sec-Fetch-Site", "cross-site")).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"));
    let options = Call::form("/sign-in/passkey/options", &[("csrf", &bobs.csrf)]);
    for call in [options.clone().header("Sec-Fetch-Site", "same-site"), Call::form("/sign-in/passkey/options", &[])] {
        let answer = bob.send(call).await;
        assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"));
    }
    assert_eq!(bob.send(options.header("Sec-Fetch-Site", "same-origin")).await.status, 200);

    // A challenge to make a passkey is none to sign in with, and the other way round.
    let making = ask_to_make(&mut at_home).await;
    let mut asked = ask(&mut bob, "/sign-in").await;
    let right = asked.clone();
    asked.attempt.clone_from(&making.attempt);
    let answer = send(&mut bob, &asked, &passkey.used(&making.options)).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_foreign"));
    let mut making = ask_to_make(&mut at_home).await;
    making.attempt.clone_from(&right.attempt);
    let answer = keep(&mut at_home, &making, "x", &Passkey::new(&issuer).made(&right.options)).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_foreign"));
    assert!(!bob.is_signed_in().await);
    assert_eq!(passkey.sign_in(&mut bob, "/sign-in").await.status, 303, "all of it right");
}

/// An authenticator that counts less than before has a copy somewhere: it signs nobody in, and the audit trail names it. It goes on with a
/// higher count.
#[tokio::test]
async fn a_copied_authenticator_is_noticed() {
    let stack = start("").await;
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut signed_in(&stack, "bob").await, "bob's").await;
    let mut copy = passkey.clone();
    passkey.count = 41;
    let mut browser = Browser::new(&stack);
    assert_eq!(passkey.sign_in(&mut browser, "/sign-in").await.status, 303);
    for count in [1, 40, 41] {
        copy.count = count;
        let mut thief = Browser::new(&stack);
        let answer = copy.sign_in(&mut thief, "/sign-in").await;
        assert_eq!(verdict(&stack, &answer).await, refused("passkey_counter"), "{}", copy.count);
        assert!(!thief.is_signed_in().await);
    }
    let event = stack.wait_for_event("server-audit.jsonl", "passkey_suspected").await;
    assert!(event["subject"].is_string() && event["passkey"].is_string(), "{event}");
    // One that counted, and does so no more.
    let asked = ask(&mut browser, "/sign-in?again=yes").await;
    let answer = send(&mut browser, &asked, &passkey.but(|passkey| passkey.count = 0).used(&asked.options)).await;
    assert_eq!(verdict(&stack, &answer).await, refused("passkey_counter"));
    assert_eq!(passkey.sign_in(&mut Browser::new(&stack), "/sign-in").await.status, 303);
}

/// Whom an operator keeps out stays out, with the same answer as whoever has no passkey; a second factor is not asked for after a passkey,
/// which is two.
#[tokio::test]
async fn a_disabled_person_stays_out() {
    let stack = start("").await;
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut signed_in(&stack, "bob").await, "bob's").await;
    symbolon(stack.dir.path(), &["user", "disable", "bob"]).await.ok();
    let mut browser = Browser::new(&stack);
    let answer = passkey.sign_in(&mut browser, "/sign-in").await;
    assert_eq!(verdict(&stack, &answer).await, refused("account_disabled"));
    assert!(!browser.is_signed_in().await);
    symbolon(stack.dir.path(), &["user", "enable", "bob"]).await.ok();
    assert_eq!(passkey.sign_in(&mut browser, "/sign-in").await.status, 303);
}

/// What is no passkey's word at all.
#[tokio::test]
async fn garbage_is_refused() {
    let stack = start("").await;
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut signed_in(&stack, "bob").await, "bob's").await;
    let mut browser = Browser::new(&stack);
    let with = |member: &str, value: Value| {
        let member = member.to_owned();
        Box::new(move |good: Value| {
            let mut changed = good;
            changed["response"][&member] = value.clone();
            changed.to_string()
        }) as Box<dyn Fn(Value) -> String + Send>
    };
    let text = |text: String| Box::new(move |_: Value| text.clone()) as Box<dyn Fn(Value) -> String + Send>;
    let cases = [
        ("nothing", text(String::new()), "passkey_malformed"),
        ("null", text("null".into()), "passkey_malformed"),
        ("an empty object", text("{}".into()), "passkey_malformed"),
        ("much in much", text("[".repeat(5_000)), "passkey_malformed"),
        ("no client data", with("clientDataJSON", json!("")), "passkey_malformed"),
        ("empty client data", with("clientDataJSON", json!("e30")), "passkey_malformed"),
        ("client data that is no text", with("clientDataJSON", json!("!")), "passkey_malformed"),
        ("no data", with("authenticatorData", json!("")), "passkey_malformed"),
        ("too little data", with("authenticatorData", json!("AAAA")), "passkey_malformed"),
        ("data of zeros", with("authenticatorData", json!("A".repeat(2_000))), "passkey_relying_party"),
        ("a number as signature", with("signature", json!(7)), "passkey_malformed"),
        ("no signature", with("signature", json!("")), "passkey_signature"),
        ("a short signature", with("signature", json!("AAAA")), "passkey_signature"),
        ("too much of it", Box::new(|good: Value| format!("{good}{}", " ".repeat(17_000))), "passkey_malformed"),
    ];
    for (what, case, reason) in cases {
        let asked = ask(&mut browser, "/sign-in").await;
        let good: Value = serde_json::from_str(&passkey.used(&asked.options)).expect("JSON");
        let answer = send(&mut browser, &asked, &case(good)).await;
        assert_eq!(verdict(&stack, &answer).await, refused(reason), "{what}");
    }
    let asked = ask(&mut browser, "/sign-in").await;
    let answer = send(&mut browser, &asked, &"x".repeat(1_000_000)).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (413, "body_too_large"));
    for attempt in ["", "x", &"A".repeat(5_000)] {
        let mut asked = asked.clone();
        asked.attempt = attempt.to_owned();
        let answer = send(&mut browser, &asked, &passkey.used(&asked.options)).await;
        assert_eq!(verdict(&stack, &answer).await, (422, "sign_in_over".into(), OVER.into()));
    }
    assert!(!browser.is_signed_in().await);
    assert_eq!(passkey.sign_in(&mut browser, "/sign-in").await.status, 303);
}

/// Attempts count by address, and those that succeed do not: what a passkey signs cannot be guessed, but a challenge costs a row.
#[tokio::test]
async fn asking_is_slowed_down() {
    let stack = start("[sign_in]\nattempts_per_address = 4\naddress_attempt_seconds = 3600\n").await;
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut signed_in(&stack, "bob").await, "bob's").await;
    for _ in 0..6 {
        assert_eq!(passkey.sign_in(&mut Browser::new(&stack), "/sign-in").await.status, 303, "good attempts do not count");
    }
    let mut browser = Browser::new(&stack);
    for _ in 0..4 {
        let asked = ask(&mut browser, "/sign-in").await;
        let answer = send(&mut browser, &asked, &passkey.but(|passkey| passkey.flipped = true).used(&asked.options)).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, "passkey_signature");
    }
    let csrf = field(&browser.get("/sign-in").await, "csrf");
    let answer = browser.post("/sign-in/passkey/options", &[("csrf", &csrf)]).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (429, "attempts_too_many"));
    assert!(answer.json()["error_description"].as_str().is_some_and(|words| words.starts_with("Too many attempts.")));
    let wait: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("a time");
    assert!((3_500..=3_601).contains(&wait), "{wait}");
}

/// Everything that a new passkey is held to (Level 3 §7.1), one thing wrong at a time; the page asks for another, and the right one is kept.
#[tokio::test]
async fn a_passkey_is_not_made_by_somebody_else() {
    let stack = start("").await;
    add(&stack, "mallory").await;
    let issuer = stack.fill("{issuer}");
    let (mut bob, mut elsewhere) = (signed_in(&stack, "bob").await, signed_in(&stack, "bob").await);
    let mut mallory = signed_in(&stack, "mallory").await;
    let mallorys = Passkey::registered(&issuer, &mut mallory, "mallory's").await;
    let new = Passkey::new(&issuer);
    let cases = [
        ("another origin", new.but(|p| p.origin = "https://localhost.example".into()), "passkey_origin", REFUSED),
        ("within another page", new.but(|p| p.cross_origin = true), "passkey_origin", REFUSED),
        ("another relying party", new.but(|p| p.rp_id = "localhost.example".into()), "passkey_relying_party", REFUSED),
        ("another challenge", new.but(|p| p.challenge = Some("AAAA".into())), "passkey_challenge_mismatch", REFUSED),
        ("used, not made", new.but(|p| p.kind = Some("webauthn.get")), "passkey_malformed", REFUSED),
        ("nobody verified", new.but(|p| p.flags = PRESENT), "passkey_user_unverified", REFUSED),
        ("nobody there", new.but(|p| p.flags = VERIFIED), "passkey_user_absent", REFUSED),
        ("no id", new.but(|p| p.id = vec![]), "passkey_malformed", REFUSED),
        ("too long an id", new.but(|p| p.id = vec![7; 1_024]), "passkey_malformed", REFUSED),
        (
            "an id that is somebody's",
            new.but(|p| p.id.clone_from(&mallorys.id)),
            "passkey_taken",
            "This device has a passkey for an account here already.",
        ),
    ];
    for (what, passkey, reason, words) in cases {
        let asked = ask_to_make(&mut bob).await;
        let answer = keep(&mut bob, &asked, what, &passkey.made(&asked.options)).await;
        assert_eq!(verdict(&stack, &answer).await, (422, reason.to_owned(), words.to_owned()), "{what}");
        assert!(answer.text().contains("data-public-key"), "{what}: another attempt");
        let answer = keep(&mut bob, &asked, what, &new.made(&asked.options)).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over", "{what}: a second time");
    }
    for credential in ["", "{}", &new.used(&json!({ "challenge": "AAAA" }))] {
        let asked = ask_to_make(&mut bob).await;
        let answer = keep(&mut bob, &asked, "garbage", credential).await;
        assert_eq!(verdict(&stack, &answer).await, refused("passkey_malformed"), "{credential}");
    }
    // Another session's attempt, of another person or the same one.
    for browser in [&mut mallory, &mut elsewhere] {
        let foreign = ask_to_make(browser).await;
        let mut asked = ask_to_make(&mut bob).await;
        asked.attempt.clone_from(&foreign.attempt);
        let answer = keep(&mut bob, &asked, "foreign", &new.made(&foreign.options)).await;
        assert_eq!(verdict(&stack, &answer).await, refused("passkey_challenge_foreign"));
    }
    let asked = ask_to_make(&mut bob).await;
    let form = [("csrf", "x"), ("attempt", &*asked.attempt), ("name", "n"), ("credential", &new.made(&asked.options))];
    let answer = bob.post("/account/passkeys/add", &form).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"));
    assert_eq!(listed(&bob.account().await), Vec::<String>::new());
    let done = keep(&mut bob, &asked, "the right one", &new.made(&asked.options)).await;
    assert_eq!(done.header("location"), Some("/account?done=passkey"), "{}", done.text());
    assert_eq!(listed(&bob.account().await), ["the right one"]);

    // Each takes away their own alone.
    let of_mallory = field(&mallory.account().await, "passkey");
    let csrf = field(&bob.account().await, "csrf");
    for named in [&*of_mallory, "x", ""] {
        let answer = bob.post("/account/passkeys/remove", &[("csrf", &csrf), ("passkey", named)]).await;
        assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (400, "parameter_malformed"), "{named}");
    }
    assert_eq!(listed(&mallory.account().await), ["mallory's"]);
}

/// Whoever finds a browser open, or has a copy of its cookie, neither makes a passkey nor takes one away: both ask for a sign-in of just now.
#[tokio::test]
async fn an_open_browser_makes_no_passkey() {
    let stack = start("[session]\nfresh_seconds = 3\n").await;
    let mut browser = signed_in(&stack, "bob").await;
    Passkey::registered(&stack.fill("{issuer}"), &mut browser, "bob's").await;
    let asked = ask_to_make(&mut browser).await;
    let account = browser.account().await;
    let (csrf, passkey) = (field(&account, "csrf"), field(&account, "passkey"));
    tokio::time::sleep(std::time::Duration::from_millis(4_100)).await;
    let made = Passkey::new(&stack.fill("{issuer}")).made(&asked.options);
    let forms: [(&str, &[(&str, &str)]); 3] = [
        ("/account/passkeys", &[("csrf", &csrf)]),
        ("/account/passkeys/add", &[("csrf", &csrf), ("attempt", &asked.attempt), ("name", "n"), ("credential", &made)]),
        ("/account/passkeys/remove", &[("csrf", &csrf), ("passkey", &passkey)]),
    ];
    for (path, form) in forms {
        let answer = browser.post(path, form).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in?again=yes")), "{path}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "session_stale", "{path}");
    }
    assert_eq!(listed(&browser.account().await), ["bob's"]);
    let page = browser.get("/sign-in?again=yes").await;
    let form = [("csrf", &*field(&page, "csrf")), ("username", "bob"), ("password", PASSWORD)];
    assert_eq!(browser.post("/sign-in", &form).await.status, 303);
    let csrf = field(&browser.account().await, "csrf");
    let removed = browser.post("/account/passkeys/remove", &[("csrf", &csrf), ("passkey", &passkey)]).await;
    assert_eq!(removed.header("location"), Some("/account?done=passkey-removed"), "{}", removed.text());
}
