//! Where answers of the authorization endpoint may be sent (RFC 6749 §3.1.2, RFC 8252, RFC 9700 §2.1).

use std::fmt;
use std::net::Ipv6Addr;

use url::{Host, Url};

/// The longest redirect URI, in bytes.
const LONGEST: usize = 2_000;

/// What kind of application a client is (`application_type`, OpenID Connect Registration §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplicationType {
    /// Its redirect URIs are `https`.
    #[default]
    Web,
    /// An application on a person's device: also a scheme of its own, and `http` on the loopback interface with any port.
    Native,
}

impl ApplicationType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Web, Self::Native];

    /// The value of `application_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Native => "native",
        }
    }
}

/// Why a text is not a redirect URI that can be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not an absolute URI in printable ASCII, or too long.
    #[error("is not an absolute URI in printable ASCII of at most {LONGEST} bytes")]
    Malformed,
    /// `#…` (RFC 6749 §3.1.2).
    #[error("must have no fragment (RFC 6749 §3.1.2)")]
    Fragment,
    /// `user@`.
    #[error("must have no user information")]
    UserInformation,
    /// `*`: redirect URIs are compared as they are written.
    #[error("must have no wildcard: redirect URIs are compared as they are written (RFC 9700 §2.1)")]
    Wildcard,
    /// A scheme that a web application may not use.
    #[error(
        "must be `https`; with `application_type` `native` also a scheme of the application's own, or `http` on a loopback address"
    )]
    Scheme,
    /// A scheme without a dot (RFC 8252 §7.1).
    #[error("a scheme of the application's own must be based on a domain name, such as `com.example.app` (RFC 8252 §7.1)")]
    PrivateScheme,
}

/// A registered redirect URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    /// For `http` on the loopback interface: what must stand before the port and after it (RFC 8252 §7.3).
    loopback: Option<(String, String)>,
}

/// A redirect URI that a request named and that is registered. Made by [`RedirectUri::accept`] alone: only there may answers be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedRedirectUri(String);

impl AcceptedRedirectUri {
    /// The text as the request wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RedirectUri {
    /// Reads a redirect URI to be registered.
    ///
    /// # Errors
    /// See [`RedirectUriError`].
    pub fn parse(text: &str, application: ApplicationType) -> Result<Self, RedirectUriError> {
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RedirectUriError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| RedirectUriError::Malformed)?;
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        if text.contains('*') {
            return Err(RedirectUriError::Wildcard);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RedirectUriError::UserInformation);
        }
        // Two programs must not read it differently: no `https:\\host`, no `https:host`.
        let has_authority = |scheme: &str| text.get(..scheme.len() + 3).is_some_and(|start| start == format!("{scheme}://"));
        let loopback = match url.scheme() {
            "https" if has_authority("https") && url.host().is_some() && !text.contains('\\') => None,
            "http" if application == ApplicationType::Native && has_authority("http") && is_loopback(url.host()) => {
                Some(split_port(text).ok_or(RedirectUriError::Malformed)?)
            }
            "https" => return Err(RedirectUriError::Malformed),
            "http" => return Err(RedirectUriError::Scheme),
            _ if application == ApplicationType::Web => return Err(RedirectUriError::Scheme),
            private if !private.contains('.') => return Err(RedirectUriError::PrivateScheme),
            _ => None,
        };
        Ok(Self { text: text.to_owned(), loopback: loopback.map(|(before, after)| (before.to_owned(), after.to_owned())) })
    }

    /// The text as registered.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The origin of the pages at this URI, as browsers write it (RFC 6454 §6.2); an application at a scheme of its own has none.
    pub fn origin(&self) -> Option<String> {
        let origin = url::Url::parse(self.as_str()).ok()?.origin();
        origin.is_tuple().then(|| origin.ascii_serialization())
    }

    /// The host, for what is decided by it: the sector of pairwise subjects (OpenID Connect Core §8.1).
    pub fn host(&self) -> Option<String> {
        Url::parse(&self.text).ok()?.host_str().map(str::to_owned)
    }

    /// Whether this is the URI that a request names: the same text, or on the loopback interface the same but for the port
    /// (RFC 8252 §7.3).
    pub fn accept(&self, presented: &str) -> Option<AcceptedRedirectUri> {
        let same = match &self.loopback {
            None => presented == self.text,
            Some((before, after)) => {
                presented == self.text
                    || split_port(presented).is_some_and(|(start, end)| start == before.as_str() && end == after.as_str())
            }
        };
        same.then(|| AcceptedRedirectUri(presented.to_owned()))
    }
}

