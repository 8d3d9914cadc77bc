//! Certificate revocation lists (RFC 5280 §5): read once into a sorted table, and verified with an authority's key.
//!
//! Lists whose entries would have to be joined with others are refused with a reason of their own: delta lists, indirect lists, and
//! lists for some reasons alone.

use std::fmt;

use x509_parser::der_parser::asn1_rs::{Any, BitString, Class, Tag};
use x509_parser::extensions::{DistributionPointName, GeneralName, IssuingDistributionPoint, ParsedExtension};
use x509_parser::prelude::{CertificateRevocationList as Parsed, FromDer, ReasonCode, SubjectPublicKeyInfo};
use x509_parser::verify::verify_signature;
use x509_parser::x509::{AlgorithmIdentifier, X509Name};

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;

use super::Certificate;
use super::name::{DistinguishedName, NameError};

/// Octets of a serial number (RFC 5280 §4.1.2.2).
const SERIAL_BYTES: usize = 20;

const DELTA_CRL_INDICATOR: &str = "2.5.29.27";
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

/// Signatures that count: none of them with SHA-1.
pub(super) const SIGNATURES: [&str; 7] = [
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.3.101.112",
];

/// A serial number as it is compared: without sign, filled up with zeros from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    /// From the octets of the DER INTEGER. `None` where there are more than twenty that count.
    pub fn from_der_octets(octets: &[u8]) -> Option<Self> {
        let significant = octets.iter().position(|octet| *octet != 0).and_then(|start| octets.get(start..)).unwrap_or(&[]);
        let mut serial = [0; SERIAL_BYTES];
        let start = SERIAL_BYTES.checked_sub(significant.len())?;
        serial.get_mut(start..)?.copy_from_slice(significant);
        Some(Self(serial))
    }

    /// Its octets as a DER INTEGER has them: without leading zeros that say nothing, with one where the first bit is set.
    pub fn significant_octets(&self) -> Vec<u8> {
        let start = self.0.iter().position(|octet| *octet != 0).unwrap_or(SERIAL_BYTES - 1);
        self.0.get(start..).unwrap_or_default().to_vec()
    }

    /// From hexadecimal as people copy it: with or without colons, spaces, `0x` and leading zeros. `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let digits: String = text.chars().filter(|character| !matches!(character, ':' | ' ')).collect();
        let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let octet = |pair: &[u8]| {
            let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let [high, low] = pair else { return None };
            Some(digit(high)? << 4 | digit(low)?)
        };
        let octets = even.as_bytes().chunks(2).map(octet).collect::<Option<Vec<u8>>>()?;
        if octets.is_empty() { None } else { Self::from_der_octets(&octets) }
    }
}

/// Lower-case hexadecimal without leading zeros, as OpenSSL prints it but for the case.
impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        let short = hex.trim_start_matches('0');
        formatter.write_str(if short.is_empty() { "0" } else { short })
    }
}

/// Why a certificate was revoked (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationReason(u8);

impl RevocationReason {
    /// From its number.
    pub fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// As the RFC spells it.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "keyCompromise",
            2 => "cACompromise",
            3 => "affiliationChanged",
            4 => "superseded",
            5 => "cessationOfOperation",
            6 => "certificateHold",
            9 => "privilegeWithdrawn",
            10 => "aACompromise",
            _ => "unspecified",
        }
    }
}

/// One revoked certificate: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    serial: Serial,
    reason: RevocationReason,
    since: Timestamp,
}

impl Revoked {
    /// Why.
    pub fn reason(&self) -> RevocationReason {
        self.reason
    }

    /// Since when.
    pub fn since(&self) -> Timestamp {
        self.since
    }
}

/// Which of an authority's certificates a list speaks of (RFC 5280 §5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrlScope {
    /// Only those that are no authorities'.
    pub only_users: bool,
    /// Only those of authorities.
    pub only_authorities: bool,
    /// Only those that name one of these URIs as their distribution point. Empty: all.
    pub points: Vec<String>,
}

