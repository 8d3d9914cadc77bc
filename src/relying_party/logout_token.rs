//! Logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6).

use serde_json::{Map, Value};

use crate::domain::{ClientId, Issuer, Lifetime, SessionId, Subject, Timestamp};

/// The one event.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long ago a logout token may have been written.
const MAX_AGE: Lifetime = Lifetime::from_seconds(300);
/// The longest `jti` that is remembered.
const MAX_JTI_BYTES: usize = 256;

/// What a provider says has ended. Its signature was verified, and everything that §2.6 asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// Whose sessions.
    pub subject: Option<Subject>,
    /// Which one, where it is one.
    pub session_id: Option<SessionId>,
    /// `jti`.
    pub token_id: String,
    /// The last moment at which it would be taken.
    pub until: Timestamp,
}

/// Why a JWT is no logout token for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutTokenError {
    /// Not a JWT of this issuer's, by its signature.
    #[error("the logout token is not signed by its issuer")]
    Signature,
    /// `typ` is another JWT's.
    #[error("the JWT is of another type")]
    Type,
    /// Another issuer.
    #[error("the logout token is another issuer's")]
    Issuer,
    /// Another client.
    #[error("the logout token is for another client")]
    Audience,
    /// Too old, expired, or from the future.
    #[error("the logout token is too old, or from the future")]
    Time,
    /// No logout event, or none as the standard has it.
    #[error("the JWT does not tell of a logout")]
    Event,
    /// Neither `sub` nor `sid`, or no `jti`, or one of them malformed.
    #[error("the logout token does not say whose session has ended, or has no `jti`")]
    Claim,
    /// `nonce`, which no logout token has: an ID token.
    #[error("the JWT has a nonce: it is an ID token")]
    Nonce,
}

/// Holds verified claims against §2.6.
pub(super) fn check(
    typ: Option<&str>,
    claims: &Map<String, Value>,
    issuer: &Issuer,
    client_id: &ClientId,
    (now, leeway): (Timestamp, Lifetime),
) -> Result<LogoutToken, LogoutTokenError> {
    let typ = typ.map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    // The standard recommends its own type and providers were there before it was.
    if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("logout+jwt") && !typ.eq_ignore_ascii_case("JWT")) {
        return Err(LogoutTokenError::Type);
    }
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let text = |name: &str| claims.get(name).map(|value| value.as_str().ok_or(LogoutTokenError::Claim)).transpose();
    if text("iss")? != Some(issuer.as_str()) {
        return Err(LogoutTokenError::Issuer);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id.as_str(),
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(client_id.as_str())),
        _ => false,
    };
    if !is_for_us {
        return Err(LogoutTokenError::Audience);
    }
    let event = claims.get("events").and_then(Value::as_object).and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(LogoutTokenError::Event);
    }
    let time = |name: &str| claims.get(name).map(|value| value.as_i64().ok_or(LogoutTokenError::Claim)).transpose();
    let issued = Timestamp::from_seconds(time("iat")?.ok_or(LogoutTokenError::Claim)?);
    let until = issued.plus(MAX_AGE);
    let until = time("exp")?.map_or(until, |expires| until.min(Timestamp::from_seconds(expires))).plus(leeway);
    if issued > now.plus(leeway) || until <= now {
        return Err(LogoutTokenError::Time);
    }
    let parsed = |text: Option<&str>| text.map(str::to_owned).filter(|text| !text.is_empty());
    let subject = text("sub")?.map(|sub| sub.parse::<Subject>().map_err(|_| LogoutTokenError::Claim)).transpose()?;
    let session_id = text("sid")?.map(|sid| sid.parse::<SessionId>().map_err(|_| LogoutTokenError::Claim)).transpose()?;
    let token_id = parsed(text("jti")?).filter(|jti| jti.len() <= MAX_JTI_BYTES).ok_or(LogoutTokenError::Claim)?;
    if subject.is_none() && session_id.is_none() {
        return Err(LogoutTokenError::Claim);
    }
    Ok(LogoutToken { subject, session_id, token_id, until })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_471_566_160);

    /// The claims of the example in §2.4, and every one of them changed.
    #[test]
    fn only_a_logout_token_for_us_is_one() {
        use LogoutTokenError::{Audience, Claim, Event, Nonce, Time, Type};
        let issuer: Issuer = "https://server.example.com".parse().expect("an issuer");
        let client: ClientId = "s6BhdRkqt3".parse().expect("a client");
        let example = json!({
            "iss": "https://server.example.com", "sub": "248289761001", "aud": "s6BhdRkqt3", "iat": 1_471_566_154,
            "exp": 1_471_569_754, "jti": "bWJq", "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let read = |typ: Option<&str>, changes: &[(&str, Value)]| {
            let mut claims = example.as_object().expect("an object").clone();
            for (name, value) in changes {
                match value {
                    Value::Null => drop(claims.remove(*name)),
                    value => drop(claims.insert((*name).to_owned(), value.clone())),
                }
            }
            check(typ, &claims, &issuer, &client, (NOW, Lifetime::from_seconds(5)))
        };
        let token = read(Some("logout+jwt"), &[]).expect("a logout token");
        assert_eq!(token.subject.as_ref().map(Subject::as_str), Some("248289761001"));
        assert_eq!(token.session_id.as_ref().map(SessionId::as_str), Some("08a5019c-17e1-4977-8f42-65a12843ea02"));
        assert_eq!((token.token_id.as_str(), token.until.seconds()), ("bWJq", 1_471_566_154 + 305));
        assert!(read(None, &[("sub", Value::Null), ("aud", json!(["a", "s6BhdRkqt3"]))]).is_ok());
        assert!(read(Some("JWT"), &[("sid", Value::Null), ("exp", Value::Null)]).is_ok());
        let event = |value: Value| ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": value }));
        for (change, expected) in [
            (("iss", json!("https://other.example")), LogoutTokenError::Issuer),
            (("aud", json!("other")), Audience),
            (("aud", Value::Null), Audience),
            (("iat", json!(1_471_566_154 - 300)), Time),
            (("iat", json!(1_471_566_166)), Time),
            (("iat", Value::Null), Claim),
            (("exp", json!(1_471_566_155)), Time),
            (("exp", json!("soon")), Claim),
            (("jti", Value::Null), Claim),
            (("jti", json!("")), Claim),
            (("sub", json!(7)), Claim),
            (("nonce", json!("n")), Nonce),
            (("events", Value::Null), Event),
            (event(json!("yes")), Event),
            (("events", json!({ "http://schemas.openid.net/event/other": {} })), Event),
        ] {
            assert_eq!(read(Some("logout+jwt"), std::slice::from_ref(&change)), Err(expected), "{change:?}");
        }
        assert_eq!(read(Some("logout+jwt"), &[("sub", Value::Null), ("sid", Value::Null)]), Err(Claim));
        assert_eq!(read(Some("at+jwt"), &[]), Err(Type));
    }
}
