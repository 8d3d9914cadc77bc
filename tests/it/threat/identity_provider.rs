//! Other OpenID Providers that lie, answers that somebody else asked for, and people who would be somebody else here.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{ES256, HS256, JwsHeader};
use serde_json::{Value, json};

use crate::harness::app::PASSWORD;
use crate::harness::browser::{Browser, field, problem};
use crate::harness::command::symbolon;
use crate::harness::provider::{Federated, Led, press, seconds, unsigned};
use crate::harness::{Answer, Engine, Stack, ports};

const NOT_COMPLETED: &str = "The sign-in could not be completed. Please begin again.";
const NO_ACCOUNT: &str =
    "This account opens no account here. If you have one, sign in to it in another way and link the two there.";

/// A deployment whose bob has linked `corp`'s `b-17`.
async fn linked() -> Federated {
    let federated = Federated::start(Engine::Sqlite, &[], "").await.expect("SQLite");
    let mut browser = Browser::new(&federated.stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(federated.link(&mut browser, "corp", "b-17").await.header("location"), Some("/account?done=linked"));
    federated
}

/// Refused for this reason, with these words, and nobody is signed in; then the same browser signs in as it should be.
async fn refused(federated: &Federated, browser: &mut Browser, answer: &Answer, expected: (u16, &str, &str), what: &str) {
    let (status, reason, words) = expected;
    assert_eq!(federated.verdict(answer).await, (status, reason.to_owned()), "{what}: {}", answer.text());
    assert_eq!(problem(answer).as_deref(), Some(words), "{what}");
    assert!(answer.header("location").is_none() && answer.text().contains(&answer.request_id()), "{what}");
    assert!(!browser.is_signed_in().await, "{what}");
    let mut good = browser.clone();
    assert_eq!(federated.sign_in(&mut good, "/sign-in", "corp", "b-17").await.status, 303, "{what}");
    assert!(good.is_signed_in().await, "{what}");
}

/// OpenID Connect Core §3.1.3.7: every ID token that is not ours, of this sign-in, of this provider, and of now.
#[tokio::test]
async fn an_id_token_that_is_not_good_signs_nobody_in() {
    let federated = linked().await;
    let corp = &federated.corp;
    let mut browser = Browser::new(&federated.stack);
    let now = seconds();
    let said: [(&str, Value); 12] = [
        ("another nonce", json!({ "nonce": "another" })),
        ("no nonce", json!({ "nonce": null })),
        ("another audience", json!({ "aud": "another" })),
        ("one audience more", json!({ "aud": ["symbolon", "another"] })),
        ("another authorized party", json!({ "azp": "another" })),
        ("another issuer", json!({ "iss": federated.other.issuer })),
        ("expired", json!({ "exp": now - 60 })),
        ("no end", json!({ "exp": null })),
        ("from the future", json!({ "iat": now + 3_600 })),
        ("no time", json!({ "iat": null })),
        ("nobody", json!({ "sub": null })),
        ("another access token's hash", json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" })),
    ];
    for (what, changes) in &said {
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.say(&trip, "b-17", changes);
        let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
        let (status, reason) = federated.verdict(&answer).await;
        // What cannot be read as an ID token at all is no answer of a token endpoint.
        let unreadable = matches!(*what, "no end" | "no time" | "nobody");
        let expected = if unreadable { "provider_unavailable" } else { "provider_id_token" };
        assert_eq!(reason, expected, "{what}: {}", answer.text());
        assert_eq!(status, if unreadable { 503 } else { 400 }, "{what}");
        assert!(!browser.is_signed_in().await, "{what}");
    }
    type Forge = fn(&Federated, &Value) -> String;
    let forged: [(&str, Forge); 5] = [
        ("another key", |federated, claims| federated.other.sign(claims)),
        ("no signature", |federated, claims| {
            let token = federated.corp.sign(claims);
            format!("{}.", token.rsplit_once('.').expect("three parts").0)
        }),
        ("`none`", |_, claims| format!("{}.", unsigned(&json!({ "alg": "none" }), claims))),
        ("signed with the public key as a secret", |federated, claims| {
            let mut header = JwsHeader::new();
            header.set_key_id("one");
            let signer = HS256.signer_from_bytes(federated.corp.public_pem()).expect("a signer");
            josekit::jws::serialize_compact(claims.to_string().as_bytes(), &header, &signer).expect("a token")
        }),
        ("a key that it brings along", |_, claims| {
            let pair = ES256.generate_key_pair().expect("a key");
            let mut header = JwsHeader::new();
            header.set_jwk(pair.to_jwk_public_key());
            let signer = ES256.signer_from_jwk(&pair.to_jwk_private_key()).expect("a signer");
            josekit::jws::serialize_compact(claims.to_string().as_bytes(), &header, &signer).expect("a token")
        }),
    ];
    for (what, forge) in forged {
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.issue(&forge(&federated, &corp.claims(&trip, "b-17", &json!({}))));
        let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
        let (status, reason) = federated.verdict(&answer).await;
        let is_unreadable = reason == "provider_unavailable" && matches!(what, "no signature" | "`none`");
        assert!((status, reason.as_str()) == (400, "provider_id_token") || is_unreadable, "{what}: {status} {reason}");
        assert!(!browser.is_signed_in().await, "{what}");
    }
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({ "nonce": "another" }));
    let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
    refused(&federated, &mut browser, &answer, (400, "provider_id_token", NOT_COMPLETED), "the words").await;
    // Every one of them was redeemed, and nothing of what was issued is on the disk: the stack looks for it as it ends.
    assert!(corp.publisher.times("/token") >= said.len() + forged.len());
}

/// An answer counts once, in the browser that was sent, from the provider that it was sent to.
#[tokio::test]
async fn an_answer_is_taken_once_where_it_was_asked_for() {
    let federated = linked().await;
    let (stack, corp) = (&federated.stack, &federated.corp);
    let mut browser = Browser::new(stack);
    let other_issuer = federated.other.issuer.clone();
    let malformed = (400, "provider_answer_malformed", NOT_COMPLETED);
    let with = |name: &'static str, value: Option<&str>| (name, value.map(str::to_owned));
    for (what, (name, value), expected) in [
        ("no state", with("state", None), malformed),
        ("a state too long", with("state", Some(&"s".repeat(65))), malformed),
        ("another state", with("state", Some("another")), (400, "provider_answer_foreign", NOT_COMPLETED)),
        ("no code", with("code", None), malformed),
        ("no issuer, where it always says one", with("iss", None), (400, "provider_issuer", NOT_COMPLETED)),
        ("another issuer", with("iss", Some(&other_issuer)), (400, "provider_issuer", NOT_COMPLETED)),
    ] {
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.say(&trip, "b-17", &json!({}));
        let asked = corp.publisher.times("/token");
        let mut query = federated.good(&trip, "corp");
        query.retain(|(known, _)| known != name);
        query.extend(value.map(|value| (name.to_owned(), value)));
        let answer = federated.come_back(&mut browser, "corp", &query).await;
        assert_eq!(corp.publisher.times("/token"), asked, "{what}: no code is redeemed");
        refused(&federated, &mut browser, &answer, expected, what).await;
    }
    // A code and an error; a parameter that stands there twice.
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    let mut query = federated.good(&trip, "corp");
    query.push(("error".into(), "access_denied".into()));
    let answer = federated.come_back(&mut browser, "corp", &query).await;
    refused(&federated, &mut browser, &answer, malformed, "a code and an error").await;
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({}));
    let mut query = federated.good(&trip, "corp");
    query.push(("state".into(), trip.get("state").to_owned()));
    let answer = federated.come_back(&mut browser, "corp", &query).await;
    assert_eq!(federated.verdict(&answer).await, (400, "parameter_duplicate".into()));

    // The same answer again, in the same browser, with the cookie that it had.
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({}));
    let mut copy = browser.clone();
    let query = federated.good(&trip, "corp");
    assert_eq!(federated.come_back(&mut browser, "corp", &query).await.status, 303);
    let answer = federated.come_back(&mut copy, "corp", &query).await;
    refused(&federated, &mut copy, &answer, (400, "provider_answer_replayed", NOT_COMPLETED), "again").await;

    // Login CSRF: mallory's own answer in bob's browser.
    let (mut mallory, mut bob) = (Browser::new(stack), Browser::new(stack));
    let trip = federated.leave(&mut mallory, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({}));
    let query = federated.good(&trip, "corp");
    let answer = federated.come_back(&mut bob, "corp", &query).await;
    refused(&federated, &mut bob, &answer, (400, "provider_answer_foreign", NOT_COMPLETED), "in another browser").await;
    corp.say(&trip, "b-17", &json!({}));
    assert_eq!(federated.come_back(&mut mallory, "corp", &query).await.status, 303, "it is good where it belongs");

    // Without a form of ours nobody is sent anywhere.
    let mut bob = Browser::new(stack);
    bob.get("/sign-in").await;
    let answer = bob.post("/sign-in/at/corp", &[("csrf", "another")]).await;
    assert_eq!(federated.verdict(&answer).await, (403, "form_foreign".into()));
    assert_eq!(bob.post("/sign-in/at/nobody", &[]).await.status, 404);
    assert_eq!(bob.get("/sign-in/at/nobody?state=x&code=y").await.status, 404);
}

