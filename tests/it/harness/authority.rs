//! Certificates of every kind, also bad ones, made by an encoder of its own and not by the code under test.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const DAY: i64 = 86_400;
const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";

/// One DER value (ITU-T X.690 §8.1).
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ ..0x80 => vec![u8::try_from(short).expect("short")],
        long @ ..0x100 => vec![0x81, u8::try_from(long).expect("short")],
        long => [vec![0x82], u16::try_from(long).expect("short").to_be_bytes().to_vec()].concat(),
    };
    [vec![tag], length, content].concat()
}

/// GeneralizedTime.
fn moment(at: OffsetDateTime) -> Vec<u8> {
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let text = format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second());
    der(0x18, &[text.as_bytes()])
}

/// A certification authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// Its certificate in PEM.
    pub pem: String,
    key_pem: String,
    /// What a client sends beside its own certificate: this authority's, when it is not a root.
    chain: Vec<CertificateDer<'static>>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = window(-DAY, 30 * DAY);
    params
}

fn window(not_before: i64, not_after: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    (now + Duration::seconds(not_before), now + Duration::seconds(not_after))
}

impl Authority {
    /// A root whose common name is `name`. Two of one name have different keys.
    pub fn new(name: &str) -> Self {
        let params = authority_params(name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a root");
        let (pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Self { certificate: certificate.der().clone(), pem, key_pem, issuer: Issuer::new(params, key), chain: vec![] }
    }

    /// An authority below this one. What it issues carries it in its chain.
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    /// The same, and more about it.
    pub fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("an intermediate");
        let (pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Self { certificate: certificate.der().clone(), pem, key_pem, issuer: Issuer::new(params, key), chain }
    }

    /// Issues a certificate.
    pub fn issue(&self, leaf: Leaf) -> Identity {
        self.issue_for(leaf, KeyPair::generate().expect("a key"))
    }

    /// Issues a certificate with an RSA key.
    pub fn issue_rsa(&self, leaf: Leaf) -> Identity {
        self.issue_for(leaf, KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key"))
    }

    /// Another certificate for the key of one that is there.
    pub fn renew(&self, identity: &Identity, leaf: Leaf) -> Identity {
        self.issue_for(leaf, KeyPair::from_pem(&identity.key_pem).expect("a key"))
    }

    fn issue_for(&self, leaf: Leaf, key: KeyPair) -> Identity {
        let name = leaf.name.clone();
        let certificate = leaf.params().signed_by(&key, &self.issuer).expect("a certificate");
        Identity::new(name, &certificate, self.chain.clone(), key.serialize_pem())
    }

    /// Its revocation list in PEM: these certificates are revoked. It holds for so many seconds, from a second ago.
    pub fn revocation_list(&self, revoked: &[&CertificateDer<'_>], seconds: i64) -> String {
        self.revocation_list_from(revoked, -1, seconds)
    }

    /// The same, from another moment on, in seconds from now.
    pub fn revocation_list_from(&self, revoked: &[&CertificateDer<'_>], from: i64, until: i64) -> String {
        self.list(revoked, from, until, None)
    }

    /// The same for an hour, of the certificates alone that name this place.
    pub fn revocation_list_at(&self, place: &str, revoked: &[&CertificateDer<'_>]) -> String {
        let distribution_point = CrlDistributionPoint { uris: vec![place.to_owned()] };
        self.list(revoked, -1, 3_600, Some(CrlIssuingDistributionPoint { distribution_point, scope: None }))
    }

    fn list(
        &self,
        revoked: &[&CertificateDer<'_>],
        from: i64,
        until: i64,
        issuing_distribution_point: Option<CrlIssuingDistributionPoint>,
    ) -> String {
        let (this_update, next_update) = window(from, until);
        let revoked = revoked.iter().map(|der| {
            let (_, parsed) = X509Certificate::from_der(der).expect("a certificate");
            RevokedCertParams {
                serial_number: rcgen::SerialNumber::from_slice(parsed.raw_serial()),
                revocation_time: this_update,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }
        });
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: 1u64.into(),
            issuing_distribution_point,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }

    /// A revocation list by hand, in DER, that revokes nobody and holds for an hour: with these extensions, perhaps of a kind that rcgen does
    /// not make.
    pub fn crafted_list(&self, extensions: &[&[u8]]) -> Vec<u8> {
        use rcgen::SigningKey as _;
        let sign = |tbs: &[u8]| KeyPair::from_pem(&self.key_pem).expect("a key").sign(tbs).expect("signed");
        self.signed_list(extensions, Some(3_600), ECDSA_WITH_SHA256, sign)
    }

    /// The same that never ends: without `nextUpdate`.
    pub fn endless_list(&self) -> Vec<u8> {
        use rcgen::SigningKey as _;
        let sign = |tbs: &[u8]| KeyPair::from_pem(&self.key_pem).expect("a key").sign(tbs).expect("signed");
        self.signed_list(&[], None, ECDSA_WITH_SHA256, sign)
    }

    /// The same with a signature that verifies and is made with SHA-1, by OpenSSL; `None` where there is none.
    pub fn sha1_list(&self, directory: &Path) -> Option<Vec<u8>> {
        write_private(&directory.join("sha1-key.pem"), &self.key_pem);
        let sign = |tbs: &[u8]| {
            std::fs::write(directory.join("tbs.der"), tbs).ok()?;
            let mut command = std::process::Command::new("openssl");
            let signed =
                command.args(["dgst", "-sha1", "-sign", "sha1-key.pem", "tbs.der"]).current_dir(directory).output().ok()?;
            signed.status.success().then_some(signed.stdout)
        };
        // ecdsa-with-SHA1 (RFC 5758 §3.2).
        let algorithm = b"\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01";
        let mut made = None;
        let list = self.signed_list(&[], Some(3_600), algorithm, |tbs| {
            made = sign(tbs);
            made.clone().unwrap_or_default()
        });
        made.map(|_| list)
    }

    fn signed_list(
        &self,
        extensions: &[&[u8]],
        seconds: Option<i64>,
        algorithm: &[u8],
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let (this_update, next_update) = window(-1, seconds.unwrap_or_default());
        let next_update = seconds.map(|_| moment(next_update)).unwrap_or_default();
        let (_, parsed) = X509Certificate::from_der(&self.certificate).expect("a certificate");
        let extensions = match extensions {
            [] => Vec::new(),
            some => der(0xa0, &[&der(0x30, some)]),
        };
        let issuer = parsed.subject().as_raw();
        let fields: [&[u8]; 6] = [&[2, 1, 1], algorithm, issuer, &moment(this_update), &next_update, &extensions];
        let tbs = der(0x30, &fields);
        let signature = sign(&tbs);
        der(0x30, &[&tbs, algorithm, &der(0x03, &[&[0], &signature])])
    }

    /// An OCSP response about a certificate (RFC 6960 §4.2.1), by hand. `status` is the encoded `CertStatus`; the answer holds from and until
    /// so many seconds from now. It is signed by the authority, or by a delegate whose certificate comes along.
    pub fn ocsp_response(
        &self,
        about: &CertificateDer<'_>,
        status: &[u8],
        (from, until): (i64, Option<i64>),
        delegate: Option<&Identity>,
    ) -> Vec<u8> {
        use rcgen::SigningKey as _;
        let (_, own) = X509Certificate::from_der(&self.certificate).expect("a certificate");
        let (_, about) = X509Certificate::from_der(about).expect("a certificate");
        let hash = |bytes: &[u8]| der(0x04, &[&symbolon::jose::digest::legacy_sha1(bytes)]);
        let key_hash = |certificate: &X509Certificate<'_>| hash(&certificate.public_key().subject_public_key.data);
        let sha1 = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00";
        let id = der(0x30, &[sha1, &hash(own.subject().as_raw()), &key_hash(&own), &der(0x02, &[about.raw_serial()])]);
        let (this_update, next_update) = window(from, until.unwrap_or_default());
        let next_update = until.map(|_| der(0xa0, &[&moment(next_update)])).unwrap_or_default();
        let single = der(0x30, &[&id, status, &moment(this_update), &next_update]);
        let signer = delegate.map_or(&self.certificate, |delegate| &delegate.chain[0]);
        let (_, parsed) = X509Certificate::from_der(signer).expect("a certificate");
        let responder = match delegate {
            Some(_) => der(0xa1, &[parsed.subject().as_raw()]),
            None => der(0xa2, &[&key_hash(&parsed)]),
        };
        let data = der(0x30, &[&responder, &moment(window(0, 0).0), &der(0x30, &[&single])]);
        let key = delegate.map_or(&self.key_pem, |delegate| &delegate.key_pem);
        let signature = KeyPair::from_pem(key).expect("a key").sign(&data).expect("signed");
        let certificates = delegate.map(|delegate| der(0xa0, &[&der(0x30, &[&delegate.chain[0]])])).unwrap_or_default();
        let basic = der(0x30, &[&data, ECDSA_WITH_SHA256, &der(0x03, &[&[0], &signature]), &certificates]);
        let basic = der(0x30, &[b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01", &der(0x04, &[&basic])]);
        der(0x30, &[&[0x0a, 1, 0], &der(0xa0, &[&basic])])
    }

    /// The authority's key, PKCS #8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The authority's own certificate and key, shown as if it were a client's.
    pub fn as_client(&self) -> Identity {
        Identity {
            name: "authority".into(),
            chain: vec![self.certificate.clone()],
            certificate_pem: self.pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }
}

/// A certificate to make. Start from [`Leaf::client`] or [`Leaf::server`] and change fields.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What the identity is called in files.
    pub name: String,
    /// The subject's attributes, in the order of the encoding (most significant first).
    pub subject: Vec<(DnType, String)>,
    /// Subject alternative names.
    pub dns: Vec<String>,
    pub ip: Vec<IpAddr>,
    pub uri: Vec<String>,
    pub email: Vec<String>,
    /// Seconds from now; negative is the past.
    pub not_before: i64,
    pub not_after: i64,
    /// Empty for a certificate without the extension.
    pub extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    pub key_usages: Vec<KeyUsagePurpose>,
    /// Whether it says that it is a certification authority's.
    pub is_authority: bool,
    /// URLs of its revocation lists.
    pub crl_points: Vec<String>,
    /// The URL of an OCSP responder.
    pub ocsp: Option<String>,
    /// Whether it says that nobody need ask about it (`id-pkix-ocsp-nocheck`).
    pub ocsp_no_check: bool,
    /// An alternative name of a kind that is Microsoft's (`otherName`, a user principal name).
    pub principal: Option<String>,
}

impl Leaf {
    /// A client's certificate: `CN=name`, clientAuth, valid now.
    pub fn client(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subject: vec![(DnType::CommonName, name.to_owned())],
            dns: vec![],
            ip: vec![],
            uri: vec![],
            email: vec![],
            not_before: -3_600,
            // Long enough that nobody is warned of its end.
            not_after: 25 * DAY,
            extended_key_usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            is_authority: false,
            crl_points: vec![],
            ocsp: None,
            ocsp_no_check: false,
            principal: None,
        }
    }

    /// A server's certificate for these DNS names, and 127.0.0.1.
    pub fn server(names: &[&str]) -> Self {
        Self {
            dns: names.iter().map(|name| (*name).to_owned()).collect(),
            ip: vec![IpAddr::from([127, 0, 0, 1])],
            extended_key_usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
            ..Self::client("server")
        }
    }

    /// A certificate with this key that it signs itself.
    pub fn self_signed(self) -> Identity {
        let name = self.name.clone();
        let key = KeyPair::generate().expect("a key");
        let certificate = self.params().self_signed(&key).expect("a certificate");
        Identity::new(name, &certificate, vec![], key.serialize_pem())
    }

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in self.subject {
            params.distinguished_name.push(kind, value);
        }
        for name in self.dns {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("a DNS name")));
        }
        params.subject_alt_names.extend(self.ip.into_iter().map(SanType::IpAddress));
        for uri in self.uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
        }
        if let Some(principal) = self.principal {
            params.subject_alt_names.push(SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], principal.into())));
        }
        for address in self.email {
            params.subject_alt_names.push(SanType::Rfc822Name(address.try_into().expect("an address")));
        }
        (params.not_before, params.not_after) = window(self.not_before, self.not_after);
        params.is_ca = if self.is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.key_usages = self.key_usages;
        params.extended_key_usages = self.extended_key_usages;
        if let Some(url) = self.ocsp {
            let location = der(0x86, &[url.as_bytes()]);
            let access = der(0x30, &[&der(0x30, &[b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01", &location])]);
            params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access));
        }
        if self.ocsp_no_check {
            let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
            params.custom_extensions.push(extension);
        }
        if !self.crl_points.is_empty() {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: self.crl_points }];
        }
        params
    }
}

/// A certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What it is called in files, and the `client_id` where there is one.
    pub name: String,
    /// The certificate, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The chain in PEM.
    pub certificate_pem: String,
    /// The key, PKCS #8 PEM.
    pub key_pem: String,
}

