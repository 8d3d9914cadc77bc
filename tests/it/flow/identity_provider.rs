//! People sign in at other OpenID Providers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AuthType, AuthorizationCode, ClientId, CsrfToken, HttpRequest, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    RedirectUrl, Scope, TokenResponse as _, TokenUrl,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::app::{App, PASSWORD, Returned, add_bob, go_on};
use crate::harness::browser::{Browser, field, fields};
use crate::harness::provider::{Federated, Led, place, press, seconds};
use crate::harness::totp::{Authenticator, second_factor};
use crate::harness::{Engine, Leaf, Setup, Stack, exchange, token};

/// 1. Bob links an account on his account page, having seen which one it is.
/// 2. He signs in with it for an application; nothing is said of how, since nobody says it.
/// 3. His data tell of it.
/// 4. He takes it away: other sessions end, and it is worth nothing.
async fn a_person_links_an_account_and_signs_in(engine: Engine) {
    let Some(federated) = Federated::start(engine, &[], "").await else { return };
    let stack = &federated.stack;

    // 1.
    let mut at_home = Browser::new(stack);
    assert_eq!(at_home.sign_in("bob", PASSWORD).await.status, 303);
    let trip = federated.leave_to_link(&mut at_home, "corp").await;
    assert_eq!((trip.get("response_type"), trip.get("client_id")), ("code", "symbolon"));
    assert_eq!(trip.get("redirect_uri"), stack.fill("{issuer}/sign-in/at/corp"));
    assert_eq!((trip.get("scope"), trip.get("code_challenge_method")), ("openid profile email", "S256"));
    federated.corp.say(&trip, "b-17", &json!({}));
    let page = federated.come_back(&mut at_home, "corp", &federated.good(&trip, "corp")).await;
    assert!(page.text().contains("Corp &amp; Co") && page.text().contains("b-17@corp.example"), "{}", page.text());
    // RFC 7636: the code was redeemed with what the challenge was made of.
    let bodies = federated.corp.publisher.bodies();
    let body: Vec<(String, String)> = url::form_urlencoded::parse(bodies[0].as_bytes()).into_owned().collect();
    let sent = |name: &str| body.iter().find(|(sent, _)| sent == name).map_or("", |(_, value)| value.as_str());
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(sent("code_verifier"))), trip.get("code_challenge"));
    assert_eq!((sent("code"), sent("client_id"), sent("client_secret")), ("c0de", "", ""), "the secret is in the header");
    assert_eq!(stack.count("SELECT COUNT(*) FROM linked_account").await, 0, "nothing is linked by a visit");
    let form = [("csrf", &*field(&page, "csrf")), ("account", &*field(&page, "account"))];
    let done = at_home.post("/account/linked/add", &form).await;
    assert_eq!(done.header("location"), Some("/account?done=linked"), "{}", done.text());
    let account = at_home.get("/account?done=linked").await;
    assert!(account.text().contains("b-17@corp.example") && account.text().contains("Add your account at Other"));
    let linked = stack.wait_for_event("server-audit.jsonl", "account_linked").await;
    assert_eq!((&linked["subject"], &linked["provider"]), (&json!(federated.bob), &json!("corp")));

    // 2.
    let (app, mut browser) = (App::alice(stack), Browser::new(stack));
    let led = browser.get(&app.url(&[])).await;
    let sign_in = led.header("location").expect("away").to_owned();
    let answer = federated.sign_in(&mut browser, &sign_in, "corp", "b-17").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    let tokens = app.redeem(stack, returned.get("code")).await.json();
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!(claims["sub"], json!(federated.bob));
    assert_eq!((&claims["amr"], &claims["acr"], &claims["auth_time"]), (&Value::Null, &Value::Null, &Value::Null));
    assert!(browser.cookies.iter().all(|(name, _)| !name.contains("symbolon-provider")), "{:?}", browser.cookies);
    let started = std::time::Instant::now();
    let by_corp = |event: &Value| event["event"] == "signed_in" && event["provider"] == "corp";
    while !stack.events("server-audit.jsonl").iter().any(by_corp) {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "the trail does not say at which provider");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    // 3.
    let csrf = field(&at_home.account().await, "csrf");
    let exported = at_home.post("/account/export", &[("csrf", &csrf)]).await.json();
    let expected =
        json!({ "provider": "Corp & Co", "issuer": federated.corp.issuer, "sub": "b-17", "title": "b-17@corp.example" });
    let mut told = exported["linked_accounts"][0].clone();
    assert!(told.as_object_mut().expect("an object").remove("added").is_some());
    assert_eq!(told, expected);

    // 4.
    let account = at_home.account().await;
    let link = account
        .text()
        .split_once("name=\"account\" value=\"")
        .expect("a button")
        .1
        .split('"')
        .next()
        .expect("a value")
        .to_owned();
    let form = [("csrf", &*field(&account, "csrf")), ("account", &*link)];
    let removed = at_home.post("/account/linked/remove", &form).await;
    assert_eq!(removed.header("location"), Some("/account?done=unlinked"), "{}", removed.text());
    assert!(at_home.is_signed_in().await && !browser.is_signed_in().await, "what it opened is closed");
    let ended = stack.wait_for_event("server-audit.jsonl", "session_ended").await;
    assert_eq!(ended["why"], "account_unlinked");
    let answer = federated.sign_in(&mut browser, "/sign-in", "corp", "b-17").await;
    assert_eq!(federated.verdict(&answer).await, (403, "linked_account_unknown".into()));
}

