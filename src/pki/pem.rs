//! PEM text and files (RFC 7468). Every error names the file, what is wrong with it, and what to do.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{Certificate, CertificateError};

/// Largest file of certificates or keys that is read, in bytes.
const LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Largest file of revocation lists that is read, in bytes: some millions of entries.
const REVOCATION_LIST_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// What DER begins with, and PEM never does.
const DER_SEQUENCE: u8 = 0x30;

/// Most files that are read from one folder.
const FILES_OF_FOLDER: usize = 4_096;

/// Why a PEM file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct PemFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: PemError,
}

/// Why PEM text, or the file it comes from, is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// Larger than what is read.
    #[error("is larger than {limit} bytes: it is no file of this kind")]
    TooLarge {
        /// Bytes that are read at most.
        limit: u64,
    },
    /// A folder without files, or with too many.
    #[error("is a folder with {count} files: name one with 1 to {FILES_OF_FOLDER}")]
    Folder {
        /// Files in it.
        count: usize,
    },
    /// No revocation list in it.
    #[error("has no revocation list: expected DER or `-----BEGIN X509 CRL-----`")]
    NoRevocationList,
    /// DER where PEM is expected.
    #[error("is DER, not PEM: convert it with `openssl x509 -inform der -in FILE -out FILE.pem` (a key with `openssl pkey`)")]
    Der,
    /// Broken PEM.
    #[error("is not valid PEM: {0}")]
    Malformed(String),
    /// No certificate in it.
    #[error("has no certificate: expected `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A certificate in it that cannot be read.
    #[error("certificate {position}: {error}")]
    Certificate {
        /// Counted from one.
        position: usize,
        /// What is wrong with it.
        #[source]
        error: CertificateError,
    },
    /// No private key in it.
    #[error("has no private key: expected `-----BEGIN PRIVATE KEY-----`")]
    NoPrivateKey,
    /// A private key that is protected with a passphrase.
    #[error("has an encrypted private key: decrypt it with `openssl pkey -in FILE -out KEY.pem` and protect the file instead")]
    EncryptedKey,
    /// Others than its owner may read or change the private key.
    #[error("holds a secret and is accessible to others (mode {mode:03o}): run `chmod 600` on it")]
    Permissions {
        /// The permission bits.
        mode: u32,
    },
}

fn read(path: &Path, is_private: bool, limit: u64) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let file = File::open(path).map_err(PemError::Unreadable)?;
    if is_private {
        check_permissions(&file)?;
    }
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more than allowed, so that a longer file is noticed.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(PemError::Unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(PemError::TooLarge { limit });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn check_permissions(file: &File) -> Result<(), PemError> {
    use std::os::unix::fs::PermissionsExt as _;
    // Of the open file, not of its path, which somebody could replace in between.
    let mode = file.metadata().map_err(PemError::Unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(PemError::Permissions { mode }) }
}

#[cfg(not(unix))]
fn check_permissions(_: &File) -> Result<(), PemError> {
    Ok(())
}

fn at<T>(path: &Path, result: Result<T, PemError>) -> Result<T, PemFileError> {
    result.map_err(|problem| PemFileError { path: path.to_owned(), problem })
}

/// The certificates of a PEM file, each of them read.
///
/// # Errors
/// An unreadable or empty file, and any certificate in it that is malformed.
pub fn load_certificates(path: &Path) -> Result<Vec<Certificate>, PemFileError> {
    at(path, read(path, false, LIMIT_BYTES).and_then(|bytes| certificates(&bytes)))
}

/// The file itself, or the files of a folder in the order of their names. Hidden ones are passed over, also those through which Kubernetes
/// swaps a folder's contents.
///
/// # Errors
/// A folder that cannot be read, is empty or has too many files.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, PemFileError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path)?.take(2 * FILES_OF_FOLDER).collect::<Result<Vec<_>, _>>()?;
        let is_hidden = |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
        let mut files: Vec<_> = entries.iter().filter(|entry| !is_hidden(entry)).map(std::fs::DirEntry::path).collect();
        files.retain(|file| file.is_file());
        files.sort();
        Ok(files)
    };
    let files = at(path, list().map_err(PemError::Unreadable))?;
    match files.len() {
        1..=FILES_OF_FOLDER => Ok(files),
        count => at(path, Err(PemError::Folder { count })),
    }
}

/// The revocation lists of a file, DER each: one as it is, or any number in PEM.
///
/// # Errors
/// An unreadable file, and one without a list.
pub fn load_revocation_lists(path: &Path) -> Result<Vec<Vec<u8>>, PemFileError> {
    at(path, read(path, false, REVOCATION_LIST_LIMIT_BYTES).and_then(|bytes| revocation_lists(&bytes)))
}

