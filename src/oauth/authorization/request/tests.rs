use serde_json::{Value, json};

use super::*;
use crate::clients::Profile;
use crate::oauth::profiles;

const PKCE: &str = "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

fn client(more: Value) -> Arc<Client> {
    let mut metadata = json!({
        "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
        "grant_types": ["authorization_code"], "redirect_uris": ["https://app.example/cb"], "scope": "openid email",
    });
    metadata.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Arc::new(Client::from_text(metadata.to_string().as_bytes()).expect("a client"))
}

struct Hinted;

impl Hints for Hinted {
    fn subject(&self, id_token: &str, _: &Client) -> Result<Subject, Reason> {
        id_token.strip_prefix("good-").ok_or(Reason::TokenSignature)?.parse().map_err(|_| Reason::TokenClaim)
    }
}

fn resources() -> Resources {
    let audience = "https://as.example/userinfo".parse().expect("an audience");
    Resources::default().with_userinfo(audience, crate::jose::Algorithm::ES256)
}

/// What becomes of a request: where the refusal may be told, its code and its reason.
fn outcome(client: &Arc<Client>, text: &str) -> Result<AuthorizationRequest, (&'static str, &'static str, Reason)> {
    let parameters = Parameters::parse(text.as_bytes()).expect("parameters");
    let rules = profiles::rules(client, Profile::Openid);
    let here = |refusal: Refusal| ("page", refusal.code.as_str(), refusal.reason);
    let destination = destination(&parameters, client.clone(), &rules).map_err(here)?;
    let there = |refusal: Refusal| ("client", refusal.code.as_str(), refusal.reason);
    read(&parameters, &destination, &rules, &resources(), &Hinted).map_err(there)
}

const GOOD: &str = "client_id=app&response_type=code&scope=openid&redirect_uri=https://app.example/cb";

#[test]
fn nothing_is_sent_to_a_place_that_is_not_the_clients() {
    let app = client(json!({}));
    let table = [
        ("client_id=app&response_type=code&redirect_uri=https://evil.example/cb", "invalid_request", Reason::RedirectUriMismatch),
        (
            "client_id=app&response_type=token&redirect_uri=https://evil.example/cb",
            "invalid_request",
            Reason::RedirectUriMismatch,
        ),
        ("client_id=app&response_type=code&redirect_uri=https://app.example/cb/", "invalid_request", Reason::RedirectUriMismatch),
        (
            "client_id=app&response_type=code&redirect_uri=https://app.example/cb%23x",
            "invalid_request",
            Reason::RedirectUriMismatch,
        ),
        ("client_id=app&response_type=code&scope=openid", "invalid_request", Reason::RedirectUriAbsent),
        (
            "client_id=app&response_type=code&redirect_uri=https://app.example/cb&response_mode=web_message",
            "invalid_request",
            Reason::ResponseModeUnsupported,
        ),
    ];
    for (text, code, reason) in table {
        assert_eq!(outcome(&app, text), Err(("page", code, reason)), "{text}");
    }
}

#[test]
fn every_other_refusal_is_told_to_the_client() {
    let app = client(json!({ "profile": "openid" }));
    let table = [
        ("", None),
        (PKCE, None),
        ("&prompt=login%20consent", None),
        ("&prompt=none", None),
        ("&max_age=0", None),
        ("&display=page&ui_locales=de&acr_values=1%202&login_hint=bob&unknown=1", None),
        ("&id_token_hint=good-bob", None),
        ("&prompt=none%20login", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&prompt=create", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&max_age=-1", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&max_age=%2B1", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&max_age=x", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&claims=x", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&dpop_jkt=x", Some(("invalid_request", Reason::ParameterMalformed))),
        ("&id_token_hint=bad", Some(("invalid_request", Reason::IdTokenHint))),
        ("&registration=%7B%7D", Some(("registration_not_supported", Reason::RequestUnsupported))),
        ("&code_challenge=abc&code_challenge_method=plain", Some(("invalid_request", Reason::PkceMalformed))),
        ("&resource=https://other.example", Some(("invalid_target", Reason::ResourceNotAllowed))),
    ];
    for (more, expected) in table {
        let found = outcome(&app, &format!("{GOOD}{more}")).map(|_| ());
        assert_eq!(found.err(), expected.map(|(code, reason)| ("client", code, reason)), "{more}");
    }
    let types = GOOD.replace("response_type=code", "response_type=code%20id_token");
    assert_eq!(outcome(&app, &types).err(), Some(("client", "unsupported_response_type", Reason::ResponseTypeUnsupported)));
    let none = GOOD.replace("response_type=code", "");
    assert_eq!(outcome(&app, &none).err(), Some(("client", "invalid_request", Reason::ParameterAbsent)));
}

#[test]
fn profiles_decide_what_may_be_left_out() {
    let strict = client(json!({ "profile": "oauth2.1" }));
    assert_eq!(outcome(&strict, GOOD).err(), Some(("client", "invalid_request", Reason::PkceAbsent)));
    assert!(outcome(&strict, &format!("{GOOD}{PKCE}")).is_ok());
    // Unregistered scopes: OpenID ignores them, OAuth refuses them.
    let loose = client(json!({ "profile": "openid" }));
    let more = GOOD.replace("scope=openid", "scope=openid%20profile%20x");
    assert_eq!(outcome(&loose, &more).expect("ignored").scope.to_string(), "openid");
    let refused = Some(("client", "invalid_scope", Reason::ScopeNotAllowed));
    assert_eq!(outcome(&strict, &format!("{more}{PKCE}")).err(), refused);
}

#[test]
fn what_is_left_out_comes_from_the_registration() {
    let app = client(json!({ "profile": "openid", "default_max_age": 60 }));
    let request = outcome(&app, &format!("{GOOD}&nonce=n&state=s&response_mode=form_post")).expect("a request");
    assert_eq!((request.max_age, request.response_mode), (Some(60), ResponseMode::FormPost));
    assert_eq!((request.nonce.as_deref(), request.state.as_deref()), (Some("n"), Some("s")));
    let kept: AuthorizationRequest = serde_json::from_slice(&serde_json::to_vec(&request).expect("JSON")).expect("read back");
    assert_eq!(kept, request);
}