#[tokio::test]
async fn a_person_links_an_account_and_signs_in_on_sqlite() {
    a_person_links_an_account_and_signs_in(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_person_links_an_account_and_signs_in_on_postgres() {
    a_person_links_an_account_and_signs_in(Engine::Postgres).await;
}

/// What an application asks of a sign-in is asked of the provider, and held against what it says. What our ID token says is what was said
/// there, or what the operator says of it.
#[tokio::test]
async fn what_an_application_demands_is_demanded_there() {
    let federated = Federated::start(Engine::Sqlite, &[], "").await.expect("SQLite");
    let (stack, app) = (&federated.stack, App::alice(&federated.stack));
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    for (name, sub) in [("corp", "b-17"), ("other", "bob-there")] {
        assert_eq!(federated.link(&mut browser, name, sub).await.header("location"), Some("/account?done=linked"));
    }
    let now = seconds();
    for (asked, prompt, max_age, said, good) in [
        (&[("prompt", "login")][..], "login", "0", Value::Null, false),
        (&[("prompt", "login")], "login", "0", json!(now - 30), false),
        (&[("prompt", "login")], "login", "0", json!("now"), true),
        (&[("prompt", "select_account")], "select_account", "0", json!("now"), true),
        (&[("max_age", "60")], "", "60", Value::Null, false),
        (&[("max_age", "60")], "", "60", json!(now - 300), false),
        (&[("max_age", "60")], "", "60", json!(now - 20), true),
        (&[], "", "", json!(now - 300), true),
    ] {
        let mut person = Browser::new(stack);
        let led = person.get(&app.url(asked)).await;
        let sign_in = led.header("location").expect("away").to_owned();
        let trip = federated.leave(&mut person, &sign_in, "corp").await;
        assert_eq!((trip.get("prompt"), trip.get("max_age")), (prompt, max_age), "{asked:?}");
        let said = if said == json!("now") { json!(seconds()) } else { said };
        federated.corp.say(&trip, "b-17", &json!({ "auth_time": said, "amr": ["hwk", "mfa"], "acr": "gold" }));
        let answer = federated.come_back(&mut person, "corp", &federated.good(&trip, "corp")).await;
        if !good {
            assert_eq!(federated.verdict(&answer).await, (400, "provider_id_token".into()), "{asked:?} {said}");
            continue;
        }
        let returned = Returned::of(&go_on(&mut person, answer).await);
        let tokens = app.redeem(stack, returned.get("code")).await.json();
        let claims = token::claims(tokens["id_token"].as_str().expect("one"));
        let at = claims["auth_time"].as_u64().expect("a time");
        assert!(at == said.as_u64().expect("a time") || (at >= now && at <= seconds()), "{claims}");
        assert_eq!((&claims["amr"], &claims["acr"]), (&Value::Null, &Value::Null), "its word of methods does not count here");
    }
    // The other one's operator says how people prove themselves there.
    let mut person = Browser::new(stack);
    let led = person.get(&app.url(&[])).await;
    let sign_in = led.header("location").expect("away").to_owned();
    let answer = federated.sign_in(&mut person, &sign_in, "other", "bob-there").await;
    let returned = Returned::of(&go_on(&mut person, answer).await);
    let tokens = app.redeem(stack, returned.get("code")).await.json();
    let claims = token::claims(tokens["id_token"].as_str().expect("one"));
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "mfa"]), &json!("https://refeds.org/profile/mfa")));
    assert!(claims.get("auth_time").is_none(), "{claims}");
}

