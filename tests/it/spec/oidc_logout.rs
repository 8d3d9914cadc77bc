//! OpenID Connect RP-Initiated Logout 1.0, Back-Channel Logout 1.0 and Front-Channel Logout 1.0.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::oidc_core::id_token_claims;
use crate::harness::app::{Returned, add_bob};
use crate::harness::browser::{Browser, field};
use crate::harness::client::PATIENCE;
use crate::harness::command::symbolon;
use crate::harness::{Answer, App, Call, Publisher, Setup, Stack, token};

const BYE: &str = "https://alice.example/bye?tenant=1";
/// The server may reach this machine.
const OUTBOUND: &str = "[outbound]\nca_files = [\"server-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n";

async fn started(changes: Value) -> Stack {
    let mut all = json!({ "post_logout_redirect_uris": [BYE] });
    all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    let clients = vec![App::metadata("alice", all), App::metadata("mallory", json!({}))];
    let stack = Setup { without_gateway: true, clients, server: OUTBOUND.into(), ..Setup::default() }.start().await;
    add_bob(&stack).await;
    stack
}

fn target(parameters: &[(&str, &str)]) -> String {
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("/end-session?{encoded}")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Tries until something is there.
async fn soon<T>(mut found: impl AsyncFnMut() -> Option<T>, what: &str) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn event(stack: &Stack, name: &str) -> Value {
    let found = async || stack.events("server-audit.jsonl").into_iter().find(|event| event["event"] == name);
    soon(found, name).await
}

/// RP-Initiated Logout §2: "Upon receiving the logout request, the OP logs the End-User out"; §3: the browser goes to
/// `post_logout_redirect_uri`, with `state` "passed to the URL"; grants of the session end with it; by GET and by POST.
#[tokio::test]
async fn a_client_signs_its_person_out() {
    let stack = started(json!({})).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[]).await;
    let (hint, access_token) = (text(&tokens, "id_token").to_owned(), text(&tokens, "access_token").to_owned());
    assert_eq!(stack.introspect(&access_token).await["active"], true);
    let request = target(&[
        ("id_token_hint", &hint),
        ("post_logout_redirect_uri", BYE),
        ("state", "af0ifjsldkj"),
        ("ui_locales", "de"),
        ("logout_hint", "bob"),
        ("unknown", "ignored"),
    ]);
    let answer = browser.get(&request).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("https://alice.example/bye?tenant=1&state=af0ifjsldkj")));
    assert!(browser.session_cookie().is_none() && !browser.is_signed_in().await);
    let returned = Returned::of(&browser.get(&app.url(&[("prompt", "none")])).await);
    assert_eq!(returned.get("error"), "login_required");
    assert_eq!(stack.introspect(&access_token).await["active"], false, "what hangs on the session ended with it");
    let ended = event(&stack, "session_ended").await;
    assert_eq!((&ended["why"], &ended["session_id"]), (&json!("ended_by_client"), &token::claims(&hint)["sid"]));
    // Whoever is signed out already is led on all the same.
    assert_eq!(browser.get(&request).await.header("location"), Some("https://alice.example/bye?tenant=1&state=af0ifjsldkj"));

    // §2: "OpenID Providers MUST support the use of the HTTP GET and POST methods". A foreign POST brings no cookies.
    let hint = text(&app.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
    let form = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BYE)];
    let answer = Browser::new(&stack).post("/end-session", &form).await;
    let location = answer.header("location").expect("to ourselves").to_owned();
    assert!(answer.status == 303 && location.starts_with("/end-session/confirm?request="), "{location}");
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.get(&location).await.header("location"), Some(BYE));
    assert!(!browser.is_signed_in().await);
    // Without a place to go, a page.
    let hint = text(&app.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
    assert_eq!(browser.get(&target(&[("id_token_hint", &hint)])).await.header("location"), Some("/signed-out"));
    assert!(!browser.is_signed_in().await);
}

/// A refresh token without `offline_access` ends with its session (Back-Channel Logout §2.7); one with it stays.
#[tokio::test]
async fn offline_access_outlives_the_session() {
    let stack = started(json!({})).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let online = app.tokens(&stack, &mut browser, &[("scope", "read")]).await;
    let offline = app.tokens(&stack, &mut browser, &[("scope", "openid offline_access read"), ("prompt", "consent")]).await;
    let (online, offline_token) = (text(&online, "refresh_token").to_owned(), text(&offline, "refresh_token").to_owned());
    assert_eq!(app.refresh(&stack, &online).await.status, 200);
    // A code that nobody redeemed yet hangs on the session too.
    let late = app.code(&mut browser, &[]).await;
    let hint = text(&offline, "id_token").to_owned();
    assert_eq!(browser.get(&target(&[("id_token_hint", &hint)])).await.status, 303);
    let answer = app.refresh(&stack, &online).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".into(), "refresh_token_unknown".into()));
    let answer = app.redeem(&stack, &late).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".into(), "session_absent".into()));
    assert_eq!(app.refresh(&stack, &offline_token).await.status, 200);
}

