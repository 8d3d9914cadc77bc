//! OCSP (RFC 6960): what is asked about one certificate, and the answer, believed only as far as its signature goes.

use x509_cert::der::asn1::{Null, ObjectIdentifier, OctetString};
use x509_cert::der::{self, Decode, Encode};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, ResponderId, SingleResponse,
    TbsRequest,
};
use x509_parser::der_parser::asn1_rs::{Any, BitString};
use x509_parser::prelude::{AlgorithmIdentifier, FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::verify::verify_signature;

use crate::domain::{Lifetime, Timestamp};
use crate::event::Reason;
use crate::jose::digest::legacy_sha1;

use super::Certificate;
use super::crl::{RevocationReason, SIGNATURES, Serial};
use super::path::Link;

/// The hash that names an issuer in a question. Nothing rests on it; it is the one that every responder knows (RFC 5019 §2.1.1).
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
/// The issuer says that nobody need ask whether the responder's certificate has been revoked (RFC 6960 §4.2.2.2.1).
const NO_CHECK: &str = "1.3.6.1.5.5.7.48.1.5";
/// Seconds by which a responder's clock may be ahead of ours.
const SKEW: Lifetime = Lifetime::from_seconds(60);
/// How long an answer without `nextUpdate` is good for: it says that there may be a newer one at any time (RFC 6960 §4.2.2.1).
const WITHOUT_NEXT_UPDATE: Lifetime = Lifetime::from_seconds(300);
/// Answers about other certificates that may come along, and certificates.
const MOST_ANSWERS: usize = 64;
const MOST_CERTIFICATES: usize = 4;

/// What an answer says of one certificate, signed by whoever may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspAnswer {
    /// The status.
    pub status: OcspStatus,
    /// Since when it is known to hold.
    pub this_update: Timestamp,
    /// When there is a newer one at the latest.
    pub next_update: Timestamp,
    /// The certificate of the responder that signed it for the issuer, unless the issuer says that nobody need ask about it: the answer counts
    /// no longer than this certificate is not revoked.
    pub delegate: Option<Link>,
}

/// What an authority says of one of its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspStatus {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: RevocationReason,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not DER, or not a response of RFC 6960.
    #[error("not an OCSP response: {0}")]
    Malformed(String),
    /// The responder does not answer the question.
    #[error("the responder says: {0}")]
    Refused(&'static str),
    /// It says nothing of the certificate.
    #[error("the response is about other certificates")]
    OtherCertificate,
    /// The responder does not know the certificate.
    #[error("the responder does not know the certificate")]
    Unknown,
    /// Signed by nobody who may sign for the issuer (RFC 6960 §4.2.2.2).
    #[error("the response is signed neither by the issuer nor by a responder that it has issued a certificate for: {0}")]
    Signer(&'static str),
    /// Out of its dates.
    #[error("the response holds from {this_update} to {next_update} (seconds since 1970)")]
    Stale {
        /// Since when.
        this_update: Timestamp,
        /// Until when.
        next_update: Timestamp,
    },
}

impl OcspError {
    /// The private reason, of a request that needed the answer.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::OtherCertificate => Reason::CertificateOcspMalformed,
            Self::Refused(_) => Reason::CertificateOcspRefused,
            Self::Unknown => Reason::CertificateOcspUnknown,
            Self::Signer(_) => Reason::CertificateOcspSigner,
            Self::Stale { .. } => Reason::CertificateOcspStale,
        }
    }
}

impl From<der::Error> for OcspError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What is asked about one certificate: its number, and its issuer's name and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspQuestion(CertId);

