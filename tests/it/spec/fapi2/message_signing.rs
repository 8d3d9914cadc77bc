//! FAPI 2.0 Message Signing.

use serde_json::{Value, json};

use super::actor::{deployment, request_uri, unsigned};
use crate::harness::app::{Returned, go_on, url_of};
use crate::harness::assertion::{Signer, now};
use crate::harness::browser::Browser;
use crate::harness::{Call, token};

/// §5.3.1: "shall support, require use of, and verify signed request objects according to JAR at the PAR endpoint"; §5.4.1: "shall
/// support ... and issue signed authorization responses via JARM"; from end to end for every kind of client, with and without OpenID.
#[tokio::test]
async fn every_kind_of_client_goes_through() {
    let (stack, actors) = deployment("fapi2-message-signing", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    for actor in &actors {
        for (scope, mode) in [("openid read", None), ("openid read", Some("jwt")), ("read", None), ("read", Some("jwt"))] {
            let mut changes = json!({ "scope": scope });
            if let Some(mode) = mode {
                changes["response_mode"] = json!(mode);
            }
            let uri = request_uri(&actor.push_object(&stack, &actor.object(&changes), &[]).await);
            let returned = actor.authorize(&mut browser, &uri).await;
            let code = match mode {
                None => returned.get("code").to_owned(),
                Some(_) => {
                    let claims = token::claims(returned.get("response"));
                    assert_eq!((&claims["aud"], &claims["state"]), (&json!(actor.name), &json!("af0ifjsldkj")));
                    claims["code"].as_str().expect("a code").to_owned()
                }
            };
            let answer = actor.redeem(&stack, &code, &[]).await;
            assert_eq!(answer.status, 200, "{} {scope} {mode:?}: {}", actor.name, answer.text());
            assert_eq!(answer.json()["id_token"].is_string(), scope.contains("openid"));
        }
    }
    let document = browser.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["require_signed_request_object"], true);
    assert_eq!(document["require_pushed_authorization_requests"], true);
    assert_eq!(document["symbolon_profiles_supported"], json!(["fapi2-message-signing"]));
}

/// §5.3.1: "require use of", "shall require the `aud` claim in the request object to be, or to be an array containing, the authorization
/// server's issuer identifier", "shall require the request object to contain an `nbf` claim that is no longer than 60 minutes in the past",
/// "... an `exp` claim that has a lifetime of no longer than 60 minutes after the `nbf` claim"; Security Profile §5.4.1: algorithms;
/// §5.3.2.1: 10 and 60 seconds; RFC 9101 §6.
#[tokio::test]
async fn what_is_not_a_good_request_object_is_refused() {
    let (stack, actors) = deployment("fapi2-message-signing", json!({}), "").await;
    let issuer = format!("https://{}", stack.issuer_authority);
    let rs256 = Signer::key("RS256", "rs256");
    for (index, actor) in actors.iter().enumerate() {
        let object = |changes: Value| actor.object(&changes);
        let mut broken = object(json!({}));
        broken.replace_range(broken.len() - 4.., "AAAA");
        let other = &actors[(index + 1) % actors.len()];
        let table = [
            (object(json!({ "exp": null })), "request_object_claim"),
            (object(json!({ "nbf": null })), "request_object_claim"),
            (object(json!({ "exp": now() - 300, "nbf": now() - 600 })), "request_object_expired"),
            (object(json!({ "aud": "https://other.example" })), "request_object_audience"),
            (object(json!({ "aud": null })), "request_object_audience"),
            (object(json!({ "exp": now() + 4_200 })), "request_object_lifetime"),
            (object(json!({ "nbf": now() - 4_200 })), "request_object_lifetime"),
            (object(json!({ "nbf": now() + 65, "exp": now() + 120 })), "request_object_not_yet_valid"),
            (object(json!({ "client_id": other.name })), "request_object_client"),
            (object(json!({ "client_id": null })), "request_object_claim"),
            (object(json!({ "request_uri": "urn:ietf:params:oauth:request_uri:x" })), "request_object_claim"),
            (rs256.sign(json!({ "kid": actor.name }), &actor.claims(&json!({}))), "request_object_algorithm"),
            (unsigned(&actor.claims(&json!({}))), "request_object_algorithm"),
            (other.signer.sign(json!({}), &actor.claims(&json!({}))), "request_object_key_unknown"),
            (other.signer.sign(json!({ "kid": actor.name }), &actor.claims(&json!({}))), "request_object_signature"),
            (broken, "request_object_signature"),
        ];
        for (object, reason) in table {
            let answer = actor.push_object(&stack, &object, &[]).await;
            let expected = (400, "invalid_request_object".to_owned(), reason.to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{}", actor.name);
        }
        let answer = actor.push_object(&stack, &object(json!({ "redirect_uri": null })), &[]).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "redirect_uri_absent".to_owned()));
        // Nothing signed, at either endpoint.
        let answer = actor.push(&stack, &[]).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "request_object_absent".to_owned()));
        for good in [
            json!({ "aud": [issuer, "https://other.example"] }),
            json!({ "nbf": now() + 8, "exp": now() + 60 }),
            json!({ "nbf": now() - 3_000, "exp": now() + 500 }),
            json!({ "nonce": "x".repeat(64), "state": "x".repeat(1_000) }),
        ] {
            request_uri(&actor.push_object(&stack, &object(good), &[]).await);
        }
    }
    let mut browser = Browser::new(&stack);
    let mut parameters = actors[0].request();
    parameters.push(("client_id".to_owned(), actors[0].name.to_owned()));
    let answer = browser.get(&url_of(&parameters)).await;
    assert_eq!(Returned::of(&answer).get("error"), "invalid_request");
    // Signed, but not pushed.
    let signed = [("client_id", actors[0].name), ("request", &actors[0].object(&json!({})))];
    let answer = browser.get(&url_of(&signed.map(|(name, value)| (name.to_owned(), value.to_owned())))).await;
    assert_eq!(Returned::of(&answer).get("error"), "invalid_request");
    assert_eq!(stack.reason_of(answer.request_id()).await, "pushed_request_required");
}

