//! RFC 6749 §3.1, §4.1, §6: the authorization endpoint, codes and refresh tokens.

use serde_json::json;

use crate::harness::app::{Returned, add_bob, decide, go_on, posted, url_of};
use crate::harness::browser::Browser;
use crate::harness::{App, Engine, Setup, token};

/// §4.1: (A) to (E). §4.1.2: "state REQUIRED if the `state` parameter was present"; §5.1: `no-store`; §4.1.4: the token.
async fn a_code_becomes_a_token(engine: Engine) {
    let Some(stack) = (Setup { engine, ..App::setup() }).try_start().await else { return };
    let subject = add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);

    let answer = browser.get(&app.url(&[])).await;
    assert_eq!((answer.status, answer.header("cache-control")), (303, Some("no-store")));
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/sign-in?interaction=")));
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!(returned.to, "https://alice.example/cb");
    assert_eq!(returned.get("state"), "af0ifjsldkj");
    let names: Vec<&str> = returned.parameters.keys().map(String::as_str).collect();
    assert_eq!(names, ["code", "iss", "state"]);

    let answer = app.redeem(&stack, returned.get("code")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let body = answer.json();
    let access_token = body["access_token"].as_str().expect("a token");
    let claims = token::claims(access_token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(subject), &json!("alice")));
    assert_eq!(claims["cnf"]["x5t#S256"], stack.alice.thumbprint());
    assert_eq!(stack.at_gateway(&stack.alice, access_token).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, access_token).await.status, 401);

    // The second time nothing is asked: bob is signed in and has allowed this.
    let answer = browser.get(&app.url(&[])).await;
    assert_eq!(Returned::of(&answer).to, "https://alice.example/cb");
    let event = stack.event_of(answer.request_id()).await;
    assert_eq!((&event["event"], &event["subject"]), (&json!("authorization_granted"), &json!(subject)));
}

#[tokio::test]
async fn a_code_becomes_a_token_on_sqlite() {
    a_code_becomes_a_token(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_code_becomes_a_token_on_postgres() {
    a_code_becomes_a_token(Engine::Postgres).await;
}

/// §4.1.2.1: "If the request fails due to a missing, invalid, or mismatching redirection URI, or if the client identifier is missing or
/// invalid, the authorization server SHOULD inform the resource owner of the error and MUST NOT automatically redirect the user-agent
/// to the invalid redirection URI." §3.1: "Request and response parameters MUST NOT be included more than once."
#[tokio::test]
async fn what_cannot_be_sent_safely_is_a_page() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let table = [
        (app.url(&[("client_id", "")]), "parameter_absent"),
        (app.url(&[("client_id", "nobody")]), "client_unknown"),
        (app.url(&[("client_id", "gateway")]), "grant_not_allowed"),
        (app.url(&[("redirect_uri", "https://evil.example/cb")]), "redirect_uri_mismatch"),
        (app.url(&[("redirect_uri", "https://alice.example/cb/../evil")]), "redirect_uri_mismatch"),
        (app.url(&[("redirect_uri", "https://alice.example/cb?x=1")]), "redirect_uri_mismatch"),
        (app.url(&[("redirect_uri", "")]), "redirect_uri_absent"),
        (app.url(&[("response_mode", "web_message")]), "response_mode_unsupported"),
        (format!("{}&state=again", app.url(&[])), "parameter_duplicate"),
        (format!("{}&redirect_uri=https%3A%2F%2Fevil.example", app.url(&[])), "parameter_duplicate"),
    ];
    for (url, reason) in table {
        let answer = browser.get(&url).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{url}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{url}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(answer.text().contains(&answer.request_id()), "the page names the request");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{url}");
    }
    assert_eq!(browser.get(&app.url(&[])).await.status, 303);
}

/// §4.1.2.1: "the authorization server informs the client by adding the following parameters to the query component of the redirection
/// URI": error, error_description, state.
#[tokio::test]
async fn every_other_error_goes_back_to_the_client() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let table: [(&[(&str, &str)], &str, &str); 7] = [
        (&[("response_type", "token")], "unsupported_response_type", "response_type_unsupported"),
        (&[("response_type", "code id_token")], "unsupported_response_type", "response_type_unsupported"),
        (&[("response_type", "")], "invalid_request", "parameter_absent"),
        (&[("scope", "openid admin")], "invalid_scope", "scope_not_allowed"),
        (&[("resource", "https://other.example")], "invalid_target", "resource_not_allowed"),
        (&[("request_uri", "https://alice.example/r")], "request_uri_not_supported", "request_unsupported"),
        (&[("max_age", "soon")], "invalid_request", "parameter_malformed"),
    ];
    for (more, error, reason) in table {
        let answer = browser.get(&app.url(more)).await;
        let returned = Returned::of(&answer);
        assert_eq!((returned.to.as_str(), returned.get("error")), ("https://alice.example/cb", error), "{more:?}");
        assert_eq!(returned.get("state"), "af0ifjsldkj");
        assert_eq!(stack.reason_of(answer.request_id()).await, reason, "{more:?}");
    }
}

/// §3.1: "The authorization server MUST support the use of the HTTP `GET` method for the authorization endpoint and MAY support the use
/// of the `POST` method as well." A POST from elsewhere comes without cookies: it is kept, and asked for again.
#[tokio::test]
async fn a_posted_request_is_taken_up_again_with_the_browsers_cookies() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    app.code(&mut browser, &[]).await;
    // As a browser does it: without those cookies, and keeping what comes back.
    let signed_in = std::mem::take(&mut browser.cookies);
    let answer = browser.send(posted(&app.request(&[]))).await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/authorize/resume?interaction=")));
    browser.cookies.extend(signed_in);
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert!(!returned.get("code").is_empty(), "bob was signed in all the time");
}

