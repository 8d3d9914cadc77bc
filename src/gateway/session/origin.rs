//! Whether a request that changes something comes from a page of our own.
//!
//! A cookie travels with every request to its host, whoever's page makes it. `SameSite=Lax` keeps most of them apart, and takes all hosts
//! of one registrable domain for one site: their pages are others' pages here.

use http::header::{HeaderMap, ORIGIN, UPGRADE};
use http::{Method, Version};

use crate::wire::Authority;

/// A request that changes nothing, or whose browser says that it comes from a page of its own host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPage(());

/// A request from somebody else's page, or of which nobody says where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignPage;

/// Looks where a request with a session comes from. Safe methods (RFC 9110 §9.2.1) may come from anywhere, but for those that open a
/// WebSocket: no browser keeps foreign pages from reading those.
pub fn check(method: &Method, version: Version, headers: &HeaderMap, authority: &Authority) -> Result<OwnPage, ForeignPage> {
    let upgrades = version < Version::HTTP_2 && headers.contains_key(UPGRADE);
    if method.is_safe() && !upgrades {
        return Ok(OwnPage(()));
    }
    check_form(headers, authority)
}

/// The same for what is never safe.
pub fn check_form(headers: &HeaderMap, authority: &Authority) -> Result<OwnPage, ForeignPage> {
    let own = format!("https://{authority}");
    let (mut sites, mut origins) =
        (headers.get_all("sec-fetch-site").iter().peekable(), headers.get_all(ORIGIN).iter().peekable());
    // Each that is there must say so, and one must be there.
    if sites.peek().is_none() && origins.peek().is_none() {
        return Err(ForeignPage);
    }
    let is_own = sites.all(|site| site == "same-origin") && origins.all(|origin| origin.as_bytes() == own.as_bytes());
    if is_own { Ok(OwnPage(())) } else { Err(ForeignPage) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_change_anything() {
        let authority = Authority::parse("gw.example:8443").expect("an authority");
        let own = ("origin", "https://gw.example:8443");
        let table: &[(&str, &[(&str, &str)], bool)] = &[
            ("GET", &[], true),
            ("HEAD", &[("sec-fetch-site", "cross-site")], true),
            ("POST", &[], false),
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("sec-fetch-site", "same-origin"), own], true),
            ("PUT", &[own], true),
            ("DELETE", &[("sec-fetch-site", "same-site")], false),
            ("POST", &[("sec-fetch-site", "none")], false),
            ("POST", &[("sec-fetch-site", "same-site"), own], false),
            ("POST", &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], false),
            ("POST", &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            ("POST", &[("origin", "https://gw.example")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[own, ("origin", "https://evil.example")], false),
            ("GET", &[("upgrade", "websocket")], false),
            ("GET", &[("upgrade", "websocket"), ("origin", "https://evil.example")], false),
            ("GET", &[("upgrade", "websocket"), own], true),
        ];
        for (method, fields, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in *fields {
                headers.append(http::HeaderName::from_static(name), value.parse().expect("a value"));
            }
            let method = method.parse().expect("a method");
            assert_eq!(check(&method, Version::HTTP_11, &headers, &authority).is_ok(), *expected, "{method} {fields:?}");
        }
    }
}
