//! RFC 9470: a resource that wants another sign-in behind the token.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::harness::foreign::{CONFIGURATION, Deployment, Issuer};

/// §3: "`error="insufficient_user_authentication"`", with `acr_values` and `max_age`; §5: the token must meet the requirements. §6: `acr`
/// and `auth_time` are claims of the access token.
#[tokio::test]
async fn a_stronger_or_more_recent_sign_in_is_asked_for() {
    let configuration = CONFIGURATION.replace(
        "scopes = [\"read\"]",
        "scopes = [\"read\"]\nacr_values = [\"urn:mace:incommon:iap:silver\", \"phr\"]\nmax_age_seconds = 300",
    );
    let issuer = Issuer::new("one");
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let (alice, mallory) = (gateway.alice.clone(), gateway.mallory.clone());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let token = |acr: Value, auth_time: Value| issuer.token(&alice, "at+jwt", &[("acr", acr), ("auth_time", auth_time)]);
    let (context, age) = ("policy_authentication_context", "policy_authentication_age");
    let table = [
        (json!("urn:mace:incommon:iap:bronze"), json!(now), context),
        (Value::Null, json!(now), context),
        (json!(["phr"]), json!(now), context),
        (json!("phr"), json!(now - 302), age),
        (json!("phr"), Value::Null, age),
        (json!("phr"), json!(now.to_string()), age),
        (json!("phr"), json!(now + 600), age),
    ];
    for (acr, auth_time, reason) in table {
        let answer = gateway.get(Some(&alice), "/", &token(acr.clone(), auth_time.clone())).await;
        assert_eq!(gateway.verdict(&answer).await, (401, reason.to_owned()), "{acr} {auth_time}");
        let challenge = answer.challenge();
        for part in [
            "Bearer realm=\"https://api.example/\"",
            "error=\"insufficient_user_authentication\"",
            "acr_values=\"urn:mace:incommon:iap:silver phr\"",
            "max_age=\"300\"",
        ] {
            assert!(challenge.contains(part), "{part}: {challenge}");
        }
        assert_eq!(answer.error(), "insufficient_user_authentication");
    }
    // Whoever holds another certificate learns nothing of it.
    let good = token(json!("phr"), json!(now - 200));
    assert_eq!(gateway.present(Some(&mallory), &good).await.1, "binding_certificate_mismatch");
    gateway.upstream.assert_untouched();
    assert_eq!(gateway.present(Some(&alice), &good).await.0, 200);
}
