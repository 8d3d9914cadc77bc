//! The control socket: a Unix socket beside the configuration, for `symbolon status`, `reload` and `explain`.
//!
//! One line of JSON is asked (`{"command": "status"}`), one line of JSON answers (`{"ok": …}` or `{"error": "…"}`).

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Health;
use super::reload::Reloader;
use super::unix_socket;
use crate::config::Loaded;
use crate::telemetry::audit::AuditSink;

/// The longest question, in bytes.
const MAX_QUESTION: u64 = 4_096;
/// How long one conversation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Question {
    /// Whether the process can do its work.
    Status,
    /// Read files again.
    Reload,
    /// What is known of a recent request.
    Explain {
        /// The `X-Request-Id` that the caller was told.
        request_id: String,
    },
}

/// What the answers stand on.
#[derive(Clone, Debug)]
pub struct Control {
    /// Readiness.
    pub health: Health,
    /// Reads files again.
    pub reloader: Arc<Reloader>,
    /// Remembers recent decisions.
    pub audit: AuditSink,
}

/// Why a running process could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens there.
    #[error("nothing listens on {0}: is the process running with this configuration?")]
    NotRunning(PathBuf),
    /// The socket is there and does not answer as it should.
    #[error("{path}: {problem}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
    /// The process answered that it could not.
    #[error("{0}")]
    Refused(String),
}

/// The socket of a configuration: `control.socket`, or the configuration's own path with the ending `.sock`.
pub fn socket_path(loaded: &Loaded) -> PathBuf {
    match &loaded.settings.control.socket {
        Some(path) => loaded.base_dir.join(path),
        None => loaded.file.with_extension("sock"),
    }
}

/// Listens for questions until `stop`.
pub fn listen(loaded: &Loaded, control: Control, stop: &CancellationToken, tracker: &TaskTracker) -> anyhow::Result<()> {
    let path = socket_path(loaded);
    let listener =
        unix_socket::bind(&path, 0o600, "control.socket").with_context(|| format!("control socket {}", path.display()))?;
    let stop = stop.clone();
    let conversations = tracker.clone();
    tracker.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let control = control.clone();
            conversations.spawn(async move {
                if !matches!(tokio::time::timeout(PATIENCE, control.converse(stream)).await, Ok(Ok(()))) {
                    tracing::debug!("a control conversation broke off");
                }
            });
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

impl Control {
    async fn converse(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(MAX_QUESTION)).read_line(&mut line).await?;
        let answer = match serde_json::from_str::<Question>(&line) {
            Ok(question) => self.answer(question).await,
            Err(error) => Err(format!("not a question: {error}")),
        };
        let answer = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(problem) => json!({ "error": problem }),
        };
        write.write_all(format!("{answer}\n").as_bytes()).await
    }

    async fn answer(&self, question: Question) -> Result<Value, String> {
        match question {
            Question::Status => match self.health.ready().await {
                Ok(()) => {
                    let mut status = json!({ "ready": true, "version": env!("CARGO_PKG_VERSION") });
                    if let (Some(sealing), Some(status)) = (&self.health.sealing, status.as_object_mut()) {
                        status.insert("sealing".into(), json!(sealing.status()));
                    }
                    Ok(status)
                }
                Err(problem) => Err(format!("not ready: {problem}")),
            },
            Question::Reload => self.reloader.reload_apart().await.map(|()| json!({ "reloaded": true })),
            Question::Explain { request_id } => self
                .audit
                .recent(&request_id)
                .map(|refusal| {
                    let chain: Vec<String> = refusal.chain.iter().map(|der| STANDARD.encode(der)).collect();
                    json!({ "event": refusal.event, "chain": chain })
                })
                .ok_or_else(|| format!("request `{request_id}` is not among the recent ones; the audit trail keeps them all")),
        }
    }
}

/// Asks the process that runs with this configuration.
pub async fn ask(loaded: &Loaded, question: &Question) -> Result<Value, ControlError> {
    let path = socket_path(loaded);
    let broken = |problem: &dyn std::fmt::Display| ControlError::Broken { path: path.clone(), problem: problem.to_string() };
    let conversation = async {
        let mut stream = UnixStream::connect(&path).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ControlError::NotRunning(path.clone()),
            _ => broken(&error),
        })?;
        let mut line = serde_json::to_string(question).map_err(|error| broken(&error))?;
        line.push('\n');
        stream.write_all(line.as_bytes()).await.map_err(|error| broken(&error))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(|error| broken(&error))?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| broken(&error))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(problem) => Err(ControlError::Refused(problem.to_owned())),
            None => Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default()),
        }
    };
    tokio::time::timeout(PATIENCE, conversation).await.map_err(|_| broken(&"no answer"))?
}
