//! Opaque access tokens: `sy_at_` and a sealed value with the same claims as a JWT. Only the issuer can read them; nothing is stored.

use super::claims::Claims;
use super::{AccessToken, OPAQUE_PREFIX, TokenError, TokenFacts};
use crate::domain::{Audience, Issuer};
use crate::jose::json;
use crate::seal::{BearerContext, KeyRing, Purpose, SealError};

fn context(issuer: &Issuer) -> BearerContext<'_> {
    BearerContext { purpose: Purpose::AccessToken, issuer: issuer.as_str() }
}

/// All audiences as one text. No audience has a line feed in it.
fn joined(audience: &[Audience]) -> String {
    audience.iter().map(Audience::as_str).collect::<Vec<_>>().join("\n")
}

/// Seals a token.
///
/// # Errors
/// [`SealError::Randomness`] and [`SealError::TooLong`].
pub fn encode(token: &AccessToken, ring: &KeyRing) -> Result<String, SealError> {
    let sealed = ring.seal_bearer(&context(&token.issuer), &joined(&token.audience), token.expires, &token.to_jwt_payload())?;
    Ok(format!("{OPAQUE_PREFIX}{sealed}"))
}

/// Opens a token that `issuer` sealed. Its dates are not judged.
///
/// # Errors
/// [`TokenError::Malformed`], [`TokenError::KeyUnknown`], [`TokenError::Seal`]; for claims, those of [`super::jwt::read`].
pub fn read(text: &str, ring: &KeyRing, issuer: &Issuer) -> Result<TokenFacts, TokenError> {
    let sealed = text.strip_prefix(OPAQUE_PREFIX).ok_or(TokenError::Malformed)?;
    let context = context(issuer);
    let opened = ring.open_bearer(&context, sealed).map_err(|error| match error {
        SealError::Malformed | SealError::TooLong | SealError::Randomness => TokenError::Malformed,
        SealError::KeyUnknown(_) => TokenError::KeyUnknown,
        SealError::Broken(_) | SealError::PersonBroken => TokenError::Seal,
    })?;
    let claims = json::parse_object(&opened.plaintext).map_err(|_| TokenError::Malformed)?;
    let key_id = opened.key_id.as_str().parse().map_err(|_| TokenError::Malformed)?;
    let facts = Claims::new(&claims, &[]).access_token(Some(key_id))?;
    if facts.issuer != *issuer {
        return Err(TokenError::Issuer);
    }
    // What stands outside the seal must be what stands within.
    if facts.expires != opened.expires || !ring.audience_matches(&context, &opened, &joined(&facts.audience)) {
        return Err(TokenError::Seal);
    }
    Ok(facts)
}

#[cfg(test)]
mod tests;