/// §2: "the OP MUST ask the End-User this question if an id_token_hint was not provided or if the supplied ID Token does not belong to the
/// current OP session with the RP and/or currently logged in End-User".
#[tokio::test]
async fn the_person_is_asked_where_the_client_does_not_know_the_session() {
    let stack = started(json!({})).await;
    let app = App::alice(&stack);
    let (mut browser, mut elsewhere) = (Browser::new(&stack), Browser::new(&stack));
    let foreign = text(&app.tokens(&stack, &mut elsewhere, &[]).await, "id_token").to_owned();
    app.tokens(&stack, &mut browser, &[]).await;
    for parameters in [
        &[][..],
        &[("state", "only")],
        &[("client_id", "alice"), ("post_logout_redirect_uri", BYE)],
        &[("id_token_hint", foreign.as_str()), ("post_logout_redirect_uri", BYE)],
    ] {
        let page = browser.get(&target(parameters)).await;
        assert_eq!((page.status, page.header("location")), (200, None), "{parameters:?}");
        assert!(page.text().contains("Sign out?") && page.text().contains("Bob Builder"), "{}", page.text());
        assert!(browser.is_signed_in().await);
    }
    let page = browser.get(&target(&[("client_id", "alice"), ("post_logout_redirect_uri", BYE), ("state", "s")])).await;
    assert!(page.text().contains("App of alice"), "{}", page.text());
    let (csrf, request) = (field(&page, "csrf"), field(&page, "request"));
    let answered = async |browser: &mut Browser, csrf: &str, decision: &str| {
        browser.post("/end-session/confirm", &[("csrf", csrf), ("request", &request), ("decision", decision)]).await
    };
    let answer = answered(&mut browser, "forged", "sign_out").await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (403, "form_foreign"));
    assert_eq!(answered(&mut browser, &csrf, "").await.status, 400);
    assert_eq!(answered(&mut browser, &csrf, "stay").await.header("location"), Some("/account"));
    assert!(browser.is_signed_in().await);
    let answer = answered(&mut browser, &csrf, "sign_out").await;
    assert_eq!(answer.header("location"), Some("https://alice.example/bye?tenant=1&state=s"));
    assert!(!browser.is_signed_in().await);
    // What a page carries is ours alone.
    let answer = browser.get("/end-session/confirm?request=AAAA").await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "interaction_unknown"));
}

/// §2: "the value MUST have been previously registered"; §4: "the OP MUST NOT perform post-logout redirection". Nothing ends.
#[tokio::test]
async fn what_is_not_right_is_told_on_a_page() {
    let stack = started(json!({})).await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let tokens = app.tokens(&stack, &mut browser, &[]).await;
    let foreign = text(&other.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
    let (hint, access_token) = (text(&tokens, "id_token"), text(&tokens, "access_token"));
    let modified = format!("{}A{}", &hint[..hint.len() - 10], &hint[hint.len() - 9..]);
    let modified = if modified == hint { hint.replacen('.', ".A", 1) } else { modified };
    let uri = ("post_logout_redirect_uri", BYE);
    let table: [(&[(&str, &str)], &str); 10] = [
        (&[("id_token_hint", hint), ("post_logout_redirect_uri", "https://alice.example/bye")], "post_logout_redirect_uri"),
        (
            &[("id_token_hint", hint), ("post_logout_redirect_uri", "https://alice.example/bye?tenant=1&foo=bar")],
            "post_logout_redirect_uri",
        ),
        (&[("id_token_hint", hint), ("post_logout_redirect_uri", "https://evil.example/")], "post_logout_redirect_uri"),
        (&[("id_token_hint", &foreign), uri], "post_logout_redirect_uri"),
        (&[uri], "post_logout_redirect_uri"),
        (&[("client_id", "nobody"), uri], "client_unknown"),
        (&[("client_id", "mallory"), ("id_token_hint", hint)], "id_token_hint"),
        (&[("id_token_hint", &modified), uri], "id_token_hint"),
        (&[("id_token_hint", access_token), uri], "id_token_hint"),
        (&[("id_token_hint", "eyJhbGciOiJub25lIn0.e30."), uri], "id_token_hint"),
    ];
    for (parameters, reason) in table {
        let answer = browser.get(&target(parameters)).await;
        let found = stack.reason_of(answer.request_id()).await;
        assert_eq!((answer.status, answer.header("location"), found.as_str()), (400, None, reason), "{parameters:?}");
        assert!(answer.text().contains(&answer.request_id()), "a page with the request's id");
    }
    let twice = format!("{}&state=a&state=b", target(&[("id_token_hint", hint)]));
    assert_eq!(browser.get(&twice).await.status, 400);
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.get(&target(&[("id_token_hint", hint), uri])).await.header("location"), Some(BYE));
}

