//! Proof Key for Code Exchange (RFC 7636). `S256` alone: `plain` protects nothing from who reads the request (RFC 9700 §2.1.1).

use subtle::ConstantTimeEq as _;

use super::error::{ErrorCode, Refusal};
use super::parameters::Parameters;
use super::profiles::Demand;
use crate::event::Reason;
use crate::jose::base64url;
use crate::jose::digest::sha256;

/// `code_challenge_method` (RFC 7636 §4.3).
pub const METHOD: &str = "S256";

/// A `code_challenge`: the SHA-256 of a verifier that only the client knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

/// Proof that whoever redeems a code is who asked for it, as far as PKCE can tell. Made by [`check`] alone.
#[derive(Clone, Copy, Debug)]
pub struct CodeVerified(());

/// Reads the challenge of an authorization request.
pub fn challenge(parameters: &Parameters, demand: Demand) -> Result<Option<CodeChallenge>, Refusal> {
    let malformed = |description| Refusal::new(ErrorCode::InvalidRequest, Reason::PkceMalformed, description);
    let Some(challenge) = parameters.get("code_challenge") else {
        return match demand {
            Demand::Required => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                Reason::PkceAbsent,
                "code_challenge is required (RFC 7636 section 4.4.1)",
            )),
            Demand::Optional if parameters.get("code_challenge_method").is_some() => {
                Err(malformed("code_challenge_method without code_challenge"))
            }
            Demand::Optional => Ok(None),
        };
    };
    // RFC 7636 §4.3: absent, it would be `plain`.
    if parameters.get("code_challenge_method") != Some(METHOD) {
        return Err(malformed("code_challenge_method must be S256"));
    }
    // The SHA-256 of something, in base64url without padding.
    match base64url::decode(challenge) {
        Ok(bytes) if bytes.len() == 32 => Ok(Some(CodeChallenge(challenge.to_owned()))),
        _ => Err(malformed("code_challenge is not a SHA-256 digest in base64url (RFC 7636 section 4.2)")),
    }
}

/// Holds the `code_verifier` of a token request against the challenge of its authorization request (RFC 7636 §4.6). A verifier where
/// there was no challenge is refused: somebody took the challenge away (RFC 9700 §4.8.2).
pub fn check(challenge: Option<&CodeChallenge>, parameters: &Parameters) -> Result<CodeVerified, Refusal> {
    let refused = |description| Refusal::new(ErrorCode::InvalidGrant, Reason::PkceMismatch, description);
    match (challenge, parameters.get("code_verifier")) {
        (None, None) => Ok(CodeVerified(())),
        (None, Some(_)) => Err(refused("the authorization request had no code_challenge")),
        (Some(_), None) => Err(refused("code_verifier is missing (RFC 7636 section 4.5)")),
        (Some(challenge), Some(verifier)) => {
            let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(is_unreserved) {
                return Err(refused("code_verifier is not one (RFC 7636 section 4.1)"));
            }
            let computed = base64url::encode(sha256(verifier.as_bytes()));
            if bool::from(computed.as_bytes().ct_eq(challenge.0.as_bytes())) {
                Ok(CodeVerified(()))
            } else {
                Err(refused("code_verifier does not match code_challenge (RFC 7636 section 4.6)"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn parameters(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).expect("parameters")
    }

    #[test]
    fn the_standards_own_example_verifies() {
        let request = parameters(&format!("code_challenge={CHALLENGE}&code_challenge_method=S256"));
        let known = challenge(&request, Demand::Required).expect("a challenge");
        assert!(check(known.as_ref(), &parameters(&format!("code_verifier={VERIFIER}"))).is_ok());
        let altered = VERIFIER.replacen('d', "e", 1);
        for (text, reason) in [
            (format!("code_verifier={altered}"), Reason::PkceMismatch),
            (format!("code_verifier={CHALLENGE}"), Reason::PkceMismatch),
            ("code_verifier=short".to_owned(), Reason::PkceMismatch),
            (format!("code_verifier={}", "a".repeat(129)), Reason::PkceMismatch),
            (String::new(), Reason::PkceMismatch),
        ] {
            let refusal = check(known.as_ref(), &parameters(&text)).expect_err(&text);
            assert_eq!((refusal.code, refusal.reason), (ErrorCode::InvalidGrant, reason), "{text}");
        }
        let refusal = check(None, &parameters(&format!("code_verifier={VERIFIER}"))).expect_err("a downgrade");
        assert_eq!(refusal.reason, Reason::PkceMismatch);
        assert!(check(None, &parameters("")).is_ok());
    }

    #[test]
    fn only_s256_is_a_challenge() {
        let table = [
            (String::new(), Demand::Optional, None),
            (String::new(), Demand::Required, Some(Reason::PkceAbsent)),
            (format!("code_challenge={CHALLENGE}"), Demand::Optional, Some(Reason::PkceMalformed)),
            (format!("code_challenge={CHALLENGE}&code_challenge_method=plain"), Demand::Optional, Some(Reason::PkceMalformed)),
            (format!("code_challenge={CHALLENGE}&code_challenge_method=s256"), Demand::Optional, Some(Reason::PkceMalformed)),
            (format!("code_challenge={CHALLENGE}%3D&code_challenge_method=S256"), Demand::Optional, Some(Reason::PkceMalformed)),
            ("code_challenge=abc&code_challenge_method=S256".to_owned(), Demand::Optional, Some(Reason::PkceMalformed)),
            ("code_challenge_method=S256".to_owned(), Demand::Optional, Some(Reason::PkceMalformed)),
        ];
        for (text, demand, expected) in table {
            assert_eq!(challenge(&parameters(&text), demand).err().map(|refusal| refusal.reason), expected, "{text}");
        }
    }
}
