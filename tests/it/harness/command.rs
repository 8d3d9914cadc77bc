//! The command line, run to its end.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::process::BINARY;

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// Its standard output; it must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Its standard error; it must have failed.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_ne!(self.code, Some(0), "it succeeded: {}", self.stdout);
        self.stderr
    }
}

/// Runs `symbolon ARGUMENTS` in `dir`, in an empty environment.
pub async fn symbolon(dir: &Path, arguments: &[&str]) -> Said {
    run(dir, BINARY, arguments).await
}

/// The same, with this on its standard input.
pub async fn symbolon_told(dir: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may have ended without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output())
        .await
        .expect("it ends")
        .expect("it runs")
        .into()
}

/// Runs a program in `dir`, with nothing in its environment but `PATH`.
pub async fn run(dir: &Path, program: &str, arguments: &[&str]) -> Said {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(std::time::Duration::from_secs(60), output).await.expect("it ends").expect("it starts").into()
}
