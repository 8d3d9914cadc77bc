//! Which route a request belongs to: its host, then the longest path.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Reason;
use crate::wire::{Authority, AuthorityError};
use crate::wire::{CanonicalPath, PathError};

/// The host a route is for: with a port, for that port alone; without, for every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHost {
    host: String,
    port: Option<u16>,
}

impl RouteHost {
    /// Reads `host` or `host:port`.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let authority = Authority::parse(text)?;
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
        Ok(Self { host: authority.host().to_owned(), port: has_port.then(|| authority.port()) })
    }

    /// Whether requests to this authority are for it.
    pub fn takes(&self, authority: &Authority) -> Option<Taken> {
        (self.host == authority.host() && self.port.is_none_or(|port| port == authority.port())).then_some(Taken)
    }
}

/// An authority is of a host that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl std::fmt::Display for RouteHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Why the table cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteTableError {
    /// The host of a route is none.
    #[error("host `{host}` {error}")]
    Host {
        /// As written.
        host: String,
        /// What is wrong.
        error: AuthorityError,
    },
    /// The path of a route is one that no request could have.
    #[error("path `{path}` matches nothing: {error}")]
    Path {
        /// As written.
        path: String,
        /// What is wrong.
        error: PathError,
    },
    /// A path parameter in a route.
    #[error("path `{0}` has a `;`: routes are told apart by whole segments")]
    Parameter(String),
    /// Two routes for the same host and path.
    #[error("two routes are for `{host}{path}`")]
    Duplicate {
        /// The host.
        host: String,
        /// The path.
        path: String,
    },
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// None matches.
    #[error("nothing is served at this authority and path")]
    Unknown,
    /// A program that cuts path parameters would find another route than one that does not.
    #[error("the path's parameters make it ambiguous")]
    Ambiguous,
}

impl RouteError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::RouteUnknown,
            Self::Ambiguous => Reason::RequestAmbiguous,
        }
    }
}

#[derive(Debug)]
struct Entry<R> {
    port: Option<u16>,
    /// Without trailing slash; empty for `/`.
    path: String,
    route: Arc<R>,
}

/// An immutable table of routes.
#[derive(Debug)]
pub struct RouteTable<R> {
    /// Longest path first; of equal paths, the one with a port first.
    hosts: HashMap<String, Vec<Entry<R>>>,
}

