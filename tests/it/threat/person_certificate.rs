//! Certificates of people: wrong ones, other people's, and ways there and back that are somebody else's.

use serde_json::{Value, json};

use crate::harness::app::{App, PASSWORD, Returned, add_bob, go_on};
use crate::harness::browser::{Browser, field};
use crate::harness::certified::{Certified, leaf, naming};
use crate::harness::command::{symbolon, symbolon_told};
use crate::harness::totp::{Authenticator, first_factor, second_factor};
use crate::harness::{Authority, Call, Engine};

async fn add(certified: &Certified, username: &str) {
    let arguments = ["user", "add", username, "--password-stdin"];
    symbolon_told(certified.stack.dir.path(), &arguments, &format!("{PASSWORD}\n")).await.ok();
}

/// A certificate that is not good is refused where it is shown, with a page that leads back; the same way goes on with a good one.
#[tokio::test]
async fn a_certificate_that_is_not_good_signs_nobody_in() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let stack = &certified.stack;
    let good = certified.people.issue(naming("bob-good", "bob"));
    let mut expired = naming("bob-old", "bob");
    (expired.not_before, expired.not_after) = (-7_200, -3_600);
    let mut server = naming("bob-server", "bob");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let impostor = Authority::new("People CA");
    let cases = [
        ("expired", Some(certified.people.issue(expired)), "certificate_expired", "has expired"),
        ("revoked by its authority", Some(certified.revoked.clone()), "certificate_revoked", "not accepted here"),
        (
            "of the clients' set",
            Some(stack.client_ca.issue(naming("bob", "bob"))),
            "certificate_unknown_issuer",
            "not accepted here",
        ),
        (
            "the same name by another authority of that name",
            Some(impostor.issue(naming("bob-good", "bob"))),
            "certificate_signature",
            "not accepted",
        ),
        ("its own issuer", Some(naming("bob", "bob").self_signed()), "certificate_unknown_issuer", "not accepted here"),
        ("for servers", Some(certified.people.issue(server)), "certificate_extended_key_usage", "not accepted here"),
        ("none", None, "certificate_absent", "showed no certificate"),
    ];
    for (what, identity, reason, words) in cases {
        let mut browser = Browser::new(stack);
        let errand = certified.errand(&mut browser, "/sign-in").await;
        let refused = certified.show(identity.as_ref(), &errand).await;
        assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (403, reason), "{what}");
        assert!(refused.text().contains(words) && refused.text().contains("sign-in"), "{what}: {}", refused.text());
        assert!(!browser.is_signed_in().await, "{what}");
        let back = certified.at_issuer(&certified.show(Some(&good), &errand).await);
        assert_eq!(browser.get(&back).await.status, 303, "{what}");
        assert!(browser.is_signed_in().await, "{what}");
    }
    // An operator's own word counts at once.
    let mut browser = Browser::new(stack);
    let arguments = ["cert", "revoke", "--thumbprint", &good.thumbprint(), "--config", "symbolon.toml"];
    symbolon(stack.dir.path(), &arguments).await.ok();
    let started = std::time::Instant::now();
    loop {
        let errand = certified.errand(&mut browser, "/sign-in").await;
        let answer = certified.show(Some(&good), &errand).await;
        if answer.status == 403 {
            assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_revoked");
            break;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "still taken");
    }
}

