//! The server and the gateway, each as a process of its own that knows nothing but its configuration.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, ChildStdin, Command};

use crate::app::{Question, ask};
use crate::config::load;

/// How often a starting process is asked whether it is ready, and how many times.
const ASK_EVERY: Duration = Duration::from_millis(25);
const ASK_AT_MOST: u32 = 1_200;
/// How long a process may take to stop.
const STOPPING: Duration = Duration::from_secs(15);

/// A child process. It ends with its parent, however that ends: its standard input is the parent's hand.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    /// Kept apart from the child: waiting for it would close this, and with it the process.
    hand: Option<ChildStdin>,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts `symbolon NAME --config CONFIG` in an empty environment and waits until it says that it is ready.
    pub async fn start(name: &'static str, config: &Path, verbose: bool) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log = (!verbose).then(|| config.with_extension("log"));
        let (output, errors) = match &log {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
                (Stdio::from(file.try_clone()?), Stdio::from(file))
            }
            None => (Stdio::null(), Stdio::inherit()),
        };
        let mut child = Command::new(program)
            .args([name, "--until-stdin-closes", "--config"])
            .arg(config)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `symbolon {name}`"))?;
        let hand = child.stdin.take();
        let mut process = Self { name, child, hand, log };
        process.wait_until_ready(config).await?;
        Ok(process)
    }

    async fn wait_until_ready(&mut self, config: &Path) -> anyhow::Result<()> {
        let loaded = load(config, [])?;
        let mut last = String::new();
        for _ in 0..ASK_AT_MOST {
            if let Some(status) = self.child.try_wait()? {
                bail!("`symbolon {}` ended at its start ({status}): {}", self.name, self.last_words());
            }
            match ask(&loaded, &Question::Status).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        bail!("`symbolon {}` did not become ready: {last}: {}", self.name, self.last_words())
    }

    /// Waits until the process ends by itself, which it should not, and tells its last words.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("{status}: {}", self.last_words()),
            Err(error) => error.to_string(),
        }
    }

    fn last_words(&self) -> String {
        let Some(path) = &self.log else { return "its log is above".to_owned() };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
        format!("{} (the whole log: {})", last.join(" / "), path.display())
    }

    /// Lets go of the process's standard input, which stops it in an orderly way.
    pub async fn stop(mut self) {
        drop(self.hand.take());
        if tokio::time::timeout(STOPPING, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
