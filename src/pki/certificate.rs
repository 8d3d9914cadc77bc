use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::der_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;

use super::crl::Serial;
use super::key::PublicKeyKind;
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
    key: PublicKeyKind,
    distribution_points: Vec<String>,
    ocsp_responders: Vec<String>,
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
    /// A date in a form that RFC 5280 §4.1.2.5 does not have.
    #[error("a date is neither `YYMMDDHHMMSSZ` nor `YYYYMMDDHHMMSSZ`")]
    Dates,
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
            | Self::Dates
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

    /// The serial number as lists of revoked certificates have it. `None` where it is longer than RFC 5280 §4.1.2.2 allows.
    pub fn serial(&self) -> Option<Serial> {
        Serial::from_der_octets(&self.0.serial)
    }

    /// URIs of the lists that would name this certificate if it were revoked (RFC 5280 §4.2.1.13).
    pub fn distribution_points(&self) -> &[String] {
        &self.0.distribution_points
    }

    /// URIs of those who can be asked whether it is revoked (RFC 6960 §3.1).
    pub fn ocsp_responders(&self) -> &[String] {
        &self.0.ocsp_responders
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

    /// Whether the key of `authority`, which has the issuer's name, signed this certificate. Says nothing of what either may do.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        let (own, key) = (X509Certificate::from_der(self.der()), SubjectPublicKeyInfo::from_der(authority.spki().as_ref()));
        let (Ok((_, own)), Ok((_, key))) = (own, key) else { return false };
        self.issuer() == authority.subject() && own.verify_signature(Some(&key)).is_ok()
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

    /// What kind of key it holds, and how large.
    pub fn key(&self) -> &PublicKeyKind {
        &self.0.key
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
        check_validity(parsed.tbs_certificate.as_ref())?;
        let mut fields = Self {
            der: CertificateDer::from(&[][..]),
            spki: SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()),
            thumbprint: Thumbprint::from_bytes(sha256(bytes)),
            spki_sha256: Thumbprint::from_bytes(sha256(parsed.public_key().raw)),
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
            key: PublicKeyKind::of(parsed.public_key()),
            distribution_points: Vec::new(),
            ocsp_responders: Vec::new(),
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

    fn read_extension(&mut self, extension: &X509Extension<'_>) -> Result<(), CertificateError> {
        let malformed = || CertificateError::Extension(extension.oid.to_id_string());
        // An extension that is known holds one value and nothing behind it, which the parser lets pass.
        if !extension.parsed_extension().unsupported() && !Any::from_der(extension.value).is_ok_and(|(rest, _)| rest.is_empty()) {
            return Err(malformed());
        }
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
            ParsedExtension::CRLDistributionPoints(points) => {
                let names = points.iter().filter_map(|point| point.distribution_point.as_ref());
                self.distribution_points = names.flat_map(super::crl::uris).collect();
            }
            ParsedExtension::AuthorityInfoAccess(access) => self.ocsp_responders = super::path::ocsp_responders(access),
            // Of those that are not read here, malformed ones are still a sign of two readings.
            ParsedExtension::ParseError { .. } => return Err(malformed()),
            _ => {}
        }
        Ok(())
    }
}