impl CrlScope {
    /// Whether a list of this scope speaks of such a certificate.
    pub fn covers(&self, is_authority: bool, points: &[String]) -> bool {
        let kind = if is_authority { !self.only_users } else { !self.only_authorities };
        kind && (self.points.is_empty() || self.points.iter().any(|point| points.contains(point)))
    }
}

/// The first octets of a SEQUENCE and of a BIT STRING (X.690 §8.9.1, §8.6.2).
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// What of a list is read before its signature counts: not one entry, so that bytes which nobody signed cost no table.
struct Envelope<'a> {
    issuer: DistinguishedName,
    /// What is signed, as it stands there.
    signed: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: BitString<'a>,
}

impl<'a> Envelope<'a> {
    fn open(der: &'a [u8]) -> Result<Self, CrlError> {
        let (rest, list) = Any::from_der(der).map_err(|_| CrlError::Der)?;
        if der.first() != Some(&SEQUENCE) {
            return Err(CrlError::Der);
        }
        if !rest.is_empty() {
            return Err(CrlError::TrailingBytes(rest.len()));
        }
        let (after, tbs) = Any::from_der(list.data).map_err(|_| CrlError::Der)?;
        let signed = list.data.get(..list.data.len().saturating_sub(after.len())).ok_or(CrlError::Der)?;
        let outside = after;
        let (after, algorithm) = AlgorithmIdentifier::from_der(outside).map_err(|_| CrlError::Der)?;
        let outside = outside.get(..outside.len().saturating_sub(after.len())).ok_or(CrlError::Der)?;
        let is_bit_string = after.first() == Some(&BIT_STRING);
        let (after, signature) = BitString::from_der(after).map_err(|_| CrlError::Der)?;
        // Whole octets: what stands in unused bits would be another spelling of the same signature.
        if tbs.tag() != Tag::Sequence || !is_bit_string || !after.is_empty() || signature.unused_bits != 0 {
            return Err(CrlError::Der);
        }
        let fields = match Any::from_der(tbs.data) {
            Ok((after, version)) if version.tag() == Tag::Integer => after,
            Ok(_) => tbs.data,
            Err(_) => return Err(CrlError::Der),
        };
        let (after, _) = AlgorithmIdentifier::from_der(fields).map_err(|_| CrlError::Der)?;
        let inside = fields.get(..fields.len().saturating_sub(after.len())).ok_or(CrlError::Der)?;
        let (_, issuer) = X509Name::from_der(after).map_err(|_| CrlError::Der)?;
        let id = algorithm.algorithm.to_id_string();
        // RFC 5280 §5.1.1.2: the same algorithm inside and outside of what is signed; spelled alike too, which the parser does not see to.
        if outside != inside || !SIGNATURES.contains(&id.as_str()) {
            return Err(CrlError::SignatureAlgorithm(id));
        }
        Ok(Self { issuer: DistinguishedName::from_x509(&issuer)?, signed, algorithm, signature })
    }

    fn is_signed_with(&self, authority: &Certificate) -> bool {
        let key = SubjectPublicKeyInfo::from_der(authority.spki().as_ref());
        key.is_ok_and(|(_, key)| verify_signature(&key, &self.algorithm, &self.signature, self.signed).is_ok())
    }
}