/// A trusted certificate signs its own person in, and nobody else: exact names, one account alone.
#[tokio::test]
async fn a_certificate_names_one_account_exactly() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let stack = &certified.stack;
    add(&certified, "carol").await;
    let people = &certified.people;
    let linked_to_bob = people.issue(naming("carols-name", "carol"));
    certified.link("bob", &linked_to_bob).await;
    let cases = [
        (people.issue(leaf("bob")), "certificate_unlinked"),
        (people.issue(naming("upper", "Bob")), "certificate_unlinked"),
        (people.issue(naming("space", "bob ")), "certificate_unlinked"),
        (people.issue(naming("wide", "\u{ff42}ob")), "certificate_unlinked"),
        (people.issue(naming("longer", "bobby")), "certificate_unlinked"),
        (people.issue(naming("pattern", ".*")), "certificate_unlinked"),
        (linked_to_bob, "certificate_ambiguous"),
    ];
    for (identity, reason) in cases {
        let mut browser = Browser::new(stack);
        let refused = certified.sign_in(&mut browser, &identity, "/sign-in").await;
        assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (403, reason), "{}", identity.name);
        assert!(!browser.is_signed_in().await, "{}", identity.name);
    }
    let carol = people.issue(naming("carol", "carol"));
    let mut browser = Browser::new(stack);
    assert_eq!(certified.sign_in(&mut browser, &carol, "/sign-in").await.status, 303);
    assert!(browser.account().await.text().contains("carol"));
    // Whom an operator keeps out stays out.
    symbolon(stack.dir.path(), &["user", "disable", "carol"]).await.ok();
    let refused = certified.sign_in(&mut browser, &carol, "/sign-in").await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "account_disabled");
    // Whoever comes after a removed person, with the same name, has none of their certificates.
    certified.link("bob", &people.issue(leaf("bobs"))).await;
    let bobs = people.issue(leaf("again"));
    certified.link("bob", &bobs).await;
    symbolon(stack.dir.path(), &["user", "remove", "bob"]).await.ok();
    assert_eq!(stack.count("SELECT COUNT(*) FROM account_certificate").await, 0);
    add_bob(stack).await;
    let refused = certified.sign_in(&mut browser, &bobs, "/sign-in").await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "certificate_unlinked");
}

/// What comes back counts once, at every replica, in the browser that was sent, for what it was sent for, and unaltered. What a thief
/// leads somebody else through signs neither in.
async fn the_way_back_is_one_browsers_and_counts_once(engine: Engine) {
    let Some(certified) = Certified::start(engine, "").await else { return };
    let stack = &certified.stack;
    let bobs = certified.people.issue(naming("bob", "bob"));
    let reason = async |browser: &mut Browser, target: &str| {
        let answer = browser.get(target).await;
        assert!(!browser.is_signed_in().await, "{target}");
        (answer.status, stack.reason_of(answer.request_id()).await)
    };
    let foreign = (403, "form_foreign".to_owned());
    let over = (403, "sign_in_over".to_owned());

    // Mallory begins, and leads bob's browser on, which shows bob's certificate by itself.
    let (mut mallory, mut bob) = (Browser::new(stack), Browser::new(stack));
    let errand = certified.errand(&mut mallory, "/sign-in").await;
    let back = certified.at_issuer(&certified.show(Some(&bobs), &errand).await);
    assert_eq!(reason(&mut bob, &back).await, foreign, "a browser without any cookie");
    bob.get("/sign-in").await;
    assert_eq!(reason(&mut bob, &back).await, foreign, "a browser with one of its own");
    // Mallory shows his own certificate, and leads bob's browser to the end of it: bob would be signed in as mallory.
    let mallorys = certified.people.issue(naming("mallory", "mallory"));
    add(&certified, "mallory").await;
    let back = certified.at_issuer(&certified.show(Some(&mallorys), &errand).await);
    assert_eq!(reason(&mut bob, &back).await, foreign);
    // What came to another browser is dead in the first one too.
    assert_eq!(reason(&mut mallory, &back).await, (403, "certificate_answer_replayed".to_owned()));
    assert_eq!(certified.sign_in(&mut mallory, &mallorys, "/sign-in").await.status, 303, "where nobody else was led");

    // Bob's own way: altered, for something else, and the way there in place of the way back.
    let errand = certified.errand(&mut bob, "/sign-in").await;
    let back = certified.at_issuer(&certified.show(Some(&bobs), &errand).await);
    let mut altered = back.clone();
    altered.replace_range(back.len() - 2.., if back.ends_with("AA") { "BB" } else { "AA" });
    assert_eq!(reason(&mut bob, &altered).await, over);
    assert_eq!(reason(&mut bob, &errand.replace("/show?errand=", "?answer=")).await, over);
    let elsewhere = back.replace("/sign-in/certificate", "/account/certificates/add");
    assert_eq!(bob.get(&elsewhere).await.header("location"), Some("/sign-in"));
    let shown = certified.show(Some(&bobs), &back.replace("?answer=", "/show?errand=")).await;
    assert_eq!(stack.reason_of(shown.request_id()).await, "sign_in_over");
    // The issuer's own host asks nobody.
    let answer = bob.get(&errand).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "certificate_not_asked"));

    // Five at once, with two answers to one errand, one is first; and none after.
    let another = certified.at_issuer(&certified.show(Some(&bobs), &errand).await);
    let mut copies: Vec<Browser> = (0..6).map(|_| bob.clone()).collect();
    let targets = [&back, &another];
    let tries = copies.iter_mut().enumerate().map(|(number, copy)| copy.get(targets[number % 2]));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 303).count(), 1);
    for (answer, copy) in answers.iter().zip(&mut copies) {
        if answer.status != 303 {
            assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_answer_replayed");
        }
        assert_eq!(copy.is_signed_in().await, answer.status == 303);
    }
    let replayed = bob.get(&another).await;
    assert_eq!(stack.reason_of(replayed.request_id()).await, "certificate_answer_replayed");
}

