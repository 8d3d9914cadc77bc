//! What a client assertion must say (RFC 7523 §3, OpenID Connect Core §9, FAPI 2.0 Security Profile §5.3.2.1), once its signature has
//! verified. Pure: everything but its single use.

use serde_json::{Map, Value};

use crate::binding::replay::MAX_JTI_BYTES;
use crate::domain::{ClientId, Issuer, Lifetime, Timestamp};
use crate::event::Reason;
use crate::oauth::metadata::{Endpoints, path};

/// What counts as addressed to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceRule {
    /// The issuer identifier alone, as a string (FAPI 2.0): what was made for another server, or for an endpoint that somebody else
    /// named, is never for us.
    IssuerAlone,
    /// Also the token endpoint and its mutual-TLS alias (RFC 7523 §3), and the endpoint called where its standard says so (RFC 9126 §2).
    Endpoints,
}

/// The rules for assertions.
#[derive(Clone, Debug)]
pub struct AssertionRules {
    issuer: Issuer,
    endpoints: Endpoints,
    audience: AudienceRule,
    longest: Lifetime,
    leeway: Lifetime,
}

/// What is wrong with an assertion. Told to its sender, who has proven to hold the client's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `typ` belongs to another kind of JWT.
    #[error("client_assertion: typ is another JWT's")]
    Type,
    /// The header names a key.
    #[error("client_assertion: the header names a key (jwk, jku, x5u); register keys instead")]
    KeyReference,
    /// A claim is missing or has another type.
    #[error("client_assertion: {0} is missing or has the wrong type (RFC 7523 section 3)")]
    Claim(&'static str),
    /// `iss` or `sub` is not the client.
    #[error("client_assertion: iss and sub must both be the client_id (RFC 7523 section 3)")]
    Subject,
    /// `aud` is not us.
    #[error("client_assertion: aud must be the issuer identifier of this server (RFC 7523 section 3)")]
    Audience,
    /// After `exp`.
    #[error("client_assertion: it has expired")]
    Expired,
    /// Before `nbf` or `iat`.
    #[error("client_assertion: nbf or iat is in the future")]
    NotYetValid,
    /// `exp` too far away.
    #[error("client_assertion: exp is too far in the future")]
    Lifetime,
}

impl AssertionError {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Type => Reason::AssertionType,
            Self::KeyReference => Reason::AssertionKeyReference,
            Self::Claim(_) => Reason::AssertionClaim,
            Self::Subject => Reason::AssertionSubject,
            Self::Audience => Reason::AssertionAudience,
            Self::Expired => Reason::AssertionExpired,
            Self::NotYetValid => Reason::AssertionNotYetValid,
            Self::Lifetime => Reason::AssertionLifetime,
        }
    }
}

/// An assertion in order, to be used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::oauth) struct InOrder {
    /// `jti`.
    pub(in crate::oauth) token_id: String,
    /// The last moment at which the assertion is taken.
    pub(in crate::oauth) until: Timestamp,
}

impl AssertionRules {
    /// Rules of a server with this issuer and these endpoints. `longest` is how far away `exp` may be; `leeway` is for clocks that differ.
    pub const fn new(issuer: Issuer, endpoints: Endpoints, audience: AudienceRule, longest: Lifetime, leeway: Lifetime) -> Self {
        Self { issuer, endpoints, audience, longest, leeway }
    }

    /// The same rules with [`AudienceRule::IssuerAlone`].
    pub(in crate::oauth) fn for_issuer_alone(&self) -> Self {
        Self { audience: AudienceRule::IssuerAlone, ..self.clone() }
    }

    /// Judges the header. A client assertion needs no `typ`; one that is there must not be another JWT's (RFC 8725 §3.11).
    pub(in crate::oauth) fn check_header(header: &Map<String, Value>) -> Result<(), AssertionError> {
        if ["jwk", "jku", "x5u"].iter().any(|name| header.contains_key(*name)) {
            return Err(AssertionError::KeyReference);
        }
        match header.get("typ").and_then(Value::as_str) {
            None => Ok(()),
            Some(typ) => {
                let is = |name: &str| typ.eq_ignore_ascii_case(name);
                let plain = is("JWT") || is("client-authentication+jwt") || is("application/client-authentication+jwt");
                if plain { Ok(()) } else { Err(AssertionError::Type) }
            }
        }
    }

    /// Judges the claims. `own_path` is the path of the endpoint called, where assertions may name that one.
    pub(super) fn check_claims(
        &self,
        claims: &Map<String, Value>,
        client_id: &ClientId,
        own_path: Option<&str>,
        now: Timestamp,
    ) -> Result<InOrder, AssertionError> {
        for name in ["iss", "sub"] {
            if text(claims, name)? != client_id.as_str() {
                return Err(AssertionError::Subject);
            }
        }
        self.check_dates(claims, own_path, self.longest, now)
    }

