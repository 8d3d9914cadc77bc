use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;

use super::name::{DistinguishedName, NameError};
use super::subject_alt_names::{SubjectAltNameError, SubjectAltNames};

/// A certificate whose fields have been read. Cheap to clone.
///
/// Reading is all that happened: nothing says that anybody signed it, that it is in date, or that whoever showed it holds its
/// key.
#[derive(Clone)]
pub struct Certificate(Arc<Fields>);

struct Fields {
    der: CertificateDer<'static>,
    spki: SubjectPublicKeyInfoDer<'static>,
    thumbprint: Thumbprint,
    spki_sha256: Thumbprint,
    version: u32,
    serial: Vec<u8>,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    not_before: Timestamp,
    not_after: Timestamp,
    sans: SubjectAltNames,
    is_authority: bool,
    key_usage: Option<KeyUsage>,
    extended_key_usages: Option<Vec<String>>,
}

/// What a certificate's key may do (RFC 5280 §4.2.1.3), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// `digitalSignature`: what a TLS client's handshake signature needs.
    pub digital_signature: bool,
    /// `keyCertSign`: what an authority needs.
    pub key_cert_sign: bool,
    /// `cRLSign`.
    pub crl_sign: bool,
}

/// Why a certificate cannot be read. There is no guessing: what two programs could read differently is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a DER certificate.
    #[error("not a DER-encoded X.509 certificate")]
    Der,
    /// Bytes after the certificate.
    #[error("{0} bytes follow the certificate")]
    TrailingBytes(usize),
    /// One extension twice (RFC 5280 §4.2).
    #[error("extension {0} appears twice")]
    DuplicateExtension(String),
    /// An extension that matters here and whose value is malformed.
    #[error("extension {0} is malformed")]
    Extension(String),
    /// A subject or issuer that cannot be read.
    #[error("{field}: {error}")]
    Name {
        /// `subject` or `issuer`.
        field: &'static str,
        /// What is wrong with it.
        error: NameError,
    },
    /// A subject alternative name that cannot be trusted to mean what it seems to.
    #[error("subject alternative name: {0}")]
    SubjectAltName(#[from] SubjectAltNameError),
}

impl CertificateError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Der
            | Self::TrailingBytes(_)
            | Self::DuplicateExtension(_)
            | Self::Extension(_)
            | Self::Name { .. }
            | Self::SubjectAltName(_) => Reason::CertificateMalformed,
        }
    }
}

/// A moment outside a certificate's validity (RFC 5280 §4.1.2.5: both ends belong to it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Too late.
    #[error("expired at {not_after} (seconds since 1970)")]
    Expired {
        /// The last second of validity.
        not_after: Timestamp,
    },
    /// Too early.
    #[error("not valid before {not_before} (seconds since 1970)")]
    NotYetValid {
        /// The first second of validity.
        not_before: Timestamp,
    },
}