/// alice's registration with what depends on her port.
async fn with(stack: &Stack, changes: Value) {
    let mut all = json!({ "post_logout_redirect_uris": [BYE, "https://alice.example/known"] });
    all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    let metadata = stack.fill(&App::metadata("alice", all).to_string());
    stack.apply(&[serde_json::from_str(&metadata).expect("JSON")]).await.ok();
    let mut nobody = Browser::new(stack);
    let known = target(&[("client_id", "alice"), ("post_logout_redirect_uri", "https://alice.example/known")]);
    let is_known = async || (nobody.get(&known).await.status == 303).then_some(());
    soon(is_known, "the server takes the registration in").await;
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The logout tokens that a client received so far, as claims: their signature and type are checked.
async fn told(stack: &Stack, publisher: &Publisher) -> Vec<Value> {
    let mut claims = Vec::new();
    for body in publisher.bodies() {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let [(name, logout_token)] = fields.as_slice() else { panic!("{body}") };
        assert_eq!((name.as_str(), &token::header(logout_token)["typ"]), ("logout_token", &json!("logout+jwt")));
        claims.push(id_token_claims(stack, logout_token).await);
    }
    claims
}

/// Back-Channel Logout §2.4: the claims of a logout token; §2.5: it is posted as `logout_token` to `backchannel_logout_uri`. On every end
/// of a session: by the client, on the account page, by removal of the person. Not to clients that the session did not know.
#[tokio::test]
async fn clients_are_told_by_the_server_however_a_session_ends() {
    let stack = started(json!({})).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.answer_with(OK);
    let uri = publisher.url("/backchannel?x=1");
    with(&stack, json!({ "backchannel_logout_uri": uri, "backchannel_logout_session_required": true })).await;
    let document = stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/openid-configuration")).await.json();
    for name in ["backchannel_logout_supported", "backchannel_logout_session_supported"] {
        assert_eq!(document[name], true, "{name}");
    }
    let app = App::alice(&stack);
    let number = async |wanted: usize| {
        let found = async || {
            let told = told(&stack, &publisher).await;
            (told.len() >= wanted).then_some(told)
        };
        soon(found, "a logout token").await
    };
    let sign_in = async || {
        let mut browser = Browser::new(&stack);
        let id_token = text(&app.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
        (browser, token::claims(&id_token), id_token)
    };
    let (mut browser, known, hint) = sign_in().await;
    browser.get(&target(&[("id_token_hint", &hint)])).await;
    let token = number(1).await.remove(0);
    for name in ["iss", "sub", "aud", "sid"] {
        assert_eq!(token[name], known[name], "{name}");
    }
    assert_eq!(token["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
    assert_eq!(token.get("nonce"), None, "§2.4: \"PROHIBITED\"");
    assert!(token["jti"].is_string() && token["exp"].as_i64() <= token["iat"].as_i64().map(|at| at + 120));
    assert!(publisher.requests()[0].starts_with("POST /backchannel?x=1 "), "{:?}", publisher.requests());
    let sent = event(&stack, "logout_told").await;
    assert_eq!((&sent["client_id"], &sent["session_id"], &sent["attempts"]), (&json!("alice"), &known["sid"], &json!(1)));

    // Another browser's session, ended on the account page; then one's own.
    let (mut desk, at_desk, _) = sign_in().await;
    let (_phone, on_phone, _) = sign_in().await;
    let page = desk.account().await;
    let csrf = field(&page, "csrf");
    desk.post("/account/sessions", &[("csrf", &csrf), ("session", text(&on_phone, "sid"))]).await;
    assert_eq!(number(2).await[1]["sid"], on_phone["sid"]);
    desk.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!(number(3).await[2]["sid"], at_desk["sid"]);
    // A session in which alice's application was never used.
    let mut stranger = Browser::new(&stack);
    App::mallory(&stack).tokens(&stack, &mut stranger, &[]).await;
    let (_gone, last, _) = sign_in().await;
    symbolon(stack.dir.path(), &["user", "remove", "bob"]).await.ok();
    assert_eq!(number(4).await[3]["sid"], last["sid"]);
    assert_eq!(publisher.bodies().len(), 4, "mallory's session is none of alice's business");
}

/// A client that does not answer is tried again, also by the next process after this one was killed.
#[tokio::test]
async fn no_notice_is_lost_when_the_server_is_killed() {
    let mut stack = started(json!({})).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.answer_with(BROKEN);
    with(&stack, json!({ "backchannel_logout_uri": publisher.url("/backchannel") })).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let hint = text(&app.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
    browser.get(&target(&[("id_token_hint", &hint)])).await;
    soon(async || (!publisher.bodies().is_empty()).then_some(()), "a first attempt").await;
    let server = stack.server.take().expect("running");
    // Killed between two attempts: in the middle of one, the notice would be kept from others for as long as a request may take.
    soon(async || server.log().contains("could not be told").then_some(()), "a failure").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill().await;
    let before = publisher.bodies().len();
    publisher.answer_with(OK);
    stack.start_server().await;
    soon(async || (publisher.bodies().len() > before).then_some(()), "another attempt").await;
    let tokens = told(&stack, &publisher).await;
    let (first, last) = (tokens.first().expect("one"), tokens.last().expect("one"));
    assert_eq!(first["sid"], last["sid"]);
    assert_ne!(first["jti"], last["jti"], "a token of its own each time");
    let sent = event(&stack, "logout_told").await;
    assert!(sent["attempts"].as_i64().is_some_and(|attempts| attempts > 1), "{sent}");
    assert_eq!(publisher.bodies().len(), tokens.len(), "told once, and no more");
}

/// Back-Channel Logout needs `[outbound]`: without it nothing is promised.
#[tokio::test]
async fn without_outbound_no_back_channel_is_promised() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let document = stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/openid-configuration")).await.json();
    assert_eq!(
        (&document["backchannel_logout_supported"], &document["frontchannel_logout_supported"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(document["end_session_endpoint"], format!("https://{}/end-session", stack.issuer_authority));
}

fn policy(answer: &Answer) -> &str {
    answer.header("content-security-policy").expect("a policy")
}

/// Front-Channel Logout §3: the OP renders "`<iframe src="frontchannel_logout_uri">` in a page"; with
/// `frontchannel_logout_session_required` "iss and sid query parameters are included"; and the page may load nothing else.
#[tokio::test]
async fn clients_are_told_by_the_browser() {
    let frame = json!({
        "frontchannel_logout_uri": "https://alice.example/frame?x=1", "frontchannel_logout_session_required": true,
    });
    let stack = started(frame).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let hint = text(&app.tokens(&stack, &mut browser, &[]).await, "id_token").to_owned();
    App::mallory(&stack).tokens(&stack, &mut browser, &[]).await;
    let answer = browser.get(&target(&[("id_token_hint", &hint), ("post_logout_redirect_uri", BYE), ("state", "s")])).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let sid = text(&token::claims(&hint), "sid").to_owned();
    let issuer = url::form_urlencoded::byte_serialize(stack.fill("{issuer}").as_bytes()).collect::<String>();
    let page = answer.text().replace("&#x2f;", "/").replace("&amp;", "&");
    let source = format!("<iframe src=\"https://alice.example/frame?x=1&iss={issuer}&sid={sid}\"");
    assert!(page.contains(&source), "{source} in {page}");
    assert_eq!(page.matches("<iframe").count(), 1, "mallory has registered none");
    assert!(policy(&answer).contains("frame-src https://alice.example;") && policy(&answer).starts_with("default-src 'none'"));
    assert_eq!(answer.header("refresh"), Some("4;url=https://alice.example/bye?tenant=1&state=s"), "also without JavaScript");
    assert!(page.contains("href=\"https://alice.example/bye?tenant=1&state=s\""), "{page}");
    assert!(!browser.is_signed_in().await);

    // The same on our own page, where nothing follows.
    app.tokens(&stack, &mut browser, &[]).await;
    let csrf = field(&browser.account().await, "csrf");
    let answer = browser.post("/sign-out", &[("csrf", &csrf)]).await;
    assert!(answer.status == 200 && answer.text().contains("<iframe") && answer.header("refresh").is_none());
    assert!(!answer.text().contains("<script"), "nothing to do");
    assert!(!browser.is_signed_in().await);
}
