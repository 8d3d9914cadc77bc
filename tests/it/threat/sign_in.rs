//! Sign-in and the pages behind it: what thieves of sessions, guessers of passwords and foreign pages try.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::browser::{Browser, field, fields, problem};
use crate::harness::command::{symbolon, symbolon_told};
use crate::harness::{Answer, Call, Setup, Stack, ports};

const PASSWORD: &str = "lantern-orbit-velvet-fjord";

async fn start(more: &str) -> Stack {
    Setup { without_gateway: true, server: more.into(), ..Setup::default() }.start().await
}

async fn add(stack: &Stack, name: &str) {
    let arguments = ["user", "add", name, "--password-stdin"];
    symbolon_told(stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
}

/// Status and private reason.
async fn verdict(stack: &Stack, answer: &Answer) -> (u16, String) {
    (answer.status, stack.reason_of(answer.request_id()).await)
}

/// Login CSRF: a foreign page signs its visitor in as somebody else. The token of the form stands on a cookie of the visitor's own
/// browser.
#[tokio::test]
async fn a_foreign_page_signs_nobody_in() {
    let stack = start("").await;
    add(&stack, "mallory").await;
    let (mut victim, mut attacker) = (Browser::new(&stack), Browser::new(&stack));
    let hers = field(&victim.get("/sign-in").await, "csrf");
    let his = field(&attacker.get("/sign-in").await, "csrf");
    let form = |csrf: &str| Call::form("/sign-in", &[("csrf", csrf), ("username", "mallory"), ("password", PASSWORD)]);
    let foreign = (403, "form_foreign".to_owned());
    for (call, what) in [
        (form(&his), "the attacker's token"),
        (form(""), "no token"),
        (form("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "a made-up token"),
        (form(&hers).header("Sec-Fetch-Site", "cross-site"), "sent from elsewhere"),
        (form(&hers).header("Sec-Fetch-Site", "same-site"), "sent from a neighbour"),
    ] {
        let answer = victim.send(call).await;
        assert_eq!(verdict(&stack, &answer).await, foreign, "{what}");
        assert_eq!(victim.session_cookie(), None, "{what}");
    }
    let answer = Browser::new(&stack).send(form(&his)).await;
    assert_eq!(verdict(&stack, &answer).await, foreign, "without the cookie");
    let answer = victim.send(form(&hers).header("Sec-Fetch-Site", "same-origin")).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}

/// Session fixation: a cookie planted before is worth nothing after its bearer has signed in.
#[tokio::test]
async fn a_planted_session_is_not_the_victims() {
    let stack = start("").await;
    add(&stack, "alice").await;
    add(&stack, "mallory").await;
    let mut attacker = Browser::new(&stack);
    attacker.sign_in("mallory", PASSWORD).await;
    let planted = attacker.session_cookie().expect("a session");
    let mut victim = Browser::new(&stack);
    victim.cookies.push(planted.clone());
    // A session is there, and with an authorization request the form is shown all the same.
    let page = victim.get("/sign-in?interaction=x").await;
    let form = [("csrf", &*field(&page, "csrf")), ("username", "alice"), ("password", PASSWORD)];
    assert_eq!(victim.post("/sign-in", &form).await.status, 303);
    assert_ne!(victim.session_cookie(), Some(planted));
    assert!(victim.account().await.text().contains("<strong>alice</strong>"));
    assert!(!attacker.is_signed_in().await, "the session before has ended");
    // Nor does her own cookie from before she signed in again.
    let mut copied = victim.clone();
    assert_eq!(victim.post("/sign-in", &form).await.status, 303);
    assert!(!copied.is_signed_in().await);
    assert!(victim.is_signed_in().await);
}

/// A session of one deployment is none at another, under either's name for its cookie.
#[tokio::test]
async fn a_session_of_another_deployment_is_none() {
    let (one, other) = (start("").await, start("").await);
    add(&one, "alice").await;
    add(&other, "alice").await;
    let (mut at_one, mut at_other) = (Browser::new(&one), Browser::new(&other));
    at_one.sign_in("alice", PASSWORD).await;
    at_other.sign_in("alice", PASSWORD).await;
    let (name, value) = at_one.session_cookie().expect("a session");
    let (other_name, _) = at_other.session_cookie().expect("a session");
    assert_ne!(name, other_name, "two at one host do not overwrite each other's");
    for cookie in [(name, value.clone()), (other_name.clone(), value)] {
        let mut thief = Browser::new(&other);
        thief.cookies.push(cookie);
        assert!(!thief.is_signed_in().await);
    }
    let mut altered = at_other.clone();
    for cookie in altered.cookies.iter_mut().filter(|(name, _)| *name == other_name) {
        let last = cookie.1.pop().expect("a character");
        cookie.1.push(if last == 'A' { 'E' } else { 'A' });
    }
    assert!(!altered.is_signed_in().await);
    let mut twice = at_other.clone();
    twice.cookies.push((other_name, "AAAA".into()));
    assert!(!twice.is_signed_in().await, "two cookies of one name");
    assert!(at_other.is_signed_in().await);
}

/// Guessing is slowed down before anything is hashed, for a name that there is as for one that there is not; nobody is locked out, and
/// whoever signs in well is not slowed down.
#[tokio::test]
async fn guessing_is_slowed_down_and_nobody_is_locked_out() {
    let stack = start("[sign_in]\nattempts_per_account = 3\naccount_attempt_seconds = 3600\n").await;
    add(&stack, "alice").await;
    add(&stack, "bob").await;
    for _ in 0..5 {
        assert_eq!(Browser::new(&stack).sign_in("alice", PASSWORD).await.status, 303, "good attempts do not count");
    }
    for name in ["alice", "nobody"] {
        let mut browser = Browser::new(&stack);
        for _ in 0..3 {
            assert_eq!(browser.sign_in(name, "another password").await.status, 422);
        }
        let answer = browser.sign_in(&name.to_uppercase(), PASSWORD).await;
        assert_eq!(verdict(&stack, &answer).await, (429, "attempts_too_many".to_owned()), "{name}");
        let wait: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("a time");
        assert!((3_500..=3_601).contains(&wait), "{wait}");
        assert!(problem(&answer).is_some_and(|text| text.starts_with("Too many attempts.")));
    }
    assert_eq!(Browser::new(&stack).sign_in("bob", PASSWORD).await.status, 303, "another account, from the same address");
}

/// More at once than may be hashed and wait is 503 with `Retry-After`, and not a longer and longer queue.
#[tokio::test]
async fn a_crowd_is_told_to_come_again() {
    let stack = start("[password]\nhashes = 1\nwaiting_hashes = 1\niterations = 8\nmemory_kib = 131072\n").await;
    add(&stack, "alice").await;
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let mut browser = Browser::new(&stack);
            tokio::spawn(async move { browser.sign_in("alice", PASSWORD).await })
        })
        .collect();
    let mut told = BTreeMap::new();
    for attempt in attempts {
        let answer = attempt.await.expect("answered");
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(stack.reason_of(answer.request_id()).await, "overloaded");
        }
        *told.entry(answer.status).or_insert(0) += 1;
    }
    assert!(told.keys().all(|status| [303, 503].contains(status)), "{told:?}");
    assert!(told.contains_key(&303) && told.contains_key(&503), "{told:?}");
    assert_eq!(Browser::new(&stack).sign_in("alice", PASSWORD).await.status, 303, "afterwards there is room");
}

