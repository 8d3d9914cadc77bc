use proptest::prelude::*;

use super::*;
use crate::domain::{Redacted, Timestamp};
use crate::token::tests::{access_token, any_token};

fn ring(name: &str, byte: u8) -> KeyRing {
    KeyRing::from_keys(vec![(name.parse().expect("valid"), Redacted::new([byte; 32]))]).expect("a ring")
}

#[test]
fn what_was_sealed_is_read() {
    let ring = ring("one", 1);
    let token = access_token();
    let text = encode(&token, &ring).expect("sealed");
    assert!(
        text.starts_with("sy_at_") && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{text}"
    );
    let key_id = "one".parse().expect("valid");
    assert_eq!(read(&text, &ring, &token.issuer), Ok(token.facts(Some(key_id))));
}

#[test]
fn what_was_sealed_elsewhere_is_not() {
    let ours = ring("one", 1);
    let token = access_token();
    let issuer = &token.issuer;
    let text = encode(&token, &ours).expect("sealed");
    assert_eq!(read(&text, &ring("one", 2), issuer), Err(TokenError::Seal));
    assert_eq!(read(&text, &ring("two", 1), issuer), Err(TokenError::KeyUnknown));
    assert_eq!(read(&text, &ours, &"https://as2.example".parse().expect("valid")), Err(TokenError::Seal));
    for text in
        ["", "sy_at_", "sy_at_A", "sy_rt_AAAA", &text[6..], &format!("{text}="), &format!("{text}\n"), &text.to_uppercase()]
    {
        assert_eq!(read(text, &ours, issuer), Err(TokenError::Malformed), "{text}");
    }
}

/// Sealed by us, but not by [`encode`]: what stands outside must be what stands within.
#[test]
fn inside_and_outside_agree() {
    let ring = ring("one", 1);
    let token = access_token();
    let payload = token.to_jwt_payload();
    let seal = |issuer: &Issuer, audience: &str, expires, payload: &[u8]| {
        format!("{OPAQUE_PREFIX}{}", ring.seal_bearer(&context(issuer), audience, expires, payload).expect("sealed"))
    };
    let audience = "https://rs.example";
    let issuer = &token.issuer;
    let other: Issuer = "https://as2.example".parse().expect("valid");
    assert!(read(&seal(issuer, audience, token.expires, &payload), &ring, issuer).is_ok());
    assert_eq!(read(&seal(issuer, "other", token.expires, &payload), &ring, issuer), Err(TokenError::Seal));
    assert_eq!(read(&seal(issuer, audience, Timestamp::from_seconds(1), &payload), &ring, issuer), Err(TokenError::Seal));
    assert_eq!(read(&seal(&other, audience, token.expires, &payload), &ring, &other), Err(TokenError::Issuer));
    assert_eq!(read(&seal(issuer, audience, token.expires, b"{}"), &ring, issuer), Err(TokenError::ClaimAbsent("iss")));
    assert_eq!(read(&seal(issuer, audience, token.expires, b"no JSON"), &ring, issuer), Err(TokenError::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_token_comes_back_and_no_altered_one_does(token in any_token(), at in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9_-]") {
        let ring = ring("one", 1);
        let mut text = encode(&token, &ring).expect("sealed");
        prop_assert_eq!(read(&text, &ring, &token.issuer), Ok(token.facts(Some("one".parse().expect("valid")))));
        let at = at.index(text.len());
        prop_assume!(text.get(at..=at) != Some(replacement.as_str()));
        text.replace_range(at..=at, &replacement);
        prop_assert!(read(&text, &ring, &token.issuer).is_err());
    }
}
