//! The claims, as they stand in JSON.

use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::jwt::Layout;
use super::{AccessToken, TokenError, TokenFacts};
use crate::domain::{Actors, Audience, ClientId, Cnf, Issuer, KeyId, Scope, Timestamp};

/// The most values `aud` may have.
const MAX_AUDIENCES: usize = 100;
/// Claims that are read by their meaning. All the others are kept as they stand.
const READ: &[&str] =
    &["active", "aud", "client_id", "cnf", "exp", "family_id", "iat", "iss", "jti", "nbf", "scope", "sub", "token_type"];
/// What only an ID token has: it is bound to a sign-in, or to what was handed out beside it (OpenID Connect Core §2, §3.3.2.11).
const ID_TOKEN_CLAIMS: &[&str] = &["at_hash", "c_hash", "s_hash", "nonce"];
/// 9999-12-31T23:59:59Z: later moments are mistakes (milliseconds, usually).
const LAST_SECOND: i64 = 253_402_300_799;

/// Writes RFC 9068 §2.2 claims. By hand: this stands between every request for a token and its signature.
pub(super) fn write(token: &AccessToken) -> Vec<u8> {
    let mut json = Vec::with_capacity(512);
    json.push(b'{');
    string(&mut json, "iss", token.issuer.as_str());
    string(&mut json, "sub", token.subject.as_str());
    json.extend_from_slice(b"\"aud\":");
    match token.audience.as_slice() {
        [one] => quoted(&mut json, one.as_str()),
        several => {
            json.push(b'[');
            for (index, audience) in several.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                quoted(&mut json, audience.as_str());
            }
            json.push(b']');
        }
    }
    json.push(b',');
    string(&mut json, "client_id", token.client_id.as_str());
    if !token.scope.is_empty() {
        string(&mut json, "scope", &token.scope.to_string());
    }
    json.extend_from_slice(format!("\"iat\":{},\"exp\":{},", token.issued_at, token.expires).as_bytes());
    string(&mut json, "jti", token.token_id.as_str());
    string(&mut json, "family_id", token.family.as_str());
    if let Some(act) = token.actors.to_json() {
        quoted(&mut json, "act");
        json.push(b':');
        json.extend_from_slice(act.to_string().as_bytes());
        json.push(b',');
    }
    // Only this last one needs no comma after it.
    match &token.cnf {
        Some(cnf) => {
            json.extend_from_slice(b"\"cnf\":{");
            for (name, thumbprint) in [("x5t#S256", cnf.x5t_s256()), ("jkt", cnf.jkt())] {
                if let Some(thumbprint) = thumbprint {
                    string(&mut json, name, &thumbprint.to_string());
                }
            }
            json.pop();
            json.extend_from_slice(b"}}");
        }
        None => {
            json.pop();
            json.push(b'}');
        }
    }
    json
}

/// A member whose value is a string, and a comma.
fn string(json: &mut Vec<u8>, name: &str, value: &str) {
    quoted(json, name);
    json.push(b':');
    quoted(json, value);
    json.push(b',');
}

/// RFC 8259 §7.
fn quoted(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    let needs_escape = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    if !text.bytes().any(needs_escape) {
        json.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => json.extend_from_slice(&[b'\\', byte]),
                0..=0x1f => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => json.push(byte),
            }
        }
    }
    json.push(b'"');
}

/// Claims that were strictly parsed, to be read one by one. `null` is a value of the wrong type.
#[derive(Clone, Copy)]
pub(super) struct Claims<'m> {
    members: &'m Map<String, Value>,
    /// Members of `cnf` that are passed over.
    ignored_cnf: &'m [String],
}