/// A list that one of the authorities signed.
#[derive(Debug)]
pub struct CertificateRevocationList {
    issuer: DistinguishedName,
    number: Option<String>,
    this_update: Timestamp,
    next_update: Timestamp,
    scope: CrlScope,
    entries: Vec<Revoked>,
    digest: [u8; 32],
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not a DER certificate revocation list.
    #[error("not a DER-encoded certificate revocation list")]
    Der,
    /// Bytes after the list.
    #[error("{0} bytes follow the list")]
    TrailingBytes(usize),
    /// No `nextUpdate`, without which nobody knows when a list has become too old (RFC 5280 §5.1.2.5).
    #[error("it has no nextUpdate: have the authority set one")]
    NextUpdateAbsent,
    /// A delta list (RFC 5280 §5.2.4).
    #[error("it is a delta list: name the complete one")]
    Delta,
    /// A list with entries of other authorities (RFC 5280 §5.2.5).
    #[error("it is an indirect list, with entries of other authorities: name each authority's own")]
    Indirect,
    /// A list for some reasons alone (RFC 5280 §5.2.5).
    #[error("it is a list for some reasons alone: name one for all of them")]
    SomeReasons,
    /// A list of attribute certificates (RFC 5280 §5.2.5).
    #[error("it is a list of attribute certificates")]
    AttributeCertificates,
    /// A distribution point that is no URI.
    #[error("its distribution point is no URI, and no certificate can be held against it")]
    DistributionPoint,
    /// A critical extension that is not known, of the list or of an entry.
    #[error("it has a critical extension that is not supported: {0}")]
    CriticalExtension(String),
    /// An extension that appears twice or cannot be read.
    #[error("extension {0} is malformed")]
    Extension(String),
    /// A serial number of more than twenty octets (RFC 5280 §4.1.2.2).
    #[error("it has a serial number of more than {SERIAL_BYTES} octets")]
    Serial,
    /// An issuer that cannot be read.
    #[error("issuer: {0}")]
    Name(#[from] NameError),
    /// A signature algorithm that does not count, such as one with SHA-1.
    #[error("its signature algorithm {0} does not count")]
    SignatureAlgorithm(String),
    /// No authority of this name.
    #[error("it is `{0}`'s, which is no authority of this set: add its certificate to `files` or `intermediate_files`")]
    UnknownIssuer(String),
    /// The authority may not sign lists (RFC 5280 §6.3.3).
    #[error("the key usage of `{0}` has no cRLSign: it may not sign revocation lists")]
    KeyUsage(String),
    /// None of the authorities of this name signed it.
    #[error("its signature does not verify with the key of `{0}`: another authority has the same name")]
    Signature(String),
}

impl CrlError {
    /// The private reason, of a request that needed the list.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Der | Self::TrailingBytes(_) | Self::Extension(_) | Self::Serial | Self::Name(_) => {
                Reason::CertificateRevocationMalformed
            }
            Self::Delta => Reason::CertificateRevocationDelta,
            Self::Indirect => Reason::CertificateRevocationIndirect,
            Self::SomeReasons => Reason::CertificateRevocationPartial,
            Self::NextUpdateAbsent
            | Self::AttributeCertificates
            | Self::DistributionPoint
            | Self::CriticalExtension(_)
            | Self::SignatureAlgorithm(_) => Reason::CertificateRevocationUnsupported,
            Self::UnknownIssuer(_) | Self::KeyUsage(_) | Self::Signature(_) => Reason::CertificateRevocationSigner,
        }
    }
}

