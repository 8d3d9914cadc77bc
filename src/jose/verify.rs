//! Verifying signatures (RFC 7515 §5.2, RFC 7518 §3, RFC 8037 §3.1).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    VerificationAlgorithm,
};
use serde_json::{Map, Value};

use super::Algorithm;
use super::json;
use super::jwk::{Curve, JwkError, JwkSet, Material, PublicJwk};
use super::jws::{Compact, JwsError};

/// Parses a point: it must lie on the curve.
pub(super) fn point(curve: Curve, x: &[u8], y: &[u8]) -> Result<ParsedPublicKey, JwkError> {
    let algorithm: &'static dyn VerificationAlgorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED,
    };
    // SEC 1 §2.3.3: uncompressed.
    let encoded = [&[4u8][..], x, y].concat();
    ParsedPublicKey::new(algorithm, encoded).map_err(|_| JwkError::Invalid)
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA => None,
    }
}

/// A public key ready to verify one algorithm. Cheap to clone.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key_id: Option<Arc<str>>,
    key: Arc<ParsedPublicKey>,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// Prepares `jwk` for `algorithm`.
    ///
    /// # Errors
    /// [`JwkError::NotFor`] when the key is not for that algorithm.
    pub fn new(jwk: &PublicJwk, algorithm: Algorithm) -> Result<Self, JwkError> {
        if !jwk.fits(algorithm) {
            return Err(JwkError::NotFor(algorithm));
        }
        let key = match &jwk.material {
            Material::Ec { curve, x, y } => point(*curve, x, y)?,
            Material::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x).map_err(|_| JwkError::Invalid)?,
            Material::Rsa { n, e } => {
                let parameters = rsa_parameters(algorithm).ok_or(JwkError::NotFor(algorithm))?;
                PublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| JwkError::Invalid)?
            }
        };
        Ok(Self { algorithm, key_id: jwk.key_id().map(Arc::from), key: Arc::new(key) })
    }

    /// The algorithm this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Verifies a JWS and reads its payload as claims.
    ///
    /// # Errors
    /// [`JwsError::AlgorithmMismatch`], [`JwsError::Signature`], or [`JwsError::Payload`] when what was signed is not a JSON object.
    pub fn verify(&self, jws: &Compact<'_>) -> Result<VerifiedJws, JwsError> {
        self.check_compact(jws)?;
        let claims = json::parse_object(jws.unverified_payload()).map_err(JwsError::Payload)?;
        Ok(VerifiedJws { algorithm: self.algorithm, header: jws.header().clone(), claims })
    }

    /// Whether the key has signed this JWS, whatever its payload is.
    pub(super) fn check_compact(&self, jws: &Compact<'_>) -> Result<(), JwsError> {
        if jws.algorithm() != self.algorithm {
            return Err(JwsError::AlgorithmMismatch(jws.algorithm()));
        }
        self.check(jws.signing_input().as_bytes(), jws.signature())
    }

    /// Whether the key has signed these bytes.
    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), JwsError> {
        self.key.verify_sig(message, signature).map_err(|_| JwsError::Signature)
    }
}

/// Proof that a known key has signed this header and these claims. Says nothing about dates, audience or issuer.
#[derive(Clone, Debug)]
pub struct VerifiedJws {
    algorithm: Algorithm,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl VerifiedJws {
    /// `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`, as the header has it.
    pub fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// `typ`.
    pub fn typ(&self) -> Option<&str> {
        self.header.get("typ").and_then(Value::as_str)
    }

    /// The header parameters.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// The keys of one issuer, prepared once and looked up by `kid`. An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub struct VerifyingKeys {
    keys: Vec<VerifyingKey>,
    by_key_id: HashMap<Arc<str>, Vec<usize>>,
}

impl VerifyingKeys {
    /// A JWS without `kid` is tried with this many keys at most.
    pub const MAX_TRIALS: usize = 4;

    /// Prepares the keys of `set` for the algorithms that this issuer may use.
    pub fn new(set: &JwkSet, algorithms: &[Algorithm]) -> Self {
        Self::from_keys(set.verifying_keys(algorithms))
    }

    /// A snapshot of these keys.
    pub fn from_keys(keys: Vec<VerifyingKey>) -> Self {
        let mut by_key_id: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(key_id) = &key.key_id {
                by_key_id.entry(Arc::clone(key_id)).or_default().push(index);
            }
        }
        Self { keys, by_key_id }
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Verifies a JWS with the key that its `kid` names; without a `kid`, with those that fit its `alg`.
    ///
    /// # Errors
    /// [`JwsError::KeyUnknown`] when there is no such key, [`JwsError::AlgorithmMismatch`] when the key named is for another
    /// algorithm, and those of [`VerifyingKey::verify`].
    pub fn verify(&self, jws: &Compact<'_>) -> Result<VerifiedJws, JwsError> {
        let mut outcome = Err(JwsError::KeyUnknown);
        match jws.key_id() {
            Some(key_id) => {
                // A key may stand here once for each algorithm of its type (RSA), so a mismatch yields to what comes after it.
                for key in self.by_key_id.get(key_id).into_iter().flatten().filter_map(|index| self.keys.get(*index)) {
                    match key.verify(jws) {
                        Err(problem @ JwsError::AlgorithmMismatch(_)) => {
                            outcome = if matches!(outcome, Err(JwsError::KeyUnknown)) { Err(problem) } else { outcome };
                        }
                        Err(JwsError::Signature) => outcome = Err(JwsError::Signature),
                        decided => return decided,
                    }
                }
            }
            None => {
                let fitting = self.keys.iter().filter(|key| key.algorithm == jws.algorithm());
                for key in fitting.take(Self::MAX_TRIALS) {
                    match key.verify(jws) {
                        Err(JwsError::Signature) => outcome = Err(JwsError::Signature),
                        decided => return decided,
                    }
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