/// RFC 9700 §4.4: an answer that was meant for one provider's redirect URI at another's, and a provider that answers in another's name.
#[tokio::test]
async fn providers_are_not_mixed_up() {
    let federated = linked().await;
    let mut browser = Browser::new(&federated.stack);
    // Corp's answer where the other one's are taken: neither's token endpoint hears of the code.
    for (name, at) in [("corp", "other"), ("other", "corp")] {
        let trip = federated.leave(&mut browser, "/sign-in", name).await;
        federated.provider(name).say(&trip, "b-17", &json!({}));
        let asked = federated.corp.publisher.times("/token") + federated.other.publisher.times("/token");
        let answer = federated.come_back(&mut browser, at, &federated.good(&trip, name)).await;
        let heard = federated.corp.publisher.times("/token") + federated.other.publisher.times("/token");
        assert_eq!(heard, asked);
        refused(&federated, &mut browser, &answer, (400, "provider_mixed_up", NOT_COMPLETED), name).await;
    }
    // A provider that does not name itself, and now names corp.
    let trip = federated.leave(&mut browser, "/sign-in", "other").await;
    let mut query = federated.good(&trip, "other");
    query.retain(|(name, _)| name != "iss");
    query.push(("iss".into(), federated.corp.issuer.clone()));
    let answer = federated.come_back(&mut browser, "other", &query).await;
    refused(&federated, &mut browser, &answer, (400, "provider_issuer", NOT_COMPLETED), "in corp's name").await;
    // The subject that corp's people are known by opens nothing when the other one says it.
    let answer = federated.sign_in(&mut browser, "/sign-in", "other", "b-17").await;
    refused(&federated, &mut browser, &answer, (403, "linked_account_unknown", NO_ACCOUNT), "another's subject").await;
}

