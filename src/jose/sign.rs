//! Signing (RFC 7515 §5.1).

use std::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding, RsaKeyPair,
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::jwk::{Curve, JwkError, Material, PublicJwk};
use super::verify::VerifyingKey;
use super::{Algorithm, base64url};
use crate::domain::{KeyId, Randomness, RandomnessUnavailable};
use crate::event::Reason;

/// Why a key could not be made or a signature not be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignError {
    /// The operating system gave no randomness.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// Not a private key in PKCS #8 for this algorithm.
    #[error("not an unencrypted PKCS #8 private key for {0}")]
    Key(Algorithm),
    /// A `typ` with characters outside those of media types (RFC 6838 §4.2).
    #[error("`typ` is not the name of a media type")]
    Type,
    /// The signature could not be computed.
    #[error("the signature could not be computed")]
    Failed,
}

impl SignError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Randomness(_) => Reason::RandomnessUnavailable,
            Self::Key(_) => Reason::SigningKeyAbsent,
            Self::Type | Self::Failed => Reason::Defect,
        }
    }
}

#[derive(Debug)]
enum Pair {
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key that signs with one algorithm. Its `kid` is its RFC 7638 thumbprint.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    public: PublicJwk,
    key_id: KeyId,
    /// Encoded headers of the types that are signed all the time, each with its dot.
    headers: Vec<(&'static str, String)>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl SigningKey {
    const PREPARED_TYPES: [&'static str; 2] = ["at+jwt", "JWT"];

    /// Makes a key. EC and Ed25519 keys are made of `randomness` alone; an RSA key (3072 bits) is drawn by AWS-LC's own generator.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(algorithm: Algorithm, randomness: &dyn Randomness) -> Result<Self, SignError> {
        let pair = match algorithm {
            Algorithm::ES256 => generate_ec(Curve::P256, randomness)?,
            Algorithm::ES384 => generate_ec(Curve::P384, randomness)?,
            Algorithm::ES512 => generate_ec(Curve::P521, randomness)?,
            Algorithm::EdDSA => {
                let mut seed = Zeroizing::new([0u8; 32]);
                randomness.fill(&mut *seed)?;
                Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| SignError::Key(algorithm))?)
            }
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::RS256 => return Self::generate_rsa(algorithm),
        };
        Self::new(algorithm, pair)
    }

    /// Makes an RSA key (3072 bits), drawn by AWS-LC's own generator. It takes a moment.
    ///
    /// # Errors
    /// When there is no randomness; [`SignError::Key`] for an algorithm that is not of RSA.
    pub fn generate_rsa(algorithm: Algorithm) -> Result<Self, SignError> {
        let pair = Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(|_| RandomnessUnavailable)?);
        match algorithm {
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::RS256 => Self::new(algorithm, pair),
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA => Err(SignError::Key(algorithm)),
        }
    }

    /// Reads an unencrypted PKCS #8 private key (RFC 5958), DER.
    ///
    /// # Errors
    /// [`SignError::Key`] when it is something else or a key for another algorithm.
    pub fn from_pkcs8(der: &[u8], algorithm: Algorithm) -> Result<Self, SignError> {
        let refused = |_| SignError::Key(algorithm);
        let ec = |curve| EcdsaKeyPair::from_pkcs8(signing_algorithm(curve), der).map(|pair| Pair::Ec(curve, pair));
        let pair = match algorithm {
            Algorithm::ES256 => ec(Curve::P256).map_err(refused)?,
            Algorithm::ES384 => ec(Curve::P384).map_err(refused)?,
            Algorithm::ES512 => ec(Curve::P521).map_err(refused)?,
            // Version 1 carries no public key to check against; the public key is computed either way.
            Algorithm::EdDSA => Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(refused)?),
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::RS256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(refused)?)
            }
        };
        Self::new(algorithm, pair)
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Result<Self, SignError> {
        let refused = |_: JwkError| SignError::Key(algorithm);
        let material = material(&pair).ok_or(SignError::Key(algorithm))?;
        let public = PublicJwk::of_signing_key(material, algorithm).map_err(refused)?;
        let key_id: KeyId = public.thumbprint().to_string().parse().map_err(|_| SignError::Key(algorithm))?;
        let headers =
            Self::PREPARED_TYPES.into_iter().map(|typ| (typ, header(algorithm.name(), Some(key_id.as_str()), typ))).collect();
        Ok(Self { algorithm, pair, public, key_id, headers })
    }

    /// The private key in PKCS #8 version 1, DER: what is sealed and stored.
    ///
    /// # Errors
    /// [`SignError::Failed`] when it cannot be encoded.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let document = match &self.pair {
            Pair::Ec(_, pair) => pair.to_pkcs8v1().map(|document| Zeroizing::new(document.as_ref().to_vec())),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map(|document| Zeroizing::new(document.as_ref().to_vec())),
            Pair::Rsa(pair) => {
                let document: Result<Pkcs8V1Der<'_>, _> = pair.as_der();
                document.map(|document| Zeroizing::new(document.as_ref().to_vec()))
            }
        };
        document.map_err(|_| SignError::Failed)
    }

    /// The algorithm this key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`: the RFC 7638 thumbprint.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The public key, with `use`, `alg` and `kid`.
    pub fn public_jwk(&self) -> &PublicJwk {
        &self.public
    }

    /// The public key, ready to verify what this one signs.
    ///
    /// # Errors
    /// Never for a key that was made: the error is that of [`VerifyingKey::new`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, JwkError> {
        VerifyingKey::new(&self.public, self.algorithm)
    }

    /// Signs `payload` and writes the compact serialization with `alg`, `kid` and `typ` in the header.
    ///
    /// # Errors
    /// [`SignError::Type`] for a `typ` that would need escaping; [`SignError::Failed`].
    pub fn sign_compact(&self, typ: &str, payload: &[u8]) -> Result<String, SignError> {
        let made;
        let header = match self.headers.iter().find(|(name, _)| *name == typ) {
            Some((_, header)) => header,
            None => {
                check_type(typ)?;
                made = header(self.algorithm.name(), Some(self.key_id.as_str()), typ);
                &made
            }
        };
        assemble(header, payload, self.signature_length(), |message| self.sign(message))
    }

    /// Signs `payload` with this header, to which `alg` is added: for a JWS that says more than `kid` and `typ`, such as a DPoP proof
    /// with its `jwk` (RFC 9449 §4.2).
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign_with_header(&self, mut header: Map<String, Value>, payload: &[u8]) -> Result<String, SignError> {
        header.insert("alg".to_owned(), Value::from(self.algorithm.name()));
        let mut encoded = base64url::encode(Value::Object(header).to_string());
        encoded.push('.');
        assemble(&encoded, payload, self.signature_length(), |message| self.sign(message))
    }

    /// The length of a signature in bytes (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1).
    pub(super) fn signature_length(&self) -> usize {
        match &self.pair {
            Pair::Ec(curve, _) => curve.coordinate_length() * 2,
            Pair::Ed25519(_) => 64,
            Pair::Rsa(pair) => pair.public_modulus_len(),
        }
    }

    /// Signs bytes; the signature is as JWS writes it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ec(_, pair) => pair.sign(&of_signatures(), message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match self.algorithm {
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    Algorithm::PS512 => &RSA_PSS_SHA512,
                    Algorithm::RS256 => &RSA_PKCS1_SHA256,
                    Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA => return Err(SignError::Failed),
                };
                let mut signature = vec![0u8; pair.public_modulus_len()];
                pair.sign(encoding, &of_signatures(), message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| SignError::Failed)
    }
}