/// §4.1.2.1 `access_denied`: "The resource owner or authorization server denied the request."; the back button and a second click find
/// nothing any more.
#[tokio::test]
async fn a_person_may_say_no_and_says_it_once() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    assert_eq!(browser.sign_in("bob", crate::harness::app::PASSWORD).await.status, 303);
    let answer = browser.get(&app.url(&[])).await;
    let location = answer.header("location").expect("to the consent").to_owned();
    let page = browser.get(&location).await;
    for told in ["App of alice", "alice.example", "Bob Builder", "read"] {
        assert!(page.text().contains(told), "{told}: {}", page.text());
    }
    let kept = browser.clone();
    let returned = Returned::of(&decide(&mut browser, &page, "deny").await);
    assert_eq!((returned.get("error"), returned.get("state")), ("access_denied", "af0ifjsldkj"));
    // Back, and allow after all: over.
    let mut again = kept;
    let answer = decide(&mut again, &page, "allow").await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (400, "interaction_unknown"));
}

/// §4.1.3: "ensure that the authorization code was issued to the authenticated confidential client", "verify that the authorization code
/// is valid", "ensure that the `redirect_uri` parameter is present if the `redirect_uri` parameter was included in the initial
/// authorization request, and ... that their values are identical"; §5.2 `invalid_grant`.
#[tokio::test]
async fn a_code_is_its_clients_with_its_redirect_uri() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    let verifier = ("code_verifier", crate::harness::app::VERIFIER);
    let grant = ("grant_type", "authorization_code");
    let cases: [(&[(&str, &str)], &str, &str); 4] = [
        (&[grant, verifier], "invalid_grant", "redirect_uri_absent"),
        (&[grant, verifier, ("redirect_uri", "https://alice.example/other")], "invalid_grant", "redirect_uri_mismatch"),
        (&[grant, ("redirect_uri", "https://alice.example/cb")], "invalid_grant", "pkce_mismatch"),
        (
            &[grant, verifier, ("code", "sy_ac_nothing"), ("redirect_uri", "https://alice.example/cb")],
            "invalid_grant",
            "code_unknown",
        ),
    ];
    for (form, error, reason) in cases {
        let code = app.code(&mut browser, &[]).await;
        let mut form = form.to_vec();
        if !form.iter().any(|(name, _)| *name == "code") {
            form.push(("code", &code));
        }
        let answer = app.token(&stack, &form).await;
        assert_eq!(stack.verdict(&answer).await, (400, error.to_owned(), reason.to_owned()), "{form:?}");
    }
    let code = app.code(&mut browser, &[]).await;
    let answer = other.token(&stack, &[grant, verifier, ("code", &code), ("redirect_uri", "https://alice.example/cb")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "code_foreign".to_owned()));
    let answer = app.token(&stack, &[grant]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "parameter_absent".to_owned()));
    assert_eq!(app.redeem(&stack, &code).await.status, 200, "mallory's try did not spend it");
}

/// §6: "The authorization server MUST verify the binding between the refresh token and client identity"; "The requested scope MUST NOT
/// include any scope not originally granted by the resource owner".
#[tokio::test]
async fn a_refresh_token_is_its_clients() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    add_bob(&stack).await;
    let (app, other) = (App::alice(&stack), App::mallory(&stack));
    let mut browser = Browser::new(&stack);
    // Without OpenID a client that is registered for refresh tokens gets one.
    let tokens = app.tokens(&stack, &mut browser, &[("scope", "read write")]).await;
    assert_eq!(tokens.get("id_token"), None);
    let refresh_token = tokens["refresh_token"].as_str().expect("a refresh token");
    let verdict = stack.verdict(&other.refresh(&stack, refresh_token).await).await;
    assert_eq!(verdict, (400, "invalid_grant".to_owned(), "refresh_token_foreign".to_owned()));
    let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let answer = app.token(&stack, &[grant[0], grant[1], ("scope", "openid")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_scope".to_owned(), "scope_not_allowed".to_owned()));
    let answer = app.token(&stack, &[grant[0], ("refresh_token", "sy_rt_AAAA")]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_grant".to_owned(), "refresh_token_unknown".to_owned()));
    // A confidential client's stays, so that a lost answer loses nothing (FAPI 2.0 §5.3.2.1).
    for _ in 0..2 {
        let answer = app.token(&stack, &[grant[0], grant[1], ("scope", "read")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((answer.json()["scope"].as_str(), answer.json().get("refresh_token")), (Some("read"), None));
    }
    // RFC 8705 §7.1: with another certificate of the same client, the new access token is bound to that.
    let renewed = stack.client_ca.issue(crate::harness::Leaf::client("alice"));
    let answer = App { identity: renewed.clone(), ..app.clone() }.refresh(&stack, refresh_token).await;
    let access_token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(token::claims(&access_token)["cnf"]["x5t#S256"], renewed.thumbprint());
}

/// §3.1: "Parameters sent without a value MUST be treated as if they were omitted from the request. The authorization server MUST
/// ignore unrecognized request parameters."
#[tokio::test]
async fn unknown_parameters_are_ignored_and_empty_ones_omitted() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let app = App::alice(&stack);
    let mut parameters = app.request(&[("foo", "bar"), ("display", "page")]);
    parameters.push(("prompt".into(), String::new()));
    let answer = Browser::new(&stack).get(&url_of(&parameters)).await;
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/sign-in?")), "{answer:?}");
}
