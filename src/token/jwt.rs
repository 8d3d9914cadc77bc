//! JWT access tokens (RFC 9068), and those of issuers that write theirs in another way.

use super::claims::Claims;
use super::{TokenError, TokenFacts};
use crate::jose::verify::VerifiedJws;

/// `typ` (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// How an issuer writes its access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The values of `typ` that its access tokens have, without `application/`. Any but [`TYPE`] is shared with other kinds of JWT:
    /// tokens of such a type are read with less demanded of them and with whatever marks an ID token refused.
    pub types: Vec<String>,
    /// The claim that names the client, in tokens of other types than [`TYPE`].
    pub client_id_claim: String,
    /// The claim with the scope, in tokens of other types than [`TYPE`]: a string or an array of strings.
    pub scope_claim: String,
    /// Members of `cnf` that are passed over: see [`crate::domain::Cnf::from_json_ignoring`].
    pub ignored_cnf: Vec<String>,
}

impl Default for Layout {
    /// As RFC 9068 has it.
    fn default() -> Self {
        Self { types: vec![TYPE.into()], client_id_claim: "client_id".into(), scope_claim: "scope".into(), ignored_cnf: vec![] }
    }
}

/// Reads the claims of a JWT whose signature has verified.
///
/// # Errors
/// [`TokenError::Type`] for another `typ`; [`TokenError::ClaimAbsent`] and [`TokenError::Claim`] for claims that are missing or not what
/// RFC 9068 §2.2 says; [`TokenError::Cnf`].
pub fn read(jws: &VerifiedJws) -> Result<TokenFacts, TokenError> {
    read_as(jws, &Layout::default())
}

/// The same, as this issuer writes its tokens.
///
/// # Errors
/// As [`read`]; and [`TokenError::IdToken`].
pub fn read_as(jws: &VerifiedJws, layout: &Layout) -> Result<TokenFacts, TokenError> {
    // A media type: compared without regard to case, `application/` may be left out (RFC 7515 §4.1.9).
    let typ = jws.typ().ok_or(TokenError::Type)?;
    let name = match typ.get(..APPLICATION.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION) => typ.get(APPLICATION.len()..).unwrap_or_default(),
        _ => typ,
    };
    if !layout.types.iter().any(|one| one.eq_ignore_ascii_case(name)) {
        return Err(TokenError::Type);
    }
    let key_id = jws.key_id().map(|text| text.parse().map_err(|_| TokenError::Malformed)).transpose()?;
    let claims = Claims::new(jws.claims(), &layout.ignored_cnf);
    if name.eq_ignore_ascii_case(TYPE) { claims.access_token(key_id) } else { claims.other_access_token(key_id, layout) }
}

/// What a media type's first half is where it is left out.
const APPLICATION: &str = "application/";

#[cfg(test)]
mod tests;