impl<'m> Claims<'m> {
    pub(super) const fn new(members: &'m Map<String, Value>, ignored_cnf: &'m [String]) -> Self {
        Self { members, ignored_cnf }
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, TokenError> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Claim(name)),
        }
    }

    /// A string in the syntax of `T`.
    pub(super) fn identifier<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, TokenError> {
        self.text(name)?.map(|text| text.parse().map_err(|_| TokenError::Claim(name))).transpose()
    }

    /// A NumericDate (RFC 7519 §2), whole seconds. Fractions are refused: two readers could round them differently.
    pub(super) fn date(&self, name: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.members.get(name) else { return Ok(None) };
        let seconds = value.as_i64().filter(|seconds| (0..=LAST_SECOND).contains(seconds)).ok_or(TokenError::Claim(name))?;
        Ok(Some(Timestamp::from_seconds(seconds)))
    }

    /// `aud`: a string or an array of strings (RFC 7519 §4.1.3).
    pub(super) fn audience(&self) -> Result<Vec<Audience>, TokenError> {
        let refused = TokenError::Claim("aud");
        let read = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).ok_or(refused.clone());
        match self.members.get("aud") {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) if (1..=MAX_AUDIENCES).contains(&values.len()) => values.iter().map(read).collect(),
            Some(value) => Ok(vec![read(value)?]),
        }
    }

    pub(super) fn scope(&self) -> Result<Scope, TokenError> {
        Ok(self.identifier("scope")?.unwrap_or_default())
    }

    pub(super) fn cnf(&self) -> Result<Option<Cnf>, TokenError> {
        let read = |value| Cnf::from_json_ignoring(value, self.ignored_cnf);
        Ok(self.members.get("cnf").map(read).transpose()?)
    }

    pub(super) fn actors(&self) -> Result<Actors, TokenError> {
        let read = |value| Actors::from_json(value).map_err(|_| TokenError::Claim("act"));
        Ok(self.members.get("act").map(read).transpose()?.unwrap_or_default())
    }

    pub(super) fn issuer(&self) -> Result<Option<Issuer>, TokenError> {
        self.identifier("iss")
    }

    /// Every claim that is not read by its meaning.
    pub(super) fn others(&self) -> Arc<Map<String, Value>> {
        let others = self.members.iter().filter(|(name, _)| !READ.contains(&name.as_str()));
        Arc::new(others.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The scope in a claim of another name: a string as in RFC 6749 §3.3, or an array of such strings.
    fn scope_in(&self, name: &str) -> Result<Scope, TokenError> {
        let text = match self.members.get(name) {
            None => return Ok(Scope::default()),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(values)) => {
                let names: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
                names.ok_or(TokenError::Claim("scope"))?.join(" ")
            }
            Some(_) => return Err(TokenError::Claim("scope")),
        };
        text.parse().map_err(|_| TokenError::Claim("scope"))
    }

    fn client_in(&self, name: &str) -> Result<ClientId, TokenError> {
        let value = self.members.get(name).ok_or(TokenError::ClaimAbsent("client_id"))?;
        value.as_str().and_then(|text| text.parse().ok()).ok_or(TokenError::Claim("client_id"))
    }

    /// The facts of a token whose issuer does not follow RFC 9068: its `typ` is shared with other kinds of JWT, so that what the
    /// token says must rule them out.
    pub(super) fn other_access_token(&self, key_id: Option<KeyId>, layout: &Layout) -> Result<TokenFacts, TokenError> {
        if let Some(name) = ID_TOKEN_CLAIMS.iter().find(|name| self.members.contains_key(**name)) {
            return Err(TokenError::IdToken(name));
        }
        // Some issuers say it in the payload: `Bearer` is an access token's, `ID` and `Refresh` are not.
        match self.members.get("typ") {
            None => {}
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case("Bearer") || typ.eq_ignore_ascii_case("at+jwt") => {}
            Some(_) => return Err(TokenError::IdToken("typ")),
        }
        let client_id = self.client_in(&layout.client_id_claim)?;
        let facts = TokenFacts {
            issuer: self.issuer()?.ok_or(TokenError::ClaimAbsent("iss"))?,
            subject: self.identifier("sub")?,
            client_id: Some(client_id),
            token_id: self.identifier("jti")?,
            family: None,
            key_id,
            audience: self.audience()?,
            scope: self.scope_in(&layout.scope_claim)?,
            issued_at: self.date("iat")?,
            not_before: self.date("nbf")?,
            expires: self.date("exp")?.ok_or(TokenError::ClaimAbsent("exp"))?,
            cnf: self.cnf()?,
            actors: self.actors()?,
            others: self.others(),
        };
        if facts.audience.is_empty() {
            return Err(TokenError::ClaimAbsent("aud"));
        }
        if facts.issued_at.is_none() {
            return Err(TokenError::ClaimAbsent("iat"));
        }
        // An ID token is for the client itself (OpenID Connect Core §2).
        let is_client = |audience: &Audience| facts.client_id.as_ref().is_some_and(|client| client.as_str() == audience.as_str());
        if facts.audience.iter().any(is_client) {
            return Err(TokenError::IdToken("aud"));
        }
        Ok(facts)
    }

    /// The facts of a token, as RFC 9068 §2.2 demands them: `iss`, `exp`, `aud`, `sub`, `client_id`, `iat`, `jti`.
    pub(super) fn access_token(&self, key_id: Option<KeyId>) -> Result<TokenFacts, TokenError> {
        let facts = TokenFacts {
            issuer: self.issuer()?.ok_or(TokenError::ClaimAbsent("iss"))?,
            subject: self.identifier("sub")?,
            client_id: self.identifier("client_id")?,
            token_id: self.identifier("jti")?,
            family: self.identifier("family_id")?,
            key_id,
            audience: self.audience()?,
            scope: self.scope()?,
            issued_at: self.date("iat")?,
            not_before: self.date("nbf")?,
            expires: self.date("exp")?.ok_or(TokenError::ClaimAbsent("exp"))?,
            cnf: self.cnf()?,
            actors: self.actors()?,
            others: self.others(),
        };
        let present = [
            ("aud", !facts.audience.is_empty()),
            ("sub", facts.subject.is_some()),
            ("client_id", facts.client_id.is_some()),
            ("iat", facts.issued_at.is_some()),
            ("jti", facts.token_id.is_some()),
        ];
        match present.into_iter().find(|(_, present)| !present) {
            Some((name, _)) => Err(TokenError::ClaimAbsent(name)),
            None => Ok(facts),
        }
    }
}
