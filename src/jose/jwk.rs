//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2) and their thumbprints (RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::json::{self, JsonError};
#[cfg(feature = "server")]
use super::jwe::KeyManagement;
use super::verify::{VerifyingKey, point};
use super::{Algorithm, base64url, digest};
use crate::domain::Thumbprint;

/// Why JSON is not a public key we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not strict JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A set without an array `keys` of objects (RFC 7517 §5).
    #[error("not a JWK Set: `keys` must be an array of objects (RFC 7517 §5)")]
    NotASet,
    /// A set with more than [`JwkSet::MAX_KEYS`] keys.
    #[error("more than {} keys", JwkSet::MAX_KEYS)]
    TooManyKeys,
    /// A required member is missing or has the wrong type.
    #[error("`{0}` is missing or has the wrong type")]
    Member(&'static str),
    /// A member that belongs to private or symmetric keys. Such a key has leaked.
    #[error("`{0}` is a private member: this key must not be published, and must not be used any more")]
    Private(&'static str),
    /// A key type or curve that we do not use.
    #[error("the key type or curve is not one we use")]
    Unsupported,
    /// Members that are no key: a wrong length, a point off the curve, a modulus outside 2048 to 8192 bits.
    #[error("the members are not a valid key")]
    Invalid,
    /// A key that does not sign with this algorithm, by `kty`, `crv`, `alg`, `use` or `key_ops`.
    #[error("this key does not verify {0}")]
    NotFor(Algorithm),
}

/// A curve of ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The length of a coordinate in bytes (RFC 7518 §6.2.1.2).
    pub(super) const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    pub(super) const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
            Self::P521 => Algorithm::ES512,
        }
    }
}

/// The members that make the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Material {
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

/// One public key. It is valid: lengths, curve membership and modulus size are checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    pub(super) material: Material,
    key_id: Option<String>,
    key_use: Option<String>,
    algorithm: Option<String>,
    key_operations: Option<Vec<String>>,
    certificates: Vec<Vec<u8>>,
}