/// Whether there is an account is not told: not by status, headers or body, and not by the work that is done.
#[tokio::test]
async fn an_account_is_not_given_away() {
    let port = ports::free();
    let listener =
        format!("[[listener]]\nname = \"metrics\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"metrics\"]\nhost = []\n");
    let stack = start(&listener).await;
    add(&stack, "alice").await;
    add(&stack, "disabled").await;
    symbolon(stack.dir.path(), &["user", "disable", "disabled"]).await.ok();
    let mut seen: Vec<(Answer, BTreeMap<String, u64>)> = Vec::new();
    for (name, password, reason) in [
        ("alice", "another password", "password_wrong"),
        ("nobody", "another password", "account_unknown"),
        ("no name!", "another password", "account_unknown"),
        ("disabled", PASSWORD, "account_disabled"),
        ("disabled", "another password", "password_wrong"),
    ] {
        let mut browser = Browser::new(&stack);
        let csrf = field(&browser.get("/sign-in").await, "csrf");
        let before = work(port).await;
        // The same length and letters of name everywhere: the page shows it again.
        let answer = browser.post("/sign-in", &[("csrf", &csrf), ("username", name), ("password", password)]).await;
        let spent = work(port).await.into_iter().map(|(what, count)| (what.clone(), count - before.get(&what).unwrap_or(&0)));
        let spent: BTreeMap<String, u64> = spent.collect();
        assert_eq!(verdict(&stack, &answer).await, (422, reason.to_owned()), "{name}");
        let shown = answer.text().replace(&csrf, "CSRF").replace(&format!("value=\"{name}\""), "NAME");
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.as_str()));
        seen.push((Answer { body: shown.into_bytes(), headers, ..answer }, spent));
    }
    let (first, spent) = &seen[0];
    assert_eq!(*spent, BTreeMap::from([("hash".into(), 1), ("look_up".into(), 2), ("open".into(), 2)]));
    for (answer, work) in &seen[1..] {
        assert_eq!((answer.status, &answer.headers, answer.text()), (first.status, &first.headers, first.text()));
        assert_eq!(work, spent);
    }
}

