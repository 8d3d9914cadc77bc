use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where lines are written.
pub(super) enum Target {
    File { path: PathBuf, file: File },
    Stream(Box<dyn Write + Send>),
}

/// Whether what is written now goes where the last write went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    Same,
    Another,
}

impl Target {
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::File { path: path.to_owned(), file: open(path)? })
    }

    pub(super) fn stream(stream: impl Write + Send + 'static) -> Self {
        Self::Stream(Box::new(stream))
    }

    /// Writes some of `bytes` and says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::File { file, .. } => file.write(bytes)?,
            Self::Stream(stream) => stream.write(bytes)?,
        };
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }

    /// Opens the file again when the path leads to another one now: rotated, or removed, in which case lines would go to a file
    /// that nobody can read.
    pub(super) fn follow(&mut self) -> io::Result<Followed> {
        match self {
            Self::File { path, file } if !is_same(path, file) => {
                *file = open(path)?;
                Ok(Followed::Another)
            }
            _ => Ok(Followed::Same),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Stream(_) => "standard output".into(),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    if ends_in_the_middle_of_a_line(path) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether a process that died left half a line, which would spoil the next. What cannot be read back counts as whole.
fn ends_in_the_middle_of_a_line(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};

    let last = || -> io::Result<u8> {
        // Opening a named pipe to read would wait, or take its lines away.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(b'\n');
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte != b'\n')
}

#[cfg(unix)]
fn is_same(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (std::fs::metadata(path), file.metadata()) {
        (Ok(at_path), Ok(open)) => (at_path.dev(), at_path.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(path: &Path, _: &File) -> bool {
    path.exists()
}
