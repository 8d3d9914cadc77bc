//! Certificates registered for `self_signed_tls_client_auth` (RFC 8705 §2.2.2): a JWK Set whose keys carry `x5c`.

use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};

use super::{MatchError, Matched};
use crate::domain::Timestamp;
use crate::jose::base64url;
use crate::jose::jwk::{JwkError, PublicJwk};
use crate::pki::{Certificate, CertificateError};

/// One registered certificate: a public JWK with the certificate in `x5c` (RFC 7517 §4.7).
#[derive(Clone, Debug)]
pub struct RegisteredCertificate {
    certificate: Certificate,
    jwk: PublicJwk,
}

/// Why a key of a registration's `jwks` is not a registered certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisteredCertificateError {
    /// Not a public JWK.
    #[error("{0}")]
    Jwk(#[from] JwkError),
    /// Not exactly one certificate in `x5c`.
    #[error("`x5c` must hold exactly one certificate, the client's own, in base64 (RFC 8705 §2.2.2)")]
    Chain,
    /// The certificate cannot be read.
    #[error("the certificate in `x5c`: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate holds another key than the JWK (RFC 7517 §4.7).
    #[error("the certificate in `x5c` holds another key than the JWK's other members (RFC 7517 §4.7)")]
    OtherKey,
    /// A key type that cannot be written as a JWK here.
    #[error("the certificate's key is neither RSA, nor EC on P-256, P-384 or P-521, nor Ed25519")]
    KeyType,
}

impl RegisteredCertificate {
    /// Reads one key of a registration's `jwks`.
    ///
    /// # Errors
    /// See [`RegisteredCertificateError`].
    pub fn from_jwk(members: &Map<String, Value>) -> Result<Self, RegisteredCertificateError> {
        let jwk = PublicJwk::from_members(members)?;
        let [der] = jwk.certificates() else { return Err(RegisteredCertificateError::Chain) };
        let certificate = Certificate::from_der(CertificateDer::from(der.clone()))?;
        let of_certificate = key_members(certificate.spki()).ok_or(RegisteredCertificateError::KeyType)?;
        let written = jwk.to_members();
        if of_certificate.iter().any(|(name, value)| written.get(name) != Some(value)) {
            return Err(RegisteredCertificateError::OtherKey);
        }
        Ok(Self { certificate, jwk })
    }

    /// The registration of a certificate.
    ///
    /// # Errors
    /// When its key cannot be written as a JWK.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, RegisteredCertificateError> {
        use base64::Engine as _;
        let mut members = key_members(certificate.spki()).ok_or(RegisteredCertificateError::KeyType)?;
        let text = base64::engine::general_purpose::STANDARD.encode(certificate.der());
        members.insert("x5c".to_owned(), Value::Array(vec![Value::from(text)]));
        Self::from_jwk(&members)
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its public key.
    pub const fn key(&self) -> &PublicJwk {
        &self.jwk
    }

    /// The members of its JWK.
    pub fn to_jwk(&self) -> Map<String, Value> {
        self.jwk.to_members()
    }
}

impl PartialEq for RegisteredCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.jwk == other.jwk
    }
}

impl Eq for RegisteredCertificate {}

/// The certificates of one client: at least one, at most [`RegisteredCertificates::MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredCertificates(Vec<RegisteredCertificate>);

impl RegisteredCertificates {
    /// The most certificates that one client may have.
    pub const MAX: usize = 10;

    /// `None` when there are none or too many.
    pub fn new(certificates: Vec<RegisteredCertificate>) -> Option<Self> {
        (1..=Self::MAX).contains(&certificates.len()).then_some(Self(certificates))
    }

    /// The certificates.
    pub fn iter(&self) -> impl Iterator<Item = &RegisteredCertificate> {
        self.0.iter()
    }

    /// Checks that the certificate is one of those registered, byte for byte, and within its dates. There is no path to judge
    /// (RFC 8705 §2.2).
    ///
    /// # Errors
    /// [`MatchError::NotRegistered`] or [`MatchError::Date`].
    pub fn check(&self, certificate: &Certificate, now: Timestamp) -> Result<Matched, MatchError> {
        let presented = certificate.thumbprint();
        if !self.0.iter().any(|registered| registered.certificate.thumbprint().matches(&presented)) {
            return Err(MatchError::NotRegistered(self.0.len()));
        }
        certificate.check_dates(now)?;
        Ok(Matched::new())
    }
}

/// Everything of a `SubjectPublicKeyInfo` before the two coordinates of an uncompressed point (RFC 5480 §2).
const EC: [(&str, usize, &[u8]); 3] = [
    (
        "P-256",
        32,
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04",
    ),
    ("P-384", 48, b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04"),
    ("P-521", 66, b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00\x04"),
];
/// The same before the 32 bytes of an Ed25519 key (RFC 8410 §4).
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The algorithm of an RSA key: `rsaEncryption` with NULL (RFC 3279 §2.3.1).
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// The members of the JWK that says the same as a `SubjectPublicKeyInfo`.
fn key_members(spki: &[u8]) -> Option<Map<String, Value>> {
    let members = |pairs: &[(&str, Value)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let encoded = |bytes: &[u8]| Value::from(base64url::encode(bytes));
    for (curve, length, prefix) in EC {
        if let Some(point) = spki.strip_prefix(prefix)
            && point.len() == 2 * length
        {
            let (x, y) = point.split_at_checked(length)?;
            return Some(members(&[("kty", "EC".into()), ("crv", curve.into()), ("x", encoded(x)), ("y", encoded(y))]));
        }
    }
    if let Some(x) = spki.strip_prefix(ED25519)
        && x.len() == 32
    {
        return Some(members(&[("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", encoded(x))]));
    }
    let (info, rest) = der_value(spki, 0x30)?;
    let (bits, end) = der_value(info.strip_prefix(RSA)?, 0x03)?;
    let (key, after) = der_value(bits.strip_prefix(&[0])?, 0x30)?;
    let (modulus, key) = der_value(key, 0x02)?;
    let (exponent, last) = der_value(key, 0x02)?;
    if [rest, end, after, last].iter().any(|left| !left.is_empty()) {
        return None;
    }
    let unsigned = |integer: &[u8]| encoded(integer.strip_prefix(&[0]).unwrap_or(integer));
    Some(members(&[("kty", "RSA".into()), ("n", unsigned(modulus)), ("e", unsigned(exponent))]))
}

/// The contents of one DER value with this tag, and what follows it.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [found, length @ 0..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x81, length, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high, low, rest @ ..] if *found == tag => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}
