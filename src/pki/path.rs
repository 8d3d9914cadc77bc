//! Paths from a client's certificate to an authority (RFC 5280 §6), on webpki.
//!
//! What is built is a fact that stays true: these signatures verify, up to this key. When it holds is a window that travels
//! with it, so that whoever keeps the fact checks dates without verifying anything again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};
use x509_parser::extensions::{AccessDescription, AuthorityInfoAccess, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;

use super::crl::Serial;
use super::{Certificate, DateError, KeyType, PublicKeyKind};

/// What a path must be beyond correct: chosen by whoever names the authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPolicy {
    /// What the certificates must say about their use.
    pub extended_key_usage: ExtendedKeyUsagePolicy,
    /// Kinds of keys that the path may rest on, the authority's included.
    pub keys: Vec<KeyType>,
    /// Bits that every RSA key on the path must have.
    pub min_rsa_bits: usize,
}

/// What certificates must say about their use (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtendedKeyUsagePolicy {
    /// Where the extension is there, client authentication must be in it.
    #[default]
    ClientAuthIfPresent,
    /// The client's certificate must have the extension, and client authentication in it.
    ClientAuth,
    /// Nothing: for authorities that issue certificates for servers alone.
    Any,
}

impl Default for PathPolicy {
    fn default() -> Self {
        Self { extended_key_usage: ExtendedKeyUsagePolicy::default(), keys: KeyType::ALL.to_vec(), min_rsa_bits: 2_048 }
    }
}

impl PathPolicy {
    fn check_key(&self, key: &PublicKeyKind) -> Result<(), PathError> {
        let is_named = key.key_type().is_some_and(|kind| self.keys.contains(&kind));
        match key {
            PublicKeyKind::Rsa { bits } if *bits < self.min_rsa_bits => {}
            _ if is_named => return Ok(()),
            _ => {}
        }
        Err(PathError::Key(key.to_string()))
    }
}

impl ExtendedKeyUsageValidator for &PathPolicy {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self.extended_key_usage {
            ExtendedKeyUsagePolicy::Any => Ok(()),
            // That the extension is there is checked of the client's certificate alone.
            ExtendedKeyUsagePolicy::ClientAuth | ExtendedKeyUsagePolicy::ClientAuthIfPresent => {
                KeyUsage::client_auth().validate(usages)
            }
        }
    }
}

/// Authorities that paths may end at. Told apart by key: the name alone means nothing.
#[derive(Clone, Debug, Default)]
pub struct Anchors(Arc<Vec<Anchor>>);

#[derive(Debug)]
struct Anchor {
    certificate: Certificate,
    trust_anchor: TrustAnchor<'static>,
}

/// Why a certificate cannot be an anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Not a certification authority's certificate.
    #[error(
        "`{subject}` is not a certification authority's certificate: it has no `CA:TRUE`, or its key may not sign certificates"
    )]
    NotAnAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// A field that path building needs cannot be read.
    #[error("`{subject}` cannot be used as an authority: {detail}")]
    Unusable {
        /// The certificate's subject.
        subject: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Anchors {
    /// Takes authorities. A certificate that appears more than once counts once.
    ///
    /// # Errors
    /// A certificate that is not an authority's.
    pub fn new(certificates: impl IntoIterator<Item = Certificate>) -> Result<Self, AnchorError> {
        let mut anchors: Vec<Anchor> = Vec::new();
        for certificate in certificates {
            if anchors.iter().any(|anchor| anchor.certificate == certificate) {
                continue;
            }
            let subject = || certificate.subject().to_string();
            // A leaf taken as an anchor could sign others; webpki looks at neither field.
            if !certificate.is_authority() || certificate.key_usage().is_some_and(|usage| !usage.key_cert_sign) {
                return Err(AnchorError::NotAnAuthority { subject: subject() });
            }
            let trust_anchor = webpki::anchor_from_trusted_cert(certificate.der())
                .map_err(|error| AnchorError::Unusable { subject: subject(), detail: error.to_string() })?
                .to_owned();
            anchors.push(Anchor { certificate, trust_anchor });
        }
        Ok(Self(Arc::new(anchors)))
    }

    /// The authorities' certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.0.iter().map(|anchor| &anchor.certificate)
    }

    /// Whether there is no authority, so that nobody can be trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded subjects, each once: what a server hints at in its `CertificateRequest`. Without their outer SEQUENCE.
    pub fn subjects(&self) -> Vec<Vec<u8>> {
        let mut subjects: Vec<Vec<u8>> = Vec::new();
        for anchor in self.0.iter() {
            let subject: &[u8] = &anchor.trust_anchor.subject;
            if !subjects.iter().any(|known| known == subject) {
                subjects.push(subject.to_vec());
            }
        }
        subjects
    }
}

/// The fact that a certificate's signatures verify up to an authority. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    anchor: Thumbprint,
    not_before: Timestamp,
    not_after: Timestamp,
    links: Arc<[Link]>,
}