impl CertificateRevocationList {
    /// Reads a list, and verifies that one of the authorities signed it. Returns the SHA-256 of that one's public key beside it.
    ///
    /// # Errors
    /// A list that cannot be read, is of a kind that is refused, or that none of the authorities signed.
    pub fn verified<'a>(der: &[u8], authorities: impl Iterator<Item = &'a Certificate>) -> Result<(Self, Thumbprint), CrlError> {
        let envelope = Envelope::open(der)?;
        let issuer = &envelope.issuer;
        let (mut is_known, mut may_sign) = (false, false);
        for authority in authorities.filter(|authority| authority.subject() == issuer) {
            is_known = true;
            // RFC 5280 §6.3.3 (f).
            if authority.key_usage().is_some_and(|usage| !usage.crl_sign) {
                continue;
            }
            may_sign = true;
            if envelope.is_signed_with(authority) {
                return Ok((Self::read(der)?, authority.spki_sha256()));
            }
        }
        let issuer = issuer.to_string();
        Err(match (is_known, may_sign) {
            (false, _) => CrlError::UnknownIssuer(issuer),
            (true, false) => CrlError::KeyUsage(issuer),
            (true, true) => CrlError::Signature(issuer),
        })
    }

    /// How many entries a list has, whoever signed it: for trying the reader out, since nothing else of the list is given away.
    ///
    /// # Errors
    /// What is no list, or one of a kind that is refused.
    #[doc(hidden)]
    pub fn danger_unverified_length(der: &[u8]) -> Result<usize, CrlError> {
        Self::read(der).map(|list| list.len())
    }

    /// Reads all of a list whose signature counts.
    fn read(der: &[u8]) -> Result<Self, CrlError> {
        let (rest, parsed) = Parsed::from_der(der).map_err(|_| CrlError::Der)?;
        if !rest.is_empty() {
            return Err(CrlError::TrailingBytes(rest.len()));
        }
        // The parser takes entries that it cannot read for none at all.
        if entries_of(parsed.tbs_cert_list.as_ref()) != Some(parsed.tbs_cert_list.revoked_certificates.len()) {
            return Err(CrlError::Der);
        }
        let issuer = DistinguishedName::from_x509(parsed.issuer())?;
        let mut scope = CrlScope::default();
        let mut seen = Vec::new();
        for extension in parsed.extensions() {
            let id = extension.oid.to_id_string();
            let is_one_value = Any::from_der(extension.value).is_ok_and(|(rest, _)| rest.is_empty());
            if seen.contains(&id) || !is_one_value {
                return Err(CrlError::Extension(id));
            }
            match extension.parsed_extension() {
                _ if id == DELTA_CRL_INDICATOR => return Err(CrlError::Delta),
                ParsedExtension::IssuingDistributionPoint(point) => scope = scope_of(point, extension.value)?,
                ParsedExtension::ParseError { .. } => return Err(CrlError::Extension(id)),
                _ if id == ISSUING_DISTRIBUTION_POINT => return Err(CrlError::Extension(id)),
                ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::Unparsed if extension.critical => {
                    return Err(CrlError::CriticalExtension(id));
                }
                _ => {}
            }
            seen.push(id);
        }
        let mut entries = Vec::with_capacity(parsed.tbs_cert_list.revoked_certificates.len());
        for revoked in parsed.iter_revoked_certificates() {
            for extension in revoked.extensions() {
                let id = extension.oid.to_id_string();
                if id == CERTIFICATE_ISSUER {
                    return Err(CrlError::Indirect);
                }
                if extension.critical && extension.parsed_extension().unsupported() {
                    return Err(CrlError::CriticalExtension(id));
                }
            }
            let reason = revoked.reason_code().map_or(ReasonCode::Unspecified, |(_, reason)| reason);
            entries.push(Revoked {
                serial: Serial::from_der_octets(revoked.raw_serial()).ok_or(CrlError::Serial)?,
                reason: RevocationReason(reason.0),
                since: Timestamp::from_seconds(revoked.revocation_date.timestamp()),
            });
        }
        entries.sort_unstable_by_key(|entry| entry.serial);
        entries.shrink_to_fit();
        Ok(Self {
            issuer,
            number: parsed.crl_number().map(ToString::to_string),
            this_update: Timestamp::from_seconds(parsed.last_update().timestamp()),
            next_update: Timestamp::from_seconds(parsed.next_update().ok_or(CrlError::NextUpdateAbsent)?.timestamp()),
            scope,
            entries,
            digest: sha256(der),
        })
    }

    /// The authority that is said to have signed it.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// `cRLNumber`, in decimal.
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// When it was made.
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one is there at the latest.
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// What it speaks of.
    pub fn scope(&self) -> &CrlScope {
        &self.scope
    }

    /// How many certificates it revokes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// SHA-256 of its DER.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether `now` lies between `thisUpdate` and `nextUpdate`, both included.
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.this_update <= now && now <= self.next_update
    }

    /// The entry of a serial number: found in a time that grows with the logarithm of the list's length.
    pub fn find(&self, serial: Serial) -> Option<&Revoked> {
        let position = self.entries.binary_search_by_key(&serial, |entry| entry.serial).ok()?;
        self.entries.get(position)
    }
}

