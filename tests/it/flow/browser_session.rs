//! People with browsers at the gateway, which signs them in at the server: over mutual TLS, with tokens that are bound to the gateway's
//! certificate.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::PATIENCE;
use crate::harness::person::{link, with_sessions};
use crate::harness::{Call, Person, Setup, Stack, token};

/// The value of a header field that the upstream received.
fn told(stack: &Stack, name: &str) -> Vec<String> {
    stack.upstream.last().values(name).into_iter().map(str::to_owned).collect()
}

/// 1. A link leads through the provider and back to where it pointed. 2. The application gets the person's name from the gateway, and
///    nothing of their session. 3. Their page shows who they are, and no token. 4. Signing out ends it at the gateway and the provider.
#[tokio::test]
async fn a_person_signs_in_works_and_signs_out() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    // 1.
    let led = bob.follow("/app/files?name=a%20b&x=1").await;
    assert_eq!(stack.verdict(&led).await, (303, String::new(), String::new()));
    assert_eq!(stack.reason_of(led.request_id()).await, "gateway_session_absent");
    let location = led.header("location").expect("a location").to_owned();
    // RFC 9126: the request was pushed, with the gateway's certificate: the browser carries a reference alone.
    let names: Vec<String> =
        url::Url::parse(&location).expect("a URL").query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "request_uri"], "{location}");
    assert_eq!((led.header("cache-control"), led.header("www-authenticate")), (Some("no-store"), None));
    let callback = bob.at_provider(&stack, &led).await;
    stack.upstream.assert_untouched();
    let back = bob.follow(&callback).await;
    assert_eq!(back.header("location"), Some(stack.fill("{gateway}/app/files?name=a%20b&x=1").as_str()));
    assert!(bob.gateway.cookies.iter().all(|(name, _)| name == "__Host-symbolon-gateway-staff"), "{:?}", bob.gateway.cookies);

    // 2.
    bob.gateway.cookies.push(("theme".into(), "dark".into()));
    let answer = bob.follow("/app/files?name=a%20b&x=1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("private"));
    assert_eq!(told(&stack, "cookie"), ["theme=dark"]);
    assert_eq!(told(&stack, "authorization"), Vec::<String>::new());
    let assertion = token::claims(&told(&stack, "x-symbolon-assertion")[0]);
    let event = stack.event_of(answer.request_id()).await;
    assert_eq!((&assertion["sub"], &assertion["client_id"]), (&event["subject"], &json!("gateway")));
    // The token is bound to the gateway's own certificate, which says nothing of the browser.
    assert_eq!(event["cnf"]["x5t#S256"], stack.gateway_identity.thumbprint());
    assert_eq!((&assertion["cnf"], &event["certificate"]), (&Value::Null, &Value::Null));
    assert_eq!(bob.send_form(&stack, "/app/save").await.status, 200);
    assert_eq!(bob.gateway.send(Call::get("/app").header("Accept", "application/json")).await.status, 200, "a page's own fetch");

    // 3.
    let page = bob.follow("/.symbolon/").await;
    let text = page.text();
    assert!(page.status == 200 && text.contains("<h2>staff</h2>") && text.contains("Sign out"), "{text}");
    let subject = event["subject"].as_str().expect("a subject");
    assert!(text.contains("Bob Builder") || text.contains(subject), "{text}");
    assert!(!text.contains("eyJ") && !text.contains(&bob.session_cookie()), "{text}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let begun = stack.wait_for_event("gateway-audit.jsonl", "browser_session_begun").await;
    assert_eq!((&begun["sessions"], &begun["subject"]), (&json!("staff"), &event["subject"]));

    // 4.
    let copied = bob.session_cookie();
    let out = bob.send_form(&stack, "/.symbolon/staff/sign-out").await;
    let location = out.header("location").expect("a location").to_owned();
    let end = stack.fill("{issuer}/end-session?id_token_hint=");
    assert!(out.status == 303 && location.starts_with(&end), "{location}");
    assert!(bob.provider.is_signed_in().await);
    let answer = bob.provider.get(location.strip_prefix(&stack.fill("{issuer}")).expect("the provider")).await;
    assert_eq!(answer.header("location"), Some(stack.fill("{gateway}/.symbolon/").as_str()));
    assert!(!bob.provider.is_signed_in().await);
    assert!(bob.follow("/.symbolon/").await.text().contains("You are not signed in"));
    assert_eq!(bob.session_cookie(), "theme=dark");
    stack.upstream.forget();
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/app").header("Cookie", &copied)).await;
    assert_eq!(stack.verdict(&answer).await, (401, "unauthorized".into(), "gateway_session_ended".into()));
    assert_eq!(bob.follow("/app").await.status, 303);
    stack.upstream.assert_untouched();
    let ended = stack.wait_for_event("gateway-audit.jsonl", "browser_session_ended").await;
    assert_eq!(ended["session_id"], begun["session_id"]);
}

/// Programs are answered as ever, and their tokens count before a session.
#[tokio::test]
async fn programs_are_not_led_away() {
    let stack = with_sessions(&[], Setup::default()).await;
    for call in [
        Call::get("/app"),
        Call::get("/app").header("Accept", "application/json"),
        link("/app").replacing("Sec-Fetch-Mode", "cors"),
        link("/app").replacing("Sec-Fetch-Dest", "iframe"),
        Call { method: "POST".into(), ..link("/app") },
    ] {
        let answer = stack.nobody().send(&stack.gateway_authority, &call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "token_absent"), "{call:?}");
        assert!(answer.challenge().starts_with("Bearer realm="), "{}", answer.challenge());
    }
    stack.upstream.assert_untouched();
    let token = stack.token(&stack.alice).await;
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let answer = bob.gateway.send(link("/app").bearer(&token)).await;
    assert_eq!(stack.event_of(answer.request_id()).await["client_id"], "alice");
    let answer = bob.gateway.send(link("/app").bearer("no.such.token")).await;
    assert_eq!(answer.status, 401, "a token that is no good is not made good by a session");
}