/// An account with two-step sign-in asks for the code after a sign-in elsewhere too, unless more than one factor was proven there; and what
/// asks for a sign-in of just now is not content with one that may be old.
#[tokio::test]
async fn two_step_sign_in_stays() {
    let federated = Federated::start(Engine::Sqlite, &[], "").await.expect("SQLite");
    let stack = &federated.stack;
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    for (name, sub) in [("corp", "b-17"), ("other", "bob-there")] {
        assert_eq!(federated.link(&mut browser, name, sub).await.status, 303);
    }
    let (authenticator, _) = Authenticator::set_up(&mut browser, PASSWORD).await;
    let mut person = Browser::new(stack);
    let asked = federated.sign_in(&mut person, "/sign-in", "corp", "b-17").await;
    assert_eq!(asked.status, 200, "{}", asked.text());
    assert!(!person.is_signed_in().await);
    let wrong = second_factor(&mut person, &asked, "000000").await;
    assert_eq!(federated.verdict(&wrong).await, (422, "second_factor_wrong".into()));
    assert_eq!(second_factor(&mut person, &asked, &authenticator.code(1)).await.status, 303);
    assert!(person.is_signed_in().await);
    let mut elsewhere = Browser::new(stack);
    assert_eq!(federated.sign_in(&mut elsewhere, "/sign-in", "other", "bob-there").await.status, 303);
    assert!(elsewhere.is_signed_in().await);
    // The provider did not say when: not of just now, until it does.
    let csrf = field(&elsewhere.account().await, "csrf");
    let led = elsewhere.post("/account/export", &[("csrf", &csrf)]).await;
    assert_eq!(led.header("location"), Some("/sign-in?again=yes"));
    assert_eq!(stack.reason_of(led.request_id()).await, "session_stale");
    let trip = federated.leave(&mut elsewhere, "/sign-in?again=yes", "other").await;
    assert_eq!((trip.get("prompt"), trip.get("max_age")), ("login", "0"));
    federated.other.say(&trip, "bob-there", &json!({ "auth_time": seconds() }));
    let back = federated.come_back(&mut elsewhere, "other", &federated.good(&trip, "other")).await;
    assert_eq!(back.header("location"), Some("/account"), "{}", back.text());
    let csrf = field(&elsewhere.account().await, "csrf");
    assert_eq!(elsewhere.post("/account/export", &[("csrf", &csrf)]).await.status, 200);
}

