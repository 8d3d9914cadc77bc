//! JWT Secured Authorization Response Mode for OAuth 2.0 (JARM).

use serde_json::{Value, json};

use crate::harness::app::{Returned, add_bob, decide, go_on};
use crate::harness::assertion::now;
use crate::harness::browser::{Browser, field};
use crate::harness::{App, Call, Setup, Stack, token};

/// The claims of an answer, once its signature has verified with the published keys.
async fn claims(stack: &Stack, jwt: &str) -> Value {
    let keys = stack.nobody().send(&stack.issuer_authority, &Call::get("/jwks")).await;
    let set = symbolon::jose::jwk::JwkSet::from_json(&keys.body).expect("a set");
    let keys = symbolon::jose::verify::VerifyingKeys::new(&set, &symbolon::jose::Algorithm::ALL);
    let compact = symbolon::jose::jws::Compact::parse(jwt).expect("a JWS");
    Value::Object(keys.verify(&compact).expect("signed by the server").claims().clone())
}

async fn stack(clients: Vec<Value>, more: &str) -> Stack {
    let stack = Setup { without_gateway: true, clients, server: more.to_owned(), ..Setup::default() }.start().await;
    add_bob(&stack).await;
    stack
}

/// §2.1: "iss", "aud: the client_id of the client the response is intended for", "exp ... A maximum JWT lifetime of 10 minutes is
/// RECOMMENDED", the response parameters, errors among them; §2.3.1: "`query.jwt` ... `response`", §2.3.2 `fragment.jwt`, §2.3.3
/// `form_post.jwt`, §2.3.4: "`jwt` ... the default redirect encoding ... for the requested response type: for `code`, `query.jwt`".
#[tokio::test]
async fn every_answer_is_a_signed_jwt() {
    let stack = stack(vec![App::metadata("alice", json!({}))], "").await;
    let app = App::alice(&stack);
    let issuer = format!("https://{}", stack.issuer_authority);
    let mut browser = Browser::new(&stack);
    app.code(&mut browser, &[]).await;
    for (mode, joint) in [("jwt", "?"), ("query.jwt", "?"), ("fragment.jwt", "#"), ("form_post.jwt", "")] {
        for (prompt, error) in [("", None), ("none", None), ("consent", Some("access_denied"))] {
            let mut answer = browser.get(&app.url(&[("response_mode", mode), ("prompt", prompt)])).await;
            if error.is_some() {
                let page = browser.get(answer.header("location").expect("a page")).await;
                answer = decide(&mut browser, &page, "deny").await;
            }
            let jwt = match joint {
                "" => {
                    assert!(answer.text().contains("action=\"https://alice.example/cb\""), "{}", answer.text());
                    assert_eq!(answer.text().matches("type=\"hidden\"").count(), 1);
                    field(&answer, "response")
                }
                joint => {
                    let returned = Returned::of(&answer);
                    assert!(answer.header("location").is_some_and(|to| to.starts_with(&format!("{}{joint}", app.redirect_uri))));
                    assert_eq!(returned.parameters.keys().collect::<Vec<_>>(), ["response"], "{mode}");
                    returned.get("response").to_owned()
                }
            };
            assert_eq!(token::header(&jwt)["typ"], "JWT");
            let mut claims = claims(&stack, &jwt).await;
            let expires = claims["exp"].as_u64().expect("exp");
            assert!(expires > now() && expires <= now() + 600, "{mode}");
            assert_eq!((&claims["iss"], &claims["aud"]), (&json!(issuer), &json!("alice")));
            assert_eq!((&claims["state"], claims["error"].as_str()), (&json!("af0ifjsldkj"), error), "{mode}");
            let members = claims.as_object_mut().expect("an object");
            members.retain(|name, _| !["iss", "aud", "exp", "state"].contains(&name.as_str()));
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            assert_eq!(names, if error.is_some() { vec!["error", "error_description"] } else { vec!["code"] });
            if let Some(code) = claims["code"].as_str() {
                assert_eq!(app.redeem(&stack, code).await.status, 200);
            }
        }
    }
    // A signed answer is no ID token.
    let returned = Returned::of(&browser.get(&app.url(&[("response_mode", "jwt")])).await);
    let answer = browser.get(&app.url(&[("id_token_hint", returned.get("response"))])).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "id_token_hint");
}

/// §3: "`authorization_signed_response_alg`: The JWS `alg` algorithm required for signing authorization responses", §4:
/// "`authorization_signing_alg_values_supported`": each listed works, `none` "is not allowed"; FAPI 2.0 Message Signing §5.4.3:
/// `response_modes`: "the list of response modes that the client may use".
#[tokio::test]
async fn a_client_registers_algorithm_and_modes() {
    let client = json!({ "authorization_signed_response_alg": "PS256", "response_modes": ["jwt", "form_post.jwt"] });
    let more = "[signing]\nmore_algorithms = [\"PS256\", \"EdDSA\"]\n";
    let stack = stack(vec![App::metadata("alice", client)], more).await;
    let app = App::alice(&stack);
    let mut browser = Browser::new(&stack);
    let answer = browser.get(&app.url(&[("response_mode", "jwt")])).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!(token::header(returned.get("response"))["alg"], "PS256");
    for mode in ["", "query", "query.jwt"] {
        let answer = browser.get(&app.url(&[("response_mode", mode)])).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{mode}");
        assert_eq!(stack.reason_of(answer.request_id()).await, "response_mode_unsupported");
    }
    let document = browser.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["authorization_signing_alg_values_supported"], json!(["ES256", "PS256", "EdDSA"]));
    let modes = json!(["query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt"]);
    assert_eq!(document["response_modes_supported"], modes);
    for algorithm in ["ES256", "EdDSA", "none", "HS256"] {
        let changes = json!({ "authorization_signed_response_alg": algorithm });
        let registered = serde_json::from_str(&stack.fill(&App::metadata("alice", changes).to_string())).expect("JSON");
        let said = stack.apply(&[registered]).await;
        if !document["authorization_signing_alg_values_supported"].as_array().expect("names").contains(&json!(algorithm)) {
            assert!(said.failed().contains("is not one of"), "{algorithm}");
            continue;
        }
        said.ok();
        let started = std::time::Instant::now();
        loop {
            let answer = browser.get(&app.url(&[("response_mode", "jwt")])).await;
            if token::header(Returned::of(&answer).get("response"))["alg"] == algorithm {
                break;
            }
            assert!(started.elapsed() < crate::harness::client::PATIENCE, "{algorithm}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
