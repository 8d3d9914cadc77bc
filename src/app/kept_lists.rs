//! Revocation lists on disk: those that are known of each place, so that a restart does not begin without them, nor with older ones.
//!
//! A file is believed no more than a place in the network is: whoever takes a list from here verifies its signature and its dates again.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::kept_files::KeptFiles;
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
    files: KeptFiles,
}

impl KeptLists {
    /// Makes the folder where it is not there yet. `answer_bytes`: of the longest answer of a place.
    pub fn open(folder: PathBuf, answer_bytes: u64) -> anyhow::Result<Self> {
        let limit_bytes = answer_bytes.saturating_mul(ANSWERS);
        Ok(Self { files: KeptFiles::open(folder, "crl", limit_bytes, MOST_FILES, None)? })
    }

    /// Takes what a place has answered into a set, behind what was kept of the place; and keeps what the set knows of it then. One after
    /// another, whoever shares the folder, so that nothing newer is written over.
    ///
    /// # Errors
    /// Why the answer is of no use.
    pub fn take(&self, set: &AnchorSet, url: &str, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), ListProblem> {
        let path = self.files.path(format!("{}\n{url}", set.name()).as_bytes());
        let tell = |error: io::Error| {
            tracing::warn!(file = %path.display(), url, %error, "revocation lists cannot be kept");
        };
        let turn = self.files.turn().map_err(tell).ok();
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
            let text: String = lists.iter().map(|der| encoded(der)).collect();
            let _ = self.files.write(&path, text.as_bytes()).map_err(tell);
        }
        taken
    }

    fn read(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        let bytes = self.files.read(path)?;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        pem::revocation_lists(&bytes).map_err(io::Error::other)
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