impl Identity {
    fn new(name: String, certificate: &rcgen::Certificate, above: Vec<CertificateDer<'static>>, key_pem: String) -> Self {
        let mut chain = vec![certificate.der().clone()];
        chain.extend(above);
        Self { name, certificate_pem: certificate.pem(), chain, key_pem }
    }

    /// SHA-256 of its public key, as `openssl` prints it but for the colons.
    pub fn spki_sha256_hex(&self) -> String {
        let (_, parsed) = X509Certificate::from_der(&self.chain[0]).expect("a certificate");
        Sha256::digest(parsed.public_key().raw).iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Its number, as `openssl x509 -serial` prints it.
    pub fn serial_hex(&self) -> String {
        let (_, parsed) = X509Certificate::from_der(&self.chain[0]).expect("a certificate");
        parsed.raw_serial().iter().map(|octet| format!("{octet:02X}")).collect()
    }

    /// This certificate with another's private key: what a thief has who only saw the certificate.
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self { key_pem: other.key_pem.clone(), ..self.clone() }
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key")
    }

    /// `x5t#S256` (RFC 8705 §3.1): base64url of the SHA-256 of the DER, computed here and not by the code under test.
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.chain[0]))
    }

    /// The public key and the certificate as a JWK with `x5c`, as `self_signed_tls_client_auth` registers them (RFC 8705 §2.2.2).
    pub fn jwk(&self) -> serde_json::Value {
        use base64::engine::general_purpose::STANDARD;
        use rcgen::PublicKeyData as _;
        let key = KeyPair::from_pem(&self.key_pem).expect("a key");
        // An uncompressed point on P-256.
        let point = key.der_bytes();
        serde_json::json!({
            "kty": "EC",
            "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
            "x5c": [STANDARD.encode(&self.chain[0])],
        })
    }

    /// Writes `NAME.pem` and `NAME-key.pem`, the key readable by its owner alone, and gives their paths.
    pub fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join(format!("{}.pem", self.name)), dir.join(format!("{}-key.pem", self.name)));
        std::fs::write(&certificate, &self.certificate_pem).expect("written");
        write_private(&key, &self.key_pem);
        (certificate, key)
    }
}

/// Writes a file that its owner alone may read.
pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}
