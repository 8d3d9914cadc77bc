//! Introspection answers (RFC 7662 §2.2; `cnf` RFC 8705 §3.2).

use serde_json::{Map, Value};

use super::claims::Claims;
use super::{TokenError, TokenFacts};
use crate::domain::{Audience, Cnf, Issuer};

/// Reads the answer of `issuer`'s introspection endpoint; `None` when the token is not active.
///
/// An answer without `iss` is `issuer`'s; one without `exp` is refused, since nothing could be cached or ended by it.
///
/// # Errors
/// [`TokenError::Claim`] and [`TokenError::ClaimAbsent`] when `active` is not a boolean or a member is not what it should be,
/// [`TokenError::Issuer`] when the answer speaks of another issuer, [`TokenError::Cnf`].
pub fn read(answer: &Map<String, Value>, issuer: &Issuer) -> Result<Option<TokenFacts>, TokenError> {
    read_ignoring(answer, issuer, &[])
}

/// The same, passing over members of `cnf` of these names: see [`crate::domain::Cnf::from_json_ignoring`].
///
/// # Errors
/// As [`read`].
pub fn read_ignoring(
    answer: &Map<String, Value>,
    issuer: &Issuer,
    ignored_cnf: &[String],
) -> Result<Option<TokenFacts>, TokenError> {
    match answer.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(None),
        Some(_) => return Err(TokenError::Claim("active")),
        None => return Err(TokenError::ClaimAbsent("active")),
    }
    let claims = Claims::new(answer, ignored_cnf);
    if claims.text("iss")?.is_some_and(|text| text != issuer.as_str()) {
        return Err(TokenError::Issuer);
    }
    Ok(Some(TokenFacts {
        issuer: issuer.clone(),
        subject: claims.identifier("sub")?,
        client_id: claims.identifier("client_id")?,
        token_id: claims.identifier("jti")?,
        family: claims.identifier("family_id")?,
        key_id: None,
        audience: claims.audience()?,
        scope: claims.scope()?,
        issued_at: claims.date("iat")?,
        not_before: claims.date("nbf")?,
        expires: claims.date("exp")?.ok_or(TokenError::ClaimAbsent("exp"))?,
        cnf: claims.cnf()?,
        actors: claims.actors()?,
        others: claims.others(),
    }))
}

/// The answer for an active token.
pub fn answer(facts: &TokenFacts) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let text = |text: &str| Some(Value::from(text));
    put("active", Some(Value::Bool(true)));
    put("iss", text(facts.issuer.as_str()));
    put("sub", facts.subject.as_ref().map(|subject| subject.as_str().into()));
    put(
        "aud",
        match facts.audience.as_slice() {
            [] => None,
            [one] => text(one.as_str()),
            several => Some(several.iter().map(Audience::as_str).collect()),
        },
    );
    put("client_id", facts.client_id.as_ref().map(|client_id| client_id.as_str().into()));
    put("scope", Some(&facts.scope).filter(|scope| !scope.is_empty()).map(|scope| scope.to_string().into()));
    put("token_type", text(Cnf::token_type(facts.cnf.as_ref())));
    put("iat", facts.issued_at.map(|at| at.seconds().into()));
    put("nbf", facts.not_before.map(|at| at.seconds().into()));
    put("exp", Some(facts.expires.seconds().into()));
    put("jti", facts.token_id.as_ref().map(|token_id| token_id.as_str().into()));
    put("family_id", facts.family.as_ref().map(|family| family.as_str().into()));
    put(
        "cnf",
        facts.cnf.map(|cnf| {
            let bindings = [("x5t#S256", cnf.x5t_s256()), ("jkt", cnf.jkt())];
            let bindings =
                bindings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?.to_string()))));
            Value::Object(bindings.collect())
        }),
    );
    put("act", facts.actors.to_json());
    members
}

/// The answer for any other token: nothing more is said (RFC 7662 §2.2).
pub fn inactive() -> Map<String, Value> {
    Map::from_iter([("active".to_owned(), Value::Bool(false))])
}

#[cfg(test)]
mod tests;
