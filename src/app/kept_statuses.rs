//! OCSP answers on disk: the last one about each certificate, so that a restart does not begin without them.
//!
//! A file is believed no more than a responder is: whoever takes an answer from here verifies its signature and its dates again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kept_files::KeptFiles;
use super::revocation_lists::OCSP_BYTES;
use crate::domain::Timestamp;
use crate::trust::{AnchorSet, OcspAsk, OcspProblem};

/// The folder inside the one of the lists.
const FOLDER: &str = "ocsp";
/// Files in the folder, at most: more are not written.
const MOST_FILES: usize = 10_000;
/// How long a certificate's answer lies there after nobody has asked about it any more.
const UNWRITTEN: Duration = Duration::from_secs(30 * 86_400);

/// A folder of answers.
#[derive(Debug)]
pub struct KeptStatuses {
    files: KeptFiles,
}

impl KeptStatuses {
    /// Makes the folder inside `lists` where it is not there yet.
    pub fn open(lists: &Path) -> anyhow::Result<Self> {
        Ok(Self { files: KeptFiles::open(lists.join(FOLDER), "ocsp", OCSP_BYTES, MOST_FILES, Some(UNWRITTEN))? })
    }

    /// Begins with what was kept of a certificate, before anybody is asked about it. Whether that says anything.
    pub fn begin(&self, set: &AnchorSet, ask: &OcspAsk, now: Timestamp) -> bool {
        self.take_kept(set, ask, now) && !ask.is_first()
    }

    /// Takes what a responder has answered into a set, behind what was kept; and keeps it where it counts. One after another, whoever shares
    /// the folder, so that nothing newer is written over.
    ///
    /// # Errors
    /// Why the answer is of no use.
    pub fn take(&self, set: &AnchorSet, ask: &OcspAsk, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), OcspProblem> {
        let path = self.path(set, ask);
        let tell = |error: io::Error| {
            tracing::warn!(file = %path.display(), url = ask.url, %error, "OCSP answers cannot be kept");
        };
        let turn = self.files.turn().map_err(tell).ok();
        self.take_kept(set, ask, now);
        set.take_status(ask, answer.clone(), now)?;
        if let (Some(_turn), Ok(bytes)) = (turn, answer) {
            let _ = self.files.write(&path, bytes).map_err(tell);
        }
        Ok(())
    }

    fn take_kept(&self, set: &AnchorSet, ask: &OcspAsk, now: Timestamp) -> bool {
        let path = self.path(set, ask);
        let problem = match self.files.read(&path) {
            Ok(bytes) if bytes.is_empty() => return false,
            Ok(bytes) => match set.take_kept_status(ask, &bytes, now) {
                Ok(()) => return true,
                Err(problem) => problem.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(anchor_set = set.name(), file = %path.display(), url = ask.url, problem, "an OCSP answer that was kept is of no use");
        false
    }

    fn path(&self, set: &AnchorSet, ask: &OcspAsk) -> PathBuf {
        let (issuer, serial) = ask.certificate();
        self.files.path(format!("{}\n{}\n{serial}", set.name(), issuer.to_hex()).as_bytes())
    }
}
