//! Revocation lists on disk: those that are known of each place, so that a restart does not begin without them, nor with older ones.
//!
//! A file is believed no more than a place in the network is: whoever takes a list from here verifies its signature and its dates again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::Timestamp;
use crate::jose::digest::sha256;
use crate::pki::crl::CrlError;
use crate::pki::pem;
use crate::trust::{AnchorSet, ListProblem};

/// Files in the folder, at most: more are not written.
const MOST_FILES: usize = 4_096;
/// Answers of the longest allowed that one file has room for: there may be several lists of one place.
const ANSWERS: u64 = 8;
/// Lists that stay in a file although nobody is known who may have signed them: an authority that clients send may come again.
const MOST_UNSIGNED: usize = 16;
/// Characters of a line of PEM (RFC 7468 §2).
const LINE: usize = 64;

/// A folder of lists.
#[derive(Debug)]
pub struct KeptLists {
    folder: PathBuf,
    limit_bytes: u64,
    written: AtomicU64,
}

impl KeptLists {
    /// Makes the folder where it is not there yet. `answer_bytes`: of the longest answer of a place.
    pub fn open(folder: PathBuf, answer_bytes: u64) -> anyhow::Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("`crl_cache`: {} cannot be made", folder.display()))?;
        let kept = Self { folder, limit_bytes: answer_bytes.saturating_mul(ANSWERS), written: AtomicU64::new(0) };
        kept.clear().with_context(|| format!("`crl_cache`: {} cannot be used", kept.folder.display()))?;
        Ok(kept)
    }

    /// Takes what a place has answered into a set, behind what was kept of the place; and keeps what the set knows of it then. One after
    /// another, whoever shares the folder, so that nothing newer is written over.
    ///
    /// # Errors
    /// Why the answer is of no use.
    pub fn take(&self, set: &AnchorSet, url: &str, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), ListProblem> {
        let path = self.path(set.name(), url);
        let tell = |error: io::Error| {
            tracing::warn!(file = %path.display(), url, %error, "revocation lists cannot be kept");
        };
        let turn = self.turn().map_err(tell).ok();
        let kept = self.read(&path).unwrap_or_else(|error| {
            tracing::warn!(file = %path.display(), url, %error, "revocation lists that were kept cannot be read");
            Vec::new()
        });
        let known = set.list_digests(url);
        let mut unsigned = Vec::new();
        for der in kept.iter().filter(|der| !known.contains(&sha256(der))) {
            match set.take_kept_list(url, der) {
                Ok(()) => {}
                Err(ListProblem::List(CrlError::UnknownIssuer(_))) if unsigned.len() < MOST_UNSIGNED => {
                    unsigned.push(der.clone())
                }
                Err(problem) => {
                    tracing::warn!(anchor_set = set.name(), url, %problem, "a revocation list that was kept is of no use");
                }
            }
        }
        let taken = set.take_list(url, answer.clone(), now);
        if turn.is_none() {
            return taken;
        }
        let came = answer.ok().filter(|_| taken.is_ok()).and_then(|bytes| pem::revocation_lists(bytes).ok()).unwrap_or_default();
        let in_force = set.list_digests(url);
        let mut lists: Vec<Vec<u8>> = Vec::new();
        for der in kept.iter().chain(&came).filter(|der| in_force.contains(&sha256(der))) {
            if !lists.contains(der) {
                lists.push(der.clone());
            }
        }
        lists.extend(unsigned);
        if lists != kept && (!lists.is_empty() || taken.is_ok()) {
            let _ = self.write(&path, &lists).map_err(tell);
        }
        taken
    }

    /// Held while a file is read and written again, by one process at a time.
    fn turn(&self) -> io::Result<File> {
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(self.folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Takes away what somebody who broke off has begun to write.
    fn clear(&self) -> io::Result<()> {
        let _turn = self.turn()?;
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "new") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
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
        pem::revocation_lists(&bytes).map_err(io::Error::other)
    }

    fn write(&self, path: &Path, lists: &[Vec<u8>]) -> io::Result<()> {
        if !path.exists() && std::fs::read_dir(&self.folder)?.take(MOST_FILES).count() == MOST_FILES {
            return Err(io::Error::other("the folder is full: take away what is old"));
        }
        let text: String = lists.iter().map(|der| encoded(der)).collect();
        if text.len() as u64 > self.limit_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Under a name that nobody else has first, and on the disk before it takes the place: a crash leaves the old one or the new one.
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let fresh = path.with_extension(format!("{}.{number}.new", std::process::id()));
        let whole = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)?;
            File::open(&self.folder)?.sync_all()
        };
        whole().inspect_err(|_| {
            let _ = std::fs::remove_file(&fresh);
        })
    }

    fn path(&self, set: &str, url: &str) -> PathBuf {
        let digest = sha256(format!("{set}\n{url}").as_bytes());
        let name: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(name).with_extension("crl")
    }
}

/// PEM (RFC 7468 §6).
fn encoded(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / LINE + 64);
    text.push_str("-----BEGIN X509 CRL-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        let _ = writeln!(text, "{line}");
        rest = after;
    }
    text.push_str("-----END X509 CRL-----\n");
    text
}