impl DateError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Expired { .. } => Reason::CertificateExpired,
            Self::NotYetValid { .. } => Reason::CertificateNotYetValid,
        }
    }

    /// Whether `now` is within `not_before` and `not_after`, both included.
    pub(crate) fn check(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Result<(), Self> {
        if now > not_after {
            Err(Self::Expired { not_after })
        } else if now < not_before {
            Err(Self::NotYetValid { not_before })
        } else {
            Ok(())
        }
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Thumbprint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut copy = [0u8; 32];
    copy.copy_from_slice(digest.as_ref());
    Thumbprint::from_bytes(copy)
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is not DER, has trailing bytes or an extension twice, or has a name or a subject alternative name that could be
    /// misread, is refused.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        let fields = Fields::read(&der)?;
        Ok(Self(Arc::new(Fields { der, ..fields })))
    }

    /// The bytes as they came.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// SHA-256 of the DER: the `x5t#S256` of RFC 8705 §3.1. Computed once.
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// The public key with its algorithm, DER.
    pub fn spki(&self) -> &SubjectPublicKeyInfoDer<'static> {
        &self.0.spki
    }

    /// SHA-256 of the public key with its algorithm: what an authority is known by.
    pub fn spki_sha256(&self) -> Thumbprint {
        self.0.spki_sha256
    }

    /// The X.509 version: 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The serial number in lower-case hexadecimal, without a leading zero byte.
    pub fn serial_hex(&self) -> String {
        let significant = self.0.serial.iter().position(|byte| *byte != 0).and_then(|start| self.0.serial.get(start..));
        significant.unwrap_or(&[0]).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whom the certificate names. May be empty when there are subject alternative names.
    pub fn subject(&self) -> &DistinguishedName {
        &self.0.subject
    }

    /// Who is said to have signed it. A name, not a fact: authorities are told apart by key.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.0.issuer
    }

    /// The subject alternative names.
    pub fn sans(&self) -> &SubjectAltNames {
        &self.0.sans
    }

    /// The first second of validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second of validity.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Checks this certificate's own dates, and nothing else.
    ///
    /// # Errors
    /// When `now` is outside them.
    pub fn check_dates(&self, now: Timestamp) -> Result<(), DateError> {
        DateError::check(self.0.not_before, self.0.not_after, now)
    }

    /// Whether the certificate says it is an authority's (`cA` in its basic constraints).
    pub fn is_authority(&self) -> bool {
        self.0.is_authority
    }

    /// What the key may do; `None` when the certificate does not say.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.key_usage
    }

    /// The extended key usages as dotted object identifiers; `None` when the certificate does not say.
    pub fn extended_key_usages(&self) -> Option<&[String]> {
        self.0.extended_key_usages.as_deref()
    }
}

impl Fields {
    fn read(bytes: &CertificateDer<'static>) -> Result<Self, CertificateError> {
        let (rest, parsed) = X509Certificate::from_der(bytes).map_err(|_| CertificateError::Der)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes(rest.len()));
        }
        let mut fields = Self {
            der: CertificateDer::from(&[][..]),
            spki: SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()),
            thumbprint: sha256(bytes),
            spki_sha256: sha256(parsed.public_key().raw),
            version: parsed.version().0.saturating_add(1),
            serial: parsed.raw_serial().to_vec(),
            subject: DistinguishedName::from_x509(parsed.subject())
                .map_err(|error| CertificateError::Name { field: "subject", error })?,
            issuer: DistinguishedName::from_x509(parsed.issuer())
                .map_err(|error| CertificateError::Name { field: "issuer", error })?,
            not_before: Timestamp::from_seconds(parsed.validity().not_before.timestamp()),
            not_after: Timestamp::from_seconds(parsed.validity().not_after.timestamp()),
            sans: SubjectAltNames::default(),
            is_authority: false,
            key_usage: None,
            extended_key_usages: None,
        };
        let mut seen = BTreeSet::new();
        for extension in parsed.extensions() {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(CertificateError::DuplicateExtension(extension.oid.to_id_string()));
            }
            fields.read_extension(extension)?;
        }
        Ok(fields)
    }

    fn read_extension(&mut self, extension: &x509_parser::extensions::X509Extension<'_>) -> Result<(), CertificateError> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => self.sans = SubjectAltNames::from_x509(names)?,
            ParsedExtension::BasicConstraints(constraints) => self.is_authority = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    key_cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => self.extended_key_usages = Some(extended_key_usages(usage)),
            // Of those that are not read here, malformed ones are still a sign of two readings.
            ParsedExtension::ParseError { .. } => return Err(CertificateError::Extension(extension.oid.to_id_string())),
            _ => {}
        }
        Ok(())
    }
}

fn extended_key_usages(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let known = known.into_iter().filter(|(present, _)| *present).map(|(_, oid)| oid.to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.thumbprint.hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.0.subject, self.0.thumbprint)
    }
}
