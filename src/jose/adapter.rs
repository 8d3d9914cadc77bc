//! josekit's signing traits, so that keys that live elsewhere (a hardware module, a key service) sign our tokens, and so that our
//! keys sign what josekit makes.

use std::sync::Arc;

use josekit::JoseError;
use josekit::jws::{JwsAlgorithm, JwsSigner, JwsVerifier};

use super::Algorithm;
use super::sign::{SignError, SigningKey, assemble, check_type, header};
use super::verify::VerifyingKey;

/// Whatever signs tokens.
pub type TokenSigner = Box<dyn JwsSigner + Send + Sync>;

impl JwsAlgorithm for Algorithm {
    fn name(&self) -> &str {
        Algorithm::name(*self)
    }

    fn box_clone(&self) -> Box<dyn JwsAlgorithm> {
        Box::new(*self)
    }
}

/// One of our keys as a josekit signer.
#[derive(Clone, Debug)]
pub struct KeySigner {
    key: Arc<SigningKey>,
    algorithm: Algorithm,
}

impl KeySigner {
    /// Wraps a key.
    pub fn new(key: Arc<SigningKey>) -> Self {
        let algorithm = key.algorithm();
        Self { key, algorithm }
    }
}

impl JwsSigner for KeySigner {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        &self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        Some(self.key.key_id().as_str())
    }

    fn signature_len(&self) -> usize {
        self.key.signature_length()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        self.key.sign(message).map_err(|error| JoseError::InvalidSignature(error.into()))
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

/// One of our verifying keys as a josekit verifier.
#[derive(Clone, Debug)]
pub struct KeyVerifier {
    key: VerifyingKey,
    algorithm: Algorithm,
}

impl KeyVerifier {
    /// Wraps a key. As with josekit's own, a token is only taken with the key's `kid` when the key has one.
    pub fn new(key: VerifyingKey) -> Self {
        let algorithm = key.algorithm();
        Self { key, algorithm }
    }
}

impl JwsVerifier for KeyVerifier {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        &self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key.key_id()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        self.key.check(message, signature).map_err(|error| JoseError::InvalidSignature(error.into()))
    }

    fn box_clone(&self) -> Box<dyn JwsVerifier> {
        Box::new(self.clone())
    }
}

/// The same as [`SigningKey::sign_compact`], for a signer from elsewhere.
///
/// # Errors
/// [`SignError::Type`] for a `typ` or a `kid` that would need escaping; [`SignError::Failed`] when the signer fails.
pub fn sign_compact(signer: &dyn JwsSigner, typ: &str, payload: &[u8]) -> Result<String, SignError> {
    check_type(typ)?;
    let algorithm: Algorithm = signer.algorithm().name().parse().map_err(|_| SignError::Failed)?;
    let key_id = signer.key_id();
    if key_id.is_some_and(|key_id| key_id.contains(['"', '\\']) || key_id.contains(|character: char| character.is_control())) {
        return Err(SignError::Type);
    }
    let header = header(algorithm.name(), key_id, typ);
    assemble(&header, payload, signer.signature_len(), |message| signer.sign(message).map_err(|_| SignError::Failed))
}

#[cfg(test)]
mod tests;