/// What attempts to sign in have cost so far, by operation.
async fn work(port: u16) -> BTreeMap<String, u64> {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).await.expect("an answer");
    let counted = |line: &str| {
        let rest = line.strip_prefix("symbolon_sign_in_work_total{operation=\"")?;
        let (operation, count) = rest.split_once("\"} ")?;
        Some((operation.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(counted).collect()
}

/// Every page refuses to be framed, kept or embedded, and says nothing of where its visitor came from.
#[tokio::test]
async fn no_page_can_be_framed_or_kept() {
    let stack = start("").await;
    add(&stack, "alice").await;
    let mut browser = Browser::new(&stack);
    let mut answers = vec![("/", browser.get("/").await), ("/sign-in", browser.get("/sign-in").await)];
    answers.push(("a refused sign-in", browser.sign_in("alice", "another password").await));
    answers.push(("a signed-out page", browser.get("/signed-out").await));
    answers.push(("a refused form", browser.post("/sign-in", &[("username", "alice")]).await));
    answers.push(("nothing", browser.send(Call::get("/nothing").header("Accept", "text/html")).await));
    browser.sign_in("alice", PASSWORD).await;
    answers.push(("/account", browser.account().await));
    for (what, answer) in answers {
        let policy = answer.header("content-security-policy").unwrap_or_default().to_owned();
        for part in ["default-src 'none'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{what}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{what}: {name}");
        }
        // One script, of our own, where a passkey may be used.
        let text = answer.text();
        let scripts: Vec<&str> = text.split("<script").skip(1).collect();
        match what {
            "/sign-in" | "a refused sign-in" | "a refused form" => {
                assert!(policy.contains("script-src 'self'; connect-src 'self';"), "{what}: {policy}");
                let [script] = scripts[..] else { panic!("{what}: {text}") };
                let whole = script.starts_with(" src=\"&#x2f;assets&#x2f;passkey-") && script.contains(".js\" defer></script>");
                assert!(whole, "{what}: {script}");
            }
            _ => assert!(scripts.is_empty() && !policy.contains("script-src"), "{what}: {policy} {text}"),
        }
        assert!(!text.contains("style="), "{what}: {text}");
    }
}

/// Sizes, characters and shapes that no form of ours sends.
#[tokio::test]
async fn odd_forms_are_refused_and_cost_nothing() {
    let stack = start("").await;
    add(&stack, "alice").await;
    let mut browser = Browser::new(&stack);
    let csrf = field(&browser.get("/sign-in").await, "csrf");
    let form = |name: &str, password: &str| {
        [("csrf", csrf.as_str()), ("username", name), ("password", password)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let call = |fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Call::form("/sign-in", &fields)
    };
    let (long, name) = ("x".repeat(1_025), "a".repeat(5_000));
    let doubled = [form("alice", PASSWORD).as_slice(), &[("username".to_owned(), "bob".to_owned())]].concat();
    let table = [
        (call(&form("alice", &long)), (422, "password_wrong"), "a password of 1025 bytes"),
        (call(&form("alice", "")), (422, "password_wrong"), "no password"),
        (call(&form("", PASSWORD)), (422, "account_unknown"), "no username"),
        (call(&form(&name, PASSWORD)), (422, "account_unknown"), "a username of 5000 bytes"),
        (call(&form("alice", "a\0b")), (400, "parameter_malformed"), "NUL in the password"),
        (call(&form("alice\0", PASSWORD)), (400, "parameter_malformed"), "NUL in the username"),
        (call(&doubled), (400, "parameter_duplicate"), "two usernames"),
        (call(&form("alice", &"x".repeat(1 << 20))), (413, "body_too_large"), "a form of 1 MiB"),
        (call(&form("alice", PASSWORD)).replacing("Content-Type", "text/plain"), (400, "content_type"), "text"),
        (call(&form("alice", PASSWORD)).header("Authorization", "Basic YTpi"), (401, "client_method_mismatch"), "credentials"),
    ];
    for (call, (status, reason), what) in table {
        let answer = browser.send(call).await;
        assert_eq!(verdict(&stack, &answer).await, (status, reason.to_owned()), "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{what}");
        assert!(answer.header("location").is_none() && browser.session_cookie().is_none(), "{what}");
        assert!(!answer.text().contains(PASSWORD), "{what}");
    }
    let answer = browser.send(call(&form("alice", PASSWORD))).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}

/// `interaction` leads nowhere but to our own path.
#[tokio::test]
async fn a_sign_in_leads_nowhere_else() {
    let stack = start("").await;
    add(&stack, "alice").await;
    let mut browser = Browser::new(&stack);
    let csrf = field(&browser.get("/sign-in").await, "csrf");
    let long = "a".repeat(129);
    for bad in ["//evil.example", "https://evil.example", "a/../b", "a&redirect=x", "a\r\nLocation: x", "a b", "ä", ".", &long] {
        let form = [("interaction", bad), ("csrf", &csrf), ("username", "alice"), ("password", PASSWORD)];
        let answer = browser.post("/sign-in", &form).await;
        assert_eq!(verdict(&stack, &answer).await, (400, "parameter_malformed".to_owned()), "{bad:?}");
        assert!(answer.header("location").is_none() && browser.session_cookie().is_none(), "{bad:?}");
        let encoded: String = url::form_urlencoded::byte_serialize(bad.as_bytes()).collect();
        let answer = browser.get(&format!("/sign-in?interaction={encoded}")).await;
        assert_eq!(verdict(&stack, &answer).await, (400, "parameter_malformed".to_owned()), "{bad:?}");
    }
    let form = [("interaction", "good"), ("csrf", &csrf), ("username", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post("/sign-in", &form).await.header("location"), Some("/authorize/resume?interaction=good"));
}

/// The forms behind a sign-in: their tokens are one session's, and a session ends by its own person alone.
#[tokio::test]
async fn nobody_acts_for_somebody_else() {
    let stack = start("").await;
    add(&stack, "alice").await;
    add(&stack, "mallory").await;
    let (mut alice, mut mallory) = (Browser::new(&stack), Browser::new(&stack));
    alice.sign_in("alice", PASSWORD).await;
    let mut elsewhere = Browser::new(&stack);
    elsewhere.sign_in("alice", PASSWORD).await;
    mallory.sign_in("mallory", PASSWORD).await;
    let page = alice.account().await;
    let (hers, his) = (field(&page, "csrf"), field(&mallory.account().await, "csrf"));
    let session = fields(&page, "session").into_iter().find(|name| name != "others").expect("the other one");

    let foreign = (403, "form_foreign".to_owned());
    for path in ["/sign-out", "/account/sessions", "/account/password"] {
        for (csrf, what) in [(his.as_str(), "his token"), ("", "no token")] {
            let answer = alice.post(path, &[("csrf", csrf), ("session", "others")]).await;
            assert_eq!(verdict(&stack, &answer).await, foreign, "{path} with {what}");
        }
        let sign_in = field(&elsewhere.clone().get("/sign-in?interaction=x").await, "csrf");
        let answer = alice.post(path, &[("csrf", &sign_in), ("session", "others")]).await;
        assert_eq!(verdict(&stack, &answer).await, foreign, "{path} with the token of another form");
        let answer = alice.get(path).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{path}: a link does nothing");
    }
    // He knows the name of her session, which is no secret, and cannot end it.
    mallory.post("/account/sessions", &[("csrf", &his), ("session", &session)]).await;
    assert!(elsewhere.is_signed_in().await && alice.is_signed_in().await);
    // Who holds her session and not her password cannot make it theirs.
    let form = [
        ("csrf", hers.as_str()),
        ("current_password", "another password"),
        ("new_password", "meadow copper quilt ninety"),
        ("repeated_password", "meadow copper quilt ninety"),
    ];
    let answer = alice.post("/account/password", &form).await;
    assert_eq!(verdict(&stack, &answer).await, (422, "password_wrong".to_owned()));
    alice.post("/account/sessions", &[("csrf", &hers), ("session", &session)]).await;
    assert!(!elsewhere.is_signed_in().await, "she ends it herself");
}
