//! Cookies of browser sessions: their names, and what is too long for one.
//!
//! Every name begins with `__Host-`, so that no other host, not even a neighbour's, can set it (RFC 6265bis §4.1.3.2), and none of them
//! reaches an upstream, nor does an upstream set one.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

/// What the names of all our cookies begin with. A name of sessions has no dot, so that the rest tells them apart.
const PREFIX: &str = "__Host-symbolon-gateway-";
/// Bytes of a value: browsers take 4096 for name, value and attributes together.
const CHUNK: usize = 3_600;
/// Parts of one session.
const MAX_CHUNKS: usize = 3;
/// Sign-ins that one browser may have begun.
const MAX_PENDING: usize = 4;
/// How much of a `state` tells sign-ins apart.
const OF_STATE: usize = 8;
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// More than fits into cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session is larger than cookies can be")]
pub struct TooLarge;

/// The cookies of one kind of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies(String);

impl Cookies {
    /// Those of the sessions of this name.
    pub fn new(sessions: &str) -> Self {
        Self(format!("{PREFIX}{sessions}"))
    }

    /// What a browser carries for its session.
    pub fn session(&self, headers: &HeaderMap) -> Option<String> {
        let (count, first) = find(headers, &self.0)?.split_once('.')?;
        let count = count.parse::<usize>().ok().filter(|count| (1..=MAX_CHUNKS).contains(count))?;
        let mut rest = (1..count).map(|index| find(headers, &format!("{}.{index}", self.0)));
        rest.try_fold(first.to_owned(), |text, part| Some(text + part?))
    }

    /// `Set-Cookie` fields that give a browser its session, and take older parts away.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn set_session(&self, text: &str, headers: &HeaderMap) -> Result<Vec<HeaderValue>, TooLarge> {
        let chunks: Vec<&str> = text.as_bytes().chunks(CHUNK).filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
        if chunks.len() > MAX_CHUNKS {
            return Err(TooLarge);
        }
        let mut fields = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            fields.push(match index {
                0 => format!("{}={}.{chunk}; {ATTRIBUTES}", self.0, chunks.len()),
                index => format!("{}.{index}={chunk}; {ATTRIBUTES}", self.0),
            });
        }
        fields.extend((chunks.len()..MAX_CHUNKS).filter_map(|index| self.cleared(index, headers)));
        Ok(sensitive(fields))
    }

    /// `Set-Cookie` fields that take the session away.
    pub fn clear_session(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        sensitive((0..MAX_CHUNKS).filter_map(|index| self.cleared(index, headers)))
    }

    fn cleared(&self, index: usize, headers: &HeaderMap) -> Option<String> {
        let name = if index == 0 { self.0.clone() } else { format!("{}.{index}", self.0) };
        pairs(headers).any(|(known, _)| known == name).then(|| format!("{name}=; {ATTRIBUTES}; Max-Age=0"))
    }

    /// What a browser carries for the sign-in of this `state`.
    pub fn sign_in<'a>(&self, state: &str, headers: &'a HeaderMap) -> Option<&'a str> {
        find(headers, &self.sign_in_name(state)?)
    }

    /// `Set-Cookie` fields for a sign-in that begins. A browser that has begun too many forgets the earliest, which it sends first
    /// (RFC 6265 §5.4).
    pub fn set_sign_in(&self, state: &str, text: &str, seconds: u32, headers: &HeaderMap) -> Result<Vec<HeaderValue>, TooLarge> {
        let name = self.sign_in_name(state).ok_or(TooLarge)?;
        if text.len() > CHUNK {
            return Err(TooLarge);
        }
        let start = format!("{}.in-", self.0);
        let pending: Vec<&str> = pairs(headers).map(|(name, _)| name).filter(|name| name.starts_with(&start)).collect();
        let too_many = pending.get(..(pending.len() + 1).saturating_sub(MAX_PENDING)).unwrap_or_default();
        let mut fields: Vec<String> = too_many.iter().map(|name| format!("{name}=; {ATTRIBUTES}; Max-Age=0")).collect();
        fields.push(format!("{name}={text}; {ATTRIBUTES}; Max-Age={seconds}"));
        Ok(sensitive(fields))
    }

    /// The `Set-Cookie` that ends a sign-in.
    pub fn clear_sign_in(&self, state: &str) -> Vec<HeaderValue> {
        sensitive(self.sign_in_name(state).map(|name| format!("{name}=; {ATTRIBUTES}; Max-Age=0")))
    }

    fn sign_in_name(&self, state: &str) -> Option<String> {
        let start = state
            .get(..OF_STATE)
            .filter(|start| start.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))?;
        Some(format!("{}.in-{start}", self.0))
    }
}

