//! Which route a request belongs to: its host, then the longest path, then what else it asks for.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::pattern::{Conditions, PathPattern, PatternError, Reach};
use crate::event::Reason;
use crate::wire::{Authority, AuthorityError};
use crate::wire::{CanonicalPath, PathError};

/// The host a route is for: with a port, for that port alone; without, for every port. `*.example` is for every name with one label
/// before `example`, but for those that have routes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHost {
    /// What stands behind `*.`, where it is for more than one name.
    host: String,
    labels: Labels,
    port: Option<u16>,
}

/// How many names a host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labels {
    /// One.
    Own,
    /// All with one more label.
    OneMore,
}

impl RouteHost {
    /// Reads `host` or `host:port`.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (text, labels) = match text.strip_prefix("*.") {
            // An address has no labels.
            Some(rest) if rest.parse::<std::net::IpAddr>().is_ok() || rest.starts_with('[') => {
                return Err(AuthorityError::Address);
            }
            Some(rest) => (rest, Labels::OneMore),
            None => (text, Labels::Own),
        };
        let authority = Authority::parse(text)?;
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
        Ok(Self { host: authority.host().to_owned(), labels, port: has_port.then(|| authority.port()) })
    }

    /// Whether it stands for more than one name.
    pub fn is_many(&self) -> bool {
        self.labels == Labels::OneMore
    }

    /// Whether requests to this authority are for it, and for no other.
    pub fn takes(&self, authority: &Authority) -> Option<Taken> {
        (self.labels == Labels::Own && self.host == authority.host() && self.port.is_none_or(|port| port == authority.port()))
            .then_some(Taken)
    }
}

/// An authority is of a host that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl std::fmt::Display for RouteHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.labels == Labels::OneMore {
            f.write_str("*.")?;
        }
        match self.port {
            None => f.write_str(&self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// What takes the place of a route's path in requests to its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Segments of the route's path.
    segments: usize,
    /// Without trailing slash; empty for `/`.
    by: String,
}

impl Rewrite {
    /// Puts `by` in the place of `path`, which a [`PathPattern`] was read from.
    ///
    /// # Errors
    /// When one of them is a path that no request could have.
    pub fn new(path: &str, by: &str) -> Result<Self, PathError> {
        let by = CanonicalPath::parse(by)?;
        let segments = path.trim_end_matches('/').matches('/').count();
        Ok(Self { segments, by: by.as_str().trim_end_matches('/').to_owned() })
    }

    /// The path for the upstream, of a path that the route matches. Segments are counted and not compared again: the route's path may
    /// be written with other encodings.
    pub fn apply(&self, path: &CanonicalPath) -> String {
        let rest = path.behind(self.segments);
        match (self.by.as_str(), rest) {
            ("", "") => "/".to_owned(),
            (by, rest) => format!("{by}{rest}"),
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
        error: PatternError,
    },
    /// Two routes for the same host, path, methods and header fields.
    #[error("two routes are for `{host}{path}`, and nothing tells their requests apart: see `match_methods` and `match_header`")]
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
    /// A header field that routes are told apart by has two readings.
    #[error("a header field that tells routes apart is there twice, or named in `Connection`")]
    Header,
}

impl RouteError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::RouteUnknown,
            Self::Ambiguous | Self::Header => Reason::RequestAmbiguous,
        }
    }
}

/// What a route is for.
#[derive(Clone, Debug)]
pub struct RoutePlace<'a> {
    /// `host`, `host:port` or `*.domain`.
    pub host: &'a str,
    /// The path, with places for segments.
    pub path: &'a str,
    /// How much of a path must fit it.
    pub reach: Reach,
    /// What else a request must have.
    pub conditions: Conditions,
}

#[derive(Debug)]
struct Entry<R> {
    port: Option<u16>,
    path: PathPattern,
    conditions: Conditions,
    route: Arc<R>,
}

/// An immutable table of routes.
#[derive(Debug)]
pub struct RouteTable<R> {
    /// Longest path first; of equal paths, the one with a port first, then the one with more conditions, then the one written first.
    hosts: HashMap<String, Vec<Entry<R>>>,
    /// The same, for names with one more label.
    domains: HashMap<String, Vec<Entry<R>>>,
}

/// A request, as far as it tells its route.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Its authority.
    pub authority: &'a Authority,
    /// Its path.
    pub path: &'a CanonicalPath,
    /// Its method.
    pub method: &'a Method,
    /// Its header.
    pub headers: &'a HeaderMap,
}