#[tokio::test]
async fn the_way_back_is_one_browsers_and_counts_once_on_sqlite() {
    the_way_back_is_one_browsers_and_counts_once(Engine::Sqlite).await;
}

#[tokio::test]
async fn the_way_back_is_one_browsers_and_counts_once_on_postgres() {
    the_way_back_is_one_browsers_and_counts_once(Engine::Postgres).await;
}

/// A certificate is linked by whoever has both the account and the key, says so, and signed in just now.
#[tokio::test]
async fn nobody_links_a_certificate_to_another_account() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let stack = &certified.stack;
    add(&certified, "mallory").await;
    let (mut bob, mut mallory) = (Browser::new(stack), Browser::new(stack));
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(mallory.sign_in("mallory", PASSWORD).await.status, 303);
    let (bobs, mallorys) = (certified.people.issue(leaf("bob")), certified.people.issue(leaf("mallory")));
    let linked = async || stack.count("SELECT COUNT(*) FROM account_certificate").await;

    // Mallory brings his certificate back in bob's browser, by a link or by a form that is not ours.
    let back = certified.bring(&mut mallory, &mallorys).await;
    let answer = bob.get(&back).await;
    assert_eq!((answer.status, &*stack.reason_of(answer.request_id()).await), (403, "form_foreign"));
    let brought = back.split_once("answer=").expect("one").1.to_owned();
    let csrf = field(&bob.account().await, "csrf");
    for (csrf, reason) in [("", "form_foreign"), ("x", "form_foreign"), (&*csrf, "form_foreign")] {
        let answer = bob.post("/account/certificates/add", &[("csrf", csrf), ("answer", &brought)]).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
    }
    // Nor is anything linked by coming back alone, nor from another site, nor by a sign-in's answer.
    let back = certified.bring(&mut bob, &bobs).await;
    assert_eq!(bob.get(&back).await.status, 200);
    let brought = back.split_once("answer=").expect("one").1.to_owned();
    let form = [("csrf", &*csrf), ("answer", &*brought)];
    let call = Call::form("/account/certificates/add", &form).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(bob.send(call).await.status, 403);
    let errand = certified.errand(&mut bob, "/sign-in?again=yes").await;
    let for_sign_in = certified.at_issuer(&certified.show(Some(&bobs), &errand).await);
    let for_sign_in = for_sign_in.split_once("answer=").expect("one").1.to_owned();
    let answer = bob.post("/account/certificates/add", &[("csrf", &*csrf), ("answer", &*for_sign_in)]).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over");
    let answer = bob.get(&back.replace("/account/certificates/add", "/sign-in/certificate")).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over");
    assert_eq!(linked().await, 0);

    // Double submit: once. What is linked is nobody else's, and nobody else takes it away.
    let answers = [bob.post("/account/certificates/add", &form).await, bob.post("/account/certificates/add", &form).await];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [303, 403]);
    assert_eq!(stack.reason_of(answers[1].request_id()).await, "certificate_answer_replayed");
    let answer = certified.add(&mut mallory, &bobs).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_ambiguous");
    let answer = certified.add(&mut mallory, &certified.people.issue(naming("named", "bob"))).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "certificate_ambiguous", "it names bob");
    let link = field(&bob.account().await, "certificate");
    let csrf_of_mallory = field(&mallory.account().await, "csrf");
    let form = [("csrf", &*csrf_of_mallory), ("certificate", &*link)];
    assert_eq!(mallory.post("/account/certificates/remove", &form).await.status, 400);
    assert_eq!(bob.post("/account/certificates/remove", &[("csrf", "x"), ("certificate", &link)]).await.status, 403);
    assert_eq!(linked().await, 1);
    assert!(mallory.is_signed_in().await && bob.is_signed_in().await);
    let event: Vec<Value> = stack.events("server-audit.jsonl");
    assert!(event.iter().all(|event| event["event"] != "certificate_unlinked"));
}