/// An application (a client library of somebody else) federates to us, and we to another provider: a second deployment.
///
/// 1. Bob, who has an account at each, links the two.
/// 2. The application sends him to us; he chooses the other provider, signs in there, and allows here.
/// 3. The library verifies our ID token; the access token opens the resource for the application's certificate alone.
/// 4. He signs out here: the session, and what hangs on it, is over. There he has a session of his own.
#[tokio::test]
async fn an_application_a_provider_and_another_provider() {
    let upstream = App::setup().start().await;
    add_bob(&upstream).await;
    let settings = upstream.fill(
        r#"
[outbound]
allow_ranges = ["127.0.0.0/8", "::1/128"]

[[identity_provider]]
name = "upstream"
label = "Upstream"
issuer = "{issuer}"
ca_file = "upstream-ca.pem"
client_id = "downstream"
client_auth = "tls_client_auth"
certificate_file = "downstream.pem"
key_file = "downstream-key.pem"
trust_amr = true
"#,
    );
    let setup = Setup { server: settings, ..App::setup() };
    let mut stack: Stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("upstream-ca.pem", &upstream.server_ca.pem)]).await;
    upstream.client_ca.issue(Leaf::client("downstream")).write(stack.dir.path());
    let redirect_uri = stack.fill("{issuer}/sign-in/at/upstream");
    upstream
        .register(&[App::metadata(
            "downstream",
            json!({ "redirect_uris": [redirect_uri], "resources": null, "scope": "openid profile email" }),
        )])
        .await;
    stack.start_server().await;
    stack.start_gateway().await;
    let subject = add_bob(&stack).await;
    let (mut here, mut there) = (Browser::new(&stack), Browser::new(&upstream));
    let at = |stack: &Stack, url: &str| url.strip_prefix(&stack.fill("{issuer}")).unwrap_or_else(|| panic!("{url}")).to_owned();

    // 1.
    assert_eq!(here.sign_in("bob", PASSWORD).await.status, 303);
    let account = here.account().await;
    let page = here.post("/account/linked", &[("csrf", &field(&account, "csrf")), ("provider", "upstream")]).await;
    // RFC 9126: the request was pushed over mutual TLS; the browser carries a reference alone.
    let led = place(&page);
    assert!(Led::of(&led).get("request_uri").starts_with("urn:ietf:params:oauth:request_uri:"), "{led}");
    let answer = there.get(&at(&upstream, &led)).await;
    let back = go_on(&mut there, answer).await.header("location").expect("back").to_owned();
    let page = here.get(&at(&stack, &back)).await;
    let form = [("csrf", &*field(&page, "csrf")), ("account", &*field(&page, "account"))];
    assert_eq!(here.post("/account/linked/add", &form).await.header("location"), Some("/account?done=linked"));
    let csrf = field(&here.account().await, "csrf");
    assert_eq!(here.post("/sign-out", &[("csrf", &csrf)]).await.status, 303);

    // 2.
    let app = App::alice(&stack);
    let caller = stack.caller(&stack.alice);
    let http = |request: HttpRequest| exchange(caller.clone(), request);
    let issuer = IssuerUrl::new(stack.fill("{issuer}")).expect("an issuer");
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.expect("discovery");
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new("alice".into()), None)
        .set_redirect_uri(RedirectUrl::new(app.redirect_uri.clone()).expect("a URL"))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::new(format!("https://{}/token", stack.mtls_authority)).expect("a URL"));
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scope(Scope::new("read".into()))
        .set_pkce_challenge(challenge)
        .set_max_age(std::time::Duration::from_secs(600))
        .url();
    let led = here.get(&at(&stack, url.as_str())).await;
    let sign_in = led.header("location").expect("to the sign-in page").to_owned();
    let led = press(&mut here, &sign_in, "upstream").await;
    let answer = there.get(&at(&upstream, led.header("location").expect("away"))).await;
    let back = go_on(&mut there, answer).await.header("location").expect("back").to_owned();
    let answer = here.get(&at(&stack, &back)).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let returned = Returned::of(&go_on(&mut here, answer).await);
    assert_eq!(returned.get("state"), state.secret());

    // 3.
    let code = AuthorizationCode::new(returned.get("code").to_owned());
    let tokens = client.exchange_code(code).set_pkce_verifier(verifier).request_async(&http).await.expect("tokens");
    let id_token = tokens.id_token().expect("an ID token");
    let claims = id_token.claims(&client.id_token_verifier(), &nonce).expect("a good ID token");
    assert_eq!(claims.subject().as_str(), subject);
    assert!(claims.auth_time().is_some(), "as the provider tells it");
    let amr: Vec<String> = claims.auth_method_refs().into_iter().flatten().map(|method| method.to_string()).collect();
    assert_eq!(amr, ["pwd"], "the provider's word");
    let access_token = tokens.access_token().secret();
    assert_eq!(token::claims(access_token)["cnf"]["x5t#S256"], stack.alice.thumbprint());
    assert_eq!(stack.at_gateway(&stack.alice, access_token).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, access_token).await.status, 401);

    // 4.
    let csrf = field(&here.account().await, "csrf");
    assert_eq!(here.post("/sign-out", &[("csrf", &csrf)]).await.status, 303);
    assert!(!here.is_signed_in().await && there.is_signed_in().await);
    let call = crate::harness::Call::get("/accounts").bearer(access_token);
    assert_eq!(stack.wait_at_gateway(&stack.alice, &call, 401).await.status, 401);
    assert!(fields(&here.get("/sign-in").await, "csrf").len() > 1, "the button is there again");
}

