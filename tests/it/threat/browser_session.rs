//! Sessions of browsers: stolen, forged, planted, and used from other pages.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::app::{Returned, go_on};
use crate::harness::command::symbolon;
use crate::harness::person::{SESSIONS, gateway_client, link, with_sessions};
use crate::harness::{Answer, Call, Leaf, Person, Publisher, Setup, Stack};

/// Status and private reason.
async fn verdict(stack: &Stack, answer: &Answer) -> (u16, String) {
    (answer.status, stack.reason_of(answer.request_id()).await)
}

/// A request with this cookie, from somebody else's machine.
async fn with_cookie(stack: &Stack, target: &str, cookie: &str) -> (u16, String) {
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get(target).header("Cookie", cookie)).await;
    verdict(stack, &answer).await
}

/// A session that was opened with a certificate is good with that certificate alone; who stole it ends nothing for its owner.
#[tokio::test]
async fn a_bound_session_is_worth_nothing_to_a_thief() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    let answer = bob.sign_in(&stack, "/app").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let assertion = crate::harness::token::claims(stack.upstream.last().values("x-symbolon-assertion")[0]);
    assert_eq!(assertion["cnf"]["x5t#S256"], stack.alice.thumbprint(), "what the browser has proven");
    stack.upstream.forget();
    let cookie = bob.session_cookie();
    let other = stack.client_ca.issue(Leaf::client("alice"));
    for (caller, reason) in [
        (stack.nobody(), "gateway_session_certificate_absent"),
        (stack.caller(&stack.mallory), "gateway_session_certificate_mismatch"),
        (stack.caller(&other), "gateway_session_certificate_mismatch"),
    ] {
        for call in [Call::get("/app"), link("/app"), link("/.symbolon/")] {
            let answer = caller.send(&stack.gateway_authority, &call.clone().header("Cookie", &cookie)).await;
            let opens_a_page = call.headers.iter().any(|(name, _)| name == "Sec-Fetch-Mode");
            if call.target == "/app" && opens_a_page && reason == "gateway_session_certificate_mismatch" {
                // To sign in with that certificate: nothing of the session is used.
                assert_eq!(verdict(&stack, &answer).await, (303, reason.to_owned()), "{call:?}");
                let set: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
                assert!(
                    set.len() == 1 && set[0].1.starts_with("__Host-symbolon-gateway-staff.in-"),
                    "its owner keeps it: {set:?}"
                );
            } else if call.target == "/app" {
                assert_eq!(verdict(&stack, &answer).await, (401, reason.to_owned()), "{call:?}");
                assert!(answer.headers.iter().all(|(name, _)| name != "set-cookie"), "its owner keeps it");
            } else {
                assert!(answer.text().contains("You are not signed in"), "{}", answer.text());
            }
        }
        let out = Call::form("/.symbolon/staff/sign-out", &[]).header("Sec-Fetch-Site", "same-origin").header("Cookie", &cookie);
        // That takes the cookie from whoever sent it, and ends nothing.
        assert_eq!(caller.send(&stack.gateway_authority, &out).await.status, 303);
    }
    stack.upstream.assert_untouched();
    assert_eq!(bob.follow("/app").await.status, 200);

    // The certificate ends, and with it the session.
    symbolon(stack.dir.path(), &["cert", "revoke", "--thumbprint", &stack.alice.thumbprint()]).await.ok();
    let started = std::time::Instant::now();
    while bob.follow("/app").await.status == 200 {
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(verdict(&stack, &bob.follow("/app").await).await, (401, "certificate_revoked".into()));
}