impl<R> RouteTable<R> {
    /// Makes a table of `(host, path, route)`.
    pub fn new<'a>(routes: impl IntoIterator<Item = (&'a str, &'a str, R)>) -> Result<Self, RouteTableError> {
        let mut hosts: HashMap<String, Vec<Entry<R>>> = HashMap::new();
        for (host, path, route) in routes {
            let RouteHost { host, port } =
                RouteHost::parse(host).map_err(|error| RouteTableError::Host { host: host.to_owned(), error })?;
            let canonical = CanonicalPath::parse(path).map_err(|error| RouteTableError::Path { path: path.to_owned(), error })?;
            if canonical.decoded().contains(';') {
                return Err(RouteTableError::Parameter(path.to_owned()));
            }
            let path = canonical.decoded().trim_end_matches('/').to_owned();
            let entries = hosts.entry(host.clone()).or_default();
            if entries.iter().any(|entry| entry.port == port && entry.path == path) {
                return Err(RouteTableError::Duplicate { host: RouteHost { host, port }.to_string(), path });
            }
            entries.push(Entry { port, path, route: Arc::new(route) });
        }
        for entries in hosts.values_mut() {
            entries.sort_by_key(|entry| (std::cmp::Reverse(entry.path.len()), entry.port.is_none()));
        }
        Ok(Self { hosts })
    }

    /// Whether any route is for this authority.
    pub fn serves(&self, authority: &Authority) -> bool {
        self.entries(authority).next().is_some()
    }

    /// The route of a request.
    pub fn find(&self, authority: &Authority, path: &CanonicalPath) -> Result<&Arc<R>, RouteError> {
        let route = self.longest(authority, path.decoded());
        if let Some(without_parameters) = path.without_parameters() {
            let other = self.longest(authority, &without_parameters);
            let same = match (route, other) {
                (Some(route), Some(other)) => Arc::ptr_eq(route, other),
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(RouteError::Ambiguous);
            }
        }
        route.ok_or(RouteError::Unknown)
    }

    /// All routes, in no particular order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<R>> {
        self.hosts.values().flatten().map(|entry| &entry.route)
    }

    fn entries(&self, authority: &Authority) -> impl Iterator<Item = &Entry<R>> {
        let port = authority.port();
        let entries = self.hosts.get(authority.host()).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter(move |entry| entry.port.is_none_or(|own| own == port))
    }

    fn longest(&self, authority: &Authority, path: &str) -> Option<&Arc<R>> {
        self.entries(authority)
            .find(|entry| path.strip_prefix(entry.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
            .map(|entry| &entry.route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &RouteTable<&'static str>, authority: &str, path: &str) -> Result<&'static str, RouteError> {
        let authority = Authority::parse(authority).expect(authority);
        table.find(&authority, &CanonicalPath::parse(path).expect(path)).map(|route| **route)
    }

    #[test]
    fn the_longest_path_wins_at_segment_boundaries() {
        let table = RouteTable::new([
            ("gw.example", "/", "root"),
            ("GW.example", "/api", "api"),
            ("gw.example", "/api/admin/", "admin"),
            ("gw.example:8443", "/api", "api on 8443"),
            ("gw.example", "/@me", "me"),
            ("other.example:443", "/only", "only"),
        ])
        .expect("a table");
        let expected = [
            ("gw.example", "/", Ok("root")),
            ("gw.example", "/apix", Ok("root")),
            ("gw.example", "/api", Ok("api")),
            ("gw.example:9", "/api", Ok("api")),
            ("gw.example:8443", "/api/x", Ok("api on 8443")),
            ("gw.example:8443", "/api/admin/x", Ok("admin")),
            ("gw.example", "/api/", Ok("api")),
            ("gw.example", "/api/admin", Ok("admin")),
            ("gw.example", "/api/administrator", Ok("api")),
            ("gw.example", "/%61pi/adm%69n/x", Ok("admin")),
            ("gw.example", "/%40me", Ok("me")),
            ("gw.example", "/api/admin;x=1/y", Err(RouteError::Ambiguous)),
            ("gw.example", "/api/x;y=1", Ok("api")),
            ("gw.example", "/API", Ok("root")),
            ("other.example", "/only/x", Ok("only")),
            ("other.example", "/", Err(RouteError::Unknown)),
            ("other.example", "/only;x", Err(RouteError::Ambiguous)),
            ("other.example:444", "/only", Err(RouteError::Unknown)),
            ("third.example", "/", Err(RouteError::Unknown)),
        ];
        for (authority, path, route) in expected {
            assert_eq!(find(&table, authority, path), route, "{authority}{path}");
        }
        assert!(table.serves(&Authority::parse("other.example").expect("valid")));
        assert!(!table.serves(&Authority::parse("other.example:1").expect("valid")));
    }

    #[test]
    fn refuses_tables_that_cannot_be_meant() {
        let error = |routes: &[(&'static str, &'static str, u8)]| RouteTable::new(routes.iter().copied()).expect_err("an error");
        assert_eq!(
            error(&[("a.example", "/x", 1), ("A.example", "/x/", 2)]),
            RouteTableError::Duplicate { host: "a.example".into(), path: "/x".into() }
        );
        assert_eq!(error(&[("a b", "/", 1)]), RouteTableError::Host { host: "a b".into(), error: AuthorityError::Character });
        assert_eq!(error(&[("a", "/x/../y", 1)]), RouteTableError::Path { path: "/x/../y".into(), error: PathError::DotSegment });
        assert_eq!(error(&[("a", "/x;y", 1)]), RouteTableError::Parameter("/x;y".into()));
    }
}
