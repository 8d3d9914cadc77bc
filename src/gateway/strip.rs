//! What a client may not say to an upstream: hop-by-hop fields, and every name under which the gateway or a proxy before an upstream
//! asserts who is calling.
//!
//! Names are compared the way the laxest upstream would read them: without regard to case, and with every character that is neither
//! letter nor digit taken for `-`, since programs behind CGI-like interfaces cannot tell `X_Forwarded_User` from `X-Forwarded-User`.

use super::session;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};

/// Something whose header fields were removed by [`Reserved`]: the only thing that [`forward`](super::forward::forward) takes.
#[derive(Debug)]
pub struct Stripped<T>(T);

impl<T> Stripped<T> {
    /// What was stripped, for looking at.
    pub const fn get(&self) -> &T {
        &self.0
    }
}

impl<B> Stripped<Request<B>> {
    /// Takes the request apart to send it on. Only `forward` does.
    pub(super) fn into_inner(self) -> Request<B> {
        self.0
    }
}

/// Which names are removed.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// The configured names: of the assertion header, and of headers that routes set. Folded.
    own: Vec<String>,
    /// Names by which routes are told apart, as they are and folded: what has been matched is said neither in another spelling nor
    /// again behind the body.
    matched: Vec<(String, String)>,
}

/// Fields of one connection (RFC 9110 §7.6.1), and those older programs treat so. `expect` is answered here.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names under which somebody in front of an upstream speaks, apart from those recognised by [`PREFIXES`] and [`PARTS`].
const NAMES: &[&str] = &[
    "cdn-loop",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    // A proof is for this hop, and so is the nonce for the next one.
    "dpop",
    "dpop-nonce",
    "fastly-client-ip",
    "forwarded",
    // A CGI program would take it for the proxy that its own requests must go through.
    "proxy",
    "remote-addr",
    "remote-user",
    "teleport-jwt-assertion",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    // Ours leads to the audit event: nobody else's may.
    "x-request-id",
    "x-rewrite-url",
];

/// Whole families.
const PREFIXES: &[&str] = &[
    "cf-access-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-authenticated-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-pomerium-",
    "x-ssl-",
    "x-symbolon-",
];

/// Whatever carries one of these carries a client certificate in some dialect: RFC 9440, XFCC, nginx, Traefik, ALB, Kong, Cloudflare.
pub(super) const PARTS: &[&str] = &["client-cert", "clientcert", "ssl-client"];

/// Fields with a meaning of their own that only their exact spelling may have: a look-alike is removed.
const EXACT: &[&str] = &[
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "host",
    "origin",
    "range",
    "referer",
];

/// Fields that say how a message is read, who sends it, or what may be done with it: none of them stands behind a body (RFC 9110
/// §6.5.1). With those of [`EXACT`] and all that is removed in front of one, what is left can say nothing there that it could not have
/// said as a header field.
const NOT_BEHIND: &[&str] = &[
    "age",
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "expires",
    "location",
    "max-forwards",
    "pragma",
    "priority",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-http-method-override",
    "x-request-id",
];

/// Families of such fields.
const NOT_BEHIND_PREFIXES: &[&str] = &["access-control-", "cross-origin-", "if-", "sec-"];