/// Whoever finds a browser open, or has a copy of its cookie, links nothing and takes nothing away: that asks for a sign-in of just now.
#[tokio::test]
async fn an_old_session_changes_no_certificates() {
    let Some(certified) = Certified::start(Engine::Sqlite, "[session]\nfresh_seconds = 2\n").await else { return };
    let stack = &certified.stack;
    let mut bob = Browser::new(stack);
    certified.link("bob", &certified.people.issue(leaf("first"))).await;
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    let second = certified.people.issue(leaf("second"));
    let back = certified.bring(&mut bob, &second).await;
    let account = bob.account().await;
    let (csrf, link) = (field(&account, "csrf"), field(&account, "certificate"));
    let brought = back.split_once("answer=").expect("one").1.to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
    for (target, more) in [
        ("/account/certificates", ("x", "x")),
        ("/account/certificates/add", ("answer", &*brought)),
        ("/account/certificates/remove", ("certificate", &*link)),
    ] {
        let answer = bob.post(target, &[("csrf", &csrf), more]).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in?again=yes")), "{target}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "session_stale", "{target}");
    }
    assert_eq!(stack.count("SELECT COUNT(*) FROM account_certificate").await, 1);
    let page = bob.get("/sign-in?again=yes").await;
    assert!(page.text().contains("sign in once more"), "{}", page.text());
    let form = [("csrf", &*field(&page, "csrf")), ("username", "bob"), ("password", PASSWORD)];
    assert_eq!(bob.post("/sign-in", &form).await.header("location"), Some("/account"));
    assert_eq!(certified.add(&mut bob, &second).await.status, 303);
    assert_eq!(stack.count("SELECT COUNT(*) FROM account_certificate").await, 2);
}