fn sensitive(fields: impl IntoIterator<Item = String>) -> Vec<HeaderValue> {
    let values = fields.into_iter().filter_map(|text| HeaderValue::try_from(text).ok());
    values
        .map(|mut value| {
            value.set_sensitive(true);
            value
        })
        .collect()
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    // Others may have set what is no text: it hides none of ours.
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| std::str::from_utf8(pair).ok())
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// The value of a cookie; nothing when it is not there, or there twice.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = pairs(headers).filter(|(known, _)| *known == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Whether a cookie's name is one of ours, to the laxest reader.
fn is_ours(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

/// Whether a request carries one of our cookies.
pub fn carried(headers: &HeaderMap) -> bool {
    headers.get_all(COOKIE).iter().any(|value| value.as_bytes().split(|byte| *byte == b';').any(is_ours))
}

/// Removes our cookies from a request to an upstream; what is left of a field is as it was.
pub fn strip(headers: &mut HeaderMap) {
    if !carried(headers) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let pairs: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_ours(pair)).collect();
            HeaderValue::from_bytes(pairs.join(&b';').trim_ascii()).ok().filter(|value| !value.is_empty())
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// Removes cookies of our names from an upstream's answer.
pub fn strip_set(headers: &mut HeaderMap) {
    if !headers.get_all(SET_COOKIE).iter().any(|value| is_ours(value.as_bytes())) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !is_ours(value.as_bytes())).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|value| (COOKIE, HeaderValue::from_str(value).expect("a value"))).collect()
    }

    /// What a browser that has these cookies sends after these `Set-Cookie` fields.
    fn sent(set: &[HeaderValue]) -> HeaderMap {
        let texts = set.iter().map(|value| value.to_str().expect("text"));
        let pairs: Vec<_> =
            texts.filter(|text| !text.ends_with("Max-Age=0")).map(|text| text.split(';').next().expect("a pair")).collect();
        headers(&[&pairs.join("; ")])
    }

    #[test]
    fn what_is_too_long_for_one_cookie_comes_back_whole() {
        let cookies = Cookies::new("staff");
        for (length, count) in [(1, 1), (CHUNK, 1), (CHUNK + 1, 2), (3 * CHUNK, 3)] {
            let text: String = (0..length).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
            let set = cookies.set_session(&text, &HeaderMap::new()).expect("cookies");
            assert_eq!(set.len(), count);
            assert!(set.iter().all(|value| value.is_sensitive() && value.len() < 4096 - 250));
            let browser = sent(&set);
            assert_eq!(cookies.session(&browser), Some(text));
            assert_eq!(Cookies::new("staf").session(&browser), None);
            assert_eq!(cookies.clear_session(&browser).len(), count);
            // A shorter one takes the longer one's parts away.
            assert_eq!(cookies.set_session("x", &browser).expect("cookies").len(), count);
        }
        assert_eq!(cookies.set_session(&"x".repeat(3 * CHUNK + 1), &HeaderMap::new()), Err(TooLarge));
        let set = cookies.set_session("v", &HeaderMap::new()).expect("cookies");
        assert_eq!(set, ["__Host-symbolon-gateway-staff=1.v; Path=/; Secure; HttpOnly; SameSite=Lax"]);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_no_session() {
        let cookies = Cookies::new("staff");
        for (fields, expected) in [
            (&["__Host-symbolon-gateway-staff=1.a"][..], Some("a")),
            (&["a=b", "__Host-symbolon-gateway-staff=2.a; __Host-symbolon-gateway-staff.1=b"], Some("ab")),
            (&["__Host-symbolon-gateway-staff=2.a"], None),
            (&["__Host-symbolon-gateway-staff=0.a"], None),
            (&["__Host-symbolon-gateway-staff=4.a"], None),
            (&["__Host-symbolon-gateway-staff=a"], None),
            (&["__Host-symbolon-gateway-staff=1.a; __Host-symbolon-gateway-staff=1.b"], None),
            (&["__Host-symbolon-gateway-staff=1.a", "__Host-symbolon-gateway-staff=1.a"], None),
            (&["__host-symbolon-gateway-staff=1.a"], None),
        ] {
            assert_eq!(cookies.session(&headers(fields)).as_deref(), expected, "{fields:?}");
        }
        let foreign = HeaderValue::from_bytes(b"a=\xff\xfe; __Host-symbolon-gateway-staff=1.a").expect("a value");
        assert_eq!(cookies.session(&[(COOKIE, foreign)].into_iter().collect()).as_deref(), Some("a"));
    }

    #[test]
    fn sign_ins_stand_beside_each_other_and_are_not_collected() {
        let cookies = Cookies::new("staff");
        let mut browser = HeaderMap::new();
        for number in 0..MAX_PENDING {
            let set = cookies.set_sign_in(&format!("state-{number}{number}xyz"), "sealed", 600, &browser).expect("cookies");
            assert_eq!(set.len(), 1);
            let pair = set[0].to_str().expect("text").split(';').next().expect("a pair").to_owned();
            browser.append(COOKIE, pair.parse().expect("a value"));
        }
        assert_eq!(cookies.sign_in("state-00", &browser), Some("sealed"));
        assert_eq!((cookies.sign_in("state-99", &browser), cookies.sign_in("x;y=", &browser)), (None, None));
        let set = cookies.set_sign_in("another1", "sealed", 600, &browser).expect("cookies");
        assert_eq!(set.len(), 2, "the earliest alone goes");
        assert!(set[0].to_str().expect("text").starts_with("__Host-symbolon-gateway-staff.in-state-00=;"));
        browser.append(
            COOKIE,
            HeaderValue::from_static("__Host-symbolon-gateway-staff.in-x1=y; __Host-symbolon-gateway-staff.in-x2=y"),
        );
        assert_eq!(cookies.set_sign_in("another1", "sealed", 600, &browser).expect("cookies").len(), 4);
    }

    #[test]
    fn upstreams_neither_see_nor_set_them() {
        for (sent, left) in [
            (&["a=b; __Host-symbolon-gateway-staff=1.x; c=d"][..], &["a=b; c=d"][..]),
            (&["__Host-symbolon-gateway-staff=1.x; c=d"], &["c=d"]),
            (&["__HOST-symbolon-Gateway-staff.in-abc=x", "c=d"], &["c=d"]),
            (&["__Host-symbolon-gateway-staff=1.x"], &[]),
            (&["  __Host-symbolon-gateway-staff ;a=b"], &["a=b"]),
            (&["a=__Host-symbolon-gateway-staff=1"], &["a=__Host-symbolon-gateway-staff=1"]),
            (&["__Host-symbolon-session-abc=x"], &["__Host-symbolon-session-abc=x"]),
        ] {
            let mut headers = headers(sent);
            strip(&mut headers);
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), left, "{sent:?}");
        }
        let mut answer = HeaderMap::new();
        for value in
            ["a=b; Path=/", "__Host-symbolon-gateway-staff=1.planted; Path=/; Secure", " __host-SYMBOLON-gateway-x=; Max-Age=0"]
        {
            answer.append(SET_COOKIE, value.parse().expect("a value"));
        }
        strip_set(&mut answer);
        assert_eq!(answer.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=b; Path=/"]);
    }
}
