//! JWT access tokens (RFC 9068).

use super::claims::Claims;
use super::{TokenError, TokenFacts};
use crate::jose::verify::VerifiedJws;

/// `typ` (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// Reads the claims of a JWT whose signature has verified.
///
/// # Errors
/// [`TokenError::Type`] for another `typ`; [`TokenError::ClaimAbsent`] and [`TokenError::Claim`] for claims that are missing or not what
/// RFC 9068 §2.2 says; [`TokenError::Cnf`].
pub fn read(jws: &VerifiedJws) -> Result<TokenFacts, TokenError> {
    read_ignoring(jws, &[])
}

/// The same, passing over members of `cnf` of these names: see [`crate::domain::Cnf::from_json_ignoring`].
///
/// # Errors
/// As [`read`].
pub fn read_ignoring(jws: &VerifiedJws, ignored_cnf: &[String]) -> Result<TokenFacts, TokenError> {
    // A media type: compared without regard to case, `application/` may be left out (RFC 7515 §4.1.9).
    let typ = jws.typ().ok_or(TokenError::Type)?;
    if !typ.eq_ignore_ascii_case(TYPE) && !typ.eq_ignore_ascii_case("application/at+jwt") {
        return Err(TokenError::Type);
    }
    let key_id = jws.key_id().map(|text| text.parse().map_err(|_| TokenError::Malformed)).transpose()?;
    Claims::new(jws.claims(), ignored_cnf).access_token(key_id)
}

#[cfg(test)]
mod tests;