impl OcspQuestion {
    /// About the certificate with this number that `issuer` has signed.
    ///
    /// # Errors
    /// When the issuer's certificate cannot be read as it must be here.
    pub fn new(issuer: &Certificate, serial: Serial) -> Result<Self, OcspError> {
        let (_, parsed) = X509Certificate::from_der(issuer.der()).map_err(|_| OcspError::Malformed("the issuer".into()))?;
        let hash = |bytes: &[u8]| OctetString::new(legacy_sha1(bytes));
        Ok(Self(CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Null.into()) },
            issuer_name_hash: hash(parsed.subject().as_raw())?,
            issuer_key_hash: hash(&parsed.public_key().subject_public_key.data)?,
            serial_number: SerialNumber::new(&serial.significant_octets())?,
        }))
    }

    /// The request, in DER. It carries no nonce: answers may come from a cache, and hold for as long as they say.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn request(&self) -> Result<Vec<u8>, OcspError> {
        let one = Request { req_cert: self.0.clone(), single_request_extensions: None };
        let tbs_request = TbsRequest { request_list: vec![one], ..TbsRequest::default() };
        Ok(OcspRequest { tbs_request, optional_signature: None }.to_der()?)
    }

    fn is_about(&self, other: &CertId) -> bool {
        let hashes = (&self.0.issuer_name_hash, &self.0.issuer_key_hash) == (&other.issuer_name_hash, &other.issuer_key_hash);
        hashes && self.0.hash_algorithm.oid == other.hash_algorithm.oid && self.0.serial_number == other.serial_number
    }

    /// Reads a response to it. What it says holds at `now`, and is signed by `issuer` or by whom `issuer` has issued a certificate for it.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn answer(&self, response: &[u8], issuer: &Certificate, now: Timestamp) -> Result<OcspAnswer, OcspError> {
        self.signed(response, issuer)?.at(now)
    }

    /// Reads a response to it that came some time ago. What it has revoked is revoked, also past its `nextUpdate`.
    ///
    /// # Errors
    /// Why it says nothing any more.
    pub fn kept_answer(&self, response: &[u8], issuer: &Certificate, now: Timestamp) -> Result<OcspAnswer, OcspError> {
        let signed = self.signed(response, issuer)?;
        let (this_update, next_update) = (signed.this_update(), signed.next_update());
        let answer = signed.at(now.min(next_update))?;
        match answer.status {
            OcspStatus::Good if next_update < now => Err(OcspError::Stale { this_update, next_update }),
            OcspStatus::Good | OcspStatus::Revoked { .. } => Ok(answer),
        }
    }

    fn signed(&self, response: &[u8], issuer: &Certificate) -> Result<Signed, OcspError> {
        let response = OcspResponse::from_der(response)?;
        match response.response_status {
            OcspResponseStatus::Successful => {}
            OcspResponseStatus::MalformedRequest => return Err(OcspError::Refused("malformedRequest")),
            OcspResponseStatus::InternalError => return Err(OcspError::Refused("internalError")),
            OcspResponseStatus::TryLater => return Err(OcspError::Refused("tryLater")),
            OcspResponseStatus::SigRequired => return Err(OcspError::Refused("sigRequired")),
            OcspResponseStatus::Unauthorized => return Err(OcspError::Refused("unauthorized")),
        }
        let bytes = response.response_bytes.filter(|bytes| bytes.response_type == BASIC);
        let bytes = bytes.ok_or_else(|| OcspError::Malformed("it is not of the basic type".into()))?;
        let basic = BasicOcspResponse::from_der(bytes.response.as_bytes())?;
        if basic.tbs_response_data.responses.len() > MOST_ANSWERS {
            return Err(OcspError::Malformed("it is about too many certificates".into()));
        }
        // The signature first: of what nobody has signed, nothing is looked at.
        let delegate = check_signer(&basic, bytes.response.as_bytes(), issuer)?;
        let about = basic.tbs_response_data.responses.into_iter().find(|single| self.is_about(&single.cert_id));
        Ok(Signed { single: about.ok_or(OcspError::OtherCertificate)?, delegate, issuer: issuer.clone() })
    }
}

/// What an answer says of the certificate that was asked about, signed by the issuer or for it. Nothing has been dated yet.
struct Signed {
    single: SingleResponse,
    delegate: Option<Certificate>,
    issuer: Certificate,
}

impl Signed {
    fn this_update(&self) -> Timestamp {
        moment(&self.single.this_update)
    }

    fn next_update(&self) -> Timestamp {
        self.single.next_update.as_ref().map_or(self.this_update().plus(WITHOUT_NEXT_UPDATE), moment)
    }

    /// What it says, as it stood at `now`.
    fn at(&self, now: Timestamp) -> Result<OcspAnswer, OcspError> {
        if self.delegate.as_ref().is_some_and(|delegate| delegate.check_dates(now).is_err()) {
            return Err(OcspError::Signer("the responder's certificate is out of its dates"));
        }
        if self.single.single_extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(OcspError::Malformed("it has a critical extension".into()));
        }
        let (this_update, next_update) = (self.this_update(), self.next_update());
        if this_update > now.plus(SKEW) || next_update < now || next_update < this_update {
            return Err(OcspError::Stale { this_update, next_update });
        }
        let status = match &self.single.cert_status {
            CertStatus::Good(_) => OcspStatus::Good,
            CertStatus::Unknown(_) => return Err(OcspError::Unknown),
            CertStatus::Revoked(info) => OcspStatus::Revoked {
                since: moment(&info.revocation_time),
                reason: RevocationReason::from_code(info.revocation_reason.map_or(0, |reason| reason as u8)),
            },
        };
        let delegate = self.delegate.as_ref().filter(|delegate| !is_not_to_be_asked_about(delegate));
        let delegate = delegate.map(|delegate| Link {
            issuer: self.issuer.spki_sha256(),
            issuer_certificate: self.issuer.thumbprint(),
            serial: delegate.serial(),
            is_authority: delegate.is_authority(),
            points: delegate.distribution_points().to_vec(),
            responders: Vec::new(),
        });
        Ok(OcspAnswer { status, this_update, next_update, delegate })
    }
}

fn moment(time: &x509_ocsp::OcspGeneralizedTime) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

fn is_not_to_be_asked_about(delegate: &Certificate) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(delegate.der()) else { return false };
    parsed.extensions().iter().any(|extension| extension.oid.to_id_string() == NO_CHECK)
}

