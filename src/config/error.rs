use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::Source;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`: {source}; name the right one with --config FILE", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file or the variables are wrong. Everything that was found is here, in the order of the file, variables last.
    #[error("{}", Lines(path, problems))]
    Problems {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Sorted by place, so that the file can be mended from top to bottom.
    pub(super) fn problems(path: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match problem.source {
            Source::Line(line) => line,
            Source::Variable(_) | Source::Default => usize::MAX,
        });
        Self::Problems { path: path.to_owned(), problems }
    }
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    source: Source,
    text: String,
}

impl Problem {
    pub(super) fn new(source: Source, text: impl Into<String>) -> Self {
        Self { source, text: text.into() }
    }

    /// The line or the variable.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What is wrong and what would be right, without the place.
    pub fn text(&self) -> &str {
        &self.text
    }
}

struct Lines<'a>(&'a Path, &'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.1.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            match &problem.source {
                // Nothing written is wrong, something is missing.
                Source::Default => write!(f, "{}: {}", self.0.display(), problem.text)?,
                source => write!(f, "{}: {}", source.shown(self.0), problem.text)?,
            }
        }
        Ok(())
    }
}

/// The sentence that follows an unknown word: the nearest valid one, or all of them when none is near. `shown` spells one out.
pub(super) fn advice<'a>(
    word: &str,
    valid: impl Iterator<Item = &'a str> + Clone,
    shown: impl Fn(&str) -> String,
    all: &str,
) -> String {
    /// As alike as `cert_file` and `certificate_file`, no less.
    const ALIKE: f64 = 0.8;

    let word = word.to_lowercase();
    let nearest = valid
        .clone()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, candidate)) => format!("did you mean `{}`?", shown(candidate)),
        None => format!("{all}: {}", valid.map(|candidate| format!("`{}`", shown(candidate))).collect::<Vec<_>>().join(", ")),
    }
}