/// Every name in a certificate counts: two that name two accounts, or a name and a link, are refused, and so are more than are looked up.
#[tokio::test]
async fn a_certificate_with_two_names_signs_nobody_in() {
    let Some(certified) = Certified::start_by("san_email", Engine::Sqlite, "").await else { return };
    let (stack, people) = (&certified.stack, &certified.people);
    for username in ["ann@people.example", "carol@people.example"] {
        add(&certified, username).await;
    }
    symbolon(stack.dir.path(), &["user", "link-certificate", "bob", "--name", "bob@other.example"]).await.ok();
    let with = |addresses: &[&str]| {
        let mut leaf = leaf("somebody");
        leaf.email = addresses.iter().map(|address| (*address).to_owned()).collect();
        people.issue(leaf)
    };
    let many: Vec<String> = (0..9).map(|number| format!("{number}@people.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases = [
        (with(&["ann@people.example", "carol@people.example"]), "certificate_ambiguous"),
        (with(&["ann@people.example", "bob@other.example"]), "certificate_ambiguous"),
        (with(&many), "certificate_ambiguous"),
        (with(&["Ann@people.example"]), "certificate_unlinked"),
        (with(&["ann@PEOPLE.example"]), "certificate_unlinked"),
        (with(&["ann@people.example.org"]), "certificate_unlinked"),
        (with(&[]), "certificate_unlinked"),
    ];
    for (identity, reason) in cases {
        let mut browser = Browser::new(stack);
        let errand = certified.errand(&mut browser, "/sign-in").await;
        let mut refused = certified.show(Some(&identity), &errand).await;
        if refused.status == 303 {
            refused = browser.get(&certified.at_issuer(&refused)).await;
        }
        assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (403, reason));
        assert!(!browser.is_signed_in().await);
    }
    for (addresses, name) in [
        (&["ann@people.example"][..], "ann@people.example"),
        (&["nobody@people.example", "carol@people.example"], "carol@people.example"),
        (&["bob@other.example"], "Bob Builder"),
    ] {
        let mut browser = Browser::new(stack);
        assert_eq!(certified.sign_in(&mut browser, &with(addresses), "/sign-in").await.status, 303, "{addresses:?}");
        assert!(browser.account().await.text().contains(name), "{addresses:?}");
    }
}

/// Another person's certificate in the middle of an authorization: the application that wants bob is not told of carol, bob's session is not
/// hers, and the cookie that he had is dead.
#[tokio::test]
async fn another_persons_certificate_does_not_go_on_in_ones_name() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let stack = &certified.stack;
    add(&certified, "carol").await;
    let (app, mut browser) = (App::alice(stack), Browser::new(stack));
    let tokens = app.tokens(stack, &mut browser, &[]).await;
    let bobs_browser = browser.clone();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let hint = tokens["id_token"].as_str().expect("one");
    let wanted = [("prompt", "login"), ("id_token_hint", hint)];
    let led = browser.get(&app.url(&wanted)).await.header("location").expect("away").to_owned();
    let carols = certified.people.issue(naming("carol", "carol"));
    let answer = certified.sign_in(&mut browser, &carols, &led).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!((returned.get("error"), returned.get("code")), ("login_required", ""));
    assert!(browser.account().await.text().contains("carol"));
    assert!(!bobs_browser.clone().is_signed_in().await, "the session of whoever was there before has ended");
    // The same request goes on with bob's own.
    let bobs = certified.people.issue(naming("bob", "bob"));
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let led = browser.get(&app.url(&wanted)).await.header("location").expect("away").to_owned();
    let answer = certified.sign_in(&mut browser, &bobs, &led).await;
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
}

/// Whoever showed a certificate and was asked for the code does not finish once the certificate is taken away; with the password they do.
#[tokio::test]
async fn a_certificate_that_was_taken_away_finishes_no_sign_in() {
    let Some(certified) = Certified::start(Engine::Sqlite, "").await else { return };
    let (stack, mine) = (&certified.stack, certified.people.issue(leaf("bob-key")));
    certified.link("bob", &mine).await;
    let (mut bob, mut thief) = (Browser::new(stack), Browser::new(stack));
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    let (_, recovery) = Authenticator::set_up(&mut bob, PASSWORD).await;
    let page = certified.sign_in(&mut thief, &mine, "/sign-in").await;
    assert!(page.status == 200 && page.text().contains("Your code"), "{}", page.text());
    let account = bob.account().await;
    let form = [("csrf", &*field(&account, "csrf")), ("certificate", &*field(&account, "certificate"))];
    let removed = bob.post("/account/certificates/remove", &form).await;
    assert_eq!(removed.header("location"), Some("/account?done=certificate-removed"), "{}", removed.text());
    let answer = second_factor(&mut thief, &page, &recovery[0]).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over");
    assert!(!thief.is_signed_in().await);
    let page = first_factor(&mut thief, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut thief, &page, &recovery[0]).await.status, 303);
}