    /// Judges the claims of an authorization grant (RFC 7523 §2.1, §3), whose issuer and subject are others. `longest` is how far away
    /// `exp` may be.
    pub(in crate::oauth) fn check_grant(
        &self,
        claims: &Map<String, Value>,
        longest: Lifetime,
        now: Timestamp,
    ) -> Result<InOrder, AssertionError> {
        self.check_dates(claims, None, longest, now)
    }

    fn check_dates(
        &self,
        claims: &Map<String, Value>,
        own_path: Option<&str>,
        longest: Lifetime,
        now: Timestamp,
    ) -> Result<InOrder, AssertionError> {
        self.check_audience(claims, own_path)?;
        let expires = moment(claims, "exp")?.ok_or(AssertionError::Claim("exp"))?;
        let until = expires.plus(self.leeway);
        if now >= until {
            return Err(AssertionError::Expired);
        }
        if expires > now.plus(longest).plus(self.leeway) {
            return Err(AssertionError::Lifetime);
        }
        for name in ["nbf", "iat"] {
            if moment(claims, name)?.is_some_and(|start| start > now.plus(self.leeway)) {
                return Err(AssertionError::NotYetValid);
            }
        }
        let token_id = text(claims, "jti")?;
        if !(1..=MAX_JTI_BYTES).contains(&token_id.len()) {
            return Err(AssertionError::Claim("jti"));
        }
        Ok(InOrder { token_id: token_id.to_owned(), until })
    }

    /// In a list every member must be one of ours: an assertion that is also for somebody else could be used by them.
    fn check_audience(&self, claims: &Map<String, Value>, own_path: Option<&str>) -> Result<(), AssertionError> {
        match claims.get("aud") {
            Some(Value::String(audience)) => self.accept(audience, own_path),
            Some(Value::Array(list)) if self.audience == AudienceRule::Endpoints && !list.is_empty() => {
                list.iter().try_for_each(|one| self.accept(one.as_str().ok_or(AssertionError::Claim("aud"))?, own_path))
            }
            Some(Value::Array(_)) => Err(AssertionError::Audience),
            _ => Err(AssertionError::Claim("aud")),
        }
    }