impl PublicJwk {
    /// Reads one key.
    ///
    /// # Errors
    /// See [`JwkError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, JwkError> {
        Self::from_members(&json::parse_object(bytes)?)
    }

    /// Reads one key from members that were strictly parsed.
    ///
    /// # Errors
    /// See [`JwkError`].
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, JwkError> {
        for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
            if members.contains_key(name) {
                return Err(JwkError::Private(name));
            }
        }
        let material = match required(members, "kty")? {
            "EC" => {
                let name = required(members, "crv")?;
                let curve = Curve::ALL.into_iter().find(|curve| curve.name() == name).ok_or(JwkError::Unsupported)?;
                Material::Ec { curve, x: bytes(members, "x")?, y: bytes(members, "y")? }
            }
            "RSA" => Material::Rsa { n: bytes(members, "n")?, e: bytes(members, "e")? },
            "OKP" if required(members, "crv")? == "Ed25519" => Material::Ed25519 { x: bytes(members, "x")? },
            _ => return Err(JwkError::Unsupported),
        };
        material.check()?;
        let key_operations = match members.get("key_ops") {
            None => None,
            Some(value) => Some(strings(value).ok_or(JwkError::Member("key_ops"))?),
        };
        let certificates = match members.get("x5c") {
            None => Vec::new(),
            Some(value) => {
                let texts = strings(value).filter(|texts| !texts.is_empty()).ok_or(JwkError::Member("x5c"))?;
                // RFC 7517 §4.7: base64, not base64url.
                texts.iter().map(|text| STANDARD.decode(text).map_err(|_| JwkError::Member("x5c"))).collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            material,
            key_id: optional(members, "kid")?,
            key_use: optional(members, "use")?,
            algorithm: optional(members, "alg")?,
            key_operations,
            certificates,
        })
    }

    /// A signing key's public half: `use`, `alg` and `kid` (the thumbprint) are set.
    pub(super) fn of_signing_key(material: Material, algorithm: Algorithm) -> Result<Self, JwkError> {
        material.check()?;
        let key_id = Some(material.thumbprint().to_string());
        Ok(Self {
            material,
            key_id,
            key_use: Some("sig".to_owned()),
            algorithm: Some(algorithm.name().to_owned()),
            key_operations: None,
            certificates: Vec::new(),
        })
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The certificates in `x5c`, DER, the first being this key's (RFC 7517 §4.7). Nothing about them has been checked, not even
    /// that the first carries this key.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The RFC 7638 thumbprint.
    pub fn thumbprint(&self) -> Thumbprint {
        self.material.thumbprint()
    }

    /// Whether signatures of `algorithm` can be verified with this key: by `kty` and `crv`, and by `alg`, `use` and `key_ops`
    /// where they are present (RFC 7517 §4.2 to §4.4).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let by_type = match (&self.material, algorithm) {
            (Material::Ec { curve, .. }, _) => curve.algorithm() == algorithm,
            (Material::Rsa { .. }, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::RS256) => true,
            (Material::Ed25519 { .. }, Algorithm::EdDSA) => true,
            (Material::Rsa { .. } | Material::Ed25519 { .. }, _) => false,
        };
        by_type
            && self.algorithm.as_deref().is_none_or(|name| name == algorithm.name())
            && self.key_use.as_deref().is_none_or(|name| name == "sig")
            && self.key_operations.as_deref().is_none_or(|names| names.iter().any(|name| name == "verify"))
    }

    /// Whether content can be encrypted to this key with `alg`: by `kty`, and by `alg`, `use` and `key_ops` where they are present
    /// (RFC 7517 §4.2 to §4.4).
    #[cfg(feature = "server")]
    pub fn encrypts(&self, alg: KeyManagement) -> bool {
        let (by_type, operations) = match (&self.material, alg) {
            (Material::Rsa { .. }, KeyManagement::RsaOaep256) => (true, ["encrypt", "wrapKey"]),
            (Material::Ec { .. }, KeyManagement::EcdhEs | KeyManagement::EcdhEsA128kw | KeyManagement::EcdhEsA256kw) => {
                (true, ["deriveKey", "deriveBits"])
            }
            (Material::Rsa { .. } | Material::Ec { .. } | Material::Ed25519 { .. }, _) => (false, ["", ""]),
        };
        by_type
            && self.algorithm.as_deref().is_none_or(|name| name == alg.name())
            && self.key_use.as_deref().is_none_or(|name| name == "enc")
            && self.key_operations.as_deref().is_none_or(|names| names.iter().any(|name| operations.contains(&name.as_str())))
    }

    /// Whether the key says that it is for encryption and nothing else.
    pub fn is_for_encryption(&self) -> bool {
        self.key_use.as_deref() == Some("enc")
    }

    /// The members, as a JWKS document shows them.
    pub fn to_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: &str| members.insert(name.to_owned(), Value::from(value));
        match &self.material {
            Material::Ec { curve, x, y } => {
                put("kty", "EC");
                put("crv", curve.name());
                put("x", &base64url::encode(x));
                put("y", &base64url::encode(y));
            }
            Material::Rsa { n, e } => {
                put("kty", "RSA");
                put("n", &base64url::encode(n));
                put("e", &base64url::encode(e));
            }
            Material::Ed25519 { x } => {
                put("kty", "OKP");
                put("crv", "Ed25519");
                put("x", &base64url::encode(x));
            }
        }
        for (name, value) in [("use", &self.key_use), ("alg", &self.algorithm), ("kid", &self.key_id)] {
            if let Some(value) = value {
                put(name, value);
            }
        }
        if let Some(names) = &self.key_operations {
            members.insert("key_ops".to_owned(), Value::from(names.clone()));
        }
        if !self.certificates.is_empty() {
            let texts = self.certificates.iter().map(|der| Value::from(STANDARD.encode(der))).collect();
            members.insert("x5c".to_owned(), Value::Array(texts));
        }
        members
    }
}

impl Serialize for PublicJwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_members().serialize(serializer)
    }
}