impl<R> RouteTable<R> {
    /// Makes a table.
    pub fn new<'a>(routes: impl IntoIterator<Item = (RoutePlace<'a>, R)>) -> Result<Self, RouteTableError> {
        let mut table = Self { hosts: HashMap::new(), domains: HashMap::new() };
        for (place, route) in routes {
            let host =
                RouteHost::parse(place.host).map_err(|error| RouteTableError::Host { host: place.host.to_owned(), error })?;
            let path = PathPattern::parse(place.path, place.reach)
                .map_err(|error| RouteTableError::Path { path: place.path.to_owned(), error })?;
            let (port, conditions) = (host.port, place.conditions);
            let hosts = if host.is_many() { &mut table.domains } else { &mut table.hosts };
            let entries = hosts.entry(host.host.clone()).or_default();
            if entries.iter().any(|entry| entry.port == port && entry.path == path && entry.conditions == conditions) {
                return Err(RouteTableError::Duplicate { host: host.to_string(), path: place.path.to_owned() });
            }
            entries.push(Entry { port, path, conditions, route: Arc::new(route) });
        }
        for entries in table.hosts.values_mut().chain(table.domains.values_mut()) {
            entries.sort_by_cached_key(|entry| (entry.path.order(), entry.port.is_none(), Reverse(entry.conditions.count())));
        }
        Ok(table)
    }

    /// Whether any route is for this authority.
    pub fn serves(&self, authority: &Authority) -> bool {
        self.entries(authority).next().is_some()
    }

    /// The route of a request.
    pub fn find(&self, asking: Asking<'_>) -> Result<&Arc<R>, RouteError> {
        let route = self.longest(asking, asking.path.decoded())?;
        if let Some(without_parameters) = asking.path.without_parameters() {
            let other = self.longest(asking, &without_parameters)?;
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
        self.hosts.values().chain(self.domains.values()).flatten().map(|entry| &entry.route)
    }

    /// The routes of this authority.
    pub fn of(&self, authority: &Authority) -> impl Iterator<Item = &Arc<R>> {
        self.entries(authority).map(|entry| &entry.route)
    }

    fn entries(&self, authority: &Authority) -> impl Iterator<Item = &Entry<R>> {
        let (host, port) = (authority.host(), authority.port());
        let domain = || self.domains.get(host.split_once('.')?.1);
        let entries = self.hosts.get(host).or_else(domain).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter(move |entry| entry.port.is_none_or(|own| own == port))
    }

    fn longest(&self, asking: Asking<'_>, path: &str) -> Result<Option<&Arc<R>>, RouteError> {
        for entry in self.entries(asking.authority).filter(|entry| entry.path.fits(path).is_some()) {
            if entry.conditions.met(asking.method, asking.headers).map_err(|_| RouteError::Header)?.is_some() {
                return Ok(Some(&entry.route));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &RouteTable<&'static str>, authority: &str, path: &str) -> Result<&'static str, RouteError> {
        let authority = Authority::parse(authority).expect(authority);
        let path = &CanonicalPath::parse(path).expect(path);
        table.find(Asking { authority: &authority, path, method: &Method::GET, headers: &HeaderMap::new() }).map(|route| **route)
    }

    fn place<'a>(host: &'a str, path: &'a str) -> RoutePlace<'a> {
        RoutePlace { host, path, reach: Reach::Prefix, conditions: Conditions::default() }
    }

    #[test]
    fn the_longest_path_wins_at_segment_boundaries() {
        let table = RouteTable::new(
            [
                ("gw.example", "/", "root"),
                ("GW.example", "/api", "api"),
                ("gw.example", "/api/admin/", "admin"),
                ("gw.example:8443", "/api", "api on 8443"),
                ("gw.example", "/@me", "me"),
                ("other.example:443", "/only", "only"),
                ("*.wild.example", "/", "wild"),
                ("own.wild.example", "/own", "own"),
                ("gw.example", "/users/{id}/orders", "orders"),
                ("gw.example", "/users/me", "own user"),
                ("gw.example", "/users/{id}", "user"),
            ]
            .map(|(host, path, route)| (place(host, path), route)),
        )
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
            ("a.wild.example", "/x", Ok("wild")),
            ("a.wild.example:9", "/x", Ok("wild")),
            ("own.wild.example", "/own", Ok("own")),
            ("own.wild.example", "/x", Err(RouteError::Unknown)),
            ("a.b.wild.example", "/x", Err(RouteError::Unknown)),
            ("wild.example", "/x", Err(RouteError::Unknown)),
            ("gw.example", "/users/7", Ok("user")),
            ("gw.example", "/users/7/x", Ok("user")),
            ("gw.example", "/users/me/x", Ok("own user")),
            ("gw.example", "/users/7/orders", Ok("orders")),
            ("gw.example", "/users/me/orders", Ok("orders")),
            ("gw.example", "/users/7/orders;x/y", Err(RouteError::Ambiguous)),
            ("gw.example", "/users/7;x/orders/y", Ok("orders")),
            ("gw.example", "/users/%6De", Ok("own user")),
            ("gw.example", "/users", Ok("root")),
        ];
        for (authority, path, route) in expected {
            assert_eq!(find(&table, authority, path), route, "{authority}{path}");
        }
        assert!(table.serves(&Authority::parse("other.example").expect("valid")));
        assert!(!table.serves(&Authority::parse("other.example:1").expect("valid")));
    }

    /// A segment that is named counts before the reach: what is judged is what was written for the path.
    #[test]
    fn a_named_segment_comes_before_an_exact_pattern() {
        let exact = |path| RoutePlace { reach: Reach::Exact, ..place("gw.example", path) };
        let table = RouteTable::new([
            (exact("/accounts/{id}"), "one account"),
            (place("gw.example", "/accounts/admin"), "admin"),
            (exact("/{tenant}/users"), "exactly its users"),
            (place("gw.example", "/{tenant}/{kind}"), "its things"),
            (place("gw.example", "/{tenant}/users"), "its users"),
        ])
        .expect("a table");
        for (path, route) in [
            ("/accounts/admin", Ok("admin")),
            ("/accounts/admin/x", Ok("admin")),
            ("/accounts/7", Ok("one account")),
            ("/accounts/7/x", Ok("its things")),
            ("/accounts/users", Ok("one account")),
            ("/a/users", Ok("exactly its users")),
            ("/a/users/x", Ok("its users")),
            ("/a/b", Ok("its things")),
            ("/a", Err(RouteError::Unknown)),
        ] {
            assert_eq!(find(&table, "gw.example", path), route, "{path}");
        }
    }

    #[test]
    fn a_path_takes_the_place_of_another() {
        let table = [
            ("/api", "/", "/api", "/"),
            ("/api", "/", "/api/", "/"),
            ("/api", "/", "/api/a%20b/c", "/a%20b/c"),
            ("/api/", "/v1/", "/%61pi/x", "/v1/x"),
            ("/a/b", "/x/y", "/a/b", "/x/y"),
            ("/a/b", "/x/y", "/a/b/", "/x/y/"),
            ("/", "/v1", "/", "/v1/"),
            ("/", "/v1", "/a/b;c=d", "/v1/a/b;c=d"),
        ];
        for (path, by, asked, expected) in table {
            let rewrite = Rewrite::new(path, by).expect("paths");
            assert_eq!(rewrite.apply(&CanonicalPath::parse(asked).expect("a path")), expected, "{path} {by} {asked}");
        }
        assert_eq!(Rewrite::new("/a", "/b/../c"), Err(PathError::DotSegment));
    }

    #[test]
    fn refuses_tables_that_cannot_be_meant() {
        let error = |routes: &[(&'static str, &'static str, u8)]| {
            RouteTable::new(routes.iter().map(|(host, path, route)| (place(host, path), *route))).expect_err("an error")
        };
        assert_eq!(
            error(&[("a.example", "/x", 1), ("A.example", "/x/", 2)]),
            RouteTableError::Duplicate { host: "a.example".into(), path: "/x/".into() }
        );
        assert_eq!(error(&[("a b", "/", 1)]), RouteTableError::Host { host: "a b".into(), error: AuthorityError::Character });
        assert_eq!(
            error(&[("a", "/x/../y", 1)]),
            RouteTableError::Path { path: "/x/../y".into(), error: PathError::DotSegment.into() }
        );
        assert_eq!(error(&[("a", "/x;y", 1)]), RouteTableError::Path { path: "/x;y".into(), error: PatternError::Parameter });
        assert_eq!(
            error(&[("*.127.0.0.1", "/", 1)]),
            RouteTableError::Host { host: "*.127.0.0.1".into(), error: AuthorityError::Address }
        );
    }
}