    fn accept(&self, audience: &str, own_path: Option<&str>) -> Result<(), AssertionError> {
        let is_ours = audience == self.issuer.as_str()
            || self.audience == AudienceRule::Endpoints
                && [Some(path::TOKEN), own_path].into_iter().flatten().any(|path| self.endpoints.are_at(audience, path));
        if is_ours { Ok(()) } else { Err(AssertionError::Audience) }
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<&'c str, AssertionError> {
    claims.get(name).and_then(Value::as_str).ok_or(AssertionError::Claim(name))
}

/// A `NumericDate` (RFC 7519 §2). A fraction is cut off; a string is not a number.
fn moment(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, AssertionError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match (value.as_i64(), value.as_f64()) {
        (Some(seconds), _) => seconds,
        // Beyond 2^53 a fraction has no meaning; such a date is out of range anyway.
        (None, Some(seconds)) if seconds.abs() < 9.0e15 => seconds.floor() as i64,
        _ => return Err(AssertionError::Claim(name)),
    };
    Ok(Some(Timestamp::from_seconds(seconds)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn rules(audience: AudienceRule) -> AssertionRules {
        let issuer: Issuer = "https://as.example".parse().expect("an issuer");
        let mtls: Issuer = "https://mtls.as.example".parse().expect("a URL");
        let endpoints = Endpoints::new(&issuer, Some(&mtls));
        AssertionRules::new(issuer, endpoints, audience, Lifetime::from_seconds(300), Lifetime::from_seconds(10))
    }

    fn verdict(rules: &AssertionRules, changes: Value, own_path: Option<&str>) -> Result<InOrder, AssertionError> {
        let mut claims = json!({
            "iss": "robot", "sub": "robot", "aud": "https://as.example", "exp": NOW.seconds() + 60, "jti": "1",
        });
        let target = claims.as_object_mut().expect("an object");
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => target.remove(name),
                value => target.insert(name.clone(), value.clone()),
            };
        }
        rules.check_claims(target, &"robot".parse().expect("a client id"), own_path, NOW)
    }

    #[test]
    fn every_claim_is_judged() {
        use AssertionError::*;
        let at = |seconds: i64| NOW.seconds() + seconds;
        let long = "x".repeat(257);
        let table = [
            (json!({}), None),
            (json!({ "iss": "other" }), Some(Subject)),
            (json!({ "sub": "other" }), Some(Subject)),
            (json!({ "iss": null }), Some(Claim("iss"))),
            (json!({ "sub": ["robot"] }), Some(Claim("sub"))),
            (json!({ "exp": null }), Some(Claim("exp"))),
            (json!({ "exp": at(60).to_string() }), Some(Claim("exp"))),
            (json!({ "exp": true }), Some(Claim("exp"))),
            (json!({ "exp": at(-9) }), None),
            (json!({ "exp": at(-10) }), Some(Expired)),
            (json!({ "exp": at(310) }), None),
            (json!({ "exp": at(311) }), Some(Lifetime)),
            (json!({ "exp": i64::MAX }), Some(Lifetime)),
            (json!({ "exp": u64::MAX }), Some(Claim("exp"))),
            (json!({ "exp": 1e300 }), Some(Claim("exp"))),
            (json!({ "exp": at(60) as f64 + 0.5 }), None),
            (json!({ "nbf": at(10) }), None),
            (json!({ "nbf": at(11) }), Some(NotYetValid)),
            (json!({ "iat": at(10) }), None),
            (json!({ "iat": at(11) }), Some(NotYetValid)),
            (json!({ "iat": "yesterday" }), Some(Claim("iat"))),
            (json!({ "jti": null }), Some(Claim("jti"))),
            (json!({ "jti": "" }), Some(Claim("jti"))),
            (json!({ "jti": 1 }), Some(Claim("jti"))),
            (json!({ "jti": long }), Some(Claim("jti"))),
            (json!({ "aud": null }), Some(Claim("aud"))),
            (json!({ "aud": 1 }), Some(Claim("aud"))),
        ];
        for audience in [AudienceRule::IssuerAlone, AudienceRule::Endpoints] {
            for (changes, expected) in &table {
                assert_eq!(verdict(&rules(audience), changes.clone(), None).err(), *expected, "{changes}");
            }
        }
        let good = verdict(&rules(AudienceRule::IssuerAlone), json!({}), None).expect("in order");
        assert_eq!(good, InOrder { token_id: "1".into(), until: Timestamp::from_seconds(at(70)) });
    }

    #[test]
    fn the_audience_is_ours_alone() {
        use AudienceRule::*;
        let table = [
            (json!("https://as.example"), true, true),
            (json!("https://as.example/"), false, false),
            (json!("https://AS.example"), false, false),
            (json!("https://as.example/token"), false, true),
            (json!("https://mtls.as.example/token"), false, true),
            (json!("https://mtls.as.example"), false, false),
            (json!("https://as.example/revoke"), false, false),
            (json!("https://as.example/par"), false, false),
            (json!("https://other.example/token"), false, false),
            (json!(["https://as.example"]), false, true),
            (json!(["https://as.example", "https://as.example/token"]), false, true),
            (json!(["https://as.example", "https://other.example"]), false, false),
            (json!([]), false, false),
        ];
        for (audience, issuer_alone, endpoints) in table {
            for (rule, expected) in [(IssuerAlone, issuer_alone), (Endpoints, endpoints)] {
                let found = verdict(&rules(rule), json!({ "aud": audience }), None).is_ok();
                assert_eq!(found, expected, "{audience} {rule:?}");
            }
        }
        // Where the endpoint's standard says so.
        let called = |rule| verdict(&rules(rule), json!({ "aud": "https://as.example/par" }), Some("/par")).is_ok();
        assert_eq!((called(IssuerAlone), called(Endpoints)), (false, true));
    }

    #[test]
    fn a_header_that_names_keys_or_another_type_is_refused() {
        let table = [
            (json!({}), None),
            (json!({ "typ": "JWT" }), None),
            (json!({ "typ": "jwt" }), None),
            (json!({ "typ": "client-authentication+jwt" }), None),
            (json!({ "x5t#S256": "x", "x5c": ["x"] }), None),
            (json!({ "typ": "at+jwt" }), Some(AssertionError::Type)),
            (json!({ "typ": "dpop+jwt" }), Some(AssertionError::Type)),
            (json!({ "typ": "oauth-authz-req+jwt" }), Some(AssertionError::Type)),
            (json!({ "typ": "" }), Some(AssertionError::Type)),
            (json!({ "jwk": {} }), Some(AssertionError::KeyReference)),
            (json!({ "jku": "https://evil.example" }), Some(AssertionError::KeyReference)),
            (json!({ "x5u": "https://evil.example" }), Some(AssertionError::KeyReference)),
        ];
        for (header, expected) in table {
            assert_eq!(AssertionRules::check_header(header.as_object().expect("an object")).err(), expected, "{header}");
        }
    }
}
