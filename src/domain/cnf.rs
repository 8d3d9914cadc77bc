//! The `cnf` claim (RFC 7800 §3.1; `x5t#S256` RFC 8705 §3.1; `jkt` RFC 9449 §6.1).

use serde::Serialize;
use serde_json::{Map, Value};

use super::Thumbprint;

/// Which key a token is bound to. At least one member is present; when both are, both must be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cnf {
    /// The SHA-256 thumbprint of the certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    x5t_s256: Option<Thumbprint>,
    /// The JWK thumbprint of the DPoP key (RFC 9449 §6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    jkt: Option<Thumbprint>,
}

/// Why a `cnf` claim cannot be honoured. Each is a refusal: a confirmation that is not understood is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CnfError {
    /// Not a JSON object.
    #[error("`cnf` is not a JSON object")]
    NotAnObject,
    /// `{}`, or nothing but members that are passed over.
    #[error("`cnf` has no member that is understood")]
    Empty,
    /// A member other than `x5t#S256` and `jkt`.
    #[error("`cnf` has a member that is not understood")]
    UnknownMember(String),
    /// A member that is not a SHA-256 thumbprint in base64url without padding.
    #[error("`cnf` member is not a thumbprint")]
    Thumbprint(String),
}

impl Cnf {
    /// Bound to a certificate.
    pub const fn certificate(thumbprint: Thumbprint) -> Self {
        Self { x5t_s256: Some(thumbprint), jkt: None }
    }

    /// Bound to a DPoP key.
    pub const fn dpop(jkt: Thumbprint) -> Self {
        Self { x5t_s256: None, jkt: Some(jkt) }
    }

    /// Bound to both: whoever uses the token must prove both.
    pub const fn certificate_and_dpop(certificate: Thumbprint, jkt: Thumbprint) -> Self {
        Self { x5t_s256: Some(certificate), jkt: Some(jkt) }
    }

    /// `token_type` of a token that is bound so (RFC 9449 §5, RFC 6750 §6.1.1).
    pub const fn token_type(cnf: Option<&Self>) -> &'static str {
        match cnf {
            Some(Self { jkt: Some(_), .. }) => "DPoP",
            _ => "Bearer",
        }
    }

    /// The certificate this token is bound to, if it is bound to one.
    pub const fn x5t_s256(&self) -> Option<&Thumbprint> {
        self.x5t_s256.as_ref()
    }

    /// The DPoP key this token is bound to, if it is bound to one.
    pub const fn jkt(&self) -> Option<&Thumbprint> {
        self.jkt.as_ref()
    }

    /// Reads the claim's value. Stricter than RFC 7800 §3.1, which would let unknown members pass.
    pub fn from_json(value: &Value) -> Result<Self, CnfError> {
        Self::from_json_ignoring(value, &[])
    }

    /// The same, passing over members of these names, as RFC 7800 §3.1 has it: for issuers that are known to add them. A claim with
    /// nothing else in it is still refused, and the members that are understood are never passed over.
    pub fn from_json_ignoring(value: &Value, ignored: &[String]) -> Result<Self, CnfError> {
        let Value::Object(members) = value else { return Err(CnfError::NotAnObject) };
        let is_understood = |name: &String| matches!(name.as_str(), "x5t#S256" | "jkt");
        if let Some(name) = members.keys().find(|name| !is_understood(name) && !ignored.contains(name)) {
            return Err(CnfError::UnknownMember(name.clone()));
        }
        if !members.keys().any(is_understood) {
            return Err(CnfError::Empty);
        }
        Ok(Self { x5t_s256: member(members, "x5t#S256")?, jkt: member(members, "jkt")? })
    }
}

fn member(members: &Map<String, Value>, name: &str) -> Result<Option<Thumbprint>, CnfError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| CnfError::Thumbprint(name.to_owned())),
        Some(_) => Err(CnfError::Thumbprint(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const APPENDIX_A: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

    #[test]
    fn reads_and_writes_the_members_of_the_standards() {
        let claim = json!({ "x5t#S256": APPENDIX_A });
        let cnf = Cnf::from_json(&claim).expect("RFC 8705 §3.1");
        assert_eq!(cnf.x5t_s256().map(ToString::to_string).as_deref(), Some(APPENDIX_A));
        assert_eq!(serde_json::to_value(cnf).expect("serializable"), claim);
    }

    #[test]
    fn passes_over_what_it_is_told_to_and_nothing_else() {
        let ignored = ["x-new".to_owned(), "jkt".to_owned()];
        let read = |value: Value| Cnf::from_json_ignoring(&value, &ignored);
        let thumbprint: Thumbprint = APPENDIX_A.parse().expect("the RFC's own example");
        assert_eq!(read(json!({ "x5t#S256": APPENDIX_A, "x-new": {} })), Ok(Cnf::certificate(thumbprint)));
        assert_eq!(
            read(json!({ "x5t#S256": APPENDIX_A, "jkt": APPENDIX_A })),
            Ok(Cnf::certificate_and_dpop(thumbprint, thumbprint)),
            "what is understood counts"
        );
        assert_eq!(read(json!({ "x-new": {} })), Err(CnfError::Empty));
        let other = json!({ "x5t#S256": APPENDIX_A, "x-new": {}, "x-other": 1 });
        assert_eq!(read(other), Err(CnfError::UnknownMember("x-other".into())));
    }

    #[test]
    fn refuses_what_is_not_understood() {
        let hex = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";
        let table = [
            (json!("x"), CnfError::NotAnObject),
            (json!(null), CnfError::NotAnObject),
            (json!([]), CnfError::NotAnObject),
            (json!({}), CnfError::Empty),
            (json!({ "kid": "a" }), CnfError::UnknownMember("kid".into())),
            (json!({ "x5t#S256": APPENDIX_A, "jwk": {} }), CnfError::UnknownMember("jwk".into())),
            (json!({ "x5t": "2jmj7l5rSw0yVb_vlWAYkK_YBwk" }), CnfError::UnknownMember("x5t".into())),
            (json!({ "x5t#S256": null }), CnfError::Thumbprint("x5t#S256".into())),
            (json!({ "x5t#S256": [APPENDIX_A] }), CnfError::Thumbprint("x5t#S256".into())),
            (json!({ "x5t#S256": hex }), CnfError::Thumbprint("x5t#S256".into())),
            (json!({ "x5t#S256": format!("{APPENDIX_A}=") }), CnfError::Thumbprint("x5t#S256".into())),
        ];
        for (value, expected) in table {
            assert_eq!(Cnf::from_json(&value), Err(expected), "{value}");
        }
    }
}