impl Material {
    fn check(&self) -> Result<(), JwkError> {
        match self {
            Self::Ec { curve, x, y } => {
                let length = curve.coordinate_length();
                if x.len() != length || y.len() != length {
                    return Err(JwkError::Invalid);
                }
                point(*curve, x, y).map(|_| ())
            }
            Self::Rsa { n, e } => {
                // Base64urlUInt has no leading zero octets (RFC 7518 §2). Exponents beyond 32 bits only make verifying slow.
                let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                let canonical = [n, e].iter().all(|integer| integer.first().is_some_and(|byte| *byte != 0));
                let odd = [n, e].iter().all(|integer| integer.last().is_some_and(|byte| byte & 1 == 1));
                let valid = canonical && odd && (2048..=8192).contains(&bits) && e.len() <= 4 && e.as_slice() != [1];
                if valid { Ok(()) } else { Err(JwkError::Invalid) }
            }
            Self::Ed25519 { x } if x.len() == 32 => Ok(()),
            Self::Ed25519 { .. } => Err(JwkError::Invalid),
        }
    }

    /// RFC 7638 §3: the required members in lexicographic order, without white space (RFC 8037 §2 for OKP).
    fn thumbprint(&self) -> Thumbprint {
        let canonical = match self {
            Self::Ec { curve, x, y } => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                curve.name(),
                base64url::encode(x),
                base64url::encode(y)
            ),
            Self::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, base64url::encode(e), base64url::encode(n))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url::encode(x)),
        };
        Thumbprint::from_bytes(digest::sha256(canonical.as_bytes()))
    }
}

fn required<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, JwkError> {
    members.get(name).and_then(Value::as_str).ok_or(JwkError::Member(name))
}

fn optional(members: &Map<String, Value>, name: &'static str) -> Result<Option<String>, JwkError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(JwkError::Member(name)),
    }
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    base64url::decode(required(members, name)?).map_err(|_| JwkError::Member(name))
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

/// A JWK Set (RFC 7517 §5).
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<PublicJwk>,
    skipped: Vec<JwkError>,
}

impl JwkSet {
    /// The most keys a set may have.
    pub const MAX_KEYS: usize = 100;

    /// Reads a set. Keys of types we do not know, and keys that are not valid, are skipped (RFC 7517 §5) and told by
    /// [`JwkSet::skipped`]; a private key is skipped too. The caller limits the length of `bytes`.
    ///
    /// # Errors
    /// When the document is not a set at all.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JwkError> {
        let document = json::parse_object(bytes)?;
        let values = document.get("keys").and_then(Value::as_array).ok_or(JwkError::NotASet)?;
        if values.len() > Self::MAX_KEYS {
            return Err(JwkError::TooManyKeys);
        }
        let mut set = Self::default();
        for value in values {
            match PublicJwk::from_members(value.as_object().ok_or(JwkError::NotASet)?) {
                Ok(key) => set.keys.push(key),
                Err(problem) => set.skipped.push(problem),
            }
        }
        Ok(set)
    }

    /// A set of these keys.
    pub fn from_keys(keys: Vec<PublicJwk>) -> Self {
        Self { keys, skipped: Vec::new() }
    }

    /// The keys that can be used.
    pub fn keys(&self) -> &[PublicJwk] {
        &self.keys
    }

    /// Why the others cannot.
    pub fn skipped(&self) -> &[JwkError] {
        &self.skipped
    }

    /// The keys that a JWS with this `kid` and `alg` may be verified with. Without a `kid` every key that fits `alg` is one.
    pub fn candidates<'s>(&'s self, key_id: Option<&'s str>, algorithm: Algorithm) -> impl Iterator<Item = &'s PublicJwk> {
        self.keys.iter().filter(move |key| key.fits(algorithm) && (key_id.is_none() || key.key_id() == key_id))
    }

    /// The document that others fetch: `{"keys": [...]}`.
    pub fn to_json(&self) -> Vec<u8> {
        let keys = self.keys.iter().map(|key| Value::Object(key.to_members())).collect();
        let mut document = Map::new();
        document.insert("keys".to_owned(), Value::Array(keys));
        Value::Object(document).to_string().into_bytes()
    }

    /// The keys made ready to verify `algorithms`.
    pub fn verifying_keys(&self, algorithms: &[Algorithm]) -> Vec<VerifyingKey> {
        let pairs = self.keys.iter().flat_map(|key| algorithms.iter().map(move |algorithm| (key, *algorithm)));
        pairs.filter_map(|(key, algorithm)| VerifyingKey::new(key, algorithm).ok()).collect()
    }
}

#[cfg(test)]
mod tests;