/// A browser that comes with another certificate than its session has is led to sign in with that one, and has a session of that one alone
/// then. Programs, forms and pages' own requests are refused, and nothing goes upstream before.
#[tokio::test]
async fn another_certificate_needs_a_session_of_its_own() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let old = bob.session_cookie();
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    let mut later = Person::showing(&stack, stack.caller(&renewed));
    (later.gateway.cookies, later.provider) = (bob.gateway.cookies.clone(), bob.provider.clone());
    stack.upstream.forget();
    let origin = stack.fill("{gateway}");
    for call in [
        Call::get("/app"),
        link("/app").replacing("Sec-Fetch-Mode", "cors"),
        link("/app").replacing("Sec-Fetch-Dest", "iframe"),
        Call::form("/app/save", &[]).header("Sec-Fetch-Site", "same-origin").header("Origin", &origin),
    ] {
        let answer = later.gateway.send(call.clone()).await;
        assert_eq!(verdict(&stack, &answer).await, (401, "gateway_session_certificate_mismatch".into()), "{call:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let led = later.follow("/app/files?x=1").await;
    assert_eq!(verdict(&stack, &led).await, (303, "gateway_session_certificate_mismatch".into()));
    // Until it has signed in, the older session is what it was.
    assert_eq!(bob.follow("/app").await.status, 200);
    stack.upstream.forget();
    let callback = later.at_provider(&stack, &led).await;
    let back = later.follow(&callback).await;
    assert_eq!(back.header("location"), Some(stack.fill("{gateway}/app/files?x=1").as_str()), "{}", back.text());
    stack.upstream.assert_untouched();
    assert_eq!(later.follow("/app").await.status, 200);
    let assertion = crate::harness::token::claims(stack.upstream.last().values("x-symbolon-assertion")[0]);
    assert_eq!(assertion["cnf"]["x5t#S256"], renewed.thumbprint());
    let new = later.session_cookie();
    assert!(new != old && new.matches('=').count() == old.matches('=').count(), "replaced");
    stack.upstream.forget();
    let mismatch = (401, "gateway_session_certificate_mismatch".to_owned());
    for (identity, cookie) in [(&stack.alice, &new), (&renewed, &old)] {
        let answer = stack.caller(identity).send(&stack.gateway_authority, &Call::get("/app").header("Cookie", cookie)).await;
        assert_eq!(verdict(&stack, &answer).await, mismatch);
    }
    stack.upstream.assert_untouched();
}

/// A provider that signs in without asking, and sessions that are over at once: the browser is told so after a few turns.
#[tokio::test]
async fn nobody_is_led_in_a_circle() {
    let short = [("back_channel_logout = true", "idle_seconds = 2\nlifetime_seconds = 2")];
    let stack = with_sessions(&short, Setup::default()).await;
    let mut bob = Person::new(&stack);
    let mut led = bob.follow("/app").await;
    assert_eq!(verdict(&stack, &led).await, (303, "gateway_session_absent".into()));
    for turn in 0..4 {
        let callback = bob.at_provider(&stack, &led).await;
        assert_eq!(bob.follow(&callback).await.status, 303, "turn {turn}");
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        led = bob.follow("/app").await;
        let expected = if turn < 3 { (303, "gateway_session_expired") } else { (403, "gateway_sign_in_circle") };
        assert_eq!(verdict(&stack, &led).await, (expected.0, expected.1.to_owned()), "turn {turn}");
    }
    assert!(led.text().contains("You were signed in several times in a row"), "{}", led.text());
    assert_eq!((led.header("location"), led.header("content-type")), (None, Some("text/html; charset=utf-8")));
    stack.upstream.assert_untouched();
    // Whoever tries again begins anew, and a session that holds is one.
    assert_eq!(bob.session_cookie(), "");
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
}

/// Where the certificate is told to the upstream and decides nothing else, a session still needs its own, unrevoked.
#[tokio::test]
async fn a_revoked_certificate_ends_its_sessions_in_every_mode() {
    let permissive = [("sessions = \"staff\"", "sessions = \"staff\"\ncertificate_mode = \"permissive\"")];
    let stack = with_sessions(&permissive, Setup::default()).await;
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    assert_eq!(bob.follow("/app").await.status, 200);
    symbolon(stack.dir.path(), &["cert", "revoke", "--thumbprint", &stack.alice.thumbprint()]).await.ok();
    let started = std::time::Instant::now();
    while bob.follow("/app").await.status == 200 {
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stack.upstream.forget();
    assert_eq!(verdict(&stack, &bob.follow("/app").await).await, (401, "certificate_revoked".into()));
    stack.upstream.assert_untouched();
}

/// Where good certificates are demanded, a session that is bound to none is none: a thief's own would do beside it.
#[tokio::test]
async fn an_unbound_session_opens_nothing_that_demands_a_certificate() {
    let enforce = [("sessions = \"other\"", "sessions = \"staff\"\ncertificate_mode = \"enforce\"\nanchor_set = \"clients\"")];
    let stack = with_sessions(&enforce, Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let absent = (401, "gateway_session_certificate_absent".to_owned());
    assert_eq!(verdict(&stack, &bob.follow("/elsewhere").await).await, absent);
    stack.upstream.forget();
    let cookie = bob.session_cookie();
    let thief = stack.caller(&stack.mallory);
    let stolen = Call::get("/elsewhere").header("Cookie", &cookie);
    assert_eq!(verdict(&stack, &thief.send(&stack.gateway_authority, &stolen).await).await, absent);
    let led = thief.send(&stack.gateway_authority, &link("/elsewhere").header("Cookie", &cookie)).await;
    assert_eq!(led.status, 303, "to sign in, with that certificate");
    stack.upstream.assert_untouched();
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    assert_eq!(bob.sign_in(&stack, "/elsewhere").await.status, 200);
}

/// Sessions that must have a certificate are not opened without one.
#[tokio::test]
async fn sessions_with_certificates_alone() {
    let stack = with_sessions(&[("back_channel_logout = true", "require_certificate = true")], Setup::default()).await;
    let mut nobody = Person::new(&stack);
    assert_eq!(verdict(&stack, &nobody.follow("/app").await).await, (401, "gateway_session_certificate_absent".into()));
    let mut bob = Person::showing(&stack, stack.caller(&stack.alice));
    let led = bob.follow("/app").await;
    let callback = bob.at_provider(&stack, &led).await;
    // Begun with a certificate, and finished without, or with another.
    for caller in [stack.nobody(), stack.caller(&stack.mallory)] {
        let mut thief = Person::showing(&stack, caller);
        thief.gateway.cookies.clone_from(&bob.gateway.cookies);
        assert_eq!(verdict(&stack, &thief.follow(&callback).await).await, (400, "gateway_sign_in_foreign".into()));
    }
    assert_eq!(bob.follow(&callback).await.status, 303);
    assert_eq!(bob.follow("/app").await.status, 200);
}

/// A cookie opens for its own sessions, on its own host, at its own gateway, unaltered.
#[tokio::test]
async fn a_cookie_opens_where_it_was_sealed_alone() {
    let mut stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    stack.upstream.forget();
    let cookie = bob.session_cookie();
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let broken = (401, "gateway_session_broken".to_owned());
    let flip = |at: usize| {
        let byte = if &value[at..=at] == "A" { "B" } else { "A" };
        format!("{name}={}{byte}{}", &value[..at], &value[at + 1..])
    };
    for at in [2, 10, 25, 40, 60, value.len() / 2, value.len() - 3] {
        assert_eq!(with_cookie(&stack, "/app", &flip(at)).await, broken, "character {at}");
    }
    for other in ["1.", "1.AAAA", "2.AAAA", value.trim_start_matches("1.")] {
        let (status, reason) = with_cookie(&stack, "/app", &format!("{name}={other}")).await;
        assert!(status == 401 && ["gateway_session_broken", "token_absent"].contains(&reason.as_str()), "{other}: {reason}");
    }
    // Other sessions of the same gateway, under their own cookie's name; and another host of it.
    assert_eq!(with_cookie(&stack, "/elsewhere", &cookie).await, (401, "token_absent".into()));
    assert_eq!(with_cookie(&stack, "/elsewhere", &format!("__Host-symbolon-gateway-other={value}")).await, broken);
    let call = Call::get("/app").header("Cookie", &cookie);
    let answer = stack.nobody().send(&stack.public_authority, &call).await;
    assert_eq!(verdict(&stack, &answer).await, broken);
    // A sign-in's cookie is no session's.
    let mut eve = Person::new(&stack);
    eve.follow("/app").await;
    let pending = eve.gateway.cookies[0].1.clone();
    assert_eq!(with_cookie(&stack, "/app", &format!("{name}=1.{pending}")).await, broken);
    // On a route without sessions a cookie is nothing.
    assert_eq!(with_cookie(&stack, "/accounts", &cookie).await, (401, "token_absent".into()));
    stack.upstream.assert_untouched();
    assert_eq!(bob.follow("/app").await.status, 200);
    // A gateway that starts anew knows none of the older sessions: its list of ended ones ended too.
    stack.gateway.take().expect("running").stop().await;
    stack.start_gateway().await;
    stack.upstream.forget();
    assert_eq!(with_cookie(&stack, "/app", &cookie).await, broken);
    stack.upstream.assert_untouched();
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
}

fn query(target: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(target.split_once('?').expect("a query").1.as_bytes()).into_owned().collect()
}

fn callback(parameters: &BTreeMap<String, String>) -> String {
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("/.symbolon/staff/callback?{encoded}")
}

/// The answer of a provider counts once, in the browser that asked: not another's (login CSRF), not with another's code, not again.
#[tokio::test]
async fn an_answer_is_for_the_browser_that_asked() {
    let stack = with_sessions(&[], Setup::default()).await;
    let (mut victim, mut attacker) = (Person::new(&stack), Person::new(&stack));
    let led = attacker.follow("/app").await;
    let attackers = attacker.at_provider(&stack, &led).await;
    // Login CSRF: the attacker's answer, in a browser that has begun nothing, and in one that has.
    let foreign = (400, "gateway_sign_in_foreign".to_owned());
    assert_eq!(verdict(&stack, &victim.follow(&attackers).await).await, foreign);
    let led = victim.follow("/app").await;
    assert_eq!(verdict(&stack, &victim.follow(&attackers).await).await, foreign);
    assert_eq!(victim.session_cookie(), "");
    // The attacker's code, under the victim's state: PKCE and nonce are another's.
    let victims = victim.at_provider(&stack, &led).await;
    let mut injected = query(&victims);
    injected.insert("code".into(), query(&attackers)["code"].clone());
    let mut injecting = victim.clone();
    let (status, reason) = verdict(&stack, &injecting.follow(&callback(&injected)).await).await;
    assert_eq!((status, reason.as_str()), (400, "provider_refused"));
    assert_eq!(injecting.session_cookie(), "");
    // Answers that are none.
    let good = query(&victims);
    let changed = |name: &str, value: Option<&str>| {
        let mut parameters = good.clone();
        match value {
            Some(value) => drop(parameters.insert(name.to_owned(), value.to_owned())),
            None => drop(parameters.remove(name)),
        }
        callback(&parameters)
    };
    assert!(good.contains_key("iss"), "{victims}");
    for (target, reason) in [
        (changed("state", None), "gateway_sign_in_malformed"),
        (changed("state", Some("x")), "gateway_sign_in_foreign"),
        (changed("state", Some(&format!("{}AAAA", &good["state"][..8]))), "gateway_sign_in_foreign"),
        (changed("iss", None), "gateway_sign_in_issuer"),
        (changed("iss", Some("https://evil.example")), "gateway_sign_in_issuer"),
        (changed("code", None), "gateway_sign_in_malformed"),
        (changed("error", Some("access_denied")), "gateway_sign_in_malformed"),
        (format!("{}&code=another", callback(&good)), "gateway_sign_in_malformed"),
        (callback(&good).replace("/staff/", "/other/"), "gateway_sign_in_foreign"),
    ] {
        assert_eq!(verdict(&stack, &victim.clone().follow(&target).await).await, (400, reason.to_owned()), "{target}");
    }
    let refusal = callback(
        &[("state", good["state"].as_str()), ("iss", &good["iss"]), ("error", "access_denied")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    );
    assert_eq!(verdict(&stack, &victim.clone().follow(&refusal).await).await, (403, "gateway_sign_in_declined".into()));
    let answer = victim.gateway.send(Call::form(&callback(&good), &[])).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    stack.upstream.assert_untouched();

    // As it should be; and again, in the same browser, and with what it carried then.
    let mut before = victim.clone();
    // The code was not spent by what was refused before it was used.
    assert_eq!(victim.follow(&victims).await.status, 303);
    assert_eq!(victim.follow("/app").await.status, 200);
    assert_eq!(verdict(&stack, &victim.follow(&victims).await).await, foreign);
    let (status, reason) = verdict(&stack, &before.follow(&victims).await).await;
    assert_eq!((status, reason.as_str()), (400, "provider_refused"), "a code is good once");
}

/// A sign-in leads to where the browser wanted to go on this host, and nowhere else.
#[tokio::test]
async fn a_sign_in_leads_nowhere_else() {
    let stack = with_sessions(&[], Setup::default()).await;
    for target in
        ["//evil.example/app", "/\\evil.example/app", "/app//evil.example", "/app/..//evil.example", "/%2f%2fevil.example"]
    {
        let answer = Person::new(&stack).follow(target).await;
        assert!([400, 404].contains(&answer.status), "{target}: {}", answer.status);
        assert_eq!(answer.header("location"), None);
    }
    let call = Call { headers: vec![("Host".into(), "evil.example".into())], ..Call::get("/app") }.header("Accept", "text/html");
    assert_eq!(stack.nobody().send(&stack.gateway_authority, &call).await.header("location"), None);
    for target in ["/app?to=https://evil.example/", "/app/@evil.example", "/app/x?//evil.example"] {
        let mut bob = Person::new(&stack);
        assert_eq!(bob.sign_in(&stack, target).await.status, 200, "{target}");
    }
    // What does not fit is left away.
    let mut bob = Person::new(&stack);
    let led = bob.follow(&format!("/app?{}", "x".repeat(3_000))).await;
    let callback = bob.at_provider(&stack, &led).await;
    assert_eq!(bob.follow(&callback).await.header("location"), Some(stack.fill("{gateway}/").as_str()));
}

/// Pages of others cannot use a session for what changes something, nor open a WebSocket; also those of a neighbour on the same site.
#[tokio::test]
async fn other_pages_change_nothing() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    stack.upstream.forget();
    let own = stack.fill("{gateway}");
    let refused = (403, "policy_origin".to_owned());
    let post = Call::form("/app/save", &[("amount", "1000")]);
    let out = Call::form("/.symbolon/staff/sign-out", &[]);
    for call in [
        post.clone(),
        post.clone().header("Sec-Fetch-Site", "cross-site").header("Origin", "https://evil.example"),
        post.clone().header("Sec-Fetch-Site", "same-site").header("Origin", "https://neighbour.localhost"),
        post.clone().header("Origin", "null"),
        post.clone().header("Sec-Fetch-Site", "none"),
        post.clone().header("Origin", &own.replace("https", "http")),
        Call::new("DELETE", "/app/x").header("Sec-Fetch-Site", "cross-site"),
        Call::get("/app").header("Connection", "Upgrade").header("Upgrade", "websocket").header("Origin", "https://evil.example"),
        out.clone(),
        out.clone().header("Sec-Fetch-Site", "cross-site"),
    ] {
        assert_eq!(verdict(&stack, &bob.gateway.send(call.clone()).await).await, refused, "{call:?}");
    }
    stack.upstream.assert_untouched();
    assert_eq!(bob.gateway.send(Call::get("/.symbolon/staff/sign-out").header("Sec-Fetch-Site", "cross-site")).await.status, 405);
    assert_eq!(bob.gateway.send(post.clone().header("Sec-Fetch-Site", "same-origin")).await.status, 200);
    assert_eq!(bob.gateway.send(post.header("Origin", &own)).await.status, 200);
    assert_eq!(bob.follow("/app").await.status, 200, "nobody signed out");
}

/// An upstream neither sees a session nor plants one.
#[tokio::test]
async fn an_upstream_has_no_part_in_sessions() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let token = stack.token(&stack.alice).await;
    let cookie = format!("a=b; {}; __HOST-symbolon-gateway-staff.in-x=y", bob.session_cookie());
    // Also on a route without sessions, beside a token.
    let call = Call::get("/accounts").bearer(&token).header("Cookie", &cookie).header("Cookie", &bob.session_cookie());
    assert_eq!(stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await.status, 200);
    assert_eq!(stack.upstream.last().values("cookie"), ["a=b"]);
    assert!(!String::from_utf8_lossy(&stack.upstream.bytes()).contains("__Host-symbolon-gateway"));
    let planted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: __Host-symbolon-gateway-staff=1.mine; Path=/; Secure\r\n\
                   Set-Cookie: theme=dark; Path=/\r\nSet-Cookie: __host-SYMBOLON-gateway-staff=; Max-Age=0\r\n\r\n";
    stack.upstream.answer_with(planted);
    let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &call).await;
    assert_eq!(answer.header("set-cookie"), Some("theme=dark; Path=/"));
}

/// Only the provider's own logout token for this gateway ends a session, and only once.
#[tokio::test]
async fn logout_tokens_are_the_providers_own() {
    // The server revokes the tokens of whoever signs out, and its feed would tell of that first.
    let feed = vec![("revocation_feed = true\n".into(), String::new())];
    let stack = with_sessions(&[], Setup { gateway_changes: feed, ..Setup::default() }).await;
    let publisher = Publisher::start(&stack.server_ca).await;
    publisher.answer_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The provider tells somebody else, so that the token can be looked at first.
    let uri = json!({ "backchannel_logout_uri": publisher.url("/heard") });
    let metadata = stack.fill(&gateway_client(uri).to_string());
    stack.apply(&[serde_json::from_str::<Value>(&metadata).expect("JSON")]).await.ok();
    let started = std::time::Instant::now();
    let (mut bob, token) = loop {
        let mut bob = Person::new(&stack);
        assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
        let page = bob.provider.account().await;
        let csrf = crate::harness::browser::field(&page, "csrf");
        bob.provider.post("/sign-out", &[("csrf", &csrf)]).await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        if let Some(body) = publisher.bodies().pop() {
            break (bob, body.strip_prefix("logout_token=").expect("a token").to_owned());
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE, "the server does not take the registration in");
    };
    assert_eq!(bob.follow("/app").await.status, 200, "the gateway was not told");
    let tell = async |form: &[(&str, &str)]| {
        let answer =
            stack.nobody().send(&stack.gateway_authority, &Call::form("/.symbolon/staff/back-channel-logout", form)).await;
        let reason = if answer.status == 200 { String::new() } else { stack.reason_of(answer.request_id()).await };
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        (answer.status, reason)
    };
    let refused = (400, "logout_token".to_owned());
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims = crate::harness::token::claims(&token);
    claims["sid"] = json!("another");
    let forged = format!("{}.{}.{}", parts[0], crate::harness::token::encode(&claims), parts[2]);
    let none = format!("{}.{}.", crate::harness::token::encode(&json!({ "alg": "none", "typ": "logout+jwt" })), parts[1]);
    let access_token = stack.token(&stack.alice).await;
    for form in [
        &[][..],
        &[("logout_token", "")],
        &[("logout_token", &forged)],
        &[("logout_token", &none)],
        &[("logout_token", &access_token)],
        &[("logout_token", &token), ("logout_token", &token)],
    ] {
        assert_eq!(tell(form).await, refused, "{form:?}");
    }
    let elsewhere = Call::form("/.symbolon/other/back-channel-logout", &[("logout_token", &token)]);
    assert_eq!(stack.nobody().send(&stack.gateway_authority, &elsewhere).await.status, 404, "these sessions take none");
    let large = Call::form("/.symbolon/staff/back-channel-logout", &[("logout_token", &"x".repeat(40_000))]);
    assert_eq!(stack.nobody().send(&stack.gateway_authority, &large).await.status, 400);
    assert_eq!(bob.follow("/app").await.status, 200, "still");
    assert_eq!(tell(&[("logout_token", &token)]).await, (200, String::new()));
    stack.upstream.forget();
    let answer = bob.gateway.send(Call::get("/app")).await;
    assert_eq!(verdict(&stack, &answer).await, (401, "gateway_session_ended".into()));
    stack.upstream.assert_untouched();
    assert_eq!(tell(&[("logout_token", &token)]).await, (400, "logout_token_replayed".into()));
}

/// The provider is away: who is signed in goes on, who is not is told so, and nobody is asked for credentials.
#[tokio::test]
async fn without_the_provider_nobody_signs_in() {
    let mut stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    assert_eq!(bob.sign_in(&stack, "/app").await.status, 200);
    let mut eve = Person::new(&stack);
    let led = eve.follow("/app").await;
    let callback = eve.at_provider(&stack, &led).await;
    stack.server.take().expect("running").stop().await;
    for (person, target) in [(&mut Person::new(&stack), "/app"), (&mut eve, callback.as_str())] {
        let answer = person.follow(target).await;
        assert_eq!(verdict(&stack, &answer).await, (503, "provider_unavailable".into()));
        assert_eq!((answer.header("www-authenticate"), answer.header("retry-after")), (None, Some("5")));
    }
    assert_eq!(bob.follow("/app").await.status, 200);
    assert_eq!(bob.send_form(&stack, "/.symbolon/staff/sign-out").await.status, 303, "signing out needs nobody else");
    stack.start_server().await;
    let mut late = Person::new(&stack);
    assert_eq!(late.sign_in(&stack, "/app").await.status, 200);
}

/// What cannot be kept is not promised.
#[tokio::test]
async fn settings_that_would_not_hold_are_refused() {
    let refusal = async |gateway_changes: Vec<(String, String)>, from: &str, to: &str| {
        assert!(SESSIONS.contains(from), "{from}");
        let setup = Setup { gateway: SESSIONS.replace(from, to), gateway_changes, ..Setup::default() };
        let stack = setup.prepare("sqlite:symbolon.db".into()).await;
        symbolon(stack.dir.path(), &["config", "check", "gateway.toml"]).await.failed()
    };
    let gateway = |more: &str| vec![("issuer = \"{gateway}\"\n\n".to_owned(), format!("issuer = \"{{gateway}}\"\n{more}\n\n"))];
    let staff = "[gateway.sessions.staff]\nauthorization_server = \"test\"";
    for (changes, from, to, expected) in [
        (gateway("replicas = 2"), staff, staff, "`gateway.replicas`: is 2, and there are `gateway.sessions`"),
        (
            gateway("replicas = 2\naffinity = true\n\n[dpop]\nrequire_nonce = true"),
            staff,
            staff,
            "`gateway.sessions.staff.back_channel_logout`: is for a single gateway",
        ),
        (vec![], staff, "[gateway.sessions.staff]\nauthorization_server = \"none\"", "there is no `[authorization_server.none]`"),
        (vec![], "sessions = \"other\"", "sessions = \"none\"", "there is no `[gateway.sessions.none]`"),
        (vec![], "[gateway.sessions.other]", "[gateway.sessions.\"O ther\"]", "characters of `a-z`"),
        (vec![], "back_channel_logout = true", "lifetime_seconds = 604801", "must be 1 to 604800"),
        (vec![], "back_channel_logout = true", "lifetime_seconds = 60", "at most `lifetime_seconds`"),
        (
            vec![("client_id = \"gateway\"\n".into(), String::new()), ("revocation_feed = true\n".into(), String::new())],
            staff,
            staff,
            "`client_id` of the authorization server",
        ),
    ] {
        let said = refusal(changes, from, to).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let setup = Setup { gateway: SESSIONS.into(), ..Setup::default() };
    let stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let said = symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await.ok();
    for line in ["  sessions    `staff`, bound to the certificate", "  app: whoever has the cookie of a session of `staff`"] {
        assert!(said.contains(line), "{said}");
    }
}

/// The provider's own page leads back to the gateway that asked alone: what it sends elsewhere is no answer.
#[tokio::test]
async fn a_provider_leads_back_to_the_registered_place_alone() {
    let stack = with_sessions(&[], Setup::default()).await;
    let mut bob = Person::new(&stack);
    let led = bob.follow("/app").await;
    let location = led.header("location").expect("a location").to_owned();
    let target = location.strip_prefix(&stack.fill("{issuer}")).expect("the provider").to_owned();
    let answer = bob.provider.get(&target).await;
    let back = Returned::of(&go_on(&mut bob.provider, answer).await);
    assert_eq!(back.to, stack.fill("{gateway}/.symbolon/staff/callback"));
    // A pushed request is good once: another browser cannot go on with it.
    let answer = Person::new(&stack).provider.get(&target).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "request_uri_unknown"));
}
