//! The log, on standard error.

use std::ffi::OsStr;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{LogFormatSetting, LogSettings};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("`log.filter`: {0}; write `error`, `warn`, `info`, `debug`, `trace`, `off`, or as in `info,symbolon::tls=debug`")]
    Filter(String),
    /// The process has a log already.
    #[error("the log was set up before")]
    Again,
}

/// Sends the log of the whole process to standard error, in [`Colour`] where that can be.
///
/// # Errors
/// When the filter is wrong, or the process has a log already.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    let colour = Colour::on(&std::io::stderr());
    match settings.format {
        LogFormatSetting::Text => text(settings, colour, std::io::stderr)?.try_init(),
        LogFormatSetting::Json => json(settings, std::io::stderr)?.try_init(),
    }
    .map_err(|_| LogError::Again)
}

/// Whether a stream is written to in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Colour {
    /// On where the stream is a terminal that has colours, unless the user wants none (`NO_COLOR` set to anything, `TERM=dumb`).
    pub fn on(stream: &impl IsTerminal) -> Self {
        let set = |name: &str| std::env::var_os(name).unwrap_or_default();
        Self::decide(stream.is_terminal(), &set("NO_COLOR"), &set("TERM"))
    }

    fn decide(is_terminal: bool, no_color: &OsStr, term: &OsStr) -> Self {
        match is_terminal && no_color.is_empty() && term != "dumb" {
            true => Self::On,
            false => Self::Off,
        }
    }
}

fn text<W>(settings: &LogSettings, colour: Colour, writer: W) -> Result<impl SubscriberInitExt + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(&settings.filter)?;
    Ok(tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour == Colour::On).finish())
}

fn json<W>(settings: &LogSettings, writer: W) -> Result<impl SubscriberInitExt + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(&settings.filter)?;
    Ok(tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(writer).finish())
}

fn filter(text: &str) -> Result<EnvFilter, LogError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    // A word alone that is no level would be read as a module's name and silence everything else: a typing error costs the log.
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let mut text = text.to_owned();
    if !text.contains('[') {
        for directive in text.split(',').map(str::trim) {
            let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
            if !is_level(level) {
                return Err(LogError::Filter(format!("`{level}` is not a level")));
            }
        }
        text.retain(|character| !character.is_whitespace());
    }
    EnvFilter::builder().parse(&text).map_err(|error| LogError::Filter(format!("`{text}`: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// <https://no-color.org>: "when present and not an empty string (regardless of its value)".
    #[test]
    fn colour_is_for_terminals_that_want_it() {
        for (is_terminal, no_color, term, expected) in [
            (true, "", "xterm-256color", Colour::On),
            (true, "", "", Colour::On),
            (false, "", "xterm-256color", Colour::Off),
            (true, "1", "xterm-256color", Colour::Off),
            (true, "0", "xterm-256color", Colour::Off),
            (true, "", "dumb", Colour::Off),
        ] {
            assert_eq!(Colour::decide(is_terminal, no_color.as_ref(), term.as_ref()), expected, "{no_color} {term}");
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn settings(filter: &str) -> LogSettings {
        LogSettings { filter: filter.into(), ..LogSettings::default() }
    }

    fn logged(subscriber: impl Into<tracing::Dispatch>) {
        tracing::dispatcher::with_default(&subscriber.into(), || {
            tracing::info!(client_id = "alice", "token issued");
            tracing::debug!("not shown");
        });
    }

    #[test]
    fn filters_are_checked() {
        for right in ["info", "INFO", "off", "info,symbolon::tls=debug", "warn, symbolon=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for (wrong, message) in [
            ("inof", "`log.filter`: `inof` is not a level; write `error`"),
            ("info,symbolon", "`log.filter`: `symbolon` is not a level; write `error`"),
            ("symbolon=verbose", "`log.filter`: `verbose` is not a level; write `error`"),
            ("", "`log.filter`: `` is not a level; write `error`"),
        ] {
            let error = filter(wrong).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn text_has_no_colour_off_a_terminal() {
        let lines = Lines::default();
        let writer = lines.clone();
        logged(text(&settings("info"), Colour::Off, move || writer.clone()).unwrap());
        let text = lines.text();
        assert!(text.contains("token issued client_id=\"alice\""), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("not shown"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        logged(json(&settings("info"), move || writer.clone()).unwrap());
        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "token issued");
        assert_eq!(line["client_id"], "alice");
        assert_eq!(line["level"], "INFO");
    }
}