/// The certificate revocation lists in PEM text, or the one in DER.
///
/// # Errors
/// None, or one that is not PEM.
pub fn revocation_lists(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![bytes.to_vec()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(bytes).map(|list| list.map(|list| list.as_ref().to_vec()));
    match lists.collect::<Result<Vec<_>, _>>() {
        Ok(lists) if lists.is_empty() => Err(PemError::NoRevocationList),
        Ok(lists) => Ok(lists),
        Err(error) => Err(PemError::Malformed(error.to_string())),
    }
}

/// The private key of a PEM file that its owner alone may access: PKCS #8, PKCS #1 or SEC 1.
///
/// # Errors
/// An unreadable file, one that others may read or write, and one without an unencrypted private key.
pub fn load_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFileError> {
    at(path, read(path, true, LIMIT_BYTES).and_then(|bytes| private_key(&bytes)))
}

/// The content of a file that its owner alone may access.
///
/// # Errors
/// An unreadable file, and one that others may read or write.
pub fn load_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemFileError> {
    at(path, read(path, true, LIMIT_BYTES))
}

/// The certificates in PEM text, at least one.
///
/// # Errors
/// No certificate, or one that is malformed.
pub fn certificates(text: &[u8]) -> Result<Vec<Certificate>, PemError> {
    let mut certificates = Vec::new();
    for (index, der) in CertificateDer::pem_slice_iter(text).enumerate() {
        let der = der.map_err(|error| malformed(&error))?;
        let error = |error| PemError::Certificate { position: index.saturating_add(1), error };
        certificates.push(Certificate::from_der(der).map_err(error)?);
    }
    match certificates.is_empty() {
        true if text.first() == Some(&DER_SEQUENCE) => Err(PemError::Der),
        true => Err(PemError::NoCertificate),
        false => Ok(certificates),
    }
}

/// The first private key in PEM text.
///
/// # Errors
/// No private key, or only an encrypted one.
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(rustls_pki_types::pem::Error::NoItemsFound) if text.first() == Some(&DER_SEQUENCE) => Err(PemError::Der),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => {
            let marker = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
            let is_encrypted = text.windows(marker.len()).any(|window| window == marker);
            Err(if is_encrypted { PemError::EncryptedKey } else { PemError::NoPrivateKey })
        }
        Err(error) => Err(malformed(&error)),
    }
}

/// The library's own message may quote lines of the file, which may be a key's.
fn malformed(error: &rustls_pki_types::pem::Error) -> PemError {
    use rustls_pki_types::pem::Error;
    PemError::Malformed(match error {
        Error::MissingSectionEnd { .. } => "a section has no END line".into(),
        Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".into(),
        Error::Base64Decode(_) => "a section is not base64".into(),
        _ => "a section cannot be read".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8705 Appendix A: a version 1 certificate, and its thumbprint.
    const APPENDIX_A: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx\n\
        ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG\n\
        SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ\n\
        /Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID\n\
        SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV\n\
        bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn the_thumbprint_of_rfc_8705_appendix_a() {
        let certificates = certificates(APPENDIX_A.as_bytes()).expect("the RFC's own example");
        let certificate = certificates.first().expect("one certificate");
        assert_eq!(certificate.thumbprint().to_string(), "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0");
        assert_eq!(certificate.version(), 1);
        assert_eq!(certificate.subject().to_string(), "CN=mtls");
        assert_eq!(certificate.issuer(), certificate.subject());
        assert_eq!(certificate.serial_hex(), "02");
        assert_eq!(certificate.not_before().seconds(), 1_539_866_229);
        assert_eq!(certificate.not_after().seconds(), 1_651_495_029);
        assert!(certificate.sans().is_empty());
        assert!(!certificate.is_authority());
    }

    #[test]
    fn names_what_is_wrong() {
        let der = certificates(APPENDIX_A.as_bytes()).expect("the RFC's own example")[0].der().clone();
        let truncated = APPENDIX_A.replace("bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=\n", "");
        let table: [(&[u8], &str); 6] = [
            (b"", "has no certificate: expected `-----BEGIN CERTIFICATE-----`"),
            (b"hello", "has no certificate: expected `-----BEGIN CERTIFICATE-----`"),
            (
                &der,
                "is DER, not PEM: convert it with `openssl x509 -inform der -in FILE -out FILE.pem` (a key with `openssl pkey`)",
            ),
            (truncated.as_bytes(), "certificate 1: not a DER-encoded X.509 certificate"),
            (b"-----BEGIN CERTIFICATE-----\nMIIB", "is not valid PEM: a section has no END line"),
            (b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "is not valid PEM: a section is not base64"),
        ];
        for (text, expected) in table {
            assert_eq!(certificates(text).expect_err("useless").to_string(), expected);
        }
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(private_key(encrypted), Err(PemError::EncryptedKey)));
        assert!(matches!(private_key(APPENDIX_A.as_bytes()), Err(PemError::NoPrivateKey)));
        let absent = load_certificates(Path::new("/nonexistent/ca.pem")).expect_err("no such file").to_string();
        assert!(absent.starts_with("/nonexistent/ca.pem: cannot be read: "), "{absent}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").expect("written");
        for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("own file");
            let result = load_private_key(&path);
            assert_eq!(result.is_ok(), accepted, "{mode:o}");
            assert!(accepted || matches!(result, Err(PemFileError { problem: PemError::Permissions { .. }, .. })));
        }
    }
}
