use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks that a client holds the key of its certificate, and nothing else.
///
/// Any certificate passes: self-signed, expired, of an unknown authority. Whether it is worth anything is judged after the
/// handshake, where a refusal can be told in HTTP. What is never skipped is the signature over the handshake: it is the proof
/// of possession that every binding rests on.
#[derive(Debug)]
pub(super) struct PossessionVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
    is_mandatory: bool,
}

impl PossessionVerifier {
    /// `hints` are the authorities named to clients; with none, a client shows whatever it has.
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms, hints: Vec<DistinguishedName>, is_mandatory: bool) -> Self {
        Self { algorithms, hints, is_mandatory }
    }
}

impl ClientCertVerifier for PossessionVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls12_signature(message, certificate, signed, &self.algorithms) {
            Err(error) if concerns_the_certificate(&error) => self.verify_tls12_with_key(message, &key(certificate)?, signed),
            result => result,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signed, &self.algorithms) {
            Err(error) if concerns_the_certificate(&error) => {
                verify_tls13_signature_with_raw_key(message, &key(certificate)?, signed, &self.algorithms)
            }
            result => result,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the certificate could not be read, so that the signature has not been looked at. Version 1 certificates and unknown
/// critical extensions end here: both are for the judge, not for the handshake.
fn concerns_the_certificate(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => false,
        Error::InvalidCertificate(_) => true,
        _ => false,
    }
}

fn key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec())),
        _ => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
    }
}

impl PossessionVerifier {
    /// As `verify_tls12_signature` does it: in TLS 1.2 a scheme stands for several algorithms, and the key decides which.
    fn verify_tls12_with_key(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unsupported = Error::InvalidCertificate(CertificateError::BadSignature);
        let key = RawPublicKeyEntity::try_from(key).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let mapping = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = mapping.ok_or_else(|| unsupported.clone())?;
        for algorithm in *candidates {
            match key.verify_signature(*algorithm, message, signed.signature()) {
                Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
                Err(_) => return Err(unsupported),
            }
        }
        Err(unsupported)
    }
}
