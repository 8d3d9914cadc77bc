//! Cookies: found in a request, and written.

use http::{HeaderMap, HeaderValue, header};

use crate::domain::{DeploymentId, Lifetime};

/// What the names of all our cookies begin with.
const PREFIX: &str = "__Host-symbolon-";

/// The name of a cookie of ours. It begins with `__Host-`, so that no other host, not even a neighbour's, can set it (RFC 6265bis
/// §4.1.3.2), and names the deployment: two on one host, at two ports, share its cookies and must not take each other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// How many characters of the deployment's id are in the name.
    const OF_DEPLOYMENT: usize = 8;

    /// The cookie for this use.
    pub fn new(what: &str, deployment: &DeploymentId) -> Self {
        Self(format!("{PREFIX}{what}-{}", Self::short(deployment)))
    }

    fn short(deployment: &DeploymentId) -> String {
        deployment.as_str().chars().take(Self::OF_DEPLOYMENT).collect()
    }

    /// The cookie's value in a request; nothing when it is not there, or there twice.
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let pairs =
            headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
        let mut values = pairs
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| name.trim() == self.0)
            .map(|(_, value)| value.trim());
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// A `Set-Cookie` that lasts as long as the browser's own session. `value` is base64url.
    pub fn set(&self, value: &str) -> Option<HeaderValue> {
        sensitive(format!("{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax", self.0))
    }

    /// A `Set-Cookie` that lasts so long. `value` is base64url.
    pub fn set_for(&self, value: &str, lifetime: Lifetime) -> Option<HeaderValue> {
        sensitive(format!("{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", self.0, lifetime.seconds()))
    }

    /// The cookies of a request whose use begins with `what`, in its order: browsers name the oldest first (RFC 6265 §5.4).
    pub fn all(what: &str, deployment: &DeploymentId, headers: &HeaderMap) -> Vec<Self> {
        let (start, end) = (format!("{PREFIX}{what}-"), format!("-{}", Self::short(deployment)));
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let names = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim());
        names.filter(|name| name.starts_with(&start) && name.ends_with(&end)).map(|name| Self(name.to_owned())).collect()
    }

    /// A `Set-Cookie` that takes the cookie away.
    pub fn clear(&self) -> Option<HeaderValue> {
        sensitive(format!("{}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0", self.0))
    }
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_once_or_not_at_all() {
        let deployment: DeploymentId = "abcdefghijklmnop".parse().expect("an id");
        let name = CookieName::new("session", &deployment);
        for (sent, found) in [
            (&["__Host-symbolon-session-abcdefgh=x"][..], Some("x")),
            (&["a=b; __Host-symbolon-session-abcdefgh=x; c=d"], Some("x")),
            (&["a=b", "__Host-symbolon-session-abcdefgh=x"], Some("x")),
            (&["__Host-symbolon-session-abcdefgh=x; __Host-symbolon-session-abcdefgh=y"], None),
            (&["__Host-symbolon-session-abcdefgh=x", "__Host-symbolon-session-abcdefgh=x"], None),
            (&["__host-symbolon-session-abcdefgh=x"], None),
            (&["__Host-symbolon-session-abcdefgi=x"], None),
            (&["__Host-symbolon-session-abcdefgh"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(header::COOKIE, HeaderValue::from_str(value).expect("a header"));
            }
            assert_eq!(name.find(&headers), found, "{sent:?}");
        }
        let set = name.set("v").expect("a header");
        assert_eq!(set, "__Host-symbolon-session-abcdefgh=v; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert!(set.is_sensitive());
    }

    #[test]
    fn cookies_of_one_use_are_found_in_their_order() {
        let deployment: DeploymentId = "abcdefghijklmnop".parse().expect("an id");
        let mut headers = HeaderMap::new();
        for sent in [
            "__Host-symbolon-interaction-two-abcdefgh=x; __Host-symbolon-session-abcdefgh=y",
            "__Host-symbolon-interaction-one-abcdefgh=z; __Host-symbolon-interaction-one-abcdefgi=z; interaction-abcdefgh=z",
        ] {
            headers.append(header::COOKIE, HeaderValue::from_static(sent));
        }
        let found = CookieName::all("interaction", &deployment, &headers);
        assert_eq!(found, ["two", "one"].map(|name| CookieName::new(&format!("interaction-{name}"), &deployment)));
    }
}
