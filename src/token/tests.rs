//! A token for the tests of this room and others, and the round trip of its claims.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The certificate thumbprint of RFC 8705 Appendix A.
pub(crate) const APPENDIX_A: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

/// Issued at 1000, expires at 1300, bound to the certificate of RFC 8705 Appendix A.
pub(crate) fn access_token() -> AccessToken {
    AccessToken {
        issuer: "https://as.example".parse().expect("valid"),
        subject: "alice".parse().expect("valid"),
        client_id: "client-a".parse().expect("valid"),
        token_id: "jti-1".parse().expect("valid"),
        family: "family-1".parse().expect("valid"),
        audience: vec!["https://rs.example".parse().expect("valid")],
        scope: "read write".parse().expect("valid"),
        issued_at: Timestamp::from_seconds(1000),
        expires: Timestamp::from_seconds(1300),
        cnf: Some(Cnf::certificate(APPENDIX_A.parse().expect("valid"))),
        actors: crate::domain::Actors::default(),
    }
}

#[test]
fn the_payload_has_the_claims_of_rfc_9068() {
    let written: serde_json::Value = serde_json::from_slice(&access_token().to_jwt_payload()).expect("JSON");
    let expected = json!({
        "iss": "https://as.example",
        "sub": "alice",
        "aud": "https://rs.example",
        "client_id": "client-a",
        "scope": "read write",
        "iat": 1000,
        "exp": 1300,
        "jti": "jti-1",
        "family_id": "family-1",
        "cnf": { "x5t#S256": APPENDIX_A },
    });
    assert_eq!(written, expected);

    let mut token = access_token();
    token.audience.push("https://other.example".parse().expect("valid"));
    token.scope = Scope::default();
    token.cnf = None;
    let written: serde_json::Value = serde_json::from_slice(&token.to_jwt_payload()).expect("JSON");
    assert_eq!(written.get("aud"), Some(&json!(["https://rs.example", "https://other.example"])));
    assert_eq!((written.get("scope"), written.get("cnf")), (None, None));
}

fn cnf() -> impl Strategy<Value = Option<Cnf>> {
    let member = || proptest::option::of(any::<[u8; 32]>());
    (member(), member()).prop_map(|(x5t, jkt)| {
        let mut members = serde_json::Map::new();
        for (name, value) in [("x5t#S256", x5t), ("jkt", jkt)] {
            if let Some(value) = value {
                members.insert(name.into(), Thumbprint::from_bytes(value).to_string().into());
            }
        }
        Cnf::from_json(&members.into()).ok()
    })
}

/// Any token we could mint: identifiers with quotes and backslashes in them, too.
pub(crate) fn any_token() -> impl Strategy<Value = AccessToken> {
    let text = "[ -~]{1,40}";
    let names = (text, text, text, text);
    let audience = proptest::collection::vec(text, 1..4);
    let scope = proptest::collection::vec("[!#-\\[\\]-~]{1,10}", 0..4);
    (names, audience, scope, 0i64..4_000_000_000, 0u32..10_000_000, cnf()).prop_map(
        |(names, audience, scope, issued_at, lifetime, cnf)| {
            let issued_at = Timestamp::from_seconds(issued_at);
            AccessToken {
                subject: names.0.parse().expect("printable"),
                client_id: names.1.parse().expect("printable"),
                token_id: names.2.parse().expect("printable"),
                family: names.3.parse().expect("printable"),
                audience: audience.iter().map(|audience| audience.parse().expect("printable")).collect(),
                scope: scope.join(" ").parse().expect("scope tokens"),
                issued_at,
                expires: issued_at.plus(crate::domain::Lifetime::from_seconds(lifetime)),
                cnf,
                ..access_token()
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(token in any_token()) {
        let claims = crate::jose::json::parse_object(&token.to_jwt_payload()).expect("strict JSON");
        prop_assert_eq!(claims::Claims::new(&claims, &[]).access_token(None), Ok(token.facts(None)));
    }

    #[test]
    fn an_introspection_answer_is_read_as_the_facts_it_was_made_of(token in any_token(), not_before in proptest::option::of(0i64..4_000_000_000)) {
        let mut facts = token.facts(None);
        facts.not_before = not_before.map(Timestamp::from_seconds);
        let answer = introspection::answer(&facts);
        prop_assert_eq!(introspection::read(&answer, &facts.issuer), Ok(Some(facts)));
    }
}
