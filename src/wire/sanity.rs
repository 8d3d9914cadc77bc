//! The first look at a request: what hyper lets through and two programs could read differently is refused here.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderValue, Method, Version, request};

use super::authority::{Authority, AuthorityError};
use super::path::{CanonicalPath, PathError};
use crate::event::Reason;

/// Where a request is meant to go, in the one spelling that is matched, judged and forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The request's authority, whichever way it was written.
    pub authority: Authority,
    /// The path.
    pub path: CanonicalPath,
}

/// Why a request is not even looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SanityError {
    /// `CONNECT` and `TRACE`: a tunnel is not offered, and an echo would show the upstream's headers.
    #[error("this method is not served")]
    Method,
    /// Neither `Host` nor `:authority`.
    #[error("the request names no host")]
    HostAbsent,
    /// More than one `Host` field (RFC 9112 §3.2).
    #[error("the request names its host twice")]
    HostDuplicate,
    /// A host that is none.
    #[error("the request's host {0}")]
    Host(AuthorityError),
    /// An absolute-form target or `:authority` that differs from `Host`.
    #[error("the request names two different hosts")]
    HostDiffers,
    /// A target whose scheme is not `https`.
    #[error("the request's scheme is not https")]
    Scheme,
    /// A path with two readings.
    #[error("{0}")]
    Path(PathError),
    /// A query with characters outside RFC 3986 §3.4, or raw bytes outside ASCII.
    #[error("the query has a character that must be percent-encoded")]
    Query,
    /// `Transfer-Encoding` other than exactly `chunked`, or beside `Content-Length`, or on HTTP/2.
    #[error("the request's transfer encoding is not served")]
    TransferEncoding,
    /// More than one `Content-Length`, or one that is not a number.
    #[error("the request's content length is ambiguous")]
    ContentLength,
    /// More header fields than the limit.
    #[error("the request has too many header fields")]
    TooManyHeaders,
}

impl SanityError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Method => Reason::MethodNotAllowed,
            Self::HostAbsent
            | Self::HostDuplicate
            | Self::Host(_)
            | Self::HostDiffers
            | Self::Scheme
            | Self::Path(_)
            | Self::Query
            | Self::TransferEncoding
            | Self::ContentLength
            | Self::TooManyHeaders => Reason::RequestAmbiguous,
        }
    }
}

/// Reads the target of a request that arrived over TLS, or refuses it. `max_headers` counts fields, since HTTP/2 has no such limit
/// of its own.
pub fn inspect(head: &request::Parts, max_headers: usize) -> Result<Target, SanityError> {
    if head.headers.len() > max_headers {
        return Err(SanityError::TooManyHeaders);
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(SanityError::Method);
    }
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(SanityError::Scheme);
    }
    let authority = authority(head)?;
    framing(head)?;
    let path = CanonicalPath::parse(head.uri.path()).map_err(SanityError::Path)?;
    if !head.uri.query().unwrap_or_default().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SanityError::Query);
    }
    Ok(Target { authority, path })
}

fn authority(head: &request::Parts) -> Result<Authority, SanityError> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(SanityError::HostDuplicate);
    }
    let parse = |text: &str| Authority::parse(text).map_err(SanityError::Host);
    let field = field
        .map(|value| value.to_str().map_err(|_| SanityError::Host(AuthorityError::Character)))
        .transpose()?
        .map(parse)
        .transpose()?;
    let target = head.uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    match (target, field) {
        // RFC 9112 §3.2.2 would let the target win; two programs in a row might not agree on that.
        (Some(target), Some(field)) if target != field => Err(SanityError::HostDiffers),
        // HTTP/1.1 requires `Host` in any case (RFC 9112 §3.2); HTTP/2 has `:authority` in its place (RFC 9113 §8.3.1).
        (Some(_), None) if head.version < Version::HTTP_2 => Err(SanityError::HostAbsent),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(SanityError::HostAbsent),
    }
}

fn framing(head: &request::Parts) -> Result<(), SanityError> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && head.version == Version::HTTP_11
                && lengths.next().is_none() => {}
        _ => return Err(SanityError::TransferEncoding),
    }
    let digits = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if digits(length) => Ok(()),
        _ => Err(SanityError::ContentLength),
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::type_complexity, reason = "tables of a test")]
mod tests {
    use http::Request;

    use super::*;

