//! RFC 6238: one-time passwords by time, as the second factor of people. The vectors stand beside the code.

use serde_json::{Value, json};

use crate::harness::app::{PASSWORD, Returned, add_bob, go_on};
use crate::harness::browser::{Browser, field};
use crate::harness::command::symbolon;
use crate::harness::totp::{Authenticator, first_factor, second_factor};
use crate::harness::{App, Engine, Setup, token};

const SINGLE: &str = "https://refeds.org/profile/sfa";
const MULTI: &str = "https://refeds.org/profile/mfa";

async fn id_token(app: &App, stack: &crate::harness::Stack, browser: &mut Browser, more: &[(&str, &str)]) -> Value {
    token::claims(app.tokens(stack, browser, more).await["id_token"].as_str().expect("one"))
}

/// 1. With the password alone: `amr` pwd, `acr` single factor.
/// 2. The person sets an authenticator up; the session goes on with both factors, the others end.
/// 3. A sign-in asks for the code after the password, and is worth nothing before: `amr` pwd, otp, mfa (RFC 8176 §2).
/// 4. A recovery code does in its place, once. An operator, or the person, takes the second factor away.
async fn a_second_factor_is_set_up_and_asked_for(engine: Engine) {
    let Some(stack) = (Setup { engine, without_gateway: true, ..App::setup() }).try_start().await else { return };
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let (mut browser, mut other) = (Browser::new(&stack), Browser::new(&stack));
    for browser in [&mut browser, &mut other] {
        assert_eq!(browser.sign_in("bob", PASSWORD).await.status, 303);
    }
    let claims = id_token(&app, &stack, &mut browser, &[]).await;
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd"]), &json!(SINGLE)));

    let (authenticator, recovery) = Authenticator::set_up(&mut browser, PASSWORD).await;
    assert_eq!(recovery.len(), 10);
    assert!(browser.account().await.text().contains("You have 10 recovery codes left"));
    assert!(!other.is_signed_in().await, "what began without it has ended");
    let claims = id_token(&app, &stack, &mut browser, &[]).await;
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "otp", "mfa"]), &json!(MULTI)));

    let page = first_factor(&mut other, "bob", PASSWORD).await;
    assert!(!other.is_signed_in().await, "half a sign-in is none");
    let done = second_factor(&mut other, &page, &authenticator.code(1)).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/account")));
    let claims = id_token(&app, &stack, &mut other, &[]).await;
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "otp", "mfa"]), &json!(MULTI)));
    let signed_in = stack.events("server-audit.jsonl");
    assert!(signed_in.iter().any(|event| event["event"] == "signed_in" && event["amr"] == json!(["pwd", "otp", "mfa"])));

    let mut lost = Browser::new(&stack);
    let page = first_factor(&mut lost, "bob", PASSWORD).await;
    assert_eq!(second_factor(&mut lost, &page, &recovery[3].to_lowercase()).await.status, 303);
    assert!(lost.account().await.text().contains("You have 9 recovery codes left"));
    let mut again = Browser::new(&stack);
    let page = first_factor(&mut again, "bob", PASSWORD).await;
    let refused = second_factor(&mut again, &page, &recovery[3]).await;
    assert_eq!((refused.status, &*stack.reason_of(refused.request_id()).await), (422, "second_factor_wrong"));

    // The person takes it away, proving both; then the password is enough again.
    let account = lost.account().await;
    let csrf = field(&account, "csrf");
    let form = [("csrf", &*csrf), ("current_password", PASSWORD), ("code", "000000")];
    assert_eq!(lost.post("/account/totp/remove", &form).await.status, 422);
    let form = [("csrf", &*csrf), ("current_password", PASSWORD), ("code", &*recovery[0])];
    assert_eq!(lost.post("/account/totp/remove", &form).await.header("location"), Some("/account?done=totp"));
    assert_eq!(again.sign_in("bob", PASSWORD).await.status, 303);
    let (_, _) = Authenticator::set_up(&mut again, PASSWORD).await;
    symbolon(stack.dir.path(), &["user", "remove-second-factor", "bob"]).await.ok();
    assert_eq!(Browser::new(&stack).sign_in("bob", PASSWORD).await.status, 303);
    for event in ["second_factor_added", "recovery_code_used", "second_factor_removed"] {
        stack.wait_for_event("server-audit.jsonl", event).await;
    }
}

