//! Unix sockets: made where nothing else lies, and with a mode that says who may open them.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;

/// The longest path of a socket; the system allows a few bytes more.
const LONGEST: usize = 100;

/// Listens at `path`, which the setting of this name says. A socket that nobody listens at any more is replaced.
pub fn bind(path: &Path, mode: u32, setting: &str) -> anyhow::Result<UnixListener> {
    if path.as_os_str().len() > LONGEST {
        bail!("the path is longer than a Unix socket's may be: set `{setting}` to a shorter one");
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another process runs with this configuration: stop it, or set another `{setting}`");
    }
    match std::fs::symlink_metadata(path) {
        Ok(leftover) if leftover.file_type().is_socket() => std::fs::remove_file(path).context("a leftover cannot be removed")?,
        Ok(_) => bail!("something that is no socket is there already: set another `{setting}`"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => bail!("cannot be looked at: {error}"),
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot be made: set `{setting}` to a path in a directory that this user may write to"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