    fn inspect_request(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Target, SanityError> {
        let mut builder = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        inspect(&builder.body(()).expect("a request").into_parts().0, 100)
    }

    #[test]
    fn one_host_is_found_whichever_way_it_is_written() {
        let table: &[(Version, &str, &[(&str, &str)], &str)] = &[
            (Version::HTTP_11, "/a", &[("host", "GW.example")], "gw.example"),
            (Version::HTTP_11, "/a", &[("host", "gw.example.:8443")], "gw.example:8443"),
            (Version::HTTP_11, "https://gw.example/a", &[("host", "gw.EXAMPLE")], "gw.example"),
            (Version::HTTP_11, "/a", &[("host", "[::1]:1")], "[::1]:1"),
            (Version::HTTP_2, "https://gw.example/a", &[], "gw.example"),
            (Version::HTTP_2, "https://gw.example/a", &[("host", "gw.example")], "gw.example"),
            (Version::HTTP_2, "/a", &[("host", "gw.example")], "gw.example"),
            (Version::HTTP_11, "/a", &[("host", "gw.example"), ("transfer-encoding", "Chunked")], "gw.example"),
            (Version::HTTP_11, "/a", &[("host", "gw.example"), ("content-length", "3")], "gw.example"),
        ];
        for (version, uri, headers, authority) in table {
            let target = inspect_request(*version, "GET", uri, headers).unwrap_or_else(|error| panic!("{headers:?}: {error}"));
            assert_eq!(target.authority.to_string(), *authority, "{headers:?}");
            assert_eq!(target.path.as_str(), "/a");
        }
    }

    #[test]
    fn refuses_requests_with_two_readings() {
        use SanityError::*;
        const HOST_OK: (&str, &str) = ("host", "gw.example");
        let table: &[(Version, &str, &str, &[(&str, &str)], SanityError)] = &[
            (Version::HTTP_11, "GET", "/a", &[], HostAbsent),
            (Version::HTTP_10, "GET", "/a", &[], HostAbsent),
            (Version::HTTP_11, "GET", "https://gw.example/a", &[], HostAbsent),
            (Version::HTTP_2, "GET", "/a", &[], HostAbsent),
            (Version::HTTP_11, "GET", "/a", &[HOST_OK, HOST_OK], HostDuplicate),
            (Version::HTTP_11, "GET", "/a", &[HOST_OK, ("host", "b.example")], HostDuplicate),
            (Version::HTTP_11, "GET", "/a", &[("host", "")], Host(AuthorityError::Empty)),
            (Version::HTTP_11, "GET", "/a", &[("host", "a b")], Host(AuthorityError::Character)),
            (Version::HTTP_11, "GET", "/a", &[("host", "u@gw.example")], Host(AuthorityError::Character)),
            (Version::HTTP_11, "GET", "/a", &[("host", "gw.example/x")], Host(AuthorityError::Character)),
            (Version::HTTP_11, "GET", "/a", &[("host", "gw.example,b")], Host(AuthorityError::Character)),
            (Version::HTTP_11, "GET", "https://gw.example/a", &[("host", "b.example")], HostDiffers),
            (Version::HTTP_11, "GET", "https://gw.example/a", &[("host", "gw.example:8443")], HostDiffers),
            (Version::HTTP_2, "GET", "https://gw.example/a", &[("host", "b.example")], HostDiffers),
            (Version::HTTP_2, "GET", "https://u@gw.example/a", &[], Host(AuthorityError::Character)),
            (Version::HTTP_11, "GET", "http://gw.example/a", &[HOST_OK], Scheme),
            (Version::HTTP_2, "GET", "http://gw.example/a", &[], Scheme),
            (Version::HTTP_11, "CONNECT", "gw.example:443", &[HOST_OK], Method),
            (Version::HTTP_11, "TRACE", "/a", &[HOST_OK], Method),
            (Version::HTTP_11, "OPTIONS", "*", &[HOST_OK], Path(PathError::NotAbsolute)),
            (Version::HTTP_11, "GET", "/a/../b", &[HOST_OK], Path(PathError::DotSegment)),
            (Version::HTTP_11, "GET", "/a?é", &[HOST_OK], Query),
            (Version::HTTP_11, "POST", "/a", &[HOST_OK, ("transfer-encoding", "gzip, chunked")], TransferEncoding),
            (Version::HTTP_11, "POST", "/a", &[HOST_OK, ("transfer-encoding", "xchunked")], TransferEncoding),
            (
                Version::HTTP_11,
                "POST",
                "/a",
                &[HOST_OK, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                TransferEncoding,
            ),
            (
                Version::HTTP_11,
                "POST",
                "/a",
                &[HOST_OK, ("transfer-encoding", "chunked"), ("content-length", "3")],
                TransferEncoding,
            ),
            (Version::HTTP_10, "POST", "/a", &[HOST_OK, ("transfer-encoding", "chunked")], TransferEncoding),
            (Version::HTTP_2, "POST", "https://gw.example/a", &[("transfer-encoding", "chunked")], TransferEncoding),
            (Version::HTTP_11, "POST", "/a", &[HOST_OK, ("content-length", "3"), ("content-length", "3")], ContentLength),
            (Version::HTTP_11, "POST", "/a", &[HOST_OK, ("content-length", "+3")], ContentLength),
            (Version::HTTP_11, "POST", "/a", &[HOST_OK, ("content-length", "3, 3")], ContentLength),
        ];
        for (version, method, uri, headers, expected) in table {
            assert_eq!(inspect_request(*version, method, uri, headers), Err(*expected), "{method} {uri} {headers:?}");
        }
    }

    #[test]
    fn counts_header_fields() {
        let many: Vec<(String, &str)> = (0..100).map(|index| (format!("x-{index}"), "y")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).chain([("host", "a")]).collect();
        assert_eq!(inspect_request(Version::HTTP_2, "GET", "/a", &many), Err(SanityError::TooManyHeaders));
        assert!(inspect_request(Version::HTTP_2, "GET", "/a", &many[1..]).is_ok());
    }
}
