//! A certification authority for development and tests: no revocation, no policy, its key in a file.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::domain::{Lifetime, Randomness, RandomnessUnavailable, Timestamp};

use super::name::AttributeValue;
use super::pem::{self, PemError};
use super::{Certificate, CertificateError, DistinguishedName};

/// Certificates begin a little in the past, for machines whose clocks are behind.
const BACKDATED: Lifetime = Lifetime::from_seconds(300);

/// A certification authority and its key.
pub struct DevelopmentAuthority {
    certificate: Certificate,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUsage {
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
}

/// The key of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519. Few browsers accept it.
    Ed25519,
}

impl KeyAlgorithm {
    fn generate(self) -> Result<KeyPair, AuthorityError> {
        Ok(KeyPair::generate_for(match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        })?)
    }
}

/// A certificate to issue.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The subject. One attribute a part, each type once.
    pub subject: DistinguishedName,
    /// `dNSName`s.
    pub dns: Vec<String>,
    /// `iPAddress`es.
    pub ip: Vec<IpAddr>,
    /// `uniformResourceIdentifier`s.
    pub uri: Vec<String>,
    /// `rfc822Name`s.
    pub email: Vec<String>,
    /// What it is for.
    pub usage: CertificateUsage,
    /// How long it is valid; never longer than the authority.
    pub validity: Lifetime,
    /// The key that is made for it.
    pub key: KeyAlgorithm,
}

impl IssueRequest {
    /// A certificate for `subject` without subject alternative names.
    pub fn new(subject: DistinguishedName, usage: CertificateUsage, validity: Lifetime) -> Self {
        let key = KeyAlgorithm::default();
        Self { subject, dns: vec![], ip: vec![], uri: vec![], email: vec![], usage, validity, key }
    }
}