/// What a provider says of somebody's name and address opens nobody's account: its people could choose them.
#[tokio::test]
async fn an_address_is_no_proof() {
    let federated = linked().await;
    let mut browser = Browser::new(&federated.stack);
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    let of_bob = json!({
        "email": "bob@example.org", "email_verified": true, "preferred_username": "bob", "name": "Bob Builder",
    });
    federated.corp.say(&trip, "mallory", &of_bob);
    let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
    refused(&federated, &mut browser, &answer, (403, "linked_account_unknown", NO_ACCOUNT), "bob's address").await;
    assert_eq!(federated.stack.count("SELECT COUNT(*) FROM account").await, 1);
}

/// A person who was kept out or removed, and one who never had an account, read the same.
#[tokio::test]
async fn who_may_not_sign_in_reads_what_a_stranger_reads() {
    let federated = linked().await;
    let stack = &federated.stack;
    let mut browser = Browser::new(stack);
    let mut pages = Vec::new();
    for (sub, command, reason) in [
        ("stranger", None, "linked_account_unknown"),
        ("b-17", Some("disable"), "account_disabled"),
        ("b-17", Some("remove"), "linked_account_unknown"),
    ] {
        if let Some(command) = command {
            symbolon(stack.dir.path(), &["user", command, "bob"]).await.ok();
        }
        let answer = federated.sign_in(&mut browser, "/sign-in", "corp", sub).await;
        assert_eq!(federated.verdict(&answer).await, (403, reason.to_owned()), "{sub} {command:?}");
        assert_eq!(problem(&answer).as_deref(), Some(NO_ACCOUNT));
        pages.push(answer.text().replace(&answer.request_id(), "ID"));
        if command == Some("disable") {
            symbolon(stack.dir.path(), &["user", "enable", "bob"]).await.ok();
            assert_eq!(federated.sign_in(&mut browser, "/sign-in", "corp", "b-17").await.status, 303, "the one thing corrected");
            browser = Browser::new(stack);
        }
    }
    assert!(pages.windows(2).all(|two| two[0] == two[1]), "{pages:#?}");
    assert_eq!(stack.count("SELECT COUNT(*) FROM linked_account").await, 0, "the link went with the account");
}

