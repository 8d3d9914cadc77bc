use serde_json::json;

use super::*;
use crate::oauth::profiles;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ISSUER: &str = "https://as.example";

fn client(profile: &str) -> Client {
    let metadata = json!({
        "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
        "grant_types": ["authorization_code"], "redirect_uris": ["https://app.example/cb"], "profile": profile,
    });
    Client::from_text(metadata.to_string().as_bytes()).expect("a client")
}

fn rules(profile: &str) -> Rules {
    profiles::rules(&client(profile), Profile::Openid)
}

fn changed(mut base: Value, changes: &Value) -> Map<String, Value> {
    let members = base.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    members.clone()
}

#[test]
fn every_claim_of_the_jwt_is_judged() {
    use RequestObjectError::*;
    let at = |seconds: i64| NOW.seconds() + seconds;
    let everywhere = [
        (json!({}), None),
        (json!({ "aud": [ISSUER, "https://other.example"] }), None),
        (json!({ "aud": ["https://other.example"] }), Some(Audience)),
        (json!({ "aud": "https://other.example" }), Some(Audience)),
        (json!({ "aud": format!("{ISSUER}/") }), Some(Audience)),
        (json!({ "aud": 1 }), Some(Claim("aud"))),
        (json!({ "iss": "other" }), Some(Client)),
        (json!({ "iss": 1 }), Some(Claim("iss"))),
        (json!({ "iss": null }), None),
        (json!({ "sub": "app" }), Some(Client)),
        (json!({ "sub": "bob" }), None),
        (json!({ "exp": at(0) }), Some(Expired)),
        (json!({ "exp": at(1) }), None),
        (json!({ "exp": "soon" }), Some(Claim("exp"))),
        (json!({ "nbf": at(10), "exp": at(60) }), None),
        (json!({ "nbf": at(11), "exp": at(60) }), Some(NotYetValid)),
        (json!({ "iat": at(11) }), Some(NotYetValid)),
    ];
    // FAPI 2.0 Message Signing §5.3.1, and the same where nothing is demanded.
    let bounds = [
        (json!({ "aud": null }), Some(Audience)),
        (json!({ "exp": null }), Some(Claim("exp"))),
        (json!({ "nbf": null }), Some(Claim("nbf"))),
        (json!({ "nbf": at(-3_600), "exp": at(0) + 1 }), Some(Lifetime)),
        (json!({ "nbf": at(-3_599), "exp": at(1) }), None),
        (json!({ "nbf": at(-3_601), "exp": at(1) }), Some(Lifetime)),
        (json!({ "nbf": at(0), "exp": at(3_600) }), None),
        (json!({ "nbf": at(0), "exp": at(3_601) }), Some(Lifetime)),
    ];
    let issuer: Issuer = ISSUER.parse().expect("an issuer");
    let good = json!({ "iss": "app", "aud": ISSUER, "nbf": at(-1), "exp": at(60) });
    let verdict = |profile: &str, changes: &Value| {
        check_claims(&changed(good.clone(), changes), &client(profile), &rules(profile), &issuer, NOW).err()
    };
    for profile in Profile::ALL.map(Profile::name) {
        for (changes, expected) in &everywhere {
            assert_eq!(verdict(profile, changes), *expected, "{profile} {changes}");
        }
        for (changes, expected) in &bounds {
            let expected = expected.filter(|_| profile.starts_with("fapi2"));
            assert_eq!(verdict(profile, changes), expected, "{profile} {changes}");
        }
    }
}

#[test]
fn claims_become_parameters() {
    let read = |claims: Value| parameters_of(claims.as_object().expect("an object"));
    let parameters = read(json!({
        "iss": "app", "aud": ISSUER, "exp": 1, "scope": "openid", "max_age": 60, "claims": { "userinfo": { "name": null } },
        "resource": ["https://a.example", "https://b.example"], "unknown": { "x": 1 }, "other": true,
    }))
    .expect("parameters");
    assert_eq!((parameters.get("scope"), parameters.get("max_age")), (Some("openid"), Some("60")));
    assert_eq!(parameters.get("claims"), Some(r#"{"userinfo":{"name":null}}"#));
    assert_eq!(parameters.all("resource").collect::<Vec<_>>(), ["https://a.example", "https://b.example"]);
    for name in ["iss", "aud", "exp", "unknown", "other"] {
        assert_eq!(parameters.get(name), None, "{name}");
    }
    for (claims, name) in [
        (json!({ "scope": ["openid"] }), "scope"),
        (json!({ "state": 1 }), "state"),
        (json!({ "redirect_uri": null }), "redirect_uri"),
        (json!({ "max_age": true }), "max_age"),
        (json!({ "claims": [] }), "claims"),
        (json!({ "resource": [1] }), "resource"),
        (json!({ "resource": {} }), "resource"),
    ] {
        assert_eq!(read(claims.clone()).err(), Some(RequestObjectError::Claim(name)), "{claims}");
    }
    assert_eq!(read(json!({ "state": "a\0b" })).err(), Some(RequestObjectError::Malformed));
}

#[test]
fn what_stands_around_an_object_counts_in_openid_connect_alone() {
    use Arrival::{Authorization, Pushed};
    use OutsideParameters::{FillGaps, Ignored};
    let combined = |inner: &[(&str, &str)], outside, arrival| {
        let inner = Parameters::of(inner.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        let outer = Parameters::parse(b"client_id=app&response_type=code&scope=openid&state=out&request=x").expect("parameters");
        let combined = combine(inner, &outer, &client("openid"), outside, arrival)?;
        assert_eq!(combined.get("request"), None);
        Ok(["scope", "state"].map(|name| combined.get(name).unwrap_or_default().to_owned()).join(" "))
    };
    let id = ("client_id", "app");
    let refused = |name| Err(RequestObjectError::Claim(name));
    assert_eq!(combined(&[id, ("state", "in")], FillGaps, Authorization), Ok("openid in".to_owned()));
    assert_eq!(combined(&[("state", "in")], FillGaps, Authorization), Ok("openid in".to_owned()));
    assert_eq!(combined(&[id, ("state", "in")], FillGaps, Pushed), Ok(" in".to_owned()));
    assert_eq!(combined(&[id, ("state", "in")], Ignored, Authorization), Ok(" in".to_owned()));
    assert_eq!(combined(&[("state", "in")], Ignored, Authorization), refused("client_id"));
    assert_eq!(combined(&[("state", "in")], FillGaps, Pushed), refused("client_id"));
    assert_eq!(combined(&[("client_id", "other")], FillGaps, Authorization), Err(RequestObjectError::Client));
    assert_eq!(combined(&[id, ("response_type", "token")], FillGaps, Authorization), refused("response_type"));
    assert_eq!(combined(&[id, ("request", "x")], Ignored, Authorization), refused("request"));
    assert_eq!(combined(&[id, ("request_uri", "x")], FillGaps, Authorization), refused("request_uri"));
}
