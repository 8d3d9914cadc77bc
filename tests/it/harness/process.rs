//! The shipped binary as a process that ends with its test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use symbolon::app::{Question, ask};
use symbolon::config::load;
use tokio::process::{Child, Command};

/// The shipped binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_symbolon");

/// `symbolon serve` or `symbolon gateway`, in an empty environment. Its standard input is the test's hand.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts it and waits until it says that it is ready.
    pub async fn start(name: &'static str, config: &Path) -> Self {
        match Self::try_start(name, config).await {
            Ok(process) => process,
            Err(words) => panic!("`symbolon {name}` did not become ready: {words}"),
        }
    }

    /// The same; `Err` has the log of a process that ended or never became ready.
    pub async fn try_start(name: &'static str, config: &Path) -> Result<Self, String> {
        let log = config.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let child = Command::new(BINARY)
            .args([name, "--until-stdin-closes", "--config"])
            .arg(config)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file.try_clone().expect("a file")))
            .stderr(Stdio::from(file))
            .kill_on_drop(true)
            .spawn()
            .expect("the shipped binary starts");
        let mut process = Self { name, config: config.to_owned(), log, child };
        process.wait_until_ready().await?;
        Ok(process)
    }

    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let loaded = load(&self.config, []).map_err(|error| error.to_string())?;
        for _ in 0..6_000 {
            if self.child.try_wait().expect("a child").is_some() {
                return Err(self.log());
            }
            if ask(&loaded, &Question::Status).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Err(self.log())
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// SIGKILL: nothing is flushed or said good-bye to.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// An orderly stop; gives the exit code.
    pub async fn stop(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        match status {
            Ok(status) => status.expect("a child").code(),
            Err(_) => panic!("`symbolon {}` did not stop: {}", self.name, self.log()),
        }
    }
}