fn scope_of(point: &IssuingDistributionPoint<'_>, der: &[u8]) -> Result<CrlScope, CrlError> {
    const DISTRIBUTION_POINT: u32 = 0;
    // The parser passes over members that it cannot read, and the list would seem to speak of more than it does.
    let read = [
        point.distribution_point.is_some(),
        point.only_contains_user_certs,
        point.only_contains_ca_certs,
        point.only_some_reasons.is_some(),
        point.indirect_crl,
        point.only_contains_attribute_certs,
    ];
    let malformed = || CrlError::Extension(ISSUING_DISTRIBUTION_POINT.to_owned());
    let members = Any::from_der(der).ok().and_then(|(_, sequence)| values(sequence.data)).ok_or_else(malformed)?;
    for member in members {
        match (member.tag().0, usize::try_from(member.tag().0).ok().and_then(|tag| read.get(tag))) {
            (_, Some(true)) => {}
            (DISTRIBUTION_POINT, Some(false)) => return Err(CrlError::DistributionPoint),
            _ => return Err(malformed()),
        }
    }
    if point.indirect_crl {
        return Err(CrlError::Indirect);
    }
    if point.only_some_reasons.is_some() {
        return Err(CrlError::SomeReasons);
    }
    if point.only_contains_attribute_certs {
        return Err(CrlError::AttributeCertificates);
    }
    let points = match &point.distribution_point {
        None => Vec::new(),
        Some(name) => match uris(name) {
            uris if uris.is_empty() => return Err(CrlError::DistributionPoint),
            uris => uris,
        },
    };
    Ok(CrlScope { only_users: point.only_contains_user_certs, only_authorities: point.only_contains_ca_certs, points })
}

/// The DER values that stand one behind another.
fn values(bytes: &[u8]) -> Option<Vec<Any<'_>>> {
    let (mut rest, mut values) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (after, any) = Any::from_der(rest).ok()?;
        values.push(any);
        rest = after;
    }
    Some(values)
}

/// How many entries a `TBSCertList` has. `None` where it is not built as RFC 5280 §5.1 says.
fn entries_of(tbs: &[u8]) -> Option<usize> {
    const EXTENSIONS: u32 = 0;
    let (rest, list) = Any::from_der(tbs).ok()?;
    let fields = values(list.data).filter(|_| rest.is_empty())?;
    let is_time = |any: &Any<'_>| [Tag::UtcTime, Tag::GeneralizedTime].contains(&any.tag());
    let is_extensions = |any: &Any<'_>| any.class() == Class::ContextSpecific && any.tag().0 == EXTENSIONS;
    let mut fields = fields.iter().peekable();
    // Version, algorithm, issuer, both dates.
    fields.next_if(|any| any.tag() == Tag::Integer);
    fields.next_if(|any| any.tag() == Tag::Sequence)?;
    fields.next_if(|any| any.tag() == Tag::Sequence)?;
    fields.next_if(|any| is_time(any))?;
    fields.next_if(|any| is_time(any));
    let entries = match fields.next_if(|any| any.class() == Class::Universal && any.tag() == Tag::Sequence) {
        Some(entries) => values(entries.data)?.len(),
        None => 0,
    };
    fields.next_if(|any| is_extensions(any));
    fields.next().is_none().then_some(entries)
}

/// The URIs of a distribution point, as they are written.
pub(super) fn uris(name: &DistributionPointName<'_>) -> Vec<String> {
    let DistributionPointName::FullName(names) = name else { return Vec::new() };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.iter().filter_map(uri).collect()
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