/// The parser takes dates in more forms than there are (RFC 5280 §4.1.2.5): without seconds, with offsets. Others may read those otherwise.
fn check_validity(tbs: &[u8]) -> Result<(), CertificateError> {
    const VERSION: u32 = 0;
    let next = |bytes| Any::from_der(bytes).map_err(|_| CertificateError::Dates);
    let (_, fields) = next(tbs)?;
    let mut rest: &[u8] = fields.data;
    let (after, first) = next(rest)?;
    if first.class() == Class::ContextSpecific && first.tag().0 == VERSION {
        rest = after;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (rest, _) = next(rest)?;
    }
    let (_, validity) = next(rest)?;
    let (rest, not_before) = next(validity.data)?;
    let (rest, not_after) = next(rest)?;
    if rest.is_empty() && is_date(&not_before) && is_date(&not_after) { Ok(()) } else { Err(CertificateError::Dates) }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; that there is such a moment, the parser knows.
fn is_date(any: &Any<'_>) -> bool {
    let digits = match any.tag() {
        Tag::UtcTime => 12,
        Tag::GeneralizedTime => 14,
        _ => return false,
    };
    match any.data.split_last() {
        Some((b'Z', text)) => text.len() == digits && text.iter().all(u8::is_ascii_digit) && !text.ends_with(b"60"),
        _ => false,
    }
}

fn extended_key_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
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

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};

    use super::*;
    use crate::pki::fixture::{NOW, date};

    const SAN: &[u64] = &[2, 5, 29, 17];

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_after = date(NOW);
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().to_vec()
    }

    fn with_extensions(extensions: &[(&[u64], &[u8])]) -> Result<Certificate, CertificateError> {
        let der = der(|params| {
            let extension = |(oid, content): &(&[u64], &[u8])| CustomExtension::from_oid_content(oid, content.to_vec());
            params.custom_extensions = extensions.iter().map(extension).collect();
        });
        Certificate::from_der(der.into())
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        use CertificateError as E;
        use SubjectAltNameError as S;
        let san = |error| Err(E::SubjectAltName(error));
        let good: &[u8] = b"\x30\x03\x82\x01a";
        type Case<'a> = (&'a [(&'a [u64], &'a [u8])], Result<(), CertificateError>);
        let table: &[Case<'_>] = &[
            (&[(SAN, good)], Ok(())),
            (&[(SAN, good), (SAN, b"\x30\x03\x82\x01b")], Err(E::DuplicateExtension("2.5.29.17".into()))),
            (&[(SAN, b"\x30\x05\x82\x03a\0b")], san(S::Character("dNSName"))),
            (&[(SAN, b"\x30\x03\x82\x01\xff")], Err(E::SubjectAltName(S::Malformed))),
            (&[(SAN, b"\x30\x03\x87\x01\x7f")], san(S::Ip)),
            (&[(SAN, b"\x30\x00")], san(S::Empty)),
            // A length that reaches beyond the extension, and bytes behind the list.
            (&[(SAN, b"\x30\x09\x82\x01a")], Err(E::Extension("2.5.29.17".into()))),
            (&[(SAN, b"\x30\x03\x82\x01a\x00")], Err(E::Extension("2.5.29.17".into()))),
            (&[(&[2, 5, 29, 15], b"\x30\x00")], Err(E::Extension("2.5.29.15".into()))),
            (&[(&[1, 2, 3, 4], b"anything"), (&[1, 2, 3, 4], b"else")], Err(E::DuplicateExtension("1.2.3.4".into()))),
            (&[(&[1, 2, 3, 4], b"anything")], Ok(())),
        ];
        for (extensions, expected) in table {
            assert_eq!(with_extensions(extensions).map(|_| ()), *expected, "{extensions:?}");
        }
    }

    #[test]
    fn other_names_are_counted_and_not_read() {
        let certificate = Certificate::from_der(
            der(|params| {
                let principal = (vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "alice.example".into());
                params.subject_alt_names =
                    vec![SanType::OtherName(principal), SanType::DnsName("a.example".try_into().expect("IA5"))];
            })
            .into(),
        )
        .expect("well-formed");
        assert_eq!(certificate.sans().dns, ["a.example"]);
        assert_eq!(certificate.sans().unread, 1);
    }

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content].concat()
    }

    /// A certificate of version 1, by hand: no version, no extensions, and a signature that nobody looks at.
    fn version_1(not_before: &[u8], not_after: &[u8]) -> Vec<u8> {
        let algorithm = tlv(0x30, &[b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"]);
        let name = tlv(0x30, &[&tlv(0x31, &[&tlv(0x30, &[b"\x06\x03\x55\x04\x03", b"\x0c\x01a"])])]);
        let key = rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate().expect("a key"));
        let validity = tlv(0x30, &[not_before, not_after]);
        let fields = tlv(0x30, &[b"\x02\x01\x05", &algorithm, &name, &validity, &name, &key]);
        tlv(0x30, &[&fields, &algorithm, b"\x03\x02\x00\x00"])
    }

    /// RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime from 2050, both with seconds, in Zulu, without fractions.
    #[test]
    fn dates_have_one_reading() {
        let utc = |text: &str| tlv(0x17, &[text.as_bytes()]);
        let general = |text: &str| tlv(0x18, &[text.as_bytes()]);
        let start = utc("500101000000Z");
        let table = [
            (utc("260101000000Z"), Some(1_767_225_600)),
            (utc("491231235959Z"), Some(2_524_607_999)),
            (general("20500101000000Z"), Some(2_524_608_000)),
            (general("99991231235959Z"), Some(253_402_300_799)),
            (utc("2601010000Z"), None),
            (utc("260101000000"), None),
            (utc("260101000000+0100"), None),
            (general("20500101000000"), None),
            (general("20500101000000.5Z"), None),
            (general("20500101000000+0100"), None),
            (general("2050010100Z"), None),
            (general("20500230000000Z"), None),
            (general("20501231235960Z"), None),
            (utc(""), None),
            (tlv(0x0c, &[b"20500101000000Z"]), None),
        ];
        for (not_after, expected) in table {
            let text = String::from_utf8_lossy(&not_after).into_owned();
            let read = Certificate::from_der(version_1(&start, &not_after).into());
            assert_eq!(read.map(|certificate| certificate.not_after().seconds()).ok(), expected, "{text:?}");
        }
        let certificate = Certificate::from_der(version_1(&start, &utc("260101000000Z")).into()).expect("version 1");
        assert_eq!((certificate.version(), certificate.not_before().seconds()), (1, -631_152_000), "50 is 1950");
        assert!(!certificate.is_authority() && certificate.key_usage().is_none() && certificate.extended_key_usages().is_none());
    }

    #[test]
    fn nothing_may_follow_and_nothing_may_be_missing() {
        let der = der(|_| {});
        assert!(Certificate::from_der(der.clone().into()).is_ok());
        let longer = [der.as_slice(), &[0]].concat();
        assert_eq!(Certificate::from_der(longer.into()), Err(CertificateError::TrailingBytes(1)));
        for length in [0, 1, 10, der.len() / 2, der.len() - 1] {
            assert_eq!(Certificate::from_der(der[..length].to_vec().into()), Err(CertificateError::Der), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Certificate::from_der(bytes.into());
        }

        #[test]
        fn no_altered_byte_makes_the_reader_fail(position in 0usize..400, value in 0u8..=255) {
            let mut der = pem_example();
            if let Some(byte) = der.get_mut(position) {
                *byte = value;
            }
            let _ = Certificate::from_der(der.into());
        }
    }

    /// Made once: keys are slow.
    fn pem_example() -> Vec<u8> {
        static EXAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let san = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().expect("IA5"))];
        };
        EXAMPLE.get_or_init(|| der(san)).clone()
    }
}