/// A certificate and its private key, as made.
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key, PKCS #8 PEM.
    pub key_pem: Zeroizing<String>,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The encoder refused.
    #[error("cannot make the certificate: {0}")]
    Encoder(#[from] rcgen::Error),
    /// The encoder's output could not be read back.
    #[error("the certificate that was made is not one we accept: {0}")]
    Certificate(#[from] CertificateError),
    /// The authority's PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A name that cannot be encoded.
    #[error("the name `{0}` cannot be used here: one attribute a part, each type at most once, and none that is not text")]
    Name(String),
    /// A moment that has no date.
    #[error("{0} seconds since 1970 is not a date that a certificate can have")]
    Date(i64),
    /// The certificate file and the key file do not belong together.
    #[error("the authority's key does not belong to its certificate")]
    KeyMismatch,
    /// The certificate is not an authority's.
    #[error("the certificate is not a certification authority's")]
    NotAnAuthority,
    /// The authority is not valid now.
    #[error("the authority {0}")]
    Expired(super::DateError),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

impl DevelopmentAuthority {
    /// Makes an authority with the common name `name`.
    ///
    /// # Errors
    /// No randomness, or a name that cannot be encoded.
    pub fn generate(name: &str, now: Timestamp, validity: Lifetime, randomness: &dyn Randomness) -> Result<Self, AuthorityError> {
        let mut params = dated(now, now.plus(validity), randomness)?;
        params.distinguished_name.push(DnType::CommonName, name);
        // A leaf follows at once: no further authorities under this one.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyAlgorithm::P256.generate()?;
        let certificate = params.self_signed(&key)?;
        let certificate_pem = certificate.pem();
        let certificate = Certificate::from_der(certificate.into())?;
        Ok(Self { certificate, certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Takes an authority's certificate and private key from PEM.
    ///
    /// # Errors
    /// PEM that cannot be read, a certificate that is not an authority's, a key of another certificate.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificates = pem::certificates(certificate_pem.as_bytes())?;
        let certificate = certificates.into_iter().next().ok_or(PemError::NoCertificate)?;
        if !certificate.is_authority() {
            return Err(AuthorityError::NotAnAuthority);
        }
        let key = KeyPair::try_from(&pem::private_key(key_pem.as_bytes())?)?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != certificate.spki().as_ref() {
            return Err(AuthorityError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key)?;
        Ok(Self { certificate, certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The authority's certificate in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, PKCS #8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// A name that cannot be encoded, an authority out of its dates, no randomness.
    pub fn issue(
        &self,
        request: &IssueRequest,
        now: Timestamp,
        randomness: &dyn Randomness,
    ) -> Result<IssuedCertificate, AuthorityError> {
        self.certificate.check_dates(now).map_err(AuthorityError::Expired)?;
        let not_after = now.plus(request.validity).min(self.certificate.not_after());
        let mut params = leaf(request, now, not_after, randomness)?;
        params.use_authority_key_identifier_extension = true;
        let key = request.key.generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        issued(certificate, &key)
    }
}

/// Makes a key and a certificate that it signs itself, as `self_signed_tls_client_auth` takes it (RFC 8705 §2.2).
///
/// # Errors
/// A name that cannot be encoded, no randomness.
pub fn self_signed(
    request: &IssueRequest,
    now: Timestamp,
    randomness: &dyn Randomness,
) -> Result<IssuedCertificate, AuthorityError> {
    let params = leaf(request, now, now.plus(request.validity), randomness)?;
    let key = request.key.generate()?;
    let certificate = params.self_signed(&key)?;
    issued(certificate, &key)
}

fn issued(certificate: rcgen::Certificate, key: &KeyPair) -> Result<IssuedCertificate, AuthorityError> {
    let certificate_pem = certificate.pem();
    let certificate = Certificate::from_der(CertificateDer::from(certificate))?;
    Ok(IssuedCertificate { certificate, certificate_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
}

/// Dates and serial number, which the encoder would otherwise choose badly.
fn dated(now: Timestamp, not_after: Timestamp, randomness: &dyn Randomness) -> Result<CertificateParams, AuthorityError> {
    let date = |moment: Timestamp| {
        OffsetDateTime::from_unix_timestamp(moment.seconds()).map_err(|_| AuthorityError::Date(moment.seconds()))
    };
    let mut serial = [0u8; 16];
    randomness.fill(&mut serial)?;
    // Positive and of full length (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn leaf(
    request: &IssueRequest,
    now: Timestamp,
    not_after: Timestamp,
    randomness: &dyn Randomness,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = dated(now, not_after, randomness)?;
    params.distinguished_name = subject(&request.subject)?;
    for name in &request.dns {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(request.ip.iter().copied().map(SanType::IpAddress));
    for uri in &request.uri {
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
    }
    for address in &request.email {
        params.subject_alt_names.push(SanType::Rfc822Name(address.as_str().try_into()?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match request.usage {
        CertificateUsage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        CertificateUsage::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    Ok(params)
}

fn subject(name: &DistinguishedName) -> Result<rcgen::DistinguishedName, AuthorityError> {
    let unusable = || AuthorityError::Name(name.to_string());
    let mut encoded = rcgen::DistinguishedName::new();
    for attributes in name.relative_names() {
        // The encoder keeps one attribute a part and one part a type; it would drop the others without a word.
        let [attribute] = attributes.as_slice() else { return Err(unusable()) };
        let AttributeValue::Text(text) = &attribute.value else { return Err(unusable()) };
        let arcs: Result<Vec<u64>, _> = attribute.oid.split('.').map(str::parse).collect();
        let kind = DnType::from_oid(&arcs.map_err(|_| unusable())?);
        if encoded.get(&kind).is_some() {
            return Err(unusable());
        }
        // RFC 5280 Appendix A: a country is a PrintableString, mail addresses and domain components are IA5Strings.
        let value = match attribute.oid.as_str() {
            "2.5.4.6" => DnValue::PrintableString(text.as_str().try_into()?),
            "1.2.840.113549.1.9.1" | "0.9.2342.19200300.100.1.25" => DnValue::Ia5String(text.as_str().try_into()?),
            _ => DnValue::Utf8String(text.clone()),
        };
        encoded.push(kind, value);
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixture::{NOW, TestRandomness};
    use crate::pki::path::{Anchors, PathPolicy, build_path};

    const DAY: Lifetime = Lifetime::from_seconds(86_400);

    fn authority() -> DevelopmentAuthority {
        DevelopmentAuthority::generate("Development", NOW, DAY, &TestRandomness).expect("generated")
    }

    #[test]
    fn issues_what_was_asked() {
        let authority = authority();
        let subject = DistinguishedName::parse("CN=alice,O=Example\\, Inc.,C=DE,emailAddress=a@example").expect("a name");
        let request = IssueRequest {
            dns: vec!["localhost".into(), "*.example".into()],
            ip: vec!["127.0.0.1".parse().expect("v4"), "::1".parse().expect("v6")],
            uri: vec!["spiffe://example/alice".into()],
            email: vec!["alice@example".into()],
            ..IssueRequest::new(subject.clone(), CertificateUsage::Client, Lifetime::from_seconds(3_600))
        };
        let issued = authority.issue(&request, NOW, &TestRandomness).expect("issued");
        let certificate = &issued.certificate;
        assert_eq!(certificate.subject(), &subject);
        assert_eq!(certificate.issuer().to_string(), "CN=Development");
        assert_eq!((&certificate.sans().dns, &certificate.sans().ip), (&request.dns, &request.ip));
        assert_eq!((&certificate.sans().uri, &certificate.sans().email), (&request.uri, &request.email));
        assert_eq!(certificate.not_before(), NOW.minus(BACKDATED));
        assert_eq!(certificate.not_after(), NOW.plus(request.validity));
        assert_eq!(certificate.extended_key_usages(), Some(&["1.3.6.1.5.5.7.3.2".to_owned()][..]));
        assert_eq!(pem::certificates(issued.certificate_pem.as_bytes()).expect("PEM").first(), Some(certificate));
        let anchors = Anchors::new([authority.certificate().clone()]).expect("an authority");
        let path = build_path(certificate, &[], &anchors, &PathPolicy::default(), NOW).expect("a path");
        assert_eq!(path.anchor(), authority.certificate().spki_sha256());
        let again = authority.issue(&request, NOW, &TestRandomness).expect("issued");
        assert_ne!(again.certificate.serial_hex(), certificate.serial_hex());
    }

    #[test]
    fn survives_its_file_and_notices_a_foreign_key() {
        let authority = authority();
        let again = DevelopmentAuthority::from_pem(authority.certificate_pem(), &authority.key_pem()).expect("its own PEM");
        let subject = DistinguishedName::parse("CN=alice").expect("a name");
        for key in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519] {
            let request = IssueRequest { key, ..IssueRequest::new(subject.clone(), CertificateUsage::Client, DAY) };
            let issued = again.issue(&request, NOW, &TestRandomness).expect("issued");
            let anchors = Anchors::new([authority.certificate().clone()]).expect("an authority");
            build_path(&issued.certificate, &[], &anchors, &PathPolicy::default(), NOW).expect("a path");
        }
        let other = self::authority();
        let result = DevelopmentAuthority::from_pem(authority.certificate_pem(), &other.key_pem());
        assert!(matches!(result, Err(AuthorityError::KeyMismatch)));
        let request = IssueRequest::new(subject, CertificateUsage::Client, DAY);
        let leaf = self_signed(&request, NOW, &TestRandomness).expect("self-signed");
        let result = DevelopmentAuthority::from_pem(&leaf.certificate_pem, &leaf.key_pem);
        assert!(matches!(result, Err(AuthorityError::NotAnAuthority)));
    }

    #[test]
    fn outlives_nothing_and_drops_nothing() {
        let authority = authority();
        let subject = DistinguishedName::parse("CN=alice").expect("a name");
        let request = IssueRequest::new(subject, CertificateUsage::Client, Lifetime::from_seconds(10 * 86_400));
        let issued = authority.issue(&request, NOW, &TestRandomness).expect("issued");
        assert_eq!(issued.certificate.not_after(), authority.certificate().not_after());
        let late = NOW.plus(DAY).plus(Lifetime::from_seconds(1));
        assert!(matches!(authority.issue(&request, late, &TestRandomness), Err(AuthorityError::Expired(_))));
        for name in ["DC=a,DC=b", "CN=a+OU=b", "CN=a,1.2.3=#020101"] {
            let request = IssueRequest { subject: DistinguishedName::parse(name).expect("a name"), ..request.clone() };
            assert!(matches!(authority.issue(&request, NOW, &TestRandomness), Err(AuthorityError::Name(_))), "{name}");
        }
    }
}
