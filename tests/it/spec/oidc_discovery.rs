//! OpenID Connect Discovery.

use crate::harness::{App, Call, Setup};

/// §4.1: the document at `/.well-known/openid-configuration` of the issuer; §3: its required members; §4.3: "The `issuer` value returned
/// MUST be identical to the Issuer URL".
#[tokio::test]
async fn the_document_says_what_is_required_and_true() {
    let stack = Setup { without_gateway: true, ..App::setup() }.start().await;
    let answer = stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/openid-configuration")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.json();
    let issuer = format!("https://{}", stack.issuer_authority);
    assert_eq!(document["issuer"], issuer.as_str());
    for (name, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("userinfo_endpoint", "/userinfo"),
        ("jwks_uri", "/jwks"),
        ("pushed_authorization_request_endpoint", "/par"),
    ] {
        assert_eq!(document[name], format!("{issuer}{path}"), "{name}");
        assert_ne!(stack.nobody().send(&stack.issuer_authority, &Call::get(path)).await.status, 404, "{name}");
    }
    for (name, values) in [
        ("response_types_supported", &["code"][..]),
        ("response_modes_supported", &["query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt"]),
        ("subject_types_supported", &["public", "pairwise"]),
        ("id_token_signing_alg_values_supported", &["ES256"]),
        ("code_challenge_methods_supported", &["S256"]),
    ] {
        assert_eq!(document[name], serde_json::json!(values), "{name}");
    }
    assert_eq!(document["request_uri_parameter_supported"], false, "it is true by default");
    assert_eq!(document["request_parameter_supported"], true);
    assert_eq!(document["claims_parameter_supported"], true);
}
