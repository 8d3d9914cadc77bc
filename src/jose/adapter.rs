//! josekit's signing traits, so that keys that live elsewhere (a hardware module, a key service) sign our tokens, and so that our
//! keys sign what josekit makes.

use std::sync::Arc;

use josekit::JoseError;
use josekit::jws::{JwsAlgorithm, JwsSigner, JwsVerifier};

use super::Algorithm;
use super::sign::{SignError, SigningKey, assemble, check_type, header};
use super::verify::VerifyingKey;

/// Whatever signs tokens of one `typ`: a key of ours, or one that lives elsewhere. The header is written once.
#[derive(Debug)]
pub struct TokenSigner {
    signer: Box<dyn JwsSigner>,
    header: String,
}

impl TokenSigner {
    /// Signs tokens whose header says `typ`.
    ///
    /// # Errors
    /// [`SignError::Type`] for a `typ` or a `kid` that would need escaping; [`SignError::Failed`] for an algorithm we do not know.
    pub fn new(signer: Box<dyn JwsSigner>, typ: &str) -> Result<Self, SignError> {
        let header = header_of(signer.as_ref(), typ)?;
        Ok(Self { signer, header })
    }

    /// Signs `payload` and writes the compact serialization.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the signer fails.
    pub fn sign_compact(&self, payload: &[u8]) -> Result<String, SignError> {
        let sign = |message: &[u8]| self.signer.sign(message).map_err(|_| SignError::Failed);
        assemble(&self.header, payload, self.signer.signature_len(), sign)
    }
}

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

fn header_of(signer: &dyn JwsSigner, typ: &str) -> Result<String, SignError> {
    check_type(typ)?;
    let algorithm: Algorithm = signer.algorithm().name().parse().map_err(|_| SignError::Failed)?;
    let key_id = signer.key_id();
    if key_id.is_some_and(|key_id| key_id.contains(['"', '\\']) || key_id.contains(|character: char| character.is_control())) {
        return Err(SignError::Type);
    }
    Ok(header(algorithm.name(), key_id, typ))
}

#[cfg(test)]
mod tests;