/// An account is linked by whoever is signed in here of late, in this very session, and has said that it is to be.
#[tokio::test]
async fn an_account_is_linked_with_proof_of_both_sides() {
    let more = "\n[session]\nfresh_seconds = 900\n";
    let federated = Federated::start(Engine::Sqlite, &[], more).await.expect("SQLite");
    let (stack, corp) = (&federated.stack, &federated.corp);
    symbolon(stack.dir.path(), &["user", "add", "mallory"]).await.ok();
    let set = crate::harness::command::symbolon_told;
    set(stack.dir.path(), &["user", "set-password", "mallory", "--password-stdin"], &format!("{PASSWORD}\n")).await.ok();
    let (mut bob, mut mallory) = (Browser::new(stack), Browser::new(stack));
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(mallory.sign_in("mallory", PASSWORD).await.status, 303);
    let links = async || stack.count("SELECT COUNT(*) FROM linked_account").await;

    // Mallory's answer in bob's browser: neither his session nor his consent is in it.
    let trip = federated.leave_to_link(&mut mallory, "corp").await;
    corp.say(&trip, "m-66", &json!({}));
    let query = federated.good(&trip, "corp");
    let answer = federated.come_back(&mut bob, "corp", &query).await;
    assert_eq!(federated.verdict(&answer).await, (400, "provider_answer_foreign".into()));
    // What mallory was asked, sent from bob's browser with a form token of bob's.
    let page = federated.come_back(&mut mallory, "corp", &query).await;
    assert!(page.text().contains("m-66@corp.example"), "{}", page.text());
    let held = field(&page, "account");
    let csrf = field(&bob.account().await, "csrf");
    let answer = bob.post("/account/linked/add", &[("csrf", &csrf), ("account", &held)]).await;
    assert_eq!(federated.verdict(&answer).await, (400, "provider_answer_foreign".into()));
    // Without a form token of hers it is not mallory's word either.
    let answer = mallory.post("/account/linked/add", &[("csrf", &csrf), ("account", &held)]).await;
    assert_eq!(federated.verdict(&answer).await, (403, "form_foreign".into()));
    let answer = mallory.post("/account/linked", &[("csrf", &csrf), ("provider", "corp")]).await;
    assert_eq!(federated.verdict(&answer).await, (403, "form_foreign".into()));
    assert_eq!(links().await, 0);
    let own = field(&page, "csrf");
    let done = mallory.post("/account/linked/add", &[("csrf", &own), ("account", &held)]).await;
    assert_eq!(done.header("location"), Some("/account?done=linked"), "{}", done.text());
    let answer = mallory.post("/account/linked/add", &[("csrf", &own), ("account", &held)]).await;
    assert_eq!(federated.verdict(&answer).await, (400, "provider_answer_replayed".into()));

    // An account elsewhere opens one account here.
    let answer = federated.link(&mut bob, "corp", "m-66").await;
    assert_eq!(federated.verdict(&answer).await, (403, "linked_account_taken".into()));
    assert_eq!(problem(&answer).as_deref(), Some("This account opens an account here already."));
    assert_eq!(federated.link(&mut bob, "corp", "b-17").await.status, 303, "the one thing corrected");

    // Whoever was sent to sign in does not link, nor the other way round.
    let mut nobody = Browser::new(stack);
    let trip = federated.leave(&mut nobody, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({ "auth_time": seconds() }));
    assert_eq!(
        federated.come_back(&mut nobody, "corp", &federated.good(&trip, "corp")).await.header("location"),
        Some("/account")
    );
    let trip = federated.leave_to_link(&mut nobody, "corp").await;
    nobody.cookies.retain(|(name, _)| !name.contains("-session-"));
    corp.say(&trip, "b-18", &json!({}));
    let answer = federated.come_back(&mut nobody, "corp", &federated.good(&trip, "corp")).await;
    assert_eq!(answer.header("location"), Some("/sign-in"), "signed out meanwhile: nobody is signed in by it");
    assert!(!nobody.is_signed_in().await);
    assert_eq!(links().await, 2);
}

