//! What operators watch and steer a process by.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The audit trail: one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditSettings {
    /// The file to append to. Without one, events go to standard output.
    pub file: Option<PathBuf>,
    /// Events that may wait to be written. When it is full, no token is issued and no request admitted.
    pub queue: u32,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { file: None, queue: 8_192 }
    }
}

/// The log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogSettings {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter by module such as `info,symbolon::tls=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: LogFormatSetting,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormatSetting::Text }
    }
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormatSetting {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The control socket: `status`, `reload`, `explain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ControlSettings {
    /// The path of the Unix socket. Without one, the process has none.
    pub socket: Option<PathBuf>,
}

/// Files that change while the process runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReloadSettings {
    /// Whether certificates and keys, of listeners and of outbound connections, and anchor sets are read again when their files change, as at SIGHUP.
    pub watch_files: bool,
    /// Days before its end that the log begins to warn of a server's own certificate or an accepted authority.
    pub expiry_warning_days: u32,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self { watch_files: true, expiry_warning_days: 21 }
    }
}
