//! Certificates for tests, good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::domain::{Lifetime, Randomness as _, Timestamp};
pub(crate) use crate::jose::random::SystemRandomness as TestRandomness;

use super::Certificate;

/// The moment that tests take place at.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// An authority of any shape.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Identity {
    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("PKCS #8")
    }
}

pub(crate) fn date(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.seconds()).expect("a date")
}

fn params(name: &str) -> CertificateParams {
    let mut serial = [0x40u8; 16];
    TestRandomness.fill(&mut serial[1..]).expect("randomness");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(NOW.minus(Lifetime::from_seconds(1_000)));
    params.not_after = date(NOW.plus(Lifetime::from_seconds(100_000)));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn read(certificate: rcgen::Certificate) -> Certificate {
    Certificate::from_der(CertificateDer::from(certificate)).expect("a certificate")
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        let key = key();
        let certificate = read(params.self_signed(&key).expect("signed"));
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// With a key of another kind.
    pub(crate) fn with_key(name: &str, key: KeyPair) -> Self {
        let params = authority_params(name);
        let certificate = read(params.self_signed(&key).expect("signed"));
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A client's certificate with a key of another kind.
    pub(crate) fn with_own_key(&self, key: KeyPair, name: &str) -> Identity {
        let mut params = params(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = read(params.signed_by(&key, &self.issuer).expect("signed"));
        Identity { certificate, key }
    }

    pub(crate) fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        let key = key();
        let certificate = read(params.signed_by(&key, &self.issuer).expect("signed"));
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn client(&self, name: &str) -> Identity {
        self.leaf(name, |_| {})
    }

    /// A client's certificate, changed before it is signed.
    pub(crate) fn leaf(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = key();
        let certificate = read(params.signed_by(&key, &self.issuer).expect("signed"));
        Identity { certificate, key }
    }

    pub(crate) fn server(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.leaf("server", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = CertificateParams::new(names).expect("names").subject_alt_names;
        })
    }
}

/// A certificate that its own key signed.
pub(crate) fn self_signed(name: &str) -> Identity {
    let key = key();
    Identity { certificate: read(params(name).self_signed(&key).expect("signed")), key }
}