/// A sign-in here that is not of just now links nothing.
#[tokio::test]
async fn an_old_session_links_nothing() {
    let more = "\n[session]\nfresh_seconds = 1\n";
    let federated = Federated::start(Engine::Sqlite, &[], more).await.expect("SQLite");
    let stack = &federated.stack;
    let mut bob = Browser::new(stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let csrf = field(&bob.account().await, "csrf");
    let answer = bob.post("/account/linked", &[("csrf", &csrf), ("provider", "corp")]).await;
    assert_eq!(answer.header("location"), Some("/sign-in?again=yes"));
    assert_eq!(stack.reason_of(answer.request_id()).await, "session_stale");
    let page = bob.get("/sign-in?again=yes").await;
    let form = [("csrf", &*field(&page, "csrf")), ("username", "bob"), ("password", PASSWORD)];
    assert_eq!(bob.post("/sign-in", &form).await.status, 303);
    let csrf = field(&bob.account().await, "csrf");
    assert_eq!(bob.post("/account/linked", &[("csrf", &csrf), ("provider", "corp")]).await.status, 200);
}

/// What cannot be taken away without being locked out stays.
#[tokio::test]
async fn the_last_way_in_is_not_taken_away() {
    let federated = linked().await;
    let stack = &federated.stack;
    let mut bob = Browser::new(stack);
    // He has a password: the link is not the last way.
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(federated.link(&mut bob, "other", "bob-there").await.status, 303);
    let first = |page: &Answer| {
        page.text().split_once("name=\"account\" value=\"").expect("a button").1.split('"').next().expect("one").to_owned()
    };
    let account = bob.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("account", &*first(&account))];
    assert_eq!(bob.post("/account/linked/remove", &form).await.header("location"), Some("/account?done=unlinked"));
    // Without one it is.
    without_password(stack).await;
    let account = bob.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("account", &*first(&account))];
    let answer = bob.post("/account/linked/remove", &form).await;
    assert_eq!(federated.verdict(&answer).await, (422, "last_way_in".into()));
    assert_eq!(problem(&answer).as_deref(), Some("Without it you could not sign in any more: add another way first."));
    assert_eq!(federated.link(&mut bob, "corp", "b-18").await.status, 303);
    let account = bob.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("account", &*first(&account))];
    assert_eq!(bob.post("/account/linked/remove", &form).await.header("location"), Some("/account?done=unlinked"));
    let csrf = field(&bob.account().await, "csrf");
    let answer = bob.post("/account/linked/remove", &[("csrf", &csrf), ("account", "nobody-s")]).await;
    assert_eq!(federated.verdict(&answer).await, (400, "parameter_malformed".into()));
}

/// Takes the password out of the database: an account that was made without one.
async fn without_password(stack: &Stack) {
    use sqlx::{ConnectOptions as _, Connection as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("symbolon.db"));
    let mut connection = options.connect().await.expect("the database");
    sqlx::query("UPDATE account SET password_sealed = NULL").execute(&mut connection).await.expect("changed");
    connection.close().await.expect("closed");
}

