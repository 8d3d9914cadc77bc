//! Where a master key comes from.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use super::key_file::{self, KeyFileError, KeyTextError};
use crate::domain::Redacted;

/// How often a command is looked after, and how many times: half a minute.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 1_500;

/// Where a master key comes from. Whatever the source, it is 32 bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that its owner alone may read.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The output of a program, run without a shell: the way to a key management service.
    Command(Vec<String>),
}

/// Why a source gave no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// No such variable.
    #[error("the environment variable {0} is not set")]
    VariableAbsent(String),
    /// Not run by systemd, or without credentials.
    #[error(
        "the credential `{0}` cannot be read: $CREDENTIALS_DIRECTORY is not set; start the process by a systemd unit with LoadCredential={0}:…"
    )]
    NoCredentials(String),
    /// The name of a credential that is no file name.
    #[error("`{0}` is not the name of a credential: it has no slashes")]
    CredentialName(String),
    /// The credential cannot be read.
    #[error("the credential `{name}` cannot be read: {problem}")]
    Credential {
        /// Its name.
        name: String,
        /// What the operating system says.
        problem: io::Error,
    },
    /// No program.
    #[error("`command` is empty: name a program and its arguments")]
    CommandEmpty,
    /// The program cannot be run.
    #[error("the command `{program}` cannot be run: {problem}")]
    CommandFailed {
        /// The program.
        program: String,
        /// What the operating system says.
        problem: io::Error,
    },
    /// The program said that it failed.
    #[error("the command `{program}` ended with {status}; what it printed is not used")]
    CommandStatus {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// The program did not end.
    #[error("the command `{0}` did not end within 30 seconds")]
    CommandSlow(String),
    /// Something was given, and it is not a key.
    #[error("{from} {problem}")]
    Text {
        /// The source, in words.
        from: String,
        /// What is wrong.
        problem: KeyTextError,
    },
}

impl KeySource {
    /// Fetches the key. `environment` looks a variable up.
    ///
    /// # Errors
    /// See [`KeySourceError`]: each names the source and the remedy.
    pub fn read(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Redacted<[u8; 32]>, KeySourceError> {
        let text = |from: String, text: &[u8]| key_file::decode(text).map_err(|problem| KeySourceError::Text { from, problem });
        match self {
            Self::File(path) => Ok(key_file::read(path)?),
            Self::Variable(name) => {
                let value = environment(name).map(Zeroizing::new);
                let value = value.ok_or_else(|| KeySourceError::VariableAbsent(name.clone()))?;
                text(format!("the environment variable {name}"), value.as_bytes())
            }
            Self::Credential(name) => {
                text(format!("the credential `{name}`"), &credential(name, environment("CREDENTIALS_DIRECTORY"))?)
            }
            Self::Command(words) => {
                let (program, arguments) = words.split_first().ok_or(KeySourceError::CommandEmpty)?;
                text(format!("what the command `{program}` printed"), &output(program, arguments)?)
            }
        }
    }
}

/// systemd keeps other people out of the directory; the file's own mode is its business.
fn credential(name: &str, directory: Option<String>) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(KeySourceError::CredentialName(name.to_owned()));
    }
    let directory = directory.ok_or_else(|| KeySourceError::NoCredentials(name.to_owned()))?;
    let failed = |problem| KeySourceError::Credential { name: name.to_owned(), problem };
    let file = std::fs::File::open(Path::new(&directory).join(name)).map_err(failed)?;
    limited(file).map_err(failed)
}

fn output(program: &str, arguments: &[String]) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
    let failed = |problem| KeySourceError::CommandFailed { program: program.to_owned(), problem };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    for _ in 0..LOOKS {
        let Some(status) = child.try_wait().map_err(failed)? else {
            std::thread::sleep(LOOK);
            continue;
        };
        if !status.success() {
            return Err(KeySourceError::CommandStatus { program: program.to_owned(), status });
        }
        // A key fits into the pipe, so that a program that prints one has ended without being read from.
        return match child.stdout.take() {
            Some(stdout) => limited(stdout).map_err(failed),
            None => Ok(Zeroizing::default()),
        };
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(KeySourceError::CommandSlow(program.to_owned()))
}

fn limited(source: impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(key_file::MAX_FILE_LENGTH as usize));
    source.take(key_file::MAX_FILE_LENGTH).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn shell(script: &str) -> KeySource {
        KeySource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn every_source_gives_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = STANDARD.encode(KEY);
        std::fs::write(folder.path().join("master"), &text).expect("written");
        let environment = |name: &str| match name {
            "MASTER_KEY" => Some(text.clone()),
            "CREDENTIALS_DIRECTORY" => Some(folder.path().display().to_string()),
            _ => None,
        };
        let sources =
            [KeySource::Variable("MASTER_KEY".into()), KeySource::Credential("master".into()), shell(&format!("echo {text}"))];
        for source in sources {
            assert_eq!(source.read(&environment).expect("a key").expose(), &KEY, "{source:?}");
        }
    }

    #[test]
    fn each_mistake_has_its_message() {
        let short = |name: &str| (name == "SHORT").then(|| STANDARD.encode([7; 16]));
        let table = [
            (KeySource::Variable("ABSENT".into()), "the environment variable ABSENT is not set"),
            (KeySource::Variable("SHORT".into()), "the environment variable SHORT has 16 bytes: a master key has 32"),
            (KeySource::Credential("master".into()), "$CREDENTIALS_DIRECTORY is not set"),
            (KeySource::Credential("../master".into()), "is not the name of a credential"),
            (KeySource::Command(vec![]), "`command` is empty"),
            (KeySource::Command(vec!["/nonexistent".into()]), "the command `/nonexistent` cannot be run"),
            (shell("exit 3"), "the command `sh` ended with exit status: 3"),
            (shell("echo '!'"), "what the command `sh` printed is not base64"),
        ];
        for (source, expected) in table {
            let message = source.read(&short).expect_err("no key").to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