#[tokio::test]
async fn a_second_factor_is_set_up_and_asked_for_on_sqlite() {
    a_second_factor_is_set_up_and_asked_for(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_second_factor_is_set_up_and_asked_for_on_postgres() {
    a_second_factor_is_set_up_and_asked_for(Engine::Postgres).await;
}

/// OpenID Connect Core §3.1.2.1: `acr_values`, "in order of preference": whoever signed in with less signs in again; it is a wish, so that
/// whoever cannot do better goes on. §5.5.1.1: an essential `acr` is not. Registration §2: `default_acr_values`.
#[tokio::test]
async fn a_request_can_ask_for_more_than_was_proven() {
    let clients = vec![App::metadata("alice", json!({})), App::metadata("mallory", json!({ "default_acr_values": [MULTI] }))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let (app, wishing) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    // Consent is given once.
    app.code(&mut browser, &[]).await;
    wishing.code(&mut browser, &[]).await;
    let essential = format!(r#"{{"id_token":{{"acr":{{"essential":true,"values":["{MULTI}"]}}}}}}"#);
    let leads = async |browser: &mut Browser, app: &App, more: &[(&str, &str)]| {
        let answer = browser.get(&app.url(more)).await;
        answer.header("location").expect("a location").split(['?', '#']).next().unwrap_or_default().to_owned()
    };
    let cases: [(&App, &[(&str, &str)], &str); 6] = [
        (&app, &[], "https://alice.example/cb"),
        (&app, &[("acr_values", "urn:unknown")], "https://alice.example/cb"),
        (&app, &[("acr_values", &format!("{MULTI} {SINGLE}"))], "https://alice.example/cb"),
        (&app, &[("acr_values", MULTI)], "/sign-in"),
        (&app, &[("claims", &essential)], "/sign-in"),
        (&wishing, &[], "/sign-in"),
    ];
    for (app, more, place) in cases {
        assert_eq!(leads(&mut browser, app, more).await, place, "{} {more:?}", app.client_id());
    }
    // Silent: a wish is passed over, a demand is not met.
    let answer = browser.get(&app.url(&[("acr_values", MULTI), ("prompt", "none")])).await;
    assert!(!Returned::of(&answer).get("code").is_empty());
    let answer = browser.get(&app.url(&[("claims", &essential), ("prompt", "none")])).await;
    assert_eq!(Returned::of(&answer).get("error"), "unmet_authentication_requirements");
    // Signed in again with the password alone: there is no better, and the demand is not met.
    let answer = browser.get(&app.url(&[("acr_values", MULTI)])).await;
    assert!(!Returned::of(&go_on(&mut browser, answer).await).get("code").is_empty());
    let answer = browser.get(&app.url(&[("claims", &essential)])).await;
    assert_eq!(Returned::of(&go_on(&mut browser, answer).await).get("error"), "unmet_authentication_requirements");

    // With a second factor all of it is met, and a client that asked for less is told less.
    Authenticator::set_up(&mut browser, PASSWORD).await;
    for (app, more, _) in cases {
        // A claim that was never asked for before is consented to.
        let answer = browser.get(&app.url(more)).await;
        let returned = Returned::of(&go_on(&mut browser, answer).await);
        assert!(!returned.get("code").is_empty(), "{more:?}: {returned:?}");
    }
    let claims = id_token(&app, &stack, &mut browser, &[("acr_values", SINGLE)]).await;
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!(SINGLE), &json!(["pwd", "otp", "mfa"])));
    let claims = id_token(&app, &stack, &mut browser, &[("claims", &essential)]).await;
    assert_eq!(claims["acr"], MULTI);
}