/// An account is made at the first sign-in where the configuration says so, of what is mapped and nothing else; it follows what the provider
/// tells of its person, and no account that is there already is touched by it.
async fn an_account_is_made_at_the_first_sign_in(engine: Engine) {
    let create = "name = \"corp\"\naccounts = \"create\"\ngroups_claim = \"roles\"\n";
    let group = "\n[[identity_provider.group]]\nthere = \"corp-it\"\nhere = \"it\"\n\n[[identity_provider]]\nname = \"other\"";
    let changes = [("name = \"corp\"\n", create), ("\n[[identity_provider]]\nname = \"other\"", group)];
    let Some(federated) = Federated::start(engine, &changes, "").await else { return };
    let (stack, corp) = (&federated.stack, &federated.corp);
    let come = async |sub: &str, said: Value| {
        let mut browser = Browser::new(stack);
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        corp.say(&trip, sub, &said);
        let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
        assert_eq!(answer.header("location"), Some("/account"), "{}", answer.text());
        browser
    };
    let mut claims = json!({
        "preferred_username": "Bob", "name": "Another Bob", "email": "bob@example.org", "email_verified": true,
        "roles": ["corp-it", "admin"], "phone_number": "+1 555",
    });
    let mut other_bob = come("b-99", claims.clone()).await;
    let account = other_bob.account().await.text();
    assert!(account.contains("Signed in as <strong>bob-2</strong>") && account.contains("Another Bob"), "{account}");
    assert!(account.contains("<dd>it</dd>") && !account.contains("admin") && !account.contains("555"), "{account}");
    assert_eq!(stack.count("SELECT COUNT(*) FROM account").await, 2);
    let mut bob = Browser::new(stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303, "his account is his");
    let account = bob.account().await.text();
    assert!(account.contains("Bob Builder") && account.contains("None yet."), "{account}");

    // The second time it is the same account, as it is told now.
    claims["roles"] = json!([]);
    claims["name"] = json!("Robert");
    claims["preferred_username"] = json!("robert");
    let mut again = come("b-99", claims).await;
    let account = again.account().await.text();
    assert!(account.contains("Signed in as <strong>bob-2</strong>") && account.contains("Robert"), "{account}");
    assert!(!account.contains("<dd>it</dd>"), "a group that is gone there is gone here");
    assert_eq!(stack.count("SELECT COUNT(*) FROM account").await, 2);

    // An account that was linked keeps what is known of it.
    let mut bob = Browser::new(stack);
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    assert_eq!(federated.link(&mut bob, "corp", "b-17").await.status, 303);
    let mut linked = come("b-17", json!({ "name": "Nobody", "preferred_username": "x", "roles": ["corp-it"] })).await;
    let account = linked.account().await.text();
    assert!(account.contains("Bob Builder") && account.contains("<dd>staff</dd>"), "{account}");

    // Of several first sign-ins at once one makes the account.
    let mut trips = Vec::new();
    for _ in 0..4 {
        let mut browser = Browser::new(stack);
        let trip = federated.leave(&mut browser, "/sign-in", "corp").await;
        trips.push((browser, trip));
    }
    let mut signed_in = 0;
    for (mut browser, trip) in trips {
        corp.say(&trip, "c-1", &json!({ "preferred_username": "carol", "name": "Carol", "roles": [] }));
        let answer = federated.come_back(&mut browser, "corp", &federated.good(&trip, "corp")).await;
        signed_in += usize::from(answer.status == 303);
    }
    assert_eq!(signed_in, 4);
    assert_eq!(stack.count("SELECT COUNT(*) FROM account").await, 3);

    // An operator takes a link away, also the last one.
    let of_other_bob = async || {
        let said = crate::harness::command::symbolon(stack.dir.path(), &["user", "show", "bob-2"]).await.ok();
        serde_json::from_str::<Value>(&said).expect("JSON")["linked_accounts"].clone()
    };
    let links = of_other_bob().await;
    assert_eq!((&links[0]["provider"], &links[0]["sub"]), (&json!("corp"), &json!("b-99")));
    let link = links[0]["link"].as_str().expect("a name").to_owned();
    let unlink = ["user", "unlink-account", "bob-2", &link];
    crate::harness::command::symbolon(stack.dir.path(), &unlink).await.ok();
    assert_eq!(of_other_bob().await, json!([]));
    assert!(!again.is_signed_in().await, "the sessions ended");
    crate::harness::command::symbolon(stack.dir.path(), &unlink).await.failed();

    // Who is kept out is not let in by a new account.
    crate::harness::command::symbolon(stack.dir.path(), &["user", "disable", "carol"]).await.ok();
    let mut carol = Browser::new(stack);
    // What is not in the ID token is asked of userinfo.
    corp.publish("/userinfo", &json!({ "sub": "c-1", "preferred_username": "carol", "name": "Carol" }));
    let answer = federated.sign_in(&mut carol, "/sign-in", "corp", "c-1").await;
    assert_eq!(federated.verdict(&answer).await, (403, "account_disabled".into()));
    // The other provider makes none.
    let answer = federated.sign_in(&mut carol, "/sign-in", "other", "c-1").await;
    assert_eq!(federated.verdict(&answer).await, (403, "linked_account_unknown".into()));
    assert_eq!(stack.count("SELECT COUNT(*) FROM account").await, 3);
}