/// One certificate of a path below the authority that it ends at: what lists of revoked certificates are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// SHA-256 of the public key that signed it.
    pub issuer: Thumbprint,
    /// SHA-256 of the certificate of that key.
    pub issuer_certificate: Thumbprint,
    /// Its serial number. `None` where it is longer than RFC 5280 §4.1.2.2 allows.
    pub serial: Option<Serial>,
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// URIs of the lists that would name it.
    pub points: Vec<String>,
    /// URIs of those who can be asked about it (OCSP).
    pub responders: Vec<String>,
}

impl Path {
    /// SHA-256 of the authority's public key.
    pub fn anchor(&self) -> Thumbprint {
        self.anchor
    }

    /// Its certificates, from the one that was shown upwards, without the authority that it ends at.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The latest `notBefore` of the path, the authority's included.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The earliest `notAfter` of the path, the authority's included.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Checks the dates of the whole path.
    ///
    /// # Errors
    /// When `now` is outside the window.
    pub fn check_dates(&self, now: Timestamp) -> Result<(), DateError> {
        DateError::check(self.not_before, self.not_after, now)
    }
}

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The certificate's own dates.
    #[error("the certificate {0}")]
    Dates(#[from] DateError),
    /// There would be a path, but an authority on it has expired.
    #[error("an authority on the path has expired")]
    IssuerExpired,
    /// There would be a path, but an authority on it is not valid yet.
    #[error("an authority on the path is not valid yet")]
    IssuerNotYetValid,
    /// No authority of this name and key.
    #[error("no path leads to an accepted authority")]
    UnknownIssuer,
    /// An issuer of the right name whose key did not sign.
    #[error("a signature on the path does not verify: an authority of the same name has another key")]
    Signature,
    /// The extended key usage does not include client authentication.
    #[error("the extended key usage does not allow client authentication")]
    ExtendedKeyUsage,
    /// The key usage does not include digital signature.
    #[error("the key usage does not allow digital signatures")]
    KeyUsage,
    /// An authority's certificate shown as a client's.
    #[error("the certificate is a certification authority's")]
    Authority,
    /// A key on the path that the policy does not accept.
    #[error("a key on the path is not accepted: {0}")]
    Key(String),
    /// A name outside an authority's name constraints.
    #[error("a name is outside an authority's name constraints")]
    NameConstraints,
    /// Not DER where path building needs it.
    #[error("a certificate on the path is malformed: {0}")]
    Malformed(String),
    /// A version, algorithm or critical extension that is not supported, a path too long or too laborious.
    #[error("the path cannot be validated: {0}")]
    Unsupported(String),
}

impl PathError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Dates(error) => error.reason(),
            Self::IssuerExpired => Reason::CertificateExpired,
            Self::IssuerNotYetValid => Reason::CertificateNotYetValid,
            Self::UnknownIssuer => Reason::CertificateUnknownIssuer,
            Self::Signature => Reason::CertificateSignature,
            Self::Key(_) => Reason::CertificateKey,
            Self::ExtendedKeyUsage => Reason::CertificateExtendedKeyUsage,
            Self::KeyUsage => Reason::CertificateKeyUsage,
            Self::Authority => Reason::CertificateAuthorityAsClient,
            Self::NameConstraints => Reason::CertificateNameConstraints,
            Self::Malformed(_) => Reason::CertificateMalformed,
            Self::Unsupported(_) => Reason::CertificatePath,
        }
    }

    fn from_webpki(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            // The certificate's own dates are checked before: what is left is an authority's.
            E::CertExpired { .. } => Self::IssuerExpired,
            E::CertNotValidYet { .. } => Self::IssuerNotYetValid,
            E::InvalidSignatureForPublicKey => Self::Signature,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::ExtendedKeyUsage,
            E::CaUsedAsEndEntity => Self::Authority,
            E::NameConstraintViolation => Self::NameConstraints,
            E::BadDer
            | E::BadDerTime
            | E::TrailingData(_)
            | E::ExtensionValueInvalid
            | E::InvalidCertValidity
            | E::InvalidSerialNumber
            | E::SignatureAlgorithmMismatch
            | E::MalformedExtensions
            | E::MalformedDnsIdentifier => Self::Malformed(error.to_string()),
            _ => Self::Unsupported(error.to_string()),
        }
    }
}

