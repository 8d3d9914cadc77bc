//! Certificates for tests, good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
    SigningKey as _,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::domain::{Lifetime, Randomness as _, Timestamp};
pub(crate) use crate::jose::random::SystemRandomness as TestRandomness;

use super::Certificate;

/// The moment that tests take place at.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// An authority of any shape.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    key_pem: String,
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
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
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
        Self { certificate, key_pem: key.serialize_pem(), issuer: Issuer::new(params, key) }
    }

    /// With a key of another kind.
    pub(crate) fn with_key(name: &str, key: KeyPair) -> Self {
        let params = authority_params(name);
        let certificate = read(params.self_signed(&key).expect("signed"));
        Self { certificate, key_pem: key.serialize_pem(), issuer: Issuer::new(params, key) }
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
        Self { certificate, key_pem: key.serialize_pem(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn client(&self, name: &str) -> Identity {
        self.leaf(name, |_| {})
    }

    /// Its revocation list, made by hand so that it can be one that nobody should make.
    pub(crate) fn revocation_list(&self, change: impl FnOnce(&mut ListParams)) -> Vec<u8> {
        let mut list = ListParams {
            this_update: NOW.minus(Lifetime::from_seconds(100)),
            next_update: Some(NOW.plus(Lifetime::from_seconds(1_000))),
            revoked: Vec::new(),
            extensions: Vec::new(),
            algorithm: ECDSA_WITH_SHA256.to_vec(),
            outer_algorithm: None,
            serial_tag: 0x02,
        };
        change(&mut list);
        let (_, parsed) = X509Certificate::from_der(self.certificate.der()).expect("a certificate");
        let time = |moment: Timestamp| der(0x18, [moment_text(moment).as_bytes()]);
        let algorithm = |oid: &[u8]| der(0x30, [&der(0x06, [oid])[..]]);
        let revoked = list.revoked.iter().map(|(serial, reason, extensions)| {
            let reason = reason.map(|code| extension(&[0x55, 0x1d, 0x15], false, &der(0x0a, [&[code][..]])));
            let extensions: Vec<u8> = reason.iter().chain(extensions).flatten().copied().collect();
            let extensions = if extensions.is_empty() { extensions } else { der(0x30, [&extensions[..]]) };
            der(0x30, [&der(list.serial_tag, [&serial[..]])[..], &time(list.this_update), &extensions])
        });
        let revoked: Vec<u8> = revoked.flatten().collect();
        let entries = if revoked.is_empty() { revoked } else { der(0x30, [&revoked[..]]) };
        let extensions =
            if list.extensions.is_empty() { Vec::new() } else { der(0xa0, [&der(0x30, [&list.extensions.concat()[..]])[..]]) };
        let next_update = list.next_update.map(time).unwrap_or_default();
        let issuer = parsed.subject().as_raw();
        let signed = algorithm(&list.algorithm);
        let fields = [&der(0x02, [&[1][..]])[..], &signed, issuer, &time(list.this_update), &next_update, &entries, &extensions];
        let tbs = der(0x30, fields);
        let signature = KeyPair::from_pem(&self.key_pem).expect("a key").sign(&tbs).expect("signed");
        let outer = algorithm(&list.outer_algorithm.unwrap_or(list.algorithm));
        der(0x30, [&tbs[..], &outer, &der(0x03, [&[0][..], &signature])])
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

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// What a revocation list says.
pub(crate) struct ListParams {
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Option<Timestamp>,
    /// Octets of the serial number, reason code, and further extensions of the entry.
    pub(crate) revoked: Vec<(Vec<u8>, Option<u8>, Vec<Vec<u8>>)>,
    pub(crate) extensions: Vec<Vec<u8>>,
    /// Contents of the object identifier in what is signed.
    pub(crate) algorithm: Vec<u8>,
    /// The one outside, where it is another.
    pub(crate) outer_algorithm: Option<Vec<u8>>,
    /// What serial numbers are written as: INTEGER, or what they should not be.
    pub(crate) serial_tag: u8,
}

impl ListParams {
    /// Revokes a certificate.
    pub(crate) fn revoke(&mut self, certificate: &Certificate, reason: Option<u8>) {
        let (_, parsed) = X509Certificate::from_der(certificate.der()).expect("a certificate");
        self.revoked.push((parsed.raw_serial().to_vec(), reason, Vec::new()));
    }
}

/// One DER value (ITU-T X.690 §8.1).
pub(crate) fn der<'a>(tag: u8, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let contents = parts.into_iter().flatten().copied().collect::<Vec<u8>>();
    let length = match contents.len() {
        short @ ..0x80 => vec![u8::try_from(short).expect("short")],
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            [vec![0x80 | u8::try_from(bytes.len()).expect("short")], bytes].concat()
        }
    };
    [vec![tag], length, contents].concat()
}

/// An extension (RFC 5280 §4.1).
pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der(0x01, [&[0xff][..]]) } else { Vec::new() };
    der(0x30, [&der(0x06, [oid])[..], &critical, &der(0x04, [value])])
}

fn moment_text(moment: Timestamp) -> String {
    let date = date(moment);
    let (year, month, day) = date.date().to_calendar_date();
    let (hour, minute, second) = date.time().as_hms();
    format!("{year:04}{:02}{day:02}{hour:02}{minute:02}{second:02}Z", u8::from(month))
}
