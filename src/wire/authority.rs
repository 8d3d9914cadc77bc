//! `host[:port]` in one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A request's authority: lower case, without the trailing dot of a host, an IPv6 address in its normal form, the port only when it
/// is not 443.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    text: String,
    host_length: usize,
    port: u16,
}

/// Why a text is not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than a DNS name can be.
    #[error("is too long")]
    TooLong,
    /// A character that no host has: user information, a list, a path, something outside ASCII.
    #[error("has a character that no host has")]
    Character,
    /// Brackets that hold no IPv6 address.
    #[error("is not an IPv6 address")]
    Address,
    /// Not a number from 1 to 65535 in plain digits.
    #[error("has a malformed port")]
    Port,
}

impl Authority {
    /// Reads `host[:port]`; the port of `https` is understood where there is none.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(AuthorityError::Address)?;
                let address: Ipv6Addr = address.parse().map_err(|_| AuthorityError::Address)?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':').ok_or(AuthorityError::Port)?),
                };
                (format!("[{address}]"), port)
            }
            None => {
                let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                (host_name(host)?, port)
            }
        };
        let port = port.map_or(Ok(443), parse_port)?;
        let host_length = host.len();
        let mut text = host;
        if port != 443 {
            use fmt::Write as _;
            let _ = write!(text, ":{port}");
        }
        Ok(Self { text, host_length, port })
    }

    /// The host, without port; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.text.get(..self.host_length).unwrap_or_default()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether a browser can be told to come back to this host over HTTPS alone (HSTS): not localhost, and no IP literal (RFC 6797
    /// §8.1.1).
    pub fn is_public_name(&self) -> bool {
        let host = self.host();
        host != "localhost" && !host.ends_with(".localhost") && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
    }

    /// The whole, without the port of `https`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn host_name(host: &str) -> Result<String, AuthorityError> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(AuthorityError::Empty);
    }
    if host.len() > 253 {
        return Err(AuthorityError::TooLong);
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        || host.split('.').any(str::is_empty)
    {
        return Err(AuthorityError::Character);
    }
    Ok(host.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError::Port);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(AuthorityError::Port)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tables of a test")]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_remains() {
        let table = [
            ("gw.example", "gw.example", "gw.example", 443),
            ("GW.Example.", "gw.example", "gw.example", 443),
            ("gw.example:443", "gw.example", "gw.example", 443),
            ("gw.example:08443", "gw.example:8443", "gw.example", 8443),
            ("127.0.0.1:9443", "127.0.0.1:9443", "127.0.0.1", 9443),
            ("[0:0::1]:9443", "[::1]:9443", "[::1]", 9443),
            ("my_service", "my_service", "my_service", 443),
        ];
        for (text, expected, host, port) in table {
            let authority = Authority::parse(text).unwrap_or_else(|error| panic!("{text} {error}"));
            assert_eq!((authority.as_str(), authority.host(), authority.port()), (expected, host, port), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_authority() {
        use AuthorityError::*;
        let table = [
            ("", Empty),
            (".", Empty),
            (":443", Empty),
            ("a..b", Character),
            (".a", Character),
            ("a@b", Character),
            ("a b", Character),
            ("a,b", Character),
            ("a/b", Character),
            ("a\\b", Character),
            ("a%2eb", Character),
            ("ä", Character),
            ("*.example", Character),
            ("a:", Port),
            ("a:0", Port),
            ("a:65536", Port),
            ("a:+1", Port),
            ("a:1:2", Port),
            ("::1", Empty),
            ("[::1", Address),
            ("[::1%25eth0]", Address),
            ("[a]", Address),
            ("[::1]x", Port),
        ];
        for (text, expected) in table {
            assert_eq!(Authority::parse(text), Err(expected), "{text}");
        }
        assert_eq!(Authority::parse(&"a".repeat(254)), Err(TooLong));
    }
}
