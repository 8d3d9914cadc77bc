//! JWS with a shared secret (RFC 7518 §3.2): for clients that authenticate with `client_secret_jwt`, and for nothing else.
//!
//! The algorithms are of a type of their own, so that no public key can ever be taken for a secret, and no secret for a public key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

use super::AlgorithmUnknown;
use super::json;
use super::jws::{JwsError, Parts};

/// HMAC with SHA-2 (RFC 7518 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MacAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

impl MacAlgorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];

    /// The name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The shortest secret, in bytes: "a key of the same size as the hash output ... or larger MUST be used" (RFC 7518 §3.2).
    pub const fn least_secret_bytes(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HS256 => hmac::HMAC_SHA256,
            Self::HS384 => hmac::HMAC_SHA384,
            Self::HS512 => hmac::HMAC_SHA512,
        }
    }
}

impl FromStr for MacAlgorithm {
    type Err = AlgorithmUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or_else(|| AlgorithmUnknown(text.to_owned()))
    }
}

impl fmt::Display for MacAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A JWS with a shared secret whose syntax has been checked and whose authentication code has not. Nothing it says may be believed.
#[derive(Clone, Debug)]
pub struct MacCompact<'a> {
    algorithm: MacAlgorithm,
    header: Map<String, Value>,
    signing_input: &'a str,
    payload: Vec<u8>,
    code: Vec<u8>,
}

impl<'a> MacCompact<'a> {
    /// Reads the three parts and the header, as strictly as [`super::jws::Compact::parse`].
    ///
    /// # Errors
    /// Everything in [`JwsError`] but what needs a key; [`JwsError::AlgorithmUnknown`] for every algorithm with a public key.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        let Parts { algorithm, header, signing_input, payload, signature } = Parts::parse(text)?;
        Ok(Self { algorithm, header, signing_input, payload, code: signature })
    }

    /// `alg`.
    pub fn algorithm(&self) -> MacAlgorithm {
        self.algorithm
    }

    /// All header parameters.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The payload, believed by nobody yet.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Verifies the code, in constant time, and reads the payload as claims.
    ///
    /// # Errors
    /// [`JwsError::KeyUnknown`] for a secret too short for `alg`, [`JwsError::Signature`], and [`JwsError::Payload`] when what was
    /// signed is not a JSON object.
    pub fn verify(&self, secret: &[u8]) -> Result<Map<String, Value>, JwsError> {
        if secret.len() < self.algorithm.least_secret_bytes() {
            return Err(JwsError::KeyUnknown);
        }
        let key = hmac::Key::new(self.algorithm.hmac(), secret);
        hmac::verify(&key, self.signing_input.as_bytes(), &self.code).map_err(|_| JwsError::Signature)?;
        json::parse_object(&self.payload).map_err(JwsError::Payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::base64url;

    /// RFC 7515 Appendix A.1.
    const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const JWS: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                       eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                       dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn the_example_of_rfc_7515_appendix_a_1() {
        let secret = base64url::decode(SECRET).expect("base64url");
        let compact = MacCompact::parse(JWS).expect("well formed");
        assert_eq!(compact.algorithm(), MacAlgorithm::HS256);
        let claims = compact.verify(&secret).expect("verified");
        assert_eq!(claims["iss"], "joe");
        assert_eq!(compact.verify(&[1; 32]), Err(JwsError::Signature));
        assert_eq!(compact.verify(&secret[..31]), Err(JwsError::KeyUnknown), "too short for SHA-256");
        let altered = JWS.replace("OEjXk", "OEjXg");
        assert_eq!(MacCompact::parse(&altered).expect("well formed").verify(&secret), Err(JwsError::Signature));
        let cut = JWS.rsplit_once('.').expect("parts").0;
        assert_eq!(MacCompact::parse(&format!("{cut}.")).expect("well formed").verify(&secret), Err(JwsError::Signature));
    }

    #[test]
    fn algorithms_with_public_keys_are_none_of_these() {
        for name in ["none", "ES256", "RS256", "EdDSA", "hs256", "HS1"] {
            let header = base64url::encode(format!(r#"{{"alg":"{name}"}}"#));
            assert_eq!(MacCompact::parse(&format!("{header}.e30.AAAA")).err(), Some(JwsError::AlgorithmUnknown), "{name}");
        }
        for algorithm in MacAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
    }
}
