//! Which claims a request means: by scope (OpenID Connect Core §5.4) and by the `claims` parameter (§5.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::Scope;
use crate::identity::PersonClaims;
use crate::jose::json;

/// Scopes with a meaning of their own at this server.
pub const SCOPES: [&str; 7] = ["openid", "profile", "email", "address", "phone", "groups", "offline_access"];

/// Which scope means which claims.
const BY_SCOPE: [(&str, &[&str]); 5] = [
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
    ("groups", &["groups"]),
];

/// The longest `claims` parameter, in bytes.
const LONGEST: usize = 8_192;
/// The most claims that one request may name for one place, and the most values for one claim.
const MOST: usize = 64;

/// Every claim about a person that this server can tell, and those of an ID token.
pub fn supported() -> Vec<&'static str> {
    let fixed = ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"];
    fixed.into_iter().chain(BY_SCOPE.iter().flat_map(|(_, claims)| claims.iter().copied())).collect()
}

/// The scopes of this room, as one scope.
pub fn scopes() -> Scope {
    SCOPES.join(" ").parse().unwrap_or_default()
}

/// What a request says of one claim (§5.5.1). A claim that is named with `null` is wanted, and not essential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimWish {
    /// Whether the client cannot do without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
    /// The values that would do; any, when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
}

/// The `claims` parameter (§5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    /// For the ID token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub id_token: BTreeMap<String, ClaimWish>,
    /// For the userinfo endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub userinfo: BTreeMap<String, ClaimWish>,
}

/// The `claims` parameter is not what §5.5 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsRequestError {
    /// Longer than is read.
    #[error("claims is longer than this server reads")]
    TooLong,
    /// Not a JSON object of this shape.
    #[error("claims is not the JSON object of OpenID Connect Core section 5.5")]
    Malformed,
}

impl ClaimsRequest {
    /// Reads the parameter. Members that are not understood are ignored (§5.5).
    ///
    /// # Errors
    /// See [`ClaimsRequestError`].
    pub fn parse(text: &str) -> Result<Self, ClaimsRequestError> {
        if text.len() > LONGEST {
            return Err(ClaimsRequestError::TooLong);
        }
        let members = json::parse_object(text.as_bytes()).map_err(|_| ClaimsRequestError::Malformed)?;
        Ok(Self { id_token: place(&members, "id_token")?, userinfo: place(&members, "userinfo")? })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.id_token.is_empty() && self.userinfo.is_empty()
    }

    /// Every claim named, wherever.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.id_token.keys().chain(self.userinfo.keys()).map(String::as_str)
    }
}

fn place(members: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, ClaimWish>, ClaimsRequestError> {
    let wishes = match members.get(name) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(wishes)) if wishes.len() <= MOST => wishes,
        Some(_) => return Err(ClaimsRequestError::Malformed),
    };
    wishes.iter().map(|(claim, value)| Ok((claim.clone(), wish(value)?))).collect()
}

fn wish(value: &Value) -> Result<ClaimWish, ClaimsRequestError> {
    let members = match value {
        Value::Null => return Ok(ClaimWish::default()),
        Value::Object(members) => members,
        _ => return Err(ClaimsRequestError::Malformed),
    };
    let essential = match members.get("essential") {
        None => false,
        Some(Value::Bool(essential)) => *essential,
        Some(_) => return Err(ClaimsRequestError::Malformed),
    };
    let values = match (members.get("value"), members.get("values")) {
        (None, None) => Vec::new(),
        (Some(value), None) => vec![value.clone()],
        (None, Some(Value::Array(values))) if (1..=MOST).contains(&values.len()) => values.clone(),
        _ => return Err(ClaimsRequestError::Malformed),
    };
    Ok(ClaimWish { essential, values })
}