/// A token that ends is renewed before: once for all requests that come with the same cookie, and also for those that come later with
/// it. A provider may take a refresh token that came twice for a stolen one, and end everything.
#[tokio::test]
async fn a_token_is_renewed_once_for_everybody() {
    let accounts = "identifier = \"{accounts}\"\n";
    let short = format!("{accounts}access_token_lifetime_seconds = 31\n");
    let setup = Setup { server_changes: vec![(accounts.into(), short)], ..Setup::default() };
    let changes = [(
        "scopes = [\"read\"]\nresources = [\"{accounts}\"]\nback",
        "scopes = [\"read\", \"offline_access\"]\nresources = [\"{accounts}\"]\nback",
    )];
    let stack = with_sessions(&changes, setup).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let old = bob.session_cookie();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let at_once = (0..8).map(|_| {
        let call = Call::get("/app").header("Cookie", &old);
        let sent = stack.nobody().send(&stack.gateway_authority, &call);
        tokio::spawn(sent)
    });
    let mut cookies = Vec::new();
    for answer in at_once.collect::<Vec<_>>() {
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        cookies.push(answer.header("set-cookie").expect("the newer session").split(';').next().expect("a pair").to_owned());
    }
    let renewals = || {
        let events = stack.events("server-audit.jsonl");
        events.iter().filter(|event| event["event"] == "token_issued" && event["grant_type"] == "refresh_token").count()
    };
    assert_eq!(renewals(), 1);
    // The older cookie, and each of the newer ones, is the same session.
    for cookie in cookies.iter().chain([&old]) {
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/app").header("Cookie", cookie)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The next time too.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for cookie in [&old, &cookies[0]] {
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/app").header("Cookie", cookie)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(stack.events("server-audit.jsonl").iter().all(|event| event["event"] != "family_revoked"));
}

/// A session ends when it is not used, and in any case after its life, however much it is used.
#[tokio::test]
async fn a_session_ends_by_itself() {
    let times = "scopes = [\"read\"]\nresources = [\"{accounts}\"]\nback_channel_logout = true";
    let with = |idle: u32, life: u32| format!("{times}\nidle_seconds = {idle}\nlifetime_seconds = {life}");
    let other = "scopes = [\"read\"]\nresources = [\"{accounts}\"]\n\n";
    let (idle, life) = (with(3, 60), format!("{}idle_seconds = 4\nlifetime_seconds = 4\n\n", &other[..other.len() - 1]));
    let stack = with_sessions(&[(times, &idle), (other, &life)], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    assert_eq!(bob.sign_in(&stack, "/elsewhere").await.status, 200);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4_500) {
        assert_eq!(bob.follow("/app").await.status, 200, "it is used");
        bob.gateway.send(Call::get("/elsewhere")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let answer = bob.gateway.send(Call::get("/elsewhere")).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "gateway_session_expired"));
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let answer = bob.gateway.send(Call::get("/app")).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "gateway_session_expired"));
    // The provider still knows them: nobody types anything.
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
}

/// OpenID Connect Back-Channel Logout 1.0: the provider tells the gateway, which ends the session: at once, also for whoever has a copy,
/// and nobody else's.
#[tokio::test]
async fn the_provider_ends_a_session() {
    let stack = with_sessions(&[], without_feed()).await;
    let (mut desk, mut phone) = (Person::new(&stack), Person::new(&stack));
    assert_eq!(desk.sign_in(&stack, "/app").await.status, 200);
    assert_eq!(phone.sign_in(&stack, "/app").await.status, 200);
    let page = desk.provider.account().await;
    let csrf = crate::harness::browser::field(&page, "csrf");
    assert_eq!(desk.provider.post("/sign-out", &[("csrf", &csrf)]).await.status, 303);
    let started = Instant::now();
    let answer = loop {
        let answer = desk.gateway.send(Call::get("/app")).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(started.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(stack.reason_of(answer.request_id()).await, "gateway_session_ended");
    assert_eq!(phone.follow("/app").await.status, 200);
    let told = stack.wait_for_event("gateway-audit.jsonl", "browser_sessions_ended").await;
    assert_eq!(told["sessions"], "staff");
    assert!(told["provider_session"].is_string(), "{told}");
}

/// Where a person signs out, the server revokes their tokens too, and its feed would tell of that first.
fn without_feed() -> Setup {
    Setup { gateway_changes: vec![("revocation_feed = true\n".into(), String::new())], ..Setup::default() }
}

/// What still streams ends with its session.
#[tokio::test]
async fn a_download_ends_with_its_session() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    stack.upstream.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning");
    let (mut downloading, started) = (bob.clone(), Instant::now());
    let download = tokio::spawn(async move { downloading.gateway.send(Call::get("/app")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!download.is_finished(), "it streams");
    assert_eq!(bob.send_form(&stack, "/.symbolon/staff/sign-out").await.status, 303);
    assert!(download.await.is_err(), "the rest never comes: the connection breaks off");
    assert!(started.elapsed() < Duration::from_secs(4));
}