/// Builds a path for client authentication: every signature and constraint between `leaf` and one of `anchors`, and the usages
/// of the leaf. `intermediates` may hold anything; what does not parse is passed over.
///
/// # Errors
/// Why there is none. An authority out of its own dates is not used.
pub fn build_path(
    leaf: &Certificate,
    intermediates: &[CertificateDer<'_>],
    anchors: &Anchors,
    policy: &PathPolicy,
    now: Timestamp,
) -> Result<Path, PathError> {
    leaf.check_dates(now)?;
    // Before its usages, so that the reason names what is wrong in the first place.
    if leaf.is_authority() {
        return Err(PathError::Authority);
    }
    if leaf.key_usage().is_some_and(|usage| !usage.digital_signature) {
        return Err(PathError::KeyUsage);
    }
    if policy.extended_key_usage == ExtendedKeyUsagePolicy::ClientAuth && leaf.extended_key_usages().is_none() {
        return Err(PathError::ExtendedKeyUsage);
    }
    policy.check_key(leaf.key())?;
    let is_current = |anchor: &&Anchor| anchor.certificate.check_dates(now).is_ok();
    let (current, others): (Vec<_>, Vec<_>) = anchors.0.iter().partition(is_current);
    match build(leaf, intermediates, &current, policy, now) {
        // Only to say why: a path to an authority out of its dates is still none.
        Err(PathError::UnknownIssuer) if !others.is_empty() => Err(match build(leaf, intermediates, &others, policy, now) {
            Ok(path) if now > path.not_after => PathError::IssuerExpired,
            Ok(_) => PathError::IssuerNotYetValid,
            Err(_) => PathError::UnknownIssuer,
        }),
        result => result,
    }
}

fn build(
    leaf: &Certificate,
    intermediates: &[CertificateDer<'_>],
    anchors: &[&Anchor],
    policy: &PathPolicy,
    now: Timestamp,
) -> Result<Path, PathError> {
    let end_entity = EndEntityCert::try_from(leaf.der()).map_err(PathError::from_webpki)?;
    let trust_anchors: Vec<TrustAnchor<'_>> = anchors.iter().map(|anchor| anchor.trust_anchor.clone()).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0)));
    let certificate_of = |path: &VerifiedPath<'_>| {
        let position = trust_anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        position.and_then(|position| anchors.get(position)).map(|anchor| &anchor.certificate)
    };
    // Asked of every path that is found: where one rests on a key that is not accepted, another may not.
    let unaccepted = Cell::new(None);
    let check_keys = |path: &VerifiedPath<'_>| {
        let anchor = certificate_of(path).ok_or(webpki::Error::UnknownIssuer)?;
        let checked = policy.check_key(anchor.key()).and_then(|()| {
            path.intermediate_certificates().try_for_each(|intermediate| policy.check_key(&key_of(&intermediate.der())?))
        });
        checked.map_err(|error| {
            unaccepted.set(Some(error));
            webpki::Error::UnknownIssuer
        })
    };
    let path = end_entity
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &trust_anchors, intermediates, time, policy, None, Some(&check_keys))
        .map_err(|error| unaccepted.take().unwrap_or_else(|| PathError::from_webpki(error)))?;
    let anchor = certificate_of(&path).ok_or(PathError::UnknownIssuer)?;
    let (mut not_before, mut not_after) = (leaf.not_before().max(anchor.not_before()), leaf.not_after().min(anchor.not_after()));
    let mut links = vec![Link {
        issuer: anchor.spki_sha256(),
        issuer_certificate: anchor.thumbprint(),
        serial: leaf.serial(),
        is_authority: false,
        points: leaf.distribution_points().to_vec(),
        responders: leaf.ocsp_responders().to_vec(),
    }];
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PathError::Malformed("intermediate".into()))?;
        let validity = parsed.validity();
        not_before = not_before.max(Timestamp::from_seconds(validity.not_before.timestamp()));
        not_after = not_after.min(Timestamp::from_seconds(validity.not_after.timestamp()));
        // The one below was signed with this key; and this one, until the next says otherwise, with the authority's.
        if let Some(below) = links.last_mut() {
            below.issuer = Thumbprint::from_bytes(sha256(parsed.public_key().raw));
            below.issuer_certificate = Thumbprint::from_bytes(sha256(&der));
        }
        links.push(Link {
            issuer: anchor.spki_sha256(),
            issuer_certificate: anchor.thumbprint(),
            serial: Serial::from_der_octets(parsed.raw_serial()),
            is_authority: true,
            points: distribution_points(&parsed),
            responders: responders(&parsed),
        });
    }
    Ok(Path { anchor: anchor.spki_sha256(), not_before, not_after, links: links.into() })
}

fn distribution_points(certificate: &X509Certificate<'_>) -> Vec<String> {
    let points = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(points),
        _ => None,
    });
    let names = points.into_iter().flat_map(|points| points.iter()).filter_map(|point| point.distribution_point.as_ref());
    names.flat_map(super::crl::uris).collect()
}

fn responders(certificate: &X509Certificate<'_>) -> Vec<String> {
    let access = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    access.map(ocsp_responders).unwrap_or_default()
}

/// The URIs of those who can be asked (RFC 6960 §3.1).
pub(super) fn ocsp_responders(access: &AuthorityInfoAccess<'_>) -> Vec<String> {
    const OCSP: &str = "1.3.6.1.5.5.7.48.1";
    let uri = |description: &AccessDescription<'_>| match &description.access_location {
        GeneralName::URI(uri) if description.access_method.to_id_string() == OCSP => Some((*uri).to_owned()),
        _ => None,
    };
    access.iter().filter_map(uri).collect()
}

fn key_of(der: &[u8]) -> Result<PublicKeyKind, PathError> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(PublicKeyKind::of(parsed.public_key())),
        Err(_) => Err(PathError::Malformed("intermediate".into())),
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