/// What a provider says went wrong is said to nobody in its own words, and leads nowhere.
#[tokio::test]
async fn an_error_leads_to_our_own_page() {
    let federated = linked().await;
    let mut browser = Browser::new(&federated.stack);
    let script = "<script>alert(1)</script>";
    for error in ["access_denied", "login_required", script, ""] {
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        let query = [
            ("error", error),
            ("error_description", script),
            ("error_uri", "https://evil.example/"),
            ("redirect_uri", "https://evil.example/"),
            ("state", trip.get("state")),
            ("iss", &federated.corp.issuer),
        ];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = federated.come_back(&mut browser, "corp", &query).await;
        let text = answer.text();
        assert!(!text.contains("alert(1)") && !text.contains("evil.example"), "{text}");
        let expected = match error {
            "" => (400, "provider_answer_malformed", NOT_COMPLETED),
            _ => (403, "provider_declined", "You were not signed in there."),
        };
        refused(&federated, &mut browser, &answer, expected, error).await;
    }
}

/// A provider that is away, slow, or says too much: its button answers with a page, and every other way to sign in goes on.
#[tokio::test]
async fn a_provider_that_does_not_answer_keeps_nobody_else_out() {
    let gone = ports::free();
    let more = format!(
        "\n[outbound]\ntotal_seconds = 1\nbody_bytes = 20000\n\n[[identity_provider]]\nname = \"gone\"\nlabel = \"Gone\"\n\
         issuer = \"https://localhost:{gone}\"\nca_file = \"provider-ca.pem\"\nclient_id = \"symbolon\"\nclient_secret_file = \"corp-secret\"\n"
    );
    let federated = Federated::start(Engine::Sqlite, &[], &more).await.expect("SQLite");
    let (stack, corp) = (&federated.stack, &federated.corp);
    let words =
        "The place where you wanted to sign in does not answer at the moment. Try again later, or sign in in another way.";
    let mut browser = Browser::new(stack);
    let away = async |answer: &Answer| {
        assert_eq!(federated.verdict(answer).await, (503, "provider_unavailable".into()), "{}", answer.text());
        assert_eq!(problem(answer).as_deref(), Some(words));
        assert!(answer.text().contains("href=\"&#x2f;sign-in\""), "{}", answer.text());
    };
    away(&press(&mut browser, "/sign-in", "gone").await).await;
    let mut bob = Browser::new(stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303, "the password does");
    assert_eq!(federated.link(&mut bob, "corp", "b-17").await.status, 303);

    // Its token endpoint.
    let huge = format!("{{\"access_token\":\"{}\"}}", "a".repeat(30_000));
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    for (what, delay, body) in
        [("oversize", 0, huge.as_str()), ("no JSON", 0, "<html>"), ("slow", 3_000, "{}"), ("elsewhere", 0, "")]
    {
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.say(&trip, "b-17", &json!({}));
        let good = federated.good(&trip, "corp");
        match what {
            "elsewhere" => {
                corp.publisher.withdraw("/token");
                corp.publisher.answer_with(redirect);
            }
            _ => corp.publisher.publish_at("/token", body.as_bytes()),
        }
        corp.publisher.delay(Duration::from_millis(delay));
        let begun = Instant::now();
        let answer = federated.come_back(&mut browser, "corp", &good).await;
        assert!(begun.elapsed() < Duration::from_millis(2_900), "{what}: {:?}", begun.elapsed());
        corp.publisher.delay(Duration::ZERO);
        away(&answer).await;
        let mut other = Browser::new(stack);
        assert_eq!(other.sign_in("bob", PASSWORD).await.status, 303, "{what}");
        let mut good = Browser::new(stack);
        assert_eq!(federated.sign_in(&mut good, "/sign-in", "corp", "b-17").await.status, 303, "{what}: corrected");
    }
    // Its keys: those of now count, and older ones are not made do with.
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    corp.say(&trip, "b-17", &json!({}));
    corp.publish("/jwks", &json!({ "keys": [federated.other.jwk()] }));
    let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
    assert_eq!(federated.verdict(&answer).await, (400, "provider_id_token".into()));
    corp.publish("/jwks", &json!({ "keys": [corp.jwk()] }));
    assert_eq!(federated.sign_in(&mut browser, "/sign-in", "corp", "b-17").await.status, 303);
}