/// RFC 9126 §3, RFC 9101 §6.3: only what the object says counts.
#[tokio::test]
async fn what_stands_outside_is_not_used() {
    let (stack, actors) = deployment("fapi2-message-signing", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    let actor = &actors[2];
    for (inside, expected) in [(json!({}), "af0ifjsldkj"), (json!({ "state": null }), "")] {
        let outside = [("state", "outside"), ("nonce", "outside"), ("scope", "openid write")];
        let uri = request_uri(&actor.push_object(&stack, &actor.object(&inside), &outside).await);
        let answer = browser.get(&format!("{}&state=outside&nonce=outside", actor.start(&uri))).await;
        let returned = Returned::of(&go_on(&mut browser, answer).await);
        assert_eq!(returned.get("state"), expected);
        let tokens = actor.redeem(&stack, returned.get("code"), &[]).await.json();
        assert_eq!(tokens["scope"], "openid read");
        assert_eq!(token::claims(tokens["id_token"].as_str().expect("one"))["nonce"], "n-0S6_WzA2Mj");
    }
}

/// §5.4.3: `response_modes`: a client that is registered for JARM alone is answered in no other way; §5.5.1: "shall sign introspection
/// responses that are issued in JWT format according to RFC 9701".
#[tokio::test]
async fn answers_are_signed_as_registered() {
    let (stack, actors) = deployment("fapi2-message-signing", json!({ "response_modes": ["jwt"] }), "").await;
    let mut browser = Browser::new(&stack);
    let actor = &actors[1];
    let answer = actor.push_object(&stack, &actor.object(&json!({})), &[]).await;
    let expected = (400, "invalid_request".to_owned(), "response_mode_unsupported".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    let uri = request_uri(&actor.push_object(&stack, &actor.object(&json!({ "response_mode": "jwt" })), &[]).await);
    let returned = actor.authorize(&mut browser, &uri).await;
    assert_eq!(token::header(returned.get("response"))["alg"], "ES256");
    let code = token::claims(returned.get("response"))["code"].as_str().expect("a code").to_owned();
    let tokens = actor.redeem(&stack, &code, &[]).await.json();
    let form = [("token", tokens["access_token"].as_str().expect("one")), ("client_id", "gateway")];
    let call = Call::form("/introspect", &form).header("Accept", "application/token-introspection+jwt");
    let answer = stack.caller(&stack.gateway_identity).send(&stack.mtls_authority, &call).await;
    let claims = token::claims(&answer.text());
    assert_eq!((&claims["aud"], &claims["token_introspection"]["active"]), (&json!("gateway"), &json!(true)));
}