/// RFC 6960 §4.2.2.2: the issuer itself, or somebody whose certificate the issuer has signed directly, for this purpose.
fn check_signer(basic: &BasicOcspResponse, der: &[u8], issuer: &Certificate) -> Result<Option<Certificate>, OcspError> {
    let signed = first_value(der).ok_or_else(|| OcspError::Malformed("no data".into()))?;
    let algorithm = basic.signature_algorithm.to_der()?;
    let (_, algorithm) = AlgorithmIdentifier::from_der(&algorithm).map_err(|_| OcspError::Malformed("algorithm".into()))?;
    if !SIGNATURES.contains(&algorithm.algorithm.to_id_string().as_str()) {
        return Err(OcspError::Signer("its signature algorithm does not count"));
    }
    let Some(signature) = basic.signature.as_bytes() else { return Err(OcspError::Malformed("signature".into())) };
    let verifies = |signer: &Certificate| {
        let key = SubjectPublicKeyInfo::from_der(signer.spki().as_ref());
        let signature = BitString::new(0, signature);
        key.is_ok_and(|(_, key)| verify_signature(&key, &algorithm, &signature, signed).is_ok())
    };
    let responder = &basic.tbs_response_data.responder_id;
    if is_named(responder, issuer) && verifies(issuer) {
        return Ok(None);
    }
    let certificates = basic.certs.iter().flatten().take(MOST_CERTIFICATES);
    let mut problem = "nobody of that name has signed it";
    for certificate in certificates {
        let Ok(delegate) = Certificate::from_der(certificate.to_der()?.into()) else { continue };
        if !is_named(responder, &delegate) || !verifies(&delegate) {
            continue;
        }
        match check_delegate(&delegate, issuer) {
            Ok(()) => return Ok(Some(delegate)),
            Err(why) => problem = why,
        }
    }
    Err(OcspError::Signer(problem))
}

fn check_delegate(delegate: &Certificate, issuer: &Certificate) -> Result<(), &'static str> {
    let is_for_this = delegate.extended_key_usages().is_some_and(|usages| usages.iter().any(|usage| usage == OCSP_SIGNING));
    if !is_for_this {
        return Err("the responder's certificate is not for OCSP signing");
    }
    if delegate.key_usage().is_some_and(|usage| !usage.digital_signature) {
        return Err("the responder's key may not sign");
    }
    let is_issued = delegate.issuer() == issuer.subject() && is_signed_by(delegate, issuer);
    if is_issued { Ok(()) } else { Err("the responder's certificate is not the issuer's") }
}

fn is_signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let (Ok((_, parsed)), Ok((_, key))) =
        (X509Certificate::from_der(certificate.der()), SubjectPublicKeyInfo::from_der(issuer.spki().as_ref()))
    else {
        return false;
    };
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    SIGNATURES.contains(&algorithm.as_str()) && parsed.verify_signature(Some(&key)).is_ok()
}

fn is_named(responder: &ResponderId, certificate: &Certificate) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate.der()) else { return false };
    match responder {
        ResponderId::ByName(name) => name.to_der().is_ok_and(|name| name == parsed.subject().as_raw()),
        ResponderId::ByKey(hash) => hash.as_bytes() == legacy_sha1(&parsed.public_key().subject_public_key.data),
    }
}

/// The first value of a SEQUENCE, as it is encoded.
fn first_value(der: &[u8]) -> Option<&[u8]> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let content: &[u8] = sequence.data;
    let (rest, _) = Any::from_der(content).ok()?;
    content.get(..content.len().checked_sub(rest.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixture::{Authority, NOW};

    /// The request of RFC 6960 §4.1.1, as OpenSSL writes it too: version left out, SHA-1 with NULL, no nonce.
    #[test]
    fn a_question_has_one_encoding() {
        let ca = Authority::new("CA");
        let question = OcspQuestion::new(&ca.certificate, Serial::from_hex("80ff").expect("a number")).expect("a question");
        let request = question.request().expect("a request");
        let start = b"\x30\x44\x30\x42\x30\x40\x30\x3e\x30\x3c\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
        assert!(request.ends_with(b"\x02\x03\x00\x80\xff"), "{request:02x?}");
        assert_eq!(request.get(10..start.len()), start.get(10..), "{request:02x?}");
        let error = question.answer(b"\x30\x03\x0a\x01\x03", &ca.certificate, NOW).expect_err("tryLater");
        assert_eq!(error, OcspError::Refused("tryLater"));
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x03\x0a\x01\x00", b"\x30\x04\x0a\x01\x03\x00"] {
            let error = question.answer(bytes, &ca.certificate, NOW).expect_err("no response");
            assert_eq!(error.reason(), Reason::CertificateOcspMalformed, "{bytes:02x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            static CA: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
            let ca = CA.get_or_init(|| Authority::new("CA").certificate);
            let question = OcspQuestion::new(ca, Serial::from_hex("1").expect("a number")).expect("a question");
            let _ = question.answer(&bytes, ca, NOW);
            let inner = [&[0x30, 0x82, 1, 0x60, 0x0a, 1, 0, 0xa0][..], &bytes].concat();
            let _ = question.answer(&inner, ca, NOW);
        }
    }
}
