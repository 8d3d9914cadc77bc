//! A folder of files that are written whole: what a crash leaves is the old one or the new one, and processes that share it take turns.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::jose::digest::sha256;

/// The folder, and what may lie in it.
#[derive(Debug)]
pub struct KeptFiles {
    folder: PathBuf,
    extension: &'static str,
    limit_bytes: u64,
    most_files: usize,
    written: AtomicU64,
}

impl KeptFiles {
    /// Makes the folder where it is not there yet. A file has at most `limit_bytes`; where there are `most_files` no other is added. Those
    /// that nobody has written for `unwritten` are taken away.
    pub fn open(
        folder: PathBuf,
        extension: &'static str,
        limit_bytes: u64,
        most_files: usize,
        unwritten: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("`crl_cache`: {} cannot be made", folder.display()))?;
        let files = Self { folder, extension, limit_bytes, most_files, written: AtomicU64::new(0) };
        files.clear(unwritten).with_context(|| format!("`crl_cache`: {} cannot be used", files.folder.display()))?;
        Ok(files)
    }

    /// Where what has this name is.
    pub fn path(&self, name: &[u8]) -> PathBuf {
        let name: String = sha256(name).iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(name).with_extension(self.extension)
    }

    /// Held while a file is read and written again, by one process at a time.
    pub fn turn(&self) -> io::Result<File> {
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(self.folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Takes away what somebody who broke off has begun to write, and what nobody has written for long. By the dates of the files, as the machine that wrote
    /// them had it: nothing is decided by what is kept here but what is fetched again.
    #[allow(clippy::disallowed_methods, reason = "the age of a file is the file system's")]
    fn clear(&self, unwritten: Option<Duration>) -> io::Result<()> {
        let _turn = self.turn()?;
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let path = entry.path();
            let extension = path.extension().unwrap_or_default();
            let age = || entry.metadata().and_then(|metadata| metadata.modified()).ok()?.elapsed().ok();
            let is_old = || unwritten.zip(age()).is_some_and(|(unwritten, age)| age > unwritten);
            if extension == "new" || (extension == self.extension && is_old()) {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Nothing where there is no file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a longer file is noticed.
        match File::open(path) {
            Ok(file) => file.take(self.limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if bytes.len() as u64 > self.limit_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    /// Writes a file whole. Whoever does has the turn.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !path.exists() && std::fs::read_dir(&self.folder)?.take(self.most_files).count() == self.most_files {
            return Err(io::Error::other("the folder is full: take away what is old"));
        }
        if bytes.len() as u64 > self.limit_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Under a name that nobody else has first, and on the disk before it takes the place: a crash leaves the old one or the new one.
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let fresh = path.with_extension(format!("{}.{number}.new", std::process::id()));
        let whole = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)?;
            File::open(&self.folder)?.sync_all()
        };
        whole().inspect_err(|_| {
            let _ = std::fs::remove_file(&fresh);
        })
    }
}