#[tokio::test]
async fn an_account_is_made_at_the_first_sign_in_on_sqlite() {
    an_account_is_made_at_the_first_sign_in(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_account_is_made_at_the_first_sign_in_on_postgres() {
    an_account_is_made_at_the_first_sign_in(Engine::Postgres).await;
}

/// `symbolon config check` names what is wrong, and nothing is fetched by it.
#[tokio::test]
async fn mistakes_are_named() {
    let stack = Setup::default().prepare("sqlite:symbolon.db".into()).await;
    crate::harness::authority::write_private(&stack.path("secret"), "a-secret");
    let good = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let provider = "[[identity_provider]]\nname = \"corp\"\nlabel = \"Corp\"\nissuer = \"https://corp.example\"\nclient_id = \"symbolon\"\n\
                    ca_file = \"public\"\nclient_secret_file = \"secret\"\n";
    let check = async |text: &str| {
        std::fs::write(stack.server_config(), format!("{good}\n{text}")).expect("written");
        crate::harness::command::symbolon(stack.dir.path(), &["config", "check"]).await
    };
    check(provider).await.ok();
    check(&provider.replace(
        "client_secret_file = \"secret\"",
        "client_auth = \"tls_client_auth\"\ncertificate_file = \"alice.pem\"\nkey_file = \"alice-key.pem\"",
    ))
    .await
    .ok();
    for (from, to, problem) in [
        ("ca_file = \"public\"\n", "", "needs `ca_file`"),
        ("\"public\"", "\"Public\"", "Public"),
        ("\"corp\"", "\"Corp\"", "`name` must have 1 to 32 characters"),
        ("\"Corp\"", "\" \"", "`label` must have 1 to 60 characters"),
        ("https://corp", "http://corp", "`issuer` = \"http://corp.example\""),
        ("https://corp.example", stack.fill("{issuer}").as_str(), "`issuer` is this server itself"),
        ("\"symbolon\"", "\"\"", "`client_id`"),
        ("client_secret_file = \"secret\"\n", "", "`client_secret_file`: is missing"),
        ("\"secret\"", "\"no-such-file\"", "no-such-file"),
        ("client_secret_file", "client_auth = \"private_key_jwt\"\nclient_secret_file", "`client_secret_file`: is not used"),
        ("client_secret_file = \"secret\"", "client_auth = \"tls_client_auth\"", "`certificate_file` and `key_file` are missing"),
        ("client_secret_file", "algorithms = [\"HS256\"]\nclient_secret_file", "`algorithms`"),
        ("client_secret_file", "algorithms = []\nclient_secret_file", "`algorithms` is empty"),
        ("client_secret_file", "scopes = [\"offline_access\"]\nclient_secret_file", "no token of the provider is kept"),
        ("client_secret_file", "amr = [\"face\"]\nclient_secret_file", "`face` is no method"),
        ("client_secret_file", "leeway_seconds = 121\nclient_secret_file", "`leeway_seconds` must be at most 120"),
        ("client_secret_file", "key_file = \"alice-key.pem\"\nclient_secret_file", "`certificate_file` is missing"),
        ("client_secret_file", "groups_claim = \"roles\"\nclient_secret_file", "`groups_claim` and `group` belong together"),
        ("[[identity", &format!("{provider}[[identity"), "there are two of the name `corp`"),
        (
            "client_secret_file = \"secret\"\n",
            "client_secret_file = \"secret\"\naccounts = \"create\"\n[certificate_sign_in]\nurl = \"https://people.example\"\n\
             anchor_set = \"clients\"\nname_field = \"CN\"\n",
            "`name_field` beside `accounts = \"create\"` of identity provider `corp`",
        ),
    ] {
        assert!(provider.contains(from), "{from}");
        let said = check(&provider.replacen(from, to, 1)).await.failed();
        assert!(said.contains(problem), "{problem}: {said}");
    }
}
