//! Places that have moved.

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use url::Url;

use super::body::Body;
use super::route::Rewrite;
use crate::wire::CanonicalPath;

/// Why a redirect leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Not an `https` URL without query, fragment and user.
    #[error("`{0}` is not an `https` URL without query, fragment and user")]
    Url(String),
    /// A status that is none of a redirect's.
    #[error("{0} is none of 301, 302, 307 and 308")]
    Status(u16),
}

/// A place that has moved.
#[derive(Debug)]
pub struct Redirect {
    /// Its host and path, as people know it.
    pub(super) place: String,
    /// Scheme and authority.
    origin: String,
    path: Rewrite,
    status: StatusCode,
}

impl Redirect {
    /// From `path`, at `place`, to the URL `to`.
    ///
    /// # Errors
    /// See [`RedirectError`].
    pub fn new(place: String, path: &str, to: &str, status: u16) -> Result<Self, RedirectError> {
        let wrong = || RedirectError::Url(to.to_owned());
        let url = Url::parse(to).map_err(|_| wrong())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        if url.scheme() != "https" || !plain || url.host().is_none() {
            return Err(wrong());
        }
        let status = match status {
            301 | 302 | 307 | 308 => StatusCode::from_u16(status).map_err(|_| RedirectError::Status(status))?,
            _ => return Err(RedirectError::Status(status)),
        };
        let path = Rewrite::new(path, url.path()).map_err(|_| wrong())?;
        Ok(Self { place, origin: url.origin().ascii_serialization(), path, status })
    }

    /// Where it leads: scheme, authority and the beginning of the path are the operator's, whatever is asked for.
    pub fn target(&self, path: &CanonicalPath, query: Option<&str>) -> String {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{}{query}", self.origin, self.path.apply(path))
    }

    /// The answer.
    pub fn answer(&self, path: &CanonicalPath, query: Option<&str>) -> Response<Body> {
        let mut response = Response::new(Body::Whole(None));
        *response.status_mut() = self.status;
        if let Ok(location) = HeaderValue::try_from(self.target(path, query)) {
            response.headers_mut().insert(LOCATION, location);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that fails")]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_operators() {
        let table = [
            ("/old", "https://new.example", "/old", None, "https://new.example/"),
            ("/old", "https://new.example", "/old/@evil.example", Some("a=b"), "https://new.example/@evil.example?a=b"),
            ("/old", "https://new.example:8443/v2/", "/old/x", None, "https://new.example:8443/v2/x"),
            ("/", "https://new.example/v2", "/", None, "https://new.example/v2/"),
            (
                "/a/{id}",
                "https://new.example/b",
                "/a/7/c",
                Some("url=https://evil.example"),
                "https://new.example/b/c?url=https://evil.example",
            ),
        ];
        for (path, to, asked, query, expected) in table {
            let redirect = Redirect::new("x".into(), path, to, 308).expect(to);
            assert_eq!(redirect.target(&CanonicalPath::parse(asked).expect("a path"), query), expected);
        }
        for to in ["http://a.example", "https://", "/x", "https://a.example?x", "https://u@a.example", "https://a.example#x", "x"]
        {
            assert_eq!(Redirect::new("x".into(), "/", to, 308).err(), Some(RedirectError::Url(to.into())), "{to}");
        }
        assert_eq!(Redirect::new("x".into(), "/", "https://a.example", 200).err(), Some(RedirectError::Status(200)));
    }
}