/// What every person there must be is asked of each sign-in, by the ID token or by userinfo, which must be the same person's.
#[tokio::test]
async fn a_claim_that_is_required_is_there() {
    let required = "\n[[identity_provider.required_claim]]\nclaim = \"hd\"\nvalues = [\"corp.example\"]\n\n[[identity_provider]]\nname = \"other\"";
    let changes = [("\n[[identity_provider]]\nname = \"other\"", required)];
    let federated = Federated::start(Engine::Sqlite, &changes, "").await.expect("SQLite");
    let corp = &federated.corp;
    let mut bob = Browser::new(&federated.stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    corp.publish("/userinfo", &json!({ "sub": "b-17", "hd": "corp.example" }));
    assert_eq!(federated.link(&mut bob, "corp", "b-17").await.status, 303);
    let come = async |id_token: Value, userinfo: Value| {
        let mut browser = Browser::new(&federated.stack);
        let trip: Led = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.say(&trip, "b-17", &id_token);
        corp.publish("/userinfo", &userinfo);
        let asked = corp.publisher.times("/userinfo");
        let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
        (federated.verdict(&answer).await, corp.publisher.times("/userinfo") - asked)
    };
    let verdict = |status: u16, reason: &str| (status, reason.to_owned());
    let good = json!({ "sub": "b-17", "hd": "corp.example" });
    for (id_token, userinfo, expected) in [
        (json!({ "hd": "corp.example" }), json!({}), (verdict(303, ""), 0)),
        (json!({}), good.clone(), (verdict(303, ""), 1)),
        (json!({ "hd": "evil.example" }), good, (verdict(403, "provider_claim"), 0)),
        (json!({}), json!({ "sub": "b-17", "hd": "evil.example" }), (verdict(403, "provider_claim"), 1)),
        (json!({}), json!({ "sub": "b-17" }), (verdict(403, "provider_claim"), 1)),
        (json!({}), json!({ "sub": "b-18", "hd": "corp.example" }), (verdict(400, "provider_id_token"), 1)),
        (json!({}), json!({ "hd": "corp.example" }), (verdict(400, "provider_id_token"), 1)),
    ] {
        assert_eq!(come(id_token.clone(), userinfo.clone()).await, expected, "{id_token} {userinfo}");
    }
}

/// What the browser carries is sealed, and worth nothing when it was changed or belongs to another deployment.
#[tokio::test]
async fn what_the_browser_carries_is_sealed() {
    let federated = linked().await;
    let mut browser = Browser::new(&federated.stack);
    let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
    federated.corp.say(&trip, "b-17", &json!({}));
    let (name, value) = browser.cookies.iter().find(|(name, _)| name.contains("-provider-")).expect("a cookie").clone();
    let bytes = URL_SAFE_NO_PAD.decode(&value).expect("base64url");
    for secret in [trip.get("state"), trip.get("nonce")] {
        assert!(!value.contains(secret) && !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let mut forged = browser.clone();
    let changed = value.replacen(&value[60..61], if &value[60..61] == "A" { "B" } else { "A" }, 1);
    forged.cookies.retain(|(known, _)| *known != name);
    forged.cookies.push((name, changed));
    let query = federated.good(&trip, "corp");
    let answer = federated.come_back(&mut forged, "corp", &query).await;
    assert_eq!(federated.verdict(&answer).await, (400, "provider_answer_foreign".into()));
    assert_eq!(federated.come_back(&mut browser, "corp", &query).await.status, 303, "as it was");
    // A browser that begins again and again keeps the newest.
    let mut eager = Browser::new(&federated.stack);
    for _ in 0..10 {
        federated.leave(&mut eager, "/sign-in", "corp").await;
    }
    assert_eq!(eager.cookies.iter().filter(|(name, _)| name.contains("-provider-")).count(), 8);
    assert_eq!(federated.sign_in(&mut eager, "/sign-in", "corp", "b-17").await.status, 303);
}