/// The claims about a person that scope and wishes mean, of those that are known. A wish for another value than the person's is not
/// met: the claim is left out (§5.5.1).
pub fn told(person: &PersonClaims, scope: Option<&Scope>, wishes: &BTreeMap<String, ClaimWish>) -> Map<String, Value> {
    let Ok(Value::Object(known)) = serde_json::to_value(person) else { return Map::new() };
    let by_scope = |claim: &str| {
        let granted = |name: &str| scope.is_some_and(|scope| scope.contains(name));
        BY_SCOPE.iter().any(|(name, claims)| claims.contains(&claim) && granted(name))
    };
    let is_claim = |claim: &str| BY_SCOPE.iter().any(|(_, claims)| claims.contains(&claim));
    let wished =
        |claim: &str, value: &Value| wishes.get(claim).is_some_and(|wish| wish.values.is_empty() || wish.values.contains(value));
    known.into_iter().filter(|(claim, value)| is_claim(claim) && (by_scope(claim) || wished(claim, value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person() -> PersonClaims {
        PersonClaims {
            name: Some("Bob Builder".into()),
            email: Some("bob@example.org".into()),
            email_verified: Some(true),
            phone_number: Some("+1 555".into()),
            groups: vec!["staff".into()],
            ..PersonClaims::default()
        }
    }

    /// The example of §5.5, whole.
    #[test]
    fn the_standards_own_example_is_understood() {
        let text = r#"{"userinfo":{"given_name":{"essential":true},"nickname":null,"email":{"essential":true},
            "email_verified":{"essential":true},"picture":null,"http://example.info/claims/groups":null},
            "id_token":{"auth_time":{"essential":true},"acr":{"values":["urn:mace:incommon:iap:silver"]}}}"#;
        let request = ClaimsRequest::parse(text).expect("the standard's own");
        assert!(request.userinfo["given_name"].essential && !request.userinfo["nickname"].essential);
        assert_eq!(request.id_token["acr"].values, [json!("urn:mace:incommon:iap:silver")]);
        let again: ClaimsRequest = serde_json::from_str(&serde_json::to_string(&request).expect("JSON")).expect("read back");
        assert_eq!(again, request);
    }

    #[test]
    fn what_is_no_claims_request_is_refused() {
        let many = format!(r#"{{"id_token":{{{}}}}}"#, (0..65).map(|n| format!("\"c{n}\":null")).collect::<Vec<_>>().join(","));
        for text in [
            "",
            "[]",
            "x",
            r#"{"userinfo":[]}"#,
            r#"{"userinfo":{"name":1}}"#,
            r#"{"userinfo":{"name":{"essential":1}}}"#,
            r#"{"userinfo":{"name":{"values":[]}}}"#,
            r#"{"userinfo":{"name":{"values":"x"}}}"#,
            r#"{"userinfo":{"name":{"value":"x","values":["x"]}}}"#,
            r#"{"userinfo":{"name":null,"name":null}}"#,
            &many,
        ] {
            assert_eq!(ClaimsRequest::parse(text), Err(ClaimsRequestError::Malformed), "{text}");
        }
        assert_eq!(ClaimsRequest::parse(&" ".repeat(9_000)), Err(ClaimsRequestError::TooLong));
        assert_eq!(ClaimsRequest::parse(r#"{"elsewhere":1}"#), Ok(ClaimsRequest::default()));
    }

    #[test]
    fn a_person_is_told_by_scope_and_wish_and_no_further() {
        let told = |scope: &str, wishes: &str| {
            let request = ClaimsRequest::parse(wishes).expect("wishes");
            Value::Object(super::told(&person(), Some(&scope.parse().expect("a scope")), &request.userinfo))
        };
        let none = "{}";
        assert_eq!(told("openid", none), json!({}));
        assert_eq!(told("openid email", none), json!({ "email": "bob@example.org", "email_verified": true }));
        assert_eq!(told("openid profile", none), json!({ "name": "Bob Builder" }));
        assert_eq!(told("openid groups phone", none), json!({ "groups": ["staff"], "phone_number": "+1 555" }));
        assert_eq!(told("openid", r#"{"userinfo":{"name":null,"nickname":null}}"#), json!({ "name": "Bob Builder" }));
        assert_eq!(told("openid", r#"{"userinfo":{"email":{"value":"carol@example.org"}}}"#), json!({}));
        assert_eq!(
            told("openid", r#"{"userinfo":{"email":{"values":["x","bob@example.org"]}}}"#),
            json!({ "email": "bob@example.org" })
        );
    }
}
