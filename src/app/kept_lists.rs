//! Revocation lists on disk, as they were fetched: so that a restart does not begin without them, nor with older ones.
//!
//! A file is believed no more than a place in the network is: whoever takes a list from here verifies its signature and its dates again.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use anyhow::Context as _;

use crate::jose::digest::sha256;

/// Files in the folder, at most: more are not written.
const MOST_FILES: usize = 4_096;

/// A folder of lists.
#[derive(Debug)]
pub struct KeptLists {
    folder: PathBuf,
    limit_bytes: u64,
}

impl KeptLists {
    /// Makes the folder where it is not there yet. Lists beyond `limit_bytes` are not read.
    pub fn open(folder: PathBuf, limit_bytes: u64) -> anyhow::Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("`crl_cache`: {} cannot be made", folder.display()))?;
        Ok(Self { folder, limit_bytes })
    }

    /// What was kept of a URL for a set.
    pub fn read(&self, set: &str, url: &str) -> Option<Vec<u8>> {
        let path = self.path(set, url);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // One byte more than allowed, so that a longer file is noticed.
            File::open(&path)?.take(self.limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > self.limit_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
        };
        match read() {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), url, %error, "a revocation list that was kept cannot be read");
                None
            }
        }
    }

    /// Keeps what came from a URL, in the place of what was kept before.
    pub fn write(&self, set: &str, url: &str, bytes: &[u8]) {
        let path = self.path(set, url);
        let write = || -> io::Result<()> {
            if !path.exists() && std::fs::read_dir(&self.folder)?.take(MOST_FILES).count() == MOST_FILES {
                return Err(io::Error::other("the folder is full: take away what is old"));
            }
            // Under another name first, so that a crash leaves the old one or the new one.
            let fresh = path.with_extension(format!("{}.new", std::process::id()));
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(bytes)?;
            std::fs::rename(&fresh, &path)
        };
        if let Err(error) = write() {
            tracing::warn!(file = %path.display(), url, %error, "a revocation list cannot be kept");
        }
    }

    fn path(&self, set: &str, url: &str) -> PathBuf {
        let digest = sha256(format!("{set}\n{url}").as_bytes());
        let name: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(name).with_extension("crl")
    }
}
