use std::error::Error;
use std::fmt;

use super::OutboundRefusal;

/// Why a request got no answer. An answer of any status is not an error.
///
/// What this means for the caller's own request (no keys, no introspection, a stale feed) is the caller's to say, so there is no
/// `Reason` here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is not `https`, or has user information, or no host.
    #[error("`{url}` cannot be fetched: {problem}")]
    Url {
        /// The URL, without user information.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A form would be larger than the limit on bodies.
    #[error("the form for `{url}` is larger than {limit} bytes")]
    FormTooLarge {
        /// Where it was to go.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// No connection: name resolution, TCP or TLS failed.
    #[error("cannot connect to `{authority}`: {}", Chain(source.as_ref()))]
    Connect {
        /// The host and port.
        authority: String,
        /// The failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request may not go there.
    #[error("`{authority}` is not fetched from: {refusal}")]
    Forbidden {
        /// The host and port.
        authority: String,
        /// Why not.
        refusal: OutboundRefusal,
    },
    /// No connection within the limit.
    #[error("`{authority}` did not accept a connection within {seconds} s")]
    ConnectTimeout {
        /// The host and port.
        authority: String,
        /// The limit in seconds.
        seconds: u32,
    },
    /// The connection broke, or what came back is not HTTP.
    #[error("`{url}` did not answer properly: {}", Chain(source.as_ref()))]
    Broken {
        /// What was asked for.
        url: String,
        /// The failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No complete answer within the limit.
    #[error("`{url}` did not answer within {seconds} s")]
    Timeout {
        /// What was asked for.
        url: String,
        /// The limit in seconds.
        seconds: u32,
    },
    /// The answer's body is larger than the limit.
    #[error("the answer of `{url}` is larger than {limit} bytes")]
    BodyTooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
}

/// An error and its causes on one line, each said once.
struct Chain<'a>(&'a (dyn Error + Send + Sync + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}
