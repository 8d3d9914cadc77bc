//! What certification of OpenID Providers looks at, in its own words: one client that registered itself, with a secret, bearer tokens and
//! without PKCE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::oidc_core::id_token_claims;
use crate::harness::app::{Returned, add_bob, fill_in_sign_in, go_on, url_of};
use crate::harness::browser::Browser;
use crate::harness::command::symbolon;
use crate::harness::{Answer, Call, Setup, Stack};

const CALLBACK: &str = "https://rp.example/callback?dummy=1";

struct Party {
    stack: Stack,
    client: Value,
}

impl Party {
    async fn start(more: Value) -> Self {
        let server = "[registration]\nmode = \"open\"\n".to_owned();
        let stack = Setup { without_gateway: true, server, ..Setup::default() }.start().await;
        add_bob(&stack).await;
        let mut asked = json!({ "redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"] });
        asked.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let call = Call::new("POST", "/register").header("Content-Type", "application/json").body(asked.to_string());
        let answer = stack.nobody().send(&stack.issuer_authority, &call).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        Self { client: answer.json(), stack }
    }

    fn text(&self, name: &str) -> &str {
        self.client[name].as_str().unwrap_or_else(|| panic!("no {name}"))
    }

    async fn send(&self, call: Call) -> Answer {
        self.stack.nobody().send(&self.stack.issuer_authority, &call).await
    }

    fn url(&self, more: &[(&str, &str)]) -> String {
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.text("client_id")),
            ("redirect_uri", CALLBACK),
            ("scope", "openid"),
            ("state", "af0ifjsldkj"),
        ];
        for (name, value) in more {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, value));
        }
        let parameters: Vec<_> = parameters.iter().filter(|(_, value)| !value.is_empty()).collect();
        url_of(&parameters.into_iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    async fn authorize(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Returned {
        let answer = browser.get(&self.url(more)).await;
        Returned::of(&go_on(browser, answer).await)
    }

    fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.text("client_id"), self.text("client_secret"))))
    }

    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.send(Call::form("/token", form).header("Authorization", &self.basic())).await
    }

    async fn redeem(&self, code: &str) -> Answer {
        self.token(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)]).await
    }

    async fn tokens(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Value {
        let returned = self.authorize(browser, more).await;
        assert_eq!((returned.to.as_str(), returned.get("dummy")), ("https://rp.example/callback", "1"));
        let answer = self.redeem(returned.get("code")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// §5.4: every claim that `profile`, `email`, `address` and `phone` mean is told at the userinfo endpoint, in each way to present the token.
#[tokio::test]
async fn every_standard_claim_is_told() {
    let party = Party::start(json!({})).await;
    let profile = [
        "user",
        "change",
        "bob",
        "--given-name",
        "Bob",
        "--family-name",
        "Builder",
        "--middle-name",
        "B.",
        "--nickname",
        "bobby",
        "--profile",
        "https://bob.example/about",
        "--picture",
        "https://bob.example/me.png",
        "--website",
        "https://bob.example/",
        "--gender",
        "male",
        "--birthdate",
        "1970-01-01",
        "--zoneinfo",
        "Europe/Vienna",
        "--locale",
        "de-AT",
        "--phone-number",
        "+43 1 5550100",
        "--street-address",
        "Ring 1",
        "--locality",
        "Wien",
        "--postal-code",
        "1010",
        "--country",
        "Austria",
    ];
    symbolon(party.stack.dir.path(), &profile).await.ok();
    let mut browser = Browser::new(&party.stack);
    let tokens = party.tokens(&mut browser, &[("scope", "openid profile email address phone")]).await;
    let access_token = text(&tokens, "access_token");
    assert_eq!(tokens["token_type"], "Bearer");
    let by_get = party.send(Call::get("/userinfo").bearer(access_token)).await;
    let by_post = party.send(Call::new("POST", "/userinfo").bearer(access_token)).await;
    let by_body = party.send(Call::form("/userinfo", &[("access_token", access_token)])).await;
    for answer in [by_get, by_post, by_body] {
        let told = answer.json();
        for name in [
            "sub",
            "name",
            "given_name",
            "family_name",
            "middle_name",
            "nickname",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
            "preferred_username",
            "email",
            "email_verified",
            "address",
            "phone_number",
            "phone_number_verified",
        ] {
            assert!(told.get(name).is_some(), "{name}: {told}");
        }
        assert_eq!((&told["birthdate"], &told["address"]["locality"]), (&json!("1970-01-01"), &json!("Wien")));
        assert_eq!((&told["phone_number_verified"], told["updated_at"].is_i64()), (&json!(false), true));
    }
}

/// §3.1.2.1: what changes nothing is passed over; without `nonce` there is none; `acr_values` is a wish.
#[tokio::test]
async fn what_is_not_understood_changes_nothing() {
    let party = Party::start(json!({})).await;
    let mut browser = Browser::new(&party.stack);
    for more in [
        ("display", "page"),
        ("display", "popup"),
        ("ui_locales", "se de"),
        ("claims_locales", "se"),
        ("acr_values", "1 2"),
        ("login_hint", "bob@example.org"),
        ("extra", "foobar"),
        ("max_age", "10000"),
        ("scope", "email openid something_else"),
        ("claims", r#"{"userinfo":{"name":{"essential":true}}}"#),
    ] {
        let tokens = party.tokens(&mut browser, &[more]).await;
        let claims = id_token_claims(&party.stack, text(&tokens, "id_token")).await;
        assert_eq!((claims.get("nonce"), claims["auth_time"].is_i64()), (None, true), "{more:?}");
        if more.0 == "claims" {
            let answer = party.send(Call::get("/userinfo").bearer(text(&tokens, "access_token"))).await;
            assert_eq!(answer.json()["name"], "Bob Builder");
        }
    }
    // By POST from elsewhere.
    let url = party.url(&[]);
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(url.split_once('?').expect("a query").1.as_bytes()).into_owned().collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = browser.post("/authorize", &pairs).await;
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
    // PKCE is taken where it comes.
    let challenge = ("code_challenge", crate::harness::app::CHALLENGE);
    let returned = party.authorize(&mut browser, &[challenge, ("code_challenge_method", "S256")]).await;
    let answer = party.redeem(returned.get("code")).await;
    assert_eq!(answer.error(), "invalid_grant", "the verifier is missing");
}

/// `prompt=login`, `max_age=1`, `id_token_hint` with `prompt=none`.
#[tokio::test]
async fn a_sign_in_is_as_fresh_as_the_request_wants() {
    let party = Party::start(json!({})).await;
    let mut browser = Browser::new(&party.stack);
    assert_eq!(party.authorize(&mut Browser::new(&party.stack), &[("prompt", "none")]).await.get("error"), "login_required");
    let first = party.tokens(&mut browser, &[]).await;
    let before = id_token_claims(&party.stack, text(&first, "id_token")).await;
    let hint = text(&first, "id_token").to_owned();
    let again = party.tokens(&mut browser, &[("prompt", "none"), ("id_token_hint", &hint)]).await;
    let same = id_token_claims(&party.stack, text(&again, "id_token")).await;
    assert_eq!((&same["sub"], &same["auth_time"]), (&before["sub"], &before["auth_time"]));
    for (more, wait) in [(("prompt", "login"), 0), (("max_age", "1"), 2_100), (("prompt", "login"), 1_100)] {
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        let location = browser.get(&party.url(&[more])).await.header("location").expect("to the sign-in").to_owned();
        assert!(location.starts_with("/sign-in?"), "{more:?}");
        let page = browser.get(&location).await;
        let answer = fill_in_sign_in(&mut browser, &page).await;
        let returned = Returned::of(&go_on(&mut browser, answer).await);
        let tokens = party.redeem(returned.get("code")).await.json();
        let after = id_token_claims(&party.stack, text(&tokens, "id_token")).await;
        // `auth_time` counts in seconds.
        let later = after["auth_time"].as_i64() > before["auth_time"].as_i64();
        assert!((later || wait == 0) && after["sub"] == before["sub"], "{more:?}");
    }
}

/// RFC 6749 §4.1.2: a code that comes again "MUST deny the request and SHOULD revoke"; §3.1.2.4: an unregistered redirect URI is told on a
/// page, also with another query; a missing `response_type` goes back to the client.
#[tokio::test]
async fn what_is_wrong_is_refused_where_it_must_be() {
    let party = Party::start(json!({})).await;
    let mut browser = Browser::new(&party.stack);
    let returned = party.authorize(&mut browser, &[]).await;
    let access_token = text(&party.redeem(returned.get("code")).await.json(), "access_token").to_owned();
    assert_eq!(party.send(Call::get("/userinfo").bearer(&access_token)).await.status, 200);
    let answer = party.redeem(returned.get("code")).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
    assert_eq!(party.send(Call::get("/userinfo").bearer(&access_token)).await.status, 401, "what came of it is revoked");
    for uri in [
        "",
        "https://rp.example/callback",
        "https://rp.example/callback?dummy=2",
        "https://rp.example/callback?dummy=1&x=y",
        "https://rp.example/other",
    ] {
        let answer = browser.get(&party.url(&[("redirect_uri", uri)])).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{uri}");
    }
    for (more, error) in
        [(("response_type", ""), "invalid_request"), (("response_type", "id_token"), "unsupported_response_type")]
    {
        let returned = Returned::of(&browser.get(&party.url(&[more])).await);
        assert_eq!((returned.get("error"), returned.get("state")), (error, "af0ifjsldkj"), "{more:?}");
    }
}

/// §11, §12: a refresh token for `offline_access`, which is its client's alone; the keys rotate while the session lasts, and what was
/// signed before is verified after.
#[tokio::test]
async fn refresh_tokens_and_keys_live_on() {
    let party = Party::start(json!({ "token_endpoint_auth_method": "client_secret_basic" })).await;
    let mut browser = Browser::new(&party.stack);
    let tokens = party.tokens(&mut browser, &[("scope", "openid offline_access"), ("prompt", "consent")]).await;
    let (first, refresh_token) = (text(&tokens, "id_token").to_owned(), text(&tokens, "refresh_token").to_owned());
    let rotated = symbolon(party.stack.dir.path(), &["keys", "rotate", "--algorithm", "RS256", "--now"]).await;
    rotated.ok();
    let refreshed = async || {
        let answer = party.token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh_token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        text(&answer.json(), "id_token").to_owned()
    };
    let kid = |id_token: &str| crate::harness::token::header(id_token)["kid"].clone();
    let mut second = refreshed().await;
    for _ in 0..100 {
        if kid(&second) != kid(&first) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        second = refreshed().await;
    }
    assert_ne!(kid(&second), kid(&first), "another key signs now");
    let (before, after) = (id_token_claims(&party.stack, &first).await, id_token_claims(&party.stack, &second).await);
    assert_eq!((&before["sub"], &before["auth_time"]), (&after["sub"], &after["auth_time"]));
    assert!(!party.authorize(&mut browser, &[("prompt", "none"), ("id_token_hint", &first)]).await.get("code").is_empty());
}