/// Revoking a certificate ends the sessions in which somebody signed in with it, at once and at every replica, with the grants that hang on them; by
/// whichever word it is revoked. Sessions by another certificate and by password stay. Whoever is between the certificate and the code by then does
/// not get in.
async fn a_revoked_certificate_ends_the_sessions_it_opened(engine: Engine) {
    let Some(certified) = Certified::start(engine, "").await else { return };
    let (stack, app) = (&certified.stack, App::alice(&certified.stack));
    let dir = stack.dir.path();
    let other = certified.people.issue(leaf("other"));
    certified.link("bob", &other).await;
    let mut stay = [Browser::new(stack), Browser::new(stack)];
    assert_eq!(stay[0].sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(certified.sign_in(&mut stay[1], &other, "/sign-in").await.status, 303);
    for (number, by) in [&[][..], &["--by", "serial"], &["--by", "key"]].into_iter().enumerate() {
        let lost = certified.people.issue(leaf(&format!("lost-{number}")));
        certified.link("bob", &lost).await;
        let mut browsers = [Browser::new(stack), Browser::new(stack)];
        for browser in &mut browsers {
            assert_eq!(certified.sign_in(browser, &lost, "/sign-in").await.status, 303, "{by:?}");
        }
        // This one began with the password; the person signed in again with the certificate.
        let mut again = Browser::new(stack);
        assert_eq!(again.sign_in("bob", PASSWORD).await.status, 303);
        assert_eq!(certified.sign_in(&mut again, &lost, "/sign-in?again=yes").await.status, 303);
        // And this one the other way round, which does not wash it clean.
        let mut since = Browser::new(stack);
        assert_eq!(certified.sign_in(&mut since, &lost, "/sign-in").await.status, 303);
        let page = since.get("/sign-in?again=yes").await;
        let form = [("csrf", &*field(&page, "csrf")), ("username", "bob"), ("password", PASSWORD)];
        assert_eq!(since.post("/sign-in", &form).await.status, 303);
        let tokens = app.tokens(stack, &mut browsers[0], &[]).await;
        let text = |name: &str| tokens[name].as_str().unwrap_or_else(|| panic!("{tokens}")).to_owned();
        assert_eq!(stack.introspect(&text("access_token")).await["active"], true, "{by:?}");
        let hanging = app.tokens(stack, &mut browsers[1], &[("scope", "read")]).await;
        let hanging = hanging["refresh_token"].as_str().unwrap_or_else(|| panic!("{hanging}"));

        let file = format!("{}.pem", lost.name);
        let arguments = [&["cert", "revoke", file.as_str()], by, &["--config", "symbolon.toml"]].concat();
        symbolon(dir, &arguments).await.ok();
        for browser in browsers.iter_mut().chain([&mut again, &mut since]) {
            assert!(!browser.is_signed_in().await, "{by:?}");
        }
        for browser in &mut stay {
            assert!(browser.is_signed_in().await, "{by:?}");
        }
        let refused = app.refresh(stack, hanging).await;
        assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_grant")), "{by:?}");
        let started = std::time::Instant::now();
        while stack.introspect(&text("access_token")).await["active"] == true {
            assert!(started.elapsed() < std::time::Duration::from_secs(3), "{by:?}: the access token lives on");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let started = std::time::Instant::now();
        let ended = || stack.events("server-audit.jsonl").iter().filter(|event| event["why"] == "certificate_revoked").count();
        while ended() < 4 * (number + 1) {
            assert!(started.elapsed() < std::time::Duration::from_secs(20), "{by:?}: the trail has {} ends", ended());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // The one thing corrected: what is restored signs in again, and brings no session back.
        let arguments = [&["cert", "restore", file.as_str()], by, &["--config", "symbolon.toml"]].concat();
        symbolon(dir, &arguments).await.ok();
        assert!(!browsers[0].is_signed_in().await, "{by:?}");
        let started = std::time::Instant::now();
        loop {
            let errand = certified.errand(&mut browsers[0], "/sign-in").await;
            let shown = certified.show(Some(&lost), &errand).await;
            if shown.status == 303 {
                let back = certified.at_issuer(&shown);
                assert_eq!(browsers[0].get(&back).await.status, 303, "{by:?}");
                break;
            }
            assert!(started.elapsed() < std::time::Duration::from_secs(5), "{by:?}: not taken back");
        }
        assert!(browsers[0].is_signed_in().await, "{by:?}");
    }
    // Between the certificate and the code, and between the certificate and the way back.
    let (_, recovery) = Authenticator::set_up(&mut stay[0], PASSWORD).await;
    let lost = certified.people.issue(leaf("lost"));
    certified.link("bob", &lost).await;
    let mut good = Browser::new(stack);
    let page = certified.sign_in(&mut good, &lost, "/sign-in").await;
    assert_eq!(second_factor(&mut good, &page, &recovery[0]).await.status, 303);
    let started = std::time::Instant::now();
    let named = |event: &Value| {
        event["event"] == "signed_in"
            && event["certificate"] == json!(lost.thumbprint())
            && event["amr"] == json!(["swk", "otp", "mfa"])
    };
    while !stack.events("server-audit.jsonl").iter().any(named) {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "the trail does not say by which certificate");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut thief = Browser::new(stack);
    let page = certified.sign_in(&mut thief, &lost, "/sign-in").await;
    assert!(page.status == 200 && page.text().contains("Your code"), "{}", page.text());
    symbolon(dir, &["cert", "revoke", "lost.pem", "--config", "symbolon.toml"]).await.ok();
    let answer = second_factor(&mut thief, &page, &recovery[1]).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "sign_in_over");
    assert!(!thief.is_signed_in().await && !good.is_signed_in().await && stay[0].is_signed_in().await);
    let page = first_factor(&mut thief, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut thief, &page, &recovery[1]).await.status, 303, "the code was not used up");
}

#[tokio::test]
async fn a_revoked_certificate_ends_the_sessions_it_opened_on_sqlite() {
    a_revoked_certificate_ends_the_sessions_it_opened(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_revoked_certificate_ends_the_sessions_it_opened_on_postgres() {
    a_revoked_certificate_ends_the_sessions_it_opened(Engine::Postgres).await;
}

/// Certificates that name nobody are counted like wrong passwords, by their key: beyond the quota they wait, and others do not.
#[tokio::test]
async fn certificates_that_name_nobody_are_slowed_down() {
    let more = "\n[sign_in]\nattempts_per_account = 3\naccount_attempt_seconds = 600\n";
    let Some(certified) = Certified::start(Engine::Sqlite, more).await else { return };
    let stack = &certified.stack;
    let (nobodys, bobs) = (certified.people.issue(leaf("nobody")), certified.people.issue(naming("bob", "bob")));
    let mut browser = Browser::new(stack);
    for _ in 0..3 {
        let refused = certified.sign_in(&mut browser, &nobodys, "/sign-in").await;
        assert_eq!(stack.reason_of(refused.request_id()).await, "certificate_unlinked");
    }
    let refused = certified.sign_in(&mut browser, &nobodys, "/sign-in").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    // Renewed with the same key it is the same.
    let renewed = certified.people.renew(&nobodys, leaf("nobody"));
    assert_eq!(certified.sign_in(&mut browser, &renewed, "/sign-in").await.status, 429);
    for _ in 0..5 {
        assert_eq!(certified.sign_in(&mut browser, &bobs, "/sign-in?again=yes").await.status, 303, "a good one does not count");
    }
}