fn is_loopback(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.octets() == [127, 0, 0, 1],
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// What stands before the port of an `http` URI on the loopback interface, and what after it.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let start = ["http://127.0.0.1", "http://[::1]", "http://localhost"].into_iter().find(|start| text.starts_with(start))?;
    let rest = text.get(start.len()..)?;
    let after = match rest.strip_prefix(':') {
        None => rest,
        Some(with_port) => {
            let digits = with_port.bytes().take_while(u8::is_ascii_digit).count();
            with_port.get(..digits)?.parse::<u16>().ok().filter(|port| *port > 0)?;
            with_port.get(digits..)?
        }
    };
    // Nothing else may follow the host: `http://127.0.0.1.evil.example` is another one.
    (after.is_empty() || after.starts_with(['/', '?'])).then_some((start, after))
}

#[cfg(test)]
mod tests {
    use super::ApplicationType::{Native, Web};
    use super::*;

    #[test]
    fn what_can_be_registered() {
        use RedirectUriError::*;
        let table = [
            ("https://app.example/callback", Web, None),
            ("https://app.example/callback?tenant=1", Web, None),
            ("https://app.example", Native, None),
            ("https://app.example/#here", Web, Some(Fragment)),
            ("https://app.example/#", Web, Some(Fragment)),
            ("https://*.app.example/", Web, Some(Wildcard)),
            ("https://me@app.example/", Web, Some(UserInformation)),
            ("http://app.example/", Web, Some(Scheme)),
            ("http://app.example/", Native, Some(Scheme)),
            ("http://127.0.0.1/callback", Web, Some(Scheme)),
            ("http://127.0.0.1/callback", Native, None),
            ("http://[::1]:8000/callback", Native, None),
            ("http://localhost:8000", Native, None),
            ("http://127.0.0.2/callback", Native, Some(Scheme)),
            ("com.example.app:/callback", Native, None),
            ("com.example.app:/callback", Web, Some(Scheme)),
            ("myapp://callback", Native, Some(PrivateScheme)),
            ("javascript:alert(1)", Native, Some(PrivateScheme)),
            ("data:text/html,x", Native, Some(PrivateScheme)),
            ("https:app.example", Web, Some(Malformed)),
            ("https:\\\\app.example", Web, Some(Malformed)),
            ("https://app.example\\@evil.example", Web, Some(Malformed)),
            ("/callback", Web, Some(Malformed)),
            ("https://app.example/ä", Web, Some(Malformed)),
            ("https://app.example/a b", Web, Some(Malformed)),
            ("", Web, Some(Malformed)),
        ];
        for (text, application, expected) in table {
            assert_eq!(RedirectUri::parse(text, application).err(), expected, "{text} {application:?}");
        }
    }

    #[test]
    fn a_request_names_it_exactly_but_for_the_port_of_the_loopback_interface() {
        let table = [
            ("https://app.example/cb", "https://app.example/cb", true),
            ("https://app.example/cb", "https://app.example/cb/", false),
            ("https://app.example/cb", "https://app.example/cb?x=1", false),
            ("https://app.example/cb", "https://APP.example/cb", false),
            ("https://app.example/cb", "https://app.example:443/cb", false),
            ("https://app.example/cb", "https://app.example/cb#x", false),
            ("https://app.example/cb", "https://app.example/%63b", false),
            ("https://app.example", "https://app.example/", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:8000/cb", "http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:8000/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb", "http://[::1]:1/cb", true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/other", false),
            ("http://127.0.0.1/cb", "http://[::1]:49152/cb", false),
            ("http://127.0.0.1/cb", "http://localhost:49152/cb", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1:49152/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", false),
            ("http://127.0.0.1", "http://127.0.0.1:80", true),
            ("http://127.0.0.1", "http://127.0.0.1@evil.example", false),
            ("com.example.app:/cb", "com.example.app:/cb", true),
            ("com.example.app:/cb", "com.example.app:/CB", false),
        ];
        for (registered, presented, accepted) in table {
            let registered = RedirectUri::parse(registered, Native).expect(registered);
            assert_eq!(registered.accept(presented).is_some(), accepted, "{registered} {presented}");
        }
    }
}
