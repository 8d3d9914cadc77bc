//! What a route is for within its host: a path, perhaps with places that any segment fits, and perhaps methods and header fields.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, Method};

use crate::wire::{CanonicalPath, PathError};

/// Why a path is none that requests could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// A path parameter.
    #[error("it has a `;`: routes are told apart by whole segments")]
    Parameter,
    /// A brace that is not around a whole segment, or nothing in between.
    #[error("`{{` and `}}` stand around the name of a whole segment: `/users/{{id}}/orders`")]
    Brace,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// This one. Before `Any`, so that it comes first where both fit.
    Text(String),
    /// Any one.
    Any,
}

/// How much of a path must fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// All of it, to the last slash.
    Exact,
    /// Its first segments.
    #[default]
    Prefix,
}

/// A path with places for whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    reach: Reach,
    /// Whether it ends with a slash, which counts where all of a path must fit.
    slash: bool,
}

impl PathPattern {
    /// Reads `/api/users/{id}`. The name in braces is for people.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str, reach: Reach) -> Result<Self, PatternError> {
        let mut any = Vec::new();
        let mut plain: Vec<&str> = Vec::new();
        for (index, segment) in text.split('/').enumerate() {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if name.unwrap_or(segment).contains(['{', '}']) || name == Some("") {
                return Err(PatternError::Brace);
            }
            any.push(name.is_some());
            // The first stands before the first slash.
            plain.push(if name.is_some() && index > 0 { "-" } else { segment });
        }
        let path = CanonicalPath::parse(&plain.join("/"))?;
        let decoded = path.decoded();
        if decoded.contains(';') {
            return Err(PatternError::Parameter);
        }
        let slash = reach == Reach::Exact && decoded.ends_with('/');
        let segments = decoded.trim_end_matches('/').split('/').skip(1).zip(any.iter().skip(1));
        let segments = segments.map(|(text, any)| if *any { Segment::Any } else { Segment::Text(text.to_owned()) }).collect();
        Ok(Self { segments, reach, slash })
    }

    /// How many segments it has.
    pub const fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether a decoded path fits.
    pub fn fits(&self, path: &str) -> Option<Fits> {
        let mut rest = path;
        for segment in &self.segments {
            let after = rest.strip_prefix('/')?;
            let end = after.find('/').unwrap_or(after.len());
            let (name, behind) = after.split_at_checked(end)?;
            match segment {
                Segment::Text(text) if text == name => {}
                Segment::Any if !name.is_empty() => {}
                _ => return None,
            }
            rest = behind;
        }
        let all = match self.reach {
            Reach::Prefix => rest.is_empty() || rest.starts_with('/'),
            Reach::Exact => rest == if self.slash { "/" } else { "" },
        };
        all.then_some(Fits)
    }

    /// The order in which patterns are tried: of those that fit a path, the one with the most segments, then the one that names segments
    /// further to the left, then the one that all of a path must fit.
    pub fn order(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.segments.len()), self.segments.clone(), self.reach)
    }
}

/// A path fits a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fits;

/// What else a request must have to belong to a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One of these methods; any, where there is none.
    pub methods: Vec<Method>,
    /// Each of these fields, with this value.
    pub headers: Vec<(HeaderName, String)>,
}

/// A field that routes are told apart by has two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoReadings;

impl Conditions {
    /// How many there are: of two routes for the same path, the one with more is tried first.
    pub fn count(&self) -> usize {
        self.headers.len() + usize::from(!self.methods.is_empty())
    }

    /// Whether a request meets them.
    ///
    /// # Errors
    /// A field that is there twice, or that will not reach the upstream since it is named in `Connection`: the upstream could take the
    /// request for another route's.
    pub fn met(&self, method: &Method, headers: &HeaderMap) -> Result<Option<Fits>, TwoReadings> {
        let mut met = self.methods.is_empty() || self.methods.contains(method);
        for (name, wanted) in &self.headers {
            let mut values = headers.get_all(name).iter();
            let value = values.next();
            if values.next().is_some() || value.is_some() && is_hop_by_hop(headers, name) {
                return Err(TwoReadings);
            }
            met &= value.is_some_and(|value| value.as_bytes() == wanted.as_bytes());
        }
        Ok(met.then_some(Fits))
    }
}

fn is_hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    let fields = headers.get_all(CONNECTION).iter().chain(headers.get_all("proxy-connection"));
    fields
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that fails")]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_by_whole_segments() {
        let table = [
            ("/", Reach::Prefix, "/", true),
            ("/", Reach::Prefix, "/a/b", true),
            ("/", Reach::Exact, "/", true),
            ("/", Reach::Exact, "/a", false),
            ("/api", Reach::Prefix, "/api", true),
            ("/api", Reach::Prefix, "/api/", true),
            ("/api", Reach::Prefix, "/apix", false),
            ("/api/", Reach::Prefix, "/api", true),
            ("/api", Reach::Exact, "/api", true),
            ("/api", Reach::Exact, "/api/", false),
            ("/api/", Reach::Exact, "/api/", true),
            ("/api/", Reach::Exact, "/api", false),
            ("/users/{id}/orders", Reach::Prefix, "/users/7/orders", true),
            ("/users/{id}/orders", Reach::Prefix, "/users/7/orders/1", true),
            ("/users/{id}/orders", Reach::Prefix, "/users/7/8/orders", false),
            ("/users/{id}/orders", Reach::Prefix, "/users/orders", false),
            ("/users/{id}", Reach::Prefix, "/users/", false),
            ("/users/{id}", Reach::Prefix, "/users", false),
            ("/users/{id}", Reach::Exact, "/users/7", true),
            ("/users/{id}", Reach::Exact, "/users/7/x", false),
            ("/{tenant}/api", Reach::Prefix, "/a/api/x", true),
        ];
        for (text, reach, path, expected) in table {
            let pattern = PathPattern::parse(text, reach).expect(text);
            assert_eq!(pattern.fits(path).is_some(), expected, "{text} {reach:?} {path}");
        }
        for (text, error) in [
            ("/a{b}", PatternError::Brace),
            ("/{}", PatternError::Brace),
            ("/{a", PatternError::Brace),
            ("/{a}{b}", PatternError::Brace),
            ("/a;b", PatternError::Parameter),
            ("/a/../b", PathError::DotSegment.into()),
            ("a", PathError::NotAbsolute.into()),
            ("{a}", PathError::NotAbsolute.into()),
        ] {
            assert_eq!(PathPattern::parse(text, Reach::Prefix), Err(error), "{text}");
        }
    }

    #[test]
    fn a_field_with_two_readings_decides_nothing() {
        let conditions =
            Conditions { methods: vec![Method::GET], headers: vec![(HeaderName::from_static("x-version"), "2".to_owned())] };
        let met = |method: Method, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().expect("a value"));
            }
            conditions.met(&method, &headers).map(|fits| fits.is_some())
        };
        assert_eq!(met(Method::GET, &[("x-version", "2")]), Ok(true));
        assert_eq!(met(Method::HEAD, &[("x-version", "2")]), Ok(false));
        assert_eq!(met(Method::GET, &[("x-version", "3")]), Ok(false));
        assert_eq!(met(Method::GET, &[]), Ok(false));
        assert_eq!(met(Method::GET, &[("x-version", "2"), ("x-version", "2")]), Err(TwoReadings));
        assert_eq!(met(Method::GET, &[("x-version", "2"), ("connection", "close, X-Version")]), Err(TwoReadings));
    }
}