/// What a scheme draws for itself in a signature: the number of ECDSA, the salt of RSA-PSS. AWS-LC takes no other source than its own.
#[allow(clippy::disallowed_methods, reason = "nothing is decided by it, and AWS-LC takes nothing else")]
fn of_signatures() -> SystemRandom {
    SystemRandom::new()
}

/// Header, payload and signature in one string, allocated once.
pub(super) fn assemble(
    header: &str,
    payload: &[u8],
    signature_length: usize,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, SignError>,
) -> Result<String, SignError> {
    let length = header.len() + base64url::encoded_length(payload.len()) + 1 + base64url::encoded_length(signature_length);
    let mut text = String::with_capacity(length);
    text.push_str(header);
    base64url::append(payload, &mut text);
    let signature = sign(text.as_bytes())?;
    text.push('.');
    base64url::append(signature, &mut text);
    Ok(text)
}

/// The encoded header and its dot. `key_id` and `typ` need no escaping: see [`check_type`] and the caller.
pub(super) fn header(algorithm: &str, key_id: Option<&str>, typ: &str) -> String {
    let key_id = key_id.map(|key_id| format!(r#""kid":"{key_id}","#)).unwrap_or_default();
    let mut text = base64url::encode(format!(r#"{{"alg":"{algorithm}",{key_id}"typ":"{typ}"}}"#));
    text.push('.');
    text
}

/// RFC 6838 §4.2, with `/`.
pub(super) fn check_type(typ: &str) -> Result<(), SignError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&byte);
    if !typ.is_empty() && typ.bytes().all(allowed) { Ok(()) } else { Err(SignError::Type) }
}

const fn signing_algorithm(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

/// Draws scalars until one lies in the group's order (FIPS 186-5 A.2.2): for P-256 the first one does but for one in 2^32.
fn generate_ec(curve: Curve, randomness: &dyn Randomness) -> Result<Pair, SignError> {
    let agreement = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
        Curve::P521 => &agreement::ECDH_P521,
    };
    let mut scalar = Zeroizing::new(vec![0u8; curve.coordinate_length()]);
    for _ in 0..64 {
        randomness.fill(&mut scalar)?;
        if let (Curve::P521, Some(first)) = (curve, scalar.first_mut()) {
            *first &= 1;
        }
        let Ok(private) = agreement::PrivateKey::from_private_key(agreement, &scalar) else { continue };
        let public = private.compute_public_key().map_err(|_| SignError::Failed)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing_algorithm(curve), &scalar, public.as_ref());
        return pair.map(|pair| Pair::Ec(curve, pair)).map_err(|_| SignError::Failed);
    }
    // Sixty-four in a row outside the order: this is no randomness.
    Err(SignError::Randomness(RandomnessUnavailable))
}

fn material(pair: &Pair) -> Option<Material> {
    match pair {
        Pair::Ec(curve, pair) => {
            let coordinates = pair.public_key().as_ref().strip_prefix(&[4])?;
            let (x, y) = coordinates.split_at_checked(curve.coordinate_length())?;
            Some(Material::Ec { curve: *curve, x: x.to_vec(), y: y.to_vec() })
        }
        Pair::Ed25519(pair) => Some(Material::Ed25519 { x: pair.public_key().as_ref().to_vec() }),
        Pair::Rsa(pair) => {
            let components = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            Some(Material::Rsa { n: components.n, e: components.e })
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