impl Reserved {
    /// The names that are always removed, and those that we set ourselves: removed on every route, whichever sets them.
    pub fn new<'a>(own: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        Self { own: own.into_iter().map(folded).collect(), matched: Vec::new() }
    }

    /// The same, with the names by which routes are told apart.
    pub fn matching<'a>(self, names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        Self { matched: names.into_iter().map(|name| (name.as_str().to_owned(), folded(name))).collect(), ..self }
    }

    /// Removes from a request what its sender may not say, its credentials (the caller has read them) and its `Host`. Whoever
    /// forwards it sets what is true.
    pub fn strip<B>(&self, mut request: Request<B>) -> Stripped<Request<B>> {
        let headers = request.headers_mut();
        let announced = self.announced(headers);
        remove_listed_in_connection(headers);
        headers.remove(header::HOST);
        headers.remove(header::AUTHORIZATION);
        session::strip(headers);
        self.remove_from(headers);
        announce(headers, announced);
        Stripped(request)
    }

    /// Removes from a response what an upstream may not say to our client.
    pub fn strip_response<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        let announced = self.announced(headers);
        remove_listed_in_connection(headers);
        // An alternative service would lead past the gateway (RFC 7838).
        headers.remove(header::ALT_SVC);
        session::strip_set(headers);
        self.remove_from(headers);
        announce(headers, announced);
    }

    /// What may stand behind a body: all but what is removed in front of it, and what must not stand there.
    pub fn trailers(&self, trailers: HeaderMap) -> HeaderMap {
        if trailers.keys().all(|name| !self.covers_behind(name.as_str())) {
            return trailers;
        }
        let mut allowed = HeaderMap::with_capacity(trailers.len());
        for name in trailers.keys().filter(|name| !self.covers_behind(name.as_str())) {
            for value in trailers.get_all(name) {
                allowed.append(name.clone(), value.clone());
            }
        }
        allowed
    }

    fn covers_behind(&self, name: &str) -> bool {
        let folded = fold(name);
        let name = folded.as_deref().unwrap_or(name);
        self.covers_folded(name)
            || EXACT.contains(&name)
            || NOT_BEHIND.contains(&name)
            || NOT_BEHIND_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || self.matched.iter().any(|(_, matched)| matched == name)
    }

    /// Those of the names announced in `Trailer` that may come (RFC 9110 §6.6.2). The field itself is written anew, since what was
    /// announced and is removed would not come.
    fn announced(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let names: Vec<HeaderName> =
            listed(headers.get_all(header::TRAILER)).filter(|name| !self.covers_behind(name.as_str())).collect();
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
    }

    /// Whether a field of this name is removed. `name` is lower case, as in every [`HeaderName`].
    pub fn covers(&self, name: &str) -> bool {
        let looks_alike = |folded: &str| self.matched.iter().any(|(own, matched)| matched == folded && own != name);
        match fold(name) {
            None => self.covers_folded(name) || looks_alike(name),
            Some(folded) => self.covers_folded(&folded) || EXACT.contains(&folded.as_str()) || looks_alike(&folded),
        }
    }

    fn covers_folded(&self, name: &str) -> bool {
        HOP_BY_HOP.contains(&name)
            || NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || PARTS.iter().any(|part| name.contains(part))
            || self.own.iter().any(|own| own == name)
    }

    fn remove_from(&self, headers: &mut HeaderMap) {
        // Collected first, since a `HeaderMap` cannot be changed while it is read; most requests have nothing to collect but
        // `connection` or nothing at all.
        let names: Vec<HeaderName> = headers.keys().filter(|name| self.covers(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// A name as the laxest upstream reads it.
pub(super) fn folded(name: &HeaderName) -> String {
    fold(name.as_str()).unwrap_or_else(|| name.as_str().to_owned())
}

/// `name` with every character that is neither letter nor digit taken for `-`; `None` when that changes nothing.
fn fold(name: &str) -> Option<String> {
    let odd = |character: char| !character.is_ascii_alphanumeric() && character != '-';
    name.contains(odd).then(|| name.chars().map(|character| if odd(character) { '-' } else { character }).collect())
}

/// RFC 9110 §7.6.1. What we set for the upstream is set after this, so nothing of ours can be listed away.
fn remove_listed_in_connection(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        listed(headers.get_all(header::CONNECTION)).chain(listed(headers.get_all("proxy-connection"))).collect();
    for name in names {
        headers.remove(name);
    }
}

/// The names in fields that list names.
fn listed(values: header::GetAll<'_, HeaderValue>) -> impl Iterator<Item = HeaderName> {
    let parts = values.into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    parts.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

fn announce(headers: &mut HeaderMap, announced: Option<HeaderValue>) {
    if let Some(announced) = announced {
        headers.insert(header::TRAILER, announced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Reserved {
        Reserved::new([&HeaderName::from_static("x-who-calls"), &HeaderName::from_static("who_else")])
    }

    fn names_left(headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::new(());
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a field name");
            request.headers_mut().append(name, value.parse().expect("a field value"));
        }
        let stripped = reserved().strip(request);
        let mut names: Vec<String> = stripped.get().headers().keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn no_spelling_of_an_identity_header_passes() {
        let names = [
            "X-Who-Calls",
            "Who-Else",
            "X-Symbolon-Assertion",
            "X-Symbolon-Anything",
            "Client-Cert",
            "Client-Cert-Chain",
            "X-Client-Cert",
            "X-Client-Cert-Subject-DN",
            "Escaped-Client-Cert",
            "SSL-Client-Cert",
            "SSL-Client-Verify",
            "X-SSL-Client-Cert",
            "X-SSL-Cert",
            "X-Forwarded-Client-Cert",
            "X-Forwarded-Tls-Client-Cert",
            "X-Forwarded-Tls-Client-Cert-Info",
            "X-Amzn-Mtls-Clientcert",
            "X-Amzn-Mtls-Clientcert-Leaf",
            "Cf-Client-Cert-Sha256",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-User",
            "X-Forwarded-Prefix",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Pomerium-Jwt-Assertion",
            "X-Goog-Iap-Jwt-Assertion",
            "Cf-Access-Jwt-Assertion",
            "Teleport-Jwt-Assertion",
            "X-Auth-Request-User",
            "X-Remote-User",
            "Remote-User",
            "Proxy",
            "DPoP",
            "DPoP-Nonce",
            "X-Request-Id",
        ];
        for name in names {
            for spelling in [
                name.to_owned(),
                name.to_lowercase(),
                name.to_uppercase(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1),
                name.replace('-', "."),
            ] {
                let left = names_left(&[("accept", "*/*"), (&spelling, "spoofed"), (&spelling, "twice")]);
                assert_eq!(left, ["accept"], "{spelling}");
            }
        }
    }

    #[test]
    fn hop_by_hop_fields_and_those_listed_in_connection_stay_on_their_hop() {
        let left = names_left(&[
            ("connection", "close, X-Listed ,x-also"),
            ("connection", "x-third,, ;"),
            ("x-listed", "1"),
            ("x-also", "1"),
            ("x-third", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x-symbolon-assertion"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQ"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
            ("host", "gw.example"),
            ("authorization", "Bearer x"),
            ("x-kept", "1"),
        ]);
        assert_eq!(left, ["x-kept"]);
    }

    #[test]
    fn look_alikes_of_fields_with_a_meaning_are_removed_and_others_kept() {
        let left = names_left(&[
            ("content_length", "7"),
            ("Transfer_Encoding", "chunked"),
            ("authorization_", "x"),
            ("AUTHORIZATION.", "x"),
            ("x_http_anything", "kept"),
            ("content-type", "text/plain"),
            ("cookie", "a=b"),
            ("api_key", "kept"),
        ]);
        assert_eq!(left, ["api_key", "authorization.", "authorization_", "content-type", "cookie", "x_http_anything"]);
        assert_eq!(names_left(&[("Content.Type", "x"), ("COOKIE_", "kept: another name"), ("HOST", "x")]), ["cookie_"]);
    }

    /// gRPC calls end with trailers of the application's own; what decides about a message stands in front of it or nowhere.
    #[test]
    fn trailers_say_nothing_that_must_stand_in_front() {
        let reserved = reserved().matching([&HeaderName::from_static("x-version")]);
        let kept =
            ["grpc-status", "grpc-status-details-bin", "x-custom", "app_data-bin", "content-digest", "server-timing", "etag"];
        let removed = [
            "x-who-calls",
            "who_else",
            "client-cert",
            "client_cert",
            "x-forwarded-user",
            "authorization",
            "cookie",
            "set-cookie",
            "set_cookie",
            "content-length",
            "content_length",
            "content-type",
            "transfer-encoding",
            "host",
            "location",
            "cache-control",
            "connection",
            "trailer",
            "te",
            "if-match",
            "sec-fetch-site",
            "access-control-allow-origin",
            "x-version",
            "x_version",
            "www-authenticate",
            "strict-transport-security",
            "x-request-id",
        ];
        let mut trailers = HeaderMap::new();
        for name in kept.iter().chain(&removed) {
            trailers.append(*name, HeaderValue::from_static("1"));
            trailers.append(*name, HeaderValue::from_static("2"));
        }
        let left = reserved.trailers(trailers.clone());
        assert_eq!(left.keys().map(HeaderName::as_str).collect::<Vec<_>>(), kept);
        assert_eq!(left.len(), 2 * kept.len());
        let mut request = Request::new(());
        request.headers_mut().insert("trailer", [&kept[..], &removed].concat().join(", ").parse().expect("a value"));
        request.headers_mut().append("trailer", HeaderValue::from_static("X-More, ;"));
        let stripped = reserved.strip(request);
        assert_eq!(stripped.get().headers()["trailer"], format!("{}, x-more", kept.join(", ")));
    }

    #[test]
    fn an_upstream_cannot_speak_in_our_name() {
        let mut response = Response::new(());
        for name in [
            "x-who-calls",
            "client-cert",
            "connection",
            "x-hop",
            "alt-svc",
            "keep-alive",
            "dpop-nonce",
            "www-authenticate",
            "x-kept",
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), "x-hop".parse().expect("a value"));
        }
        reserved().strip_response(&mut response);
        let mut left: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["www-authenticate", "x-kept"]);
    }
}
