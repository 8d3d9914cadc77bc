//! A master key's file.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::domain::{Randomness, RandomnessUnavailable, Redacted};

/// What is wrong with a master key's file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No such file.
    #[error("there is no file {}: make one with `umask 077; openssl rand -base64 32 > {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    /// The file exists and cannot be read or written.
    #[error("{}: {problem}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        problem: io::Error,
    },
    /// Other people may read the file.
    #[error("{} may be read by others (mode {mode:o}): `chmod 600 {}`", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not base64.
    #[error("{} is not base64: a master key is 32 bytes in base64, as `openssl rand -base64 32` writes", .0.display())]
    Encoding(PathBuf),
    /// Base64 of another number of bytes.
    #[error("{} has {length} bytes: a master key has 32, as `openssl rand -base64 32` writes", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it has, decoded.
        length: usize,
    },
    /// The file to be made is there already. It is never overwritten: what it sealed would be lost.
    #[error("{} exists already and is left as it is", .0.display())]
    Exists(PathBuf),
    /// The operating system gave no randomness.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
}

const INDIFFERENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT);

/// Longer than any spelling of 32 bytes with white space around it.
pub(super) const MAX_FILE_LENGTH: u64 = 1024;

pub(super) fn read(path: &Path) -> Result<Redacted<[u8; 32]>, KeyFileError> {
    let unreadable = |problem: io::Error| match problem.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => KeyFileError::Unreadable { path: path.to_owned(), problem },
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    check_mode(path, &file.metadata().map_err(unreadable)?)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE_LENGTH as usize));
    file.take(MAX_FILE_LENGTH).read_to_end(&mut text).map_err(unreadable)?;
    decode(&text).map_err(|problem| match problem {
        KeyTextError::Encoding => KeyFileError::Encoding(path.to_owned()),
        KeyTextError::Length(length) => KeyFileError::Length { path: path.to_owned(), length },
    })
}

/// What is wrong with a text that should be a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Not base64.
    #[error("is not base64: a master key is 32 bytes in base64, as `openssl rand -base64 32` writes")]
    Encoding,
    /// Base64 of another number of bytes.
    #[error("has {0} bytes: a master key has 32, as `openssl rand -base64 32` writes")]
    Length(usize),
}

/// Reads 32 bytes in base64 or base64url, with or without padding, with white space around them.
pub(super) fn decode(text: &[u8]) -> Result<Redacted<[u8; 32]>, KeyTextError> {
    let text = text.trim_ascii();
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| KeyTextError::Encoding)?;
    <[u8; 32]>::try_from(bytes.as_slice()).map(Redacted::new).map_err(|_| KeyTextError::Length(bytes.len()))
}

/// Makes a master key in a new file that its owner alone may read.
///
/// # Errors
/// [`KeyFileError::Exists`], [`KeyFileError::Unreadable`] and [`KeyFileError::Randomness`].
pub fn create_key_file(path: &Path, randomness: &dyn Randomness) -> Result<(), KeyFileError> {
    let mut key = Zeroizing::new([0u8; 32]);
    randomness.fill(&mut *key)?;
    let mut text = Zeroizing::new(STANDARD.encode(*key));
    text.push('\n');
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|problem| match problem.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Unreadable { path: path.to_owned(), problem },
    })
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{KeySource, KeySourceError, MasterKeys, MasterKeysError, SealKeyId};

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("master.key");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
        (folder, path)
    }

    #[test]
    fn both_alphabets_are_read() {
        let key = [0xfbu8; 32];
        let standard = STANDARD.encode(key);
        let url_safe = URL_SAFE.encode(key);
        for text in [&standard, &url_safe, standard.trim_end_matches('='), &format!("{standard}\n"), &format!(" {url_safe}\r\n")]
        {
            let (_folder, path) = file(text, 0o600);
            assert_eq!(read(&path).expect(text).expose(), &key, "{text:?}");
        }
    }

    #[test]
    fn each_mistake_has_its_message() {
        let good = STANDARD.encode([1u8; 32]);
        let table = [
            (good.clone(), 0o640, "may be read by others (mode 640): `chmod 600"),
            (good.clone(), 0o604, "may be read by others (mode 604): `chmod 600"),
            (STANDARD.encode([1u8; 31]), 0o600, "has 31 bytes: a master key has 32"),
            (STANDARD.encode([1u8; 64]), 0o600, "has 64 bytes: a master key has 32"),
            ("01".repeat(32), 0o400, "has 48 bytes: a master key has 32"),
            (String::new(), 0o600, "has 0 bytes: a master key has 32"),
            ("not base64!".to_owned(), 0o600, "is not base64"),
            (format!("{good}{good}"), 0o600, "is not base64"),
            ("A".repeat(5000), 0o600, "has 768 bytes"),
        ];
        for (text, mode, expected) in table {
            let (_folder, path) = file(&text, mode);
            let message = read(&path).expect_err(expected).to_string();
            assert!(message.contains(expected) && message.contains("master.key"), "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_named_with_its_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let id: SealKeyId = "one".parse().expect("valid");
        let error = MasterKeys::load(&[(id, KeySource::File(folder.path().join("none.key")))], &|_| None).expect_err("no file");
        assert!(matches!(error, MasterKeysError::Source { problem: KeySourceError::File(KeyFileError::Missing(_)), .. }));
        let message = error.to_string();
        assert!(
            message.starts_with("master key `one`: there is no file") && message.contains("openssl rand -base64 32"),
            "{message}"
        );
    }

    #[test]
    fn a_made_key_can_be_read_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("master.key");
        create_key_file(&path, &crate::jose::random::SystemRandomness).expect("made");
        let key = *read(&path).expect("readable").expose();
        assert_ne!(key, [0; 32]);
        assert!(matches!(create_key_file(&path, &crate::jose::random::SystemRandomness), Err(KeyFileError::Exists(_))));
        assert_eq!(read(&path).expect("readable").expose(), &key);
    }
}
