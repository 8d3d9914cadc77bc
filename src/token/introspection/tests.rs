use serde_json::json;

use super::*;
use crate::domain::{Cnf, CnfError};
use crate::token::tests::{APPENDIX_A, access_token};

fn issuer() -> Issuer {
    "https://as.example".parse().expect("valid")
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// RFC 8705 §3.2.
#[test]
fn the_example_of_rfc_8705() {
    let answer = members(json!({
        "active": true,
        "iss": "https://server.example.com",
        "sub": "ty.webb@example.com",
        "exp": 1493726400,
        "nbf": 1493722800,
        "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" },
    }));
    let issuer = "https://server.example.com".parse().expect("valid");
    // The thumbprint printed there has trailing bits that no encoder writes; it cannot be one.
    assert_eq!(read(&answer, &issuer), Err(TokenError::Cnf(CnfError::Thumbprint("x5t#S256".into()))));
    let mut answer = answer;
    answer.insert("cnf".into(), json!({ "x5t#S256": APPENDIX_A }));
    let facts = read(&answer, &issuer).expect("read").expect("active");
    assert_eq!(facts.cnf, Some(Cnf::certificate(APPENDIX_A.parse().expect("valid"))));
    assert_eq!((facts.expires.seconds(), facts.not_before.map(|at| at.seconds())), (1493726400, Some(1493722800)));
    assert_eq!((facts.client_id, facts.audience), (None, vec![]));
}

#[test]
fn answers_that_are_refused() {
    let table = [
        (json!({}), TokenError::ClaimAbsent("active")),
        (json!({ "active": "true", "exp": 1 }), TokenError::Claim("active")),
        (json!({ "active": 1, "exp": 1 }), TokenError::Claim("active")),
        (json!({ "active": null }), TokenError::Claim("active")),
        (json!({ "active": true }), TokenError::ClaimAbsent("exp")),
        (json!({ "active": true, "exp": "1" }), TokenError::Claim("exp")),
        (json!({ "active": true, "exp": 1, "iss": "https://other.example" }), TokenError::Issuer),
        (json!({ "active": true, "exp": 1, "iss": null }), TokenError::Claim("iss")),
        (json!({ "active": true, "exp": 1, "aud": null }), TokenError::Claim("aud")),
        (json!({ "active": true, "exp": 1, "scope": ["a"] }), TokenError::Claim("scope")),
        (json!({ "active": true, "exp": 1, "cnf": null }), TokenError::Cnf(CnfError::NotAnObject)),
        (json!({ "active": true, "exp": 1, "cnf": {} }), TokenError::Cnf(CnfError::Empty)),
    ];
    for (answer, expected) in table {
        assert_eq!(read(&members(answer.clone()), &issuer()), Err(expected), "{answer}");
    }
}

#[test]
fn an_inactive_token_says_nothing() {
    assert_eq!(inactive(), members(json!({ "active": false })));
    assert_eq!(read(&inactive(), &issuer()), Ok(None));
    assert_eq!(read(&members(json!({ "active": false, "cnf": null, "exp": "x" })), &issuer()), Ok(None));
}

#[test]
fn the_answer_has_the_members_of_rfc_7662() {
    let expected = json!({
        "active": true,
        "iss": "https://as.example",
        "sub": "alice",
        "aud": "https://rs.example",
        "client_id": "client-a",
        "scope": "read write",
        "token_type": "Bearer",
        "iat": 1000,
        "exp": 1300,
        "jti": "jti-1",
        "family_id": "family-1",
        "cnf": { "x5t#S256": APPENDIX_A },
    });
    assert_eq!(answer(&access_token().facts(None)), members(expected));
}
